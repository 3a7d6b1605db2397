/*
 * Files of the index of near duplicates: each is refused, or made anew, or a look-up in it touches nothing beyond it. The
 * first byte says which file the rest is; as nobody guesses a hash, bit 1 has those in it put right.
 */
#include "base/file.h"
#include "base/hash.h"
#include "base/mem.h"
#include "near/near_index.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define TABLES_OFFSET 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char dir[] = "/tmp/thresh-fuzz-near-XXXXXX";

static void remove_dir(void)
{
	struct error ignored;
	(void)!file_remove_tree(dir, &ignored);
}

static void must(bool ok, const struct error *err)
{
	if (!ok) {
		fprintf(stderr, "%s\n", err->msg);
		abort();
	}
}

/* Not durable, as file_publish would have it: there are many. */
static void put(const char *name, const void *bytes, size_t len)
{
	AUTO_FREE char *path = file_join(dir, name);
	AUTO_FILE FILE *file = fopen(path, "w");
	assert(file && fwrite(bytes, 1, len, file) == len);
}

static struct near_record record_of(uint32_t number)
{
	struct near_record r = {.owner = number, .prompt = number, .text = number};
	memset(r.places, (int)number, sizeof(r.places));
	return r;
}

static void put_night(void)
{
	static struct str night;
	AUTO_FREE char *path = file_join(dir, "night.sketches");
	if (!night.data) {
		struct error err;
		struct near_draft draft;
		must(near_draft_open(&draft, dir, "night", 1, &err), &err);
		for (uint32_t i = 0; i < 5; i++) {
			struct near_record r = record_of(i);
			must(near_draft_add(&draft, &r, &err), &err);
		}
		must(near_draft_publish(&draft, &err), &err);
		near_draft_release(&draft);
		str_init(&night, STR_NO_CAP);
		must(file_read(path, 4096, &night, &err), &err);
	}
	put("night.sketches", night.data, night.len);
}

/* README.md of pipeline/near has the places. */
static void mend_sketches(uint8_t *bytes, size_t len)
{
	if (len < 56) {
		return;
	}
	uint8_t *tail = bytes + len - 40;
	uint64_t hash = hash64(bytes + 16, len - 56, 0);
	memcpy(tail + 16, &hash, sizeof(hash));
	uint64_t check = hash64(tail, 32, hash64(bytes, 16, 0));
	memcpy(tail + 32, &check, sizeof(check));
}

static void mend_tables(uint8_t *bytes, size_t len)
{
	if (len < TABLES_OFFSET) {
		return;
	}
	uint64_t hash = hash64(bytes + TABLES_OFFSET, len - TABLES_OFFSET, 0);
	memcpy(bytes + 40, &hash, sizeof(hash));
	uint64_t check = hash64(bytes, 48, 0);
	memcpy(bytes + 48, &check, sizeof(check));
}

static bool remake(
	void *ctx, const char *run UNUSED, const struct error *why, struct error *err UNUSED)
{
	assert(why->msg[0]);
	*(unsigned *)ctx += 1;
	put_night();
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static bool made;
	struct error err = {0};
	unsigned n_remade = 0;
	const struct near_index_options options = {.remake = remake, .ctx = &n_remade};

	if (!made) {
		made = mkdtemp(dir) != NULL && atexit(remove_dir) == 0;
		assert(made);
	}
	if (!size) {
		return 0;
	}
	AUTO_FREE uint8_t *bytes = (uint8_t *)xmemdup0(data + 1, size - 1);
	bool is_tables = data[0] & 1;
	if (data[0] & 2) {
		(is_tables ? mend_tables : mend_sketches)(bytes, size - 1);
	}
	put_night();
	put(is_tables ? "tables" : "night.sketches", bytes, size - 1);
	struct near_index *index = near_index_open(dir, &options, &err);
	must(index != NULL, &err);
	for (uint32_t i = 0; i < 8; i++) {
		struct near_rule rule;
		struct near_hit hit;
		struct near_record r = record_of(i);
		near_rule_init(&rule, 0.8, false);
		if (near_index_find(index, &r, &rule, &hit)) {
			assert(hit.no < near_index_records(index) && hit.places <= NEAR_PLACES);
		}
	}
	near_index_close(index);
	return 0;
}
