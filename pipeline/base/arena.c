/*
 * A chain of blocks, newest first; allocation bumps a pointer in the newest. Blocks double from 4 KiB to 256 KiB; a larger
 * request gets a block of its own, put behind the newest so that the newest's rest stays in use.
 */
#include "base/arena.h"

#include "base/mem.h"

#include <assert.h>
#include <stdalign.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK_BYTES_MIN ((size_t)4 << 10)
#define BLOCK_BYTES_MAX ((size_t)256 << 10)

struct arena_block {
	struct arena_block *next;
	size_t size, used; /* bytes of data */
	alignas(max_align_t) char data[];
};

static struct arena_block *block_new(size_t size)
{
	struct arena_block *block = xmalloc(sizeof(*block) + size);
	block->next = NULL;
	block->size = size;
	block->used = 0;
	return block;
}

void arena_release(struct arena *a)
{
	while (a->head) {
		struct arena_block *next = a->head->next;
		free(a->head);
		a->head = next;
	}
	a->used_bytes = 0;
}

void arena_reset(struct arena *a)
{
	if (!a->head) {
		return;
	}
	struct arena rest = {.head = a->head->next};
	arena_release(&rest);
	a->head->next = NULL;
	a->head->used = 0;
	a->used_bytes = a->head->size;
}

/* Not zeroed. */
static void *take(struct arena *a, size_t bytes)
{
	const size_t unit = alignof(max_align_t);
	if (bytes > SIZE_MAX / 2) {
		oom();
	}
	size_t need = (bytes + unit - 1) / unit * unit;
	struct arena_block *block = a->head;
	if (!block || block->size - block->used < need) {
		size_t grown = block ? MIN(block->size * 2, BLOCK_BYTES_MAX) : BLOCK_BYTES_MIN;
		bool alone = need > grown / 2 && block;
		block = block_new(MAX(need, alone ? need : grown));
		a->used_bytes += block->size;
		if (alone) {
			block->next = a->head->next;
			a->head->next = block;
		} else {
			block->next = a->head;
			a->head = block;
		}
	}
	void *p = block->data + block->used;
	block->used += need;
	return p;
}

void *arena_alloc(struct arena *a, size_t bytes)
{
	return memset(take(a, bytes), 0, bytes);
}

void *arena_alloc_array(struct arena *a, size_t n, size_t item_bytes)
{
	if (item_bytes && n > SIZE_MAX / 2 / item_bytes) {
		oom();
	}
	return arena_alloc(a, n * item_bytes);
}

void *arena_memdup(struct arena *a, const void *p, size_t bytes)
{
	void *copy = take(a, bytes);
	return bytes ? memcpy(copy, p, bytes) : copy;
}

char *arena_memdup0(struct arena *a, const void *p, size_t bytes)
{
	char *copy = take(a, bytes + 1);
	if (bytes) {
		memcpy(copy, p, bytes);
	}
	copy[bytes] = '\0';
	return copy;
}

char *arena_strdup(struct arena *a, const char *z)
{
	return arena_memdup0(a, z, strlen(z));
}

char *arena_printf(struct arena *a, const char *fmt, ...)
{
	va_list args;
	char none[1];
	va_start(args, fmt);
	int len = vsnprintf(none, 0, fmt, args);
	va_end(args);
	assert(len >= 0);
	char *out = arena_alloc(a, (size_t)len + 1);
	va_start(args, fmt);
	vsnprintf(out, (size_t)len + 1, fmt, args);
	va_end(args);
	return out;
}
