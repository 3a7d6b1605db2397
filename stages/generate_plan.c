#include "generate_plan.h"

#include "base/attr.h"

#include <math.h>

/* P(at most k of n) where each one is right with probability p. By logarithms: p^n is 0 in a double long before n is large. */
static double at_most(size_t k, size_t n, double p)
{
	double log_term = (double)n * log1p(-p), log_odds = log(p) - log1p(-p);
	double sum = 0;
	for (size_t i = 0; i <= k; i++) {
		sum += exp(log_term);
		log_term += log((double)(n - i) / (double)(i + 1)) + log_odds;
	}
	return sum;
}

bool candidates_hopeless(size_t n_accepted, size_t n, double worthwhile, double confidence)
{
	return n_accepted < n && at_most(n_accepted, n, worthwhile) < 1 - confidence;
}

size_t candidates_hopeless_after(double worthwhile, double confidence)
{
	double n = log(1 - confidence) / log1p(-worthwhile);
	size_t first = n < 1e9 ? (size_t)n : (size_t)1e9;
	/* The logarithms may be off by a last digit; the other function is the one that decides. */
	while (first > 1 && candidates_hopeless(0, first - 1, worthwhile, confidence)) {
		first--;
	}
	while (first < (size_t)1e9 && !candidates_hopeless(0, first, worthwhile, confidence)) {
		first++;
	}
	return first;
}

size_t candidates_next(const struct candidates_plan *plan, size_t n, size_t n_accepted,
	size_t n_rejected, const char **out_reason)
{
	if (plan->stop_after && n_accepted >= plan->stop_after) {
		*out_reason = "enough";
		return n;
	}
	if (n >= plan->max) {
		*out_reason = "all";
		return n;
	}
	if (plan->worthwhile > 0 &&
		candidates_hopeless(
			n_accepted, n_accepted + n_rejected, plan->worthwhile, plan->confidence)) {
		*out_reason = "gave_up";
		return n;
	}
	size_t more = n && plan->wave ? plan->wave : plan->min;
	return MIN(n + more, plan->max);
}

uint32_t candidates_at_once(uint32_t n_idle, uint64_t n_others, uint32_t n_missing)
{
	uint64_t share = (n_idle + n_others) / (n_others + 1); /* rounded up */
	return (uint32_t)MIN(MAX(share, 1), n_missing);
}
