/*
 * What verifiers that ask a model have in common: a template rendered with the candidate, a question put to an engine, the
 * candidates of a prompt one after the other, and a verdict read off log-probabilities. Everything runs on the loop.
 */
#ifndef VERIFIERS_VERIFY_ASK_H
#define VERIFIERS_VERIFY_ASK_H

#include "base/arena.h"
#include "base/error.h"
#include "config/param.h"
#include "engine/engine.h"
#include "group.h"

#include <stdbool.h>
#include <sys/queue.h>

struct scoring_ops;
struct template;
struct verify_job;

/* --- questions --- */

/*
 * Messages to an engine, `n` answers back. Where the engine takes ids, the messages are tokenized first, so that text of the
 * candidate which looks like a special token stays text. Storage is the caller's until the last answer.
 */
struct ask {
	/* Set before ask_start. */
	void *owner;
	struct engine *engine;
	struct verify_job *job; /* its `request` is kept up to date, so that it can be cancelled */
	struct arena *arena;
	const struct engine_message *messages;
	size_t n_messages;
	bool raw; /* their contents joined are the prompt, without a chat template; needs an engine with ids */
	const struct engine_sampling *sampling;
	uint32_t n, seed, top_logprobs;
	uint64_t affinity; /* as engine_job's */
	/* n times, failures included; with the last one ask->left is 0, and the struct may be used again. */
	void (*answered)(struct ask *ask, const struct engine_candidate *answer);
	/* Its own. */
	uint32_t left;
};
/* The answers come on later turns of the loop. */
void ask_start(struct ask *ask);

/* The word for a failed answer: "prompt" where the question could not be asked, "engine" otherwise. */
const char *ask_reason(enum engine_reason reason);
/* What to say of it. */
const char *ask_detail(const struct engine_candidate *answer);

/*
 * Where an engine does not take ids, text that looks like one of the model's own marks (<|im_end|>) becomes one: a value that holds it
 * could end its turn and praise itself in the next, so it is not sent. Marks are what stands in <> or [] in the template, for
 * one whose text is sent as it is, and whatever looks like <|this|>.
 */
struct ask_marks {
	char **items; /* owns */
	size_t n, cap;
};
void ask_marks_find(struct ask_marks *marks, const struct template *t);
void ask_marks_release(struct ask_marks *marks);
bool ask_marks_in(const struct ask_marks *marks, struct slice text);

/* What the placeholders of a verifier's template stand for: fields of the row, and what the verifier adds. */
struct ask_fields {
	const struct candidate *candidate;
	struct slice text; /* {{candidate}} */
	struct slice rationale; /* {{rationale}}; data NULL: there is none */
	struct arena *arena;
	const struct ask_marks *marks; /* NULL: none are looked for */
	bool text_is_ours; /* `text` has been looked through, and holds marks of ours */
	bool has_mark; /* a value holds one */
};
/* `marks` NULL: looked for where the engine takes no ids, those of the common form. */
struct ask_fields ask_fields(const struct candidate *candidate, const struct engine *engine,
	const struct ask_marks *marks, struct arena *arena);
/* NULL, or with err the reason of a null score: "prompt" (the row lacks a field), "special" (a value holds a mark). */
const char *ask_render(const struct template *t, struct ask_fields *fields,
	struct engine_message **out, size_t *out_n, struct error *err);
/* Of the last message of a template file; NULL if it cannot be read, which is told elsewhere. */
const char *ask_last_role(const char *path);
/* 16 hex digits over the messages, in the arena: which prompt a score came from. */
const char *ask_hash(const struct engine_message *messages, size_t n, struct arena *arena);
/* The same for all candidates of a prompt, never 0: they are asked about at one endpoint. */
uint64_t ask_affinity(const struct group *group);
/* Of what is sampled about a candidate. */
uint32_t ask_seed(const struct candidate *candidate);

/* --- scoring APIs --- */

/* The one of the program that the engine says it is; NULL with err if that is none we know. */
const struct scoring_ops *ask_scoring(const struct engine *engine, struct error *err);
/* The null score of an answer that failed: "no_endpoint", "prompt_too_long" or "engine". Borrows from `scores`. */
struct score ask_scoring_failure(const struct engine_scores *scores);

/* --- in a row --- */

/*
 * The candidates of one prompt are asked about one after the other, and no more prompts at a time than the engine has slots: their
 * questions begin alike, and the slot that has just read the beginning need not read it again. Measured: README.md.
 *
 *	struct asking { struct turn turn; ... };	// first; malloc'd, and the turns' from here on
 *	turns_init(&turns, engine);
 *	turns_enter(&turns, &asking->turn, job, start);	// start() is called now or later, or never if it is cancelled
 *	... turn_end(&asking->turn, &score);		// tells the verify stage, frees it, and the next one starts
 */
struct turn {
	struct verify_job *job;
	struct arena arena; /* whatever lasts as long */
	/* Private. */
	void (*start)(struct turn *turn);
	struct turns *turns;
	struct engine_request *hold; /* while it waits */
	bool cancelled; /* while it waited; nobody will start it */
	TAILQ_ENTRY(turn) link;
};
TAILQ_HEAD(turn_list, turn);
struct turns {
	struct engine *engine;
	uint32_t limit; /* prompts asked about at a time; 0: any number */
	uint32_t n_active;
	struct turn_list active, waiting;
};
void turns_init(struct turns *turns, struct engine *engine);
void turns_enter(struct turns *turns, struct turn *turn, struct verify_job *job,
	void (*start)(struct turn *turn));
/* score NULL: it was cancelled. The score may lie in the turn's arena. */
void turn_end(struct turn *turn, const struct score *score);

/* --- verdicts --- */

/*
 * P(yes) out of the alternatives of one token: the masses of all spellings of yes and no, leading space in any tokenizer's
 * spelling and case apart. With only one of them listed, the other has at most the smallest listed probability and what is left, and
 * that bound stands for it (`bounded`). With neither, nothing is known.
 */
struct verdict {
	double yes, no, rest; /* masses as listed */
	bool bounded;
	bool known;
	double p; /* yes / (yes + no) */
	const char *reason; /* "verdict", "no_verdict", "rest_mass" or "no_logprobs" */
};
struct verdict verdict_read(const struct engine_top *top, size_t n, const struct param_strings *yes,
	const struct param_strings *no, double rest_max);

/* Not both yes and no; adds the mistake at the `no` row. */
struct node;
struct tree;
void verdict_check(const struct param_strings *yes, const struct param_strings *no,
	const struct tree *tree, const struct node *node, struct error_list *errors);

#endif
