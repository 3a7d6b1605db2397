/* What a process and all its descendants use, read from /proc. */
#ifndef VERIFIERS_SANDBOX_TREE_H
#define VERIFIERS_SANDBOX_TREE_H

#include <stdint.h>
#include <sys/types.h>

struct tree_usage {
	uint64_t cpu_ms; /* of those that live and of those that their parents have waited for */
	uint64_t memory_bytes; /* resident; shared pages are counted once a process */
	uint32_t processes;
};

/* A process that ends while we look is left out. Stops at 4,096 processes. */
struct tree_usage tree_measure(pid_t root);
/* The root first, then what descends from it. */
void tree_each(pid_t root, void (*visit)(void *ctx, pid_t pid), void *ctx);
/* SIGKILL for all below `root` and for itself, for trees that no pid namespace takes along. */
void tree_kill(pid_t root);

#endif
