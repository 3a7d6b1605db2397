/* What the modes of `thresh inspect` print alike. Text out of a data set is made harmless first (text_put_printable). */
#ifndef PIPELINE_INSPECT_INSPECT_PRINT_H
#define PIPELINE_INSPECT_INSPECT_PRINT_H

#include "base/attr.h"
#include "base/json.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STYLE_DIM "\033[2m"
#define STYLE_BOLD "\033[1m"
#define STYLE_PLAIN "\033[0m"

void print_text(const char *text, size_t len, bool keep_newlines);
void print_z(const char *text);
/* "  name         value\n" */
void print_fact(const char *name, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* A bar of n / most, in eighths of a column, so that small counts are seen. */
void print_bar(uint64_t n, uint64_t most);

struct numbers {
	double *items; /* owns */
	size_t n, cap;
	bool sorted;
};
void numbers_add(struct numbers *list, double v);
void numbers_release(struct numbers *list);
/* Sorts them; item at quantile q of [0, 1]. The list must not be empty. */
double numbers_quantile(struct numbers *list, double q);
double numbers_mean(const struct numbers *list);
/* A member: count, quantiles and mean. Sorts them. */
void numbers_put_json(struct numbers *list, struct json_writer *w, const char *key);
/* Title with quantiles, then a bar for each of 12 bins; nothing if the list is empty. */
void print_histogram(const char *title, struct numbers *list);

#endif
