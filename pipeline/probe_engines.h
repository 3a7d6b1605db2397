/* Starts or reaches every engine that a definition uses, outside of a run: for `check --online` and dry runs. */
#ifndef PIPELINE_PROBE_ENGINES_H
#define PIPELINE_PROBE_ENGINES_H

#include "base/arena.h"
#include "base/error.h"

#include <stdbool.h>

struct definition;
struct engine;
struct engine_info;
struct loop;

struct probe_engines {
	const struct definition *def;
	struct loop *loop; /* owns */
	/* Owns; as def->engines, NULL where not used. Of engines that exclude each other only the one that writes stays. */
	struct engine **engines;
	const struct engine_info **infos; /* owns; NULL where not used or not reached */
	struct error *errors; /* owns; per engine */
	unsigned n_waiting;
	struct arena arena;
};

/* Returns when each engine is ready or has failed (errors[i].msg is set). */
void probe_engines_open(struct probe_engines *p, const struct definition *def, const char *log_dir);
void probe_engines_close(struct probe_engines *p);

#endif
