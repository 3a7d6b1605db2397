/*
 * A cgroup for each run that is under way: memory and processes of the whole tree, counted by the kernel. Only where the machine
 * lets us make groups; elsewhere the limits that tree.h measures must do.
 */
#ifndef VERIFIERS_SANDBOX_CGROUP_H
#define VERIFIERS_SANDBOX_CGROUP_H

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct cgroups; /* the place where we may make groups, and those that wait to be used again */
struct cgroup;

/* NULL: there is no such place. Removes what dead processes of ours left there. */
struct cgroups *cgroups_find(void);
/* All groups must be back. NULL: no-op. */
void cgroups_free(struct cgroups *groups);

/* A group with these limits; thread-safe. NULL if `groups` is, or if it cannot be made: the run goes on without. */
struct cgroup *cgroup_take(struct cgroups *groups, uint64_t memory_bytes, uint32_t processes);
/* Its processes must be dead. NULL: no-op. */
void cgroup_give_back(struct cgroups *groups, struct cgroup *group);
/*
 * Moves a process and all its descendants that are not in the group yet. What they have used so far stays with the group that they
 * come from; what they start is born here. NULL: no-op.
 */
void cgroup_join(struct cgroup *group, pid_t root);
/* Has the kernel killed for memory since cgroup_take? NULL: no. */
bool cgroup_was_full(const struct cgroup *group);

#endif
