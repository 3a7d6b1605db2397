/* A cgroup for one run: memory and processes of the whole tree, counted by the kernel. Only where one is delegated to us. */
#ifndef VERIFIERS_SANDBOX_CGROUP_H
#define VERIFIERS_SANDBOX_CGROUP_H

#include "verifiers/sandbox/sandbox_private.h"

struct cgroup;

/* Looks for a folder of the unified hierarchy in which we may make groups with memory and pids; malloc'd, NULL if there is none. */
char *cgroup_find(void);
/* NULL if none is delegated or it cannot be made; the run goes on with what we measure ourselves. */
struct cgroup *cgroup_new(const struct sandbox *box, const struct sandbox_limits *limits);
/* Removes the folder; its processes must be dead. NULL: no-op. */
void cgroup_free(struct cgroup *group);
/* Files to write "0" to; ends with NULL. */
const char *const *cgroup_procs(const struct cgroup *group);
/* Did the kernel kill for memory? NULL: no. */
bool cgroup_was_full(const struct cgroup *group);

#endif
