/* Regular expressions (PCRE2) with match, depth and heap limits: a pattern or a text cannot hang a worker. */
#ifndef PIPELINE_BASE_REGEX_H
#define PIPELINE_BASE_REGEX_H

#include "base/error.h"
#include "base/str.h"

struct regex; /* immutable after compiling: threads may share it */

enum regex_result { REGEX_MATCH, REGEX_NO_MATCH, REGEX_LIMIT };

/* UTF mode; FAIL_CONFIG with the offset of the mistake. */
MUST_CHECK struct regex *regex_new(const char *pattern, bool ignore_case, struct error *err);
void regex_free(struct regex *re);
/*
 * Searches from `start`. out_match (may be NULL) gets the group named "answer", else the first group that took part, else the whole match; out_end (may be NULL) the end
 * of the whole match. Text that is not UTF-8 is matched with invalid bytes taken as unmatchable.
 */
enum regex_result regex_search(const struct regex *re, const char *text, size_t len, size_t start,
	struct slice *out_match, size_t *out_end);
/* The same search; out_match gets the whole match, whatever groups the pattern has. */
enum regex_result regex_find(const struct regex *re, const char *text, size_t len, size_t start,
	struct slice *out_match);

#endif
