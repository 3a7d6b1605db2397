/* The table of dialects, and what its rows share: OpenAI's shapes have spread, so most servers name things alike. */
#include "engine/dialect.h"

#include "base/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define OWNER_BYTES_MAX 64
#define STREAM_TEXT_BYTES_MAX (16u << 20) /* of one candidate */
#define TEXT_BYTES_MAX (1u << 20)

/* OpenAI's last: all the others answer its routes too, but only their own give ids. */
const struct dialect_ops *const dialects[] = {
	&dialect_llamacpp, &dialect_vllm, &dialect_sglang, &dialect_openai, NULL};

const struct dialect_ops *dialect_find(const char *name)
{
	for (size_t i = 0; dialects[i] != NULL; i++) {
		if (strcmp(dialects[i]->name, name) == 0)
			return dialects[i];
	}
	return NULL;
}

const char *dialect_copy_text(const struct json *v, struct arena *arena)
{
	size_t len;
	const char *text = json_str(v, &len);

	if (text == NULL || len == 0 || len > TEXT_BYTES_MAX)
		return NULL;
	return arena_memdup0(arena, text, len);
}

uint32_t dialect_read_count(const struct json *v)
{
	int64_t n;

	return json_int(v, &n) && n > 0 && n < INT32_MAX ? (uint32_t)n : 0;
}

const struct json *dialect_read_model(const struct json *body, const char *owner,
	struct arena *arena, struct dialect_facts *facts, struct error *err)
{
	const struct json *model = json_at(json_get(body, "data"), 0);

	facts->server = dialect_read_owner(model, arena);
	if (facts->server == NULL || strcmp(facts->server, owner) != 0) {
		error_set(err, FAIL_REMOTE, "/v1/models is not owned by '%s'", owner);
		return NULL;
	}
	facts->model = dialect_copy_text(json_get(model, "id"), arena);
	facts->context = dialect_read_count(json_get(model, "max_model_len"));
	return model;
}

bool dialect_read_text(
	const struct json *body, const char *key, struct slice *out_text, struct error *err)
{
	out_text->data = json_str(json_get(body, key), &out_text->len);
	return out_text->data != NULL || error_set(err, FAIL_DATA, "the answer has no '%s'", key);
}

bool dialect_read_ids(const struct json *body, const char *key, uint32_t n_vocab,
	struct arena *arena, const uint32_t **out_ids, size_t *out_n, struct error *err)
{
	const struct json *list = json_get(body, key);
	size_t n = json_len(list);
	uint32_t *ids;

	if (json_kind(list) != JSON_ARRAY)
		return error_set(err, FAIL_DATA, "the answer has no '%s'", key);
	ids = arena_alloc_array(arena, n, sizeof(*ids));
	for (size_t i = 0; i < n; i++) {
		if (!dialect_read_id(json_at(list, i), n_vocab, &ids[i]))
			return error_set(
				err, FAIL_DATA, "id %zu of '%s' is not in the vocabulary", i, key);
	}
	*out_ids = ids;
	*out_n = n;
	return true;
}

bool dialect_read_tokens(const struct json *body, uint32_t n_vocab, struct arena *arena,
	const uint32_t **out_ids, size_t *out_n, struct error *err)
{
	return dialect_read_ids(body, "tokens", n_vocab, arena, out_ids, out_n, err);
}

void dialect_build_detokenize(const uint32_t *ids, size_t n, struct str *out)
{
	struct json_writer w = {.out = out};

	json_begin_object(&w);
	dialect_put_ids(&w, "tokens", ids, n);
	json_end_object(&w);
}

int64_t dialect_read_single_id(const struct json *body, uint32_t n_vocab)
{
	const struct json *tokens = json_get(body, "tokens");
	uint32_t id;

	if (json_len(tokens) != 1 || !dialect_read_id(json_at(tokens, 0), n_vocab, &id))
		return -1;
	return id;
}

void dialect_put_ids(struct json_writer *w, const char *key, const uint32_t *ids, size_t n)
{
	json_key(w, key);
	json_begin_array(w);
	for (size_t i = 0; i < n; i++)
		json_put_uint(w, ids[i]);
	json_end_array(w);
}

void dialect_put_stop(struct json_writer *w, const struct engine_sampling *sampling)
{
	if (sampling->n_stop == 0)
		return;
	json_key(w, "stop");
	json_begin_array(w);
	for (size_t i = 0; i < sampling->n_stop; i++)
		json_put_z(w, sampling->stop[i]);
	json_end_array(w);
}

bool dialect_says_too_long(const struct json *body)
{
	const char *code = json_z(json_get(json_get(body, "error"), "code"));
	const char *type = json_z(json_get(json_get(body, "error"), "type"));
	const char *text = dialect_error_text(body);

	if (code != NULL && strcmp(code, "context_length_exceeded") == 0)
		return true;
	if (type != NULL && strcmp(type, "exceed_context_size_error") == 0)
		return true;
	if (text == NULL)
		return false;
	/* vLLM's words, and SGLang's. */
	return strstr(text, "maximum context length") != NULL ||
		strstr(text, "longer than the model's context length") != NULL;
}

const char *dialect_read_owner(const struct json *model, struct arena *arena)
{
	const char *owner = json_z(json_get(model, "owned_by"));

	return owner != NULL && *owner != '\0' && strlen(owner) <= OWNER_BYTES_MAX
		? arena_strdup(arena, owner)
		: NULL;
}

const char *dialect_error_text(const struct json *body)
{
	const struct json *error = json_get(body, "error");
	const char *text = json_z(json_get(error, "message"));

	if (text == NULL)
		text = json_z(error);
	if (text == NULL)
		text = json_z(json_get(body, "message"));
	if (text == NULL)
		text = json_z(json_get(body, "detail"));
	return text;
}

bool dialect_read_id(const struct json *v, uint32_t n_vocab, uint32_t *out)
{
	int64_t id;

	if (!json_int(v, &id) || id < 0 || id >= (n_vocab != 0 ? n_vocab : UINT32_MAX))
		return false;
	*out = (uint32_t)id;
	return true;
}

bool dialect_read_logprob(const struct json *v, float *out)
{
	double logprob;

	if (!json_num(v, &logprob) || !isfinite(logprob) || logprob > 1e-3 || logprob < -1e30)
		return false;
	*out = (float)MIN(logprob, 0.0);
	return true;
}

bool dialect_read_piece(const struct json *entry, struct arena *arena, struct slice *out)
{
	const struct json *bytes = json_get(entry, "bytes");
	size_t n = json_len(bytes);

	if (json_kind(bytes) != JSON_ARRAY) {
		const char *text = json_str(json_get(entry, "token"), &out->len);

		/* Of a stream, the event is gone before the candidate is whole. */
		out->data = text != NULL ? arena_memdup0(arena, text, out->len) : NULL;
		return text != NULL;
	}
	char *data = arena_alloc(arena, n + 1);
	for (size_t i = 0; i < n; i++) {
		int64_t byte;

		if (!json_int(json_at(bytes, i), &byte) || byte < 0 || byte > 255)
			return false;
		data[i] = (char)byte;
	}
	*out = (struct slice){data, n};
	return true;
}

bool dialect_read_top(const struct json *list, struct arena *arena, const struct engine_top **out,
	size_t *out_n, struct error *err)
{
	size_t n = json_len(list), n_read = 0;
	struct engine_top *top;

	if (json_kind(list) != JSON_ARRAY || n > DIALECT_TOP_MAX)
		return error_set(
			err, FAIL_DATA, "'top_logprobs' is no list of at most %d", DIALECT_TOP_MAX);
	top = arena_alloc_array(arena, n, sizeof(*top));
	for (size_t i = 0; i < n; i++) {
		const struct json *entry = json_at(list, i), *logprob = json_get(entry, "logprob");

		/* A probability of 0 has no logarithm and comes as null: an alternative that is none. */
		if (json_kind(logprob) == JSON_NULL)
			continue;
		if (!dialect_read_piece(entry, arena, &top[n_read].piece) ||
			!dialect_read_logprob(logprob, &top[n_read].logprob))
			return error_set(err, FAIL_DATA,
				"entry %zu of 'top_logprobs' has no token or no logprob", i);
		n_read++;
	}
	*out = top;
	*out_n = n_read;
	return true;
}

void dialect_put_messages(struct json_writer *w, const struct engine_message *messages, size_t n)
{
	json_key(w, "messages");
	json_begin_array(w);
	for (size_t i = 0; i < n; i++) {
		json_begin_object(w);
		json_member_z(w, "role", messages[i].role);
		json_key(w, "content");
		json_put_str(w, messages[i].content.data, messages[i].content.len);
		json_end_object(w);
	}
	json_end_array(w);
}

/* --- streams --- */

void dialect_stream_init(struct dialect_stream *stream, const struct dialect_call *call)
{
	*stream = (struct dialect_stream){.call = call};
	stream->candidates = xcalloc(call->n, sizeof(*stream->candidates));
	for (uint32_t i = 0; i < call->n; i++)
		str_init(&stream->candidates[i].text, STREAM_TEXT_BYTES_MAX);
}

void dialect_stream_release(struct dialect_stream *stream)
{
	for (uint32_t i = 0; stream->candidates != NULL && i < stream->call->n; i++) {
		str_release(&stream->candidates[i].text);
		free(stream->candidates[i].ids);
		free(stream->candidates[i].logprobs);
		free(stream->candidates[i].ends);
	}
	free(stream->candidates);
	arena_release(&stream->arena);
	*stream = (struct dialect_stream){0};
}

bool dialect_stream_find(struct dialect_stream *stream, const struct json *event,
	struct dialect_partial **out, struct error *err)
{
	int64_t index = 0;

	json_int(json_get(event, "index"), &index);
	if (index < 0 || index >= stream->call->n)
		return error_set(err, FAIL_DATA, "an event is of candidate %lld, %u were asked for",
			(long long)index, stream->call->n);
	*out = &stream->candidates[index];
	if ((*out)->ended)
		return error_set(
			err, FAIL_DATA, "candidate %lld goes on after its end", (long long)index);
	return true;
}

bool dialect_add_id(struct dialect_stream *stream, struct dialect_partial *partial, uint32_t id,
	float logprob, struct error *err)
{
	uint32_t most = stream->call->max_tokens;

	if (partial->n_ids > most)
		return error_set(
			err, FAIL_DATA, "more ids came than the %u that were asked for", most);
	partial->ids = array_room(
		partial->ids, partial->n_ids, &partial->cap, sizeof(*partial->ids));
	partial->logprobs = array_room(partial->logprobs, partial->n_ids, &partial->logprobs_cap,
		sizeof(*partial->logprobs));
	partial->logprobs[partial->n_ids] = logprob;
	partial->ids[partial->n_ids++] = id;
	return true;
}

void dialect_conclude_ids(
	struct dialect_stream *stream, uint32_t index, size_t n_ids, struct engine_candidate *out)
{
	const struct dialect_partial *c = &stream->candidates[index];

	*out = (struct engine_candidate){
		.i = stream->call->first + index,
		.reason = c->reason,
		.err = c->err,
		.text = {c->text.data, c->text.len},
		.ids = c->ids,
		.n_ids = n_ids,
		.n_tokens = (uint32_t)n_ids,
		.logprobs = stream->call->job->logprobs ? c->logprobs : NULL,
		.finish = c->finish,
		.top = c->top,
		.n_top = c->n_top,
	};
}
