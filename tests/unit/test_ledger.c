#include "fixture.h"
#include "ledger/history.h"
#include "ledger/ledger.h"
#include "ledger/wide.h"

#include <signal.h>
#include <sqlite3.h>
#include <string.h>
#include <sys/resource.h>

#define CANDIDATES 4096

static struct ledger *ledger;
static struct error err;

static void set_up(void)
{
	fixture_set_up();
	AUTO_FREE char *path = fixture_path("ledger.db");
	ledger = ledger_open(path, LEDGER_CREATE, &err);
	ck_assert_msg(ledger, "%s", err.msg);
	ck_assert(ledger_set_meta(ledger, "state", "open", &err));
}

static void tear_down(void)
{
	ledger_close(ledger);
	fixture_tear_down();
}

static void add_prompt(int64_t id)
{
	char prompt_id[33], fields[128];
	snprintf(prompt_id, sizeof(prompt_id), "%032llx", (unsigned long long)id * 7919);
	snprintf(fields, sizeof(fields), "{\"question\":\"how many apples are %lld apples?\"}",
		(long long)id);
	struct ledger_prompt p = {.id = id,
		.prompt_id = prompt_id,
		.source = "s",
		.row_no = (uint64_t)id,
		.fields = slice_z(fields)};
	ck_assert_ok(ledger_add_prompt(ledger, &p, &err), err);
}

static void add_candidate(int64_t prompt, uint32_t idx, const char *state, const char *reason)
{
	char text[256];
	uint32_t ids[6] = {1, 2, 300, 49151, idx, 2};
	float logprobs[6] = {-0.5f, -1, -2, -0.25f, 0, -8};
	snprintf(text, sizeof(text), "There are %lld apples, so the answer is \\boxed{%u}.",
		(long long)prompt, idx);
	struct ledger_candidate c = {.id = prompt * CANDIDATES + idx,
		.prompt = prompt,
		.idx = idx,
		.seed = 7 + idx,
		.state = state,
		.reason = reason,
		.finish = "stop",
		.n_tokens = 6,
		.token_source = "sampled",
		.endpoint = "http://127.0.0.1:1",
		.attempts = 1,
		.text = slice_z(text),
		.ids = ids,
		.n_ids = 6,
		.logprobs = logprobs};
	ck_assert_ok(ledger_add_candidate(ledger, &c, &err), err);
}

START_TEST(a_candidate_comes_back_as_it_was_written)
	{
		/* Enough rows that dictionaries are trained on the way, and rows before and after are read alike. */
		for (int64_t p = 1; p <= 100; p++) {
			add_prompt(p);
			ck_assert_ok(ledger_set_prompt_ids(
					     ledger, p, (uint32_t[]){5, 6, 70000}, 3, &err),
				err);
			for (uint32_t k = 0; k < 4; k++) {
				add_candidate(p, k, "pending", NULL);
			}
		}
		struct arena arena = {0};
		for (int64_t p = 1; p <= 100; p++) {
			struct ledger_candidate *list;
			struct ledger_prompt prompt;
			size_t n;
			char text[256];
			ck_assert_ok(
				ledger_get_candidates(ledger, p, &arena, &list, &n, &err), err);
			ck_assert_uint_eq(n, 4);
			snprintf(text, sizeof(text),
				"There are %lld apples, so the answer is \\boxed{3}.",
				(long long)p);
			ck_assert(slice_eq_z(list[3].text, text));
			ck_assert_uint_eq(list[3].n_ids, 6);
			ck_assert_uint_eq(list[3].ids[3], 49151);
			ck_assert_float_eq(list[3].logprobs[5], -8);
			ck_assert_int_eq(
				ledger_get_prompt(ledger, p, &arena, &prompt, &err), LEDGER_FOUND);
			ck_assert_uint_eq(prompt.ids[2], 70000);
			ck_assert_ptr_nonnull(strstr(prompt.fields.data, "apples"));
		}
		arena_release(&arena);
	}
END_TEST

START_TEST(what_was_committed_survives_and_what_was_not_does_not)
	{
		AUTO_FREE char *path = fixture_path("ledger.db");
		add_prompt(1);
		ck_assert_ok(ledger_flush(ledger, &err), err);
		add_prompt(2);
		ck_assert(ledger_dirty(ledger));
		struct ledger *reader = ledger_open(path, LEDGER_READ, &err);
		ck_assert_int_eq(ledger_count_prompts(reader), 1);
		ck_assert_ok(ledger_flush(ledger, &err), err);
		ck_assert_int_eq(ledger_count_prompts(reader), 2);
		ledger_close(reader);
	}
END_TEST

START_TEST(rows_are_committed_at_the_limit)
	{
		ck_assert_ok(ledger_flush(ledger, &err), err);
		ledger_set_commit_rows(ledger, 3);
		add_prompt(1);
		add_prompt(2);
		ck_assert(ledger_dirty(ledger));
		add_prompt(3);
		ck_assert(!ledger_dirty(ledger));
	}
END_TEST

START_TEST(states_and_reasons_are_closed_lists)
	{
		add_prompt(1);
		struct ledger_candidate c = {.id = CANDIDATES,
			.prompt = 1,
			.state = "accepted",
			.reason = "because",
			.finish = "stop",
			.token_source = "sampled"};
		ck_assert(!ledger_add_candidate(ledger, &c, &err));
		ck_assert_int_eq(err.kind, FAIL_DATA);
		ck_assert(!ledger_settle_prompt(ledger, 1, "settled", "tired", NULL, &err));
		ck_assert(!ledger_settle_prompt(ledger, 1, "done", "all", NULL, &err));
		ck_assert_ok(ledger_settle_prompt(ledger, 1, "settled", "all", NULL, &err), err);
	}
END_TEST

START_TEST(after_a_failed_commit_nothing_more_is_written)
	{
		AUTO_FREE char *path = fixture_path("ledger.db");
		struct rlimit room, none;
		ck_assert_ok(ledger_flush(ledger, &err), err);
		add_prompt(1);
		signal(SIGXFSZ, SIG_IGN);
		ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &room), 0);
		none = (struct rlimit){.rlim_cur = 1024, .rlim_max = room.rlim_max};
		ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &none), 0);
		ck_assert(!ledger_flush(ledger, &err));
		ck_assert_int_eq(err.kind, FAIL_IO);
		ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &room), 0);
		ck_assert(!ledger_set_meta(ledger, "state", "finished", &err));
		ck_assert(!ledger_flush(ledger, &err));
		ledger_close(ledger);
		ledger = ledger_open(path, LEDGER_WRITE, &err);
		ck_assert_msg(ledger, "%s", err.msg);
		ck_assert_int_eq(ledger_count_prompts(ledger), 0);
	}
END_TEST

START_TEST(a_newer_or_foreign_file_is_refused)
	{
		AUTO_FREE char *path = fixture_path("newer.db");
		struct ledger *l = ledger_open(path, LEDGER_CREATE, &err);
		ledger_close(l);
		sqlite3 *db;
		ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
		sqlite3_exec(db, "PRAGMA user_version = 99", NULL, NULL, NULL);
		ck_assert_ptr_null(ledger_open(path, LEDGER_WRITE, &err));
		ck_assert_int_eq(err.kind, FAIL_DATA);
		ck_assert_ptr_nonnull(strstr(err.msg, "99"));
		sqlite3_exec(db, "PRAGMA user_version = 0", NULL, NULL, NULL);
		sqlite3_close(db);
		ck_assert_ptr_null(ledger_open(path, LEDGER_WRITE, &err));
		ck_assert_int_eq(err.kind, FAIL_DATA);
		fixture_write("text.db",
			"this is no database, but a text that is long enough to be looked at as "
			"one ..............................");
		AUTO_FREE char *text = fixture_path("text.db");
		ck_assert_ptr_null(ledger_open(text, LEDGER_READ, &err));
		AUTO_FREE char *absent = fixture_path("absent.db");
		ck_assert_ptr_null(ledger_open(absent, LEDGER_READ, &err));
	}
END_TEST

START_TEST(books_that_do_not_balance_are_found)
	{
		add_prompt(1);
		add_candidate(1, 0, "pending", NULL);
		ck_assert_ok(ledger_check_books(ledger, &err), err);
		ck_assert_ok(ledger_settle_prompt(ledger, 1, "settled", "all", NULL, &err), err);
		ck_assert(!ledger_check_books(ledger, &err));
		ck_assert_ptr_nonnull(strstr(err.msg, "4096"));
	}
END_TEST

static void collect(void *ctx, const char *what)
{
	struct str *text = ctx;
	str_printf(text, "%s\n", what);
}

/* Rows that no function of ours writes. */
static void plant(const char *sql)
{
	AUTO_FREE char *path = fixture_path("ledger.db");
	sqlite3 *db;
	ck_assert_ok(ledger_flush(ledger, &err), err);
	ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
	ck_assert_msg(
		sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK, "%s", sqlite3_errmsg(db));
	sqlite3_close(db);
}

static const struct {
	const char *sql, *words;
} broken_books[] = {
	{"DELETE FROM candidate WHERE id = 4096", "lack one of their candidates: 1"},
	{"DELETE FROM candidate_body WHERE candidate = 4097", "without a text that are chosen"},
	{"UPDATE candidate SET state = 'rejected' WHERE id = 4097",
		"were selected on and are not accepted: 4097"},
	{"DELETE FROM selection WHERE candidate = 4098", "not selected on: 4098"},
	{"UPDATE selection SET outcome = 'where' WHERE candidate = 4097", "were not chosen: 4097"},
	{"DELETE FROM plan WHERE candidate = 4097", "not in the packing plan: 4097"},
	{"UPDATE plan SET pos = 2 WHERE pos = 1", "with a gap: 0"},
	{"UPDATE plan SET row = 5", "one is missing in the packing plan: 5"},
	{"INSERT INTO shard VALUES ('meta', 1, 3, 1, 1, 1, '', '', '')", "the one before: 1"},
	{"UPDATE candidate SET state = 'pending', reason = NULL; WITH RECURSIVE n (i) AS (SELECT 3 "
	 "UNION ALL SELECT i + 1 FROM n WHERE i < 9) INSERT INTO candidate SELECT 4096 + i, 1, i, "
	 "0, 0, 'pending', NULL, NULL, NULL, 0, 'none', NULL, 1, 1, 1, NULL FROM n",
		": 4096, 4097, 4098, 4099, 4100 and 5 more"},
};

START_TEST(each_rule_of_the_books_names_its_rows)
	{
		add_prompt(1);
		for (uint32_t i = 0; i < 3; i++) {
			add_candidate(1, i, "accepted", "accept");
		}
		ck_assert(ledger_settle_prompt(ledger, 1, "settled", "all", NULL, &err));
		ck_assert(ledger_add_selection(ledger, 4096, 1, "chosen", NULL, &err));
		ck_assert(ledger_add_selection(ledger, 4097, 2, "chosen", NULL, &err));
		ck_assert(ledger_add_selection(ledger, 4098, 3, "per_prompt", NULL, &err));
		ck_assert(ledger_add_plan(ledger, 0, 0, 4096, &err));
		ck_assert(ledger_add_plan(ledger, 0, 1, 4097, &err));
		struct ledger_shard shard = {.n_rows = 1};
		ck_assert(ledger_add_shard(ledger, "meta", &shard, &err));
		ck_assert_ok(ledger_check_books(ledger, &err), err);
		plant(broken_books[_i].sql);
		struct str text;
		str_init(&text, STR_NO_CAP);
		ck_assert_ok(ledger_each_mismatch(ledger, collect, &text, &err), err);
		ck_assert_msg(strstr(text.data, broken_books[_i].words), "%s", text.data);
		str_release(&text);
		ck_assert(!ledger_check_books(ledger, &err));
		ck_assert_int_eq(err.kind, FAIL_DATA);
	}
END_TEST

START_TEST(bodies_that_do_not_unpack_or_count_otherwise_are_told)
	{
		struct ledger_bodies n;
		struct str text;
		str_init(&text, STR_NO_CAP);
		add_prompt(1);
		add_candidate(1, 0, "pending", NULL);
		add_candidate(1, 1, "pending", NULL);
		ck_assert_ok(ledger_flush(ledger, &err), err);
		ck_assert_ok(ledger_check_bodies(ledger, collect, &text, &n, &err), err);
		ck_assert_uint_eq(text.len, 0);
		ck_assert_int_eq(n.n_prompts, 1);
		ck_assert_int_eq(n.n_bodies, 2);
		plant("UPDATE candidate_body SET text = x'00' WHERE candidate = 4096; UPDATE "
		      "candidate SET n_tokens = 5 WHERE id = 4097; UPDATE prompt SET fields = "
		      "x'28b52ffd'");
		ck_assert_ok(ledger_check_bodies(ledger, collect, &text, &n, &err), err);
		ck_assert_ptr_nonnull(strstr(text.data, "candidate 4096: text: "));
		ck_assert_ptr_nonnull(
			strstr(text.data, "candidate 4097: it has 6 token ids, and counts 5"));
		ck_assert_ptr_nonnull(strstr(text.data, "prompt 1: fields: "));
		str_release(&text);
	}
END_TEST

START_TEST(reset_verify_forgets_scores_and_keeps_candidates)
	{
		add_prompt(1);
		add_candidate(1, 0, "accepted", "accept");
		add_candidate(1, 1, "rejected", "token_limit");
		ck_assert(ledger_add_score(ledger, CANDIDATES,
			&(struct ledger_score){"math", "equal", NULL, true, 1}, &err));
		ck_assert(ledger_settle_prompt(ledger, 1, "settled", "all", NULL, &err));
		ck_assert_ok(ledger_reset_verify(ledger, "[]", &err), err);
		struct arena arena = {0};
		struct ledger_candidate *list;
		size_t n;
		ck_assert_ok(ledger_get_candidates(ledger, 1, &arena, &list, &n, &err), err);
		ck_assert_uint_eq(n, 2);
		ck_assert_str_eq(list[0].state, "pending");
		ck_assert_uint_eq(list[0].n_scores, 0);
		ck_assert_str_eq(list[1].state, "rejected");
		arena_release(&arena);
	}
END_TEST

START_TEST(reset_verify_keeps_known_scores_of_the_verifiers_named)
	{
		add_prompt(1);
		add_candidate(1, 0, "accepted", "accept");
		const struct ledger_score scores[] = {{"math", "equal", NULL, true, 1, false, 7, 9},
			{"judge", "verdict", NULL, true, 0.5, true, 0, 0},
			{"lost", "engine", NULL, false, 0, false, 0, 0},
			{"old", "x", NULL, true, 1, false, 0, 0}};
		for (size_t i = 0; i < ARRAY_LEN(scores); i++) {
			ck_assert(ledger_add_score(ledger, CANDIDATES, &scores[i], &err));
		}
		ck_assert_ok(
			ledger_reset_verify(ledger, "[\"math\",\"judge\",\"lost\"]", &err), err);
		struct arena arena = {0};
		struct ledger_candidate *list;
		size_t n;
		ck_assert_ok(ledger_get_candidates(ledger, 1, &arena, &list, &n, &err), err);
		ck_assert_str_eq(list[0].state, "pending");
		ck_assert_uint_eq(list[0].n_scores, 2);
		ck_assert_str_eq(list[0].scores[0].verifier, "judge");
		ck_assert(list[0].scores[0].audit);
		ck_assert_str_eq(list[0].scores[1].verifier, "math");
		ck_assert_int_eq(list[0].scores[1].us, 7);
		ck_assert_uint_eq(list[0].scores[1].n_tokens, 9);
		arena_release(&arena);
	}
END_TEST

/* Opened for reading it stays as it is, for writing it is brought up to date. */
START_TEST(a_ledger_without_costs_is_read_and_brought_up_to_date)
	{
		static const enum ledger_mode modes[] = {LEDGER_READ, LEDGER_WRITE, LEDGER_READ};
		AUTO_FREE char *path = fixture_path("ledger.db");
		sqlite3 *db;
		add_prompt(1);
		add_candidate(1, 0, "accepted", "accept");
		ck_assert(ledger_add_score(ledger, CANDIDATES,
			&(struct ledger_score){"math", "equal", NULL, true, 1, false, 0, 0}, &err));
		ledger_close(ledger);
		ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
		ck_assert_int_eq(
			sqlite3_exec(db,
				"CREATE TABLE old AS SELECT candidate, verifier, value, reason, "
				"detail FROM score;"
				"DROP TABLE score; DROP TABLE previous; CREATE TABLE score "
				"(candidate INTEGER NOT NULL, verifier TEXT NOT NULL,"
				" value REAL, reason TEXT NOT NULL, detail TEXT, PRIMARY KEY "
				"(candidate, verifier)) STRICT, WITHOUT ROWID;"
				"INSERT INTO score SELECT * FROM old; DROP TABLE old",
				NULL, NULL, NULL),
			SQLITE_OK);
		sqlite3_close(db);
		for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
			struct arena arena = {0};
			struct ledger_verifier *v;
			struct ledger_change *c;
			size_t n;
			ledger = ledger_open(path, modes[i], &err);
			ck_assert_msg(ledger != NULL, "%s", err.msg);
			ck_assert_ok(ledger_verifiers(ledger, &arena, &v, &n, &err), err);
			ck_assert_uint_eq(n, 1);
			ck_assert_int_eq(v[0].n_known, 1);
			ck_assert_ok(ledger_changes(ledger, &arena, &c, &n, &err), err);
			ck_assert_uint_eq(n, 0);
			arena_release(&arena);
			if (i + 1 < ARRAY_LEN(modes)) {
				ledger_close(ledger);
			}
		}
	}
END_TEST

static void select_as(uint32_t idx, const char *outcome)
{
	ck_assert_ok(ledger_add_selection(ledger, CANDIDATES + idx, 1, outcome, NULL, &err), err);
}

static void check_counts(bool expected)
{
	bool same = !expected;
	ck_assert_ok(ledger_check_counts(ledger, &same, &err), err);
	ck_assert_int_eq(same, expected);
}

static bool take_number(
	void *ctx, const char *const *names, const struct ledger_cell *cells, size_t n)
{
	(void)names, (void)n;
	*(int64_t *)ctx = cells[0].integer;
	return true;
}

/* Whatever becomes of rows, scores put in place of others included. */
START_TEST(counts_are_those_of_the_rows)
	{
		static const char *const verifiers[] = {"a", "b", "c"};
		static const char *const outcomes[] = {"chosen", "where", "per_prompt"};
		uint64_t random = 1;
		ck_assert(ledger_set_meta(ledger, "verdicts", "[\"a\", \"b\"]", &err));
		for (int64_t p = 1; p <= 40; p++) {
			add_prompt(p);
			ck_assert(ledger_set_prompt_ids(
				ledger, p, (uint32_t[]){5, 6, 70000}, 3, &err));
			for (uint32_t k = 0; k < 4; k++) {
				add_candidate(p, k, "pending", NULL);
			}
		}
		for (int i = 0; i < 2000; i++) {
			random = random * 6364136223846793005u + 1442695040888963407u;
			unsigned dice = (unsigned)(random >> 40);
			int64_t candidate = (1 + (int64_t)(dice % 40)) * CANDIDATES +
				(int64_t)(dice / 40 % 4);
			const struct ledger_score score = {.verifier = verifiers[dice / 160 % 3],
				.reason = dice & 1 ? "x" : "y",
				.known = dice % 5 != 0,
				.value = (double)(dice % 7) / 6,
				.us = dice % 11};
			switch (dice / 480 % 8) {
			case 0:
				ck_assert(ledger_clear_scores(ledger, candidate, &err));
				break;
			case 1:
				ck_assert(ledger_set_candidate_state(
					ledger, candidate, "accepted", "accept", NULL, &err));
				ck_assert(ledger_add_selection(
					ledger, candidate, 1, outcomes[dice % 3], NULL, &err));
				break;
			case 2:
				ck_assert(ledger_settle_prompt(ledger, candidate / CANDIDATES,
					"settled", dice & 1 ? "all" : "enough", NULL, &err));
				break;
			default:
				ck_assert_ok(
					ledger_add_score(ledger, candidate, &score, &err), err);
			}
			if (i % 500 == 499) {
				int64_t n_wrong = -1;
				check_counts(true);
				ck_assert_ok(
					ledger_query(ledger,
						"SELECT count(*) FROM (SELECT a, b, n, n_apart "
						"FROM counted_pair EXCEPT SELECT a, b, n, n_apart "
						"FROM tally_pair)",
						take_number, &n_wrong, &err),
					err);
				ck_assert_int_eq(n_wrong, 0);
			}
		}
		ck_assert(ledger_reset_verify(ledger, "[\"b\"]", &err));
		check_counts(true);
	}
END_TEST

START_TEST(a_ledger_without_counts_is_counted_and_a_wrong_count_is_found)
	{
		struct arena arena = {0};
		AUTO_FREE char *path = fixture_path("ledger.db");
		add_prompt(1);
		add_candidate(1, 0, "accepted", "accept");
		for (int i = 0; i < 2; i++) {
			const struct ledger_score score = {.verifier = i ? "b" : "a",
				.reason = "x",
				.known = true,
				.value = i};
			ck_assert(ledger_add_score(ledger, CANDIDATES, &score, &err));
		}
		ck_assert(ledger_set_meta(ledger, "verdicts", "[\"a\", \"b\"]", &err));
		ledger_close(ledger);
		sqlite3 *db;
		ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
		ck_assert_int_eq(
			sqlite3_exec(db,
				"DROP TABLE tally; DROP TABLE tally_score; DROP TABLE tally_pair",
				NULL, NULL, NULL),
			SQLITE_OK);
		sqlite3_close(db);
		static const enum ledger_mode modes[] = {LEDGER_READ, LEDGER_WRITE, LEDGER_READ};
		for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
			struct ledger_pair *pairs;
			size_t n;
			ledger = ledger_open(path, modes[i], &err);
			ck_assert_ok(ledger != NULL, err);
			ck_assert_ok(ledger_pairs(ledger, &arena, &pairs, &n, &err), err);
			ck_assert_uint_eq(n, 1);
			ck_assert_int_eq(pairs[0].n_apart, 1);
			ck_assert_int_eq(ledger_count_prompts(ledger), 1);
			check_counts(true);
			ledger_close(ledger);
		}
		ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
		ck_assert_int_eq(sqlite3_exec(db, "UPDATE tally SET n = 2 WHERE what = 'candidate'",
					 NULL, NULL, NULL),
			SQLITE_OK);
		sqlite3_close(db);
		ledger = ledger_open(path, LEDGER_WRITE, &err);
		ck_assert_ok(ledger != NULL, err);
		check_counts(false);
		ck_assert_ok(ledger_count_again(ledger, &err), err);
		check_counts(true);
		arena_release(&arena);
	}
END_TEST

START_TEST(changes_of_the_selection_are_told)
	{
		struct arena arena = {0};
		struct ledger_change *c;
		size_t n;
		add_prompt(1);
		for (uint32_t i = 0; i < 5; i++) {
			add_candidate(1, i, i == 4 ? "rejected" : "accepted", "accept");
		}
		select_as(0, "chosen");
		select_as(1, "per_prompt");
		select_as(2, "over_long");
		select_as(4, "chosen");
		ck_assert_ok(ledger_changes(ledger, &arena, &c, &n, &err), err);
		ck_assert_uint_eq(n, 0);
		ck_assert_ok(ledger_keep_selection(ledger, &err), err);
		ck_assert_ok(ledger_clear_selection(ledger, &err), err);
		/* Killed and begun again: there is nothing to remember, so what was stays remembered. */
		ck_assert_ok(ledger_keep_selection(ledger, &err), err);
		select_as(0, "per_prompt");
		select_as(1, "chosen");
		select_as(2, "chosen");
		select_as(3, "chosen");
		ck_assert_ok(ledger_changes(ledger, &arena, &c, &n, &err), err);
		static const struct {
			const char *what, *why;
			int64_t example;
		} wanted[] = {{"gone", "per_prompt", 0}, {"gone", "rejected", 4}, {"kept", "", 2},
			{"new", "not accepted", 3}, {"new", "per_prompt", 1}};
		ck_assert_uint_eq(n, ARRAY_LEN(wanted));
		for (size_t i = 0; i < n; i++) {
			ck_assert_str_eq(c[i].what, wanted[i].what);
			ck_assert_str_eq(c[i].why, wanted[i].why);
			ck_assert_int_eq(c[i].n, 1);
			ck_assert_int_eq(c[i].example, CANDIDATES + wanted[i].example);
		}
		arena_release(&arena);
	}
END_TEST

static bool count_chosen(void *ctx, const struct ledger_chosen *c UNUSED, struct error *e UNUSED)
{
	++*(unsigned *)ctx;
	return true;
}

START_TEST(a_ledger_without_repeats_is_brought_up_to_date)
	{
		AUTO_FREE char *path = fixture_path("ledger.db");
		sqlite3 *db;
		int64_t hash = 7;
		unsigned n = 0;
		add_prompt(1);
		add_candidate(1, 0, "accepted", "accept");
		add_candidate(1, 1, "accepted", "accept");
		ledger_close(ledger);
		ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
		ck_assert_int_eq(
			sqlite3_exec(db,
				"DROP TABLE selection; CREATE TABLE selection (candidate INTEGER "
				"PRIMARY KEY REFERENCES candidate (id), rank INTEGER NOT NULL, "
				"outcome TEXT NOT NULL CHECK (outcome IN ('chosen', 'where', "
				"'per_prompt', 'over_long', 'empty'))) STRICT; INSERT INTO "
				"selection VALUES (4096, 1, 'chosen')",
				NULL, NULL, NULL),
			SQLITE_OK);
		sqlite3_close(db);
		for (int i = 0; i < 2; i++) {
			ledger = ledger_open(path, i ? LEDGER_WRITE : LEDGER_READ, &err);
			ck_assert_msg(ledger, "%s", err.msg);
			ck_assert_ok(ledger_each_chosen(ledger, count_chosen, &n, &err), err);
			if (!i) {
				ledger_close(ledger);
			}
		}
		ck_assert_uint_eq(n, 2);
		ck_assert_ok(ledger_add_selection(ledger, 4097, 2, "repeat", &hash, &err), err);
	}
END_TEST

START_TEST(clearing_the_plan_takes_back_what_pack_left_out)
	{
		static const char *const outcomes[] = {
			"chosen", "over_long", "empty", "where", "per_prompt", "repeat"};
		unsigned n = 0;
		add_prompt(1);
		for (uint32_t i = 0; i < ARRAY_LEN(outcomes); i++) {
			add_candidate(1, i, "accepted", "accept");
			ck_assert_ok(ledger_add_selection(ledger, CANDIDATES + i, i + 1,
					     outcomes[i], NULL, &err),
				err);
		}
		ck_assert(!ledger_add_selection(ledger, CANDIDATES, 1, "dull", NULL, &err));
		ck_assert_ok(ledger_clear_plan(ledger, &err), err);
		ck_assert_ok(ledger_each_chosen(ledger, count_chosen, &n, &err), err);
		ck_assert_uint_eq(n, 3);
	}
END_TEST

/* --- duplicates --- */

/* "CANDIDATE " of each visited, and + for a spare one. All but the first become duplicates between one and the next, as in the stage. */
static bool mark(void *ctx, int64_t candidate, bool spare, struct error *e)
{
	const struct ledger_duplicate d = {NULL, CANDIDATES + 1, 0.875, false, 0};
	str_printf(ctx, "%lld%s ", (long long)candidate, spare ? "+" : "");
	return candidate == CANDIDATES + 1 || spare ||
		ledger_add_duplicate(ledger, candidate, &d, e);
}

/* Two prompts of two, the second ones of lower rank. */
static void select_four(void)
{
	for (int64_t p = 1; p <= 2; p++) {
		add_prompt(p);
		for (uint32_t i = 0; i < 2; i++) {
			add_candidate(p, i, "accepted", "accept");
			ck_assert_ok(ledger_add_selection(ledger, p * CANDIDATES + i, 2 - i,
					     "chosen", NULL, &err),
				err);
		}
	}
}

START_TEST(candidates_are_visited_by_rank_while_duplicates_are_marked)
	{
		struct str order;
		struct arena arena = {0};
		struct ledger_duplicate d;
		str_init(&order, STR_NO_CAP);
		select_four();
		add_candidate(1, 2, "accepted", "accept");
		ck_assert_ok(ledger_add_selection(ledger, 4098, 3, "per_prompt", NULL, &err), err);
		add_candidate(1, 3, "accepted", "accept");
		ck_assert_ok(ledger_add_selection(ledger, 4099, 1, "where", NULL, &err), err);
		ck_assert_int_eq(ledger_count_chosen(ledger), 4);
		ck_assert_ok(ledger_each_ranked(ledger, mark, &order, &err), err);
		ck_assert_str_eq(order.data, "4097 8193 4096 8192 4098+ ");
		ck_assert_int_eq(ledger_count_chosen(ledger), 1);
		ck_assert_int_eq(
			ledger_get_duplicate(ledger, 8193, &arena, &d, &err), LEDGER_FOUND);
		ck_assert_ptr_null(d.run);
		ck_assert_int_eq(d.original, CANDIDATES + 1);
		ck_assert_double_eq(d.likeness, 0.875);
		ck_assert(!d.same);
		ck_assert_int_eq(d.stand_in, 0);
		ck_assert_int_eq(
			ledger_get_duplicate(ledger, CANDIDATES + 1, &arena, &d, &err), LEDGER_END);
		ck_assert_ok(ledger_check_books(ledger, &err), err);
		arena_release(&arena);
		str_release(&order);
	}
END_TEST

START_TEST(a_text_comes_with_its_prompt)
	{
		struct arena arena = {0};
		struct ledger_text t;
		add_prompt(2);
		add_candidate(2, 1, "accepted", "accept");
		ck_assert_int_eq(ledger_get_text(ledger, 8193, &arena, &t, &err), LEDGER_FOUND);
		ck_assert(slice_eq_z(t.text, "There are 2 apples, so the answer is \\boxed{1}."));
		ck_assert_str_eq(t.prompt_id, "00000000000000000000000000003dde");
		ck_assert_int_eq(ledger_get_text(ledger, 8194, &arena, &t, &err), LEDGER_END);
		arena_release(&arena);
	}
END_TEST

START_TEST(the_next_best_stands_in_for_a_duplicate)
	{
		const struct ledger_duplicate d = {"earlier", 4711, 1, true, 0};
		struct arena arena = {0};
		struct ledger_duplicate out;
		struct ledger_place place;
		select_four();
		add_candidate(1, 2, "accepted", "accept");
		ck_assert_ok(ledger_add_selection(ledger, 4098, 3, "per_prompt", NULL, &err), err);
		ck_assert_ok(ledger_add_duplicate(ledger, 8192, &d, &err), err);
		ck_assert_ok(ledger_add_duplicate(ledger, 4097, &d, &err), err);
		ck_assert_ok(ledger_choose_stand_in(ledger, 4098, NULL, &err), err);
		ck_assert_int_eq(ledger_count_chosen(ledger), 3);
		ck_assert_int_eq(
			ledger_get_duplicate(ledger, 4097, &arena, &out, &err), LEDGER_FOUND);
		ck_assert_int_eq(out.stand_in, 4098);
		ck_assert_int_eq(
			ledger_get_duplicate(ledger, 8192, &arena, &out, &err), LEDGER_FOUND);
		ck_assert_int_eq(out.stand_in, 0); /* of another prompt */
		ck_assert_int_eq(
			ledger_get_place(ledger, 4098, &arena, &place, &err), LEDGER_FOUND);
		ck_assert_int_eq(place.instead_of, 4097);
		ck_assert_ok(ledger_check_books(ledger, &err), err);
		/* Left out by pack: that is pack's affair. */
		ck_assert_ok(ledger_add_selection(ledger, 4098, 1, "over_long", NULL, &err), err);
		ck_assert_ok(ledger_check_books(ledger, &err), err);
		ck_assert_ok(ledger_clear_duplicates(ledger, &err), err);
		ck_assert_int_eq(ledger_count_chosen(ledger), 4);
		ck_assert_int_eq(
			ledger_get_place(ledger, 4098, &arena, &place, &err), LEDGER_FOUND);
		ck_assert_str_eq(place.outcome, "per_prompt");
		arena_release(&arena);
	}
END_TEST

START_TEST(duplicates_can_be_taken_back)
	{
		const struct ledger_duplicate d = {"earlier", 4711, 1, true, 0};
		struct arena arena = {0};
		struct ledger_duplicate out;
		select_four();
		ck_assert_ok(ledger_add_duplicate(ledger, 8192, &d, &err), err);
		ck_assert_ok(ledger_add_selection(ledger, 4097, 1, "over_long", NULL, &err), err);
		ck_assert_int_eq(
			ledger_get_duplicate(ledger, 8192, &arena, &out, &err), LEDGER_FOUND);
		ck_assert_str_eq(out.run, "earlier");
		ck_assert(out.same);
		/* What pack left out is pack's affair, and stays a duplicate's original. */
		ck_assert_ok(ledger_clear_plan(ledger, &err), err);
		ck_assert_int_eq(ledger_count_chosen(ledger), 3);
		ck_assert_ok(ledger_clear_duplicates(ledger, &err), err);
		ck_assert_int_eq(ledger_count_chosen(ledger), 4);
		ck_assert_int_eq(
			ledger_get_duplicate(ledger, 8192, &arena, &out, &err), LEDGER_END);
		ck_assert_ok(ledger_add_duplicate(ledger, 8192, &d, &err), err);
		ck_assert_ok(ledger_clear_selection(ledger, &err), err);
		ck_assert_int_eq(
			ledger_get_duplicate(ledger, 8192, &arena, &out, &err), LEDGER_END);
		ck_assert_ok(ledger_check_books(ledger, &err), err);
		arena_release(&arena);
	}
END_TEST

START_TEST(books_of_duplicates_must_balance)
	{
		const struct ledger_duplicate of_better = {NULL, 4097, 1, true, 0};
		select_four();
		ck_assert_ok(ledger_add_selection(ledger, 4096, 2, "duplicate", NULL, &err), err);
		ck_assert(!ledger_check_books(ledger, &err));
		ck_assert_ptr_nonnull(
			strstr(err.msg, "duplicates of nothing, or not marked as such: 4096"));
		ck_assert_ok(ledger_add_duplicate(ledger, 4096, &of_better, &err), err);
		ck_assert_ok(ledger_check_books(ledger, &err), err);
		ck_assert_ok(ledger_add_duplicate(ledger, 4097,
				     &(struct ledger_duplicate){NULL, 8192, 1, true, 0}, &err),
			err);
		ck_assert(!ledger_check_books(ledger, &err));
		ck_assert_ptr_nonnull(strstr(err.msg, "duplicates of one that was not kept: 4096"));
	}
END_TEST

START_TEST(a_ledger_from_before_duplicates_is_read_and_brought_up_to_date)
	{
		AUTO_FREE char *path = fixture_path("ledger.db");
		struct arena arena = {0};
		struct ledger_duplicate d = {"earlier", 1, 1, true, 0}, out;
		sqlite3 *db;
		select_four();
		ck_assert_ok(ledger_flush(ledger, &err), err);
		ledger_close(ledger);
		ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
		ck_assert_int_eq(
			sqlite3_exec(db,
				"DROP TABLE duplicate; CREATE TABLE old (candidate INTEGER "
				"PRIMARY KEY, rank INTEGER NOT NULL, outcome TEXT NOT NULL "
				"CHECK (outcome IN ('chosen', 'where')));"
				"INSERT INTO old SELECT candidate, rank, outcome FROM selection; "
				"DROP TABLE "
				"selection; ALTER TABLE old RENAME TO selection",
				NULL, NULL, NULL),
			SQLITE_OK);
		sqlite3_close(db);
		ledger = ledger_open(path, LEDGER_READ, &err);
		ck_assert_msg(ledger, "%s", err.msg);
		ck_assert_int_eq(
			ledger_get_duplicate(ledger, 8192, &arena, &out, &err), LEDGER_END);
		ck_assert_int_eq(ledger_count_chosen(ledger), 4);
		ledger_close(ledger);
		for (int i = 0; i < 2; i++) {
			ledger = ledger_open(path, LEDGER_WRITE, &err);
			ck_assert_msg(ledger, "%s", err.msg);
			ck_assert_int_eq(ledger_count_chosen(ledger), 4 - i);
			if (!i) {
				ck_assert_ok(ledger_add_duplicate(ledger, 8192, &d, &err), err);
				ck_assert_ok(ledger_flush(ledger, &err), err);
				ledger_close(ledger);
			}
		}
		arena_release(&arena);
	}
END_TEST

START_TEST(prompts_are_found_by_the_beginning_of_their_hash)
	{
		int64_t id;
		add_prompt(1);
		add_prompt(2);
		ck_assert_int_eq(
			ledger_find_prompt(ledger, "00000000000000000000000000001eef", &id, &err),
			LEDGER_FOUND);
		ck_assert_int_eq(id, 1);
		ck_assert_int_eq(ledger_find_prompt(ledger, "0000", &id, &err), LEDGER_FAILED);
		ck_assert_int_eq(ledger_find_prompt(ledger, "ffff", &id, &err), LEDGER_END);
		ck_assert_int_eq(ledger_find_prompt(ledger, "%", &id, &err), LEDGER_END);
	}
END_TEST

static bool count_row(
	void *ctx, const char *const *names UNUSED, const struct ledger_cell *cells, size_t n)
{
	ck_assert_uint_eq(n, 1);
	*(struct ledger_cell *)ctx = cells[0];
	if (cells[0].kind == CELL_TEXT) {
		((struct ledger_cell *)ctx)->integer = memmem(cells[0].text.data, cells[0].text.len,
							       "\\boxed{0}", 9) != NULL;
	}
	return true;
}

START_TEST(query_reads_and_unpacks_but_never_writes)
	{
		struct ledger_cell cell = {0};
		add_prompt(1);
		add_candidate(1, 0, "pending", NULL);
		ck_assert_ok(ledger_query(ledger, "select count(*) from candidate", count_row,
				     &cell, &err),
			err);
		ck_assert_int_eq(cell.integer, 1);
		ck_assert_ok(
			ledger_query(ledger, "select text(4096)", count_row, &cell, &err), err);
		ck_assert_int_eq(cell.integer, 1);
		const char *const refused[] = {"delete from candidate", "attach 'x' as y",
			"pragma user_version = 3", "select 1; select 2", "create table t (a)",
			"update prompt set state = 'failed'", "", "vacuum",
			"select * from nothing"};
		for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
			ck_assert_msg(!ledger_query(ledger, refused[i], count_row, &cell, &err),
				"%s", refused[i]);
			ck_assert_int_eq(err.kind, FAIL_USAGE);
		}
	}
END_TEST

struct order {
	int64_t ids[8];
	bool passes[8];
	size_t n;
};

static bool note(
	void *ctx, int64_t candidate, int64_t prompt UNUSED, bool pass, struct error *e UNUSED)
{
	struct order *o = ctx;
	o->ids[o->n] = candidate;
	o->passes[o->n++] = pass;
	return true;
}

START_TEST(wide_orders_within_the_prompt_and_sees_the_group)
	{
		const struct expr_column columns[] = {
			{"judge", EXPR_REAL}, {"n_tokens", EXPR_INTEGER}};
		struct wide *w = wide_new(columns, 2, &err);
		const double judges[] = {0.5, 0.9, 0.9, 0.1};
		const int64_t tokens[] = {10, 30, 20, 5};
		for (int64_t i = 0; i < 4; i++) {
			struct expr_value row[] = {{.kind = EXPR_VALUE_REAL, .real = judges[i]},
				{.kind = EXPR_VALUE_INT, .integer = tokens[i]}};
			ck_assert_ok(wide_add(w, 100 + i, 1, i != 3, row, &err), err);
		}
		struct expr_value none[] = {
			{.kind = EXPR_VALUE_NULL}, {.kind = EXPR_VALUE_INT, .integer = 1}};
		ck_assert_ok(wide_add(w, 200, 2, true, none, &err), err);
		struct order o = {0};
		ck_assert_ok(wide_each(w, "pass_rate < 0.9 and judge > 0.6",
				     "judge desc, n_tokens asc", note, &o, &err),
			err);
		ck_assert_uint_eq(o.n, 4);
		ck_assert_int_eq(o.ids[0], 102);
		ck_assert_int_eq(o.ids[1], 101);
		ck_assert_int_eq(o.ids[2], 100);
		ck_assert_int_eq(o.ids[3], 200);
		ck_assert(o.passes[0] && o.passes[1] && !o.passes[2] && !o.passes[3]);
		wide_free(w);
	}
END_TEST

START_TEST(wide_takes_any_name_that_a_row_may_have)
	{
		/* HumanEval's rows have a field `prompt`. */
		const struct expr_column columns[] = {{"prompt", EXPR_TEXT}};
		struct wide *w = wide_new(columns, 1, &err);
		const char *const texts[] = {"b", "a"};
		for (int64_t i = 0; i < 2; i++) {
			struct expr_value row[] = {
				{.kind = EXPR_VALUE_TEXT, .text = slice_z(texts[i])}};
			ck_assert_ok(wide_add(w, 100 + i, 1, true, row, &err), err);
		}
		struct order o = {0};
		ck_assert_ok(wide_each(w, NULL, "prompt asc", note, &o, &err), err);
		ck_assert_int_eq(o.ids[0], 101);
		ck_assert_int_eq(o.ids[1], 100);
		wide_free(w);
	}
END_TEST

START_TEST(history_records_a_run_once)
	{
		AUTO_FREE char *path = fixture_path("history.db");
		AUTO_FREE char *ledger_path = fixture_path("ledger.db");
		add_prompt(1);
		add_prompt(2);
		add_candidate(1, 0, "accepted", "accept");
		ck_assert(ledger_settle_prompt(ledger, 1, "settled", "all", NULL, &err));
		ck_assert(ledger_flush(ledger, &err));
		struct history *h = history_open(path, &err);
		const struct history_run run = {"2026-11-24.1", 3, 1, false, "{}"};
		ck_assert_msg(h, "%s", err.msg);
		for (int i = 0; i < 2; i++) {
			ck_assert_ok(history_record(h, &run, ledger_path, &err), err);
			ck_assert(history_is_settled(h, "00000000000000000000000000001eef"));
			ck_assert(!history_is_settled(h, "00000000000000000000000000003dde"));
			ck_assert_int_eq(history_last_number(h), 3);
		}
		history_close(h);
		h = history_open(path, &err);
		ck_assert(h && history_is_settled(h, "00000000000000000000000000001eef"));
		history_close(h);
		ck_assert_ptr_null(history_open(ledger_path, &err));
	}
END_TEST

int main(void)
{
	Suite *s = suite_create("ledger");
	TCase *t = tcase_create("ledger");
	tcase_add_checked_fixture(t, set_up, tear_down);
	tcase_add_test(t, a_candidate_comes_back_as_it_was_written);
	tcase_add_test(t, what_was_committed_survives_and_what_was_not_does_not);
	tcase_add_test(t, rows_are_committed_at_the_limit);
	tcase_add_test(t, states_and_reasons_are_closed_lists);
	tcase_add_test(t, after_a_failed_commit_nothing_more_is_written);
	tcase_add_test(t, a_newer_or_foreign_file_is_refused);
	tcase_add_test(t, books_that_do_not_balance_are_found);
	tcase_add_loop_test(t, each_rule_of_the_books_names_its_rows, 0, ARRAY_LEN(broken_books));
	tcase_add_test(t, bodies_that_do_not_unpack_or_count_otherwise_are_told);
	tcase_add_test(t, reset_verify_forgets_scores_and_keeps_candidates);
	tcase_add_test(t, reset_verify_keeps_known_scores_of_the_verifiers_named);
	tcase_add_test(t, counts_are_those_of_the_rows);
	tcase_add_test(t, a_ledger_without_counts_is_counted_and_a_wrong_count_is_found);
	tcase_add_test(t, changes_of_the_selection_are_told);
	tcase_add_test(t, a_ledger_without_costs_is_read_and_brought_up_to_date);
	tcase_add_test(t, a_ledger_without_repeats_is_brought_up_to_date);
	tcase_add_test(t, clearing_the_plan_takes_back_what_pack_left_out);
	tcase_add_test(t, candidates_are_visited_by_rank_while_duplicates_are_marked);
	tcase_add_test(t, a_text_comes_with_its_prompt);
	tcase_add_test(t, the_next_best_stands_in_for_a_duplicate);
	tcase_add_test(t, duplicates_can_be_taken_back);
	tcase_add_test(t, books_of_duplicates_must_balance);
	tcase_add_test(t, a_ledger_from_before_duplicates_is_read_and_brought_up_to_date);
	tcase_add_test(t, prompts_are_found_by_the_beginning_of_their_hash);
	tcase_add_test(t, query_reads_and_unpacks_but_never_writes);
	tcase_add_test(t, wide_orders_within_the_prompt_and_sees_the_group);
	tcase_add_test(t, wide_takes_any_name_that_a_row_may_have);
	tcase_add_test(t, history_records_a_run_once);
	suite_add_tcase(s, t);
	return run_suite(s);
}
