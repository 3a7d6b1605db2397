/* One run: its ledger by itself, its folders against it, its record in the history. */
#include "fsck/fsck.h"

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "definition.h"
#include "inspect/inspect_ledger.h"
#include "ledger/history.h"
#include "ledger/ledger.h"
#include "shard/mds_read.h"
#include "shard/vocab.h"
#include "summary.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct checking {
	struct fsck *f;
	const char *id;
	const char *path; /* of what is looked at: ledger or folder */
	struct ledger *ledger;
	struct arena arena;
	bool finished, published;
};

static const char pack_again[] =
	"thresh run PIPELINE --from pack makes them again, in a run of its own";

static void tell_ledger(void *ctx, const char *what)
{
	const struct checking *c = ctx;
	fsck_tell(c->f, c->path, what, "keep it; a copy of the workdir may have a sound one");
}

/* --- the ledger --- */

/* False: there is nothing to hold the folders against. */
static bool check_ledger(struct checking *c)
{
	struct error err = {0};
	uint64_t before = c->f->n_faults;
	const char *owner = ledger_meta(c->ledger, "pipeline", &c->arena);
	ledger_check_file(c->ledger, tell_ledger, c);
	if (c->f->n_faults != before) {
		return false; /* what a damaged file says more is worth nothing */
	}
	if (!owner || strcmp(owner, c->f->def->name) != 0) {
		AUTO_FREE char *what = xasprintf("belongs to pipeline '%s', not to '%s'",
			owner ? owner : "?", c->f->def->name);
		fsck_tell(c->f, c->path, what, "give each pipeline a workdir of its own");
	}
	struct ledger_bodies n = {0};
	if (!ledger_each_mismatch(c->ledger, tell_ledger, c, &err) ||
		!ledger_check_bodies(c->ledger, tell_ledger, c, &n, &err)) {
		tell_ledger(c, err.msg);
		return false;
	}
	c->f->n_candidates += (uint64_t)n.n_bodies;
	return true;
}

/* --- its folders --- */

static void tell_fault(void *ctx, const struct mds_fault *fault)
{
	const struct checking *c = ctx;
	struct str path;
	str_init(&path, STR_NO_CAP);
	str_printf(&path, "%s/%s", c->path, fault->file);
	const struct {
		const char *name;
		int64_t value;
	} places[] = {{"frame", fault->frame}, {"sample", fault->sample}, {"byte", fault->offset}};
	for (size_t i = 0; i < ARRAY_LEN(places); i++) {
		if (places[i].value >= 0) {
			str_printf(&path, ", %s %" PRId64, places[i].name, places[i].value);
		}
	}
	fsck_tell(c->f, path.data, fault->what, pack_again);
	str_release(&path);
}

static bool is_named(const struct mds_reader *r, const char *name)
{
	/* One made out of several folders has a manifest of each. */
	if (strcmp(name, "index.json") == 0 || strcmp(name, "vocab.zst") == 0 ||
		strncmp(name, "manifest.", 9) == 0) {
		return true;
	}
	for (size_t s = 0; s < mds_reader_n_shards(r); s++) {
		const struct mds_read_shard *shard = mds_reader_shard(r, s);
		if (strcmp(name, shard->zip_name ? shard->zip_name : shard->raw_name) == 0) {
			return true;
		}
	}
	return false;
}

static void check_others(struct checking *c, const struct mds_reader *r)
{
	DIR *d = opendir(c->path);
	struct dirent *entry;
	while (d && (entry = readdir(d))) {
		const char *name = entry->d_name;
		AUTO_FREE char *path = file_join(c->path, name);
		if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || is_named(r, name)) {
			continue;
		}
		if (strncmp(name, ".tmp-", 5) == 0) {
			fsck_leftover(c->f, path, "left by a process that died while it wrote");
		} else {
			fsck_tell(c->f, path, "is not named by the folder's index", "move it away");
		}
	}
	if (d) {
		closedir(d);
	}
}

static void check_vocab(struct checking *c)
{
	struct error err = {0};
	AUTO_FREE char *path = file_join(c->path, "vocab.zst");
	struct vocab *v = file_exists(path) ? vocab_read(c->path, &err) : NULL;
	if (!v && file_exists(path)) {
		fsck_tell(c->f, path, err.msg, pack_again);
	}
	vocab_free(v);
}

void fsck_shards(struct fsck *f, const char *dir)
{
	struct checking c = {.f = f, .path = dir};
	struct error err = {0};
	uint64_t before = f->n_faults;
	struct mds_reader *r = mds_reader_open(dir, &err);
	if (!r) {
		AUTO_FREE char *index = file_join(dir, "index.json");
		fsck_tell(f, index, err.msg, pack_again);
		return;
	}
	struct mds_verifier *v = mds_verifier_new(r, f->workers, tell_fault, &c);
	for (size_t s = 0; s < mds_reader_n_shards(r); s++) {
		mds_verifier_shard(v, s);
	}
	mds_verifier_free(v);
	f->n_shards += mds_reader_n_shards(r);
	check_vocab(&c);
	check_others(&c, r);
	bool compared;
	/* What is damaged differs from the ledger anyway. */
	if (f->n_faults == before && !inspect_ledger(dir, tell_fault, &c, &compared, &err)) {
		fsck_tell(f, dir, err.msg, NULL);
	}
	mds_reader_close(r);
}

static void check_folder(struct checking *c, const char *folder)
{
	struct error err = {0};
	struct ledger_shard *shards;
	size_t n;
	if (!ledger_get_shards(c->ledger, folder, &shards, &n, &err)) {
		tell_ledger(c, err.msg);
		return;
	}
	free(shards);
	AUTO_FREE char *dir = xasprintf("%s/%s/%s", c->f->def->workdir, folder, c->id);
	struct ledger_pruned pruned;
	ledger_pruned(c->ledger, &pruned);
	if (n && !file_is_dir(dir) && pruned.shards) {
		/* Taken away on purpose. */
	} else if (n && !file_is_dir(dir)) {
		AUTO_FREE char *what = xasprintf(
			"is missing: the ledger recorded %zu shards in it", n);
		fsck_tell(c->f, dir, what, pack_again);
	} else if (!n && file_is_dir(dir)) {
		fsck_tell(c->f, dir, "is there, but the ledger recorded nothing in it",
			"move it away");
	} else if (n) {
		fsck_shards(c->f, dir);
	}
}

/* --- its record --- */

static void tell_record(void *ctx, const char *what)
{
	const struct checking *c = ctx;
	AUTO_FREE char *path = file_join(c->f->def->workdir, "history.db");
	AUTO_FREE char *line = xasprintf("run '%s': %s", c->id, what);
	fsck_tell(c->f, path, line, "move it away; --repair makes it again out of the ledgers");
}

static bool record(struct checking *c, struct error *err)
{
	const char *number = ledger_meta(c->ledger, "number", &c->arena),
		   *ended = ledger_meta(c->ledger, "ended_ms", &c->arena);
	int64_t n, ms;
	struct str json;
	str_init(&json, STR_NO_CAP);
	struct json_writer w = {.out = &json};
	bool ok = (number && text_parse_i64(number, &n) && ended && text_parse_i64(ended, &ms)) ||
		error_set(err, FAIL_DATA, "the ledger of run '%s' is incomplete", c->id);
	ok = ok && summary_json(c->ledger, &w, err);
	ok = ok &&
		history_record(c->f->history, &(struct history_run){c->id, n, ms, false, json.data},
			c->path, err);
	str_release(&json);
	return ok;
}

static void check_record(struct checking *c)
{
	struct error err = {0};
	AUTO_FREE char *path = file_join(c->f->def->workdir, "history.db");
	bool recorded;
	if (!history_check(c->f->history, c->id, c->path, &recorded, tell_record, c, &err)) {
		tell_record(c, err.msg);
	} else if (!recorded) {
		AUTO_FREE char *what = xasprintf("has no record of run '%s'", c->id);
		if (!c->f->repair) {
			fsck_tell(c->f, path, what, "--repair records it out of its ledger");
		} else if (record(c, &err)) {
			fsck_repaired(c->f, path, what, "recorded");
		} else {
			fsck_tell(c->f, path, err.msg, NULL);
		}
	}
}

static void check_opened(struct checking *c)
{
	AUTO_FREE char *staging = xasprintf("%s/.staging/%s", c->f->def->workdir, c->id);
	AUTO_FREE char *shards = xasprintf("%s/shards/%s", c->f->def->workdir, c->id);
	const char *state = ledger_meta(c->ledger, "state", &c->arena);
	c->finished = state && strcmp(state, "finished") == 0;
	c->published = file_is_dir(shards);
	if (!check_ledger(c)) {
		return;
	}
	/* Before it is published, what a run has staged is checked by its next sitting. */
	if (c->finished || c->published) {
		check_folder(c, "shards");
		check_folder(c, "meta");
		check_folder(c, "logprobs");
	}
	if (c->finished && file_exists(staging)) {
		fsck_leftover(c->f, staging, "left by a run that is finished");
	}
	if (c->finished && c->f->history) {
		check_record(c);
	}
}

void fsck_run(struct fsck *f, const char *id, bool *out_published)
{
	struct error err = {0};
	AUTO_FREE char *path = xasprintf("%s/runs/%s/ledger.db", f->def->workdir, id);
	struct checking c = {.f = f, .id = id, .path = path};
	c.ledger = ledger_open(path, LEDGER_READ, &err);
	if (c.ledger) {
		check_opened(&c);
	} else {
		tell_ledger(&c, err.msg);
	}
	*out_published = c.finished && c.published;
	ledger_close(c.ledger);
	arena_release(&c.arena);
}
