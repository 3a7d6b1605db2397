#include "shard/packed_row.h"

#include "base/mem.h"

#include <assert.h>
#include <string.h>

#define N_PARTS 5

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

static void each_str(struct packed_row *row, void (*visit)(struct str *))
{
	struct str *parts[N_PARTS] = {
		&row->tokens, &row->mask, &row->seq_lens, &row->sample_ids, &row->scores};
	for (size_t i = 0; i < N_PARTS; i++) {
		visit(parts[i]);
		visit(&row->values[i]);
	}
}

static void init_str(struct str *s)
{
	str_init(s, STR_NO_CAP);
}

void packed_row_init(struct packed_row *row, bool wide)
{
	*row = (struct packed_row){.wide = wide};
	each_str(row, init_str);
}

void packed_row_release(struct packed_row *row)
{
	each_str(row, str_release);
}

void packed_row_reset(struct packed_row *row)
{
	each_str(row, str_reset);
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
	packed_put_ids(&row->tokens, row->wide, ids, n);
	memset(str_reserve(&row->mask, n), trained, n);
	row->mask.len += n;
	row->mask.data[row->mask.len] = '\0';
	row->n_tokens += n;
}

void packed_row_add(struct packed_row *row, const uint32_t *prompt_ids, size_t n_prompt_ids,
	const uint32_t *ids, size_t n_ids, uint64_t sample_id, float score)
{
	int32_t len = (int32_t)(n_prompt_ids + n_ids);
	put_ids(row, prompt_ids, n_prompt_ids, 0);
	put_ids(row, ids, n_ids, 1);
	str_append(&row->seq_lens, &len, sizeof(len));
	str_append(&row->sample_ids, &sample_id, sizeof(sample_id));
	str_append(&row->scores, &score, sizeof(score));
	row->n_sequences++;
}

void packed_row_values(struct packed_row *row, struct slice *values)
{
	const struct {
		enum mds_dtype dtype;
		const struct str *from;
		size_t n;
	} of[PACKED_N_COLUMNS] = {{MDS_UINT8, &row->mask, row->n_tokens},
		{MDS_UINT64, &row->sample_ids, row->n_sequences},
		{MDS_FLOAT32, &row->scores, row->n_sequences},
		{MDS_INT32, &row->seq_lens, row->n_sequences},
		{row->wide ? MDS_UINT32 : MDS_UINT16, &row->tokens, row->n_tokens}};
	for (size_t i = 0; i < PACKED_N_COLUMNS; i++) {
		str_reset(&row->values[i]);
		mds_put_array(&row->values[i], of[i].dtype, of[i].from->data, of[i].n);
		values[i] = (struct slice){row->values[i].data, row->values[i].len};
	}
}
