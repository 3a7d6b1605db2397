#include "inspect/new_folder.h"

#include "base/mem.h"
#include "shard/vocab.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOCK_NAME ".lock"
#define MANIFEST_BYTES_MAX ((size_t)64 << 20)
#define PARTS_MAX 1000

/* --- the folder --- */

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
	if (lstat(f->to, &st) == 0) {
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

/* --- companions --- */

struct parts {
	char *names[PARTS_MAX]; /* own; sub-folders that shards are in, in their order */
	size_t n;
};

static void parts_release(struct parts *p)
{
	for (size_t i = 0; i < p->n; i++) {
		free(p->names[i]);
	}
}

static bool parts_find(struct parts *p, const struct mds_reader *r, struct error *err)
{
	for (size_t s = 0; s < mds_reader_n_shards(r); s++) {
		const struct mds_read_shard *shard = mds_reader_shard(r, s);
		AUTO_FREE char *part = file_dirname(
			shard->zip_name ? shard->zip_name : shard->raw_name);
		size_t i = p->n; /* most often the newest */
		while (i > 0 && strcmp(p->names[i - 1], part) != 0) {
			i--;
		}
		if (i > 0) {
			continue;
		}
		if (p->n == PARTS_MAX) {
			return error_set(err, FAIL_DATA, "more than %d sub-folders", PARTS_MAX);
		}
		p->names[p->n++] = TAKE(part);
	}
	return true;
}

static bool copy_file(
	const char *from, const char *to_dir, const char *to_name, size_t limit, struct error *err)
{
	struct stat st;
	struct str bytes;
	if (stat(from, &st) < 0 || !S_ISREG(st.st_mode)) {
		return true;
	}
	str_init(&bytes, limit + (64 << 10));
	bool ok = file_read(from, limit, &bytes, err) &&
		file_publish(to_dir, to_name, bytes.data, bytes.len, err);
	str_release(&bytes);
	return ok;
}

static bool copy_from_part(const struct new_folder *f, const char *from, const char *part,
	const char *name, const char *to_name, size_t limit, struct error *err)
{
	AUTO_FREE char *dir = file_join(from, part);
	AUTO_FREE char *path = file_join(dir, name);
	return copy_file(path, f->temp, to_name, limit, err);
}

struct entry {
	uint32_t id;
	uint8_t special;
	struct slice piece; /* of a vocabulary that is kept open */
};

struct entries {
	struct entry *items; /* owns */
	size_t n, cap;
};

/* vocab.h looks up by id; ids ascend, so the scan ends with the last one that is used. */
static void entries_add(struct entries *e, const struct vocab *v)
{
	size_t left = vocab_n(v);
	for (uint32_t id = 0; left && id < VOCAB_IDS_MAX; id++) {
		struct slice piece;
		bool special;
		if (vocab_piece(v, id, &piece, &special)) {
			e->items = array_room(e->items, e->n, &e->cap, sizeof(*e->items));
			e->items[e->n++] = (struct entry){id, special, piece};
			left--;
		}
	}
}

static int by_id(const void *a, const void *b)
{
	uint32_t x = ((const struct entry *)a)->id, y = ((const struct entry *)b)->id;
	return (x > y) - (x < y);
}

/* False: one id has two meanings. */
static bool entries_unite(struct entries *e)
{
	size_t n = 0;
	qsort(e->items, e->n, sizeof(*e->items), by_id);
	for (size_t i = 0; i < e->n; i++) {
		const struct entry *last = n ? &e->items[n - 1] : NULL, *next = &e->items[i];
		if (!last || last->id != next->id) {
			e->items[n++] = *next;
		} else if (!slice_eq(last->piece, next->piece) || last->special != next->special) {
			return false;
		}
	}
	e->n = n;
	return true;
}

static bool publish_entries(const struct entries *e, const char *dir, struct error *err)
{
	uint32_t *ids = xcalloc(e->n, sizeof(*ids));
	struct slice *pieces = xcalloc(e->n, sizeof(*pieces));
	uint8_t *special = xcalloc(e->n, sizeof(*special));
	for (size_t i = 0; i < e->n; i++) {
		ids[i] = e->items[i].id;
		pieces[i] = e->items[i].piece;
		special[i] = e->items[i].special;
	}
	bool ok = vocab_publish(dir, ids, pieces, special, e->n, err);
	free(ids);
	free(pieces);
	free(special);
	return ok;
}

static bool unite_vocabs(
	const struct new_folder *f, const char *from, const struct parts *parts, struct error *err)
{
	struct vocab *vocabs[PARTS_MAX];
	struct entries all = {0};
	size_t n = 0;
	bool ok = true;
	for (size_t i = 0; ok && i < parts->n; i++) {
		AUTO_FREE char *dir = file_join(from, parts->names[i]);
		AUTO_FREE char *path = file_join(dir, "vocab.zst");
		if (!file_exists(path)) {
			continue;
		}
		vocabs[n] = vocab_read(dir, err);
		ok = vocabs[n] != NULL;
		if (ok) {
			entries_add(&all, vocabs[n++]);
		}
	}
	if (ok && all.n && entries_unite(&all)) {
		ok = publish_entries(&all, f->temp, err);
	} else if (ok && all.n) {
		fputs("warning: the sub-folders' vocabularies contradict each other, so the result "
		      "has none\n",
			stderr);
	}
	for (size_t i = 0; i < n; i++) {
		vocab_free(vocabs[i]);
	}
	free(all.items);
	return ok;
}

static bool copy_manifests(
	const struct new_folder *f, const char *from, const struct parts *parts, struct error *err)
{
	bool ok = true;
	for (size_t i = 0; ok && i < parts->n; i++) {
		AUTO_FREE char *name = parts->n == 1 ? xstrdup("manifest.yaml")
						     : xasprintf("manifest.%03zu.yaml", i);
		ok = copy_from_part(
			f, from, parts->names[i], "manifest.yaml", name, MANIFEST_BYTES_MAX, err);
	}
	return ok;
}

bool new_folder_copy_companions(
	struct new_folder *f, const char *from, const struct mds_reader *r, struct error *err)
{
	struct parts parts = {.n = 0};
	bool ok = parts_find(&parts, r, err) && copy_manifests(f, from, &parts, err) &&
		(parts.n == 1 ? copy_from_part(f, from, parts.names[0], "vocab.zst", "vocab.zst",
					VOCAB_BYTES_MAX, err)
			      : unite_vocabs(f, from, &parts, err));
	parts_release(&parts);
	return ok;
}
