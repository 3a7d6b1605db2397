/*
 * repetition: how much of a candidate says what it has said before. Of the total = len - n + 1 runs of n tokens in a row, the
 * score is 1 - distinct / total: 0 if no run occurs twice, near 1 for a model caught in a loop. A text shorter than n + 1 has at
 * most one run and scores 0. Tokens are the sampled ids; without ids, the words between blanks.
 *
 * Runs are told apart by 64-bit hashes in an open table twice as large as their number: a million runs would have one false
 * repeat in tens of millions of candidates.
 */
#include "verifiers/verifiers.h"

#include "base/hash.h"

#include <string.h>

struct repetition_config {
	uint32_t n;
};

static const struct param params[] = {
	PARAM_U32("n", struct repetition_config, n, .def = "4", .min = 1, .max = 256,
		.help = "tokens in a run; short runs repeat in any text"),
	{0},
};

static const char *const reasons[] = {"measured", "too_short", NULL};

struct repetition_state {
	uint32_t n;
};

static bool open_repetition(void *state, const void *config, struct run *run, struct error *err)
{
	struct repetition_state *s = state;
	(void)run;
	(void)err;
	s->n = ((const struct repetition_config *)config)->n;
	return true;
}

static bool is_blank(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Words as ids: 32 bits of each one's hash. */
static const uint32_t *word_ids(struct slice text, struct arena *scratch, size_t *out_n)
{
	uint32_t *ids = arena_alloc_array(scratch, text.len / 2 + 1, sizeof(*ids));
	size_t n = 0;
	for (size_t at = 0; at < text.len;) {
		size_t start = at;
		while (at < text.len && !is_blank(text.data[at])) {
			at++;
		}
		if (at > start) {
			ids[n++] = (uint32_t)hash64(text.data + start, at - start, 0);
		}
		while (at < text.len && is_blank(text.data[at])) {
			at++;
		}
	}
	*out_n = n;
	return ids;
}

/* True if h was not yet in the table; 0 marks an empty place. */
static bool insert(uint64_t *table, size_t mask, uint64_t h)
{
	h = h ? h : 1;
	for (size_t at = h & mask;; at = (at + 1) & mask) {
		if (table[at] == h) {
			return false;
		}
		if (table[at] == 0) {
			table[at] = h;
			return true;
		}
	}
}

static size_t count_distinct(const uint32_t *ids, size_t total, size_t n, struct arena *scratch)
{
	size_t places = 16, distinct = 0;
	while (places < total * 2) {
		places *= 2;
	}
	uint64_t *table = arena_alloc_array(scratch, places, sizeof(*table));
	for (size_t i = 0; i < total; i++) {
		distinct += insert(table, places - 1, hash64(ids + i, n * sizeof(*ids), 0));
	}
	return distinct;
}

static void score(const void *state, const struct candidate *candidate, void *prepared,
	struct arena *scratch, struct score *out)
{
	const struct repetition_state *s = state;
	const uint32_t *ids = candidate->ids;
	size_t len = candidate->n_ids;
	(void)prepared;
	if (!ids) {
		ids = word_ids(candidate->text, scratch, &len);
	}
	if (len < (size_t)s->n + 1) {
		*out = (struct score){.known = true, .value = 0, .reason = "too_short"};
		return;
	}
	size_t total = len - s->n + 1;
	size_t distinct = count_distinct(ids, total, s->n, scratch);
	*out = (struct score){.known = true,
		.value = 1.0 - (double)distinct / (double)total,
		.reason = "measured"};
}

const struct verifier_ops verify_repetition = {
	.name = "repetition",
	.summary = "share of runs of n tokens that occurred before: 0 never, near 1 a loop",
	.version = 1,
	.is_fact = true,
	.params = params,
	.config_size = sizeof(struct repetition_config),
	.state_size = sizeof(struct repetition_state),
	.reasons = reasons,
	.open = open_repetition,
	.score = score,
};
