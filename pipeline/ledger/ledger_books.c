/*
 * Is a ledger whole? The books: rows that contradict each other. The file: what SQLite finds. The bodies: what is stored compressed.
 * The CHECK constraints of the schema cover what a single row can show, the transactions of the stages that rows which
 * belong together come together; so whatever is found here is a bug of ours, a disk that lies, or somebody's SQL.
 */
#include "base/json.h"
#include "base/mem.h"
#include "ledger/ledger.h"
#include "ledger/ledger_db.h"

#include <inttypes.h>
#include <string.h>

#define NAMED_MAX 5 /* rows of one rule that are told; the rest is counted */

/* --- books --- */

/*
 * `sql` finds the ids of rows that must not be; by candidate ranges, as candidates have no index by prompt. That rows name others that
 * are not there is left to the references, which SQLite enforces and ledger_check_file reads through: each rule costs a resume of a
 * million candidates its tenths of a second.
 */
static const struct {
	const char *what, *sql;
} rules[] = {
	{"candidates that are pending while their prompt is not",
		"SELECT c.id FROM candidate c JOIN prompt p ON p.id = c.prompt WHERE c.state = "
		"'pending' AND p.state <> 'pending' ORDER BY 1"},
	{"settled prompts that lack one of their candidates",
		"SELECT id FROM prompt p WHERE state = 'settled' AND (SELECT max(idx) + 1 <> "
		"count(*) FROM candidate c WHERE c.id BETWEEN p.id * 4096 AND p.id * 4096 + 4095) "
		"ORDER BY 1"},
	{"candidates without a text that are chosen or yet to be verified",
		"SELECT id FROM candidate WHERE state = 'pending' AND NOT EXISTS (SELECT 1 FROM "
		"candidate_body b WHERE b.candidate = id) UNION ALL SELECT candidate FROM "
		"selection "
		"s WHERE outcome = 'chosen' AND NOT EXISTS (SELECT 1 FROM candidate_body b WHERE "
		"b.candidate = s.candidate) ORDER BY 1"},
	{"candidates that were selected on and are not accepted",
		"SELECT s.candidate FROM selection s JOIN candidate c ON c.id = s.candidate WHERE "
		"c.state <> 'accepted' ORDER BY 1"},
	{"accepted candidates that were not selected on",
		"SELECT id FROM candidate WHERE state = 'accepted' AND EXISTS (SELECT 1 FROM "
		"selection) AND id NOT IN (SELECT candidate FROM selection) ORDER BY 1"},
	{"candidates that are in the packing plan and were not chosen",
		"SELECT p.candidate FROM plan p LEFT JOIN selection s ON s.candidate = p.candidate "
		"WHERE s.outcome IS NOT 'chosen' ORDER BY 1"},
	{"chosen candidates that are not in the packing plan",
		"SELECT candidate FROM selection WHERE outcome = 'chosen' AND EXISTS (SELECT 1 "
		"FROM plan) AND candidate NOT IN (SELECT candidate FROM plan) ORDER BY 1"},
	{"candidates that are duplicates of nothing, or not marked as such",
		"SELECT s.candidate FROM selection s LEFT JOIN duplicate d ON d.candidate = "
		"s.candidate WHERE (s.outcome = 'duplicate') <> (d.candidate IS NOT NULL) ORDER BY "
		"1"},
	{"candidates that are duplicates of one that was not kept",
		"SELECT d.candidate FROM duplicate d LEFT JOIN selection s ON s.candidate = "
		"d.original WHERE d.run IS NULL AND coalesce(s.outcome, 'duplicate') IN "
		"('duplicate', 'where', 'per_prompt') ORDER BY 1"},
	{"candidates that stand in for a duplicate and were not chosen",
		"SELECT d.stand_in FROM duplicate d LEFT JOIN selection s ON s.candidate = "
		"d.stand_in WHERE d.stand_in IS NOT NULL AND coalesce(s.outcome, 'where') NOT IN "
		"('chosen', 'over_long', 'empty') ORDER BY 1"},
	{"rows of the packing plan with a gap",
		"SELECT row FROM plan GROUP BY row HAVING max(pos) + 1 <> count(*) ORDER BY 1"},
	{"rows before which one is missing in the packing plan",
		"SELECT DISTINCT row FROM plan p WHERE row > 0 AND NOT EXISTS (SELECT 1 FROM plan "
		"q WHERE q.row = p.row - 1) ORDER BY 1"},
	{"shards that do not follow on the one before",
		"SELECT no FROM (SELECT no, first_row, sum(n_rows) OVER (PARTITION BY folder ORDER "
		"BY no) - n_rows AS wanted FROM shard) WHERE first_row <> wanted ORDER BY 1"},
};

static bool check_rule(struct ledger *l, size_t i, ledger_tell *tell, void *ctx, struct error *err)
{
	sqlite3_stmt *stmt = ledger_stmt(l, rules[i].sql, err);
	if (!stmt) {
		return false;
	}
	struct str text;
	str_init(&text, STR_NO_CAP);
	str_printf(&text, "%s:", rules[i].what);
	int64_t n = 0;
	int rc;
	while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		if (n++ < NAMED_MAX) {
			str_printf(&text, "%s %" PRId64, n > 1 ? "," : "",
				(int64_t)sqlite3_column_int64(stmt, 0));
		}
	}
	bool ok = rc == SQLITE_DONE || ledger_db_error(l, err);
	sqlite3_reset(stmt);
	if (n > NAMED_MAX) {
		str_printf(&text, " and %" PRId64 " more", n - NAMED_MAX);
	}
	if (ok && n) {
		tell(ctx, text.data);
	}
	str_release(&text);
	return ok;
}

bool ledger_funnel(struct ledger *l, struct ledger_funnel *out, struct error *err)
{
	/* In the order of the struct. */
	sqlite3_stmt *stmt = ledger_stmt(l,
		"SELECT * FROM (SELECT count(*), total(state = 'settled'), total(state = "
		"'failed'), "
		"total(state = 'pending') FROM prompt), (SELECT count(*), total(state = "
		"'accepted'), total(state = 'rejected'), total(state = 'undecided'), total(state = "
		"'failed'), total(state = 'pending') FROM candidate), (SELECT total(outcome = "
		"'chosen') FROM selection)",
		err);
	int64_t *const to[] = {&out->n_prompts, &out->n_settled, &out->n_prompts_failed,
		&out->n_prompts_pending, &out->n_candidates, &out->n_accepted, &out->n_rejected,
		&out->n_undecided, &out->n_failed, &out->n_pending, &out->n_chosen};
	if (!stmt) {
		return false;
	}
	bool ok = sqlite3_step(stmt) == SQLITE_ROW || ledger_db_error(l, err);
	for (size_t i = 0; ok && i < ARRAY_LEN(to); i++) {
		*to[i] = sqlite3_column_int64(stmt, (int)i);
	}
	sqlite3_reset(stmt);
	return ok;
}

bool ledger_each_mismatch(struct ledger *l, ledger_tell *tell, void *ctx, struct error *err)
{
	bool ok = true;
	for (size_t i = 0; ok && i < ARRAY_LEN(rules); i++) {
		ok = check_rule(l, i, tell, ctx, err);
	}
	return ok;
}

struct first {
	const char *path;
	struct error *err;
	bool any;
};

static void keep_first(void *ctx, const char *what)
{
	struct first *f = ctx;
	if (!f->any) {
		error_set(f->err, FAIL_DATA, "the books of ledger '%s' do not balance: %s", f->path,
			what);
		error_hint(
			f->err, "keep the ledger; `thresh fsck` tells all that is wrong with it");
	}
	f->any = true;
}

bool ledger_check_books(struct ledger *l, struct error *err)
{
	struct first f = {l->path, err, false};
	return ledger_each_mismatch(l, keep_first, &f, err) && !f.any;
}

/* --- the file --- */

/* Columns become one text: what is wrong, or where. */
static bool tell_rows(
	struct ledger *l, const char *sql, const char *format, ledger_tell *tell, void *ctx)
{
	struct error ignored;
	sqlite3_stmt *stmt = ledger_stmt(l, sql, &ignored);
	int rc = SQLITE_ERROR;
	while (stmt && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		const char *text = (const char *)sqlite3_column_text(stmt, 0);
		if (text && strcmp(text, "ok") != 0) {
			AUTO_FREE char *line = xasprintf("%s%s", format, text);
			tell(ctx, line);
		}
	}
	if (rc != SQLITE_DONE) {
		AUTO_FREE char *line = xasprintf("%s%s", format, sqlite3_errmsg(l->db));
		tell(ctx, line);
	}
	if (stmt) {
		sqlite3_reset(stmt);
	}
	return rc == SQLITE_DONE;
}

void ledger_check_file(struct ledger *l, ledger_tell *tell, void *ctx)
{
	(void)(tell_rows(l, "PRAGMA integrity_check(20)", "SQLite: ", tell, ctx) &&
		tell_rows(l,
			"SELECT 'row ' || coalesce(rowid, '') || ' of ' || \"table\" || ' names "
			"one of ' "
			"|| parent || ' that is not there' FROM pragma_foreign_key_check LIMIT 20",
			"", tell, ctx));
}

/* --- bodies --- */

struct bodies {
	struct ledger *l;
	ledger_tell *tell;
	void *ctx;
	struct arena arena;
	struct ledger_bodies *out;
};

static void tell_body(struct bodies *b, const char *kind, int64_t id, const char *what)
{
	AUTO_FREE char *line = xasprintf("%s %" PRId64 ": %s", kind, id, what);
	b->tell(b->ctx, line);
}

/* The frame in column i and its dictionary in i + 1, unpacked into the codec's raw; false: NULL, or it was told. */
static bool unpack(struct bodies *b, sqlite3_stmt *stmt, int i, const char *kind, const char *what)
{
	struct error err = {0};
	struct body_codec *codec = &b->l->codec;
	if (sqlite3_column_type(stmt, i) == SQLITE_NULL) {
		return false;
	}
	str_reset(&codec->raw);
	bool ok = body_unpack(codec, sqlite3_column_int64(stmt, i + 1),
		sqlite3_column_blob(stmt, i), (size_t)sqlite3_column_bytes(stmt, i), &codec->raw,
		&err);
	if (!ok) {
		AUTO_FREE char *line = xasprintf("%s: %s", what, err.msg);
		tell_body(b, kind, sqlite3_column_int64(stmt, 0), line);
	}
	return ok;
}

static void check_ids(struct bodies *b, sqlite3_stmt *stmt, int i, int64_t wanted, const char *kind)
{
	struct error err = {0};
	uint32_t *ids;
	size_t n;
	if (!unpack(b, stmt, i, kind, "token ids")) {
		return;
	}
	struct slice raw = {b->l->codec.raw.data, b->l->codec.raw.len};
	if (!body_decode_ids(raw, &b->arena, &ids, &n, &err)) {
		tell_body(b, kind, sqlite3_column_int64(stmt, 0), err.msg);
	} else if (wanted >= 0 && n != (uint64_t)wanted) {
		AUTO_FREE char *line = xasprintf(
			"it has %zu token ids, and counts %" PRId64, n, wanted);
		tell_body(b, kind, sqlite3_column_int64(stmt, 0), line);
	}
}

static void check_prompt(struct bodies *b, sqlite3_stmt *stmt)
{
	struct error err = {0};
	b->out->n_prompts++;
	if (unpack(b, stmt, 2, "prompt", "fields")) {
		struct json *fields = json_parse(b->l->codec.raw.data, b->l->codec.raw.len, &err);
		if (json_kind(fields) != JSON_OBJECT) {
			tell_body(b, "prompt", sqlite3_column_int64(stmt, 0),
				"its fields are no JSON object");
		}
		json_free(fields);
	}
	check_ids(b, stmt, 4, sqlite3_column_int64(stmt, 1), "prompt");
}

static void check_candidate(struct bodies *b, sqlite3_stmt *stmt)
{
	int64_t n_tokens = sqlite3_column_int64(stmt, 1);
	bool sampled = sqlite3_column_int(stmt, 8) !=
		0; /* else what was counted are other tokens */
	b->out->n_bodies++;
	(void)unpack(b, stmt, 2, "candidate", "text");
	check_ids(b, stmt, 4, sampled ? n_tokens : -1, "candidate");
	if (sampled && unpack(b, stmt, 6, "candidate", "logprobs") &&
		b->l->codec.raw.len != 2 * (uint64_t)n_tokens) {
		AUTO_FREE char *line = xasprintf("it has %zu logprobs for %" PRId64 " tokens",
			b->l->codec.raw.len / 2, n_tokens);
		tell_body(b, "candidate", sqlite3_column_int64(stmt, 0), line);
	}
}

static bool each_body(struct bodies *b, const char *sql,
	void (*check)(struct bodies *b, sqlite3_stmt *stmt), struct error *err)
{
	sqlite3_stmt *stmt = ledger_stmt(b->l, sql, err);
	int rc = SQLITE_ERROR;
	while (stmt && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		check(b, stmt);
		arena_reset(&b->arena);
	}
	bool ok = stmt && (rc == SQLITE_DONE || ledger_db_error(b->l, err));
	if (stmt) {
		sqlite3_reset(stmt);
	}
	return ok;
}

bool ledger_check_bodies(struct ledger *l, ledger_tell *tell, void *ctx, struct ledger_bodies *out,
	struct error *err)
{
	struct bodies b = {.l = l, .tell = tell, .ctx = ctx, .out = out};
	*out = (struct ledger_bodies){0};
	bool ok =
		each_body(&b,
			"SELECT id, n_ids, fields, fields_dict, ids, ids_dict FROM prompt ORDER BY "
			"id",
			check_prompt, err) &&
		each_body(&b,
			"SELECT c.id, c.n_tokens, b.text, b.text_dict, b.ids, b.ids_dict, "
			"b.logprobs, "
			"0, c.token_source = 'sampled' FROM candidate_body b JOIN candidate c ON "
			"c.id = "
			"b.candidate ORDER BY b.candidate",
			check_candidate, err);
	arena_release(&b.arena);
	return ok;
}
