/*
 * `thresh inspect --id`: one sequence by its id.
 *
 * The sidecar has a row a sequence, in the order of the packed rows, and is a tenth of their size: it is read through and tells
 * the number of the sequence in the folder. Which packed row that is nobody has written down, but the first id of a row has its
 * number in the sidecar too, so halving finds it with a dozen frames. Without a sidecar, or if the two do not agree, all rows
 * are read.
 */
#include "inspect/inspect.h"

#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "inspect/decode.h"
#include "inspect/inspect_print.h"
#include "inspect/inspect_sample.h"
#include "inspect/walk.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LISTED_MAX 100

struct wanted {
	uint64_t sample_id;
	bool has_sample_id;
	struct slice prompt; /* beginning of its prompt_id; data NULL: cannot be one */
};

/* Place of a sequence. */
struct found {
	uint64_t row;
	uint64_t before; /* sequences in the rows before, of the same sub-folder */
	size_t k;
};

struct places {
	struct found *items; /* owns */
	size_t n, cap;
};

struct numbered {
	uint64_t sample_id, sequence;
};

/* All of a sidecar, by sample id; and which of it is wanted. */
struct side_ids {
	struct numbered *items; /* owns */
	size_t n, cap;
	struct numbered *wanted; /* owns */
	size_t n_wanted, wanted_cap;
};

/* "12.3" -> 12 * 4096 + 3 */
static bool parse_candidate(const char *id, uint64_t *out)
{
	const char *dot = strchr(id, '.');
	uint64_t prompt, candidate;
	if (!dot) {
		return false;
	}
	AUTO_FREE char *before = xmemdup0(id, (size_t)(dot - id));
	if (!text_parse_u64(before, &prompt) || !text_parse_u64(dot + 1, &candidate) ||
		prompt > UINT64_MAX / PROMPT_CANDIDATES - 1 || candidate >= PROMPT_CANDIDATES) {
		return false;
	}
	*out = prompt * PROMPT_CANDIDATES + candidate;
	return true;
}

static bool parse(const char *id, struct wanted *out, struct error *err)
{
	*out = (struct wanted){0};
	out->has_sample_id = parse_candidate(id, &out->sample_id);
	if (!out->has_sample_id) {
		out->has_sample_id = text_parse_u64(id, &out->sample_id);
		out->prompt = slice_z(id);
	}
	return id[0] ||
		error_set(err, FAIL_USAGE,
			"--id needs a candidate (12.3), a sample id or the beginning of a "
			"prompt_id");
}

static bool begins(struct slice text, struct slice with)
{
	return with.data && text.data && text.len >= with.len &&
		memcmp(text.data, with.data, with.len) == 0;
}

static void add_place(struct places *p, struct found place)
{
	p->items = array_room(p->items, p->n, &p->cap, sizeof(*p->items));
	p->items[p->n++] = place;
}

/* --- by the sidecar --- */

static void add_side(struct side_ids *ids, const struct wanted *want, const struct mds_reader *r,
	size_t shard, const struct slice *values, bool by_prompt)
{
	struct mds_array id;
	int prompt = mds_reader_column(r, shard, "prompt_id");
	uint64_t sample_id = mds_reader_array(r, shard, values, "sample_id", &id) && id.n
		? mds_array_u64(&id, 0)
		: UINT64_MAX;
	bool is_wanted = by_prompt ? prompt >= 0 && begins(values[prompt], want->prompt)
				   : want->has_sample_id && sample_id == want->sample_id;
	if (is_wanted) {
		ids->wanted = array_room(
			ids->wanted, ids->n_wanted, &ids->wanted_cap, sizeof(*ids->wanted));
		ids->wanted[ids->n_wanted++] = (struct numbered){sample_id, ids->n};
	}
	ids->items = array_room(ids->items, ids->n, &ids->cap, sizeof(*ids->items));
	ids->items[ids->n] = (struct numbered){sample_id, ids->n};
	ids->n++;
}

static bool read_side(
	const char *dir, const struct wanted *want, bool by_prompt, struct side_ids *out)
{
	struct error ignored;
	struct slice values[MDS_READ_COLUMNS_MAX];
	struct mds_reader *r = mds_reader_open(dir, &ignored);
	bool ok = r != NULL;
	for (uint64_t i = 0; ok && i < mds_reader_n_samples(r); i++) {
		size_t shard;
		ok = mds_reader_sample(r, i, values, &shard, &ignored);
		if (ok) {
			add_side(out, want, r, shard, values, by_prompt);
		}
	}
	mds_reader_close(r);
	return ok;
}

static int by_sample_id(const void *a, const void *b)
{
	uint64_t x = ((const struct numbered *)a)->sample_id,
		 y = ((const struct numbered *)b)->sample_id;
	return (x > y) - (x < y);
}

/* Reads a row and tells the number of its first sequence. */
static bool first_of(const struct side_ids *ids, struct mds_reader *r, uint64_t row,
	struct sequences *s, uint64_t *out)
{
	struct slice values[MDS_READ_COLUMNS_MAX];
	struct error ignored;
	size_t shard;
	if (!mds_reader_sample(r, row, values, &shard, &ignored) ||
		!sequences_read(s, r, shard, values) || !s->has_sample_ids) {
		return false;
	}
	struct numbered key = {s->sample_ids[0], 0};
	const struct numbered *at = bsearch(
		&key, ids->items, ids->n, sizeof(*ids->items), by_sample_id);
	if (at) {
		*out = at->sequence;
	}
	return at != NULL;
}

/* The last row whose first sequence is not beyond the wanted one, if that is where it should be. */
static bool locate(const struct side_ids *ids, struct mds_reader *r, struct sequences *s,
	struct numbered wanted, struct found *out)
{
	uint64_t low = 0, high = mds_reader_n_samples(r), first;
	while (low + 1 < high) {
		uint64_t middle = low + (high - low) / 2;
		if (!first_of(ids, r, middle, s, &first)) {
			return false;
		}
		if (first <= wanted.sequence) {
			low = middle;
		} else {
			high = middle;
		}
	}
	if (low == high || !first_of(ids, r, low, s, &first) || first > wanted.sequence ||
		wanted.sequence - first >= s->n) {
		return false;
	}
	*out = (struct found){low, first, (size_t)(wanted.sequence - first)};
	return s->sample_ids[out->k] == wanted.sample_id;
}

static bool locate_all(const char *dir, struct side_ids *ids, struct places *out)
{
	struct error ignored;
	struct sequences s = {0};
	struct mds_reader *r = mds_reader_open(dir, &ignored);
	bool ok = r != NULL;
	qsort(ids->items, ids->n, sizeof(*ids->items), by_sample_id);
	for (size_t i = 0; ok && i < ids->n_wanted; i++) {
		struct found place;
		ok = locate(ids, r, &s, ids->wanted[i], &place);
		if (ok) {
			add_place(out, place);
		}
	}
	mds_reader_close(r);
	sequences_release(&s);
	return ok;
}

/* False: there is no sidecar, it does not have what is wanted, or it does not agree with the rows. */
static bool look_up(const char *dir, const struct wanted *want, bool by_prompt, struct places *out)
{
	AUTO_FREE char *meta = walk_sidecar(dir, "meta");
	struct side_ids ids = {0};
	bool ok = meta && read_side(meta, want, by_prompt, &ids) && ids.n_wanted &&
		locate_all(dir, &ids, out);
	free(ids.items);
	free(ids.wanted);
	out->n = ok ? out->n : 0;
	return out->n > 0;
}

/* --- by reading all --- */

static bool is_wanted(struct walk *w, size_t k, const struct wanted *want, bool by_prompt)
{
	struct walk_meta meta;
	if (by_prompt) {
		return walk_meta(w, k, &meta) && begins(meta.prompt_id, want->prompt);
	}
	return want->has_sample_id && w->seqs.has_sample_ids &&
		w->seqs.sample_ids[k] == want->sample_id;
}

static bool scan(const char *dir, const struct wanted *want, bool by_prompt, struct places *out,
	struct error *err)
{
	struct walk w;
	if (!walk_open(&w, dir, err)) {
		return false;
	}
	while (walk_next(&w, err)) {
		for (size_t k = 0; k < w.seqs.n; k++) {
			if (is_wanted(&w, k, want, by_prompt)) {
				add_place(out, (struct found){w.row, w.first_sequence, k});
			}
		}
	}
	walk_close(&w);
	return err->kind == FAIL_NONE;
}

static bool find_by(const char *dir, const struct wanted *want, bool by_prompt, struct places *out,
	struct error *err)
{
	return look_up(dir, want, by_prompt, out) || scan(dir, want, by_prompt, out, err);
}

/* A number is a sample id, and only if there is none the beginning of a prompt_id. */
static bool find(const char *dir, const struct wanted *want, struct places *out, struct error *err)
{
	bool ok = !want->has_sample_id || find_by(dir, want, false, out, err);
	return ok && (out->n || !want->prompt.data || find_by(dir, want, true, out, err));
}

/* --- what is shown --- */

static bool go_to(struct walk *w, const char *dir, const struct found *f, struct error *err)
{
	if (!walk_open(w, dir, err)) {
		return false;
	}
	if (walk_seek(w, f->row, err)) {
		walk_passed_over(w, f->before);
		if (walk_next(w, err)) {
			return true;
		}
	}
	walk_close(w);
	return false;
}

static void print_slice(const char *name, struct slice value)
{
	if (value.data) {
		struct str text;
		str_init(&text, STR_NO_CAP);
		text_put_printable(&text, value.data, value.len, false);
		print_fact(name, "%s", text.data);
		str_release(&text);
	}
}

static void put_member(void *ctx, const char *key, const struct json *value)
{
	struct str *out = ctx;
	str_append_z(out, out->len ? ", " : "");
	str_append_z(out, key);
	str_append_c(out, ' ');
	json_dump(value, false, out);
}

static void print_member(void *ctx UNUSED, const char *key, const struct json *value)
{
	struct str name, text;
	str_init(&name, STR_NO_CAP);
	str_init(&text, STR_NO_CAP);
	text_put_printable(&name, key, strlen(key), false);
	if (json_kind(value) == JSON_OBJECT) {
		json_each(value, put_member, &text);
	} else if (json_z(value)) {
		str_append_z(&text, json_z(value));
	} else {
		json_dump(value, false, &text);
	}
	print_slice(name.data, (struct slice){text.data, text.len});
	str_release(&name);
	str_release(&text);
}

/* What was written as `meta` beside the score: finish, seed, the score of each verifier. */
static void print_meta(struct slice meta)
{
	struct error ignored;
	AUTO_JSON struct json *root = meta.data ? json_parse(meta.data, meta.len, &ignored) : NULL;
	if (json_kind(root) == JSON_OBJECT) {
		json_each(root, print_member, NULL);
	} else {
		print_slice("meta", meta);
	}
}

static void print_found(struct walk *w, size_t k, bool tokens)
{
	struct walk_meta meta;
	struct decoder *decoder = decoder_new(w->dir, w->reader);
	decoder_use(decoder, w->shard);
	printf("sample %" PRIu64 " of ", w->row);
	print_z(w->dir);
	printf(", shard %zu\n", w->shard);
	if (walk_meta(w, k, &meta)) {
		print_slice("prompt_id", meta.prompt_id);
		print_slice("source", meta.source);
		print_slice("model", meta.model);
		print_slice("verifier", meta.verifier);
		print_meta(meta.meta);
	}
	sample_print_sequence(w, k, decoder, tokens);
	decoder_free(decoder);
}

static void put_slice(struct json_writer *j, const char *key, struct slice value)
{
	json_key(j, key);
	if (value.data) {
		json_put_str(j, value.data, value.len);
	} else {
		json_put_null(j);
	}
}

static void put_place(struct json_writer *j, struct walk *w, size_t k)
{
	char candidate[CANDIDATE_CHARS];
	struct walk_meta meta;
	bool has_meta = walk_meta(w, k, &meta);
	json_member_z(j, "dir", w->dir);
	json_member_uint(j, "sample", w->row);
	json_member_uint(j, "sequence", k + 1);
	json_member_z(j, "candidate", sample_candidate(&w->seqs, k, candidate));
	put_slice(j, "prompt_id", has_meta ? meta.prompt_id : (struct slice){NULL, 0});
	json_member_num(j, "score", w->seqs.scores[k]);
}

static void put_meta(struct json_writer *j, struct walk *w, size_t k)
{
	struct walk_meta meta;
	struct error ignored;
	if (!walk_meta(w, k, &meta)) {
		return;
	}
	put_slice(j, "source", meta.source);
	put_slice(j, "model", meta.model);
	put_slice(j, "verifier", meta.verifier);
	AUTO_JSON struct json *root = meta.meta.data
		? json_parse(meta.meta.data, meta.meta.len, &ignored)
		: NULL;
	struct str compact; /* as it was written, it could have newlines */
	str_init(&compact, STR_NO_CAP);
	json_dump(root, false, &compact);
	json_key(j, "meta");
	if (root) {
		json_put_raw(j, compact.data, compact.len);
	} else {
		json_put_null(j);
	}
	str_release(&compact);
}

static void put_tokens(struct json_writer *j, struct walk *w, size_t k)
{
	const struct sequences *s = &w->seqs;
	struct mds_array logprobs;
	json_key(j, "ids");
	json_begin_array(j);
	for (size_t i = s->starts[k]; i < s->starts[k + 1]; i++) {
		json_put_uint(j, s->ids[i]);
	}
	json_end_array(j);
	json_key(j, "mask");
	json_begin_array(j);
	for (size_t i = s->starts[k]; i < s->starts[k + 1]; i++) {
		json_put_uint(j, s->mask[i]);
	}
	json_end_array(j);
	if (walk_logprobs(w, k, &logprobs)) {
		json_key(j, "logprobs");
		json_begin_array(j);
		for (size_t i = 0; i < logprobs.n; i++) {
			json_put_num(j, mds_array_double(&logprobs, i));
		}
		json_end_array(j);
	}
}

static void put_text(struct json_writer *j, struct walk *w, size_t k)
{
	const struct sequences *s = &w->seqs;
	struct decoder *d = decoder_new(w->dir, w->reader);
	if (decoder_use(d, w->shard)) {
		struct str text;
		str_init(&text, STR_NO_CAP);
		for (size_t i = s->starts[k]; i < s->starts[k + 1]; i++) {
			decoder_put(d, s->ids[i], &text);
		}
		json_key(j, "text");
		json_put_str(j, text.data, text.len);
		str_release(&text);
	}
	decoder_free(d);
}

/* `all`: also what it holds. */
static void print_found_json(struct walk *w, size_t k, bool all)
{
	struct str line;
	str_init(&line, STR_NO_CAP);
	struct json_writer j = {.out = &line};
	json_begin_object(&j);
	put_place(&j, w, k);
	if (all) {
		put_meta(&j, w, k);
		put_text(&j, w, k);
		put_tokens(&j, w, k);
	}
	json_end_object(&j);
	puts(line.data);
	str_release(&line);
}

static void print_line(struct walk *w, size_t k)
{
	char candidate[CANDIDATE_CHARS];
	struct walk_meta meta;
	printf("sample %" PRIu64 ", sequence %zu", w->row, k + 1);
	if (sample_candidate(&w->seqs, k, candidate)) {
		printf(", candidate %s", candidate);
	}
	if (w->seqs.has_scores) {
		printf(", score %.4g", w->seqs.scores[k]);
	}
	if (walk_meta(w, k, &meta) && meta.prompt_id.data) {
		printf(", prompt ");
		print_text(meta.prompt_id.data, meta.prompt_id.len, false);
	}
	putchar('\n');
}

static bool show_one(
	const char *dir, const struct found *f, const struct inspect_show *show, struct error *err)
{
	struct walk w;
	if (!go_to(&w, dir, f, err)) {
		return false;
	}
	if (show->json) {
		print_found_json(&w, f->k, true);
	} else {
		print_found(&w, f->k, show->tokens);
	}
	walk_close(&w);
	return true;
}

static bool list(
	const char *dir, const char *id, const struct places *p, bool json, struct error *err)
{
	for (size_t i = 0; i < MIN(p->n, LISTED_MAX); i++) {
		struct walk w;
		if (!go_to(&w, dir, &p->items[i], err)) {
			return false;
		}
		if (json) {
			print_found_json(&w, p->items[i].k, false);
		} else {
			print_line(&w, p->items[i].k);
		}
		walk_close(&w);
	}
	error_set(err, FAIL_USAGE, "--id: '%.100s' names %zu sequences%s", id, p->n,
		p->n > LISTED_MAX ? ", the first of which are listed" : "");
	return error_hint(
		err, "name one by its candidate, or see the whole sample with --sample N");
}

bool inspect_find(
	const char *dir, const char *id, const struct inspect_show *show, struct error *err)
{
	struct wanted want;
	struct places places = {0};
	bool ok = parse(id, &want, err) && find(dir, &want, &places, err);
	if (ok && !places.n) {
		error_set(err, FAIL_USAGE, "--id: no sequence of '%s' is '%.100s'", dir, id);
		ok = error_hint(err,
			"ids are a candidate (12.3), a sample id, or the beginning of a prompt_id");
	} else if (ok && places.n == 1) {
		ok = show_one(dir, &places.items[0], show, err);
	} else if (ok) {
		ok = list(dir, id, &places, show->json, err);
	}
	free(places.items);
	return ok;
}
