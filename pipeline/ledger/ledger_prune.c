/*
 * Making an old ledger small: the bodies of candidates that were not shipped go, in steps of a transaction each, so that neither a crash nor
 * a full disk is a danger; then the file is written anew without the holes. Rows, scores, decisions and the bodies of what was
 * shipped stay: who asks why gets an answer as long as the ledger is there.
 */
#include "base/json.h"
#include "base/mem.h"
#include "ledger/ledger.h"
#include "ledger/ledger_db.h"

#include <string.h>

#define STEP_PROMPTS 256 /* of a transaction */
#define PROMPT_IDS 4096 /* ids of a prompt's candidates, see schema.sql */
/* What pack has taken or may take: with another context it packs what was too long before. */
#define IS_SHIPPED                                                                            \
	"EXISTS (SELECT 1 FROM selection s WHERE s.candidate = b.candidate AND s.outcome IN " \
	"('chosen', 'over_long', 'empty'))"

bool ledger_count_prunable(struct ledger *l, int64_t *out_n, int64_t *out_bytes, struct error *err)
{
	sqlite3_stmt *stmt = ledger_stmt(l,
		"SELECT count(*), total(length(text) + coalesce(length(ids), 0) + "
		"coalesce(length(logprobs), 0)) FROM candidate_body b WHERE NOT " IS_SHIPPED,
		err);
	if (!stmt) {
		return false;
	}
	bool ok = sqlite3_step(stmt) == SQLITE_ROW || ledger_db_error(l, err);
	if (ok) {
		*out_n = sqlite3_column_int64(stmt, 0);
		*out_bytes = (int64_t)sqlite3_column_double(stmt, 1);
	}
	sqlite3_reset(stmt);
	return ok;
}

static bool step(struct ledger *l, int64_t from, int64_t to, struct error *err)
{
	sqlite3_stmt *stmt = ledger_stmt(l,
		"DELETE FROM candidate_body AS b WHERE candidate >= ? AND candidate < ? AND "
		"NOT " IS_SHIPPED,
		err);
	if (!stmt || !ledger_begin(l, err)) {
		return false;
	}
	sqlite3_bind_int64(stmt, 1, from);
	sqlite3_bind_int64(stmt, 2, to);
	return ledger_step(l, stmt, err) && ledger_flush(l, err);
}

static int64_t number_of(struct ledger *l, const char *sql)
{
	struct error ignored;
	sqlite3_stmt *stmt = ledger_stmt(l, sql, &ignored);
	int64_t n = stmt && sqlite3_step(stmt) == SQLITE_ROW ? sqlite3_column_int64(stmt, 0) : 0;
	if (stmt) {
		sqlite3_reset(stmt);
	}
	return n;
}

/* Before anything goes: a ledger that was half pruned must say so. */
static bool note(struct ledger *l, const struct ledger_pruned *p, struct error *err)
{
	struct str text;
	str_init(&text, STR_NO_CAP);
	struct json_writer w = {.out = &text};
	json_begin_object(&w);
	json_member_int(&w, "at_ms", p->at_ms);
	json_member_int(&w, "bodies", p->n_bodies);
	json_member_bool(&w, "shards", p->shards);
	json_end_object(&w);
	bool ok = ledger_set_meta(l, "pruned", text.data, err) && ledger_flush(l, err);
	str_release(&text);
	return ok;
}

bool ledger_prune(struct ledger *l, int64_t now_ms, struct error *err)
{
	int64_t n, bytes, stride = (int64_t)STEP_PROMPTS * PROMPT_IDS;
	int64_t last = number_of(l, "SELECT coalesce(max(candidate), 0) FROM candidate_body");
	/* All that were ever written less those that stay, however often this was stopped and begun. */
	int64_t n_gone = number_of(l, "SELECT count(*) FROM candidate WHERE finish IS NOT NULL") -
		number_of(l, "SELECT count(*) FROM candidate_body b WHERE " IS_SHIPPED);
	struct ledger_pruned p;
	ledger_pruned(l, &p);
	p.at_ms = now_ms;
	p.n_bodies = n_gone;
	if (!ledger_count_prunable(l, &n, &bytes, err) || (n && !note(l, &p, err))) {
		return false;
	}
	for (int64_t from = 0; n && from <= last; from += stride) {
		if (!step(l, from, from + stride, err)) {
			return false;
		}
	}
	return true;
}

bool ledger_prune_shards(struct ledger *l, int64_t now_ms, struct error *err)
{
	struct ledger_pruned p;
	ledger_pruned(l, &p);
	p.at_ms = now_ms;
	p.shards = true;
	return note(l, &p, err);
}

bool ledger_has_holes(struct ledger *l)
{
	sqlite3_stmt *stmt = NULL;
	bool holes = sqlite3_prepare_v2(l->db, "PRAGMA freelist_count", -1, &stmt, NULL) ==
			SQLITE_OK &&
		sqlite3_step(stmt) == SQLITE_ROW && sqlite3_column_int64(stmt, 0) > 0;
	sqlite3_finalize(stmt);
	return holes;
}

bool ledger_compact(struct ledger *l, struct error *err)
{
	if (!ledger_flush(l, err)) {
		return false;
	}
	return (sqlite3_exec(l->db, "VACUUM", NULL, NULL, NULL) == SQLITE_OK &&
		       sqlite3_exec(l->db, "PRAGMA wal_checkpoint(TRUNCATE)", NULL, NULL, NULL) ==
			       SQLITE_OK) ||
		ledger_db_error(l, err);
}

void ledger_pruned(struct ledger *l, struct ledger_pruned *out)
{
	struct arena arena = {0};
	struct error ignored;
	const char *text = ledger_meta(l, "pruned", &arena);
	AUTO_JSON struct json *value = text ? json_parse(text, strlen(text), &ignored) : NULL;
	*out = (struct ledger_pruned){0};
	json_int(json_get(value, "at_ms"), &out->at_ms);
	json_int(json_get(value, "bodies"), &out->n_bodies);
	json_bool(json_get(value, "shards"), &out->shards);
	arena_release(&arena);
}
