#include "shard/vocab.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/zip.h"
#include "shard/le.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define MAGIC "THRVOC1\n"
#define MAGIC_BYTES 8
#define ENTRY_BYTES 8 /* id u32, then length with the special flag in bit 31, u32 */
#define SPECIAL (1u << 31)
#define LEVEL 9
/* Real vocabularies stay far below: their ids are looked up in a table, others by halving. */
#define TABLE_IDS_MAX (1u << 20)

bool vocab_publish(const char *dir, const uint32_t *ids, const struct slice *pieces,
	const uint8_t *special, size_t n, struct error *err)
{
	struct str raw, zipped;
	struct zip zip = {0};
	str_init(&raw, STR_NO_CAP);
	str_init(&zipped, STR_NO_CAP);
	uint32_t count = (uint32_t)n;
	str_append(&raw, MAGIC, MAGIC_BYTES);
	str_append(&raw, &count, sizeof(count));
	for (size_t i = 0; i < n; i++) {
		assert(ids[i] < VOCAB_IDS_MAX && (i == 0 || ids[i] > ids[i - 1]) &&
			pieces[i].len < SPECIAL);
		uint32_t entry[2] = {ids[i], (uint32_t)pieces[i].len | (special[i] ? SPECIAL : 0)};
		str_append(&raw, entry, sizeof(entry));
	}
	for (size_t i = 0; i < n; i++) {
		str_append(&raw, pieces[i].data, pieces[i].len);
	}
	zip_compress(&zip, raw.data, raw.len, LEVEL, &zipped);
	bool ok = file_publish(dir, "vocab.zst", zipped.data, zipped.len, err);
	zip_release(&zip);
	str_release(&raw);
	str_release(&zipped);
	return ok;
}

struct vocab {
	struct str raw;
	size_t n;
	size_t *offsets; /* owns; of pieces in raw, n + 1 */
	uint32_t *
		table; /* owns; 1 + index of an entry by its id, 0: not there; NULL: an id is too large */
	size_t n_table;
};

static const char *entry(const struct vocab *v, size_t i)
{
	return v->raw.data + MAGIC_BYTES + 4 + i * ENTRY_BYTES;
}

static bool parse(struct vocab *v, struct error *err)
{
	const struct str *raw = &v->raw;
	if (raw->len < MAGIC_BYTES + 4 || memcmp(raw->data, MAGIC, MAGIC_BYTES) != 0) {
		return error_set(err, FAIL_DATA, "not a vocabulary");
	}
	v->n = le32_get(raw->data + MAGIC_BYTES);
	size_t head = MAGIC_BYTES + 4 + v->n * ENTRY_BYTES;
	if (v->n > VOCAB_IDS_MAX || head > raw->len) {
		return error_set(err, FAIL_DATA, "%zu entries do not fit into it", v->n);
	}
	v->offsets = xcalloc(v->n + 1, sizeof(*v->offsets));
	v->offsets[0] = head;
	for (size_t i = 0; i < v->n; i++) {
		size_t len = le32_get(entry(v, i) + 4) & ~SPECIAL;
		if (len > raw->len - v->offsets[i] ||
			(i && le32_get(entry(v, i)) <= le32_get(entry(v, i - 1)))) {
			return error_set(err, FAIL_DATA, "entry %zu is malformed", i);
		}
		v->offsets[i + 1] = v->offsets[i] + len;
	}
	return v->offsets[v->n] == raw->len ||
		error_set(err, FAIL_DATA, "%zu bytes are left over", raw->len - v->offsets[v->n]);
}

/* Ids ascend, so the last one tells how large the table must be. */
static void make_table(struct vocab *v)
{
	uint32_t largest = v->n ? le32_get(entry(v, v->n - 1)) : 0;
	if (!v->n || largest >= TABLE_IDS_MAX) {
		return;
	}
	v->n_table = (size_t)largest + 1;
	v->table = xcalloc(v->n_table, sizeof(*v->table));
	for (size_t i = 0; i < v->n; i++) {
		v->table[le32_get(entry(v, i))] = (uint32_t)i + 1;
	}
}

struct vocab *vocab_read(const char *dir, struct error *err)
{
	AUTO_FREE char *path = file_join(dir, "vocab.zst");
	struct str zipped;
	struct zip zip = {0};
	struct vocab *v = xcalloc(1, sizeof(*v));
	str_init(&zipped, VOCAB_BYTES_MAX + (64 << 10));
	str_init(&v->raw, VOCAB_BYTES_MAX);
	bool read = file_read_regular(path, VOCAB_BYTES_MAX, &zipped, err);
	bool ok = read &&
		zip_decompress(&zip, zipped.data, zipped.len, VOCAB_BYTES_MAX, &v->raw, err) &&
		parse(v, err);
	if (read && !ok) {
		error_context(err, "'%s'", path);
	}
	zip_release(&zip);
	str_release(&zipped);
	if (!ok) {
		vocab_free(v);
		return NULL;
	}
	make_table(v);
	return v;
}

void vocab_free(struct vocab *v)
{
	if (v) {
		str_release(&v->raw);
		free(v->offsets);
		free(v->table);
		free(v);
	}
}

size_t vocab_n(const struct vocab *v)
{
	return v->n;
}

/* Index of the entry of an id; v->n: there is none. */
static size_t find(const struct vocab *v, uint32_t id)
{
	if (v->table) {
		return id < v->n_table && v->table[id] ? v->table[id] - 1 : v->n;
	}
	size_t low = 0, high = v->n;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (le32_get(entry(v, middle)) < id) {
			low = middle + 1;
		} else {
			high = middle;
		}
	}
	return low < v->n && le32_get(entry(v, low)) == id ? low : v->n;
}

bool vocab_piece(const struct vocab *v, uint32_t id, struct slice *out_piece, bool *out_special)
{
	size_t i = find(v, id);
	if (i == v->n) {
		return false;
	}
	*out_piece = (struct slice){v->raw.data + v->offsets[i], v->offsets[i + 1] - v->offsets[i]};
	*out_special = le32_get(entry(v, i) + 4) & SPECIAL;
	return true;
}
