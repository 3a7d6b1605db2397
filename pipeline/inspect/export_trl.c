/*
 * `--export trl`: a line a row, pre-packed, as TRL's padding-free collator takes it: ids, labels aligned with them and -100
 * where nothing is learned, lengths of the sequences. Nearly all of it is digits, so they are made by table.
 */
#include "inspect/export.h"

#include "base/attr.h"
#include "base/mem.h"
#include "inspect/text_out.h"
#include "inspect/walk.h"

#include <stdlib.h>
#include <string.h>

#define UNTRAINED "-100,"
#define UNTRAINED_BYTES (sizeof(UNTRAINED) - 1)
#define NUMBER_BYTES_MAX 11 /* of a u32 and its comma */
#define SLACK_BYTES 4 /* that put_number may write beyond them */
#define PART 4096 /* numbers that are put between two looks at the buffer */

struct digits {
	char padded[10000 * 4 + 4]; /* texts of 0 to 9999 with leading zeros, four bytes each */
	uint8_t first[10000]; /* of those, the digit that counts first */
};

struct trl {
	struct text_out out;
	struct digits *digits; /* owns */
	char untrained[PART * UNTRAINED_BYTES];
};

static struct digits *digits_new(void)
{
	struct digits *d = xcalloc(1, sizeof(*d));
	for (unsigned i = 0; i < 10000; i++) {
		unsigned rest = i;
		for (unsigned k = 4; k-- > 0; rest /= 10) {
			d->padded[4 * i + k] = (char)('0' + rest % 10);
		}
		d->first[i] = i < 10 ? 3 : i < 100 ? 2 : i < 1000 ? 1 : 0;
	}
	return d;
}

/* The digits of a number below 10,000 from the one given. Always copies four bytes, which is one instruction. */
static inline char *put_four(const struct digits *d, char *to, uint32_t v, unsigned first)
{
	memcpy(to, d->padded + 4 * v + first, 4);
	return to + 4 - first;
}

/* A number and a comma. */
static inline char *put_number(const struct digits *d, char *to, uint32_t v)
{
	uint32_t high = v / 10000, low = v % 10000;
	if (!high) {
		to = put_four(d, to, low, d->first[low]);
	} else if (high < 10000) {
		to = put_four(d, put_four(d, to, high, d->first[high]), low, 0);
	} else {
		to = put_four(d, to, high / 10000, d->first[high / 10000]);
		to = put_four(d, put_four(d, to, high % 10000, 0), low, 0);
	}
	*to++ = ',';
	return to;
}

static bool trl_open(void *state, const struct export_source *source, struct error *err)
{
	struct trl *s = state;
	s->digits = digits_new();
	for (size_t i = 0; i < PART; i++) {
		memcpy(s->untrained + i * UNTRAINED_BYTES, UNTRAINED, UNTRAINED_BYTES);
	}
	return text_out_open(&s->out, source->to, err);
}

/* The buffer is looked at before something is put, never after: so the last comma is still in it when a list ends. */
static bool put_numbers(struct trl *s, const uint32_t *numbers, size_t n, struct error *err)
{
	for (size_t at = 0; at < n; at += PART) {
		size_t part = MIN(n - at, PART);
		if (!text_out_room(&s->out, err)) {
			return false;
		}
		char *from = str_reserve(&s->out.text, part * NUMBER_BYTES_MAX + SLACK_BYTES);
		char *to = from;
		for (size_t i = 0; i < part; i++) {
			to = put_number(s->digits, to, numbers[at + i]);
		}
		s->out.text.len += (size_t)(to - from);
	}
	return true;
}

static bool put_untrained(struct trl *s, size_t n, struct error *err)
{
	for (size_t at = 0; at < n; at += PART) {
		if (!text_out_room(&s->out, err)) {
			return false;
		}
		str_append(&s->out.text, s->untrained, MIN(n - at, PART) * UNTRAINED_BYTES);
	}
	return true;
}

static bool put_labels(struct trl *s, const struct sequences *q, struct error *err)
{
	size_t n = q->starts[q->n];
	bool ok = true;
	for (size_t from = 0, to; ok && from < n; from = to) {
		const uint8_t *change = memchr(q->mask + from, !q->mask[from], n - from);
		to = change ? (size_t)(change - q->mask) : n;
		ok = q->mask[from] ? put_numbers(s, q->ids + from, to - from, err)
				   : put_untrained(s, to - from, err);
	}
	return ok;
}

static bool put_lengths(struct trl *s, const struct sequences *q, struct error *err)
{
	bool ok = true;
	for (size_t k = 0; ok && k < q->n; k++) {
		uint32_t len = (uint32_t)(q->starts[k + 1] - q->starts[k]);
		ok = put_numbers(s, &len, 1, err);
	}
	return ok;
}

static void end_list(struct trl *s, const char *then)
{
	struct str *text = &s->out.text;
	text->len -= text->len && text->data[text->len - 1] == ',';
	str_append_z(text, then);
}

static bool trl_row(void *state, struct walk *w, struct error *err)
{
	struct trl *s = state;
	const struct sequences *q = &w->seqs;
	if (!text_out_room(&s->out, err)) {
		return false;
	}
	str_append_z(&s->out.text, "{\"input_ids\":[");
	bool ok = put_numbers(s, q->ids, q->starts[q->n], err);
	end_list(s, "],\"labels\":[");
	ok = ok && put_labels(s, q, err);
	end_list(s, "],\"seq_lengths\":[");
	ok = ok && put_lengths(s, q, err);
	end_list(s, "]}\n");
	return ok;
}

static bool trl_is_over(const void *state)
{
	const struct trl *s = state;
	return s->out.closed;
}

static bool trl_publish(void *state, uint64_t *out_bytes, struct error *err)
{
	struct trl *s = state;
	bool ok = text_out_publish(&s->out, err);
	*out_bytes = s->out.bytes;
	return ok;
}

static void trl_release(void *state)
{
	struct trl *s = state;
	text_out_release(&s->out);
	free(TAKE(s->digits));
}

const struct export_ops export_trl = {
	.name = "trl",
	.summary = "a line a row: input_ids, labels (-100: not trained on), seq_lengths",
	.state_bytes = sizeof(struct trl),
	.n_files = 1,
	.open = trl_open,
	.row = trl_row,
	.is_over = trl_is_over,
	.publish = trl_publish,
	.release = trl_release,
};
