/* Whether the workdir's file system will hold what the night is expected to write, told before the first token and not at 3 a.m. */
#ifndef PIPELINE_ROOM_H
#define PIPELINE_ROOM_H

#include "base/error.h"

#include <stdint.h>

struct run;

enum room_policy { ROOM_REFUSE, ROOM_WARN };

/*
 * To be called when the prompts are drawn. What a candidate takes is what it took in the newest night that has its texts; without one a guess,
 * on which a run is warned and not refused. Nor is one refused that has begun to generate.
 */
MUST_CHECK bool room_check(struct run *run, struct error *err);
/* Of the file system of the path, or of the nearest folder above it that is there; 0: unknown. THRESH_TEST_FREE=BYTES simulates it. */
uint64_t room_free_bytes(const char *path);

#endif
