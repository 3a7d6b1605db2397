/*
 * A main for fuzz targets without a fuzzer: gives each file named as an argument, and each file in a folder named so, to the
 * target once. So every compiler runs the corpus as a test, and AFL++ can drive a target with @@. An input that crashes is
 * the last one named on stderr. Fails when there was nothing to replay, since that is a test that tests nothing.
 */
#include "base/file.h"
#include "base/mem.h"

#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INPUT_BYTES_MAX (64u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The input is copied to a block of its exact size, so that a sanitizer sees a read past its end. */
static bool replay_file(const char *path, struct error *err)
{
	struct str text;
	uint8_t *exact;

	fprintf(stderr, "%s\n", path);
	str_init(&text, INPUT_BYTES_MAX);
	if (!file_read(path, INPUT_BYTES_MAX, &text, err)) {
		str_release(&text);
		return false;
	}
	exact = xmalloc(text.len);
	memcpy(exact, text.data, text.len);
	LLVMFuzzerTestOneInput(exact, text.len);
	free(exact);
	str_release(&text);
	return true;
}

static int is_input(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

static bool replay_folder(const char *path, size_t *n_inputs, struct error *err)
{
	struct dirent **entries;
	const int n = scandir(path, &entries, is_input, alphasort);
	bool ok = true;

	if (n < 0) {
		return error_errno(err, "could not read folder '%s'", path);
	}
	for (int i = 0; i < n; i++) {
		AUTO_FREE char *file = file_join(path, entries[i]->d_name);

		ok = ok && replay_file(file, err);
		*n_inputs += ok;
		free(entries[i]);
	}
	free(entries);
	return ok;
}

int main(int argc, char **argv)
{
	struct error err = {0};
	size_t n_inputs = 0;

	for (int i = 1; i < argc; i++) {
		const bool is_dir = file_is_dir(argv[i]);

		if (!(is_dir ? replay_folder(argv[i], &n_inputs, &err)
			     : replay_file(argv[i], &err))) {
			fprintf(stderr, "%s\n", err.msg);
			return 1;
		}
		n_inputs += !is_dir;
	}
	fprintf(stderr, "%zu inputs replayed\n", n_inputs);
	return n_inputs ? 0 : 1;
}
