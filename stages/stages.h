/* The table of stages, in the order in which they may stand in a pipeline. */
#ifndef STAGES_STAGES_H
#define STAGES_STAGES_H

#include "stage.h"

extern const struct stage_ops sample_stage, generate_stage, verify_stage, select_stage;
extern const struct stage_ops dedup_stage, pack_stage;

/* Ends with NULL. */
extern const struct stage_ops *const all_stages[];

#endif
