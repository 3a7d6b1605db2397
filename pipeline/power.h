/*
 * What this machine uses while a section is at work, for `budget.energy`: the processors by RAPL, GPUs by nvidia-smi, which is asked
 * every two seconds. Where neither tells anything, the stated watts times the time, and that is called an estimate.
 */
#ifndef PIPELINE_POWER_H
#define PIPELINE_POWER_H

#include <stdbool.h>
#include <stdint.h>

struct loop;
struct power;

/* Whether there is something to measure with. Asks nobody: looks for readable counters and for the program on PATH. */
bool power_is_measured(void);
struct power *power_new(struct loop *loop, double watts);
/* Joules since power_new. */
double power_joules(struct power *p);
/* "rapl", "nvidia-smi", "rapl, nvidia-smi" or "watts". */
const char *power_source(const struct power *p);
/* Before the loop ends. NULL: no-op. */
void power_free(struct power *p);

#endif
