/* What nights know of each other: counts over several, versions of the file, what was shipped. */
#include "ledger/history.h"

#include "fixture.h"
#include "ledger/ledger.h"

#include <sqlite3.h>
#include <string.h>

#define CANDIDATES 4096
#define MODEL_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define MODEL_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

static struct error err;
static struct history *history;

static void set_up(void)
{
	fixture_set_up();
	AUTO_FREE char *path = fixture_path("history.db");
	history = history_open(path, &err);
	ck_assert_msg(history, "%s", err.msg);
}

static void tear_down(void)
{
	history_close(history);
	fixture_tear_down();
}

/* "0123": prompts by name, so that the same one may have another place in another night. */
static const char *prompt_id(unsigned name)
{
	static char id[33];
	snprintf(id, sizeof(id), "%032u", name);
	return id;
}

/* A night's ledger with one prompt, whose candidates' fates are a letter each: accepted, rejected, undecided, failed. */
static void write_night(const char *file, unsigned prompt, const char *fates, const char *state)
{
	static const struct {
		char letter;
		const char *state, *reason;
	} words[] = {{'a', "accepted", "accept"}, {'r', "rejected", "accept"},
		{'u', "undecided", "null_columns"}, {'f', "failed", "timeout"}};
	AUTO_FREE char *path = fixture_path(file);
	struct ledger *l = ledger_open(path, LEDGER_CREATE, &err);
	ck_assert_msg(l, "%s", err.msg);
	ck_assert_ok(ledger_add_prompt(l,
			     &(struct ledger_prompt){.id = 1,
				     .prompt_id = prompt_id(prompt),
				     .source = "s",
				     .row_no = 1,
				     .fields = slice_z("{}")},
			     &err),
		err);
	for (uint32_t i = 0; fates[i]; i++) {
		const uint32_t ids[] = {7, 8, i};
		size_t w = 0;
		while (words[w].letter != fates[i]) {
			w++;
		}
		struct ledger_candidate c = {.id = CANDIDATES + i,
			.prompt = 1,
			.idx = i,
			.state = words[w].state,
			.reason = words[w].reason,
			.finish = fates[i] == 'f' ? NULL : "stop",
			.n_tokens = 3,
			.token_source = fates[i] == 'f' ? "none" : "sampled",
			.attempts = 1};
		if (fates[i] != 'f') {
			c.text = slice_z("text");
			c.ids = ids;
			c.n_ids = 3;
		}
		ck_assert_ok(ledger_add_candidate(l, &c, &err), err);
		if (fates[i] == 'a') {
			int64_t hash;
			ck_assert_int_eq(ledger_sampled(l, c.id, &hash, &err), LEDGER_FOUND);
			ck_assert_ok(
				ledger_add_selection(l, c.id, i + 1, "chosen", &hash, &err), err);
			ck_assert_ok(ledger_add_plan(l, 0, i, c.id, &err), err);
		}
	}
	if (state) {
		ck_assert_ok(ledger_settle_prompt(l, 1, state,
				     strcmp(state, "settled") == 0 ? "all" : "timeout", NULL, &err),
			err);
	}
	ledger_close(l);
}

static void record(const char *file, const char *run, int64_t number, const char *model, bool held)
{
	AUTO_FREE char *path = fixture_path(file);
	const struct history_run row = {run, number, number * 1000, held, "{}"};
	struct ledger *l = ledger_open(path, LEDGER_WRITE, &err);
	ck_assert_msg(l, "%s", err.msg);
	ck_assert_ok(ledger_set_meta(l, "writer", "student", &err), err);
	ck_assert_ok(ledger_set_meta(l, "engine.student.model", "name", &err), err);
	ck_assert_ok(ledger_set_fingerprint(l, "engine:student", "model", model, &err), err);
	ledger_close(l);
	ck_assert_ok(history_record(history, &row, path, &err), err);
}

static struct history_prompt known(unsigned prompt)
{
	struct history_prompt p;
	history_prompt(history, prompt_id(prompt), &p);
	return p;
}

START_TEST(nights_add_up)
	{
		write_night("1.db", 5, "aruf", "settled");
		write_night("2.db", 5, "aaa", NULL);
		record("1.db", "one", 1, MODEL_A, false);
		struct history_prompt p = known(5);
		ck_assert(p.known && p.settled);
		ck_assert_int_eq(p.n_candidates, 3);
		ck_assert_int_eq(p.n_decided, 2);
		ck_assert_int_eq(p.n_accepted, 1);
		/* Backlog that has candidates is known by them. */
		record("2.db", "two", 2, MODEL_A, false);
		p = known(5);
		ck_assert(p.settled);
		ck_assert_int_eq(p.n_runs, 2);
		ck_assert_int_eq(p.n_candidates, 6);
		ck_assert_int_eq(p.n_accepted, 4);
		ck_assert_int_eq(p.model_decided, 5);
		ck_assert_int_eq(p.model_accepted, 4);
		ck_assert_str_eq(p.last_run, "two");
		ck_assert_str_eq(p.model, "name");
		ck_assert(!known(6).known);
	}
END_TEST

START_TEST(another_model_begins_anew)
	{
		write_night("1.db", 5, "aaaa", "settled");
		write_night("2.db", 5, "rr", "settled");
		record("1.db", "one", 1, MODEL_A, false);
		record("2.db", "two", 2, MODEL_B, false);
		struct history_prompt p = known(5);
		ck_assert_int_eq(p.n_decided, 6);
		ck_assert_int_eq(p.n_accepted, 4);
		ck_assert_int_eq(p.model_decided, 2);
		ck_assert_int_eq(p.model_accepted, 0);
		ck_assert_str_eq(p.model_hash, MODEL_B);
	}
END_TEST

START_TEST(a_run_made_from_another_takes_its_place)
	{
		write_night("1.db", 5, "rr", "settled");
		write_night("2.db", 5, "aaar", "settled");
		write_night("2-strict.db", 5, "arrr", "settled");
		record("1.db", "one", 1, MODEL_A, false);
		record("2.db", "two", 2, MODEL_A, false);
		for (int i = 0; i < 2; i++) {
			record("2-strict.db", "strict", 2, MODEL_A, false);
			struct history_prompt p = known(5);
			ck_assert_int_eq(p.n_runs, 2);
			ck_assert_int_eq(p.n_candidates, 6);
			ck_assert_int_eq(p.n_accepted, 1);
			ck_assert_int_eq(p.model_decided, 6);
			ck_assert_int_eq(p.model_accepted, 1);
		}
	}
END_TEST

START_TEST(a_held_run_counts_once_it_is_published)
	{
		write_night("1.db", 5, "ar", "settled");
		record("1.db", "one", 1, MODEL_A, true);
		record("1.db", "one", 1, MODEL_A, true);
		ck_assert(!known(5).known);
		ck_assert_int_eq(history_last_number(history), 1);
		ck_assert_ptr_null(history_last_summary(history));
		record("1.db", "one", 1, MODEL_A, false);
		ck_assert_int_eq(known(5).n_candidates, 2);
		/* What is finished does not become held. */
		record("1.db", "one", 1, MODEL_A, true);
		AUTO_FREE char *summary = history_last_summary(history);
		ck_assert_ptr_nonnull(summary);
	}
END_TEST

static int64_t hash_of(const char *file, int64_t candidate)
{
	AUTO_FREE char *path = fixture_path(file);
	struct ledger *l = ledger_open(path, LEDGER_READ, &err);
	int64_t hash;
	ck_assert_int_eq(ledger_sampled(l, candidate, &hash, &err), LEDGER_FOUND);
	ledger_close(l);
	return hash;
}

START_TEST(what_was_shipped_is_known_by_prompt_and_ids)
	{
		write_night("1.db", 5, "ra", "settled");
		write_night("2.db", 5, "raa", "settled");
		write_night("3.db", 6, "ra", "settled");
		record("1.db", "one", 1, MODEL_A, false);
		int64_t shipped = hash_of("1.db", CANDIDATES + 1);
		ck_assert(hash_of("2.db", CANDIDATES + 1) == shipped);
		ck_assert(history_is_shipped(history, shipped, 2));
		/* The night itself, in another version, may ship it again. */
		ck_assert(!history_is_shipped(history, shipped, 1));
		ck_assert(!history_is_shipped(history, hash_of("1.db", CANDIDATES), 2));
		ck_assert(!history_is_shipped(history, hash_of("2.db", CANDIDATES + 2), 2));
		ck_assert(!history_is_shipped(history, hash_of("3.db", CANDIDATES + 1), 2));
	}
END_TEST

struct listed {
	char text[256];
};

static bool list_run(void *ctx, const struct history_run *run, struct error *e UNUSED)
{
	struct listed *l = ctx;
	size_t len = strlen(l->text);
	snprintf(l->text + len, sizeof(l->text) - len, "%s%s ", run->run, run->held ? "!" : "");
	return true;
}

static void note_run(void *ctx, const struct history_run *run)
{
	struct error ignored;
	(void)list_run(ctx, run, &ignored);
}

START_TEST(runs_are_listed_by_night)
	{
		struct listed all = {""}, last = {""}, before = {""};
		write_night("1.db", 5, "r", "settled");
		record("1.db", "n.9", 1, MODEL_A, false);
		record("1.db", "n.10", 2, MODEL_A, false);
		record("1.db", "n.11", 3, MODEL_A, true);
		record("1.db", "n.12", 4, MODEL_A, false);
		ck_assert_ok(history_each_run(history, 0, list_run, &all, &err), err);
		ck_assert_str_eq(all.text, "n.9 n.10 n.11! n.12 ");
		ck_assert_ok(history_each_run(history, 2, list_run, &last, &err), err);
		ck_assert_str_eq(last.text, "n.11! n.12 ");
		ck_assert(history_previous(history, 4, note_run, &before));
		ck_assert_str_eq(before.text, "n.10 ");
		ck_assert(!history_previous(history, 1, note_run, &before));
	}
END_TEST

START_TEST(bands_are_of_the_last_models_rate)
	{
		static const struct {
			const char *fates;
			int band; /* -1: not decided */
		} rows[] = {{"rrr", 0}, {"rrrrrrrrra", 1}, {"rrrrrrrraaa", 3}, {"ra", 5},
			{"aaaaaaaaar", 9}, {"aaaaaaaaaaar", 10}, {"aa", 11}, {"uu", -1}};
		struct history_bands b;
		for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
			AUTO_FREE char *file = xasprintf("%u.db", i);
			write_night(file, i + 1, rows[i].fates, "settled");
			record(file, file, i + 1, MODEL_A, false);
			ck_assert_ok(history_bands(history, &b, &err), err);
			ck_assert_int_eq(b.n_prompts, i + 1);
			ck_assert_int_eq(rows[i].band < 0 ? b.n_undecided : b.n[rows[i].band], 1);
		}
	}
END_TEST

/* --- versions --- */

/* As thresh 0.1 of November 2026 made it. */
static const char version_1[] =
	"CREATE TABLE run (run TEXT PRIMARY KEY, number INTEGER NOT NULL, ended_ms INTEGER NOT "
	"NULL, summary TEXT NOT NULL) STRICT, WITHOUT ROWID;"
	"CREATE TABLE prompt (prompt_id TEXT PRIMARY KEY, settled INTEGER NOT NULL, n_runs INTEGER "
	"NOT NULL, n_candidates INTEGER NOT NULL, n_accepted INTEGER NOT NULL, last_run TEXT NOT "
	"NULL) STRICT, WITHOUT ROWID;"
	"CREATE TABLE shipped (run TEXT NOT NULL, candidate INTEGER NOT NULL, prompt_id TEXT NOT "
	"NULL, PRIMARY KEY (run, candidate)) STRICT, WITHOUT ROWID;"
	"INSERT INTO run VALUES ('a', 1, 5, '{}'), ('b', 2, 6, '{}');"
	"INSERT INTO prompt VALUES ('00000000000000000000000000000007', 1, 2, 8, 3, 'b'), "
	"('00000000000000000000000000000008', 0, 1, 4, 1, 'b');"
	"INSERT INTO shipped VALUES ('a', 4096, '00000000000000000000000000000007');"
	"PRAGMA application_id = 0x54687248; PRAGMA user_version = 1;";

static void make_file(const char *name, const char *sql)
{
	AUTO_FREE char *path = fixture_path(name);
	sqlite3 *db;
	ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
	ck_assert_int_eq(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
}

/* One text of all rows. */
static char *ask(const char *name, const char *sql)
{
	AUTO_FREE char *path = fixture_path(name);
	sqlite3 *db;
	sqlite3_stmt *stmt;
	struct str out;
	str_init(&out, STR_NO_CAP);
	ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
	ck_assert_int_eq(sqlite3_prepare_v2(db, sql, -1, &stmt, NULL), SQLITE_OK);
	while (sqlite3_step(stmt) == SQLITE_ROW) {
		str_printf(&out, "%s;", (const char *)sqlite3_column_text(stmt, 0));
	}
	sqlite3_finalize(stmt);
	sqlite3_close(db);
	return out.data;
}

START_TEST(an_older_file_is_brought_up_to_date_and_looks_like_a_new_one)
	{
		static const char schema[] = "SELECT sql FROM sqlite_schema ORDER BY name";
		make_file("old.db", version_1);
		AUTO_FREE char *path = fixture_path("old.db");
		struct history *old = history_open(path, &err);
		ck_assert_msg(old, "%s", err.msg);
		struct history_prompt p;
		history_prompt(old, prompt_id(7), &p);
		ck_assert(p.settled);
		ck_assert_int_eq(p.n_decided, 8);
		ck_assert_int_eq(p.model_accepted, 3);
		ck_assert_str_eq(p.model_hash, "");
		ck_assert_int_eq(history_last_number(old), 2);
		history_close(old);
		AUTO_FREE char *now = ask("old.db", schema), *fresh = ask("history.db", schema),
			       *last = ask("old.db",
				       "SELECT last_number || ' ' || last_candidates FROM prompt "
				       "ORDER BY prompt_id"),
			       *shipped = ask("old.db",
				       "SELECT run || candidate || (hash IS NULL) FROM shipped");
		ck_assert_str_eq(now, fresh);
		ck_assert_str_eq(last, "2 0;2 4;");
		ck_assert_str_eq(shipped, "a40961;");
	}
END_TEST

START_TEST(a_file_that_cannot_be_brought_up_to_date_stays_as_it_is)
	{
		/* A table of that name stands in the way in the middle of it. */
		make_file("odd.db", version_1);
		make_file("odd.db", "CREATE TABLE model (x)");
		AUTO_FREE char *path = fixture_path("odd.db");
		ck_assert_ptr_null(history_open(path, &err));
		AUTO_FREE char
			*tables = ask("odd.db",
				"SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY 1"),
			*version = ask("odd.db", "PRAGMA user_version");
		ck_assert_str_eq(tables, "model;prompt;run;shipped;");
		ck_assert_str_eq(version, "1;");
	}
END_TEST

START_TEST(a_newer_or_foreign_file_is_refused)
	{
		make_file("newer.db",
			"PRAGMA application_id = 0x54687248; PRAGMA user_version = 3; CREATE TABLE "
			"t (a)");
		make_file("foreign.db", "CREATE TABLE t (a)");
		static const char *const names[] = {"newer.db", "foreign.db"};
		for (size_t i = 0; i < ARRAY_LEN(names); i++) {
			AUTO_FREE char *path = fixture_path(names[i]);
			ck_assert_ptr_null(history_open(path, &err));
			ck_assert_int_eq(err.kind, FAIL_DATA);
			AUTO_FREE char *tables = ask(names[i], "SELECT name FROM sqlite_schema");
			ck_assert_str_eq(tables, "t;");
		}
	}
END_TEST

int main(void)
{
	Suite *s = suite_create("history");
	TCase *t = tcase_create("history");
	tcase_add_checked_fixture(t, set_up, tear_down);
	tcase_add_test(t, nights_add_up);
	tcase_add_test(t, another_model_begins_anew);
	tcase_add_test(t, a_run_made_from_another_takes_its_place);
	tcase_add_test(t, a_held_run_counts_once_it_is_published);
	tcase_add_test(t, what_was_shipped_is_known_by_prompt_and_ids);
	tcase_add_test(t, runs_are_listed_by_night);
	tcase_add_test(t, bands_are_of_the_last_models_rate);
	tcase_add_test(t, an_older_file_is_brought_up_to_date_and_looks_like_a_new_one);
	tcase_add_test(t, a_file_that_cannot_be_brought_up_to_date_stays_as_it_is);
	tcase_add_test(t, a_newer_or_foreign_file_is_refused);
	suite_add_tcase(s, t);
	return run_suite(s);
}
