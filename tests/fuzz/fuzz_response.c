/*
 * Answers of inference servers: the first byte says which reader gets the rest, and what was asked for. What a reader accepts must keep what
 * its header promises: ids within the vocabulary, as many logprobs as ids, none above 0, every candidate once.
 */
#include "engine/dialect.h"
#include "engine/scoring.h"

#include <assert.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define N_VOCAB 1000
#define MAX_TOKENS 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile char sink;

/* Touches every byte, so that a sanitizer sees a slice that points elsewhere. */
static void touch(struct slice s)
{
	for (size_t i = 0; i < s.len; i++)
		sink ^= s.data[i];
}

static void check_candidate(const struct engine_candidate *c, const struct dialect_call *call)
{
	assert(c->i >= call->first && c->i < call->first + call->n);
	if (c->reason != ENGINE_OK) {
		assert(c->err != NULL);
		return;
	}
	touch(c->text);
	assert(c->n_ids <= MAX_TOKENS + 1);
	for (size_t i = 0; i < c->n_ids; i++) {
		assert(c->ids[i] < N_VOCAB);
		assert(c->logprobs == NULL || isnan(c->logprobs[i]) || c->logprobs[i] <= 0);
	}
	for (size_t i = 0; i < c->n_top; i++) {
		touch(c->top[i].piece);
		assert(isfinite(c->top[i].logprob) && c->top[i].logprob <= 0);
	}
	assert(finish_name(c->finish) != NULL);
}

static void try_generate(
	const struct dialect_ops *ops, unsigned flags, const struct json *body, struct arena *arena)
{
	static uint32_t prompt[] = {1, 2, 3};
	static char *stop[] = {"x"};
	const struct dialect_facts facts = {.n_vocab = N_VOCAB, .eos_id = 2, .bos_id = 1};
	const struct engine_sampling sampling = {
		.max_tokens = MAX_TOKENS, .stop = stop, .n_stop = flags & 1};
	const struct engine_job job = {
		.prompt_ids = prompt,
		.n_prompt_ids = 3,
		.sampling = &sampling,
		.n = 8,
		.logprobs = flags & 2,
		.top_logprobs = flags & 4 ? 3 : 0,
	};
	const struct dialect_call call = {
		.job = &job,
		.first = 4,
		.n = flags & 8 ? 2 : 1,
		.max_tokens = MAX_TOKENS,
		.context = 16,
		.facts = &facts,
	};
	struct dialect_result result = {0};
	struct error err = {0};

	if (!ops->read_generate(&call, body, arena, &result, &err)) {
		assert(err.kind != FAIL_NONE && err.msg[0] != '\0');
		return;
	}
	for (uint32_t i = 0; i < call.n; i++) {
		assert(result.candidates[i].i == call.first + i);
		check_candidate(&result.candidates[i], &call);
	}
}

static void try_probe(const struct dialect_ops *ops, const struct json *body, struct arena *arena)
{
	struct dialect_facts facts = {.bos_id = -1, .eos_id = -1};
	struct error err = {0};

	for (const struct dialect_step *step = ops->steps; step->path != NULL; step++) {
		if (!step->read(body, arena, &facts, &err))
			assert(err.msg[0] != '\0');
	}
	assert(facts.n_vocab <= DIALECT_VOCAB_MAX);
	assert(facts.eos_id >= -1 && facts.bos_id >= -1);
}

static void try_tokenizer(
	const struct dialect_ops *ops, const struct json *body, struct arena *arena)
{
	struct slice text, pieces[4] = {{0}};
	const uint32_t *ids;
	size_t n;
	bool found;
	struct error err = {0};

	if (ops->read_template != NULL && ops->read_template(body, &text, &err))
		touch(text);
	if (ops->finds_special != NULL)
		ops->finds_special(body, slice_z("<b> [x] <|im_end|>"));
	if (ops->read_find_special != NULL && !ops->read_find_special(body, 2, &found, &err))
		assert(err.msg[0] != '\0');
	if (ops->read_detokenize(body, &text, &err))
		touch(text);
	if (ops->read_tokenize(body, N_VOCAB, arena, &ids, &n, &err)) {
		for (size_t i = 0; i < n; i++)
			assert(ids[i] < N_VOCAB);
	}
	if (ops->read_pieces != NULL && ops->read_pieces(body, 4, arena, pieces, &err)) {
		for (size_t i = 0; i < 4; i++)
			touch(pieces[i]);
	}
}

static void try_scores(const struct json *body, struct arena *arena)
{
	for (size_t i = 0; scorings[i] != NULL; i++) {
		struct scoring_table table = {0};
		struct error err = {0};

		if (!scorings[i]->read(body, arena, &table, &err)) {
			assert(err.kind == FAIL_DATA && err.msg[0] != '\0');
			continue;
		}
		assert(table.n_rows <= SCORING_ROWS_MAX && table.n_columns <= SCORING_COLUMNS_MAX);
		assert(table.n_rows * table.n_columns <= SCORING_VALUES_MAX);
		assert((table.n_rows == 0) == (table.n_columns == 0));
		for (size_t k = 0; k < table.n_rows * table.n_columns; k++)
			assert(isfinite(table.values[k]));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct arena arena = {0};
	struct error err = {0};
	struct json *body;
	unsigned flags;

	if (size == 0)
		return 0;
	flags = data[0];
	body = json_parse((const char *)data + 1, size - 1, &err);
	if (body == NULL) {
		assert(err.kind == FAIL_DATA);
		return 0;
	}
	const char *text = dialect_error_text(body);
	if (text != NULL)
		touch(slice_z(text));
	for (size_t i = 0; dialects[i] != NULL; i++) {
		try_generate(dialects[i], flags, body, &arena);
		try_probe(dialects[i], body, &arena);
		if (dialects[i]->prompt_too_long != NULL)
			dialects[i]->prompt_too_long(body);
		if (dialects[i]->has_ids)
			try_tokenizer(dialects[i], body, &arena);
	}
	try_scores(body, &arena);
	json_free(body);
	arena_release(&arena);
	return 0;
}
