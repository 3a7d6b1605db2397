/* What the parts of the generate stage know of each other. Nobody else includes this. */
#ifndef STAGES_GENERATE_PRIVATE_H
#define STAGES_GENERATE_PRIVATE_H

#include "generate_plan.h"

#include "config/param.h"
#include "engine/engine.h"
#include "engine/guard.h"
#include "group.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

struct budget_ticket;
struct lengths;
struct run;
struct template;

struct generate_config {
	char *engine;
	struct candidates_plan candidates;
	uint32_t per_request;
	bool rounds;
	struct {
		double temperature, top_p, min_p, repeat_penalty;
		uint32_t top_k, max_tokens;
		struct param_strings stop;
	} sampling;
	struct {
		uint32_t loop, period, after_answer, samples;
		double quantile, margin;
	} guard;
	bool logprobs;
	uint32_t special_tokens, truncated, continuations;
};

struct generate_state {
	const struct generate_config *config;
	struct run *run;
	struct engine *engine,
		*tokenizer; /* tokenizer NULL: the engine itself gives ids, or nobody does */
	struct template *template; /* owns */
	struct engine_sampling sampling;
	uint32_t n_tokenizing; /* waves that wait for their prompt's ids */
	struct lengths *lengths; /* owns; n_lengths sources */
	size_t n_lengths, lengths_cap;
	uint32_t n_asked; /* candidates that the engine has been asked for */
	/* Only if the engine keeps prompts per slot: waves that have missing candidates to ask for. */
	bool feeds;
	TAILQ_HEAD(, wave) waiting, begun; /* without a request that is out, and with one */
	uint32_t n_waiting;
};

/* The wave that a group is in; lives in the group's arena. */
struct wave {
	struct generate_state *state;
	struct group *group;
	size_t from, to;
	size_t next; /* the first that may not have been asked for */
	uint32_t n_unasked;
	enum { WAVE_UNLISTED, WAVE_WAITING, WAVE_BEGUN } listed;
	TAILQ_ENTRY(wave) link;
	struct engine_message *messages;
	size_t n_messages;
	struct engine_request *tokenizing; /* the one request that comes before all others */
	struct part
		*parts; /* generating requests: one per run of neighbouring missing candidates */
	size_t n_out; /* candidates that are still owed */
	bool cancelled;
};

struct part {
	struct wave *wave;
	struct engine_job job;
	struct guard_config guard;
	struct engine_request *request; /* NULL when all is answered */
	size_t first;
	uint32_t n_left;
	struct budget_ticket *tickets; /* job.n */
	struct part *next;
};

/* --- generate.c --- */

void generate_on_candidate(void *ctx, const struct engine_candidate *answer);

/* --- generate_feed.c: when the engine is asked --- */

/* Candidates that the engine works on at a time. */
uint32_t generate_slots(const struct generate_state *s);
/* The missing candidates of a wave whose prompt is ready. */
void generate_ask(struct wave *w);
/* Asks for candidates while slots are idle. */
void generate_feed(struct generate_state *s);
/* A request of the wave has brought all its candidates. */
void generate_part_done(struct wave *w);
/* Those that were never asked for will not come. */
void generate_drop_unasked(struct wave *w);

/* --- generate_lengths.c: what a guard may know --- */

bool generate_guards(const struct generate_config *c);
struct guard_config generate_guard(struct generate_state *s, const char *source);
/* `ctx` is the state. */
void generate_add_length(void *ctx, const char *source, uint32_t n_tokens);
void generate_learn_lengths(struct generate_state *s, const struct group *group);
void generate_release_lengths(struct generate_state *s);

/* --- generate_vocab.c --- */

/* The end of the stage: what its facts are, and the vocabulary, for reading the shards offline. */
void generate_finish(void *state);

#endif
