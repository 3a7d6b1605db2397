/*
 * One thread, one loop. A group's life:
 *
 *	admit: loaded from the ledger with the candidates that it already has (a resume), refused by a consumer or taken
 *	step:  all candidates decided? the producer plans: settled, or another wave
 *	wave:  missing candidates are asked for; each one that arrives is written, goes through the consumers, and is decided
 *
 * Decisions fall at the end of a wave only, from candidates 0..n-1, so neither the order of arrival nor a crash changes them.
 * `n_open` counts candidates that are under way, `made` tells that the producer has handed over its last; a group steps, or
 * dies if it was cancelled, when it has none open and is made. Stages call back from the loop, but a step that is due is
 * taken on the loop's next turn: no stage is entered from inside its own callback.
 */
#include "flow/flow_private.h"

#include "base/clock.h"
#include "base/mem.h"
#include "ledger/ledger.h"
#include "run.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define GROUPS_MAX 4096 /* in memory at once, whatever the stages say */
/* With the consumers at once: a judge slower than the generating engine must not fill the memory with what waits for it. */
#define CONSUMED_MAX 1024
#define TOKENS_CONSUMED_MAX (2u << 20)
#define SKIPPED_MAX 256 /* prompts passed over in one turn */

static struct flow_group *of(struct group *group)
{
	return group->flow;
}

/* --- ending --- */

void flow_stop_admitting(struct flow *f)
{
	f->stopping = true;
	f->stats.stopping = true;
	flow_turn_soon(f);
}

void flow_fail(struct flow *f, const struct error *err)
{
	if (!f->failed) {
		f->failed = true;
		f->err = *err;
		flow_stop_admitting(f);
		flow_cancel_all(f);
	}
}

void flow_failed(struct run *run, const struct error *err)
{
	flow_fail(run->flow, err);
}

void flow_cancel_all(struct flow *f)
{
	for (struct flow_group *g = f->groups; g; g = g->next) {
		if (g->cancelled) {
			continue;
		}
		g->cancelled = true;
		for (size_t i = 0; i < f->n_opened; i++) {
			if (f->stages[i].ops->cancel) {
				f->stages[i].ops->cancel(f->states[i], &g->group);
			}
		}
	}
	flow_turn_soon(f);
}

static void count_candidate(struct flow *f, const struct candidate *c, bool of_this_sitting)
{
	if (c->state == CANDIDATE_FAILED) {
		f->stats.n_failed++;
		return;
	}
	f->stats.n_candidates++;
	f->stats.n_tokens += c->n_tokens;
	f->stats.n_tokens_sitting += of_this_sitting ? c->n_tokens : 0;
	flow_learn(f, c);
}

/* --- deciding --- */

static void decide(struct flow *f, struct candidate *c)
{
	struct group *group = c->group;
	struct columns_source from = {group->prompt.source, group->prompt.fields, c->idx,
		c->n_tokens, group->prompt.n_ids, finish_name(c->finish), c->scores, c->scored};
	columns_fill(&f->run->columns, f->run->def, &from, &group->arena, f->row);
	struct decision d = columns_decide(&f->run->columns, f->run->accept, f->row, &group->arena);
	c->state = d.state;
	c->reason = d.reason;
	c->detail = d.detail;
	f->stats.n_accepted += d.state == CANDIDATE_ACCEPTED;
}

/* --- groups --- */

void flow_free_group(struct flow_group *g)
{
	struct flow *f = g->flow;
	assert(!g->due);
	if (g->prev) {
		g->prev->next = g->next;
	} else {
		f->groups = g->next;
	}
	if (g->next) {
		g->next->prev = g->prev;
	}
	f->n_groups--;
	json_free(g->fields);
	arena_release(&g->group.arena);
	free(g);
	flow_turn_soon(f);
}

static void step_soon(struct flow_group *g)
{
	if (g->due || g->n_open || !g->made) {
		return;
	}
	g->due = true;
	g->next_due = NULL;
	*g->flow->due_end = g;
	g->flow->due_end = &g->next_due;
	flow_turn_soon(g->flow);
}

static void settle(struct flow_group *g, const char *state, const char *reason, const char *detail)
{
	struct flow *f = g->flow;
	struct error err = {0};
	if (!ledger_settle_prompt(
		    f->run->ledger, g->group.prompt.id, state, reason, detail, &err)) {
		flow_fail(f, &err);
	} else {
		f->stats.n_prompts_left--;
		f->night->n_done++;
	}
	flow_free_group(g);
}

static size_t next_consumer(const struct flow *f, size_t after)
{
	size_t i = after + 1;
	while (i < f->n_stages && !f->stages[i].ops->submit) {
		i++;
	}
	return i;
}

static void to_consumers(struct flow *f, struct candidate *c)
{
	c->handed_ms = clock_mono_ms();
	f->n_consumed++;
	f->n_tokens_consumed += c->n_tokens;
}

static void from_consumers(struct flow *f, const struct candidate *c)
{
	assert(f->n_consumed > 0);
	f->n_consumed--;
	f->n_tokens_consumed -= c->n_tokens;
	if (f->consumers_full) {
		f->consumers_full = false;
		flow_turn_soon(f);
	}
}

static bool consumers_have_room(struct flow *f)
{
	f->consumers_full = f->n_consumed >= CONSUMED_MAX ||
		f->n_tokens_consumed >= TOKENS_CONSUMED_MAX;
	return !f->consumers_full;
}

/* The candidate goes to the next consumer, or is decided after the last. */
static void pass_on(struct flow *f, struct candidate *c, size_t after)
{
	size_t i = next_consumer(f, after);
	if (after == f->producer) {
		to_consumers(f, c);
	}
	c->stage = i;
	if (i < f->n_stages) {
		f->stages[i].ops->submit(f->states[i], c);
		return;
	}
	from_consumers(f, c);
	if (f->budget) {
		budget_verified(f->budget, clock_mono_ms() - c->handed_ms);
	}
	decide(f, c);
	flow_write_decision(f, c);
	f->night->n_done++;
	struct flow_group *g = of(c->group);
	g->n_open--;
	step_soon(g);
}

/* Candidates of an earlier sitting that can no longer be verified, since the gold or its verifier has changed. */
static void close_pending(struct flow_group *g, const char *why)
{
	for (size_t i = 0; i < g->group.n_reserved; i++) {
		struct candidate *c = g->group.candidates[i];
		if (c && c->state == CANDIDATE_PENDING) {
			c->state = CANDIDATE_UNDECIDED;
			c->reason = "null_columns";
			c->detail = why;
			flow_write_decision(g->flow, c);
		}
	}
}

static void admit_one(struct flow *f, struct flow_group *g)
{
	for (size_t i = 0; i < f->n_stages; i++) {
		const char *reason = NULL;
		if (f->stages[i].ops->admit &&
			!f->stages[i].ops->admit(f->states[i], &g->group, &reason)) {
			close_pending(g, reason);
			settle(g, "failed", "unverifiable", reason);
			return;
		}
	}
	step_soon(g);
}

/* What becomes of a prompt that nobody has begun. */
enum admission { ADMIT, PASS_OVER, LATER, NO_MORE };

static enum admission may_admit(struct flow *f, const struct ledger_prompt *row)
{
	if (f->night->read_vocab) {
		return NO_MORE;
	}
	if (row->id <= f->last_begun) {
		return ADMIT; /* what there is of it is verified, whatever may still be made */
	}
	if (!f->night->can_generate) {
		enum budget_answer answer = flow_ask(f, row->source);
		f->night->n_wanting += answer == BUDGET_GO || answer == BUDGET_WAIT;
		return NO_MORE;
	}
	switch (flow_ask(f, row->source)) {
	case BUDGET_GO:
		return ADMIT;
	case BUDGET_WAIT:
		return LATER;
	case BUDGET_LATE:
		/* Another source's candidates may be short enough. */
		return budget_has_leave(f->budget, clock_wall_ms()) ? PASS_OVER : NO_MORE;
	default:
		return NO_MORE;
	}
}

void flow_admit(struct flow *f)
{
	const struct stage_ops *producer = f->stages[f->producer].ops;
	unsigned n_passed = 0;
	while (!f->stopping && !f->exhausted && f->n_groups < GROUPS_MAX &&
		f->n_opened == f->n_stages && consumers_have_room(f) &&
		producer->has_room(f->states[f->producer])) {
		struct arena arena = {0};
		struct ledger_prompt row;
		struct error err = {0};
		enum ledger_found found = flow_next_prompt(f, &arena, &row, &err);
		struct flow_group *g = NULL;
		enum admission admission = found == LEDGER_FOUND ? may_admit(f, &row) : ADMIT;
		if (found == LEDGER_FOUND && (admission == ADMIT || admission == PASS_OVER)) {
			flow_pass_prompt(f, row.id);
		}
		if (found == LEDGER_FOUND && admission == ADMIT) {
			g = flow_load_group(f, &row, &arena, &err);
		}
		arena_release(&arena);
		if (admission == PASS_OVER) {
			if (++n_passed < SKIPPED_MAX) {
				continue;
			}
			flow_turn_soon(f);
			return;
		}
		if (admission != ADMIT) {
			f->exhausted = f->order.closed = admission == NO_MORE;
			return;
		}
		if (found == LEDGER_FAILED || (found == LEDGER_FOUND && !g)) {
			flow_fail(f, &err);
			return;
		}
		if (found == LEDGER_END) {
			f->exhausted = true;
			return;
		}
		admit_one(f, g);
		if (f->due) {
			return; /* its wave starts first, so that has_room sees the work it brings */
		}
	}
}

/* A prompt whose every candidate failed is itself failed, for the first one's reason. */
static void settle_by_plan(struct flow_group *g, const char *reason)
{
	const struct group *group = &g->group;
	if (group->n_candidates && group_count(group, CANDIDATE_FAILED) == group->n_candidates) {
		settle(g, "failed", group->candidates[0]->reason,
			group->candidates[0]->detail); /* none is missing */
	} else {
		settle(g, "settled", reason, NULL);
	}
}

/* The group's next candidates, up to `to`: those that are there go on their way, missing ones are asked for if `produce`. */
static void start_wave(struct flow_group *g, size_t to, bool produce)
{
	struct flow *f = g->flow;
	struct group *group = &g->group;
	size_t from = group->n_candidates, n_missing = 0;
	group_reserve(group, to);
	group->n_candidates = to;
	g->made = false;
	for (size_t i = from; i < to; i++) {
		const struct candidate *c = group->candidates[i];
		n_missing += !c;
		g->n_open += c ? c->state == CANDIDATE_PENDING : produce;
	}
	for (size_t i = from; i < to; i++) {
		struct candidate *c = group->candidates[i];
		if (c && c->state == CANDIDATE_PENDING) {
			pass_on(f, c, f->producer);
		}
	}
	if (n_missing && produce) {
		f->stages[f->producer].ops->start_wave(f->states[f->producer], group, from, to);
	} else {
		flow_wave_made(group);
	}
}

/* One more than the last place at or after n_candidates with a candidate that is not decided; 0: none. */
static size_t end_of_pending(const struct group *group)
{
	size_t end = 0;
	for (size_t i = group->n_candidates; i < group->n_reserved; i++) {
		if (group->candidates[i] && group->candidates[i]->state == CANDIDATE_PENDING) {
			end = i + 1;
		}
	}
	return end;
}

static bool is_complete(const struct group *group, size_t to)
{
	for (size_t i = group->n_candidates; i < to; i++) {
		if (i >= group->n_reserved || !group->candidates[i]) {
			return false;
		}
	}
	return true;
}

/* Whether the next wave, up to `to`, is for a later round. Once nobody else is left, there is nothing to wait for. */
static bool is_for_later(const struct flow_group *g, size_t to)
{
	const struct flow *f = g->flow;
	const struct group *group = &g->group;
	uint32_t wave = group->wave + (group->n_candidates > 0);
	return f->order.in_rounds && (!f->exhausted || f->order.closed) && wave > f->order.round &&
		!is_complete(group, to);
}

/* Asks the consumers for the scores of the whole group; false: there are none to wait for. */
static bool start_finishing(struct flow_group *g)
{
	struct flow *f = g->flow;
	for (size_t i = 0; i < f->n_stages; i++) {
		const struct stage_ops *ops = f->stages[i].ops;
		g->n_open += ops->finish_group && ops->finish_group(f->states[i], &g->group);
	}
	return g->n_open > 0;
}

void flow_step(struct flow_group *g)
{
	struct flow *f = g->flow;
	struct group *group = &g->group;
	g->due = false;
	if (g->cancelled || g->parked || f->failed) {
		flow_free_group(g);
		return;
	}
	const char *reason = NULL;
	size_t n_accepted = group_count(group, CANDIDATE_ACCEPTED);
	size_t to = f->stages[f->producer].ops->plan(
		f->states[f->producer], group, n_accepted, &reason);
	assert(to >= group->n_candidates && to <= CANDIDATES_MAX);
	bool settled = to == group->n_candidates,
	     possible = is_complete(group, to) || flow_may_produce(g);
	/* Left by an earlier sitting beyond what is wanted now (`--from verify`): verified too, as nothing stays undecided. */
	size_t pending = settled || !possible ? end_of_pending(group) : 0;
	if (f->stopping && !(settled && !pending)) {
		flow_free_group(g); /* the next sitting's, or the backlog's */
	} else if (pending) {
		start_wave(g, pending, false);
	} else if (settled && !g->finished && start_finishing(g)) {
		/* It steps again when that is done, and plans the same. */
	} else if (settled) {
		settle_by_plan(g, reason);
	} else if (!possible) {
		flow_free_group(g); /* the backlog's */
	} else if (is_for_later(g, to)) {
		f->order.n_later++;
		flow_free_group(g);
	} else {
		group->wave += group->n_candidates > 0;
		start_wave(g, to, true);
	}
}

/* --- what stages call back --- */

void flow_unasked(struct run *run, int64_t more)
{
	run->flow->n_unasked += more;
	assert(run->flow->n_unasked >= 0);
}

int64_t flow_prompts_to_come(const struct run *run)
{
	const struct flow *f = run->flow;
	if (f->stopping || f->exhausted || f->backlog) {
		return 0;
	}
	return MAX(f->stats.n_prompts_left - (int64_t)f->n_groups, 0);
}

void flow_candidate(struct candidate *c)
{
	struct flow_group *g = of(c->group);
	struct flow *f = g->flow;
	assert(c->idx < c->group->n_candidates && !c->group->candidates[c->idx]);
	c->group->candidates[c->idx] = c;
	count_candidate(f, c, true);
	f->night->n_done++;
	if (!flow_write_candidate(f, c)) {
		g->n_open--;
	} else if (c->state == CANDIDATE_PENDING) {
		pass_on(f, c, f->producer);
	} else {
		g->n_open--;
	}
	step_soon(g);
	flow_turn_soon(f);
}

void flow_wave_made(struct group *group)
{
	struct flow_group *g = of(group);
	assert(!g->made);
	g->made = true;
	step_soon(g);
}

void flow_cancelled(struct group *group)
{
	struct flow_group *g = of(group);
	g->cancelled = true;
	/* What the producer still owed will not come; the others are answered by whoever has them. */
	for (size_t i = 0; i < group->n_candidates; i++) {
		g->n_open -= group->candidates[i] == NULL;
	}
	flow_wave_made(group);
}

static void note_waiting(struct flow *f, const char *engine)
{
	for (size_t i = 0; i < f->run->def->n_engines; i++) {
		f->night->waiting[i] += strcmp(f->run->def->engines[i].config.name, engine) == 0;
	}
}

void flow_parked(struct candidate *c, const char *engine)
{
	struct flow_group *g = of(c->group);
	struct flow *f = g->flow;
	from_consumers(f, c);
	if (c->rescored) {
		f->night->n_done++;
		flow_write_parked(f, c);
	}
	note_waiting(f, engine);
	g->parked = true;
	g->n_open--;
	step_soon(g);
}

void flow_dropped(struct candidate *c)
{
	struct flow_group *g = of(c->group);
	from_consumers(g->flow, c);
	g->cancelled = true;
	g->n_open--;
	step_soon(g);
}

void flow_prompt_failed(struct group *group, const char *reason, const char *detail)
{
	struct flow_group *g = of(group);
	/* Not freed here: the stage is still in its callback with the group in hand. */
	g->n_open = 0;
	group->n_candidates = 0;
	struct error err = {0};
	if (!ledger_settle_prompt(
		    g->flow->run->ledger, group->prompt.id, "failed", reason, detail, &err)) {
		flow_fail(g->flow, &err);
	} else {
		g->flow->stats.n_prompts_left--;
	}
	g->cancelled = true;
	flow_wave_made(group);
}

void flow_prompt_ids(struct group *group, const uint32_t *ids, size_t n)
{
	struct flow_group *g = of(group);
	uint32_t *copy = arena_alloc_array(&group->arena, n, sizeof(*copy));
	memcpy(copy, ids, n * sizeof(*copy));
	group->prompt.ids = copy;
	group->prompt.n_ids = n;
	struct error err = {0};
	if (!ledger_set_prompt_ids(g->flow->run->ledger, group->prompt.id, ids, n, &err)) {
		flow_fail(g->flow, &err);
	}
}

void flow_done(struct candidate *c)
{
	pass_on(of(c->group)->flow, c, c->stage);
}

void flow_group_finished(struct group *group)
{
	struct flow_group *g = of(group);
	struct flow *f = g->flow;
	struct error err = {0};
	bool ok = true;
	g->n_open--;
	g->finished = true;
	for (size_t i = 0; ok && !g->cancelled && i < group->n_candidates; i++) {
		ok = flow_write_scores(f, group->candidates[i], true, &err);
	}
	if (!ok) {
		flow_fail(f, &err);
	}
	step_soon(g);
}
