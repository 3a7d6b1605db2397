#include "inspect/row_check.h"

#include "inspect/walk.h"

static void keep_first(void *ctx, const char *what)
{
	struct error *err = ctx;
	if (err->kind == FAIL_NONE) {
		error_set(err, FAIL_DATA, "%s", what);
	}
}

bool row_check(struct row_check *c, const struct walk *w, struct error *err)
{
	const struct mds_read_shard *s = mds_reader_shard(w->reader, w->shard);
	for (size_t i = 0; i < s->n_columns; i++) {
		if (!mds_value_check(&s->columns[i].encoding, w->values[i], err)) {
			return error_context(err, "column '%.64s'", s->columns[i].name);
		}
	}
	if (c->plan.shard != s) {
		/* No limit for ids: a format that has one asks for itself. */
		packed_plan(&c->plan, w->reader, w->shard, 0);
	}
	struct error first = {0};
	packed_check(&c->plan, w->values, keep_first, &first);
	if (first.kind != FAIL_NONE) {
		*err = first;
		return false;
	}
	return true;
}
