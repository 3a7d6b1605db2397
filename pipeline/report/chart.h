/*
 * Charts as inline SVG, made here so that the page needs no script for them. Lengths across are percentages and those upwards
 * pixels: a chart fills whatever width it is given, and its texts keep their size on a phone. Colours are classes of
 * page.css. Each chart says in words what it shows (aria-label), each mark has a title, and the numbers follow as a table.
 */
#ifndef PIPELINE_REPORT_CHART_H
#define PIPELINE_REPORT_CHART_H

#include "report/html.h"

#include <stddef.h>

struct chart_series {
	const char *name;
	struct html_literal class_name;
	const double *values; /* as many as the chart has bins */
};

struct chart_tick {
	double at;
	char label[24];
};
#define CHART_TICKS_MAX 12

struct chart_histogram {
	const char *title, *note; /* note may be NULL */
	const char *x_name, *y_name; /* with units */
	double low, high; /* of the bins, which are equally wide */
	size_t n_bins;
	const struct chart_series *series; /* from the bottom up */
	size_t n_series;
	const struct chart_tick *ticks; /* across; NULL: round numbers */
	size_t n_ticks;
	/* Writes a bin's place in words, "0.25 to 0.30"; NULL: its two numbers. */
	void (*name_bin)(void *ctx, size_t bin, char out[64]);
	void *ctx;
};
void chart_histogram(struct html *h, const struct chart_histogram *c);

struct chart_nights {
	const char *title, *unit;
	const char *const *names; /* of the nights, oldest first */
	const double *values; /* NaN: not known */
	size_t n, now; /* `now` is the night of the page */
	unsigned decimals;
};
void chart_nights(struct html *h, const struct chart_nights *c);

/* A bar for a table's cell: a part of 1, with an interval if low <= high. */
void chart_share(
	struct html *h, struct html_literal class_name, double share, double low, double high);
/* A bar of several parts of `whole`. */
struct chart_part {
	double n;
	struct html_literal class_name;
};
void chart_parts(struct html *h, const struct chart_part *parts, size_t n_parts, double whole);

/* Round numbers within low .. high, about 4 of them; returns how many. */
size_t chart_ticks(double low, double high, struct chart_tick out[CHART_TICKS_MAX]);
/* "1,234", "12.3k", "4.5M": short enough for an axis. */
void chart_number(double v, char out[24]);

#endif
