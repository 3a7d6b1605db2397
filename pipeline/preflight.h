/*
 * `thresh check --online`: will the night work? Each engine says what it can do; the draw is made and thrown away; the longest prompts
 * are held against the context; one candidate is asked for twice with one seed; and a trial night of a few prompts goes
 * through every stage in a temporary folder, from which follow candidates, tokens, hours and disk. Nothing is left in the workdir.
 */
#ifndef PIPELINE_PREFLIGHT_H
#define PIPELINE_PREFLIGHT_H

#include <stdbool.h>
#include <stdint.h>

struct definition;

struct preflight_options {
	bool json;
	uint64_t trial_ms; /* the trial is cut after this; 0: no trial */
};

/* Prints to stdout what was found, mistakes to stderr; returns the exit code: 0, 1 if the night would fail, 130. */
int preflight(struct definition *def, const struct preflight_options *options);

#endif
