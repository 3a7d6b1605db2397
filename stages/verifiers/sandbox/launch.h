/* Starting the process of a run: everything that happens between vfork and exec. */
#ifndef VERIFIERS_SANDBOX_LAUNCH_H
#define VERIFIERS_SANDBOX_LAUNCH_H

#include "base/error.h"
#include "verifiers/sandbox/sandbox_private.h"

struct launch {
	const struct sandbox *box;
	char *const *argv;
	int fds[N_FDS]; /* becomes descriptor i of the process; -1: closed */
	const struct sandbox_limits *limits;
};

/* The new process's pid, in a session of its own; -1 with err. */
pid_t launch_start(const struct launch *launch, struct error *err);

#endif
