/* What is left to do with the engine when all candidates are there: counts for the stage's facts, and the vocabulary that decodes the shards. */
#include "generate_private.h"

#include "base/log.h"
#include "base/mem.h"
#include "flow/flow.h"
#include "ledger/ledger.h"
#include "run.h"
#include "shard/vocab.h"
#include "stage.h"

#include <stdlib.h>
#include <string.h>

struct seen_ids {
	uint8_t *bits; /* owns */
	size_t n_bytes;
};

#define ID_MAX (1u << 24)

static void see_ids(void *ctx, const uint32_t *ids, size_t n)
{
	struct seen_ids *seen = ctx;
	for (size_t i = 0; i < n; i++) {
		size_t byte = ids[i] / 8;
		if (ids[i] >= ID_MAX) {
			continue;
		}
		if (byte >= seen->n_bytes) {
			size_t more = MAX(byte + 1, 2 * seen->n_bytes);
			seen->bits = xreallocarray(seen->bits, more, 1);
			memset(seen->bits + seen->n_bytes, 0, more - seen->n_bytes);
			seen->n_bytes = more;
		}
		seen->bits[byte] |= (uint8_t)(1u << ids[i] % 8);
	}
}

static void on_vocab(void *ctx, const struct engine_vocab *vocab)
{
	struct generate_state *s = ctx;
	struct error err = {0};
	if (vocab->err) {
		/* Nothing that was generated depends on it: shards are packed, and shown as ids. */
		log_warn("the vocabulary could not be read, shards will be shown as ids", "engine",
			engine_name(s->engine), "reason", vocab->err->msg, NULL);
	} else if (!vocab_publish(s->run->dir, vocab->ids, vocab->pieces, vocab->special, vocab->n,
			   &err)) {
		flow_failed(s->run, &err);
	} else if (!ledger_set_meta(s->run->ledger, "tokenizer", vocab->hash, &err) ||
		!ledger_set_meta(s->run->ledger, "n_vocab", log_fmt("%u", vocab->n_vocab), &err) ||
		!ledger_set_meta(s->run->ledger, "eos_id",
			log_fmt("%lld", (long long)vocab->eos_id), &err)) {
		flow_failed(s->run, &err);
	}
	flow_finished(s->run);
}

/* How often a candidate was continued, or asked for again because its stream could not tell its ids; for `status --json`. */
static bool keep_counts(struct generate_state *s, struct error *err)
{
	struct engine_stats stats;
	struct arena arena = {0};
	struct ledger_stage row;
	struct error ignored;
	int64_t continued = 0, again = 0;
	engine_stats(s->engine, &stats);
	if (!stats.continued && !stats.asked_again) {
		return true;
	}
	ledger_stage(s->run->ledger, "generate", &arena, &row);
	AUTO_JSON struct json *before = row.facts
		? json_parse(row.facts, strlen(row.facts), &ignored)
		: NULL;
	json_int(json_get(before, "continued"), &continued);
	json_int(json_get(before, "asked_again"), &again);
	const char *facts = arena_printf(&arena, "{\"continued\":%lld,\"asked_again\":%lld}",
		(long long)(continued + (int64_t)stats.continued),
		(long long)(again + (int64_t)stats.asked_again));
	bool ok = ledger_set_stage(s->run->ledger, "generate", false, 0, facts, err);
	arena_release(&arena);
	return ok;
}

void generate_finish(void *state)
{
	struct generate_state *s = state;
	struct seen_ids seen = {0};
	struct error err = {0};
	if (!keep_counts(s, &err) || !ledger_each_ids(s->run->ledger, see_ids, &seen, &err)) {
		free(seen.bits);
		flow_failed(s->run, &err);
		return;
	}
	uint32_t *ids = NULL;
	size_t n = 0, cap = 0;
	for (uint32_t id = 0; id < 8 * seen.n_bytes; id++) {
		if (seen.bits[id / 8] >> id % 8 & 1) {
			ids = array_room(ids, n, &cap, sizeof(*ids));
			ids[n++] = id;
		}
	}
	engine_read_vocab(s->tokenizer ? s->tokenizer : s->engine, ids, n, on_vocab, s);
	free(ids);
	free(seen.bits);
}
