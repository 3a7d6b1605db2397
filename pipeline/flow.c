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
#include "flow.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "engine/loop.h"
#include "ledger/ledger.h"
#include "run.h"
#include "stage.h"

#include <assert.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <uv.h>

#define GROUPS_MAX 4096 /* in memory at once, whatever the stages say */
#define TICK_MS 250

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
	int64_t cursor; /* id of the prompt admitted last */
	bool exhausted; /* no prompt beyond the cursor */
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
};

static void turn_soon(struct flow *f);
static void cancel_all(struct flow *f);

static struct flow_group *of(struct group *group)
{
	return group->flow;
}

/* --- ending --- */

static void stop_admitting(struct flow *f)
{
	f->stopping = true;
	f->stats.stopping = true;
	turn_soon(f);
}

static void fail(struct flow *f, const struct error *err)
{
	if (!f->failed) {
		f->failed = true;
		f->err = *err;
		stop_admitting(f);
		cancel_all(f);
	}
}

void flow_failed(struct run *run, const struct error *err)
{
	fail(run->flow, err);
}

static void cancel_all(struct flow *f)
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
	turn_soon(f);
}

/* --- writing --- */

static bool write_candidate(struct flow *f, const struct candidate *c)
{
	const struct ledger_candidate row = {
		.id = candidate_id(c->group->prompt.id, c->idx),
		.prompt = c->group->prompt.id,
		.idx = c->idx,
		.wave = c->wave,
		.seed = c->seed,
		.state = candidate_state_name(c->state),
		.reason = c->reason,
		.detail = c->detail,
		.finish = c->state == CANDIDATE_FAILED ? NULL : finish_name(c->finish),
		.n_tokens = c->n_tokens,
		.token_source = c->retokenized ? "retokenized"
			: c->ids               ? "sampled"
					       : "none",
		.endpoint = c->endpoint,
		.attempts = c->attempts,
		.latency_ms = c->latency_ms,
		.created_ms = clock_wall_ms(),
		.text = c->state == CANDIDATE_FAILED ? (struct slice){0} : c->text,
		.ids = c->ids,
		.n_ids = c->n_ids,
		.logprobs = c->logprobs,
	};
	struct error err = {0};
	if (!ledger_add_candidate(f->run->ledger, &row, &err)) {
		fail(f, &err);
		return false;
	}
	return true;
}

/* Those of single candidates, or those of the group. */
static bool write_scores(
	struct flow *f, const struct candidate *c, bool of_group, struct error *err)
{
	const struct definition *def = f->run->def;
	int64_t id = candidate_id(c->group->prompt.id, c->idx);
	bool ok = true;
	for (size_t i = 0; ok && i < def->n_verifiers; i++) {
		const struct score *s = &c->scores[i];
		if (c->scored[i] && verifier_is_of_group(&def->verifiers[i]) == of_group) {
			ok = ledger_add_score(f->run->ledger, id,
				&(struct ledger_score){def->verifiers[i].name, s->reason, s->detail,
					s->known, s->value, s->audit, s->us, s->n_tokens},
				err);
		}
	}
	return ok;
}

static bool write_decision(struct flow *f, const struct candidate *c)
{
	int64_t id = candidate_id(c->group->prompt.id, c->idx);
	struct error err = {0};
	bool ok = !c->has_stored || ledger_clear_scores(f->run->ledger, id, &err);
	ok = ok && write_scores(f, c, false, &err) &&
		ledger_set_candidate_state(f->run->ledger, id, candidate_state_name(c->state),
			c->reason, c->detail, &err);
	if (!ok) {
		fail(f, &err);
	}
	return ok;
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

static void group_free(struct flow_group *g)
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
	turn_soon(f);
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
	turn_soon(g->flow);
}

static void settle(struct flow_group *g, const char *state, const char *reason, const char *detail)
{
	struct flow *f = g->flow;
	struct error err = {0};
	if (!ledger_settle_prompt(
		    f->run->ledger, g->group.prompt.id, state, reason, detail, &err)) {
		fail(f, &err);
	} else {
		f->stats.n_prompts_left--;
	}
	group_free(g);
}

static size_t count_state(const struct group *group, enum candidate_state state)
{
	size_t n = 0;
	for (size_t i = 0; i < group->n_candidates; i++) {
		n += group->candidates[i] && group->candidates[i]->state == state;
	}
	return n;
}

static size_t next_consumer(const struct flow *f, size_t after)
{
	size_t i = after + 1;
	while (i < f->n_stages && !f->stages[i].ops->submit) {
		i++;
	}
	return i;
}

/* The candidate goes to the next consumer, or is decided after the last. */
static void pass_on(struct flow *f, struct candidate *c, size_t after)
{
	size_t i = next_consumer(f, after);
	c->stage = i;
	if (i < f->n_stages) {
		f->stages[i].ops->submit(f->states[i], c);
		return;
	}
	decide(f, c);
	write_decision(f, c);
	struct flow_group *g = of(c->group);
	g->n_open--;
	step_soon(g);
}

/* Those of verifiers that the definition still has. A group's score is taken afresh with the group. */
static void adopt_scores(struct flow *f, struct candidate *c, const struct ledger_candidate *row)
{
	const struct definition *def = f->run->def;
	c->has_stored = row->n_scores > 0;
	for (size_t i = 0; i < def->n_verifiers; i++) {
		for (size_t k = 0; k < row->n_scores; k++) {
			const struct ledger_score *s = &row->scores[k];
			if (strcmp(s->verifier, def->verifiers[i].name) == 0 &&
				!verifier_is_of_group(&def->verifiers[i])) {
				c->scores[i] = (struct score){s->known, s->value, s->reason,
					s->detail, s->audit, s->n_tokens, s->us};
				c->scored[i] = true;
			}
		}
	}
}

/* Adopts a candidate that the ledger has; one that is pending was written but not yet decided when the last sitting ended. */
static struct candidate *adopt(
	struct flow *f, struct group *group, const struct ledger_candidate *row)
{
	struct candidate *c = group_new_candidate(group, f->run->def->n_verifiers, row->idx);
	c->wave = row->wave;
	c->seed = row->seed;
	c->text = row->text;
	c->ids = row->ids;
	c->n_ids = row->n_ids;
	c->logprobs = row->logprobs;
	c->n_tokens = row->n_tokens;
	c->retokenized = strcmp(row->token_source, "retokenized") == 0;
	c->reason = row->reason;
	c->detail = row->detail;
	adopt_scores(f, c, row);
	for (int s = 0; s <= CANDIDATE_FAILED; s++) {
		if (strcmp(candidate_state_name(s), row->state) == 0) {
			c->state = s;
		}
	}
	for (int k = 0; row->finish && k <= FINISH_CANCELLED; k++) {
		if (strcmp(finish_name(k), row->finish) == 0) {
			c->finish = k;
		}
	}
	return c;
}

static bool load_candidates(struct flow_group *g, struct error *err)
{
	struct flow *f = g->flow;
	struct group *group = &g->group;
	struct ledger_candidate *rows;
	size_t n;
	if (!ledger_get_candidates(
		    f->run->ledger, group->prompt.id, &group->arena, &rows, &n, err)) {
		return false;
	}
	for (size_t i = 0; i < n; i++) {
		group_reserve(group, rows[i].idx + 1);
		group->candidates[rows[i].idx] = adopt(f, group, &rows[i]);
	}
	/* A plan sees what earlier waves gave, never what a later one left in the ledger: waves are gone through again. */
	group->n_candidates = 0;
	return true;
}

static struct flow_group *group_load(struct flow *f, const struct ledger_prompt *row,
	struct arena *taken_arena, struct error *err)
{
	struct flow_group *g = xcalloc(1, sizeof(*g));
	g->flow = f;
	g->made = true;
	g->next = f->groups;
	if (f->groups) {
		f->groups->prev = g;
	}
	f->groups = g;
	f->n_groups++;
	struct group *group = &g->group;
	group->arena = *taken_arena;
	*taken_arena = (struct arena){0};
	group->flow = g;
	g->fields = json_parse(row->fields.data, row->fields.len, err);
	group->prompt = (struct prompt){
		row->id, row->prompt_id, row->source, g->fields, row->ids, row->n_ids};
	group->prepared = arena_alloc_array(
		&group->arena, f->run->def->n_verifiers, sizeof(void *));
	if (!g->fields || !load_candidates(g, err)) {
		group_free(g);
		return NULL;
	}
	return g;
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
			write_decision(g->flow, c);
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

/*
 * Whether tokens may still be spent. Without leave, what is there is verified and settled all the same: it has been paid for.
 * `--from` never generates.
 */
static bool may_produce(struct flow *f)
{
	uint64_t tokens = f->run->def->budget.tokens;
	if (tokens && f->stats.n_tokens >= (int64_t)tokens && !f->backlog) {
		log_info("the token budget is spent, no further prompt is begun", "tokens",
			log_fmt("%lld", (long long)f->stats.n_tokens), NULL);
		f->backlog = true;
	}
	return !f->stopping && !f->backlog && !f->run->options.from;
}

static void admit(struct flow *f)
{
	const struct stage_ops *producer = f->stages[f->producer].ops;
	while (!f->stopping && !f->exhausted && f->n_groups < GROUPS_MAX &&
		producer->has_room(f->states[f->producer])) {
		struct arena arena = {0};
		struct ledger_prompt row;
		struct error err = {0};
		enum ledger_found found = ledger_next_pending(
			f->run->ledger, f->cursor, &arena, &row, &err);
		struct flow_group *g = NULL;
		if (found == LEDGER_FOUND) {
			f->cursor = row.id;
			g = group_load(f, &row, &arena, &err);
		}
		arena_release(&arena);
		if (found == LEDGER_FAILED || (found == LEDGER_FOUND && !g)) {
			fail(f, &err);
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
	if (group->n_candidates && count_state(group, CANDIDATE_FAILED) == group->n_candidates) {
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

static void step(struct flow_group *g)
{
	struct flow *f = g->flow;
	struct group *group = &g->group;
	g->due = false;
	if (g->cancelled || f->failed) {
		group_free(g);
		return;
	}
	const char *reason = NULL;
	size_t n_accepted = count_state(group, CANDIDATE_ACCEPTED);
	size_t to = f->stages[f->producer].ops->plan(
		f->states[f->producer], group, n_accepted, &reason);
	assert(to >= group->n_candidates && to <= CANDIDATES_MAX);
	bool settled = to == group->n_candidates,
	     possible = is_complete(group, to) || may_produce(f);
	/* Left by an earlier sitting beyond what is wanted now (`--from verify`): verified too, as nothing stays undecided. */
	size_t pending = settled || !possible ? end_of_pending(group) : 0;
	if (f->stopping && !(settled && !pending)) {
		group_free(g); /* the next sitting's, or the backlog's */
	} else if (pending) {
		start_wave(g, pending, false);
	} else if (settled && !g->finished && start_finishing(g)) {
		/* It steps again when that is done, and plans the same. */
	} else if (settled) {
		settle_by_plan(g, reason);
	} else if (!possible) {
		group_free(g); /* the backlog's */
	} else {
		group->wave += group->n_candidates > 0;
		start_wave(g, to, true);
	}
}

/* --- what stages call back --- */

void flow_candidate(struct candidate *c)
{
	struct flow_group *g = of(c->group);
	struct flow *f = g->flow;
	assert(c->idx < c->group->n_candidates && !c->group->candidates[c->idx]);
	c->group->candidates[c->idx] = c;
	count_candidate(f, c, true);
	if (!write_candidate(f, c)) {
		g->n_open--;
	} else if (c->state == CANDIDATE_PENDING) {
		pass_on(f, c, f->producer);
	} else {
		g->n_open--;
	}
	step_soon(g);
	turn_soon(f);
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

void flow_dropped(struct candidate *c)
{
	struct flow_group *g = of(c->group);
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
		fail(g->flow, &err);
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
		fail(g->flow, &err);
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
		ok = write_scores(f, group->candidates[i], true, &err);
	}
	if (!ok) {
		fail(f, &err);
	}
	step_soon(g);
}

void flow_finished(struct run *run)
{
	run->flow->finished = true;
	turn_soon(run->flow);
}

void flow_wake(struct run *run)
{
	turn_soon(run->flow);
}

/* --- the loop's turns --- */

static void close_all(struct flow *f);

static void turn(void *ctx)
{
	struct flow *f = ctx;
	f->turn = NULL;
	do {
		while (f->due) {
			struct flow_group *g = f->due;
			f->due = g->next_due;
			if (!f->due) {
				f->due_end = &f->due;
			}
			step(g);
		}
		admit(f);
	} while (f->due);
	if (f->n_groups || !(f->exhausted || f->stopping)) {
		return;
	}
	const struct stage_def *producer = &f->stages[f->producer];
	if (!f->finishing) {
		f->finishing = true;
		bool skip = f->failed || f->run->interrupted || !producer->ops->finish;
		f->finished = skip;
		if (!skip) {
			producer->ops->finish(f->states[f->producer]);
		}
	}
	if (f->finished || f->failed) {
		close_all(f);
	}
}

static void turn_soon(struct flow *f)
{
	if (!f->turn && !f->closing) {
		f->turn = loop_after(f->run->loop, 0, turn, f);
	}
}

static void commit_tick(void *ctx)
{
	struct flow *f = ctx;
	struct error err = {0};
	f->commit_timer = loop_after(f->run->loop, f->run->def->ledger.commit_ms, commit_tick, f);
	if (!f->failed && !ledger_flush(f->run->ledger, &err)) {
		fail(f, &err);
	}
}

static void read_engine_stats(struct flow *f)
{
	f->stats.in_flight = f->stats.waiting = 0;
	for (size_t i = 0; i < f->run->def->n_engines; i++) {
		if (f->run->engines[i]) {
			struct engine_stats s;
			engine_stats(f->run->engines[i], &s);
			f->stats.in_flight += s.in_flight;
			f->stats.waiting += s.waiting;
		}
	}
}

static void show_tick(void *ctx)
{
	struct flow *f = ctx;
	f->tick_timer = loop_after(f->run->loop, TICK_MS, show_tick, f);
	f->stats.ms_sitting = clock_mono_ms() - f->started_ms;
	read_engine_stats(f);
	if (f->tick) {
		f->tick(f->tick_ctx, &f->stats);
	}
}

static void drained(void *ctx)
{
	struct flow *f = ctx;
	f->drain_timer = NULL;
	if (f->n_groups) {
		log_info("the time to drain is over, stopping what is under way", "prompts",
			log_fmt("%zu", f->n_groups), NULL);
		cancel_all(f);
	}
}

static void drain(struct flow *f, uint64_t ms)
{
	stop_admitting(f);
	loop_timer_stop(f->drain_timer);
	f->drain_timer = loop_after(f->run->loop, ms, drained, f);
}

static void on_signal(uv_signal_t *handle, int number)
{
	struct flow *f = handle->data;
	f->run->interrupted = true;
	if (f->closing) {
		return;
	}
	f->n_signals++;
	if (f->n_signals > 1) {
		cancel_all(f);
		stop_admitting(f);
		return;
	}
	char duration[24];
	clock_duration((int64_t)f->run->def->budget.drain_ms, duration);
	log_info("stopping: candidates under way may finish", "signal",
		number == SIGINT ? "SIGINT" : "SIGTERM", "drain", duration, "again",
		"to stop at once", NULL);
	drain(f, f->run->def->budget.drain_ms);
}

/* --- budget: the deadline --- */

static void on_deadline(void *ctx)
{
	struct flow *f = ctx;
	f->deadline_timer = NULL;
	f->backlog = true;
	log_info("the deadline is near, no further prompt is begun", "deadline",
		f->run->def->budget.deadline, NULL);
	drain(f, f->run->def->budget.drain_ms);
}

/* Milliseconds until the next HH:MM of local time. */
static int64_t until(const char *deadline)
{
	int64_t now = clock_wall_ms();
	time_t seconds = (time_t)(now / 1000);
	struct tm tm;
	unsigned hour = 0, minute = 0;
	localtime_r(&seconds, &tm);
	if (sscanf(deadline, "%2u:%2u", &hour, &minute) != 2) {
		return INT64_MAX; /* definition_read has refused it */
	}
	tm.tm_hour = (int)hour;
	tm.tm_min = (int)minute;
	tm.tm_sec = 0;
	tm.tm_isdst = -1;
	int64_t at = (int64_t)mktime(&tm) * 1000;
	if (at <= now) {
		tm.tm_mday++;
		tm.tm_isdst = -1;
		at = (int64_t)mktime(&tm) * 1000;
	}
	return at - now;
}

static void set_deadline(struct flow *f)
{
	const char *deadline = f->run->def->budget.deadline;
	if (!deadline) {
		return;
	}
	char stamp[40];
	int64_t left = until(deadline), drain_ms = (int64_t)f->run->def->budget.drain_ms;
	clock_stamp(clock_wall_ms() + left, stamp);
	log_info("the night ends at the deadline", "deadline", stamp, NULL);
	f->deadline_timer = loop_after(
		f->run->loop, (uint64_t)MAX(left - drain_ms, 0), on_deadline, f);
}

/* --- engines, opening, closing --- */

static void begin(struct flow *f)
{
	struct error err = {0};
	for (; f->n_opened < f->n_stages; f->n_opened++) {
		const struct stage_def *s = &f->stages[f->n_opened];
		f->states[f->n_opened] = xcalloc(1, MAX(s->ops->state_size, 1));
		if (!run_store_fingerprint(f->run, s, &err) ||
			!ledger_set_stage(f->run->ledger, s->ops->name, false, 0, NULL, &err) ||
			(s->ops->open &&
				!s->ops->open(f->states[f->n_opened], s->config, f->run, &err))) {
			f->n_opened++; /* close() accepts a state whose open() failed */
			error_context(&err, "stage '%s'", s->ops->name);
			fail(f, &err);
			return;
		}
	}
	set_deadline(f);
	f->started_ms = clock_mono_ms();
	turn_soon(f);
}

static void engine_ready(void *ctx, struct engine *engine)
{
	struct flow *f = ctx;
	const struct engine_info *info = engine_info(engine);
	struct error err = {0};
	log_info("engine is ready", "engine", engine_name(engine), "dialect", info->dialect,
		"model", info->model, "slots", log_fmt("%u", info->n_slots), "context",
		log_fmt("%u", info->context), NULL);
	if (!run_check_engine(f->run, engine_name(engine), info, &err)) {
		fail(f, &err);
	} else if (++f->n_engines_ready == f->n_engines_wanted && !f->failed && !f->stopping) {
		begin(f);
	}
}

static void engine_failed(void *ctx, struct engine *engine, const struct error *err)
{
	struct error copy = *err;
	if (strncmp(copy.msg, "engine '", 8) != 0) {
		error_context(&copy, "engine '%s'", engine_name(engine));
	}
	fail(ctx, &copy);
}

static void start_engines(struct flow *f)
{
	struct run *run = f->run;
	run->engines = xcalloc(run->def->n_engines, sizeof(*run->engines));
	struct engine_events events = {engine_ready, engine_failed, f};
	for (size_t i = 0; i < run->def->n_engines; i++) {
		if (run->def->engines[i].used) {
			run->engines[i] = engine_new(
				run->loop, &run->def->engines[i].config, run->dir, events);
			f->n_engines_wanted++;
			f->n_engines_open++;
		}
	}
	for (size_t i = 0; i < run->def->n_engines; i++) {
		if (run->engines[i]) {
			engine_start(run->engines[i]);
		}
	}
	if (!f->n_engines_wanted) {
		begin(f);
	}
}

static void signal_closed(uv_handle_t *handle)
{
	struct flow *f = handle->data;
	f->n_signals_open--;
}

/* After the engines: until they are closed, cancelled requests are still answered to the stages. */
static void close_stages(struct flow *f)
{
	for (size_t i = 0; i < f->n_opened; i++) {
		if (f->stages[i].ops->close) {
			f->stages[i].ops->close(f->states[i]);
		}
		free(f->states[i]);
	}
	f->n_opened = 0;
}

static void engine_closed(void *ctx)
{
	struct flow *f = ctx;
	if (--f->n_engines_open == 0) {
		close_stages(f);
		uv_close((uv_handle_t *)&f->sigint, signal_closed);
		uv_close((uv_handle_t *)&f->sigterm, signal_closed);
	}
}

static void close_all(struct flow *f)
{
	struct run *run = f->run;
	f->closing = true;
	loop_timer_stop(f->commit_timer);
	loop_timer_stop(f->tick_timer);
	loop_timer_stop(f->drain_timer);
	loop_timer_stop(f->deadline_timer);
	loop_timer_stop(f->turn);
	f->commit_timer = f->tick_timer = f->drain_timer = f->deadline_timer = f->turn = NULL;
	f->n_engines_open++; /* held until all have been asked */
	for (size_t i = 0; i < run->def->n_engines; i++) {
		if (run->engines[i]) {
			engine_close(run->engines[i], engine_closed, f);
			run->engines[i] = NULL;
		}
	}
	engine_closed(f);
}

/* Signals are watched from the very start: loading a model takes time, too. */
static void watch_signals(struct flow *f)
{
	uv_loop_t *uv = loop_uv(f->run->loop);
	uv_signal_init(uv, &f->sigint);
	uv_signal_init(uv, &f->sigterm);
	f->sigint.data = f->sigterm.data = f;
	uv_signal_start(&f->sigint, on_signal, SIGINT);
	uv_signal_start(&f->sigterm, on_signal, SIGTERM);
	f->n_signals_open = 2;
}

static bool count_what_is_there(struct flow *f, struct error *err)
{
	struct arena arena = {0};
	struct ledger_count *counts;
	size_t n;
	bool ok = ledger_counts(f->run->ledger, &arena, &counts, &n, err);
	for (size_t i = 0; ok && i < n; i++) {
		const struct ledger_count *c = &counts[i];
		if (strcmp(c->what, "prompt") == 0) {
			f->stats.n_prompts += c->n;
			f->stats.n_prompts_left += strcmp(c->state, "pending") == 0 ? c->n : 0;
		} else if (strcmp(c->what, "candidate") == 0) {
			bool failed = strcmp(c->state, "failed") == 0;
			*(failed ? &f->stats.n_failed : &f->stats.n_candidates) += c->n;
			f->stats.n_accepted += strcmp(c->state, "accepted") == 0 ? c->n : 0;
			f->stats.n_tokens += failed ? 0 : c->n_tokens;
		}
	}
	arena_release(&arena);
	return ok;
}

bool flow_run(struct run *run, const struct stage_def *stages, size_t n,
	void (*tick)(void *ctx, const struct flow_stats *stats), void *tick_ctx, bool *out_backlog,
	struct error *err)
{
	struct flow f = {
		.run = run, .stages = stages, .n_stages = n, .tick = tick, .tick_ctx = tick_ctx};
	f.due_end = &f.due;
	while (!stages[f.producer].ops->plan) {
		f.producer++;
		assert(f.producer < n);
	}
	if (!count_what_is_there(&f, err)) {
		return false;
	}
	f.states = xcalloc(n, sizeof(*f.states));
	f.row = xcalloc(run->columns.n, sizeof(*f.row));
	run->flow = &f;
	run->loop = loop_new();
	f.started_ms = clock_mono_ms();
	watch_signals(&f);
	start_engines(&f);
	commit_tick(&f);
	show_tick(&f);
	loop_run(run->loop);
	loop_free(run->loop);
	run->loop = NULL;
	run->flow = NULL;
	free(f.states);
	free(f.row);
	/* Also after a failure: what came back is kept, if the ledger lets us. */
	struct error flush_err = {0};
	if (!ledger_flush(run->ledger, &flush_err) && !f.failed) {
		*err = flush_err;
		return false;
	}
	*out_backlog = f.backlog;
	if (f.failed) {
		*err = f.err;
		return false;
	}
	if (run->interrupted) {
		return error_set(err, FAIL_INTERRUPTED,
			"interrupted; the same command goes on where this run stopped");
	}
	return true;
}
