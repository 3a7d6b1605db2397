/* `thresh inspect --verify`: everything that can be wrong with a folder, each mistake with its place. */
#include "inspect/inspect.h"

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/workers.h"
#include "inspect/inspect_ledger.h"
#include "inspect/inspect_print.h"
#include "shard/mds_read.h"
#include "shard/vocab.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct checking {
	const char *dir;
	bool json, with_ledger;
	struct workers *workers;
	uint64_t n_faults;
	size_t n_parts,
		n_compared; /* of the folder at hand: in how many its shards lie, and how many have a ledger */
};

static void print_fault_json(const struct checking *c, const struct mds_fault *f)
{
	struct str text;
	str_init(&text, STR_NO_CAP);
	struct json_writer w = {.out = &text};
	const struct {
		const char *key;
		int64_t value;
	} places[] = {{"frame", f->frame}, {"sample", f->sample}, {"offset", f->offset}};
	json_begin_object(&w);
	json_member_z(&w, "dir", c->dir);
	json_member_z(&w, "file", f->file);
	for (size_t i = 0; i < ARRAY_LEN(places); i++) {
		json_key(&w, places[i].key);
		if (places[i].value >= 0) {
			json_put_int(&w, places[i].value);
		} else {
			json_put_null(&w);
		}
	}
	json_member_z(&w, "fault", f->what);
	json_end_object(&w);
	puts(text.data);
	str_release(&text);
}

static void print_fault(void *ctx, const struct mds_fault *f)
{
	struct checking *c = ctx;
	c->n_faults++;
	if (c->json) {
		print_fault_json(c, f);
		return;
	}
	print_z(c->dir);
	putchar('/');
	print_z(f->file);
	if (f->frame >= 0) {
		printf(", frame %" PRId64, f->frame);
	}
	if (f->sample >= 0) {
		printf(", sample %" PRId64, f->sample);
	}
	if (f->offset >= 0) {
		printf(", byte %" PRId64, f->offset);
	}
	printf(": ");
	print_z(f->what);
	putchar('\n');
}

/* Calls visit for each folder that shards lie in: "." or, in an index over several, their sub-folders. */
static bool each_part(struct checking *c, const struct mds_reader *r,
	bool (*visit)(struct checking *c, const char *part, struct error *err), struct error *err)
{
	char *before = xstrdup("");
	bool ok = true;
	for (size_t s = 0; ok && s < mds_reader_n_shards(r); s++) {
		char *part = mds_reader_part(r, s);
		ok = strcmp(part, before) == 0 || visit(c, part, err);
		free(before);
		before = part;
	}
	free(before);
	return ok;
}

static bool check_vocab(struct checking *c, const char *part, struct error *err UNUSED)
{
	struct error reason;
	AUTO_FREE char *dir = file_join(c->dir, part);
	AUTO_FREE char *path = file_join(dir, "vocab.zst");
	AUTO_FREE char *name = strcmp(part, ".") == 0 ? xstrdup("vocab.zst")
						      : file_join(part, "vocab.zst");
	struct vocab *v = vocab_read(dir, &reason);
	if (!v && file_exists(path)) {
		print_fault(c, &(struct mds_fault){name, -1, -1, -1, reason.msg});
	}
	vocab_free(v);
	return true;
}

static bool compare_ledger(struct checking *c, const char *part, struct error *err)
{
	AUTO_FREE char *dir = strcmp(part, ".") == 0 ? xstrdup(c->dir) : file_join(c->dir, part);
	const char *whole = c->dir;
	bool compared;
	c->dir = dir;
	bool ok = inspect_ledger(dir, print_fault, c, &compared, err);
	c->dir = whole;
	c->n_parts++;
	c->n_compared += compared;
	return ok;
}

static void print_sound(
	const struct checking *c, const struct mds_reader *r, const char *other_hash)
{
	if (c->json) {
		return; /* no line is no fault; the exit code says it, too */
	}
	print_z(c->dir);
	printf(": ok, %zu shards, %" PRIu64 " samples", mds_reader_n_shards(r),
		mds_reader_n_samples(r));
	if (c->n_compared && c->n_compared == c->n_parts) {
		printf(", as in the ledger");
	} else if (c->n_compared) {
		printf(", as in the ledgers of %zu of %zu folders", c->n_compared, c->n_parts);
	}
	if (other_hash) {
		printf("; hashes of kind ");
		print_z(other_hash);
		printf(" were not checked");
	}
	putchar('\n');
}

static bool verify(struct checking *c, struct error *err)
{
	struct mds_reader *r = mds_reader_open(c->dir, err);
	const char *other_hash = NULL;
	uint64_t before = c->n_faults;
	if (!r) {
		return false;
	}
	struct mds_verifier *v = mds_verifier_new(r, c->workers, print_fault, c);
	for (size_t s = 0; s < mds_reader_n_shards(r); s++) {
		const char *kind = mds_reader_shard(r, s)->other_hash;
		other_hash = kind ? kind : other_hash;
		mds_verifier_shard(v, s);
	}
	mds_verifier_free(v);
	bool ok = each_part(c, r, check_vocab, err);
	c->n_parts = c->n_compared = 0;
	/* What is damaged differs from the ledger anyway. */
	if (c->with_ledger && c->n_faults == before) {
		ok = each_part(c, r, compare_ledger, err);
	}
	if (ok && c->n_faults == before) {
		print_sound(c, r, other_hash);
	}
	mds_reader_close(r);
	return ok;
}

bool inspect_verify(char *const *dirs, size_t n, const struct inspect_check *check,
	uint64_t *out_faults, struct error *err)
{
	struct checking c = {
		.json = check->json, .with_ledger = check->ledger, .workers = workers_new(0)};
	bool ok = true;
	for (size_t i = 0; ok && i < n; i++) {
		c.dir = dirs[i];
		ok = verify(&c, err);
	}
	workers_free(c.workers);
	*out_faults = c.n_faults;
	return ok;
}
