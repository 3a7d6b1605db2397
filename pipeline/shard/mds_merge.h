/*
 * One index.json over MDS folders that lie side by side, so that a reader opens all of them as one data set. Entries are taken
 * over as they are, but for the folder's name in front of the files' names. What belongs together is the caller's affair:
 *
 *	size_t n;
 *	char **names;
 *	if (!mds_merge_folders("out/shards", &names, &n, err)) return false;
 *	struct mds_merge m;
 *	mds_merge_init(&m, "out/shards");
 *	for (size_t i = 0; i < n; i++) {
 *		struct json *index = mds_merge_read("out/shards", names[i], err);	// NULL: say why, go on
 *		if (index && ... it belongs ...) mds_merge_add(&m, names[i], index);
 *		json_free(index);
 *	}
 *	... mds_merge_publish(&m, thresh_json, err) ...
 *	mds_merge_release(&m);
 *	mds_merge_free_names(names, n);
 *
 * The result is a function of the folders alone, so making it again after a crash is all the repair there is.
 */
#ifndef PIPELINE_SHARD_MDS_MERGE_H
#define PIPELINE_SHARD_MDS_MERGE_H

#include "base/error.h"
#include "base/json.h"
#include "base/str.h"

#include <stdint.h>

/* Of one folder's index: 50,000 shards and more. As a tree in memory it takes some ten times that. */
#define MDS_MERGE_PART_BYTES_MAX ((size_t)64 << 20)

struct mds_merge {
	char *dir; /* owns */
	struct str entries, runs; /* JSON, comma-separated: files' entries, folders' names */
	struct json_writer writer, runs_writer;
	size_t n_folders, n_shards;
	uint64_t n_samples;
};

/*
 * Names of the folders in `dir`, hidden ones left out, in natural order ("night.2" before "night.10"); NULL and 0 if there is no
 * such dir. Malloc'd.
 */
MUST_CHECK bool mds_merge_folders(
	const char *dir, char ***out_names, size_t *out_n, struct error *err);
void mds_merge_free_names(char **names, size_t n);

/*
 * DIR/NAME/index.json if a trainer and mds_read.h could read all that it names: every entry has the keys that readers pass on as
 * arguments and no other, the files have plain names, are there and have the size that the entry says. Hashes are not checked.
 * FAIL_IO or FAIL_DATA with the reason.
 */
MUST_CHECK struct json *mds_merge_read(const char *dir, const char *name, struct error *err);

/*
 * NULL if all entries of both have the same columns, in names, encodings and sizes; else the first key of the two that differs. A
 * folder without shards fits any.
 */
const char *mds_merge_compare(const struct json *index, const struct json *other);

void mds_merge_init(struct mds_merge *m, const char *dir);
void mds_merge_release(struct mds_merge *m);
/* Adds the shards of a folder behind those that are there; `index` is what mds_merge_read gave for it. */
void mds_merge_add(struct mds_merge *m, const char *name, const struct json *index);
/* The "thresh" object of the index over what was added: layout and tokenizer as in `like`, that of one of them; rows, runs. */
void mds_merge_put_facts(const struct mds_merge *m, const struct json *like, struct str *out);
/*
 * Publishes DIR/index.json in place of an older one. `thresh_json` as for mds_index_publish. FAIL_DATA if the index would be larger than
 * readers of ours take.
 */
MUST_CHECK bool mds_merge_publish(
	const struct mds_merge *m, const char *thresh_json, struct error *err);

#endif
