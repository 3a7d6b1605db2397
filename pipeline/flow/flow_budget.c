/*
 * When a section may go on, and how it stops: the budget, signals. The controller (budget.h) answers; here it is told what begins and
 * ends, and what it decides is done. In front of a deadline:
 *
 *	candidates begin only where they would be done in time, of shorter sources first
 *	at the end of generation what is still in flight is cancelled; what has come is verified
 *	at the end of the flow whatever is still being verified is left as it is; select and pack begin
 *
 * A signal drains: nothing new is begun, and what is under way may finish for a while. What is asked for through the control socket
 * (flow_control.c) is heeded here as well: a paused night holds its candidates, a drained one ends as at a deadline.
 */
#include "flow/flow_private.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "engine/loop.h"
#include "ledger/history.h"
#include "ledger/ledger.h"
#include "power.h"
#include "run.h"
#include "signals.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define KEY "budget" /* in the ledger */
#define WRITE_EVERY_MS 5000
/* Select and pack, where no earlier night tells: far more than they take. */
#define BATCH_MS 1000
#define BATCH_MS_EACH 0.2
#define BATCH_MARGIN 1.5 /* on what the last night took */
#define CLOSE_MS 500 /* engines that are elsewhere */
#define CLOSE_SERVED_MS 6000
#define SWITCH_WORTH \
	8 /* times what it costs should be left, or the models are loaded for nothing */

/* --- leave --- */

static const char *const backlog_logs[] = {
	[BUDGET_LATE] = "the deadline is near, no further prompt is begun",
	[BUDGET_TOKENS] = "the token budget is spent, no further prompt is begun",
	[BUDGET_ENERGY] = "the energy budget is spent, no further prompt is begun",
	[BUDGET_DRAINED] = "the night is drained, no further prompt is begun",
};

/* Whether there is time for bringing back what writes, in a phase that has not got it. */
static bool is_worth_switching(const struct flow *f)
{
	return f->night->can_generate || !f->budget->limits.deadline_ms ||
		budget_flow_end(f->budget) - clock_wall_ms() > SWITCH_WORTH * flow_switch_ms(f);
}

static enum budget_answer answer_of(struct flow *f, unsigned source)
{
	if (f->night->draining) {
		return BUDGET_DRAINED;
	}
	if (!f->budget) {
		return BUDGET_GO;
	}
	return f->generation_over || !is_worth_switching(f)
		? BUDGET_LATE
		: budget_ask(f->budget, clock_wall_ms(), source);
}

static enum budget_answer ask(struct flow *f, unsigned source)
{
	enum budget_answer answer = answer_of(f, source);
	if (answer == BUDGET_WAIT) {
		f->asked_in_vain = true;
	} else if (answer != BUDGET_GO) {
		f->backlog = true;
		if (!f->reason) {
			f->reason = answer;
			log_info(backlog_logs[answer], "tokens",
				log_fmt("%lld", (long long)f->stats.n_tokens), NULL);
		}
	}
	return answer;
}

enum budget_answer flow_ask(struct flow *f, const char *source)
{
	if (f->run->options.from) {
		return BUDGET_TOKENS;
	}
	return ask(f, f->budget ? budget_source(f->budget, source) : 0);
}

/*
 * Whether tokens may still be spent. Without leave, what is there is verified and settled all the same: it has been paid for.
 * `--from` never generates.
 */
bool flow_may_produce(struct flow_group *g)
{
	struct flow *f = g->flow;
	if (f->stopping || f->run->options.from) {
		return false;
	}
	enum budget_answer answer = ask(f, g->source);
	bool may = answer == BUDGET_GO || answer == BUDGET_WAIT;
	f->night->n_wanting += may && !f->night->can_generate;
	return may && f->night->can_generate;
}

enum engine_leave flow_begin(struct group *group, struct budget_ticket *tickets, uint32_t n)
{
	struct flow_group *g = group->flow;
	struct flow *f = g->flow;
	if (f->night->paused) {
		return f->stopping ? ENGINE_DROP : ENGINE_HOLD;
	}
	switch (ask(f, g->source)) {
	case BUDGET_GO:
		for (uint32_t i = 0; f->budget && i < n; i++) {
			budget_begin(f->budget, &tickets[i], g->source, clock_wall_ms());
		}
		return ENGINE_GO;
	case BUDGET_WAIT:
		return ENGINE_HOLD;
	default:
		return ENGINE_DROP;
	}
}

void flow_end(struct group *group, struct budget_ticket *ticket, enum engine_reason reason,
	uint32_t n_tokens)
{
	struct budget *b = ((struct flow_group *)group->flow)->flow->budget;
	if (!b) {
		return;
	}
	if (reason == ENGINE_OK) {
		budget_end(b, ticket, clock_wall_ms(), n_tokens);
	} else if (reason == ENGINE_CANCELLED) {
		budget_drop(b, ticket, clock_wall_ms());
	} else {
		budget_forget(b, ticket);
	}
}

/* --- books --- */

static double number_of(const struct json *object, const char *key)
{
	double value = 0;
	return json_num(json_get(object, key), &value) ? value : 0;
}

static void read_books(struct flow *f)
{
	struct arena arena = {0};
	struct error ignored;
	const char *text = ledger_meta(f->run->ledger, KEY, &arena);
	AUTO_JSON struct json *before = text ? json_parse(text, strlen(text), &ignored) : NULL;
	f->books = (struct flow_books){.joules = 3600 * number_of(before, "energy_wh_used"),
		.tokens_thrown = number_of(before, "tokens_thrown"),
		.busy_slot_ms = number_of(before, "slot_ms_used"),
		.slot_ms = number_of(before, "slot_ms"),
		.n_thrown = (int64_t)number_of(before, "candidates_thrown")};
	arena_release(&arena);
}

static double joules(struct flow *f)
{
	return f->books.joules + (f->power ? power_joules(f->power) : 0);
}

static void put(struct json_writer *w, const char *key, double value)
{
	json_member_num(w, key, value);
}

static void put_deadline(struct json_writer *w, const struct flow *f)
{
	char stamp[40];
	clock_stamp(f->budget->limits.deadline_ms, stamp);
	json_member_z(w, "deadline", stamp);
	json_member_int(w, "deadline_ms", f->budget->limits.deadline_ms);
}

static void put_books(struct json_writer *w, struct flow *f)
{
	const struct budget *b = f->budget;
	if (b->limits.deadline_ms) {
		put_deadline(w, f);
	}
	if (b->limits.tokens) {
		json_member_uint(w, "tokens", b->limits.tokens);
	}
	if (f->power) {
		put(w, "energy_wh", b->limits.energy_wh);
		put(w, "energy_wh_used", joules(f) / 3600);
		json_member_z(w, "energy_source", power_source(f->power));
		json_member_bool(
			w, "energy_estimated", strcmp(power_source(f->power), "watts") == 0);
	}
	json_member_int(w, "candidates_thrown", f->books.n_thrown + (int64_t)b->n_thrown);
	put(w, "tokens_thrown", f->books.tokens_thrown + b->tokens_thrown);
	put(w, "slot_ms_used", f->books.busy_slot_ms);
	put(w, "slot_ms", f->books.slot_ms);
}

static void write_books(struct flow *f)
{
	struct error err = {0};
	struct str text;
	str_init(&text, STR_NO_CAP);
	struct json_writer w = {.out = &text};
	json_begin_object(&w);
	if (f->budget) {
		put_books(&w, f);
	}
	if (f->backlog && f->reason) {
		json_member_z(&w, "backlog_reason", budget_reason(f->reason));
	}
	json_end_object(&w);
	if (!f->failed && !ledger_set_meta(f->run->ledger, KEY, text.data, &err)) {
		flow_fail(f, &err);
	}
	str_release(&text);
}

/* What the batch stages took of the last night, per candidate. */
static double batch_ms_each(const struct flow *f)
{
	struct error ignored;
	AUTO_FREE char *text = history_last_summary(f->run->history);
	AUTO_JSON struct json *last = text ? json_parse(text, strlen(text), &ignored) : NULL;
	double ms = 0, n = number_of(last, "candidates");
	const struct definition *def = f->run->def;
	for (size_t i = 1; last && i < def->n_stages; i++) {
		if (def->stages[i].ops->run) {
			ms += number_of(
				json_get(json_get(last, "stages"), def->stages[i].ops->name), "ms");
		}
	}
	return n >= 1000 ? BATCH_MARGIN * ms / n : BATCH_MS_EACH;
}

static int64_t reserve_ms(const struct flow *f)
{
	const struct definition *def = f->run->def;
	bool served = false;
	for (size_t i = 0; i < def->n_engines; i++) {
		served = served || (def->engines[i].used && def->engines[i].config.serve.model);
	}
	return BATCH_MS + (served ? CLOSE_SERVED_MS : CLOSE_MS) +
		(int64_t)(f->batch_ms_each * (double)f->stats.n_candidates);
}

/* --- its time --- */

static void begin_night(struct flow *f)
{
	const struct run *run = f->run;
	struct budget *storage = &f->night->budget;
	struct budget_limits limits = {.deadline_ms = run->deadline_ms,
		.tokens = run->def->budget.tokens,
		.energy_wh = run->def->budget.energy_wh,
		.drain_ms = run->def->budget.drain_ms};
	if (limits.deadline_ms) {
		f->night->length_ms = MAX(limits.deadline_ms - clock_wall_ms(), 0);
		/* A short night would be over before it has begun. */
		limits.drain_ms = MIN(limits.drain_ms, (uint64_t)f->night->length_ms / 4);
	}
	budget_init(storage, &limits);
	f->night->begun = true;
	f->night->has_budget = limits.deadline_ms || limits.tokens || limits.energy_wh > 0;
	budget_add_tokens(storage, (double)f->stats.n_tokens);
	if (limits.deadline_ms) {
		char stamp[40];
		clock_stamp(limits.deadline_ms, stamp);
		log_info(limits.deadline_ms > clock_wall_ms()
				? "the night ends at the deadline"
				: "the deadline has passed: what is there is brought home",
			"deadline", stamp, NULL);
	}
}

void flow_budget_open(struct flow *f)
{
	if (!f->night->begun) {
		begin_night(f);
	}
	f->ticked_ms = clock_mono_ms();
	if (!f->night->has_budget) {
		return;
	}
	struct budget *b = f->budget = &f->night->budget;
	/* Of this phase; what earlier ones have thrown away is in the books. */
	b->n_thrown = 0;
	b->tokens_thrown = 0;
	b->verify_ms = 0;
	read_books(f);
	f->batch_ms_each = batch_ms_each(f);
	b->reserve_ms = reserve_ms(f);
	if (clock_wall_ms() >= budget_flow_end(b)) {
		f->grace_end_ms = INT64_MAX; /* until the engines are ready */
	}
	if (b->limits.energy_wh > 0) {
		f->power = power_new(f->run->loop, f->run->def->budget.watts);
	}
}

void flow_budget_begin(struct flow *f)
{
	int64_t now = clock_wall_ms();
	f->ticked_ms = clock_mono_ms();
	/* Too late for this section: what earlier sittings have left undecided still gets a moment. */
	if (f->budget && f->grace_end_ms) {
		f->grace_end_ms = now + (int64_t)f->run->def->budget.drain_ms;
	}
}

static void count_slots(struct flow *f)
{
	const char *name = definition_writer(f->run->def);
	struct engine *engine = name ? run_engine(f->run, name) : NULL;
	int64_t now = clock_mono_ms();
	double ms = (double)(now - f->ticked_ms);
	f->ticked_ms = now;
	if (engine && f->n_opened == f->n_stages && engine_info(engine)->n_slots) {
		uint32_t n = engine_info(engine)->n_slots;
		f->books.slot_ms += ms * n;
		f->books.busy_slot_ms += ms * MIN(n, f->budget->n_flying);
	}
}

static void end_generation(struct flow *f)
{
	const struct stage_def *producer = &f->stages[f->producer];
	f->generation_over = true;
	uint32_t n = f->budget ? f->budget->n_flying : f->stats.in_flight;
	if (n) {
		log_info("the time to generate is over, cancelling what is in flight", "candidates",
			log_fmt("%u", n), NULL);
	}
	for (struct flow_group *g = f->groups; g && f->n_opened > f->producer; g = g->next) {
		if (producer->ops->cancel) {
			producer->ops->cancel(f->states[f->producer], &g->group);
		}
	}
	flow_turn_soon(f);
}

static void end_flow(struct flow *f)
{
	f->backlog = true;
	f->reason = f->reason ? f->reason : BUDGET_LATE;
	if (f->n_groups) {
		log_info("the time to verify is over, stopping what is under way", "prompts",
			log_fmt("%zu", f->n_groups), NULL);
	}
	flow_stop_admitting(f);
	flow_cancel_all(f);
}

static void wake_engines(struct flow *f)
{
	f->asked_in_vain = false;
	for (size_t i = 0; i < f->run->def->n_engines; i++) {
		if (f->run->engines[i]) {
			engine_wake(f->run->engines[i]);
		}
	}
	flow_turn_soon(f);
}

void flow_budget_tick(struct flow *f)
{
	struct budget *b = f->budget;
	int64_t now = clock_wall_ms(), mono = clock_mono_ms();
	if (f->night->draining && !f->generation_over && mono >= f->night->drain_end_ms) {
		end_generation(f);
	}
	if (!b || f->stopping) {
		return;
	}
	count_slots(f);
	b->reserve_ms = reserve_ms(f);
	b->later_ms = flow_later_ms(f);
	b->energy_wh = joules(f) / 3600;
	if (mono - f->written_ms >= WRITE_EVERY_MS) {
		f->written_ms = mono;
		write_books(f);
	}
	if (!f->generation_over && now >= budget_generation_end(b)) {
		end_generation(f);
	}
	if (now >= MAX(budget_flow_end(b), f->grace_end_ms)) {
		end_flow(f);
	} else if (f->asked_in_vain) {
		wake_engines(f);
	}
}

void flow_budget_close(struct flow *f)
{
	if (!f->budget) {
		if (f->reason == BUDGET_DRAINED) {
			write_books(f);
		}
		return;
	}
	count_slots(f);
	write_books(f);
	f->books.joules = joules(f);
	power_free(f->power);
	f->power = NULL;
}

/* --- signals --- */

static void drained(void *ctx)
{
	struct flow *f = ctx;
	f->drain_timer = NULL;
	if (f->n_groups) {
		log_info("the time to drain is over, stopping what is under way", "prompts",
			log_fmt("%zu", f->n_groups), NULL);
		flow_cancel_all(f);
	}
}

static void drain(struct flow *f, uint64_t ms)
{
	flow_stop_admitting(f);
	if (f->night->paused) {
		wake_engines(f); /* what is held is given up */
	}
	loop_timer_stop(f->drain_timer);
	f->drain_timer = loop_after(f->run->loop, ms, drained, f);
}

void flow_interrupt(struct run *run)
{
	run->interrupted = true;
	flow_cancel_all(run->flow);
	flow_stop_admitting(run->flow);
}

void flow_heed_signals(struct flow *f)
{
	unsigned n = signals_count();
	if (n == f->n_signals) {
		return;
	}
	f->n_signals = n;
	f->run->interrupted = true;
	if (n > 1) {
		flow_interrupt(f->run);
		return;
	}
	char duration[24];
	clock_duration((int64_t)f->run->def->budget.drain_ms, duration);
	log_info("stopping: candidates under way may finish", "signal", signals_last(), "drain",
		duration, "again", "to stop at once", NULL);
	drain(f, f->run->def->budget.drain_ms);
}
