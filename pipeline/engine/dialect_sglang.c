/*
 * SGLang: ids through /generate, which takes `input_ids` and gives `output_ids`. Written from its documentation and source (0.5) and not
 * tried against a real server; what is read is checked all the more.
 *
 * - /v1/tokenize renders messages in recent versions. An older one, which only takes texts, is asked as an "openai" server.
 * - Its tokenizers always read special tokens, and /v1/detokenize can leave them out: an id that stands for nothing then is special.
 * - Seeds are honoured only with --enable-deterministic-inference. Several candidates of one request would all have the same one, so
 *   each is asked for by itself.
 * - `matched` is the id or the stop string that has ended a candidate. Where a stop string begins is found by the texts of the ids, each
 *   decoded by itself.
 */
#include "engine/dialect.h"

#include <math.h>
#include <string.h>

/* --- probing --- */

static bool read_models(const struct json *body, struct arena *arena, struct dialect_facts *facts,
	struct error *err)
{
	const struct json *model = dialect_read_model(body, "sglang", arena, facts, err);

	if (model == NULL)
		return false;
	facts->ignores_seeds = true; /* until it says otherwise */
	return true;
}

static void build_template(const struct engine_message *messages, size_t n, struct str *out)
{
	struct json_writer w = {.out = out};

	json_begin_object(&w);
	dialect_put_messages(&w, messages, n);
	/* The template writes the beginning itself. */
	json_member_bool(&w, "add_special_tokens", false);
	json_end_object(&w);
}

static bool ask_word(const struct dialect_facts *facts, struct str *out)
{
	const struct engine_message message = {"user", slice_z("yes")};

	(void)facts;
	build_template(&message, 1, out);
	return true;
}

static bool read_word(const struct json *body, struct arena *arena, struct dialect_facts *facts,
	struct error *err)
{
	if (!dialect_read_tokens(body, 0, arena, &facts->probe_ids, &facts->n_probe_ids, err))
		return false;
	return facts->n_probe_ids > 0 ||
		error_set(err, FAIL_REMOTE, "/v1/tokenize makes no token of messages");
}

static bool ask_ids(const struct dialect_facts *facts, struct str *out)
{
	struct json_writer w = {.out = out};

	json_begin_object(&w);
	dialect_put_ids(&w, "input_ids", facts->probe_ids, facts->n_probe_ids);
	json_key(&w, "sampling_params");
	json_begin_object(&w);
	json_member_uint(&w, "max_new_tokens", 1);
	json_end_object(&w);
	json_end_object(&w);
	return true;
}

static bool read_ids_come(const struct json *body, struct arena *arena, struct dialect_facts *facts,
	struct error *err)
{
	const uint32_t *ids;
	size_t n;

	(void)facts;
	return dialect_read_ids(body, "output_ids", 0, arena, &ids, &n, err);
}

static bool read_server(const struct json *body, struct arena *arena, struct dialect_facts *facts,
	struct error *err)
{
	bool deterministic = false;

	(void)err;
	json_bool(json_get(body, "enable_deterministic_inference"), &deterministic);
	facts->ignores_seeds = !deterministic;
	facts->build = dialect_copy_text(json_get(body, "version"), arena);
	facts->model_path = dialect_copy_text(json_get(body, "model_path"), arena);
	return true;
}

static const struct dialect_step steps[] = {
	{.path = "/v1/models", .read = read_models},
	{.path = "/v1/tokenize", .build = ask_word, .read = read_word},
	{.path = "/generate", .build = ask_ids, .read = read_ids_come},
	{.path = "/get_server_info", .read = read_server, .optional = true},
	{0},
};

/* --- candidates: the request --- */

static void put_sampling(struct json_writer *w, const struct dialect_call *call)
{
	const struct engine_sampling *sampling = call->job->sampling;

	json_key(w, "sampling_params");
	json_begin_object(w);
	json_member_uint(w, "max_new_tokens", call->max_tokens);
	json_member_num(w, "temperature", sampling->temperature);
	json_member_int(w, "top_k", sampling->top_k > 0 ? (int64_t)sampling->top_k : -1);
	json_member_num(w, "top_p", sampling->top_p);
	json_member_num(w, "min_p", sampling->min_p);
	json_member_num(w, "repetition_penalty",
		sampling->repeat_penalty > 0 ? sampling->repeat_penalty : 1);
	/* A version that does not know the field refuses the request. */
	if (!call->facts->ignores_seeds) {
		json_member_uint(w, "sampling_seed", call->job->seed + call->first);
	}
	dialect_put_stop(w, sampling);
	json_end_object(w);
}

static bool wants_logprobs(const struct engine_job *job)
{
	return job->logprobs || job->top_logprobs > 0 || job->sampling->n_stop > 0;
}

static void build_generate(const struct dialect_call *call, struct str *out)
{
	const struct engine_job *job = call->job;
	struct json_writer w = {.out = out};

	json_begin_object(&w);
	dialect_put_ids(&w, "input_ids", job->prompt_ids, job->n_prompt_ids);
	put_sampling(&w, call);
	if (wants_logprobs(job)) {
		json_member_bool(&w, "return_logprob", true);
		json_member_uint(&w, "top_logprobs_num", job->top_logprobs);
		json_member_bool(&w, "return_text_in_logprobs",
			job->top_logprobs > 0 || job->sampling->n_stop > 0);
	}
	json_end_object(&w);
}

/* --- candidates: the answer --- */

struct reading {
	const struct dialect_call *call;
	const struct json *body, *meta, *entries; /* entries: NULL if not asked for */
	struct arena *arena;
	uint32_t *ids;
	size_t n_ids;
};

static bool read_finish(const struct reading *r, struct engine_candidate *out, struct error *err)
{
	const struct json *reason = json_get(r->meta, "finish_reason");
	const char *type = json_z(json_get(reason, "type"));
	bool by_string = json_kind(json_get(reason, "matched")) == JSON_STRING;

	if (type == NULL)
		return error_set(err, FAIL_DATA, "the answer has no 'finish_reason'");
	if (strcmp(type, "stop") == 0) {
		out->finish = by_string ? FINISH_STOP_STRING : FINISH_STOP;
	} else if (strcmp(type, "length") == 0) {
		size_t used = r->call->job->n_prompt_ids + r->n_ids;
		bool full = r->call->context != 0 && used >= r->call->context;

		out->finish = full ? FINISH_CONTEXT : FINISH_LENGTH;
	} else {
		struct error *own = arena_alloc(r->arena, sizeof(*own));

		error_set(own, FAIL_REMOTE, "the server ended the candidate with '%.40s'", type);
		out->reason = ENGINE_REJECTED;
		out->err = own;
	}
	return true;
}

static bool read_ids(struct reading *r, struct error *err)
{
	const uint32_t *ids;
	size_t n;

	if (!dialect_read_ids(
		    r->body, "output_ids", r->call->facts->n_vocab, r->arena, &ids, &n, err))
		return false;
	if (n > (size_t)r->call->max_tokens + 1)
		return error_set(err, FAIL_DATA,
			"the answer has %zu ids, at most %u were asked for", n,
			r->call->max_tokens);
	/* One more than there are, for an end of the turn that the server left out. */
	r->ids = arena_alloc_array(r->arena, n + 1, sizeof(*r->ids));
	if (n > 0)
		memcpy(r->ids, ids, n * sizeof(*ids));
	r->n_ids = n;
	return true;
}

/* The ids end with the one that ended the turn, and are as many as the server counted. */
static bool check_end(struct reading *r, enum finish finish, struct error *err)
{
	const struct json *matched = json_get(json_get(r->meta, "finish_reason"), "matched");
	uint64_t n_counted = r->n_ids;
	int64_t told;
	uint32_t end;
	bool has_end = dialect_read_id(matched, r->call->facts->n_vocab, &end);

	if (json_int(json_get(r->meta, "completion_tokens"), &told) && told >= 0)
		n_counted = (uint64_t)told;
	if (finish == FINISH_STOP && has_end && n_counted == r->n_ids + 1 &&
		r->n_ids <= r->call->max_tokens && (r->n_ids == 0 || r->ids[r->n_ids - 1] != end))
		r->ids[r->n_ids++] = end;
	if (n_counted != r->n_ids)
		return error_set(err, FAIL_DATA, "the answer has %zu ids, the server counted %llu",
			r->n_ids, (unsigned long long)n_counted);
	if (finish == FINISH_STOP && has_end && (r->n_ids == 0 || r->ids[r->n_ids - 1] != end))
		return error_set(err, FAIL_DATA,
			"the candidate has ended, and not with the id that is said to have ended "
			"it");
	return finish != FINISH_STOP || r->n_ids > 0 ||
		error_set(err, FAIL_DATA, "the candidate has ended without a token");
}

static bool check_prompt(const struct reading *r, struct dialect_result *out, struct error *err)
{
	size_t sent = r->call->job->n_prompt_ids;
	int64_t told;

	if (!json_int(json_get(r->meta, "prompt_tokens"), &told))
		return true;
	if (told < 0 || (size_t)told != sent)
		return error_set(err, FAIL_DATA,
			"the server read a prompt of %lld tokens, %zu were sent", (long long)told,
			sent);
	out->n_prompt = (uint32_t)sent;
	return true;
}

/* [logprob, id, text or null] for each id. */
static bool read_logprobs(struct reading *r, const float **out_logprobs, struct error *err)
{
	float *logprobs = arena_alloc_array(r->arena, r->n_ids + 1, sizeof(*logprobs));
	size_t n;

	r->entries = json_get(r->meta, "output_token_logprobs");
	n = json_len(r->entries);
	if (json_kind(r->entries) != JSON_ARRAY || n > r->n_ids || n + 1 < r->n_ids)
		return error_set(err, FAIL_DATA, "the answer has %zu ids and probabilities of %zu",
			r->n_ids, n);
	logprobs[r->n_ids] = NAN;
	for (size_t i = 0; i < r->n_ids; i++) {
		const struct json *entry = json_at(r->entries, i), *value = json_at(entry, 0);
		uint32_t id;

		logprobs[i] = NAN;
		/* Of an end that the server left out there is nothing; null is below all that floats can tell. */
		if (i == n)
			break;
		if (!dialect_read_id(json_at(entry, 1), 0, &id) || id != r->ids[i])
			return error_set(err, FAIL_DATA,
				"probability %zu is not of the id that was sampled there", i);
		if (json_kind(value) != JSON_NULL && !dialect_read_logprob(value, &logprobs[i]))
			return error_set(err, FAIL_DATA, "logprob %zu is no valid number", i);
	}
	*out_logprobs = logprobs;
	return true;
}

static bool read_top(const struct reading *r, struct engine_candidate *out, struct error *err)
{
	const struct json *first = json_at(json_get(r->meta, "output_top_logprobs"), 0);
	size_t n = json_len(first), n_read = 0;
	struct engine_top *top;

	if (r->n_ids == 0)
		return true;
	if (json_kind(first) != JSON_ARRAY || n > DIALECT_TOP_MAX)
		return error_set(err, FAIL_DATA,
			"'output_top_logprobs' has no alternatives, or more than %d",
			DIALECT_TOP_MAX);
	top = arena_alloc_array(r->arena, n, sizeof(*top));
	for (size_t i = 0; i < n; i++) {
		const struct json *entry = json_at(first, i);
		struct engine_top *item = &top[n_read];

		if (json_kind(json_at(entry, 0)) == JSON_NULL)
			continue;
		item->piece.data = json_str(json_at(entry, 2), &item->piece.len);
		if (item->piece.data == NULL ||
			!dialect_read_logprob(json_at(entry, 0), &item->logprob))
			return error_set(err, FAIL_DATA,
				"entry %zu of 'output_top_logprobs' has no text or no logprob", i);
		n_read++;
	}
	out->top = top;
	out->n_top = n_read;
	return true;
}

/*
 * The stop string begins in the last id from which on the texts, joined, hold it. Looked for from the end, since an id inside a character
 * has no text of its own that could be compared.
 */
static void cut_at_stop_string(struct reading *r)
{
	const struct json *matched = json_get(json_get(r->meta, "finish_reason"), "matched");
	size_t at = json_len(r->entries), len, n;
	const char *word = json_str(matched, &len), *piece;
	bool found = len == 0;
	struct str behind, joined;

	str_init(&behind, STR_NO_CAP);
	str_init(&joined, STR_NO_CAP);
	while (!found && at > 0) {
		piece = json_str(json_at(json_at(r->entries, --at), 2), &n);
		str_reset(&joined);
		if (piece != NULL)
			str_append(&joined, piece, n);
		/* No more of what is behind than the string could reach into. */
		str_append(&joined, behind.data, MIN(behind.len, len));
		found = memmem(joined.data, joined.len, word, len) != NULL;
		str_reset(&behind);
		str_append(&behind, joined.data, MIN(joined.len, len));
	}
	str_release(&behind);
	str_release(&joined);
	r->n_ids = at;
}

static bool read_one(struct reading *r, struct engine_candidate *out, struct dialect_result *result,
	struct error *err)
{
	const struct engine_job *job = r->call->job;

	out->text.data = json_str(json_get(r->body, "text"), &out->text.len);
	if (out->text.data == NULL)
		return error_set(err, FAIL_DATA, "the answer has no 'text'");
	r->meta = json_get(r->body, "meta_info");
	if (!read_ids(r, err) || !read_finish(r, out, err) || !check_prompt(r, result, err))
		return false;
	if (out->reason != ENGINE_OK)
		return true;
	if (!check_end(r, out->finish, err))
		return false;
	result->n_sampled += r->n_ids;
	if (wants_logprobs(job) && !read_logprobs(r, &out->logprobs, err))
		return false;
	if (job->top_logprobs > 0 && !read_top(r, out, err))
		return false;
	if (out->finish == FINISH_STOP_STRING)
		cut_at_stop_string(r);
	if (!job->logprobs)
		out->logprobs = NULL;
	out->ids = r->ids;
	out->n_ids = r->n_ids;
	out->n_tokens = (uint32_t)r->n_ids;
	return true;
}

static bool read_generate(const struct dialect_call *call, const struct json *body,
	struct arena *arena, struct dialect_result *out, struct error *err)
{
	bool is_list = json_kind(body) == JSON_ARRAY;
	size_t n = is_list ? json_len(body) : 1;

	if (!is_list && json_kind(body) != JSON_OBJECT)
		return error_set(
			err, FAIL_DATA, "the answer is %s", json_kind_name(json_kind(body)));
	if (n != call->n)
		return error_set(err, FAIL_DATA, "the answer has %zu candidates, %u were asked for",
			n, call->n);
	out->candidates = arena_alloc_array(arena, n, sizeof(*out->candidates));
	for (size_t i = 0; i < n; i++) {
		struct reading reading = {
			.call = call, .arena = arena, .body = is_list ? json_at(body, i) : body};

		out->candidates[i].i = call->first + (uint32_t)i;
		if (!read_one(&reading, &out->candidates[i], out, err))
			return false;
	}
	return true;
}

/* --- prompts --- */

static void build_tokenize(struct slice text, bool whole, bool special, struct str *out)
{
	struct json_writer w = {.out = out};

	(void)special;
	json_begin_object(&w);
	json_key(&w, "prompt");
	json_put_str(&w, text.data, text.len);
	json_member_bool(&w, "add_special_tokens", whole);
	json_end_object(&w);
}

static void build_find_special(const uint32_t *ids, size_t n, struct str *out)
{
	struct json_writer w = {.out = out};

	json_begin_object(&w);
	json_key(&w, "tokens");
	json_begin_array(&w);
	for (size_t i = 0; i < n; i++) {
		json_begin_array(&w);
		json_put_uint(&w, ids[i]);
		json_end_array(&w);
	}
	json_end_array(&w);
	json_member_bool(&w, "skip_special_tokens", true);
	json_end_object(&w);
}

static bool read_find_special(const struct json *body, size_t n, bool *out, struct error *err)
{
	const struct json *texts = json_get(body, "text");
	bool found = false;

	if (json_kind(texts) != JSON_ARRAY || json_len(texts) != n)
		return error_set(err, FAIL_DATA, "the answer has the texts of %zu of %zu ids",
			json_len(texts), n);
	for (size_t i = 0; i < n; i++) {
		size_t len;

		if (json_str(json_at(texts, i), &len) == NULL)
			return error_set(err, FAIL_DATA, "id %zu has no text", i);
		found |= len == 0;
	}
	*out = found;
	return true;
}

static void build_detokenize(const uint32_t *ids, size_t n, struct str *out)
{
	struct json_writer w = {.out = out};

	json_begin_object(&w);
	dialect_put_ids(&w, "tokens", ids, n);
	json_member_bool(&w, "skip_special_tokens", false);
	json_end_object(&w);
}

static bool read_detokenize(const struct json *body, struct slice *out_text, struct error *err)
{
	return dialect_read_text(body, "text", out_text, err);
}

const struct dialect_ops dialect_sglang = {
	.name = "sglang",
	.summary = "SGLang's /generate: token ids in and out, logprobs; written from its "
		   "documentation",
	.has_ids = true,
	.has_logprobs = true,
	.steps = steps,
	.health_path = "/health",
	.generate_path = "/generate",
	.build_generate = build_generate,
	.read_generate = read_generate,
	.prompt_too_long = dialect_says_too_long,
	.template_path = "/v1/tokenize",
	.build_template = build_template,
	.tokenize_path = "/v1/tokenize",
	.build_tokenize = build_tokenize,
	.read_tokenize = dialect_read_tokens,
	.build_find_special = build_find_special,
	.read_find_special = read_find_special,
	.detokenize_path = "/v1/detokenize",
	.build_detokenize = build_detokenize,
	.read_detokenize = read_detokenize,
};
