/*
 * What a GGUF model file says of its tokenizer: the piece of every id as raw bytes, which ids are control tokens, the chat
 * template. Only the header is read, never the weights. The file is hostile: every count and length is checked against a limit and
 * against the file's size before anything is allocated.
 */
#ifndef PIPELINE_ENGINE_GGUF_H
#define PIPELINE_ENGINE_GGUF_H

#include "base/arena.h"
#include "base/error.h"
#include "base/str.h"

#include <stdint.h>

struct gguf {
	struct arena arena; /* holds everything below */
	const char *architecture; /* "llama"; NULL: not told, as for all strings */
	const char *name;
	const char *tokenizer; /* "gpt2", "llama", "bert", "t5", ... */
	const char *pre_tokenizer;
	const char *chat_template;
	uint32_t context; /* that it was trained with; 0 not told */
	int64_t bos_id, eos_id; /* -1 not told */
	uint32_t n_tokens;
	const struct slice *pieces; /* n_tokens; raw bytes */
	const uint8_t *special; /* n_tokens; 1: control token, which has no text of its own */
};

/* FAIL_IO if it cannot be read, FAIL_DATA if it is not a GGUF file of version 2 or 3 or has no usable tokenizer. */
MUST_CHECK bool gguf_read(const char *path, struct gguf *out, struct error *err);
void gguf_release(struct gguf *gguf);
/* Does the model have a classification head ("cls." tensors)? Without one, llama.cpp's rerank gives numbers that mean nothing. */
MUST_CHECK bool gguf_has_head(const char *path, bool *out, struct error *err);
/* The file is there, is a regular file, and starts like a GGUF file. */
MUST_CHECK bool gguf_check(const char *path, struct error *err);
/* Hash of size, first and last MiB: tells model files apart without reading gigabytes. */
MUST_CHECK bool gguf_fingerprint(const char *path, char out[33], struct error *err);
/* Hash over the pieces and control flags of a whole vocabulary; the same wherever they came from. */
void gguf_vocab_hash(const struct slice *pieces, const uint8_t *special, size_t n, char out[33]);

#endif
