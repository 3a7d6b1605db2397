/*
 * A night's sketches in one file, DIR/RUN.sketches: published whole by a rename and never changed again, so that telling a night
 * twice is the same as once, and a file that is there is complete. README.md has the bytes.
 */
#ifndef PIPELINE_NEAR_SEGMENT_H
#define PIPELINE_NEAR_SEGMENT_H

#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "near/sketch.h"

#define NEAR_SEGMENT_ENDING ".sketches"

struct near_draft {
	struct file_draft file;
	struct hash64_stream hash;
	struct near_record *pending; /* owns */
	size_t n_pending;
	uint64_t n;
	int64_t number;
};

/* `number` is the run's, which runs made from it (--from) have as well. Release in every case. */
MUST_CHECK bool near_draft_open(
	struct near_draft *d, const char *dir, const char *run, int64_t number, struct error *err);
MUST_CHECK bool near_draft_add(
	struct near_draft *d, const struct near_record *record, struct error *err);
/* Replaces an older file of the run. */
MUST_CHECK bool near_draft_publish(struct near_draft *d, struct error *err);
void near_draft_release(struct near_draft *d);

struct near_segment {
	char *run; /* owns */
	int64_t number;
	const struct near_record *records; /* mapped */
	uint64_t n;
	uint64_t hash; /* xxh64 of the records */
	void *map;
	size_t map_bytes;
};

/* Malloc'd DIR/RUN.sketches. */
char *near_segment_path(const char *dir, const char *run);
/* Maps and checks it to the last byte; FAIL_DATA for a file that is damaged, something else, or of another version. */
MUST_CHECK bool near_segment_open(
	struct near_segment *s, const char *dir, const char *run, struct error *err);
/* Zeroed: no-op. */
void near_segment_close(struct near_segment *s);

#endif
