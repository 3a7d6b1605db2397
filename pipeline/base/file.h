/*
 * Files that survive kill -9. The only place in the tree that calls rename, fsync and flock.
 *
 * Publishing a file: write a temporary one beside it, fsync, rename, fsync the folder. A reader sees the old file, the new
 * one, or none, never half of one:
 *
 *	struct file_draft draft;
 *	if (!file_draft_open(&draft, "out/shards", "index.json", err)) return false;
 *	ok = file_draft_write(&draft, bytes, len, err) && file_draft_publish(&draft, err);
 *	file_draft_release(&draft);	// removes what was not published
 */
#ifndef PIPELINE_BASE_FILE_H
#define PIPELINE_BASE_FILE_H

#include "base/error.h"
#include "base/str.h"

#include <stdint.h>
#include <sys/types.h>

struct file_draft {
	int fd; /* -1 when closed */
	char *dir, *name, *temp_path, *path; /* own */
};

/* Opens DIR/.tmp-NAME~ (an older one is replaced). */
MUST_CHECK bool file_draft_open(
	struct file_draft *draft, const char *dir, const char *name, struct error *err);
MUST_CHECK bool file_draft_write(
	struct file_draft *draft, const void *bytes, size_t len, struct error *err);
/* Lets the disk begin with what was written; file_draft_publish then waits for less. */
void file_draft_begin_sync(struct file_draft *draft);
MUST_CHECK bool file_draft_publish(struct file_draft *draft, struct error *err);
/* Unlinks the temporary file if it was not published. Zeroed or released: no-op. */
void file_draft_release(struct file_draft *draft);

/* file_draft_* in one call. */
MUST_CHECK bool file_publish(
	const char *dir, const char *name, const void *bytes, size_t len, struct error *err);
/* Moves a finished folder to its public name; fails if `to` exists (RENAME_NOREPLACE). Fsyncs both parents. */
MUST_CHECK bool file_publish_dir(const char *from, const char *to, struct error *err);
/* Removes files whose names begin with ".tmp-" in `dir`; a missing dir is fine. A folder of such a name is no draft, and stays. */
MUST_CHECK bool file_remove_drafts(const char *dir, struct error *err);
/* rm -r; a missing path is fine. */
MUST_CHECK bool file_remove_tree(const char *path, struct error *err);

/* Reads a whole file of at most limit_bytes into `out` (initialised by the caller, appended to). */
MUST_CHECK bool file_read(const char *path, size_t limit_bytes, struct str *out, struct error *err);
/*
 * Opens for reading in a folder of unknown origin, where a named pipe would wait for ever: FAIL_DATA for what is no file. -1 on
 * failure; the caller closes it.
 */
MUST_CHECK int file_open_regular(const char *path, uint64_t *out_bytes, struct error *err);
/* file_read of such a file. */
MUST_CHECK bool file_read_regular(
	const char *path, size_t limit_bytes, struct str *out, struct error *err);
MUST_CHECK bool file_pread(
	int fd, const char *path, void *buf, size_t len, uint64_t offset, struct error *err);
/* Takes room on the disk for the first `bytes` of a file, zeros, before it is mapped: a mapping has no way to say that there is none. */
MUST_CHECK bool file_reserve(int fd, const char *path, uint64_t bytes, struct error *err);
bool file_exists(const char *path);
bool file_is_dir(const char *path);
/* mkdir -p; the names of what is made are durable when it returns. */
MUST_CHECK bool file_make_dirs(const char *path, struct error *err);
/* Malloc'd "DIR/NAME"; an absolute NAME or an empty DIR gives NAME. */
char *file_join(const char *dir, const char *name);
/* Malloc'd folder part of a path ("." if there is none). */
char *file_dirname(const char *path);
/* Borrowed: the part after the last slash. */
const char *file_basename(const char *path);

struct file_lock {
	int fd; /* -1 when not held; zeroed struct counts as fd 0, so use FILE_LOCK_INIT */
};
#define FILE_LOCK_INIT \
	{              \
		-1     \
	}
/*
 * flock on PATH, which then holds our pid. If another process has it: FAIL_IO, the message names the holder's pid. The file
 * stays when the lock is released.
 */
MUST_CHECK bool file_lock_take(struct file_lock *lock, const char *path, struct error *err);
void file_lock_release(struct file_lock *lock);
/* Pid of the process that holds the lock; 0: nobody. */
long file_lock_holder(const char *path);
/* Time of the last change of content, in milliseconds since 1970; -1 if there is no such file. */
int64_t file_changed_ms(const char *path);

/*
 * Name of the file system type below `path` if SQLite's WAL is unsafe there (network file systems: "nfs", "lustre", ...),
 * else NULL. THRESH_TEST_FS=nfs in the environment simulates one, for tests.
 */
const char *file_unsafe_fs(const char *path);

#endif
