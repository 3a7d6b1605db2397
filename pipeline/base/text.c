#include "base/text.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

unsigned utf8_decode(const char *s, size_t len, uint32_t *out)
{
	const unsigned char *p = (const unsigned char *)s;
	if (!len) {
		return 0;
	}
	if (p[0] < 0x80) {
		*out = p[0];
		return 1;
	}
	unsigned n = p[0] >= 0xf0 && p[0] < 0xf5 ? 4
		: p[0] >= 0xe0 && p[0] < 0xf0    ? 3
		: p[0] >= 0xc2 && p[0] < 0xe0    ? 2
						 : 0;
	if (!n || n > len) {
		return 0;
	}
	uint32_t v = p[0] & (0x7fu >> n);
	for (unsigned i = 1; i < n; i++) {
		if ((p[i] & 0xc0) != 0x80) {
			return 0;
		}
		v = v << 6 | (p[i] & 0x3fu);
	}
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	if (v < least[n] || v > 0x10ffff || (v >= 0xd800 && v < 0xe000)) {
		return 0;
	}
	*out = v;
	return n;
}

void utf8_append(struct str *out, uint32_t c)
{
	char b[4];
	size_t n;
	if (c < 0x80) {
		b[0] = (char)c;
		n = 1;
	} else if (c < 0x800) {
		b[0] = (char)(0xc0 | c >> 6);
		b[1] = (char)(0x80 | (c & 0x3f));
		n = 2;
	} else if (c < 0x10000) {
		b[0] = (char)(0xe0 | c >> 12);
		b[1] = (char)(0x80 | (c >> 6 & 0x3f));
		b[2] = (char)(0x80 | (c & 0x3f));
		n = 3;
	} else {
		assert(c <= 0x10ffff);
		b[0] = (char)(0xf0 | c >> 18);
		b[1] = (char)(0x80 | (c >> 12 & 0x3f));
		b[2] = (char)(0x80 | (c >> 6 & 0x3f));
		b[3] = (char)(0x80 | (c & 0x3f));
		n = 4;
	}
	str_append(out, b, n);
}

bool utf8_valid(const char *s, size_t len)
{
	uint32_t c;
	for (size_t i = 0; i < len;) {
		unsigned n = utf8_decode(s + i, len - i, &c);
		if (!n) {
			return false;
		}
		i += n;
	}
	return true;
}

static unsigned columns_of(uint32_t c)
{
	if (c < 0x20 || c == 0x7f || c == 0x200b || c == 0xfeff || (c >= 0x300 && c < 0x370) ||
		(c >= 0xfe00 && c < 0xfe10)) {
		return 0;
	}
	bool wide = (c >= 0x1100 && c < 0x1160) || (c >= 0x2e80 && c < 0xa4d0) ||
		(c >= 0xac00 && c < 0xd7a4) || (c >= 0xf900 && c < 0xfb00) ||
		(c >= 0xfe30 && c < 0xfe70) || (c >= 0xff00 && c < 0xff61) ||
		(c >= 0x1f300 && c < 0x1f650) || (c >= 0x1f900 && c < 0x1fa00) ||
		(c >= 0x20000 && c < 0x3fffe);
	return wide ? 2 : 1;
}

void text_put_printable(struct str *out, const char *s, size_t len, bool keep_newlines)
{
	for (size_t i = 0; i < len;) {
		uint32_t c;
		unsigned n = utf8_decode(s + i, len - i, &c);
		if (n && c == '\n') {
			str_append_z(out, keep_newlines ? "\n" : "\\n");
		} else if (!n || c < 0x20 || (c >= 0x7f && c < 0xa0)) {
			str_printf(out, "\\x%02x", n ? (unsigned)c : (unsigned char)s[i]);
		} else {
			str_append(out, s + i, n);
		}
		i += n ? n : 1;
	}
}

size_t utf8_columns(const char *s, size_t len)
{
	size_t columns = 0;
	for (size_t i = 0; i < len;) {
		uint32_t c;
		unsigned n = utf8_decode(s + i, len - i, &c);
		columns += n ? columns_of(c) : 1;
		i += n ? n : 1;
	}
	return columns;
}

/* The program never calls setlocale, so strtod and printf are in the C locale; this guards against a library that does. */
static locale_t c_locale(void)
{
	static _Thread_local locale_t locale;
	if (!locale) {
		locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
		assert(locale);
	}
	return locale;
}

static bool starts_number(const char *s)
{
	if (*s == '-' || *s == '+') {
		s++;
	}
	return (*s >= '0' && *s <= '9') || (*s == '.' && s[1] >= '0' && s[1] <= '9');
}

/* A decimal number at the start of s; hexadecimal floats, inf and nan are not numbers here. */
static bool take_double(const char *s, double *out, const char **out_rest)
{
	if (!starts_number(s)) {
		return false;
	}
	size_t span = strspn(s, "+-0123456789.eE");
	char copy[64];
	if (span >= sizeof(copy)) {
		return false;
	}
	memcpy(copy, s, span);
	copy[span] = '\0';
	char *end;
	*out = strtod_l(copy, &end, c_locale());
	*out_rest = s + (end - copy);
	return isfinite(*out);
}

bool text_parse_double(const char *s, double *out)
{
	const char *rest;
	double v;
	if (!take_double(s, &v, &rest) || *rest) {
		return false;
	}
	*out = v;
	return true;
}

bool text_parse_u64(const char *s, uint64_t *out)
{
	if (*s < '0' || *s > '9') {
		return false;
	}
	char *end;
	errno = 0;
	unsigned long long v = strtoull(s, &end, 10);
	if (errno || *end) {
		return false;
	}
	*out = v;
	return true;
}

bool text_parse_i64(const char *s, int64_t *out)
{
	const char *digits = *s == '-' ? s + 1 : s;
	if (*digits < '0' || *digits > '9') {
		return false;
	}
	char *end;
	errno = 0;
	long long v = strtoll(s, &end, 10);
	if (errno || *end) {
		return false;
	}
	*out = v;
	return true;
}

struct unit {
	const char *name;
	double factor;
};

static const struct unit size_units[] = {{"", 1}, {"B", 1}, {"kB", 1e3}, {"KB", 1e3}, {"MB", 1e6},
	{"GB", 1e9}, {"TB", 1e12}, {"KiB", 1024}, {"MiB", 1048576}, {"GiB", 1073741824},
	{"TiB", 1099511627776}};
static const struct unit count_units[] = {
	{"", 1}, {"k", 1e3}, {"K", 1e3}, {"M", 1e6}, {"G", 1e9}, {"B", 1e9}, {"T", 1e12}};
static const struct unit time_units[] = {
	{"ms", 1}, {"s", 1e3}, {"m", 6e4}, {"h", 3.6e6}, {"d", 8.64e7}};

/* The unit that `s` starts with, letters only; the whole run of letters must match. */
static const struct unit *take_unit(const struct unit *units, size_t n, const char **s)
{
	size_t len = strspn(*s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ");
	for (size_t i = 0; i < n; i++) {
		if (strlen(units[i].name) == len && memcmp(units[i].name, *s, len) == 0) {
			*s += len;
			return &units[i];
		}
	}
	return NULL;
}

/* Whole counts only: 1.5k is 1500, 1.5 is no count. Below 2^53, so that the double is exact. */
static bool to_u64(double v, uint64_t *out)
{
	if (v < 0 || v > 9007199254740992.0 || v != floor(v)) {
		return false;
	}
	*out = (uint64_t)v;
	return true;
}

static bool parse_scaled(const char *s, const struct unit *units, size_t n_units, uint64_t *out)
{
	double v;
	if (*s == '-' || !take_double(s, &v, &s)) {
		return false;
	}
	while (*s == ' ') {
		s++;
	}
	const struct unit *unit = take_unit(units, n_units, &s);
	return unit && !*s && to_u64(v * unit->factor, out);
}

bool text_parse_size(const char *s, uint64_t *out)
{
	return parse_scaled(s, size_units, sizeof(size_units) / sizeof(size_units[0]), out);
}

bool text_parse_count(const char *s, uint64_t *out)
{
	return parse_scaled(s, count_units, sizeof(count_units) / sizeof(count_units[0]), out);
}

bool text_parse_duration(const char *s, uint64_t *out_ms)
{
	double sum = 0;
	if (!*s || *s == '-') {
		return false;
	}
	if (strcmp(s, "0") == 0) {
		*out_ms = 0;
		return true;
	}
	while (*s) {
		double v;
		if (*s == '-' || !take_double(s, &v, &s)) {
			return false;
		}
		const struct unit *unit = take_unit(
			time_units, sizeof(time_units) / sizeof(time_units[0]), &s);
		if (!unit) {
			return false;
		}
		sum += v * unit->factor;
	}
	return to_u64(floor(sum), out_ms);
}

void text_format_double(double v, char out[32])
{
	if (v == floor(v) && fabs(v) < 1e15) {
		snprintf(out, 32, "%.0f", v);
		return;
	}
	for (int digits = 6; digits <= 17; digits++) {
		snprintf(out, 32, "%.*g", digits, v);
		if (strtod_l(out, NULL, c_locale()) == v) {
			return;
		}
	}
}

void text_format_size(uint64_t bytes, char out[24])
{
	static const char *const names[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	double v = (double)bytes;
	size_t i = 0;
	while (v >= 1024 && i + 1 < sizeof(names) / sizeof(names[0])) {
		v /= 1024;
		i++;
	}
	snprintf(out, 24, v == floor(v) || v >= 100 ? "%.0f %s" : "%.1f %s", v, names[i]);
}

void text_format_count(uint64_t n, char out[28])
{
	char digits[24];
	int len = snprintf(digits, sizeof(digits), "%" PRIu64, n);
	size_t to = 0;
	for (int i = 0; i < len; i++) {
		if (i && (len - i) % 3 == 0) {
			out[to++] = ',';
		}
		out[to++] = digits[i];
	}
	out[to] = '\0';
}

#define NAME_BYTES_MAX 64

/* Optimal string alignment: insertions, deletions, substitutions and swaps of neighbours. */
static size_t distance(const char *a, size_t n, const char *b, size_t m)
{
	size_t rows[3][NAME_BYTES_MAX + 1];
	size_t *before = rows[0], *above = rows[1], *row = rows[2];
	for (size_t j = 0; j <= m; j++) {
		above[j] = j;
	}
	for (size_t i = 1; i <= n; i++) {
		row[0] = i;
		for (size_t j = 1; j <= m; j++) {
			size_t cost = a[i - 1] != b[j - 1];
			size_t best = above[j - 1] + cost;
			best = best < above[j] + 1 ? best : above[j] + 1;
			best = best < row[j - 1] + 1 ? best : row[j - 1] + 1;
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
				before[j - 2] + 1 < best) {
				best = before[j - 2] + 1;
			}
			row[j] = best;
		}
		size_t *spare = before;
		before = above;
		above = row;
		row = spare;
	}
	return above[m];
}

const char *text_nearest(const char *word, const char *const *names, size_t n)
{
	size_t len = strlen(word);
	if (len > NAME_BYTES_MAX) {
		return NULL;
	}
	size_t best = len / 3 > 1 ? len / 3 : 1;
	const char *nearest = NULL;
	for (size_t i = 0; i < n; i++) {
		size_t name_len = strlen(names[i]);
		if (name_len > NAME_BYTES_MAX) {
			continue;
		}
		size_t d = distance(word, len, names[i], name_len);
		if (d <= best && (!nearest || d < best)) {
			best = d;
			nearest = names[i];
		}
	}
	return nearest;
}
