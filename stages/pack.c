/*
 * Packs the chosen candidates' tokens into MDS shards. Everything is made in WORKDIR/.staging/RUN and published at the end by
 * renaming the folders, sidecars first: shards/RUN is the commit. Then the merged index over all nights is made anew. Each
 * step can be repeated after a crash: the plan is one transaction, a shard that is recorded is skipped, one that is there but
 * not recorded is adopted if it is the planned one, and the merged index is a function of the folders that are there.
 */
#include "stages.h"

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/workers.h"
#include "definition.h"
#include "ledger/ledger.h"
#include "pack_private.h"
#include "run.h"
#include "stage.h"

#include <stdlib.h>
#include <string.h>

const char *const pack_layout_names[] = {"packed", "samples", NULL};
static const char *const over_long_names[] = {"drop", "fail", NULL};
static const char *const frames_names[] = {"many", "single", NULL};

static const struct param params[] = {
	PARAM_ENUM("layout", struct pack_config, layout, .def = "packed",
		.names = pack_layout_names,
		.help = "packed: as many conversations in a row as fit, with a loss mask; samples: "
			"one a row, prompt and answer apart, for trainers that pack themselves"),
	PARAM_U32("context", struct pack_config, context, .def = "2048", .min = 16, .max = 16777216,
		.help = "tokens of a row at most"),
	PARAM_SIZE("shard_bytes", struct pack_config, shard_bytes, .def = "64MiB", .min = 65536,
		.max = 4294967295.0, .help = "uncompressed size of a shard at most"),
	PARAM_U32("zstd", struct pack_config, zstd, .def = "3", .min = 1, .max = 19,
		.help = "compression level"),
	PARAM_ENUM("frames", struct pack_config, frames, .def = "many", .names = frames_names,
		.help = "many: single samples can be read; single: for readers with python-zstd "
			"before 1.5.5.1"),
	PARAM_U32("max_sequences", struct pack_config, sequences_max, .def = "0", .min = 0,
		.max = 65535, .help = "conversations in one packed row at most; 0: as many as fit"),
	PARAM_ENUM("over_long", struct pack_config, over_long, .def = "drop",
		.names = over_long_names,
		.help = "what becomes of a candidate longer than context: left out and named, or "
			"the run fails"),
	PARAM_STR("score", struct pack_config, score,
		.help = "verifier whose score goes with each sequence; default: the first"),
	{0},
};

static void check_score(const struct pack_config *config, const struct stage_check *c)
{
	const struct definition *def = c->definition;
	struct error err = {0};
	const char **names = xcalloc(def->n_verifiers, sizeof(*names));
	bool found = !config->score;
	for (size_t i = 0; i < def->n_verifiers; i++) {
		names[i] = def->verifiers[i].name;
		found = found || strcmp(config->score, names[i]) == 0;
	}
	if (!found) {
		const char *nearest = text_nearest(config->score, names, def->n_verifiers);
		node_error(&err, c->tree, node_get(c->node, "score"),
			"stage 'pack': there is no verifier '%s'", config->score);
		if (nearest) {
			error_hint(&err, "did you mean '%s'?", nearest);
		}
		error_list_add(c->errors, &err);
	}
	free(names);
}

static void check(const void *config, const struct stage_check *c)
{
	const struct pack_config *pc = config;
	check_score(pc, c);
	/* 0, the default, is true of any layout. */
	if (pc->layout == PACK_SAMPLES && pc->sequences_max) {
		struct error err = {0};
		node_error(&err, c->tree, node_get(c->node, "max_sequences"),
			"stage 'pack': max_sequences is %u, but a row of layout 'samples' has one "
			"conversation",
			pc->sequences_max);
		error_hint(&err, "leave max_sequences out, or set layout to packed");
		error_list_add(c->errors, &err);
	}
}

/* --- publishing --- */

/* Sidecars first: the rename of the shards' folder is the commit. */
static bool publish(struct pack_state *s, struct error *err)
{
	static const enum pack_folder_kind order[] = {PACK_META, PACK_LOGPROBS, PACK_SHARDS};
	for (size_t i = 0; i < ARRAY_LEN(order); i++) {
		const char *name = pack_folder_names[order[i]];
		AUTO_FREE char *from = file_join(s->staging, name);
		AUTO_FREE char *parent = file_join(s->run->def->workdir, name);
		AUTO_FREE char *to = file_join(parent, s->run->id);
		/* A sidecar of an attempt that died before the commit, which is the shards' rename. */
		if (order[i] != PACK_SHARDS && !file_remove_tree(to, err)) {
			return false;
		}
		if (file_is_dir(from) &&
			(!file_make_dirs(parent, err) || !file_publish_dir(from, to, err))) {
			return false;
		}
	}
	return true;
}

/* Chosen, but in no row. */
struct left_out {
	int64_t over_long, empty;
};

/* Counted in the ledger, since the plan may have been made by a sitting that was killed. */
static bool count_left_out(struct pack_state *s, struct left_out *out, struct error *err)
{
	struct arena arena = {0};
	struct ledger_count *counts;
	size_t n;
	bool ok = ledger_counts(s->run->ledger, &arena, &counts, &n, err);
	*out = (struct left_out){0};
	for (size_t i = 0; ok && i < n; i++) {
		if (strcmp(counts[i].what, "selection") != 0) {
			continue;
		}
		if (strcmp(counts[i].state, "over_long") == 0) {
			out->over_long = counts[i].n;
		} else if (strcmp(counts[i].state, "empty") == 0) {
			out->empty = counts[i].n;
		}
	}
	arena_release(&arena);
	return ok;
}

static void put_report(
	const struct pack_state *s, const struct left_out *left_out, struct json_writer *w)
{
	const struct {
		const char *key;
		uint64_t value;
	} counts[] = {{"rows", s->n_rows}, {"sequences", s->n_sequences}, {"tokens", s->n_tokens},
		{"loss_tokens", s->n_loss_tokens}, {"over_long", (uint64_t)left_out->over_long},
		{"empty", (uint64_t)left_out->empty}};
	json_begin_object(w);
	json_member_z(w, "layout", pack_layout_names[s->config->layout]);
	for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
		json_member_uint(w, counts[i].key, counts[i].value);
	}
	/* Neither means anything where the trainer packs. */
	if (s->config->layout == PACK_PACKED) {
		json_member_num(w, "fill", pack_fill(s));
		/* Tokens that rows of one sequence each would have been filled up with. */
		json_member_uint(
			w, "padding_avoided", s->n_sequences * s->config->context - s->n_tokens);
	}
	json_end_object(w);
}

static bool report(struct pack_state *s, struct error *err)
{
	struct left_out left_out;
	if (!count_left_out(s, &left_out, err)) {
		return false;
	}
	struct str text;
	str_init(&text, STR_NO_CAP);
	struct json_writer w = {.out = &text};
	put_report(s, &left_out, &w);
	bool ok = ledger_set_stage(s->run->ledger, "pack", false, 0, text.data, err);
	str_release(&text);
	return ok;
}

/* --- the stage --- */

/* Which model wrote, and under which chat template its prompts were rendered: by its tokenizer engine, if it has one. */
static void find_writer(struct pack_state *s, struct arena *arena)
{
	struct run *run = s->run;
	const char *engine = NULL;
	for (size_t i = 0; i < run->def->n_stages && !engine; i++) {
		const struct stage_ops *ops = run->def->stages[i].ops;
		engine = ops->plan ? ledger_fingerprint(run->ledger, ops->name, "engine", arena)
				   : NULL;
	}
	const struct engine_def *def = engine ? definition_engine(run->def, engine) : NULL;
	const char *model = engine
		? ledger_meta(run->ledger, log_fmt("engine.%s.model", engine), arena)
		: NULL;
	s->model = xstrdup(model ? model : "");
	AUTO_FREE char *renderer = xasprintf("engine:%s",
		def && def->tokenizer ? def->tokenizer
			: engine      ? engine
				      : "");
	const char *chat_template = ledger_fingerprint(
		run->ledger, renderer, "chat_template", arena);
	s->chat_template = chat_template ? xstrdup(chat_template) : NULL;
}

static bool open_pack(void *state, const void *config, struct run *run, struct error *err UNUSED)
{
	struct pack_state *s = state;
	struct arena arena = {0};
	s->config = config;
	s->run = run;
	s->staging = xasprintf("%s/.staging/%s", run->def->workdir, run->id);
	s->score = s->config->score         ? s->config->score
		: run->def->n_verifiers > 0 ? run->def->verifiers[0].name
					    : NULL;
	const char *n_vocab = ledger_meta(run->ledger, "n_vocab", &arena);
	uint64_t vocab = n_vocab ? strtoull(n_vocab, NULL, 10) : 0;
	s->wide_ids = vocab == 0 || vocab > 65536;
	find_writer(s, &arena);
	arena_release(&arena);
	return true;
}

static void close_pack(void *state)
{
	struct pack_state *s = state;
	workers_free(s->workers);
	free(s->staging);
	free(s->model);
	free(s->chat_template);
}

/* Killed between the shards' rename and the stage's mark: what comes after the rename is done once more. */
static bool finish_published(struct pack_state *s, const char *public, struct error *err)
{
	struct ledger_shard *shards;
	size_t n;
	if (!ledger_get_shards(s->run->ledger, pack_folder_names[PACK_SHARDS], &shards, &n, err)) {
		return false;
	}
	free(shards);
	if (!n) {
		error_set(err, FAIL_IO, "'%s' is there, but not by this ledger", public);
		return error_hint(err, "move it away, or give the run another name: --run-id NAME");
	}
	return pack_publish_merged(s, err) && file_remove_tree(s->staging, err);
}

static bool run_pack(void *state, struct run *run, struct error *err)
{
	struct pack_state *s = state;
	AUTO_FREE char *parent = file_join(run->def->workdir, pack_folder_names[PACK_SHARDS]);
	AUTO_FREE char *public = file_join(parent, run->id);
	if (file_exists(public)) {
		return finish_published(s, public, err);
	}
	if (!ledger_count_plan_rows(run->ledger) && !pack_make_plan(s, err)) {
		return false;
	}
	if (!ledger_count_plan_rows(run->ledger)) {
		log_warn("nothing was chosen, so there are no shards", NULL);
		return report(s, err);
	}
	s->workers = workers_new(0);
	return pack_build_folder(s, PACK_SHARDS, err) && pack_build_folder(s, PACK_META, err) &&
		(!s->has_logprobs || pack_build_folder(s, PACK_LOGPROBS, err)) && report(s, err) &&
		ledger_flush(run->ledger, err) && publish(s, err) && pack_publish_merged(s, err) &&
		file_remove_tree(s->staging, err);
}

static bool mend_merged(struct run *run, struct error *err)
{
	struct pack_state s = {.run = run};
	return pack_publish_merged(&s, err);
}

const struct stage_ops pack_stage = {
	.name = "pack",
	.summary = "packs the chosen tokens into zstd shards that StreamingDataset opens",
	.params = params,
	.config_size = sizeof(struct pack_config),
	.state_size = sizeof(struct pack_state),
	.check = check,
	.open = open_pack,
	.run = run_pack,
	.publishes = true,
	.reset = ledger_clear_plan,
	.mend = mend_merged,
	.close = close_pack,
};
