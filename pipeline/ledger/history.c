#include "ledger/history.h"

#include "base/mem.h"
#include "ledger/schema.h"

#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

#define APPLICATION_ID 0x54687248 /* "ThrH" */
#define HISTORY_VERSION 1
#define BUSY_TIMEOUT_MS 5000 /* `thresh calibrate` may write beside a night */

struct history {
	sqlite3 *db;
	char *path;
	sqlite3_stmt *is_settled;
};

static bool db_error(struct history *h, struct error *err)
{
	return error_set(err, FAIL_IO, "history '%s': %s", h->path, sqlite3_errmsg(h->db));
}

static bool exec(struct history *h, const char *sql, struct error *err)
{
	return sqlite3_exec(h->db, sql, NULL, NULL, NULL) == SQLITE_OK || db_error(h, err);
}

static int64_t one_int(struct history *h, const char *sql)
{
	sqlite3_stmt *stmt;
	int64_t value = 0;
	if (sqlite3_prepare_v2(h->db, sql, -1, &stmt, NULL) == SQLITE_OK &&
		sqlite3_step(stmt) == SQLITE_ROW) {
		value = sqlite3_column_int64(stmt, 0);
	}
	sqlite3_finalize(stmt);
	return value;
}

static bool create_or_check(struct history *h, struct error *err)
{
	int64_t application = one_int(h, "PRAGMA application_id"),
		version = one_int(h, "PRAGMA user_version");
	if (application == 0 && version == 0 &&
		one_int(h, "SELECT count(*) FROM sqlite_schema") == 0) {
		AUTO_FREE char *mark = xasprintf(
			"PRAGMA application_id = %d; PRAGMA user_version = %d;", APPLICATION_ID,
			HISTORY_VERSION);
		return exec(h, "BEGIN IMMEDIATE", err) && exec(h, history_sql, err) &&
			exec(h, mark, err) && exec(h, "COMMIT", err);
	}
	if (application != APPLICATION_ID) {
		return error_set(err, FAIL_DATA, "'%s' is not a thresh history", h->path);
	}
	return version <= HISTORY_VERSION ||
		error_set(err, FAIL_DATA,
			"history '%s' has version %lld, this thresh (%s) reads up to %d", h->path,
			(long long)version, THRESH_VERSION, HISTORY_VERSION);
}

struct history *history_open(const char *path, struct error *err)
{
	struct history *h = xcalloc(1, sizeof(*h));
	h->path = xstrdup(path);
	if (sqlite3_open_v2(path, &h->db,
		    SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
		    NULL) != SQLITE_OK ||
		sqlite3_busy_timeout(h->db, BUSY_TIMEOUT_MS) != SQLITE_OK ||
		!exec(h,
			"PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = "
			"-4096",
			err) ||
		!create_or_check(h, err) || !exec(h, calibration_sql, err) ||
		sqlite3_prepare_v2(h->db, "SELECT settled FROM prompt WHERE prompt_id = ?", -1,
			&h->is_settled, NULL) != SQLITE_OK) {
		if (!err->msg[0]) {
			db_error(h, err);
		}
		history_close(h);
		return NULL;
	}
	return h;
}

void history_close(struct history *h)
{
	if (!h) {
		return;
	}
	sqlite3_finalize(h->is_settled);
	sqlite3_close(h->db);
	free(h->path);
	free(h);
}

bool history_is_settled(struct history *h, const char *prompt_id)
{
	sqlite3_reset(h->is_settled);
	sqlite3_bind_text(h->is_settled, 1, prompt_id, -1, SQLITE_STATIC);
	bool settled = sqlite3_step(h->is_settled) == SQLITE_ROW &&
		sqlite3_column_int(h->is_settled, 0);
	sqlite3_reset(h->is_settled);
	return settled;
}

int64_t history_last_number(struct history *h)
{
	return one_int(h, "SELECT coalesce(max(number), 0) FROM run");
}

char *history_last_summary(struct history *h)
{
	sqlite3_stmt *stmt;
	char *summary = NULL;
	if (sqlite3_prepare_v2(h->db, "SELECT summary FROM run ORDER BY number DESC LIMIT 1", -1,
		    &stmt, NULL) == SQLITE_OK) {
		if (sqlite3_step(stmt) == SQLITE_ROW) {
			summary = xstrdup((const char *)sqlite3_column_text(stmt, 0));
		}
		sqlite3_finalize(stmt);
	}
	return summary;
}

static bool bind_and_run(struct history *h, const char *sql, const char *run, int64_t number,
	int64_t ended_ms, const char *summary, struct error *err)
{
	sqlite3_stmt *stmt;
	if (sqlite3_prepare_v2(h->db, sql, -1, &stmt, NULL) != SQLITE_OK) {
		return db_error(h, err);
	}
	int n = sqlite3_bind_parameter_count(stmt);
	sqlite3_bind_text(stmt, 1, run, -1, SQLITE_STATIC);
	if (n > 1) {
		sqlite3_bind_int64(stmt, 2, number);
		sqlite3_bind_int64(stmt, 3, ended_ms);
		sqlite3_bind_text(stmt, 4, summary, -1, SQLITE_STATIC);
	}
	bool ok = sqlite3_step(stmt) == SQLITE_DONE || db_error(h, err);
	sqlite3_finalize(stmt);
	return ok;
}

static bool attach_night(struct history *h, const char *ledger_path, struct error *err)
{
	sqlite3_stmt *attach;
	if (sqlite3_prepare_v2(h->db, "ATTACH ? AS night", -1, &attach, NULL) != SQLITE_OK) {
		return db_error(h, err);
	}
	sqlite3_bind_text(attach, 1, ledger_path, -1, SQLITE_STATIC);
	bool ok = sqlite3_step(attach) == SQLITE_DONE || db_error(h, err);
	sqlite3_finalize(attach);
	return ok;
}

bool history_record(struct history *h, const char *run, int64_t number, const char *ledger_path,
	const char *summary_json, int64_t ended_ms, struct error *err)
{
	if (!attach_night(h, ledger_path, err)) {
		return false;
	}
	bool ok = exec(h, "BEGIN IMMEDIATE", err) &&
		bind_and_run(h, "INSERT INTO run VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING", run,
			number, ended_ms, summary_json, err);
	if (ok && sqlite3_changes(h->db) == 1) {
		/* Failed prompts are not settled, unless nothing but a new definition can help them. */
		ok = bind_and_run(h,
			     "INSERT INTO prompt SELECT p.prompt_id, p.state = 'settled' OR "
			     "p.reason IN ('unverifiable', 'special_token', 'prompt_too_long'), 1,"
			     " count(c.id), coalesce(sum(c.state = 'accepted'), 0), ?"
			     " FROM night.prompt p LEFT JOIN night.candidate c ON c.prompt = p.id "
			     "AND c.state <> 'failed'"
			     " WHERE p.state <> 'pending' GROUP BY p.id"
			     " ON CONFLICT DO UPDATE SET settled = max(settled, excluded.settled), "
			     "n_runs = n_runs + 1,"
			     " n_candidates = n_candidates + excluded.n_candidates, n_accepted = "
			     "n_accepted + excluded.n_accepted,"
			     " last_run = excluded.last_run",
			     run, 0, 0, NULL, err) &&
			bind_and_run(h,
				"INSERT INTO shipped SELECT ?, l.candidate, p.prompt_id FROM "
				"night.plan l JOIN night.candidate c ON c.id = l.candidate"
				" JOIN night.prompt p ON p.id = c.prompt",
				run, 0, 0, NULL, err);
	}
	ok = ok && exec(h, "COMMIT", err);
	struct error ignored;
	if (!ok) {
		(void)exec(h, "ROLLBACK", &ignored);
	}
	return exec(h, "DETACH night", ok ? err : &ignored) && ok;
}

/* --- checking --- */

void history_check_file(struct history *h, void (*tell)(void *ctx, const char *what), void *ctx)
{
	sqlite3_stmt *stmt = NULL;
	int rc = sqlite3_prepare_v2(h->db, "PRAGMA integrity_check(20)", -1, &stmt, NULL);
	while (rc == SQLITE_OK || rc == SQLITE_ROW) {
		rc = sqlite3_step(stmt);
		const char *text = rc == SQLITE_ROW ? (const char *)sqlite3_column_text(stmt, 0)
						    : NULL;
		if (text && strcmp(text, "ok") != 0) {
			tell(ctx, text);
		}
	}
	if (rc != SQLITE_DONE) {
		tell(ctx, sqlite3_errmsg(h->db));
	}
	sqlite3_finalize(stmt);
}

/* The number that the statement, whose one parameter is the run, gives; -1 with err. */
static int64_t count_of(struct history *h, const char *sql, const char *run, struct error *err)
{
	sqlite3_stmt *stmt = NULL;
	int64_t n = -1;
	if (sqlite3_prepare_v2(h->db, sql, -1, &stmt, NULL) == SQLITE_OK) {
		sqlite3_bind_text(stmt, 1, run, -1, SQLITE_STATIC);
		if (sqlite3_step(stmt) == SQLITE_ROW) {
			n = sqlite3_column_int64(stmt, 0);
		}
	}
	if (n < 0) {
		db_error(h, err);
	}
	sqlite3_finalize(stmt);
	return n;
}

static bool check_record(struct history *h, const char *run, bool *out_recorded,
	void (*tell)(void *ctx, const char *what), void *ctx, struct error *err)
{
	static const struct {
		const char *sql, *what;
	} rules[] = {
		{"SELECT count(*) FROM night.plan WHERE candidate NOT IN (SELECT candidate FROM "
		 "shipped WHERE run = ?)",
			"packed candidates that it does not know as shipped"},
		{"SELECT count(*) FROM shipped WHERE run = ? AND candidate NOT IN (SELECT "
		 "candidate FROM night.plan)",
			"candidates shipped that its ledger has not packed"},
		{"SELECT count(*) FROM night.prompt WHERE ?1 NOT NULL AND state <> 'pending' AND "
		 "prompt_id NOT IN (SELECT prompt_id FROM main.prompt)",
			"prompts that it does not know"},
	};
	int64_t n = count_of(h, "SELECT count(*) FROM run WHERE run = ?", run, err);
	*out_recorded = n > 0;
	for (size_t i = 0; *out_recorded && n >= 0 && i < ARRAY_LEN(rules); i++) {
		n = count_of(h, rules[i].sql, run, err);
		if (n > 0) {
			AUTO_FREE char *line = xasprintf("%lld %s", (long long)n, rules[i].what);
			tell(ctx, line);
		}
	}
	return n >= 0;
}

bool history_check(struct history *h, const char *run, const char *ledger_path, bool *out_recorded,
	void (*tell)(void *ctx, const char *what), void *ctx, struct error *err)
{
	struct error ignored;
	if (!attach_night(h, ledger_path, err)) {
		return false;
	}
	bool ok = check_record(h, run, out_recorded, tell, ctx, err);
	return exec(h, "DETACH night", ok ? err : &ignored) && ok;
}

bool history_set_calibration(
	struct history *h, const struct history_calibration *c, struct error *err)
{
	sqlite3_stmt *stmt;
	if (sqlite3_prepare_v2(h->db,
		    "INSERT OR REPLACE INTO calibration VALUES (?, ?, ?, ?, ?, ?)", -1, &stmt,
		    NULL) != SQLITE_OK) {
		return db_error(h, err);
	}
	sqlite3_bind_text(stmt, 1, c->verifier, -1, SQLITE_STATIC);
	sqlite3_bind_text(stmt, 2, c->fingerprint, -1, SQLITE_STATIC);
	sqlite3_bind_text(stmt, 3, c->label, -1, SQLITE_STATIC);
	sqlite3_bind_int64(stmt, 4, c->n);
	sqlite3_bind_double(stmt, 5, c->auc); /* NaN becomes NULL */
	sqlite3_bind_int64(stmt, 6, c->done_ms);
	bool ok = sqlite3_step(stmt) == SQLITE_DONE || db_error(h, err);
	sqlite3_finalize(stmt);
	return ok;
}

bool history_is_calibrated(struct history *h, const char *verifier, const char *fingerprint)
{
	sqlite3_stmt *stmt;
	if (sqlite3_prepare_v2(h->db,
		    "SELECT 1 FROM calibration WHERE verifier = ? AND fingerprint = ?", -1, &stmt,
		    NULL) != SQLITE_OK) {
		return false;
	}
	sqlite3_bind_text(stmt, 1, verifier, -1, SQLITE_STATIC);
	sqlite3_bind_text(stmt, 2, fingerprint, -1, SQLITE_STATIC);
	bool found = sqlite3_step(stmt) == SQLITE_ROW;
	sqlite3_finalize(stmt);
	return found;
}
