/*
 * The unified hierarchy only. A folder whose parent hands out "memory" and "pids" (cgroup.subtree_control) and in which we
 * may make folders: our own group, or the one above it, as systemd's Delegate= leaves them with DelegateSubgroup=.
 */
#include "verifiers/sandbox/cgroup.h"

#include "base/file.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ROOT "/sys/fs/cgroup"
#define REMOVE_TRIES 50 /* of 2 ms: the kernel lets go of the dead a moment later */

struct cgroup {
	char *dir, *procs; /* own */
	const char *list[2];
};

static bool hands_out(const char *dir, const char *controller)
{
	AUTO_FREE char *path = file_join(dir, "cgroup.subtree_control");
	struct str text;
	struct error err = {0};
	bool found = false;
	str_init(&text, 4096);
	if (file_read(path, 4096, &text, &err)) {
		char *rest = text.data;
		for (char *word; (word = strsep(&rest, " \n"));) {
			found = found || strcmp(word, controller) == 0;
		}
	}
	str_release(&text);
	return found;
}

static bool is_ours(const char *dir)
{
	AUTO_FREE char *procs = file_join(dir, "cgroup.procs");
	/* Moving a process needs write access to the common ancestor's file, too. */
	return access(dir, W_OK) == 0 && access(procs, W_OK) == 0 && hands_out(dir, "memory") &&
		hands_out(dir, "pids");
}

char *cgroup_find(void)
{
	struct str text;
	struct error err = {0};
	char *found = NULL;
	str_init(&text, 65536);
	const char *line = file_read("/proc/self/cgroup", 65536, &text, &err)
		? strstr(text.data, "0::/")
		: NULL;
	if (line && (line == text.data || line[-1] == '\n')) {
		size_t len = strcspn(line + 3, "\n");
		AUTO_FREE char *own = xasprintf("%s%.*s", ROOT, (int)len, line + 3);
		AUTO_FREE char *above = file_dirname(own);
		found = is_ours(own)                                      ? TAKE(own)
			: strcmp(above, "/sys/fs") != 0 && is_ours(above) ? TAKE(above)
									  : NULL;
	}
	str_release(&text);
	return found;
}

static bool put(const char *dir, const char *name, uint64_t value)
{
	AUTO_FREE char *path = file_join(dir, name);
	AUTO_FREE char *text = xasprintf("%llu", (unsigned long long)value);
	AUTO_FD int fd = open(path, O_WRONLY | O_CLOEXEC);
	return fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
}

struct cgroup *cgroup_new(const struct sandbox *box, const struct sandbox_limits *limits)
{
	static atomic_uint number;
	if (!box->cgroup_base) {
		return NULL;
	}
	AUTO_FREE char *dir = xasprintf(
		"%s/thresh-%d-%u", box->cgroup_base, (int)getpid(), atomic_fetch_add(&number, 1));
	if (mkdir(dir, 0755) != 0) {
		return NULL;
	}
	if (!put(dir, "memory.max", limits->memory_bytes) ||
		!put(dir, "pids.max", limits->processes + OWN_PROCESSES)) {
		rmdir(dir);
		return NULL;
	}
	/* Absent without swap accounting. */
	put(dir, "memory.swap.max", 0);
	put(dir, "memory.oom.group", 1);
	struct cgroup *group = xcalloc(1, sizeof(*group));
	group->procs = file_join(dir, "cgroup.procs");
	group->dir = TAKE(dir);
	group->list[0] = group->procs;
	return group;
}

void cgroup_free(struct cgroup *group)
{
	if (!group) {
		return;
	}
	for (int i = 0; i < REMOVE_TRIES && rmdir(group->dir) != 0 && errno == EBUSY; i++) {
		usleep(2000);
	}
	free(group->dir);
	free(group->procs);
	free(group);
}

const char *const *cgroup_procs(const struct cgroup *group)
{
	return group->list;
}

bool cgroup_was_full(const struct cgroup *group)
{
	struct str text;
	struct error err = {0};
	bool full = false;
	if (!group) {
		return false;
	}
	AUTO_FREE char *path = file_join(group->dir, "memory.events");
	str_init(&text, 4096);
	if (file_read(path, 4096, &text, &err)) {
		const char *kills = strstr(text.data, "oom_kill ");
		full = kills && strtoul(kills + strlen("oom_kill "), NULL, 10) > 0;
	}
	str_release(&text);
	return full;
}
