/*
 * The counts of a ledger (tally.sql): made where they are missing, checked against the rows, and read. A ledger that was made before
 * there were any gets them when it is opened for writing; one that is only read gets views in their place, which count.
 */
#include "base/mem.h"
#include "ledger/ledger.h"
#include "ledger/ledger_db.h"
#include "ledger/schema.h"

#include <string.h>

static bool exec(struct ledger *l, const char *sql, struct error *err)
{
	return sqlite3_exec(l->db, sql, NULL, NULL, NULL) == SQLITE_OK || ledger_db_error(l, err);
}

static bool has_tally(struct ledger *l)
{
	return sqlite3_table_column_metadata(
		       l->db, "main", "tally", "n", NULL, NULL, NULL, NULL, NULL) == SQLITE_OK;
}

static bool fill(struct ledger *l, struct error *err)
{
	return exec(l, "BEGIN IMMEDIATE", err) && exec(l, tally_sql, err) &&
		exec(l,
			"INSERT INTO tally SELECT * FROM counted; INSERT INTO tally_score SELECT * "
			"FROM counted_score; INSERT INTO tally_pair SELECT * FROM counted_pair; "
			"COMMIT",
			err);
}

bool ledger_open_tally(struct ledger *l, struct error *err)
{
	if (!exec(l, tally_count_sql, err)) {
		return false;
	}
	if (has_tally(l)) {
		return true;
	}
	return l->read_only ? exec(l,
				      "CREATE TEMP VIEW tally AS SELECT * FROM counted;"
				      "CREATE TEMP VIEW tally_score AS SELECT * FROM counted_score;"
				      "CREATE TEMP VIEW tally_pair AS SELECT * FROM counted_pair",
				      err)
			    : fill(l, err);
}

/* --- checking --- */

/* *out_wrong: counts of what differ; NULL: none. */
static bool find_difference(struct ledger *l, const char **out_wrong, struct error *err)
{
	/* Pairs, and sums of times and values, are figures, not books. */
	static const struct {
		const char *what, *sql;
	} rules[] = {
		{"prompts, candidates or selection",
			"SELECT what, source, state, reason, n, n_tokens FROM %s WHERE n > 0"},
		{"scores", "SELECT verifier, known, reason, n, n_audit FROM %s_score WHERE n > 0"},
	};
	*out_wrong = NULL;
	for (size_t i = 0; !*out_wrong && i < ARRAY_LEN(rules); i++) {
		const char *hole = strstr(rules[i].sql, "%s");
		int before = (int)(hole - rules[i].sql);
		AUTO_FREE char *sql = xasprintf(
			"SELECT EXISTS (SELECT * FROM (%.*stally%s) EXCEPT SELECT * FROM "
			"(%.*scounted%s)) OR EXISTS (SELECT * FROM (%.*scounted%s) EXCEPT SELECT * "
			"FROM (%.*stally%s))",
			before, rules[i].sql, hole + 2, before, rules[i].sql, hole + 2, before,
			rules[i].sql, hole + 2, before, rules[i].sql, hole + 2);
		sqlite3_stmt *stmt;
		if (sqlite3_prepare_v2(l->db, sql, -1, &stmt, NULL) != SQLITE_OK ||
			sqlite3_step(stmt) != SQLITE_ROW) {
			ledger_db_error(l, err);
			sqlite3_finalize(stmt);
			return false;
		}
		*out_wrong = sqlite3_column_int(stmt, 0) ? rules[i].what : NULL;
		sqlite3_finalize(stmt);
	}
	return true;
}

bool ledger_check_counts(struct ledger *l, struct error *err)
{
	const char *wrong;
	if (!find_difference(l, &wrong, err)) {
		return false;
	}
	if (wrong) {
		error_set(err, FAIL_DATA,
			"the books of ledger '%s' do not balance: its counts of %s are not those "
			"of its rows",
			l->path, wrong);
		error_hint(err, "this is a bug in thresh; keep the ledger");
	}
	return !wrong;
}
