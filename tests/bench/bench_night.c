/* Fifty simulated nights: is the deadline kept, are the slots used, how much is thrown away? Deterministic. */
#include "bench/night.h"

#include <stdio.h>
#include <stdlib.h>

static void nights(unsigned n, bool stop_at_drain)
{
	double used = 0, used_min = 1, thrown = 0, thrown_max = 0, early_min = 1e9;
	unsigned n_late = 0;
	unsigned long long unverified = 0, candidates = 0;
	for (unsigned i = 0; i < n; i++) {
		struct night night;
		night_simulate(i + 1, stop_at_drain, &night);
		used += night.used / n;
		thrown += night.thrown / n;
		used_min = night.used < used_min ? night.used : used_min;
		thrown_max = night.thrown > thrown_max ? night.thrown : thrown_max;
		early_min = night.ended_early_s < early_min ? night.ended_early_s : early_min;
		n_late += night.ended_early_s < 0;
		unverified += night.n_unverified;
		candidates += night.n_candidates;
		if (getenv("NIGHTS_SHOWN")) {
			printf("  night %2u: %2u slots, %4.1f h, used %.2f %%, thrown away %.2f "
			       "%%, "
			       "%.0f s early, %llu candidates, %llu unverified\n",
				i + 1, night.n_slots, night.hours, 100 * night.used,
				100 * night.thrown, night.ended_early_s,
				(unsigned long long)night.n_candidates,
				(unsigned long long)night.n_unverified);
		}
	}
	printf("%s: %u nights, %u late (nearest: %.1f s before the deadline); slots used %.2f %% "
	       "(worst night %.2f %%); tokens thrown away %.2f %% (worst night %.2f %%); "
	       "%llu of %llu candidates not verified in time\n",
		stop_at_drain ? "fixed 10 minutes" : "controller", n, n_late, early_min, 100 * used,
		100 * used_min, 100 * thrown, 100 * thrown_max, unverified, candidates);
}

int main(int argc, char **argv)
{
	unsigned n = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 50;
	nights(n, false);
	nights(n, true);
	return 0;
}
