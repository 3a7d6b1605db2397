/*
 * The plan: which candidates stand in which row. In the packed layout a row is filled by best fit; in the samples layout a
 * row has room for one, so that the same packing gives nothing but the shuffle of rows.
 *
 * Nothing is cut. What is longer than `context` is left out and named, or fails the run, as `over_long` says. What has no
 * sampled token is left out and named in every layout: there is nothing to train on, and no column may be an empty array.
 */
#include "pack_private.h"

#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "definition.h"
#include "ledger/ledger.h"
#include "run.h"
#include "shard/packing.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define LEFT_OUT_NAMED 10 /* in the log, of each outcome; all are in the ledger */

struct length {
	int64_t candidate;
	uint32_t n;
	bool empty; /* nothing was sampled */
};

struct planning {
	struct pack_state *s;
	struct length *lengths; /* owns */
	size_t n, cap, n_over_long, n_empty;
};

/* "3.1": the second candidate of prompt 3, as people name it. */
static const char *name_of(int64_t candidate)
{
	return log_fmt("%lld.%lld", (long long)(candidate / CANDIDATES_MAX),
		(long long)(candidate % CANDIDATES_MAX));
}

static bool add_length(void *ctx, const struct ledger_chosen *c, struct error *err)
{
	struct planning *p = ctx;
	/* The ledger says of no ids that they have no source, too, and that is no fault of the engine's. */
	if (c->n_ids && strcmp(c->token_source, "none") == 0) {
		error_set(err, FAIL_CONFIG, "candidate %s has no token ids, so it cannot be packed",
			name_of(c->candidate));
		return error_hint(err,
			"its engine returns none: give it `tokenizer: ENGINE`, an engine that "
			"tokenizes with the same model");
	}
	p->lengths = array_room(p->lengths, p->n, &p->cap, sizeof(*p->lengths));
	p->lengths[p->n++] = (struct length){
		c->candidate, c->n_prompt_ids + c->n_ids, c->n_ids == 0};
	return true;
}

static bool leave_out_empty(struct planning *p, const struct length *l, struct error *err)
{
	if (p->n_empty++ < LEFT_OUT_NAMED) {
		log_warn("candidate has no sampled token to train on, left out", "candidate",
			name_of(l->candidate), NULL);
	}
	return ledger_add_selection(p->s->run->ledger, l->candidate, 1, "empty", NULL, err);
}

static bool leave_out_over_long(struct planning *p, const struct length *l, struct error *err)
{
	const struct pack_config *config = p->s->config;
	if (config->over_long == PACK_FAIL) {
		error_set(err, FAIL_DATA, "candidate %s has %u tokens, more than context %u",
			name_of(l->candidate), l->n, config->context);
		return error_hint(err, "raise pack.context, or set pack.over_long to drop");
	}
	if (p->n_over_long++ < LEFT_OUT_NAMED) {
		log_warn("candidate is longer than context, left out", "candidate",
			name_of(l->candidate), "tokens", log_fmt("%u", l->n), "context",
			log_fmt("%u", config->context), NULL);
	}
	return ledger_add_selection(p->s->run->ledger, l->candidate, 1, "over_long", NULL, err);
}

/* Moves what fits to the front and returns its number, or -1. */
static int64_t keep_fitting(struct planning *p, uint32_t *out_lengths, struct error *err)
{
	size_t kept = 0;
	for (size_t i = 0; i < p->n; i++) {
		const struct length *l = &p->lengths[i];
		if (!l->empty && l->n <= p->s->config->context) {
			out_lengths[kept] = l->n;
			p->lengths[kept++] = *l;
		} else if (!(l->empty ? leave_out_empty : leave_out_over_long)(p, l, err)) {
			return -1;
		}
	}
	return (int64_t)kept;
}

static bool add_rows(
	struct planning *p, const uint32_t *lengths, size_t n_lengths, struct error *err)
{
	const struct run *run = p->s->run;
	const struct pack_config *c = p->s->config;
	struct packing_options options = {
		.context = c->context,
		.row_sequences_max = c->layout == PACK_SAMPLES ? 1 : c->sequences_max,
		.seed = hash64(&run->def->seed, sizeof(run->def->seed), (uint64_t)run->number),
	};
	struct packing packing;
	pack_lengths(lengths, n_lengths, &options, &packing);
	bool ok = true;
	for (size_t r = 0; ok && r < packing.n_rows; r++) {
		for (uint32_t k = packing.row_starts[r]; ok && k < packing.row_starts[r + 1]; k++) {
			ok = ledger_add_plan(run->ledger, r, k - packing.row_starts[r],
				p->lengths[packing.items[k]].candidate, err);
		}
	}
	packing_release(&packing);
	return ok;
}

bool pack_make_plan(struct pack_state *s, struct error *err)
{
	struct ledger *ledger = s->run->ledger;
	struct planning p = {.s = s};
	/* Shards of an older plan must not stand beside the new ones. */
	if (!file_remove_tree(s->staging, err) || !ledger_clear_plan(ledger, err) ||
		!ledger_each_chosen(ledger, add_length, &p, err)) {
		free(p.lengths);
		return false;
	}
	uint32_t *lengths = xcalloc(p.n, sizeof(*lengths));
	ledger_set_commit_rows(ledger, UINT_MAX);
	int64_t kept = keep_fitting(&p, lengths, err);
	bool ok = kept >= 0 && add_rows(&p, lengths, (size_t)kept, err) &&
		ledger_flush(ledger, err);
	ledger_set_commit_rows(ledger, s->run->def->ledger.commit_rows);
	free(lengths);
	free(p.lengths);
	return ok;
}
