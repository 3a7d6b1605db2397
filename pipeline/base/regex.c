#define PCRE2_CODE_UNIT_WIDTH 8
#include "base/regex.h"

#include "base/mem.h"

#include <pcre2.h>
#include <stdlib.h>

/* A text of 64 KiB and an honest pattern stay far below these; a catastrophic one meets them within some milliseconds. */
#define MATCH_LIMIT 1000000u
#define DEPTH_LIMIT 10000u
#define HEAP_LIMIT_KIB (16u << 10)

struct regex {
	pcre2_code *code; /* owns */
	pcre2_match_context *context; /* owns */
	int answer_group; /* number of the group named "answer"; 0: none */
};

struct regex *regex_new(const char *pattern, bool ignore_case, struct error *err)
{
	int code = 0;
	PCRE2_SIZE at = 0;
	uint32_t options = PCRE2_UTF | PCRE2_MATCH_INVALID_UTF | PCRE2_NEVER_BACKSLASH_C;
	if (ignore_case) {
		options |= PCRE2_CASELESS;
	}
	pcre2_code *compiled = pcre2_compile(
		(PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, options, &code, &at, NULL);
	if (!compiled) {
		char reason[256] = "";
		pcre2_get_error_message(code, (PCRE2_UCHAR *)reason, sizeof(reason));
		error_set(err, FAIL_CONFIG, "regular expression: %s at offset %zu", reason,
			(size_t)at);
		return NULL;
	}
	struct regex *re = xcalloc(1, sizeof(*re));
	re->code = compiled;
	re->context = pcre2_match_context_create(NULL);
	if (!re->context) {
		oom();
	}
	pcre2_set_match_limit(re->context, MATCH_LIMIT);
	pcre2_set_depth_limit(re->context, DEPTH_LIMIT);
	pcre2_set_heap_limit(re->context, HEAP_LIMIT_KIB);
	int group = pcre2_substring_number_from_name(compiled, (PCRE2_SPTR) "answer");
	re->answer_group = group > 0 ? group : 0;
	return re;
}

void regex_free(struct regex *re)
{
	if (!re) {
		return;
	}
	pcre2_match_context_free(re->context);
	pcre2_code_free(re->code);
	free(re);
}

static uint32_t group_of_interest(const struct regex *re, const PCRE2_SIZE *ends, uint32_t n_groups)
{
	uint32_t answer = (uint32_t)re->answer_group;
	if (answer && answer < n_groups && ends[2 * answer] != PCRE2_UNSET) {
		return answer;
	}
	for (uint32_t i = 1; i < n_groups; i++) {
		if (ends[2 * i] != PCRE2_UNSET) {
			return i;
		}
	}
	return 0;
}

/* On a match *out_n is the number of groups that were set, the whole match being group 0. */
static enum regex_result match(const struct regex *re, pcre2_match_data *data, const char *text,
	size_t len, size_t start, uint32_t *out_n)
{
	int n = pcre2_match(re->code, (PCRE2_SPTR)text, len, start, 0, data, re->context);
	*out_n = n > 0 ? (uint32_t)n : 0;
	return n > 0 ? REGEX_MATCH : n == PCRE2_ERROR_NOMATCH ? REGEX_NO_MATCH : REGEX_LIMIT;
}

static struct slice group_text(const char *text, const PCRE2_SIZE *ends, uint32_t group)
{
	/* \K in a lookahead can put the start behind the end. */
	size_t from = MIN(ends[2 * group], ends[2 * group + 1]), to = ends[2 * group + 1];
	return (struct slice){text + from, to - from};
}

static pcre2_match_data *match_data_new(const struct regex *re)
{
	pcre2_match_data *data = pcre2_match_data_create_from_pattern(re->code, NULL);
	if (!data) {
		oom();
	}
	return data;
}

enum regex_result regex_search(const struct regex *re, const char *text, size_t len, size_t start,
	struct slice *out_match, size_t *out_end)
{
	pcre2_match_data *data = match_data_new(re);
	uint32_t n;
	enum regex_result result = match(re, data, text, len, start, &n);
	if (result == REGEX_MATCH) {
		const PCRE2_SIZE *ends = pcre2_get_ovector_pointer(data);
		if (out_match) {
			*out_match = group_text(text, ends, group_of_interest(re, ends, n));
		}
		if (out_end) {
			*out_end = ends[1];
		}
	}
	pcre2_match_data_free(data);
	return result;
}

enum regex_result regex_find(
	const struct regex *re, const char *text, size_t len, size_t start, struct slice *out_match)
{
	pcre2_match_data *data = match_data_new(re);
	uint32_t n;
	enum regex_result result = match(re, data, text, len, start, &n);
	if (result == REGEX_MATCH) {
		*out_match = group_text(text, pcre2_get_ovector_pointer(data), 0);
	}
	pcre2_match_data_free(data);
	return result;
}
