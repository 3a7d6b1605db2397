/* Ids sorted by their bytes; a binary search finds the pieces that a text may begin with, a depth-first search the rows. */
#include "engine/spelling.h"

#include "base/arena.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

struct entry {
	struct slice piece;
	uint32_t id;
};

struct spelling {
	struct arena arena;
	struct slice *by_id; /* n */
	struct entry *sorted; /* n_sorted; owns */
	uint32_t n;
	size_t n_sorted;
};

static int compare_bytes(struct slice a, struct slice b)
{
	size_t n = MIN(a.len, b.len);
	int order = n > 0 ? memcmp(a.data, b.data, n) : 0;

	return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

static int compare(const void *a, const void *b)
{
	return compare_bytes(((const struct entry *)a)->piece, ((const struct entry *)b)->piece);
}

struct spelling *spelling_new(const struct slice *from, const uint8_t *special, uint32_t n)
{
	struct spelling *p = xcalloc(1, sizeof(*p));

	p->n = n;
	p->by_id = arena_alloc_array(&p->arena, n, sizeof(*p->by_id));
	p->sorted = xcalloc(n + 1, sizeof(*p->sorted));
	for (uint32_t i = 0; i < n; i++) {
		if (special[i] || from[i].len == 0)
			continue;
		p->by_id[i] = (struct slice){
			arena_memdup0(&p->arena, from[i].data, from[i].len), from[i].len};
		p->sorted[p->n_sorted++] = (struct entry){p->by_id[i], i};
	}
	qsort(p->sorted, p->n_sorted, sizeof(*p->sorted), compare);
	return p;
}

void spelling_free(struct spelling *p)
{
	if (p == NULL)
		return;
	arena_release(&p->arena);
	free(p->sorted);
	free(p);
}

struct slice spelling_piece(const struct spelling *p, uint32_t id)
{
	return id < p->n ? p->by_id[id] : (struct slice){NULL, 0};
}

/* The first entry that is not below `bytes`. */
static size_t lower_bound(const struct spelling *p, struct slice bytes)
{
	size_t low = 0, high = p->n_sorted;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (compare_bytes(p->sorted[middle].piece, bytes) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* The text stops inside a character: behind a lead byte there are fewer bytes than it announces. */
static bool stops_inside(struct slice text)
{
	size_t n = 0;

	while (n < text.len && n < 4) {
		unsigned char c = (unsigned char)text.data[text.len - 1 - n++];

		if ((c & 0xc0) == 0x80)
			continue;
		return (c >= 0xf0 && n < 4) || (c >= 0xe0 && n < 3) || (c >= 0xc0 && n < 2);
	}
	return false;
}

struct search {
	const struct spelling *spelling;
	struct slice bytes;
	size_t n, n_found;
	uint32_t row[SPELLING_IDS_MAX], found[SPELLING_IDS_MAX];
};

static void search_from(struct search *s, size_t depth, size_t at)
{
	if (depth == s->n) {
		if (at == s->bytes.len && s->n_found++ == 0)
			memcpy(s->found, s->row, s->n * sizeof(*s->row));
		return;
	}
	/* Every piece has a byte at least. */
	for (size_t end = at + 1; end + (s->n - depth - 1) <= s->bytes.len && s->n_found < 2;
		end++) {
		struct slice piece = {s->bytes.data + at, end - at};

		if (!stops_inside((struct slice){s->bytes.data, end}))
			continue;
		for (size_t i = lower_bound(s->spelling, piece); i < s->spelling->n_sorted &&
			s->n_found < 2 && compare_bytes(s->spelling->sorted[i].piece, piece) == 0;
			i++) {
			s->row[depth] = s->spelling->sorted[i].id;
			search_from(s, depth + 1, end);
		}
	}
}

bool spelling_split(const struct spelling *p, struct slice bytes, size_t n, uint32_t *out_ids)
{
	struct search search = {.spelling = p, .bytes = bytes, .n = n};

	/* Characters are short: more bytes would mean that the text between was hidden for another reason. */
	if (n == 0 || n > SPELLING_IDS_MAX || bytes.len > 4 * SPELLING_IDS_MAX)
		return false;
	search_from(&search, 0, 0);
	if (search.n_found != 1)
		return false;
	memcpy(out_ids, search.found, n * sizeof(*out_ids));
	return true;
}
