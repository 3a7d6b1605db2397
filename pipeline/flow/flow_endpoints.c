/*
 * What the endpoints of an engine did, for status and summary: kept in the ledger under the key `endpoints`, one JSON object for
 * the run, to which each sitting adds. Only engines of several endpoints are in it; of one, the summary's other lines say as
 * much.
 */
#include "flow/flow_private.h"

#include "base/mem.h"
#include "definition.h"
#include "ledger/ledger.h"
#include "run.h"

#include <string.h>

static const char key[] = "endpoints";

void flow_read_endpoints(struct flow *f)
{
	struct arena arena = {0};
	struct error ignored = {0};
	const char *text = ledger_meta(f->run->ledger, key, &arena);
	if (text) {
		f->endpoints_before = json_parse(text, strlen(text), &ignored);
	}
	arena_release(&arena);
}

static const struct json *before_of(const struct json *engine, const char *url)
{
	const struct json *list = json_get(engine, key);
	for (size_t i = 0; i < json_len(list); i++) {
		const char *its = json_z(json_get(json_at(list, i), "url"));
		if (its && strcmp(its, url) == 0) {
			return json_at(list, i);
		}
	}
	return NULL;
}

/* With what the sittings before this one have counted. */
static void put_sum(
	struct json_writer *w, const struct json *before, const char *name, uint64_t now)
{
	int64_t n = 0;
	json_member_uint(
		w, name, now + (json_int(json_get(before, name), &n) && n > 0 ? (uint64_t)n : 0));
}

static void put_endpoint(
	struct json_writer *w, const struct json *before, const struct engine_endpoint_stats *s)
{
	json_begin_object(w);
	json_member_z(w, "url", s->url);
	json_member_z(w, "dialect", s->dialect);
	json_member_bool(w, "up", s->up);
	json_member_uint(w, "limit", s->limit);
	put_sum(w, before, "requests", s->requests);
	put_sum(w, before, "answers", s->answers);
	put_sum(w, before, "errors", s->errors);
	put_sum(w, before, "tokens", s->tokens);
	put_sum(w, before, "busy_ms", s->busy_ms);
	put_sum(w, before, "down_ms", s->down_ms);
	json_end_object(w);
}

static void put_engine(
	struct json_writer *w, const struct json *before, const struct engine *engine)
{
	struct engine_endpoint_stats s;
	struct engine_stats all;
	engine_stats(engine, &all);
	json_begin_object(w);
	put_sum(w, before, "hedges", all.hedges);
	put_sum(w, before, "hedges_won", all.hedges_won);
	put_sum(w, before, "tokens_wasted", all.tokens_wasted);
	json_key(w, key);
	json_begin_array(w);
	for (size_t i = 0; engine_endpoint_stats(engine, i, &s); i++) {
		put_endpoint(w, before_of(before, s.url), &s);
	}
	json_end_array(w);
	json_end_object(w);
}

void flow_write_endpoints(struct flow *f)
{
	struct engine_endpoint_stats ignored;
	struct error err = {0};
	struct str text;
	bool any = false;
	str_init(&text, STR_NO_CAP);
	struct json_writer w = {.out = &text};
	json_begin_object(&w);
	for (size_t i = 0; i < f->run->def->n_engines; i++) {
		const struct engine *engine = f->run->engines[i];
		if (engine && engine_endpoint_stats(engine, 1, &ignored)) {
			any = true;
			json_key(&w, engine_name(engine));
			put_engine(&w, json_get(f->endpoints_before, engine_name(engine)), engine);
		}
	}
	json_end_object(&w);
	if (any && !f->failed && !ledger_set_meta(f->run->ledger, key, text.data, &err)) {
		flow_fail(f, &err);
	}
	str_release(&text);
}

void flow_tell_rest(struct flow *f)
{
	const struct flow_stats *s = &f->stats;
	int64_t rest = flow_prompts_to_come(f->run);
	int64_t done = s->n_prompts - s->n_prompts_left;
	double each = done > 0 ? (double)(s->n_candidates + s->n_failed) / (double)done : 1;
	for (size_t i = 0; i < f->run->def->n_engines; i++) {
		if (f->run->engines[i]) {
			engine_expect(f->run->engines[i],
				(uint64_t)((double)rest * MAX(each, 1.0)) + (uint64_t)f->n_unasked);
		}
	}
}
