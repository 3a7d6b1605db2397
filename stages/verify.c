/*
 * Sends each candidate through the pipeline's verifiers, in their order. Verifiers that compute run on the thread pool, those
 * that ask somebody are started on the loop. `when` is evaluated on the loop, with the scores so far, right before its
 * verifier; a verifier that was not asked leaves no score, and its column is NULL.
 *
 * One job per candidate goes from verifier to verifier; neighbouring computing verifiers without `when` share one trip to
 * the pool. A score that the ledger kept from an earlier sitting (`--from verify`: its verifier has not changed) is not made again, but
 * `when` is asked again, as what it reads may be new.
 *
 * Audit: of the candidates that `when` leaves out, a share drawn by seed, prompt and place is asked all the same. What that gives
 * is marked, counted and compared, and no expression ever sees it.
 *
 * Verifiers of groups (`vote`) come last, when a prompt is about to be settled. Only then are its candidates known, and they
 * are taken by their place, so neither the order of arrival nor the size of waves can change a score.
 */
#include "stages.h"

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "columns.h"
#include "definition.h"
#include "engine/loop.h"
#include "ledger/ledger.h"
#include "registry.h"
#include "run.h"
#include "stage.h"
#include "verifier.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct verify_config {
	size_t n_verifiers;
};

struct instance {
	const struct verifier_def *def;
	void *state; /* owns */
	struct expr *when; /* owns; NULL: always */
	const char *absent; /* the engine that it needs is not there in this phase; NULL: it is */
};

#define HAND_OVER_US 50 /* what takes longer on average is computed by the pool */
#define MEAN_OF 16 /* candidates */

struct verify_state {
	struct run *run;
	struct instance *instances; /* owns */
	size_t n, n_opened;
	struct expr_value *row;
	struct job *jobs; /* all that are under way, for cancel */
	double mean_us; /* that computing has taken of late */
};

struct job {
	struct verify_job asked; /* first: verify_done gets it back */
	struct verify_state *state;
	struct candidate *candidate;
	size_t at, to; /* verifiers at .. to-1 are being computed */
	struct arena scratch;
	int64_t begun_us; /* of what is asked */
	int64_t took_us; /* what was computed */
	bool audited; /* the verifier `at` would not have been asked */
	bool asking;
	bool cancelled;
	const char *parked; /* waits for this engine */
	struct job *next, *prev; /* in state->jobs */
};

/* --- configuration --- */

static bool valid_name(const char *name)
{
	size_t len = strlen(name);
	return len && len <= 64 &&
		strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") ==
		len &&
		(name[0] < '0' || name[0] > '9') && strncasecmp(name, "thresh_", 7) != 0;
}

/* The instance's name is a column, so it must be one and must be free. */
static bool check_name(const struct stage_check *c, const struct verifier_def *v,
	const struct node *at, struct error *err)
{
	static const char *const taken[] = {"n_tokens", "n_prompt_tokens", "finish", "source",
		"idx", "n_candidates", "n_accepted", "pass_rate"};
	if (!valid_name(v->name)) {
		return node_error(err, c->tree, at,
			"'%s' cannot name a verifier: letters, digits and _", v->name);
	}
	for (size_t i = 0; i < ARRAY_LEN(taken); i++) {
		if (strcasecmp(v->name, taken[i]) == 0) {
			node_error(err, c->tree, at, "'%s' is a column already", v->name);
			return error_hint(err, "name it otherwise with `as: NAME`");
		}
	}
	for (size_t i = 0; i < c->definition->n_verifiers; i++) {
		const struct verifier_def *other = &c->definition->verifiers[i];
		if (other != v && strcasecmp(other->name, v->name) == 0) {
			node_error(err, c->tree, at, "two verifiers of the name '%s'", v->name);
			return error_hint(err, "give one of them another name with `as: NAME`");
		}
	}
	return true;
}

static const char *scalar_of(const struct node *map, const char *key)
{
	const struct node *value = node_get(map, key);
	return value && value->kind == NODE_SCALAR && !value->null ? value->text : NULL;
}

/* `as` and `when` belong to every verifier and not to its table, so they are taken out before the table is read. */
static struct node without_common(const struct node *map, struct node **items, struct node **keys)
{
	struct node rest = *map;
	rest.items = items;
	rest.keys = keys;
	rest.n = 0;
	for (size_t i = 0; i < map->n; i++) {
		if (strcmp(map->keys[i]->text, "as") != 0 &&
			strcmp(map->keys[i]->text, "when") != 0) {
			items[rest.n] = map->items[i];
			keys[rest.n++] = map->keys[i];
		}
	}
	return rest;
}

static void read_one(const struct stage_check *c, const struct node *item)
{
	struct error err = {0};
	if (item->kind != NODE_MAP || item->n != 1) {
		node_error(&err, c->tree, item,
			"stage 'verify': a verifier must be one name and its parameters, like `- "
			"math: {gold: answer}`");
		error_list_add(c->errors, &err);
		return;
	}
	const struct node *key = item->keys[0], *map = item->items[0];
	const struct verifier_ops *ops = registry_verifier(key->text);
	if (!ops) {
		size_t n;
		const char *const *names = registry_verifier_names(&n);
		const char *nearest = text_nearest(key->text, names, n);
		node_error(&err, c->tree, key, "unknown verifier '%s'", key->text);
		if (nearest) {
			error_hint(&err, "did you mean '%s'?", nearest);
		} else {
			error_hint(&err, "`thresh verifiers` lists them");
		}
		error_list_add(c->errors, &err);
		return;
	}
	bool is_map = map->kind == NODE_MAP;
	struct verifier_def *v = definition_add_verifier(c->definition);
	v->ops = ops;
	v->node = map;
	v->config = xcalloc(1, ops->config_size);
	v->name = xstrdup(is_map && scalar_of(map, "as") ? scalar_of(map, "as") : ops->name);
	v->when = is_map && scalar_of(map, "when") ? xstrdup(scalar_of(map, "when")) : NULL;
	AUTO_FREE struct node **items = xcalloc(map->n, sizeof(*items));
	AUTO_FREE struct node **keys = xcalloc(map->n, sizeof(*keys));
	struct node rest = is_map ? without_common(map, items, keys) : *map;
	AUTO_FREE char *what = xasprintf("verifier '%s'", v->name);
	bool absent = map->kind == NODE_SCALAR && map->null;
	size_t before = c->errors->n;
	param_read(ops->params, c->tree, absent ? NULL : &rest, key, what, v->config, c->errors);
	if (!check_name(c, v, key, &err)) {
		error_list_add(c->errors, &err);
	} else if (ops->check && c->errors->n == before) {
		ops->check(v->config, c->tree, map, c->errors);
	}
}

static void read_config(void *config, const struct stage_check *c)
{
	struct verify_config *vc = config;
	struct error err = {0};
	if (c->node->kind != NODE_LIST || !c->node->n) {
		node_error(&err, c->tree, c->node,
			"stage 'verify' must be a list of verifiers, like `- math: {gold: "
			"answer}`");
		error_list_add(c->errors, &err);
		return;
	}
	for (size_t i = 0; i < c->node->n; i++) {
		read_one(c, c->node->items[i]);
	}
	vc->n_verifiers = c->definition->n_verifiers;
}

static void release_config(void *config UNUSED)
{
	/* The verifiers are the definition's. */
}

/* --- life --- */

/* What a reader of the ledger alone must know: the label, and whose scores are verdicts. */
static bool tell_ledger(struct run *run, struct error *err)
{
	const struct definition *def = run->def;
	struct str verdicts;
	str_init(&verdicts, STR_NO_CAP);
	struct json_writer w = {.out = &verdicts};
	json_begin_array(&w);
	for (size_t i = 0; i < def->n_verifiers; i++) {
		if (!def->verifiers[i].ops->is_fact) {
			json_put_z(&w, def->verifiers[i].name);
		}
	}
	json_end_array(&w);
	bool ok = ledger_set_meta(run->ledger, "verdicts", verdicts.data, err) &&
		ledger_set_meta(run->ledger, "label", def->label ? def->label : "", err);
	str_release(&verdicts);
	return ok;
}

static bool open_verify(void *state, const void *config UNUSED, struct run *run, struct error *err)
{
	struct verify_state *s = state;
	s->run = run;
	s->n = run->def->n_verifiers;
	s->instances = xcalloc(s->n, sizeof(*s->instances));
	if (!tell_ledger(run, err)) {
		return false;
	}
	s->row = xcalloc(run->columns.n, sizeof(*s->row));
	for (; s->n_opened < s->n; s->n_opened++) {
		struct instance *v = &s->instances[s->n_opened];
		v->def = &run->def->verifiers[s->n_opened];
		v->state = xcalloc(1, MAX(v->def->ops->state_size, 1));
		if (v->def->when) {
			v->when = expr_new(
				v->def->when, run->columns.list, run->columns.n_of_candidate, err);
		}
		const char *engine = definition_engine_named(v->def->ops->params, v->def->config);
		v->absent = engine && !run_engine(run, engine) ? engine : NULL;
		if ((v->def->when && !v->when) ||
			(!v->absent && v->def->ops->open &&
				!v->def->ops->open(v->state, v->def->config, run, err))) {
			s->n_opened++;
			return error_context(err, "verifier '%s'", v->def->name);
		}
	}
	return true;
}

static void close_verify(void *state)
{
	struct verify_state *s = state;
	for (size_t i = 0; i < s->n_opened; i++) {
		struct instance *v = &s->instances[i];
		if (v->def->ops->close && !v->absent) {
			v->def->ops->close(v->state);
		}
		expr_free(v->when);
		free(v->state);
	}
	free(s->instances);
	free(s->row);
	*s = (struct verify_state){0};
}

static bool admit(void *state, struct group *group, const char **out_reason)
{
	struct verify_state *s = state;
	for (size_t i = 0; i < s->n; i++) {
		const struct verifier_ops *ops = s->instances[i].def->ops;
		if (ops->prepare && !s->instances[i].absent &&
			!ops->prepare(s->instances[i].state, &group->prompt, &group->arena,
				&group->prepared[i], out_reason)) {
			return false;
		}
	}
	return true;
}

/* --- a candidate's way --- */

static void advance(struct job *job);

static void finish_job(struct job *job)
{
	struct candidate *c = job->candidate;
	bool cancelled = job->cancelled;
	const char *parked = job->parked;
	if (job->prev) {
		job->prev->next = job->next;
	} else {
		job->state->jobs = job->next;
	}
	if (job->next) {
		job->next->prev = job->prev;
	}
	arena_release(&job->scratch);
	free(job);
	if (cancelled) {
		flow_dropped(c);
	} else if (parked) {
		flow_parked(c, parked);
	} else {
		flow_done(c);
	}
}

/* A score that is not finite is a verifier's bug or a server's nonsense; either way it tells nothing. */
static void keep_score(struct candidate *c, size_t i, const struct score *score, bool audit)
{
	struct arena *arena = &c->group->arena;
	c->scores[i] = *score;
	c->scores[i].known = score->known && isfinite(score->value);
	c->scores[i].reason = score->reason ? arena_strdup(arena, score->reason) : "none";
	c->scores[i].detail = score->detail ? arena_strdup(arena, score->detail) : NULL;
	c->scores[i].audit = audit;
	c->scored[i] = true;
	c->rescored = true;
}

static void compute(void *ctx)
{
	struct job *job = ctx;
	int64_t begun_us = clock_mono_us(), before_us = begun_us;
	for (size_t i = job->at; i < job->to; i++) {
		struct instance *v = &job->state->instances[i];
		struct score score = {0};
		if (job->candidate->scored[i]) {
			continue;
		}
		v->def->ops->score(v->state, job->candidate, job->candidate->group->prepared[i],
			&job->scratch, &score);
		int64_t now_us = clock_mono_us();
		score.us = now_us - before_us;
		before_us = now_us;
		/* The group's arena is the loop's; until then the details stay in the job's scratch. */
		job->candidate->scores[i] = score;
	}
	job->took_us = clock_mono_us() - begun_us;
}

static void computed(void *ctx)
{
	struct job *job = ctx;
	for (size_t i = job->at; i < job->to; i++) {
		struct score score = job->candidate->scores[i];
		bool audited = i == job->at && job->audited;
		if (job->candidate->scored[i]) {
			job->candidate->scores[i].audit =
				audited; /* kept; has no `when` any more */
		} else {
			keep_score(job->candidate, i, &score, audited);
		}
	}
	arena_reset(&job->scratch);
	job->at = job->to;
	job->state->mean_us += ((double)job->took_us - job->state->mean_us) / MEAN_OF;
	advance(job);
}

/* The same candidates for every verifier, so that their scores can be compared. */
static bool is_audited(const struct verify_state *s, const struct candidate *c)
{
	const struct run *run = s->run;
	if (!(run->def->audit_share > 0)) {
		return false;
	}
	AUTO_FREE char *key = xasprintf("audit/%llu/%lld/%s/%u", (unsigned long long)run->def->seed,
		(long long)run->number, c->group->prompt.prompt_id, c->idx);
	return (double)(hash64(key, strlen(key), 0) >> 11) * 0x1p-53 < run->def->audit_share;
}

static bool is_wanted(struct job *job, const struct instance *v)
{
	struct verify_state *s = job->state;
	struct candidate *c = job->candidate;
	const struct prompt *prompt = &c->group->prompt;
	if (!v->when) {
		return true;
	}
	struct columns_source from = {prompt->source, prompt->fields, c->idx, c->n_tokens,
		prompt->n_ids, finish_name(c->finish), c->scores, c->scored};
	enum expr_truth truth;
	struct error err = {0};
	columns_fill(&s->run->columns, s->run->def, &from, &job->scratch, s->row);
	if (!expr_eval(v->when, s->row, &truth, &err)) {
		keep_score(c, (size_t)(v - s->instances),
			&(struct score){.reason = WHEN_FAILED, .detail = err.msg}, false);
		return false;
	}
	return truth == EXPR_TRUE;
}

static void start_asking(struct job *job)
{
	struct verify_state *s = job->state;
	const struct instance *v = &s->instances[job->at];
	job->asking = true;
	job->begun_us = clock_mono_us();
	job->asked = (struct verify_job){.candidate = job->candidate,
		.prepared = job->candidate->group->prepared[job->at],
		.owner = job};
	v->def->ops->submit(v->state, &job->asked);
}

void verify_begun(struct verify_job *asked)
{
	((struct job *)asked->owner)->begun_us = clock_mono_us();
}

void verify_done(struct verify_job *asked, const struct score *score)
{
	struct job *job = asked->owner;
	assert(job->asking);
	job->asking = false;
	if (!job->cancelled) {
		struct score timed = *score;
		timed.us = score->us ? score->us : clock_mono_us() - job->begun_us;
		timed.n_tokens += asked->n_tokens;
		keep_score(job->candidate, job->at, &timed, job->audited);
	}
	job->at++;
	advance(job);
}

void verify_cancelled(struct verify_job *asked)
{
	((struct job *)asked->owner)->cancelled = true;
	verify_done(asked, &(struct score){0});
}

static void end_soon(void *ctx)
{
	finish_job(ctx);
}

/*
 * Whether the verifier `at` must be asked. A score of an earlier sitting stays if it still would be, and goes if not; so does
 * one that was audited and would now be asked for, or the other way round, lose or get its mark.
 */
static bool must_ask(struct job *job)
{
	const struct instance *v = &job->state->instances[job->at];
	struct candidate *c = job->candidate;
	if (verifier_is_of_group(v->def)) {
		return false;
	}
	bool kept = c->scored[job->at];
	c->scored[job->at] = false;
	bool wanted = is_wanted(job, v);
	job->audited = !wanted && !c->scored[job->at] && is_audited(job->state, c);
	if (kept && (wanted || job->audited)) {
		c->scored[job->at] = true;
		c->scores[job->at].audit = job->audited;
		return false;
	}
	c->rescored = c->rescored || kept;
	return wanted || job->audited;
}

/* Starts what comes next; always ends in a callback from the loop, never in the caller's frame. */
static void advance(struct job *job)
{
	struct verify_state *s = job->state;
	while (!job->cancelled && job->at < s->n && !must_ask(job)) {
		job->at++;
	}
	if (!job->cancelled && job->at < s->n) {
		job->parked = s->instances[job->at].absent;
	}
	if (job->cancelled || job->parked || job->at == s->n) {
		loop_after(s->run->loop, 0, end_soon, job);
		return;
	}
	if (s->instances[job->at].def->ops->submit) {
		start_asking(job);
		return;
	}
	job->to = job->at + 1;
	while (job->to < s->n && s->instances[job->to].def->ops->score &&
		!s->instances[job->to].when) {
		job->to++;
	}
	/* To wake a worker takes longer than most of what it is woken for. */
	if (s->mean_us <= HAND_OVER_US) {
		compute(job);
		loop_after(s->run->loop, 0, computed, job);
	} else {
		loop_work(s->run->loop, compute, computed, job);
	}
}

static void submit(void *state, struct candidate *candidate)
{
	struct job *job = xcalloc(1, sizeof(*job));
	job->state = state;
	job->candidate = candidate;
	job->next = job->state->jobs;
	if (job->next) {
		job->next->prev = job;
	}
	job->state->jobs = job;
	advance(job);
}

static void cancel_asked(struct job *job)
{
	const struct instance *v = &job->state->instances[job->at];
	if (job->asking && job->asked.request) {
		engine_cancel(job->asked.request);
	} else if (job->asking && v->def->ops->cancel) {
		v->def->ops->cancel(v->state, &job->asked);
	}
}

static void cancel(void *state, struct group *group)
{
	struct verify_state *s = state;
	for (struct job *job = s->jobs; job; job = job->next) {
		if (job->candidate->group == group && !job->cancelled) {
			job->cancelled = true;
			cancel_asked(job);
		}
	}
}

/* --- a group's scores --- */

struct group_job {
	struct verify_state *state;
	struct group *group;
	struct arena scratch;
	const struct candidate **candidates; /* those that were verified; in the scratch */
	size_t n;
	struct score *scores; /* n for each verifier of groups, in their order; in the scratch */
};

static bool was_verified(const struct candidate *c)
{
	return c->state == CANDIDATE_ACCEPTED || c->state == CANDIDATE_UNDECIDED ||
		(c->state == CANDIDATE_REJECTED && strcmp(c->reason, "accept") == 0);
}

static void compute_group(void *ctx)
{
	struct group_job *job = ctx;
	struct score *out = job->scores;
	for (size_t i = 0; i < job->state->n; i++) {
		const struct instance *v = &job->state->instances[i];
		if (verifier_is_of_group(v->def)) {
			int64_t before_us = clock_mono_us();
			v->def->ops->score_group(
				v->state, job->candidates, job->n, &job->scratch, out);
			out[0].us = clock_mono_us() - before_us;
			out += job->n;
		}
	}
}

static void computed_group(void *ctx)
{
	struct group_job *job = ctx;
	const struct score *score = job->scores;
	for (size_t i = 0; i < job->state->n; i++) {
		if (!verifier_is_of_group(job->state->instances[i].def)) {
			continue;
		}
		for (size_t k = 0; k < job->n; k++, score++) {
			keep_score(
				job->group->candidates[job->candidates[k]->idx], i, score, false);
		}
	}
	struct group *group = job->group;
	arena_release(&job->scratch);
	free(job);
	flow_group_finished(group);
}

static size_t count_of_group(const struct verify_state *s)
{
	size_t n = 0;
	for (size_t i = 0; i < s->n; i++) {
		n += verifier_is_of_group(s->instances[i].def);
	}
	return n;
}

static bool finish_group(void *state, struct group *group)
{
	struct verify_state *s = state;
	size_t n_verifiers = count_of_group(s);
	struct group_job *job = n_verifiers ? xcalloc(1, sizeof(*job)) : NULL;
	if (!job) {
		return false;
	}
	job->state = s;
	job->group = group;
	job->candidates = arena_alloc_array(
		&job->scratch, group->n_candidates, sizeof(*job->candidates));
	for (size_t i = 0; i < group->n_candidates; i++) {
		if (was_verified(group->candidates[i])) {
			job->candidates[job->n++] = group->candidates[i];
		}
	}
	if (!job->n) {
		arena_release(&job->scratch);
		free(job);
		return false;
	}
	job->scores = arena_alloc_array(&job->scratch, n_verifiers * job->n, sizeof(*job->scores));
	loop_work(s->run->loop, compute_group, computed_group, job);
	return true;
}

const struct stage_ops verify_stage = {
	.name = "verify",
	.summary = "scores each candidate with verifiers, cheap ones first; they never decide",
	.config_size = sizeof(struct verify_config),
	.state_size = sizeof(struct verify_state),
	.read_config = read_config,
	.release_config = release_config,
	.open = open_verify,
	.admit = admit,
	.submit = submit,
	.finish_group = finish_group,
	.cancel = cancel,
	.close = close_verify,
};
