/* `thresh run --dry-run`: what a run would draw and ask, shown and thrown away. */
#ifndef PIPELINE_DRY_RUN_H
#define PIPELINE_DRY_RUN_H

#include "base/error.h"

#include <stdbool.h>

struct run;

/* The batch stages that stand before the flow: the draw. */
MUST_CHECK bool dry_draw(struct run *run, struct error *err);
/* `run` was opened with options.dry. Prints to stdout. */
MUST_CHECK bool dry_run(struct run *run, struct error *err);

#endif
