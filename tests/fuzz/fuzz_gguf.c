/* Model files: gguf_read refuses them with a reason, or gives a vocabulary whose pieces can all be touched. The file is in memory. */
#include "engine/gguf.h"

#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile char sink;

static void check(const struct gguf *gguf)
{
	char hash[33];

	assert(gguf->n_tokens > 0 && gguf->tokenizer != NULL);
	assert(gguf->eos_id < gguf->n_tokens && gguf->bos_id < gguf->n_tokens);
	for (uint32_t i = 0; i < gguf->n_tokens; i++) {
		assert(gguf->special[i] <= 1);
		for (size_t at = 0; at < gguf->pieces[i].len; at++)
			sink ^= gguf->pieces[i].data[at];
	}
	gguf_vocab_hash(gguf->pieces, gguf->special, gguf->n_tokens, hash);
	assert(strlen(hash) == 32);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_FD int fd = memfd_create("gguf", MFD_CLOEXEC);
	struct gguf gguf;
	struct error err = {0};
	char path[64];

	if (fd < 0 || write(fd, data, size) != (ssize_t)size)
		return 0;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (gguf_read(path, &gguf, &err)) {
		check(&gguf);
		gguf_release(&gguf);
	} else {
		assert(err.kind != FAIL_NONE && err.msg[0] != '\0');
	}
	return 0;
}
