/*
 * Streamed answers, byte for byte as a server may send them: the first byte says what was asked for and how the rest is split,
 * then events go through each dialect and a guard. What is concluded must keep what the headers promise, and is the same
 * however the bytes were split.
 */
#include "engine/dialect.h"
#include "engine/guard.h"
#include "engine/spelling.h"
#include "engine/sse.h"

#include "base/hash.h"

#include <assert.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#define N_VOCAB 260
#define MAX_TOKENS 40

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct spelling *spelling;

/* A piece for each byte, and a few of two bytes. */
static void make_spelling(void)
{
	static char bytes[N_VOCAB][2];
	static struct slice pieces[N_VOCAB];
	static uint8_t special[N_VOCAB];

	for (unsigned i = 0; i < N_VOCAB; i++) {
		bytes[i][0] = (char)(i < 256 ? i : 0xe2);
		bytes[i][1] = (char)(0x80 + i % 4);
		pieces[i] = (struct slice){bytes[i], i < 256 ? 1 : 2};
	}
	special[2] = 1;
	spelling = spelling_new(pieces, special, N_VOCAB);
}

struct reader {
	const struct dialect_ops *ops;
	struct dialect_stream stream;
	struct guard *guard;
	size_t n_seen, text_seen;
	uint64_t hash;
};

static bool on_event(void *ctx, struct slice text, struct error *err)
{
	struct reader *r = ctx;
	struct dialect_partial *c = &r->stream.candidates[0];
	struct json *event = slice_eq_z(text, "[DONE]") ? NULL
							: json_parse(text.data, text.len, err);
	bool ok = (event != NULL || slice_eq_z(text, "[DONE]")) &&
		r->ops->read_event(&r->stream, event, err);
	enum finish why;

	json_free(event);
	if (ok && r->guard != NULL) {
		struct slice more = {c->text.data + r->text_seen, c->text.len - r->text_seen};

		const uint32_t *ids = c->n_ids > 0 ? c->ids + r->n_seen : NULL;

		if (guard_add(r->guard, ids, c->n_ids - r->n_seen, more, &why)) {
			guard_free(r->guard);
			r->guard = NULL;
		}
		r->n_seen = c->n_ids;
		r->text_seen = c->text.len;
	}
	return ok;
}

static void check(struct reader *r)
{
	struct error err = {0};
	struct engine_candidate out;

	for (uint32_t i = 0; i < r->stream.call->n; i++) {
		struct dialect_partial *c = &r->stream.candidates[i];

		assert(c->n_ids <= MAX_TOKENS + 1 && c->n_shown <= c->n_ids &&
			c->n_before <= c->n_shown);
		r->hash = hash64(c->ids, c->n_ids * sizeof(*c->ids), r->hash);
		r->hash = hash64(c->text.data, c->text.len, r->hash + c->ended);
		if (!c->ended || c->lost || !r->ops->conclude(&r->stream, i, &out, &err))
			continue;
		assert(out.i == r->stream.call->first + i && out.n_ids <= c->n_ids);
		assert(out.reason == ENGINE_OK || out.err != NULL);
		for (size_t k = 0; k < out.n_ids; k++) {
			assert(out.ids[k] < N_VOCAB);
			assert(out.logprobs == NULL || isnan(out.logprobs[k]) ||
				out.logprobs[k] <= 0);
		}
	}
}

static uint64_t try_dialect(
	const struct dialect_ops *ops, unsigned flags, size_t step, const char *bytes, size_t len)
{
	static uint32_t prompt[] = {1, 2, 3};
	static char *stop[] = {"x"};
	const struct guard_config guard = {.loop = 8, .period = 4, .after_answer = 4};
	const struct dialect_facts facts = {.n_vocab = N_VOCAB, .eos_id = 2, .bos_id = 1};
	const struct engine_sampling sampling = {
		.max_tokens = MAX_TOKENS, .stop = stop, .n_stop = flags & 1};
	const struct engine_job job = {.prompt_ids = prompt,
		.n_prompt_ids = 3,
		.sampling = &sampling,
		.n = 8,
		.logprobs = flags & 2,
		.top_logprobs = flags & 4 ? 3 : 0};
	const struct dialect_call call = {.job = &job,
		.first = 4,
		.n = flags & 8 ? 2 : 1,
		.max_tokens = MAX_TOKENS,
		.context = 16,
		.facts = &facts,
		.stream = true,
		.spelling = flags & 16 ? spelling : NULL};
	struct reader r = {.ops = ops, .guard = guard_new(&guard)};
	struct error err = {0};
	struct sse sse;
	bool ok = true;
	uint64_t hash;

	dialect_stream_init(&r.stream, &call);
	sse_init(&sse, 4096);
	for (size_t at = 0; at < len && ok; at += step)
		ok = sse_feed(&sse, (struct slice){bytes + at, at + step < len ? step : len - at},
			on_event, &r, &err);
	assert(ok || (err.kind != FAIL_NONE && err.msg[0] != '\0'));
	check(&r);
	hash = r.hash;
	sse_release(&sse);
	dialect_stream_release(&r.stream);
	guard_free(r.guard);
	return hash;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 2)
		return 0;
	if (spelling == NULL)
		make_spelling();
	for (size_t i = 0; dialects[i] != NULL; i++) {
		const char *bytes = (const char *)data + 1;
		uint64_t whole;

		if (dialects[i]->read_event == NULL)
			continue;
		whole = try_dialect(dialects[i], data[0], size, bytes, size - 1);
		assert(whole ==
			try_dialect(dialects[i], data[0], 1 + data[0] / 32, bytes, size - 1));
	}
	return 0;
}
