#include "ledger/ledger_report.h"

#include "ledger/ledger_db.h"

bool ledger_begin_reading(struct ledger *l, struct error *err)
{
	/* Whoever writes through this connection is the only one who does. */
	return !l->read_only || sqlite3_exec(l->db, "BEGIN", NULL, NULL, NULL) == SQLITE_OK ||
		ledger_db_error(l, err);
}

void ledger_end_reading(struct ledger *l)
{
	if (l->read_only) {
		sqlite3_exec(l->db, "ROLLBACK", NULL, NULL, NULL);
	}
}

static bool done(struct ledger *l, sqlite3_stmt *stmt, int rc, struct error *err)
{
	bool ok = rc == SQLITE_DONE || ledger_db_error(l, err);
	sqlite3_reset(stmt);
	return ok;
}

bool ledger_get_extent(struct ledger *l, struct ledger_extent *out, struct error *err)
{
	sqlite3_stmt *stmt = ledger_stmt(l,
		"SELECT coalesce(min(created_ms - latency_ms), 0), coalesce(max(created_ms), 0), "
		"coalesce(max(n_tokens), 0) FROM candidate",
		err);
	if (!stmt) {
		return false;
	}
	int rc = sqlite3_step(stmt);
	if (rc == SQLITE_ROW) {
		*out = (struct ledger_extent){sqlite3_column_int64(stmt, 0),
			sqlite3_column_int64(stmt, 1), (uint32_t)sqlite3_column_int64(stmt, 2)};
		rc = sqlite3_step(stmt);
	}
	return done(l, stmt, rc, err);
}

bool ledger_each_row(struct ledger *l, void (*visit)(void *ctx, const struct ledger_row *row),
	void *ctx, struct error *err)
{
	/* Both tables lie in this order, so it is two scans side by side and sorts nothing. */
	sqlite3_stmt *stmt = ledger_stmt(l,
		"SELECT c.id, c.prompt, c.state, c.reason, c.n_tokens, c.latency_ms, c.created_ms, "
		"s.verifier, s.reason, s.value, s.audit FROM candidate c LEFT JOIN score s ON "
		"s.candidate = c.id ORDER BY c.id, s.verifier",
		err);
	if (!stmt) {
		return false;
	}
	int rc;
	while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		const struct ledger_row row = {
			.candidate = sqlite3_column_int64(stmt, 0),
			.prompt = sqlite3_column_int64(stmt, 1),
			.state = (const char *)sqlite3_column_text(stmt, 2),
			.reason = (const char *)sqlite3_column_text(stmt, 3),
			.n_tokens = (uint32_t)sqlite3_column_int64(stmt, 4),
			.latency_ms = sqlite3_column_int64(stmt, 5),
			.created_ms = sqlite3_column_int64(stmt, 6),
			.verifier = (const char *)sqlite3_column_text(stmt, 7),
			.score_reason = (const char *)sqlite3_column_text(stmt, 8),
			.known = sqlite3_column_type(stmt, 9) != SQLITE_NULL,
			.value = sqlite3_column_double(stmt, 9),
			.audit = sqlite3_column_int(stmt, 10) != 0,
		};
		visit(ctx, &row);
	}
	return done(l, stmt, rc, err);
}

bool ledger_each_setting(struct ledger *l, size_t max,
	void (*visit)(void *ctx, const char *of, const char *path, const char *value), void *ctx,
	struct error *err)
{
	sqlite3_stmt *stmt = ledger_stmt(l,
		"SELECT 1, stage, path, value FROM fingerprint UNION ALL SELECT 2, 'run', key, "
		"value "
		"FROM meta WHERE key LIKE 'engine.%' OR key IN ('thresh', 'made_from', "
		"'tokenizer', "
		"'n_vocab', 'label') ORDER BY 1, 2, 3 LIMIT ?",
		err);
	if (!stmt) {
		return false;
	}
	sqlite3_bind_int64(stmt, 1, max ? (int64_t)max : -1);
	int rc;
	while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		visit(ctx, (const char *)sqlite3_column_text(stmt, 1),
			(const char *)sqlite3_column_text(stmt, 2),
			(const char *)sqlite3_column_text(stmt, 3));
	}
	return done(l, stmt, rc, err);
}
