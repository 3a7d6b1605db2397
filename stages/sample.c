/*
 * Draws the night's prompts into the ledger.
 *
 * A row's place in the draw is a hash of seed, run number and content ("bottom-k sampling"): the rows with the smallest keys are drawn, so the
 * draw is without replacement, needs no row count beforehand, and does not depend on the order of lines. Each source keeps an array
 * of at most twice the limit; when it is full it is sorted, equal rows (same content, hence neighbours) are counted and dropped, and the
 * rest above the limit goes: memory is O(limit) for files of any size. A second reading then fetches the drawn lines.
 *
 * What earlier nights know of a row says whether it may be drawn at all, and whether after all others (sample_choice.h).
 *
 * Output of a command can be read once only, so it is written to a file of the run's folder first.
 */
#include "sample.h"

#include "sample_choice.h"

#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/lines.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "definition.h"
#include "ledger/history.h"
#include "ledger/ledger.h"
#include "run.h"
#include "stage.h"
#include "stages.h"
#include "template.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define ROW_BYTES_MAX ((size_t)16 << 20)
#define DRAW_MAX 50000000u

extern char **environ;

struct source_config {
	char *path, *command, *name;
	double weight;
	struct param_map map;
};

struct sample_config {
	struct param_structs sources;
	char *template;
	uint64_t limit;
	struct draw_rules rules;
};

static const char *const draw_names[] = {"new", "any", "window", NULL};
static const char *const unknown_names[] = {"last", "first", "never", NULL};
static const char *const retry_names[] = {"never", "model_changed", NULL};

static const struct param source_params[] = {
	PARAM_PATH("path", struct source_config, path, .must_exist = true,
		.help = "JSON lines, plain or zstd"),
	PARAM_STR("command", struct source_config, command,
		.help = "shell command that prints JSON lines, instead of a path"),
	PARAM_STR(
		"name", struct source_config, name, .help = "name in reports; default: the file's"),
	PARAM_DOUBLE("weight", struct source_config, weight, .def = "1", .min = 0, .max = 1e9,
		.help = "share of the draw, relative to the others'"),
	PARAM_MAP("map", struct source_config, map,
		.help = "field of the prompt: key of the row; default: the row as it is"),
	{0},
};

static const struct param pass_rate_params[] = {
	PARAM_DOUBLE("min", struct sample_config, rules.rate_min, .def = "0.1", .late = true,
		.min = 0, .max = 1, .help = "the lowest pass rate in it"),
	PARAM_DOUBLE("max", struct sample_config, rules.rate_max, .def = "0.9", .late = true,
		.min = 0, .max = 1, .help = "the highest"),
	{0},
};

static const struct param params[] = {
	PARAM_STRUCTS("sources", struct sample_config, sources, .table = source_params,
		.item_size = sizeof(struct source_config), .required = true, .min = 1, .max = 1000,
		.help = "where rows come from"),
	PARAM_PATH("template", struct sample_config, template, .ref = "template", .required = true,
		.must_exist = true, .help = "prompt template, see prompts/README.md"),
	PARAM_COUNT("limit", struct sample_config, limit, .def = "0", .min = 0, .max = DRAW_MAX,
		.help = "prompts to draw; 0: all"),
	PARAM_ENUM("draw", struct sample_config, rules.draw, .def = "new", .names = draw_names,
		.help = "new: prompts that no earlier run settled; window: those with a pass rate "
			"in `pass_rate`; any: all"),
	PARAM_GROUP("pass_rate", .table = pass_rate_params,
		.help = "the window; below it a prompt is hard"),
	PARAM_ENUM("unknown", struct sample_config, rules.unknown, .def = "last", .late = true,
		.names = unknown_names,
		.help = "prompts without a pass rate are drawn when no others are left, before "
			"all others, or not; with draw: window"),
	PARAM_DOUBLE("retire", struct sample_config, rules.retire, .def = "0", .late = true,
		.min = 0, .max = 1,
		.help = "draw no more what passes at least that often for certain (the lower end "
			"of the 95 % interval); 0: never"),
	PARAM_ENUM("retry", struct sample_config, rules.retry, .def = "never", .late = true,
		.names = retry_names,
		.help = "model_changed: hard prompts are drawn again if another model tried them "
			"last"),
	{0},
};

const char *sample_template(const struct definition *def)
{
	const struct stage_def *s = definition_stage(def, "sample");
	return s ? ((const struct sample_config *)s->config)->template : NULL;
}

/* --- rows --- */

struct source {
	const struct source_config *config;
	char *name, *path; /* own; path is the spool file of a command */
	bool spooled;
	struct entry *entries; /* owns */
	size_t n, cap;
	uint64_t threshold; /* keys above it can no longer be drawn */
	uint64_t n_rows, n_duplicates;
	uint64_t
		n_chosen[CHOICES]; /* rows that were left out, then those that were drawn, by why */
	size_t quota;
};

struct entry {
	uint64_t key;
	struct hash128 id;
	uint64_t line : 60, choice : 4; /* enum choice */
	int64_t ord; /* prompt id, once it is drawn */
};

static char *name_of(const struct source_config *c)
{
	if (c->name) {
		return xstrdup(c->name);
	}
	if (!c->path) {
		return xstrdup("command");
	}
	char *name = xstrdup(file_basename(c->path));
	static const char *const endings[] = {".zst", ".jsonl", ".json"};
	for (size_t i = 0; i < ARRAY_LEN(endings); i++) {
		size_t len = strlen(name), end = strlen(endings[i]);
		if (len > end && strcmp(name + len - end, endings[i]) == 0) {
			name[len - end] = '\0';
		}
	}
	return name;
}

static void put_value(struct json_writer *w, const struct json *value)
{
	struct str text;
	str_init(&text, STR_NO_CAP);
	json_dump(value, true, &text);
	json_put_raw(w, text.data, text.len);
	str_release(&text);
}

/* map's keys sorted, so that the content's hash does not depend on how the definition is written. */
static int compare_names(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static const char *mapped_key(const struct param_map *map, const char *field)
{
	for (size_t i = 0; i < map->n; i++) {
		if (strcmp(map->keys[i], field) == 0) {
			return map->values[i];
		}
	}
	return NULL;
}

/* The prompt's fields as canonical JSON; the place of a mistake is the row's. */
static bool row_fields(
	const struct source *s, const struct json *row, struct str *out, struct error *err)
{
	if (json_kind(row) != JSON_OBJECT) {
		return error_set(err, FAIL_DATA, "the row must be an object, not %s",
			json_kind_name(json_kind(row)));
	}
	const struct param_map *map = &s->config->map;
	str_reset(out);
	if (!map->n) {
		json_dump(row, true, out);
		return true;
	}
	const char **names = xcalloc(map->n, sizeof(*names));
	memcpy(names, map->keys, map->n * sizeof(*names));
	qsort(names, map->n, sizeof(*names), compare_names);
	struct json_writer w = {.out = out};
	bool ok = true;
	json_begin_object(&w);
	for (size_t i = 0; ok && i < map->n; i++) {
		const char *key = mapped_key(map, names[i]);
		const struct json *value = json_get(row, key);
		ok = value ||
			error_set(err, FAIL_DATA, "the row has no key '%s' (field '%s')", key,
				names[i]);
		if (ok) {
			json_key(&w, names[i]);
			put_value(&w, value);
		}
	}
	json_end_object(&w);
	free(names);
	return ok;
}

static bool check_template_fields(
	const struct template *t, const struct json *fields, struct error *err)
{
	for (size_t i = 0; i < template_n_fields(t); i++) {
		if (!json_get(fields, template_field(t, i))) {
			error_set(err, FAIL_DATA,
				"the row has no field '%s', which the template uses",
				template_field(t, i));
			return error_hint(err,
				"add `map: {%s: KEY}` to the source, or mend the row",
				template_field(t, i));
		}
	}
	return true;
}

struct row_reader {
	const struct source *source;
	struct lines in;
	struct str fields;
};

static bool reader_open(struct row_reader *r, const struct source *s, struct error *err)
{
	r->source = s;
	str_init(&r->fields, STR_NO_CAP);
	return lines_open(&r->in, s->path, ROW_BYTES_MAX, err);
}

static void reader_release(struct row_reader *r)
{
	lines_release(&r->in);
	str_release(&r->fields);
}

static bool is_blank(struct slice line)
{
	for (size_t i = 0; i < line.len; i++) {
		if (!strchr(" \t\r", line.data[i])) {
			return false;
		}
	}
	return true;
}

static void place_row(const struct row_reader *r, struct error *err)
{
	error_place(err, r->source->config->path ? r->source->config->path : r->source->name,
		(unsigned)r->in.line_no, 0);
}

/* The next row's fields in r->fields; `t` (may be NULL) is checked against them. */
static enum lines_result next_row(
	struct row_reader *r, const struct template *t, uint64_t only_line, struct error *err)
{
	struct slice line;
	enum lines_result got;
	do {
		got = lines_next(&r->in, &line, err);
	} while (
		got == LINES_LINE && ((only_line && r->in.line_no != only_line) || is_blank(line)));
	if (got != LINES_LINE) {
		return got;
	}
	AUTO_JSON struct json *row = json_parse(line.data, line.len, err);
	bool ok = row && row_fields(r->source, row, &r->fields, err);
	if (ok && t) {
		AUTO_JSON struct json *fields = r->source->config->map.n
			? json_parse(r->fields.data, r->fields.len, err)
			: NULL;
		ok = check_template_fields(t, fields ? fields : row, err);
	}
	if (!ok) {
		place_row(r, err);
		return LINES_FAILED;
	}
	return LINES_LINE;
}

/* --- the draw --- */

static int by_key(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;
	if (x->key != y->key) {
		return x->key < y->key ? -1 : 1;
	}
	if (x->id.hi != y->id.hi) {
		return x->id.hi < y->id.hi ? -1 : 1;
	}
	if (x->id.lo != y->id.lo) {
		return x->id.lo < y->id.lo ? -1 : 1;
	}
	return (x->line > y->line) - (x->line < y->line);
}

static bool same_id(const struct entry *a, const struct entry *b)
{
	return a->id.hi == b->id.hi && a->id.lo == b->id.lo;
}

/* Sorts, drops equal rows, keeps the `limit` smallest. */
static void compact(struct source *s, size_t limit)
{
	if (!s->n) {
		return;
	}
	qsort(s->entries, s->n, sizeof(*s->entries), by_key);
	size_t kept = 1;
	for (size_t i = 1; i < s->n; i++) {
		if (same_id(&s->entries[i], &s->entries[kept - 1])) {
			s->n_duplicates++;
		} else {
			s->entries[kept++] = s->entries[i];
		}
	}
	s->n = kept;
	if (s->n > limit) {
		s->n = limit;
		s->threshold = s->entries[limit - 1].key;
	}
}

/* What is common to all rows of a draw. */
struct drawing {
	const struct draw_rules *rules;
	struct history *history;
	char model_hash[33]; /* of the model that will answer; "": not needed */
	uint64_t seed;
	size_t limit;
};

/*
 * A key's first bit is set for what comes last in a draw by pass rates. Until it is known whether it is, the key is the lowest
 * that the row can have: most rows of a large file are above the threshold already, and history need not be asked.
 */
static uint64_t first_key(const struct drawing *d, const char hex[33])
{
	uint64_t key = hash64(hex, 32, d->seed);
	return d->rules->draw == DRAW_WINDOW ? key >> 1 : key;
}

/* Fills choice and key; false: it is not drawn. */
static bool may_draw(
	const struct drawing *d, const struct source *s, const char hex[33], struct entry *e)
{
	e->key = first_key(d, hex);
	e->choice = CHOICE_DRAW;
	if (e->key > s->threshold) {
		return false;
	}
	struct history_prompt known;
	history_prompt(d->history, hex, &known);
	enum choice choice = sample_choose(d->rules, &known, d->model_hash);
	e->choice = (uint64_t)choice & 15;
	e->key |= (uint64_t)sample_comes_last(d->rules, choice) << 63;
	return sample_is_drawn(choice) && e->key <= s->threshold;
}

static bool scan(
	struct source *s, const struct drawing *d, const struct template *t, struct error *err)
{
	struct row_reader r = {0};
	bool opened = reader_open(&r, s, err);
	enum lines_result got = opened ? LINES_LINE : LINES_FAILED;
	s->threshold = UINT64_MAX;
	while (opened && (got = next_row(&r, t, 0, err)) == LINES_LINE) {
		struct entry e = {.id = hash128(r.fields.data, r.fields.len), .line = r.in.line_no};
		char hex[33];
		s->n_rows++;
		hash128_hex(e.id, hex);
		if (!may_draw(d, s, hex, &e)) {
			s->n_chosen[e.choice] += !sample_is_drawn((enum choice)e.choice);
			continue;
		}
		if (s->n >= 2 * d->limit) {
			compact(s, d->limit);
		}
		s->entries = array_room(s->entries, s->n, &s->cap, sizeof(*s->entries));
		s->entries[s->n++] = e;
	}
	reader_release(&r);
	compact(s, d->limit);
	return got == LINES_END;
}

struct drawn {
	struct entry *entry;
	size_t source;
};

static int by_id_then_source(const void *a, const void *b)
{
	const struct drawn *x = a, *y = b;
	if (!same_id(x->entry, y->entry)) {
		return x->entry->id.hi != y->entry->id.hi
			? (x->entry->id.hi < y->entry->id.hi ? -1 : 1)
			: (x->entry->id.lo < y->entry->id.lo ? -1 : 1);
	}
	return (x->source > y->source) - (x->source < y->source);
}

/* A row that stands in several sources belongs to the first of them. */
static void drop_across_sources(struct source *sources, size_t n)
{
	size_t total = 0, at = 0;
	for (size_t i = 0; i < n; i++) {
		total += sources[i].n;
	}
	struct drawn *all = xcalloc(total, sizeof(*all));
	for (size_t i = 0; i < n; i++) {
		for (size_t k = 0; k < sources[i].n; k++) {
			all[at++] = (struct drawn){&sources[i].entries[k], i};
		}
	}
	qsort(all, total, sizeof(*all), by_id_then_source);
	for (size_t i = 1; i < total; i++) {
		if (same_id(all[i].entry, all[i - 1].entry)) {
			all[i].entry->line = 0; /* gone */
			sources[all[i].source].n_duplicates++;
		}
	}
	free(all);
	for (size_t i = 0; i < n; i++) {
		size_t kept = 0;
		for (size_t k = 0; k < sources[i].n; k++) {
			if (sources[i].entries[k].line) {
				sources[i].entries[kept++] = sources[i].entries[k];
			}
		}
		sources[i].n = kept;
	}
}

/* Shares the limit by weight; what a short source cannot give goes to the others. */
static void set_quotas(struct source *sources, size_t n, size_t limit)
{
	size_t left = limit;
	for (size_t i = 0; i < n; i++) {
		sources[i].quota = 0;
	}
	while (left) {
		double weights = 0;
		for (size_t i = 0; i < n; i++) {
			weights += sources[i].quota < sources[i].n ? sources[i].config->weight : 0;
		}
		size_t given = 0, round = left;
		for (size_t i = 0; i < n && weights > 0; i++) {
			struct source *s = &sources[i];
			if (s->quota < s->n) {
				size_t share = (size_t)((double)round * s->config->weight /
					weights);
				share = MIN(MIN(share, s->n - s->quota), left);
				s->quota += share;
				left -= share;
				given += share;
			}
		}
		/* What rounding left over, one each. */
		for (size_t i = 0; i < n && !given && left; i++) {
			if (sources[i].quota < sources[i].n && sources[i].config->weight > 0) {
				sources[i].quota++;
				left--;
				given = 1;
			}
		}
		if (!given) {
			return;
		}
	}
}

struct place {
	double at;
	size_t source, k;
};

static int by_place(const void *a, const void *b)
{
	const struct place *x = a, *y = b;
	if (x->at != y->at) {
		return x->at < y->at ? -1 : 1;
	}
	return (x->source > y->source) - (x->source < y->source);
}

/* Sources are mixed evenly, so that a night that is cut short has seen its share of each. */
static size_t order_draw(struct source *sources, size_t n)
{
	size_t total = 0, at = 0;
	for (size_t i = 0; i < n; i++) {
		sources[i].n = MIN(sources[i].n, sources[i].quota);
		total += sources[i].n;
	}
	struct place *places = xcalloc(total, sizeof(*places));
	for (size_t i = 0; i < n; i++) {
		for (size_t k = 0; k < sources[i].n; k++) {
			places[at++] = (struct place){
				((double)k + 0.5) / (double)sources[i].n, i, k};
		}
	}
	qsort(places, total, sizeof(*places), by_place);
	for (size_t i = 0; i < total; i++) {
		struct source *s = &sources[places[i].source];
		struct entry *e = &s->entries[places[i].k];
		e->ord = (int64_t)i + 1;
		s->n_chosen[e->choice]++;
	}
	free(places);
	return total;
}

static int by_line(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;
	return (x->line > y->line) - (x->line < y->line);
}

static bool store(struct source *s, struct run *run, struct error *err)
{
	if (!s->n) {
		return true;
	}
	qsort(s->entries, s->n, sizeof(*s->entries), by_line);
	struct row_reader r = {0};
	bool ok = reader_open(&r, s, err);
	for (size_t i = 0; ok && i < s->n; i++) {
		const struct entry *e = &s->entries[i];
		enum lines_result got = next_row(&r, NULL, e->line, err);
		struct hash128 id = got == LINES_LINE ? hash128(r.fields.data, r.fields.len)
						      : (struct hash128){0};
		if (got == LINES_END ||
			(got == LINES_LINE && (id.hi != e->id.hi || id.lo != e->id.lo))) {
			ok = error_set(err, FAIL_DATA, "the file changed while it was read");
			place_row(&r, err);
			break;
		}
		char hex[33];
		hash128_hex(e->id, hex);
		ok = got == LINES_LINE &&
			ledger_add_prompt(run->ledger,
				&(struct ledger_prompt){.id = e->ord,
					.prompt_id = hex,
					.source = s->name,
					.row_no = e->line,
					.fields = {r.fields.data, r.fields.len}},
				err);
	}
	reader_release(&r);
	return ok;
}

/* --- commands --- */

static bool spool(struct source *s, struct run *run, struct error *err)
{
	AUTO_FREE char *name = xasprintf("source-%s.jsonl", s->name);
	s->path = file_join(run->dir, name);
	s->spooled = true;
	AUTO_FD int fd = open(s->path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	if (fd < 0) {
		return error_errno(err, "could not create '%s'", s->path);
	}
	posix_spawn_file_actions_t actions;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, fd, STDOUT_FILENO);
	char *argv[] = {
		(char *)(uintptr_t) "sh", (char *)(uintptr_t) "-c", s->config->command, NULL};
	pid_t pid;
	int rc = posix_spawn(&pid, "/bin/sh", &actions, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	if (rc) {
		errno = rc;
		return error_errno(err, "source '%s': could not start the command", s->name);
	}
	int status;
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
	}
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
		return error_set(err, FAIL_IO, "source '%s': the command %s %d", s->name,
			WIFEXITED(status) ? "ended with exit code" : "was killed by signal",
			WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
	}
	return true;
}

/* --- the stage --- */

static void add_field(void *ctx, const char *key, const struct json *value UNUSED)
{
	definition_add_field(ctx, key);
}

/* Rows without a map have the fields of their keys: the first row of a file tells them to `check`. */
static void learn_fields(struct definition *def, const char *path)
{
	struct lines in;
	struct slice line;
	struct error ignored = {0};
	if (!lines_open(&in, path, ROW_BYTES_MAX, &ignored)) {
		def->fields_open = true; /* told as a missing file, once is enough */
		return;
	}
	if (lines_next(&in, &line, &ignored) == LINES_LINE) {
		AUTO_JSON struct json *row = json_parse(line.data, line.len, &ignored);
		json_each(row, add_field, def);
	}
	lines_release(&in);
}

static void has_no_effect(
	const struct stage_check *c, const char *key, const char *why, const char *hint)
{
	struct error err = {0};
	const struct node *at = node_get(c->node, key);
	if (at && !at->null) {
		node_error(&err, c->tree, at, "stage 'sample': %s has no effect %s", key, why);
		error_hint(&err, "%s", hint);
		error_list_add(c->errors, &err);
	}
}

/* A server behind a url may have been given another model under no name at all. */
static void check_retry(const struct stage_check *c)
{
	const char *writer = definition_writer(c->definition);
	const struct engine_def *e = writer ? definition_engine(c->definition, writer) : NULL;
	if (e && !node_get(e->node, "serve") && !e->config.model) {
		struct error err = {0};
		node_error(&err, c->tree, node_get(c->node, "retry"),
			"stage 'sample': retry cannot tell whether the model of engine '%s' has "
			"changed, since its definition does not name it",
			writer);
		error_hint(&err, "give the engine `model: NAME`, another name for another model");
		error_list_add(c->errors, &err);
	}
}

static void check_rules(const struct draw_rules *rules, const struct stage_check *c)
{
	if (rules->rate_min > rules->rate_max) {
		struct error err = {0};
		node_error(&err, c->tree, node_get(c->node, "pass_rate"),
			"stage 'sample': pass_rate: min %g is above max %g", rules->rate_min,
			rules->rate_max);
		error_list_add(c->errors, &err);
	}
	if (rules->draw != DRAW_WINDOW) {
		has_no_effect(
			c, "unknown", "without draw: window", "set draw: window, or leave it out");
	}
	if (rules->draw == DRAW_ANY && rules->retry) {
		has_no_effect(c, "retry", "with draw: any, which draws every prompt",
			"set draw: new or window, or leave it out");
	} else if (rules->retry) {
		check_retry(c);
	}
	if (rules->draw != DRAW_WINDOW && !rules->retry) {
		has_no_effect(c, "pass_rate", "without draw: window or retry",
			"set draw: window, or leave it out");
	}
}

static void check(const void *config, const struct stage_check *c)
{
	const struct sample_config *sc = config;
	const struct source_config *sources = sc->sources.items;
	const struct node *list = node_get(c->node, "sources");
	struct error err = {0};
	check_rules(&sc->rules, c);
	for (size_t i = 0; i < sc->sources.n; i++) {
		const struct node *at = list && list->kind == NODE_LIST && i < list->n
			? list->items[i]
			: c->node;
		if (!node_get(at, "path") == !node_get(at, "command")) {
			node_error(&err, c->tree, at,
				"stage 'sample': a source needs either `path` or `command`");
			error_list_add(c->errors, &err);
		}
		for (size_t k = 0; k < sources[i].map.n; k++) {
			definition_add_field(c->definition, sources[i].map.keys[k]);
		}
		if (!sources[i].map.n && sources[i].path) {
			learn_fields(c->definition, sources[i].path);
		} else if (!sources[i].map.n) {
			/* Only running the command would tell; or the path is wrong, which has been said. */
			c->definition->fields_open = true;
		}
	}
}

/* The model is known before any server runs: the check has seen to that. */
static bool find_model(const struct definition *def, const struct sample_config *config,
	char out[33], struct error *err)
{
	const char *writer = definition_writer(def);
	const struct engine_def *e = writer ? definition_engine(def, writer) : NULL;
	out[0] = '\0';
	return config->rules.retry == RETRY_NEVER || !e || engine_model_hash(&e->config, out, err);
}

static bool draw(const struct sample_config *config, struct run *run, struct source *sources,
	struct error *err)
{
	size_t n = config->sources.n;
	uint64_t wanted = run->options.limit ? run->options.limit : config->limit;
	size_t limit = wanted ? (size_t)MIN(wanted, DRAW_MAX) : DRAW_MAX;
	struct drawing d = {.rules = &config->rules,
		.history = run->history,
		.seed = hash64(&run->def->seed, sizeof(run->def->seed), (uint64_t)run->number),
		.limit = limit};
	struct template *t = template_read(config->template, err);
	bool ok = t && find_model(run->def, config, d.model_hash, err);
	for (size_t i = 0; ok && i < n; i++) {
		sources[i].config = (const struct source_config *)config->sources.items + i;
		sources[i].name = name_of(sources[i].config);
		if (sources[i].config->command) {
			ok = spool(&sources[i], run, err);
		} else {
			sources[i].path = xstrdup(sources[i].config->path);
		}
		ok = ok && scan(&sources[i], &d, t, err);
	}
	template_free(t);
	if (!ok) {
		return false;
	}
	drop_across_sources(sources, n);
	set_quotas(sources, n, limit);
	order_draw(sources, n);
	/* One transaction: a draw is there as a whole or not at all. */
	ledger_set_commit_rows(run->ledger, UINT_MAX);
	for (size_t i = 0; ok && i < n; i++) {
		ok = store(&sources[i], run, err);
	}
	ledger_set_commit_rows(run->ledger, run->def->ledger.commit_rows);
	return ok;
}

static bool report(struct run *run, const struct source *sources, size_t n, struct error *err)
{
	struct str text;
	str_init(&text, STR_NO_CAP);
	struct json_writer w = {.out = &text};
	json_begin_object(&w);
	for (size_t i = 0; i < n; i++) {
		json_key(&w, sources[i].name);
		json_begin_object(&w);
		json_member_uint(&w, "rows", sources[i].n_rows);
		json_member_uint(&w, "duplicates", sources[i].n_duplicates);
		json_member_uint(&w, "settled_before", sources[i].n_chosen[CHOICE_SETTLED]);
		json_member_uint(&w, "retired", sources[i].n_chosen[CHOICE_RETIRED]);
		json_member_uint(&w, "outside_window", sources[i].n_chosen[CHOICE_OUTSIDE]);
		json_member_uint(&w, "drawn", sources[i].n);
		json_member_uint(&w, "drawn_unknown", sources[i].n_chosen[CHOICE_UNKNOWN]);
		json_member_uint(&w, "drawn_again", sources[i].n_chosen[CHOICE_RETRY]);
		json_end_object(&w);
		log_info("source", "name", sources[i].name, "rows",
			log_fmt("%llu", (unsigned long long)sources[i].n_rows), "duplicates",
			log_fmt("%llu", (unsigned long long)sources[i].n_duplicates),
			"settled_before",
			log_fmt("%llu", (unsigned long long)sources[i].n_chosen[CHOICE_SETTLED]),
			"retired",
			log_fmt("%llu", (unsigned long long)sources[i].n_chosen[CHOICE_RETIRED]),
			"outside_window",
			log_fmt("%llu", (unsigned long long)sources[i].n_chosen[CHOICE_OUTSIDE]),
			"drawn", log_fmt("%zu", sources[i].n), NULL);
	}
	json_end_object(&w);
	bool ok = ledger_set_stage(run->ledger, "sample", false, 0, text.data, err);
	str_release(&text);
	return ok;
}

struct sample_state {
	const struct sample_config *config;
};

static bool open_sample(
	void *state, const void *config, struct run *run UNUSED, struct error *err UNUSED)
{
	((struct sample_state *)state)->config = config;
	return true;
}

static bool run_sample(void *state, struct run *run, struct error *err)
{
	const struct sample_config *config = ((struct sample_state *)state)->config;
	if (ledger_count_prompts(run->ledger) > 0) {
		return true; /* drawn, and killed before the stage was marked as done */
	}
	struct source *sources = xcalloc(config->sources.n, sizeof(*sources));
	bool ok = draw(config, run, sources, err) && report(run, sources, config->sources.n, err);
	for (size_t i = 0; i < config->sources.n; i++) {
		if (sources[i].spooled) {
			unlink(sources[i].path);
		}
		free(sources[i].name);
		free(sources[i].path);
		free(sources[i].entries);
	}
	free(sources);
	return ok;
}

const struct stage_ops sample_stage = {
	.name = "sample",
	.summary = "draws prompts out of JSON lines, seeded, without replacement",
	.params = params,
	.config_size = sizeof(struct sample_config),
	.state_size = sizeof(struct sample_state),
	.check = check,
	.open = open_sample,
	.run = run_sample,
};
