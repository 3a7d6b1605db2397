/*
 * Sidecars have a row a sequence in the order of the rows, so a running count of sequences finds theirs. In a folder over several
 * runs each sub-folder has sidecars of its own, and the count begins anew with it.
 */
#include "inspect/walk.h"

#include "base/file.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

char *walk_sidecar(const char *dir, const char *name)
{
	AUTO_FREE char *real = realpath(dir, NULL);
	if (!real) {
		return NULL;
	}
	AUTO_FREE char *parent = file_dirname(real);
	AUTO_FREE char *out = file_dirname(parent);
	char *sidecar = xasprintf("%s/%s/%s", out, name, file_basename(real));
	AUTO_FREE char *index = file_join(sidecar, "index.json");
	if (strcmp(file_basename(parent), "shards") != 0 || !file_exists(index)) {
		free(sidecar);
		return NULL;
	}
	return sidecar;
}

bool walk_open(struct walk *w, const char *dir, struct error *err)
{
	*w = (struct walk){.dir = dir};
	w->reader = mds_reader_open(dir, err);
	return w->reader != NULL;
}

static void close_sidecars(struct walk *w)
{
	mds_reader_close(TAKE(w->meta));
	mds_reader_close(TAKE(w->logprobs));
	w->sidecars_sought = false;
}

void walk_close(struct walk *w)
{
	mds_reader_close(w->reader);
	close_sidecars(w);
	free(w->part);
	sequences_release(&w->seqs);
	*w = (struct walk){0};
}

static void enter_part(struct walk *w)
{
	char *part = mds_reader_part(w->reader, w->shard);
	if (w->part && strcmp(w->part, part) != 0) {
		close_sidecars(w);
		w->next_sequence = w->uncounted = 0;
	}
	free(w->part);
	w->part = part;
}

bool walk_next(struct walk *w, struct error *err)
{
	*err = (struct error){0};
	if (w->next_row == mds_reader_n_samples(w->reader)) {
		return false;
	}
	size_t before = w->shard;
	w->row = w->next_row++;
	if (!mds_reader_sample(w->reader, w->row, w->values, &w->shard, err)) {
		error_hint(err, "thresh inspect --verify %s tells all that is wrong", w->dir);
		return false;
	}
	if (!w->part || w->shard != before) {
		enter_part(w);
	}
	w->first_sequence = w->next_sequence;
	if (!sequences_read(&w->seqs, w->reader, w->shard, w->values)) {
		w->seqs.n = 0;
	}
	w->next_sequence += w->seqs.n;
	return true;
}

bool walk_seek(struct walk *w, uint64_t row, struct error *err)
{
	if (row >= mds_reader_n_samples(w->reader)) {
		return error_set(err, FAIL_USAGE, "there is no sample %llu, '%s' has %llu",
			(unsigned long long)row, w->dir,
			(unsigned long long)mds_reader_n_samples(w->reader));
	}
	w->next_row = w->uncounted = row;
	w->next_sequence = 0;
	return true;
}

void walk_passed_over(struct walk *w, uint64_t first_sequence)
{
	w->next_sequence = first_sequence;
	w->uncounted = 0;
}

/* First row of the part that the current row is in. */
static uint64_t part_begin(const struct walk *w)
{
	size_t s = w->shard;
	bool same = true;
	while (s && same) {
		AUTO_FREE char *part = mds_reader_part(w->reader, s - 1);
		same = strcmp(part, w->part) == 0;
		s -= same;
	}
	return mds_reader_shard(w->reader, s)->first_sample;
}

/* Sequences of the rows that a seek passed over: known only by reading them, so not before somebody wants a sidecar. */
static bool count_passed_over(struct walk *w)
{
	struct walk before;
	struct error ignored;
	if (!w->uncounted) {
		return true;
	}
	bool ok = walk_open(&before, w->dir, &ignored);
	before.next_row = part_begin(w);
	while (ok && before.next_row < w->uncounted) {
		ok = walk_next(&before, &ignored);
	}
	if (ok) {
		w->first_sequence += before.next_sequence;
		w->next_sequence += before.next_sequence;
		w->uncounted = 0;
	}
	walk_close(&before);
	return ok;
}

static struct mds_reader *open_sidecar(const struct walk *w, const char *name)
{
	AUTO_FREE char *folder = file_join(w->dir, w->part);
	AUTO_FREE char *dir = walk_sidecar(folder, name);
	struct error ignored;
	return dir ? mds_reader_open(dir, &ignored) : NULL;
}

static void seek_sidecars(struct walk *w)
{
	if (!w->sidecars_sought) {
		w->meta = open_sidecar(w, "meta");
		w->logprobs = open_sidecar(w, "logprobs");
		w->sidecars_sought = true;
	}
}

/* The sidecar's row for sequence k, if it is about the same sample. */
static bool read_side(struct walk *w, struct mds_reader *side, size_t k, size_t *out_shard)
{
	struct error ignored;
	struct mds_array id;
	if (!side || !count_passed_over(w)) {
		return false;
	}
	uint64_t i = w->first_sequence + k;
	return i < mds_reader_n_samples(side) &&
		mds_reader_sample(side, i, w->side_values, out_shard, &ignored) &&
		(!w->seqs.has_sample_ids ||
			(mds_reader_array(side, *out_shard, w->side_values, "sample_id", &id) &&
				mds_array_u64(&id, 0) == w->seqs.sample_ids[k]));
}

static struct slice text_column(
	const struct mds_reader *r, size_t shard, const struct slice *values, const char *name)
{
	int i = mds_reader_column(r, shard, name);
	if (i < 0) {
		return (struct slice){NULL, 0};
	}
	enum mds_kind kind = mds_reader_shard(r, shard)->columns[i].encoding.kind;
	return kind == MDS_STR || kind == MDS_JSON ? values[i] : (struct slice){NULL, 0};
}

bool walk_meta(struct walk *w, size_t k, struct walk_meta *out)
{
	size_t shard = w->shard;
	const struct mds_reader *r = w->reader;
	const struct slice *values = w->values;
	struct mds_array candidate;
	seek_sidecars(w);
	if (read_side(w, w->meta, k, &shard)) {
		r = w->meta;
		values = w->side_values;
	} else if (mds_reader_column(r, shard, "prompt_id") < 0) {
		return false;
	}
	*out = (struct walk_meta){
		.prompt_id = text_column(r, shard, values, "prompt_id"),
		.source = text_column(r, shard, values, "source"),
		.model = text_column(r, shard, values, "model"),
		.verifier = text_column(r, shard, values, "verifier"),
		.meta = text_column(r, shard, values, "meta"),
		.candidate = mds_reader_array(r, shard, values, "candidate", &candidate)
			? (int64_t)mds_array_u64(&candidate, 0)
			: -1,
	};
	return true;
}

bool walk_logprobs(struct walk *w, size_t k, struct mds_array *out)
{
	size_t shard;
	seek_sidecars(w);
	return read_side(w, w->logprobs, k, &shard) &&
		mds_reader_array(w->logprobs, shard, w->side_values, "logprobs", out);
}
