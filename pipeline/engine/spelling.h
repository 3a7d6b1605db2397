/*
 * A vocabulary's pieces, found by their bytes: for ids that a server sampled and did not send. llama.cpp streams nothing while
 * its text ends inside a UTF-8 character, and of the tokens that make up the character it then sends the last one's id alone;
 * it does count them. What they were follows from the bytes of the character where only one row of so many pieces spells it.
 */
#ifndef PIPELINE_ENGINE_SPELLING_H
#define PIPELINE_ENGINE_SPELLING_H

#include "base/str.h"

#include <stdint.h>

struct spelling;

#define SPELLING_IDS_MAX 32 /* hidden ids in a row that are looked for */

/* Copies the n pieces; control tokens (`special`) are never found. */
struct spelling *spelling_new(const struct slice *pieces, const uint8_t *special, uint32_t n);
void spelling_free(struct spelling *spelling);
/* Empty for an id that is not there. */
struct slice spelling_piece(const struct spelling *spelling, uint32_t id);
/*
 * The one row of n ids that spells `bytes` and stops inside a character after each of them. False: there is none, or more than
 * one, and nobody can tell which was sampled.
 */
bool spelling_split(
	const struct spelling *spelling, struct slice bytes, size_t n, uint32_t *out_ids);

#endif
