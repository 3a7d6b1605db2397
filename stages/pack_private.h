/*
 * What the files of the pack stage share. The way of a candidate: pack_plan.c decides which row it stands in, pack_rows.c
 * makes the row's columns out of the ledger, pack_folder.c turns rows into recorded shards of one folder, pack_facts.c says
 * what the folder is, pack.c publishes, pack_merged.c tells readers of all nights at once.
 */
#ifndef STAGES_PACK_PRIVATE_H
#define STAGES_PACK_PRIVATE_H

#include "base/error.h"
#include "base/json.h"
#include "base/str.h"
#include "shard/mds.h"

#include <stdbool.h>
#include <stdint.h>

struct run;
struct ledger_shard;
struct workers;

enum pack_layout { PACK_PACKED, PACK_SAMPLES };
enum pack_over_long { PACK_DROP, PACK_FAIL };

extern const char *const pack_layout_names[];

struct pack_config {
	uint32_t layout, context, zstd, sequences_max, frames, over_long;
	uint64_t shard_bytes;
	char *score;
};

struct pack_state {
	const struct pack_config *config;
	struct run *run;
	char *staging; /* owns; WORKDIR/.staging/RUN */
	char *model,
		*chat_template; /* own; of the engine that wrote; the latter is a hash, or NULL */
	const char *score; /* verifier whose score goes with each sequence; borrows; NULL: none */
	bool wide_ids; /* uint32 */
	struct workers *workers; /* owns; compress and read back */
	/* Known once the shards' folder is built. */
	bool has_logprobs;
	uint64_t n_rows, n_sequences, n_tokens, n_loss_tokens;
};

/* Decides the rows and writes them to the ledger, in one transaction. Shards of an older plan are removed. */
MUST_CHECK bool pack_make_plan(struct pack_state *s, struct error *err);

enum pack_folder_kind { PACK_SHARDS, PACK_META, PACK_LOGPROBS, PACK_N_FOLDERS };
extern const char *const pack_folder_names[PACK_N_FOLDERS];

/* Builds a folder of the staging folder out of the plan. The shards' comes first: it counts what the others' facts say. */
MUST_CHECK bool pack_build_folder(
	struct pack_state *s, enum pack_folder_kind kind, struct error *err);

#define PACK_COLUMNS_MAX 8

/* Turns rows into published, recorded shards of one folder; one shard in memory at a time. */
struct pack_folder {
	struct pack_state *s;
	enum pack_folder_kind kind;
	char *dir; /* owns; in the staging folder */
	struct mds_format format;
	struct mds_shard *shard; /* owns */
	struct mds_shard_info *infos; /* owns; n_infos */
	size_t n_infos, cap_infos;
	struct ledger_shard *recorded; /* owns; what the ledger has already */
	size_t n_recorded;
	uint64_t n_rows, first_row; /* of the shard in the making */
};

/* `columns` is borrowed. Release in either case. */
MUST_CHECK bool pack_folder_init(struct pack_folder *f, struct pack_state *s,
	enum pack_folder_kind kind, const struct mds_column *columns, size_t n_columns,
	struct error *err);
void pack_folder_release(struct pack_folder *f);
/* `values`: one slice a column; copied. */
MUST_CHECK bool pack_folder_add(
	struct pack_folder *f, const struct slice *values, struct error *err);
/* The last shard, then what describes the folder; index.json, which makes it readable, comes last. */
MUST_CHECK bool pack_folder_finish(struct pack_folder *f, struct error *err);

/* The constants of the data set as a JSON object, the same in index.json and manifest.yaml; nothing that depends on the clock. */
void pack_put_facts(struct pack_state *s, struct json_writer *w);
/* manifest.yaml: the facts, what the stages' parameters were, which engines, which shards. */
void pack_put_manifest(struct pack_state *s, const struct pack_folder *f, struct str *out);
/* Tokens by room for tokens in the rows, 0 to 1; 0 without rows. */
double pack_fill(const struct pack_state *s);

/* Writes WORKDIR/shards/index.json anew: this run and all others that can be read together with it. */
MUST_CHECK bool pack_publish_merged(struct pack_state *s, struct error *err);

#endif
