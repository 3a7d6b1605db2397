/*
 * SQL expressions of a definition (`accept`, `when`, `order_by`, `where`), safe and strict. An expression sees the columns it is given
 * and nothing else: no table, no subquery, no function outside a white list, no clock, no randomness, no comment, nothing after its end; a misspelt name is an
 * error even in double quotes; length, depth and steps are limited. NULL is not false.
 *
 * Each expression has a private in-memory connection with one table of one row, so it can be evaluated in the flow without
 * touching the ledger. One thread at a time.
 *
 *	struct expr_column columns[] = {{"math", EXPR_REAL}, {"n_tokens", EXPR_INTEGER}};
 *	struct expr *e = expr_new("math = 1 and n_tokens < 500", columns, 2, err);
 *	struct expr_value row[] = {{.kind = EXPR_VALUE_REAL, .real = 1}, {.kind = EXPR_VALUE_INT, .integer = 120}};
 *	if (!expr_eval(e, row, &truth, err)) ...
 */
#ifndef PIPELINE_LEDGER_EXPR_H
#define PIPELINE_LEDGER_EXPR_H

#include "base/error.h"
#include "base/str.h"

#include <stdint.h>

#define EXPR_BYTES_MAX 4096
#define EXPR_PARENS_MAX 64 /* open at once */
#define EXPR_STEPS_MAX 100000 /* virtual machine steps of one evaluation */

enum expr_type { EXPR_ANY, EXPR_INTEGER, EXPR_REAL, EXPR_TEXT }; /* of a column: its affinity */
struct expr_column {
	const char *name;
	enum expr_type type;
};

enum expr_value_kind { EXPR_VALUE_NULL, EXPR_VALUE_INT, EXPR_VALUE_REAL, EXPR_VALUE_TEXT };
struct expr_value {
	enum expr_value_kind kind;
	int64_t integer;
	double real;
	struct slice text;
};

enum expr_truth { EXPR_FALSE, EXPR_TRUE, EXPR_UNKNOWN }; /* UNKNOWN: NULL */

struct expr;

/* FAIL_CONFIG; the message names what is wrong ("no such column: jugde"), the hint the nearest column or the allowed functions. */
MUST_CHECK struct expr *expr_new(
	const char *text, const struct expr_column *columns, size_t n_columns, struct error *err);
void expr_free(struct expr *e);
/* row: one value per column given to expr_new, in that order. FAIL_DATA when a limit is met (an overflow, a LIKE too long). */
MUST_CHECK bool expr_eval(
	struct expr *e, const struct expr_value *row, enum expr_truth *out, struct error *err);
/* Which of the columns (by index given to expr_new) the expression reads. */
bool expr_reads(const struct expr *e, size_t column);
/* The canonical text, as given, trimmed. Borrowed. */
const char *expr_text(const struct expr *e);

/*
 * Checks an ORDER BY list ("judge desc, n_tokens asc nulls last"): each term is an expression as above. The text may then stand verbatim in
 * a statement over a table with those columns.
 */
MUST_CHECK bool expr_check_order(
	const char *text, const struct expr_column *columns, size_t n_columns, struct error *err);

/*
 * Sets an open sqlite3 connection (passed as void *) up for statements that hold checked definition text verbatim: an authorizer that
 * allows reading the tables and views of `tables` (NULL-terminated; borrowed until expr_unrestrict) and the functions above, and
 * nothing else; short LIKE patterns; double-quoted strings off, for good. There is no step limit: a statement's steps grow with
 * its rows, and a checked expression cannot loop. Stays on while the statement is stepped.
 */
void expr_restrict(void *sqlite, const char *const *tables);
void expr_unrestrict(void *sqlite);

#endif
