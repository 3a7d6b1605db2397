/* Reading history.db beside whoever writes it, without making or changing it. */
#include "base/file.h"
#include "base/mem.h"
#include "ledger/ledger_db.h"
#include "ledger/ledger_report.h"

#define BUSY_TIMEOUT_MS 5000

static bool failed(sqlite3 *db, const char *path, struct error *err)
{
	return error_set(err, FAIL_IO, "history '%s': %s", path, sqlite3_errmsg(db));
}

static bool read_runs(sqlite3 *db, const char *path, size_t max, struct arena *arena,
	struct past_run *list, size_t *out_n, struct error *err)
{
	sqlite3_stmt *stmt;
	if (sqlite3_busy_timeout(db, BUSY_TIMEOUT_MS) != SQLITE_OK ||
		sqlite3_prepare_v2(db,
			"SELECT run, number, ended_ms, summary FROM (SELECT * FROM run ORDER BY "
			"number DESC, ended_ms DESC LIMIT ?) ORDER BY number, ended_ms",
			-1, &stmt, NULL) != SQLITE_OK) {
		return failed(db, path, err);
	}
	sqlite3_bind_int64(stmt, 1, (int64_t)max);
	size_t n = 0;
	int rc;
	while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		list[n++] = (struct past_run){ledger_column_z(stmt, 0, arena),
			sqlite3_column_int64(stmt, 1), sqlite3_column_int64(stmt, 2),
			ledger_column_z(stmt, 3, arena)};
	}
	bool ok = rc == SQLITE_DONE || failed(db, path, err);
	sqlite3_finalize(stmt);
	*out_n = n;
	return ok;
}

bool past_runs(const char *path, size_t max, struct arena *arena, struct past_run **out,
	size_t *out_n, struct error *err)
{
	*out = arena_alloc_array(arena, max, sizeof(**out));
	*out_n = 0;
	if (!file_exists(path)) {
		return true;
	}
	sqlite3 *db = NULL;
	bool ok = sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL) ==
			SQLITE_OK
		? read_runs(db, path, max, arena, *out, out_n, err)
		: failed(db, path, err);
	sqlite3_close(db);
	return ok;
}
