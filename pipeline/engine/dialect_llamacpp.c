/*
 * llama.cpp's own routes, which take and give token ids. Facts that shape this file, all tried with a real server:
 *
 * - Samplers that nobody asked for are on by default (top_k 40, min_p 0.05), so every one is sent.
 * - `tokens` has every sampled id, the end-of-generation id included. `completion_probabilities` has one entry for each token
 *   after which the text does not stop inside a UTF-8 character; the bytes of an entry are the text since the entry before. So
 *   the entries are a subsequence of the ids: align() finds which, and an id without entry has the logprob NaN, "not told".
 * - A stop string is cut from `content` at the byte, but not from `tokens`; of the entries, as many as the stop string has tokens
 *   when tokenized alone are left out at the end, and tokens that might begin it have come with empty text. We keep the ids up to
 *   the last entry with text: the longest row of ids that is known to lie in front of the cut (so n_probs is asked for whenever there is a
 *   stop string). The text may then be a part of one token longer than the ids: it is for people, the ids are trained on.
 * - Of several candidates in one request, each claims the reading of the prompt that was done once, for the first.
 * - A stream has one event a token, with "index", and at the end one more without any. It sends nothing while the text stops
 *   inside a character, and then the last token of it alone, while `tokens_predicted` counts them all: see find_hidden().
 *   Fields that were not asked for come as well. The id that completes a stop string brings what was held back in front of it,
 *   so the last with text before that one counts. Those ids may be a few more than an answer in one piece lets us tell.
 * - Seed 4294967295 means "random" and must never be sent.
 */
#include "engine/dialect.h"

#include <math.h>
#include <string.h>

/* Asked for, and answered, under these names. */
#define PROMPT_N "timings/prompt_n"
#define SEED "generation_settings/seed"

/* --- probing --- */

static bool read_props(const struct json *body, struct arena *arena, struct dialect_facts *facts,
	struct error *err)
{
	const struct json *slots = json_get(body, "total_slots"),
			  *build = json_get(body, "build_info");
	const struct json *settings = json_get(body, "default_generation_settings");

	if (json_kind(slots) != JSON_INT && json_kind(build) != JSON_STRING)
		return error_set(
			err, FAIL_REMOTE, "/props has neither 'total_slots' nor 'build_info'");
	facts->n_slots = dialect_read_count(slots);
	facts->context = dialect_read_count(json_get(settings, "n_ctx"));
	facts->build = dialect_copy_text(build, arena);
	facts->model = dialect_copy_text(json_get(body, "model_alias"), arena);
	facts->model_path = dialect_copy_text(json_get(body, "model_path"), arena);
	facts->chat_template = dialect_copy_text(json_get(body, "chat_template"), arena);
	facts->bos_token = dialect_copy_text(json_get(body, "bos_token"), arena);
	facts->eos_token = dialect_copy_text(json_get(body, "eos_token"), arena);
	if (facts->model == NULL)
		facts->model = facts->model_path;
	return true;
}

static bool read_models(const struct json *body, struct arena *arena, struct dialect_facts *facts,
	struct error *err)
{
	const struct json *model = json_at(json_get(body, "data"), 0),
			  *meta = json_get(model, "meta");

	(void)err;
	facts->server = dialect_read_owner(model, arena);
	facts->n_vocab = dialect_read_count(json_get(meta, "n_vocab"));
	if (facts->n_vocab > DIALECT_VOCAB_MAX)
		facts->n_vocab = 0;
	if (facts->model == NULL)
		facts->model = dialect_copy_text(json_get(model, "id"), arena);
	return true;
}

static void build_tokenize(struct slice text, bool whole, bool special, struct str *out)
{
	struct json_writer w = {.out = out};

	json_begin_object(&w);
	json_key(&w, "content");
	json_put_str(&w, text.data, text.len);
	json_member_bool(&w, "add_special", whole);
	json_member_bool(&w, "parse_special", special);
	json_end_object(&w);
}

/* The server names its special tokens but not their ids. */
static bool ask_id(const char *token, struct str *out)
{
	if (token == NULL)
		return false;
	build_tokenize(slice_z(token), false, true, out);
	return true;
}

static bool ask_eos(const struct dialect_facts *facts, struct str *out)
{
	return ask_id(facts->eos_token, out);
}

static bool read_eos(const struct json *body, struct arena *arena, struct dialect_facts *facts,
	struct error *err)
{
	(void)arena;
	(void)err;
	facts->eos_id = dialect_read_single_id(body, facts->n_vocab);
	return true;
}

static bool ask_bos(const struct dialect_facts *facts, struct str *out)
{
	return ask_id(facts->bos_token, out);
}

static bool read_bos(const struct json *body, struct arena *arena, struct dialect_facts *facts,
	struct error *err)
{
	(void)arena;
	(void)err;
	facts->bos_id = dialect_read_single_id(body, facts->n_vocab);
	return true;
}

static const struct dialect_step steps[] = {
	{.path = "/props", .read = read_props},
	{.path = "/v1/models", .read = read_models, .optional = true},
	{.path = "/tokenize", .build = ask_eos, .read = read_eos, .optional = true},
	{.path = "/tokenize", .build = ask_bos, .read = read_bos, .optional = true},
	{0},
};

static bool error_has_type(const struct json *body, const char *type)
{
	const char *have = json_z(json_get(json_get(body, "error"), "type"));

	return have != NULL && strcmp(have, type) == 0;
}

static bool loading(long status, const struct json *body)
{
	return status == 503 && error_has_type(body, "unavailable_error");
}

static bool prompt_too_long(const struct json *body)
{
	const char *text = dialect_error_text(body);

	if (error_has_type(body, "exceed_context_size_error"))
		return true;
	/* A text to be scored must fit into one physical batch (-ub), whatever the context. */
	return text != NULL && strstr(text, "too large to process") != NULL;
}

/* --- candidates: the request --- */

static uint32_t n_probs(const struct engine_job *job)
{
	uint32_t least = job->logprobs || job->sampling->n_stop > 0 ? 1 : 0;

	return MAX(job->top_logprobs, least);
}

static void put_sampling(struct json_writer *w, const struct engine_sampling *sampling)
{
	json_member_num(w, "temperature", sampling->temperature);
	json_member_uint(w, "top_k", sampling->top_k);
	json_member_num(w, "top_p", sampling->top_p);
	json_member_num(w, "min_p", sampling->min_p);
	json_member_num(w, "repeat_penalty", sampling->repeat_penalty);
	dialect_put_stop(w, sampling);
}

/* Without these the answer repeats the prompt and all settings, 2 KB a candidate. */
static void put_fields(struct json_writer *w)
{
	static const char *const fields[] = {"index", "content", "tokens", "stop_type", "truncated",
		"tokens_evaluated", "tokens_predicted", "completion_probabilities", PROMPT_N, SEED};

	json_key(w, "response_fields");
	json_begin_array(w);
	for (size_t i = 0; i < ARRAY_LEN(fields); i++)
		json_put_z(w, fields[i]);
	json_end_array(w);
}

/* The seed of a call's first candidate, as it is sent: the greatest one means "random". */
static uint32_t seed_of(const struct dialect_call *call)
{
	uint32_t seed = call->job->seed + call->first;
	return seed == UINT32_MAX ? 0 : seed;
}

static void build_generate(const struct dialect_call *call, struct str *out)
{
	const struct engine_job *job = call->job;
	struct json_writer w = {.out = out};

	json_begin_object(&w);
	dialect_put_ids(&w, "prompt", job->prompt_ids, job->n_prompt_ids);
	json_member_uint(&w, "n_predict", call->max_tokens);
	if (call->n > 1) {
		json_member_uint(&w, "n_cmpl", call->n);
	}
	json_member_uint(&w, "seed", seed_of(call));
	put_sampling(&w, job->sampling);
	json_member_bool(&w, "return_tokens", true);
	json_member_uint(&w, "n_probs", n_probs(job));
	json_member_bool(&w, "cache_prompt", true);
	json_member_bool(&w, "stream", call->stream);
	put_fields(&w);
	json_end_object(&w);
}

/* --- candidates: the answer --- */

/* One answer while it is read. */
struct reading {
	const struct dialect_call *call;
	const struct json *body;
	struct arena *arena;
	uint32_t *ids;
	size_t n_ids;
	const struct json *entries; /* completion_probabilities; NULL: not asked for */
	size_t n_entries;
	float *logprobs; /* per id; NaN: not told */
	size_t n_told; /* ids up to the last that has an entry */
	size_t n_shown; /* ids up to the last whose entry has text */
};

/* Places inside characters, where tokens without an entry can have ended. */
static size_t count_continuation(struct slice text)
{
	size_t n = 0;

	for (size_t i = 0; i < text.len; i++)
		n += ((unsigned char)text.data[i] & 0xc0) == 0x80;
	return n;
}

/*
 * The id, at or after `at`, that an entry belongs to. Tokens between ended inside a character of the entry's text, so there are
 * not more of them than it has continuation bytes. Of a run of equal ids behind such a token the last is right, since a token
 * made of continuation bytes cannot follow a complete character.
 */
static size_t find_id(const struct reading *r, size_t at, uint32_t id, struct slice piece)
{
	size_t stop = at + MIN(count_continuation(piece), r->n_ids - 1 - at), i = at;

	while (i <= stop && r->ids[i] != id)
		i++;
	if (i > stop)
		return SIZE_MAX;
	while (i > at && i < stop && r->ids[i + 1] == id)
		i++;
	return i;
}

static bool read_entry(struct reading *r, size_t i, uint32_t *out_id, float *out_logprob,
	struct slice *out_piece, struct error *err)
{
	const struct json *entry = json_at(r->entries, i);
	const char *missing = NULL;

	if (!dialect_read_id(json_get(entry, "id"), r->call->facts->n_vocab, out_id))
		missing = "id";
	else if (!dialect_read_logprob(json_get(entry, "logprob"), out_logprob))
		missing = "logprob";
	else if (!dialect_read_piece(entry, r->arena, out_piece))
		missing = "token";
	if (missing != NULL)
		return error_set(err, FAIL_DATA,
			"entry %zu of 'completion_probabilities' has no valid %s", i, missing);
	return true;
}

/* Gives every entry its id; see the top of the file. */
static bool align(struct reading *r, struct error *err)
{
	size_t at = 0;

	for (size_t i = 0; i < r->n_entries; i++) {
		struct slice piece;
		uint32_t id;
		float logprob;
		size_t found;

		if (!read_entry(r, i, &id, &logprob, &piece, err))
			return false;
		found = at < r->n_ids ? find_id(r, at, id, piece) : SIZE_MAX;
		if (found == SIZE_MAX)
			return error_set(err, FAIL_DATA,
				"entry %zu of 'completion_probabilities' is of id %u, which is not "
				"what was sampled there",
				i, id);
		r->logprobs[found] = logprob;
		if (piece.len > 0)
			r->n_shown = found + 1;
		at = found + 1;
	}
	r->n_told = at;
	return true;
}

static bool read_ids(struct reading *r, struct error *err)
{
	const struct json *tokens = json_get(r->body, "tokens");
	size_t n = json_len(tokens);

	if (json_kind(tokens) != JSON_ARRAY)
		return error_set(err, FAIL_DATA, "the answer has no 'tokens'");
	if (n > (size_t)r->call->max_tokens + 1)
		return error_set(err, FAIL_DATA,
			"the answer has %zu ids, at most %u were asked for", n,
			r->call->max_tokens);
	/* One more than there are, for an EOS that the server left out. */
	r->ids = arena_alloc_array(r->arena, n + 1, sizeof(*r->ids));
	for (size_t i = 0; i < n; i++) {
		if (!dialect_read_id(json_at(tokens, i), r->call->facts->n_vocab, &r->ids[i]))
			return error_set(
				err, FAIL_DATA, "id %zu of 'tokens' is not in the vocabulary", i);
	}
	r->n_ids = n;
	return true;
}

static bool read_entries(struct reading *r, struct error *err)
{
	r->entries = json_get(r->body, "completion_probabilities");
	r->n_entries = json_len(r->entries);
	/* Absent where no token had an entry. */
	if (r->entries != NULL && json_kind(r->entries) != JSON_ARRAY)
		return error_set(err, FAIL_DATA, "'completion_probabilities' is no list");
	if (r->n_entries > r->n_ids)
		return error_set(err, FAIL_DATA, "the answer has %zu ids and probabilities of %zu",
			r->n_ids, r->n_entries);
	r->logprobs = arena_alloc_array(r->arena, r->n_ids + 1, sizeof(*r->logprobs));
	for (size_t i = 0; i <= r->n_ids; i++)
		r->logprobs[i] = NAN;
	return align(r, err);
}

/* Ids behind the last entry are fine if the text stops inside a character, which the server then shows as U+FFFD. */
static bool check_tail(const struct reading *r, struct slice text, struct error *err)
{
	static const char replacement[] = "\xef\xbf\xbd";

	if (r->n_told == r->n_ids ||
		(text.len >= 3 && memcmp(text.data + text.len - 3, replacement, 3) == 0))
		return true;
	return error_set(err, FAIL_DATA, "the answer has %zu ids and probabilities of %zu",
		r->n_ids, r->n_entries);
}

static bool read_finish(struct reading *r, enum finish *out, struct error *err)
{
	const char *type = json_z(json_get(r->body, "stop_type"));
	bool truncated = false;

	if (type == NULL)
		return error_set(err, FAIL_DATA, "the answer has no 'stop_type'");
	json_bool(json_get(r->body, "truncated"), &truncated);
	if (strcmp(type, "eos") == 0) {
		*out = FINISH_STOP;
	} else if (strcmp(type, "word") == 0) {
		*out = FINISH_STOP_STRING;
	} else if (strcmp(type, "limit") == 0) {
		size_t used = r->call->job->n_prompt_ids + r->n_ids;

		truncated |= r->call->context != 0 && used >= r->call->context;
		*out = truncated ? FINISH_CONTEXT : FINISH_LENGTH;
	} else {
		return error_set(err, FAIL_DATA, "'stop_type' is '%.40s'", type);
	}
	return true;
}

/* The ids end with the EOS, once, when the model stopped by itself. */
static bool check_eos(struct reading *r, struct error *err)
{
	uint64_t n_predicted = r->n_ids;
	int64_t told, eos = r->call->facts->eos_id;

	if (json_int(json_get(r->body, "tokens_predicted"), &told) && told >= 0)
		n_predicted = (uint64_t)told;
	if (n_predicted == r->n_ids)
		return true;
	/* A server that counts the EOS and does not send it; one that ends in an EOS and counts more is wrong. */
	bool ends_in_eos = r->n_ids > 0 && r->ids[r->n_ids - 1] == (uint32_t)eos;
	if (n_predicted != r->n_ids + 1 || eos < 0 || ends_in_eos)
		return error_set(err, FAIL_DATA, "the answer has %zu ids, the server counted %llu",
			r->n_ids, (unsigned long long)n_predicted);
	if (r->logprobs != NULL)
		r->logprobs[r->n_ids] = NAN;
	r->ids[r->n_ids++] = (uint32_t)eos;
	return true;
}

/* Is it the answer to what was asked? A proxy or a server that mixes requests up gives one that is well-formed. */
static bool check_request(
	struct reading *r, uint32_t index, struct dialect_result *out, struct error *err)
{
	size_t sent = r->call->job->n_prompt_ids;
	uint32_t seed = seed_of(r->call) + index;
	int64_t told;

	if (json_int(json_get(r->body, SEED), &told) && told != seed)
		return error_set(err, FAIL_DATA,
			"the answer is one to another request: its seed is %lld, %u was asked for",
			(long long)told, seed);
	if (!json_int(json_get(r->body, "tokens_evaluated"), &told))
		return true;
	if (told < 0 || (size_t)told != sent)
		return error_set(err, FAIL_DATA,
			"the server read a prompt of %lld tokens, %zu were sent", (long long)told,
			sent);
	out->n_prompt = (uint32_t)sent;
	return true;
}

static void read_prompt_n(struct reading *r, bool is_first, struct engine_candidate *out)
{
	int64_t n;

	out->knows_read = json_int(json_get(r->body, PROMPT_N), &n) && n >= 0 &&
		(size_t)n <= r->call->job->n_prompt_ids;
	out->n_read = out->knows_read && is_first ? (uint32_t)n : 0;
}

static bool read_one(struct reading *r, uint32_t index, struct engine_candidate *out,
	struct dialect_result *result, struct error *err)
{
	const struct engine_job *job = r->call->job;
	const struct json *top;

	out->text.data = json_str(json_get(r->body, "content"), &out->text.len);
	if (out->text.data == NULL)
		return error_set(err, FAIL_DATA, "the answer has no 'content'");
	if (!read_ids(r, err) || !check_request(r, index, result, err))
		return false;
	if (n_probs(job) > 0 && !read_entries(r, err))
		return false;
	if (!read_finish(r, &out->finish, err))
		return false;
	if (n_probs(job) > 0 && out->finish != FINISH_STOP_STRING && !check_tail(r, out->text, err))
		return false;
	if (out->finish == FINISH_STOP && !check_eos(r, err))
		return false;
	/* An empty answer has the id of its end; only a stop string may stand at the very front, and take its ids along. */
	if (r->n_ids == 0 && out->finish != FINISH_STOP_STRING)
		return error_set(err, FAIL_DATA, "the answer has no ids at all");
	result->n_sampled += r->n_ids;
	if (out->finish == FINISH_STOP_STRING)
		r->n_ids = r->n_shown;
	top = json_get(json_at(r->entries, 0), "top_logprobs");
	/* The first entry is that of the first id unless that one is a piece of a character. */
	if (job->top_logprobs > 0 && top != NULL && r->n_entries > 0 &&
		!dialect_read_top(top, r->arena, &out->top, &out->n_top, err))
		return false;
	out->ids = r->ids;
	out->n_ids = r->n_ids;
	out->n_tokens = (uint32_t)r->n_ids;
	out->logprobs = job->logprobs ? r->logprobs : NULL;
	return true;
}

static bool read_generate(const struct dialect_call *call, const struct json *body,
	struct arena *arena, struct dialect_result *out, struct error *err)
{
	bool is_list = json_kind(body) == JSON_ARRAY;
	size_t n = is_list ? json_len(body) : 1;
	bool *seen = arena_alloc_array(arena, call->n, sizeof(*seen));

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
		int64_t index = (int64_t)i;

		json_int(json_get(reading.body, "index"), &index);
		if (index < 0 || (uint64_t)index >= n || seen[index])
			return error_set(err, FAIL_DATA,
				"candidate %zu of the answer has index %lld", i, (long long)index);
		seen[index] = true;
		out->candidates[index].i = call->first + (uint32_t)index;
		if (!read_one(&reading, (uint32_t)index, &out->candidates[index], out, err))
			return false;
		read_prompt_n(&reading, index == 0, &out->candidates[index]);
	}
	return true;
}

/* --- candidates: the events of a stream --- */

/* The text of an event's token, in bytes, as far as it was not held back because it may begin a stop string. */
static bool shown_text(struct dialect_stream *stream, const struct json *event,
	const struct json *entry, struct slice *out)
{
	if (entry != NULL)
		return dialect_read_piece(entry, &stream->arena, out);
	out->data = json_str(json_get(event, "content"), &out->len);
	return out->data != NULL;
}

/*
 * `n` ids came before `id` and were not sent, since the text stopped inside a character after each of them. Together they spell
 * what is shown now, less the piece of `id`. Without the vocabulary, or where several rows of ids spell that, the candidate is
 * lost to the stream.
 */
static bool find_hidden(struct dialect_stream *stream, struct dialect_partial *c, uint32_t id,
	size_t n, struct slice shown, struct error *err)
{
	const struct spelling *spelling = stream->call->spelling;
	uint32_t hidden[SPELLING_IDS_MAX];
	struct slice last;

	/* Text of tokens before these would be in `shown`, too. */
	c->lost = spelling == NULL || c->n_shown != c->n_ids;
	if (c->lost)
		return true;
	last = spelling_piece(spelling, id);
	c->lost = last.len == 0 || last.len >= shown.len ||
		memcmp(shown.data + shown.len - last.len, last.data, last.len) != 0;
	if (!c->lost) {
		shown.len -= last.len;
		c->lost = !spelling_split(spelling, shown, n, hidden);
	}
	for (size_t i = 0; i < n && !c->lost; i++) {
		if (!dialect_add_id(stream, c, hidden[i], NAN, err))
			return false;
	}
	return true;
}

/* How many tokens had been sampled with those of the event; what came by then where the server does not say. */
static uint64_t count_sampled(const struct json *event, uint64_t came)
{
	int64_t told;

	return json_int(json_get(event, "tokens_predicted"), &told) && told >= 0 ? (uint64_t)told
										 : came;
}

static bool add_token(struct dialect_stream *stream, struct dialect_partial *c,
	const struct json *event, struct error *err)
{
	const struct engine_job *job = stream->call->job;
	const struct json *entry = json_at(json_get(event, "completion_probabilities"), 0),
			  *top = json_get(entry, "top_logprobs");
	bool probs = n_probs(job) > 0;
	uint64_t sampled = count_sampled(event, c->n_ids + 1);
	float logprob = NAN;
	struct slice shown;
	uint32_t id, entry_id;

	if (!dialect_read_id(
		    json_at(json_get(event, "tokens"), 0), stream->call->facts->n_vocab, &id))
		return error_set(
			err, FAIL_DATA, "an event has an id that is not in the vocabulary");
	if (probs &&
		(!dialect_read_id(json_get(entry, "id"), 0, &entry_id) || entry_id != id ||
			!dialect_read_logprob(json_get(entry, "logprob"), &logprob)))
		return error_set(err, FAIL_DATA, "an event of id %u has no valid probability", id);
	if (!shown_text(stream, event, probs ? entry : NULL, &shown))
		return error_set(err, FAIL_DATA, "an event has no text");
	if (sampled > (uint64_t)stream->call->max_tokens + 1)
		return error_set(err, FAIL_DATA, "%llu ids were sampled, at most %u were asked for",
			(unsigned long long)sampled, stream->call->max_tokens);
	if (sampled < c->n_ids + 1)
		return error_set(err, FAIL_DATA, "the server counts %llu ids where %zu came",
			(unsigned long long)sampled, c->n_ids + 1);
	if (sampled > c->n_ids + 1 &&
		!find_hidden(stream, c, id, (size_t)sampled - c->n_ids - 1, shown, err))
		return false;
	/* The alternatives are of the first id unless that one is a piece of a character. */
	if (job->top_logprobs > 0 && c->top == NULL && top != NULL &&
		!dialect_read_top(top, &stream->arena, &c->top, &c->n_top, err))
		return false;
	if (!dialect_add_id(stream, c, id, logprob, err))
		return false;
	c->n_before = c->n_shown;
	if (shown.len > 0)
		c->n_shown = c->n_ids;
	return true;
}

static bool end_partial(struct dialect_stream *stream, struct dialect_partial *c,
	const struct json *event, struct error *err)
{
	struct reading r = {.call = stream->call, .body = event, .ids = c->ids, .n_ids = c->n_ids};
	struct dialect_result result = {.n_prompt = stream->n_prompt};

	uint32_t index = (uint32_t)(c - stream->candidates);

	if (!check_request(&r, index, &result, err) || !read_finish(&r, &c->finish, err))
		return false;
	stream->n_prompt = result.n_prompt;
	/* It was cut inside a character, or the EOS came there. */
	c->lost |= count_sampled(event, c->n_ids) != c->n_ids;
	/* Text that was held back, since it may begin a stop string, never comes when the limit does. */
	c->lost |= stream->call->job->sampling->n_stop > 0 && c->n_shown != c->n_ids &&
		(c->finish == FINISH_LENGTH || c->finish == FINISH_CONTEXT);
	c->ended = true;
	return true;
}

static bool read_event(struct dialect_stream *stream, const struct json *event, struct error *err)
{
	const struct json *tokens = json_get(event, "tokens");
	struct dialect_partial *c;
	struct slice text;

	if (event == NULL)
		return true;
	if (!dialect_stream_find(stream, event, &c, err))
		return false;
	text.data = json_str(json_get(event, "content"), &text.len);
	if (text.data == NULL || json_kind(tokens) != JSON_ARRAY)
		return error_set(err, FAIL_DATA, "an event has no 'content' or no 'tokens'");
	if (json_len(tokens) > 1)
		return error_set(err, FAIL_DATA, "an event has %zu ids", json_len(tokens));
	if (json_len(tokens) == 1 && !c->lost && !add_token(stream, c, event, err))
		return false;
	str_append(&c->text, text.data, text.len);
	if (c->text.full)
		return error_set(
			err, FAIL_DATA, "the text is longer than %zu bytes", c->text.cap_bytes);
	return json_get(event, "stop_type") == NULL || end_partial(stream, c, event, err);
}

static bool conclude(struct dialect_stream *stream, uint32_t index, struct engine_candidate *out,
	struct error *err)
{
	const struct dialect_partial *c = &stream->candidates[index];

	(void)err;
	dialect_conclude_ids(
		stream, index, c->finish == FINISH_STOP_STRING ? c->n_before : c->n_ids, out);
	return true;
}

/* --- prompts --- */

static void build_template(const struct engine_message *messages, size_t n, struct str *out)
{
	struct json_writer w = {.out = out};

	json_begin_object(&w);
	dialect_put_messages(&w, messages, n);
	json_end_object(&w);
}

static bool read_template(const struct json *body, struct slice *out_text, struct error *err)
{
	return dialect_read_text(body, "prompt", out_text, err);
}

static bool read_detokenize(const struct json *body, struct slice *out_text, struct error *err)
{
	return dialect_read_text(body, "content", out_text, err);
}

/* --- the vocabulary: the probabilities of one token, as many as there are ids --- */

static bool build_pieces(const struct dialect_facts *facts, struct str *out)
{
	if (facts->n_vocab == 0)
		return false;
	str_printf(out,
		"{\"prompt\":[%u],\"n_predict\":1,\"temperature\":0,\"n_probs\":%u,"
		"\"response_fields\":[\"completion_probabilities\"]}",
		facts->eos_id >= 0 ? (unsigned)facts->eos_id : 1u, facts->n_vocab);
	return true;
}

static bool read_pieces(const struct json *body, uint32_t n_vocab, struct arena *arena,
	struct slice *pieces, struct error *err)
{
	const struct json *list = json_get(
		json_at(json_get(body, "completion_probabilities"), 0), "top_logprobs");

	if (json_len(list) != n_vocab)
		return error_set(
			err, FAIL_DATA, "the answer has %zu of %u pieces", json_len(list), n_vocab);
	for (size_t i = 0; i < n_vocab; i++) {
		uint32_t id;

		if (!dialect_read_id(json_get(json_at(list, i), "id"), n_vocab, &id) ||
			pieces[id].data != NULL ||
			!dialect_read_piece(json_at(list, i), arena, &pieces[id]))
			return error_set(
				err, FAIL_DATA, "entry %zu of the vocabulary is not valid", i);
	}
	return true;
}

const struct dialect_ops dialect_llamacpp = {
	.name = "llama.cpp",
	.summary = "llama.cpp's llama-server: token ids in and out, logprobs, several candidates a "
		   "request",
	.has_ids = true,
	.has_n = true,
	.has_logprobs = true,
	.prefix_per_slot = true,
	.steps = steps,
	.health_path = "/health",
	.loading = loading,
	.generate_path = "/completion",
	.build_generate = build_generate,
	.read_generate = read_generate,
	.read_event = read_event,
	.conclude = conclude,
	.stream_hides_ids = true,
	.prompt_too_long = prompt_too_long,
	.template_path = "/apply-template",
	.build_template = build_template,
	.read_template = read_template,
	.tokenize_path = "/tokenize",
	.build_tokenize = build_tokenize,
	.read_tokenize = dialect_read_tokens,
	.detokenize_path = "/detokenize",
	.build_detokenize = dialect_build_detokenize,
	.read_detokenize = read_detokenize,
	.pieces_path = "/completion",
	.build_pieces = build_pieces,
	.read_pieces = read_pieces,
};
