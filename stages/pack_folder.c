/*
 * A shard is built again after a crash and compared with what is there by its raw hash: one that is recorded or was published
 * but not recorded is adopted, anything else is written anew.
 */
#include "pack_private.h"

#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "definition.h"
#include "ledger/ledger.h"
#include "run.h"

#include <stdlib.h>
#include <string.h>

#define VOCAB_BYTES_MAX ((size_t)256 << 20)

const char *const pack_folder_names[PACK_N_FOLDERS] = {"shards", "meta", "logprobs"};

bool pack_folder_init(struct pack_folder *f, struct pack_state *s, enum pack_folder_kind kind,
	const struct mds_column *columns, size_t n_columns, struct error *err)
{
	const struct pack_config *c = s->config;
	*f = (struct pack_folder){.s = s, .kind = kind};
	f->format = (struct mds_format){.columns = columns,
		.n_columns = n_columns,
		.shard_bytes = (uint32_t)c->shard_bytes,
		.level = (int)c->zstd,
		.single_frame = c->frames == 1,
		.workers = s->workers};
	f->dir = file_join(s->staging, pack_folder_names[kind]);
	f->shard = mds_shard_new(&f->format);
	return file_make_dirs(f->dir, err) && file_remove_drafts(f->dir, err) &&
		ledger_get_shards(
			s->run->ledger, pack_folder_names[kind], &f->recorded, &f->n_recorded, err);
}

void pack_folder_release(struct pack_folder *f)
{
	mds_shard_free(f->shard);
	free(f->infos);
	free(f->recorded);
	free(f->dir);
}

static bool record(struct pack_folder *f, const struct mds_shard_info *info, struct error *err)
{
	struct ledger_shard row = {.no = info->no,
		.first_row = f->first_row,
		.n_rows = info->n_samples,
		.raw_bytes = info->raw_bytes,
		.zip_bytes = info->zip_bytes};
	hash64_hex(info->raw_xxh64, row.raw_xxh64);
	hash64_hex(info->zip_xxh64, row.zip_xxh64);
	memcpy(row.zip_sha256, info->zip_sha256, sizeof(row.zip_sha256));
	return ledger_add_shard(f->s->run->ledger, pack_folder_names[f->kind], &row, err);
}

/* A file that is there may be this run's, published before a crash: the planned content decides. */
static bool publish_shard(struct pack_folder *f, struct error *err)
{
	uint32_t no = (uint32_t)f->n_infos;
	struct mds_shard_info info;
	enum mds_found found = MDS_ABSENT;
	if (mds_shard_is_there(f->dir, no) &&
		!mds_shard_check(f->dir, no, mds_shard_raw_hash(f->shard), &found, &info, err)) {
		return false;
	}
	if (found == MDS_OTHER) {
		log_warn("a shard that is there is not the planned one, writing it again", "folder",
			f->dir, "no", log_fmt("%u", no), "reason", err->msg, NULL);
	}
	if (found != MDS_SAME && !mds_shard_publish(f->shard, f->dir, no, &info, err)) {
		return false;
	}
	char hex[17];
	hash64_hex(info.raw_xxh64, hex);
	bool known = no < f->n_recorded && strcmp(f->recorded[no].raw_xxh64, hex) == 0 &&
		strcmp(f->recorded[no].zip_sha256, info.zip_sha256) == 0;
	if (!known && !record(f, &info, err)) {
		return false;
	}
	f->infos = array_room(f->infos, f->n_infos, &f->cap_infos, sizeof(*f->infos));
	f->infos[f->n_infos++] = info;
	f->first_row = f->n_rows;
	mds_shard_reset(f->shard);
	return true;
}

bool pack_folder_add(struct pack_folder *f, const struct slice *values, struct error *err)
{
	if (mds_shard_n_samples(f->shard) && !mds_shard_would_fit(f->shard, values) &&
		!publish_shard(f, err)) {
		return false;
	}
	mds_shard_add(f->shard, values);
	f->n_rows++;
	return true;
}

static bool copy_vocab(struct pack_state *s, const char *dir, struct error *err)
{
	AUTO_FREE char *from = file_join(s->run->dir, "vocab.zst");
	if (!file_exists(from)) {
		return true;
	}
	struct str bytes;
	str_init(&bytes, VOCAB_BYTES_MAX);
	bool ok = file_read(from, VOCAB_BYTES_MAX, &bytes, err) &&
		file_publish(dir, "vocab.zst", bytes.data, bytes.len, err);
	str_release(&bytes);
	return ok;
}

static bool describe(struct pack_folder *f, struct error *err)
{
	struct str manifest;
	str_init(&manifest, STR_NO_CAP);
	pack_put_manifest(f->s, f, &manifest);
	bool ok = copy_vocab(f->s, f->dir, err) &&
		file_publish(f->dir, "manifest.yaml", manifest.data, manifest.len, err);
	str_release(&manifest);
	return ok;
}

bool pack_folder_finish(struct pack_folder *f, struct error *err)
{
	if ((mds_shard_n_samples(f->shard) && !publish_shard(f, err)) ||
		(f->kind == PACK_SHARDS && !describe(f, err))) {
		return false;
	}
	struct str facts;
	str_init(&facts, STR_NO_CAP);
	struct json_writer w = {.out = &facts};
	pack_put_facts(f->s, &w);
	bool ok = mds_index_publish(&f->format, f->dir, f->infos, f->n_infos, facts.data, err);
	str_release(&facts);
	return ok;
}
