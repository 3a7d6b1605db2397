#include "report/html.h"

#include "base/hash.h"
#include "base/mem.h"
#include "report/visible.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

void html_init(struct html *h, struct str *out)
{
	*h = (struct html){.out = out};
}

void html_finish(struct html *h)
{
	assert(h->depth == 0 && !h->in_tag);
}

/* --- escaping: the only two ways by which a text reaches the page --- */

static void append_escaped(struct str *out, struct slice text)
{
	for (size_t i = 0; i < text.len; i++) {
		switch (text.data[i]) {
		case '&':
			str_append_z(out, "&amp;");
			break;
		case '<':
			str_append_z(out, "&lt;");
			break;
		case '>':
			str_append_z(out, "&gt;");
			break;
		case '"':
			str_append_z(out, "&quot;");
			break;
		case '\'':
			str_append_z(out, "&#39;");
			break;
		default:
			str_append_c(out, text.data[i]);
		}
	}
}

/* In JSON these stand in strings only, where an escape means the same. The separators end a line of JavaScript before ES2019. */
static void append_json(struct str *out, struct slice json)
{
	for (size_t i = 0; i < json.len; i++) {
		char c = json.data[i];
		if (c == '<' || c == '>' || c == '&') {
			str_printf(out, "\\u%04x", (unsigned)c);
		} else if (json.len - i >= 3 &&
			(memcmp(json.data + i, "\xe2\x80\xa8", 3) == 0 ||
				memcmp(json.data + i, "\xe2\x80\xa9", 3) == 0)) {
			str_append_z(out,
				(unsigned char)json.data[i + 2] == 0xa8 ? "\\u2028" : "\\u2029");
			i += 2;
		} else {
			str_append_c(out, c);
		}
	}
}

/* --- elements --- */

static void close_tag(struct html *h)
{
	if (h->in_tag) {
		str_append_c(h->out, '>');
		h->in_tag = false;
	}
}

void html_begin(struct html *h, struct html_literal tag)
{
	assert(h->depth < HTML_DEPTH_MAX);
	close_tag(h);
	str_append_c(h->out, '<');
	str_append_z(h->out, tag.z);
	h->open[h->depth++] = tag;
	h->in_tag = true;
}

void html_begin_class(struct html *h, struct html_literal tag, struct html_literal class_name)
{
	html_begin(h, tag);
	if (class_name.z) {
		html_attr(h, HTML("class"), class_name);
	}
}

static void begin_value(struct html *h, struct html_literal name)
{
	assert(h->in_tag);
	str_append_c(h->out, ' ');
	str_append_z(h->out, name.z);
	str_append_z(h->out, "=\"");
}

void html_attr(struct html *h, struct html_literal name, struct html_literal value)
{
	begin_value(h, name);
	append_escaped(h->out, slice_z(value.z));
	str_append_c(h->out, '"');
}

static bool is_inert(const char *name, const char *value)
{
	return strncasecmp(name, "on", 2) != 0 && strcasecmp(name, "style") != 0 &&
		strcasecmp(name, "src") != 0 && (strcasecmp(name, "href") != 0 || value[0] == '#');
}

void html_attr_z(struct html *h, struct html_literal name, const char *value)
{
	struct str shown;
	assert(is_inert(name.z, value));
	str_init(&shown, STR_NO_CAP);
	visible_append(&shown, slice_z(value));
	begin_value(h, name);
	append_escaped(h->out, (struct slice){shown.data, shown.len});
	str_append_c(h->out, '"');
	str_release(&shown);
}

void html_attr_num(struct html *h, struct html_literal name, double value, struct html_literal unit)
{
	char number[32];
	assert(isfinite(value));
	snprintf(number, sizeof(number), "%.2f", fabs(value) < 0.005 ? 0 : value);
	size_t len = strlen(number);
	while (number[len - 1] == '0') {
		len--;
	}
	len -= number[len - 1] == '.';
	begin_value(h, name);
	str_append(h->out, number, len);
	str_append_z(h->out, unit.z ? unit.z : "");
	str_append_c(h->out, '"');
}

static bool is_one_of(const char *name, const char *const *names)
{
	for (; *names; names++) {
		if (strcmp(name, *names) == 0) {
			return true;
		}
	}
	return false;
}

void html_end(struct html *h)
{
	static const char *const voids[] = {"meta", "input", "br", NULL};
	assert(h->depth > 0);
	const char *tag = h->open[--h->depth].z;
	close_tag(h);
	if (!is_one_of(tag, voids)) {
		str_append_z(h->out, "</");
		str_append_z(h->out, tag);
		str_append_c(h->out, '>');
	}
}

static bool in_svg(const struct html *h)
{
	for (size_t i = 0; i < h->depth; i++) {
		if (strcmp(h->open[i].z, "svg") == 0) {
			return true;
		}
	}
	return false;
}

static void put_part(void *ctx, struct slice text, bool named)
{
	struct html *h = ctx;
	if (named) {
		html_begin_class(h, in_svg(h) ? HTML("tspan") : HTML("span"), HTML("ctl"));
		close_tag(h);
	}
	append_escaped(h->out, text);
	if (named) {
		html_end(h);
	}
}

void html_text(struct html *h, struct slice text)
{
	/* These hold text and no elements. */
	static const char *const bare[] = {"title", "option", NULL};
	close_tag(h);
	if (h->depth && is_one_of(h->open[h->depth - 1].z, bare)) {
		struct str shown;
		str_init(&shown, STR_NO_CAP);
		visible_append(&shown, text);
		append_escaped(h->out, (struct slice){shown.data, shown.len});
		str_release(&shown);
	} else {
		visible_split(text, put_part, h);
	}
}

void html_text_z(struct html *h, const char *z)
{
	html_text(h, slice_z(z ? z : ""));
}

void html_textf(struct html *h, const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	AUTO_FREE char *text = xvasprintf(fmt, args);
	va_end(args);
	html_text_z(h, text);
}

void html_fixed(struct html *h, struct html_literal markup)
{
	close_tag(h);
	str_append_z(h->out, markup.z);
}

void html_element(
	struct html *h, struct html_literal tag, struct html_literal class_name, const char *text)
{
	html_begin_class(h, tag, class_name);
	html_text_z(h, text);
	html_end(h);
}

/* --- data and assets --- */

void html_json(struct html *h, struct html_literal id, struct slice json)
{
	html_begin(h, HTML("script"));
	html_attr(h, HTML("type"), HTML("application/json"));
	html_attr(h, HTML("id"), id);
	close_tag(h);
	append_json(h->out, json);
	html_end(h);
}

static void put_asset(struct html *h, struct html_literal tag, struct html_asset asset)
{
	assert(!strstr(asset.text, "</") && !strstr(asset.text, "<!--"));
	html_begin(h, tag);
	close_tag(h);
	str_append_z(h->out, asset.text);
	html_end(h);
}

void html_style(struct html *h, struct html_asset css)
{
	put_asset(h, HTML("style"), css);
}

void html_script(struct html *h, struct html_asset js)
{
	put_asset(h, HTML("script"), js);
}

static unsigned hex_value(char c)
{
	return (unsigned)(c <= '9' ? c - '0' : c - 'a' + 10);
}

void html_csp_hash(struct html_asset asset, char out[HTML_CSP_HASH_BYTES])
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	char hex[SHA256_HEX_BYTES];
	unsigned char hash[33] = {0}; /* a byte more, as 32 is no multiple of 3 */
	sha256_hex(asset.text, strlen(asset.text), hex);
	for (size_t i = 0; i < 32; i++) {
		hash[i] = (unsigned char)(hex_value(hex[2 * i]) << 4 | hex_value(hex[2 * i + 1]));
	}
	char *p = out + snprintf(out, HTML_CSP_HASH_BYTES, "'sha256-");
	for (size_t i = 0; i < 33; i += 3) {
		unsigned v = (unsigned)hash[i] << 16 | (unsigned)hash[i + 1] << 8 | hash[i + 2];
		for (int shift = 18; shift >= 0; shift -= 6) {
			*p++ = digits[v >> shift & 63];
		}
	}
	p[-1] = '='; /* the byte that was added */
	snprintf(p, 2, "'");
}
