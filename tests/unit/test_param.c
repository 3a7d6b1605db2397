/* Parameter tables: every type, every mistake, defaults, places; canonical values, help, schema, and what a table may not be. */
#include "base/mem.h"
#include "config/param.h"

#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A table with a row of each type */

struct candidates {
	uint32_t min, max;
};
struct sampling {
	double temperature;
	char *stop;
};
struct source {
	char *path;
	uint32_t weight;
	struct param_map map;
};
struct config {
	bool flag;
	uint32_t count32, least, plain32;
	uint64_t seed;
	int64_t shift;
	double ratio;
	char *name, *path, *accept, *engine, *label;
	uint32_t mode;
	uint64_t bytes, tokens, wait;
	struct param_strings stop;
	struct param_map headers;
	struct candidates candidates;
	struct sampling sampling;
	struct param_structs sources;
	const struct node *extra;
};

static const char *const modes[] = {"fast", "careful", "both", NULL};
static const char *const both_limits[] = {"min", "max", NULL};
static const char *const source_path[] = {"path", NULL};

static const struct param candidates_table[] = {
	PARAM_U32("min", struct candidates, min, .def = "4", .min = 1, .max = 64, .help = "least"),
	PARAM_U32("max", struct candidates, max, .def = "8", .min = 1, .max = 32, .help = "most"),
	{0},
};
static const struct param sampling_table[] = {
	PARAM_DOUBLE("temperature", struct sampling, temperature, .def = "0.8", .min = 0, .max = 2,
		.help = "randomness"),
	PARAM_STR("stop", struct sampling, stop, .required = true, .help = "stop text"),
	{0},
};
static const struct param source_table[] = {
	PARAM_PATH("path", struct source, path, .required = true, .help = "a file"),
	PARAM_U32("weight", struct source, weight, .def = "1", .min = 1, .help = "share"),
	PARAM_MAP("map", struct source, map, .help = "fields"),
	{0},
};
static const struct param table[] = {
	PARAM_BOOL("flag", struct config, flag, .def = "true", .help = "a switch"),
	PARAM_U32("count32", struct config, count32, .def = "1024", .min = 1, .max = 1 << 20,
		.help = "tokens"),
	PARAM_U32("least", struct config, least, .def = "2", .min = 2, .help = "no upper limit"),
	PARAM_U32("plain32", struct config, plain32, .help = "no limits"),
	PARAM_U64("seed", struct config, seed, .help = "seed"),
	PARAM_I64(
		"shift", struct config, shift, .def = "-3", .min = -10, .max = 10, .help = "shift"),
	PARAM_DOUBLE(
		"ratio", struct config, ratio, .def = "0.5", .min = 0, .max = 1, .help = "ratio"),
	PARAM_STR("name", struct config, name, .min = 1, .max = 8, .help = "a name"),
	PARAM_PATH("path", struct config, path, .must_exist = true, .help = "a path"),
	PARAM_SQL("accept", struct config, accept, .ref = "candidate", .help = "SQL"),
	PARAM_REF("engine", struct config, engine, .ref = "engine", .help = "an engine"),
	PARAM_STR("label", struct config, label, .def = "'a: b'", .no_fingerprint = true,
		.help = "a label"),
	PARAM_ENUM("mode", struct config, mode, .def = "careful", .names = modes, .help = "how"),
	PARAM_SIZE("bytes", struct config, bytes, .def = "64MiB", .min = 1024, .max = 1 << 30,
		.help = "a size"),
	PARAM_COUNT("tokens", struct config, tokens, .def = "50M", .help = "a budget"),
	PARAM_DURATION("wait", struct config, wait, .def = "10m", .min = 1000, .max = 7200000,
		.no_fingerprint = true, .help = "a time"),
	PARAM_STRINGS(
		"stop", struct config, stop, .min = 1, .max = 3, .def = "[x, y]", .help = "texts"),
	PARAM_MAP("headers", struct config, headers, .max = 2, .help = "headers"),
	PARAM_STRUCT("candidates", struct config, candidates, .table = candidates_table,
		.scalar_for = both_limits, .help = "how many"),
	PARAM_STRUCT("sampling", struct config, sampling, .table = sampling_table,
		.no_fingerprint = true, .help = "sampling"),
	PARAM_STRUCTS("sources", struct config, sources, .table = source_table,
		.item_size = sizeof(struct source), .scalar_for = source_path, .max = 2,
		.help = "where prompts come from"),
	PARAM_NODE("extra", struct config, extra, .help = "read by others"),
	{0},
};

struct need {
	char *engine;
	uint32_t n;
	struct sampling sampling;
};
static const struct param need_table[] = {
	PARAM_REF("engine", struct need, engine, .required = true, .ref = "engine",
		.help = "name of an engine"),
	PARAM_U32("n", struct need, n, .help = "a number"),
	PARAM_STRUCT("sampling", struct need, sampling, .required = true, .table = sampling_table,
		.help = "sampling"),
	{0},
};

static struct tree tree;
static struct config config;
static struct error_list errors;

static void set_up(void)
{
	tree = (struct tree){0};
	memset(&config, 0, sizeof(config));
	errors = (struct error_list){0};
}

static void tear_down(void)
{
	param_release(table, &config);
	param_release(table, &config); /* twice is once */
	error_list_release(&errors);
	tree_release(&tree);
}

static void read_text(const char *text)
{
	struct error err = {0};

	ck_assert_msg(tree_parse(&tree, "p.yaml", text, strlen(text), &err), "%s", err.msg);
	param_read(table, &tree, tree.root, NULL, "stage 'x'", &config, &errors);
}

static void read_ok(const char *text)
{
	read_text(text);
	ck_assert_msg(errors.n == 0, "%s: %s", text, errors.n ? errors.items[0].msg : "");
}

/* Canonical values, by path */

struct wanted {
	const char *path;
	struct str value;
	bool found, no_fingerprint;
};

static void keep_wanted(void *ctx, const char *path, const char *value, const struct param *row)
{
	struct wanted *wanted = ctx;

	if (strcmp(path, wanted->path) == 0) {
		ck_assert(!wanted->found);
		wanted->found = true;
		wanted->no_fingerprint = row->no_fingerprint;
		str_append_z(&wanted->value, value);
	}
}

static void assert_value(const char *path, const char *want)
{
	struct wanted wanted = {.path = path};

	str_init(&wanted.value, STR_NO_CAP);
	param_each(table, &config, keep_wanted, &wanted);
	if (want) {
		ck_assert_msg(wanted.found, "no %s", path);
		ck_assert_str_eq(wanted.value.data, want);
	} else {
		ck_assert_msg(!wanted.found, "%s should not be there", path);
	}
	str_release(&wanted.value);
}

static const struct good {
	const char *text, *path, *want;
} goods[] = {
	{"flag: false", "flag", "false"},
	{"flag: true", "flag", "true"},
	{"flag:", "flag", "true"},
	{"{}", "flag", "true"},
	{"", "flag", "true"},
	{"count32: 1", "count32", "1"},
	{"count32: 1048576", "count32", "1048576"},
	{"count32: +7", "count32", "7"},
	{"count32: 012", "count32", "12"},
	{"count32: null", "count32", "1024"},
	{"{}", "count32", "1024"},
	{"least: 4294967295", "least", "4294967295"},
	{"{}", "plain32", "0"},
	{"seed: 18446744073709551615", "seed", "18446744073709551615"},
	{"shift: -10", "shift", "-10"},
	{"{}", "shift", "-3"},
	{"ratio: 1", "ratio", "1"},
	{"ratio: 1e-3", "ratio", "0.001"},
	{"ratio: .25", "ratio", "0.25"},
	{"name: word", "name", "word"},
	{"name: 12", "name", "12"},
	{"name: true", "name", "true"},
	{"name: 'null'", "name", "null"},
	{"name: ~", "name", ""},
	{"name: \xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9", "name",
		"\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9"},
	{"{}", "name", ""},
	{"path: /", "path", "/"},
	{"accept: math = 1", "accept", "math = 1"},
	{"engine: student", "engine", "student"},
	{"{}", "label", "a: b"},
	{"label: ''", "label", ""},
	{"mode: both", "mode", "both"},
	{"mode: 'fast'", "mode", "fast"},
	{"{}", "mode", "careful"},
	{"bytes: 1KiB", "bytes", "1024"},
	{"bytes: 2048", "bytes", "2048"},
	{"bytes: '1MB'", "bytes", "1000000"},
	{"{}", "bytes", "67108864"},
	{"tokens: 1.5k", "tokens", "1500"},
	{"{}", "tokens", "50000000"},
	{"wait: 1h30m", "wait", "5400000"},
	{"{}", "wait", "600000"},
	{"stop: one", "stop", "[\"one\"]"},
	{"stop: 5", "stop", "[\"5\"]"},
	{"stop: [a, \"b\\\"c\", 3]", "stop", "[\"a\",\"b\\\"c\",\"3\"]"},
	{"{}", "stop", "[\"x\",\"y\"]"},
	{"headers: {b: 2, a: x}", "headers", "{\"a\":\"x\",\"b\":\"2\"}"},
	{"headers: {}", "headers", ""},
	{"{}", "headers", ""},
	{"candidates: {min: 2}", "candidates.min", "2"},
	{"candidates: {min: 2}", "candidates.max", "8"},
	{"candidates: 5", "candidates.min", "5"},
	{"candidates: 5", "candidates.max", "5"},
	{"candidates:", "candidates.max", "8"},
	{"{}", "candidates.min", "4"},
	{"{}", "sampling.temperature", "0.8"},
	{"{}", "sampling.stop", ""},
	{"sampling: {stop: x}", "sampling.temperature", "0.8"},
	{"sources: [{path: a}, {path: b, weight: 3}]", "sources[0].path", "a"},
	{"sources: [{path: a}, {path: b, weight: 3}]", "sources[0].weight", "1"},
	{"sources: [{path: a}, {path: b, weight: 3}]", "sources[1].weight", "3"},
	{"sources: [{path: a, map: {q: question}}]", "sources[0].map", "{\"q\":\"question\"}"},
	{"sources: [a, {path: b}]", "sources[0].path", "a"},
	{"sources: [a]", "sources[0].weight", "1"},
	{"sources: []", "sources[0].path", NULL},
	{"{}", "sources[0].path", NULL},
	{"extra: {b: [1, null, x], a: 2}", "extra", "{\"a\":\"2\",\"b\":[\"1\",null,\"x\"]}"},
	{"extra:", "extra", ""},
};

START_TEST(reads_and_gives_canonical_values)
	{
		read_ok(goods[_i].text);
		assert_value(goods[_i].path, goods[_i].want);
	}
END_TEST

static const struct bad {
	const char *text, *where, *msg, *hint; /* hint NULL: none */
} bads[] = {
	{"temprature: 1", "1:1", "unknown key 'temprature'",
		"did you mean 'sampling.temperature'?"},
	{"cuont32: 1", "1:1", "unknown key 'cuont32'", "did you mean 'count32'?"},
	{"temperature: 1", "1:1", "unknown key 'temperature'",
		"did you mean 'sampling.temperature'?"},
	{"sampling: {stop: x, temprature: 1}", "1:21", "unknown key 'temprature' in 'sampling'",
		"did you mean 'temperature'?"},
	{"candidates: {zzzzzz: 1}", "1:14", "unknown key 'zzzzzz' in 'candidates'",
		"the keys are min, max"},
	{"sources: [{path: a}, {path: b, wieght: 1}]", "1:32",
		"unknown key 'wieght' in 'sources[1]'", "did you mean 'weight'?"},

	{"flag: yes", "1:7", "flag must be true or false, not 'yes'", "write true"},
	{"flag: no", "1:7", "flag must be true or false, not 'no'", "write false"},
	{"flag: on", "1:7", "flag must be true or false, not 'on'", "write true"},
	{"flag: off", "1:7", "flag must be true or false, not 'off'", "write false"},
	{"flag: True", "1:7", "flag must be true or false, not 'True'", "write true"},
	{"flag: 1", "1:7", "flag must be true or false, not 1", "write true"},
	{"flag: 'true'", "1:7", "flag must be true or false, not the text 'true'",
		"leave the quotes out"},
	{"flag: maybe", "1:7", "flag must be true or false, not 'maybe'", NULL},
	{"flag: [true]", "1:7", "flag must be true or false, not a list", NULL},

	{"count32: 0", "1:10", "count32 must be between 1 and 1048576, not 0", NULL},
	{"count32: 1048577", "1:10", "count32 must be between 1 and 1048576, not 1048577", NULL},
	{"count32: -1", "1:10", "count32 must be between 1 and 1048576, not -1", NULL},
	{"count32: 99999999999999999999", "1:10",
		"count32 must be between 1 and 1048576, not 99999999999999999999", NULL},
	{"count32: 1_000", "1:10", "count32 must be a whole number, not '1_000'",
		"write the digits without separators, and a point before decimals"},
	{"count32: '12'", "1:10", "count32 must be a whole number, not the text '12'",
		"leave the quotes out"},
	{"count32: 1.5", "1:10", "count32 must be a whole number, not 1.5", NULL},
	{"count32: 0x10", "1:10", "count32 must be a whole number, not '0x10'", NULL},
	{"count32: {a: 1}", "1:10", "count32 must be a whole number, not a map", NULL},
	{"least: 1", "1:8", "least must be between 2 and 4294967295, not 1", NULL},
	{"plain32: 4294967296", "1:10", "plain32 must be between 0 and 4294967295, not 4294967296",
		NULL},
	{"plain32: -1", "1:10", "plain32 must be between 0 and 4294967295, not -1", NULL},
	{"seed: -1", "1:7", "seed must be between 0 and 18446744073709551615, not -1", NULL},
	{"seed: 18446744073709551616", "1:7",
		"seed must be between 0 and 18446744073709551615, not 18446744073709551616", NULL},
	{"shift: -11", "1:8", "shift must be between -10 and 10, not -11", NULL},
	{"ratio: warm", "1:8", "ratio must be a number, not 'warm'", NULL},
	{"ratio: .nan", "1:8", "ratio must be a number, not '.nan'", NULL},
	{"ratio: inf", "1:8", "ratio must be a number, not 'inf'", NULL},
	{"ratio: 1e999", "1:8", "ratio must be a number, not '1e999'", NULL},
	{"ratio: '0.5'", "1:8", "ratio must be a number, not the text '0.5'",
		"leave the quotes out"},
	{"ratio: 1.5", "1:8", "ratio must be between 0 and 1, not 1.5", NULL},
	{"ratio: 0,5", "1:8", "ratio must be a number, not '0,5'",
		"write the digits without separators, and a point before decimals"},

	{"name: ''", "1:7", "name must have between 1 and 8 characters, not 0", NULL},
	{"name: 123456789", "1:7", "name must have between 1 and 8 characters, not 9", NULL},
	{"name: [a]", "1:7", "name must be a text, not a list", NULL},
	{"path: /no/such/file", "1:7", "path names no file or folder: '/no/such/file'", NULL},
	{"path: no-such-file", "1:7", "path names no file or folder: 'no-such-file'",
		"a relative path starts at the folder in which thresh is run"},
	{"path: ''", "1:7", "path must not be empty", NULL},
	{"accept: ''", "1:9", "accept must not be empty", NULL},
	{"accept: {a: 1}", "1:9", "accept must be an SQL expression, not a map", NULL},
	{"engine: [a]", "1:9", "engine must be a name, not a list", NULL},
	{"mode: carefull", "1:7", "mode must be fast, careful or both, not 'carefull'",
		"did you mean 'careful'?"},
	{"mode: zzz", "1:7", "mode must be fast, careful or both, not 'zzz'", NULL},
	{"mode: [fast]", "1:7", "mode must be fast, careful or both, not a list", NULL},
	{"bytes: big", "1:8", "bytes must be a size such as 64MiB, not 'big'", NULL},
	{"bytes: 1000", "1:8", "bytes must be between 1KiB and 1GiB, not 1000", NULL},
	{"bytes: -5", "1:8", "bytes must be a size such as 64MiB, not -5", NULL},
	{"tokens: many", "1:9", "tokens must be a count such as 2000 or 50M, not 'many'", NULL},
	{"tokens: 1.5", "1:9", "tokens must be a count such as 2000 or 50M, not 1.5", NULL},
	{"wait: 10", "1:7", "wait must be a duration such as 90s, 10m or 1h30m, not 10",
		"add a unit: ms, s, m, h or d"},
	{"wait: 3h", "1:7", "wait must be between 1s and 2h, not '3h'", NULL},
	{"wait: [1s]", "1:7", "wait must be a duration such as 90s, 10m or 1h30m, not a list",
		NULL},

	{"stop: [a, b, c, d]", "1:7", "stop must have between 1 and 3 items, not 4", NULL},
	{"stop: []", "1:7", "stop must have between 1 and 3 items, not 0", NULL},
	{"stop: [a, [b]]", "1:11", "stop[1] must be a text, not a list", NULL},
	{"stop: [~]", "1:8", "stop[0] must be a text, not nothing", NULL},
	{"stop: {a: b}", "1:7", "stop must be a text or a list of texts, not a map", NULL},
	{"headers: [a]", "1:10", "headers must be a map of texts, not a list", NULL},
	{"headers: {a: [1]}", "1:14", "headers.a must be a text, not a list", NULL},
	{"headers: {a: }", "1:14", "headers.a must be a text, not nothing", NULL},
	{"headers: {a: 1, b: 2, c: 3}", "1:10", "headers must have at most 2 items, not 3", NULL},
	{"candidates: many", "1:13", "candidates must be a whole number, not 'many'", NULL},
	{"candidates: 40", "1:13", "candidates must be between 1 and 32, not 40", NULL},
	{"candidates: [1]", "1:13", "candidates must be a map, not a list", NULL},
	{"candidates: {min: x}", "1:19", "candidates.min must be a whole number, not 'x'", NULL},
	{"sampling: 5", "1:11", "sampling must be a map, not 5", NULL},
	{"sampling: {temperature: 1}", "1:11", "missing required key 'stop' in 'sampling'",
		"stop: stop text"},
	{"sources: {path: a}", "1:10", "sources must be a list of maps, not a map",
		"write '- ' in front of it"},
	{"sources: a", "1:10", "sources must be a list of maps, not 'a'", NULL},
	{"sources: [{weight: 2}]", "1:11", "missing required key 'path' in 'sources[0]'",
		"path: a file"},
	{"sources: [[a]]", "1:11", "sources[0] must be a map, not a list", NULL},
	{"sources: [{path: a, weight: 0}]", "1:29",
		"sources[0].weight must be between 1 and 4294967295, not 0", NULL},
	{"sources: [{path: a, map: {q: {}}}]", "1:30", "sources[0].map.q must be a text, not a map",
		NULL},
	{"sources: [a, b, c]", "1:10", "sources must have at most 2 items, not 3", NULL},
	{"[a]", "1:1", "must be a map, not a list", NULL},
	{"word", "1:1", "must be a map, not 'word'", NULL},
	{"mode: \"a\\e[31m\"", "1:7",
		"mode must be fast, careful or both, not the text 'a\\x1b[31m'", NULL},
};

START_TEST(mistakes_have_place_reason_and_hint)
	{
		const struct bad *t = &bads[_i];
		char where[64], msg[256];

		read_text(t->text);
		ck_assert_msg(errors.n == 1, "%zu errors for %s", errors.n, t->text);
		snprintf(where, sizeof(where), "p.yaml:%s", t->where);
		snprintf(msg, sizeof(msg), "stage 'x': %s", t->msg);
		ck_assert_int_eq(errors.items[0].kind, FAIL_CONFIG);
		ck_assert_str_eq(errors.items[0].msg, msg);
		ck_assert_str_eq(errors.items[0].where, where);
		ck_assert_str_eq(errors.items[0].hint, t->hint ? t->hint : "");
	}
END_TEST

START_TEST(every_mistake_shows_in_one_run)
	{
		read_text("flag: yes\ncount32: 0\nratio: warm\nnothere: 1\nstop: [a, [], {}]\n"
			  "sources: [{}, {path: [], weight: x}]\n");
		ck_assert_uint_eq(errors.n, 9);
		ck_assert_str_eq(errors.items[0].where, "p.yaml:4:1");
		ck_assert_str_eq(errors.items[1].where, "p.yaml:1:7");
		ck_assert_str_eq(errors.items[8].where, "p.yaml:6:34");
	}
END_TEST

START_TEST(after_a_mistake_the_field_has_its_default)
	{
		read_text("flag: 3\ncount32: 0\nstop: [a, [b]]\nbytes: x\nmode: x\ncandidates: x\n"
			  "sources: [{path: a}, 5, [b]]\nheaders: {a: []}\n");
		assert_value("flag", "true");
		assert_value("count32", "1024");
		assert_value("stop", "[\"x\",\"y\"]");
		assert_value("bytes", "67108864");
		assert_value("mode", "careful");
		assert_value("candidates.min", "4");
		assert_value("candidates.max", "8");
		assert_value("headers", "");
	}
END_TEST

/* Places and required keys */

START_TEST(missing_keys_stand_where_they_should_have_been)
	{
		struct need need = {0};
		struct node at = {.kind = NODE_SCALAR, .line = 7, .column = 5, .text = "generate"};
		struct node null = {.kind = NODE_SCALAR, .text = "", .null = true};

		tree.file = xstrdup("p.yaml");
		param_read(need_table, &tree, _i ? &null : NULL, &at, "stage 'generate'", &need,
			&errors);
		ck_assert_uint_eq(errors.n, 2);
		ck_assert_str_eq(errors.items[0].where, "p.yaml:7:5");
		ck_assert_str_eq(
			errors.items[0].msg, "stage 'generate': missing required key 'engine'");
		ck_assert_str_eq(errors.items[0].hint, "engine: name of an engine");
		ck_assert_str_eq(
			errors.items[1].msg, "stage 'generate': missing required key 'sampling'");
		ck_assert_ptr_null(need.engine);
		ck_assert_double_eq(need.sampling.temperature, 0.8);
		param_release(need_table, &need);
	}
END_TEST

START_TEST(null_does_not_satisfy_a_required_key)
	{
		struct need need = {0};
		struct error err = {0};
		const char *text = "engine: ~\nsampling: {stop: }\n";

		ck_assert(tree_parse(&tree, "p.yaml", text, strlen(text), &err));
		param_read(need_table, &tree, tree.root, NULL, NULL, &need, &errors);
		ck_assert_uint_eq(errors.n, 2);
		ck_assert_str_eq(errors.items[0].msg, "missing required key 'engine'");
		ck_assert_str_eq(errors.items[0].where, "p.yaml:1:1");
		ck_assert_str_eq(errors.items[1].msg, "missing required key 'stop' in 'sampling'");
		ck_assert_str_eq(errors.items[1].where, "p.yaml:2:11");
		param_release(need_table, &need);
	}
END_TEST

START_TEST(set_is_the_place_of_its_mistakes)
	{
		static const struct {
			const char *set, *msg;
		} cases[] = {
			{"count32=0", "count32 must be between 1 and 1048576, not 0"},
			{"cuont32=1", "unknown key 'cuont32'"},
			{"sampling.temprature=1", "unknown key 'temprature' in 'sampling'"},
			{"sampling={temperature: 1}", "missing required key 'stop' in 'sampling'"},
		};
		struct error err = {0};
		char where[64];

		ck_assert(tree_parse(&tree, "p.yaml", "sampling: {stop: x}", 19, &err));
		ck_assert_msg(tree_set(&tree, cases[_i].set, &err), "%s", err.msg);
		param_read(table, &tree, tree.root, NULL, NULL, &config, &errors);
		ck_assert_uint_eq(errors.n, 1);
		snprintf(where, sizeof(where), "--set %s", cases[_i].set);
		ck_assert_str_eq(errors.items[0].where, where);
		ck_assert_str_eq(errors.items[0].msg, cases[_i].msg);
	}
END_TEST

START_TEST(node_rows_borrow_from_the_tree)
	{
		read_ok("extra: [1, 2]");
		ck_assert_ptr_eq(config.extra, node_get(tree.root, "extra"));
	}
END_TEST

struct file_config {
	char *path;
};
static const struct param file_table[] = {
	PARAM_PATH("file", struct file_config, path, .def = "no-such-file", .must_exist = true,
		.help = "a file"),
	{0},
};

START_TEST(missing_default_file_stands_where_its_key_would)
	{
		struct file_config file = {0};
		struct node at = {.kind = NODE_MAP, .line = 3, .column = 9};

		param_assert(file_table, sizeof(file));
		tree.file = xstrdup("p.yaml");
		param_read(file_table, &tree, NULL, &at, NULL, &file, &errors);
		ck_assert_uint_eq(errors.n, 1);
		ck_assert_str_eq(errors.items[0].where, "p.yaml:3:9");
		ck_assert_ptr_null(file.path);
		param_release(file_table, &file);
	}
END_TEST

/* Walking */

static void append_path(void *ctx, const char *path, const char *value, const struct param *row)
{
	(void)value;
	str_printf(ctx, "%s%s ", path, row->no_fingerprint ? "*" : "");
}

START_TEST(each_visits_leaves_in_table_order_with_flags)
	{
		struct str out;

		read_ok("sources: [a, b]");
		str_init(&out, STR_NO_CAP);
		param_each(table, &config, append_path, &out);
		ck_assert_str_eq(out.data,
			"flag count32 least plain32 seed shift ratio name path accept engine "
			"label* mode "
			"bytes tokens wait* stop headers candidates.min candidates.max "
			"sampling.temperature* sampling.stop* sources[0].path sources[0].weight "
			"sources[0].map sources[1].path sources[1].weight sources[1].map extra ");
		str_release(&out);
	}
END_TEST

/* Help and schema */

START_TEST(help_is_aligned_and_fits)
	{
		struct str out;
		size_t n_rows = 0;

		str_init(&out, STR_NO_CAP);
		param_help(table, 2, &out);
		for (const char *line = out.data; *line;) {
			const size_t len = strcspn(line, "\n");

			ck_assert_uint_le(len, 100);
			ck_assert(line[len - 1] != ' ');
			n_rows++;
			line += len + 1;
		}
		ck_assert_uint_ge(n_rows, 29);
		ck_assert_ptr_nonnull(strstr(out.data,
			"  count32        integer       1024      tokens (1 to 1048576)\n"));
		ck_assert_ptr_nonnull(strstr(out.data,
			"    temperature  number        0.8       randomness (0 to 2)\n"));
		ck_assert_ptr_nonnull(
			strstr(out.data, "    stop         text          required  stop text\n"));
		ck_assert_ptr_nonnull(strstr(out.data, "how (fast, careful, both)"));
		ck_assert_ptr_nonnull(strstr(out.data, "a size (1KiB to 1GiB)"));
		ck_assert_ptr_nonnull(strstr(out.data, "a bare value sets min and max"));
		str_release(&out);
	}
END_TEST

static const struct param wordy_table[] = {
	PARAM_STR("w", struct file_config, path, .def = "a default of more than twenty columns",
		.help = "words that go on and on and on, and on, until the line has come to its "
			"end, "
			"whereupon they go on in the next, below the first of them"),
	{0},
};

START_TEST(long_help_is_wrapped)
	{
		struct str out;

		str_init(&out, STR_NO_CAP);
		param_help(wordy_table, 0, &out);
		for (const char *line = out.data; *line; line += strcspn(line, "\n") + 1) {
			ck_assert_uint_le(strcspn(line, "\n"), 100);
		}
		ck_assert_ptr_nonnull(strstr(out.data, "\n            "));
		ck_assert_ptr_nonnull(strstr(out.data, "default: a"));
		str_release(&out);
	}
END_TEST

static struct json *schema_of(const struct param *rows, struct str *text)
{
	struct json_writer w = {.out = text};
	struct error err = {0};
	struct json *root;

	param_schema(rows, &w);
	root = json_parse(text->data, text->len, &err);
	ck_assert_msg(root, "%s: %s", err.msg, text->data);
	return root;
}

static const struct member {
	const char *name, *want; /* the schema of a property, keys sorted */
} members[] = {
	{"flag", "{\"default\":true,\"description\":\"a switch\",\"type\":\"boolean\"}"},
	{"count32",
		"{\"default\":1024,\"description\":\"tokens\",\"maximum\":1048576,\"minimum\":1,"
		"\"type\":\"integer\"}"},
	{"shift",
		"{\"default\":-3,\"description\":\"shift\",\"maximum\":10,\"minimum\":-10,"
		"\"type\":\"integer\"}"},
	{"seed", "{\"description\":\"seed\",\"minimum\":0,\"type\":\"integer\"}"},
	{"ratio",
		"{\"default\":0.5,\"description\":\"ratio\",\"maximum\":1,\"minimum\":0,"
		"\"type\":\"number\"}"},
	{"name",
		"{\"description\":\"a name\",\"maxLength\":8,\"minLength\":1,"
		"\"type\":[\"string\",\"number\",\"boolean\"]}"},
	{"mode",
		"{\"default\":\"careful\",\"description\":\"how\","
		"\"enum\":[\"fast\",\"careful\",\"both\"]}"},
	{"bytes",
		"{\"default\":\"64MiB\",\"description\":\"a size\",\"maximum\":1073741824,"
		"\"minimum\":1024,\"pattern\":\"^[0-9]+(\\\\.[0-9]+)? *(B|[kKMGT]B|[KMGT]iB)?$\","
		"\"type\":[\"integer\",\"string\"]}"},
	{"stop",
		"{\"default\":[\"x\",\"y\"],\"description\":\"texts\","
		"\"items\":{\"type\":[\"string\",\"number\",\"boolean\"]},\"maxItems\":3,"
		"\"minItems\":1,\"type\":[\"array\",\"string\",\"number\",\"boolean\"]}"},
	{"candidates",
		"{\"anyOf\":[{\"additionalProperties\":false,\"properties\":{"
		"\"max\":{\"default\":8,\"description\":\"most\",\"maximum\":32,\"minimum\":1,"
		"\"type\":\"integer\"},"
		"\"min\":{\"default\":4,\"description\":\"least\",\"maximum\":64,\"minimum\":1,"
		"\"type\":\"integer\"}},\"type\":\"object\"},"
		"{\"maximum\":64,\"minimum\":1,\"type\":\"integer\"}],"
		"\"description\":\"how many\"}"},
	{"extra", "{\"description\":\"read by others\"}"},
};

START_TEST(schema_states_types_limits_and_defaults)
	{
		struct str text, got;
		struct json *root;

		str_init(&text, STR_NO_CAP);
		str_init(&got, STR_NO_CAP);
		root = schema_of(table, &text);
		json_dump(json_get(json_get(root, "properties"), members[_i].name), true, &got);
		ck_assert_str_eq(got.data, members[_i].want);
		json_free(root);
		str_release(&text);
		str_release(&got);
	}
END_TEST

START_TEST(schema_names_required_keys_and_closes_objects)
	{
		struct str text, got;
		struct json *root;
		bool open = true;

		str_init(&text, STR_NO_CAP);
		str_init(&got, STR_NO_CAP);
		root = schema_of(need_table, &text);
		json_dump(json_get(root, "required"), true, &got);
		ck_assert_str_eq(got.data, "[\"engine\",\"sampling\"]");
		ck_assert(json_bool(json_get(root, "additionalProperties"), &open) && !open);
		ck_assert_str_eq(json_z(json_get(root, "type")), "object");
		json_free(root);
		str_release(&text);
		str_release(&got);
	}
END_TEST

/* Tables that are wrong */

START_TEST(good_tables_pass)
	{
		param_assert(table, sizeof(struct config));
		param_assert(need_table, sizeof(struct need));
		param_assert(wordy_table, sizeof(struct file_config));
	}
END_TEST

struct one {
	uint32_t n;
	char *s;
	struct sampling sampling;
	struct param_structs list;
};
static const char *const no_names[] = {NULL};
static const char *const same_names[] = {"a", "a", NULL};
static const char *const no_row[] = {"nothere", NULL};

static const struct param wrong_tables[][3] = {
	{PARAM_U32("n", struct one, n)},
	{PARAM_U32("", struct one, n, .help = "h")},
	{PARAM_U32("a.b", struct one, n, .help = "h")},
	{PARAM_U32("n", struct one, n, .help = "h"), PARAM_U32("n", struct one, n, .help = "h")},
	{PARAM_U32("n", struct one, n, .help = "h", .def = "x")},
	{PARAM_U32("n", struct one, n, .help = "h", .def = "0", .min = 1, .max = 2)},
	{PARAM_U32("n", struct one, n, .help = "h", .def = "1", .required = true)},
	{PARAM_U32("n", struct one, n, .help = "h", .min = 3, .max = 2)},
	{PARAM_U32("n", struct one, n, .help = "h", .must_exist = true)},
	{PARAM_U32("n", struct one, n, .help = "h", .late = true)},
	{PARAM_STR("s", struct one, s, .help = "h", .def = "")},
	{PARAM_STR("s", struct one, s, .help = "h", .def = "[")},
	{PARAM_ENUM("n", struct one, n, .help = "h")},
	{PARAM_ENUM("n", struct one, n, .help = "h", .names = no_names)},
	{PARAM_ENUM("n", struct one, n, .help = "h", .names = same_names)},
	{PARAM_ENUM("n", struct one, n, .help = "h", .names = modes, .def = "slow")},
	{PARAM_STRUCT("t", struct one, sampling, .help = "h")},
	{PARAM_STRUCT("t", struct one, sampling, .help = "h", .table = sampling_table,
		.scalar_for = no_row)},
	{PARAM_STRUCTS("l", struct one, list, .help = "h", .table = sampling_table)},
	{PARAM_STRUCTS(
		"l", struct one, list, .help = "h", .table = sampling_table, .item_size = 8)},
	{PARAM_U32("n", struct one, n, .help = "h", .table = sampling_table)},
	{PARAM_U64("n", struct config, tokens, .help = "h")},
};

START_TEST(wrong_tables_stop_the_program)
	{
		param_assert(wrong_tables[_i], sizeof(struct one));
	}
END_TEST

int main(void)
{
	Suite *s = suite_create("param");
	TCase *t = tcase_create("param");
	SRunner *sr;
	int failed;

	tcase_add_checked_fixture(t, set_up, tear_down);
	tcase_add_loop_test(t, reads_and_gives_canonical_values, 0, ARRAY_LEN(goods));
	tcase_add_loop_test(t, mistakes_have_place_reason_and_hint, 0, ARRAY_LEN(bads));
	tcase_add_test(t, every_mistake_shows_in_one_run);
	tcase_add_test(t, after_a_mistake_the_field_has_its_default);
	tcase_add_loop_test(t, missing_keys_stand_where_they_should_have_been, 0, 2);
	tcase_add_test(t, null_does_not_satisfy_a_required_key);
	tcase_add_loop_test(t, set_is_the_place_of_its_mistakes, 0, 4);
	tcase_add_test(t, node_rows_borrow_from_the_tree);
	tcase_add_test(t, missing_default_file_stands_where_its_key_would);
	tcase_add_test(t, each_visits_leaves_in_table_order_with_flags);
	tcase_add_test(t, help_is_aligned_and_fits);
	tcase_add_test(t, long_help_is_wrapped);
	tcase_add_loop_test(t, schema_states_types_limits_and_defaults, 0, ARRAY_LEN(members));
	tcase_add_test(t, schema_names_required_keys_and_closes_objects);
	tcase_add_test(t, good_tables_pass);
	suite_add_tcase(s, t);
	t = tcase_create("tables");
	/* In CK_FORK=no mode an abort would end the suite. */
	sr = srunner_create(s);
	if (srunner_fork_status(sr) == CK_FORK) {
		tcase_add_loop_test_raise_signal(
			t, wrong_tables_stop_the_program, SIGABRT, 0, ARRAY_LEN(wrong_tables));
		suite_add_tcase(s, t);
	}
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
