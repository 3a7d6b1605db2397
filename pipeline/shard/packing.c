/*
 * Best-fit decreasing, moving equal lengths together. Rows are counted by their free space: spaces[s] rows have room for s
 * tokens. For each length from long to short, the smallest space that holds it takes as many in a row as fit there, so one
 * step moves many; the number of steps depends on the (length, space) pairs that are met, not on the number of samples. A
 * bitmap of the spaces in use finds the next one with a few word operations.
 *
 * A space alone does not say what lies in a row, so each row is a record in a list per space: rows with equal space are
 * interchangeable, and the one added last is taken first.
 */
#include "shard/packing.h"

#include "base/mem.h"
#include "base/rng.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define CONTEXT_MAX (1u << 24)
#define NONE UINT32_MAX

struct rows {
	uint32_t context;
	uint32_t *first; /* row lists by space, 0 .. context; NONE: empty */
	uint64_t *used; /* bitmap of spaces with rows */
	uint32_t *next; /* of a row, in its list */
	uint32_t *count; /* samples in a row */
	uint32_t *last_item; /* of a row; items form a chain through before[] */
	size_t n, cap;
	uint32_t *before; /* of a sample: the one put into its row before it */
};

static void push(struct rows *r, uint32_t space, uint32_t row)
{
	r->next[row] = r->first[space];
	r->first[space] = row;
	r->used[space / 64] |= 1ull << space % 64;
}

static uint32_t pop(struct rows *r, uint32_t space)
{
	uint32_t row = r->first[space];
	r->first[space] = r->next[row];
	if (r->first[space] == NONE) {
		r->used[space / 64] &= ~(1ull << space % 64);
	}
	return row;
}

/* The smallest space >= length with a row; a new row, whose space is the whole context, if there is none. */
static uint32_t best_fit(const struct rows *r, uint32_t length)
{
	size_t word = length / 64, n_words = r->context / 64 + 1;
	uint64_t bits = r->used[word] & (~0ull << length % 64);
	while (!bits && ++word < n_words) {
		bits = r->used[word];
	}
	return bits ? (uint32_t)(word * 64) + (uint32_t)__builtin_ctzll(bits) : r->context;
}

static uint32_t new_row(struct rows *r)
{
	if (r->n == r->cap) {
		r->cap = r->cap ? r->cap * 2 : 64;
		r->next = xreallocarray(r->next, r->cap, sizeof(*r->next));
		r->count = xreallocarray(r->count, r->cap, sizeof(*r->count));
		r->last_item = xreallocarray(r->last_item, r->cap, sizeof(*r->last_item));
	}
	uint32_t row = (uint32_t)r->n++;
	r->count[row] = 0;
	r->last_item[row] = NONE;
	return row;
}

/* Fills one row of that space with as many of the n samples as fit and the cap allows; returns how many. */
static uint32_t fill(struct rows *r, uint32_t space, uint32_t length, const uint32_t *samples,
	uint32_t n, uint32_t cap)
{
	bool fresh = r->first[space] == NONE;
	uint32_t row = fresh ? new_row(r) : pop(r, space);
	uint32_t take = space / length;
	take = take < n ? take : n;
	if (cap && take > cap - r->count[row]) {
		take = cap - r->count[row];
	}
	for (uint32_t i = 0; i < take; i++) {
		r->before[samples[i]] = r->last_item[row];
		r->last_item[row] = samples[i];
	}
	r->count[row] += take;
	uint32_t left = space - take * length;
	/* A row at its cap is closed, as is one without any room. */
	if (left && !(cap && r->count[row] == cap)) {
		push(r, left, row);
	}
	return take;
}

static void pack_all(struct rows *r, const uint32_t *lengths, size_t n, uint32_t cap)
{
	/* Counting sort: samples by length, in id order within one. */
	size_t *starts = xcalloc((size_t)r->context + 2, sizeof(*starts));
	uint32_t *samples = xcalloc(n, sizeof(*samples));
	for (size_t i = 0; i < n; i++) {
		assert(lengths[i] >= 1 && lengths[i] <= r->context);
		starts[lengths[i] + 1]++;
	}
	for (uint32_t len = 1; len <= r->context; len++) {
		starts[len + 1] += starts[len];
	}
	for (size_t i = 0; i < n; i++) {
		samples[starts[lengths[i]]++] = (uint32_t)i;
	}
	/* Now starts[len] is the end of len's run. */
	for (uint32_t len = r->context; len; len--) {
		size_t at = len > 1 ? starts[len - 1] : 0, end = starts[len];
		while (at < end) {
			at += fill(
				r, best_fit(r, len), len, samples + at, (uint32_t)(end - at), cap);
		}
	}
	free(starts);
	free(samples);
}

/* BFD gives rows sorted by length; trained in that order they would bias every batch. */
static uint32_t *shuffled(size_t n, uint64_t seed)
{
	uint32_t *order = xcalloc(n, sizeof(*order));
	struct rng rng;
	rng_seed(&rng, seed);
	for (size_t i = 0; i < n; i++) {
		size_t j = (size_t)rng_below(&rng, i + 1);
		order[i] = order[j];
		order[j] = (uint32_t)i;
	}
	return order;
}

static void write_rows(const struct rows *r, uint64_t seed, struct packing *out)
{
	uint32_t *order = shuffled(r->n, seed);
	size_t at = 0;
	for (size_t i = 0; i < r->n; i++) {
		uint32_t row = order[i];
		out->row_starts[i] = (uint32_t)at;
		at += r->count[row];
		/* The chain goes from the last sample to the first. */
		uint32_t item = r->last_item[row];
		for (size_t k = at; item != NONE; item = r->before[item]) {
			out->items[--k] = item;
		}
	}
	out->row_starts[r->n] = (uint32_t)at;
	assert(at == out->n_items);
	free(order);
}

void pack_lengths(const uint32_t *lengths, size_t n, const struct packing_options *options,
	struct packing *out)
{
	assert(options->context >= 1 && options->context <= CONTEXT_MAX && n < NONE);
	struct rows r = {.context = options->context};
	r.first = xcalloc((size_t)r.context + 1, sizeof(*r.first));
	memset(r.first, 0xff, ((size_t)r.context + 1) * sizeof(*r.first));
	r.used = xcalloc(r.context / 64 + 1, sizeof(*r.used));
	r.before = xcalloc(n, sizeof(*r.before));
	pack_all(&r, lengths, n, options->row_sequences_max);
	*out = (struct packing){.n_rows = r.n, .n_items = n};
	out->row_starts = xcalloc(r.n + 1, sizeof(*out->row_starts));
	out->items = xcalloc(n, sizeof(*out->items));
	for (size_t i = 0; i < n; i++) {
		out->n_tokens += lengths[i];
	}
	write_rows(&r, options->seed, out);
	free(r.first);
	free(r.used);
	free(r.next);
	free(r.count);
	free(r.last_item);
	free(r.before);
}

void packing_release(struct packing *p)
{
	free(p->row_starts);
	free(p->items);
	*p = (struct packing){0};
}

double packing_fill(const struct packing *p, uint32_t context)
{
	return p->n_rows ? (double)p->n_tokens / ((double)p->n_rows * context) : 0;
}
