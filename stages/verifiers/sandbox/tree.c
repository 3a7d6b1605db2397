/*
 * Walks /proc/PID/task/TID/children from the root. That file costs nothing but the children asked for, where a walk over all
 * of /proc would cost as much as the machine has processes. A sandbox's orphans go to the init of its pid namespace, which is
 * in the tree, so nobody leaves it by losing a parent.
 */
#include "verifiers/sandbox/tree.h"

#include "base/attr.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PROCESSES_MAX 4096
#define STAT_BYTES 1024
#define CHILDREN_BYTES 16384

struct pids {
	pid_t items[PROCESSES_MAX];
	size_t n;
};

static bool read_small(const char *path, char *buf, size_t size)
{
	AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, buf, size - 1);
	if (n < 0) {
		return false;
	}
	buf[n] = '\0';
	return true;
}

static void add_children(struct pids *pids, pid_t pid, const char *task)
{
	char path[96], text[CHILDREN_BYTES];
	snprintf(path, sizeof(path), "/proc/%d/task/%.20s/children", (int)pid, task);
	if (!read_small(path, text, sizeof(text))) {
		return;
	}
	for (char *p = text, *end; pids->n < PROCESSES_MAX; p = end) {
		long child = strtol(p, &end, 10);
		/* The last number of a full buffer may be cut. */
		if (end == p || *end == '\0' || child <= 0) {
			return;
		}
		pids->items[pids->n++] = (pid_t)child;
	}
}

static void add_children_of_threads(struct pids *pids, pid_t pid)
{
	char path[64];
	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	DIR *tasks = opendir(path);
	if (!tasks) {
		return;
	}
	for (const struct dirent *e; (e = readdir(tasks));) {
		if (e->d_name[0] != '.') {
			add_children(pids, pid, e->d_name);
		}
	}
	closedir(tasks);
}

static void collect(struct pids *pids, pid_t root)
{
	pids->items[0] = root;
	pids->n = 1;
	for (size_t i = 0; i < pids->n; i++) {
		add_children_of_threads(pids, pids->items[i]);
	}
}

static void add_usage(void *ctx, pid_t pid)
{
	struct tree_usage *usage = ctx;
	char path[64], text[STAT_BYTES];
	unsigned long long user, system;
	long long user_waited, system_waited, pages;
	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	/* The name, in parentheses, may hold anything. */
	const char *rest = read_small(path, text, sizeof(text)) ? strrchr(text, ')') : NULL;
	if (!rest ||
		sscanf(rest,
			") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu %lld %lld %*d "
			"%*d %*d %*d %*u %*u %lld",
			&user, &system, &user_waited, &system_waited, &pages) != 5) {
		return;
	}
	unsigned long long ticks = user + system +
		(unsigned long long)(user_waited + system_waited);
	usage->cpu_ms += ticks * 1000 / (unsigned long long)sysconf(_SC_CLK_TCK);
	usage->memory_bytes += (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
	usage->processes++;
}

void tree_each(pid_t root, void (*visit)(void *ctx, pid_t pid), void *ctx)
{
	struct pids pids;
	collect(&pids, root);
	for (size_t i = 0; i < pids.n; i++) {
		visit(ctx, pids.items[i]);
	}
}

struct tree_usage tree_measure(pid_t root)
{
	struct tree_usage usage = {0};
	tree_each(root, add_usage, &usage);
	return usage;
}

static void kill_one(void *ctx UNUSED, pid_t pid)
{
	kill(pid, SIGKILL);
}

void tree_kill(pid_t root)
{
	tree_each(root, kill_one, NULL);
}
