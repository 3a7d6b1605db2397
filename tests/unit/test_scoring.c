/* What servers of reward models are sent, and how their answers are read: recorded shapes, and bad ones made by hand. */
#include "engine/scoring.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

static struct arena arena;
static struct error err;
static struct str out;
static struct json *body;
static struct scoring_table table;
static struct engine_message messages[3] = {
	{"system", {"Be brief.", 9}}, {"user", {"1 + 1?", 6}}, {"assistant", {"2\n\n\"2\"", 6}}};
static struct engine_score_job job;

static void setup(void)
{
	arena = (struct arena){0};
	err = (struct error){0};
	table = (struct scoring_table){0};
	body = NULL;
	str_init(&out, STR_NO_CAP);
	job = (struct engine_score_job){.messages = messages, .n_messages = 3, .raw = true};
}

static void teardown(void)
{
	json_free(body);
	str_release(&out);
	arena_release(&arena);
}

static const struct json *build(const char *name)
{
	const struct scoring_call call = {&job, "m"};
	const struct scoring_ops *ops = scoring_find(name);

	ck_assert_ptr_nonnull(ops);
	job.api = ops;
	ops->build(&call, &out);
	body = json_parse(out.data, out.len, &err);
	ck_assert_msg(body != NULL, "%s", err.msg);
	ck_assert_str_eq(json_z(json_get(body, "model")), "m");
	return body;
}

static bool read_with(const char *name, const char *text)
{
	json_free(body);
	body = json_parse(text, strlen(text), &err);
	ck_assert_msg(body != NULL, "%s", err.msg);
	return scoring_find(name)->read(body, &arena, &table, &err);
}

/* --- requests --- */

START_TEST(rerank_sends_the_question_as_query_and_the_answer_as_document)
	{
		const struct json *root = build("rerank");

		ck_assert_str_eq(json_z(json_get(root, "query")), "Be brief.\n1 + 1?");
		ck_assert_uint_eq(json_len(json_get(root, "documents")), 1);
		ck_assert_str_eq(json_z(json_at(json_get(root, "documents"), 0)), "2\n\n\"2\"");
	}
END_TEST

START_TEST(pooling_names_its_task_and_asks_for_raw_values)
	{
		const struct json *root = build("pooling");
		bool flag = true;

		ck_assert_str_eq(json_z(json_get(root, "task")), "classify");
		ck_assert_uint_eq(json_len(json_get(root, "messages")), 3);
		ck_assert(json_bool(json_get(root, "use_activation"), &flag) && !flag);
		ck_assert(json_bool(json_get(root, "add_generation_prompt"), &flag) && !flag);
		/* Or the server would cut what does not fit. */
		ck_assert_ptr_null(json_get(root, "truncate_prompt_tokens"));
	}
END_TEST

START_TEST(pooling_of_steps_is_another_task)
	{
		bool flag = false;

		job.steps = true;
		job.raw = false;
		const struct json *root = build("pooling");
		ck_assert_str_eq(json_z(json_get(root, "task")), "token_classify");
		ck_assert(json_bool(json_get(root, "use_activation"), &flag) && flag);
	}
END_TEST

START_TEST(sglang_is_sent_one_text)
	{
		const struct json *root = build("sglang");

		ck_assert_str_eq(json_z(json_get(root, "text")), "Be brief.1 + 1?2\n\n\"2\"");
		ck_assert_ptr_null(json_get(root, "messages"));
	}
END_TEST

/* --- answers --- */

static const struct {
	const char *name, *text;
	size_t n_rows, n_columns;
	double last;
} good[] = {
	{"rerank",
		"{\"model\":\"r\",\"object\":\"list\",\"usage\":{\"prompt_tokens\":9,\"total_"
		"tokens\":9}"
		",\"results\":[{\"index\":0,\"relevance_score\":-4.25}]}",
		1, 1, -4.25},
	{"pooling",
		"{\"id\":\"pooling-1\",\"object\":\"list\",\"created\":1,\"model\":\"m\",\"data\":["
		"{"
		"\"index\":0,\"object\":\"pooling\",\"data\":[13.5]}],\"usage\":{}}",
		1, 1, 13.5},
	{"pooling", "{\"data\":[{\"index\":0,\"data\":[[0.1,0.9],[0.75,0.25]]}]}", 2, 2, 0.25},
	/* Older versions wrap once more. */
	{"pooling", "{\"data\":[{\"index\":0,\"data\":[[[0.1,0.9],[0.75,0.25]]]}]}", 2, 2, 0.25},
	{"pooling", "{\"data\":[{\"index\":0,\"data\":[[0.25,0.75]]}]}", 1, 2, 0.75},
	{"classify",
		"{\"id\":\"classify-1\",\"object\":\"list\",\"data\":[{\"index\":0,\"label\":"
		"\"LABEL_1\","
		"\"probs\":[0.125,0.875],\"num_classes\":2}]}",
		1, 2, 0.875},
	{"sglang", "[{\"embedding\":[-6.5],\"meta_info\":{\"id\":\"a\",\"prompt_tokens\":9}}]", 1,
		1, -6.5},
	{"sglang", "{\"embedding\":[-6.5],\"meta_info\":{}}", 1, 1, -6.5},
};

START_TEST(answers_are_read)
	{
		ck_assert_msg(read_with(good[_i].name, good[_i].text), "%s", err.msg);
		ck_assert_uint_eq(table.n_rows, good[_i].n_rows);
		ck_assert_uint_eq(table.n_columns, good[_i].n_columns);
		ck_assert_double_eq(
			table.values[table.n_rows * table.n_columns - 1], good[_i].last);
	}
END_TEST

static const struct {
	const char *name, *text, *words;
} bad[] = {
	{"rerank", "[]", "no list 'results'"},
	{"rerank", "{\"results\":[]}", "0 entries"},
	{"rerank",
		"{\"results\":[{\"index\":0,\"relevance_score\":1},{\"index\":1,\"relevance_"
		"score\":2}]}",
		"2 entries"},
	{"rerank", "{\"results\":[{\"index\":7,\"relevance_score\":1}]}", "index 7"},
	{"rerank", "{\"results\":[{\"index\":0,\"relevance_score\":null}]}", "relevance_score"},
	{"rerank", "{\"results\":[{\"index\":0,\"score\":1}]}", "relevance_score"},
	{"pooling", "{\"data\":7}", "no list 'data'"},
	{"pooling", "{\"data\":[{\"index\":0}]}", "no list of scores"},
	{"pooling", "{\"data\":[{\"index\":0,\"data\":[[],[]]}]}", "no list of scores"},
	{"pooling", "{\"data\":[{\"index\":0,\"data\":{\"a\":1}}]}", "no list of scores"},
	{"pooling", "{\"data\":[{\"index\":0,\"data\":\"AAAAPw==\"}]}", "no list of scores"},
	{"pooling", "{\"data\":[{\"index\":0,\"data\":[[1,2],[3]]}]}", "equally wide"},
	{"pooling", "{\"data\":[{\"index\":0,\"data\":[[1,2],3]}]}", "equally wide"},
	{"pooling", "{\"data\":[{\"index\":0,\"data\":[1,\"2\"]}]}", "no number"},
	{"pooling", "{\"data\":[{\"index\":0,\"data\":[null]}]}", "no number"},
	{"pooling", "{\"data\":[{\"index\":0,\"data\":[[[[[[[[[[[[1]]]]]]]]]]]]}]}", "no number"},
	{"classify", "{\"data\":[{\"index\":0,\"probs\":0.5}]}", "no list of scores"},
	{"sglang", "[]", "0 entries"},
	{"sglang", "\"x\"", "no list"},
	{"sglang", "{\"embedding\":[true]}", "no number"},
};

START_TEST(answers_that_make_no_sense_are_refused)
	{
		ck_assert_msg(!read_with(bad[_i].name, bad[_i].text), "accepted");
		ck_assert_int_eq(err.kind, FAIL_DATA);
		ck_assert_msg(strstr(err.msg, bad[_i].words), "'%s' does not say '%s'", err.msg,
			bad[_i].words);
	}
END_TEST

static void repeat(const char *item, size_t n)
{
	for (size_t i = 0; i < n; i++)
		str_printf(&out, "%s%s", i > 0 ? "," : "", item);
}

START_TEST(an_answer_may_have_no_rows)
	{
		ck_assert(read_with("pooling", "{\"data\":[{\"index\":0,\"data\":[]}]}"));
		ck_assert_uint_eq(table.n_rows, 0);
	}
END_TEST

START_TEST(tables_beyond_the_limits_are_refused)
	{
		str_append_z(&out, "{\"data\":[{\"index\":0,\"data\":[");
		repeat("[1]", SCORING_ROWS_MAX + 1);
		str_append_z(&out, "]}]}");
		ck_assert(!read_with("pooling", out.data));
		ck_assert_ptr_nonnull(strstr(err.msg, "131073 rows of 1 "));
		str_reset(&out);
		str_append_z(&out, "{\"data\":[{\"index\":0,\"data\":[");
		repeat("[1,2,3,4,5,6,7,8,9]", SCORING_ROWS_MAX);
		str_append_z(&out, "]}]}");
		ck_assert(!read_with("pooling", out.data));
		ck_assert_ptr_nonnull(strstr(err.msg, "131072 rows of 9 "));
		str_reset(&out);
		str_append_z(&out, "{\"data\":[{\"index\":0,\"data\":[");
		repeat("1", SCORING_COLUMNS_MAX + 1);
		str_append_z(&out, "]}]}");
		ck_assert(!read_with("pooling", out.data));
		ck_assert_ptr_nonnull(strstr(err.msg, "1 rows of 257"));
	}
END_TEST

START_TEST(tokens_are_counted_where_they_are_told)
	{
		static const struct {
			const char *body;
			uint32_t n;
		} cases[] = {{"{\"usage\":{\"prompt_tokens\":464,\"total_tokens\":464}}", 464},
			{"{\"embedding\":[1],\"meta_info\":{\"prompt_tokens\":7}}", 7},
			{"[{\"embedding\":[1],\"meta_info\":{\"prompt_tokens\":7}}]", 7},
			{"{\"usage\":{\"prompt_tokens\":-1}}", 0},
			{"{\"usage\":{\"prompt_tokens\":99999999999}}", 0},
			{"{\"usage\":null,\"meta_info\":{}}", 0}, {"[]", 0}, {"7", 0}};
		for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
			struct error mistake = {0};
			AUTO_JSON struct json *answer = json_parse(
				cases[i].body, strlen(cases[i].body), &mistake);
			ck_assert_msg(scoring_tokens(answer) == cases[i].n, "%s", cases[i].body);
		}
	}
END_TEST

START_TEST(a_server_is_known_by_what_it_calls_itself)
	{
		ck_assert_str_eq(scoring_for("llamacpp")->name, "rerank");
		ck_assert_str_eq(scoring_for("vllm")->name, "pooling");
		ck_assert_str_eq(scoring_for("sglang")->name, "sglang");
		ck_assert_ptr_null(scoring_for("fake"));
		ck_assert_ptr_null(scoring_for(NULL));
		ck_assert_ptr_null(scoring_find("auto"));
	}
END_TEST

int main(void)
{
	Suite *suite = suite_create("scoring");
	TCase *tc = tcase_create("all");
	SRunner *sr = srunner_create(suite);

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, rerank_sends_the_question_as_query_and_the_answer_as_document);
	tcase_add_test(tc, pooling_names_its_task_and_asks_for_raw_values);
	tcase_add_test(tc, pooling_of_steps_is_another_task);
	tcase_add_test(tc, sglang_is_sent_one_text);
	tcase_add_loop_test(tc, answers_are_read, 0, (int)(sizeof(good) / sizeof(good[0])));
	tcase_add_loop_test(
		tc, answers_that_make_no_sense_are_refused, 0, (int)(sizeof(bad) / sizeof(bad[0])));
	tcase_add_test(tc, an_answer_may_have_no_rows);
	tcase_add_test(tc, tables_beyond_the_limits_are_refused);
	tcase_add_test(tc, tokens_are_counted_where_they_are_told);
	tcase_add_test(tc, a_server_is_known_by_what_it_calls_itself);
	suite_add_tcase(suite, tc);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
