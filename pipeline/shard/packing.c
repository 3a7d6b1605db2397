/*
 * Best-fit decreasing places the longest sample first, each into the fullest row that still holds it. Only lengths matter,
 * so rows with the same contents are kept as one group and all samples of a length are placed in strides: into a row of free
 * space s go floor(s / length) of them at once, since after the first the same row is still the best fit. A group that is
 * only partly filled is split. Groups form a tree: a child is its parent plus a run of one length, and at the end the rows
 * of a group are read off on the way to the root. Groups with room are filed by free space; a bitmap of the spaces in use
 * gives the next fit with one count of trailing zeros.
 *
 * The number of steps depends on the pairs of lengths and spaces that meet, not on the number of samples: a million samples
 * take about ten thousand. Giving the slots to real samples is then a walk over lists per length, in id order.
 */
#include "shard/packing.h"

#include "base/attr.h"
#include "base/mem.h"
#include "base/rng.h"

#include <assert.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define NO_GROUP UINT32_MAX
#define CONTEXT_MAX (1u << 24)

struct row_group {
	uint32_t parent; /* NO_GROUP: an empty row before */
	uint32_t length, run; /* what it adds to the parent: `run` samples of `length` tokens */
	uint32_t n_rows; /* that are like this now; falls when rows move on to a child */
	uint32_t space; /* free tokens of a row */
	uint32_t n_sequences; /* of a row */
	uint32_t next; /* group filed under the same space */
};

struct packer {
	const struct packing_options *options;
	struct row_group *groups; /* owns */
	size_t n_groups, cap_groups;
	uint32_t *filed; /* owns; by free space: first group, or NO_GROUP */
	uint64_t *occupied; /* owns; bit s: filed[s] is not empty */
	size_t n_words;
};

static void file_group(struct packer *p, uint32_t g)
{
	struct row_group *group = &p->groups[g];
	uint32_t cap = p->options->row_sequences_max;
	if (!group->space || (cap && group->n_sequences == cap)) {
		return; /* complete */
	}
	group->next = p->filed[group->space];
	p->filed[group->space] = g;
	p->occupied[group->space / 64] |= 1ull << (group->space % 64);
}

static void unfile_first(struct packer *p, uint32_t space)
{
	p->filed[space] = p->groups[p->filed[space]].next;
	if (p->filed[space] == NO_GROUP) {
		p->occupied[space / 64] &= ~(1ull << (space % 64));
	}
}

/* The smallest free space of at least `length` that some row has; 0 if none. */
static uint32_t best_space(const struct packer *p, uint32_t length)
{
	size_t w = length / 64;
	uint64_t bits = p->occupied[w] & (UINT64_MAX << (length % 64));
	while (!bits) {
		if (++w == p->n_words) {
			return 0;
		}
		bits = p->occupied[w];
	}
	return (uint32_t)(w * 64 + (size_t)__builtin_ctzll(bits));
}

/* `n_rows` rows with `run` samples of `length` more than rows of `parent` have. */
static void add_group(
	struct packer *p, uint32_t parent, uint32_t n_rows, uint32_t length, uint32_t run)
{
	p->groups = array_room(p->groups, p->n_groups, &p->cap_groups, sizeof(*p->groups));
	struct row_group group = {.parent = parent,
		.length = length,
		.run = run,
		.n_rows = n_rows,
		.space = p->options->context,
		.next = NO_GROUP};
	if (parent != NO_GROUP) {
		group.space = p->groups[parent].space;
		group.n_sequences = p->groups[parent].n_sequences;
	}
	group.space -= length * run;
	group.n_sequences += run;
	p->groups[p->n_groups] = group;
	file_group(p, (uint32_t)p->n_groups++);
}

/* Samples of `length` that a row with this room takes in a row. */
static uint32_t run_limit(
	const struct packer *p, uint32_t length, uint32_t space, uint32_t n_sequences)
{
	uint32_t cap = p->options->row_sequences_max;
	uint32_t fit = space / length;
	return cap ? MIN(fit, cap - n_sequences) : fit;
}

/* Places some of `n` samples of one length; returns how many. */
static uint32_t place_some(struct packer *p, uint32_t length, uint32_t n)
{
	uint32_t space = best_space(p, length);
	uint32_t parent = space ? p->filed[space] : NO_GROUP;
	uint32_t rows_there = space ? p->groups[parent].n_rows : UINT32_MAX;
	uint32_t run = space ? run_limit(p, length, space, p->groups[parent].n_sequences)
			     : run_limit(p, length, p->options->context, 0);
	run = MIN(run, n);
	uint32_t n_rows = MIN(rows_there, n / run);
	if (space) {
		p->groups[parent].n_rows -= n_rows;
		if (!p->groups[parent].n_rows) {
			unfile_first(p, space);
		}
	}
	add_group(p, parent, n_rows, length, run);
	return n_rows * run;
}

static void place_all(struct packer *p, const uint32_t *histogram)
{
	for (uint32_t length = p->options->context; length > 0; length--) {
		for (uint32_t left = histogram[length]; left;) {
			left -= place_some(p, length, left);
		}
	}
}

/* Sample indices sorted by length, in id order within one; starts[l] is where length l begins. */
static uint32_t *sort_by_length(const uint32_t *lengths, size_t n, const uint32_t *histogram,
	uint32_t context, uint32_t *starts)
{
	uint32_t *sorted = xreallocarray(NULL, n + 1, sizeof(*sorted));
	uint32_t at = 0;
	for (uint32_t l = 0; l <= context; l++) {
		starts[l] = at;
		at += histogram[l];
	}
	for (size_t i = 0; i < n; i++) {
		sorted[starts[lengths[i]]++] = (uint32_t)i;
	}
	for (uint32_t l = context; l > 0; l--) {
		starts[l] = starts[l - 1];
	}
	starts[0] = 0;
	return sorted;
}

/* Writes one row of the group into the slots that end at `end`: from the leaf, which is the shortest, back to the root. */
static void fill_row(
	const struct packer *p, uint32_t g, const uint32_t *sorted, uint32_t *next, uint32_t *end)
{
	for (; g != NO_GROUP; g = p->groups[g].parent) {
		const struct row_group *group = &p->groups[g];
		uint32_t *slot = end - group->run;
		memcpy(slot, sorted + next[group->length], group->run * sizeof(*slot));
		next[group->length] += group->run;
		end = slot;
	}
}

/* The group of each row, shuffled. */
static uint32_t *shuffled_rows(const struct packer *p, uint64_t seed, size_t *out_n)
{
	size_t n = 0, k = 0;
	for (size_t g = 0; g < p->n_groups; g++) {
		n += p->groups[g].n_rows;
	}
	uint32_t *rows = xreallocarray(NULL, n + 1, sizeof(*rows));
	for (size_t g = 0; g < p->n_groups; g++) {
		for (uint32_t i = 0; i < p->groups[g].n_rows; i++) {
			rows[k++] = (uint32_t)g;
		}
	}
	struct rng rng;
	rng_seed(&rng, seed);
	for (size_t i = n; i > 1; i--) {
		size_t j = (size_t)rng_below(&rng, i);
		uint32_t t = rows[i - 1];
		rows[i - 1] = rows[j];
		rows[j] = t;
	}
	*out_n = n;
	return rows;
}

/* Shuffling comes first, so samples of one length go to rows in id order: neighbours in the ledger stay neighbours. */
static void assign_samples(
	const struct packer *p, const uint32_t *sorted, uint32_t *next, struct packing *out)
{
	AUTO_FREE uint32_t *rows = shuffled_rows(p, p->options->seed, &out->n_rows);
	out->row_starts = xreallocarray(NULL, out->n_rows + 1, sizeof(*out->row_starts));
	out->items = xreallocarray(NULL, out->n_items + 1, sizeof(*out->items));
	uint32_t at = 0;
	for (size_t r = 0; r < out->n_rows; r++) {
		out->row_starts[r] = at;
		at += p->groups[rows[r]].n_sequences;
		fill_row(p, rows[r], sorted, next, out->items + at);
	}
	out->row_starts[out->n_rows] = at;
	assert(at == out->n_items);
}

void pack_lengths(const uint32_t *lengths, size_t n, const struct packing_options *options,
	struct packing *out)
{
	uint32_t context = options->context;
	assert(context >= 1 && context <= CONTEXT_MAX && n < UINT32_MAX);
	*out = (struct packing){.n_items = n};
	AUTO_FREE uint32_t *histogram = xcalloc((size_t)context + 1, sizeof(*histogram));
	for (size_t i = 0; i < n; i++) {
		assert(lengths[i] >= 1 && lengths[i] <= context);
		histogram[lengths[i]]++;
		out->n_tokens += lengths[i];
	}

	struct packer p = {.options = options, .n_words = context / 64 + 1};
	p.filed = xreallocarray(NULL, (size_t)context + 1, sizeof(*p.filed));
	memset(p.filed, 0xff, ((size_t)context + 1) * sizeof(*p.filed)); /* NO_GROUP */
	p.occupied = xcalloc(p.n_words, sizeof(*p.occupied));
	place_all(&p, histogram);
	free(p.filed);
	free(p.occupied);

	AUTO_FREE uint32_t *starts = xreallocarray(NULL, (size_t)context + 1, sizeof(*starts));
	AUTO_FREE uint32_t *sorted = sort_by_length(lengths, n, histogram, context, starts);
	assign_samples(&p, sorted, starts, out);
	free(p.groups);
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
