/* What the parts of a section know of each other. Nobody else includes this. */
#ifndef PIPELINE_FLOW_FLOW_PRIVATE_H
#define PIPELINE_FLOW_FLOW_PRIVATE_H

#include "flow/flow.h"
#include "ledger/expr.h"
#include "ledger/ledger.h"
#include "stage.h"

#include <uv.h>

struct flow_group {
	struct group group;
	struct flow *flow;
	struct json *fields; /* owns */
	struct flow_group *next, *prev;
	size_t n_open;
	bool made;
	bool finished; /* has the scores of the whole group */
	bool cancelled;
	bool due; /* in the list of steps to take */
	struct flow_group *next_due;
};

/* flow_order.c */
struct flow_order {
	int64_t cursor; /* id of the prompt admitted last */
	/* Of a producer that works in rounds: in round r, waves 0 .. r are asked for. */
	bool in_rounds;
	uint32_t round;
	size_t n_parked; /* groups left in the ledger, for the next round */
	struct flow_source *sources; /* owns n_sources: what is known of lengths */
	size_t n_sources;
	uint64_t n_known, n_tokens; /* candidates of all sources, and their tokens */
	struct late *tail; /* owns n_tail: the last prompts, in their order; NULL: not yet */
	size_t n_tail, tail_at;
};

struct flow {
	struct run *run;
	const struct stage_def *stages;
	void **states;
	size_t n_stages, n_opened, producer;
	struct flow_group *groups;
	size_t n_groups;
	struct flow_group *due, **due_end;
	struct loop_timer *turn, *commit_timer, *tick_timer, *drain_timer, *deadline_timer;
	uv_signal_t sigint, sigterm;
	size_t n_signals_open, n_signals;
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
/* Scores of single candidates, or those of the group. */
MUST_CHECK bool flow_write_scores(
	struct flow *f, const struct candidate *c, bool of_group, struct error *err);
/* A group with the candidates that the ledger has of it. Takes over *taken_arena, in which `row` lies. NULL on error. */
struct flow_group *flow_load_group(struct flow *f, const struct ledger_prompt *row,
	struct arena *taken_arena, struct error *err);

/* --- flow_order.c --- */

/* Everything returned is in the arena. LEDGER_END: there is none, and will be none. */
enum ledger_found flow_next_prompt(
	struct flow *f, struct arena *arena, struct ledger_prompt *out, struct error *err);
/* Remembers how long candidates are. */
void flow_learn(struct flow *f, const struct candidate *c);
void flow_order_release(struct flow *f);

/* --- flow_budget.c --- */

/* Whether tokens may still be spent. */
bool flow_may_produce(struct flow *f);
void flow_set_deadline(struct flow *f);
/* Signals are watched from the very start: loading a model takes time, too. */
void flow_watch_signals(struct flow *f);
void flow_close_signals(struct flow *f);

/* --- flow_endpoints.c --- */

/* What earlier sittings have written of them, to which this one adds. */
void flow_read_endpoints(struct flow *f);
void flow_write_endpoints(struct flow *f);
/* Tells the engines how much work is still to come, so that they know the end of the night when they see it. */
void flow_tell_rest(struct flow *f);

#endif
