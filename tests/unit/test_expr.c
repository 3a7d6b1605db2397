/* SQL expressions of a definition: what they may say, and that nothing else gets through. */
#include "ledger/expr.h"

#include "base/mem.h"

#include <check.h>
#include <math.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

enum { MATH, JUDGE, N_TOKENS, FINISH, SPACED, SECOND_MATH, N_COLUMNS };

static const struct expr_column columns[] = {
	[MATH] = {"math", EXPR_REAL},
	[JUDGE] = {"judge", EXPR_REAL},
	[N_TOKENS] = {"n_tokens", EXPR_INTEGER},
	[FINISH] = {"finish", EXPR_TEXT},
	[SPACED] = {"my field", EXPR_ANY},
	[SECOND_MATH] = {"MATH", EXPR_TEXT},
};

static struct expr_value real(double v)
{
	return (struct expr_value){.kind = EXPR_VALUE_REAL, .real = v};
}

static struct expr_value integer(int64_t v)
{
	return (struct expr_value){.kind = EXPR_VALUE_INT, .integer = v};
}

static struct expr_value text(const char *z)
{
	return (struct expr_value){.kind = EXPR_VALUE_TEXT, .text = slice_z(z)};
}

/* math = 1, judge = NULL, n_tokens = 120, finish = 'stop', "my field" = 'a' */
static void fill(struct expr_value row[N_COLUMNS])
{
	memset(row, 0, sizeof(*row) * N_COLUMNS);
	row[MATH] = real(1);
	row[N_TOKENS] = integer(120);
	row[FINISH] = text("stop");
	row[SPACED] = text("a");
	row[SECOND_MATH] = text("never seen");
}

static enum expr_truth eval(const char *sql)
{
	struct error err = {0};
	struct expr_value row[N_COLUMNS];
	enum expr_truth truth = EXPR_FALSE;
	fill(row);
	struct expr *e = expr_new(sql, columns, N_COLUMNS, &err);
	ck_assert_msg(e, "%s: %s", sql, err.msg);
	ck_assert_msg(expr_eval(e, row, &truth, &err), "%s: %s", sql, err.msg);
	/* A second evaluation sees nothing of the first. */
	enum expr_truth again = EXPR_FALSE;
	ck_assert(expr_eval(e, row, &again, &err));
	ck_assert_int_eq(again, truth);
	expr_free(e);
	return truth;
}

static const struct {
	const char *sql;
	enum expr_truth truth;
} values[] = {
	{"math = 1", EXPR_TRUE},
	{"  math = 1\n", EXPR_TRUE},
	{"math = 1 and n_tokens < 100", EXPR_FALSE},
	{"(math = 1 or n_tokens < 100) and (finish = 'stop')", EXPR_TRUE},
	{"MATH = 1", EXPR_TRUE},
	{"math", EXPR_TRUE},
	{"math - 1", EXPR_FALSE},
	{"1", EXPR_TRUE},
	{"0.5", EXPR_TRUE},
	{"null", EXPR_UNKNOWN},
	/* NULL is not false. */
	{"judge >= 0.7", EXPR_UNKNOWN},
	{"not judge >= 0.7", EXPR_UNKNOWN},
	{"math = 1 and judge >= 0.7", EXPR_UNKNOWN},
	{"math = 0 and judge >= 0.7", EXPR_FALSE},
	{"math = 1 or judge >= 0.7", EXPR_TRUE},
	{"judge is null", EXPR_TRUE},
	{"coalesce(judge, 1) >= 0.7", EXPR_TRUE},
	{"judge in (1, 2)", EXPR_UNKNOWN},
	/* Text. */
	{"finish = 'stop'", EXPR_TRUE},
	{"finish = 'STOP'", EXPR_FALSE},
	{"upper(finish) = 'STOP'", EXPR_TRUE},
	{"finish in ('length', 'stop')", EXPR_TRUE},
	{"finish like 'ST%'", EXPR_TRUE},
	{"finish glob 'st*'", EXPR_TRUE},
	{"finish not like '%x%'", EXPR_TRUE},
	{"'it''s; -- not /* a comment' like '%--%'", EXPR_TRUE},
	{"finish = 'a)('", EXPR_FALSE},
	{"finish || '1' = 'stop1'", EXPR_TRUE},
	/* Names in quotes are names. */
	{"\"math\" = 1", EXPR_TRUE},
	{"`math` = 1 and [math] = 1", EXPR_TRUE},
	{"\"my field\" = 'a'", EXPR_TRUE},
	/* Arithmetic and the functions. */
	{"max(math, n_tokens) = 120 and min(math, n_tokens) = 1", EXPR_TRUE},
	{"case when n_tokens between 100 and 200 then 1 else 0 end", EXPR_TRUE},
	{"iif(math > 0, n_tokens % 7 = 1, 0)", EXPR_TRUE},
	{"abs(-math) = 1 and nullif(1, 1) is null and ifnull(judge, 2) = 2", EXPR_TRUE},
	{"length(trim(' ab ')) = 2 and instr('abc', 'c') = 3", EXPR_TRUE},
	{"replace(substr('abcd', 2, 2), 'b', 'x') = 'xc'", EXPR_TRUE},
	{"round(2.5) = 3 and sign(-3) = -1 and hex('A') = '41'", EXPR_TRUE},
	{"unicode('A') = 65 and typeof(n_tokens) = 'integer'", EXPR_TRUE},
	{"cast('12' as integer) = 12", EXPR_TRUE},
	{"1 - -1 = 2", EXPR_TRUE},
	/* What SQL makes of a zero divisor. */
	{"n_tokens / 0 > 1", EXPR_UNKNOWN},
};

START_TEST(evaluates_as_sql_does)
	{
		ck_assert_msg(eval(values[_i].sql) == values[_i].truth, "%s gave another truth",
			values[_i].sql);
	}
END_TEST

static const struct {
	const char *sql, *says, *hints;
} refused[] = {
	/* Names. */
	{"jugde >= 0.7", "no such column: jugde", "'judge'"},
	{"\"jugde\" >= 0.7", "no such column: jugde", "'judge'"},
	{"finish = stop", "no such column: stop", NULL},
	{"zzzzzzzz = 1", "no such column: zzzzzzzz", "math, judge"},
	{"rowid = 1", "no such column", NULL},
	{"_rowid_", "no such column", NULL},
	{"main.math = 1", "no such column", NULL},
	{"sqlite_schema.sql", "no such column", NULL},
	/* Other statements and queries. */
	{"(select 1)", "subquery", NULL},
	{"math = (SELECT 1)", "subquery", NULL},
	{"exists (select 1 from sqlite_schema)", "subquery", NULL},
	{"math in (select rowid from sqlite_schema)", "subquery", NULL},
	{"select 1", "subquery", NULL},
	{"math in (values (1))", "subquery", NULL},
	{"values (1)", "subquery", NULL},
	{"math in sqlite_schema", "", NULL},
	{"1 in pragma_database_list", "", NULL},
	{"with x as (select 1) select * from x", "subquery", NULL},
	{"attach 'x.db' as x", "", NULL},
	{"pragma journal_mode", "", NULL},
	{"drop table t", "", NULL},
	{"delete from t", "", NULL},
	{"raise(abort, 'x')", "", NULL},
	/* Breaking out of the parentheses. */
	{"1) from t; drop table t", "was never opened", NULL},
	{"1); select (1", "was never opened", NULL},
	{"1) or (1", "was never opened", NULL},
	{"math = 1;", "';'", NULL},
	{"math = 1 -- and judge", "a comment ('--')", NULL},
	{"math = 1 --", "a comment ('--')", NULL},
	{"math = 1 /* x", "a comment ('/*')", NULL},
	{"math = 1 /* x */", "a comment ('/*')", NULL},
	{"(math = 1", "not closed", NULL},
	{"math = 'a", "a quote (') is opened", NULL},
	{"math = \"a", "a quote (\") is opened", NULL},
	{"math = [a", "a quote ([) is opened", NULL},
	{"math = 1 \x01", "control character", NULL},
	{"\"\x01row\".math", "", NULL},
	{"math = '\xff'", "UTF-8", NULL},
	{"math = ?", "'?'", NULL},
	{"math = ?1", "'?'", NULL},
	{"math = :a", "':'", NULL},
	{"math = @a", "'@'", NULL},
	{"math = $a", "parameters", NULL},
	/* Functions. */
	{"random() > 0", "function 'random'", "coalesce"},
	{"randomblob(9)", "function 'randomblob'", NULL},
	{"load_extension('x')", "function 'load_extension'", NULL},
	{"printf('%99999d', 1)", "function 'printf'", NULL},
	{"format('%d', 1)", "function 'format'", NULL},
	{"zeroblob(1000000000)", "function 'zeroblob'", NULL},
	{"date('now') > 1", "function 'date'", NULL},
	{"strftime('%s') > 1", "function 'strftime'", NULL},
	{"current_timestamp > 1", "function 'current_timestamp'", NULL},
	{"current_date", "function 'current_date'", NULL},
	{"sqlite_version()", "function 'sqlite_version'", NULL},
	{"changes()", "function 'changes'", NULL},
	{"finish regexp 'a'", "function 'REGEXP'", NULL},
	{"finish match 'a'", "function 'MATCH'", NULL},
	{"finish -> 'a'", "function '->'", NULL},
	{"json_extract(finish, '$')", "function 'json_extract'", NULL},
	{"no_such(1)", "function 'no_such'", "coalesce"},
	/* More rows than one. */
	{"count(*) > 0", "function 'count'", NULL},
	{"sum(math) > 0", "function 'sum'", NULL},
	{"max(math) > 0", "misuse of aggregate", "two or more"},
	{"min(math) > 0", "misuse of aggregate", NULL},
	{"row_number() over () = 1", "function 'row_number'", NULL},
	{"max(math) over () = 1", "misuse of window", NULL},
	{"abs(math) over () = 1", "", NULL},
	{"max(math) filter (where 1) > 0", "", NULL},
	/* No expression at all, or more than one. */
	{"", "empty", NULL},
	{"   ", "empty", NULL},
	{"()", "", NULL},
	{"math, judge", "", NULL},
	{"math =", "ends too early", NULL},
	{"math = = 1", "syntax error (at character 8)", NULL},
	{"math = 1 order by math", "syntax error", NULL},
	{"math = 1 limit 1", "syntax error", NULL},
	{"* ", "", NULL},
	{"abs(1, 2, 3)", "wrong number of arguments", NULL},
	{"coalesce(1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17)", "too many arguments", NULL},
};

START_TEST(refuses)
	{
		struct error err = {0};
		struct expr *e = expr_new(refused[_i].sql, columns, N_COLUMNS, &err);
		ck_assert_msg(!e, "accepted: %s", refused[_i].sql);
		ck_assert_int_eq(err.kind, FAIL_CONFIG);
		ck_assert_msg(*err.msg && strcasestr(err.msg, refused[_i].says), "%s: says '%s'",
			refused[_i].sql, err.msg);
		if (refused[_i].hints) {
			ck_assert_msg(strstr(err.hint, refused[_i].hints), "%s: hints '%s'",
				refused[_i].sql, err.hint);
		}
	}
END_TEST

/* n times PIECE, MIDDLE, n times CLOSE. */
static char *repeat(const char *piece, size_t n, const char *middle, const char *close)
{
	struct str s;
	str_init(&s, STR_NO_CAP);
	for (size_t i = 0; i < n; i++) {
		str_append_z(&s, piece);
	}
	str_append_z(&s, middle);
	for (size_t i = 0; i < n; i++) {
		str_append_z(&s, close);
	}
	return str_take(&s);
}

static void refuse(char *sql)
{
	struct error err = {0};
	ck_assert_ptr_null(expr_new(sql, columns, N_COLUMNS, &err));
	ck_assert_int_eq(err.kind, FAIL_CONFIG);
	free(sql);
}

START_TEST(refuses_what_is_too_long_or_too_deep)
	{
		refuse(repeat("math+", 1000, "math", ""));
		refuse(repeat("(", 1500, "1", ")"));
		refuse(repeat("abs(", 100, "1", ")"));
		refuse(repeat("not ", 500, "1", ""));
		refuse(repeat("case when ", 100, "1", " then 1 end"));
		refuse(repeat("1", EXPR_BYTES_MAX + 1, "", ""));
	}
END_TEST

START_TEST(parenthesis_limit_is_exact)
	{
		struct error err = {0};
		char *sql = repeat("(", EXPR_PARENS_MAX, "1", ")");
		struct expr *e = expr_new(sql, columns, N_COLUMNS, &err);
		ck_assert_msg(e, "%s", err.msg);
		expr_free(e);
		free(sql);
		refuse(repeat("(", EXPR_PARENS_MAX + 1, "1", ")"));
	}
END_TEST

START_TEST(length_limit_is_exact)
	{
		struct error err = {0};
		char *sql = xcalloc(1, EXPR_BYTES_MAX + 2);
		memset(sql, ' ', EXPR_BYTES_MAX);
		memcpy(sql, "math='", 6);
		sql[EXPR_BYTES_MAX - 1] = '\'';
		sql[EXPR_BYTES_MAX] = '\0';
		struct expr *e = expr_new(sql, columns, N_COLUMNS, &err);
		ck_assert_msg(e, "%s", err.msg);
		expr_free(e);
		memcpy(sql + EXPR_BYTES_MAX - 1, " '", 3);
		ck_assert_ptr_null(expr_new(sql, columns, N_COLUMNS, &err));
		free(sql);
	}
END_TEST

/* Evaluates over a row whose finish is `value`. */
static bool eval_over(const char *sql, struct slice value, enum expr_truth *out, struct error *err)
{
	struct expr_value row[N_COLUMNS];
	fill(row);
	row[FINISH].text = value;
	struct expr *e = expr_new(sql, columns, N_COLUMNS, err);
	ck_assert_msg(e, "%s: %s", sql, err->msg);
	bool ok = expr_eval(e, row, out, err);
	if (!ok) {
		/* A failed evaluation leaves the expression usable. */
		struct error err2 = {0};
		enum expr_truth truth = EXPR_FALSE;
		row[FINISH] = text("stop");
		row[N_TOKENS] = integer(1);
		ck_assert(expr_eval(e, row, &truth, &err2) || err2.kind == FAIL_DATA);
	}
	expr_free(e);
	return ok;
}

START_TEST(like_bombs_are_cheap_or_refused)
	{
		struct error err = {0};
		enum expr_truth truth = EXPR_TRUE;
		char *as = repeat("a", 200000, "", "");
		ck_assert(eval_over(
			"finish like "
			"'%a%a%a%a%a%a%a%a%a%a%a%a%a%a%a%a%a%a%a%a%a%a%a%a%a%a%a%a%a%a%b'",
			slice_z(as), &truth, &err));
		ck_assert_int_eq(truth, EXPR_FALSE);
		char *pattern = repeat("%a", 60, "b'", "");
		char *sql = xasprintf("finish like '%s", pattern);
		ck_assert(!eval_over(sql, slice_z(as), &truth, &err));
		ck_assert_int_eq(err.kind, FAIL_DATA);
		/* The pattern may come from the data. */
		ck_assert(!eval_over("'aaa' like finish", slice_z(as), &truth, &err));
		ck_assert_int_eq(err.kind, FAIL_DATA);
		free(sql);
		free(pattern);
		free(as);
	}
END_TEST

START_TEST(growing_text_meets_a_limit)
	{
		struct error err = {0};
		enum expr_truth truth = EXPR_TRUE;
		char *as = repeat("a", 200000, "", "");
		ck_assert(!eval_over(
			"length(replace(finish, 'a', finish)) > 1", slice_z(as), &truth, &err));
		ck_assert_int_eq(err.kind, FAIL_DATA);
		ck_assert(!eval_over(
			"hex(hex(hex(hex(hex(hex(finish)))))) = 'a'", slice_z(as), &truth, &err));
		ck_assert_int_eq(err.kind, FAIL_DATA);
		free(as);
	}
END_TEST

START_TEST(overflow_is_an_error_of_the_data)
	{
		struct error err = {0};
		struct expr_value row[N_COLUMNS];
		enum expr_truth truth = EXPR_TRUE;
		fill(row);
		row[N_TOKENS] = integer(INT64_MIN);
		struct expr *e = expr_new("abs(n_tokens) > 1", columns, N_COLUMNS, &err);
		ck_assert_ptr_nonnull(e);
		ck_assert(!expr_eval(e, row, &truth, &err));
		ck_assert_int_eq(err.kind, FAIL_DATA);
		ck_assert_int_eq(truth, EXPR_TRUE);
		row[N_TOKENS] = integer(-5);
		ck_assert(expr_eval(e, row, &truth, &err));
		ck_assert_int_eq(truth, EXPR_TRUE);
		expr_free(e);
	}
END_TEST

START_TEST(not_a_number_is_unknown)
	{
		struct error err = {0};
		struct expr_value row[N_COLUMNS];
		enum expr_truth truth = EXPR_TRUE;
		fill(row);
		row[JUDGE] = real(NAN);
		struct expr *e = expr_new("judge > 0", columns, N_COLUMNS, &err);
		ck_assert_ptr_nonnull(e);
		ck_assert(expr_eval(e, row, &truth, &err));
		ck_assert_int_eq(truth, EXPR_UNKNOWN);
		expr_free(e);
	}
END_TEST

START_TEST(knows_which_columns_it_reads)
	{
		struct error err = {0};
		struct expr *e = expr_new(
			"math = 1 or \"my field\" = 'x'", columns, N_COLUMNS, &err);
		ck_assert_ptr_nonnull(e);
		ck_assert(expr_reads(e, MATH) && expr_reads(e, SPACED));
		ck_assert(!expr_reads(e, JUDGE) && !expr_reads(e, N_TOKENS) &&
			!expr_reads(e, FINISH));
		/* The second column of the name is hidden by the first. */
		ck_assert(!expr_reads(e, SECOND_MATH) && !expr_reads(e, N_COLUMNS));
		ck_assert_str_eq(expr_text(e), "math = 1 or \"my field\" = 'x'");
		expr_free(e);
	}
END_TEST

START_TEST(works_without_columns)
	{
		struct error err = {0};
		enum expr_truth truth = EXPR_FALSE;
		struct expr *e = expr_new("1 = 1", NULL, 0, &err);
		ck_assert_ptr_nonnull(e);
		ck_assert(expr_eval(e, NULL, &truth, &err));
		ck_assert_int_eq(truth, EXPR_TRUE);
		expr_free(e);
		ck_assert_ptr_null(expr_new("math = 1", NULL, 0, &err));
		expr_free(NULL);
	}
END_TEST

static const struct {
	const char *sql;
	bool good;
} orders[] = {
	{"judge desc, n_tokens asc", true},
	{"judge", true},
	{"judge desc nulls last, n_tokens nulls first", true},
	{"coalesce(judge, 0) desc, max(math, n_tokens), finish", true},
	{"\"my field\" desc", true},
	{"-n_tokens", true},
	{"case when math = 1 then 0 else 1 end, judge DESC", true},
	{"judge = ',' desc", true},
	{"", false},
	{"judge,", false},
	{", judge", false},
	{"judge desc desc", false},
	{"judge nulls", false},
	{"judge first", false},
	{"judge collate nocase", false},
	{"finish collate nocase desc", false},
	{"finish || 'collate' desc", true},
	{"1", false},
	{"(1) desc", false},
	{"'judge'", false},
	{"judge desc, 2", false},
	{"jugde desc", false},
	{"random()", false},
	{"judge desc; drop table x", false},
	{"judge limit 1", false},
	{"(select 1)", false},
	{"judge), (n_tokens", false},
	{"desc", false},
	{"max(judge)", false},
	{"judge desc -- x", false},
};

START_TEST(checks_an_order)
	{
		struct error err = {0};
		bool ok = expr_check_order(orders[_i].sql, columns, N_COLUMNS, &err);
		ck_assert_msg(ok == orders[_i].good, "%s: %s", orders[_i].sql, err.msg);
		if (!ok) {
			ck_assert_int_eq(err.kind, FAIL_CONFIG);
		}
	}
END_TEST

static bool prepares(sqlite3 *db, const char *sql)
{
	sqlite3_stmt *stmt = NULL;
	int rc = sqlite3_prepare_v2(db, sql, -1, &stmt, NULL);
	while (rc == SQLITE_OK && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		rc = SQLITE_OK;
	}
	sqlite3_finalize(stmt);
	return rc == SQLITE_DONE;
}

START_TEST(a_restricted_connection_reads_its_tables_only)
	{
		static const char *const tables[] = {"wide", "seen", NULL};
		sqlite3 *db = NULL;
		ck_assert_int_eq(sqlite3_open(":memory:", &db), SQLITE_OK);
		ck_assert_int_eq(
			sqlite3_exec(db,
				"CREATE TABLE wide (a, b); CREATE TABLE secret (a);"
				"CREATE VIEW seen AS SELECT a, count(*) AS n, random() AS r FROM "
				"secret GROUP BY a; INSERT INTO wide VALUES (1, 2);"
				"INSERT INTO secret VALUES (1)",
				NULL, NULL, NULL),
			SQLITE_OK);
		expr_restrict(db, tables);
		ck_assert(prepares(db, "SELECT a FROM wide WHERE (b = 2) ORDER BY abs(a)"));
		ck_assert(prepares(db, "SELECT n FROM seen WHERE a = 1"));
		ck_assert(!prepares(db, "SELECT a FROM secret"));
		ck_assert(!prepares(db, "SELECT random() FROM wide"));
		ck_assert(!prepares(db, "SELECT \"nothing\" FROM wide"));
		ck_assert(!prepares(db, "DELETE FROM wide"));
		ck_assert(!prepares(db, "ATTACH ':memory:' AS x"));
		ck_assert(!prepares(db, "PRAGMA user_version"));
		ck_assert(!prepares(db,
			"WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x FROM c) SELECT "
			"x FROM c LIMIT 1"));
		expr_unrestrict(db);
		ck_assert(prepares(db, "DELETE FROM secret"));
		sqlite3_close(db);
	}
END_TEST

int main(void)
{
	Suite *s = suite_create("expr");
	TCase *tc = tcase_create("expr");
	tcase_add_loop_test(tc, evaluates_as_sql_does, 0, (int)ARRAY_LEN(values));
	tcase_add_loop_test(tc, refuses, 0, (int)ARRAY_LEN(refused));
	tcase_add_test(tc, refuses_what_is_too_long_or_too_deep);
	tcase_add_test(tc, parenthesis_limit_is_exact);
	tcase_add_test(tc, length_limit_is_exact);
	tcase_add_test(tc, like_bombs_are_cheap_or_refused);
	tcase_add_test(tc, growing_text_meets_a_limit);
	tcase_add_test(tc, overflow_is_an_error_of_the_data);
	tcase_add_test(tc, not_a_number_is_unknown);
	tcase_add_test(tc, knows_which_columns_it_reads);
	tcase_add_test(tc, works_without_columns);
	tcase_add_loop_test(tc, checks_an_order, 0, (int)ARRAY_LEN(orders));
	tcase_add_test(tc, a_restricted_connection_reads_its_tables_only);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
