/*
 * Prompt templates: prompts/README.md defines the syntax. A list of messages with {{field}}, and optional few-shot examples.
 * Values are data: they are put in once and never expanded again.
 */
#ifndef PIPELINE_TEMPLATE_H
#define PIPELINE_TEMPLATE_H

#include "base/arena.h"
#include "base/error.h"
#include "base/json.h"
#include "engine/engine.h"

#include <stdbool.h>

struct template; /* immutable once read */

/* Reads and checks a template file; the error has file, line and column. */
MUST_CHECK struct template *template_read(const char *path, struct error *err);
void template_free(struct template *t);
/* 32 hex digits over the file's content: part of fingerprints. */
const char *template_hash(const struct template *t);
/* The fields that it uses. */
size_t template_n_fields(const struct template *t);
const char *template_field(const struct template *t, size_t i);

/* A row's field as a template puts it in: a string as it is, anything else as JSON in the arena; data NULL: there is none. */
struct slice template_value(const struct json *fields, const char *field, struct arena *arena);

/* Value of a field; data NULL: there is none. */
typedef struct slice template_lookup(void *ctx, const char *field);
/*
 * Renders into the arena. A missing field is FAIL_DATA naming the field (the caller adds the row).
 */
MUST_CHECK bool template_render(const struct template *t, template_lookup *lookup, void *ctx,
	struct arena *arena, struct engine_message **out, size_t *out_n, struct error *err);

/* The same with the fields of a row. */
MUST_CHECK bool template_render_row(const struct template *t, const struct json *fields,
	struct arena *arena, struct engine_message **out, size_t *out_n, struct error *err);

#endif
