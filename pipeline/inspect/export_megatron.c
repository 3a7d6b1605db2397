/*
 * `--export megatron`: what shard/megatron.h writes. The width of an id stands at the head of the data, so it must be known
 * before the first row: from the vocabulary's size if the folders tell it, else by reading everything once more.
 */
#include "inspect/export.h"

#include "base/json.h"
#include "base/mem.h"
#include "inspect/walk.h"
#include "shard/megatron.h"

#include <stdio.h>
#include <string.h>

struct megatron_export {
	struct megatron files;
	bool told; /* that the mask is lost */
};

static bool largest_id(const char *dir, uint64_t *most, struct error *err)
{
	struct walk w;
	if (!walk_open(&w, dir, err)) {
		return false;
	}
	while (walk_next(&w, err)) {
		size_t n = w.seqs.n ? w.seqs.starts[w.seqs.n] : 0;
		for (size_t i = 0; i < n; i++) {
			*most = MAX(*most, w.seqs.ids[i]);
		}
	}
	walk_close(&w);
	return err->kind == FAIL_NONE;
}

/* At least the number of ids that the folder's vocabulary has; 0: it does not tell. */
static bool told_vocab(const char *dir, uint64_t *out_n, struct error *err)
{
	int64_t n = 0;
	struct mds_reader *r = mds_reader_open(dir, err);
	if (r && !json_int(json_get(mds_reader_facts(r), "n_vocab"), &n)) {
		n = 0;
	}
	mds_reader_close(r);
	*out_n = (uint64_t)MAX(n, 0);
	return r != NULL;
}

static bool vocab_of_all(const struct export_source *source, uint64_t *out_n, struct error *err)
{
	uint64_t most = 0;
	for (size_t i = 0; i < source->n_dirs; i++) {
		uint64_t n, id = 0;
		if (!told_vocab(source->dirs[i], &n, err) ||
			(!n && !largest_id(source->dirs[i], &id, err))) {
			return false;
		}
		most = MAX(most, n ? n : id + 1);
	}
	*out_n = most;
	return true;
}

static bool megatron_export_open(void *state, const struct export_source *source, struct error *err)
{
	struct megatron_export *s = state;
	uint64_t n_vocab;
	return vocab_of_all(source, &n_vocab, err) &&
		megatron_open(&s->files, source->to, megatron_dtype(n_vocab), err);
}

static bool is_all_trained(const struct sequences *q)
{
	return !q->starts[q->n] || !memchr(q->mask, 0, q->starts[q->n]);
}

static bool megatron_export_row(void *state, struct walk *w, struct error *err)
{
	struct megatron_export *s = state;
	const struct sequences *q = &w->seqs;
	if (!s->told && !is_all_trained(q)) {
		fputs("note: this format has no loss mask, so a training on it learns the prompts, "
		      "too\n",
			stderr);
		s->told = true;
	}
	bool ok = true;
	for (size_t k = 0; ok && k < q->n; k++) {
		ok = megatron_add(
			&s->files, q->ids + q->starts[k], q->starts[k + 1] - q->starts[k], err);
	}
	return ok;
}

static bool megatron_export_publish(void *state, uint64_t *out_bytes, struct error *err)
{
	struct megatron_export *s = state;
	*out_bytes = megatron_bytes(&s->files);
	return megatron_publish(&s->files, err);
}

static void megatron_export_release(void *state)
{
	struct megatron_export *s = state;
	megatron_release(&s->files);
}

const struct export_ops export_megatron = {
	.name = "megatron",
	.summary = "PREFIX.bin and .idx, a document a sequence; without the loss mask",
	.state_bytes = sizeof(struct megatron_export),
	.n_files = 2,
	.needs_to = true,
	.open = megatron_export_open,
	.row = megatron_export_row,
	.publish = megatron_export_publish,
	.release = megatron_export_release,
};
