/*
 * A route is a row of the table at the end: how its request is read and how its answer is written. Likewise a field of a llama.cpp
 * completion, since `response_fields` picks them by name. Answers are appended by hand where they are long (ids and
 * probabilities of tokens), from fragments that the vocabulary made beforehand.
 */
#include "fake_api.h"

#include "base/hash.h"
#include "base/mem.h"
#include "base/text.h"

#include <assert.h>
#include <math.h>

#define CANDIDATES_CHAT_MAX 128
#define TOP_LOGPROBS_CHAT_MAX 20

struct api_route {
	const char *method, *path;
	bool llama_cpp, openai; /* which dialects have it */
	bool open; /* no key needed */
	bool (*read)(struct api *api, struct api_call *call); /* false: refused */
	void (*write)(struct api *api, struct api_call *call, enum fault fault);
};

/* --- refusing --- */

PRINTF_LIKE(4, 5)
static bool refuse(struct api_call *call, unsigned status, const char *type, const char *fmt, ...)
{
	struct json_writer w = {.out = &call->body};
	AUTO_FREE char *message = NULL;
	va_list args;

	va_start(args, fmt);
	message = xvasprintf(fmt, args);
	va_end(args);
	call->status = status;
	call->n = 0;
	str_reset(&call->body);
	json_begin_object(&w);
	json_key(&w, "error");
	json_begin_object(&w);
	json_key(&w, "code");
	json_put_uint(&w, status);
	json_key(&w, "message");
	json_put_z(&w, message);
	json_key(&w, "type");
	json_put_z(&w, type);
	json_end_object(&w);
	json_end_object(&w);
	return false;
}

#define refuse_request(call, ...) refuse(call, 400, "invalid_request_error", __VA_ARGS__)

/* --- reading fields of a request; a missing one leaves `out` as it is --- */

static bool want_bool(struct api_call *call, const char *key, bool *out)
{
	const struct json *value = json_get(call->json, key);

	if (!value || json_kind(value) == JSON_NULL || json_bool(value, out)) {
		return true;
	}
	return refuse_request(call,
		"Field '%s': [json.exception.type_error.302] type must be boolean, but is %s", key,
		json_kind_name(json_kind(value)));
}

static bool want_int(struct api_call *call, const char *key, int64_t *out)
{
	const struct json *value = json_get(call->json, key);

	if (!value || json_kind(value) == JSON_NULL || json_int(value, out)) {
		return true;
	}
	return refuse_request(call,
		"Field '%s': [json.exception.type_error.302] type must be number, but is %s", key,
		json_kind_name(json_kind(value)));
}

static bool want_num(struct api_call *call, const char *key, double *out)
{
	const struct json *value = json_get(call->json, key);

	if (!value || json_kind(value) == JSON_NULL || json_num(value, out)) {
		return true;
	}
	return refuse_request(call,
		"Field '%s': [json.exception.type_error.302] type must be number, but is %s", key,
		json_kind_name(json_kind(value)));
}

static bool want_stops(struct api_call *call)
{
	const struct json *value = json_get(call->json, "stop");
	size_t n = json_kind(value) == JSON_ARRAY ? json_len(value) : value ? 1 : 0;

	if (!value || json_kind(value) == JSON_NULL) {
		return true;
	}
	call->stops = xcalloc(n + 1, sizeof(*call->stops));
	for (size_t i = 0; i < n; i++) {
		const struct json *stop = json_kind(value) == JSON_ARRAY ? json_at(value, i)
									 : value;

		call->stops[i].data = json_str(stop, &call->stops[i].len);
		if (!call->stops[i].data) {
			return refuse_request(call, "Field 'stop': a stop string must be a string");
		}
	}
	call->limits.stops = call->stops;
	call->limits.n_stops = n;
	return true;
}

/* Seed, temperature, stop strings: what all completions have. */
static bool want_sampling(struct api_call *call)
{
	double temperature = 0.8;
	int64_t seed = 0;

	if (!want_num(call, "temperature", &temperature) || !want_int(call, "seed", &seed) ||
		!want_stops(call)) {
		return false;
	}
	call->seed = (uint32_t)seed;
	call->limits.greedy = temperature <= 0;
	return true;
}

/* --- the chat template --- */

static const char chat_template[] = "{% for message in messages %}{{'<|im_start|>' + "
				    "message['role'] + '\\n' + message['content'] + "
				    "'<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prompt "
				    "%}{{ '<|im_start|>assistant\\n' }}{% endif %}";

/* A last message of the assistant is left open, to be gone on with. */
static bool render(struct api_call *call)
{
	const struct json *messages = json_get(call->json, "messages");
	size_t n = json_len(messages);
	bool generation_prompt = true, prefilled = false;

	if (json_kind(messages) != JSON_ARRAY || n == 0) {
		return refuse_request(call, "'messages' is required");
	}
	if (!want_bool(call, "add_generation_prompt", &generation_prompt)) {
		return false;
	}
	for (size_t i = 0; i < n; i++) {
		const char *role = json_z(json_get(json_at(messages, i), "role"));
		size_t len;
		const char *content = json_str(json_get(json_at(messages, i), "content"), &len);

		if (!role || !content) {
			return refuse_request(call, "a message has a 'role' and a 'content'");
		}
		prefilled = !call->new_turn && i + 1 == n && strcmp(role, "assistant") == 0;
		str_printf(&call->prompt_text, "<|im_start|>%s\n", role);
		str_append(&call->prompt_text, content, len);
		str_append_z(&call->prompt_text, prefilled ? "" : "<|im_end|>\n");
	}
	if (generation_prompt && !prefilled) {
		str_append_z(&call->prompt_text, "<|im_start|>assistant\n");
	}
	return true;
}

/* --- llama.cpp: texts and ids --- */

static bool read_nothing(struct api *api UNUSED, struct api_call *call UNUSED)
{
	return true;
}

static bool read_template(struct api *api UNUSED, struct api_call *call)
{
	return render(call);
}

static void write_template(struct api *api UNUSED, struct api_call *call, enum fault fault UNUSED)
{
	struct json_writer w = {.out = &call->body};

	json_begin_object(&w);
	json_key(&w, "prompt");
	json_put_str(&w, call->prompt_text.data, call->prompt_text.len);
	json_end_object(&w);
}

static bool read_tokenize(struct api *api, struct api_call *call)
{
	bool parse_special = true, add_special = false, with_pieces = false;
	size_t len;
	const char *content = json_str(json_get(call->json, "content"), &len);

	if (!want_bool(call, "parse_special", &parse_special) ||
		!want_bool(call, "add_special", &add_special) ||
		!want_bool(call, "with_pieces", &with_pieces)) {
		return false;
	}
	if (add_special) {
		ids_add(&call->prompt, VOCAB_BOS);
	}
	if (content) {
		str_append(&call->prompt_text, content, len);
		vocab_encode(&api->vocab, content, len, parse_special, &call->prompt);
	}
	call->return_ids = !with_pieces;
	return true;
}

static void write_ids(struct str *out, const uint32_t *ids, size_t n)
{
	str_append_c(out, '[');
	for (size_t i = 0; i < n; i++) {
		char digits[12], *p = digits + sizeof(digits);
		uint32_t id = ids[i];

		do {
			*--p = (char)('0' + id % 10);
		} while (id /= 10);
		if (i) {
			str_append_c(out, ',');
		}
		str_append(out, p, (size_t)(digits + sizeof(digits) - p));
	}
	str_append_c(out, ']');
}

static void write_tokenize(struct api *api, struct api_call *call, enum fault fault UNUSED)
{
	str_append_z(&call->body, "{\"tokens\":");
	if (call->return_ids) {
		write_ids(&call->body, call->prompt.items, call->prompt.n);
		str_append_c(&call->body, '}');
		return;
	}
	str_append_c(&call->body, '[');
	for (size_t i = 0; i < call->prompt.n; i++) {
		uint32_t id = call->prompt.items[i];
		const struct vocab_token *token = &api->vocab.tokens[id];
		struct json_writer w = {.out = &call->body};

		str_printf(&call->body, "%s{\"id\":%u,\"piece\":", i ? "," : "", id);
		if (id >= 128 && id < 256) {
			str_printf(&call->body, "[%u]", id);
		} else {
			json_put_str(&w, token->bytes, token->len);
		}
		str_append_c(&call->body, '}');
	}
	str_append_z(&call->body, "]}");
}

/* An array of ids of the vocabulary; says itself what is wrong with it. */
static bool want_ids(struct api *api, struct api_call *call, const struct json *array)
{
	for (size_t i = 0; i < json_len(array); i++) {
		int64_t id;

		if (!json_int(json_at(array, i), &id) || id < 0 || id >= api->vocab.n) {
			return refuse_request(call, "Prompt contains invalid tokens");
		}
		ids_add(&call->prompt, (uint32_t)id);
	}
	return true;
}

static bool read_detokenize(struct api *api, struct api_call *call)
{
	if (!want_ids(api, call, json_get(call->json, "tokens"))) {
		return false;
	}
	vocab_decode(&api->vocab, call->prompt.items, call->prompt.n, true, &call->prompt_text);
	return true;
}

static void write_detokenize(struct api *api UNUSED, struct api_call *call, enum fault fault UNUSED)
{
	struct json_writer w = {.out = &call->body};

	json_begin_object(&w);
	json_key(&w, "content");
	json_put_str(&w, call->prompt_text.data, call->prompt_text.len);
	json_end_object(&w);
}

/* --- llama.cpp: what the server is --- */

static void write_health(struct api *api UNUSED, struct api_call *call, enum fault fault UNUSED)
{
	str_append_z(&call->body, "{\"status\":\"ok\"}");
}

static bool has_metrics(const struct api *api)
{
	return api->metrics_of && strcmp(api->metrics_of, "none") != 0;
}

static void write_props(struct api *api, struct api_call *call, enum fault fault UNUSED)
{
	struct json_writer w = {.out = &call->body};

	str_append_z(&call->body,
		"{\"default_generation_settings\":{\"params\":{\"seed\":4294967295,\"temperature\":"
		"0.8,"
		"\"top_k\":40,\"top_p\":0.95,\"min_p\":0.05,\"repeat_last_n\":64,\"repeat_"
		"penalty\":1.0},");
	str_printf(&call->body, "\"n_ctx\":%u},\"total_slots\":%u,\"model_alias\":", api->context,
		api->n_slots);
	json_put_z(&w, api->model_name);
	str_append_z(&call->body, ",\"model_ftype\":\"Q8_0\",\"model_path\":");
	w.need_comma = false;
	json_put_z(&w, api->model_path);
	str_printf(&call->body,
		",\"modalities\":{\"vision\":false,\"audio\":false},\"endpoint_slots\":%s,"
		"\"endpoint_props\":false,\"endpoint_metrics\":%s,\"ui\":false,\"chat_template\":",
		api->has_slots ? "true" : "false", has_metrics(api) ? "true" : "false");
	w.need_comma = false;
	json_put_z(&w, chat_template);
	str_append_z(&call->body,
		",\"chat_template_caps\":{\"supports_system_role\":true},\"bos_token\":\"<s>\","
		"\"eos_token\":\"<|im_end|>\",\"build_info\":\"fake-1\",\"is_sleeping\":false}");
}

static void write_models(struct api *api, struct api_call *call, enum fault fault UNUSED)
{
	struct json_writer w = {.out = &call->body};

	str_append_z(&call->body, "{\"object\":\"list\",\"data\":[{\"id\":");
	json_put_z(&w, api->model_name);
	if (api->openai) {
		str_printf(&call->body,
			",\"object\":\"model\",\"created\":0,\"owned_by\":\"%s\",\"max_model_"
			"len\":%u}]}",
			api->owner, api->context);
		return;
	}
	str_printf(&call->body,
		",\"object\":\"model\",\"created\":0,\"owned_by\":\"llamacpp\",\"meta\":{\"vocab_"
		"type\":2,"
		"\"n_vocab\":%u,\"n_ctx\":%u,\"n_ctx_train\":8192,\"n_embd\":64,\"n_params\":"
		"1000000,"
		"\"size\":1000000,\"ftype\":\"Q8_0\"}}]}",
		api->vocab.n, api->context);
}

static bool read_slots(struct api *api, struct api_call *call)
{
	if (!api->has_slots) {
		return refuse(call, 501, "not_supported_error",
			"This server does not support slots endpoint. Start it with `--slots`");
	}
	return true;
}

static void write_slots(struct api *api, struct api_call *call, enum fault fault UNUSED)
{
	str_append_c(&call->body, '[');
	for (uint32_t i = 0; i < api->n_slots; i++) {
		str_printf(&call->body,
			"%s{\"id\":%u,\"n_ctx\":%u,\"speculative\":false,\"is_processing\":%s}",
			i ? "," : "", i, api->context, i < api->n_busy ? "true" : "false");
	}
	str_append_c(&call->body, ']');
}

/* --- gauges --- */

/* As the three servers write them. */
static const struct metrics_names {
	const char *name;
	const char *running, *waiting, *cache; /* with their labels; NULL: not told */
	const char *behind; /* the number */
} metrics_names[] = {
	{"llama.cpp", "llamacpp:requests_processing", "llamacpp:requests_deferred", NULL, ""},
	{"vllm", "vllm:num_requests_running{engine=\"0\",model_name=\"fake\"}",
		"vllm:num_requests_waiting{engine=\"0\",model_name=\"fake\"}",
		"vllm:kv_cache_usage_perc{engine=\"0\",model_name=\"fake\"}", ".0"},
	{"sglang", "sglang:num_running_reqs{model_name=\"fake\"}",
		"sglang:num_queue_reqs{model_name=\"fake\"}",
		"sglang:token_usage{model_name=\"fake\"}", ".0"},
	{"none", NULL, NULL, NULL, NULL},
};

static const struct metrics_names *find_metrics(const char *name)
{
	for (size_t i = 0; name && i < ARRAY_LEN(metrics_names); i++) {
		if (strcmp(metrics_names[i].name, name) == 0) {
			return &metrics_names[i];
		}
	}
	return NULL;
}

bool api_knows_metrics(const char *name)
{
	return find_metrics(name) != NULL;
}

static bool read_metrics(struct api *api, struct api_call *call)
{
	if (has_metrics(api)) {
		return true;
	}
	if (api->openai) {
		return refuse(call, 404, "not_found_error", "File Not Found");
	}
	return refuse(call, 501, "not_supported_error",
		"This server does not support metrics endpoint. Start it with `--metrics`");
}

static void write_metrics(struct api *api, struct api_call *call, enum fault fault UNUSED)
{
	const struct metrics_names *names = find_metrics(api->metrics_of);
	struct str *out = &call->body;

	call->content_type = "text/plain; version=0.0.4";
	if (strcmp(names->name, "llama.cpp") == 0) {
		str_printf(out,
			"# TYPE llamacpp:prompt_tokens_total counter\n"
			"llamacpp:prompt_tokens_total %llu\n",
			(unsigned long long)api->prompt_tokens);
		str_printf(out,
			"# TYPE llamacpp:tokens_predicted_total counter\n"
			"llamacpp:tokens_predicted_total %llu\n",
			(unsigned long long)api->predicted_tokens);
	}
	str_append_z(out, "# HELP running \"requests\" {being} worked on\n# TYPE running gauge\n");
	str_printf(out, "%s %u%s\n", names->running, api->n_busy, names->behind);
	str_printf(out, "%s %u%s\n", names->waiting, api->n_deferred, names->behind);
	if (names->cache) {
		str_printf(out, "%s %g\n", names->cache, 0.5 * api->n_busy / api->n_slots);
	}
}

/* --- completions --- */

struct candidate_text {
	const struct api *api;
	const struct api_call *call;
	const struct model_prompt *prompt;
	const struct model_text *text;
	uint32_t index;
	enum fault fault;
};

static void put_text(struct str *out, const struct candidate_text *c)
{
	struct json_writer w = {.out = out};

	json_put_str(&w, c->text->text.data, c->text->text.len);
	if (c->fault == FAULT_INVALID_UTF8) {
		out->len--;
		str_append_z(out, "\xff\xfe\xc3\"");
	}
}

static const char *token_json(const struct candidate_text *c, uint32_t id)
{
	const struct vocab_token *token = &c->api->vocab.tokens[id];

	return c->api->openai ? token->chat_json : token->json;
}

/* What a token is called: its text, if that is one. */
static void put_name(struct str *out, const struct api *api, uint32_t id)
{
	const struct vocab_token *token = &api->vocab.tokens[id];
	bool is_text = utf8_valid(token->bytes, token->len);
	struct json_writer w = {.out = out};

	json_put_str(&w, is_text ? token->bytes : "\xef\xbf\xbd", is_text ? token->len : 3);
}

static void put_alternative(struct str *out, const struct candidate_text *c, uint32_t id,
	bool first, const char *logprob)
{
	str_append_z(out, first ? "" : ",");
	if (c->api->vllm && c->call->names_ids) {
		put_name(out, c->api, id);
		str_printf(out, ":%s", logprob);
	} else if (c->api->sglang && c->call->names_ids) {
		str_printf(out, "[%s,%u,", logprob, id);
		put_name(out, c->api, id);
		str_append_c(out, ']');
	} else {
		str_printf(out, "{%s,\"logprob\":%s}", token_json(c, id), logprob);
	}
}

/* The alternatives to the sampled token: a judge's choices, then whatever comes first in the vocabulary, ever less probable. */
static void put_alternatives(struct str *out, const struct candidate_text *c, size_t place,
	uint32_t n, const char *logprob)
{
	struct model_choice choices[MODEL_JUDGE_TOKENS];
	uint32_t sampled = c->text->ids.items[place], done = 0;
	bool judged = c->text->judged && place == 0;
	bool listed[VOCAB_MAX];
	char number[32];

	if (n == 1 && !judged) {
		put_alternative(out, c, sampled, true, logprob);
		return;
	}
	memset(listed, 0, sizeof(listed));
	if (judged) {
		model_judge(c->prompt, &c->api->vocab, choices);
		for (; done < n && done < MODEL_JUDGE_TOKENS; done++) {
			snprintf(number, sizeof(number), "%.7g", log(choices[done].p));
			put_alternative(out, c, choices[done].id, done == 0, number);
			listed[choices[done].id] = true;
		}
	} else if (n) {
		put_alternative(out, c, sampled, true, logprob);
		listed[sampled] = true;
		done = 1;
	}
	/* NUL has no place in the key of an object. */
	for (uint32_t id = c->api->vllm; done < n && id < c->api->vocab.n; id++) {
		if (!listed[id]) {
			snprintf(number, sizeof(number), "%.7g", -7.5 - 0.01 * done);
			put_alternative(out, c, id, done == 0, number);
			done++;
		}
	}
}

static void put_probabilities(struct str *out, const struct candidate_text *c, size_t n)
{
	str_append_c(out, '[');
	for (size_t i = 0; i < n; i++) {
		const char *token = token_json(c, c->text->ids.items[i]);
		const char *logprob = model_logprob(c->prompt, c->text, i, &c->api->vocab);
		const char *written = logprob;

		if (c->fault == FAULT_NAN && i == 0) {
			written = c->api->openai ? "NaN" : "null";
		}
		str_append_z(out, i ? ",{" : "{");
		str_append_z(out, token);
		str_append_z(out, ",\"logprob\":");
		str_append_z(out, written);
		str_append_z(out, ",\"top_logprobs\":[");
		put_alternatives(out, c, i, c->call->n_probs, logprob);
		str_append_z(out, "]}");
	}
	str_append_c(out, ']');
}

/* --- completions: the fields of llama.cpp --- */

static void field_index(struct str *out, const struct candidate_text *c)
{
	str_printf(out, "%u", c->index);
}

static void field_tokens(struct str *out, const struct candidate_text *c)
{
	write_ids(out, c->text->ids.items, c->call->return_ids ? c->text->ids.n : 0);
}

static void field_id_slot(struct str *out, const struct candidate_text *c)
{
	str_printf(out, "%u", c->index % c->api->n_slots);
}

static void field_stop(struct str *out, const struct candidate_text *c UNUSED)
{
	str_append_z(out, "true");
}

static void field_model(struct str *out, const struct candidate_text *c)
{
	struct json_writer w = {.out = out};

	json_put_z(&w, c->api->model_name);
}

static void field_n_predicted(struct str *out, const struct candidate_text *c)
{
	bool wrong = c->fault == FAULT_WRONG_COUNT && !c->call->has_probs;

	str_printf(out, "%zu", c->text->ids.n + wrong);
}

static void field_n_evaluated(struct str *out, const struct candidate_text *c)
{
	str_printf(out, "%zu", c->prompt->n);
}

static void field_n_cached(struct str *out, const struct candidate_text *c)
{
	str_printf(out, "%zu", c->prompt->n + c->text->ids.n - 1);
}

static void field_seed(struct str *out, const struct candidate_text *c)
{
	str_printf(out, "%u", c->call->seed + c->index);
}

static void field_settings(struct str *out, const struct candidate_text *c)
{
	str_printf(out, "{\"n_predict\":%u,\"seed\":%u}", c->call->limits.max_tokens,
		c->call->seed + c->index);
}

static void field_prompt(struct str *out, const struct candidate_text *c)
{
	struct json_writer w = {.out = out};

	json_put_str(&w, c->call->prompt_text.data, c->call->prompt_text.len);
}

static void field_has_new_line(struct str *out, const struct candidate_text *c)
{
	bool has = memchr(c->text->text.data, '\n', c->text->text.len) != NULL;

	str_append_z(out, has ? "true" : "false");
}

static void field_truncated(struct str *out, const struct candidate_text *c)
{
	str_append_z(out, c->text->truncated ? "true" : "false");
}

static void field_stop_type(struct str *out, const struct candidate_text *c)
{
	static const char *const names[] = {
		[MODEL_EOS] = "\"eos\"", [MODEL_LIMIT] = "\"limit\"", [MODEL_WORD] = "\"word\""};

	str_append_z(out, names[c->text->stop]);
}

static void field_stopping_word(struct str *out, const struct candidate_text *c)
{
	struct json_writer w = {.out = out};

	json_put_str(&w, c->text->stop_word.data, c->text->stop_word.len);
}

static void field_timings(struct str *out, const struct candidate_text *c)
{
	str_printf(out,
		"{\"cache_n\":%zu,\"prompt_n\":%zu,\"prompt_ms\":1.0,\"predicted_n\":%zu,"
		"\"predicted_"
		"ms\":1.0}",
		c->prompt->n - c->call->n_read, c->call->n_read, c->text->ids.n);
}

static void field_prompt_n(struct str *out, const struct candidate_text *c)
{
	str_printf(out, "%zu", c->call->n_read);
}

static void field_probabilities(struct str *out, const struct candidate_text *c)
{
	size_t n = c->call->has_probs ? c->text->n_probs : 0;

	put_probabilities(out, c, n - (n && c->fault == FAULT_WRONG_COUNT));
}

static const struct {
	const char *name;
	void (*put)(struct str *out, const struct candidate_text *c);
	bool only_asked; /* not in an answer to a request without response_fields */
} fields[] = {
	{"index", field_index},
	{"content", put_text},
	{"tokens", field_tokens},
	{"id_slot", field_id_slot},
	{"stop", field_stop},
	{"model", field_model},
	{"tokens_predicted", field_n_predicted},
	{"tokens_evaluated", field_n_evaluated},
	{"generation_settings", field_settings},
	{"generation_settings/seed", field_seed, true},
	{"prompt", field_prompt},
	{"has_new_line", field_has_new_line},
	{"truncated", field_truncated},
	{"stop_type", field_stop_type},
	{"stopping_word", field_stopping_word},
	{"tokens_cached", field_n_cached},
	{"timings", field_timings},
	{"timings/prompt_n", field_prompt_n, true},
	{"completion_probabilities", field_probabilities},
};

/* A name that is not known gives no field, as with the real server. */
static void read_fields(struct api_call *call)
{
	const struct json *names = json_get(call->json, "response_fields");

	for (size_t i = 0; i < json_len(names); i++) {
		const char *name = json_z(json_at(names, i));

		for (size_t j = 0; name && j < ARRAY_LEN(fields); j++) {
			call->fields |= strcmp(name, fields[j].name) == 0 ? 1ull << j : 0;
		}
	}
}

static void put_completion(struct str *out, const struct candidate_text *c)
{
	bool first = true;

	for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
		bool asked = c->call->fields ? c->call->fields >> i & 1 : !fields[i].only_asked;

		if (!asked || (fields[i].put == field_probabilities && !c->call->has_probs)) {
			continue;
		}
		str_append_z(out, first ? "{\"" : ",\"");
		str_append_z(out, fields[i].name);
		str_append_z(out, "\":");
		fields[i].put(out, c);
		first = false;
	}
	str_append_z(out, first ? "{}" : "}");
}

/* A text or a list of ids. */
static bool want_prompt(struct api *api, struct api_call *call)
{
	const struct json *prompt = json_get(call->json, "prompt");
	size_t len;
	const char *text = json_str(prompt, &len);

	if (text) {
		vocab_encode(&api->vocab, text, len, true, &call->prompt);
	} else if (json_kind(prompt) != JSON_ARRAY) {
		return refuse_request(call, "\"prompt\" must be a string or a list of tokens");
	} else if (!want_ids(api, call, prompt)) {
		return false;
	}
	if (call->prompt.n == 0) {
		return refuse_request(call, "\"prompt\" must not be empty");
	}
	vocab_decode(&api->vocab, call->prompt.items, call->prompt.n, true, &call->prompt_text);
	return true;
}

static bool refuse_long_prompt(struct api *api, struct api_call *call)
{
	size_t n = call->prompt.n;

	if (n < api->context) {
		return true;
	}
	if (api->openai) {
		return refuse_request(call,
			"This model's maximum context length is %u tokens. However, you requested "
			"%zu tokens in "
			"the messages. Please reduce the length of the messages.",
			api->context, n);
	}
	refuse(call, 400, "exceed_context_size_error",
		"request (%zu tokens) exceeds the available context size (%u tokens), try "
		"increasing it",
		n, api->context);
	call->body.len -= 2;
	str_printf(&call->body, ",\"n_prompt_tokens\":%zu,\"n_ctx\":%u}}", n, api->context);
	return false;
}

static bool read_completion(struct api *api, struct api_call *call)
{
	int64_t n = 1, n_probs = 0, n_predict = -1;

	if (!want_sampling(call) || !want_bool(call, "return_tokens", &call->return_ids) ||
		!want_int(call, "n_probs", &n_probs) || !want_int(call, "n_predict", &n_predict) ||
		!want_int(call, "n_cmpl", &n) || !want_bool(call, "stream", &call->stream)) {
		return false;
	}
	if (n < 1 || n > api->n_slots) {
		return refuse_request(call,
			"Field 'n_cmpl': Value must be between 1 <= value <= %u, but got %lld",
			api->n_slots, (long long)n);
	}
	if (!want_prompt(api, call) || !refuse_long_prompt(api, call)) {
		return false;
	}
	call->n = (uint32_t)n;
	call->many = n > 1;
	call->has_probs = n_probs > 0;
	call->n_probs = (uint32_t)MIN(MAX(n_probs, 0), (int64_t)api->vocab.n);
	/* 0 still gives one token; below 0 there is no limit but the context. */
	call->limits.max_tokens = n_predict < 0 ? UINT32_MAX
						: (uint32_t)MIN(MAX(n_predict, 1), UINT32_MAX);
	call->limits.context = api->context;
	read_fields(call);
	return true;
}

/* --- completions: chat --- */

static bool read_chat(struct api *api, struct api_call *call)
{
	const char *model = json_z(json_get(call->json, "model"));
	int64_t n = 1, top = 0, max_tokens = UINT32_MAX;

	if (api->openai && model && strcmp(model, api->model_name) != 0) {
		return refuse(call, 404, "NotFoundError", "The model `%s` does not exist.", model);
	}
	if (!want_sampling(call) || !want_int(call, "n", &n) ||
		!want_bool(call, "logprobs", &call->has_probs) ||
		!want_int(call, "top_logprobs", &top) ||
		!want_int(call, "max_tokens", &max_tokens) ||
		!want_int(call, "max_completion_tokens", &max_tokens) ||
		!want_bool(call, "stream", &call->stream)) {
		return false;
	}
	json_bool(json_get(json_get(call->json, "stream_options"), "include_usage"),
		&call->has_usage);
	if (n < 1 || n > CANDIDATES_CHAT_MAX || top < 0 || top > TOP_LOGPROBS_CHAT_MAX ||
		max_tokens < 1) {
		return refuse_request(call, "n, top_logprobs or max_tokens is out of range");
	}
	if (!render(call)) {
		return false;
	}
	vocab_encode(
		&api->vocab, call->prompt_text.data, call->prompt_text.len, true, &call->prompt);
	if (!refuse_long_prompt(api, call)) {
		return false;
	}
	call->n = (uint32_t)n;
	call->n_probs = (uint32_t)top;
	call->limits.max_tokens = (uint32_t)MIN(max_tokens, UINT32_MAX);
	call->limits.context = api->context;
	return true;
}

static void put_choice(struct str *out, const struct candidate_text *c)
{
	size_t n = c->text->n_probs;

	/* The end of the turn is not among the tokens that are listed. */
	n -= n && c->text->stop == MODEL_EOS;
	str_printf(out, "{\"index\":%u,\"message\":{\"role\":\"assistant\",\"content\":", c->index);
	put_text(out, c);
	str_append_z(out, "},\"logprobs\":");
	if (c->call->has_probs) {
		str_append_z(out, "{\"content\":");
		put_probabilities(out, c, n - (n && c->fault == FAULT_WRONG_COUNT));
		str_append_c(out, '}');
	} else {
		str_append_z(out, "null");
	}
	str_printf(out, ",\"finish_reason\":\"%s\"}",
		c->text->stop == MODEL_LIMIT ? "length" : "stop");
}

/* --- completions: both --- */

static bool take_cached(struct api *api, uint64_t hash)
{
	uint32_t n = MIN(api->n_slots, API_CACHED_MAX);

	for (uint32_t i = 0; i < n; i++) {
		if (api->cached[i] == hash) {
			memmove(&api->cached[1], api->cached, i * sizeof(api->cached[0]));
			api->cached[0] = 0;
			return true;
		}
	}
	/* It takes the slot that has been idle longest. */
	api->cached[0] = 0;
	return false;
}

void api_cache(struct api *api, const struct api_call *call)
{
	uint32_t n = MIN(api->n_slots, API_CACHED_MAX);

	for (uint32_t i = 0; call->prompt_hash && i < MIN(call->n, n); i++) {
		memmove(api->cached, &api->cached[1], (n - 1) * sizeof(api->cached[0]));
		api->cached[n - 1] = call->prompt_hash;
	}
}

static void put_candidates(struct api *api, struct api_call *call, enum fault fault,
	void (*put)(struct str *out, const struct candidate_text *c))
{
	uint32_t n = call->n - (fault == FAULT_FEW);
	struct model_prompt prompt;

	model_read(&prompt, &api->vocab, call->prompt.items, call->prompt.n);
	call->prompt_hash = prompt.hash;
	/* As with the real server, the last token is always read. */
	call->n_read = take_cached(api, prompt.hash) ? 1 : call->prompt.n;
	for (uint32_t i = 0; i < n; i++) {
		struct candidate_text c = {api, call, &prompt, &api->scratch, i, fault};

		model_write(&prompt, &api->vocab, &call->limits, call->seed + i, &api->scratch);
		call->n_tokens += api->scratch.ids.n;
		call->n_longest = MAX(call->n_longest, (uint32_t)api->scratch.ids.n);
		if (i) {
			str_append_c(&call->body, ',');
		}
		put(&call->body, &c);
	}
	model_prompt_release(&prompt);
	api->prompt_tokens += call->n_read;
	api->predicted_tokens += call->n_tokens;
}

/* --- completions: streamed --- */

/* An event of one candidate while they are not in order yet. */
struct event {
	size_t at, len; /* in `raw` */
	uint32_t index, step, n_tokens;
};

struct events {
	struct str raw;
	struct event *items;
	size_t n, cap;
};

/* The text of one candidate as far as it was shown. */
struct showing {
	const struct candidate_text *c;
	struct str all; /* pieces so far */
	size_t sent; /* bytes of it */
	uint32_t hidden; /* tokens since the last event */
};

static int by_step(const void *a, const void *b)
{
	const struct event *x = a, *y = b;

	return x->step != y->step      ? (x->step > y->step) - (x->step < y->step)
		: x->index != y->index ? (x->index > y->index) - (x->index < y->index)
				       : (x->at > y->at) - (x->at < y->at);
}

static bool stops_inside_character(const struct str *text)
{
	for (size_t n = 1; n <= 3 && n <= text->len; n++) {
		unsigned char c = (unsigned char)text->data[text->len - n];

		if ((c & 0xc0) != 0x80) {
			return (c >= 0xf0 && n < 4) || (c >= 0xe0 && n < 3) || (c >= 0xc0 && n < 2);
		}
	}
	return false;
}

/* What was not sent yet may begin a stop string: it is held back. */
static bool may_begin_stop(const struct showing *s)
{
	const struct model_limits *limits = &s->c->call->limits;

	for (size_t i = 0; i < limits->n_stops; i++) {
		struct slice word = limits->stops[i];

		for (size_t k = MIN(word.len, s->all.len - s->sent); k > 0; k--) {
			if (memcmp(s->all.data + s->all.len - k, word.data, k) == 0) {
				return true;
			}
		}
	}
	return false;
}

/* Takes in the token at `place`; false: nothing is sent for it, since the text stops inside a character. */
static bool show(struct showing *s, size_t place, struct slice *out)
{
	const struct model_text *text = s->c->text;
	uint32_t id = text->ids.items[place];
	const struct vocab_token *token = &s->c->api->vocab.tokens[id];
	bool last = place + 1 == text->ids.n;
	size_t end;

	if (!vocab_is_special(id)) {
		str_append(&s->all, token->bytes, token->len);
	}
	s->hidden++;
	if (stops_inside_character(&s->all)) {
		return false;
	}
	end = s->all.len;
	if (last && text->stop == MODEL_WORD) {
		end = MAX(text->text.len, s->sent);
	} else if (!(last && text->stop == MODEL_EOS) && may_begin_stop(s)) {
		end = s->sent;
	}
	*out = (struct slice){s->all.data + s->sent, end - s->sent};
	s->sent = end;
	return true;
}

static void put_stream_entry(
	struct str *out, const struct candidate_text *c, size_t place, struct slice shown)
{
	struct json_writer w = {.out = out};
	const char *logprob = model_logprob(c->prompt, c->text, place, &c->api->vocab);
	const char *written = c->fault != FAULT_NAN || place > 0 ? logprob
		: c->api->openai                                 ? "NaN"
								 : "null";
	uint32_t id = c->text->ids.items[place];

	json_begin_object(&w);
	if (!c->api->openai) {
		json_key(&w, "id");
		json_put_uint(&w, id + (c->fault == FAULT_WRONG_COUNT && place == 0));
	}
	json_key(&w, "token");
	json_put_str(&w, shown.data, shown.len);
	json_key(&w, "bytes");
	json_begin_array(&w);
	for (size_t i = 0; i < shown.len; i++) {
		json_put_uint(&w, (unsigned char)shown.data[i]);
	}
	json_end_array(&w);
	json_key(&w, "logprob");
	json_put_raw(&w, written, strlen(written));
	json_key(&w, "top_logprobs");
	str_append_c(out, '[');
	put_alternatives(out, c, place, c->call->n_probs, logprob);
	str_append_z(out, "]}");
}

static void put_shown(
	struct str *out, const struct candidate_text *c, size_t place, struct slice shown)
{
	struct json_writer w = {.out = out};

	json_put_str(&w, shown.data, shown.len);
	if (c->fault == FAULT_INVALID_UTF8 && place == 0) {
		out->len--;
		str_append_z(out, "\xff\xfe\xc3\"");
	}
}

static void put_completion_event(
	struct str *out, const struct candidate_text *c, size_t place, struct slice shown)
{
	bool wrong = c->fault == FAULT_WRONG_COUNT && !c->call->has_probs &&
		place + 1 == c->text->ids.n;

	str_printf(out, "{\"index\":%u,\"content\":", c->index);
	put_shown(out, c, place, shown);
	str_append_z(out, ",\"tokens\":");
	write_ids(out, c->text->ids.items + place, c->call->return_ids);
	str_printf(out,
		",\"stop\":false,\"id_slot\":-1,\"tokens_predicted\":%zu,\"tokens_evaluated\":%zu",
		place + 1 - wrong, c->prompt->n);
	if (c->call->has_probs) {
		str_append_z(out, ",\"completion_probabilities\":[");
		put_stream_entry(out, c, place, shown);
		str_append_c(out, ']');
	}
	str_append_c(out, '}');
}

static void put_completion_end(struct str *out, const struct candidate_text *c)
{
	str_printf(out, "{\"index\":%u,\"content\":\"\",\"tokens\":[],\"stop\":true,\"stop_type\":",
		c->index);
	field_stop_type(out, c);
	str_append_z(out, ",\"truncated\":");
	field_truncated(out, c);
	str_printf(out, ",\"tokens_evaluated\":%zu,\"tokens_predicted\":%zu}", c->prompt->n,
		c->text->ids.n);
}

static void begin_chat_chunk(struct str *out, const struct candidate_text *c)
{
	str_printf(out,
		"{\"id\":\"chatcmpl-0\",\"object\":\"chat.completion.chunk\",\"created\":0,"
		"\"model\":\"%s\","
		"\"choices\":[{\"index\":%u,",
		c->api->model_name, c->index);
}

/* Every token is listed, the hidden ones with those that show them. */
static void put_chat_event(struct str *out, const struct candidate_text *c, size_t place,
	uint32_t n_tokens, struct slice shown)
{
	size_t n = c->text->ids.n - (c->text->stop == MODEL_EOS), from = place + 1 - n_tokens;

	begin_chat_chunk(out, c);
	str_append_z(out, "\"delta\":{\"content\":");
	put_shown(out, c, place, shown);
	str_append_z(out, "},\"logprobs\":");
	if (c->call->has_probs && from < n) {
		str_append_z(out, "{\"content\":[");
		for (size_t i = from; i <= place && i < n; i++) {
			str_append_z(out, i > from ? "," : "");
			put_stream_entry(out, c, i, i == place ? shown : (struct slice){"", 0});
		}
		str_append_z(out, "]}");
	} else {
		str_append_z(out, "null");
	}
	str_append_z(out, ",\"finish_reason\":null}]}");
}

static void put_chat_end(struct str *out, const struct candidate_text *c)
{
	begin_chat_chunk(out, c);
	str_printf(out, "\"delta\":{},\"logprobs\":null,\"finish_reason\":\"%s\"}]}",
		c->text->stop == MODEL_LIMIT ? "length" : "stop");
}

/* The texts of tokens from .. n - 1: nothing inside a character, all of it with its last byte. */
static void put_shown_texts(struct str *out, const struct candidate_text *c, size_t from, size_t n)
{
	struct str pending;

	str_init(&pending, STR_NO_CAP);
	for (size_t i = 0; i < n; i++) {
		const struct vocab_token *token = &c->api->vocab.tokens[c->text->ids.items[i]];
		struct json_writer w = {.out = out};
		bool whole;

		str_append(&pending, token->bytes, token->len);
		whole = utf8_valid(pending.data, pending.len);
		if (i >= from) {
			str_append_z(out, i > from ? "," : "");
			json_put_str(&w, pending.data, whole ? pending.len : 0);
		}
		if (whole) {
			str_reset(&pending);
		}
	}
	str_release(&pending);
}

static void put_logprobs(struct str *out, const struct candidate_text *c, size_t from, size_t n)
{
	str_append_z(out, "{\"text_offset\":[],\"token_logprobs\":[");
	for (size_t i = from; i < n; i++) {
		bool nan = c->fault == FAULT_NAN && i == 0;

		str_append_z(out, i > from ? "," : "");
		str_append_z(
			out, nan ? "NaN" : model_logprob(c->prompt, c->text, i, &c->api->vocab));
	}
	str_append_z(out, "],\"tokens\":[");
	put_shown_texts(out, c, from, n);
	str_append_z(out, "],\"top_logprobs\":[");
	for (size_t i = from; i < n; i++) {
		str_append_z(out, i > from ? ",{" : "{");
		put_alternatives(out, c, i, c->call->n_probs,
			model_logprob(c->prompt, c->text, i, &c->api->vocab));
		str_append_c(out, '}');
	}
	str_append_z(out, "]}");
}

/* vLLM: behind "text", what there is of tokens from .. n - 1; the last of all say how it ended. */
static void put_vllm_tokens(struct str *out, const struct candidate_text *c, size_t from, size_t n)
{
	bool last = n == c->text->ids.n, cut = n > from && last && c->fault == FAULT_WRONG_COUNT;

	str_append_z(out, ",\"logprobs\":");
	if (c->call->has_probs) {
		put_logprobs(out, c, from, n - cut);
	} else {
		str_append_z(out, "null");
	}
	str_append_z(out, ",\"finish_reason\":");
	str_append_z(out,
		!last                                  ? "null"
			: c->text->stop == MODEL_LIMIT ? "\"length\""
						       : "\"stop\"");
	str_append_z(out, ",\"stop_reason\":");
	if (last && c->text->stop == MODEL_WORD) {
		field_stopping_word(out, c);
	} else {
		str_append_z(out, "null");
	}
	str_append_z(out, ",\"token_ids\":");
	if (c->call->return_ids) {
		write_ids(out, c->text->ids.items + from, n - from);
	} else {
		str_append_z(out, "null");
	}
	str_append_z(out, ",\"prompt_logprobs\":null,\"prompt_token_ids\":null}");
}

static void put_vllm(struct str *out, const struct candidate_text *c)
{
	str_printf(out, "{\"index\":%u,\"text\":", c->index);
	put_text(out, c);
	put_vllm_tokens(out, c, 0, c->text->ids.n);
}

/* No id is hidden: what holds text back sends an empty one. */
static void put_vllm_event(
	struct str *out, const struct candidate_text *c, size_t place, struct slice shown)
{
	str_printf(out,
		"{\"id\":\"cmpl-0\",\"object\":\"text_completion\",\"choices\":[{\"index\":%u,"
		"\"text\":",
		c->index);
	put_shown(out, c, place, shown);
	put_vllm_tokens(out, c, place, place + 1);
	str_append_z(out, "]}");
}

static void add_event(struct events *events, const struct candidate_text *c, size_t at,
	uint32_t step, uint32_t n_tokens)
{
	str_append_z(&events->raw, "\n\n");
	events->items = array_room(events->items, events->n, &events->cap, sizeof(*events->items));
	events->items[events->n++] = (struct event){
		at, events->raw.len - at, c->index, step, n_tokens};
}

static void add_candidate(struct events *events, const struct candidate_text *c)
{
	struct showing showing = {.c = c};
	struct slice shown;
	size_t at, n = c->text->ids.n;

	str_init(&showing.all, STR_NO_CAP);
	for (size_t i = 0; i < n; i++) {
		shown = (struct slice){"", 0};
		if (!show(&showing, i, &shown) && !c->call->names_ids) {
			continue;
		}
		at = events->raw.len;
		str_append_z(&events->raw, "data: ");
		if (c->call->names_ids) {
			put_vllm_event(&events->raw, c, i, shown);
		} else if (c->api->openai) {
			put_chat_event(&events->raw, c, i, showing.hidden, shown);
		} else {
			put_completion_event(&events->raw, c, i, shown);
		}
		add_event(events, c, at, (uint32_t)i + 1, showing.hidden);
		showing.hidden = 0;
	}
	if (!c->call->names_ids) {
		at = events->raw.len;
		str_append_z(&events->raw, "data: ");
		(c->api->openai ? put_chat_end : put_completion_end)(&events->raw, c);
		add_event(events, c, at, (uint32_t)n, showing.hidden);
	}
	str_release(&showing.all);
}

static void add_to_body(struct api_call *call, struct slice bytes, uint32_t step, uint32_t n_tokens)
{
	str_append(&call->body, bytes.data, bytes.len);
	call->events = array_room(
		call->events, call->n_events, &call->events_cap, sizeof(*call->events));
	call->events[call->n_events++] = (struct api_event){call->body.len, step, n_tokens};
}

/* Candidates are sampled side by side, so their events alternate. The tokens count as predicted when they are sent. */
static void write_stream(struct api *api, struct api_call *call, enum fault fault)
{
	uint32_t n = call->n - (fault == FAULT_FEW);
	struct events events = {0};
	struct model_prompt prompt;

	call->content_type = "text/event-stream";
	str_init(&events.raw, STR_NO_CAP);
	model_read(&prompt, &api->vocab, call->prompt.items, call->prompt.n);
	for (uint32_t i = 0; i < n; i++) {
		struct candidate_text c = {api, call, &prompt, &api->scratch, i, fault};

		model_write(&prompt, &api->vocab, &call->limits, call->seed + i, &api->scratch);
		call->n_tokens += api->scratch.ids.n;
		call->n_longest = MAX(call->n_longest, (uint32_t)api->scratch.ids.n);
		add_candidate(&events, &c);
	}
	model_prompt_release(&prompt);
	api->prompt_tokens += call->prompt.n;
	qsort(events.items, events.n, sizeof(*events.items), by_step);
	for (size_t i = 0; i < events.n; i++) {
		const struct event *e = &events.items[i];

		add_to_body(call, (struct slice){events.raw.data + e->at, e->len}, e->step,
			e->n_tokens);
	}
	str_reset(&events.raw);
	if (api->openai && call->has_usage) {
		str_printf(&events.raw,
			"data: "
			"{\"object\":\"chat.completion.chunk\",\"choices\":[],\"usage\":{\"prompt_"
			"tokens\":%zu,"
			"\"completion_tokens\":%llu}}\n\n",
			call->prompt.n,
			(unsigned long long)call->n_tokens + (fault == FAULT_WRONG_COUNT));
	}
	if (api->openai || call->names_ids) {
		str_append_z(&events.raw, "data: [DONE]\n\n");
		add_to_body(call, (struct slice){events.raw.data, events.raw.len}, 0, 0);
	}
	str_release(&events.raw);
	free(events.items);
}

static void write_completion(struct api *api, struct api_call *call, enum fault fault)
{
	bool many = call->many || fault == FAULT_FEW;

	if (call->stream) {
		write_stream(api, call, fault);
		return;
	}
	str_append_z(&call->body, many ? "[" : "");
	put_candidates(api, call, fault, put_completion);
	str_append_z(&call->body, many ? "]" : "");
}

static void write_chat(struct api *api, struct api_call *call, enum fault fault)
{
	struct json_writer w = {.out = &call->body};
	uint64_t wrong = fault == FAULT_WRONG_COUNT;

	if (call->stream) {
		write_stream(api, call, fault);
		return;
	}
	str_printf(&call->body,
		"{\"id\":\"chatcmpl-%016llx\",\"object\":\"chat.completion\",\"created\":0,"
		"\"model\":",
		(unsigned long long)hash64(
			call->prompt.items, call->prompt.n * sizeof(uint32_t), call->seed));
	json_put_z(&w, api->model_name);
	str_append_z(&call->body, ",\"choices\":[");
	put_candidates(api, call, fault, put_choice);
	str_printf(&call->body,
		"],\"usage\":{\"prompt_tokens\":%zu,\"completion_tokens\":%llu,\"total_tokens\":%"
		"llu}}",
		call->prompt.n, (unsigned long long)(call->n_tokens + wrong),
		(unsigned long long)(call->prompt.n + call->n_tokens + wrong));
}

/* --- vLLM and SGLang: ids --- */

static void write_version(struct api *api UNUSED, struct api_call *call, enum fault fault UNUSED)
{
	str_append_z(&call->body, "{\"version\":\"0.32.0\"}");
}

static void write_server_info(struct api *api, struct api_call *call, enum fault fault UNUSED)
{
	str_printf(&call->body,
		"{\"model_path\":\"fake\",\"version\":\"0.5.4\",\"enable_deterministic_inference\":"
		"%s,"
		"\"max_running_requests\":%u,\"context_length\":%u}",
		api->deterministic ? "true" : "false", api->n_slots, api->context);
}

/* A text or messages. Special tokens are always read, as Hugging Face's tokenizers do. */
static bool read_hf_tokenize(struct api *api, struct api_call *call)
{
	const struct json *prompt = json_get(call->json, "prompt");
	bool with_start = prompt != NULL;
	size_t len;
	const char *text = json_str(prompt, &len);

	call->new_turn = true;
	if (!want_bool(call, "add_special_tokens", &with_start) ||
		!want_bool(call, "return_token_strs", &call->names_ids)) {
		return false;
	}
	if (text) {
		str_append(&call->prompt_text, text, len);
	} else {
		/* Where nothing else does, the template writes the beginning. */
		str_append_z(&call->prompt_text, with_start ? "" : "<s>");
		if (!render(call)) {
			return false;
		}
	}
	if (with_start) {
		ids_add(&call->prompt, VOCAB_BOS);
	}
	vocab_encode(
		&api->vocab, call->prompt_text.data, call->prompt_text.len, true, &call->prompt);
	return true;
}

static void write_hf_tokenize(struct api *api, struct api_call *call, enum fault fault UNUSED)
{
	str_printf(&call->body, "{\"count\":%zu,\"max_model_len\":%u,\"tokens\":", call->prompt.n,
		api->context);
	write_ids(&call->body, call->prompt.items, call->prompt.n);
	if (call->names_ids && api->vllm) {
		str_append_z(&call->body, ",\"token_strs\":[");
		for (size_t i = 0; i < call->prompt.n; i++) {
			str_append_z(&call->body, i ? "," : "");
			put_name(&call->body, api, call->prompt.items[i]);
		}
		str_append_c(&call->body, ']');
	}
	str_append_c(&call->body, '}');
}

static void write_vllm_detokenize(
	struct api *api UNUSED, struct api_call *call, enum fault fault UNUSED)
{
	struct json_writer w = {.out = &call->body};

	json_begin_object(&w);
	json_key(&w, "prompt");
	json_put_str(&w, call->prompt_text.data, call->prompt_text.len);
	json_end_object(&w);
}

/* A list of ids gives a text, a list of lists a list of texts. */
static bool read_sglang_detokenize(struct api *api, struct api_call *call)
{
	const struct json *tokens = json_get(call->json, "tokens");

	call->activates = true;
	call->many = json_kind(json_at(tokens, 0)) == JSON_ARRAY;
	if (!want_bool(call, "skip_special_tokens", &call->activates)) {
		return false;
	}
	if (!call->many) {
		return want_ids(api, call, tokens);
	}
	for (size_t i = 0; i < json_len(tokens); i++) {
		if (!want_ids(api, call, json_at(tokens, i))) {
			return false;
		}
	}
	return call->prompt.n == json_len(tokens) ||
		refuse_request(call, "the fake engine wants lists of one id");
}

static void put_decoded(
	struct str *out, const struct api *api, const uint32_t *ids, size_t n, bool show_special)
{
	struct json_writer w = {.out = out};
	struct str text;

	str_init(&text, STR_NO_CAP);
	vocab_decode(&api->vocab, ids, n, show_special, &text);
	json_put_str(&w, text.data, text.len);
	str_release(&text);
}

static void write_sglang_detokenize(struct api *api, struct api_call *call, enum fault fault UNUSED)
{
	const struct ids *ids = &call->prompt;

	str_append_z(&call->body, call->many ? "{\"text\":[" : "{\"text\":");
	for (size_t i = 0; call->many && i < ids->n; i++) {
		str_append_z(&call->body, i ? "," : "");
		put_decoded(&call->body, api, &ids->items[i], 1, !call->activates);
	}
	if (!call->many) {
		put_decoded(&call->body, api, ids->items, ids->n, !call->activates);
	}
	str_append_z(&call->body, call->many ? "]}" : "}");
}

static bool read_vllm(struct api *api, struct api_call *call)
{
	const char *model = json_z(json_get(call->json, "model"));
	int64_t n = 1, logprobs = -1, max_tokens = 16;

	if (model && strcmp(model, api->model_name) != 0) {
		return refuse(call, 404, "NotFoundError", "The model `%s` does not exist.", model);
	}
	if (!want_sampling(call) || !want_bool(call, "return_token_ids", &call->return_ids) ||
		!want_bool(call, "stream", &call->stream) || !want_int(call, "n", &n) ||
		!want_int(call, "logprobs", &logprobs) ||
		!want_int(call, "max_tokens", &max_tokens)) {
		return false;
	}
	if (n < 1 || n > CANDIDATES_CHAT_MAX || logprobs > TOP_LOGPROBS_CHAT_MAX ||
		max_tokens < 1) {
		return refuse_request(call, "n, logprobs or max_tokens is out of range");
	}
	if (!want_prompt(api, call) || !refuse_long_prompt(api, call)) {
		return false;
	}
	call->n = (uint32_t)n;
	call->names_ids = true;
	call->has_probs = logprobs >= 0;
	call->n_probs = (uint32_t)MAX(logprobs, 0);
	call->limits.max_tokens = (uint32_t)MIN(max_tokens, UINT32_MAX);
	call->limits.context = api->context;
	return true;
}

static void write_vllm(struct api *api, struct api_call *call, enum fault fault)
{
	uint64_t wrong = fault == FAULT_WRONG_COUNT && !call->has_probs;

	if (call->stream) {
		write_stream(api, call, fault);
		return;
	}
	str_append_z(
		&call->body, "{\"id\":\"cmpl-0\",\"object\":\"text_completion\",\"choices\":[");
	put_candidates(api, call, fault, put_vllm);
	str_printf(&call->body,
		"],\"usage\":{\"prompt_tokens\":%zu,\"total_tokens\":%llu,\"completion_tokens\":%"
		"llu}}",
		call->prompt.n, (unsigned long long)(call->prompt.n + call->n_tokens + wrong),
		(unsigned long long)(call->n_tokens + wrong));
}

static bool read_sglang(struct api *api, struct api_call *call)
{
	const struct json *sampling = json_get(call->json, "sampling_params");
	struct api_call outer = *call;
	int64_t max_tokens = 128, top = 0;
	bool ok;

	/* The parameters lie one level below. */
	call->json = (struct json *)(uintptr_t)sampling;
	ok = want_int(call, "max_new_tokens", &max_tokens) && want_sampling(call) &&
		want_int(call, "sampling_seed", &call->wide_seed);
	call->json = outer.json;
	if (!ok || !want_bool(call, "return_logprob", &call->has_probs) ||
		!want_int(call, "top_logprobs_num", &top)) {
		return false;
	}
	if (top < 0 || max_tokens < 1) {
		return refuse_request(call, "top_logprobs_num or max_new_tokens is out of range");
	}
	if (!want_ids(api, call, json_get(call->json, "input_ids"))) {
		return false;
	}
	if (call->prompt.n == 0) {
		return refuse_request(call, "input_ids cannot be empty.");
	}
	vocab_decode(&api->vocab, call->prompt.items, call->prompt.n, true, &call->prompt_text);
	if (call->prompt.n >= api->context) {
		return refuse_request(call,
			"The input (%zu tokens) is longer than the model's context length (%u "
			"tokens).",
			call->prompt.n, api->context);
	}
	/* Without --deterministic seeds are read and not used. */
	call->seed = api->deterministic ? (uint32_t)call->wide_seed
					: (uint32_t)api->predicted_tokens;
	call->n = 1;
	call->names_ids = true;
	call->n_probs = (uint32_t)top;
	call->limits.max_tokens = (uint32_t)MIN(max_tokens, UINT32_MAX);
	call->limits.context = api->context;
	return true;
}

static void put_sglang(struct str *out, const struct candidate_text *c)
{
	const struct ids *ids = &c->text->ids;
	size_t n = ids->n - (ids->n && c->fault == FAULT_WRONG_COUNT);

	str_append_z(out, "{\"text\":");
	put_text(out, c);
	str_append_z(out, ",\"output_ids\":");
	write_ids(out, ids->items, ids->n);
	str_append_z(out, ",\"meta_info\":{\"id\":\"0\",\"finish_reason\":{\"type\":");
	if (c->text->stop == MODEL_LIMIT) {
		str_printf(out, "\"length\",\"length\":%zu}", ids->n);
	} else if (c->text->stop == MODEL_EOS) {
		str_printf(out, "\"stop\",\"matched\":%u}", ids->items[ids->n - 1]);
	} else {
		str_append_z(out, "\"stop\",\"matched\":");
		field_stopping_word(out, c);
		str_append_c(out, '}');
	}
	str_printf(out, ",\"prompt_tokens\":%zu,\"completion_tokens\":%zu", c->prompt->n, n);
	if (c->call->has_probs) {
		str_append_z(out, ",\"output_token_logprobs\":[");
		for (size_t i = 0; i < n; i++) {
			bool nan = c->fault == FAULT_NAN && i == 0;

			put_alternative(out, c, ids->items[i], i == 0,
				nan ? "NaN" : model_logprob(c->prompt, c->text, i, &c->api->vocab));
		}
		str_append_z(out, "],\"output_top_logprobs\":[");
		for (size_t i = 0; i < n; i++) {
			str_append_z(out, i ? ",[" : "[");
			put_alternatives(out, c, i, c->call->n_probs,
				model_logprob(c->prompt, c->text, i, &c->api->vocab));
			str_append_c(out, ']');
		}
		str_append_c(out, ']');
	}
	str_append_z(out, "}}");
}

static void write_sglang(struct api *api, struct api_call *call, enum fault fault)
{
	put_candidates(api, call, fault, put_sglang);
}

/* --- scores --- */

/* What the text is given, the whole of it in call->prompt_text. */
static double reward_of(struct api *api, const struct api_call *call)
{
	struct model_prompt prompt;
	double reward;

	model_read(&prompt, &api->vocab, call->prompt.items, call->prompt.n);
	reward = model_reward(
		&prompt, (struct slice){call->prompt_text.data, call->prompt_text.len});
	model_prompt_release(&prompt);
	return call->activates ? 1 / (1 + exp(-reward)) : reward;
}

static bool encode_scored(struct api *api, struct api_call *call)
{
	vocab_encode(
		&api->vocab, call->prompt_text.data, call->prompt_text.len, true, &call->prompt);
	return refuse_long_prompt(api, call);
}

static bool read_rerank(struct api *api, struct api_call *call)
{
	const struct json *documents = json_get(call->json, "documents");
	const char *query = json_z(json_get(call->json, "query"));
	const char *document = json_z(json_at(documents, 0));

	if (!api->reranks) {
		return refuse(call, 501, "not_supported_error",
			"This server does not support reranking. Start it with `--reranking`");
	}
	if (!query || !document || json_len(documents) != 1) {
		return refuse_request(call, "\"query\" and one of \"documents\" must be provided");
	}
	str_printf(&call->prompt_text, "%s\n%s", query, document);
	return encode_scored(api, call);
}

static void put_usage(struct api_call *call)
{
	str_printf(&call->body, "\"usage\":{\"prompt_tokens\":%zu,\"total_tokens\":%zu}",
		call->prompt.n, call->prompt.n);
}

static void write_rerank(struct api *api, struct api_call *call, enum fault fault)
{
	str_append_z(&call->body, "{\"object\":\"list\",\"results\":[");
	if (fault != FAULT_FEW) {
		str_append_z(&call->body, "{\"index\":0,\"relevance_score\":");
		if (fault == FAULT_NAN) {
			str_append_z(&call->body, "null}");
		} else {
			str_printf(&call->body, "%.7g}", reward_of(api, call));
		}
	}
	str_append_z(&call->body, "],");
	put_usage(call);
	str_append_z(&call->body, "}");
}

static bool read_classify(struct api *api, struct api_call *call)
{
	const char *text = json_z(json_get(call->json, "text"));

	call->by_text = text != NULL;
	call->activates = !text;
	if (!want_bool(call, "use_activation", &call->activates)) {
		return false;
	}
	if (text) {
		str_append_z(&call->prompt_text, text);
	} else if (!render(call)) {
		return false;
	}
	return encode_scored(api, call);
}

static bool read_pooling(struct api *api, struct api_call *call)
{
	const char *task = json_z(json_get(call->json, "task"));

	call->by_step = task && strcmp(task, "token_classify") == 0;
	if (!call->by_step && !(task && strcmp(task, "classify") == 0)) {
		return refuse_request(call, "Unsupported task: '%s'", task ? task : "None");
	}
	return read_classify(api, call);
}

static void write_classify(struct api *api, struct api_call *call, enum fault fault UNUSED)
{
	double reward = reward_of(api, call);

	if (call->by_text) {
		str_printf(&call->body,
			"{\"embedding\":[%.7g],\"meta_info\":{\"prompt_tokens\":%zu}}", reward,
			call->prompt.n);
		return;
	}
	str_printf(&call->body,
		"{\"object\":\"list\",\"data\":[{\"index\":0,\"label\":\"LABEL_0\",\"probs\":[%.7g]"
		","
		"\"num_classes\":1}],",
		reward);
	put_usage(call);
	str_append_z(&call->body, "}");
}

/* A pair for each step that ends in the mark: the probabilities of wrong and right, which multiplying halves. */
static void put_steps(struct str *out, const char *text, bool one_less)
{
	static const char mark[] = "<extra_0>";
	const char *from = text, *end;
	bool first = true;

	while ((end = strstr(from, mark))) {
		AUTO_FREE char *step = xmemdup0(from, (size_t)(end - from));
		double right = strstr(step, "\xc3\x97") ? 0.45 : 0.9;

		from = end + sizeof(mark) - 1;
		if (one_less && !strstr(from, mark)) {
			return;
		}
		str_printf(out, "%s[%.7g,%.7g]", first ? "" : ",", 1 - right, right);
		first = false;
	}
}

static void write_pooling(struct api *api, struct api_call *call, enum fault fault)
{
	str_append_z(&call->body,
		"{\"object\":\"list\",\"data\":[{\"index\":0,\"object\":\"pooling\",\"data\":[");
	if (call->by_step && !strstr(call->prompt_text.data, "<extra_0>")) {
		/* A head that scores every token: all but the last are of no interest. */
		str_printf(&call->body, "[0.25],[0.125],[%.7g]", reward_of(api, call));
	} else if (call->by_step) {
		put_steps(&call->body, call->prompt_text.data, fault == FAULT_WRONG_COUNT);
	} else {
		str_printf(&call->body, "%.7g", reward_of(api, call));
	}
	str_append_z(&call->body, "]}],");
	put_usage(call);
	str_append_z(&call->body, "}");
}

/* --- routes --- */

static const struct api_route routes[] = {
	{"GET", "/health", true, true, true, read_nothing, write_health},
	{"GET", "/props", true, false, false, read_nothing, write_props},
	{"GET", "/slots", true, false, false, read_slots, write_slots},
	{"GET", "/metrics", true, true, false, read_metrics, write_metrics},
	{"GET", "/v1/models", true, true, true, read_nothing, write_models},
	{"GET", "/models", true, false, true, read_nothing, write_models},
	{"POST", "/apply-template", true, false, false, read_template, write_template},
	{"POST", "/tokenize", true, false, false, read_tokenize, write_tokenize},
	{"POST", "/detokenize", true, false, false, read_detokenize, write_detokenize},
	{"POST", "/v1/rerank", true, false, false, read_rerank, write_rerank},
	{"POST", "/pooling", false, true, false, read_pooling, write_pooling},
	{"POST", "/classify", false, true, false, read_classify, write_classify},
	{"POST", "/completion", true, false, false, read_completion, write_completion},
	{"POST", "/v1/chat/completions", true, true, false, read_chat, write_chat},
};

/* Of vLLM alone, or SGLang alone: `openai` says whose. They have OpenAI's routes as well. */
static const struct api_route vllm_routes[] = {
	{"GET", "/version", false, true, false, read_nothing, write_version},
	{"POST", "/tokenize", false, true, false, read_hf_tokenize, write_hf_tokenize},
	{"POST", "/detokenize", false, true, false, read_detokenize, write_vllm_detokenize},
	{"POST", "/v1/completions", false, true, false, read_vllm, write_vllm},
	{0},
};

static const struct api_route sglang_routes[] = {
	{"GET", "/get_server_info", false, true, false, read_nothing, write_server_info},
	{"POST", "/v1/tokenize", false, true, false, read_hf_tokenize, write_hf_tokenize},
	{"POST", "/v1/detokenize", false, true, false, read_sglang_detokenize,
		write_sglang_detokenize},
	{"POST", "/generate", false, true, false, read_sglang, write_sglang},
	{0},
};

static const struct api_route *find_own_route(
	const struct api_route *own, const struct fake_request *request)
{
	for (size_t i = 0; own[i].method; i++) {
		if (slice_eq_z(request->method, own[i].method) &&
			slice_eq_z(request->path, own[i].path)) {
			return &own[i];
		}
	}
	return NULL;
}

static const struct api_route *find_route(const struct api *api, const struct fake_request *request)
{
	const struct api_route *own = NULL;

	if (api->vllm || api->sglang) {
		own = find_own_route(api->vllm ? vllm_routes : sglang_routes, request);
	}
	if (own) {
		return own;
	}
	for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
		if ((api->openai ? routes[i].openai : routes[i].llama_cpp) &&
			slice_eq_z(request->method, routes[i].method) &&
			slice_eq_z(request->path, routes[i].path)) {
			return &routes[i];
		}
	}
	return NULL;
}

static bool has_key(const struct api *api, const struct fake_request *request)
{
	AUTO_FREE char *wanted = api->api_key ? xasprintf("Bearer %s", api->api_key) : NULL;

	return !wanted || slice_eq_z(request->authorization, wanted);
}

void api_init(struct api *api)
{
	vocab_init(&api->vocab);
}

void api_release(struct api *api)
{
	model_text_release(&api->scratch);
	vocab_release(&api->vocab);
}

void api_read(struct api *api, const struct fake_request *request, struct api_call *call)
{
	struct error err;

	*call = (struct api_call){.status = 200, .content_type = "application/json; charset=utf-8"};
	str_init(&call->body, STR_NO_CAP);
	str_init(&call->prompt_text, STR_NO_CAP);
	call->route = find_route(api, request);
	if (!call->route) {
		refuse(call, 404, "not_found_error", "File Not Found");
		return;
	}
	if (!call->route->open && !has_key(api, request)) {
		refuse(call, 401, "authentication_error", "Invalid API Key");
		return;
	}
	if (strcmp(call->route->method, "POST") == 0) {
		call->json = json_parse(request->body.data, request->body.len, &err);
		if (!call->json) {
			refuse(call, 500, "server_error", "%s", err.msg);
			return;
		}
	}
	call->route->read(api, call);
}

void api_write(struct api *api, struct api_call *call, enum fault fault)
{
	if (call->status == 200) {
		call->route->write(api, call, fault);
	}
}

void api_call_release(struct api_call *call)
{
	str_release(&call->body);
	str_release(&call->prompt_text);
	ids_release(&call->prompt);
	free(call->stops);
	free(call->events);
	json_free(call->json);
	*call = (struct api_call){0};
}
