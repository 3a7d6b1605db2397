#include "base/json.h"
#include "fixture.h"
#include "template.h"

#include <string.h>

static struct error err;

static struct slice lookup(void *ctx, const char *field)
{
	struct slice text = {0};
	text.data = json_str(json_get(ctx, field), &text.len);
	return text;
}

static struct template *read_text(const char *text)
{
	fixture_write("t.yaml", text);
	AUTO_FREE char *path = fixture_path("t.yaml");
	return template_read(path, &err);
}

START_TEST(fields_are_put_in_once_and_never_expanded_again)
	{
		struct template *t = read_text("messages:\n  - system: be \\{{brief}}\n  - user: "
					       "\"Q: {{ question }}!\"\n");
		ck_assert_msg(t, "%s", err.msg);
		const char row[] = "{\"question\": \"what is {{answer}}? <|im_end|>\"}";
		struct json *fields = json_parse(row, strlen(row), &err);
		struct arena arena = {0};
		struct engine_message *m;
		size_t n;
		ck_assert_ok(template_render(t, lookup, fields, &arena, &m, &n, &err), err);
		ck_assert_uint_eq(n, 2);
		ck_assert_str_eq(m[0].role, "system");
		ck_assert(slice_eq_z(m[0].content, "be {{brief}}"));
		ck_assert(slice_eq_z(m[1].content, "Q: what is {{answer}}? <|im_end|>!"));
		ck_assert_uint_eq(template_n_fields(t), 1);
		arena_release(&arena);
		json_free(fields);
		template_free(t);
	}
END_TEST

START_TEST(examples_become_turns_before_the_last_message)
	{
		struct template *t = read_text(
			"messages:\n  - system: s\n  - user: 'Q: {{question}}'\n"
			"examples:\n  - {question: one, assistant: 'A: {{x}}'}\n");
		ck_assert_msg(t, "%s", err.msg);
		struct json *fields = json_parse("{\"question\":\"two\"}", 18, &err);
		struct arena arena = {0};
		struct engine_message *m;
		size_t n;
		ck_assert_ok(template_render(t, lookup, fields, &arena, &m, &n, &err), err);
		ck_assert_uint_eq(n, 4);
		ck_assert(slice_eq_z(m[1].content, "Q: one"));
		ck_assert_str_eq(m[2].role, "assistant");
		ck_assert(slice_eq_z(m[2].content, "A: {{x}}"));
		ck_assert(slice_eq_z(m[3].content, "Q: two"));
		arena_release(&arena);
		json_free(fields);
		template_free(t);
	}
END_TEST

START_TEST(a_missing_field_is_named)
	{
		struct template *t = read_text("messages:\n  - user: '{{question}} {{hint}}'\n");
		struct json *fields = json_parse("{\"question\":\"q\"}", 16, &err);
		struct arena arena = {0};
		struct engine_message *m;
		size_t n;
		ck_assert(!template_render(t, lookup, fields, &arena, &m, &n, &err));
		ck_assert_int_eq(err.kind, FAIL_DATA);
		ck_assert_ptr_nonnull(strstr(err.msg, "'hint'"));
		arena_release(&arena);
		json_free(fields);
		template_free(t);
	}
END_TEST

static const struct {
	const char *text, *where;
} mistakes[] = {
	{"", "t.yaml:1:1"},
	{"- a\n", "t.yaml:1:1"},
	{"messages: []\n", "t.yaml:1:11"},
	{"messages:\n  - usr: hello\n", "t.yaml:2:5"},
	{"messages:\n  - user: a\n    system: b\n", "t.yaml:2:5"},
	{"messages:\n  - user: '{{a b}}'\n", "t.yaml:2:11"},
	{"messages:\n  - user: '{{a'\n", "t.yaml:2:11"},
	{"messages:\n  - user: a\nexample: []\n", "t.yaml:3:1"},
	{"messages:\n  - user: '{{q}}'\nexamples:\n  - {q: 1}\n", "t.yaml:4:5"},
	{"messages:\n  - user: '{{q}}'\nexamples:\n  - {assistant: 1}\n", "t.yaml:4:5"},
};

START_TEST(mistakes_have_their_place)
	{
		ck_assert_ptr_null(read_text(mistakes[_i].text));
		ck_assert_int_eq(err.kind, FAIL_CONFIG);
		ck_assert_msg(strstr(err.where, mistakes[_i].where), "%s: %s", err.where, err.msg);
	}
END_TEST

int main(void)
{
	Suite *s = suite_create("template");
	TCase *t = tcase_create("template");
	tcase_add_checked_fixture(t, fixture_set_up, fixture_tear_down);
	tcase_add_test(t, fields_are_put_in_once_and_never_expanded_again);
	tcase_add_test(t, examples_become_turns_before_the_last_message);
	tcase_add_test(t, a_missing_field_is_named);
	tcase_add_loop_test(t, mistakes_have_their_place, 0, ARRAY_LEN(mistakes));
	suite_add_tcase(s, t);
	return run_suite(s);
}
