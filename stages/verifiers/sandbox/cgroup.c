/*
 * Two kinds of place. In the unified hierarchy, a group hands out "memory" and "pids" (cgroup.subtree_control) and lets us make
 * groups in it: the one above our own, as systemd leaves it for a scope of a user or with DelegateSubgroup=, or our own if it is
 * the root of a container. In the old hierarchies, our own groups of the two controllers.
 *
 * Moving a process into a group makes the kernel wait for all its cores, which would double the time of a short run. So runs join late
 * (sandbox_run.c says when); until then rlimits and the look at the tree must do.
 *
 * Groups are used again, since the kernel takes its time to let go of a removed one. What happened in it before is told apart
 * by a count that is read when it is taken.
 */
#include "verifiers/sandbox/cgroup.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"
#include "verifiers/sandbox/tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ROOT "/sys/fs/cgroup"
#define FILE_BYTES_MAX 65536
#define REMOVE_TRIES 100 /* of 1 ms: the dead count until they have been waited for */
#define N_DIRS 2

enum { MEMORY, PIDS };

struct cgroup {
	struct cgroup *next;
	char *dirs[N_DIRS]; /* own; PIDS is NULL in the unified hierarchy */
	bool unified;
	uint64_t kills_before;
};

struct cgroups {
	char *bases[N_DIRS]; /* own; the same in the unified hierarchy */
	bool unified;
	pthread_mutex_t mutex; /* guards what follows */
	struct cgroup *unused;
	unsigned n_made;
};

/* --- finding the place --- */

static bool read_file(const char *dir, const char *name, struct str *out)
{
	AUTO_FREE char *path = file_join(dir, name);
	struct error err = {0};
	str_init(out, STR_NO_CAP);
	return file_read(path, FILE_BYTES_MAX, out, &err);
}

/* Is `word` one of the words of a text that has `separators` between them? */
static bool has_word(const char *text, size_t len, const char *separators, const char *word)
{
	AUTO_FREE char *copy = xmemdup0(text, len);
	char *rest = copy;
	for (char *w; (w = strsep(&rest, separators));) {
		if (strcmp(w, word) == 0) {
			return true;
		}
	}
	return false;
}

static bool hands_out(const char *dir)
{
	struct str text;
	bool both = read_file(dir, "cgroup.subtree_control", &text) &&
		has_word(text.data, text.len, " \n", "memory") &&
		has_word(text.data, text.len, " \n", "pids");
	str_release(&text);
	return both;
}

static bool can_make(const char *dir)
{
	AUTO_FREE char *procs = file_join(dir, "cgroup.procs");
	return access(dir, W_OK) == 0 && access(procs, W_OK) == 0;
}

static char *find_unified(const char *path)
{
	AUTO_FREE char *own = xasprintf("%s%s", ROOT, strcmp(path, "/") == 0 ? "" : path);
	AUTO_FREE char *above = file_dirname(own);
	if (hands_out(own) && can_make(own)) {
		return TAKE(own);
	}
	bool inside = strncmp(above, ROOT, strlen(ROOT)) == 0;
	return inside && hands_out(above) && can_make(above) ? TAKE(above) : NULL;
}

static char *find_old(const char *controller, const char *path)
{
	AUTO_FREE char *own = xasprintf(
		"%s/%s%s", ROOT, controller, strcmp(path, "/") == 0 ? "" : path);
	return can_make(own) ? TAKE(own) : NULL;
}

/* A line of /proc/self/cgroup: NUMBER:CONTROLLERS:PATH. */
static void read_line(struct cgroups *g, char *line)
{
	static const char *const names[N_DIRS] = {[MEMORY] = "memory", [PIDS] = "pids"};
	char *controllers = strchr(line, ':');
	char *path = controllers ? strchr(controllers + 1, ':') : NULL;
	if (!path) {
		return;
	}
	controllers++;
	size_t len = (size_t)(path - controllers);
	path++;
	if (len == 0 && !g->bases[MEMORY] && !g->bases[PIDS]) {
		g->bases[MEMORY] = find_unified(path);
		g->unified = g->bases[MEMORY] != NULL;
	}
	for (int i = 0; i < N_DIRS; i++) {
		if (!g->unified && !g->bases[i] && has_word(controllers, len, ",", names[i])) {
			g->bases[i] = find_old(names[i], path);
		}
	}
}

/* Groups are called thresh-PID-NUMBER. A group that has processes cannot be removed, so no harm is done by a wrong guess. */
static void remove_left(const char *base)
{
	DIR *dir = opendir(base);
	if (!dir) {
		return;
	}
	for (const struct dirent *e; (e = readdir(dir));) {
		static const char prefix[] = "thresh-";
		if (strncmp(e->d_name, prefix, strlen(prefix)) == 0) {
			long pid = strtol(e->d_name + strlen(prefix), NULL, 10);
			AUTO_FREE char *path = file_join(base, e->d_name);
			if (pid > 0 && kill((pid_t)pid, 0) != 0 && errno == ESRCH) {
				rmdir(path);
			}
		}
	}
	closedir(dir);
}

struct cgroups *cgroups_find(void)
{
	struct cgroups *g = xcalloc(1, sizeof(*g));
	struct str text = {0};
	pthread_mutex_init(&g->mutex, NULL);
	/* For tests, which must see what a machine without them sees. */
	if (!getenv("THRESH_TEST_NO_CGROUP") && read_file("/proc/self", "cgroup", &text)) {
		char *rest = text.data;
		for (char *line; (line = strsep(&rest, "\n"));) {
			read_line(g, line);
		}
	}
	str_release(&text);
	if (!g->bases[MEMORY] || (!g->unified && !g->bases[PIDS])) {
		cgroups_free(g);
		return NULL;
	}
	for (int i = 0; i < N_DIRS; i++) {
		if (g->bases[i]) {
			remove_left(g->bases[i]);
		}
	}
	return g;
}

/* --- groups --- */

static void cgroup_free(struct cgroup *group)
{
	for (int i = 0; i < N_DIRS; i++) {
		for (int try = 0; group->dirs[i] && try < REMOVE_TRIES &&
			rmdir(group->dirs[i]) != 0 && errno == EBUSY;
			try++) {
			usleep(1000);
		}
		free(group->dirs[i]);
	}
	free(group);
}

void cgroups_free(struct cgroups *groups)
{
	if (!groups) {
		return;
	}
	for (struct cgroup *g = groups->unused, *next; g; g = next) {
		next = g->next;
		cgroup_free(g);
	}
	for (int i = 0; i < N_DIRS; i++) {
		free(groups->bases[i]);
	}
	pthread_mutex_destroy(&groups->mutex);
	free(groups);
}

static bool put(const char *dir, const char *name, uint64_t value)
{
	AUTO_FREE char *path = file_join(dir, name);
	AUTO_FREE char *text = xasprintf("%llu", (unsigned long long)value);
	AUTO_FD int fd = open(path, O_WRONLY | O_CLOEXEC);
	return fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
}

static uint64_t count_kills(const struct cgroup *group)
{
	static const char key[] = "oom_kill ";
	struct str text;
	uint64_t kills = 0;
	if (read_file(group->dirs[MEMORY], group->unified ? "memory.events" : "memory.oom_control",
		    &text)) {
		for (char *rest = text.data, *line; (line = strsep(&rest, "\n"));) {
			if (strncmp(line, key, strlen(key)) == 0) {
				text_parse_u64(line + strlen(key), &kills);
			}
		}
	}
	str_release(&text);
	return kills;
}

static struct cgroup *cgroup_make(const struct cgroups *groups, unsigned number)
{
	struct cgroup *group = xcalloc(1, sizeof(*group));
	group->unified = groups->unified;
	for (int i = 0; i < N_DIRS && groups->bases[i]; i++) {
		AUTO_FREE char *dir = xasprintf(
			"%s/thresh-%d-%u", groups->bases[i], (int)getpid(), number);
		if (mkdir(dir, 0755) != 0) {
			cgroup_free(group);
			return NULL;
		}
		group->dirs[i] = TAKE(dir);
	}
	return group;
}

static bool set_limits(const struct cgroup *group, uint64_t memory_bytes, uint32_t processes)
{
	const char *memory = group->dirs[MEMORY];
	const char *pids = group->unified ? memory : group->dirs[PIDS];
	/* Without swap accounting these are absent, and the kernel may swap before it kills. */
	if (group->unified) {
		put(memory, "memory.swap.max", 0);
	} else {
		put(memory, "memory.swappiness", 0);
	}
	return put(memory, group->unified ? "memory.max" : "memory.limit_in_bytes", memory_bytes) &&
		put(pids, "pids.max", processes);
}

struct cgroup *cgroup_take(struct cgroups *groups, uint64_t memory_bytes, uint32_t processes)
{
	if (!groups) {
		return NULL;
	}
	pthread_mutex_lock(&groups->mutex);
	struct cgroup *group = groups->unused;
	if (group) {
		groups->unused = group->next;
	}
	unsigned number = groups->n_made;
	groups->n_made += !group;
	pthread_mutex_unlock(&groups->mutex);
	if (!group) {
		group = cgroup_make(groups, number);
	}
	if (group && !set_limits(group, memory_bytes, processes)) {
		cgroup_free(group);
		return NULL;
	}
	if (group) {
		group->kills_before = count_kills(group);
	}
	return group;
}

void cgroup_give_back(struct cgroups *groups, struct cgroup *group)
{
	if (!group) {
		return;
	}
	pthread_mutex_lock(&groups->mutex);
	group->next = groups->unused;
	groups->unused = group;
	pthread_mutex_unlock(&groups->mutex);
}

struct joining {
	const struct cgroup *group;
	struct str members; /* a pid a line */
};

static void join_one(void *ctx, pid_t pid)
{
	const struct joining *j = ctx;
	char number[16];
	snprintf(number, sizeof(number), "%d", (int)pid);
	if (has_word(j->members.data, j->members.len, "\n", number)) {
		return;
	}
	for (int i = 0; i < N_DIRS; i++) {
		if (j->group->dirs[i]) {
			/* It may have ended, and then there is nothing to bound. */
			put(j->group->dirs[i], "cgroup.procs", (uint64_t)pid);
		}
	}
}

void cgroup_join(struct cgroup *group, pid_t root)
{
	struct joining j = {.group = group};
	if (!group) {
		return;
	}
	read_file(group->dirs[MEMORY], "cgroup.procs", &j.members);
	tree_each(root, join_one, &j);
	str_release(&j.members);
}

bool cgroup_was_full(const struct cgroup *group)
{
	return group && count_kills(group) > group->kills_before;
}
