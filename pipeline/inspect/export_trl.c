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
#define PART 4096 /* numbers that are put between two looks at the buffer */
#define SHORT_NUMBERS \
	(1u << 18) /* covers what vocabularies there are; seven bytes hold "262143," */

/* A number with its comma, in eight bytes that are copied as they lie. */
struct short_number {
	char text[7];
	uint8_t len;
};

struct trl {
	struct text_out out;
	struct short_number *numbers; /* owns; texts of 0 to SHORT_NUMBERS - 1 */
	char untrained[PART * UNTRAINED_BYTES];
};

static char *put_long(char *to, uint32_t v)
{
	char digits[NUMBER_BYTES_MAX];
	size_t at = sizeof(digits);
	digits[--at] = ',';
	do {
		digits[--at] = (char)('0' + v % 10);
		v /= 10;
	} while (v);
	memcpy(to, digits + at, sizeof(digits) - at);
	return to + sizeof(digits) - at;
}

static struct short_number *short_numbers(void)
{
	struct short_number *numbers = xcalloc(SHORT_NUMBERS, sizeof(*numbers));
	for (uint32_t i = 0; i < SHORT_NUMBERS; i++) {
		numbers[i].len = (uint8_t)(put_long(numbers[i].text, i) - numbers[i].text);
	}
	return numbers;
}

/* May write eight bytes whatever it needs. */
static inline char *put_number(const struct trl *s, char *to, uint32_t v)
{
	if (v >= SHORT_NUMBERS) {
		return put_long(to, v);
	}
	memcpy(to, &s->numbers[v], sizeof(*s->numbers));
	return to + s->numbers[v].len;
}

static bool trl_open(void *state, const struct export_source *source, struct error *err)
{
	struct trl *s = state;
	s->numbers = short_numbers();
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
		char *from = str_reserve(&s->out.text, part * NUMBER_BYTES_MAX);
		char *to = from;
		for (size_t i = 0; i < part; i++) {
			to = put_number(s, to, numbers[at + i]);
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
	free(TAKE(s->numbers));
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
