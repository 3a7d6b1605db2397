/*
 * The fake engine's tokenizer: a fixed vocabulary of about 1,000 tokens.
 *
 *	0 .. 255	the bytes
 *	256 .. 263	special tokens: <|im_start|> 256, <|im_end|> 257 (end of a turn), <s> 258 (beginning), ...
 *	264 ..		numbers of two digits, common words with and without a space before them, a little LaTeX
 *
 * Text becomes tokens by the longest match from the left. The text of a special token becomes that token only when asked for.
 */
#ifndef TESTS_FAKE_ENGINE_FAKE_VOCAB_H
#define TESTS_FAKE_ENGINE_FAKE_VOCAB_H

#include "base/str.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VOCAB_MAX 4096
#define VOCAB_EDGES 16384 /* power of two, about four times what is used */

enum {
	VOCAB_IM_START = 256,
	VOCAB_IM_END = 257, /* EOS */
	VOCAB_BOS = 258,
	VOCAB_END_OF_TEXT = 259,
	VOCAB_SPECIAL_END = 264,
};

struct ids {
	uint32_t *items; /* owns */
	size_t n, cap;
};
void ids_add(struct ids *ids, uint32_t id);
void ids_release(struct ids *ids);

struct vocab_token {
	char *bytes; /* owns; NUL-terminated beyond len */
	size_t len;
	char *json; /* owns: `"id":5,"token":"\u0005","bytes":[5]`, as /completion lists a token */
	char *chat_json; /* owns: the same without the id, as /v1/chat/completions does */
};

struct vocab_edge {
	uint32_t key; /* node << 8 | byte, plus 1; 0: free */
	uint16_t node;
};

struct vocab {
	struct vocab_token tokens[VOCAB_MAX];
	uint32_t n;
	/* A trie of the tokens that are not special: edges in an open hash table, and the token that ends at a node plus 1. */
	struct vocab_edge edges[VOCAB_EDGES];
	uint16_t ends[8192];
	uint16_t n_nodes;
};

/* Takes a zeroed struct. */
void vocab_init(struct vocab *v);
void vocab_release(struct vocab *v);
static inline bool vocab_is_special(uint32_t id)
{
	return id >= 256 && id < VOCAB_SPECIAL_END;
}
/* Appends. */
void vocab_encode(
	const struct vocab *v, const char *text, size_t len, bool parse_special, struct ids *out);
/* Appends the tokens' bytes; special tokens are shown or left out. Ids must be below v->n. */
void vocab_decode(
	const struct vocab *v, const uint32_t *ids, size_t n, bool show_special, struct str *out);
/* The id of a token by its bytes; asserts that there is one. */
uint32_t vocab_find(const struct vocab *v, const char *bytes);

#endif
