/*
 * Memory by lifetime: everything allocated from an arena dies with it. A group owns one; workers have a scratch arena that is
 * reset after every piece of work. Not thread-safe: an arena belongs to whoever works on its group at the moment.
 */
#ifndef PIPELINE_BASE_ARENA_H
#define PIPELINE_BASE_ARENA_H

#include "base/attr.h"

#include <stddef.h>

struct arena_block;

struct arena {
	struct arena_block *head; /* owns the chain */
	size_t used_bytes; /* of all blocks, for accounting */
};

/* A zeroed struct is an empty arena. */
void arena_release(struct arena *a);
/* Frees all but the first block. */
void arena_reset(struct arena *a);
/* Aligned for any type, zeroed, never NULL; 0 bytes give a valid pointer. */
void *arena_alloc(struct arena *a, size_t bytes);
void *arena_alloc_array(struct arena *a, size_t n, size_t item_bytes);
void *arena_memdup(struct arena *a, const void *p, size_t bytes);
/* Copies with a NUL added. */
char *arena_memdup0(struct arena *a, const void *p, size_t bytes);
char *arena_strdup(struct arena *a, const char *z);
PRINTF_LIKE(2, 3) char *arena_printf(struct arena *a, const char *fmt, ...);

#endif
