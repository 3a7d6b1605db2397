#include "inspect/inspect_print.h"

#include "base/mem.h"
#include "base/text.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BINS 12
#define BAR_COLUMNS 32

void print_text(const char *text, size_t len, bool keep_newlines)
{
	struct str out;
	str_init(&out, STR_NO_CAP);
	text_put_printable(&out, text, len, keep_newlines);
	fwrite(out.data, 1, out.len, stdout);
	str_release(&out);
}

void print_z(const char *text)
{
	print_text(text, strlen(text), false);
}

void print_fact(const char *name, const char *fmt, ...)
{
	va_list args;
	printf("  %-12s ", name);
	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	putchar('\n');
}

void print_bar(uint64_t n, uint64_t most)
{
	static const char *const eighths[] = {"", "\xe2\x96\x8f", "\xe2\x96\x8e", "\xe2\x96\x8d",
		"\xe2\x96\x8c", "\xe2\x96\x8b", "\xe2\x96\x8a", "\xe2\x96\x89"};
	size_t units = most ? (size_t)((double)n / (double)most * BAR_COLUMNS * 8 + 0.5) : 0;
	units = n && !units ? 1 : units;
	for (size_t i = 0; i < units / 8; i++) {
		fputs("\xe2\x96\x88", stdout);
	}
	fputs(eighths[units % 8], stdout);
}

void numbers_add(struct numbers *list, double v)
{
	list->items = array_room(list->items, list->n, &list->cap, sizeof(*list->items));
	list->items[list->n++] = v;
	list->sorted = false;
}

void numbers_release(struct numbers *list)
{
	free(list->items);
	*list = (struct numbers){0};
}

static int compare_doubles(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

double numbers_quantile(struct numbers *list, double q)
{
	if (!list->sorted) {
		qsort(list->items, list->n, sizeof(*list->items), compare_doubles);
		list->sorted = true;
	}
	return list->items[(size_t)((double)(list->n - 1) * q)];
}

double numbers_mean(const struct numbers *list)
{
	double sum = 0;
	for (size_t i = 0; i < list->n; i++) {
		sum += list->items[i];
	}
	return list->n ? sum / (double)list->n : 0;
}

void numbers_put_json(struct numbers *list, struct json_writer *w, const char *key)
{
	static const struct {
		const char *name;
		double q;
	} of[] = {{"min", 0}, {"median", 0.5}, {"p95", 0.95}, {"max", 1}};
	json_key(w, key);
	json_begin_object(w);
	json_member_uint(w, "n", list->n);
	for (size_t i = 0; list->n && i < ARRAY_LEN(of); i++) {
		json_member_num(w, of[i].name, numbers_quantile(list, of[i].q));
	}
	if (list->n) {
		json_member_num(w, "mean", numbers_mean(list));
	}
	json_end_object(w);
}

void print_histogram(const char *title, struct numbers *list)
{
	if (!list->n) {
		return;
	}
	uint64_t counts[BINS] = {0}, most = 0;
	double low = numbers_quantile(list, 0), high = list->items[list->n - 1];
	for (size_t i = 0; i < list->n; i++) {
		size_t bin = high > low ? (size_t)((list->items[i] - low) / (high - low) * BINS)
					: 0;
		counts[MIN(bin, BINS - 1)]++;
	}
	for (size_t i = 0; i < BINS; i++) {
		most = MAX(most, counts[i]);
	}
	printf("\n%s: min %.4g, median %.4g, mean %.4g, p95 %.4g, max %.4g\n", title, low,
		list->items[list->n / 2], numbers_mean(list), list->items[(list->n - 1) * 95 / 100],
		high);
	for (size_t i = 0; i < BINS && high > low; i++) {
		printf("  %10.4g  %8" PRIu64 " ", low + (high - low) * (double)i / BINS, counts[i]);
		print_bar(counts[i], most);
		putchar('\n');
	}
}
