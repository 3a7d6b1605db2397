/* What the files of the writer share: mds_write.c (image and file), mds_adopt.c, mds_index.c. */
#ifndef PIPELINE_SHARD_MDS_IMPL_H
#define PIPELINE_SHARD_MDS_IMPL_H

#include "shard/frame.h"
#include "shard/mds.h"

#include <stddef.h>
#include <stdint.h>

static inline uint32_t mds_shard_bytes(const struct mds_format *f)
{
	return f->shard_bytes ? f->shard_bytes : MDS_SHARD_BYTES_DEFAULT;
}

static inline size_t mds_table_bytes(size_t n_frames)
{
	return SKIPPABLE_HEADER_BYTES + n_frames * TABLE_ENTRY_BYTES + TABLE_FOOTER_BYTES;
}

/* What comes after "shards" in an index.json; `thresh_json` may be NULL. Ends the object. */
struct json_writer;
void mds_end_index(struct json_writer *w, const char *thresh_json);
/* Appends the JSON that stands in an image's header. */
void mds_put_config(const struct mds_format *f, struct str *out);

#endif
