/*
 * Opening brings a file of an older version up to date: the old tables are set aside, those of history.sql are made, and what
 * the old ones knew is taken over, so that a file looks the same however old it is.
 *
 * A night may be recorded several times: a run, then runs made from it, which decide on the same candidates anew. So a prompt's
 * row remembers what the last night has added, and another run of that night replaces it.
 */
#include "ledger/history.h"

#include "base/mem.h"
#include "ledger/schema.h"

#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

#define APPLICATION_ID 0x54687248 /* "ThrH" */
#define HISTORY_VERSION 2
#define BUSY_TIMEOUT_MS 5000 /* `thresh calibrate` may write beside a night */

struct history {
	sqlite3 *db;
	char *path;
	sqlite3_stmt *find_prompt, *find_shipped;
};

static bool db_error(struct history *h, struct error *err)
{
	return error_set(err, FAIL_IO, "history '%s': %s", h->path, sqlite3_errmsg(h->db));
}

static bool exec(struct history *h, const char *sql, struct error *err)
{
	return sqlite3_exec(h->db, sql, NULL, NULL, NULL) == SQLITE_OK || db_error(h, err);
}

static sqlite3_stmt *prepare(struct history *h, const char *sql, struct error *err)
{
	sqlite3_stmt *stmt = NULL;
	if (sqlite3_prepare_v2(h->db, sql, -1, &stmt, NULL) != SQLITE_OK) {
		db_error(h, err);
	}
	return stmt;
}

/* Steps a statement that gives no rows, and ends it. NULL, which prepare() has told of, is false. */
static bool finish(struct history *h, sqlite3_stmt *stmt, struct error *err)
{
	bool ok = stmt && (sqlite3_step(stmt) == SQLITE_DONE || db_error(h, err));
	sqlite3_finalize(stmt);
	return ok;
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

/* --- opening --- */

static bool set_version(struct history *h, struct error *err)
{
	AUTO_FREE char *mark = xasprintf("PRAGMA application_id = %d; PRAGMA user_version = %d;",
		APPLICATION_ID, HISTORY_VERSION);
	return exec(h, mark, err);
}

/*
 * Version 1 did not know which model had tried a prompt, nor what a prompt's last night was; it counted undecided candidates
 * with the others. Taken over: everything is decided, and a single night is the last one.
 */
static bool from_version_1(struct history *h, struct error *err)
{
	return exec(h,
		       "ALTER TABLE run RENAME TO old_run; ALTER TABLE prompt RENAME TO "
		       "old_prompt; ALTER TABLE shipped RENAME TO old_shipped",
		       err) &&
		exec(h, history_sql, err) &&
		exec(h,
			"INSERT INTO run SELECT run, number, ended_ms, summary, 'finished' FROM "
			"old_run;"
			"INSERT INTO prompt SELECT prompt_id, settled, n_runs, n_candidates, "
			"n_candidates, n_accepted, NULL, n_candidates, n_accepted, last_run,"
			" coalesce((SELECT number FROM old_run WHERE run = last_run), 0),"
			" iif(n_runs = 1, n_candidates, 0), iif(n_runs = 1, n_candidates, 0), "
			"iif(n_runs = 1, n_accepted, 0) FROM old_prompt;"
			"INSERT INTO shipped SELECT run, candidate, prompt_id, NULL FROM "
			"old_shipped;"
			"DROP TABLE old_run; DROP TABLE old_prompt; DROP TABLE old_shipped",
			err);
}

static bool newer(struct history *h, int64_t version, struct error *err)
{
	error_set(err, FAIL_DATA, "history '%s' has version %lld, this thresh (%s) reads up to %d",
		h->path, (long long)version, THRESH_VERSION, HISTORY_VERSION);
	return error_hint(err, "use the thresh that made it, or a newer one");
}

/* In a transaction, as another process may be about to do the same. */
static bool create_or_migrate(struct history *h, struct error *err)
{
	int64_t application = one_int(h, "PRAGMA application_id"),
		version = one_int(h, "PRAGMA user_version");
	if (application == 0 && version == 0 &&
		one_int(h, "SELECT count(*) FROM sqlite_schema") == 0) {
		return exec(h, history_sql, err) && set_version(h, err);
	}
	if (application != APPLICATION_ID) {
		return error_set(err, FAIL_DATA, "'%s' is not a thresh history", h->path);
	}
	if (version > HISTORY_VERSION) {
		return newer(h, version, err);
	}
	return version == HISTORY_VERSION || (from_version_1(h, err) && set_version(h, err));
}

static void rollback(struct history *h)
{
	struct error ignored;
	(void)!exec(h, "ROLLBACK", &ignored);
}

static bool bring_up_to_date(struct history *h, struct error *err)
{
	if (one_int(h, "PRAGMA application_id") == APPLICATION_ID &&
		one_int(h, "PRAGMA user_version") == HISTORY_VERSION) {
		return true;
	}
	if (!exec(h, "BEGIN IMMEDIATE", err)) {
		return false;
	}
	if (create_or_migrate(h, err) && exec(h, "COMMIT", err)) {
		return true;
	}
	rollback(h);
	return false;
}

struct history *history_open(const char *path, struct error *err)
{
	struct history *h = xcalloc(1, sizeof(*h));
	h->path = xstrdup(path);
	if (sqlite3_open_v2(path, &h->db,
		    SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
		    NULL) != SQLITE_OK ||
		sqlite3_busy_timeout(h->db, BUSY_TIMEOUT_MS) != SQLITE_OK) {
		db_error(h, err);
		goto fail_open;
	}
	if (!exec(h,
		    "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = "
		    "-4096",
		    err) ||
		!bring_up_to_date(h, err) || !exec(h, calibration_sql, err)) {
		goto fail_open;
	}
	h->find_prompt = prepare(h,
		"SELECT settled, n_runs, n_candidates, n_decided, n_accepted, model_decided, "
		"model_accepted, coalesce(m.hash, ''), coalesce(m.name, ''), last_run FROM prompt "
		"LEFT JOIN model m ON m.id = model WHERE prompt_id = ?",
		err);
	h->find_shipped = h->find_prompt
		? prepare(h,
			  "SELECT 1 FROM shipped JOIN run USING (run) WHERE hash = ? AND number < "
			  "?",
			  err)
		: NULL;
	if (h->find_shipped) {
		return h;
	}

fail_open:
	history_close(h);
	return NULL;
}

void history_close(struct history *h)
{
	if (!h) {
		return;
	}
	sqlite3_finalize(h->find_prompt);
	sqlite3_finalize(h->find_shipped);
	sqlite3_close(h->db);
	free(h->path);
	free(h);
}

/* --- prompts --- */

static void copy_text(sqlite3_stmt *stmt, int i, char *out, size_t out_bytes)
{
	snprintf(out, out_bytes, "%s", (const char *)sqlite3_column_text(stmt, i));
}

void history_prompt(struct history *h, const char *prompt_id, struct history_prompt *out)
{
	sqlite3_stmt *stmt = h->find_prompt;
	*out = (struct history_prompt){0};
	sqlite3_bind_text(stmt, 1, prompt_id, -1, SQLITE_STATIC);
	if (sqlite3_step(stmt) == SQLITE_ROW) {
		out->known = true;
		out->settled = sqlite3_column_int(stmt, 0) != 0;
		out->n_runs = sqlite3_column_int64(stmt, 1);
		out->n_candidates = sqlite3_column_int64(stmt, 2);
		out->n_decided = sqlite3_column_int64(stmt, 3);
		out->n_accepted = sqlite3_column_int64(stmt, 4);
		out->model_decided = sqlite3_column_int64(stmt, 5);
		out->model_accepted = sqlite3_column_int64(stmt, 6);
		copy_text(stmt, 7, out->model_hash, sizeof(out->model_hash));
		copy_text(stmt, 8, out->model, sizeof(out->model));
		copy_text(stmt, 9, out->last_run, sizeof(out->last_run));
	}
	sqlite3_reset(stmt);
}

bool history_is_settled(struct history *h, const char *prompt_id)
{
	struct history_prompt p;
	history_prompt(h, prompt_id, &p);
	return p.settled;
}

bool history_is_shipped(struct history *h, int64_t hash, int64_t number)
{
	sqlite3_bind_int64(h->find_shipped, 1, hash);
	sqlite3_bind_int64(h->find_shipped, 2, number);
	bool found = sqlite3_step(h->find_shipped) == SQLITE_ROW;
	sqlite3_reset(h->find_shipped);
	return found;
}

bool history_bands(struct history *h, struct history_bands *out, struct error *err)
{
	/* The band of a rate in between is found with integers: ceil(10 a / n). */
	sqlite3_stmt *stmt = prepare(h,
		"SELECT CASE model_decided WHEN 0 THEN -1 WHEN model_accepted THEN 11 ELSE (10 * "
		"model_accepted + model_decided - 1) / model_decided END, count(*) FROM prompt "
		"GROUP BY 1",
		err);
	*out = (struct history_bands){0};
	int rc = SQLITE_ERROR;
	while (stmt && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		int band = sqlite3_column_int(stmt, 0);
		int64_t n = sqlite3_column_int64(stmt, 1);
		out->n_prompts += n;
		*(band >= 0 && band < HISTORY_BANDS ? &out->n[band] : &out->n_undecided) += n;
	}
	bool ok = stmt && (rc == SQLITE_DONE || db_error(h, err));
	sqlite3_finalize(stmt);
	return ok;
}

/* --- runs --- */

int64_t history_last_number(struct history *h)
{
	return one_int(h, "SELECT coalesce(max(number), 0) FROM run");
}

#define RUN_COLUMNS "run, number, ended_ms, state = 'held', summary"

static struct history_run column_run(sqlite3_stmt *stmt)
{
	return (struct history_run){(const char *)sqlite3_column_text(stmt, 0),
		sqlite3_column_int64(stmt, 1), sqlite3_column_int64(stmt, 2),
		sqlite3_column_int(stmt, 3) != 0, (const char *)sqlite3_column_text(stmt, 4)};
}

bool history_each_run(struct history *h, uint64_t n,
	bool (*visit)(void *ctx, const struct history_run *run, struct error *err), void *ctx,
	struct error *err)
{
	sqlite3_stmt *stmt = prepare(h,
		"SELECT " RUN_COLUMNS " FROM (SELECT * FROM run ORDER BY number DESC, ended_ms "
		"DESC, run DESC LIMIT ?) ORDER BY number, ended_ms, run",
		err);
	if (!stmt) {
		return false;
	}
	sqlite3_bind_int64(stmt, 1, n && n < INT64_MAX ? (int64_t)n : -1);
	int rc = SQLITE_DONE;
	bool ok = true;
	while (ok && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		struct history_run run = column_run(stmt);
		ok = visit(ctx, &run, err);
	}
	ok = ok && (rc == SQLITE_DONE || db_error(h, err));
	sqlite3_finalize(stmt);
	return ok;
}

bool history_previous(struct history *h, int64_t number,
	void (*visit)(void *ctx, const struct history_run *run), void *ctx)
{
	struct error ignored;
	sqlite3_stmt *stmt = prepare(h,
		"SELECT " RUN_COLUMNS " FROM run WHERE number < ? AND state = 'finished' ORDER BY "
		"number DESC, ended_ms DESC, run DESC LIMIT 1",
		&ignored);
	if (!stmt) {
		return false;
	}
	sqlite3_bind_int64(stmt, 1, number);
	bool found = sqlite3_step(stmt) == SQLITE_ROW;
	if (found) {
		struct history_run run = column_run(stmt);
		visit(ctx, &run);
	}
	sqlite3_finalize(stmt);
	return found;
}

static void keep_summary(void *ctx, const struct history_run *run)
{
	*(char **)ctx = xstrdup(run->summary);
}

char *history_last_summary(struct history *h)
{
	char *summary = NULL;
	return history_previous(h, INT64_MAX, keep_summary, &summary) ? summary : NULL;
}

/* --- recording --- */

/* False in *out_new for a run that has been recorded as finished before. */
static bool add_run(
	struct history *h, const struct history_run *run, bool *out_new, struct error *err)
{
	sqlite3_stmt *stmt = prepare(h,
		"INSERT INTO run VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET ended_ms = "
		"excluded.ended_ms, summary = excluded.summary, state = excluded.state WHERE state "
		"= 'held'",
		err);
	if (!stmt) {
		return false;
	}
	sqlite3_bind_text(stmt, 1, run->run, -1, SQLITE_STATIC);
	sqlite3_bind_int64(stmt, 2, run->number);
	sqlite3_bind_int64(stmt, 3, run->ended_ms);
	sqlite3_bind_text(stmt, 4, run->summary, -1, SQLITE_STATIC);
	sqlite3_bind_text(stmt, 5, run->held ? "held" : "finished", -1, SQLITE_STATIC);
	if (!finish(h, stmt, err)) {
		return false;
	}
	*out_new = sqlite3_changes(h->db) == 1;
	return true;
}

/* Of the engine that wrote the night's candidates: what the run began with, and the name that it gave. */
#define WRITER "(SELECT value FROM night.meta WHERE key = 'writer')"
#define MODEL_HASH                                                                        \
	"(SELECT value FROM night.fingerprint WHERE stage = 'engine:' || " WRITER " AND " \
	"path = 'model')"

static bool add_model(struct history *h, struct error *err)
{
	return exec(h,
		"INSERT INTO model (hash, name) SELECT hash, coalesce((SELECT value FROM "
		"night.meta WHERE key = 'engine.' || " WRITER " || '.model'), '') FROM (SELECT "
		"" MODEL_HASH " AS hash) WHERE hash IS NOT NULL ON CONFLICT DO UPDATE SET name = "
		"excluded.name",
		err);
}

/*
 * Failed prompts are not settled, unless nothing but a new definition can help them. Of the backlog, what has candidates is
 * known by them. Candidates of a prompt are neighbours by id, which is their only index. Rows are added in the order of their
 * key, or each would be on another page.
 */
static bool add_prompts(struct history *h, const struct history_run *run, struct error *err)
{
	sqlite3_stmt *stmt = prepare(h,
		"INSERT INTO prompt SELECT prompt_id, settled, 1, n, decided, accepted,"
		" (SELECT id FROM model WHERE hash = " MODEL_HASH
		"), decided, accepted, ?1, ?2, n, decided, "
		"accepted FROM (SELECT p.prompt_id, p.state = 'settled' OR (p.state = 'failed' AND "
		"p.reason IN ('unverifiable', 'special_token', 'prompt_too_long')) AS settled,"
		" count(c.id) AS n, total(c.state IN ('accepted', 'rejected')) AS decided,"
		" total(c.state = 'accepted') AS accepted FROM night.prompt p LEFT JOIN "
		"night.candidate c ON c.id BETWEEN p.id * 4096 AND p.id * 4096 + 4095 AND c.state "
		"<> 'failed' WHERE p.state <> 'pending' OR c.id IS NOT NULL GROUP BY p.id) WHERE "
		"true ORDER BY prompt_id ON CONFLICT DO UPDATE SET settled = max(settled, "
		"excluded.settled),"
		" n_runs = n_runs + (last_number <> excluded.last_number),"
		" n_candidates = n_candidates + excluded.n_candidates - iif(last_number = "
		"excluded.last_number, last_candidates, 0),"
		" n_decided = n_decided + excluded.n_decided - iif(last_number = "
		"excluded.last_number, last_decided, 0),"
		" n_accepted = n_accepted + excluded.n_accepted - iif(last_number = "
		"excluded.last_number, last_accepted, 0),"
		" model_decided = excluded.n_decided + CASE WHEN model IS NOT excluded.model THEN "
		"0 WHEN last_number = excluded.last_number THEN model_decided - last_decided ELSE "
		"model_decided END,"
		" model_accepted = excluded.n_accepted + CASE WHEN model IS NOT excluded.model "
		"THEN 0 WHEN last_number = excluded.last_number THEN model_accepted - "
		"last_accepted ELSE model_accepted END,"
		" model = excluded.model, last_run = excluded.last_run, last_number = "
		"excluded.last_number, last_candidates = excluded.last_candidates,"
		" last_decided = excluded.last_decided, last_accepted = excluded.last_accepted",
		err);
	if (!stmt) {
		return false;
	}
	sqlite3_bind_text(stmt, 1, run->run, -1, SQLITE_STATIC);
	sqlite3_bind_int64(stmt, 2, run->number);
	return finish(h, stmt, err);
}

static bool add_shipped(struct history *h, const char *run, struct error *err)
{
	sqlite3_stmt *stmt = prepare(h,
		"INSERT INTO shipped SELECT ?, l.candidate, p.prompt_id, s.hash FROM night.plan l "
		"JOIN night.candidate c ON c.id = l.candidate JOIN night.prompt p ON p.id = "
		"c.prompt JOIN night.selection s ON s.candidate = l.candidate ORDER BY "
		"l.candidate",
		err);
	if (!stmt) {
		return false;
	}
	sqlite3_bind_text(stmt, 1, run, -1, SQLITE_STATIC);
	return finish(h, stmt, err);
}

static bool record(struct history *h, const struct history_run *run, struct error *err)
{
	bool is_new;
	if (!exec(h, "BEGIN IMMEDIATE", err)) {
		return false;
	}
	if (add_run(h, run, &is_new, err) &&
		(!is_new || run->held ||
			(add_model(h, err) && add_prompts(h, run, err) &&
				add_shipped(h, run->run, err))) &&
		exec(h, "COMMIT", err)) {
		return true;
	}
	rollback(h);
	return false;
}

static bool attach_night(struct history *h, const char *ledger_path, struct error *err)
{
	sqlite3_stmt *attach = prepare(h, "ATTACH ? AS night", err);
	if (!attach) {
		return false;
	}
	sqlite3_bind_text(attach, 1, ledger_path, -1, SQLITE_STATIC);
	return finish(h, attach, err);
}

bool history_record(struct history *h, const struct history_run *run, const char *ledger_path,
	struct error *err)
{
	if (!attach_night(h, ledger_path, err)) {
		return false;
	}
	bool ok = record(h, run, err);
	struct error ignored;
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

/* --- calibration --- */

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
