#include "ledger/wide.h"

#include "base/mem.h"

#include <sqlite3.h>
#include <stdlib.h>

const struct expr_column wide_group_columns[WIDE_N_GROUP_COLUMNS] = {
	{"n_candidates", EXPR_INTEGER}, {"n_accepted", EXPR_INTEGER}, {"pass_rate", EXPR_REAL}};

struct wide {
	sqlite3 *db;
	sqlite3_stmt *add;
	size_t n_columns;
};

static bool db_error(struct wide *w, struct error *err)
{
	return error_set(err, FAIL_IO, "the table of candidates: %s", sqlite3_errmsg(w->db));
}

struct wide *wide_new(const struct expr_column *columns, size_t n_columns, struct error *err)
{
	static const char *const types[] = {"", " INTEGER", " REAL", " TEXT"};
	struct wide *w = xcalloc(1, sizeof(*w));
	w->n_columns = n_columns;
	struct str create, insert;
	str_init(&create, STR_NO_CAP);
	str_init(&insert, STR_NO_CAP);
	/* Names beginning with thresh_ are ours: a definition's columns cannot have them (expr.h). */
	str_append_z(&create,
		"CREATE TABLE candidates (thresh_id INTEGER PRIMARY KEY, thresh_prompt INTEGER, "
		"thresh_accepted INTEGER");
	str_append_z(&insert, "INSERT INTO candidates VALUES (?, ?, ?");
	for (size_t i = 0; i < n_columns; i++) {
		str_printf(&create, ", \"%s\"%s", columns[i].name, types[columns[i].type]);
		str_append_z(&insert, ", ?");
	}
	/* Window functions over the prompt would do too; the group is aggregated once, as the ids of a prompt are neighbours. */
	str_append_z(&create,
		"); CREATE TABLE groups (thresh_group INTEGER PRIMARY KEY, n_candidates INTEGER, "
		"n_accepted INTEGER, pass_rate REAL);"
		" CREATE VIEW wide AS SELECT * FROM candidates JOIN groups ON thresh_group = "
		"thresh_prompt; BEGIN");
	str_append_z(&insert, ")");
	/* An empty name is a temporary file that SQLite deletes; pages stay in a small cache until it spills. */
	bool ok = sqlite3_open("", &w->db) == SQLITE_OK &&
		sqlite3_exec(w->db,
			"PRAGMA cache_size = -4096; PRAGMA journal_mode = OFF; PRAGMA synchronous "
			"= OFF",
			NULL, NULL, NULL) == SQLITE_OK &&
		sqlite3_exec(w->db, create.data, NULL, NULL, NULL) == SQLITE_OK &&
		sqlite3_prepare_v2(w->db, insert.data, -1, &w->add, NULL) == SQLITE_OK;
	str_release(&create);
	str_release(&insert);
	if (!ok) {
		db_error(w, err);
		wide_free(w);
		return NULL;
	}
	return w;
}

void wide_free(struct wide *w)
{
	if (!w) {
		return;
	}
	sqlite3_finalize(w->add);
	sqlite3_close(w->db);
	free(w);
}

bool wide_add(struct wide *w, int64_t candidate, int64_t prompt, bool accepted,
	const struct expr_value *row, struct error *err)
{
	sqlite3_reset(w->add);
	sqlite3_clear_bindings(w->add);
	sqlite3_bind_int64(w->add, 1, candidate);
	sqlite3_bind_int64(w->add, 2, prompt);
	sqlite3_bind_int(w->add, 3, accepted);
	for (size_t i = 0; i < w->n_columns; i++) {
		int at = (int)i + 4;
		switch (row[i].kind) {
		case EXPR_VALUE_NULL:
			break;
		case EXPR_VALUE_INT:
			sqlite3_bind_int64(w->add, at, row[i].integer);
			break;
		case EXPR_VALUE_REAL:
			sqlite3_bind_double(w->add, at, row[i].real);
			break;
		case EXPR_VALUE_TEXT:
			sqlite3_bind_text64(w->add, at, row[i].text.data, row[i].text.len,
				SQLITE_STATIC, SQLITE_UTF8);
			break;
		}
	}
	return sqlite3_step(w->add) == SQLITE_DONE || db_error(w, err);
}

bool wide_each(struct wide *w, const char *where, const char *order_by,
	bool (*visit)(void *ctx, int64_t candidate, int64_t prompt, bool pass, struct error *err),
	void *ctx, struct error *err)
{
	static const char *const tables[] = {"candidates", "groups", "wide", NULL};
	if (sqlite3_exec(w->db,
		    "INSERT INTO groups SELECT thresh_prompt, count(*), sum(thresh_accepted), "
		    "avg(thresh_accepted) FROM candidates GROUP BY thresh_prompt",
		    NULL, NULL, NULL) != SQLITE_OK) {
		return db_error(w, err);
	}
	struct str sql;
	str_init(&sql, STR_NO_CAP);
	str_printf(&sql,
		"SELECT thresh_id, thresh_prompt, coalesce((%s), 0) FROM wide WHERE "
		"thresh_accepted ORDER BY thresh_prompt%s%s, thresh_id",
		where ? where : "1", order_by ? ", " : "", order_by ? order_by : "");
	sqlite3_stmt *stmt = NULL;
	expr_restrict(w->db, tables);
	int rc = sqlite3_prepare_v2(w->db, sql.data, -1, &stmt, NULL);
	str_release(&sql);
	/* Another failure than of the text itself is none of the definition's. */
	bool ok = rc == SQLITE_OK ||
		(rc == SQLITE_ERROR || rc == SQLITE_AUTH
				? error_set(err, FAIL_CONFIG, "order_by or where: %s",
					  sqlite3_errmsg(w->db))
				: db_error(w, err));
	while (ok && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		ok = visit(ctx, sqlite3_column_int64(stmt, 0), sqlite3_column_int64(stmt, 1),
			sqlite3_column_int(stmt, 2) != 0, err);
	}
	ok = ok && (rc == SQLITE_DONE || db_error(w, err));
	sqlite3_finalize(stmt);
	expr_unrestrict(w->db);
	return ok;
}
