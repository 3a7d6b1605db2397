/*
 * The counts of a ledger (tally.sql). Whoever writes a row says so here first; the differences are summed up in memory, a cell for
 * each key, and written before each commit, so that a commit of 256 rows costs some twenty updates. What replaces many rows at
 * once has them counted again, and so has a write that failed, as nobody knows what was told of it before.
 *
 * Triggers would need no telling, and cost a sixth of the client's time. A ledger that was made before there were counts gets them when it is opened
 * for writing; one that is only read gets views in their place, which count.
 */
#include "base/mem.h"
#include "ledger/ledger.h"
#include "ledger/ledger_db.h"
#include "ledger/schema.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A row of `tally`, of which n and what follows are differences. */
struct cell {
	const char *what; /* a literal */
	char *source, *state, *reason; /* own */
	int64_t n, n_tokens, told, sent, read;
	bool dirty;
};

struct score_cell {
	char *verifier, *reason; /* own */
	bool known;
	int64_t n, n_audit, us, n_tokens, n_between;
	double total, low, high; /* NaN: no value came */
	bool dirty;
};

struct pair_cell {
	char *a, *b; /* own */
	int64_t n, n_apart;
	bool dirty;
};

struct tally {
	struct cell *cells; /* owns n_cells */
	size_t n_cells, cells_cap;
	struct score_cell *scores; /* owns n_scores */
	size_t n_scores, scores_cap;
	struct pair_cell *pairs; /* owns n_pairs */
	size_t n_pairs, pairs_cap;
	char *verdicts; /* owns: the list of verifiers as the ledger has it; NULL: not read yet */
	bool unsure; /* a write has failed: the rows must be counted */
};

/* --- cells --- */

static struct cell *cell_of(struct tally *t, const char *what, const char *source,
	const char *state, const char *reason)
{
	for (size_t i = 0; i < t->n_cells; i++) {
		struct cell *c = &t->cells[i];
		if (strcmp(c->state, state) == 0 && strcmp(c->what, what) == 0 &&
			strcmp(c->reason, reason) == 0 && strcmp(c->source, source) == 0) {
			return c;
		}
	}
	t->cells = array_room(t->cells, t->n_cells, &t->cells_cap, sizeof(*t->cells));
	t->cells[t->n_cells] = (struct cell){.what = what,
		.source = xstrdup(source),
		.state = xstrdup(state),
		.reason = xstrdup(reason)};
	return &t->cells[t->n_cells++];
}

/* What of a candidate is summed up. */
struct amounts {
	int64_t n_tokens, told, sent, read;
};

static void count(struct ledger *l, const char *what, const char *source, const char *state,
	const char *reason, const struct amounts *a, int sign)
{
	struct cell *c = cell_of(l->tally, what, source, state, reason ? reason : "");
	c->n += sign;
	c->n_tokens += sign * a->n_tokens;
	c->told += sign * a->told;
	c->sent += sign * a->sent;
	c->read += sign * a->read;
	c->dirty = true;
}

static struct score_cell *score_cell_of(
	struct tally *t, const char *verifier, bool known, const char *reason)
{
	for (size_t i = 0; i < t->n_scores; i++) {
		struct score_cell *c = &t->scores[i];
		if (c->known == known && strcmp(c->verifier, verifier) == 0 &&
			strcmp(c->reason, reason) == 0) {
			return c;
		}
	}
	t->scores = array_room(t->scores, t->n_scores, &t->scores_cap, sizeof(*t->scores));
	t->scores[t->n_scores] = (struct score_cell){.verifier = xstrdup(verifier),
		.reason = xstrdup(reason),
		.known = known,
		.low = NAN,
		.high = NAN};
	return &t->scores[t->n_scores++];
}

static void count_score(struct ledger *l, const struct ledger_score *s, int sign)
{
	struct score_cell *c = score_cell_of(l->tally, s->verifier, s->known, s->reason);
	c->n += sign;
	c->n_audit += sign * s->audit;
	c->us += sign * s->us;
	c->n_tokens += sign * (int64_t)s->n_tokens;
	c->dirty = true;
	if (s->known) {
		c->n_between += sign * (s->value > 0 && s->value < 1);
		c->total += sign * s->value;
		c->low = sign > 0 ? fmin(c->low, s->value) : c->low;
		c->high = sign > 0 ? fmax(c->high, s->value) : c->high;
	}
}

static void count_pair(struct tally *t, const char *v, double value, const char *other,
	double other_value, int sign)
{
	const char *a = strcmp(v, other) < 0 ? v : other, *b = a == v ? other : v;
	size_t i = 0;
	while (i < t->n_pairs && (strcmp(t->pairs[i].a, a) != 0 || strcmp(t->pairs[i].b, b) != 0)) {
		i++;
	}
	if (i == t->n_pairs) {
		t->pairs = array_room(t->pairs, t->n_pairs, &t->pairs_cap, sizeof(*t->pairs));
		t->pairs[t->n_pairs++] = (struct pair_cell){.a = xstrdup(a), .b = xstrdup(b)};
	}
	t->pairs[i].n += sign;
	t->pairs[i].n_apart += sign * ((value >= 0.5) != (other_value >= 0.5));
	t->pairs[i].dirty = true;
}

/* --- what is told --- */

static const char *text(sqlite3_stmt *stmt, int i)
{
	return (const char *)sqlite3_column_text(stmt, i);
}

/* Ends a statement that gave one row or none. */
static bool over(struct ledger *l, sqlite3_stmt *stmt, int rc, struct error *err)
{
	bool ok = rc == SQLITE_ROW || rc == SQLITE_DONE || ledger_db_error(l, err);
	sqlite3_reset(stmt);
	return ok;
}

static sqlite3_stmt *look_up(struct ledger *l, const char *sql, int64_t id, struct error *err)
{
	sqlite3_stmt *stmt = ledger_stmt(l, sql, err);
	if (stmt) {
		sqlite3_bind_int64(stmt, 1, id);
	}
	return stmt;
}

void tally_prompt_in(struct ledger *l, const char *source)
{
	count(l, "prompt", source, "pending", NULL, &(struct amounts){0}, 1);
}

bool tally_prompt_change(
	struct ledger *l, int64_t id, const char *state, const char *reason, struct error *err)
{
	sqlite3_stmt *stmt = look_up(
		l, "SELECT source, state, reason FROM prompt WHERE id = ?", id, err);
	int rc = stmt ? sqlite3_step(stmt) : SQLITE_ERROR;
	if (rc == SQLITE_ROW) {
		const struct amounts none = {0};
		count(l, "prompt", text(stmt, 0), text(stmt, 1), text(stmt, 2), &none, -1);
		count(l, "prompt", text(stmt, 0), state, reason, &none, 1);
	}
	return stmt && over(l, stmt, rc, err);
}

bool tally_candidate_in(struct ledger *l, const struct ledger_candidate *c, struct error *err)
{
	sqlite3_stmt *stmt = look_up(
		l, "SELECT source, coalesce(n_ids, 0) FROM prompt WHERE id = ?", c->prompt, err);
	int rc = stmt ? sqlite3_step(stmt) : SQLITE_ERROR;
	if (rc == SQLITE_ROW) {
		bool told = c->n_read >= 0;
		count(l, "candidate", text(stmt, 0), c->state, c->reason,
			&(struct amounts){c->n_tokens, told,
				told ? sqlite3_column_int64(stmt, 1) : 0, told ? c->n_read : 0},
			1);
	}
	return stmt && over(l, stmt, rc, err);
}

bool tally_candidate_change(
	struct ledger *l, int64_t id, const char *state, const char *reason, struct error *err)
{
	sqlite3_stmt *stmt = look_up(l,
		"SELECT p.source, c.state, c.reason, c.n_tokens, c.n_read IS NOT NULL, "
		"iif(c.n_read IS NULL, 0, coalesce(p.n_ids, 0)), coalesce(c.n_read, 0) FROM "
		"candidate c JOIN prompt p ON p.id = c.prompt WHERE c.id = ?",
		id, err);
	int rc = stmt ? sqlite3_step(stmt) : SQLITE_ERROR;
	if (rc == SQLITE_ROW) {
		const struct amounts a = {sqlite3_column_int64(stmt, 3),
			sqlite3_column_int64(stmt, 4), sqlite3_column_int64(stmt, 5),
			sqlite3_column_int64(stmt, 6)};
		count(l, "candidate", text(stmt, 0), text(stmt, 1), text(stmt, 2), &a, -1);
		count(l, "candidate", text(stmt, 0), state, reason, &a, 1);
	}
	return stmt && over(l, stmt, rc, err);
}

bool tally_selection_change(
	struct ledger *l, int64_t candidate, const char *outcome, struct error *err)
{
	sqlite3_stmt *stmt = look_up(l,
		"SELECT p.source, c.n_tokens, s.outcome FROM candidate c JOIN prompt p ON p.id = "
		"c.prompt LEFT JOIN selection s ON s.candidate = c.id WHERE c.id = ?",
		candidate, err);
	int rc = stmt ? sqlite3_step(stmt) : SQLITE_ERROR;
	if (rc == SQLITE_ROW) {
		const struct amounts a = {.n_tokens = sqlite3_column_int64(stmt, 1)};
		if (sqlite3_column_type(stmt, 2) != SQLITE_NULL) {
			count(l, "selection", text(stmt, 0), text(stmt, 2), NULL, &a, -1);
		}
		count(l, "selection", text(stmt, 0), outcome, NULL, &a, 1);
	}
	return stmt && over(l, stmt, rc, err);
}

static bool is_verdict(struct ledger *l, const char *verifier)
{
	struct tally *t = l->tally;
	if (!t->verdicts) {
		struct arena arena = {0};
		const char *list = ledger_meta(l, "verdicts", &arena);
		t->verdicts = xstrdup(list ? list : "");
		arena_release(&arena);
	}
	/* Names are words, so each stands in the list as it is, in quotes. */
	size_t len = strlen(verifier);
	for (const char *at = t->verdicts; (at = strstr(at, verifier)); at += len) {
		if (at > t->verdicts && at[-1] == '"' && at[len] == '"') {
			return true;
		}
	}
	return false;
}

void tally_forget_verdicts(struct ledger *l)
{
	free(l->tally->verdicts);
	l->tally->verdicts = NULL;
}

/* Of a score against the others of its candidate, those of earlier names only with `half`. */
static bool count_pairs(struct ledger *l, int64_t candidate, const struct ledger_score *s,
	bool half, int sign, struct error *err)
{
	if (!s->known || !is_verdict(l, s->verifier)) {
		return true;
	}
	sqlite3_stmt *stmt = look_up(l,
		"SELECT verifier, value FROM score WHERE candidate = ? AND verifier <> ? AND value "
		"IS NOT NULL",
		candidate, err);
	if (!stmt) {
		return false;
	}
	ledger_bind_z(stmt, 2, s->verifier);
	int rc;
	while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		const char *other = text(stmt, 0);
		if (is_verdict(l, other) && (!half || strcmp(other, s->verifier) < 0)) {
			count_pair(l->tally, s->verifier, s->value, other,
				sqlite3_column_double(stmt, 1), sign);
		}
	}
	return over(l, stmt, rc, err);
}

/* Borrows from the row. */
static struct ledger_score score_of(sqlite3_stmt *stmt)
{
	return (struct ledger_score){.verifier = text(stmt, 0),
		.reason = text(stmt, 1),
		.known = sqlite3_column_type(stmt, 2) != SQLITE_NULL,
		.value = sqlite3_column_double(stmt, 2),
		.audit = sqlite3_column_int(stmt, 3) != 0,
		.us = sqlite3_column_int64(stmt, 4),
		.n_tokens = (uint32_t)sqlite3_column_int64(stmt, 5)};
}

bool tally_score_change(
	struct ledger *l, int64_t candidate, const struct ledger_score *score, struct error *err)
{
	sqlite3_stmt *stmt = look_up(l,
		"SELECT verifier, reason, value, audit, us, n_tokens FROM score WHERE candidate = "
		"? AND verifier = ?",
		candidate, err);
	if (!stmt) {
		return false;
	}
	ledger_bind_z(stmt, 2, score->verifier);
	int rc = sqlite3_step(stmt);
	bool ok = true;
	if (rc == SQLITE_ROW) {
		const struct ledger_score old = score_of(stmt);
		count_score(l, &old, -1);
		ok = count_pairs(l, candidate, &old, false, -1, err);
	}
	count_score(l, score, 1);
	return over(l, stmt, rc, err) && ok && count_pairs(l, candidate, score, false, 1, err);
}

bool tally_scores_out(struct ledger *l, int64_t candidate, struct error *err)
{
	sqlite3_stmt *stmt = look_up(l,
		"SELECT verifier, reason, value, audit, us, n_tokens FROM score WHERE candidate = "
		"?",
		candidate, err);
	if (!stmt) {
		return false;
	}
	int rc = SQLITE_DONE;
	bool ok = true;
	while (ok && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		const struct ledger_score old = score_of(stmt);
		count_score(l, &old, -1);
		ok = count_pairs(l, candidate, &old, true, -1, err);
	}
	return over(l, stmt, rc, err) && ok;
}

/* --- writing --- */

static bool run(struct ledger *l, sqlite3_stmt *stmt, struct error *err)
{
	bool ok = sqlite3_step(stmt) == SQLITE_DONE || ledger_db_error(l, err);
	sqlite3_reset(stmt);
	return ok;
}

static bool write_cell(struct ledger *l, struct cell *c, struct error *err)
{
	sqlite3_stmt *stmt = ledger_stmt(l,
		"INSERT INTO tally VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET n "
		"= n + excluded.n, n_tokens = n_tokens + excluded.n_tokens, told = told + "
		"excluded.told, sent = sent + excluded.sent, read = read + excluded.read",
		err);
	if (!stmt) {
		return false;
	}
	const char *const keys[] = {c->what, c->source, c->state, c->reason};
	const int64_t values[] = {c->n, c->n_tokens, c->told, c->sent, c->read};
	for (int i = 0; i < 4; i++) {
		ledger_bind_z(stmt, 1 + i, keys[i]);
	}
	for (int i = 0; i < 5; i++) {
		sqlite3_bind_int64(stmt, 5 + i, values[i]);
	}
	*c = (struct cell){c->what, c->source, c->state, c->reason};
	return run(l, stmt, err);
}

static bool write_score(struct ledger *l, struct score_cell *c, struct error *err)
{
	sqlite3_stmt *stmt = ledger_stmt(l,
		"INSERT INTO tally_score VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO "
		"UPDATE SET n_audit = n_audit + excluded.n_audit, us = us + excluded.us, n_tokens "
		"= n_tokens + excluded.n_tokens, n_between = n_between + excluded.n_between,"
		" total = iif(n, total, 0) + excluded.total,"
		" low = coalesce(iif(n, min(low, excluded.low), excluded.low), excluded.low, low),"
		" high = coalesce(iif(n, max(high, excluded.high), excluded.high), excluded.high, "
		"high), n = n + excluded.n",
		err);
	if (!stmt) {
		return false;
	}
	const int64_t values[] = {c->n, c->n_audit, c->us, c->n_tokens, c->n_between};
	const double reals[] = {c->total, c->low, c->high}; /* NaN binds NULL */
	ledger_bind_z(stmt, 1, c->verifier);
	sqlite3_bind_int(stmt, 2, c->known);
	ledger_bind_z(stmt, 3, c->reason);
	for (int i = 0; i < 5; i++) {
		sqlite3_bind_int64(stmt, 4 + i, values[i]);
	}
	for (int i = 0; i < 3; i++) {
		sqlite3_bind_double(stmt, 9 + i, reals[i]);
	}
	*c = (struct score_cell){c->verifier, c->reason, c->known, .low = NAN, .high = NAN};
	return run(l, stmt, err);
}

static bool write_pair(struct ledger *l, struct pair_cell *c, struct error *err)
{
	sqlite3_stmt *stmt = ledger_stmt(l,
		"INSERT INTO tally_pair VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET n = n + "
		"excluded.n, n_apart = n_apart + excluded.n_apart",
		err);
	if (!stmt) {
		return false;
	}
	ledger_bind_z(stmt, 1, c->a);
	ledger_bind_z(stmt, 2, c->b);
	sqlite3_bind_int64(stmt, 3, c->n);
	sqlite3_bind_int64(stmt, 4, c->n_apart);
	*c = (struct pair_cell){c->a, c->b, 0, 0, false};
	return run(l, stmt, err);
}

void tally_drop(struct ledger *l)
{
	struct tally *t = l->tally;
	for (size_t i = 0; i < t->n_cells; i++) {
		struct cell *c = &t->cells[i];
		*c = (struct cell){c->what, c->source, c->state, c->reason};
	}
	for (size_t i = 0; i < t->n_scores; i++) {
		struct score_cell *c = &t->scores[i];
		*c = (struct score_cell){c->verifier, c->reason, c->known, .low = NAN, .high = NAN};
	}
	for (size_t i = 0; i < t->n_pairs; i++) {
		t->pairs[i] = (struct pair_cell){t->pairs[i].a, t->pairs[i].b, 0, 0, false};
	}
	t->unsure = false;
}

static bool exec(struct ledger *l, const char *sql, struct error *err)
{
	return sqlite3_exec(l->db, sql, NULL, NULL, NULL) == SQLITE_OK || ledger_db_error(l, err);
}

bool tally_recount(struct ledger *l, struct error *err)
{
	tally_drop(l);
	return exec(l,
		"DELETE FROM tally; DELETE FROM tally_score; DELETE FROM tally_pair; INSERT INTO "
		"tally SELECT * FROM counted; INSERT INTO tally_score SELECT * FROM counted_score; "
		"INSERT INTO tally_pair SELECT * FROM counted_pair",
		err);
}

bool tally_recount_selection(struct ledger *l, struct error *err)
{
	return exec(l,
		"DELETE FROM tally WHERE what = 'selection'; INSERT INTO tally SELECT * FROM "
		"counted WHERE what = 'selection'",
		err);
}

bool tally_write(struct ledger *l, struct error *err)
{
	struct tally *t = l->tally;
	bool ok = true;
	if (!l->in_transaction) {
		return true;
	}
	if (t->unsure) {
		return tally_recount(l, err);
	}
	for (size_t i = 0; ok && i < t->n_cells; i++) {
		ok = !t->cells[i].dirty || write_cell(l, &t->cells[i], err);
	}
	for (size_t i = 0; ok && i < t->n_scores; i++) {
		ok = !t->scores[i].dirty || write_score(l, &t->scores[i], err);
	}
	for (size_t i = 0; ok && i < t->n_pairs; i++) {
		ok = !t->pairs[i].dirty || write_pair(l, &t->pairs[i], err);
	}
	return ok;
}

void tally_doubt(struct ledger *l)
{
	if (l->tally) {
		l->tally->unsure = true;
	}
}

/* --- opening --- */

bool tally_open(struct ledger *l, struct error *err)
{
	l->tally = xcalloc(1, sizeof(*l->tally));
	if (!exec(l, tally_count_sql, err)) {
		return false;
	}
	if (sqlite3_table_column_metadata(
		    l->db, "main", "tally", "n", NULL, NULL, NULL, NULL, NULL) == SQLITE_OK) {
		return true;
	}
	return l->read_only ? exec(l,
				      "CREATE TEMP VIEW tally AS SELECT * FROM counted;"
				      "CREATE TEMP VIEW tally_score AS SELECT * FROM counted_score;"
				      "CREATE TEMP VIEW tally_pair AS SELECT * FROM counted_pair",
				      err)
			    : exec(l, "BEGIN IMMEDIATE", err) && exec(l, tally_sql, err) &&
			tally_recount(l, err) && exec(l, "COMMIT", err);
}

void tally_free(struct ledger *l)
{
	struct tally *t = l->tally;
	if (!t) {
		return;
	}
	for (size_t i = 0; i < t->n_cells; i++) {
		free(t->cells[i].source);
		free(t->cells[i].state);
		free(t->cells[i].reason);
	}
	for (size_t i = 0; i < t->n_scores; i++) {
		free(t->scores[i].verifier);
		free(t->scores[i].reason);
	}
	for (size_t i = 0; i < t->n_pairs; i++) {
		free(t->pairs[i].a);
		free(t->pairs[i].b);
	}
	free(t->cells);
	free(t->scores);
	free(t->pairs);
	free(t->verdicts);
	free(t);
}

/* --- checking --- */

bool ledger_check_counts(struct ledger *l, bool *out_same, struct error *err)
{
	/* Pairs, and sums of times and values, are figures, not books. */
	static const char sql[] =
		"WITH kept AS (SELECT what, source, state, reason, n, n_tokens FROM tally WHERE n "
		"<> 0 UNION ALL SELECT 'score', verifier, known, reason, n, n_audit FROM "
		"tally_score WHERE n <> 0), found AS (SELECT what, source, state, reason, n, "
		"n_tokens FROM counted UNION ALL SELECT 'score', verifier, known, reason, n, "
		"n_audit FROM counted_score) SELECT NOT EXISTS (SELECT * FROM kept EXCEPT SELECT * "
		"FROM found) AND NOT EXISTS (SELECT * FROM found EXCEPT SELECT * FROM kept)";
	sqlite3_stmt *stmt = ledger_counting_stmt(l, sql, err);
	if (!stmt) {
		return false;
	}
	int rc = sqlite3_step(stmt);
	if (rc == SQLITE_ROW) {
		*out_same = sqlite3_column_int(stmt, 0) != 0;
	}
	return over(l, stmt, rc, err);
}

bool ledger_count_again(struct ledger *l, struct error *err)
{
	return ledger_begin(l, err) && tally_recount(l, err) && ledger_flush(l, err);
}

sqlite3_stmt *ledger_counting_stmt(struct ledger *l, const char *sql, struct error *err)
{
	return tally_write(l, err) ? ledger_stmt(l, sql, err) : NULL;
}
