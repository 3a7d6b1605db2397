/*
 * A file of figures in Prometheus' text format, for node_exporter's textfile collector: `metrics` of the definition. It is replaced as a whole, every
 * quarter of a minute while stages generate and verify, at the beginning of each stage, and at the end. What cannot be written is logged once.
 */
#ifndef PIPELINE_METRICS_H
#define PIPELINE_METRICS_H

#include "base/str.h"
#include "flow/flow.h"

#include <stdbool.h>
#include <stdint.h>

struct definition;
struct run;

struct metrics {
	const struct definition *def; /* borrows */
	int64_t written_ms; /* monotonic */
	int64_t last_success_ms; /* wall clock: when the newest run that finished did; 0: none */
	bool complained;
};

/* Without `metrics` in the definition all of these do nothing. */
void metrics_init(struct metrics *m, const struct definition *def);
/* If it is time. `stats`: of the flow; NULL: a stage begins. */
void metrics_tick(struct metrics *m, const struct run *run, const struct flow_stats *stats);
/* run NULL, or without a ledger: none was opened. */
void metrics_end(struct metrics *m, const struct run *run, int exit_code);

/* The text itself; exit_code -1: at work. */
void metrics_write(const struct metrics *m, const struct run *run, const struct flow_stats *stats,
	int exit_code, struct str *out);

#endif
