/*
 * A character may be spread over several tokens, so pieces cannot be escaped one by one. But a piece that is whole UTF-8 by
 * itself ends any character that was begun before it: its escaped text stands for it everywhere. What comes between such
 * pieces is collected and escaped together.
 */
#include "inspect/pieces.h"

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "shard/vocab.h"

#include <stdlib.h>
#include <string.h>

#define PART ((size_t)4096)
#define KEPT_IDS ((size_t)1 << 20) /* ids beyond are looked up each time */

#define NEAR_BYTES 11

/* An id's text, where it is short and whole in 16 bytes that are copied as they lie. */
struct kept {
	char text[NEAR_BYTES];
	uint8_t tag; /* see below */
	uint32_t far; /* index in `far` */
};
_Static_assert(sizeof(struct kept) == 16, "one move");

enum {
	TAG_NONE = 0, /* not looked up yet */
	TAG_NEAR = 1, /* TAG_NEAR + n: n bytes of escaped text are in `text` */
	TAG_FAR = TAG_NEAR + NEAR_BYTES + 1, /* escaped text is in `far` */
	TAG_RAW /* bytes in `far` that are not UTF-8 by themselves, not escaped */
};

struct pieces {
	const char *dir;
	const struct mds_reader *reader;
	char *part; /* owns; sub-folder that `vocab` is of; NULL: none was read yet */
	struct vocab *vocab; /* owns */
	struct kept *kept; /* owns; by id */
	size_t n_kept;
	struct slice *far; /* owns, and what is in it */
	size_t n_far, far_cap;
	struct str pending; /* raw bytes that a later piece may complete */
	struct str quoted; /* scratch */
};

struct pieces *pieces_new(const char *dir, const struct mds_reader *r)
{
	struct pieces *p = xcalloc(1, sizeof(*p));
	p->dir = dir;
	p->reader = r;
	str_init(&p->pending, STR_NO_CAP);
	str_init(&p->quoted, STR_NO_CAP);
	return p;
}

static void forget(struct pieces *p)
{
	vocab_free(TAKE(p->vocab));
	free(TAKE(p->part));
	free(TAKE(p->kept));
	for (size_t i = 0; i < p->n_far; i++) {
		free((char *)(uintptr_t)p->far[i].data);
	}
	free(TAKE(p->far));
	p->n_kept = p->n_far = p->far_cap = 0;
}

void pieces_free(struct pieces *p)
{
	if (p) {
		forget(p);
		str_release(&p->pending);
		str_release(&p->quoted);
		free(p);
	}
}

bool pieces_use(struct pieces *p, size_t shard, struct error *err)
{
	AUTO_FREE char *part = mds_reader_part(p->reader, shard);
	if (p->vocab && strcmp(p->part, part) == 0) {
		return true;
	}
	AUTO_FREE char *path = file_join(p->dir, part);
	forget(p);
	p->part = TAKE(part);
	p->vocab = vocab_read(path, err);
	return p->vocab ||
		error_hint(err,
			"text needs the vocab.zst that a run puts beside its shards; --export trl "
			"and megatron need none");
}

/* The escaped text of bytes, without its quotes. */
static struct slice escape(struct pieces *p, const char *bytes, size_t len)
{
	str_reset(&p->quoted);
	json_put_str(&(struct json_writer){.out = &p->quoted}, bytes, len);
	return (struct slice){p->quoted.data + 1, p->quoted.len - 2};
}

static bool look_up(const struct pieces *p, uint32_t id, struct slice *out_piece, struct error *err)
{
	bool special;
	return vocab_piece(p->vocab, id, out_piece, &special) ||
		error_set(err, FAIL_DATA, "token id %u is not in '%s/%s/vocab.zst'", id, p->dir,
			p->part);
}

static void grow(struct pieces *p, size_t id)
{
	size_t n = MIN(MAX(id + 1, 2 * p->n_kept), KEPT_IDS);
	p->kept = xreallocarray(p->kept, n, sizeof(*p->kept));
	memset(p->kept + p->n_kept, 0, (n - p->n_kept) * sizeof(*p->kept));
	p->n_kept = n;
}

static void keep_far(struct pieces *p, struct kept *k, struct slice text, uint8_t tag)
{
	p->far = array_room(p->far, p->n_far, &p->far_cap, sizeof(*p->far));
	k->far = (uint32_t)p->n_far;
	k->tag = tag;
	p->far[p->n_far++] = (struct slice){xmemdup0(text.data, text.len), text.len};
}

static bool keep(struct pieces *p, uint32_t id, struct error *err)
{
	struct slice piece, text;
	if (!look_up(p, id, &piece, err)) {
		return false;
	}
	if (!utf8_valid(piece.data, piece.len)) {
		keep_far(p, &p->kept[id], piece, TAG_RAW);
		return true;
	}
	text = escape(p, piece.data, piece.len);
	if (text.len > NEAR_BYTES) {
		keep_far(p, &p->kept[id], text, TAG_FAR);
		return true;
	}
	memcpy(p->kept[id].text, text.data, text.len);
	p->kept[id].tag = (uint8_t)(TAG_NEAR + text.len);
	return true;
}

static void put_pending(struct pieces *p, struct str *out)
{
	struct slice text = escape(p, p->pending.data, p->pending.len);
	str_append(out, text.data, text.len);
	str_reset(&p->pending);
}

static bool put_piece(struct pieces *p, uint32_t id, struct str *out, struct error *err)
{
	struct slice piece;
	if (id >= KEPT_IDS) {
		if (!look_up(p, id, &piece, err)) {
			return false;
		}
		str_append(&p->pending, piece.data, piece.len);
		return true;
	}
	if (id >= p->n_kept) {
		grow(p, id);
	}
	if (!p->kept[id].tag && !keep(p, id, err)) {
		return false;
	}
	const struct kept *k = &p->kept[id];
	struct slice text = k->tag < TAG_FAR ? (struct slice){k->text, (size_t)k->tag - TAG_NEAR}
					     : p->far[k->far];
	if (k->tag == TAG_RAW) {
		str_append(&p->pending, text.data, text.len);
		return true;
	}
	if (p->pending.len) {
		put_pending(p, out);
	}
	str_append(out, text.data, text.len);
	return true;
}

/* The common case: ids whose texts are near, as long as they come. Returns how many there were. */
static size_t put_near(const struct pieces *p, const uint32_t *ids, size_t n, struct str *out)
{
	char *from = str_reserve(out, (n + 1) * sizeof(struct kept)), *to = from;
	size_t i;
	for (i = 0; i < n && ids[i] < p->n_kept; i++) {
		const struct kept *k = &p->kept[ids[i]];
		if (k->tag < TAG_NEAR || k->tag >= TAG_FAR) {
			break;
		}
		memcpy(to, k, sizeof(*k));
		to += k->tag - TAG_NEAR;
	}
	*to = '\0';
	out->len += (size_t)(to - from);
	return i;
}

bool pieces_put(
	struct pieces *p, const uint32_t *ids, size_t n, struct text_out *out, struct error *err)
{
	str_reset(&p->pending);
	str_append_c(&out->text, '"');
	for (size_t i = 0; i < n;) {
		size_t n_near = p->pending.len ? 0
					       : put_near(p, ids + i, MIN(n - i, PART), &out->text);
		i += n_near;
		if ((!n_near && !put_piece(p, ids[i++], &out->text, err)) ||
			!text_out_room(out, err)) {
			return false;
		}
	}
	if (p->pending.len) {
		put_pending(p, &out->text);
	}
	str_append_c(&out->text, '"');
	return true;
}
