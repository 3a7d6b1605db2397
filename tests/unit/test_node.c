/* The YAML tree: places, limits, what is refused, and --set. */
#include "base/file.h"
#include "base/mem.h"
#include "config/node.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct tree tree;
static struct error err;

static void set_up(void)
{
	tree = (struct tree){0};
	err = (struct error){0};
}

static void tear_down(void)
{
	tree_release(&tree);
}

static bool parse(const char *text)
{
	return tree_parse(&tree, "p.yaml", text, strlen(text), &err);
}

static void parse_ok(const char *text)
{
	ck_assert_msg(parse(text), "%s: %s", err.where, err.msg);
}

/* Compact and unambiguous: "quoted", plain, null, [..], {..}. */
static void dump(const struct node *node, struct str *out)
{
	if (node->kind == NODE_SCALAR) {
		str_printf(out, node->quoted ? "\"%s\"" : "%s", node->null ? "null" : node->text);
		return;
	}
	str_append_c(out, node->kind == NODE_LIST ? '[' : '{');
	for (size_t i = 0; i < node->n; i++) {
		if (i) {
			str_append_c(out, ',');
		}
		if (node->kind == NODE_MAP) {
			str_printf(out, "%s:", node->keys[i]->text);
		}
		dump(node->items[i], out);
	}
	str_append_c(out, node->kind == NODE_LIST ? ']' : '}');
}

static void assert_dump(const char *want)
{
	struct str out;

	str_init(&out, STR_NO_CAP);
	dump(tree.root, &out);
	ck_assert_str_eq(out.data, want);
	str_release(&out);
}

static const struct accepted {
	const char *text, *want;
} accepted[] = {
	{"a: 1\nb: [x, \"y\", 'z']\n", "{a:1,b:[x,\"y\",\"z\"]}"},
	{"a:\nb: ~\nc: null\nd: \"null\"\ne: ''\n", "{a:null,b:null,c:null,d:\"null\",e:\"\"}"},
	{"a: no\nb: 012\nc: 1_000\n", "{a:no,b:012,c:1_000}"},
	{"- a\n- b: c\n  d: e\n-\n", "[a,{b:c,d:e},null]"},
	{"text: |\n  one\n  two\n", "{text:\"one\ntwo\n\"}"},
	{"text: >-\n  one\n  two\n", "{text:\"one two\"}"},
	{"a: &x {b: 1}\nc: *x\n", "{a:{b:1},c:{b:1}}"},
	{"a: &x 1\nb: &x 2\nc: *x\n", "{a:1,b:2,c:2}"},
	{"\xef\xbb\xbf"
	 "a: 1\n",
		"{a:1}"},
	{"---\na: 1\n...\n", "{a:1}"},
	{"%YAML 1.1\n---\na: 1\n", "{a:1}"},
	{"accept: math = 1 and x < 0.2\n", "{accept:math = 1 and x < 0.2}"},
	{"\"<<\": 1\n", "{<<:1}"},
	{"k\xc3\xa9y: \xe2\x82\xac\n", "{k\xc3\xa9y:\xe2\x82\xac}"},
	{"word", "word"},
	{"{a: [], b: {}}", "{a:[],b:{}}"},
};

START_TEST(reads_yaml_as_written)
	{
		parse_ok(accepted[_i].text);
		assert_dump(accepted[_i].want);
	}
END_TEST

static const struct refused {
	const char *text, *where, *msg, *hint; /* parts; NULL: any */
} refused[] = {
	{"a: 1\nb: 2\na: 3\n", "p.yaml:3:1", "'a': it already stands on line 1", NULL},
	{"b: {x: 1, y: 2, x: 3, y: 4}\n", "p.yaml:1:17", "'x'", NULL},
	{"a: 1\n'a': 2\n", "p.yaml:2:1", "duplicate key 'a'", NULL},
	{"a: !!str 1\n", "p.yaml:1:4", "'!!str'", "in quotes"},
	{"a: !x {b: 1}\n", "p.yaml:1:4", "'!x'", "leave the tag out"},
	{"a: ! x\n", "p.yaml:1:4", "tags", NULL},
	{"x: &x {a: 1}\ny:\n  <<: *x\n", "p.yaml:3:3", "merge keys", "alias"},
	{"a: 1\n---\nb: 2\n", "p.yaml:2:1", "second document", NULL},
	{"a: *b\n", "p.yaml:1:4", "no anchor for alias 'b'", "quote"},
	{"a: &a [1, *a]\n", "p.yaml:1:11", "stands inside", NULL},
	{"a: &a {b: {c: *a}}\n", "p.yaml:1:15", "stands inside", NULL},
	{"a: \"x\\0y\"\n", "p.yaml:1:4", "\\0", NULL},
	{"a: \xff\n", "p.yaml:1:4", "not UTF-8: byte 0xff", NULL},
	{"x: \xc3\xa9\nb: \xc3(\n", "p.yaml:2:4", "not UTF-8", NULL},
	{"a: \xed\xa0\x80\n", "p.yaml:1:4", "not UTF-8", NULL},
	{"a: 1\nb: x\x01y\n", "p.yaml:2:5", "control character", NULL},
	{"a: b: c\n", "p.yaml:1:5", "':' cannot stand here", "quote"},
	{"a: 1\nb: \"open\nc: 2\n", "p.yaml:2:4", "not closed", NULL},
	{"a:\n\tb: 1\n", "p.yaml:2:1", "a tab cannot stand here", "spaces"},
	{"a: @x\n", "p.yaml:1:4", "cannot begin with '@'", "quote"},
	{"\xc3\xa9: `x\n", "p.yaml:1:4", "cannot begin with '`'", "quote"},
	{"a: \"\\y\"\n", "p.yaml:1:5", "escape", "single quotes"},
	{"a: [1, 2\nb: 3\n", "p.yaml:2:", "expected ',' or ']'", NULL},
	{"a: {b: 1\n", "p.yaml:2:1", "expected ',' or '}'", "line 1"},
	{"a: 1\n  b: 2\n", "p.yaml:2:4", "':' cannot stand here", NULL},
	{"a:\n  b: 1\n c: 2\n", "p.yaml:3:2", "expected a key", "same column"},
	{"accept: \"jugde\" = 1\n", "p.yaml:1:17", "expected a key", "quote"},
	{"accept: \"jugde\" > 0.1\n", "p.yaml:1:19", "'>'", "quote"},
	{"a: 1\nword\n", "p.yaml:2:1", "no ':' after it", NULL},
	{"a: - b\n", "p.yaml:1:4", "'-'", NULL},
	{"? [a]\n: b\n", "p.yaml:1:3", "not a list", NULL},
	{"{{a: 1}: 2}\n", "p.yaml:1:2", "not a map", NULL},
	{"a: &x y\n*x : 1\n", "p.yaml:2:1", "not an alias", NULL},
	{": 1\n", "p.yaml:1:1", "expected a key", NULL},
	{"'': 1\n", "p.yaml:1:1", "empty", NULL},
};

static void assert_contains(const char *text, const char *part)
{
	ck_assert_msg(!part || strstr(text, part), "'%s' should contain '%s'", text, part);
}

START_TEST(refuses_with_place_and_reason)
	{
		const struct refused *t = &refused[_i];

		ck_assert_msg(!parse(t->text), "accepted: %s", t->text);
		ck_assert_int_eq(err.kind, FAIL_CONFIG);
		assert_contains(err.msg, t->msg);
		assert_contains(err.hint, t->hint);
		ck_assert_msg(strncmp(err.where, t->where, strlen(t->where)) == 0, "%s, not %s: %s",
			err.where, t->where, err.msg);
		ck_assert_ptr_null(tree.root);
		ck_assert_ptr_null(tree.memory);
	}
END_TEST

START_TEST(places_count_from_one_in_characters)
	{
		const struct node *list;

		parse_ok("# comment\n\xc3\xa9: {x: 1}\nlist:\n  - one\n  - \"two\"\n");
		ck_assert_uint_eq(tree.root->line, 2);
		ck_assert_uint_eq(tree.root->items[0]->column, 4);
		ck_assert_uint_eq(tree.root->keys[1]->line, 3);
		list = node_get(tree.root, "list");
		ck_assert_uint_eq(list->items[1]->line, 5);
		ck_assert_uint_eq(list->items[1]->column, 5);
		ck_assert(list->items[1]->quoted && !list->items[0]->quoted);
		node_error(&err, &tree, list->items[1], "%s is bad", "it");
		ck_assert_str_eq(err.where, "p.yaml:5:5");
		ck_assert_str_eq(err.msg, "it is bad");
		ck_assert_int_eq(err.kind, FAIL_CONFIG);
	}
END_TEST

START_TEST(empty_file_has_no_root)
	{
		static const char *const texts[] = {
			"", "\n\n", "# only a comment\n", "\xef\xbb\xbf"};

		parse_ok(texts[_i]);
		ck_assert_ptr_null(tree.root);
		ck_assert_str_eq(tree.file, "p.yaml");
	}
END_TEST

START_TEST(aliases_share_the_node)
	{
		parse_ok("a: &x {b: 1}\nc: [*x, *x]\n");
		ck_assert_ptr_eq(node_get(tree.root, "a"), node_get(tree.root, "c")->items[1]);
	}
END_TEST

/* Limits */

static void repeat(struct str *out, const char *text, size_t n)
{
	while (n--) {
		str_append_z(out, text);
	}
}

static bool parse_str(struct str *text)
{
	const bool ok = tree_parse(&tree, "p.yaml", text->data, text->len, &err);

	str_release(text);
	return ok;
}

START_TEST(alias_bomb_is_refused_by_its_size)
	{
		struct str text;

		str_init(&text, STR_NO_CAP);
		str_append_z(&text, "l0: &l0 x\n");
		for (int i = 1; i < 10; i++) {
			str_printf(&text, "l%d: &l%d [", i, i);
			for (int j = 0; j < 10; j++) {
				str_printf(&text, "%s*l%d", j ? ", " : "", i - 1);
			}
			str_append_z(&text, "]\n");
		}
		ck_assert(!parse_str(&text));
		assert_contains(err.msg, "aliases expanded");
		assert_contains(err.where, "p.yaml:6:");
	}
END_TEST

START_TEST(depth_is_limited_exactly)
	{
		struct str text;

		str_init(&text, STR_NO_CAP);
		repeat(&text, "[", TREE_DEPTH_MAX + (size_t)_i);
		repeat(&text, "]", TREE_DEPTH_MAX + (size_t)_i);
		ck_assert_int_eq(parse_str(&text), _i == 0);
		if (_i) {
			assert_contains(err.msg, "levels deep");
		}
	}
END_TEST

START_TEST(depth_through_aliases_is_limited)
	{
		struct str text;

		str_init(&text, STR_NO_CAP);
		str_append_z(&text, "a: &a ");
		repeat(&text, "[", 20);
		repeat(&text, "]", 20);
		str_append_z(&text, "\nb: ");
		repeat(&text, "[", 10 + (size_t)_i);
		str_append_z(&text, "*a");
		repeat(&text, "]", 10 + (size_t)_i);
		/* 1 for the map, 10 for the lists around, 20 for the lists named: 31; one more fits. */
		ck_assert_int_eq(parse_str(&text), _i < 2);
	}
END_TEST

START_TEST(hostile_sizes_are_refused)
	{
		struct str text;

		str_init(&text, STR_NO_CAP);
		switch (_i) {
		case 0:
			str_append_z(&text, "a: ");
			repeat(&text, "x", TREE_SCALAR_BYTES_MAX + 1);
			break;
		case 1:
			str_append_z(&text, "? ");
			repeat(&text, "k", TREE_KEY_BYTES_MAX + 1);
			str_append_z(&text, "\n: 1\n");
			break;
		case 2:
			repeat(&text, "#", TREE_FILE_BYTES_MAX + 1);
			break;
		case 3:
			repeat(&text, "- x\n", TREE_NODES_MAX);
			break;
		case 4:
			for (int i = 0; i <= TREE_ANCHORS_MAX; i++) {
				str_printf(&text, "- &a%d x\n", i);
			}
			break;
		default:
			repeat(&text, "- - ", 100000);
		}
		ck_assert(!parse_str(&text));
		ck_assert_int_eq(err.kind, FAIL_CONFIG);
		assert_contains(err.where, "p.yaml");
	}
END_TEST

START_TEST(large_map_is_checked_for_duplicates_quickly)
	{
		struct str text;

		str_init(&text, STR_NO_CAP);
		for (int i = 0; i < 40000; i++) {
			str_printf(&text, "key%d: 1\n", i);
		}
		str_append_z(&text, "key7: 1\n");
		ck_assert(!parse_str(&text));
		ck_assert_str_eq(err.where, "p.yaml:40001:1");
		assert_contains(err.msg, "line 8");
	}
END_TEST

/* Files */

START_TEST(reads_a_file_and_names_it)
	{
		char dir[] = "/tmp/test_node.XXXXXX";
		AUTO_FREE char *path = NULL;

		ck_assert_ptr_nonnull(mkdtemp(dir));
		path = file_join(dir, "a.yaml");
		ck_assert_msg(file_publish(dir, "a.yaml", "a: [\n", 5, &err), "%s", err.msg);
		ck_assert(!tree_read(&tree, path, &err));
		ck_assert_msg(strncmp(err.where, path, strlen(path)) == 0, "%s", err.where);
		ck_assert_msg(file_publish(dir, "a.yaml", "a: 1\n", 5, &err), "%s", err.msg);
		ck_assert(tree_read(&tree, path, &err));
		ck_assert_str_eq(tree.file, path);
		assert_dump("{a:1}");
		tree_release(&tree);
		ck_assert(file_remove_tree(dir, &err));
		ck_assert(!tree_read(&tree, path, &err));
		ck_assert_int_eq(err.kind, FAIL_IO);
	}
END_TEST

/* --set */

#define BASE                                                                                   \
	"name: n\nstages:\n  - sample: {limit: 5}\n  - generate:\n      sampling: {t: 1}\n"    \
	"  - verify: [{math: {gold: a}}, {judge: {x: 1}}, {judge: {as: strict, x: 2}}, rep]\n" \
	"  - pack:\nlist: [a, b]\nnothing:\n"

static const struct setting {
	const char *text, *assignment, *want;
} settings[] = {
	{"a: 1", "a=2", "{a:2}"},
	{"a: 1", "b=2", "{a:1,b:2}"},
	{"", "a.b.c=2", "{a:{b:{c:2}}}"},
	{"a: {b: 1, c: 2}", "a.b=x", "{a:{b:x,c:2}}"},
	{"a: 1", "a=[1, two, \"3\"]", "{a:[1,two,\"3\"]}"},
	{"a: 1", "a={x: {y: 1}}", "{a:{x:{y:1}}}"},
	{"a: 1", "a=", "{a:null}"},
	{"a: 1", "a=\"\"", "{a:\"\"}"},
	{"a: 1", "a=x = 1 and y=2", "{a:x = 1 and y=2}"},
	{"a:", "a.b=1", "{a:{b:1}}"},
	{"a: [x, {b: 1}]", "a.0=y", "{a:[y,{b:1}]}"},
	{"a: [x, {b: 1, c: 2}]", "a.1.c=3", "{a:[x,{b:1,c:3}]}"},
	{"a: &x {b: 1}\nc: *x", "c.b=2", "{a:{b:1},c:{b:2}}"},
	{"a: [&x {k: {v: 1}}, *x]", "a.0.k.v=2", "{a:[{k:{v:2}},{k:{v:1}}]}"},
	{"stages: [{g: {x: 1}}]", "g.x=2", "{stages:[{g:{x:2}}]}"},
	{"stages: [{g: {x: 1}}]", "stages.g.y=2", "{stages:[{g:{x:1,y:2}}]}"},
	{"stages: [{g: {x: 1}}]", "g=3", "{stages:[{g:3}]}"},
	{"stages: [{g: }]", "g.x=2", "{stages:[{g:{x:2}}]}"},
	{"stages: [g]", "g.x=2", "{stages:[{g:{x:2}}]}"},
	{"stages: [{g: {x: 1}}]", "h.x=2", "{stages:[{g:{x:1}}],h:{x:2}}"},
	{"stages: [{g: {x: 1}}]\ng: {}", "g.x=2", "{stages:[{g:{x:1}}],g:{x:2}}"},
	{"stages: [{v: [{j: {x: 1}}, {j: {as: s, x: 1}}]}]", "v.s.x=2",
		"{stages:[{v:[{j:{x:1}},{j:{as:s,x:2}}]}]}"},
	{"stages: [{v: [{j: {x: 1}}, {j: {as: s, x: 1}}]}]", "v.j.x=2",
		"{stages:[{v:[{j:{x:2}},{j:{as:s,x:1}}]}]}"},
	{"stages: [{v: [{j: {as: s, x: 1}}]}]", "v.j.x=2", "{stages:[{v:[{j:{as:s,x:2}}]}]}"},
};

START_TEST(set_changes_one_place)
	{
		const struct setting *t = &settings[_i];

		parse_ok(t->text);
		ck_assert_msg(
			tree_set(&tree, t->assignment, &err), "%s: %s", t->assignment, err.msg);
		assert_dump(t->want);
	}
END_TEST

static const struct bad_setting {
	const char *assignment, *msg, *hint;
} bad_settings[] = {
	{"word", "PATH=VALUE", "--set generate"},
	{"=1", "empty element", NULL},
	{"a..b=1", "empty element", NULL},
	{"a.=1", "empty element", NULL},
	{"name.x=1", "'name' is a single value", NULL},
	{"list.2=1", "has 2 entries", NULL},
	{"list.99999999999999999999=1", "no entry", NULL},
	{"list.c.d=1", "no entry 'c' in the list 'list'", NULL},
	{"stages.genrate.x=1", "no entry 'genrate' in the list 'stages'",
		"did you mean 'generate'?"},
	{"verify.jugde.x=1", "no entry 'jugde'", "did you mean 'judge'?"},
	{"a=[1", "expected ',' or ']'", NULL},
	{"a=x: 1", "one word, a [list] or a {map}", "quote"},
	{"a=- x", "one word", "quote"},
	{"a=#x", "comment", "quote"},
	{"a=*.jsonl", "'*' must be followed", "quote"},
	{"a=!!int 1", "tags", NULL},
	{"a={b: 1, b: 2}", "duplicate key 'b'", NULL},
	{"a=1\n---\n2", "second document", NULL},
	{"a.b.c.d.e.f.g.h.i.j.k.l.m=1", "more than 12 elements", NULL},
	{"a.b.c.d.e.f.g.h.i.j.k.l=[[[[[[[[1]]]]]]]]", "levels deep", NULL},
	{"a=\xff", "UTF-8", NULL},
};

START_TEST(bad_set_is_usage_and_changes_nothing)
	{
		const struct bad_setting *t = &bad_settings[_i];
		struct node *root;

		parse_ok(BASE);
		root = tree.root;
		ck_assert_msg(!tree_set(&tree, t->assignment, &err), "accepted: %s", t->assignment);
		ck_assert_ptr_eq(tree.root, root);
		ck_assert_int_eq(err.kind, FAIL_USAGE);
		assert_contains(err.msg, t->msg);
		assert_contains(err.hint, t->hint);
		if (strchr(t->assignment, '=') && !strchr(t->assignment, '\xff')) {
			ck_assert_msg(strncmp(err.where, "--set ", 6) == 0, "%s", err.where);
			ck_assert_str_eq(err.where + 6, t->assignment);
		}
	}
END_TEST

START_TEST(two_entries_of_one_name_need_a_number)
	{
		parse_ok("stages: [{v: [{j: 1}, {j: 2}]}]");
		ck_assert(!tree_set(&tree, "v.j=3", &err));
		assert_contains(err.msg, "2 entries are named 'j'");
		ck_assert(tree_set(&tree, "v.1.j=3", &err));
		assert_dump("{stages:[{v:[{j:1},{j:3}]}]}");
	}
END_TEST

START_TEST(set_nodes_have_the_option_as_place)
	{
		const struct node *a;

		parse_ok("a: {b: 1}\n");
		ck_assert(tree_set(&tree, "a.c={d: 2}", &err));
		a = node_get(tree.root, "a");
		node_error(&err, &tree, node_get(node_get(a, "c"), "d"), "bad");
		ck_assert_str_eq(err.where, "--set a.c={d: 2}");
		node_error(&err, &tree, a->keys[1], "bad");
		ck_assert_str_eq(err.where, "--set a.c={d: 2}");
		node_error(&err, &tree, node_get(a, "b"), "bad");
		ck_assert_str_eq(err.where, "p.yaml:1:8");
		ck_assert(tree_set(&tree, "a.c.d=3", &err));
		node_error(
			&err, &tree, node_get(node_get(node_get(tree.root, "a"), "c"), "d"), "bad");
		ck_assert_str_eq(err.where, "--set a.c.d=3");
	}
END_TEST

/* Small things */

START_TEST(node_get_takes_anything)
	{
		parse_ok("a: [1]\n");
		ck_assert_ptr_null(node_get(NULL, "a"));
		ck_assert_ptr_null(node_get(tree.root, "b"));
		ck_assert_ptr_null(node_get(node_get(tree.root, "a"), "b"));
		ck_assert_ptr_null(node_get(node_get(tree.root, "b"), "c"));
	}
END_TEST

static const struct quoting {
	const char *text, *want;
} quotings[] = {
	{"abc", "'abc'"},
	{"", "''"},
	{"a\x1b[31mb\n", "'a\\x1b[31mb\\x0a'"},
	{"\xc2\x9b", "'\\x9b'"},
	{"\xc3\xa9", "'\xc3\xa9'"},
	{"\xff", "'\\xff'"},
	{"123456789012345678901234567890123456789012345678901234567890",
		"'123456789012345678901234567890123456789012345678901234567890'"},
	{"1234567890123456789012345678901234567890123456789012345678901",
		"'123456789012345678901234567890123456789012345678901234567890...'"},
};

START_TEST(quoted_text_is_fit_for_a_terminal)
	{
		char out[NODE_QUOTE_BYTES];

		ck_assert_str_eq(node_quote(quotings[_i].text, out), quotings[_i].want);
	}
END_TEST

START_TEST(longest_quoted_text_fits)
	{
		char out[NODE_QUOTE_BYTES];
		struct str text;

		str_init(&text, STR_NO_CAP);
		repeat(&text, _i ? "\x01" : "\xf0\x9f\x98\x80", 100);
		ck_assert_ptr_nonnull(strstr(node_quote(text.data, out), "...'"));
		str_release(&text);
	}
END_TEST

START_TEST(release_takes_nothing_and_twice)
	{
		tree_release(NULL);
		parse_ok("a: 1");
		tree_release(&tree);
		tree_release(&tree);
	}
END_TEST

int main(void)
{
	Suite *s = suite_create("node");
	TCase *t = tcase_create("node");
	SRunner *sr;
	int failed;

	tcase_add_checked_fixture(t, set_up, tear_down);
	tcase_add_loop_test(t, reads_yaml_as_written, 0, ARRAY_LEN(accepted));
	tcase_add_loop_test(t, refuses_with_place_and_reason, 0, ARRAY_LEN(refused));
	tcase_add_test(t, places_count_from_one_in_characters);
	tcase_add_loop_test(t, empty_file_has_no_root, 0, 4);
	tcase_add_test(t, aliases_share_the_node);
	tcase_add_test(t, alias_bomb_is_refused_by_its_size);
	tcase_add_loop_test(t, depth_is_limited_exactly, 0, 2);
	tcase_add_loop_test(t, depth_through_aliases_is_limited, 0, 3);
	tcase_add_loop_test(t, hostile_sizes_are_refused, 0, 6);
	tcase_add_test(t, large_map_is_checked_for_duplicates_quickly);
	tcase_add_test(t, reads_a_file_and_names_it);
	tcase_add_loop_test(t, set_changes_one_place, 0, ARRAY_LEN(settings));
	tcase_add_loop_test(t, bad_set_is_usage_and_changes_nothing, 0, ARRAY_LEN(bad_settings));
	tcase_add_test(t, two_entries_of_one_name_need_a_number);
	tcase_add_test(t, set_nodes_have_the_option_as_place);
	tcase_add_test(t, node_get_takes_anything);
	tcase_add_loop_test(t, quoted_text_is_fit_for_a_terminal, 0, ARRAY_LEN(quotings));
	tcase_add_loop_test(t, longest_quoted_text_fits, 0, 2);
	tcase_add_test(t, release_takes_nothing_and_twice);
	suite_add_tcase(s, t);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
