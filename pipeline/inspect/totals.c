#include "inspect/totals.h"

#include "base/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void totals_release(struct totals *t)
{
	numbers_release(&t->lengths);
	numbers_release(&t->scores);
	for (size_t i = 0; i < t->n_sources; i++) {
		free(t->sources[i].name);
	}
}

static void add_source(struct totals *t, struct slice name)
{
	for (size_t i = 0; i < t->n_sources; i++) {
		if (slice_eq_z(name, t->sources[i].name)) {
			t->sources[i].n++;
			return;
		}
	}
	if (t->n_sources < SOURCES_MAX) {
		t->sources[t->n_sources++] = (struct source_count){
			xmemdup0(name.data, name.len), 1};
	} else {
		t->n_other_sources++;
	}
}

void totals_add_row(struct totals *t, struct walk *w)
{
	const struct sequences *s = &w->seqs;
	t->n_rows++;
	if (!s->n) {
		return;
	}
	size_t n = s->starts[s->n];
	t->n_tokens += n;
	for (size_t i = 0; s->has_mask && i < n; i++) {
		t->n_loss_tokens += s->mask[i];
	}
	t->n_sequences += s->n;
	for (size_t k = 0; k < s->n; k++) {
		struct walk_meta meta;
		numbers_add(&t->lengths, (double)(s->starts[k + 1] - s->starts[k]));
		if (isfinite(s->scores[k])) {
			numbers_add(&t->scores, s->scores[k]);
		}
		if (walk_meta(w, k, &meta) && meta.source.data) {
			add_source(t, meta.source);
		}
	}
}

void totals_add_files(struct totals *t, const struct mds_reader *r)
{
	int64_t context;
	const char *layout = json_z(json_get(mds_reader_facts(r), "layout"));
	t->n_shards += mds_reader_n_shards(r);
	for (size_t i = 0; i < mds_reader_n_shards(r); i++) {
		t->raw_bytes += mds_reader_shard(r, i)->raw_bytes;
		t->zip_bytes += mds_reader_shard(r, i)->zip_bytes;
	}
	if (json_int(json_get(mds_reader_facts(r), "context"), &context)) {
		t->context = MAX(t->context, context);
	}
	t->packed = t->packed || (layout && strcmp(layout, "packed") == 0);
}

double totals_fill(const struct totals *t)
{
	return t->packed && t->context && t->n_rows
		? (double)t->n_tokens / ((double)t->n_rows * (double)t->context)
		: 0;
}

void totals_put_json(struct totals *t, struct json_writer *w)
{
	const struct {
		const char *key;
		uint64_t value;
	} members[] = {{"shards", t->n_shards}, {"samples", t->n_rows}, {"tokens", t->n_tokens},
		{"loss_tokens", t->n_loss_tokens}, {"sequences", t->n_sequences},
		{"raw_bytes", t->raw_bytes}, {"zip_bytes", t->zip_bytes},
		{"context", (uint64_t)t->context}};
	for (size_t i = 0; i < ARRAY_LEN(members); i++) {
		json_member_uint(w, members[i].key, members[i].value);
	}
	json_member_num(w, "fill", totals_fill(t));
	json_key(w, "sources");
	json_begin_object(w);
	for (size_t i = 0; i < t->n_sources; i++) {
		json_member_uint(w, t->sources[i].name, t->sources[i].n);
	}
	json_end_object(w);
	json_member_uint(w, "sequences_of_other_sources", t->n_other_sources);
	numbers_put_json(&t->lengths, w, "sequence_tokens");
	numbers_put_json(&t->scores, w, "scores");
}
