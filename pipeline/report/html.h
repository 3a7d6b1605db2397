/*
 * HTML that cannot be written wrongly. There are two kinds of text, and the compiler tells them apart: what stands in our
 * source, HTML("td"), and everything else, which is escaped and made visible (visible.h). HTML() takes a string literal
 * only, so a variable never becomes markup; nor is there a call that would write one unescaped.
 *
 *	html_begin(&h, HTML("td"));
 *	html_attr(&h, HTML("class"), HTML("n"));
 *	html_text_z(&h, name_from_anywhere);
 *	html_end(&h);
 *
 * Tags are closed by html_end in the order in which they were opened; html_finish asserts that all are.
 */
#ifndef PIPELINE_REPORT_HTML_H
#define PIPELINE_REPORT_HTML_H

#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>

struct html_literal {
	const char *z;
};
/* The empty string in front makes anything but a literal a syntax error. */
#define HTML(literal) ((struct html_literal){"" literal})
#define HTML_NONE ((struct html_literal){NULL})

#define HTML_DEPTH_MAX 32

struct html {
	struct str *out; /* borrows */
	struct html_literal open[HTML_DEPTH_MAX];
	size_t depth;
	bool in_tag; /* attributes may still come */
};

void html_init(struct html *h, struct str *out);
void html_finish(struct html *h);

/* Opens an element; its attributes follow, then its content. */
void html_begin(struct html *h, struct html_literal tag);
/* html_begin with a class; HTML_NONE: none. */
void html_begin_class(struct html *h, struct html_literal tag, struct html_literal class_name);
void html_attr(struct html *h, struct html_literal name, struct html_literal value);
/* Any text as value: escaped. Not for names that make text act: on..., style, src, and href but for #fragments (asserted). */
void html_attr_z(struct html *h, struct html_literal name, const char *value);
/* A number, with the unit that follows it: "12.5%". At most 2 decimals. */
void html_attr_num(
	struct html *h, struct html_literal name, double value, struct html_literal unit);
/* Closes the innermost open element, or a void one after its attributes. */
void html_end(struct html *h);

void html_text(struct html *h, struct slice text);
void html_text_z(struct html *h, const char *z); /* NULL: nothing */
PRINTF_LIKE(2, 3) void html_textf(struct html *h, const char *fmt, ...);
/* Markup of ours, as it stands. */
void html_fixed(struct html *h, struct html_literal markup);
/* An element with nothing but text in it. */
void html_element(
	struct html *h, struct html_literal tag, struct html_literal class_name, const char *text);

/* Data for the page's script: an element of the type application/json with that id, in which no character can end it. */
void html_json(struct html *h, struct html_literal id, struct slice json);
/* Styles and scripts of ours: a file that was embedded when we were built. */
struct html_asset {
	const char *text; /* a literal of generated code */
};
void html_style(struct html *h, struct html_asset css);
void html_script(struct html *h, struct html_asset js);

/* The source expression of a Content-Security-Policy that allows just this asset: 'sha256-...'. */
#define HTML_CSP_HASH_BYTES 64
void html_csp_hash(struct html_asset asset, char out[HTML_CSP_HASH_BYTES]);

#endif
