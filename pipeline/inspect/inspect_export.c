/* `thresh inspect --export FORMAT`: the table of formats, and the one walk over all rows that feeds them. */
#include "inspect/inspect.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/text.h"
#include "inspect/export.h"
#include "inspect/made.h"
#include "inspect/row_check.h"
#include "inspect/walk.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct export_ops *const formats[] = {&export_jsonl, &export_trl, &export_megatron};

static const struct export_ops *find_format(const char *name, struct error *err)
{
	const char *names[ARRAY_LEN(formats)];
	struct str all;
	str_init(&all, STR_NO_CAP);
	for (size_t i = 0; i < ARRAY_LEN(formats); i++) {
		names[i] = formats[i]->name;
		str_printf(&all, "%s%s", i ? ", " : "", names[i]);
		if (strcmp(names[i], name) == 0) {
			str_release(&all);
			return formats[i];
		}
	}
	const char *nearest = text_nearest(name, names, ARRAY_LEN(names));
	error_set(err, FAIL_USAGE, "--export must be one of %s, not '%s'", all.data, name);
	if (nearest) {
		error_hint(err, "did you mean %s?", nearest);
	}
	str_release(&all);
	return NULL;
}

void inspect_export_help(struct str *out)
{
	for (size_t i = 0; i < ARRAY_LEN(formats); i++) {
		str_printf(
			out, "%s  %-18s %s", i ? "\n" : "", formats[i]->name, formats[i]->summary);
	}
}

static bool is_over(const struct export_ops *format, const void *state)
{
	return format->is_over && format->is_over(state);
}

static bool put_row(const struct export_ops *format, void *state, struct walk *w,
	struct row_check *check, struct made *made, struct error *err)
{
	if (!w->seqs.n) {
		error_set(err, FAIL_DATA, "'%s': row %" PRIu64 " has no token ids", w->dir, w->row);
		return error_hint(err,
			"they are in a column `tokens` or `input_ids`; --sample %" PRIu64
			" shows the row",
			w->row);
	}
	if (!row_check(check, w, err) || !format->row(state, w, err)) {
		return err->kind == FAIL_DATA
			? error_context(err, "'%s': row %" PRIu64, w->dir, w->row)
			: false;
	}
	made->rows++;
	made->sequences += w->seqs.n;
	made->tokens += w->seqs.starts[w->seqs.n];
	return true;
}

static bool put_folder(const struct export_ops *format, void *state, const char *dir,
	struct made *made, struct error *err)
{
	struct walk w;
	struct row_check check = {0};
	bool ok = walk_open(&w, dir, err);
	ok = ok && (!format->folder || format->folder(state, &w, err));
	while (ok && !is_over(format, state) && walk_next(&w, err)) {
		ok = put_row(format, state, &w, &check, made, err);
	}
	walk_close(&w);
	return ok && err->kind == FAIL_NONE;
}

bool inspect_export(char *const *dirs, size_t n, const struct inspect_export *q, struct error *err)
{
	const struct export_ops *format = find_format(q->format, err);
	if (!format) {
		return false;
	}
	if (!q->to && (format->needs_to || q->json)) {
		return error_set(err, FAIL_USAGE,
			format->needs_to ? "--export %s needs --to PREFIX"
					 : "--json would mix with --export %s on standard output: "
					   "--to PATH says where that goes",
			format->name);
	}
	struct made made = {.what = format->name,
		.path = q->to,
		.files = format->n_files,
		.started_ms = clock_mono_ms()};
	const struct export_source source = {dirs, n, q->to};
	void *state = xcalloc(1, format->state_bytes);
	bool ok = format->open(state, &source, err);
	for (size_t i = 0; ok && i < n; i++) {
		ok = put_folder(format, state, dirs[i], &made, err);
	}
	ok = ok && format->publish(state, &made.bytes, err);
	bool over = is_over(format, state);
	format->release(state);
	free(state);
	if (ok && !over) {
		made_tell(&made, q->json);
	}
	return ok;
}
