/*
 * WORKDIR/near has a file of sketches for each run that has shipped something. It is written when the run has published, and
 * follows from the run's ledger alone, so whatever is missing or damaged (a crash in between, runs from before this stage was in
 * the pipeline, a lost folder) is made from the ledgers when the next run looks for duplicates. Only if texts are pruned is
 * that too late: then a missing file is made of the texts that are left, with a warning, and a damaged one is refused.
 */
#include "dedup_private.h"

#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "definition.h"
#include "ledger/ledger.h"
#include "run.h"

#include <stdlib.h>
#include <string.h>

struct telling {
	struct ledger *ledger;
	struct near_draft draft;
	struct near_reader reader;
	int64_t n_pruned;
};

static char *nights_dir(const struct run *run)
{
	return file_join(run->def->workdir, "near");
}

bool dedup_sketch(struct ledger *ledger, int64_t candidate, struct near_reader *reader,
	struct near_record *out, bool *out_pruned, struct error *err)
{
	struct arena arena = {0};
	struct ledger_text t;
	enum ledger_found found = ledger_get_text(ledger, candidate, &arena, &t, err);
	bool ok = found == LEDGER_FOUND ||
		(found == LEDGER_END &&
			error_set(err, FAIL_DATA, "candidate %lld is not in the ledger",
				(long long)candidate));
	*out_pruned = ok && !t.text.data;
	if (ok && t.text.data) {
		*out = (struct near_record){.owner = (uint64_t)candidate};
		near_read(reader, t.text.data, t.text.len);
		near_sketch(reader, (uint32_t)hash64(t.prompt_id, strlen(t.prompt_id), 0), out);
	}
	arena_release(&arena);
	return ok;
}

static bool tell_candidate(
	void *ctx, uint64_t row UNUSED, uint32_t pos UNUSED, int64_t candidate, struct error *err)
{
	struct telling *t = ctx;
	struct near_record record;
	bool pruned;
	if (!dedup_sketch(t->ledger, candidate, &t->reader, &record, &pruned, err)) {
		return false;
	}
	t->n_pruned += pruned;
	return pruned || near_draft_add(&t->draft, &record, err);
}

/* must_be_whole: fails, with nothing written, if texts are pruned. */
static bool tell(struct ledger *ledger, const char *dir, const char *id, int64_t number,
	bool must_be_whole, struct error *err)
{
	struct telling t = {.ledger = ledger};
	bool ok = file_make_dirs(dir, err) && near_draft_open(&t.draft, dir, id, number, err) &&
		ledger_each_plan(ledger, 0, INT64_MAX, tell_candidate, &t, err);
	if (ok && t.n_pruned && must_be_whole) {
		ok = error_set(err, FAIL_DATA, "%lld of its texts are pruned from the ledger",
			(long long)t.n_pruned);
	} else if (ok && t.n_pruned) {
		log_warn("texts that were shipped are pruned, so that duplicates of them cannot be "
			 "found",
			"of", id, "texts", log_fmt("%lld", (long long)t.n_pruned), NULL);
	}
	ok = ok && near_draft_publish(&t.draft, err);
	near_draft_release(&t.draft);
	near_reader_release(&t.reader);
	return ok;
}

bool dedup_tell_night(struct run *run, struct error *err)
{
	AUTO_FREE char *dir = nights_dir(run);
	return tell(run->ledger, dir, run->id, run->number, false, err);
}

/* --- runs of the past --- */

static bool is_shipped(const struct run *run, struct ledger *ledger, const char *id)
{
	struct arena arena = {0};
	AUTO_FREE char *shards = xasprintf("%s/shards/%s", run->def->workdir, id);
	const char *state = ledger_meta(ledger, "state", &arena);
	bool finished = state && strcmp(state, "finished") == 0;
	arena_release(&arena);
	return finished || file_exists(shards);
}

/* Out of the ledger of another run; what has shipped nothing yet is passed over. */
static bool tell_other(const struct run *run, const char *dir, const char *id, bool must_be_whole,
	struct error *err)
{
	AUTO_FREE char *path = xasprintf("%s/runs/%s/ledger.db", run->def->workdir, id);
	struct arena arena = {0};
	struct ledger *ledger = ledger_open(path, LEDGER_READ, err);
	const char *text = ledger ? ledger_meta(ledger, "number", &arena) : NULL;
	int64_t number;
	bool ok = false;
	if (ledger && (!text || !text_parse_i64(text, &number))) {
		error_set(err, FAIL_DATA, "ledger '%s' is incomplete", path);
	} else if (ledger) {
		ok = !is_shipped(run, ledger, id) ||
			tell(ledger, dir, id, number, must_be_whole, err);
	}
	arena_release(&arena);
	ledger_close(ledger);
	return ok;
}

static bool tell_missing(const struct run *run, const char *dir, struct error *err)
{
	size_t n;
	char **ids = run_list(run->def->workdir, &n);
	bool ok = true;
	for (size_t i = 0; i < n; i++) {
		AUTO_FREE char *path = near_segment_path(dir, ids[i]);
		if (ok && strcmp(ids[i], run->id) != 0 && !file_exists(path)) {
			ok = tell_other(run, dir, ids[i], false, err);
		}
		free(ids[i]);
	}
	free(ids);
	return ok;
}

struct remaking {
	const struct run *run;
	const char *dir;
};

static bool remake(void *ctx, const char *id, const struct error *why, struct error *err)
{
	const struct remaking *r = ctx;
	AUTO_FREE char *ledger = xasprintf("%s/runs/%s/ledger.db", r->run->def->workdir, id);
	struct error gone = {0};
	if (file_exists(ledger) && tell_other(r->run, r->dir, id, true, &gone)) {
		log_warn("sketches of a run were of no use, made again from its ledger", "of", id,
			"reason", why->msg, NULL);
		return true;
	}
	*err = *why;
	error_context(err, "%s", gone.msg[0] ? gone.msg : "the run's ledger is gone");
	return error_hint(err,
		"bring the file back, or remove it: then duplicates of what run %s shipped are not "
		"found",
		id);
}

struct near_index *dedup_open_nights(struct run *run, struct error *err)
{
	AUTO_FREE char *dir = nights_dir(run);
	struct remaking r = {run, dir};
	const struct near_index_options options = {
		.remake = remake, .ctx = &r, .ignored = run->number};
	return tell_missing(run, dir, err) ? near_index_open(dir, &options, err) : NULL;
}
