/*
 * The nights' files are the truth and never change. `tables` is derived: it is written in place, through a shared mapping,
 * without a single sync, and believed only if the hash of its buckets is what its head says and the head names the files that are
 * there, in their order, or the first of them; then only the others are added. Whatever a kill, a full cache or a power cut
 * leaves of it fails that test, and a few seconds make it anew.
 */
#include "near/near_index.h"

#include "base/hash.h"
#include "base/mem.h"
#include "near/table.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define TABLES_NAME "tables"
#define TABLES_VERSION 1
#define TABLES_OFFSET 4096 /* of the buckets: a page */

static const char tables_magic[8] = "ThrNTab";

struct tables_head {
	char magic[8];
	uint32_t version, sketch_version;
	uint32_t n_band_buckets, n_segments;
	uint64_t n_records;
	uint64_t chain; /* of the segments that are in it */
	uint64_t hash; /* of the buckets */
	uint64_t check; /* xxh64 of what stands before */
};
_Static_assert(sizeof(struct tables_head) == 56, "no padding in files");

struct part {
	struct near_segment segment;
	uint64_t first; /* number of its first record */
	uint64_t chain; /* hash of this segment and those before */
};

struct near_index {
	char *dir, *tables_path; /* own */
	struct file_lock lock;
	struct part *parts; /* owns; by run number, then name */
	size_t n_parts, parts_cap;
	uint64_t n_records, n_added;
	int64_t ignored;
	void *map; /* of the tables */
	size_t map_bytes;
	struct near_table table;
};

/* --- the nights' files --- */

/* Malloc'd run, or NULL for a file that is none of a night. */
static char *run_of(const char *name)
{
	size_t len = strlen(name), ending = strlen(NEAR_SEGMENT_ENDING);
	bool is = name[0] != '.' && len > ending &&
		strcmp(name + len - ending, NEAR_SEGMENT_ENDING) == 0;
	return is ? xmemdup0(name, len - ending) : NULL;
}

/* Names of all nights with a file, before any is opened: one that is made anew must not be met twice. */
struct runs {
	char **names; /* own */
	size_t n, cap;
};

static bool list_runs(const char *path, struct runs *out, struct error *err)
{
	DIR *dir = opendir(path);
	*out = (struct runs){0};
	if (!dir) {
		return error_errno(err, "could not list folder '%s'", path);
	}
	struct dirent *entry;
	while ((entry = readdir(dir))) {
		char *run = run_of(entry->d_name);
		if (run) {
			out->names = array_room(out->names, out->n, &out->cap, sizeof(*out->names));
			out->names[out->n++] = run;
		}
	}
	closedir(dir);
	return true;
}

static void runs_release(struct runs *runs)
{
	for (size_t i = 0; i < runs->n; i++) {
		free(runs->names[i]);
	}
	free(runs->names);
}

static bool open_part(struct near_index *ix, const char *run,
	const struct near_index_options *options, struct error *err)
{
	struct near_segment segment;
	if (!near_segment_open(&segment, ix->dir, run, err)) {
		struct error why = *err;
		if (!options->remake || !options->remake(options->ctx, run, &why, err) ||
			!near_segment_open(&segment, ix->dir, run, err)) {
			return false;
		}
	}
	ix->parts = array_room(ix->parts, ix->n_parts, &ix->parts_cap, sizeof(*ix->parts));
	ix->parts[ix->n_parts++] = (struct part){.segment = segment};
	return true;
}

static int compare_parts(const void *a, const void *b)
{
	const struct near_segment *x = &((const struct part *)a)->segment;
	const struct near_segment *y = &((const struct part *)b)->segment;
	return x->number != y->number ? (x->number > y->number) - (x->number < y->number)
				      : strverscmp(x->run, y->run);
}

/* Numbers the records through. */
static bool line_up(struct near_index *ix, struct error *err)
{
	uint64_t chain = 0;
	if (ix->n_parts) {
		qsort(ix->parts, ix->n_parts, sizeof(*ix->parts), compare_parts);
	}
	for (size_t i = 0; i < ix->n_parts; i++) {
		struct part *p = &ix->parts[i];
		const uint64_t facts[] = {p->segment.n, p->segment.hash};
		chain = hash64(p->segment.run, strlen(p->segment.run), chain);
		chain = hash64(facts, sizeof(facts), chain);
		p->chain = chain;
		p->first = ix->n_records;
		ix->n_records += p->segment.n;
	}
	return ix->n_records < UINT32_MAX ||
		error_set(err, FAIL_DATA, "'%s' has more than 4,294,967,294 sketches", ix->dir);
}

static bool open_parts(
	struct near_index *ix, const struct near_index_options *options, struct error *err)
{
	struct runs runs;
	bool ok = list_runs(ix->dir, &runs, err);
	for (size_t i = 0; ok && i < runs.n; i++) {
		ok = open_part(ix, runs.names[i], options, err);
	}
	runs_release(&runs);
	return ok && line_up(ix, err);
}

static const struct part *part_of(const struct near_index *ix, uint64_t no)
{
	size_t low = 0, high = ix->n_parts;
	while (high - low > 1) {
		size_t middle = low + (high - low) / 2;
		if (ix->parts[middle].first <= no) {
			low = middle;
		} else {
			high = middle;
		}
	}
	return &ix->parts[low];
}

/* --- tables --- */

static uint64_t check_of(const struct tables_head *head)
{
	return hash64(head, offsetof(struct tables_head, check), 0);
}

static void unmap_tables(struct near_index *ix)
{
	if (ix->map) {
		munmap(ix->map, ix->map_bytes);
	}
	ix->map = NULL;
}

static bool map_tables(struct near_index *ix, int fd, size_t bytes, struct error *err)
{
	void *map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED) {
		return error_errno(err, "could not map '%s'", ix->tables_path);
	}
	ix->map = map;
	ix->map_bytes = bytes;
	ix->table.buckets = (void *)((char *)map + TABLES_OFFSET);
	return true;
}

static const char *head_fault(const struct tables_head *head, uint64_t file_bytes)
{
	if (memcmp(head->magic, tables_magic, sizeof(tables_magic)) != 0 ||
		head->version != TABLES_VERSION || head->sketch_version != NEAR_SKETCH_VERSION) {
		return "is no table of sketches, or one of another version";
	}
	if (head->check != check_of(head) || !head->n_band_buckets ||
		file_bytes != TABLES_OFFSET + near_table_bytes(head->n_band_buckets)) {
		return "was not written to its end";
	}
	return NULL;
}

/* Maps what is there; NULL if it is whole, else why it is of no use. */
static const char *load_tables(struct near_index *ix, struct tables_head *out)
{
	struct error ignored;
	AUTO_FD int fd = open(ix->tables_path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
	off_t bytes = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);
	if (bytes < TABLES_OFFSET ||
		!file_pread(fd, ix->tables_path, out, sizeof(*out), 0, &ignored)) {
		return "is too short";
	}
	const char *fault = head_fault(out, (uint64_t)bytes);
	if (fault) {
		return fault;
	}
	if (!map_tables(ix, fd, (size_t)bytes, &ignored)) {
		return "cannot be mapped";
	}
	ix->table.n_band_buckets = out->n_band_buckets;
	if (out->hash != hash64(ix->table.buckets, (size_t)bytes - TABLES_OFFSET, 0)) {
		unmap_tables(ix);
		return "is damaged";
	}
	return NULL;
}

/* How many of the segments are in the tables; 0 if the tables are of others, too. */
static size_t count_covered(const struct near_index *ix, const struct tables_head *head)
{
	size_t n = head->n_segments;
	bool same = n > 0 && n <= ix->n_parts && ix->parts[n - 1].chain == head->chain &&
		ix->parts[n - 1].first + ix->parts[n - 1].segment.n == head->n_records;
	return same ? n : 0;
}

static bool create_tables(struct near_index *ix, struct error *err)
{
	/* A quarter more than there are: nights to come are added without making it anew. */
	uint32_t n = near_table_buckets(ix->n_records + ix->n_records / 4);
	size_t bytes = TABLES_OFFSET + near_table_bytes(n);
	AUTO_FD int fd = open(
		ix->tables_path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NONBLOCK, 0666);
	if (fd < 0) {
		return error_errno(err, "could not create '%s'", ix->tables_path);
	}
	if (!file_reserve(fd, ix->tables_path, bytes, err) || !map_tables(ix, fd, bytes, err)) {
		return false;
	}
	ix->table.n_band_buckets = n;
	return true;
}

/* From the one of that number on. */
static void add_parts(struct near_index *ix, size_t from)
{
	for (size_t band = 0; band < NEAR_BANDS; band++) {
		for (size_t i = from; i < ix->n_parts; i++) {
			const struct part *p = &ix->parts[i];
			near_table_add_band(&ix->table, band, (uint32_t)p->first,
				p->segment.records, p->segment.n);
		}
	}
	ix->n_added = ix->n_records - (from < ix->n_parts ? ix->parts[from].first : ix->n_records);
}

static void write_head(struct near_index *ix)
{
	struct tables_head head = {.version = TABLES_VERSION,
		.sketch_version = NEAR_SKETCH_VERSION,
		.n_band_buckets = ix->table.n_band_buckets,
		.n_segments = (uint32_t)ix->n_parts,
		.n_records = ix->n_records,
		.chain = ix->n_parts ? ix->parts[ix->n_parts - 1].chain : 0,
		.hash = hash64(ix->table.buckets, near_table_bytes(ix->table.n_band_buckets), 0)};
	memcpy(head.magic, tables_magic, sizeof(head.magic));
	head.check = check_of(&head);
	memcpy(ix->map, &head, sizeof(head));
}

static bool bring_up_to_date(struct near_index *ix, struct error *err)
{
	struct tables_head head;
	size_t covered = load_tables(ix, &head) ? 0 : count_covered(ix, &head);
	bool fits = covered && ix->table.n_band_buckets >= near_table_buckets(ix->n_records);
	if (!fits) {
		covered = 0;
		unmap_tables(ix);
		if (!create_tables(ix, err)) {
			return false;
		}
	}
	if (fits && covered == ix->n_parts) {
		return true;
	}
	add_parts(ix, covered);
	write_head(ix);
	return true;
}

/* --- the index --- */

static struct near_index *new_index(const char *dir)
{
	struct near_index *ix = xcalloc(1, sizeof(*ix));
	ix->lock = (struct file_lock)FILE_LOCK_INIT;
	ix->dir = xstrdup(dir);
	ix->tables_path = file_join(dir, TABLES_NAME);
	return ix;
}

struct near_index *near_index_open(
	const char *dir, const struct near_index_options *options, struct error *err)
{
	struct near_index *ix = new_index(dir);
	AUTO_FREE char *lock = file_join(dir, ".lock");
	ix->ignored = options->ignored;
	if (!file_make_dirs(dir, err) || !file_lock_take(&ix->lock, lock, err) ||
		!open_parts(ix, options, err) || !bring_up_to_date(ix, err)) {
		near_index_close(ix);
		return NULL;
	}
	return ix;
}

void near_index_close(struct near_index *ix)
{
	if (!ix) {
		return;
	}
	for (size_t i = 0; i < ix->n_parts; i++) {
		near_segment_close(&ix->parts[i].segment);
	}
	unmap_tables(ix);
	file_lock_release(&ix->lock);
	free(ix->parts);
	free(ix->tables_path);
	free(ix->dir);
	free(ix);
}

uint64_t near_index_records(const struct near_index *ix)
{
	return ix->n_records;
}

static bool is_searched(const struct near_index *ix, const struct part *p)
{
	return !ix->ignored || p->segment.number != ix->ignored;
}

uint64_t near_index_searched(const struct near_index *ix)
{
	uint64_t n = 0;
	for (size_t i = 0; i < ix->n_parts; i++) {
		n += is_searched(ix, &ix->parts[i]) ? ix->parts[i].segment.n : 0;
	}
	return n;
}

uint64_t near_index_added(const struct near_index *ix)
{
	return ix->n_added;
}

bool near_index_find(const struct near_index *ix, const struct near_record *wanted,
	const struct near_rule *rule, struct near_hit *out)
{
	uint32_t found[NEAR_FOUND_MAX];
	size_t n = near_table_find(&ix->table, wanted->places, found);
	*out = (struct near_hit){0};
	for (size_t i = 0; i < n; i++) {
		if (found[i] >= ix->n_records) {
			continue; /* of a table that somebody has made up */
		}
		const struct part *p = part_of(ix, found[i]);
		if (is_searched(ix, p)) {
			near_offer(out, rule, wanted, &p->segment.records[found[i] - p->first],
				found[i], p->segment.run);
		}
	}
	return out->record != NULL;
}

/* --- checking --- */

static void check_segment(const char *dir, const char *run, near_fault_cb *fault, void *ctx)
{
	struct near_segment segment;
	struct error why = {0};
	if (!near_segment_open(&segment, dir, run, &why)) {
		fault(ctx, why.msg);
	}
	near_segment_close(&segment);
}

static void check_tables(struct near_index *ix, near_fault_cb *fault, void *ctx)
{
	struct tables_head head;
	const char *what = file_exists(ix->tables_path) ? load_tables(ix, &head) : NULL;
	if (what) {
		AUTO_FREE char *text = xasprintf(
			"'%s' %s (it is made anew by the next run)", ix->tables_path, what);
		fault(ctx, text);
	}
}

bool near_index_check(const char *dir, near_fault_cb *fault, void *ctx, struct error *err)
{
	if (!file_is_dir(dir)) {
		return true;
	}
	struct near_index *ix = new_index(dir);
	struct runs runs = {0};
	AUTO_FREE char *lock = file_join(dir, ".lock");
	bool ok = file_lock_take(&ix->lock, lock, err) && list_runs(dir, &runs, err);
	for (size_t i = 0; ok && i < runs.n; i++) {
		check_segment(dir, runs.names[i], fault, ctx);
	}
	if (ok) {
		check_tables(ix, fault, ctx);
	}
	runs_release(&runs);
	near_index_close(ix);
	return ok;
}
