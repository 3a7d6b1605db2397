/* The inside of a reader, shared by mds_read.c (opening, samples) and mds_verify.c. */
#ifndef PIPELINE_SHARD_MDS_READ_IMPL_H
#define PIPELINE_SHARD_MDS_READ_IMPL_H

#include "base/arena.h"
#include "base/zip.h"
#include "shard/mds_read.h"

#define MDS_NONE ((size_t)-1)

struct mds_frame {
	uint64_t zip_at, raw_at;
	uint32_t zip_bytes, raw_bytes;
	uint32_t checksum; /* as the seek table says, if it has_checksums */
	bool unsized; /* does not state its content's size; known once it was decoded */
};

struct mds_reader {
	char *dir;
	struct json *index;
	struct arena arena; /* shards and columns */
	struct mds_read_shard *shards;
	size_t n_shards;
	uint64_t n_samples;
	struct zip zip;
	/* The shard that is open. */
	size_t open; /* MDS_NONE */
	int fd;
	char *path;
	uint64_t file_bytes, image_bytes;
	bool compressed, has_table, has_checksums;
	struct mds_frame *frames;
	size_t n_frames;
	struct str zipped, frame; /* of the frame decoded last */
	size_t decoded; /* its index; MDS_NONE */
	struct str sample; /* read last, of shard `open` */
	uint64_t sample_no; /* within the shard */
	uint32_t sample_at; /* in the image; 0: its place is not known */
	struct str offsets; /* of the open shard's samples, once one was asked for */
};

bool mds_open_shard(struct mds_reader *r, size_t s, struct error *err);
/* Frame i into `content`, by way of `zipped`; several threads may, each with its own. */
bool mds_load_frame(struct mds_reader *r, size_t i, struct zip *zip, struct str *zipped,
	struct str *content, struct error *err);
/* Frame that holds byte `at` of the image; frames without content are passed over. */
size_t mds_frame_of(const struct mds_reader *r, uint64_t at);
/* Bytes [at, at + len) of the raw image, appended; the range has been checked against image_bytes. */
bool mds_read_image(
	struct mds_reader *r, uint64_t at, size_t len, struct str *out, struct error *err);
/* Fills r->offsets: n + 1 u32 of the open shard, which says it has n samples. They are not checked. */
bool mds_read_offsets(struct mds_reader *r, uint64_t n, struct error *err);
/* Sample i of the open shard s. */
bool mds_read_sample(
	struct mds_reader *r, size_t s, uint64_t i, struct slice *values, struct error *err);
/* Cuts a sample's bytes into its columns. */
bool mds_split_sample(const struct mds_read_shard *s, struct slice sample, struct slice *values,
	struct error *err);

#endif
