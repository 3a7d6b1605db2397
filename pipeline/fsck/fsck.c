/* The workdir: its runs one after the other, then what lies beside them. */
#include "fsck/fsck.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/workers.h"
#include "definition.h"
#include "ledger/history.h"
#include "near/near_index.h"
#include "run.h"
#include "shard/mds_merge.h"
#include "shard/mds_read.h"
#include "stage.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

static void tell(struct fsck *f, const struct fsck_fault *fault)
{
	f->n_faults++;
	f->n_repaired += fault->repaired != NULL;
	f->tell(f->ctx, fault);
}

void fsck_tell(struct fsck *f, const char *path, const char *what, const char *remedy)
{
	tell(f, &(struct fsck_fault){path, what, NULL, remedy});
}

void fsck_repaired(struct fsck *f, const char *path, const char *what, const char *how)
{
	tell(f, &(struct fsck_fault){path, what, how, NULL});
}

void fsck_leftover(struct fsck *f, const char *path, const char *what)
{
	struct error err = {0};
	if (!f->repair) {
		fsck_tell(f, path, what, "--repair removes it");
	} else if (file_remove_tree(path, &err)) {
		fsck_repaired(f, path, what, "removed");
	} else {
		fsck_tell(f, path, err.msg, NULL);
	}
}

/* --- beside the runs --- */

static bool is_draft(const char *name)
{
	return strncmp(name, ".tmp-", 5) == 0;
}

static bool has_ledger(const struct fsck *f, const char *id)
{
	AUTO_FREE char *path = xasprintf("%s/runs/%s/ledger.db", f->def->workdir, id);
	return file_exists(path);
}

/* Calls check for each name in WORKDIR/folder but "." and "..". */
static void each_name(struct fsck *f, const char *folder,
	void (*check)(struct fsck *f, const char *folder, const char *name, const char *path))
{
	AUTO_FREE char *dir = file_join(f->def->workdir, folder);
	DIR *d = opendir(dir);
	struct dirent *entry;
	while (d && (entry = readdir(d))) {
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
			AUTO_FREE char *path = file_join(dir, entry->d_name);
			check(f, folder, entry->d_name, path);
		}
	}
	if (d) {
		closedir(d);
	}
}

static void check_run_folder(
	struct fsck *f, const char *folder UNUSED, const char *name, const char *path)
{
	if (is_draft(name)) {
		fsck_leftover(f, path, "left by a run that died while it was being made");
	} else if (file_is_dir(path) && !has_ledger(f, name)) {
		fsck_tell(f, path, "has no ledger", "bring its ledger.db back, or move it away");
	}
}

/* By `inspect --repack`, out of a run's shards: it has no ledger of its own. */
static bool is_remade(const char *path)
{
	struct error err = {0};
	struct mds_reader *r = mds_reader_open(path, &err);
	bool remade = r && json_z(json_get(mds_reader_facts(r), "made_from"));
	mds_reader_close(r);
	return remade;
}

static void check_shards_folder(
	struct fsck *f, const char *folder, const char *name, const char *path)
{
	AUTO_FREE char *shards = xasprintf("%s/shards/%s", f->def->workdir, name);
	if (is_draft(name)) {
		fsck_leftover(f, path, "left by a process that died while it wrote");
	} else if (file_is_dir(path) && !has_ledger(f, name) && is_remade(path)) {
		fsck_shards(f, path);
	} else if (file_is_dir(path) && !has_ledger(f, name)) {
		fsck_tell(f, path, "is of no run: there is no such ledger",
			"move it away, or bring the run's folder back");
	} else if (file_is_dir(path) && strcmp(folder, "shards") != 0 && !file_exists(shards)) {
		fsck_leftover(f, path, "a sidecar of shards that were never published");
	}
}

/* The staging folder of a run that goes on later is its own affair: fsck_run looks at those that are over. */
static void check_staging(
	struct fsck *f, const char *folder UNUSED, const char *name, const char *path)
{
	if (!has_ledger(f, name)) {
		fsck_leftover(f, path, "staged by a run that is not there");
	}
}

/* --- the index over all nights --- */

/* NULL if the index says of the nights that it names what their own indices say, and names the newest; else what is wrong. */
static char *compare_merged(
	const char *dir, const char *text, const struct mds_reader *merged, const char *newest)
{
	const struct json *runs = json_get(mds_reader_facts(merged), "runs");
	struct mds_merge m;
	char *wrong = NULL;
	bool has_newest = false;
	mds_merge_init(&m, dir);
	for (size_t i = 0; i < json_len(runs) && !wrong; i++) {
		const char *name = json_z(json_at(runs, i));
		struct error err = {0};
		AUTO_JSON struct json *index = name ? mds_merge_read(dir, name, &err) : NULL;
		if (index) {
			mds_merge_add(&m, name, index);
			has_newest = has_newest || strcmp(name, newest) == 0;
		} else {
			wrong = xasprintf("names run '%s': %s", name ? name : "?", err.msg);
		}
	}
	if (!wrong && !has_newest) {
		wrong = xasprintf("does not have the newest run '%s'", newest);
	} else if (!wrong && !strstr(text, m.entries.data ? m.entries.data : "")) {
		wrong = xstrdup("does not say what the runs' own indices say");
	}
	mds_merge_release(&m);
	return wrong;
}

static char *merged_fault(const char *dir, const char *path, const char *newest)
{
	struct error err = {0};
	struct str text;
	str_init(&text, MDS_INDEX_BYTES_MAX);
	struct mds_reader *r = mds_reader_open(dir, &err);
	char *wrong = r && file_read(path, MDS_INDEX_BYTES_MAX, &text, &err)
		? compare_merged(dir, text.data, r, newest)
		: xstrdup(err.msg);
	mds_reader_close(r);
	str_release(&text);
	return wrong;
}

/* By the stage that makes it. */
static bool mend(struct fsck *f, const char *newest, struct error *err)
{
	struct run run = {.def = f->def, .id = xstrdup(newest)};
	bool ok = true;
	for (size_t i = 0; ok && i < f->def->n_stages; i++) {
		ok = !f->def->stages[i].ops->mend || f->def->stages[i].ops->mend(&run, err);
	}
	free(run.id);
	return ok;
}

static void check_merged(struct fsck *f, const char *newest)
{
	AUTO_FREE char *dir = file_join(f->def->workdir, "shards");
	AUTO_FREE char *path = file_join(dir, "index.json");
	AUTO_FREE char *wrong = merged_fault(dir, path, newest);
	struct error err = {0};
	if (!wrong) {
		return;
	}
	if (!f->repair) {
		fsck_tell(f, path, wrong, "--repair makes it again");
	} else if (mend(f, newest, &err)) {
		fsck_repaired(f, path, wrong, "made again");
	} else {
		fsck_tell(f, path, err.msg, NULL);
	}
}

/* --- history.db --- */

struct telling {
	struct fsck *f;
	const char *path;
};

static void tell_history(void *ctx, const char *what)
{
	struct telling *t = ctx;
	fsck_tell(t->f, t->path, what, "move it away; --repair makes it again out of the ledgers");
}

static void open_history(struct fsck *f, const char *path, bool any_run)
{
	struct error err = {0};
	bool there = file_exists(path);
	if (!there && !f->repair) {
		if (any_run) {
			fsck_tell(f, path, "is missing",
				"--repair makes it again out of the ledgers");
		}
		return;
	}
	f->history = history_open(path, &err);
	struct telling t = {f, path};
	if (!f->history) {
		tell_history(&t, err.msg);
	} else if (there) {
		history_check_file(f->history, tell_history, &t);
	} else {
		fsck_repaired(f, path, "is missing", "made again");
	}
}

/* --- near duplicates --- */

struct sketches {
	struct fsck *f;
	const char *dir;
};

static void tell_sketches(void *ctx, const char *what)
{
	const struct sketches *s = ctx;
	fsck_tell(s->f, s->dir, what,
		"remove the file; the next run makes it again out of the ledger, if that has its "
		"texts");
}

static void check_sketches(struct fsck *f)
{
	struct error err = {0};
	AUTO_FREE char *dir = file_join(f->def->workdir, "near");
	struct sketches s = {f, dir};
	if (!near_index_check(dir, tell_sketches, &s, &err)) {
		fsck_tell(f, dir, err.msg, NULL);
	}
}

/* --- all --- */

static bool is_asked_for(const char *run_id, const char *id)
{
	return !run_id || strcmp(run_id, id) == 0;
}

static void check_all(struct fsck *f, const char *run_id, char **ids, size_t n)
{
	const char *newest = NULL;
	for (size_t i = 0; i < n; i++) {
		bool published = false;
		if (is_asked_for(run_id, ids[i])) {
			f->n_runs++;
			fsck_run(f, ids[i], &published);
		}
		newest = published ? ids[i] : newest;
	}
	if (run_id) {
		return;
	}
	static const char *const folders[] = {"shards", "meta", "logprobs"};
	each_name(f, "runs", check_run_folder);
	each_name(f, ".staging", check_staging);
	for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
		each_name(f, folders[i], check_shards_folder);
	}
	if (newest) {
		check_merged(f, newest);
	}
	check_sketches(f);
}

bool fsck_workdir(struct fsck *f, const char *run_id, struct error *err)
{
	AUTO_FREE char *lock_path = file_join(f->def->workdir, ".lock");
	AUTO_FREE char *history = file_join(f->def->workdir, "history.db");
	/* Tells of a workdir without runs, or an id that is none of them. */
	AUTO_FREE char *ledger = run_find_ledger(f->def->workdir, run_id, err);
	struct file_lock lock = FILE_LOCK_INIT;
	if (!ledger || !file_lock_take(&lock, lock_path, err)) {
		return false;
	}
	size_t n;
	char **ids = run_list(f->def->workdir, &n);
	f->workers = workers_new(0);
	open_history(f, history, n > 0);
	check_all(f, run_id, ids, n);
	history_close(f->history);
	workers_free(f->workers);
	f->history = NULL;
	f->workers = NULL;
	for (size_t i = 0; i < n; i++) {
		free(ids[i]);
	}
	free(ids);
	file_lock_release(&lock);
	return true;
}
