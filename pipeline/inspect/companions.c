#include "inspect/companions.h"

#include "base/arena.h"
#include "base/file.h"
#include "base/mem.h"
#include "shard/vocab.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MANIFEST_BYTES_MAX ((size_t)64 << 20)

struct parts {
	char **names; /* own; sub-folders that shards are in, in their order */
	size_t n, cap;
};

static void parts_release(struct parts *p)
{
	for (size_t i = 0; i < p->n; i++) {
		free(p->names[i]);
	}
	free(p->names);
}

static bool parts_have(const struct parts *p, const char *name)
{
	for (size_t i = p->n; i > 0; i--) { /* most often the newest */
		if (strcmp(p->names[i - 1], name) == 0) {
			return true;
		}
	}
	return false;
}

static void parts_find(struct parts *p, const struct mds_reader *r)
{
	for (size_t s = 0; s < mds_reader_n_shards(r); s++) {
		AUTO_FREE char *part = mds_reader_part(r, s);
		if (!parts_have(p, part)) {
			p->names = array_room(p->names, p->n, &p->cap, sizeof(*p->names));
			p->names[p->n++] = TAKE(part);
		}
	}
}

/* A file that is not there, or is none, is not copied. */
static bool copy_file(const char *from, const char *part, const char *name, size_t limit_bytes,
	const char *to, const char *to_name, struct error *err)
{
	AUTO_FREE char *dir = file_join(from, part);
	AUTO_FREE char *path = file_join(dir, name);
	struct stat st;
	struct str bytes;
	if (stat(path, &st) < 0 || !S_ISREG(st.st_mode)) {
		return true;
	}
	str_init(&bytes, limit_bytes + (64 << 10));
	bool ok = file_read(path, limit_bytes, &bytes, err) &&
		file_publish(to, to_name, bytes.data, bytes.len, err);
	str_release(&bytes);
	return ok;
}

/* --- several vocabularies as one --- */

struct entry {
	struct slice piece; /* in the arena; data NULL: no such id yet */
	bool special;
};

struct united {
	struct entry *entries; /* owns; by id */
	size_t n; /* ids that there is room for */
	size_t n_known;
	struct arena arena;
};

static void united_room(struct united *u, uint32_t id)
{
	if (id >= u->n) {
		size_t n = MIN(MAX((size_t)id + 1, 2 * u->n), VOCAB_IDS_MAX);
		u->entries = xreallocarray(u->entries, n, sizeof(*u->entries));
		memset(u->entries + u->n, 0, (n - u->n) * sizeof(*u->entries));
		u->n = n;
	}
}

/* False: one id has two meanings. */
static bool united_put(struct united *u, uint32_t id, struct slice piece, bool special)
{
	united_room(u, id);
	struct entry *e = &u->entries[id];
	if (e->piece.data) {
		return slice_eq(e->piece, piece) && e->special == special;
	}
	*e = (struct entry){{arena_memdup0(&u->arena, piece.data, piece.len), piece.len}, special};
	u->n_known++;
	return true;
}

/* vocab.h looks up by id; ids ascend, so the scan ends with the last one that is there. */
static bool united_add(struct united *u, const struct vocab *v)
{
	size_t left = vocab_n(v);
	for (uint32_t id = 0; left && id < VOCAB_IDS_MAX; id++) {
		struct slice piece;
		bool special;
		if (vocab_piece(v, id, &piece, &special)) {
			left--;
			if (!united_put(u, id, piece, special)) {
				return false;
			}
		}
	}
	return true;
}

static bool united_publish(const struct united *u, const char *to, struct error *err)
{
	uint32_t *ids = xcalloc(u->n_known, sizeof(*ids));
	struct slice *pieces = xcalloc(u->n_known, sizeof(*pieces));
	uint8_t *special = xcalloc(u->n_known, sizeof(*special));
	size_t n = 0;
	for (uint32_t id = 0; id < u->n; id++) {
		if (u->entries[id].piece.data) {
			ids[n] = id;
			pieces[n] = u->entries[id].piece;
			special[n++] = u->entries[id].special;
		}
	}
	bool ok = vocab_publish(to, ids, pieces, special, n, err);
	free(ids);
	free(pieces);
	free(special);
	return ok;
}

static bool unite(struct united *u, const char *to, const char *from, const struct parts *parts,
	struct error *err)
{
	for (size_t i = 0; i < parts->n; i++) {
		AUTO_FREE char *dir = file_join(from, parts->names[i]);
		AUTO_FREE char *path = file_join(dir, "vocab.zst");
		if (!file_exists(path)) {
			continue;
		}
		struct vocab *v = vocab_read(dir, err);
		if (!v) {
			return false;
		}
		bool agree = united_add(u, v);
		vocab_free(v);
		if (!agree) {
			fputs("warning: the vocabularies of the sub-folders contradict each other, "
			      "so the result has none\n",
				stderr);
			return true;
		}
	}
	return !u->n_known || united_publish(u, to, err);
}

static bool unite_vocabs(
	const char *to, const char *from, const struct parts *parts, struct error *err)
{
	struct united u = {0};
	bool ok = unite(&u, to, from, parts, err);
	free(u.entries);
	arena_release(&u.arena);
	return ok;
}

/* Read as well, since a damaged one would pass for the new folder's own fault. */
static bool copy_vocab(const char *to, const char *from, const char *part, struct error *err)
{
	AUTO_FREE char *dir = file_join(from, part);
	struct error why = {0};
	struct vocab *v = vocab_read(dir, &why);
	vocab_free(v);
	if (!v && why.kind == FAIL_DATA) {
		*err = why;
		return error_hint(
			err, "the shards do not need it: without it they are read as ids");
	}
	return copy_file(from, part, "vocab.zst", VOCAB_BYTES_MAX, to, "vocab.zst", err);
}

static bool copy_all(const char *to, const char *from, const struct parts *parts, struct error *err)
{
	if (parts->n == 1) {
		const char *part = parts->names[0];
		return copy_file(from, part, "manifest.yaml", MANIFEST_BYTES_MAX, to,
			       "manifest.yaml", err) &&
			copy_vocab(to, from, part, err);
	}
	bool ok = true;
	for (size_t i = 0; ok && i < parts->n; i++) {
		AUTO_FREE char *name = xasprintf("manifest.%03zu.yaml", i);
		ok = copy_file(
			from, parts->names[i], "manifest.yaml", MANIFEST_BYTES_MAX, to, name, err);
	}
	return ok && unite_vocabs(to, from, parts, err);
}

bool companions_copy(
	const char *to, const char *from, const struct mds_reader *r, struct error *err)
{
	struct parts parts = {0};
	parts_find(&parts, r);
	bool ok = copy_all(to, from, &parts, err);
	parts_release(&parts);
	return ok;
}
