#include "inspect/row_check.h"

#include "inspect/walk.h"
#include "shard/packed.h"

static void keep_first(void *ctx, const struct mds_fault *fault)
{
	struct error *err = ctx;
	if (err->kind == FAIL_NONE) {
		error_set(err, FAIL_DATA, "%s", fault->what);
	}
}

bool row_check(const struct walk *w, struct error *err)
{
	const struct mds_read_shard *s = mds_reader_shard(w->reader, w->shard);
	for (size_t i = 0; i < s->n_columns; i++) {
		if (!mds_value_check(&s->columns[i].encoding, w->values[i], err)) {
			return error_context(err, "column '%.64s'", s->columns[i].name);
		}
	}
	struct error first = {0};
	/* No limit for ids: a format that has one asks for itself. */
	if (packed_check(w->reader, w->shard, w->values, 0, keep_first, &first)) {
		*err = first;
		return false;
	}
	return true;
}
