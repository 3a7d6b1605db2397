/*
 * `--export jsonl`: a line a sequence, `prompt` and `completion` as text, which trainers tokenize and mask themselves. It says
 * less than the mask: only "untrained, then trained to the end". A conversation of several trained turns would be trained on
 * what lies between them, so it is refused rather than bent.
 */
#include "inspect/export.h"

#include "base/json.h"
#include "base/mem.h"
#include "inspect/pieces.h"
#include "inspect/text_out.h"
#include "inspect/walk.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct jsonl {
	struct text_out out;
	struct pieces *pieces; /* of the folder at hand */
};

static bool jsonl_open(void *state, const struct export_source *source, struct error *err)
{
	struct jsonl *s = state;
	return text_out_open(&s->out, source->to, err);
}

static bool jsonl_folder(void *state, struct walk *w, struct error *err UNUSED)
{
	struct jsonl *s = state;
	pieces_free(s->pieces);
	s->pieces = pieces_new(w->dir, w->reader);
	return true;
}

/* Where the trained part of sequence k begins; it must reach to the end. */
static bool find_completion(const struct walk *w, size_t k, size_t *out_at, struct error *err)
{
	const struct sequences *q = &w->seqs;
	size_t at = q->starts[k], end = q->starts[k + 1];
	while (at < end && !q->mask[at]) {
		at++;
	}
	*out_at = at;
	while (at < end && q->mask[at]) {
		at++;
	}
	if (at == end) {
		return true;
	}
	error_set(err, FAIL_DATA,
		"sequence %zu has tokens that are not trained on after trained ones, which "
		"`prompt` "
		"and `completion` cannot say",
		k);
	return error_hint(err, "--export trl keeps the whole mask");
}

static void put_text(struct json_writer *j, const char *key, struct slice text)
{
	if (text.len) {
		json_key(j, key);
		json_put_str(j, text.data, text.len);
	}
}

/* Shards keep scores as float32, of which at most nine digits say everything: 0.7, not 0.699999988079071. */
static void put_score(struct json_writer *j, double score)
{
	char text[32];
	if (!isfinite(score) || score != (double)(float)score) {
		json_put_num(j, score);
		return;
	}
	for (int digits = 6; digits <= 9; digits++) {
		snprintf(text, sizeof(text), "%.*g", digits, score);
		if (strtof(text, NULL) == (float)score) {
			break;
		}
	}
	json_put_raw(j, text, strlen(text));
}

/* What is known of the sequence, as further members. */
static void put_facts(struct str *out, struct walk *w, size_t k)
{
	const struct sequences *q = &w->seqs;
	struct json_writer j = {.out = out, .need_comma = true};
	struct walk_meta meta;
	if (q->has_sample_ids) {
		json_member_uint(&j, "sample_id", q->sample_ids[k]);
	}
	if (q->has_scores) {
		json_key(&j, "score");
		put_score(&j, q->scores[k]);
	}
	if (!walk_meta(w, k, &meta)) {
		return;
	}
	put_text(&j, "prompt_id", meta.prompt_id);
	if (meta.candidate >= 0) {
		json_member_int(&j, "candidate", meta.candidate);
	}
	put_text(&j, "source", meta.source);
	put_text(&j, "model", meta.model);
	put_text(&j, "verifier", meta.verifier);
}

static bool put_sequence(struct jsonl *s, struct walk *w, size_t k, struct error *err)
{
	const struct sequences *q = &w->seqs;
	size_t from = q->starts[k], at, end = q->starts[k + 1];
	if (!find_completion(w, k, &at, err)) {
		return false;
	}
	/* Without a mask there is no prompt: text to train on as a whole. */
	if (q->has_mask) {
		str_append_z(&s->out.text, "{\"prompt\":");
		if (!pieces_put(s->pieces, q->ids + from, at - from, &s->out, err)) {
			return false;
		}
	}
	str_append_z(&s->out.text, q->has_mask ? ",\"completion\":" : "{\"text\":");
	if (!pieces_put(s->pieces, q->ids + at, end - at, &s->out, err)) {
		return false;
	}
	put_facts(&s->out.text, w, k);
	str_append_z(&s->out.text, "}\n");
	return text_out_room(&s->out, err);
}

static bool jsonl_row(void *state, struct walk *w, struct error *err)
{
	struct jsonl *s = state;
	bool ok = pieces_use(s->pieces, w->shard, err);
	for (size_t k = 0; ok && k < w->seqs.n; k++) {
		ok = put_sequence(s, w, k, err);
	}
	return ok;
}

static bool jsonl_is_over(const void *state)
{
	const struct jsonl *s = state;
	return s->out.closed;
}

static bool jsonl_publish(void *state, uint64_t *out_bytes, struct error *err)
{
	struct jsonl *s = state;
	bool ok = text_out_publish(&s->out, err);
	*out_bytes = s->out.bytes;
	return ok;
}

static void jsonl_release(void *state)
{
	struct jsonl *s = state;
	text_out_release(&s->out);
	pieces_free(TAKE(s->pieces));
}

const struct export_ops export_jsonl = {
	.name = "jsonl",
	.summary = "a line a sequence: prompt, completion (text) and what is known of it",
	.state_bytes = sizeof(struct jsonl),
	.n_files = 1,
	.open = jsonl_open,
	.folder = jsonl_folder,
	.row = jsonl_row,
	.is_over = jsonl_is_over,
	.publish = jsonl_publish,
	.release = jsonl_release,
};
