/* Commands of the user's that a run starts when it has ended: hooks of the definition; docs/runbook.md tells what they are given. */
#ifndef PIPELINE_HOOKS_H
#define PIPELINE_HOOKS_H

struct definition;

struct hook_facts {
	const char *pipeline; /* path of its file */
	const char *run, *run_dir; /* NULL: no run was opened */
	const char *shards; /* folder that this run published; NULL: none */
	const char *summary; /* path of its JSON; NULL: there is none */
	int exit_code;
};

/*
 * on_success (exit codes 0 and 3, with a run) or on_failure (1, 2 and 4), then after. To be called when the workdir is unlocked, as a hook
 * may well be a thresh command. What fails is logged and changes nothing.
 */
void hooks_run(const struct definition *def, const struct hook_facts *facts);

#endif
