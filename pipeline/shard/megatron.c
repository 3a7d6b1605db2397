/* The .idx is a function of the lengths alone, so it is made at the end, streamed through the same small buffer. */
#include "shard/megatron.h"

#include "base/mem.h"
#include "shard/le.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define BUFFER_BYTES ((size_t)1 << 20)
#define MAGIC "MMIDIDX\0" /* and the NUL of the literal: 9 bytes */
#define VERSION 1
#define CODE_INT32 4
#define CODE_UINT16 8
#define HEAD_BYTES (sizeof(MAGIC) + 8 + 1 + 8 + 8)

enum mds_dtype megatron_dtype(uint64_t n_vocab)
{
	return n_vocab < MEGATRON_UINT16_VOCAB ? MDS_UINT16 : MDS_INT32;
}

static bool open_new(
	struct file_draft *draft, const char *prefix, const char *ending, struct error *err)
{
	AUTO_FREE char *path = xasprintf("%s%s", prefix, ending);
	AUTO_FREE char *dir = file_dirname(path);
	if (file_exists(path)) {
		error_set(err, FAIL_IO, "'%s' exists", path);
		return error_hint(err, "remove it, or choose another prefix");
	}
	return file_draft_open(draft, dir, file_basename(path), err);
}

bool megatron_open(struct megatron *m, const char *prefix, enum mds_dtype dtype, struct error *err)
{
	assert(dtype == MDS_UINT16 || dtype == MDS_INT32);
	*m = (struct megatron){.dtype = dtype, .bin.fd = -1, .idx.fd = -1};
	str_init(&m->buffer, STR_NO_CAP);
	if (!open_new(&m->bin, prefix, ".bin", err) || !open_new(&m->idx, prefix, ".idx", err)) {
		megatron_release(m);
		return false;
	}
	return true;
}

void megatron_release(struct megatron *m)
{
	file_draft_release(&m->bin);
	file_draft_release(&m->idx);
	if (m->buffer.data) {
		str_release(&m->buffer);
	}
	free(m->lengths);
	*m = (struct megatron){.bin.fd = -1, .idx.fd = -1};
}

/* Room for `more` bytes in the buffer, which is written out first if they do not fit; NULL if that failed. */
static char *room(struct megatron *m, struct file_draft *draft, size_t more, struct error *err)
{
	if (m->buffer.len + more > BUFFER_BYTES) {
		if (!file_draft_write(draft, m->buffer.data, m->buffer.len, err)) {
			return NULL;
		}
		str_reset(&m->buffer);
	}
	return str_reserve(&m->buffer, more);
}

/* The largest id decides, so that the loops below need no test for each. */
static bool ids_fit(const struct megatron *m, const uint32_t *ids, size_t n, struct error *err)
{
	uint32_t most = 0, limit = m->dtype == MDS_UINT16 ? UINT16_MAX : INT32_MAX;
	for (size_t i = 0; i < n; i++) {
		most = MAX(most, ids[i]);
	}
	return most <= limit ||
		error_set(err, FAIL_DATA, "token id %u is larger than the %u of %s", most, limit,
			mds_dtype_name(m->dtype));
}

static void put_ids(char *to, enum mds_dtype dtype, const uint32_t *ids, size_t n)
{
	if (dtype == MDS_INT32) {
		memcpy(to, ids, n * sizeof(*ids));
		return;
	}
	for (size_t i = 0; i < n; i++) {
		uint16_t id = (uint16_t)ids[i];
		memcpy(to + 2 * i, &id, sizeof(id));
	}
}

bool megatron_add(struct megatron *m, const uint32_t *ids, size_t n, struct error *err)
{
	size_t id_bytes = mds_dtype_bytes(m->dtype), most = BUFFER_BYTES / id_bytes;
	if (n > INT32_MAX) {
		return error_set(err, FAIL_DATA, "%zu tokens are too many for a document", n);
	}
	if (!ids_fit(m, ids, n, err)) {
		return false;
	}
	for (size_t at = 0; at < n;) {
		size_t part = MIN(n - at, most);
		char *to = room(m, &m->bin, part * id_bytes, err);
		if (!to) {
			return false;
		}
		put_ids(to, m->dtype, ids + at, part);
		m->buffer.len += part * id_bytes;
		at += part;
	}
	m->lengths = array_room(m->lengths, m->n_documents, &m->cap, sizeof(*m->lengths));
	m->lengths[m->n_documents++] = (int32_t)n;
	m->n_tokens += n;
	return true;
}

static bool put(struct megatron *m, const void *bytes, size_t len, struct error *err)
{
	char *to = room(m, &m->idx, len, err);
	if (to) {
		memcpy(to, bytes, len);
		m->buffer.len += len;
	}
	return to != NULL;
}

static bool put_head(struct megatron *m, struct error *err)
{
	uint64_t version = VERSION, n = m->n_documents, n_indices = n + 1;
	uint8_t code = m->dtype == MDS_UINT16 ? CODE_UINT16 : CODE_INT32;
	return put(m, MAGIC, sizeof(MAGIC), err) && put(m, &version, sizeof(version), err) &&
		put(m, &code, sizeof(code), err) && put(m, &n, sizeof(n), err) &&
		put(m, &n_indices, sizeof(n_indices), err);
}

static bool put_index(struct megatron *m, struct error *err)
{
	int64_t at = 0;
	bool ok = put_head(m, err);
	for (size_t i = 0; ok && i < m->n_documents; i++) {
		ok = put(m, &m->lengths[i], sizeof(m->lengths[i]), err);
	}
	for (size_t i = 0; ok && i < m->n_documents; i++) {
		ok = put(m, &at, sizeof(at), err);
		at += (int64_t)m->lengths[i] * mds_dtype_bytes(m->dtype);
	}
	for (int64_t i = 0; ok && i <= (int64_t)m->n_documents; i++) {
		ok = put(m, &i, sizeof(i), err);
	}
	return ok;
}

static bool finish(struct megatron *m, struct file_draft *draft, struct error *err)
{
	bool ok = file_draft_write(draft, m->buffer.data, m->buffer.len, err);
	str_reset(&m->buffer);
	return ok;
}

bool megatron_publish(struct megatron *m, struct error *err)
{
	return finish(m, &m->bin, err) && put_index(m, err) && finish(m, &m->idx, err) &&
		file_draft_publish(&m->bin, err) && file_draft_publish(&m->idx, err);
}

uint64_t megatron_bytes(const struct megatron *m)
{
	return m->n_tokens * mds_dtype_bytes(m->dtype) + HEAD_BYTES +
		m->n_documents * (sizeof(int32_t) + 2 * sizeof(int64_t)) + sizeof(int64_t);
}
