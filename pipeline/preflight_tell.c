#include "preflight_private.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/text.h"
#include "definition.h"
#include "engine/engine.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char *const seeds_words[] = {"unknown", "honoured", "not_honoured", "ignored"};
static const char *const seeds_told[] = {"not tried",
	"honoured: asked for twice with one seed, the same text came, and another with another "
	"seed",
	"not honoured: asked for twice with one seed, another text came",
	"perhaps ignored: another seed gave the same text"};

static void put_engine(struct preflight *p, const char *name, const struct engine_info *info)
{
	json_begin_object(&p->w);
	json_member_z(&p->w, "name", name);
	if (info) {
		json_member_z(&p->w, "dialect", info->dialect);
		json_member_z(&p->w, "model", info->model);
		json_member_z(&p->w, "build", info->build);
		json_member_int(&p->w, "slots", info->n_slots);
		json_member_int(&p->w, "context", info->context);
		json_member_bool(&p->w, "ids", info->has_ids);
		json_member_bool(&p->w, "logprobs", info->has_logprobs);
		json_member_bool(&p->w, "n", info->has_n);
		json_member_bool(&p->w, "seed", info->has_seed);
	}
	json_end_object(&p->w);
}

static void print_engine(const char *name, const struct engine_info *info)
{
	printf("engine %s: %s dialect, model %s, build %s, %u slots, context %u, ids %s, logprobs "
	       "%s, n %s, seeds %s\n",
		name, info->dialect, info->model ? info->model : "?",
		info->build ? info->build : "?", info->n_slots, info->context,
		info->has_ids ? "yes" : "no", info->has_logprobs ? "yes" : "no",
		info->has_n ? "yes" : "no", info->has_seed ? "yes" : "no");
}

void preflight_tell_engines(struct preflight *p)
{
	if (p->options->json) {
		json_key(&p->w, "engines");
		json_begin_array(&p->w);
	}
	for (size_t i = 0; i < p->def->n_engines; i++) {
		const char *name = p->def->engines[i].config.name;
		const struct engine_info *info = p->probe.errors[i].msg[0] ? NULL
									   : p->probe.infos[i];
		if (p->options->json) {
			put_engine(p, name, info);
		} else if (info) {
			print_engine(name, info);
		} else if (!p->def->engines[i].used) {
			printf("engine %s: not used by any stage\n", name);
		}
	}
	if (p->options->json) {
		json_end_array(&p->w);
		json_member_z(&p->w, "seeds", seeds_words[p->seeds]);
	} else if (p->writer) {
		printf("seeds     %s\n", seeds_told[p->seeds]);
	}
}

void preflight_tell_prompts(struct preflight *p)
{
	if (p->options->json) {
		json_member_int(&p->w, "prompts", p->n_prompts);
		json_member_int(&p->w, "longest_prompt", (int64_t)p->longest);
		return;
	}
	printf("prompts   %" PRId64 " to draw", p->n_prompts);
	if (p->longest && p->context) {
		printf("; the longest has %zu tokens of a context of %u", p->longest, p->context);
	} else if (p->longest) {
		printf("; the longest has %zu tokens", p->longest);
	}
	printf("\n");
	fflush(stdout);
}

static void put_trial(struct preflight *p)
{
	const struct trial *t = &p->trial;
	json_key(&p->w, "trial");
	json_begin_object(&p->w);
	json_member_bool(&p->w, "cut", t->cut);
	json_member_int(&p->w, "prompts", t->facts.n_prompts);
	json_member_int(&p->w, "candidates", t->facts.n_candidates);
	json_member_int(&p->w, "tokens", t->facts.n_tokens);
	json_member_int(&p->w, "accepted", t->n_accepted);
	json_member_int(&p->w, "rejected", t->n_rejected);
	json_member_int(&p->w, "undecided", t->n_undecided);
	json_member_int(&p->w, "failed", t->n_failed);
	json_member_int(&p->w, "truncated", t->n_truncated);
	json_member_int(&p->w, "chosen", t->facts.n_chosen);
	json_end_object(&p->w);
}

static void put_estimate(struct preflight *p)
{
	const struct estimate *e = &p->estimate;
	json_key(&p->w, "estimate");
	json_begin_object(&p->w);
	json_member_int(&p->w, "candidates", (int64_t)e->candidates);
	json_member_int(&p->w, "tokens", (int64_t)e->tokens);
	json_member_int(&p->w, "ms_min", (int64_t)e->ms_min);
	json_member_int(&p->w, "ms_max", (int64_t)e->ms_max);
	json_member_int(&p->w, "ledger_bytes", (int64_t)e->ledger_bytes);
	json_member_int(&p->w, "shard_bytes", (int64_t)e->shard_bytes);
	json_member_int(&p->w, "disk_free", (int64_t)p->disk_free);
	json_end_object(&p->w);
}

static void print_trial(const struct trial *t)
{
	char took[24];
	clock_duration(t->facts.flow_ms, took);
	printf("trial     %" PRId64 " prompts, %" PRId64 " candidates in %s%s: %" PRId64
	       " accepted, %" PRId64 " rejected, %" PRId64 " undecided, %" PRId64 " failed\n",
		t->facts.n_prompts, t->facts.n_candidates, took, t->cut ? " (cut)" : "",
		t->n_accepted, t->n_rejected, t->n_undecided, t->n_failed);
}

static void print_estimate(const struct preflight *p)
{
	const struct estimate *e = &p->estimate;
	char low[24], high[24], ledger[24], shards[24], there[24], candidates[28], tokens[28];
	clock_duration((int64_t)e->ms_min, low);
	clock_duration((int64_t)e->ms_max, high);
	text_format_size((uint64_t)e->ledger_bytes, ledger);
	text_format_size((uint64_t)e->shard_bytes, shards);
	text_format_size(p->disk_free, there);
	text_format_count((uint64_t)e->candidates, candidates);
	text_format_count((uint64_t)e->tokens, tokens);
	printf("estimate  %s candidates, %s tokens, %s to %s of generating; ledger %s, shards %s, "
	       "%s free\n",
		candidates, tokens, low, high, ledger, shards, there);
}

void preflight_tell_trial(struct preflight *p)
{
	if (p->options->json) {
		put_trial(p);
		put_estimate(p);
		return;
	}
	print_trial(&p->trial);
	if (p->estimate.tokens > 0) {
		print_estimate(p);
	}
}

void preflight_tell_warnings(struct preflight *p)
{
	const char *line = p->warnings.data;
	if (p->options->json) {
		json_key(&p->w, "warnings");
		json_begin_array(&p->w);
	}
	for (size_t i = 0; i < p->n_warnings; i++, line += strlen(line) + 1) {
		struct str shown;
		str_init(&shown, STR_NO_CAP);
		text_put_printable(&shown, line, strlen(line), false);
		if (p->options->json) {
			json_put_z(&p->w, line);
		} else {
			printf("warning: %s\n", shown.data);
		}
		str_release(&shown);
	}
	if (p->options->json) {
		json_end_array(&p->w);
	}
}
