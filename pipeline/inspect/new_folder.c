#include "inspect/new_folder.h"

#include "base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOCK_NAME ".lock"

static bool is_inside(const char *path, const char *dir)
{
	AUTO_FREE char *real = realpath(dir, NULL);
	AUTO_FREE char *parent = file_dirname(path);
	AUTO_FREE char *real_parent = realpath(parent, NULL);
	size_t len = real ? strlen(real) : 0;
	return real_parent && len && strncmp(real_parent, real, len) == 0 &&
		(real_parent[len] == '/' || !real_parent[len]);
}

/* What a killed one left behind; the lock is ours. */
static bool empty(const char *dir, struct error *err)
{
	DIR *d = opendir(dir);
	if (!d) {
		return error_errno(err, "could not list folder '%s'", dir);
	}
	bool ok = true;
	struct dirent *entry;
	while (ok && (entry = readdir(d))) {
		const char *name = entry->d_name;
		if (strcmp(name, ".") != 0 && strcmp(name, "..") != 0 &&
			strcmp(name, LOCK_NAME) != 0 && unlinkat(dirfd(d), name, 0) < 0) {
			ok = error_errno(err, "could not remove '%s/%s'", dir, name);
		}
	}
	closedir(d);
	return ok;
}

static bool lock_temp(struct new_folder *f, struct error *err)
{
	if (mkdir(f->temp, 0777) < 0 && errno != EEXIST) {
		return error_errno(err, "could not make folder '%s'", f->temp);
	}
	AUTO_FREE char *lock = file_join(f->temp, LOCK_NAME);
	return file_lock_take(&f->lock, lock, err) && empty(f->temp, err);
}

static char *without_slashes(const char *path)
{
	size_t len = strlen(path);
	while (len > 1 && path[len - 1] == '/') {
		len--;
	}
	return xmemdup0(path, len);
}

bool new_folder_open(struct new_folder *f, const char *to, const char *from, struct error *err)
{
	*f = (struct new_folder){.lock = FILE_LOCK_INIT};
	f->to = without_slashes(to);
	struct stat st;
	bool ok = true;
	if (!f->to[0]) {
		ok = error_set(err, FAIL_USAGE, "the new folder has no name");
	} else if (lstat(f->to, &st) == 0) {
		ok = error_set(err, FAIL_IO, "'%s' exists", f->to) ||
			error_hint(err, "remove it, or choose another name");
	} else if (is_inside(f->to, from)) {
		ok = error_set(err, FAIL_USAGE, "'%s' is inside '%s'", f->to, from) ||
			error_hint(err, "a reader of the one would come upon the other");
	}
	if (ok) {
		AUTO_FREE char *parent = file_dirname(f->to);
		f->temp = xasprintf("%s/.tmp-%s", parent, file_basename(f->to));
		ok = lock_temp(f, err);
	}
	if (!ok) {
		new_folder_release(f);
	}
	return ok;
}

bool new_folder_publish(struct new_folder *f, struct error *err)
{
	AUTO_FREE char *lock = file_join(f->to, LOCK_NAME);
	if (!file_publish_dir(f->temp, f->to, err)) {
		return false;
	}
	free(TAKE(f->temp));
	/* Not before: whoever waits for the lock would empty the folder. */
	return unlink(lock) == 0 || error_errno(err, "could not remove '%s'", lock);
}

void new_folder_release(struct new_folder *f)
{
	struct error ignored;
	/* Without the lock the folder is another's. */
	if (f->temp && f->lock.fd >= 0 && !file_remove_tree(f->temp, &ignored)) {
		fprintf(stderr, "warning: %s\n", ignored.msg);
	}
	file_lock_release(&f->lock);
	free(f->to);
	free(f->temp);
	*f = (struct new_folder){.lock = FILE_LOCK_INIT};
}

struct json *new_folder_index(const char *from, struct error *err)
{
	AUTO_FREE char *path = file_join(from, "index.json");
	struct str text;
	str_init(&text, MDS_INDEX_BYTES_MAX + (64 << 10));
	struct json *index = file_read(path, MDS_INDEX_BYTES_MAX, &text, err)
		? json_parse(text.data, text.len, err)
		: NULL;
	str_release(&text);
	return index;
}
