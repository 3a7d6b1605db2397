/*
 * A folder of shards that is made out of another one: built beside its name and given it when it is whole.
 *
 *	struct new_folder f;
 *	if (!new_folder_open(&f, "out/raw", from, err)) return false;
 *	... write into f.temp ...
 *	ok = companions_copy(f.temp, from, reader, err) && new_folder_publish(&f, err);
 *	new_folder_release(&f);		// removes what was not published
 */
#ifndef PIPELINE_INSPECT_NEW_FOLDER_H
#define PIPELINE_INSPECT_NEW_FOLDER_H

#include "base/file.h"
#include "base/json.h"
#include "shard/mds_read.h"

struct new_folder {
	char *to, *temp; /* own */
	struct file_lock lock; /* on a file in `temp` */
};

/* FAIL_IO if `to` exists or is inside `from`, whose readers would take it for a part of it. */
MUST_CHECK bool new_folder_open(
	struct new_folder *f, const char *to, const char *from, struct error *err);
MUST_CHECK bool new_folder_publish(struct new_folder *f, struct error *err);
void new_folder_release(struct new_folder *f);

/* index.json of a folder, as a tree: what mds_read.h has no word for. json_free. */
MUST_CHECK struct json *new_folder_index(const char *from, struct error *err);

#endif
