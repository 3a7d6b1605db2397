/*
 * A night in numbers, to be held against other nights: for `thresh history`, and for the conditions of `gate:`, whose columns
 * they are. Computed once, out of the ledger, before anything is published; kept with the run's summary.
 *
 * What cannot be said (a rate of nothing) is NaN, null in JSON, and NULL in SQL.
 */
#ifndef PIPELINE_FIGURES_H
#define PIPELINE_FIGURES_H

#include "base/error.h"
#include "base/json.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct definition;
struct ledger;

enum figure {
	FIGURE_PROMPTS,
	FIGURE_CANDIDATES,
	FIGURE_ACCEPTED,
	FIGURE_REJECTED,
	FIGURE_UNDECIDED,
	FIGURE_FAILED,
	FIGURE_CHOSEN,
	FIGURE_REPEATS,
	FIGURE_TOKENS,
	FIGURE_ACCEPTANCE,
	FIGURE_K,
	FIGURE_PASS_PROMPTS,
	FIGURE_PASS_AT_1,
	FIGURE_PASS_AT_K,
	FIGURE_VOTE_AT_K,
	FIGURE_TOKENS_PER_S,
	FIGURE_ACCEPTED_PER_MTOK,
	FIGURE_LENGTH_MEDIAN,
	FIGURE_LENGTH_P90,
	FIGURE_ACCEPTED_LENGTH_MEDIAN,
	FIGURE_ACCEPTED_LENGTH_P90,
	FIGURE_DISTINCT_1,
	FIGURE_DISTINCT_2,
	FIGURE_DISTINCT_3,
	FIGURE_DUPLICATE_SHARE,
	FIGURE_N,
};

struct figure_row {
	const char *name; /* in JSON and SQL */
	const char *help;
};
extern const struct figure_row figure_rows[FIGURE_N];

struct figures {
	double values[FIGURE_N];
};
/* Everything NaN. */
void figures_clear(struct figures *f);
/* `def` says which verifier knows answers. Memory does not grow with the number of candidates. */
MUST_CHECK bool figures_read(
	struct ledger *l, const struct definition *def, struct figures *out, struct error *err);
/* One JSON object; counts are integers. */
void figures_put(struct json_writer *w, const struct figures *f);
/* Of a run's summary. One made before there were figures tells those that follow from its counts. */
void figures_of_summary(const struct json *summary, struct figures *out);

/*
 * The unbiased estimate of the probability that at least one of k candidates is right, from n of which c are:
 * 1 - C(n-c, k) / C(n, k). Needs k <= n.
 */
double figures_pass_at(uint32_t n, uint32_t c, uint32_t k);

#endif
