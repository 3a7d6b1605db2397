/*
 * The plan: which candidates stand in which row. In the packed layout a row is filled by best fit; in the samples layout a
 * row has room for one, so that the same packing gives nothing but the shuffle of rows.
 *
 * Nothing is cut. What is longer than `context` is left out and named, or fails the run, as `over_long` says. What has no
 * tokens to train on fails the run in every layout: no column may be an empty array, and the ledger has no word for a
 * candidate that was chosen and then dropped for that.
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

#define OVER_LONG_NAMED 10 /* in the log; all are in the ledger */

struct length {
	int64_t candidate;
	uint32_t n;
};

struct planning {
	struct pack_state *s;
	struct length *lengths; /* owns */
	size_t n, cap, n_over_long;
};

/* "3.1": the second candidate of prompt 3, as people name it. */
static const char *name_of(int64_t candidate)
{
	return log_fmt("%lld.%lld", (long long)(candidate / CANDIDATES_MAX),
		(long long)(candidate % CANDIDATES_MAX));
}

static bool check_tokens(
	const struct pack_state *s, const struct ledger_chosen *c, struct error *err)
{
	/* First, as the ledger says of no ids that they have no source. */
	if (!c->n_ids) {
		error_set(err, FAIL_DATA,
			"candidate %s has 0 sampled tokens, so there is nothing to train on",
			name_of(c->candidate));
		return error_hint(err, "leave such candidates out: select.where: n_tokens > 0");
	}
	if (strcmp(c->token_source, "none") == 0) {
		error_set(err, FAIL_CONFIG, "candidate %s has no token ids, so it cannot be packed",
			name_of(c->candidate));
		return error_hint(err,
			"its engine returns none: give it `tokenizer: ENGINE`, an engine that "
			"tokenizes with the same model");
	}
	if (!c->n_prompt_ids && s->config->layout == PACK_SAMPLES) {
		error_set(err, FAIL_DATA,
			"candidate %s has a prompt of 0 tokens, which the samples layout cannot "
			"hold",
			name_of(c->candidate));
		return error_hint(err,
			"set pack.layout to packed, or give the prompts a template that writes "
			"something");
	}
	return true;
}

static bool add_length(void *ctx, const struct ledger_chosen *c, struct error *err)
{
	struct planning *p = ctx;
	if (!check_tokens(p->s, c, err)) {
		return false;
	}
	p->lengths = array_room(p->lengths, p->n, &p->cap, sizeof(*p->lengths));
	p->lengths[p->n++] = (struct length){c->candidate, c->n_prompt_ids + c->n_ids};
	return true;
}

static bool leave_out(struct planning *p, const struct length *l, struct error *err)
{
	const struct pack_config *config = p->s->config;
	if (config->over_long == PACK_FAIL) {
		error_set(err, FAIL_DATA, "candidate %s has %u tokens, more than context %u",
			name_of(l->candidate), l->n, config->context);
		return error_hint(err, "raise pack.context, or set pack.over_long to drop");
	}
	if (p->n_over_long++ < OVER_LONG_NAMED) {
		log_warn("candidate is longer than context, left out", "candidate",
			name_of(l->candidate), "tokens", log_fmt("%u", l->n), "context",
			log_fmt("%u", config->context), NULL);
	}
	return ledger_add_selection(p->s->run->ledger, l->candidate, 1, "over_long", err);
}

/* Moves what fits to the front and returns its number, or -1. */
static int64_t keep_fitting(struct planning *p, uint32_t *out_lengths, struct error *err)
{
	size_t kept = 0;
	for (size_t i = 0; i < p->n; i++) {
		if (p->lengths[i].n <= p->s->config->context) {
			out_lengths[kept] = p->lengths[i].n;
			p->lengths[kept++] = p->lengths[i];
		} else if (!leave_out(p, &p->lengths[i], err)) {
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
