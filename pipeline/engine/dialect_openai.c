/*
 * OpenAI's chat completions, which nearly every server has: text in, text out. No ids, so what is packed from it was tokenized
 * again by another engine.
 *
 * Only fields of OpenAI's own are sent unless a definition asks for more: hosted services refuse a request with a field that
 * they do not know. top_k, min_p and repetition_penalty go out when they are switched on; they are what vLLM, SGLang and
 * llama.cpp call them. A server that puts the chain of thought into a field of its own gets it put back, between <think> tags, in
 * front of the answer, since the chain is what we are after.
 */
#include "engine/dialect.h"

#include <string.h>

#define NAME_BYTES_MAX 4096

static bool read_models(const struct json *body, struct arena *arena, struct dialect_facts *facts,
	struct error *err)
{
	const struct json *data = json_get(body, "data"), *model = json_at(data, 0);
	const char *id = json_z(json_get(model, "id"));
	int64_t context;

	if (json_kind(data) != JSON_ARRAY)
		return error_set(err, FAIL_REMOTE, "/v1/models has no list 'data'");
	if (id != NULL && strlen(id) <= NAME_BYTES_MAX)
		facts->model = arena_strdup(arena, id);
	facts->server = dialect_read_owner(model, arena);
	/* vLLM's and SGLang's extension. */
	if (json_int(json_get(model, "max_model_len"), &context) && context > 0 &&
		context < INT32_MAX)
		facts->context = (uint32_t)context;
	return true;
}

static const struct dialect_step steps[] = {
	{.path = "/v1/models", .read = read_models},
	{0},
};

/* --- the request --- */

static void put_sampling(struct json_writer *w, const struct engine_sampling *sampling)
{
	json_member_num(w, "temperature", sampling->temperature);
	json_member_num(w, "top_p", sampling->top_p);
	if (sampling->top_k > 0) {
		json_member_uint(w, "top_k", sampling->top_k);
	}
	if (sampling->min_p > 0) {
		json_member_num(w, "min_p", sampling->min_p);
	}
	if (sampling->repeat_penalty > 0 && sampling->repeat_penalty != 1) {
		json_member_num(w, "repetition_penalty", sampling->repeat_penalty);
	}
	dialect_put_stop(w, sampling);
}

static void build_generate(const struct dialect_call *call, struct str *out)
{
	const struct engine_job *job = call->job;
	struct json_writer w = {.out = out};

	json_begin_object(&w);
	json_member_z(&w, "model", call->model != NULL ? call->model : "default");
	dialect_put_messages(&w, job->messages, job->n_messages);
	json_member_uint(&w, "max_tokens", call->max_tokens);
	json_member_uint(&w, "seed", job->seed + call->first);
	put_sampling(&w, job->sampling);
	if (call->n > 1) {
		json_member_uint(&w, "n", call->n);
	}
	/*
	 * Logprobs of all tokens are worth nothing without ids; a judge wants the alternatives of the first. With several
	 * choices they also count each one's tokens, which `usage` does not (llama.cpp states those of one choice there).
	 */
	if (job->top_logprobs > 0 || call->n > 1) {
		json_member_bool(&w, "logprobs", true);
		json_member_uint(&w, "top_logprobs", MAX(job->top_logprobs, 1));
	}
	if (call->stream) {
		json_member_bool(&w, "stream", true);
		json_key(&w, "stream_options");
		json_begin_object(&w);
		json_member_bool(&w, "include_usage", true);
		json_end_object(&w);
	}
	json_end_object(&w);
}

/* --- the answer --- */

static struct slice join_thought(struct slice thought, struct slice text, struct arena *arena)
{
	static const char begin[] = "<think>", end[] = "</think>";
	size_t n_begin = sizeof(begin) - 1, n_end = sizeof(end) - 1;
	size_t len = n_begin + thought.len + n_end + text.len;
	char *all = arena_alloc(arena, len + 1), *p = all;

	memcpy(p, begin, n_begin);
	p += n_begin;
	memcpy(p, thought.data, thought.len);
	p += thought.len;
	memcpy(p, end, n_end);
	p += n_end;
	memcpy(p, text.data, text.len);
	return (struct slice){all, len};
}

static bool read_text(
	const struct json *choice, struct arena *arena, struct slice *out, struct error *err)
{
	const struct json *message = json_get(choice, "message"),
			  *content = json_get(message, "content");
	struct slice text = {"", 0}, thought = {NULL, 0};

	if (json_kind(content) == JSON_STRING)
		text.data = json_str(content, &text.len);
	else if (json_kind(message) != JSON_OBJECT || json_kind(content) != JSON_NULL)
		return error_set(err, FAIL_DATA, "a choice has no text in 'message.content'");
	thought.data = json_str(json_get(message, "reasoning_content"), &thought.len);
	if (thought.data == NULL)
		thought.data = json_str(json_get(message, "reasoning"), &thought.len);
	*out = thought.data != NULL && thought.len > 0 ? join_thought(thought, text, arena) : text;
	return true;
}

/* The parts of a candidate that say how it ended. */
struct ending {
	enum finish finish;
	enum engine_reason reason;
	const struct error *err;
};

static bool read_finish(
	const struct json *choice, struct ending *out, struct arena *arena, struct error *err)
{
	const char *finish = json_z(json_get(choice, "finish_reason"));

	*out = (struct ending){.finish = FINISH_STOP};
	if (finish == NULL)
		return error_set(err, FAIL_DATA, "a choice has no 'finish_reason'");
	if (strcmp(finish, "stop") == 0) {
		/* vLLM and SGLang name the stop string that was met; elsewhere both kinds of end look alike. */
		bool string = json_kind(json_get(choice, "stop_reason")) == JSON_STRING ||
			json_kind(json_get(choice, "matched_stop")) == JSON_STRING;

		out->finish = string ? FINISH_STOP_STRING : FINISH_STOP;
	} else if (strcmp(finish, "length") == 0) {
		out->finish = FINISH_LENGTH;
	} else {
		struct error *own = arena_alloc(arena, sizeof(*own));

		error_set(own, FAIL_REMOTE, "the server ended the candidate with '%.40s'", finish);
		out->reason = ENGINE_REJECTED;
		out->err = own;
	}
	return true;
}

static uint64_t read_usage(const struct json *body, const char *key)
{
	int64_t n;

	return json_int(json_get(json_get(body, "usage"), key), &n) && n > 0 && n < INT32_MAX
		? (uint64_t)n
		: 0;
}

static bool read_choice(const struct dialect_call *call, const struct json *choice,
	struct arena *arena, struct engine_candidate *out, struct error *err)
{
	const struct json *tokens = json_get(json_get(choice, "logprobs"), "content");
	struct ending ending;

	if (!read_text(choice, arena, &out->text, err) || !read_finish(choice, &ending, arena, err))
		return false;
	out->finish = ending.finish;
	out->reason = ending.reason;
	out->err = ending.err;
	if (json_kind(tokens) == JSON_ARRAY)
		out->n_tokens = (uint32_t)json_len(tokens);
	if (call->job->top_logprobs == 0)
		return true;
	/* A server without logprobs is found out here: an empty list, and the judge cannot tell. */
	if (json_len(tokens) == 0)
		return true;
	return dialect_read_top(
		json_get(json_at(tokens, 0), "top_logprobs"), arena, &out->top, &out->n_top, err);
}

static bool fills_context(const struct dialect_call *call, uint32_t n_prompt, uint32_t n_tokens)
{
	return call->context != 0 && (uint64_t)n_prompt + n_tokens >= call->context;
}

/* Where the server lists no tokens, each choice gets an equal share of its count. */
static void count_tokens(
	const struct dialect_call *call, const struct json *body, struct dialect_result *out)
{
	uint64_t sampled = read_usage(body, "completion_tokens");

	out->n_prompt = (uint32_t)read_usage(body, "prompt_tokens");
	for (uint32_t i = 0; i < call->n; i++) {
		struct engine_candidate *c = &out->candidates[i];

		if (c->n_tokens == 0)
			c->n_tokens = (uint32_t)(sampled / call->n);
		out->n_sampled += c->n_tokens;
		if (c->finish == FINISH_LENGTH && fills_context(call, out->n_prompt, c->n_tokens))
			c->finish = FINISH_CONTEXT;
	}
}

static bool read_generate(const struct dialect_call *call, const struct json *body,
	struct arena *arena, struct dialect_result *out, struct error *err)
{
	const struct json *choices = json_get(body, "choices");
	size_t n = json_len(choices);
	bool *seen = arena_alloc_array(arena, call->n, sizeof(*seen));

	if (json_kind(choices) != JSON_ARRAY)
		return error_set(err, FAIL_DATA, "the answer has no list 'choices'");
	if (n != call->n)
		return error_set(err, FAIL_DATA, "the answer has %zu candidates, %u were asked for",
			n, call->n);
	out->candidates = arena_alloc_array(arena, n, sizeof(*out->candidates));
	for (size_t i = 0; i < n; i++) {
		const struct json *choice = json_at(choices, i);
		int64_t index = (int64_t)i;

		json_int(json_get(choice, "index"), &index);
		if (index < 0 || (uint64_t)index >= n || seen[index])
			return error_set(
				err, FAIL_DATA, "choice %zu has index %lld", i, (long long)index);
		seen[index] = true;
		out->candidates[index].i = call->first + (uint32_t)index;
		if (!read_choice(call, choice, arena, &out->candidates[index], err))
			return false;
	}
	count_tokens(call, body, out);
	return true;
}

/* --- the events of a stream --- */

/*
 * As join_thought, piece by piece: what came as reasoning stands between the tags, in front of the answer. Reasoning
 * after the answer has begun would have no place there.
 */
static bool add_text(
	struct dialect_partial *c, struct slice thought, struct slice text, struct error *err)
{
	if (thought.len > 0 && !c->in_thought) {
		if (c->text.len > 0)
			return error_set(
				err, FAIL_DATA, "reasoning came after the answer had begun");
		str_append_z(&c->text, "<think>");
		c->in_thought = true;
	}
	str_append(&c->text, thought.data, thought.len);
	if (text.len > 0 && c->in_thought) {
		str_append_z(&c->text, "</think>");
		c->in_thought = false;
	}
	str_append(&c->text, text.data, text.len);
	return !c->text.full ||
		error_set(err, FAIL_DATA, "the text is longer than %zu bytes", c->text.cap_bytes);
}

static bool add_delta(struct dialect_partial *c, const struct json *delta, struct error *err)
{
	struct slice text = {"", 0}, thought = {"", 0};
	size_t len;
	const char *found = json_str(json_get(delta, "reasoning_content"), &len);

	if (found == NULL)
		found = json_str(json_get(delta, "reasoning"), &len);
	if (found != NULL)
		thought = (struct slice){found, len};
	found = json_str(json_get(delta, "content"), &len);
	if (found != NULL)
		text = (struct slice){found, len};
	c->n_pieces += text.len + thought.len > 0;
	return add_text(c, thought, text, err);
}

static bool add_tokens(struct dialect_stream *stream, struct dialect_partial *c,
	const struct json *choice, struct error *err)
{
	const struct json *tokens = json_get(json_get(choice, "logprobs"), "content");

	c->n_tokens += (uint32_t)json_len(tokens);
	if (stream->call->job->top_logprobs == 0 || c->top != NULL || json_len(tokens) == 0)
		return true;
	return dialect_read_top(json_get(json_at(tokens, 0), "top_logprobs"), &stream->arena,
		&c->top, &c->n_top, err);
}

static bool add_choice(struct dialect_stream *stream, const struct json *choice, struct error *err)
{
	const struct json *finish = json_get(choice, "finish_reason");
	struct dialect_partial *c;
	struct ending ending;

	if (!dialect_stream_find(stream, choice, &c, err) ||
		!add_delta(c, json_get(choice, "delta"), err) ||
		!add_tokens(stream, c, choice, err))
		return false;
	if (finish == NULL || json_kind(finish) == JSON_NULL)
		return true;
	if (!read_finish(choice, &ending, &stream->arena, err))
		return false;
	if (c->in_thought)
		str_append_z(&c->text, "</think>");
	c->in_thought = false;
	c->finish = ending.finish;
	c->reason = ending.reason;
	c->err = ending.err;
	c->has_finish = true;
	/* One alone waits for `usage`, which counts its tokens. */
	c->ended = stream->call->n > 1;
	return true;
}

static bool read_event(struct dialect_stream *stream, const struct json *event, struct error *err)
{
	const struct json *choices = json_get(event, "choices");
	struct dialect_partial *first = &stream->candidates[0];

	for (size_t i = 0; i < json_len(choices); i++) {
		if (!add_choice(stream, json_at(choices, i), err))
			return false;
	}
	if (json_kind(json_get(event, "usage")) == JSON_OBJECT) {
		stream->n_prompt = (uint32_t)read_usage(event, "prompt_tokens");
		if (stream->call->n == 1 && first->n_tokens == 0)
			first->n_tokens = (uint32_t)read_usage(event, "completion_tokens");
	}
	if (event != NULL && (json_len(choices) > 0 || stream->n_prompt == 0))
		return true;
	first->ended |= first->has_finish;
	return true;
}

static bool conclude(struct dialect_stream *stream, uint32_t index, struct engine_candidate *out,
	struct error *err)
{
	const struct dialect_partial *c = &stream->candidates[index];

	(void)err;
	*out = (struct engine_candidate){
		.i = stream->call->first + index,
		.reason = c->reason,
		.err = c->err,
		.text = {c->text.data, c->text.len},
		.finish = c->finish,
		.n_tokens = c->n_tokens,
		.top = c->top,
		.n_top = c->n_top,
	};
	if (c->finish == FINISH_LENGTH &&
		fills_context(stream->call, stream->n_prompt, c->n_tokens))
		out->finish = FINISH_CONTEXT;
	return true;
}

const struct dialect_ops dialect_openai = {
	.name = "openai",
	.summary = "chat completions as OpenAI defined them: text only, packed with the help of a "
		   "`tokenizer` engine",
	.has_n = true,
	.has_logprobs = true,
	.steps = steps,
	.health_path = "/v1/models",
	.generate_path = "/v1/chat/completions",
	.build_generate = build_generate,
	.read_generate = read_generate,
	.read_event = read_event,
	.conclude = conclude,
	.prompt_too_long = dialect_says_too_long,
};
