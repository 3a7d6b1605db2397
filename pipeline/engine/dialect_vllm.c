/*
 * vLLM: ids through its own /tokenize and through OpenAI's older completions, which it extends. Facts that shape this file, all
 * tried with a real server (0.32):
 *
 * - /tokenize renders messages and tokenizes them in one step. There is no switch against special tokens in texts, but it can give the
 *   tokens' names; see finds_special.
 * - `return_token_ids` gives every sampled id, that of the end of the turn and those of a stop string included, and the ids of the
 *   prompt as the server read it.
 * - What nobody asked for is taken from the model's generation_config.json, so every sampler is sent.
 * - Several candidates of one request have the seeds seed, seed + 1, ...
 * - A stop string is cut from the text. `logprobs` lists the texts of the tokens (empty inside a character, all of it with its last
 *   token), so with a stop string they are asked for, and the ids kept are those whose texts lie in front of the cut.
 * - max_tokens beyond the context is cut without a word; a prompt that fills it is refused.
 * - A stream's events have all their ids, whatever of the text is held back; the last says how it ended. An event may have several.
 *
 * What it does not tell: its slots, the size of its vocabulary, and, without --enable-tokenizer-info-endpoint, which tokens
 * end a turn and the chat template. A server before 0.10.2 does not know `return_token_ids`; it is asked as an "openai" one.
 */
#include "engine/dialect.h"

#include "base/mem.h"

#include <ctype.h>
#include <math.h>
#include <string.h>

/* --- probing --- */

static bool read_models(const struct json *body, struct arena *arena, struct dialect_facts *facts,
	struct error *err)
{
	const struct json *model = dialect_read_model(body, "vllm", arena, facts, err);

	if (model == NULL)
		return false;
	facts->model_path = dialect_copy_text(json_get(model, "root"), arena);
	return true;
}

static bool read_version(const struct json *body, struct arena *arena, struct dialect_facts *facts,
	struct error *err)
{
	(void)err;
	facts->build = dialect_copy_text(json_get(body, "version"), arena);
	return true;
}

static void build_tokenize(struct slice text, bool whole, bool special, struct str *out)
{
	struct json_writer w = {.out = out};

	(void)special;
	json_begin_object(&w);
	json_key(&w, "prompt");
	json_put_str(&w, text.data, text.len);
	json_member_bool(&w, "add_special_tokens", whole);
	json_member_bool(&w, "return_token_strs", true);
	json_end_object(&w);
}

static bool has_names(const struct json *body)
{
	return json_len(json_get(body, "token_strs")) == json_len(json_get(body, "tokens"));
}

static bool ask_word(const struct dialect_facts *facts, struct str *out)
{
	(void)facts;
	build_tokenize(slice_z("yes"), false, false, out);
	return true;
}

static bool read_word(const struct json *body, struct arena *arena, struct dialect_facts *facts,
	struct error *err)
{
	if (!dialect_read_tokens(body, 0, arena, &facts->probe_ids, &facts->n_probe_ids, err))
		return false;
	if (facts->n_probe_ids == 0 || !has_names(body))
		return error_set(err, FAIL_REMOTE,
			"/tokenize does not give the ids and the names of the tokens of a word");
	return true;
}

static bool ask_ids(const struct dialect_facts *facts, struct str *out)
{
	struct json_writer w = {.out = out};

	json_begin_object(&w);
	json_member_z(&w, "model", facts->model != NULL ? facts->model : "default");
	dialect_put_ids(&w, "prompt", facts->probe_ids, facts->n_probe_ids);
	json_member_uint(&w, "max_tokens", 1);
	json_member_bool(&w, "return_token_ids", true);
	json_end_object(&w);
	return true;
}

static bool read_ids_come(const struct json *body, struct arena *arena, struct dialect_facts *facts,
	struct error *err)
{
	const uint32_t *ids;
	size_t n;

	(void)facts;
	return dialect_read_ids(
		json_at(json_get(body, "choices"), 0), "token_ids", 0, arena, &ids, &n, err);
}

/* A token's name, or the object of an added token. */
static const char *token_name(const struct json *v, struct arena *arena)
{
	return dialect_copy_text(json_kind(v) == JSON_OBJECT ? json_get(v, "content") : v, arena);
}

static bool read_tokenizer(const struct json *body, struct arena *arena,
	struct dialect_facts *facts, struct error *err)
{
	(void)err;
	facts->chat_template = dialect_copy_text(json_get(body, "chat_template"), arena);
	facts->bos_token = token_name(json_get(body, "bos_token"), arena);
	facts->eos_token = token_name(json_get(body, "eos_token"), arena);
	return true;
}

static bool ask_eos(const struct dialect_facts *facts, struct str *out)
{
	if (facts->eos_token == NULL)
		return false;
	build_tokenize(slice_z(facts->eos_token), false, true, out);
	return true;
}

static bool read_eos(const struct json *body, struct arena *arena, struct dialect_facts *facts,
	struct error *err)
{
	(void)arena;
	(void)err;
	facts->eos_id = dialect_read_single_id(body, 0);
	return true;
}

static bool ask_bos(const struct dialect_facts *facts, struct str *out)
{
	if (facts->bos_token == NULL)
		return false;
	build_tokenize(slice_z(facts->bos_token), false, true, out);
	return true;
}

static bool read_bos(const struct json *body, struct arena *arena, struct dialect_facts *facts,
	struct error *err)
{
	(void)arena;
	(void)err;
	facts->bos_id = dialect_read_single_id(body, 0);
	return true;
}

static const struct dialect_step steps[] = {
	{.path = "/v1/models", .read = read_models},
	{.path = "/tokenize", .build = ask_word, .read = read_word},
	{.path = "/v1/completions", .build = ask_ids, .read = read_ids_come},
	{.path = "/version", .read = read_version, .optional = true},
	{.path = "/tokenizer_info", .read = read_tokenizer, .optional = true},
	{.path = "/tokenize", .build = ask_eos, .read = read_eos, .optional = true},
	{.path = "/tokenize", .build = ask_bos, .read = read_bos, .optional = true},
	{0},
};

static bool prompt_too_long(const struct json *body)
{
	const char *text = dialect_error_text(body);

	/* What is left for an answer, where the prompt fills the context to the last token. */
	return dialect_says_too_long(body) ||
		(text != NULL && strstr(text, "max_tokens must be at least 1, got 0") != NULL);
}

/* --- candidates: the request --- */

static void put_sampling(struct json_writer *w, const struct engine_sampling *sampling)
{
	json_member_num(w, "temperature", sampling->temperature);
	json_member_int(w, "top_k", sampling->top_k > 0 ? (int64_t)sampling->top_k : -1);
	json_member_num(w, "top_p", sampling->top_p);
	json_member_num(w, "min_p", sampling->min_p);
	json_member_num(w, "repetition_penalty",
		sampling->repeat_penalty > 0 ? sampling->repeat_penalty : 1);
	dialect_put_stop(w, sampling);
}

static uint32_t n_logprobs(const struct engine_job *job)
{
	uint32_t least = job->logprobs || job->sampling->n_stop > 0 ? 1 : 0;

	return MAX(job->top_logprobs, least);
}

static void build_generate(const struct dialect_call *call, struct str *out)
{
	const struct engine_job *job = call->job;
	struct json_writer w = {.out = out};

	json_begin_object(&w);
	json_member_z(&w, "model", call->model != NULL ? call->model : "default");
	dialect_put_ids(&w, "prompt", job->prompt_ids, job->n_prompt_ids);
	json_member_uint(&w, "max_tokens", call->max_tokens);
	json_member_uint(&w, "n", call->n);
	json_member_uint(&w, "seed", job->seed + call->first);
	put_sampling(&w, job->sampling);
	json_member_bool(&w, "return_token_ids", true);
	if (n_logprobs(job) > 0) {
		json_member_uint(&w, "logprobs", n_logprobs(job));
	}
	if (call->stream) {
		json_member_bool(&w, "stream", true);
	}
	json_end_object(&w);
}

/* --- candidates: the answer --- */

/* One choice while it is read. */
struct reading {
	const struct dialect_call *call;
	const struct json *choice, *logprobs; /* logprobs: NULL if not asked for */
	struct arena *arena;
	const uint32_t *ids;
	size_t n_ids;
};

static bool check_prompt(const struct reading *r, struct error *err)
{
	const struct engine_job *job = r->call->job;
	const struct json *list = json_get(r->choice, "prompt_token_ids");
	uint32_t id;

	if (json_kind(list) != JSON_ARRAY)
		return true;
	if (json_len(list) != job->n_prompt_ids)
		return error_set(err, FAIL_DATA,
			"the server read a prompt of %zu tokens, %zu were sent", json_len(list),
			job->n_prompt_ids);
	for (size_t i = 0; i < job->n_prompt_ids; i++) {
		if (!dialect_read_id(json_at(list, i), 0, &id) || id != job->prompt_ids[i])
			return error_set(err, FAIL_DATA,
				"the server read another prompt than was sent, from token %zu on",
				i);
	}
	return true;
}

static bool read_ids(struct reading *r, struct error *err)
{
	if (!dialect_read_ids(r->choice, "token_ids", r->call->facts->n_vocab, r->arena, &r->ids,
		    &r->n_ids, err))
		return false;
	return r->n_ids <= (size_t)r->call->max_tokens + 1 ||
		error_set(err, FAIL_DATA, "the answer has %zu ids, at most %u were asked for",
			r->n_ids, r->call->max_tokens);
}

static bool read_finish(
	const struct reading *r, struct engine_candidate *out, bool *out_failed, struct error *err)
{
	const char *finish = json_z(json_get(r->choice, "finish_reason"));
	const struct json *reason = json_get(r->choice, "stop_reason");
	int64_t id;

	*out_failed = false;
	if (finish == NULL)
		return error_set(err, FAIL_DATA, "a choice has no 'finish_reason'");
	if (strcmp(finish, "stop") == 0 && json_kind(reason) == JSON_STRING) {
		out->finish = FINISH_STOP_STRING;
	} else if (strcmp(finish, "stop") == 0) {
		/* A second token that ends a turn is told, the first is not. */
		if (r->n_ids == 0 || (json_int(reason, &id) && id != (int64_t)r->ids[r->n_ids - 1]))
			return error_set(err, FAIL_DATA,
				"the candidate has ended, and not with the id that is said to have "
				"ended it");
		out->finish = FINISH_STOP;
	} else if (strcmp(finish, "length") == 0) {
		size_t used = r->call->job->n_prompt_ids + r->n_ids;
		bool full = r->call->context != 0 && used >= r->call->context;

		out->finish = full ? FINISH_CONTEXT : FINISH_LENGTH;
	} else {
		struct error *own = arena_alloc(r->arena, sizeof(*own));

		error_set(own, FAIL_REMOTE, "the server ended the candidate with '%.40s'", finish);
		out->reason = ENGINE_REJECTED;
		out->err = own;
		*out_failed = true;
	}
	return true;
}

static bool read_logprobs(const struct reading *r, const float **out_logprobs, struct error *err)
{
	const struct json *list = json_get(r->logprobs, "token_logprobs");
	float *logprobs = arena_alloc_array(r->arena, r->n_ids + 1, sizeof(*logprobs));

	if (json_kind(list) != JSON_ARRAY || json_len(list) != r->n_ids)
		return error_set(err, FAIL_DATA, "the answer has %zu ids and probabilities of %zu",
			r->n_ids, json_len(list));
	for (size_t i = 0; i < r->n_ids; i++) {
		/* Null where it is below all that floats can tell. */
		if (json_kind(json_at(list, i)) == JSON_NULL)
			logprobs[i] = NAN;
		else if (!dialect_read_logprob(json_at(list, i), &logprobs[i]))
			return error_set(err, FAIL_DATA, "logprob %zu is no valid number", i);
	}
	*out_logprobs = logprobs;
	return true;
}

struct top {
	struct arena *arena;
	struct engine_top *items;
	size_t n;
	bool bad;
};

static void add_top(void *ctx, const char *key, const struct json *value)
{
	struct top *top = ctx;
	struct engine_top *item = &top->items[top->n];

	if (json_kind(value) == JSON_NULL)
		return;
	if (!dialect_read_logprob(value, &item->logprob)) {
		top->bad = true;
		return;
	}
	item->piece = slice_z(arena_strdup(top->arena, key));
	top->n++;
}

/* {"text of a token": logprob, ...}, of the first token. */
static bool read_top(const struct reading *r, struct engine_candidate *out, struct error *err)
{
	const struct json *first = json_at(json_get(r->logprobs, "top_logprobs"), 0);
	struct top top = {.arena = r->arena};
	size_t n = json_len(first);

	if (r->n_ids == 0)
		return true;
	if (json_kind(first) != JSON_OBJECT || n > DIALECT_TOP_MAX)
		return error_set(err, FAIL_DATA,
			"'top_logprobs' has no alternatives, or more than %d", DIALECT_TOP_MAX);
	top.items = arena_alloc_array(r->arena, n, sizeof(*top.items));
	json_each(first, add_top, &top);
	if (top.bad)
		return error_set(err, FAIL_DATA, "an alternative in 'top_logprobs' has no logprob");
	out->top = top.items;
	out->n_top = top.n;
	return true;
}

/*
 * How many ids lie in front of a stop string: those whose texts, joined, are no longer than the text that is left. Tokens inside a
 * character have an empty text, so the last of a character brings it whole.
 */
static bool count_kept(struct reading *r, struct slice text, struct error *err)
{
	const struct json *tokens = json_get(r->logprobs, "tokens");
	size_t len = 0, kept = 0;

	if (json_kind(tokens) != JSON_ARRAY || json_len(tokens) != r->n_ids)
		return error_set(err, FAIL_DATA, "the answer has %zu ids and the texts of %zu",
			r->n_ids, json_len(tokens));
	for (size_t i = 0; i < r->n_ids; i++) {
		size_t n = 0;

		if (json_str(json_at(tokens, i), &n) == NULL)
			return error_set(err, FAIL_DATA, "token %zu has no text", i);
		len += n;
		if (len > text.len)
			break;
		kept = n > 0 ? i + 1 : kept;
	}
	r->n_ids = kept;
	return true;
}

static bool read_choice(struct reading *r, struct engine_candidate *out,
	struct dialect_result *result, struct error *err)
{
	const struct engine_job *job = r->call->job;
	bool failed;

	out->text.data = json_str(json_get(r->choice, "text"), &out->text.len);
	if (out->text.data == NULL)
		return error_set(err, FAIL_DATA, "a choice has no 'text'");
	if (!check_prompt(r, err) || !read_ids(r, err) || !read_finish(r, out, &failed, err))
		return false;
	result->n_sampled += r->n_ids;
	if (failed)
		return true;
	if (n_logprobs(job) > 0) {
		r->logprobs = json_get(r->choice, "logprobs");
		if (!read_logprobs(r, &out->logprobs, err))
			return false;
	}
	if (job->top_logprobs > 0 && !read_top(r, out, err))
		return false;
	if (out->finish == FINISH_STOP_STRING && !count_kept(r, out->text, err))
		return false;
	if (!job->logprobs)
		out->logprobs = NULL;
	out->ids = r->ids;
	out->n_ids = r->n_ids;
	out->n_tokens = (uint32_t)r->n_ids;
	return true;
}

/* The server's own counts; what it counts for all choices must be what came. */
static bool check_usage(const struct dialect_call *call, const struct json *body,
	struct dialect_result *out, struct error *err)
{
	const struct json *usage = json_get(body, "usage");
	size_t sent = call->job->n_prompt_ids;
	int64_t n;

	if (json_int(json_get(usage, "prompt_tokens"), &n)) {
		if (n < 0 || (size_t)n != sent)
			return error_set(err, FAIL_DATA,
				"the server read a prompt of %lld tokens, %zu were sent",
				(long long)n, sent);
		out->n_prompt = (uint32_t)sent;
	}
	if (json_int(json_get(usage, "completion_tokens"), &n) &&
		(n < 0 || (uint64_t)n != out->n_sampled))
		return error_set(err, FAIL_DATA, "the answer has %llu ids, the server counted %lld",
			(unsigned long long)out->n_sampled, (long long)n);
	return true;
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
		struct reading reading = {
			.call = call, .arena = arena, .choice = json_at(choices, i)};
		int64_t index = (int64_t)i;

		json_int(json_get(reading.choice, "index"), &index);
		if (index < 0 || (uint64_t)index >= n || seen[index])
			return error_set(
				err, FAIL_DATA, "choice %zu has index %lld", i, (long long)index);
		seen[index] = true;
		out->candidates[index].i = call->first + (uint32_t)index;
		if (!read_choice(&reading, &out->candidates[index], out, err))
			return false;
	}
	return check_usage(call, body, out, err);
}

/* --- candidates: the events of a stream --- */

/* The ids of an event, with what belongs to each. */
static bool add_ids(struct dialect_stream *stream, struct dialect_partial *c, struct reading *r,
	struct error *err)
{
	const struct json *texts = json_get(r->logprobs, "tokens");
	bool probs = n_logprobs(stream->call->job) > 0;
	const float *logprobs = NULL;

	/* Null where the event has no new one. */
	if (json_len(json_get(r->choice, "token_ids")) == 0)
		return true;
	if (!read_ids(r, err) || (probs && !read_logprobs(r, &logprobs, err)))
		return false;
	for (size_t i = 0; i < r->n_ids; i++) {
		size_t len = 0,
		       before = c->n_ids > 0 && c->ends != NULL ? c->ends[c->n_ids - 1] : 0;

		if (probs && json_str(json_at(texts, i), &len) == NULL)
			return error_set(err, FAIL_DATA, "token %zu of an event has no text", i);
		c->ends = array_room(c->ends, c->n_ids, &c->ends_cap, sizeof(*c->ends));
		c->ends[c->n_ids] = before + len;
		if (!dialect_add_id(stream, c, r->ids[i], probs ? logprobs[i] : NAN, err))
			return false;
	}
	return true;
}

static bool end_partial(struct dialect_partial *c, struct reading *r, struct error *err)
{
	struct engine_candidate end = {0};
	bool failed;

	r->ids = c->ids;
	r->n_ids = c->n_ids;
	if (!read_finish(r, &end, &failed, err))
		return false;
	c->finish = end.finish;
	c->reason = end.reason;
	c->err = end.err;
	c->ended = true;
	return true;
}

static bool add_choice(struct dialect_stream *stream, const struct json *choice, struct error *err)
{
	const struct engine_job *job = stream->call->job;
	const struct json *finish = json_get(choice, "finish_reason");
	struct reading r = {.call = stream->call, .choice = choice, .arena = &stream->arena};
	struct dialect_partial *c;
	struct slice text;

	text.data = json_str(json_get(choice, "text"), &text.len);
	if (text.data == NULL)
		return error_set(err, FAIL_DATA, "a choice has no 'text'");
	r.logprobs = json_get(choice, "logprobs");
	if (!dialect_stream_find(stream, choice, &c, err) || !check_prompt(&r, err) ||
		!add_ids(stream, c, &r, err))
		return false;
	if (json_kind(json_get(choice, "prompt_token_ids")) == JSON_ARRAY)
		stream->n_prompt = (uint32_t)job->n_prompt_ids;
	if (job->top_logprobs > 0 && c->top == NULL && r.n_ids > 0) {
		struct engine_candidate first = {0};

		if (!read_top(&r, &first, err))
			return false;
		c->top = first.top;
		c->n_top = first.n_top;
	}
	str_append(&c->text, text.data, text.len);
	if (c->text.full)
		return error_set(
			err, FAIL_DATA, "the text is longer than %zu bytes", c->text.cap_bytes);
	return finish == NULL || json_kind(finish) == JSON_NULL || end_partial(c, &r, err);
}

static bool read_event(struct dialect_stream *stream, const struct json *event, struct error *err)
{
	const struct json *choices = json_get(event, "choices");

	if (event != NULL && json_kind(choices) != JSON_ARRAY)
		return error_set(err, FAIL_DATA, "an event has no list 'choices'");
	for (size_t i = 0; i < json_len(choices); i++) {
		if (!add_choice(stream, json_at(choices, i), err))
			return false;
	}
	return true;
}

/* As count_kept, for ids that came with the events. */
static size_t in_front_of_cut(const struct dialect_partial *c)
{
	size_t kept = 0, before = 0;

	for (size_t i = 0; i < c->n_ids && c->ends[i] <= c->text.len; i++) {
		kept = c->ends[i] > before ? i + 1 : kept;
		before = c->ends[i];
	}
	return kept;
}

static bool conclude(struct dialect_stream *stream, uint32_t index, struct engine_candidate *out,
	struct error *err)
{
	const struct dialect_partial *c = &stream->candidates[index];

	(void)err;
	dialect_conclude_ids(stream, index,
		c->finish == FINISH_STOP_STRING ? in_front_of_cut(c) : c->n_ids, out);
	return true;
}

/* --- prompts --- */

static void build_template(const struct engine_message *messages, size_t n, struct str *out)
{
	struct json_writer w = {.out = out};

	json_begin_object(&w);
	dialect_put_messages(&w, messages, n);
	json_member_bool(&w, "add_generation_prompt", true);
	json_end_object(&w);
}

/*
 * <|im_end|>, [INST], </s>: in brackets, with a letter in them. Tokenizers do not join letters and brackets to a token of that
 * form, so what has it was added, and is one that the model takes for more than its text. Names of bytes, <0x0A>, do not stand in the
 * text like that.
 */
static bool looks_special(const char *name, size_t len)
{
	bool has_letter = false;

	if (len < 3 ||
		!((name[0] == '<' && name[len - 1] == '>') ||
			(name[0] == '[' && name[len - 1] == ']')))
		return false;
	for (size_t i = 1; i + 1 < len; i++)
		has_letter |= isalpha((unsigned char)name[i]) || (unsigned char)name[i] >= 0x80;
	return has_letter;
}

static bool finds_special(const struct json *body, struct slice text)
{
	const struct json *names = json_get(body, "token_strs");

	if (!has_names(body))
		return true;
	for (size_t i = 0; i < json_len(names); i++) {
		size_t len;
		const char *name = json_str(json_at(names, i), &len);

		if (name != NULL && looks_special(name, len) &&
			memmem(text.data, text.len, name, len) != NULL)
			return true;
	}
	return false;
}

static bool read_detokenize(const struct json *body, struct slice *out_text, struct error *err)
{
	return dialect_read_text(body, "prompt", out_text, err);
}

const struct dialect_ops dialect_vllm = {
	.name = "vllm",
	.summary = "vLLM, 0.10.2 or later: token ids in and out, logprobs, several candidates a "
		   "request",
	.has_ids = true,
	.has_n = true,
	.has_logprobs = true,
	.steps = steps,
	.health_path = "/health",
	.generate_path = "/v1/completions",
	.build_generate = build_generate,
	.read_generate = read_generate,
	.read_event = read_event,
	.conclude = conclude,
	.prompt_too_long = prompt_too_long,
	.template_path = "/tokenize",
	.build_template = build_template,
	.tokenize_path = "/tokenize",
	.build_tokenize = build_tokenize,
	.read_tokenize = dialect_read_tokens,
	.finds_special = finds_special,
	.detokenize_path = "/detokenize",
	.build_detokenize = dialect_build_detokenize,
	.read_detokenize = read_detokenize,
};
