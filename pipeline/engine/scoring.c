/*
 * The table of scoring APIs.
 *
 *	rerank		llama.cpp's /v1/rerank: the last message is the document, those before it are the query
 *	pooling		vLLM's /pooling: the task is named in the request, since a server may have several and older ones guess
 *	classify	vLLM's /classify, as of 0.11.1, which takes messages
 *	sglang		SGLang's /classify: a text, for the server renders no messages there; the contents are sent joined, as
 *			they are, and the template writes the model's own marks
 *
 * Nobody is asked to cut a text that is too long: the field for that is left out everywhere, and the server refuses.
 */
#include "engine/scoring.h"

#include "engine/dialect.h"

#include <math.h>
#include <string.h>

#define NESTING_MAX 8

/* --- requests --- */

static void put_model(struct json_writer *w, const struct scoring_call *call)
{
	json_member_z(w, "model", call->model != NULL ? call->model : "default");
}

/* Contents of messages from .. to - 1, one behind the other. */
static void put_contents(struct json_writer *w, const struct engine_score_job *job, size_t from,
	size_t to, const char *between)
{
	struct str text;

	str_init(&text, STR_NO_CAP);
	for (size_t i = from; i < to; i++) {
		str_append_z(&text, i > from ? between : "");
		str_append(&text, job->messages[i].content.data, job->messages[i].content.len);
	}
	json_put_str(w, text.data, text.len);
	str_release(&text);
}

static void build_rerank(const struct scoring_call *call, struct str *out)
{
	const struct engine_score_job *job = call->job;
	struct json_writer w = {.out = out};

	json_begin_object(&w);
	put_model(&w, call);
	json_key(&w, "query");
	put_contents(&w, job, 0, job->n_messages - 1, "\n");
	json_key(&w, "documents");
	json_begin_array(&w);
	put_contents(&w, job, job->n_messages - 1, job->n_messages, "");
	json_end_array(&w);
	json_member_uint(&w, "top_n", 1);
	json_end_object(&w);
}

static void put_messages(struct json_writer *w, const struct engine_score_job *job)
{
	dialect_put_messages(w, job->messages, job->n_messages);
	/* The last turn is the candidate's, complete; a prompt for another one would be scored with it. */
	json_member_bool(w, "add_generation_prompt", false);
	json_member_bool(w, "use_activation", !job->raw);
}

static void build_pooling(const struct scoring_call *call, struct str *out)
{
	struct json_writer w = {.out = out};

	json_begin_object(&w);
	put_model(&w, call);
	json_member_z(&w, "task", call->job->steps ? "token_classify" : "classify");
	put_messages(&w, call->job);
	json_end_object(&w);
}

static void build_classify(const struct scoring_call *call, struct str *out)
{
	struct json_writer w = {.out = out};

	json_begin_object(&w);
	put_model(&w, call);
	put_messages(&w, call->job);
	json_end_object(&w);
}

static void build_sglang(const struct scoring_call *call, struct str *out)
{
	struct json_writer w = {.out = out};

	json_begin_object(&w);
	put_model(&w, call);
	json_key(&w, "text");
	put_contents(&w, call->job, 0, call->job->n_messages, "");
	json_end_object(&w);
}

/* --- answers --- */

static bool read_row(const struct json *row, size_t n_columns, double *out, struct error *err)
{
	if (json_kind(row) != JSON_ARRAY || json_len(row) != n_columns)
		return error_set(err, FAIL_DATA, "the rows of the answer are not equally wide");
	for (size_t i = 0; i < n_columns; i++) {
		if (!json_num(json_at(row, i), &out[i]) || !isfinite(out[i]))
			return error_set(err, FAIL_DATA, "score %zu of the answer is no number", i);
	}
	return true;
}

/* A row of numbers, or a list of such rows, inside any number of lists of one. */
static bool read_rows(
	const struct json *data, struct arena *arena, struct scoring_table *out, struct error *err)
{
	const struct json *first = json_at(data, 0);
	bool nested;
	size_t n_rows, n_columns;
	double *values;

	for (unsigned i = 0; json_len(data) == 1 && json_kind(json_at(first, 0)) == JSON_ARRAY &&
		i < NESTING_MAX;
		i++) {
		data = first;
		first = json_at(data, 0);
	}
	nested = json_kind(first) == JSON_ARRAY;
	n_rows = nested ? json_len(data) : 1;
	n_columns = json_len(nested ? first : data);
	if (json_kind(data) == JSON_ARRAY && json_len(data) == 0) {
		/* An answer all the same: no step was found. */
		*out = (struct scoring_table){arena_alloc(arena, sizeof(*values)), 0, 0};
		return true;
	}
	if (json_kind(data) != JSON_ARRAY || n_columns == 0)
		return error_set(err, FAIL_DATA, "the answer has no list of scores");
	if (n_rows > SCORING_ROWS_MAX || n_columns > SCORING_COLUMNS_MAX ||
		n_rows * n_columns > SCORING_VALUES_MAX)
		return error_set(err, FAIL_DATA,
			"the answer has %zu rows of %zu scores; at most %u rows, %u in each and %u "
			"in "
			"all are read",
			n_rows, n_columns, SCORING_ROWS_MAX, SCORING_COLUMNS_MAX,
			SCORING_VALUES_MAX);
	values = arena_alloc_array(arena, n_rows * n_columns, sizeof(*values));
	for (size_t i = 0; i < n_rows; i++) {
		const struct json *row = nested ? json_at(data, i) : data;

		if (!read_row(row, n_columns, values + i * n_columns, err))
			return false;
	}
	*out = (struct scoring_table){values, n_rows, n_columns};
	return true;
}

/* The one entry of a list, which is what one text gives. */
static const struct json *the_only(const struct json *list, const char *name, struct error *err)
{
	int64_t index = 0;

	if (json_kind(list) != JSON_ARRAY) {
		error_set(err, FAIL_DATA, "the answer has no list '%s'", name);
		return NULL;
	}
	if (json_len(list) != 1) {
		error_set(err, FAIL_DATA, "the answer has %zu entries in '%s', 1 was asked for",
			json_len(list), name);
		return NULL;
	}
	json_int(json_get(json_at(list, 0), "index"), &index);
	if (index != 0) {
		error_set(err, FAIL_DATA, "the only entry in '%s' has index %lld", name,
			(long long)index);
		return NULL;
	}
	return json_at(list, 0);
}

static bool read_rerank(
	const struct json *body, struct arena *arena, struct scoring_table *out, struct error *err)
{
	const struct json *entry = the_only(json_get(body, "results"), "results", err);
	double *value;

	if (entry == NULL)
		return false;
	value = arena_alloc(arena, sizeof(*value));
	if (!json_num(json_get(entry, "relevance_score"), value) || !isfinite(*value))
		return error_set(err, FAIL_DATA, "a result has no number in 'relevance_score'");
	*out = (struct scoring_table){value, 1, 1};
	return true;
}

static bool read_pooling(
	const struct json *body, struct arena *arena, struct scoring_table *out, struct error *err)
{
	const struct json *entry = the_only(json_get(body, "data"), "data", err);

	return entry != NULL && read_rows(json_get(entry, "data"), arena, out, err);
}

static bool read_classify(
	const struct json *body, struct arena *arena, struct scoring_table *out, struct error *err)
{
	const struct json *entry = the_only(json_get(body, "data"), "data", err);

	return entry != NULL && read_rows(json_get(entry, "probs"), arena, out, err);
}

/* A text gives an object, a list of texts a list of them. */
static bool read_sglang(
	const struct json *body, struct arena *arena, struct scoring_table *out, struct error *err)
{
	const struct json *entry = body;

	if (json_kind(body) != JSON_OBJECT)
		entry = the_only(body, "(top)", err);
	return entry != NULL && read_rows(json_get(entry, "embedding"), arena, out, err);
}

/* "usage" of OpenAI's shape, or SGLang's "meta_info". */
uint32_t scoring_tokens(const struct json *body)
{
	const struct json *entry = json_kind(body) == JSON_ARRAY ? json_at(body, 0) : body;
	const struct json *usage = json_get(entry, "usage");
	int64_t n = 0;

	if (usage == NULL)
		usage = json_get(entry, "meta_info");
	json_int(json_get(usage, "prompt_tokens"), &n);
	return n > 0 && n <= UINT32_MAX ? (uint32_t)n : 0;
}

/* --- the table --- */

static const struct scoring_ops rerank = {
	.name = "rerank",
	.server = "llamacpp",
	.path = "/v1/rerank",
	.build = build_rerank,
	.read = read_rerank,
};

static const struct scoring_ops pooling = {
	.name = "pooling",
	.server = "vllm",
	.path = "/pooling",
	.has_steps = true,
	.has_raw = true,
	.build = build_pooling,
	.read = read_pooling,
};

static const struct scoring_ops classify = {
	.name = "classify",
	.server = "vllm",
	.path = "/classify",
	.has_raw = true,
	.build = build_classify,
	.read = read_classify,
};

static const struct scoring_ops sglang = {
	.name = "sglang",
	.server = "sglang",
	.path = "/classify",
	.by_text = true,
	.build = build_sglang,
	.read = read_sglang,
};

const struct scoring_ops *const scorings[] = {&rerank, &pooling, &classify, &sglang, NULL};

const struct scoring_ops *scoring_find(const char *name)
{
	for (size_t i = 0; scorings[i] != NULL; i++) {
		if (strcmp(scorings[i]->name, name) == 0)
			return scorings[i];
	}
	return NULL;
}

const struct scoring_ops *scoring_for(const char *server)
{
	for (size_t i = 0; server != NULL && scorings[i] != NULL; i++) {
		if (strcmp(scorings[i]->server, server) == 0)
			return scorings[i];
	}
	return NULL;
}
