#include "near/near_set.h"

#include "base/file.h"
#include "base/mem.h"
#include "near/table.h"

#include <assert.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

struct near_set {
	void *map;
	size_t map_bytes;
	struct near_record *records; /* in the map; n of n_max */
	uint64_t n, n_max;
	struct near_table table;
};

struct near_set *near_set_new(const char *dir, uint64_t n_max, struct error *err)
{
	uint32_t n_buckets = near_table_buckets(n_max);
	size_t table_bytes = near_table_bytes(n_buckets),
	       bytes = table_bytes + n_max * sizeof(struct near_record);
	AUTO_FREE char *path = file_join(dir, ".tmp-near");
	AUTO_FD int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0) {
		error_errno(err, "could not create '%s'", path);
		return NULL;
	}
	unlink(path);
	if (!file_reserve(fd, path, bytes, err)) {
		return NULL;
	}
	void *map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED) {
		error_errno(err, "could not map '%s'", path);
		return NULL;
	}
	struct near_set *set = xcalloc(1, sizeof(*set));
	*set = (struct near_set){
		map, bytes, (void *)((char *)map + table_bytes), 0, n_max, {map, n_buckets}};
	return set;
}

void near_set_free(struct near_set *set)
{
	if (set) {
		munmap(set->map, set->map_bytes);
		free(set);
	}
}

void near_set_add(struct near_set *set, const struct near_record *record)
{
	assert(set->n < set->n_max);
	set->records[set->n] = *record;
	near_table_add(&set->table, (uint32_t)set->n++, record->places);
}

bool near_set_find(const struct near_set *set, const struct near_record *wanted,
	const struct near_rule *rule, struct near_hit *out)
{
	uint32_t found[NEAR_FOUND_MAX];
	size_t n = near_table_find(&set->table, wanted->places, found);
	*out = (struct near_hit){0};
	for (size_t i = 0; i < n; i++) {
		near_offer(out, rule, wanted, &set->records[found[i]], found[i], NULL);
	}
	return out->record != NULL;
}
