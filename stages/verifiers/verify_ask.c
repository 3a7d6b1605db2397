/* Questions to engines for verifiers; see the header. */
#include "verifiers/verify_ask.h"

#include "base/hash.h"
#include "base/mem.h"
#include "config/node.h"
#include "engine/scoring.h"
#include "template.h"
#include "verifier.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* --- questions --- */

static void deliver(struct ask *ask, const struct engine_candidate *answer)
{
	ask->job->n_tokens += answer->n_tokens;
	if (--ask->left == 0) {
		ask->job->request = NULL;
	}
	ask->answered(ask, answer);
}

static void on_answer(void *ctx, const struct engine_candidate *answer)
{
	deliver(ctx, answer);
}

static void generate(struct ask *ask, const uint32_t *ids, size_t n)
{
	/* Of its own for each call: the engine borrows it until the last callback has returned, which may ask again. */
	struct engine_job *job = arena_alloc(ask->arena, sizeof(*job));
	uint32_t *copy = arena_alloc_array(ask->arena, n, sizeof(*copy));
	ask->job->n_tokens += (uint32_t)n;
	if (n) {
		memcpy(copy, ids, n * sizeof(*copy));
	}
	*job = (struct engine_job){
		.messages = n ? NULL : ask->messages,
		.n_messages = n ? 0 : ask->n_messages,
		.prompt_ids = n ? copy : NULL,
		.n_prompt_ids = n,
		.sampling = ask->sampling,
		.n = ask->n,
		.seed = ask->seed,
		.top_logprobs = ask->top_logprobs,
		.logprobs = ask->top_logprobs > 0,
		.affinity = ask->affinity,
		.priority = true,
	};
	ask->job->request = engine_generate(ask->engine, job, on_answer, ask);
}

static void on_prompt(void *ctx, const struct engine_prompt *prompt)
{
	struct ask *ask = ctx;
	if (prompt->reason == ENGINE_OK) {
		generate(ask, prompt->ids, prompt->n);
		return;
	}
	struct engine_candidate failed = {.reason = prompt->reason, .err = prompt->err};
	for (uint32_t n = ask->n; failed.i < n; failed.i++) {
		deliver(ask, &failed);
	}
}

static struct engine_request *tokenize_joined(struct ask *ask)
{
	struct str text;
	str_init(&text, STR_NO_CAP);
	for (size_t i = 0; i < ask->n_messages; i++) {
		str_append(&text, ask->messages[i].content.data, ask->messages[i].content.len);
	}
	struct engine_request *request = engine_tokenize_raw(
		ask->engine, (struct slice){text.data, text.len}, on_prompt, ask);
	str_release(&text);
	return request;
}

void ask_start(struct ask *ask)
{
	ask->left = ask->n;
	if (ask->raw) {
		ask->job->request = tokenize_joined(ask);
	} else if (engine_info(ask->engine)->has_ids) {
		ask->job->request = engine_tokenize(
			ask->engine, ask->messages, ask->n_messages, SPECIAL_TEXT, on_prompt, ask);
	} else {
		generate(ask, NULL, 0);
	}
}

const char *ask_reason(enum engine_reason reason)
{
	return reason == ENGINE_PROMPT_TOO_LONG ? "prompt_too_long" : "engine";
}

const char *ask_detail(const struct engine_candidate *answer)
{
	return answer->err ? answer->err->msg : engine_reason_name(answer->reason);
}

static struct slice value_of(const struct ask_fields *f, const char *field)
{
	if (strcmp(field, "candidate") == 0) {
		return f->text;
	}
	if (strcmp(field, "rationale") == 0 && f->rationale.data) {
		return f->rationale;
	}
	return template_value(f->candidate->group->prompt.fields, field, f->arena);
}

static struct slice look_up(void *ctx, const char *field)
{
	struct ask_fields *f = ctx;
	struct slice value = value_of(f, field);
	bool ours = f->text_is_ours && value.data == f->text.data;
	f->has_mark |= f->marks && value.data && !ours && ask_marks_in(f->marks, value);
	return value;
}

struct ask_fields ask_fields(const struct candidate *candidate, const struct engine *engine,
	const struct ask_marks *marks, struct arena *arena)
{
	static const struct ask_marks common;
	return (struct ask_fields){
		.candidate = candidate,
		.text = candidate->text.data ? candidate->text : slice_z(""),
		.arena = arena,
		.marks = marks || engine_info(engine)->has_ids ? marks : &common,
	};
}

const char *ask_render(const struct template *t, struct ask_fields *fields,
	struct engine_message **out, size_t *out_n, struct error *err)
{
	if (!template_render(t, look_up, fields, fields->arena, out, out_n, err)) {
		return "prompt";
	}
	if (fields->has_mark) {
		error_set(err, FAIL_DATA,
			"the candidate or a field holds one of the model's own marks, like "
			"<|im_end|>");
		return "special";
	}
	return NULL;
}

static struct slice nothing(void *ctx, const char *field)
{
	(void)ctx;
	(void)field;
	return slice_z("");
}

const char *ask_last_role(const char *path)
{
	static const char *const roles[] = {"system", "user", "assistant"};
	struct engine_message *messages;
	struct arena arena = {0};
	struct error err = {0};
	const char *found = NULL;
	size_t n;
	struct template *t = template_read(path, &err);
	if (t && template_render(t, nothing, NULL, &arena, &messages, &n, &err)) {
		for (size_t i = 0; i < ARRAY_LEN(roles); i++) {
			found = strcmp(messages[n - 1].role, roles[i]) == 0 ? roles[i] : found;
		}
	}
	template_free(t);
	arena_release(&arena);
	return found;
}

/* Words in <> or [] of the text, blanks apart. */
static void find_marks(struct ask_marks *marks, struct slice text)
{
	for (const char *p = text.data; (p = strpbrk(p, "<[")); p++) {
		size_t len = strcspn(p, " \t\n>]");
		if (p[len] == '>' || p[len] == ']') {
			marks->items = array_room(
				marks->items, marks->n, &marks->cap, sizeof(*marks->items));
			marks->items[marks->n++] = xmemdup0(p, len + 1);
		}
	}
}

void ask_marks_find(struct ask_marks *marks, const struct template *t)
{
	struct engine_message *messages;
	struct arena arena = {0};
	struct error err = {0};
	size_t n;
	if (template_render(t, nothing, NULL, &arena, &messages, &n, &err)) {
		for (size_t i = 0; i < n; i++) {
			find_marks(marks, messages[i].content);
		}
	}
	arena_release(&arena);
}

void ask_marks_release(struct ask_marks *marks)
{
	for (size_t i = 0; i < marks->n; i++) {
		free(marks->items[i]);
	}
	free(marks->items);
	*marks = (struct ask_marks){0};
}

/* <|this|> */
static bool has_common_mark(struct slice text)
{
	const char *p = text.data, *end = text.data + text.len;
	while ((p = memmem(p, (size_t)(end - p), "<|", 2))) {
		const char *word = p += 2;
		while (p < end && (isalnum((unsigned char)*p) || *p == '_')) {
			p++;
		}
		if (p > word && end - p >= 2 && p[0] == '|' && p[1] == '>') {
			return true;
		}
	}
	return false;
}

bool ask_marks_in(const struct ask_marks *marks, struct slice text)
{
	if (has_common_mark(text)) {
		return true;
	}
	for (size_t i = 0; i < marks->n; i++) {
		if (memmem(text.data, text.len, marks->items[i], strlen(marks->items[i]))) {
			return true;
		}
	}
	return false;
}

const char *ask_hash(const struct engine_message *messages, size_t n, struct arena *arena)
{
	uint64_t h = n;
	for (size_t i = 0; i < n; i++) {
		h = hash64(messages[i].role, strlen(messages[i].role), h);
		h = hash64(messages[i].content.data, messages[i].content.len, h);
	}
	char *hex = arena_alloc(arena, 17);
	hash64_hex(h, hex);
	return hex;
}

uint64_t ask_affinity(const struct group *group)
{
	const char *id = group->prompt.prompt_id;
	return hash64(id, strlen(id), 0) | 1;
}

uint32_t ask_seed(const struct candidate *candidate)
{
	const char *id = candidate->group->prompt.prompt_id;
	return (uint32_t)(hash64(id, strlen(id), candidate->idx + 1) & 0x7fffffff);
}

/* --- scoring APIs --- */

const struct scoring_ops *ask_scoring(const struct engine *engine, struct error *err)
{
	const char *server = engine_info(engine)->server;
	/* A llama.cpp behind a proxy that rewrites the list of models is still one. */
	if (strcmp(engine_info(engine)->dialect, "llama.cpp") == 0) {
		server = "llamacpp";
	}
	const struct scoring_ops *api = scoring_for(server);
	if (!api) {
		error_set(err, FAIL_CONFIG,
			"cannot tell how engine '%s' is asked for scores: its server calls itself "
			"'%s'",
			engine_name(engine), server ? server : "");
		error_hint(err, "say it with `api:`");
	}
	return api;
}

struct score ask_scoring_failure(const struct engine_scores *scores)
{
	bool lacks = scores->status == 404 || scores->status == 405 || scores->status == 501;
	return (struct score){.reason = scores->reason == ENGINE_REJECTED && lacks
			? "no_endpoint"
			: ask_reason(scores->reason),
		.detail = scores->err ? scores->err->msg : engine_reason_name(scores->reason)};
}

/* --- in a row --- */

void turns_init(struct turns *turns, struct engine *engine)
{
	*turns = (struct turns){.engine = engine, .limit = engine_info(engine)->n_slots};
	TAILQ_INIT(&turns->active);
	TAILQ_INIT(&turns->waiting);
}

static const struct group *group_of(const struct turn *turn)
{
	return turn->job->candidate->group;
}

static bool is_active(const struct turns *turns, const struct group *group)
{
	const struct turn *turn;
	TAILQ_FOREACH(turn, &turns->active, link)
	{
		if (group_of(turn) == group) {
			return true;
		}
	}
	return false;
}

static void begin(struct turns *turns, struct turn *turn)
{
	TAILQ_INSERT_TAIL(&turns->active, turn, link);
	turns->n_active++;
	verify_begun(turn->job);
	turn->start(turn);
}

static void tell_and_free(struct turn *turn, const struct score *score)
{
	turn->job->request = NULL;
	if (score) {
		verify_done(turn->job, score);
	} else {
		verify_cancelled(turn->job);
	}
	arena_release(&turn->arena);
	free(turn);
}

static void was_cancelled(void *ctx)
{
	struct turn *turn = ctx;
	TAILQ_REMOVE(&turn->turns->waiting, turn, link);
	tell_and_free(turn, NULL);
}

void turns_enter(struct turns *turns, struct turn *turn, struct verify_job *job,
	void (*start)(struct turn *turn))
{
	turn->turns = turns;
	turn->job = job;
	turn->start = start;
	if ((!turns->limit || turns->n_active < turns->limit) &&
		!is_active(turns, group_of(turn))) {
		begin(turns, turn);
		return;
	}
	TAILQ_INSERT_TAIL(&turns->waiting, turn, link);
	job->request = turn->hold = engine_hold(turns->engine, was_cancelled, turn);
}

/* Of the same prompt if there is one, else the first whose prompt nobody is asking about. */
static struct turn *pick(const struct turns *turns, const struct group *group)
{
	struct turn *turn, *first = NULL;
	TAILQ_FOREACH(turn, &turns->waiting, link)
	{
		if (turn->cancelled) {
			continue;
		}
		if (group_of(turn) == group) {
			return turn;
		}
		if (!first && !is_active(turns, group_of(turn))) {
			first = turn;
		}
	}
	return first;
}

/* The next one starts. */
static void leave(struct turns *turns, struct turn *turn)
{
	struct turn *next;
	TAILQ_REMOVE(&turns->active, turn, link);
	turns->n_active--;
	while ((next = pick(turns, group_of(turn)))) {
		next->cancelled = !engine_release(next->hold);
		if (!next->cancelled) {
			TAILQ_REMOVE(&turns->waiting, next, link);
			next->job->request = NULL;
			begin(turns, next);
			return;
		}
	}
}

void turn_end(struct turn *turn, const struct score *score)
{
	leave(turn->turns, turn);
	tell_and_free(turn, score);
}

/* --- verdicts --- */

/* The piece without leading spaces in any of their spellings, compared with each word in any case. */
static bool says(struct slice piece, const struct param_strings *words)
{
	static const char *const spaces[] = {
		" ", "\t", "\n", "\xe2\x96\x81" /* ▁ */, "\xc4\xa0" /* Ġ */, "\xc4\x8a" /* Ċ */};
	for (size_t i = 0; i < ARRAY_LEN(spaces); i++) {
		size_t len = strlen(spaces[i]);
		if (piece.len >= len && memcmp(piece.data, spaces[i], len) == 0) {
			piece.data += len;
			piece.len -= len;
			i = (size_t)-1; /* from the first again */
		}
	}
	for (size_t i = 0; i < words->n; i++) {
		if (piece.len == strlen(words->items[i]) &&
			strncasecmp(piece.data, words->items[i], piece.len) == 0) {
			return true;
		}
	}
	return false;
}

struct verdict verdict_read(const struct engine_top *top, size_t n, const struct param_strings *yes,
	const struct param_strings *no, double rest_max)
{
	struct verdict v = {.reason = "no_logprobs"};
	double least = 1, listed = 0;
	if (!n) {
		return v;
	}
	for (size_t i = 0; i < n; i++) {
		double p = exp((double)top[i].logprob);
		least = fmin(least, p);
		listed += p;
		if (says(top[i].piece, yes)) {
			v.yes += p;
		} else if (says(top[i].piece, no)) {
			v.no += p;
		}
	}
	v.rest = fmax(1 - v.yes - v.no, 0);
	if (!(v.yes > 0) && !(v.no > 0)) {
		v.reason = "no_verdict";
		return v;
	}
	if (v.rest > rest_max) {
		v.reason = "rest_mass";
		return v;
	}
	/* Nor can it have more than what is left. */
	double bound = fmin(least, fmax(1 - listed, 0));
	double y = v.yes > 0 ? v.yes : bound, x = v.no > 0 ? v.no : bound;
	v.bounded = !(v.yes > 0) || !(v.no > 0);
	v.known = true;
	v.p = y / (y + x);
	v.reason = "verdict";
	return v;
}

void verdict_check(const struct param_strings *yes, const struct param_strings *no,
	const struct tree *tree, const struct node *node, struct error_list *errors)
{
	for (size_t i = 0; i < yes->n; i++) {
		if (says(slice_z(yes->items[i]), no)) {
			const struct node *at = node_get(node, "no");
			struct error err = {0};
			node_error(&err, tree, at ? at : node,
				"the word '%s' cannot say both yes and no", yes->items[i]);
			error_list_add(errors, &err);
		}
	}
}
