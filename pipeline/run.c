/*
 * Which run is meant? In this order: the pipeline's open run is resumed; --from re-does a part of the newest run (in place if
 * it is open, else in a copy under a new id, since a finished run is never touched); today's finished run of an unchanged
 * definition means that there is nothing to do; else the next run starts. The lock on the workdir makes the answer stable.
 *
 * Fingerprints: each stage's parameters are stored when it begins and compared when a run is opened again. What was generated under other
 * parameters cannot be reused and a changed definition is refused, with the difference; scores and everything later are
 * made again by themselves.
 */
#include "run.h"

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "gate.h"
#include "ledger/history.h"
#include "ledger/ledger.h"
#include "registry.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define DIFFERENCES_SHOWN 3

uint32_t run_seed(const struct run *run, const char *prompt_id, uint32_t idx)
{
	AUTO_FREE char *key = xasprintf("%llu/%lld/%s", (unsigned long long)run->def->seed,
		(long long)run->number, prompt_id);
	return (uint32_t)(hash64(key, strlen(key), 0) & 0x7fffffff) + idx;
}

/* --- the workdir's runs --- */

static char *ledger_path_of(const char *workdir, const char *id)
{
	return xasprintf("%s/runs/%s/ledger.db", workdir, id);
}

/* "2026-11-24.10" comes after "2026-11-24.9". */
static int compare_ids(const void *a, const void *b)
{
	return strverscmp(*(char *const *)a, *(char *const *)b);
}

char **run_list(const char *workdir, size_t *out_n)
{
	AUTO_FREE char *runs = file_join(workdir, "runs");
	char **ids = NULL;
	size_t n = 0, cap = 0;
	DIR *dir = opendir(runs);
	struct dirent *entry;
	while (dir && (entry = readdir(dir))) {
		AUTO_FREE char *path = ledger_path_of(workdir, entry->d_name);
		if (entry->d_name[0] != '.' && file_exists(path)) {
			ids = array_room(ids, n, &cap, sizeof(*ids));
			ids[n++] = xstrdup(entry->d_name);
		}
	}
	if (dir) {
		closedir(dir);
	}
	if (n) {
		qsort(ids, n, sizeof(*ids), compare_ids);
	}
	*out_n = n;
	return ids;
}

static void free_list(char **ids, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		free(ids[i]);
	}
	free(ids);
}

/* What run_open must know of the runs that are there. */
struct survey {
	char *open_id, *newest_id; /* own; NULL: none */
	bool newest_held; /* by its gate */
	int64_t last_number;
};

static bool survey_runs(
	const char *workdir, const char *pipeline, struct survey *out, struct error *err)
{
	size_t n;
	char **ids = run_list(workdir, &n);
	struct arena arena = {0};
	bool ok = true;
	for (size_t i = 0; ok && i < n; i++) {
		AUTO_FREE char *path = ledger_path_of(workdir, ids[i]);
		struct ledger *l = ledger_open(path, LEDGER_READ, err);
		if (!l) {
			ok = false;
			break;
		}
		const char *owner = ledger_meta(l, "pipeline", &arena),
			   *state = ledger_meta(l, "state", &arena),
			   *number = ledger_meta(l, "number", &arena);
		int64_t value = 0;
		if (!owner || !state || !number || !text_parse_i64(number, &value)) {
			ok = error_set(err, FAIL_DATA, "ledger '%s' is incomplete", path);
		} else if (strcmp(owner, pipeline) != 0) {
			ok = error_set(err, FAIL_DATA,
				"ledger '%s' belongs to pipeline '%s', not to '%s'", path, owner,
				pipeline);
			error_hint(err, "give each pipeline a workdir of its own");
		} else {
			out->last_number = MAX(out->last_number, value);
			free(out->newest_id);
			out->newest_id = xstrdup(ids[i]);
			out->newest_held = strcmp(state, "held") == 0;
			if (strcmp(state, "open") == 0) {
				free(out->open_id);
				out->open_id = xstrdup(ids[i]);
			}
		}
		ledger_close(l);
	}
	arena_release(&arena);
	free_list(ids, n);
	return ok;
}

static void survey_release(struct survey *s)
{
	free(s->open_id);
	free(s->newest_id);
}

char *run_find_ledger(const char *workdir, const char *run_id, struct error *err)
{
	size_t n;
	char **ids = run_list(workdir, &n);
	char *path = NULL;
	if (!n) {
		error_set(err, FAIL_IO, "there is no run in '%s' yet", workdir);
		error_hint(err, "`thresh run PIPELINE` starts one");
	} else if (!run_id) {
		path = ledger_path_of(workdir, ids[n - 1]);
	} else {
		for (size_t i = 0; i < n && !path; i++) {
			path = strcmp(ids[i], run_id) == 0 ? ledger_path_of(workdir, run_id) : NULL;
		}
		if (!path) {
			error_set(err, FAIL_USAGE, "there is no run '%s' in '%s'", run_id, workdir);
			const char *nearest = text_nearest(run_id, (const char *const *)ids, n);
			error_hint(err, "the newest is '%s'%s%s", ids[n - 1],
				nearest ? "; did you mean " : "", nearest ? nearest : "");
		}
	}
	free_list(ids, n);
	return path;
}

/* DATE.N with the first N that is free. */
static char *next_id(const char *workdir)
{
	char date[11];
	clock_date(clock_wall_ms(), date);
	for (unsigned n = 1;; n++) {
		char *id = xasprintf("%s.%u", date, n);
		AUTO_FREE char *dir = xasprintf("%s/runs/%s", workdir, id);
		if (!file_exists(dir)) {
			return id;
		}
		free(id);
	}
}

static bool is_of_today(const char *id)
{
	char date[11];
	clock_date(clock_wall_ms(), date);
	return strncmp(id, date, strlen(date)) == 0;
}

static bool ends_in_json(const char *id, size_t len)
{
	static const char ending[] = ".json";
	return len >= strlen(ending) && strcasecmp(id + len - strlen(ending), ending) == 0;
}

/*
 * A run's id becomes the name of folders. Beside them stand index.json, which is that of all nights, and hidden temporaries;
 * trainers read whatever ends in .json.
 */
static bool check_id(const char *id, struct error *err)
{
	size_t len = strlen(id);
	const char *why = NULL;
	if (!len) {
		why = "it is empty";
	} else if (len > 64) {
		why = "it is longer than 64 characters";
	} else if (id[0] == '.' || id[0] == '-') {
		why = "it begins with '.' or '-'";
	} else if (strspn(id,
			   "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") !=
		len) {
		why = "it has a character that is no letter, digit, '.', '_' or '-'";
	} else if (ends_in_json(id, len)) {
		why = "it ends in .json, as the index beside the runs' folders does";
	}
	if (!why) {
		return true;
	}
	error_set(err, FAIL_USAGE, "'%s' cannot be a run id: %s", id, why);
	return error_hint(
		err, "--run-id takes up to 64 letters, digits, '.', '_' and '-', as in night-1");
}

/* --- fingerprints --- */

struct store {
	struct ledger *ledger;
	const char *stage;
	struct error *err;
	bool ok;
};

static void store_one(void *ctx, const char *path, const char *value)
{
	struct store *s = ctx;
	s->ok = s->ok && ledger_set_fingerprint(s->ledger, s->stage, path, value, s->err);
}

/* A fingerprint of which a kill left the half would look like a changed definition, so its rows are committed together. */
static void commit_together(struct run *run, bool together)
{
	ledger_set_commit_rows(run->ledger, together ? UINT_MAX : run->def->ledger.commit_rows);
}

bool run_store_fingerprint(struct run *run, const struct stage_def *stage, struct error *err)
{
	struct store s = {run->ledger, stage->ops->name, err, true};
	commit_together(run, true);
	s.ok = ledger_clear_fingerprint(run->ledger, stage->ops->name, err);
	definition_fingerprint(run->def, stage, store_one, &s);
	commit_together(run, false);
	return s.ok;
}

struct pair {
	const char *path, *value;
	bool seen;
};

/* Differences between what is stored and what is now, as text for people. */
struct comparison {
	struct arena arena;
	struct pair *stored;
	size_t n, cap;
	size_t n_different;
	struct str text;
};

static void collect_stored(void *ctx, const char *path, const char *value)
{
	struct comparison *c = ctx;
	c->stored = array_room(c->stored, c->n, &c->cap, sizeof(*c->stored));
	c->stored[c->n++] = (struct pair){
		arena_strdup(&c->arena, path), arena_strdup(&c->arena, value), false};
}

static void difference(struct comparison *c, const char *path, const char *before, const char *now)
{
	if (c->n_different++ < DIFFERENCES_SHOWN) {
		str_printf(&c->text, "%s%s changed from %s to %s", c->text.len ? ", " : "", path,
			before && before[0] ? before : "nothing", now && now[0] ? now : "nothing");
	}
}

static void compare_one(void *ctx, const char *path, const char *value)
{
	struct comparison *c = ctx;
	for (size_t i = 0; i < c->n; i++) {
		if (strcmp(c->stored[i].path, path) == 0) {
			c->stored[i].seen = true;
			if (strcmp(c->stored[i].value, value) != 0) {
				difference(c, path, c->stored[i].value, value);
			}
			return;
		}
	}
	difference(c, path, NULL, value);
}

/* False if nothing is stored for the stage, or nothing differs. */
static bool differs(struct run *run, const struct stage_def *stage, struct comparison *c)
{
	*c = (struct comparison){0};
	str_init(&c->text, 512);
	ledger_each_fingerprint(run->ledger, stage->ops->name, collect_stored, c);
	if (!c->n) {
		return false;
	}
	definition_fingerprint(run->def, stage, compare_one, c);
	for (size_t i = 0; i < c->n; i++) {
		if (!c->stored[i].seen) {
			difference(c, c->stored[i].path, c->stored[i].value, NULL);
		}
	}
	if (c->n_different > DIFFERENCES_SHOWN) {
		str_printf(&c->text, " and %zu more", c->n_different - DIFFERENCES_SHOWN);
	}
	return c->n_different > 0;
}

static void comparison_release(struct comparison *c)
{
	free(c->stored);
	arena_release(&c->arena);
	str_release(&c->text);
}

/* A model is known by its hash, and told by its name. */
static void compare_model(
	struct comparison *c, const char *name_before, const char *hash, const char *name)
{
	const char *before = "";
	for (size_t i = 0; i < c->n; i++) {
		before = strcmp(c->stored[i].path, "model") == 0 ? c->stored[i].value : before;
	}
	if (strcmp(before, hash) != 0) {
		AUTO_FREE char *was = xasprintf("'%s' (%.8s)", name_before, before);
		AUTO_FREE char *is = xasprintf("'%s' (%.8s)", name, hash);
		difference(c, "model", was, is);
	}
}

static bool store_engine(
	struct run *run, const char *stage, const struct pair *facts, size_t n, struct error *err)
{
	bool ok = true;
	for (size_t i = 0; ok && i < n; i++) {
		ok = ledger_set_fingerprint(run->ledger, stage, facts[i].path, facts[i].value, err);
	}
	return ok;
}

bool run_check_engine(
	struct run *run, const char *name, const struct engine_info *info, struct error *err)
{
	AUTO_FREE char *stage = xasprintf("engine:%s", name);
	AUTO_FREE char *model_key = xasprintf("engine.%s.model", name);
	AUTO_FREE char *can = xasprintf("ids %s, logprobs %s, n %s, seeds %s",
		info->has_ids ? "yes" : "no", info->has_logprobs ? "yes" : "no",
		info->has_n ? "yes" : "no", info->has_seed ? "yes" : "no");
	const char *model = info->model ? info->model : "";
	const struct pair now[] = {{"dialect", info->dialect, false}, {"can", can, false},
		{"chat_template", info->chat_template_hash, false},
		{"model", info->model_hash, false}};
	struct comparison c = {0};
	str_init(&c.text, 512);
	ledger_each_fingerprint(run->ledger, stage, collect_stored, &c);
	bool first = c.n == 0;
	if (!first) {
		const char *before = ledger_meta(run->ledger, model_key, &c.arena);
		compare_model(&c, before ? before : "", info->model_hash, model);
		for (size_t i = 0; i < ARRAY_LEN(now) - 1; i++) {
			compare_one(&c, now[i].path, now[i].value);
		}
	}
	bool ok = !c.n_different ||
		error_set(err, FAIL_REMOTE,
			"engine '%s' is not the one that this run began with: %s", name,
			c.text.data);
	if (!ok) {
		error_hint(err,
			"bring the old one back, or start a new run: thresh run --run-id NAME");
	}
	commit_together(run, true);
	ok = ok && (!first || store_engine(run, stage, now, ARRAY_LEN(now), err)) &&
		ledger_set_meta(run->ledger, model_key, model, err) &&
		ledger_set_meta(run->ledger, log_fmt("engine.%s.build", name),
			info->build ? info->build : "", err);
	commit_together(run, false);
	comparison_release(&c);
	return ok;
}

/* --- opening --- */

static bool open_ledger(struct run *run, struct error *err)
{
	struct arena arena = {0};
	run->ledger = ledger_open(run->ledger_path, LEDGER_WRITE, err);
	const char *number = run->ledger ? ledger_meta(run->ledger, "number", &arena) : NULL;
	bool ok = number && text_parse_i64(number, &run->number);
	arena_release(&arena);
	return ok ||
		(run->ledger &&
			error_set(err, FAIL_DATA, "ledger '%s' is incomplete", run->ledger_path));
}

static bool create_ledger(struct run *run, struct error *err)
{
	char number[24], started[24];
	snprintf(number, sizeof(number), "%lld", (long long)run->number);
	snprintf(started, sizeof(started), "%lld", (long long)clock_wall_ms());
	/* A folder that is half made would stand in the way of every later run, so it gets its name when it is whole. */
	AUTO_FREE char *temp = xasprintf("%s/runs/.tmp-%s", run->def->workdir, run->id);
	AUTO_FREE char *temp_ledger = file_join(run->options.dry ? run->dir : temp, "ledger.db");
	if (!run->options.dry && (!file_remove_tree(temp, err) || !file_make_dirs(temp, err))) {
		return false;
	}
	run->ledger = ledger_open(temp_ledger, LEDGER_CREATE, err);
	bool ok = run->ledger && ledger_set_meta(run->ledger, "pipeline", run->def->name, err) &&
		ledger_set_meta(run->ledger, "run", run->id, err) &&
		ledger_set_meta(run->ledger, "number", number, err) &&
		ledger_set_meta(run->ledger, "state", "open", err) &&
		ledger_set_meta(run->ledger, "thresh", THRESH_VERSION, err) &&
		ledger_set_meta(run->ledger, "started_ms", started, err) &&
		ledger_flush(run->ledger, err);
	if (!ok || run->options.dry) {
		return ok;
	}
	ledger_close(run->ledger);
	run->ledger = NULL;
	return file_publish_dir(temp, run->dir, err) && open_ledger(run, err);
}

static void set_id(struct run *run, char *taken_id)
{
	free(run->id);
	free(run->dir);
	free(run->ledger_path);
	run->id = taken_id;
	run->dir = xasprintf("%s/runs/%s", run->def->workdir, run->id);
	run->ledger_path = xasprintf("%s/ledger.db", run->dir);
}

/* A fingerprint's rows, of the ledger or of the definition. */
struct rows {
	struct arena arena;
	struct pair *list; /* owns */
	size_t n, cap;
};

static void collect_row(void *ctx, const char *path, const char *value)
{
	struct rows *r = ctx;
	r->list = array_room(r->list, r->n, &r->cap, sizeof(*r->list));
	r->list[r->n++] = (struct pair){
		arena_strdup(&r->arena, path), arena_strdup(&r->arena, value), false};
}

static void rows_release(struct rows *r)
{
	free(r->list);
	arena_release(&r->arena);
}

/* Whether a row says what the verifier's score is; `when` says who is asked, which is asked anew in any case. */
static bool is_of(const struct pair *row, const char *verifier)
{
	size_t len = strlen(verifier);
	return strncmp(row->path, verifier, len) == 0 && row->path[len] == '.' &&
		strcmp(row->path + len, ".when") != 0;
}

static bool has_row(const struct rows *r, const struct pair *row)
{
	for (size_t i = 0; i < r->n; i++) {
		if (strcmp(r->list[i].path, row->path) == 0) {
			return strcmp(r->list[i].value, row->value) == 0;
		}
	}
	return false;
}

/* All of a's rows of the verifier are in b; how many there are is added up. */
static bool covers(const struct rows *a, const struct rows *b, const char *verifier, size_t *n)
{
	for (size_t i = 0; i < a->n; i++) {
		if (is_of(&a->list[i], verifier)) {
			(*n)++;
			if (!has_row(b, &a->list[i])) {
				return false;
			}
		}
	}
	return true;
}

/*
 * The verifiers whose own parameters are what they were when the ledger's scores were made, as a JSON list: their scores
 * stay. A group's score rests on the others', so it is made again.
 */
static void list_unchanged(struct run *run, const struct stage_def *stage, struct str *out)
{
	struct rows stored = {0}, now = {0};
	struct json_writer w = {.out = out};
	struct str again;
	str_init(&again, 512);
	ledger_each_fingerprint(run->ledger, stage->ops->name, collect_row, &stored);
	definition_fingerprint(run->def, stage, collect_row, &now);
	json_begin_array(&w);
	for (size_t i = 0; i < run->def->n_verifiers; i++) {
		const struct verifier_def *v = &run->def->verifiers[i];
		size_t n = 0;
		if (!verifier_is_of_group(v) && covers(&stored, &now, v->name, &n) && n &&
			covers(&now, &stored, v->name, &n)) {
			json_put_z(&w, v->name);
		} else {
			str_printf(&again, "%s%s", again.len ? " " : "", v->name);
		}
	}
	json_end_array(&w);
	log_info("scores of unchanged verifiers stay", "unchanged", out->data, "again",
		again.len ? again.data : "none", NULL);
	str_release(&again);
	rows_release(&stored);
	rows_release(&now);
}

static bool reset_verify(struct run *run, const struct stage_def *stage, struct error *err)
{
	struct str keep;
	str_init(&keep, STR_NO_CAP);
	list_unchanged(run, stage, &keep);
	/*
	 * The fingerprint follows at once: scores that stay must never stand beside that of another definition. A kill in between leaves
	 * the old one, with which the same scores stay.
	 */
	bool ok = ledger_reset_verify(run->ledger, keep.data, err) &&
		run_store_fingerprint(run, stage, err);
	str_release(&keep);
	return ok;
}

/* Opens all that must be redone from `stage` on. */
static bool reset_from(struct run *run, const struct stage_def *stage, struct error *err)
{
	bool from_flow = stage->ops->submit != NULL;
	if (!ledger_keep_selection(run->ledger, err)) {
		return false;
	}
	if (!(from_flow ? reset_verify(run, stage, err) : stage->ops->reset(run->ledger, err))) {
		return false;
	}
	for (const struct stage_def *s = stage; s < run->def->stages + run->def->n_stages; s++) {
		if (!ledger_set_stage(run->ledger, s->ops->name, false, 0, NULL, err) ||
			(!s->ops->submit &&
				!ledger_clear_fingerprint(run->ledger, s->ops->name, err))) {
			return false;
		}
	}
	return ledger_clear_meta(run->ledger, "figures", err) &&
		ledger_clear_meta(run->ledger, "gate", err) &&
		ledger_set_meta(run->ledger, "state", "open", err) &&
		ledger_flush(run->ledger, err);
}

/* An open run whose shards are public was killed right before it was marked as finished. */
static bool is_published(const struct run *run, const char *id)
{
	AUTO_FREE char *shards = xasprintf("%s/shards/%s", run->def->workdir, id);
	return file_exists(shards);
}

bool run_is_published(const struct run *run)
{
	return is_published(run, run->id);
}

/* With --from, nothing before that stage may have changed: what it rests on would not be what the definition says. */
static bool check_unchanged(struct run *run, const struct stage_def *from, struct error *err)
{
	bool ok = true;
	for (const struct stage_def *s = run->def->stages; ok && s != from; s++) {
		struct comparison c;
		if (differs(run, s, &c)) {
			ok = error_set(err, FAIL_CONFIG,
				"run '%s': stage '%s': %s: nothing it has made can be reused",
				run->id, s->ops->name, c.text.data);
			error_hint(err,
				s->ops->submit ? "use --from %s"
					       : "take the change back, or start a new run",
				s->ops->name);
		}
		comparison_release(&c);
	}
	return ok;
}

/* A resume: a change in what generates is refused, anything later is made again from the first changed stage on. */
static bool reconcile(struct run *run, struct error *err)
{
	bool published = is_published(run, run->id);
	for (const struct stage_def *s = run->def->stages;
		s < run->def->stages + run->def->n_stages; s++) {
		struct comparison c;
		/* A stage that had no part in what is public must not have one afterwards. */
		bool changed = differs(run, s, &c) || (published && !c.n), ok = true;
		if (changed && (s->ops->plan || s == run->def->stages)) {
			ok = error_set(err, FAIL_CONFIG,
				"run '%s': stage '%s': %s: nothing it has made can be reused",
				run->id, s->ops->name, c.text.data);
			error_hint(err,
				"take the change back to finish this run, or begin another: thresh "
				"run --run-id NAME");
		} else if (changed && published) {
			ok = error_set(err, FAIL_CONFIG,
				"run '%s' has published its shards, and stage '%s' has changed "
				"since: %s",
				run->id, s->ops->name, c.text.len ? c.text.data : "it is new");
			error_hint(err,
				"take the change back and run once more, then --from %s makes a "
				"run of its own",
				s->ops->name);
		} else if (changed) {
			log_info("the definition changed, doing again what depends on it", "stage",
				s->ops->name, "change", c.text.data, NULL);
			ok = reset_from(run, s, err);
		}
		comparison_release(&c);
		if (!ok || changed) {
			return ok;
		}
	}
	return true;
}

static const struct stage_def *find_from(const struct run *run, struct error *err)
{
	const struct stage_def *s = definition_stage(run->def, run->options.from);
	if (!s) {
		error_set(err, FAIL_USAGE, "--from %s: the pipeline has no such stage",
			run->options.from);
	} else if (s->ops->plan || s == run->def->stages) {
		error_set(
			err, FAIL_USAGE, "--from %s: this would generate again", run->options.from);
		error_hint(err, "a new run does that: thresh run --run-id NAME");
		s = NULL;
	}
	return s;
}

static bool prepare_workdir(struct run *run, struct error *err)
{
	const char *workdir = run->def->workdir;
	AUTO_FREE char *runs = file_join(workdir, "runs");
	AUTO_FREE char *lock = file_join(workdir, ".lock");
	if (!file_make_dirs(runs, err)) {
		return false;
	}
	const char *fs = file_unsafe_fs(workdir);
	if (fs) {
		error_set(err, FAIL_IO,
			"workdir '%s' is on a network file system (%s), where the ledger would not "
			"be safe",
			workdir, fs);
		return error_hint(
			err, "use a local disk for workdir and copy the shards afterwards");
	}
	if (access(workdir, W_OK) < 0 || access(runs, W_OK) < 0) {
		error_errno(err, "workdir '%s' is not writable", workdir);
		return error_hint(err, "choose another `workdir`, or change its owner");
	}
	return file_lock_take(&run->lock, lock, err);
}

/* What makes a copy a run of its own, open from `from` on. */
static bool begin_copy(struct run *run, const char *path, const char *newest,
	const struct stage_def *from, struct error *err)
{
	run->ledger = ledger_open(path, LEDGER_WRITE, err);
	bool ok = run->ledger && ledger_set_meta(run->ledger, "run", run->id, err) &&
		ledger_set_meta(run->ledger, "made_from", newest, err) &&
		reset_from(run, from, err);
	ledger_close(run->ledger);
	run->ledger = NULL;
	return ok;
}

static bool copy_run(
	struct run *run, const char *newest, const struct stage_def *from, struct error *err)
{
	AUTO_FREE char *old_vocab = xasprintf("%s/runs/%s/vocab.zst", run->def->workdir, newest);
	set_id(run,
		run->options.run_id ? xstrdup(run->options.run_id) : next_id(run->def->workdir));
	if (file_exists(run->ledger_path)) {
		return error_set(err, FAIL_USAGE, "run '%s' is already there", run->id);
	}
	/* The copy gets its name when it is complete and open again: a crash leaves neither half a run nor one that seems done. */
	AUTO_FREE char *temp = xasprintf("%s/runs/.tmp-%s", run->def->workdir, run->id);
	AUTO_FREE char *temp_ledger = file_join(temp, "ledger.db");
	if (!file_remove_tree(temp, err) || !file_make_dirs(temp, err)) {
		return false;
	}
	bool ok = ledger_copy(run->ledger, temp_ledger, err);
	ledger_close(run->ledger);
	run->ledger = NULL;
	if (ok && file_exists(old_vocab)) {
		struct str bytes;
		str_init(&bytes, 256 << 20);
		ok = file_read(old_vocab, 256 << 20, &bytes, err) &&
			file_publish(temp, "vocab.zst", bytes.data, bytes.len, err);
		str_release(&bytes);
	}
	return ok && begin_copy(run, temp_ledger, newest, from, err) &&
		file_publish_dir(temp, run->dir, err) && open_ledger(run, err);
}

/* What is made again from `from` on must have its texts: pack takes those of the chosen, which are kept. */
static bool check_not_pruned(struct run *run, const struct stage_def *from, struct error *err)
{
	struct ledger_pruned pruned;
	ledger_pruned(run->ledger, &pruned);
	if (!pruned.at_ms || from == &run->def->stages[run->def->n_stages - 1]) {
		return true;
	}
	char date[11];
	clock_date(pruned.at_ms, date);
	error_set(err, FAIL_CONFIG,
		"run '%s' was pruned on %s: the texts of %lld candidates are gone, and --from %s "
		"needs them",
		run->id, date, (long long)pruned.n_bodies, from->ops->name);
	return error_hint(err, "--from %s works, with what was selected then; or take a later run",
		run->def->stages[run->def->n_stages - 1].ops->name);
}

static bool nothing_changed(struct run *run)
{
	bool same = true;
	for (size_t i = 0; same && i < run->def->n_stages; i++) {
		struct comparison c;
		same = !differs(run, &run->def->stages[i], &c);
		comparison_release(&c);
	}
	return same;
}

static bool is_held(struct run *run)
{
	struct arena arena = {0};
	const char *state = ledger_meta(run->ledger, "state", &arena);
	bool held = state && strcmp(state, "held") == 0;
	arena_release(&arena);
	return held;
}

/* A run whose gate said no is opened again once the answer may be another; else it stays what it is. */
static enum run_opened choose_held(struct run *run, struct error *err)
{
	if (!run->options.no_gate && !gate_changed(run) && nothing_changed(run)) {
		return RUN_HELD;
	}
	run->resumed = true;
	/* Reconciled first: a change that is refused leaves it held. */
	return reconcile(run, err) && ledger_set_meta(run->ledger, "state", "open", err)
		? RUN_OPENED
		: RUN_FAILED;
}

static enum run_opened choose(struct run *run, const struct survey *s, struct error *err)
{
	const char *wanted = run->options.run_id;
	if (run->options.from) {
		const struct stage_def *from = find_from(run, err);
		if (!from) {
			return RUN_FAILED;
		}
		if (!s->newest_id) {
			error_set(err, FAIL_USAGE, "--from %s: there is no run yet",
				run->options.from);
			return RUN_FAILED;
		}
		/* Nothing of an open or a held run is public, so nothing of it need stay. */
		bool of_held = s->newest_held && (!wanted || strcmp(wanted, s->newest_id) == 0);
		const char *unpublished = s->open_id ? s->open_id : of_held ? s->newest_id : NULL;
		bool in_place = unpublished && !is_published(run, unpublished);
		set_id(run, xstrdup(in_place ? unpublished : s->newest_id));
		run->resumed = in_place;
		/* Checked before a copy is made: a refused command leaves nothing behind. */
		if (!open_ledger(run, err) || !check_unchanged(run, from, err) ||
			!check_not_pruned(run, from, err) ||
			!(in_place ? reset_from(run, from, err)
				   : copy_run(run, s->newest_id, from, err))) {
			return RUN_FAILED;
		}
		return RUN_OPENED;
	}
	const char *resume = s->open_id && (!wanted || strcmp(wanted, s->open_id) == 0) ? s->open_id
											: NULL;
	if (resume) {
		set_id(run, xstrdup(resume));
		run->resumed = true;
		return open_ledger(run, err) && reconcile(run, err) ? RUN_OPENED : RUN_FAILED;
	}
	AUTO_FREE char *wanted_path = wanted ? ledger_path_of(run->def->workdir, wanted) : NULL;
	const char *done = wanted
		? (file_exists(wanted_path) ? wanted : NULL)
		: (s->newest_id && is_of_today(s->newest_id) && !run->options.start_next
				  ? s->newest_id
				  : NULL);
	if (done) {
		set_id(run, xstrdup(done));
		if (!open_ledger(run, err)) {
			return RUN_FAILED;
		}
		if (is_held(run)) {
			return choose_held(run, err);
		}
		if (wanted || nothing_changed(run)) {
			return RUN_ALREADY_DONE;
		}
		ledger_close(run->ledger);
		run->ledger = NULL;
	}
	if (s->newest_held && !done) {
		log_warn("the run before this one is held back by its gate and stays so", "before",
			s->newest_id, "to_publish_it",
			log_fmt("--run-id %s --no-gate", s->newest_id), NULL);
	}
	run->number = MAX(s->last_number, history_last_number(run->history)) + 1;
	set_id(run, wanted ? xstrdup(wanted) : next_id(run->def->workdir));
	return create_ledger(run, err) ? RUN_OPENED : RUN_FAILED;
}

static bool open_dry(struct run *run, struct error *err)
{
	AUTO_FREE char *history = file_join(run->def->workdir, "history.db");
	char *dir = xasprintf("%s/thresh-dry-XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
	if (!mkdtemp(dir)) {
		error_errno(err, "could not make a temporary folder '%s'", dir);
		free(dir);
		return false;
	}
	run->id = xstrdup("dry-run");
	run->dir = dir;
	run->ledger_path = file_join(dir, "ledger.db");
	run->number = 1;
	AUTO_FREE char *own_history = file_join(dir, "history.db");
	run->history = history_open(file_exists(history) ? history : own_history, err);
	return run->history && create_ledger(run, err);
}

enum run_opened run_open(struct run *run, struct definition *def, const struct run_options *options,
	struct error *err)
{
	*run = (struct run){.def = def, .options = *options, .lock = FILE_LOCK_INIT};
	columns_init(&run->columns, def);
	if (options->run_id && !check_id(options->run_id, err)) {
		return RUN_FAILED;
	}
	if (def->accept) {
		run->accept = expr_new(
			def->accept, run->columns.list, run->columns.n_of_candidate, err);
		if (!run->accept) {
			return RUN_FAILED;
		}
	}
	if (options->dry) {
		return open_dry(run, err) ? RUN_OPENED : RUN_FAILED;
	}
	if (!prepare_workdir(run, err)) {
		return RUN_FAILED;
	}
	AUTO_FREE char *history = file_join(def->workdir, "history.db");
	run->history = history_open(history, err);
	if (!run->history) {
		return RUN_FAILED;
	}
	struct survey s = {0};
	enum run_opened opened = survey_runs(def->workdir, def->name, &s, err)
		? choose(run, &s, err)
		: RUN_FAILED;
	survey_release(&s);
	if (opened == RUN_OPENED) {
		ledger_set_commit_rows(run->ledger, def->ledger.commit_rows);
	}
	return opened;
}

bool run_discard(struct run *run, struct error *err)
{
	ledger_close(run->ledger);
	run->ledger = NULL;
	return file_remove_tree(run->dir, err);
}

void run_release(struct run *run)
{
	ledger_close(run->ledger);
	history_close(run->history);
	if (run->options.dry && run->dir) {
		struct error ignored;
		(void)!file_remove_tree(run->dir, &ignored);
	}
	file_lock_release(&run->lock);
	expr_free(run->accept);
	columns_release(&run->columns);
	free(run->engines);
	free(run->id);
	free(run->dir);
	free(run->ledger_path);
	*run = (struct run){.lock = FILE_LOCK_INIT};
}

struct engine *run_engine(const struct run *run, const char *name)
{
	for (size_t i = 0; run->engines && i < run->def->n_engines; i++) {
		if (strcmp(run->def->engines[i].config.name, name) == 0) {
			return run->engines[i];
		}
	}
	return NULL;
}
