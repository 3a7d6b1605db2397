/* `thresh run --dry-run`: what a run would draw and ask, shown and thrown away. */
#ifndef PIPELINE_DRY_RUN_H
#define PIPELINE_DRY_RUN_H

#include "base/error.h"

#include <stdbool.h>

struct run;

/* `run` was opened with options.dry. Prints to stdout. */
MUST_CHECK bool dry_run(struct run *run, struct error *err);

#endif
