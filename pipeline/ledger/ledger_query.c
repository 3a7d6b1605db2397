/* SQL for people: one read-only statement, and the functions that unpack what the ledger stores compressed. */
#include "base/json.h"
#include "base/mem.h"
#include "ledger/ledger.h"
#include "ledger/ledger_db.h"

#include <stdlib.h>
#include <string.h>

/* sqlite3_user_data: which ledger, and which of the functions. */
struct unpacker {
	struct ledger *ledger;
	const char *sql; /* frame and dictionary by id */
	bool ids;
};

static void unpack_function(sqlite3_context *ctx, int n UNUSED, sqlite3_value **args)
{
	struct unpacker *u = sqlite3_user_data(ctx);
	struct error err = {0};
	sqlite3_stmt *stmt = NULL;
	/* A statement of its own, as the function may be called several times within one row. */
	if (sqlite3_prepare_v2(u->ledger->db, u->sql, -1, &stmt, NULL) != SQLITE_OK) {
		sqlite3_result_error(ctx, sqlite3_errmsg(u->ledger->db), -1);
		return;
	}
	sqlite3_bind_int64(stmt, 1, sqlite3_value_int64(args[0]));
	if (sqlite3_step(stmt) != SQLITE_ROW || sqlite3_column_type(stmt, 0) == SQLITE_NULL) {
		sqlite3_finalize(stmt);
		return; /* NULL */
	}
	struct str raw, text;
	struct arena arena = {0};
	str_init(&raw, BODY_BYTES_MAX);
	str_init(&text, STR_NO_CAP);
	uint32_t *ids;
	size_t n_ids;
	if (!body_unpack(&u->ledger->codec, sqlite3_column_int64(stmt, 1),
		    sqlite3_column_blob(stmt, 0), (size_t)sqlite3_column_bytes(stmt, 0), &raw,
		    &err) ||
		(u->ids &&
			!body_decode_ids(
				(struct slice){raw.data, raw.len}, &arena, &ids, &n_ids, &err))) {
		sqlite3_result_error(ctx, err.msg, -1);
	} else if (!u->ids) {
		sqlite3_result_text(ctx, raw.data, (int)raw.len, SQLITE_TRANSIENT);
	} else {
		struct json_writer w = {.out = &text};
		json_begin_array(&w);
		for (size_t i = 0; i < n_ids; i++) {
			json_put_uint(&w, ids[i]);
		}
		json_end_array(&w);
		sqlite3_result_text(ctx, text.data, (int)text.len, SQLITE_TRANSIENT);
	}
	sqlite3_finalize(stmt);
	arena_release(&arena);
	str_release(&raw);
	str_release(&text);
}

bool ledger_add_functions(struct ledger *l, struct error *err)
{
	static const struct {
		const char *name, *sql;
		bool ids;
	} functions[] = {
		{"text", "SELECT text, text_dict FROM candidate_body WHERE candidate = ?", false},
		{"ids", "SELECT ids, ids_dict FROM candidate_body WHERE candidate = ?", true},
		{"fields", "SELECT fields, fields_dict FROM prompt WHERE id = ?", false},
		{"prompt_ids", "SELECT ids, ids_dict FROM prompt WHERE id = ?", true},
	};
	for (size_t i = 0; i < ARRAY_LEN(functions); i++) {
		struct unpacker *u = xcalloc(1, sizeof(*u));
		*u = (struct unpacker){l, functions[i].sql, functions[i].ids};
		if (sqlite3_create_function_v2(l->db, functions[i].name, 1,
			    SQLITE_UTF8 | SQLITE_DIRECTONLY, u, unpack_function, NULL, NULL,
			    free) != SQLITE_OK) {
			return ledger_db_error(l, err);
		}
	}
	return true;
}

static struct ledger_cell cell_of(sqlite3_stmt *stmt, int i)
{
	struct ledger_cell cell = {.kind = CELL_NULL};
	switch (sqlite3_column_type(stmt, i)) {
	case SQLITE_INTEGER:
		cell.kind = CELL_INT;
		cell.integer = sqlite3_column_int64(stmt, i);
		break;
	case SQLITE_FLOAT:
		cell.kind = CELL_REAL;
		cell.real = sqlite3_column_double(stmt, i);
		break;
	case SQLITE_TEXT:
		cell.kind = CELL_TEXT;
		cell.text.data = (const char *)sqlite3_column_text(stmt, i);
		cell.text.len = (size_t)sqlite3_column_bytes(stmt, i);
		break;
	case SQLITE_BLOB:
		cell.kind = CELL_BLOB;
		cell.text.data = sqlite3_column_blob(stmt, i);
		cell.text.len = (size_t)sqlite3_column_bytes(stmt, i);
		break;
	}
	return cell;
}

/* What is not a write and yet no mere reading; writes are refused by sqlite3_stmt_readonly. */
static int reading_only(void *ctx UNUSED, int action, const char *a UNUSED, const char *b UNUSED,
	const char *c UNUSED, const char *d UNUSED)
{
	switch (action) {
	case SQLITE_ATTACH:
	case SQLITE_DETACH:
	case SQLITE_PRAGMA:
	case SQLITE_TRANSACTION:
	case SQLITE_SAVEPOINT:
		return SQLITE_DENY;
	default:
		return SQLITE_OK;
	}
}

bool ledger_query(struct ledger *l, const char *sql,
	bool (*row)(void *ctx, const char *const *names, const struct ledger_cell *cells, size_t n),
	void *ctx, struct error *err)
{
	sqlite3_stmt *stmt = NULL;
	const char *rest = NULL;
	sqlite3_set_authorizer(l->db, reading_only, NULL);
	int rc = sqlite3_prepare_v2(l->db, sql, -1, &stmt, &rest);
	sqlite3_set_authorizer(l->db, NULL, NULL);
	if (rc != SQLITE_OK) {
		error_set(err, FAIL_USAGE, "SQL: %s",
			rc == SQLITE_AUTH ? "only reading is allowed" : sqlite3_errmsg(l->db));
		return error_hint(err,
			"tables: meta prompt candidate score selection plan shard stage; "
			"functions: text(candidate) ids(candidate) fields(prompt)");
	}
	if (stmt && !sqlite3_stmt_readonly(stmt)) {
		sqlite3_finalize(stmt);
		return error_set(err, FAIL_USAGE, "SQL: only reading is allowed");
	}
	if (!stmt || rest[strspn(rest, " \t\r\n;")]) {
		sqlite3_finalize(stmt);
		return error_set(err, FAIL_USAGE, "SQL: exactly one statement is wanted");
	}
	size_t n = (size_t)sqlite3_column_count(stmt);
	const char **names = xcalloc(n, sizeof(*names));
	struct ledger_cell *cells = xcalloc(n, sizeof(*cells));
	for (size_t i = 0; i < n; i++) {
		names[i] = sqlite3_column_name(stmt, (int)i);
	}
	bool go_on = true;
	while (go_on && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		for (size_t i = 0; i < n; i++) {
			cells[i] = cell_of(stmt, (int)i);
		}
		go_on = row(ctx, names, cells, n);
	}
	bool ok = !go_on || rc == SQLITE_DONE ||
		error_set(err, FAIL_DATA, "SQL: %s", sqlite3_errmsg(l->db));
	sqlite3_finalize(stmt);
	free(names);
	free(cells);
	return ok;
}
