/*
 * Runs a program that nobody trusts, and comes back whatever it does.
 *
 *	struct sandbox *box = sandbox_new(&(struct sandbox_config){.scratch_bytes = 64 << 20}, err);
 *	struct sandbox_command command = {.argv = argv, .limits = {.cpu_ms = 5000, ...}};
 *	struct sandbox_result result;
 *	sandbox_run(box, &command, &result);	// blocks; from several threads at once
 *	...
 *	sandbox_result_release(&result);
 *	sandbox_free(box);
 *
 * Layers: bubblewrap gives namespaces of its own for users, processes, network, IPC and files (read-only /usr, one sized tmpfs
 * on /tmp, no /proc) and takes all capabilities; a seccomp filter takes the system calls that reach around those; rlimits bound each
 * process; memory, processes and CPU time of the whole tree are bounded by a cgroup where one is delegated, and everywhere by
 * looking at the tree every few milliseconds. A layer that the machine does not give is an error unless `unsafe` is set.
 */
#ifndef VERIFIERS_SANDBOX_SANDBOX_H
#define VERIFIERS_SANDBOX_SANDBOX_H

#include "base/error.h"
#include "base/str.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SANDBOX_INPUTS_MAX 4
#define SANDBOX_REPORT_FD 3 /* the command's private way to us */
#define SANDBOX_INPUT_FD 4 /* its first input; the next follow */

struct sandbox;

struct sandbox_config {
	const char *const
		*readable; /* folders to show beside /usr, read-only; ends with NULL, or NULL */
	uint64_t scratch_bytes; /* size of the tmpfs */
	bool unsafe; /* run although layers are missing */
};

struct sandbox_limits {
	uint64_t cpu_ms; /* of the whole tree; this one decides */
	uint64_t wall_ms; /* a backstop: for what sleeps */
	uint64_t memory_bytes; /* address space of each process, resident memory of all */
	uint64_t output_bytes; /* of stdout, and of stderr */
	uint32_t processes;
};

struct sandbox_command {
	const char *const *argv; /* ends with NULL; an absolute path first */
	struct slice inputs[SANDBOX_INPUTS_MAX]; /* readable as files at descriptors 4, 5, ... */
	size_t n_inputs;
	struct sandbox_limits limits;
	const atomic_bool *stop; /* when it is set, the run is killed; NULL: it never is */
};

enum sandbox_end {
	SANDBOX_EXITED, /* by itself; exit_code says how (128 + signal: killed, but not by us) */
	SANDBOX_TIME, /* CPU time */
	SANDBOX_WALL,
	SANDBOX_MEMORY,
	SANDBOX_OUTPUT,
	SANDBOX_PROCESSES,
	SANDBOX_STOPPED,
	SANDBOX_FAILED, /* it never ran, and that is our failure */
};

struct sandbox_result {
	enum sandbox_end end;
	int exit_code;
	uint64_t cpu_ms, wall_ms;
	uint64_t
		memory_bytes; /* the most that was seen of the tree; 0 if it ended before we looked */
	struct str out, err; /* own; their first KEPT_BYTES */
	struct str report; /* owns; what came through SANDBOX_REPORT_FD, 64 KiB at most */
};

/*
 * Tries every layer with a command that does nothing. FAIL_IO with the layer that is missing; with `unsafe`, missing layers are
 * left out and sandbox_missing() names them.
 */
struct sandbox *sandbox_new(const struct sandbox_config *config, struct error *err);
void sandbox_free(struct sandbox *box);
/* Borrowed, for a warning; NULL: all layers are there. */
const char *sandbox_missing(const struct sandbox *box);
/* Thread-safe. The tree is dead when it returns. Death of the calling thread kills it, too. */
void sandbox_run(const struct sandbox *box, const struct sandbox_command *command,
	struct sandbox_result *out);
void sandbox_result_release(struct sandbox_result *result);

#endif
