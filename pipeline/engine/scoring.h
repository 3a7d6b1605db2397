/*
 * Scoring APIs: how servers of reward models are asked for numbers instead of text. A row builds a request and reads its
 * answer, without I/O, as a dialect's does; engine_score (engine.h) sends it.
 *
 * An answer is a table of numbers: one row of one or more columns for a whole text, or one row per marked step or token. That
 * every number is finite, the rows equally wide and their number below a limit is checked here; the rest is the caller's.
 */
#ifndef PIPELINE_ENGINE_SCORING_H
#define PIPELINE_ENGINE_SCORING_H

#include "base/arena.h"
#include "base/json.h"
#include "engine/engine.h"

#define SCORING_ROWS_MAX (1u << 17) /* a row a token, where a model scores each */
#define SCORING_COLUMNS_MAX 256u
#define SCORING_VALUES_MAX (1u << 20)

struct scoring_call {
	const struct engine_score_job *job;
	const char *model; /* NULL: unknown */
};

struct scoring_table {
	const double *values; /* n_rows * n_columns, row by row; in the arena; there may be none */
	size_t n_rows, n_columns;
};

struct scoring_ops {
	const char *name; /* the word used in YAML */
	const char *server; /* what `owned_by` of /v1/models says of a server that has it */
	const char *path;
	bool has_steps; /* can score marked steps, or every token where the model marks none */
	bool by_text; /* the messages' contents are sent joined, as they are */
	bool has_raw; /* can be asked for values without activation */
	void (*build)(const struct scoring_call *call, struct str *out);
	bool (*read)(const struct json *body, struct arena *arena, struct scoring_table *out,
		struct error *err);
};

/* Ends with NULL. Of several for one server the first is the one to take when nobody says which. */
extern const struct scoring_ops *const scorings[];
/* NULL if there is none of that name. */
const struct scoring_ops *scoring_find(const char *name);
/* Tokens that the server says it has read for an answer; 0: it does not say. */
uint32_t scoring_tokens(const struct json *body);
/* For a server that calls itself so (it may be NULL); NULL: none is known for it. */
const struct scoring_ops *scoring_for(const char *server);

#endif
