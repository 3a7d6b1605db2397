/*
 * What a run's own stages read. Rows are copied into the caller's arena: a statement's columns die at its next step, and a
 * callback may use the connection again.
 */
#include "base/hash.h"
#include "base/mem.h"
#include "ledger/ledger.h"
#include "ledger/ledger_db.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static bool done(struct ledger *l, sqlite3_stmt *stmt, int rc, struct error *err)
{
	bool ok = rc == SQLITE_DONE || ledger_db_error(l, err);
	sqlite3_reset(stmt);
	return ok;
}

static bool unpack(struct ledger *l, sqlite3_stmt *stmt, int i_frame, int i_dict, struct error *err)
{
	str_reset(&l->codec.raw);
	return body_unpack(&l->codec, i_dict < 0 ? 0 : sqlite3_column_int64(stmt, i_dict),
		       sqlite3_column_blob(stmt, i_frame),
		       (size_t)sqlite3_column_bytes(stmt, i_frame), &l->codec.raw, err) ||
		error_context(err, "ledger '%s'", l->path);
}

static bool column_body(struct ledger *l, sqlite3_stmt *stmt, int i_frame, int i_dict,
	struct arena *arena, struct slice *out, struct error *err)
{
	if (!unpack(l, stmt, i_frame, i_dict, err)) {
		return false;
	}
	*out = (struct slice){
		arena_memdup0(arena, l->codec.raw.data, l->codec.raw.len), l->codec.raw.len};
	return true;
}

static bool column_ids(struct ledger *l, sqlite3_stmt *stmt, int i_frame, int i_dict,
	struct arena *arena, const uint32_t **out_ids, size_t *out_n, struct error *err)
{
	*out_ids = NULL;
	*out_n = 0;
	if (sqlite3_column_type(stmt, i_frame) == SQLITE_NULL) {
		return true;
	}
	uint32_t *ids;
	if (!unpack(l, stmt, i_frame, i_dict, err) ||
		!body_decode_ids((struct slice){l->codec.raw.data, l->codec.raw.len}, arena, &ids,
			out_n, err)) {
		return false;
	}
	*out_ids = ids;
	return true;
}

/* --- facts --- */

/*
 * For reads that have no way to tell of a failure: what memory was lacking for must not pass for what is not there.
 */
static bool next_row(sqlite3_stmt *stmt)
{
	int rc = sqlite3_step(stmt);
	if (rc == SQLITE_NOMEM) {
		oom();
	}
	return rc == SQLITE_ROW;
}

const char *ledger_meta(struct ledger *l, const char *key, struct arena *arena)
{
	struct error ignored;
	sqlite3_stmt *stmt = ledger_stmt(l, "SELECT value FROM meta WHERE key = ?", &ignored);
	if (!stmt) {
		return NULL;
	}
	ledger_bind_z(stmt, 1, key);
	const char *value = next_row(stmt) ? ledger_column_z(stmt, 0, arena) : NULL;
	sqlite3_reset(stmt);
	return value;
}

const char *ledger_fingerprint(
	struct ledger *l, const char *stage, const char *path, struct arena *arena)
{
	struct error ignored;
	sqlite3_stmt *stmt = ledger_stmt(
		l, "SELECT value FROM fingerprint WHERE stage = ? AND path = ?", &ignored);
	if (!stmt) {
		return NULL;
	}
	ledger_bind_z(stmt, 1, stage);
	ledger_bind_z(stmt, 2, path);
	const char *value = next_row(stmt) ? ledger_column_z(stmt, 0, arena) : NULL;
	sqlite3_reset(stmt);
	return value;
}

void ledger_each_fingerprint(struct ledger *l, const char *stage,
	void (*visit)(void *ctx, const char *path, const char *value), void *ctx)
{
	struct error ignored;
	sqlite3_stmt *stmt = ledger_stmt(
		l, "SELECT path, value FROM fingerprint WHERE stage = ? ORDER BY path", &ignored);
	if (!stmt) {
		return;
	}
	ledger_bind_z(stmt, 1, stage);
	while (next_row(stmt)) {
		visit(ctx, (const char *)sqlite3_column_text(stmt, 0),
			(const char *)sqlite3_column_text(stmt, 1));
	}
	sqlite3_reset(stmt);
}

void ledger_stage(struct ledger *l, const char *name, struct arena *arena, struct ledger_stage *out)
{
	*out = (struct ledger_stage){0};
	struct error ignored;
	sqlite3_stmt *stmt = ledger_stmt(
		l, "SELECT state = 'done', busy_ms, facts FROM stage WHERE name = ?", &ignored);
	if (!stmt) {
		return;
	}
	ledger_bind_z(stmt, 1, name);
	if (next_row(stmt)) {
		*out = (struct ledger_stage){true, sqlite3_column_int(stmt, 0),
			sqlite3_column_int64(stmt, 1), ledger_column_z(stmt, 2, arena)};
	}
	sqlite3_reset(stmt);
}

/* --- prompts --- */

#define PROMPT_COLUMNS                                                                   \
	"p.id, p.prompt_id, p.source, p.row_no, p.state, p.reason, p.detail, p.fields, " \
	"p.fields_dict, p.ids, p.ids_dict"

static bool column_prompt(struct ledger *l, sqlite3_stmt *stmt, struct arena *arena,
	struct ledger_prompt *out, struct error *err)
{
	*out = (struct ledger_prompt){
		.id = sqlite3_column_int64(stmt, 0),
		.prompt_id = ledger_column_z(stmt, 1, arena),
		.source = ledger_column_z(stmt, 2, arena),
		.row_no = (uint64_t)sqlite3_column_int64(stmt, 3),
		.state = ledger_column_z(stmt, 4, arena),
		.reason = ledger_column_z(stmt, 5, arena),
		.detail = ledger_column_z(stmt, 6, arena),
	};
	return column_body(l, stmt, 7, 8, arena, &out->fields, err) &&
		column_ids(l, stmt, 9, 10, arena, &out->ids, &out->n_ids, err);
}

static enum ledger_found one_prompt(struct ledger *l, sqlite3_stmt *stmt, int64_t key,
	struct arena *arena, struct ledger_prompt *out, struct error *err)
{
	if (!stmt) {
		return LEDGER_FAILED;
	}
	sqlite3_bind_int64(stmt, 1, key);
	int rc = sqlite3_step(stmt);
	if (rc != SQLITE_ROW) {
		return done(l, stmt, rc, err) ? LEDGER_END : LEDGER_FAILED;
	}
	bool ok = column_prompt(l, stmt, arena, out, err);
	sqlite3_reset(stmt);
	return ok ? LEDGER_FOUND : LEDGER_FAILED;
}

enum ledger_found ledger_next_pending(struct ledger *l, int64_t after, struct arena *arena,
	struct ledger_prompt *out, struct error *err)
{
	return one_prompt(l,
		ledger_stmt(l,
			"SELECT " PROMPT_COLUMNS
			" FROM prompt p WHERE state = 'pending' AND id > ? ORDER BY id LIMIT 1",
			err),
		after, arena, out, err);
}

bool ledger_each_pending(struct ledger *l, int64_t after, size_t max,
	void (*visit)(void *ctx, int64_t id, const char *source), void *ctx, struct error *err)
{
	sqlite3_stmt *stmt = ledger_stmt(l,
		"SELECT id, source FROM prompt WHERE state = 'pending' AND id > ? ORDER BY id "
		"LIMIT ?",
		err);
	if (!stmt) {
		return false;
	}
	sqlite3_bind_int64(stmt, 1, after);
	sqlite3_bind_int64(stmt, 2, (int64_t)max);
	int rc;
	while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		visit(ctx, sqlite3_column_int64(stmt, 0),
			(const char *)sqlite3_column_text(stmt, 1));
	}
	return done(l, stmt, rc, err);
}

enum ledger_found ledger_get_prompt(struct ledger *l, int64_t id, struct arena *arena,
	struct ledger_prompt *out, struct error *err)
{
	return one_prompt(l,
		ledger_stmt(l, "SELECT " PROMPT_COLUMNS " FROM prompt p WHERE id = ?", err), id,
		arena, out, err);
}

enum ledger_found ledger_find_prompt(
	struct ledger *l, const char *prefix, int64_t *out_id, struct error *err)
{
	/* Hexadecimal only, so the upper bound below covers every name with the prefix. */
	size_t len = strlen(prefix);
	if (!len || len > 32 || strspn(prefix, "0123456789abcdef") != len) {
		return LEDGER_END;
	}
	sqlite3_stmt *stmt = ledger_stmt(l,
		"SELECT id FROM prompt WHERE prompt_id >= ?1 AND prompt_id < ?1 || 'g' LIMIT 2",
		err);
	if (!stmt) {
		return LEDGER_FAILED;
	}
	ledger_bind_z(stmt, 1, prefix);
	int64_t ids[2];
	size_t n = 0;
	int rc;
	while ((rc = sqlite3_step(stmt)) == SQLITE_ROW && n < 2) {
		ids[n++] = sqlite3_column_int64(stmt, 0);
	}
	if (!done(l, stmt, rc, err)) {
		return LEDGER_FAILED;
	}
	if (n == 2) {
		error_set(err, FAIL_USAGE, "more than one prompt begins with '%s'", prefix);
		return LEDGER_FAILED;
	}
	if (!n) {
		return LEDGER_END;
	}
	*out_id = ids[0];
	return LEDGER_FOUND;
}

static int64_t count(struct ledger *l, const char *sql)
{
	struct error ignored;
	sqlite3_stmt *stmt = ledger_counting_stmt(l, sql, &ignored);
	int64_t n = stmt && sqlite3_step(stmt) == SQLITE_ROW ? sqlite3_column_int64(stmt, 0) : 0;
	if (stmt) {
		sqlite3_reset(stmt);
	}
	return n;
}

int64_t ledger_count_prompts(struct ledger *l)
{
	return count(l, "SELECT total(n) FROM tally WHERE what = 'prompt'");
}

int64_t ledger_last_begun(struct ledger *l)
{
	return count(l, "SELECT coalesce(max(id) / 4096, 0) FROM candidate");
}

int64_t ledger_count_plan_rows(struct ledger *l)
{
	return count(l, "SELECT coalesce(max(row) + 1, 0) FROM plan");
}

int64_t ledger_count_chosen(struct ledger *l)
{
	return count(l, "SELECT count(*) FROM selection WHERE outcome = 'chosen'");
}

/* --- candidates --- */

#define CANDIDATE_COLUMNS                                                                \
	"c.id, c.prompt, c.idx, c.wave, c.seed, c.state, c.reason, c.detail, c.finish, " \
	"c.n_tokens, c.token_source, c.endpoint,"                                        \
	" c.attempts, c.latency_ms, c.created_ms"
#define BODY_COLUMNS "b.text, b.text_dict, b.ids, b.ids_dict, b.logprobs"
#define FIRST_BODY_COLUMN 15

static void column_candidate(sqlite3_stmt *stmt, struct arena *arena, struct ledger_candidate *out)
{
	*out = (struct ledger_candidate){
		.id = sqlite3_column_int64(stmt, 0),
		.prompt = sqlite3_column_int64(stmt, 1),
		.idx = (uint32_t)sqlite3_column_int64(stmt, 2),
		.wave = (uint32_t)sqlite3_column_int64(stmt, 3),
		.seed = (uint32_t)sqlite3_column_int64(stmt, 4),
		.state = ledger_column_z(stmt, 5, arena),
		.reason = ledger_column_z(stmt, 6, arena),
		.detail = ledger_column_z(stmt, 7, arena),
		.finish = ledger_column_z(stmt, 8, arena),
		.n_tokens = (uint32_t)sqlite3_column_int64(stmt, 9),
		.token_source = ledger_column_z(stmt, 10, arena),
		.endpoint = ledger_column_z(stmt, 11, arena),
		.attempts = (uint32_t)sqlite3_column_int64(stmt, 12),
		.latency_ms = (uint32_t)sqlite3_column_int64(stmt, 13),
		.created_ms = sqlite3_column_int64(stmt, 14),
	};
}

static bool column_candidate_body(struct ledger *l, sqlite3_stmt *stmt, struct arena *arena,
	struct ledger_candidate *out, struct error *err)
{
	const int i = FIRST_BODY_COLUMN;
	if (sqlite3_column_type(stmt, i) == SQLITE_NULL) {
		return true;
	}
	if (!column_body(l, stmt, i, i + 1, arena, &out->text, err) ||
		!column_ids(l, stmt, i + 2, i + 3, arena, &out->ids, &out->n_ids, err)) {
		return false;
	}
	if (sqlite3_column_type(stmt, i + 4) != SQLITE_NULL) {
		size_t n;
		if (!unpack(l, stmt, i + 4, -1, err)) {
			return false;
		}
		out->logprobs = body_decode_logprobs(
			(struct slice){l->codec.raw.data, l->codec.raw.len}, arena, &n);
		if (n != out->n_ids) {
			return error_set(err, FAIL_DATA,
				"ledger '%s': candidate %lld has %zu ids and %zu logprobs", l->path,
				(long long)out->id, out->n_ids, n);
		}
	}
	return true;
}

static bool read_scores(
	struct ledger *l, struct arena *arena, struct ledger_candidate *c, struct error *err)
{
	sqlite3_stmt *stmt = ledger_stmt(l,
		"SELECT verifier, value, reason, detail, audit, us, n_tokens FROM score WHERE "
		"candidate = ? ORDER BY verifier",
		err);
	if (!stmt) {
		return false;
	}
	sqlite3_bind_int64(stmt, 1, c->id);
	size_t cap = 0;
	int rc;
	struct ledger_score *scores = NULL;
	while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		if (c->n_scores == cap) {
			struct ledger_score *more = arena_alloc_array(
				arena, cap ? cap * 2 : 4, sizeof(*more));
			if (cap) {
				memcpy(more, scores, cap * sizeof(*more));
			}
			scores = more;
			cap = cap ? cap * 2 : 4;
		}
		scores[c->n_scores++] = (struct ledger_score){
			.verifier = ledger_column_z(stmt, 0, arena),
			.known = sqlite3_column_type(stmt, 1) != SQLITE_NULL,
			.value = sqlite3_column_double(stmt, 1),
			.reason = ledger_column_z(stmt, 2, arena),
			.detail = ledger_column_z(stmt, 3, arena),
			.audit = sqlite3_column_int(stmt, 4) != 0,
			.us = sqlite3_column_int64(stmt, 5),
			.n_tokens = (uint32_t)sqlite3_column_int64(stmt, 6),
		};
	}
	c->scores = scores;
	return done(l, stmt, rc, err);
}

bool ledger_get_candidates(struct ledger *l, int64_t prompt, struct arena *arena,
	struct ledger_candidate **out, size_t *out_n, struct error *err)
{
	sqlite3_stmt *stmt = ledger_stmt(l,
		"SELECT " CANDIDATE_COLUMNS ", " BODY_COLUMNS
		" FROM candidate c LEFT JOIN candidate_body b ON b.candidate = c.id"
		" WHERE c.id >= ?1 * 4096 AND c.id < (?1 + 1) * 4096 ORDER BY c.id",
		err);
	if (!stmt) {
		return false;
	}
	sqlite3_bind_int64(stmt, 1, prompt);
	struct ledger_candidate *list = NULL;
	size_t n = 0, cap = 0;
	int rc;
	bool ok = true;
	while (ok && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		list = array_room(list, n, &cap, sizeof(*list));
		column_candidate(stmt, arena, &list[n]);
		ok = column_candidate_body(l, stmt, arena, &list[n], err);
		n++;
	}
	ok = ok ? done(l, stmt, rc, err) : (sqlite3_reset(stmt), false);
	struct ledger_candidate *copy = arena_alloc_array(arena, n, sizeof(*copy));
	if (n) {
		memcpy(copy, list, n * sizeof(*copy));
	}
	free(list);
	for (size_t i = 0; ok && i < n; i++) {
		ok = read_scores(l, arena, &copy[i], err);
	}
	*out = copy;
	*out_n = n;
	return ok;
}

enum ledger_found ledger_get_candidate(struct ledger *l, int64_t id, struct arena *arena,
	struct ledger_candidate *out, struct ledger_prompt *out_prompt, struct error *err)
{
	sqlite3_stmt *stmt = ledger_stmt(l,
		"SELECT " CANDIDATE_COLUMNS ", " BODY_COLUMNS
		" FROM candidate c LEFT JOIN candidate_body b ON b.candidate = c.id WHERE c.id = ?",
		err);
	if (!stmt) {
		return LEDGER_FAILED;
	}
	sqlite3_bind_int64(stmt, 1, id);
	int rc = sqlite3_step(stmt);
	if (rc != SQLITE_ROW) {
		return done(l, stmt, rc, err) ? LEDGER_END : LEDGER_FAILED;
	}
	column_candidate(stmt, arena, out);
	bool ok = column_candidate_body(l, stmt, arena, out, err);
	sqlite3_reset(stmt);
	return ok && read_scores(l, arena, out, err)
		? ledger_get_prompt(l, out->prompt, arena, out_prompt, err)
		: LEDGER_FAILED;
}

bool ledger_each_candidate(
	struct ledger *l, ledger_visit_candidate *visit, void *ctx, struct error *err)
{
	sqlite3_stmt *stmt = ledger_stmt(l,
		"SELECT " CANDIDATE_COLUMNS " FROM candidate c WHERE state <> 'failed' ORDER BY id",
		err);
	if (!stmt) {
		return false;
	}
	struct arena of_prompt = {0}, of_candidate = {0};
	struct ledger_prompt prompt = {0};
	int rc = SQLITE_DONE;
	bool ok = true;
	while (ok && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		struct ledger_candidate c;
		arena_reset(&of_candidate);
		column_candidate(stmt, &of_candidate, &c);
		if (c.prompt != prompt.id) {
			arena_reset(&of_prompt);
			ok = ledger_get_prompt(l, c.prompt, &of_prompt, &prompt, err) ==
				LEDGER_FOUND;
		}
		ok = ok && read_scores(l, &of_candidate, &c, err) && visit(ctx, &c, &prompt, err);
	}
	ok = ok ? done(l, stmt, rc, err) : (sqlite3_reset(stmt), false);
	arena_release(&of_prompt);
	arena_release(&of_candidate);
	return ok;
}

/* What a class is to a vote; else the text of the answer, with all right ones as one however they are spelt. */
#define ANSWER                                                                               \
	"coalesce(json_extract(s.detail, '$.class'), CASE WHEN json_extract(s.detail, "      \
	"'$.pred') IS NULL THEN NULL WHEN s.value = 1 THEN '=' ELSE json_extract(s.detail, " \
	"'$.pred') END)"

bool ledger_tells_answers(struct ledger *l, const char *verifier)
{
	struct error ignored;
	sqlite3_stmt *stmt = ledger_stmt(l,
		"SELECT 1 FROM (SELECT detail, value FROM score WHERE verifier = ? AND detail IS "
		"NOT NULL LIMIT 64) s WHERE " ANSWER " IS NOT NULL LIMIT 1",
		&ignored);
	if (!stmt) {
		return false;
	}
	ledger_bind_z(stmt, 1, verifier);
	bool tells = sqlite3_step(stmt) == SQLITE_ROW;
	sqlite3_reset(stmt);
	return tells;
}

bool ledger_each_attempt(struct ledger *l, const char *voter,
	void (*visit)(void *ctx, const struct ledger_attempt *a), void *ctx, struct error *err)
{
	sqlite3_stmt *stmt = ledger_stmt(l,
		"SELECT c.prompt, c.wave, c.n_tokens, c.state = 'accepted', c.state = 'rejected', "
		"" ANSWER " FROM candidate c LEFT JOIN score s ON s.candidate = c.id AND "
		"s.verifier = ? WHERE c.state <> 'failed' ORDER BY c.id",
		err);
	if (!stmt) {
		return false;
	}
	ledger_bind_z(stmt, 1, voter);
	int rc;
	while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		struct ledger_attempt a = {.prompt = sqlite3_column_int64(stmt, 0),
			.wave = (uint32_t)sqlite3_column_int64(stmt, 1),
			.n_tokens = (uint32_t)sqlite3_column_int64(stmt, 2),
			.accepted = sqlite3_column_int(stmt, 3) != 0};
		a.decided = a.accepted || sqlite3_column_int(stmt, 4) != 0;
		const void *answer = sqlite3_column_text(stmt, 5);
		if (answer) {
			a.answered = true;
			a.answer = hash64(answer, (size_t)sqlite3_column_bytes(stmt, 5), 0);
		}
		visit(ctx, &a);
	}
	return done(l, stmt, rc, err);
}

bool ledger_each_ids(struct ledger *l, void (*visit)(void *ctx, const uint32_t *ids, size_t n),
	void *ctx, struct error *err)
{
	sqlite3_stmt *stmt = ledger_stmt(l,
		"SELECT ids, ids_dict FROM prompt WHERE ids IS NOT NULL UNION ALL SELECT ids, "
		"ids_dict FROM candidate_body WHERE ids IS NOT NULL",
		err);
	if (!stmt) {
		return false;
	}
	struct arena arena = {0};
	int rc = SQLITE_DONE;
	bool ok = true;
	while (ok && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		const uint32_t *ids;
		size_t n;
		arena_reset(&arena);
		ok = column_ids(l, stmt, 0, 1, &arena, &ids, &n, err);
		if (ok) {
			visit(ctx, ids, n);
		}
	}
	ok = ok ? done(l, stmt, rc, err) : (sqlite3_reset(stmt), false);
	arena_release(&arena);
	return ok;
}

bool ledger_each_length(struct ledger *l,
	void (*visit)(void *ctx, const char *source, uint32_t n_tokens), void *ctx,
	struct error *err)
{
	sqlite3_stmt *stmt = ledger_stmt(l,
		"SELECT p.source, c.n_tokens FROM candidate c JOIN prompt p ON p.id = c.prompt "
		"WHERE c.state = 'accepted'",
		err);
	if (!stmt) {
		return false;
	}
	int rc;
	while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		visit(ctx, (const char *)sqlite3_column_text(stmt, 0),
			(uint32_t)sqlite3_column_int64(stmt, 1));
	}
	return done(l, stmt, rc, err);
}

/* --- selection, plan, shards --- */

bool ledger_each_chosen(struct ledger *l,
	bool (*visit)(void *ctx, const struct ledger_chosen *c, struct error *err), void *ctx,
	struct error *err)
{
	sqlite3_stmt *stmt = ledger_stmt(l,
		"SELECT c.id, coalesce(p.n_ids, 0), c.n_tokens, c.token_source FROM selection s "
		"JOIN candidate c ON c.id = s.candidate"
		" JOIN prompt p ON p.id = c.prompt WHERE s.outcome = 'chosen' ORDER BY c.id",
		err);
	if (!stmt) {
		return false;
	}
	int rc = SQLITE_DONE;
	bool ok = true;
	struct arena arena = {0};
	while (ok && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		arena_reset(&arena);
		struct ledger_chosen c = {sqlite3_column_int64(stmt, 0),
			(uint32_t)sqlite3_column_int64(stmt, 1),
			(uint32_t)sqlite3_column_int64(stmt, 2), ledger_column_z(stmt, 3, &arena)};
		ok = visit(ctx, &c, err);
	}
	arena_release(&arena);
	return ok ? done(l, stmt, rc, err) : (sqlite3_reset(stmt), false);
}

enum ledger_found ledger_sampled(
	struct ledger *l, int64_t candidate, int64_t *out_hash, struct error *err)
{
	sqlite3_stmt *stmt = ledger_stmt(l,
		"SELECT p.prompt_id, b.ids, b.ids_dict FROM candidate c JOIN prompt p ON p.id = "
		"c.prompt JOIN candidate_body b ON b.candidate = c.id WHERE c.id = ? AND b.ids IS "
		"NOT NULL",
		err);
	if (!stmt) {
		return LEDGER_FAILED;
	}
	sqlite3_bind_int64(stmt, 1, candidate);
	int rc = sqlite3_step(stmt);
	if (rc != SQLITE_ROW) {
		return done(l, stmt, rc, err) ? LEDGER_END : LEDGER_FAILED;
	}
	struct arena arena = {0};
	const uint32_t *ids;
	size_t n;
	/* Decoded, since the same ids may be stored two or four bytes wide. */
	bool ok = column_ids(l, stmt, 1, 2, &arena, &ids, &n, err);
	if (ok) {
		uint64_t seed = hash64(
			sqlite3_column_text(stmt, 0), (size_t)sqlite3_column_bytes(stmt, 0), 0);
		*out_hash = (int64_t)hash64(ids, n * sizeof(*ids), seed);
	}
	arena_release(&arena);
	sqlite3_reset(stmt);
	return !ok ? LEDGER_FAILED : n ? LEDGER_FOUND : LEDGER_END;
}

enum ledger_found ledger_get_text(struct ledger *l, int64_t candidate, struct arena *arena,
	struct ledger_text *out, struct error *err)
{
	sqlite3_stmt *stmt = ledger_stmt(l,
		"SELECT p.prompt_id, b.text, b.text_dict FROM candidate c JOIN prompt p ON p.id = "
		"c.prompt LEFT JOIN candidate_body b ON b.candidate = c.id WHERE c.id = ?",
		err);
	if (!stmt) {
		return LEDGER_FAILED;
	}
	sqlite3_bind_int64(stmt, 1, candidate);
	int rc = sqlite3_step(stmt);
	if (rc != SQLITE_ROW) {
		return done(l, stmt, rc, err) ? LEDGER_END : LEDGER_FAILED;
	}
	struct ledger_text t = {candidate, ledger_column_z(stmt, 0, arena), {NULL, 0}};
	bool ok = sqlite3_column_type(stmt, 1) == SQLITE_NULL ||
		column_body(l, stmt, 1, 2, arena, &t.text, err);
	sqlite3_reset(stmt);
	*out = t;
	return ok ? LEDGER_FOUND : LEDGER_FAILED;
}

bool ledger_each_ranked(struct ledger *l,
	bool (*visit)(void *ctx, int64_t candidate, bool spare, struct error *err), void *ctx,
	struct error *err)
{
	/* No index has this order: all is sorted before the first is visited, who may then change what he likes. */
	sqlite3_stmt *stmt = ledger_stmt(l,
		"SELECT candidate, outcome = 'per_prompt' FROM selection WHERE outcome IN "
		"('chosen', 'per_prompt') ORDER BY rank, candidate",
		err);
	if (!stmt) {
		return false;
	}
	int rc = SQLITE_DONE;
	bool ok = true;
	while (ok && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		ok = visit(
			ctx, sqlite3_column_int64(stmt, 0), sqlite3_column_int(stmt, 1) != 0, err);
	}
	return ok ? done(l, stmt, rc, err) : (sqlite3_reset(stmt), false);
}

enum ledger_found ledger_get_duplicate(struct ledger *l, int64_t candidate, struct arena *arena,
	struct ledger_duplicate *out, struct error *err)
{
	sqlite3_stmt *stmt = ledger_stmt(l,
		"SELECT run, original, likeness, same, stand_in FROM duplicate WHERE candidate = ?",
		err);
	if (!stmt) {
		return LEDGER_FAILED;
	}
	sqlite3_bind_int64(stmt, 1, candidate);
	int rc = sqlite3_step(stmt);
	if (rc != SQLITE_ROW) {
		return done(l, stmt, rc, err) ? LEDGER_END : LEDGER_FAILED;
	}
	*out = (struct ledger_duplicate){ledger_column_z(stmt, 0, arena),
		sqlite3_column_int64(stmt, 1), sqlite3_column_double(stmt, 2),
		sqlite3_column_int(stmt, 3) != 0, sqlite3_column_int64(stmt, 4)};
	sqlite3_reset(stmt);
	return LEDGER_FOUND;
}

bool ledger_each_plan(struct ledger *l, uint64_t first, uint64_t n,
	bool (*visit)(void *ctx, uint64_t row, uint32_t pos, int64_t candidate, struct error *err),
	void *ctx, struct error *err)
{
	sqlite3_stmt *stmt = ledger_stmt(l,
		"SELECT row, pos, candidate FROM plan WHERE row >= ?1 AND row < ?1 + ?2 ORDER BY "
		"row, pos",
		err);
	if (!stmt) {
		return false;
	}
	sqlite3_bind_int64(stmt, 1, (int64_t)first);
	sqlite3_bind_int64(stmt, 2, (int64_t)n);
	int rc = SQLITE_DONE;
	bool ok = true;
	while (ok && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		ok = visit(ctx, (uint64_t)sqlite3_column_int64(stmt, 0),
			(uint32_t)sqlite3_column_int64(stmt, 1), sqlite3_column_int64(stmt, 2),
			err);
	}
	return ok ? done(l, stmt, rc, err) : (sqlite3_reset(stmt), false);
}

bool ledger_get_shards(struct ledger *l, const char *folder, struct ledger_shard **out,
	size_t *out_n, struct error *err)
{
	sqlite3_stmt *stmt = ledger_stmt(l,
		"SELECT no, first_row, n_rows, raw_bytes, zip_bytes, raw_xxh64, zip_xxh64, "
		"zip_sha256 FROM shard WHERE folder = ? ORDER BY no",
		err);
	if (!stmt) {
		return false;
	}
	ledger_bind_z(stmt, 1, folder);
	struct ledger_shard *list = NULL;
	size_t n = 0, cap = 0;
	int rc;
	while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		list = array_room(list, n, &cap, sizeof(*list));
		struct ledger_shard *s = &list[n++];
		*s = (struct ledger_shard){(uint32_t)sqlite3_column_int64(stmt, 0),
			(uint64_t)sqlite3_column_int64(stmt, 1),
			(uint64_t)sqlite3_column_int64(stmt, 2),
			(uint64_t)sqlite3_column_int64(stmt, 3),
			(uint64_t)sqlite3_column_int64(stmt, 4), "", "", ""};
		snprintf(s->raw_xxh64, sizeof(s->raw_xxh64), "%s",
			(const char *)sqlite3_column_text(stmt, 5));
		snprintf(s->zip_xxh64, sizeof(s->zip_xxh64), "%s",
			(const char *)sqlite3_column_text(stmt, 6));
		snprintf(s->zip_sha256, sizeof(s->zip_sha256), "%s",
			(const char *)sqlite3_column_text(stmt, 7));
	}
	if (!done(l, stmt, rc, err)) {
		free(list);
		return false;
	}
	*out = list;
	*out_n = n;
	return true;
}

enum ledger_found ledger_get_place(struct ledger *l, int64_t candidate, struct arena *arena,
	struct ledger_place *out, struct error *err)
{
	sqlite3_stmt *stmt = ledger_stmt(l,
		"SELECT s.outcome, s.rank, p.row, p.pos,"
		" (SELECT no FROM shard h WHERE folder = 'shards' AND p.row >= h.first_row AND "
		"p.row < h.first_row + h.n_rows),"
		" (SELECT d.candidate FROM duplicate d WHERE d.stand_in = s.candidate)"
		" FROM selection s LEFT JOIN plan p ON p.candidate = s.candidate WHERE s.candidate "
		"= ?",
		err);
	if (!stmt) {
		return LEDGER_FAILED;
	}
	sqlite3_bind_int64(stmt, 1, candidate);
	int rc = sqlite3_step(stmt);
	if (rc != SQLITE_ROW) {
		return done(l, stmt, rc, err) ? LEDGER_END : LEDGER_FAILED;
	}
	bool packed = sqlite3_column_type(stmt, 2) != SQLITE_NULL;
	*out = (struct ledger_place){
		.outcome = ledger_column_z(stmt, 0, arena),
		.rank = (uint32_t)sqlite3_column_int64(stmt, 1),
		.row = packed ? sqlite3_column_int64(stmt, 2) : -1,
		.pos = packed ? sqlite3_column_int64(stmt, 3) : -1,
		.shard = sqlite3_column_type(stmt, 4) != SQLITE_NULL ? sqlite3_column_int64(stmt, 4)
								     : -1,
		.instead_of = sqlite3_column_int64(stmt, 5),
	};
	sqlite3_reset(stmt);
	return LEDGER_FOUND;
}

/* --- books --- */

bool ledger_counts(struct ledger *l, struct arena *arena, struct ledger_count **out, size_t *out_n,
	struct error *err)
{
	sqlite3_stmt *stmt = ledger_counting_stmt(l,
		"SELECT CASE what WHEN 'prompt' THEN 1 WHEN 'candidate' THEN 2 ELSE 3 END, what, "
		"state, nullif(reason, ''), sum(n), sum(n_tokens) FROM tally GROUP BY what, state, "
		"reason HAVING sum(n) > 0"
		" UNION ALL SELECT 4, 'score:' || verifier, CASE WHEN known THEN 'known' ELSE "
		"'null' END, reason, n, 0 FROM tally_score WHERE n > 0"
		" ORDER BY 1, 2, 3, 5 DESC, 4",
		err);
	if (!stmt) {
		return false;
	}
	struct ledger_count *list = NULL;
	size_t n = 0, cap = 0;
	int rc;
	while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		list = array_room(list, n, &cap, sizeof(*list));
		list[n++] = (struct ledger_count){ledger_column_z(stmt, 1, arena),
			ledger_column_z(stmt, 2, arena), ledger_column_z(stmt, 3, arena),
			sqlite3_column_int64(stmt, 4), (int64_t)sqlite3_column_double(stmt, 5)};
	}
	struct ledger_count *copy = arena_alloc_array(arena, n, sizeof(*copy));
	if (n) {
		memcpy(copy, list, n * sizeof(*copy));
	}
	free(list);
	*out = copy;
	*out_n = n;
	return done(l, stmt, rc, err);
}

bool ledger_prompt_tokens(
	struct ledger *l, int64_t *out_sent, int64_t *out_read, int64_t *out_n, struct error *err)
{
	sqlite3_stmt *stmt = ledger_counting_stmt(l,
		"SELECT total(sent), total(read), total(told) FROM tally WHERE what = 'candidate'",
		err);
	if (!stmt) {
		return false;
	}
	int rc = sqlite3_step(stmt);
	if (rc == SQLITE_ROW) {
		*out_sent = (int64_t)sqlite3_column_double(stmt, 0);
		*out_read = (int64_t)sqlite3_column_double(stmt, 1);
		*out_n = sqlite3_column_int64(stmt, 2);
		rc = sqlite3_step(stmt);
	}
	return done(l, stmt, rc, err);
}

/* Runs over the rows of a statement: `take` copies one into the array. */
static bool read_rows(struct ledger *l, sqlite3_stmt *stmt, struct arena *arena, size_t row_bytes,
	void (*take)(sqlite3_stmt *stmt, struct arena *arena, void *row), void *out, size_t *out_n,
	struct error *err)
{
	char *list = NULL;
	size_t n = 0, cap = 0;
	int rc;
	if (!stmt) {
		return false;
	}
	while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		list = array_room(list, n, &cap, row_bytes);
		take(stmt, arena, list + n++ * row_bytes);
	}
	void *copy = arena_alloc_array(arena, n, row_bytes);
	if (n) {
		memcpy(copy, list, n * row_bytes);
	}
	free(list);
	memcpy(out, &copy, sizeof(copy));
	*out_n = n;
	return done(l, stmt, rc, err);
}

static void take_change(sqlite3_stmt *stmt, struct arena *arena, void *row)
{
	const struct ledger_change change = {ledger_column_z(stmt, 0, arena),
		ledger_column_z(stmt, 1, arena), sqlite3_column_int64(stmt, 2),
		sqlite3_column_int64(stmt, 3)};
	memcpy(row, &change, sizeof(change));
}

/* Names of verifiers that say how right a candidate is; the verify stage writes them down. */
#define VERDICTS \
	"(SELECT json_each.value FROM meta, json_each(meta.value) WHERE meta.key = 'verdicts')"
#define IS_CHOSEN "IN ('chosen', 'over_long', 'empty')"

bool ledger_changes(struct ledger *l, struct arena *arena, struct ledger_change **out,
	size_t *out_n, struct error *err)
{
	*out = NULL;
	*out_n = 0;
	if (!count(l, "SELECT EXISTS (SELECT 1 FROM previous)")) {
		return true;
	}
	sqlite3_stmt *stmt = ledger_stmt(l,
		"SELECT 'kept' AS what, '' AS why, count(*), min(candidate) FROM previous p JOIN "
		"selection s USING (candidate) WHERE p.outcome " IS_CHOSEN
		" AND s.outcome " IS_CHOSEN " GROUP BY 1"
		" UNION ALL SELECT 'gone', coalesce(s.outcome, c.state), count(*), min(c.id) FROM "
		"previous p JOIN candidate c ON c.id = p.candidate LEFT JOIN selection s ON "
		"s.candidate = c.id WHERE p.outcome " IS_CHOSEN
		" AND coalesce(s.outcome, '') NOT " IS_CHOSEN " GROUP BY 2"
		" UNION ALL SELECT 'new', coalesce(p.outcome, 'not accepted'), count(*), "
		"min(s.candidate) FROM selection s LEFT JOIN previous p ON p.candidate = "
		"s.candidate WHERE s.outcome " IS_CHOSEN
		" AND coalesce(p.outcome, '') NOT " IS_CHOSEN " GROUP BY 2 ORDER BY 1, 3 DESC, 2",
		err);
	return read_rows(l, stmt, arena, sizeof(**out), take_change, out, out_n, err);
}

static void take_verifier(sqlite3_stmt *stmt, struct arena *arena, void *row)
{
	const struct ledger_verifier v = {
		.name = ledger_column_z(stmt, 0, arena),
		.n = sqlite3_column_int64(stmt, 1),
		.n_known = sqlite3_column_int64(stmt, 2),
		.n_audit = sqlite3_column_int64(stmt, 3),
		.us = sqlite3_column_int64(stmt, 4),
		.n_tokens = sqlite3_column_int64(stmt, 5),
		.mean = sqlite3_column_double(stmt, 6),
		.min = sqlite3_column_double(stmt, 7),
		.max = sqlite3_column_double(stmt, 8),
		.n_between = sqlite3_column_int64(stmt, 9),
		.is_verdict = sqlite3_column_int(stmt, 10) != 0,
	};
	memcpy(row, &v, sizeof(v));
}

bool ledger_verifiers(struct ledger *l, struct arena *arena, struct ledger_verifier **out,
	size_t *out_n, struct error *err)
{
	sqlite3_stmt *stmt = ledger_counting_stmt(l,
		"SELECT verifier, sum(n), sum(n) FILTER (WHERE known), sum(n_audit), sum(us), "
		"sum(n_tokens), sum(total) FILTER (WHERE known) / sum(n) FILTER (WHERE known), "
		"min(low) FILTER (WHERE n > 0), max(high) FILTER (WHERE n > 0), sum(n_between), "
		"verifier IN " VERDICTS " FROM tally_score GROUP BY verifier HAVING sum(n) > 0",
		err);
	return read_rows(l, stmt, arena, sizeof(**out), take_verifier, out, out_n, err);
}

static void take_pair(sqlite3_stmt *stmt, struct arena *arena, void *row)
{
	const struct ledger_pair pair = {ledger_column_z(stmt, 0, arena),
		ledger_column_z(stmt, 1, arena), sqlite3_column_int64(stmt, 2),
		sqlite3_column_int64(stmt, 3)};
	memcpy(row, &pair, sizeof(pair));
}

bool ledger_pairs(struct ledger *l, struct arena *arena, struct ledger_pair **out, size_t *out_n,
	struct error *err)
{
	sqlite3_stmt *stmt = ledger_counting_stmt(l,
		"WITH likely AS MATERIALIZED (SELECT verifier FROM tally_score WHERE verifier "
		"IN " VERDICTS " AND n > 0 GROUP BY verifier HAVING min(low) >= 0 AND max(high) <= "
		"1) SELECT a, b, n, n_apart FROM tally_pair WHERE n > 0 AND a IN likely AND b IN "
		"likely ORDER BY 1, 2",
		err);
	return read_rows(l, stmt, arena, sizeof(**out), take_pair, out, out_n, err);
}

bool ledger_sources(struct ledger *l, struct arena *arena, struct ledger_source **out,
	size_t *out_n, struct error *err)
{
	sqlite3_stmt *stmt = ledger_counting_stmt(l,
		"SELECT source, sum(n * (what = 'prompt')), sum(n * (what = 'candidate' AND state "
		"<> 'failed')), sum(n * (what = 'candidate' AND state = 'accepted')), sum(n * "
		"(what = 'selection' AND state = 'chosen')) FROM tally GROUP BY source HAVING "
		"sum(n) > 0 ORDER BY source",
		err);
	if (!stmt) {
		return false;
	}
	struct ledger_source *list = NULL;
	size_t n = 0, cap = 0;
	int rc;
	while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		list = array_room(list, n, &cap, sizeof(*list));
		list[n++] = (struct ledger_source){ledger_column_z(stmt, 0, arena),
			sqlite3_column_int64(stmt, 1), sqlite3_column_int64(stmt, 2),
			sqlite3_column_int64(stmt, 3), sqlite3_column_int64(stmt, 4)};
	}
	struct ledger_source *copy = arena_alloc_array(arena, n, sizeof(*copy));
	if (n) {
		memcpy(copy, list, n * sizeof(*copy));
	}
	free(list);
	*out = copy;
	*out_n = n;
	return done(l, stmt, rc, err);
}
