/* What sandbox.c (layers, argv) and sandbox_run.c (one run) share. */
#ifndef VERIFIERS_SANDBOX_SANDBOX_PRIVATE_H
#define VERIFIERS_SANDBOX_SANDBOX_PRIVATE_H

#include "verifiers/sandbox/sandbox.h"

#include <sys/types.h>

#define FILTER_FD (SANDBOX_INPUT_FD + SANDBOX_INPUTS_MAX)
#define INFO_FD (FILTER_FD + 1) /* bubblewrap tells the pid of the namespace's init */
#define N_FDS (INFO_FD + 1)
#define REPORT_BYTES_MAX (64 << 10)
#define KEPT_BYTES (16 << 10)
#define OWN_PROCESSES 4 /* bubblewrap, and what a language's harness needs */

struct cgroups;

struct sandbox {
	char **prefix; /* owns: bubblewrap and its options up to the command; empty without it */
	size_t n_prefix, cap_prefix;
	struct str filter; /* an array of struct sock_filter */
	uid_t run_as; /* 0: whoever we are */
	uint64_t scratch_bytes;
	char *missing; /* owns */
	struct cgroups *cgroups; /* owns; NULL: no group can be made here */
};

#endif
