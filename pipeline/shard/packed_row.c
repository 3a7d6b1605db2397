#include "shard/packed_row.h"

#include "base/mem.h"

#include <assert.h>
#include <string.h>

static const struct mds_column columns_16[PACKED_N_COLUMNS] = {{"loss_mask", "ndarray:uint8"},
	{"sample_ids", "ndarray:uint64"}, {"scores", "ndarray:float32"},
	{"seq_lens", "ndarray:int32"}, {"tokens", "ndarray:uint16"}};
static const struct mds_column columns_32[PACKED_N_COLUMNS] = {{"loss_mask", "ndarray:uint8"},
	{"sample_ids", "ndarray:uint64"}, {"scores", "ndarray:float32"},
	{"seq_lens", "ndarray:int32"}, {"tokens", "ndarray:uint32"}};

const struct mds_column *packed_columns(bool wide)
{
	return wide ? columns_32 : columns_16;
}

/* In the order of the columns. */
enum { MASK, SAMPLE_IDS, SCORES, SEQ_LENS, TOKENS };

void packed_row_init(struct packed_row *row, bool wide)
{
	*row = (struct packed_row){.wide = wide};
	for (size_t i = 0; i < PACKED_N_COLUMNS; i++) {
		str_init(&row->columns[i], STR_NO_CAP);
	}
	packed_row_reset(row);
}

void packed_row_release(struct packed_row *row)
{
	for (size_t i = 0; i < PACKED_N_COLUMNS; i++) {
		str_release(&row->columns[i]);
	}
}

void packed_row_reset(struct packed_row *row)
{
	static const char room[MDS_ARRAY_HEADER_MAX];
	for (size_t i = 0; i < PACKED_N_COLUMNS; i++) {
		str_reset(&row->columns[i]);
		str_append(&row->columns[i], room, sizeof(room));
	}
	row->n_tokens = row->n_sequences = 0;
}

void packed_put_ids(struct str *out, bool wide, const uint32_t *ids, size_t n)
{
	if (wide) {
		str_append(out, ids, n * sizeof(*ids));
		return;
	}
	char *to = str_reserve(out, 2 * n);
	uint32_t all = 0;
	for (size_t i = 0; i < n; i++) {
		uint16_t id = (uint16_t)ids[i];
		memcpy(to + 2 * i, &id, sizeof(id));
		all |= ids[i];
	}
	assert(all <= UINT16_MAX);
	out->len += 2 * n;
	out->data[out->len] = '\0';
}

static void put_ids(struct packed_row *row, const uint32_t *ids, size_t n, int trained)
{
	struct str *mask = &row->columns[MASK];
	packed_put_ids(&row->columns[TOKENS], row->wide, ids, n);
	memset(str_reserve(mask, n), trained, n);
	mask->len += n;
	mask->data[mask->len] = '\0';
	row->n_tokens += n;
}

void packed_row_add(struct packed_row *row, const uint32_t *prompt_ids, size_t n_prompt_ids,
	const uint32_t *ids, size_t n_ids, uint64_t sample_id, float score)
{
	int32_t len = (int32_t)(n_prompt_ids + n_ids);
	put_ids(row, prompt_ids, n_prompt_ids, 0);
	put_ids(row, ids, n_ids, 1);
	str_append(&row->columns[SEQ_LENS], &len, sizeof(len));
	str_append(&row->columns[SAMPLE_IDS], &sample_id, sizeof(sample_id));
	str_append(&row->columns[SCORES], &score, sizeof(score));
	row->n_sequences++;
}

void packed_row_values(struct packed_row *row, struct slice *values)
{
	for (size_t i = 0; i < PACKED_N_COLUMNS; i++) {
		struct str *s = &row->columns[i];
		char header[MDS_ARRAY_HEADER_MAX];
		size_t len = mds_array_header(
			i == MASK || i == TOKENS ? row->n_tokens : row->n_sequences, header);
		memcpy(s->data + sizeof(header) - len, header, len);
		values[i] = (struct slice){
			s->data + sizeof(header) - len, s->len - (sizeof(header) - len)};
	}
}
