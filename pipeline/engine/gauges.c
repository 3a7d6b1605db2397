/*
 * A line of the text format is a comment, or
 *
 *	name{label="value",...} number [timestamp]
 *
 * Only names of the table are looked at further, so that a strange line elsewhere costs nothing. A series that appears twice with
 * different labels (vLLM: one per engine and model; SGLang: one per rank) is summed; of the cache's use the highest counts.
 */
#include "engine/gauges.h"

#include "base/mem.h"
#include "base/text.h"

#include <math.h>
#include <string.h>

#define NUMBER_BYTES_MAX 64
#define SLOTS_MAX 65536

enum field { RUNNING, WAITING, CACHE, N_FIELDS };

static const struct {
	const char *name;
	enum field field;
} known[] = {
	{"llamacpp:requests_processing", RUNNING},
	{"llamacpp:requests_deferred", WAITING},
	{"vllm:num_requests_running", RUNNING},
	{"vllm:num_requests_waiting", WAITING},
	{"vllm:kv_cache_usage_perc", CACHE},
	{"vllm:gpu_cache_usage_perc", CACHE}, /* its name before 0.10 */
	{"sglang:num_running_reqs", RUNNING},
	{"sglang:num_queue_reqs", WAITING},
	{"sglang:token_usage", CACHE},
};

struct sums {
	double value[N_FIELDS];
	bool told[N_FIELDS];
};

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

/* Behind the labels, whose values may hold anything, escaped quotes included; NULL: the line is broken. */
static const char *skip_labels(const char *at, const char *end)
{
	bool quoted = false;

	for (at++; at < end; at++) {
		if (quoted && *at == '\\')
			at++;
		else if (*at == '"')
			quoted = !quoted;
		else if (*at == '}' && !quoted)
			return at + 1;
	}
	return NULL;
}

static bool read_number(const char *at, const char *end, double *out)
{
	char text[NUMBER_BYTES_MAX];
	size_t len = 0;

	while (at < end && is_blank(*at))
		at++;
	while (at < end && !is_blank(*at) && len + 1 < sizeof(text))
		text[len++] = *at++;
	text[len] = '\0';
	return (at == end || is_blank(*at)) && text_parse_double(text, out) && isfinite(*out) &&
		*out >= 0;
}

static void read_line(const char *at, const char *end, struct sums *sums)
{
	const char *name = at;
	size_t len;
	double value;

	while (at < end && *at != '{' && !is_blank(*at))
		at++;
	len = (size_t)(at - name);
	for (size_t i = 0; i < ARRAY_LEN(known); i++) {
		enum field field = known[i].field;

		if (len != strlen(known[i].name) || memcmp(name, known[i].name, len) != 0)
			continue;
		if (at < end && *at == '{')
			at = skip_labels(at, end);
		if (at == NULL || !read_number(at, end, &value))
			return;
		sums->value[field] = field == CACHE ? MAX(sums->value[field], value)
						    : sums->value[field] + value;
		sums->told[field] = true;
		return;
	}
}

bool gauges_read_metrics(struct slice text, struct gauges *out, struct error *err)
{
	struct sums sums = {0};
	const char *at = text.data, *end = text.data + text.len;

	if (text.len > GAUGES_BYTES_MAX)
		return error_set(err, FAIL_DATA, "the metrics have %zu bytes", text.len);
	while (at < end) {
		const char *newline = memchr(at, '\n', (size_t)(end - at));
		const char *line_end = newline != NULL ? newline : end;

		if (at < line_end && *at != '#')
			read_line(at, line_end, &sums);
		at = newline != NULL ? newline + 1 : end;
	}
	if (!sums.told[RUNNING])
		return error_set(err, FAIL_DATA, "the metrics tell no number of running requests");
	if (sums.value[RUNNING] > GAUGES_REQUESTS_MAX || sums.value[WAITING] > GAUGES_REQUESTS_MAX)
		return error_set(err, FAIL_DATA, "the metrics tell more than %u requests",
			GAUGES_REQUESTS_MAX);
	*out = (struct gauges){
		.running = (uint32_t)sums.value[RUNNING],
		.waiting = (uint32_t)sums.value[WAITING],
		.cache = sums.told[CACHE] ? MIN(sums.value[CACHE], 1.0) : -1,
	};
	return true;
}

bool gauges_read_slots(const struct json *body, struct gauges *out, struct error *err)
{
	size_t n = json_len(body);
	uint32_t n_running = 0;

	if (json_kind(body) != JSON_ARRAY || n == 0 || n > SLOTS_MAX)
		return error_set(err, FAIL_DATA, "the slots are no list of 1 to %d", SLOTS_MAX);
	for (size_t i = 0; i < n; i++) {
		bool busy;

		if (!json_bool(json_get(json_at(body, i), "is_processing"), &busy))
			return error_set(
				err, FAIL_DATA, "slot %zu does not say whether it is busy", i);
		n_running += busy;
	}
	*out = (struct gauges){.running = n_running, .cache = -1};
	return true;
}
