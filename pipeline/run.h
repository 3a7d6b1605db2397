/*
 * One execution of a definition: its folder, its ledger, its place among the nights. Opening decides whether this is a resume,
 * a new night, or nothing to do; runner.h does the work.
 */
#ifndef PIPELINE_RUN_H
#define PIPELINE_RUN_H

#include "base/error.h"
#include "base/file.h"
#include "columns.h"
#include "definition.h"

#include <stdbool.h>
#include <stdint.h>

struct flow;
struct history;
struct ledger;
struct loop;
struct engine;

struct run_options {
	const char *run_id; /* NULL: by date */
	const char *from; /* name of a stage; NULL: go on */
	uint64_t limit; /* prompts to draw at most; 0: as defined */
	bool start_next; /* start a new run although today's is done */
	bool no_gate; /* publish whatever the gate says */
	bool dry; /* draw into a temporary folder that run_release removes */
};

struct run {
	struct definition *def;
	struct run_options options;
	char *id; /* "2026-11-24.1" */
	int64_t number; /* 1, 2, ... over the pipeline's life; part of every seed */
	char *dir; /* WORKDIR/runs/ID */
	char *ledger_path; /* DIR/ledger.db */
	struct ledger *ledger;
	struct history *history;
	struct file_lock lock;
	struct columns columns;
	struct expr *accept; /* NULL: everything is accepted */
	struct loop *loop; /* while the flow runs */
	struct engine **engines; /* as def->engines; NULL where not used */
	struct flow *flow;
	int64_t deadline_ms; /* wall clock; 0: none (deadline.h) */
	bool resumed;
	bool interrupted; /* a signal asked us to stop */
};

enum run_opened {
	RUN_OPENED,
	RUN_ALREADY_DONE, /* today's run is done and nothing has changed; id says which */
	RUN_HELD, /* likewise, but its gate holds it back */
	RUN_FAILED,
};

/*
 * Takes the workdir's lock, opens history and ledger. `def` must be free of errors and outlive the run. Release in every case.
 */
MUST_CHECK enum run_opened run_open(struct run *run, struct definition *def,
	const struct run_options *options, struct error *err);
void run_release(struct run *run);
/* Removes a run that has drawn nothing: folder and ledger. */
MUST_CHECK bool run_discard(struct run *run, struct error *err);

/* Its shards have their public name already. */
bool run_is_published(const struct run *run);

/* Stores what the stage's results are made from, once, when it begins. */
MUST_CHECK bool run_store_fingerprint(
	struct run *run, const struct stage_def *stage, struct error *err);
/* Compares what a ready engine says of itself with what the run began with; stores it the first time. */
MUST_CHECK bool run_check_engine(
	struct run *run, const char *name, const struct engine_info *info, struct error *err);
/* The engine of a definition's name; ready while flow stages are open. NULL: not used by this run. */
struct engine *run_engine(const struct run *run, const char *name);

/* For commands that only read: ledger paths of a workdir's runs. */
/* Malloc'd path of the run's ledger: run_id, or the newest. NULL with err. */
char *run_find_ledger(const char *workdir, const char *run_id, struct error *err);
/* Ids of all runs that have a ledger, oldest first; malloc'd list of malloc'd strings. */
char **run_list(const char *workdir, size_t *out_n);
/* Seed of candidate `idx`: hash(definition's seed, run number, prompt) mod 2^31 + idx. */
uint32_t run_seed(const struct run *run, const char *prompt_id, uint32_t idx);

#endif
