#include "prune.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "ledger/ledger.h"
#include "run.h"
#include "shard/mds_merge.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ASIDE "pruned-" /* in .staging: what is being removed */

static const char *const published[] = {"shards", "meta", "logprobs"};

struct pruning {
	const char *workdir, *pipeline;
	const struct prune_options *options;
	struct prune_result *result;
};

/* --- sizes --- */

static int64_t size_of_file(const char *path)
{
	struct stat st;
	return lstat(path, &st) == 0 && S_ISREG(st.st_mode) ? (int64_t)st.st_size : 0;
}

static int64_t size_of_tree(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	int64_t sum = 0;
	while (dir && (entry = readdir(dir))) {
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) {
			continue;
		}
		AUTO_FREE char *inner = file_join(path, entry->d_name);
		struct stat st;
		bool is_dir = lstat(inner, &st) == 0 && S_ISDIR(st.st_mode);
		sum += is_dir ? size_of_tree(inner) : size_of_file(inner);
	}
	if (dir) {
		closedir(dir);
	}
	return sum;
}

static bool remove_tree(
	const struct pruning *p, const char *path, int64_t *out_bytes, struct error *err)
{
	if (!file_is_dir(path)) {
		return true;
	}
	*out_bytes += size_of_tree(path);
	return p->options->dry || file_remove_tree(path, err);
}

/* --- leftovers --- */

/* Entries of a folder whose names begin so, which are folders themselves. */
static bool remove_matching(
	const struct pruning *p, const char *folder, const char *prefix, struct error *err)
{
	AUTO_FREE char *path = file_join(p->workdir, folder);
	DIR *dir = opendir(path);
	struct dirent *entry;
	bool ok = true;
	while (dir && ok && (entry = readdir(dir))) {
		if (strncmp(entry->d_name, prefix, strlen(prefix)) == 0) {
			AUTO_FREE char *inner = file_join(path, entry->d_name);
			ok = remove_tree(p, inner, &p->result->leftover_bytes, err);
		}
	}
	if (dir) {
		closedir(dir);
	}
	return ok;
}

/* --- shards --- */

static bool merge_others(
	struct mds_merge *merge, const struct json *runs, const char *without, struct error *err)
{
	for (size_t i = 0; i < json_len(runs); i++) {
		const char *name = json_z(json_at(runs, i));
		if (!name || strcmp(name, without) == 0) {
			continue;
		}
		AUTO_JSON struct json *index = mds_merge_read(merge->dir, name, err);
		if (!index) {
			return error_context(err, "folder '%s'", name);
		}
		mds_merge_add(merge, name, index);
	}
	return true;
}

static bool lists(const struct json *runs, const char *id)
{
	for (size_t i = 0; i < json_len(runs); i++) {
		const char *name = json_z(json_at(runs, i));
		if (name && strcmp(name, id) == 0) {
			return true;
		}
	}
	return false;
}

/* The index over all nights must not name what is about to go. */
static bool leave_index(const char *shards, const char *id, struct error *err)
{
	AUTO_FREE char *path = file_join(shards, "index.json");
	struct str text;
	str_init(&text, STR_NO_CAP);
	if (!file_exists(path)) {
		return true;
	}
	AUTO_JSON struct json *index = file_read_regular(path, (size_t)1 << 30, &text, err)
		? json_parse(text.data, text.len, err)
		: NULL;
	str_release(&text);
	if (!index) {
		return error_context(err, "'%s'", path);
	}
	const struct json *facts = json_get(index, "thresh"), *runs = json_get(facts, "runs");
	if (!lists(runs, id)) {
		return true;
	}
	if (json_len(runs) == 1) {
		return unlink(path) == 0 || error_errno(err, "could not remove '%s'", path);
	}
	struct mds_merge merge;
	struct str json;
	mds_merge_init(&merge, shards);
	str_init(&json, STR_NO_CAP);
	bool ok = merge_others(&merge, runs, id, err);
	mds_merge_put_facts(&merge, facts, &json);
	ok = ok && mds_merge_publish(&merge, json.data, err);
	str_release(&json);
	mds_merge_release(&merge);
	return ok;
}

/* Moved aside first: a folder that is half removed must never be taken for a night's. */
static bool remove_published(
	struct pruning *p, const char *folder, struct prune_run *r, struct error *err)
{
	AUTO_FREE char *public = xasprintf("%s/%s/%s", p->workdir, folder, r->id);
	AUTO_FREE char *staging = file_join(p->workdir, ".staging");
	AUTO_FREE char *aside = xasprintf("%s/" ASIDE "%s-%s", staging, folder, r->id);
	if (!file_is_dir(public)) {
		return true;
	}
	r->shard_bytes += size_of_tree(public);
	return p->options->dry ||
		(file_make_dirs(staging, err) && file_remove_tree(aside, err) &&
			file_publish_dir(public, aside, err) && file_remove_tree(aside, err));
}

static bool prune_shards(struct pruning *p, struct prune_run *r, struct error *err)
{
	AUTO_FREE char *shards = file_join(p->workdir, published[0]);
	bool ok = p->options->dry || leave_index(shards, r->id, err);
	for (size_t i = 0; ok && i < ARRAY_LEN(published); i++) {
		ok = remove_published(p, published[i], r, err);
	}
	return ok;
}

/* --- a run --- */

static bool prune_logs(struct pruning *p, struct prune_run *r, struct error *err)
{
	AUTO_FREE char *path = xasprintf("%s/runs/%s", p->workdir, r->id);
	DIR *dir = opendir(path);
	struct dirent *entry;
	bool ok = true;
	while (dir && ok && (entry = readdir(dir))) {
		size_t len = strlen(entry->d_name);
		if (len <= 4 || strcmp(entry->d_name + len - 4, ".log") != 0) {
			continue;
		}
		AUTO_FREE char *log = file_join(path, entry->d_name);
		r->log_bytes += size_of_file(log);
		ok = p->options->dry || unlink(log) == 0 ||
			error_errno(err, "could not remove '%s'", log);
	}
	if (dir) {
		closedir(dir);
	}
	return ok;
}

static bool prune_texts(const struct pruning *p, struct prune_run *r, struct ledger *l,
	const char *path, struct error *err)
{
	int64_t bytes;
	r->ledger_before = r->ledger_after = size_of_file(path);
	if (!ledger_count_prunable(l, &r->n_bodies, &bytes, err)) {
		return false;
	}
	if (p->options->dry) {
		r->ledger_after -= MIN(bytes, r->ledger_after);
		return true;
	}
	return ledger_prune(l, clock_wall_ms(), err);
}

/* A night that has no room to be written anew keeps its holes. It is tried again by the next prune. */
static void compact(const struct pruning *p, struct prune_run *r, struct ledger *l)
{
	struct error err = {0};
	if (p->options->dry) {
		return;
	}
	r->compacted = ledger_compact(l, &err);
	if (!r->compacted) {
		log_warn("the ledger keeps its size", "run", r->id, "error", err.msg, NULL);
	}
}

static bool has_shards(const struct pruning *p, const struct prune_run *r)
{
	for (size_t i = 0; i < ARRAY_LEN(published); i++) {
		AUTO_FREE char *path = xasprintf("%s/%s/%s", p->workdir, published[i], r->id);
		if (file_is_dir(path)) {
			return true;
		}
	}
	return false;
}

static bool prune_old(struct pruning *p, struct prune_run *r, const char *path, struct error *err)
{
	struct ledger *l = ledger_open(path, p->options->dry ? LEDGER_READ : LEDGER_WRITE, err);
	if (!l) {
		return false;
	}
	bool ok = prune_texts(p, r, l, path, err);
	/* Also one whose pruning was stopped before this. */
	if (ok && p->options->shards && !p->options->dry && has_shards(p, r)) {
		ok = ledger_prune_shards(l, clock_wall_ms(), err);
	}
	if (ok && (r->n_bodies || ledger_has_holes(l))) {
		compact(p, r, l);
	}
	ledger_close(l);
	if (ok && !p->options->dry) {
		r->ledger_after = size_of_file(path);
	}
	return ok && prune_logs(p, r, err) && (!p->options->shards || prune_shards(p, r, err));
}

static bool judge(const struct pruning *p, struct prune_run *r, const char *path, struct error *err)
{
	struct arena arena = {0};
	struct ledger *l = ledger_open(path, LEDGER_READ, err);
	if (!l) {
		return false;
	}
	const char *state = ledger_meta(l, "state", &arena),
		   *ended = ledger_meta(l, "ended_ms", &arena),
		   *owner = ledger_meta(l, "pipeline", &arena);
	int64_t ended_ms;
	bool ok = owner && strcmp(owner, p->pipeline) == 0;
	if (!ok) {
		error_set(err, FAIL_DATA, "ledger '%s' belongs to pipeline '%s', not to '%s'", path,
			owner ? owner : "?", p->pipeline);
	} else if (!state || strcmp(state, "finished") != 0 || !ended ||
		!text_parse_i64(ended, &ended_ms)) {
		r->fate = PRUNE_OPEN;
	} else {
		r->fate = ended_ms < p->options->before_ms ? PRUNE_OLD : PRUNE_YOUNG;
	}
	ledger_close(l);
	arena_release(&arena);
	return ok;
}

static bool prune_run(struct pruning *p, struct prune_run *r, struct error *err)
{
	AUTO_FREE char *path = xasprintf("%s/runs/%s/ledger.db", p->workdir, r->id);
	return (judge(p, r, path, err) && (r->fate != PRUNE_OLD || prune_old(p, r, path, err))) ||
		error_context(err, "run '%s'", r->id);
}

/* A damaged ledger must not keep the others from being pruned, night after night. */
static bool leave_alone(struct prune_run *r, const struct error *err)
{
	if (err->kind != FAIL_DATA) {
		return false;
	}
	r->fate = PRUNE_UNREADABLE;
	log_warn("left alone", "error", err->msg, NULL);
	return true;
}

static bool prune_all(struct pruning *p, struct error *err)
{
	struct prune_result *out = p->result;
	char **ids = run_list(p->workdir, &out->n);
	out->runs = xcalloc(MAX(out->n, 1), sizeof(*out->runs));
	for (size_t i = 0; i < out->n; i++) {
		out->runs[i].id = ids[i];
		out->runs[i].fate = PRUNE_YOUNG;
	}
	free(ids);
	bool ok = remove_matching(p, "runs", ".tmp-", err) &&
		remove_matching(p, ".staging", ASIDE, err);
	for (size_t i = 0; ok && i < out->n; i++) {
		ok = prune_run(p, &out->runs[i], err) || leave_alone(&out->runs[i], err);
	}
	out->freed_bytes = out->leftover_bytes;
	for (size_t i = 0; i < out->n; i++) {
		const struct prune_run *r = &out->runs[i];
		out->freed_bytes += r->ledger_before - r->ledger_after + r->log_bytes +
			r->shard_bytes;
	}
	return ok;
}

bool prune(const char *workdir, const char *pipeline, const struct prune_options *options,
	struct prune_result *out, struct error *err)
{
	struct pruning p = {workdir, pipeline, options, out};
	struct file_lock lock = FILE_LOCK_INIT;
	AUTO_FREE char *path = file_join(workdir, ".lock");
	*out = (struct prune_result){0};
	if (!file_is_dir(workdir)) {
		error_set(err, FAIL_IO, "there is no workdir '%s'", workdir);
		return error_hint(err, "nothing was made there yet, so there is nothing to prune");
	}
	if (!file_lock_take(&lock, path, err)) {
		return false;
	}
	bool ok = prune_all(&p, err);
	file_lock_release(&lock);
	return ok;
}

void prune_result_release(struct prune_result *r)
{
	for (size_t i = 0; i < r->n; i++) {
		free(r->runs[i].id);
	}
	free(r->runs);
	*r = (struct prune_result){0};
}
