#include "near/segment.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SEGMENT_VERSION 1
#define PENDING_MAX 1024 /* records that are written at once */

static const char magic[8] = "ThrNear";

/* Little-endian, as shard/le.h asserts of the machine. */
struct head {
	char magic[8];
	uint32_t version, record_bytes;
};
struct tail {
	int64_t number;
	uint64_t n, hash;
	uint32_t sketch_version, zero;
	uint64_t check; /* xxh64 of what stands before, seeded by that of the head */
};
_Static_assert(sizeof(struct head) == 16 && sizeof(struct tail) == 40, "no padding in files");
_Static_assert(
	__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "records are mapped as they lie in files");

static struct head make_head(void)
{
	struct head head = {.version = SEGMENT_VERSION, .record_bytes = sizeof(struct near_record)};
	memcpy(head.magic, magic, sizeof(head.magic));
	return head;
}

static uint64_t check_of(const struct head *head, const struct tail *tail)
{
	return hash64(tail, offsetof(struct tail, check), hash64(head, sizeof(*head), 0));
}

/* --- writing --- */

bool near_draft_open(
	struct near_draft *d, const char *dir, const char *run, int64_t number, struct error *err)
{
	AUTO_FREE char *name = xasprintf("%s" NEAR_SEGMENT_ENDING, run);
	struct head head = make_head();
	*d = (struct near_draft){.number = number};
	hash64_stream_init(&d->hash);
	d->pending = xcalloc(PENDING_MAX, sizeof(*d->pending));
	return file_draft_open(&d->file, dir, name, err) &&
		file_draft_write(&d->file, &head, sizeof(head), err);
}

static bool write_pending(struct near_draft *d, struct error *err)
{
	size_t bytes = d->n_pending * sizeof(*d->pending);
	hash64_stream_update(&d->hash, d->pending, bytes);
	d->n_pending = 0;
	return file_draft_write(&d->file, d->pending, bytes, err);
}

bool near_draft_add(struct near_draft *d, const struct near_record *record, struct error *err)
{
	d->pending[d->n_pending++] = *record;
	d->n++;
	return d->n_pending < PENDING_MAX || write_pending(d, err);
}

bool near_draft_publish(struct near_draft *d, struct error *err)
{
	if (!write_pending(d, err)) {
		return false;
	}
	struct head head = make_head();
	struct tail tail = {.number = d->number,
		.n = d->n,
		.hash = hash64_stream_final(&d->hash),
		.sketch_version = NEAR_SKETCH_VERSION};
	tail.check = check_of(&head, &tail);
	return file_draft_write(&d->file, &tail, sizeof(tail), err) &&
		file_draft_publish(&d->file, err);
}

void near_draft_release(struct near_draft *d)
{
	if (d->hash.state) {
		(void)hash64_stream_final(&d->hash);
	}
	file_draft_release(&d->file);
	free(d->pending);
	*d = (struct near_draft){0};
}

/* --- reading --- */

char *near_segment_path(const char *dir, const char *run)
{
	AUTO_FREE char *name = xasprintf("%s" NEAR_SEGMENT_ENDING, run);
	return file_join(dir, name);
}

static const char *fault_of(const struct near_segment *s, struct tail *out_tail)
{
	struct head head;
	struct tail tail;
	if (s->map_bytes < sizeof(head) + sizeof(tail)) {
		return "is too short for a file of sketches";
	}
	const char *bytes = s->map;
	memcpy(&head, bytes, sizeof(head));
	memcpy(&tail, bytes + s->map_bytes - sizeof(tail), sizeof(tail));
	if (memcmp(head.magic, magic, sizeof(magic)) != 0) {
		return "is no file of sketches";
	}
	if (head.version != SEGMENT_VERSION) {
		return "is of another version of this format";
	}
	size_t room = s->map_bytes - sizeof(head) - sizeof(tail);
	if (tail.check != check_of(&head, &tail)) {
		return "is damaged: its end is not that of a file of sketches";
	}
	if (head.record_bytes != sizeof(struct near_record) ||
		tail.sketch_version != NEAR_SKETCH_VERSION) {
		return "has sketches of another version";
	}
	if (room % sizeof(struct near_record) || tail.n != room / sizeof(struct near_record)) {
		return "is damaged: it has another length than its end tells";
	}
	if (tail.hash != hash64(bytes + sizeof(head), room, 0)) {
		return "is damaged: its sketches are not those that were written";
	}
	*out_tail = tail;
	return NULL;
}

bool near_segment_open(struct near_segment *s, const char *dir, const char *run, struct error *err)
{
	AUTO_FREE char *path = near_segment_path(dir, run);
	uint64_t bytes;
	*s = (struct near_segment){0};
	AUTO_FD int fd = file_open_regular(path, &bytes, err);
	if (fd < 0) {
		return false;
	}
	if (!bytes) {
		return error_set(err, FAIL_DATA, "'%s' is empty", path);
	}
	void *map = mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED) {
		return error_errno(err, "could not map '%s'", path);
	}
	s->map = map;
	s->map_bytes = bytes;
	struct tail tail;
	const char *fault = fault_of(s, &tail);
	if (fault) {
		near_segment_close(s);
		return error_set(err, FAIL_DATA, "'%s' %s", path, fault);
	}
	s->run = xstrdup(run);
	s->number = tail.number;
	s->n = tail.n;
	s->hash = tail.hash;
	s->records = (const void *)((const char *)map + sizeof(struct head));
	return true;
}

void near_segment_close(struct near_segment *s)
{
	if (s->map) {
		munmap(s->map, s->map_bytes);
	}
	free(s->run);
	*s = (struct near_segment){0};
}
