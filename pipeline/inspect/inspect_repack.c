/*
 * `thresh inspect DIR --repack TO`: any folder that can be read, as shards of ours. Rows keep their order and their values; with
 * the limit of a shard unchanged, too, the raw images come out byte for byte as they were, if they were cut as MDSWriter cuts.
 *
 * Each shard is checked as a whole before its rows are read: what is damaged would otherwise get new hashes that say it is sound.
 */
#include "inspect/inspect.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/workers.h"
#include "inspect/companions.h"
#include "inspect/facts.h"
#include "inspect/made.h"
#include "inspect/new_folder.h"
#include "inspect/row_check.h"
#include "inspect/row_columns.h"
#include "inspect/walk.h"
#include "shard/image.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define LEVEL_DEFAULT 3
#define LEVEL_MAX 19 /* as in `pack: {zstd: N}` */
#define SHARD_BYTES_MIN 65536

struct repack {
	const struct inspect_repack *q;
	const char *dir;
	struct walk walk;
	struct row_check check;
	struct row_columns columns;
	struct mds_format format;
	struct mds_shard *shard; /* owns */
	struct mds_shard_info *infos; /* owns */
	size_t n_infos, cap;
	struct new_folder folder;
	struct made made;
};

static bool publish_shard(struct repack *p, struct error *err)
{
	struct mds_shard_info info;
	if (!mds_shard_publish(p->shard, p->folder.temp, (uint32_t)p->n_infos, &info, err)) {
		return false;
	}
	p->infos = array_room(p->infos, p->n_infos, &p->cap, sizeof(*p->infos));
	p->infos[p->n_infos++] = info;
	p->made.bytes += info.zip_bytes;
	p->made.files++;
	mds_shard_reset(p->shard);
	return true;
}

static bool add_row(void *ctx, const struct slice *values, struct error *err)
{
	struct repack *p = ctx;
	if (!mds_shard_would_fit(p->shard, values) && mds_shard_n_samples(p->shard) &&
		!publish_shard(p, err)) {
		return false;
	}
	if (!mds_shard_would_fit(p->shard, values)) {
		return error_set(err, FAIL_DATA, "it does not fit into a shard of 4 GiB");
	}
	mds_shard_add(p->shard, values);
	p->made.rows++;
	return true;
}

/* Rows of all shards; each shard is checked when its first row comes up. */
static bool add_rows(struct repack *p, struct error *err)
{
	struct walk *w = &p->walk;
	size_t n_checked = 0;
	uint64_t ignored;
	for (uint64_t row = 0; row < mds_reader_n_samples(w->reader); row++) {
		for (; n_checked < mds_reader_n_shards(w->reader) &&
			mds_reader_shard(w->reader, n_checked)->first_sample <= row;
			n_checked++) {
			if (!mds_image_read(p->dir, mds_reader_shard(w->reader, n_checked), NULL,
				    NULL, &ignored, err)) {
				return false;
			}
		}
		if (!walk_next(w, err)) {
			return false;
		}
		if (!row_check(&p->check, w, err) ||
			!row_columns_put(&p->columns, w, add_row, p, err)) {
			return err->kind == FAIL_DATA
				? error_context(err, "'%s': row %" PRIu64, p->dir, w->row)
				: false;
		}
		p->made.sequences += w->seqs.n;
		p->made.tokens += w->seqs.n ? w->seqs.starts[w->seqs.n] : 0;
	}
	return !mds_shard_n_samples(p->shard) || publish_shard(p, err);
}

/* --- facts --- */

static bool samples_layout(const struct repack *p)
{
	return p->q->layout != NULL;
}

/*
 * The facts of the folder and what was changed. A folder without facts gets none, unless its layout is ours now: to have them
 * says that columns mean what FORMAT.md says.
 */
static bool put_facts(const struct repack *p, struct str *out)
{
	const struct json *facts = mds_reader_facts(p->walk.reader);
	if (!facts && !samples_layout(p)) {
		return false;
	}
	AUTO_FREE char *how = xasprintf("{\"frames\":\"%s\",\"level\":%d,\"shard_bytes\":%u}",
		p->format.single_frame ? "single" : "many", p->format.level, p->format.shard_bytes);
	AUTO_FREE char *rows = xasprintf("%" PRIu64, p->made.rows);
	const struct fact_change changes[] = {
		{"repacked", how}, {"layout", "\"samples\""}, {"rows", rows}, {"fill", NULL}};
	facts_put(facts, changes, samples_layout(p) ? ARRAY_LEN(changes) : 1, out);
	return true;
}

/* --- options --- */

/* Without --shard-bytes, the limit that the folder was written with, since it stands in the images. */
static bool shard_bytes_of(
	const char *dir, const char *option, uint32_t *out_bytes, struct error *err)
{
	uint64_t bytes;
	if (option) {
		if (!text_parse_size(option, &bytes) || bytes < SHARD_BYTES_MIN ||
			bytes > UINT32_MAX) {
			return error_set(err, FAIL_USAGE,
				"--shard-bytes must be a size from 64KiB to below 4GiB, not '%s'",
				option);
		}
		*out_bytes = (uint32_t)bytes;
		return true;
	}
	AUTO_JSON struct json *index = new_folder_index(dir, err);
	int64_t limit;
	if (!index) {
		return false;
	}
	bool told = json_int(json_get(json_at(json_get(index, "shards"), 0), "size_limit"),
			    &limit) &&
		limit >= SHARD_BYTES_MIN && limit <= UINT32_MAX;
	*out_bytes = told ? (uint32_t)limit : MDS_SHARD_BYTES_DEFAULT;
	return true;
}

static bool choose_format(struct repack *p, struct error *err)
{
	const struct inspect_repack *q = p->q;
	static const char *const frames[] = {"many", "single"};
	uint64_t level = LEVEL_DEFAULT;
	if (q->level && (!text_parse_u64(q->level, &level) || !level || level > LEVEL_MAX)) {
		return error_set(err, FAIL_USAGE, "--level must be from 1 to %d, not '%s'",
			LEVEL_MAX, q->level);
	}
	if (q->frames && strcmp(q->frames, frames[0]) != 0 && strcmp(q->frames, frames[1]) != 0) {
		return error_set(
			err, FAIL_USAGE, "--frames must be many or single, not '%s'", q->frames);
	}
	if (q->layout && strcmp(q->layout, "samples") != 0) {
		error_set(err, FAIL_USAGE, "--layout must be samples, not '%s'", q->layout);
		return error_hint(err,
			"without --layout rows stay as they are; packing is done by a run: "
			"thresh run --from pack");
	}
	p->format.level = (int)level;
	p->format.single_frame = q->frames && strcmp(q->frames, "single") == 0;
	return shard_bytes_of(p->dir, q->shard_bytes, &p->format.shard_bytes, err);
}

static bool rewrite(struct repack *p, struct error *err)
{
	struct str facts;
	if (!add_rows(p, err) || !companions_copy(p->folder.temp, p->dir, p->walk.reader, err)) {
		return false;
	}
	str_init(&facts, STR_NO_CAP);
	bool has_facts = put_facts(p, &facts);
	bool ok = mds_index_publish(&p->format, p->folder.temp, p->infos, p->n_infos,
			  has_facts ? facts.data : NULL, err) &&
		new_folder_publish(&p->folder, err);
	str_release(&facts);
	return ok;
}

static bool repack(struct repack *p, const char *to, struct error *err)
{
	if (!choose_format(p, err) ||
		!row_columns_init(&p->columns, p->dir, p->walk.reader, samples_layout(p), err)) {
		return false;
	}
	p->format.columns = p->columns.columns;
	p->format.n_columns = p->columns.n;
	if (!new_folder_open(&p->folder, to, p->dir, err)) {
		return false;
	}
	p->format.workers = workers_new(0);
	p->shard = mds_shard_new(&p->format);
	bool ok = rewrite(p, err);
	mds_shard_free(p->shard);
	workers_free(p->format.workers);
	free(p->infos);
	new_folder_release(&p->folder);
	return ok;
}

bool inspect_repack(
	const char *dir, const char *to, const struct inspect_repack *q, struct error *err)
{
	struct repack p = {.q = q,
		.dir = dir,
		.made = {.what = "repacked", .path = to, .started_ms = clock_mono_ms()}};
	if (!walk_open(&p.walk, dir, err)) {
		return false;
	}
	bool ok = repack(&p, to, err);
	row_columns_release(&p.columns);
	walk_close(&p.walk);
	if (ok) {
		made_tell(&p.made, q->json);
	}
	return ok;
}
