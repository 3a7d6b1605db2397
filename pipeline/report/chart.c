#include "report/chart.h"

#include "base/text.h"
#include "report/tally.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define TOP 14.0 /* pixels above the highest mark: half a label */
#define PLOT 112.0 /* pixels from the base line to the top of the axis */
#define BASE (TOP + PLOT)
#define X_LABELS (BASE + 15)
#define HEIGHT "146"
#define NIGHTS_PLOT 56.0
#define NIGHTS_TOP 22.0

void chart_number(double v, char out[24])
{
	static const struct {
		double from, unit;
		const char *suffix;
	} units[] = {{1e9, 1e9, "G"}, {1e6, 1e6, "M"}, {1e4, 1e3, "k"}};
	for (size_t i = 0; i < ARRAY_LEN(units); i++) {
		if (fabs(v) >= units[i].from) {
			snprintf(out, 24, "%.3g%s", v / units[i].unit, units[i].suffix);
			return;
		}
	}
	if (v >= 1000 && v == floor(v)) {
		char number[28];
		text_format_count((uint64_t)v, number);
		snprintf(out, 24, "%s", number);
	} else {
		snprintf(out, 24, "%.4g", v);
	}
}

/* 1, 2, 2.5 or 5 times a power of ten, at least `width`. */
static double tick_step(double width)
{
	static const double steps[] = {1, 2, 2.5, 5, 10};
	double power = pow(10, floor(log10(width)));
	size_t i = 0;
	while (i + 1 < ARRAY_LEN(steps) && steps[i] * power < width * (1 - 1e-9)) {
		i++;
	}
	return steps[i] * power;
}

size_t chart_ticks(double low, double high, struct chart_tick out[CHART_TICKS_MAX])
{
	size_t n = 0;
	if (!(high > low) || !isfinite(high - low)) {
		return 0;
	}
	double step = tick_step((high - low) / 5);
	for (double i = ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) {
		if (n < CHART_TICKS_MAX) {
			out[n].at = i * step;
			chart_number(fabs(i * step) < step * 1e-9 ? 0 : i * step, out[n++].label);
		}
	}
	return n;
}

/* --- pieces --- */

static void begin_svg(struct html *h, struct html_literal class_name, struct html_literal height)
{
	html_begin_class(h, HTML("svg"), class_name);
	html_attr(h, HTML("height"), height);
}

static void put_line(
	struct html *h, struct html_literal class_name, double x1, double y1, double x2, double y2)
{
	html_begin_class(h, HTML("line"), class_name);
	html_attr_num(h, HTML("x1"), x1, HTML("%"));
	html_attr_num(h, HTML("y1"), y1, HTML_NONE);
	html_attr_num(h, HTML("x2"), x2, HTML("%"));
	html_attr_num(h, HTML("y2"), y2, HTML_NONE);
	html_end(h);
}

static void put_label(
	struct html *h, struct html_literal anchor, double x_percent, double y, const char *text)
{
	html_begin(h, HTML("text"));
	html_attr_num(h, HTML("x"), x_percent, HTML("%"));
	html_attr_num(h, HTML("y"), y, HTML_NONE);
	html_attr(h, HTML("text-anchor"), anchor);
	html_text_z(h, text);
	html_end(h);
}

/* A rectangle that is left open for a title. */
static void begin_rect(struct html *h, struct html_literal class_name, double x, double width,
	double y, double height)
{
	html_begin_class(h, HTML("rect"), class_name);
	html_attr_num(h, HTML("x"), x, HTML("%"));
	html_attr_num(h, HTML("width"), width, HTML("%"));
	html_attr_num(h, HTML("y"), y, HTML_NONE);
	html_attr_num(h, HTML("height"), height, HTML_NONE);
}

static void put_caption(struct html *h, const char *title, const char *note)
{
	html_begin(h, HTML("figcaption"));
	html_element(h, HTML("b"), HTML_NONE, title);
	if (note) {
		html_text_z(h, " ");
		html_element(h, HTML("span"), HTML("note"), note);
	}
	html_end(h);
}

/* --- histograms --- */

static double bin_total(const struct chart_histogram *c, size_t bin)
{
	double sum = 0;
	for (size_t i = 0; i < c->n_series; i++) {
		sum += c->series[i].values[bin];
	}
	return sum;
}

static void name_bin(const struct chart_histogram *c, size_t bin, char out[64])
{
	if (c->name_bin) {
		c->name_bin(c->ctx, bin, out);
		return;
	}
	char from[24], to[24];
	double width = (c->high - c->low) / (double)c->n_bins;
	chart_number(c->low + width * (double)bin, from);
	chart_number(c->low + width * (double)(bin + 1), to);
	snprintf(out, 64, "%s to %s", from, to);
}

/* The axis upwards is a picture of its own, since its width does not follow the page's. */
static void put_y_axis(struct html *h, const char *name, const struct chart_tick *ticks, size_t n,
	double top_value)
{
	begin_svg(h, HTML("yaxis"), HTML(HEIGHT));
	html_attr(h, HTML("width"), HTML("44"));
	html_attr(h, HTML("aria-hidden"), HTML("true"));
	for (size_t i = 0; i < n; i++) {
		html_begin(h, HTML("text"));
		html_attr(h, HTML("x"), HTML("38"));
		html_attr_num(h, HTML("y"), BASE - PLOT * ticks[i].at / top_value + 3.5, HTML_NONE);
		html_attr(h, HTML("text-anchor"), HTML("end"));
		html_text_z(h, ticks[i].label);
		html_end(h);
	}
	html_element(h, HTML("title"), HTML_NONE, name);
	html_end(h);
}

static void put_bars(struct html *h, const struct chart_histogram *c, double top_value)
{
	double step = 100.0 / (double)c->n_bins, gap = c->n_bins > 48 ? 0.1 : 0.12;
	for (size_t i = 0; i < c->n_bins; i++) {
		double y = BASE;
		char where[64], number[24];
		name_bin(c, i, where);
		for (size_t k = 0; k < c->n_series; k++) {
			double n = c->series[k].values[i];
			if (!(n > 0)) {
				continue;
			}
			double height = fmax(PLOT * n / top_value, 0.75);
			y -= height;
			begin_rect(h, c->series[k].class_name, step * ((double)i + gap / 2),
				step * (1 - gap), y, height);
			html_begin(h, HTML("title"));
			chart_number(n, number);
			html_textf(h, "%s: %s %s", where, number, c->series[k].name);
			html_end(h);
			html_end(h);
		}
	}
}

static void put_x_axis(struct html *h, const struct chart_histogram *c)
{
	struct chart_tick round[CHART_TICKS_MAX];
	const struct chart_tick *ticks = c->ticks;
	size_t n = c->n_ticks;
	if (!ticks) {
		n = chart_ticks(c->low, c->high, round);
		ticks = round;
	}
	put_line(h, HTML("base"), 0, BASE, 100, BASE);
	for (size_t i = 0; i < n; i++) {
		double x = 100 * (ticks[i].at - c->low) / (c->high - c->low);
		put_line(h, HTML("tick"), x, BASE, x, BASE + 3);
		put_label(h,
			x < 4            ? HTML("start")
				: x > 96 ? HTML("end")
					 : HTML("middle"),
			x, X_LABELS, ticks[i].label);
	}
}

static void put_plot(struct html *h, const struct chart_histogram *c,
	const struct chart_tick *ticks, size_t n_ticks, double top_value)
{
	begin_svg(h, HTML("plot"), HTML(HEIGHT));
	html_attr(h, HTML("role"), HTML("img"));
	struct str label;
	str_init(&label, STR_NO_CAP);
	str_printf(&label, "%s: %s by %s", c->title, c->y_name, c->x_name);
	html_attr_z(h, HTML("aria-label"), label.data);
	str_release(&label);
	for (size_t i = 1; i < n_ticks; i++) {
		double y = BASE - PLOT * ticks[i].at / top_value;
		put_line(h, HTML("grid"), 0, y, 100, y);
	}
	put_bars(h, c, top_value);
	put_x_axis(h, c);
	html_end(h);
}

static void put_numbers(struct html *h, const struct chart_histogram *c)
{
	char text[64];
	html_begin_class(h, HTML("details"), HTML("numbers"));
	html_element(h, HTML("summary"), HTML_NONE, "numbers");
	html_begin(h, HTML("table"));
	html_fixed(h, HTML("<thead><tr>"));
	html_begin(h, HTML("th"));
	html_attr(h, HTML("scope"), HTML("col"));
	html_text_z(h, c->x_name);
	html_end(h);
	for (size_t k = 0; k < c->n_series; k++) {
		html_begin_class(h, HTML("th"), HTML("n"));
		html_attr(h, HTML("scope"), HTML("col"));
		html_text_z(h, c->series[k].name);
		html_end(h);
	}
	html_fixed(h, HTML("</tr></thead>"));
	html_begin(h, HTML("tbody"));
	for (size_t i = 0; i < c->n_bins; i++) {
		if (!(bin_total(c, i) > 0)) {
			continue;
		}
		html_begin(h, HTML("tr"));
		name_bin(c, i, text);
		html_element(h, HTML("td"), HTML_NONE, text);
		for (size_t k = 0; k < c->n_series; k++) {
			chart_number(c->series[k].values[i], text);
			html_element(h, HTML("td"), HTML("n"), text);
		}
		html_end(h);
	}
	html_end(h);
	html_end(h);
	html_end(h);
}

/* Of an axis of counts: there are no half candidates. */
static size_t count_ticks(double top_value, struct chart_tick out[CHART_TICKS_MAX])
{
	size_t n = chart_ticks(0, top_value, out), kept = 0;
	for (size_t i = 0; i < n; i++) {
		if (out[i].at == floor(out[i].at)) {
			out[kept++] = out[i];
		}
	}
	return kept;
}

void chart_histogram(struct html *h, const struct chart_histogram *c)
{
	struct chart_tick ticks[CHART_TICKS_MAX];
	double max = 0;
	for (size_t i = 0; i < c->n_bins; i++) {
		max = fmax(max, bin_total(c, i));
	}
	double top_value = tally_round_up(max);
	size_t n_ticks = count_ticks(top_value, ticks);
	html_begin_class(h, HTML("figure"), HTML("chart"));
	put_caption(h, c->title, c->note);
	html_begin_class(h, HTML("div"), HTML("yname"));
	html_text_z(h, c->y_name);
	html_end(h);
	html_begin_class(h, HTML("div"), HTML("axes"));
	put_y_axis(h, c->y_name, ticks, n_ticks, top_value);
	put_plot(h, c, ticks, n_ticks, top_value);
	html_end(h);
	html_begin_class(h, HTML("div"), HTML("xname"));
	html_text_z(h, c->x_name);
	html_end(h);
	put_numbers(h, c);
	html_end(h);
}

/* --- nights --- */

static double x_of_night(const struct chart_nights *c, size_t i)
{
	return c->n > 1 ? 2.5 + 95 * (double)i / (double)(c->n - 1) : 50;
}

static double y_of_night(double v, double top_value)
{
	return NIGHTS_TOP + NIGHTS_PLOT * (1 - v / top_value);
}

static void put_night(struct html *h, const struct chart_nights *c, size_t i, double top_value)
{
	double x = x_of_night(c, i), y = y_of_night(c->values[i], top_value);
	char number[40];
	snprintf(number, sizeof(number), "%.*f", (int)c->decimals, c->values[i]);
	html_begin_class(h, HTML("circle"), i == c->now ? HTML("dot now") : HTML("dot"));
	html_attr_num(h, HTML("cx"), x, HTML("%"));
	html_attr_num(h, HTML("cy"), y, HTML_NONE);
	html_attr_num(h, HTML("r"), i == c->now ? 4 : c->n > 30 ? 1.75 : 2.5, HTML_NONE);
	html_begin(h, HTML("title"));
	html_textf(h, "%s: %s%s", c->names[i], number, c->unit);
	html_end(h);
	html_end(h);
}

static void put_night_names(struct html *h, const struct chart_nights *c)
{
	double y = NIGHTS_TOP + NIGHTS_PLOT;
	put_line(h, HTML("base"), 0, y, 100, y);
	if (c->n) {
		put_label(h, HTML("start"), 0, y + 15, c->names[0]);
	}
	if (c->n > 1) {
		put_label(h, HTML("end"), 100, y + 15, c->names[c->n - 1]);
	}
}

static void put_night_value(struct html *h, const struct chart_nights *c)
{
	char number[40];
	html_begin_class(h, HTML("figcaption"), HTML("value"));
	html_element(h, HTML("b"), HTML_NONE, c->title);
	html_text_z(h, " ");
	html_begin_class(h, HTML("span"), HTML("big"));
	if (isnan(c->values[c->now])) {
		html_text_z(h, "\xe2\x80\x93");
	} else {
		snprintf(number, sizeof(number), "%.*f", (int)c->decimals, c->values[c->now]);
		html_textf(h, "%s%s", number, c->unit);
	}
	html_end(h);
	html_end(h);
}

void chart_nights(struct html *h, const struct chart_nights *c)
{
	double max = 0;
	size_t last = (size_t)-1;
	for (size_t i = 0; i < c->n; i++) {
		max = isnan(c->values[i]) ? max : fmax(max, c->values[i]);
	}
	double top_value = tally_round_up(max);
	html_begin_class(h, HTML("figure"), HTML("chart"));
	put_night_value(h, c);
	begin_svg(h, HTML("plot"), HTML("98"));
	html_attr(h, HTML("role"), HTML("img"));
	struct str label;
	str_init(&label, STR_NO_CAP);
	str_printf(&label, "%s over %zu nights, axis from 0", c->title, c->n);
	html_attr_z(h, HTML("aria-label"), label.data);
	str_release(&label);
	char top[24];
	chart_number(top_value, top);
	put_line(h, HTML("grid"), 0, NIGHTS_TOP, 100, NIGHTS_TOP);
	html_begin(h, HTML("text"));
	html_attr(h, HTML("x"), HTML("0"));
	html_attr_num(h, HTML("y"), NIGHTS_TOP - 4, HTML_NONE);
	html_textf(h, "%s%s", top, c->unit);
	html_end(h);
	for (size_t i = 0; i < c->n; i++) {
		if (isnan(c->values[i])) {
			continue;
		}
		if (last != (size_t)-1) {
			put_line(h, HTML("course"), x_of_night(c, last),
				y_of_night(c->values[last], top_value), x_of_night(c, i),
				y_of_night(c->values[i], top_value));
		}
		last = i;
	}
	for (size_t i = 0; i < c->n; i++) {
		if (!isnan(c->values[i])) {
			put_night(h, c, i, top_value);
		}
	}
	put_night_names(h, c);
	html_end(h);
	html_end(h);
}

/* --- bars in tables --- */

static double percent(double part)
{
	return isfinite(part) ? 100 * fmin(fmax(part, 0), 1) : 0;
}

void chart_share(
	struct html *h, struct html_literal class_name, double share, double low, double high)
{
	begin_svg(h, HTML("bar"), HTML("12"));
	html_attr(h, HTML("aria-hidden"), HTML("true"));
	begin_rect(h, HTML("ground"), 0, 100, 2, 8);
	html_end(h);
	begin_rect(h, class_name, 0, percent(share), 2, 8);
	html_end(h);
	if (low <= high) {
		put_line(h, HTML("interval"), percent(low), 6, percent(high), 6);
	}
	html_end(h);
}

void chart_parts(struct html *h, const struct chart_part *parts, size_t n_parts, double whole)
{
	double x = 0;
	begin_svg(h, HTML("bar"), HTML("12"));
	html_attr(h, HTML("aria-hidden"), HTML("true"));
	for (size_t i = 0; i < n_parts && whole > 0; i++) {
		double width = percent(parts[i].n / whole);
		begin_rect(h, parts[i].class_name, x, width, 2, 8);
		html_end(h);
		x += width;
	}
	html_end(h);
}
