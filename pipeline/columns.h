/*
 * What a definition's SQL may see of a candidate: one column per verifier instance (NAME, NAME_reason), facts of the candidate, fields of the prompt.
 * One list, used by `thresh check`, in the flow and by the select stage, so they cannot disagree.
 */
#ifndef PIPELINE_COLUMNS_H
#define PIPELINE_COLUMNS_H

#include "base/arena.h"
#include "group.h"
#include "ledger/expr.h"

struct definition;

struct columns {
	struct expr_column *list; /* owns; n */
	size_t n;
	size_t n_of_candidate; /* the first of them: what can be known of a candidate alone, for `accept` and `when` */
	size_t n_fields, first_field;
};

/* Copies nothing of the definition's names: it must outlive the columns. */
void columns_init(struct columns *columns, const struct definition *def);
void columns_release(struct columns *columns);
/* Index of the fixed columns, or of a name; (size_t)-1 if there is none. */
size_t columns_find(const struct columns *columns, const char *name);

/* What a row is made of; scores may be shorter than the definition's list (NULL: none yet). */
struct columns_source {
	const char *source;
	const struct json *fields;
	uint32_t idx, n_tokens;
	size_t n_prompt_tokens;
	const char *finish;
	const struct score *scores; /* one per verifier, or NULL */
	const bool *scored;
};
/* Fills row[columns->n]; texts are borrowed from the source, or made in the arena. */
void columns_fill(const struct columns *columns, const struct definition *def,
	const struct columns_source *from, struct arena *arena, struct expr_value *row);

/* What `accept` (NULL: everything is accepted) says of a filled row. */
struct decision {
	enum candidate_state state;
	const char *reason;
	const char *detail; /* in the arena: the columns that were null, or the error; NULL: none */
};
struct decision columns_decide(const struct columns *columns, struct expr *accept,
	const struct expr_value *row, struct arena *arena);

#endif
