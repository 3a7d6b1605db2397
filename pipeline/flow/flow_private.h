/* What the parts of a section know of each other. Nobody else includes this. */
#ifndef PIPELINE_FLOW_FLOW_PRIVATE_H
#define PIPELINE_FLOW_FLOW_PRIVATE_H

#include "budget.h"
#include "flow/flow.h"
#include "ledger/expr.h"
#include "ledger/ledger.h"
#include "stage.h"

#include <uv.h>

struct engine_def;
struct ledger_prompt;

struct flow_group {
	struct group group;
	struct flow *flow;
	struct json *fields; /* owns */
	unsigned source; /* its number in the budget */
	struct flow_group *next, *prev;
	size_t n_open;
	bool made;
	bool finished; /* has the scores of the whole group */
	bool cancelled;
	bool parked; /* a candidate of it waits for an engine of another phase */
	bool due; /* in the list of steps to take */
	struct flow_group *next_due;
};

/* What of the budget outlives a section, and is kept in the ledger for the next sitting. */
struct flow_books {
	double joules, tokens_thrown, busy_slot_ms, slot_ms;
	int64_t n_thrown;
};

/* What the phases of a section know of each other (flow_phases.c). */
struct flow_night {
	struct budget budget;
	bool has_budget, begun;
	int64_t length_ms; /* from its beginning to the deadline */
	const char *active; /* the exclusive engine of this phase; NULL: none of them */
	bool read_vocab; /* this phase is for the vocabulary alone */
	bool can_generate; /* what writes is there */
	/* Of the phase that ended last. */
	int64_t *waiting; /* owns: per engine, candidates that wait for it */
	int64_t n_wanting; /* prompts that want candidates; those that nobody has begun count as one */
	int64_t n_done; /* rows written: a phase that does nothing would be followed by the same for ever */
	double *load_ms; /* owns: per engine, what its start took; 0: unknown */
	double *asking_ms; /* owns: per engine, time of a slot for one candidate; NaN: unknown */
	bool backlog;
	/* Asked for through the control socket (flow_control.c). */
	int control_fd; /* owns: it listens; -1: there is none */
	bool paused; /* no candidate is begun */
	bool draining; /* nor will be */
	int64_t drain_end_ms; /* monotonic: when what is in flight is given up */
};

/* flow_order.c */
struct flow_order {
	int64_t cursor; /* id of the prompt admitted last */
	/* Of a producer that works in rounds: in round r, waves 0 .. r are asked for. */
	bool in_rounds;
	uint32_t round;
	bool closed; /* prompts are left that the budget has no room for, so nobody gets a wave of a later round */
	size_t n_later; /* groups left in the ledger, for the next round */
	struct flow_source *sources; /* owns n_sources: what is known of lengths */
	size_t n_sources;
	uint64_t n_known, n_tokens; /* candidates of all sources, and their tokens */
	struct late *tail; /* owns n_tail: the last prompts, in their order; NULL: not yet */
	size_t n_tail, tail_at;
};

#define FLOW_PACES 60 /* seconds */

struct flow {
	struct flow_night *night;
	struct run *run;
	struct budget *budget; /* NULL: there are no limits */
	struct power *power; /* NULL: energy does not matter */
	struct flow_books books; /* of earlier sittings and sections */
	double batch_ms_each; /* what the stages after the flow take per candidate */
	int64_t ticked_ms, written_ms;
	int64_t grace_end_ms; /* of a section that began too late: what it has may be verified until then */
	bool generation_over;
	bool asked_in_vain; /* leave was not given; it may be later */
	enum budget_answer reason; /* of the backlog */
	int64_t last_begun; /* no prompt beyond has a candidate of an earlier sitting */
	size_t n_consumed; /* candidates with the consumers */
	uint64_t n_tokens_consumed;
	bool consumers_full;
	const struct stage_def *stages;
	void **states;
	size_t n_stages, n_opened, producer;
	struct flow_group *groups;
	size_t n_groups;
	struct flow_group *due, **due_end;
	struct loop_timer *turn, *commit_timer, *commit_soon, *tick_timer, *drain_timer;
	int64_t commit_next_ms; /* not before, by the monotonic clock */
	bool unsynced, syncing; /* commits since the last sync began; one is under way */
	struct error sync_err; /* the thread's while `syncing` */
	unsigned n_signals; /* those that were seen */
	uv_pipe_t *listener; /* owns: the control socket in this phase's loop */
	struct flow_peer *peers; /* connections to it */
	unsigned n_peers;
	/* Tokens of the sitting at the last seconds, for the rate that is shown. */
	struct {
		int64_t ms, tokens;
	} paces[FLOW_PACES];
	uint64_t n_paces;
	int64_t n_done_before; /* prompts, when this phase began */
	struct flow_order order;
	int64_t n_unasked; /* see flow_unasked() */
	bool exhausted; /* no prompt is left to bring in */
	bool stopping; /* nothing new is begun */
	bool backlog; /* stopping for want of budget */
	bool finishing, finished, closing;
	bool failed;
	struct error err;
	struct flow_stats stats;
	int64_t started_ms;
	size_t n_engines_wanted, n_engines_ready, n_engines_open;
	void (*tick)(void *ctx, const struct flow_stats *stats);
	void *tick_ctx;
	struct expr_value *row;
	struct json *endpoints_before; /* owns: what earlier sittings have written; NULL: nothing */
	unsigned n_ticks;
};

/* --- flow.c --- */

/* A turn of the loop will be taken: due steps, admission, the end. */
void flow_turn_soon(struct flow *f);
/* A row was written that a kill should not take along. */
void flow_commit_soon(struct flow *f);

/* --- flow_groups.c --- */

/* No group is admitted any more; those in memory go on. */
void flow_stop_admitting(struct flow *f);
/* The first error counts: everything under way is cancelled. */
void flow_fail(struct flow *f, const struct error *err);
void flow_cancel_all(struct flow *f);
/* Brings groups in while there is room for them. */
void flow_admit(struct flow *f);
/* All candidates of the group are decided: what next? It may be gone afterwards. */
void flow_step(struct flow_group *g);
void flow_free_group(struct flow_group *g);

/* --- flow_rows.c --- */

/* Each fails the flow if the ledger cannot take it. */
bool flow_write_candidate(struct flow *f, const struct candidate *c);
bool flow_write_decision(struct flow *f, const struct candidate *c);
/* The scores that a candidate has so far, which stays pending. */
bool flow_write_parked(struct flow *f, const struct candidate *c);
/* Scores of single candidates, or those of the group. */
MUST_CHECK bool flow_write_scores(
	struct flow *f, const struct candidate *c, bool of_group, struct error *err);
/* A group with the candidates that the ledger has of it. Takes over *taken_arena, in which `row` lies. NULL on error. */
struct flow_group *flow_load_group(struct flow *f, const struct ledger_prompt *row,
	struct arena *taken_arena, struct error *err);

/* --- flow_order.c --- */

/* Looks at the next prompt. Everything returned is in the arena. LEDGER_END: there is none, and will be none. */
enum ledger_found flow_next_prompt(
	struct flow *f, struct arena *arena, struct ledger_prompt *out, struct error *err);
/* That prompt was taken, or is left for another night: it does not come again. */
void flow_pass_prompt(struct flow *f, int64_t id);
/* Remembers how long candidates are. */
void flow_learn(struct flow *f, const struct candidate *c);
void flow_order_release(struct flow *f);

/* --- flow_budget.c --- */

/* Whether tokens may still be spent on the group. */
bool flow_may_produce(struct flow_group *g);
/* Whether a prompt of the source may be begun; the caller looks after BUDGET_WAIT. */
enum budget_answer flow_ask(struct flow *f, const char *source);
/* Before anything else; after the last group; and some times a second in between. */
void flow_budget_open(struct flow *f);
void flow_budget_close(struct flow *f);
void flow_budget_tick(struct flow *f);
/* The engines are ready. */
void flow_budget_begin(struct flow *f);
/* Some times a second, from the very start: loading a model takes time, too. */
void flow_heed_signals(struct flow *f);

/* --- flow_endpoints.c --- */

/* What earlier sittings have written of them, to which this one adds. */
void flow_read_endpoints(struct flow *f);
void flow_write_endpoints(struct flow *f);
/* Tells the engines how much work is still to come, so that they know the end of the night when they see it. */
void flow_tell_rest(struct flow *f);

/* --- flow_control.c --- */

/* Of a section: without a socket, with a warning, if there cannot be one. */
void flow_control_open(struct flow_night *night, const char *workdir);
void flow_control_close(struct flow_night *night, const char *workdir);
/* Of a phase. */
void flow_control_serve(struct flow *f);
void flow_control_end(struct flow *f);

/* --- flow_phases.c --- */

/* Whether this phase has the engine. */
bool flow_has_engine(const struct flow *f, const struct engine_def *e);
/* What is still to come when this phase has ended: loading the others and asking them. */
int64_t flow_later_ms(const struct flow *f);
/* Loading each of the engines that exclude each other. */
int64_t flow_switch_ms(const struct flow *f);
/* One phase; flow.c. */
MUST_CHECK bool flow_run_phase(struct run *run, const struct stage_def *stages, size_t n,
	struct flow_night *night, void (*tick)(void *ctx, const struct flow_stats *stats),
	void *tick_ctx, struct error *err);

#endif
