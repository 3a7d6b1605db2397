/*
 * The wide table: one row per candidate, one column per name that a definition's SQL may use, plus what the group knows
 * (n_candidates, n_accepted, pass_rate). Lives in a temporary file of a private connection, so it neither grows the ledger
 * nor the memory, and untrusted SQL never runs beside the ledger's tables.
 */
#ifndef PIPELINE_LEDGER_WIDE_H
#define PIPELINE_LEDGER_WIDE_H

#include "ledger/expr.h"

#include <stdbool.h>
#include <stdint.h>

struct wide;

MUST_CHECK struct wide *wide_new(
	const struct expr_column *columns, size_t n_columns, struct error *err);
void wide_free(struct wide *w);
MUST_CHECK bool wide_add(struct wide *w, int64_t candidate, int64_t prompt, bool accepted,
	const struct expr_value *row, struct error *err);
/*
 * Accepted candidates by prompt, then `order_by` (NULL: none), then id; `pass` tells whether `where` (NULL: all pass) holds.
 * Both texts must have been checked with expr_new / expr_check_order over the columns and the group's.
 */
MUST_CHECK bool wide_each(struct wide *w, const char *where, const char *order_by,
	bool (*visit)(void *ctx, int64_t candidate, int64_t prompt, bool pass, struct error *err),
	void *ctx, struct error *err);

/* The group's columns, to be appended to a definition's own when its order_by and where are checked. */
#define WIDE_N_GROUP_COLUMNS 3
extern const struct expr_column wide_group_columns[WIDE_N_GROUP_COLUMNS];

#endif
