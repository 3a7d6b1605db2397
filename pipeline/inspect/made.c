#include "inspect/made.h"

#include "base/attr.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/text.h"

#include <stdio.h>

static void tell_line(const struct made *m, int64_t ms)
{
	char size[24], took[32];
	const struct {
		const char *what;
		uint64_t n;
	} counts[] = {{"file", m->path ? m->files : 0}, {"row", m->rows},
		{"sequence", m->sequences}, {"token", m->tokens}};
	fprintf(stderr, "%s: %s", m->path ? m->path : "standard output", m->what);
	for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
		char n[28];
		text_format_count(counts[i].n, n);
		if (counts[i].n) {
			fprintf(stderr, ", %s %s%s", n, counts[i].what, counts[i].n > 1 ? "s" : "");
		}
	}
	text_format_size(m->bytes, size);
	clock_duration(ms, took);
	fprintf(stderr, ", %s in %s\n", size, took);
}

void made_tell(const struct made *m, bool json)
{
	int64_t ms = clock_mono_ms() - m->started_ms;
	if (json) {
		struct str text;
		str_init(&text, STR_NO_CAP);
		struct json_writer w = {.out = &text};
		const struct {
			const char *key;
			uint64_t n;
			bool known;
		} counts[] = {{"files", m->files, true}, {"rows", m->rows, true},
			{"sequences", m->sequences, m->sequences > 0},
			{"tokens", m->tokens, m->tokens > 0}, {"bytes", m->bytes, true},
			{"ms", (uint64_t)ms, true}};
		json_begin_object(&w);
		json_member_z(&w, "made", m->what);
		json_member_z(&w, "path", m->path);
		for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
			json_key(&w, counts[i].key);
			if (counts[i].known) {
				json_put_uint(&w, counts[i].n);
			} else {
				json_put_null(&w);
			}
		}
		json_end_object(&w);
		puts(text.data);
		str_release(&text);
	}
	tell_line(m, ms);
}
