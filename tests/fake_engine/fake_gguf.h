/*
 * Model files for `serve:` tests: a GGUF file that holds the fake engine's vocabulary and no tensor, and the check that a server makes
 * when it loads one.
 */
#ifndef TESTS_FAKE_ENGINE_FAKE_GGUF_H
#define TESTS_FAKE_ENGINE_FAKE_GGUF_H

#include "fake_vocab.h"

#include "base/error.h"

MUST_CHECK bool gguf_write(const struct vocab *v, const char *path, struct error *err);
/* The messages are those of llama.cpp's loader. */
MUST_CHECK bool gguf_check(const char *path, struct error *err);

#endif
