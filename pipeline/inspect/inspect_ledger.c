/*
 * The plan and the rows of the folder are walked side by side. Candidates whose tokens were pruned from the ledger are compared by
 * their place alone.
 */
#include "inspect/inspect_ledger.h"

#include "base/arena.h"
#include "base/file.h"
#include "base/mem.h"
#include "inspect/walk.h"
#include "ledger/ledger.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FAULTS_MAX 100

struct comparing {
	struct ledger *ledger;
	struct walk walk;
	mds_fault_cb *fault;
	void *ctx;
	unsigned n_faults;
	struct arena arena;
	bool any_row; /* the walk stands at a row */
	uint32_t n_in_row; /* sequences of it that the plan has named */
	bool over; /* the folder has no more rows, or one that cannot be read */
};

static void tell(struct comparing *c, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Of the row that the walk stands at, if there is one. */
static void tell(struct comparing *c, const char *fmt, ...)
{
	char text[256];
	va_list args;
	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	struct mds_fault f = {"index.json", -1, -1, -1, text};
	if (c->any_row) {
		const struct mds_read_shard *s = mds_reader_shard(c->walk.reader, c->walk.shard);
		f.file = s->zip_name ? s->zip_name : s->raw_name;
		f.sample = (int64_t)(c->walk.row - s->first_sample);
	}
	if (c->n_faults++ < FAULTS_MAX) {
		c->fault(c->ctx, &f);
	}
}

/* --- shards as they were recorded --- */

static void compare_shard(
	struct comparing *c, const struct mds_read_shard *s, const struct ledger_shard *l)
{
	struct mds_fault f = {s->zip_name ? s->zip_name : s->raw_name, -1, -1, -1, NULL};
	if (s->n_samples != l->n_rows) {
		f.what = "the ledger recorded another number of rows";
	} else if (s->raw_xxh64 && strcmp(s->raw_xxh64, l->raw_xxh64) != 0) {
		f.what = "the ledger recorded other content (xxh64 of the raw image)";
	} else if (s->zip_sha256 && strcmp(s->zip_sha256, l->zip_sha256) != 0) {
		f.what = "the ledger recorded another file (sha256)";
	}
	if (f.what && c->n_faults++ < FAULTS_MAX) {
		c->fault(c->ctx, &f);
	}
}

static bool compare_shards(struct comparing *c, const char *folder, struct error *err)
{
	struct ledger_shard *recorded;
	size_t n, n_here = mds_reader_n_shards(c->walk.reader);
	if (!ledger_get_shards(c->ledger, folder, &recorded, &n, err)) {
		return false;
	}
	if (n != n_here) {
		tell(c, "the ledger recorded %zu shards, the index has %zu", n, n_here);
	}
	for (size_t i = 0; i < MIN(n, n_here); i++) {
		compare_shard(c, mds_reader_shard(c->walk.reader, i), &recorded[i]);
	}
	free(recorded);
	return true;
}

/* --- rows as they were planned --- */

static void compare_tokens(struct comparing *c, uint32_t k, int64_t candidate,
	const struct ledger_candidate *l, const struct ledger_prompt *p)
{
	const struct sequences *s = &c->walk.seqs;
	size_t from = s->starts[k], n = s->starts[k + 1] - from;
	if (!l->ids || !p->ids) {
		return;
	}
	if (n != p->n_ids + l->n_ids ||
		memcmp(s->ids + from, p->ids, p->n_ids * sizeof(*p->ids)) != 0 ||
		memcmp(s->ids + from + p->n_ids, l->ids, l->n_ids * sizeof(*l->ids)) != 0) {
		tell(c, "candidate %" PRId64 ": other tokens than in the ledger", candidate);
		return;
	}
	for (size_t i = 0; i < n; i++) {
		if (s->mask[from + i] != (i >= p->n_ids)) {
			tell(c,
				"candidate %" PRId64
				": the mask is not 1 on its sampled tokens alone",
				candidate);
			return;
		}
	}
}

/* Has the plan named all that stand in the row? */
static void end_row(struct comparing *c)
{
	if (c->any_row && c->n_in_row < c->walk.seqs.n) {
		tell(c, "%zu sequences, the plan has %u", c->walk.seqs.n, c->n_in_row);
	}
}

static bool next_row(struct comparing *c, uint64_t row)
{
	struct error err;
	end_row(c);
	c->any_row = walk_next(&c->walk, &err);
	c->n_in_row = 0;
	c->over = !c->any_row;
	if (c->over) {
		tell(c, "the plan goes on at row %" PRIu64 ", the folder does not", row);
	}
	return c->any_row;
}

static bool compare_planned(
	void *ctx, uint64_t row, uint32_t pos, int64_t candidate, struct error *err)
{
	struct comparing *c = ctx;
	if (c->over || ((!c->any_row || row != c->walk.row) && !next_row(c, row))) {
		return true;
	}
	c->n_in_row++;
	const struct sequences *s = &c->walk.seqs;
	if (pos >= s->n || !s->has_sample_ids || s->sample_ids[pos] != (uint64_t)candidate) {
		tell(c, "the plan has candidate %" PRId64 " at place %u of this row", candidate,
			pos);
		return true;
	}
	struct ledger_candidate l;
	struct ledger_prompt p;
	arena_reset(&c->arena);
	enum ledger_found found = ledger_get_candidate(
		c->ledger, candidate, &c->arena, &l, &p, err);
	if (found == LEDGER_FOUND) {
		compare_tokens(c, pos, candidate, &l, &p);
	} else if (found == LEDGER_END) {
		tell(c, "candidate %" PRId64 " is not in the ledger", candidate);
	}
	return found != LEDGER_FAILED;
}

static bool compare_rows(struct comparing *c, struct error *err)
{
	uint64_t n = (uint64_t)ledger_count_plan_rows(c->ledger),
		 n_here = mds_reader_n_samples(c->walk.reader);
	if (!ledger_each_plan(c->ledger, 0, n, compare_planned, c, err)) {
		return false;
	}
	end_row(c);
	c->any_row = false;
	if (n_here > n) {
		tell(c, "%" PRIu64 " rows, the plan has %" PRIu64, n_here, n);
	}
	return true;
}

/* --- which ledger --- */

/* WORKDIR/FOLDER/RUN -> WORKDIR/runs/RUN/ledger.db, malloc'd, and FOLDER; NULL if it is not there. */
static char *find_ledger(const char *dir, char **out_folder)
{
	AUTO_FREE char *real = realpath(dir, NULL);
	if (!real) {
		return NULL;
	}
	AUTO_FREE char *parent = file_dirname(real);
	AUTO_FREE char *workdir = file_dirname(parent);
	char *path = xasprintf("%s/runs/%s/ledger.db", workdir, file_basename(real));
	const char *folder = file_basename(parent);
	if ((strcmp(folder, "shards") != 0 && strcmp(folder, "meta") != 0 &&
		    strcmp(folder, "logprobs") != 0) ||
		!file_exists(path)) {
		free(path);
		return NULL;
	}
	*out_folder = xstrdup(folder);
	return path;
}

bool inspect_ledger(
	const char *dir, mds_fault_cb *fault, void *ctx, bool *out_checked, struct error *err)
{
	AUTO_FREE char *folder = NULL;
	AUTO_FREE char *path = find_ledger(dir, &folder);
	struct comparing c = {.fault = fault, .ctx = ctx};
	*out_checked = path != NULL;
	if (!path) {
		return true;
	}
	c.ledger = ledger_open(path, LEDGER_READ, err);
	bool ok = c.ledger && walk_open(&c.walk, dir, err) && compare_shards(&c, folder, err) &&
		(strcmp(folder, "shards") != 0 || compare_rows(&c, err));
	walk_close(&c.walk);
	ledger_close(c.ledger);
	arena_release(&c.arena);
	return ok;
}
