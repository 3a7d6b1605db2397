#include "report/visible.h"

#include "base/text.h"

#include <stdint.h>
#include <stdio.h>

#define NAME_BYTES 16

/* Invisible, or reordering what stands around them. Joiners and variation selectors stay, as scripts and emoji need them. */
static const struct {
	uint32_t first, last;
} hidden[] = {
	{0x80, 0x9f}, /* C1: terminals obey some of them */
	{0xad, 0xad}, /* soft hyphen */
	{0x61c, 0x61c}, /* Arabic letter mark */
	{0x115f, 0x1160}, /* Hangul fillers */
	{0x17b4, 0x17b5}, /* Khmer inherent vowels */
	{0x180e, 0x180e}, /* Mongolian vowel separator */
	{0x200b, 0x200b}, /* zero width space */
	{0x200e, 0x200f}, /* left-to-right and right-to-left marks */
	{0x2028, 0x202e}, /* separators, embeddings, overrides */
	{0x2060, 0x206f}, /* word joiner, isolates, deprecated formats */
	{0x3164, 0x3164}, /* Hangul filler */
	{0xfdd0, 0xfdef}, /* noncharacters */
	{0xfeff, 0xfeff}, /* byte order mark */
	{0xfff9, 0xfffb}, /* interlinear annotations */
	{0xe0000, 0xe0fff}, /* tags: a text within the text */
};

static const char *const controls[0x20] = {"NUL", "SOH", "STX", "ETX", "EOT", "ENQ", "ACK", "BEL",
	"BS", "TAB", "LF", "VT", "FF", "CR", "SO", "SI", "DLE", "DC1", "DC2", "DC3", "DC4", "NAK",
	"SYN", "ETB", "CAN", "EM", "SUB", "ESC", "FS", "GS", "RS", "US"};

static bool is_hidden(uint32_t c)
{
	for (size_t i = 0; i < ARRAY_LEN(hidden); i++) {
		if (c >= hidden[i].first && c <= hidden[i].last) {
			return true;
		}
	}
	return (c & 0xfffe) == 0xfffe; /* the last two of each plane are noncharacters */
}

/* What to show for the character at text[i]; bytes of it in *out_bytes. An empty name: it may be shown itself. */
static void name_character(struct slice text, size_t i, char name[NAME_BYTES], size_t *out_bytes)
{
	uint32_t c;
	unsigned n = utf8_decode(text.data + i, text.len - i, &c);
	*out_bytes = n ? n : 1;
	name[0] = '\0';
	if (!n) {
		snprintf(name, NAME_BYTES, "\\x%02x", (unsigned char)text.data[i]);
	} else if (c == 0x7f) {
		snprintf(name, NAME_BYTES, "DEL");
	} else if (c < 0x20 && c != '\n' && c != '\t') {
		snprintf(name, NAME_BYTES, "%s", controls[c]);
	} else if (is_hidden(c)) {
		snprintf(name, NAME_BYTES, "U+%04X", c);
	}
}

void visible_split(struct slice text, visible_part *part, void *ctx)
{
	size_t begin = 0, bytes;
	char name[NAME_BYTES];
	for (size_t i = 0; i < text.len; i += bytes) {
		name_character(text, i, name, &bytes);
		if (!name[0]) {
			continue;
		}
		if (i > begin) {
			part(ctx, (struct slice){text.data + begin, i - begin}, false);
		}
		part(ctx, slice_z(name), true);
		begin = i + bytes;
	}
	if (text.len > begin) {
		part(ctx, (struct slice){text.data + begin, text.len - begin}, false);
	}
}

static void append_part(void *ctx, struct slice text, bool named)
{
	struct str *out = ctx;
	str_append_z(out, named ? "\xe2\x80\xb9" : "");
	str_append(out, text.data, text.len);
	str_append_z(out, named ? "\xe2\x80\xba" : "");
}

void visible_append(struct str *out, struct slice text)
{
	visible_split(text, append_part, out);
}

static bool continues(char c)
{
	return ((unsigned char)c & 0xc0) == 0x80;
}

/* A character has at most three bytes that continue it; more of them are no UTF-8 and may be cut anywhere. */
struct slice visible_head(struct slice text, size_t max_bytes)
{
	if (text.len <= max_bytes) {
		return text;
	}
	size_t len = max_bytes;
	for (unsigned i = 0; i < 3 && len > 0 && continues(text.data[len]); i++) {
		len--;
	}
	return (struct slice){text.data, len};
}

struct slice visible_tail(struct slice text, size_t max_bytes)
{
	if (text.len <= max_bytes) {
		return text;
	}
	size_t from = text.len - max_bytes;
	for (unsigned i = 0; i < 3 && from < text.len && continues(text.data[from]); i++) {
		from++;
	}
	return (struct slice){text.data + from, text.len - from};
}
