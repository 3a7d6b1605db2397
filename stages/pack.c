/*
 * Packs the chosen candidates' tokens into MDS shards. Everything is made in WORKDIR/.staging/RUN and published at the end by
 * renaming the folders, sidecars first: shards/RUN is the commit. Each step can be repeated after a crash: the plan is one
 * transaction, a shard that is recorded is skipped, one that is there but not recorded is adopted if it is the planned one.
 *
 * A sequence is prompt ids, then sampled ids; only the sampled ones are trained on. Nothing is cut: what is longer than
 * `context` is left out and named, or fails the run, as `over_long` says.
 */
#include "stages.h"

#include "base/file.h"
#include "base/half.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "definition.h"
#include "ledger/ledger.h"
#include "run.h"
#include "shard/mds.h"
#include "shard/packing.h"
#include "stage.h"

#include <assert.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OVER_LONG_NAMED 10 /* in the log; all are in the ledger */

struct pack_config {
	uint32_t context, zstd, sequences_max, frames, over_long;
	uint64_t shard_bytes;
	char *score;
};

enum over_long { OVER_LONG_DROP, OVER_LONG_FAIL };

static const char *const over_long_names[] = {"drop", "fail", NULL};
static const char *const frames_names[] = {"many", "single", NULL};

static const struct param params[] = {
	PARAM_U32("context", struct pack_config, context, .def = "2048", .min = 16, .max = 16777216,
		.help = "tokens of a packed sample at most"),
	PARAM_SIZE("shard_bytes", struct pack_config, shard_bytes, .def = "64MiB", .min = 65536,
		.max = 4294967295.0, .help = "uncompressed size of a shard at most"),
	PARAM_U32("zstd", struct pack_config, zstd, .def = "3", .min = 1, .max = 19,
		.help = "compression level"),
	PARAM_ENUM("frames", struct pack_config, frames, .def = "many", .names = frames_names,
		.help = "many: single samples can be read; single: for readers with python-zstd "
			"before 1.5.5.1"),
	PARAM_U32("max_sequences", struct pack_config, sequences_max, .def = "0", .min = 0,
		.max = 65535, .help = "conversations in one sample at most; 0: as many as fit"),
	PARAM_ENUM("over_long", struct pack_config, over_long, .def = "drop",
		.names = over_long_names,
		.help = "what becomes of a candidate longer than context: left out and named, or "
			"the run fails"),
	PARAM_STR("score", struct pack_config, score,
		.help = "verifier whose score goes with each sequence; default: the first"),
	{0},
};

struct length {
	int64_t candidate;
	uint32_t n;
};

struct pack_state {
	const struct pack_config *config;
	struct run *run;
	char *staging; /* WORKDIR/.staging/RUN */
	char *model; /* owns; of the engine that wrote */
	size_t score; /* index of the verifier */
	bool wide_ids; /* uint32 */
	bool has_logprobs;
	/* The plan in the making. */
	struct length *lengths; /* owns */
	size_t n, cap, n_over_long;
	/* The row in the making: all its columns. */
	struct str tokens, mask, seq_lens, sample_ids, scores;
	struct arena arena;
	uint64_t n_tokens, n_loss_tokens, n_sequences, n_rows;
};

static void check(const void *config, const struct stage_check *c)
{
	const struct pack_config *pc = config;
	struct error err = {0};
	const char **names = xcalloc(c->definition->n_verifiers, sizeof(*names));
	bool found = !pc->score;
	for (size_t i = 0; i < c->definition->n_verifiers; i++) {
		names[i] = c->definition->verifiers[i].name;
		found = found || strcmp(pc->score, names[i]) == 0;
	}
	if (!found) {
		const char *nearest = text_nearest(pc->score, names, c->definition->n_verifiers);
		node_error(&err, c->tree, node_get(c->node, "score"),
			"stage 'pack': there is no verifier '%s'", pc->score);
		if (nearest) {
			error_hint(&err, "did you mean '%s'?", nearest);
		}
		error_list_add(c->errors, &err);
	}
	free(names);
}

/* --- planning --- */

static bool add_length(void *ctx, const struct ledger_chosen *c, struct error *err)
{
	struct pack_state *s = ctx;
	if (strcmp(c->token_source, "none") == 0) {
		error_set(err, FAIL_CONFIG,
			"candidate %lld has no token ids, so it cannot be packed",
			(long long)c->candidate);
		return error_hint(err,
			"its engine returns none: give it `tokenizer: ENGINE`, an engine that "
			"tokenizes with the same model");
	}
	s->lengths = array_room(s->lengths, s->n, &s->cap, sizeof(*s->lengths));
	s->lengths[s->n++] = (struct length){c->candidate, c->n_prompt_ids + c->n_ids};
	return true;
}

static bool leave_out(struct pack_state *s, const struct length *l, struct error *err)
{
	AUTO_FREE char *name = xasprintf("%lld.%lld", (long long)(l->candidate / CANDIDATES_MAX),
		(long long)(l->candidate % CANDIDATES_MAX));
	if (s->config->over_long == OVER_LONG_FAIL) {
		error_set(err, FAIL_DATA, "candidate %s has %u tokens, more than context %u", name,
			l->n, s->config->context);
		return error_hint(err, "raise pack.context, or set pack.over_long to drop");
	}
	if (s->n_over_long++ < OVER_LONG_NAMED) {
		log_warn("candidate is longer than context, left out", "candidate", name, "tokens",
			log_fmt("%u", l->n), "context", log_fmt("%u", s->config->context), NULL);
	}
	return ledger_add_selection(s->run->ledger, l->candidate, 1, "over_long", err);
}

static bool make_plan(struct pack_state *s, struct error *err)
{
	struct ledger *ledger = s->run->ledger;
	/* Shards of an older plan must not stand beside the new ones. */
	if (!file_remove_tree(s->staging, err) || !ledger_clear_plan(ledger, err) ||
		!ledger_each_chosen(ledger, add_length, s, err)) {
		return false;
	}
	uint32_t *lengths = xcalloc(s->n, sizeof(*lengths));
	size_t kept = 0;
	bool ok = true;
	ledger_set_commit_rows(ledger, UINT_MAX);
	for (size_t i = 0; ok && i < s->n; i++) {
		if (s->lengths[i].n > s->config->context) {
			ok = leave_out(s, &s->lengths[i], err);
		} else {
			lengths[kept] = s->lengths[i].n;
			s->lengths[kept++] = s->lengths[i];
		}
	}
	if (ok) {
		uint64_t seed = hash64(
			&s->run->def->seed, sizeof(s->run->def->seed), (uint64_t)s->run->number);
		struct packing p;
		pack_lengths(lengths, kept,
			&(struct packing_options){
				s->config->context, s->config->sequences_max, seed},
			&p);
		for (size_t r = 0; ok && r < p.n_rows; r++) {
			for (uint32_t k = p.row_starts[r]; ok && k < p.row_starts[r + 1]; k++) {
				ok = ledger_add_plan(ledger, r, k - p.row_starts[r],
					s->lengths[p.items[k]].candidate, err);
			}
		}
		packing_release(&p);
	}
	free(lengths);
	ok = ok && ledger_flush(ledger, err);
	ledger_set_commit_rows(ledger, s->run->def->ledger.commit_rows);
	return ok;
}

/* --- rows --- */

static void begin_row(struct pack_state *s)
{
	str_reset(&s->tokens);
	str_reset(&s->mask);
	str_reset(&s->seq_lens);
	str_reset(&s->sample_ids);
	str_reset(&s->scores);
}

static void put_ids(struct pack_state *s, const uint32_t *ids, size_t n, uint8_t trained)
{
	for (size_t i = 0; i < n; i++) {
		if (s->wide_ids) {
			str_append(&s->tokens, &ids[i], sizeof(ids[i]));
		} else {
			assert(ids[i] <= UINT16_MAX);
			uint16_t id = (uint16_t)ids[i];
			str_append(&s->tokens, &id, sizeof(id));
		}
		str_append(&s->mask, &trained, 1);
	}
}

static float score_of(const struct pack_state *s, const struct ledger_candidate *c)
{
	for (size_t i = 0; s->score < s->run->def->n_verifiers && i < c->n_scores; i++) {
		if (strcmp(c->scores[i].verifier, s->run->def->verifiers[s->score].name) == 0 &&
			c->scores[i].known) {
			return (float)c->scores[i].value;
		}
	}
	return NAN;
}

static bool load(struct pack_state *s, int64_t candidate, struct ledger_candidate *out,
	struct ledger_prompt *out_prompt, struct error *err)
{
	arena_reset(&s->arena);
	enum ledger_found found = ledger_get_candidate(
		s->run->ledger, candidate, &s->arena, out, out_prompt, err);
	if (found == LEDGER_END ||
		(found == LEDGER_FOUND && (!out->ids || !out->n_ids || !out_prompt->ids))) {
		return error_set(err, FAIL_DATA,
			"candidate %lld is in the plan but its tokens are not in the ledger",
			(long long)candidate);
	}
	return found == LEDGER_FOUND;
}

/* --- building a folder --- */

enum folder { FOLDER_SHARDS, FOLDER_META, FOLDER_LOGPROBS, N_FOLDERS };
static const char *const folder_names[N_FOLDERS] = {"shards", "meta", "logprobs"};

/* Columns are sorted by name, as MDSWriter has them. */
static const struct mds_column packed_columns_16[] = {{"loss_mask", "ndarray:uint8"},
	{"sample_ids", "ndarray:uint64"}, {"scores", "ndarray:float32"},
	{"seq_lens", "ndarray:int32"}, {"tokens", "ndarray:uint16"}};
static const struct mds_column packed_columns_32[] = {{"loss_mask", "ndarray:uint8"},
	{"sample_ids", "ndarray:uint64"}, {"scores", "ndarray:float32"},
	{"seq_lens", "ndarray:int32"}, {"tokens", "ndarray:uint32"}};
static const struct mds_column meta_columns[] = {{"candidate", "int32"}, {"meta", "json"},
	{"model", "str"}, {"prompt_id", "str"}, {"sample_id", "uint64"}, {"score", "float32"},
	{"source", "str"}, {"verifier", "str"}};
static const struct mds_column logprobs_columns[] = {
	{"logprobs", "ndarray:float16"}, {"sample_id", "uint64"}};

#define COLUMNS_MAX 8

/* Turns rows into published, recorded shards of one folder; one image in memory at a time. */
struct builder {
	struct pack_state *s;
	enum folder folder;
	char *dir; /* owns; in the staging folder */
	struct mds_format format;
	struct mds_shard *shard; /* owns */
	struct mds_shard_info *infos; /* owns; n_infos */
	size_t n_infos, cap_infos;
	struct ledger_shard *recorded; /* owns; what the ledger has already */
	size_t n_recorded;
	uint64_t n_rows, first_row; /* of the shard in the making */
	struct str buffers[COLUMNS_MAX];
	int64_t row; /* packed row in the making; -1: none */
};

static bool builder_init(
	struct builder *b, struct pack_state *s, enum folder folder, struct error *err)
{
	const struct pack_config *c = s->config;
	static const struct {
		const struct mds_column *columns;
		size_t n;
	} of[] = {{packed_columns_16, ARRAY_LEN(packed_columns_16)},
		{meta_columns, ARRAY_LEN(meta_columns)},
		{logprobs_columns, ARRAY_LEN(logprobs_columns)}};
	*b = (struct builder){.s = s, .folder = folder, .row = -1};
	b->format = (struct mds_format){.columns = folder == FOLDER_SHARDS && s->wide_ids
			? packed_columns_32
			: of[folder].columns,
		.n_columns = of[folder].n,
		.shard_bytes = (uint32_t)c->shard_bytes,
		.level = (int)c->zstd,
		.single_frame = c->frames == 1};
	for (size_t i = 0; i < COLUMNS_MAX; i++) {
		str_init(&b->buffers[i], STR_NO_CAP);
	}
	b->dir = file_join(s->staging, folder_names[folder]);
	b->shard = mds_shard_new(&b->format);
	return file_make_dirs(b->dir, err) && file_remove_drafts(b->dir, err) &&
		ledger_get_shards(
			s->run->ledger, folder_names[folder], &b->recorded, &b->n_recorded, err);
}

static void builder_release(struct builder *b)
{
	for (size_t i = 0; i < COLUMNS_MAX; i++) {
		str_release(&b->buffers[i]);
	}
	mds_shard_free(b->shard);
	free(b->infos);
	free(b->recorded);
	free(b->dir);
}

static bool record(struct builder *b, const struct mds_shard_info *info, struct error *err)
{
	struct ledger_shard row = {.no = info->no,
		.first_row = b->first_row,
		.n_rows = info->n_samples,
		.raw_bytes = info->raw_bytes,
		.zip_bytes = info->zip_bytes};
	hash64_hex(info->raw_xxh64, row.raw_xxh64);
	hash64_hex(info->zip_xxh64, row.zip_xxh64);
	memcpy(row.zip_sha256, info->zip_sha256, sizeof(row.zip_sha256));
	return ledger_add_shard(b->s->run->ledger, folder_names[b->folder], &row, err);
}

/* A file that is there may be this run's, published before a crash: the planned content decides. */
static bool publish_shard(struct builder *b, struct error *err)
{
	uint32_t no = (uint32_t)b->n_infos;
	struct mds_shard_info info;
	enum mds_found found = MDS_ABSENT;
	if (mds_shard_is_there(b->dir, no) &&
		!mds_shard_check(b->dir, no, mds_shard_raw_hash(b->shard), &found, &info, err)) {
		return false;
	}
	if (found == MDS_OTHER) {
		log_warn("a shard that is there is not the planned one, writing it again", "folder",
			b->dir, "no", log_fmt("%u", no), "reason", err->msg, NULL);
	}
	if (found != MDS_SAME && !mds_shard_publish(b->shard, b->dir, no, &info, err)) {
		return false;
	}
	char hex[17];
	hash64_hex(info.raw_xxh64, hex);
	bool known = no < b->n_recorded && strcmp(b->recorded[no].raw_xxh64, hex) == 0 &&
		strcmp(b->recorded[no].zip_sha256, info.zip_sha256) == 0;
	if (!known && !record(b, &info, err)) {
		return false;
	}
	b->infos = array_room(b->infos, b->n_infos, &b->cap_infos, sizeof(*b->infos));
	b->infos[b->n_infos++] = info;
	b->first_row = b->n_rows;
	mds_shard_reset(b->shard);
	return true;
}

static bool builder_add(struct builder *b, const struct slice *values, struct error *err)
{
	if (mds_shard_n_samples(b->shard) && !mds_shard_would_fit(b->shard, values) &&
		!publish_shard(b, err)) {
		return false;
	}
	mds_shard_add(b->shard, values);
	b->n_rows++;
	return true;
}

static struct slice array_value(
	struct str *buffer, enum mds_dtype dtype, const void *items, size_t n)
{
	str_reset(buffer);
	mds_put_array(buffer, dtype, items, n);
	return (struct slice){buffer->data, buffer->len};
}

/* --- packed rows --- */

static bool end_packed_row(struct builder *b, struct error *err)
{
	struct pack_state *s = b->s;
	if (b->row < 0) {
		return true;
	}
	size_t n_tokens = s->mask.len, n = s->seq_lens.len / sizeof(int32_t);
	assert(n_tokens && n_tokens <= s->config->context);
	struct slice values[COLUMNS_MAX] = {
		array_value(&b->buffers[0], MDS_UINT8, s->mask.data, n_tokens),
		array_value(&b->buffers[1], MDS_UINT64, s->sample_ids.data, n),
		array_value(&b->buffers[2], MDS_FLOAT32, s->scores.data, n),
		array_value(&b->buffers[3], MDS_INT32, s->seq_lens.data, n),
		array_value(&b->buffers[4], s->wide_ids ? MDS_UINT32 : MDS_UINT16, s->tokens.data,
			n_tokens),
	};
	s->n_tokens += n_tokens;
	s->n_sequences += n;
	s->n_rows++;
	return builder_add(b, values, err);
}

static bool visit_packed(
	void *ctx, uint64_t row, uint32_t pos UNUSED, int64_t candidate, struct error *err)
{
	struct builder *b = ctx;
	struct pack_state *s = b->s;
	struct ledger_candidate c;
	struct ledger_prompt p;
	if ((int64_t)row != b->row) {
		if (!end_packed_row(b, err)) {
			return false;
		}
		begin_row(s);
		b->row = (int64_t)row;
	}
	if (!load(s, candidate, &c, &p, err)) {
		return false;
	}
	put_ids(s, p.ids, p.n_ids, 0);
	put_ids(s, c.ids, c.n_ids, 1);
	int32_t len = (int32_t)(p.n_ids + c.n_ids);
	uint64_t id = (uint64_t)candidate;
	float score = score_of(s, &c);
	str_append(&s->seq_lens, &len, sizeof(len));
	str_append(&s->sample_ids, &id, sizeof(id));
	str_append(&s->scores, &score, sizeof(score));
	s->n_loss_tokens += c.n_ids;
	s->has_logprobs = s->has_logprobs || c.logprobs;
	return true;
}

/* --- sidecars: one row a sequence, in the order of the packed rows --- */

static void put_meta(struct pack_state *s, const struct ledger_candidate *c, struct str *out)
{
	struct json_writer w = {.out = out};
	str_reset(out);
	json_begin_object(&w);
	json_key(&w, "finish");
	json_put_z(&w, c->finish);
	json_key(&w, "n_tokens");
	json_put_uint(&w, c->n_tokens);
	json_key(&w, "run");
	json_put_z(&w, s->run->id);
	json_key(&w, "scores");
	json_begin_object(&w);
	for (size_t i = 0; i < c->n_scores; i++) {
		json_key(&w, c->scores[i].verifier);
		if (c->scores[i].known) {
			json_put_num(&w, c->scores[i].value);
		} else {
			json_put_null(&w);
		}
	}
	json_end_object(&w);
	json_key(&w, "seed");
	json_put_uint(&w, c->seed);
	json_key(&w, "token_source");
	json_put_z(&w, c->token_source);
	json_end_object(&w);
}

static bool visit_meta(
	void *ctx, uint64_t row UNUSED, uint32_t pos UNUSED, int64_t candidate, struct error *err)
{
	struct builder *b = ctx;
	struct pack_state *s = b->s;
	struct ledger_candidate c;
	struct ledger_prompt p;
	if (!load(s, candidate, &c, &p, err)) {
		return false;
	}
	int32_t idx = (int32_t)c.idx;
	uint64_t id = (uint64_t)candidate;
	float score = score_of(s, &c);
	put_meta(s, &c, &b->buffers[0]);
	struct slice values[COLUMNS_MAX] = {
		mds_scalar(&idx, sizeof(idx)),
		{b->buffers[0].data, b->buffers[0].len},
		slice_z(s->model),
		slice_z(p.prompt_id),
		mds_scalar(&id, sizeof(id)),
		mds_scalar(&score, sizeof(score)),
		slice_z(p.source),
		slice_z(s->score < s->run->def->n_verifiers ? s->run->def->verifiers[s->score].name
							    : ""),
	};
	return builder_add(b, values, err);
}

static bool visit_logprobs(
	void *ctx, uint64_t row UNUSED, uint32_t pos UNUSED, int64_t candidate, struct error *err)
{
	struct builder *b = ctx;
	struct ledger_candidate c;
	struct ledger_prompt p;
	if (!load(b->s, candidate, &c, &p, err)) {
		return false;
	}
	uint64_t id = (uint64_t)candidate;
	/* A candidate without them (its tokens were made by another engine) has NaNs, so that rows stay parallel to meta's. */
	float *logprobs = arena_alloc_array(&b->s->arena, c.n_ids, sizeof(*logprobs));
	for (size_t i = 0; i < c.n_ids; i++) {
		logprobs[i] = c.logprobs ? c.logprobs[i] : NAN;
	}
	str_reset(&b->buffers[1]);
	half_encode(logprobs, c.n_ids, &b->buffers[1]);
	struct slice values[COLUMNS_MAX] = {
		array_value(&b->buffers[0], MDS_FLOAT16, b->buffers[1].data, c.n_ids),
		mds_scalar(&id, sizeof(id))};
	return builder_add(b, values, err);
}

/* --- publishing --- */

static void put_fingerprint(void *ctx, const char *path, const char *value)
{
	struct json_writer *w = ctx;
	json_key(w, path);
	json_put_z(w, value);
}

/* The constants of the data set, the same in index.json and manifest.yaml; nothing that depends on the clock. */
static void put_facts(struct pack_state *s, struct json_writer *w)
{
	struct arena arena = {0};
	const struct definition *def = s->run->def;
	const char *tokenizer = ledger_meta(s->run->ledger, "tokenizer", &arena),
		   *n_vocab = ledger_meta(s->run->ledger, "n_vocab", &arena);
	json_begin_object(w);
	const struct {
		const char *key, *value;
	} texts[] = {{"run", s->run->id}, {"pipeline", def->name}, {"thresh", THRESH_VERSION},
		{"layout", "packed"}, {"model", s->model}, {"tokenizer", tokenizer},
		{"score", s->score < def->n_verifiers ? def->verifiers[s->score].name : NULL},
		{"accept", def->accept}};
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		json_key(w, texts[i].key);
		json_put_z(w, texts[i].value);
	}
	const struct {
		const char *key;
		uint64_t value;
	} numbers[] = {{"context", s->config->context},
		{"n_vocab", n_vocab ? strtoull(n_vocab, NULL, 10) : 0}, {"seed", def->seed},
		{"run_number", (uint64_t)s->run->number}, {"rows", s->n_rows},
		{"sequences", s->n_sequences}, {"tokens", s->n_tokens},
		{"loss_tokens", s->n_loss_tokens}};
	for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
		json_key(w, numbers[i].key);
		json_put_uint(w, numbers[i].value);
	}
	json_end_object(w);
	arena_release(&arena);
}

static void put_manifest(struct pack_state *s, const struct builder *b, struct str *out)
{
	str_append_z(out, "# What these shards are made of. JSON values, which are YAML too.\n");
	struct json_writer facts = {.out = out};
	str_append_z(out, "data: ");
	put_facts(s, &facts);
	str_append_z(out, "\ndefinition:\n");
	for (size_t i = 0; i < s->run->def->n_stages; i++) {
		const struct stage_def *stage = &s->run->def->stages[i];
		struct json_writer w = {.out = out};
		str_printf(out, "  %s: ", stage->ops->name);
		json_begin_object(&w);
		ledger_each_fingerprint(s->run->ledger, stage->ops->name, put_fingerprint, &w);
		json_end_object(&w);
		str_append_c(out, '\n');
	}
	str_append_z(out, "engines:\n");
	for (size_t i = 0; i < s->run->def->n_engines; i++) {
		struct json_writer w = {.out = out};
		AUTO_FREE char *stage = xasprintf("engine:%s", s->run->def->engines[i].config.name);
		str_printf(out, "  %s: ", s->run->def->engines[i].config.name);
		json_begin_object(&w);
		ledger_each_fingerprint(s->run->ledger, stage, put_fingerprint, &w);
		json_end_object(&w);
		str_append_c(out, '\n');
	}
	str_append_z(out, "shards:\n");
	for (size_t i = 0; i < b->n_infos; i++) {
		char name[MDS_NAME_BYTES], raw[17];
		mds_shard_name(b->infos[i].no, true, name);
		hash64_hex(b->infos[i].raw_xxh64, raw);
		str_printf(out,
			"  - {file: %s, rows: %u, raw_bytes: %llu, raw_xxh64: \"%s\", zip_bytes: "
			"%llu, zip_sha256: \"%s\"}\n",
			name, b->infos[i].n_samples, (unsigned long long)b->infos[i].raw_bytes, raw,
			(unsigned long long)b->infos[i].zip_bytes, b->infos[i].zip_sha256);
	}
}

static bool copy_vocab(struct pack_state *s, const char *dir, struct error *err)
{
	AUTO_FREE char *from = file_join(s->run->dir, "vocab.zst");
	if (!file_exists(from)) {
		return true;
	}
	struct str bytes;
	str_init(&bytes, (size_t)256 << 20);
	bool ok = file_read(from, (size_t)256 << 20, &bytes, err) &&
		file_publish(dir, "vocab.zst", bytes.data, bytes.len, err);
	str_release(&bytes);
	return ok;
}

static bool finish_folder(struct builder *b, struct error *err)
{
	if (mds_shard_n_samples(b->shard) && !publish_shard(b, err)) {
		return false;
	}
	struct str text;
	str_init(&text, STR_NO_CAP);
	struct json_writer w = {.out = &text};
	put_facts(b->s, &w);
	bool ok = true;
	if (b->folder == FOLDER_SHARDS) {
		struct str manifest;
		str_init(&manifest, STR_NO_CAP);
		put_manifest(b->s, b, &manifest);
		ok = copy_vocab(b->s, b->dir, err) &&
			file_publish(b->dir, "manifest.yaml", manifest.data, manifest.len, err);
		str_release(&manifest);
	}
	ok = ok && mds_index_publish(&b->format, b->dir, b->infos, b->n_infos, text.data, err);
	str_release(&text);
	return ok;
}

static bool build_folder(struct pack_state *s, enum folder folder, struct error *err)
{
	static bool (*const visits[N_FOLDERS])(void *, uint64_t, uint32_t, int64_t,
		struct error *) = {visit_packed, visit_meta, visit_logprobs};
	struct builder b;
	uint64_t rows = (uint64_t)ledger_count_plan_rows(s->run->ledger);
	bool ok = builder_init(&b, s, folder, err) &&
		ledger_each_plan(s->run->ledger, 0, rows, visits[folder], &b, err) &&
		(folder != FOLDER_SHARDS || end_packed_row(&b, err)) && finish_folder(&b, err);
	builder_release(&b);
	return ok || error_context(err, "folder '%s'", folder_names[folder]);
}

/* Sidecars first: the rename of the shards' folder is the commit. */
static bool publish(struct pack_state *s, struct error *err)
{
	static const enum folder order[] = {FOLDER_META, FOLDER_LOGPROBS, FOLDER_SHARDS};
	for (size_t i = 0; i < ARRAY_LEN(order); i++) {
		AUTO_FREE char *from = file_join(s->staging, folder_names[order[i]]);
		AUTO_FREE char *parent = file_join(s->run->def->workdir, folder_names[order[i]]);
		AUTO_FREE char *to = file_join(parent, s->run->id);
		/* A sidecar of an attempt that died before the commit, which is the shards' rename. */
		if (file_is_dir(from) && order[i] != FOLDER_SHARDS && !file_remove_tree(to, err)) {
			return false;
		}
		if (file_is_dir(from) &&
			(!file_make_dirs(parent, err) || !file_publish_dir(from, to, err))) {
			return false;
		}
	}
	return file_remove_tree(s->staging, err);
}

static bool report(struct pack_state *s, struct error *err)
{
	struct str text;
	str_init(&text, STR_NO_CAP);
	struct json_writer w = {.out = &text};
	double room = (double)s->n_rows * s->config->context;
	json_begin_object(&w);
	json_key(&w, "rows");
	json_put_uint(&w, s->n_rows);
	json_key(&w, "sequences");
	json_put_uint(&w, s->n_sequences);
	json_key(&w, "tokens");
	json_put_uint(&w, s->n_tokens);
	json_key(&w, "loss_tokens");
	json_put_uint(&w, s->n_loss_tokens);
	json_key(&w, "fill");
	json_put_num(&w, room > 0 ? (double)s->n_tokens / room : 0);
	json_key(&w, "over_long");
	json_put_uint(&w, s->n_over_long);
	json_end_object(&w);
	bool ok = ledger_set_stage(s->run->ledger, "pack", false, 0, text.data, err);
	str_release(&text);
	return ok;
}

/* --- the stage --- */

static bool open_pack(void *state, const void *config, struct run *run, struct error *err UNUSED)
{
	struct pack_state *s = state;
	struct arena arena = {0};
	s->config = config;
	s->run = run;
	s->staging = xasprintf("%s/.staging/%s", run->def->workdir, run->id);
	for (size_t i = 0; s->config->score && i < run->def->n_verifiers; i++) {
		s->score = strcmp(run->def->verifiers[i].name, s->config->score) == 0 ? i
										      : s->score;
	}
	const char *n_vocab = ledger_meta(run->ledger, "n_vocab", &arena);
	uint64_t vocab = n_vocab ? strtoull(n_vocab, NULL, 10) : 0;
	s->wide_ids = vocab == 0 || vocab > 65536;
	const char *engine = "";
	for (size_t i = 0; i < run->def->n_engines && !engine[0]; i++) {
		const char *model = ledger_meta(run->ledger,
			log_fmt("engine.%s.model", run->def->engines[i].config.name), &arena);
		engine = model ? model : "";
	}
	s->model = xstrdup(engine);
	struct str *strs[] = {&s->tokens, &s->mask, &s->seq_lens, &s->sample_ids, &s->scores};
	for (size_t i = 0; i < ARRAY_LEN(strs); i++) {
		str_init(strs[i], STR_NO_CAP);
	}
	arena_release(&arena);
	return true;
}

static void close_pack(void *state)
{
	struct pack_state *s = state;
	struct str *strs[] = {&s->tokens, &s->mask, &s->seq_lens, &s->sample_ids, &s->scores};
	for (size_t i = 0; i < ARRAY_LEN(strs); i++) {
		str_release(strs[i]);
	}
	arena_release(&s->arena);
	free(s->lengths);
	free(s->staging);
	free(s->model);
}

static bool run_pack(void *state, struct run *run, struct error *err)
{
	struct pack_state *s = state;
	AUTO_FREE char *parent = file_join(run->def->workdir, folder_names[FOLDER_SHARDS]);
	AUTO_FREE char *public = file_join(parent, run->id);
	if (file_exists(public)) {
		struct ledger_shard *shards;
		size_t n;
		if (!ledger_get_shards(
			    run->ledger, folder_names[FOLDER_SHARDS], &shards, &n, err)) {
			return false;
		}
		free(shards);
		/* Killed between the rename and the stage's mark: all is done but for the empty staging folder. */
		return (n > 0 && file_remove_tree(s->staging, err)) ||
			(error_set(err, FAIL_IO, "'%s' is there, but not by this ledger", public),
				error_hint(err,
					"move it away, or give the run another name: --run-id "
					"NAME"));
	}
	if (!ledger_count_plan_rows(run->ledger) && !make_plan(s, err)) {
		return false;
	}
	if (!ledger_count_plan_rows(run->ledger)) {
		log_warn("nothing was chosen, so there are no shards", NULL);
		return report(s, err);
	}
	return build_folder(s, FOLDER_SHARDS, err) && build_folder(s, FOLDER_META, err) &&
		(!s->has_logprobs || build_folder(s, FOLDER_LOGPROBS, err)) && report(s, err) &&
		ledger_flush(run->ledger, err) && publish(s, err);
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
	.close = close_pack,
};
