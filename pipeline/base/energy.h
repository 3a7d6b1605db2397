/*
 * Energy that this machine's processors have used, from the counters of Linux's powercap (RAPL): packages, which include cores and
 * what else is in them. The counters are small and start again from 0; whoever asks more often than they do (some minutes) misses nothing.
 */
#ifndef PIPELINE_BASE_ENERGY_H
#define PIPELINE_BASE_ENERGY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct energy_zone {
	char *path; /* owns: of energy_uj */
	uint64_t last_uj, range_uj;
};
struct energy_meter {
	struct energy_zone *zones; /* own */
	size_t n;
	double joules; /* since energy_open */
};

/* False: no counter can be read. `root` NULL: /sys/class/powercap, or what THRESH_TEST_POWERCAP says. */
bool energy_open(struct energy_meter *m, const char *root);
void energy_close(struct energy_meter *m);
/* Reads the counters on; joules since energy_open. */
double energy_read(struct energy_meter *m);

#endif
