/*
 * The connection, the grouping of commits, and all writes. Reads for a run's own stages are in ledger_read.c, SQL for
 * people in ledger_query.c.
 *
 * Statements are string literals, prepared once per connection and found again by the literal's address. A write begins the
 * transaction if none is open; ledger_step counts rows and commits at the limit, so every public write is one call.
 */
#include "ledger/ledger.h"

#include "base/half.h"
#include "base/mem.h"
#include "ledger/ledger_db.h"
#include "ledger/schema.h"

#include <assert.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define APPLICATION_ID 0x54687231 /* "Thr1" */
#define SCHEMA_VERSION 1
#define COMMIT_ROWS 256
#define BUSY_TIMEOUT_MS 5000

bool ledger_db_error(struct ledger *l, struct error *err)
{
	int code = sqlite3_errcode(l->db);
	if (code == SQLITE_NOMEM) {
		oom();
	}
	tally_doubt(l);
	/*
	 * What is in the transaction may lack a row, or SQLite has taken it back as a whole: later rows would rest on what is not
	 * there. So it is never committed; the next sitting makes again what was in it. A row that a constraint refuses is
	 * another matter: that statement alone has left nothing.
	 */
	l->broken = l->broken || (l->in_transaction && code != SQLITE_CONSTRAINT);
	enum fail kind = code == SQLITE_CORRUPT || code == SQLITE_NOTADB ||
			code == SQLITE_CONSTRAINT
		? FAIL_DATA
		: FAIL_IO;
	error_set(err, kind, "ledger '%s': %s", l->path, sqlite3_errmsg(l->db));
	if (code == SQLITE_FULL) {
		error_hint(err, "the disk is full; make room and run the same command again");
	}
	return false;
}

static bool exec(struct ledger *l, const char *sql, struct error *err)
{
	return sqlite3_exec(l->db, sql, NULL, NULL, NULL) == SQLITE_OK || ledger_db_error(l, err);
}

sqlite3_stmt *ledger_stmt(struct ledger *l, const char *sql, struct error *err)
{
	for (size_t i = 0; i < l->n_statements; i++) {
		if (l->statements[i].sql == sql) {
			sqlite3_reset(l->statements[i].stmt);
			sqlite3_clear_bindings(l->statements[i].stmt);
			return l->statements[i].stmt;
		}
	}
	assert(l->n_statements < LEDGER_STATEMENTS_MAX);
	sqlite3_stmt *stmt;
	if (sqlite3_prepare_v3(l->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &stmt, NULL) !=
		SQLITE_OK) {
		ledger_db_error(l, err);
		return NULL;
	}
	l->statements[l->n_statements].sql = sql;
	l->statements[l->n_statements++].stmt = stmt;
	return stmt;
}

static bool refuse_broken(struct ledger *l, struct error *err)
{
	return !l->broken ||
		error_set(err, FAIL_IO, "ledger '%s' cannot be written after an earlier failure",
			l->path);
}

bool ledger_begin(struct ledger *l, struct error *err)
{
	assert(!l->read_only);
	if (!refuse_broken(l, err)) {
		return false;
	}
	if (l->in_transaction) {
		return true;
	}
	if (!exec(l, "BEGIN IMMEDIATE", err)) {
		return false;
	}
	l->in_transaction = true;
	return true;
}

bool ledger_flush(struct ledger *l, struct error *err)
{
	if (!l->in_transaction) {
		return true;
	}
	if (!refuse_broken(l, err) || !tally_write(l, err) || !exec(l, "COMMIT", err)) {
		return false;
	}
	l->in_transaction = false;
	l->dirty_rows = 0;
	return true;
}

bool ledger_sync(const struct ledger *l, struct error *err)
{
	return fdatasync(l->wal_fd) == 0 ||
		error_errno(err, "could not flush ledger '%s'", l->path);
}

/* The WAL stays the same file as long as the connection is open. SQLite has no lock on it that closing another descriptor would drop. */
static bool open_wal(struct ledger *l, struct error *err)
{
	AUTO_FREE char *path = xasprintf("%s-wal", l->path);
	l->wal_fd = open(path, O_RDONLY | O_CLOEXEC);
	return l->wal_fd >= 0 || error_errno(err, "could not open '%s'", path);
}

bool ledger_set_lazy(struct ledger *l, bool lazy, struct error *err)
{
	if (!ledger_flush(l, err)) {
		return false;
	}
	if (lazy) {
		return open_wal(l, err) && exec(l, "PRAGMA synchronous = NORMAL", err);
	}
	bool ok = exec(l, "PRAGMA synchronous = FULL", err) && ledger_sync(l, err);
	close(l->wal_fd);
	l->wal_fd = -1;
	return ok;
}

void ledger_rollback(struct ledger *l)
{
	if (l->in_transaction) {
		sqlite3_exec(l->db, "ROLLBACK", NULL, NULL, NULL);
		tally_drop(l);
		l->in_transaction = false;
		l->dirty_rows = 0;
	}
}

bool ledger_dirty(const struct ledger *l)
{
	return l->in_transaction;
}

void ledger_set_commit_rows(struct ledger *l, unsigned rows)
{
	l->commit_rows = rows;
}

bool ledger_step(struct ledger *l, sqlite3_stmt *stmt, struct error *err)
{
	bool ok = sqlite3_step(stmt) == SQLITE_DONE || ledger_db_error(l, err);
	sqlite3_reset(stmt);
	if (!ok) {
		return false;
	}
	l->dirty_rows++;
	return l->dirty_rows < l->commit_rows || ledger_flush(l, err);
}

void ledger_bind_z(sqlite3_stmt *stmt, int i, const char *z)
{
	sqlite3_bind_text(stmt, i, z, -1, SQLITE_STATIC); /* NULL binds NULL */
}

/* A copy; one that is not made would be NULL, and most columns may be. */
static void bind_bytes(sqlite3_stmt *stmt, int i, const void *bytes, size_t len)
{
	if (sqlite3_bind_blob64(stmt, i, bytes, len, SQLITE_TRANSIENT) == SQLITE_NOMEM) {
		oom();
	}
}

void ledger_bind_dict(sqlite3_stmt *stmt, int i, int64_t dict)
{
	if (dict) {
		sqlite3_bind_int64(stmt, i, dict);
	}
}

const char *ledger_column_z(sqlite3_stmt *stmt, int i, struct arena *arena)
{
	/* Asked first: a text for which there was no memory becomes NULL. */
	if (sqlite3_column_type(stmt, i) == SQLITE_NULL) {
		return NULL;
	}
	const void *text = sqlite3_column_text(stmt, i);
	if (!text) {
		oom();
	}
	return arena_memdup0(arena, text, (size_t)sqlite3_column_bytes(stmt, i));
}

/* --- opening --- */

static int64_t pragma_int(struct ledger *l, const char *sql)
{
	sqlite3_stmt *stmt;
	int64_t value = -1;
	if (sqlite3_prepare_v2(l->db, sql, -1, &stmt, NULL) == SQLITE_OK &&
		sqlite3_step(stmt) == SQLITE_ROW) {
		value = sqlite3_column_int64(stmt, 0);
	}
	sqlite3_finalize(stmt);
	return value;
}

static bool create(struct ledger *l, struct error *err)
{
	AUTO_FREE char *version = xasprintf("PRAGMA application_id = %d; PRAGMA user_version = %d;",
		APPLICATION_ID, SCHEMA_VERSION);
	return exec(l, "PRAGMA journal_mode = WAL", err) && exec(l, "BEGIN IMMEDIATE", err) &&
		exec(l, schema_sql, err) && exec(l, tally_sql, err) && exec(l, version, err) &&
		exec(l, "COMMIT", err);
}

static bool check_version(struct ledger *l, struct error *err)
{
	if (pragma_int(l, "PRAGMA application_id") != APPLICATION_ID) {
		if (sqlite3_errcode(l->db) == SQLITE_OK || sqlite3_errcode(l->db) == SQLITE_ROW ||
			sqlite3_errcode(l->db) == SQLITE_DONE) {
			return error_set(err, FAIL_DATA, "'%s' is not a ledger", l->path);
		}
		return ledger_db_error(l, err);
	}
	int64_t version = pragma_int(l, "PRAGMA user_version");
	if (version > SCHEMA_VERSION) {
		error_set(err, FAIL_DATA,
			"ledger '%s' has version %lld, this thresh (%s) reads up to %d", l->path,
			(long long)version, THRESH_VERSION, SCHEMA_VERSION);
		return error_hint(err, "use the thresh that made it, or a newer one");
	}
	/* There is no older one; migrations go here. */
	return version == SCHEMA_VERSION ||
		error_set(err, FAIL_DATA, "ledger '%s' has version %lld, which no thresh has made",
			l->path, (long long)version);
}

static bool set_up(struct ledger *l, struct error *err)
{
	/* A copy (ledger_copy) comes without WAL. */
	return (l->read_only ||
		       exec(l,
			       "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA "
			       "foreign_keys = ON",
			       err)) &&
		exec(l,
			"PRAGMA cache_size = -4096; PRAGMA temp_store = FILE; PRAGMA "
			"journal_size_limit = 4194304",
			err);
}

/*
 * Ledgers made before scores had a mark and a cost. One that is only read gets them in front of it, as the connection's own
 * view: the night it tells of is over and its file stays as it is.
 */
static bool add_audits(struct ledger *l, struct error *err)
{
	if (pragma_int(l, "SELECT count(*) FROM pragma_table_info('score') WHERE name = 'audit'") !=
		0) {
		return true;
	}
	return exec(l,
		l->read_only
			? "CREATE TEMP VIEW score AS SELECT *, 0 AS audit, 0 AS us, 0 AS n_tokens "
			  "FROM main.score;"
			  "CREATE TEMP TABLE previous (candidate INTEGER PRIMARY KEY, outcome TEXT)"
			: "BEGIN IMMEDIATE; ALTER TABLE score ADD COLUMN audit INTEGER NOT NULL "
			  "DEFAULT 0; ALTER TABLE score ADD COLUMN us INTEGER NOT NULL DEFAULT 0;"
			  "ALTER TABLE score ADD COLUMN n_tokens INTEGER NOT NULL DEFAULT 0;"
			  "CREATE TABLE previous (candidate INTEGER PRIMARY KEY REFERENCES "
			  "candidate (id), outcome TEXT NOT NULL) STRICT; COMMIT",
		err);
}

/*
 * Ledgers made before the selection knew of repeats and duplicates, whose closed list did not have them; whoever only reads does not miss it.
 * Their outcomes are no closed list any more.
 */
static bool add_repeats(struct ledger *l, struct error *err)
{
	if (l->read_only ||
		pragma_int(l,
			"SELECT count(*) FROM pragma_table_info('selection') WHERE name = "
			"'hash'") != 0) {
		return true;
	}
	return exec(l,
		"BEGIN IMMEDIATE; CREATE TABLE new_selection (candidate INTEGER PRIMARY KEY "
		"REFERENCES candidate (id), rank INTEGER NOT NULL, outcome TEXT NOT NULL, hash "
		"INTEGER) STRICT;"
		"INSERT INTO new_selection SELECT candidate, rank, outcome, NULL FROM selection; "
		"DROP TABLE selection; ALTER TABLE new_selection RENAME TO selection; COMMIT",
		err);
}

/* And those made before the dedup stage. */
static bool add_duplicates(struct ledger *l, struct error *err)
{
	if (pragma_int(l, "SELECT count(*) FROM sqlite_schema WHERE name = 'duplicate'") != 0) {
		return true;
	}
	return exec(l,
		l->read_only
			? "CREATE TEMP TABLE duplicate (candidate INTEGER PRIMARY KEY, run TEXT, "
			  "original INTEGER, likeness REAL, same INTEGER, stand_in INTEGER)"
			: "BEGIN IMMEDIATE; CREATE TABLE duplicate (candidate INTEGER PRIMARY KEY "
			  "REFERENCES candidate (id), run TEXT, original INTEGER NOT NULL, "
			  "likeness REAL NOT NULL, same INTEGER NOT NULL, stand_in INTEGER) STRICT;"
			  "CREATE INDEX duplicate_stand_in ON duplicate (stand_in) WHERE stand_in "
			  "IS NOT NULL; COMMIT",
		err);
}

static bool load_dicts(struct ledger *l, struct error *err)
{
	sqlite3_stmt *stmt = ledger_stmt(l, "SELECT id, kind, bytes FROM dict ORDER BY id", err);
	int rc = SQLITE_ERROR;
	while (stmt && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		for (int kind = 0; kind < BODY_N_KINDS; kind++) {
			if (strcmp((const char *)sqlite3_column_text(stmt, 1),
				    body_kind_names[kind]) == 0) {
				body_codec_add_dict(&l->codec, sqlite3_column_int64(stmt, 0), kind,
					sqlite3_column_blob(stmt, 2),
					(size_t)sqlite3_column_bytes(stmt, 2));
			}
		}
	}
	if (rc != SQLITE_DONE) {
		return stmt ? ledger_db_error(l, err) : false;
	}
	sqlite3_reset(stmt);
	return true;
}

struct ledger *ledger_open(const char *path, enum ledger_mode mode, struct error *err)
{
	struct ledger *l = xcalloc(1, sizeof(*l));
	l->path = xstrdup(path);
	l->commit_rows = COMMIT_ROWS;
	l->wal_fd = -1;
	l->read_only = mode == LEDGER_READ;
	body_codec_init(&l->codec);
	if (mode == LEDGER_CREATE && access(path, F_OK) == 0) {
		error_set(err, FAIL_IO, "ledger '%s' is already there", path);
		goto fail_open;
	}
	int flags = mode == LEDGER_READ ? SQLITE_OPEN_READONLY
		: mode == LEDGER_WRITE  ? SQLITE_OPEN_READWRITE
					: SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
	if (sqlite3_open_v2(path, &l->db, flags | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK) {
		if (!l->db) {
			oom();
		}
		error_set(err, FAIL_IO, "could not open ledger '%s': %s", path,
			sqlite3_errmsg(l->db));
		goto fail_open;
	}
	sqlite3_busy_timeout(l->db, BUSY_TIMEOUT_MS);
	sqlite3_extended_result_codes(l->db, 0);
	if ((mode == LEDGER_CREATE && !create(l, err)) || !check_version(l, err) ||
		!set_up(l, err) || !add_audits(l, err) || !add_repeats(l, err) ||
		!add_duplicates(l, err) || !tally_open(l, err) || !load_dicts(l, err) ||
		!ledger_add_functions(l, err)) {
		goto fail_open;
	}
	return l;

fail_open:
	ledger_close(l);
	return NULL;
}

void ledger_close(struct ledger *l)
{
	if (!l) {
		return;
	}
	struct error ignored;
	if (l->db && !l->read_only && !ledger_flush(l, &ignored)) {
		/* The caller was told to flush when it matters; what is lost here is done again on resume. */
	}
	for (size_t i = 0; i < l->n_statements; i++) {
		sqlite3_finalize(l->statements[i].stmt);
	}
	sqlite3_close(l->db);
	if (l->wal_fd >= 0) {
		close(l->wal_fd);
	}
	body_codec_release(&l->codec);
	tally_free(l);
	free(l->path);
	free(l);
}

bool ledger_copy(struct ledger *l, const char *to_path, struct error *err)
{
	if (!ledger_flush(l, err)) {
		return false;
	}
	sqlite3_stmt *stmt = ledger_stmt(l, "VACUUM INTO ?", err);
	if (!stmt) {
		return false;
	}
	ledger_bind_z(stmt, 1, to_path);
	bool ok = sqlite3_step(stmt) == SQLITE_DONE || ledger_db_error(l, err);
	sqlite3_reset(stmt);
	return ok;
}

/* --- facts --- */

bool ledger_set_meta(struct ledger *l, const char *key, const char *value, struct error *err)
{
	sqlite3_stmt *stmt = ledger_stmt(l,
		"INSERT INTO meta VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value",
		err);
	if (!stmt || !ledger_begin(l, err)) {
		return false;
	}
	ledger_bind_z(stmt, 1, key);
	ledger_bind_z(stmt, 2, value);
	if (strcmp(key, "verdicts") == 0) {
		tally_forget_verdicts(l);
	}
	return ledger_step(l, stmt, err);
}

bool ledger_clear_meta(struct ledger *l, const char *key, struct error *err)
{
	sqlite3_stmt *stmt = ledger_stmt(l, "DELETE FROM meta WHERE key = ?", err);
	if (!stmt || !ledger_begin(l, err)) {
		return false;
	}
	ledger_bind_z(stmt, 1, key);
	return ledger_step(l, stmt, err);
}

bool ledger_set_fingerprint(
	struct ledger *l, const char *stage, const char *path, const char *value, struct error *err)
{
	sqlite3_stmt *stmt = ledger_stmt(l,
		"INSERT INTO fingerprint VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET value = "
		"excluded.value",
		err);
	if (!stmt || !ledger_begin(l, err)) {
		return false;
	}
	ledger_bind_z(stmt, 1, stage);
	ledger_bind_z(stmt, 2, path);
	ledger_bind_z(stmt, 3, value);
	return ledger_step(l, stmt, err);
}

bool ledger_clear_fingerprint(struct ledger *l, const char *stage, struct error *err)
{
	sqlite3_stmt *stmt = ledger_stmt(l, "DELETE FROM fingerprint WHERE stage = ?", err);
	if (!stmt || !ledger_begin(l, err)) {
		return false;
	}
	ledger_bind_z(stmt, 1, stage);
	return ledger_step(l, stmt, err);
}

bool ledger_set_stage(struct ledger *l, const char *name, bool done, int64_t busy_ms,
	const char *facts, struct error *err)
{
	sqlite3_stmt *stmt = ledger_stmt(l,
		"INSERT INTO stage (name, state, busy_ms, ended_ms, facts) VALUES (?1, ?2, ?3, "
		"CASE ?2 WHEN 'done' THEN unixepoch() * 1000 END, ?4)"
		" ON CONFLICT DO UPDATE SET state = excluded.state, busy_ms = busy_ms + "
		"excluded.busy_ms, ended_ms = excluded.ended_ms,"
		" facts = coalesce(excluded.facts, facts)",
		err);
	if (!stmt || !ledger_begin(l, err)) {
		return false;
	}
	ledger_bind_z(stmt, 1, name);
	ledger_bind_z(stmt, 2, done ? "done" : "open");
	sqlite3_bind_int64(stmt, 3, busy_ms);
	ledger_bind_z(stmt, 4, facts);
	return ledger_step(l, stmt, err);
}

/* --- bodies --- */

/*
 * Packs `raw` and binds frame and dictionary. Training happens here, in the transaction of the row that completed the
 * samples, so a dictionary is durable no later than the first row that needs it.
 */
static bool bind_body(struct ledger *l, sqlite3_stmt *stmt, int i_frame, int i_dict,
	enum body_kind kind, struct slice raw, struct error *err)
{
	if (body_codec_sample(&l->codec, kind, raw)) {
		struct zip_dict *dict = body_codec_train(&l->codec, kind);
		if (dict) {
			size_t len;
			const void *bytes = zip_dict_bytes(dict, &len);
			sqlite3_stmt *add = ledger_stmt(
				l, "INSERT INTO dict (kind, bytes) VALUES (?, ?)", err);
			if (add) {
				ledger_bind_z(add, 1, body_kind_names[kind]);
				sqlite3_bind_blob64(add, 2, bytes, len, SQLITE_STATIC);
			}
			bool ok = add &&
				(sqlite3_step(add) == SQLITE_DONE || ledger_db_error(l, err));
			if (add) {
				sqlite3_reset(add);
				sqlite3_clear_bindings(add);
			}
			if (ok) {
				body_codec_add_dict(&l->codec, sqlite3_last_insert_rowid(l->db),
					kind, bytes, len);
			}
			zip_dict_free(dict);
			if (!ok) {
				return false;
			}
		}
	}
	int64_t dict = body_pack(&l->codec, kind, raw);
	bind_bytes(stmt, i_frame, l->codec.out.data, l->codec.out.len);
	ledger_bind_dict(stmt, i_dict, dict);
	return true;
}

static bool bind_ids(struct ledger *l, sqlite3_stmt *stmt, int i_frame, int i_dict,
	const uint32_t *ids, size_t n, struct error *err)
{
	str_reset(&l->codec.raw);
	body_encode_ids(ids, n, &l->codec.raw);
	return bind_body(l, stmt, i_frame, i_dict, BODY_IDS,
		(struct slice){l->codec.raw.data, l->codec.raw.len}, err);
}

/* --- prompts --- */

bool ledger_add_prompt(struct ledger *l, const struct ledger_prompt *p, struct error *err)
{
	sqlite3_stmt *stmt = ledger_stmt(l,
		"INSERT INTO prompt (id, prompt_id, source, row_no, fields, fields_dict) VALUES "
		"(?, ?, ?, ?, ?, ?)",
		err);
	if (!stmt || !ledger_begin(l, err)) {
		return false;
	}
	tally_prompt_in(l, p->source);
	sqlite3_bind_int64(stmt, 1, p->id);
	ledger_bind_z(stmt, 2, p->prompt_id);
	ledger_bind_z(stmt, 3, p->source);
	sqlite3_bind_int64(stmt, 4, (int64_t)p->row_no);
	return bind_body(l, stmt, 5, 6, BODY_FIELDS, p->fields, err) && ledger_step(l, stmt, err);
}

bool ledger_set_prompt_ids(
	struct ledger *l, int64_t id, const uint32_t *ids, size_t n, struct error *err)
{
	sqlite3_stmt *stmt = ledger_stmt(
		l, "UPDATE prompt SET n_ids = ?, ids = ?, ids_dict = ? WHERE id = ?", err);
	if (!stmt || !ledger_begin(l, err)) {
		return false;
	}
	sqlite3_bind_int64(stmt, 1, (int64_t)n);
	sqlite3_bind_int64(stmt, 4, id);
	return bind_ids(l, stmt, 2, 3, ids, n, err) && ledger_step(l, stmt, err);
}

/* `sql` sets state, reason and detail of the row `id`. */
static bool set_state(struct ledger *l, const char *sql, int64_t id, const char *state,
	const char *reason, const char *detail, struct error *err)
{
	sqlite3_stmt *stmt = ledger_stmt(l, sql, err);
	if (!stmt || !ledger_begin(l, err)) {
		return false;
	}
	ledger_bind_z(stmt, 1, state);
	ledger_bind_z(stmt, 2, reason);
	ledger_bind_z(stmt, 3, detail);
	sqlite3_bind_int64(stmt, 4, id);
	return ledger_step(l, stmt, err);
}

bool ledger_settle_prompt(struct ledger *l, int64_t id, const char *state, const char *reason,
	const char *detail, struct error *err)
{
	return ledger_begin(l, err) && tally_prompt_change(l, id, state, reason, err) &&
		set_state(l, "UPDATE prompt SET state = ?, reason = ?, detail = ? WHERE id = ?", id,
			state, reason, detail, err);
}

/* --- candidates --- */

static bool add_body(struct ledger *l, const struct ledger_candidate *c, struct error *err)
{
	sqlite3_stmt *stmt = ledger_stmt(
		l, "INSERT INTO candidate_body VALUES (?, ?, ?, ?, ?, ?)", err);
	if (!stmt) {
		return false;
	}
	sqlite3_bind_int64(stmt, 1, c->id);
	if (!bind_body(l, stmt, 2, 3, BODY_TEXT, c->text, err)) {
		return false;
	}
	if (c->ids && !bind_ids(l, stmt, 4, 5, c->ids, c->n_ids, err)) {
		return false;
	}
	if (c->logprobs) {
		str_reset(&l->codec.raw);
		str_reset(&l->codec.out);
		half_encode(c->logprobs, c->n_ids, &l->codec.raw);
		zip_compress(&l->codec.zip, l->codec.raw.data, l->codec.raw.len, 3, &l->codec.out);
		bind_bytes(stmt, 6, l->codec.out.data, l->codec.out.len);
	}
	return ledger_step(l, stmt, err);
}

bool ledger_add_candidate(struct ledger *l, const struct ledger_candidate *c, struct error *err)
{
	sqlite3_stmt *stmt = ledger_stmt(l,
		"INSERT INTO candidate (id, prompt, idx, wave, seed, state, reason, detail, "
		"finish, n_tokens, token_source, endpoint,"
		" attempts, latency_ms, created_ms, n_read) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, "
		"?, ?, ?, ?, ?, ?)",
		err);
	if (!stmt || !ledger_begin(l, err) || !tally_candidate_in(l, c, err)) {
		return false;
	}
	sqlite3_bind_int64(stmt, 1, c->id);
	sqlite3_bind_int64(stmt, 2, c->prompt);
	sqlite3_bind_int64(stmt, 3, c->idx);
	sqlite3_bind_int64(stmt, 4, c->wave);
	sqlite3_bind_int64(stmt, 5, c->seed);
	ledger_bind_z(stmt, 6, c->state);
	ledger_bind_z(stmt, 7, c->reason);
	ledger_bind_z(stmt, 8, c->detail);
	ledger_bind_z(stmt, 9, c->finish);
	sqlite3_bind_int64(stmt, 10, c->n_tokens);
	ledger_bind_z(stmt, 11, c->token_source);
	ledger_bind_z(stmt, 12, c->endpoint);
	sqlite3_bind_int64(stmt, 13, c->attempts);
	sqlite3_bind_int64(stmt, 14, c->latency_ms);
	sqlite3_bind_int64(stmt, 15, c->created_ms);
	if (c->n_read >= 0) {
		sqlite3_bind_int64(stmt, 16, c->n_read);
	} else {
		sqlite3_bind_null(stmt, 16);
	}
	/* The body must never be committed apart from its candidate, so the row limit may not strike between them. */
	if (sqlite3_step(stmt) != SQLITE_DONE) {
		ledger_db_error(l, err);
		sqlite3_reset(stmt);
		return false;
	}
	sqlite3_reset(stmt);
	if (!c->text.data) {
		l->dirty_rows++;
		return true;
	}
	if (!add_body(l, c, err)) {
		l->broken =
			true; /* whatever the reason: the candidate must not be committed alone */
		return false;
	}
	return true;
}

bool ledger_add_score(
	struct ledger *l, int64_t candidate, const struct ledger_score *score, struct error *err)
{
	sqlite3_stmt *stmt = ledger_stmt(
		l, "INSERT OR REPLACE INTO score VALUES (?, ?, ?, ?, ?, ?, ?, ?)", err);
	if (!stmt || !ledger_begin(l, err) || !tally_score_change(l, candidate, score, err)) {
		return false;
	}
	sqlite3_bind_int64(stmt, 1, candidate);
	ledger_bind_z(stmt, 2, score->verifier);
	if (score->known) {
		sqlite3_bind_double(stmt, 3, score->value);
	}
	ledger_bind_z(stmt, 4, score->reason);
	ledger_bind_z(stmt, 5, score->detail);
	sqlite3_bind_int(stmt, 6, score->audit);
	sqlite3_bind_int64(stmt, 7, score->us);
	sqlite3_bind_int64(stmt, 8, score->n_tokens);
	bool ok = sqlite3_step(stmt) == SQLITE_DONE || ledger_db_error(l, err);
	sqlite3_reset(stmt);
	l->dirty_rows++; /* committed with the state that follows */
	return ok;
}

bool ledger_clear_scores(struct ledger *l, int64_t candidate, struct error *err)
{
	sqlite3_stmt *stmt = ledger_stmt(l, "DELETE FROM score WHERE candidate = ?", err);
	if (!stmt || !ledger_begin(l, err) || !tally_scores_out(l, candidate, err)) {
		return false;
	}
	sqlite3_bind_int64(stmt, 1, candidate);
	/* Not counted as a row, so that no commit falls between this and what comes in its place. */
	bool ok = sqlite3_step(stmt) == SQLITE_DONE || ledger_db_error(l, err);
	sqlite3_reset(stmt);
	return ok;
}

bool ledger_set_candidate_state(struct ledger *l, int64_t id, const char *state, const char *reason,
	const char *detail, struct error *err)
{
	return ledger_begin(l, err) && tally_candidate_change(l, id, state, reason, err) &&
		set_state(l, "UPDATE candidate SET state = ?, reason = ?, detail = ? WHERE id = ?",
			id, state, reason, detail, err);
}

/* --- taking back --- */

/* Several statements about the selection that are only right together, in a transaction of their own. */
static bool exec_together(struct ledger *l, const char *sql, struct error *err)
{
	return ledger_flush(l, err) && ledger_begin(l, err) && exec(l, sql, err) &&
		tally_recount_selection(l, err) && ledger_flush(l, err);
}

static bool drop_scores(struct ledger *l, const char *keep, struct error *err)
{
	sqlite3_stmt *stmt = ledger_stmt(l,
		"DELETE FROM score WHERE value IS NULL OR verifier NOT IN (SELECT json_each.value "
		"FROM json_each(?))",
		err);
	if (!stmt) {
		return false;
	}
	ledger_bind_z(stmt, 1, keep);
	bool ok = sqlite3_step(stmt) == SQLITE_DONE || ledger_db_error(l, err);
	sqlite3_reset(stmt);
	return ok;
}

bool ledger_reset_verify(struct ledger *l, const char *keep, struct error *err)
{
	/* Together with what follows, which ends the transaction. */
	if (!ledger_flush(l, err) || !ledger_begin(l, err) || !drop_scores(l, keep, err)) {
		return false;
	}
	return exec(l,
		       "DELETE FROM shard; DELETE FROM plan; DELETE FROM duplicate; DELETE FROM "
		       "selection;"
		       "UPDATE candidate SET state = 'pending', reason = NULL, detail = NULL"
		       " WHERE state IN ('accepted', 'undecided') OR (state = 'rejected' AND "
		       "reason = "
		       "'accept');"
		       "UPDATE prompt SET state = 'pending', reason = NULL, detail = NULL WHERE "
		       "state = "
		       "'settled' OR reason = 'unverifiable';"
		       "UPDATE stage SET state = 'open' WHERE name <> 'sample'",
		       err) &&
		tally_recount(l, err) && ledger_flush(l, err);
}

bool ledger_keep_selection(struct ledger *l, struct error *err)
{
	return exec_together(l,
		"DELETE FROM previous WHERE EXISTS (SELECT 1 FROM selection);"
		"INSERT OR IGNORE INTO previous SELECT candidate, outcome FROM selection",
		err);
}

bool ledger_clear_selection(struct ledger *l, struct error *err)
{
	return exec_together(l,
		"DELETE FROM shard; DELETE FROM plan; DELETE FROM duplicate; DELETE FROM selection",
		err);
}

bool ledger_clear_duplicates(struct ledger *l, struct error *err)
{
	return exec_together(l,
		"DELETE FROM shard; DELETE FROM plan;"
		"UPDATE selection SET outcome = 'per_prompt' WHERE candidate IN (SELECT stand_in "
		"FROM duplicate);"
		"UPDATE selection SET outcome = 'chosen' WHERE outcome IN ('duplicate', "
		"'over_long', 'empty'); DELETE FROM duplicate",
		err);
}

bool ledger_clear_plan(struct ledger *l, struct error *err)
{
	return exec_together(l,
		"DELETE FROM shard; DELETE FROM plan; UPDATE selection SET outcome = 'chosen' "
		"WHERE outcome IN ('over_long', 'empty')",
		err);
}

/* --- selection, plan, shards --- */

bool ledger_add_selection(struct ledger *l, int64_t candidate, uint32_t rank, const char *outcome,
	const int64_t *hash, struct error *err)
{
	sqlite3_stmt *stmt = ledger_stmt(l,
		"INSERT INTO selection VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET outcome = "
		"excluded.outcome",
		err);
	if (!stmt || !ledger_begin(l, err) || !tally_selection_change(l, candidate, outcome, err)) {
		return false;
	}
	sqlite3_bind_int64(stmt, 1, candidate);
	sqlite3_bind_int64(stmt, 2, rank);
	ledger_bind_z(stmt, 3, outcome);
	if (hash) {
		sqlite3_bind_int64(stmt, 4, *hash);
	}
	return ledger_step(l, stmt, err);
}

bool ledger_add_duplicate(
	struct ledger *l, int64_t candidate, const struct ledger_duplicate *d, struct error *err)
{
	sqlite3_stmt *mark = ledger_stmt(
		l, "UPDATE selection SET outcome = 'duplicate' WHERE candidate = ?", err);
	sqlite3_stmt *stmt = mark
		? ledger_stmt(l, "INSERT INTO duplicate VALUES (?, ?, ?, ?, ?, NULL)", err)
		: NULL;
	if (!stmt || !ledger_begin(l, err) ||
		!tally_selection_change(l, candidate, "duplicate", err)) {
		return false;
	}
	sqlite3_bind_int64(mark, 1, candidate);
	sqlite3_bind_int64(stmt, 1, candidate);
	ledger_bind_z(stmt, 2, d->run);
	sqlite3_bind_int64(stmt, 3, d->original);
	sqlite3_bind_double(stmt, 4, d->likeness);
	sqlite3_bind_int(stmt, 5, d->same);
	return ledger_step(l, stmt, err) && ledger_step(l, mark, err);
}

bool ledger_choose_stand_in(
	struct ledger *l, int64_t candidate, const int64_t *hash, struct error *err)
{
	sqlite3_stmt *choose = ledger_stmt(
		l, "UPDATE selection SET outcome = 'chosen', hash = ?2 WHERE candidate = ?1", err);
	sqlite3_stmt *note = choose ? ledger_stmt(l,
					      "UPDATE duplicate SET stand_in = ?1 WHERE candidate "
					      "= (SELECT min(d.candidate) "
					      "FROM duplicate d WHERE d.candidate BETWEEN ?1 / "
					      "4096 * 4096 AND ?1 / 4096 "
					      "* 4096 + 4095 AND d.stand_in IS NULL)",
					      err)
				    : NULL;
	if (!note || !ledger_begin(l, err) ||
		!tally_selection_change(l, candidate, "chosen", err)) {
		return false;
	}
	sqlite3_bind_int64(choose, 1, candidate);
	if (hash) {
		sqlite3_bind_int64(choose, 2, *hash);
	}
	sqlite3_bind_int64(note, 1, candidate);
	return ledger_step(l, note, err) && ledger_step(l, choose, err);
}

bool ledger_add_plan(
	struct ledger *l, uint64_t row, uint32_t pos, int64_t candidate, struct error *err)
{
	sqlite3_stmt *stmt = ledger_stmt(l, "INSERT INTO plan VALUES (?, ?, ?)", err);
	if (!stmt || !ledger_begin(l, err)) {
		return false;
	}
	sqlite3_bind_int64(stmt, 1, (int64_t)row);
	sqlite3_bind_int64(stmt, 2, pos);
	sqlite3_bind_int64(stmt, 3, candidate);
	return ledger_step(l, stmt, err);
}

bool ledger_add_shard(
	struct ledger *l, const char *folder, const struct ledger_shard *s, struct error *err)
{
	sqlite3_stmt *stmt = ledger_stmt(
		l, "INSERT OR REPLACE INTO shard VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", err);
	if (!stmt || !ledger_begin(l, err)) {
		return false;
	}
	ledger_bind_z(stmt, 1, folder);
	sqlite3_bind_int64(stmt, 2, s->no);
	sqlite3_bind_int64(stmt, 3, (int64_t)s->first_row);
	sqlite3_bind_int64(stmt, 4, (int64_t)s->n_rows);
	sqlite3_bind_int64(stmt, 5, (int64_t)s->raw_bytes);
	sqlite3_bind_int64(stmt, 6, (int64_t)s->zip_bytes);
	ledger_bind_z(stmt, 7, s->raw_xxh64);
	ledger_bind_z(stmt, 8, s->zip_xxh64);
	ledger_bind_z(stmt, 9, s->zip_sha256);
	return ledger_step(l, stmt, err) && ledger_flush(l, err);
}
