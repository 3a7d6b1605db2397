/* Small text services: UTF-8, numbers with units, "did you mean". No locale anywhere. */
#ifndef PIPELINE_BASE_TEXT_H
#define PIPELINE_BASE_TEXT_H

#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>

/* Decodes one code point at s[0..len); returns its bytes (1 to 4), 0 if invalid. */
unsigned utf8_decode(const char *s, size_t len, uint32_t *out);
void utf8_append(struct str *out, uint32_t code_point);
bool utf8_valid(const char *s, size_t len);
/* Terminal columns of a UTF-8 text: code points but for combining marks and wide CJK counted as two. */
size_t utf8_columns(const char *s, size_t len);

/*
 * Appends a text of unknown origin so that it cannot steer a terminal: control characters (those above 0x80, too) and bytes
 * that are not UTF-8 become \x1b and the like; a newline becomes \n unless it is kept.
 */
void text_put_printable(struct str *out, const char *s, size_t len, bool keep_newlines);

/* Locale-free strtod over the whole text; false if anything is left over or the value is not finite. */
bool text_parse_double(const char *s, double *out);
bool text_parse_u64(const char *s, uint64_t *out);
bool text_parse_i64(const char *s, int64_t *out);
/* "64MiB", "1GB", "512" -> bytes. */
bool text_parse_size(const char *s, uint64_t *out);
/* "50M", "2k", "1.5B" -> count. */
bool text_parse_count(const char *s, uint64_t *out);
/* "10m", "1h30m", "250ms", "45s" -> milliseconds. */
bool text_parse_duration(const char *s, uint64_t *out_ms);
/* Shortest decimal that reads back as the same double. */
void text_format_double(double v, char out[32]);
/* "64 MiB", "1.5 KiB". */
void text_format_size(uint64_t bytes, char out[24]);
/* "1,234,567". */
void text_format_count(uint64_t n, char out[28]);

/* The name nearest to `word` (optimal string alignment distance at most 1/3 of its length, at least 1), or NULL. */
const char *text_nearest(const char *word, const char *const *names, size_t n);

#endif
