/*
 * Lengths of answers are long-tailed, and the tail decides when a night ends. A mean and a variance say nothing of it, so all
 * lengths are counted, in bins of a quarter of an octave; what is asked of them is read off the bins.
 */
#include "engine/pace.h"

#include "base/attr.h"

#include <math.h>

#define MEMORY_ANSWERS 32 /* answers after which a pace has all but forgotten */

static unsigned bin_of(double tokens)
{
	double bin = 4 * log2(MAX(tokens, 1.0));

	return (unsigned)MIN(bin, LENGTHS_BINS - 1.0);
}

void lengths_add(struct lengths *lengths, double tokens)
{
	unsigned bin = bin_of(tokens);

	lengths->n++;
	lengths->sum += tokens;
	lengths->bins[bin].n++;
	lengths->bins[bin].sum += tokens;
}

double lengths_mean(const struct lengths *lengths)
{
	return lengths->n > 0 ? MAX(lengths->sum / lengths->n, 1.0) : 1;
}

double lengths_left(const struct lengths *lengths, double done)
{
	double n = 0, sum = 0;

	for (unsigned i = bin_of(done); i < LENGTHS_BINS; i++) {
		if (lengths->bins[i].sum > done * lengths->bins[i].n) {
			n += lengths->bins[i].n;
			sum += lengths->bins[i].sum;
		}
	}
	/* Longer than all before it: as far as one knows, it is in its middle. */
	return n > 0 ? sum / n - done : MAX(done, 1.0);
}

double lengths_longest(const struct lengths *lengths, uint32_t n)
{
	double beyond = 0, rank = n > 0 ? (double)lengths->n / n : 0;

	if (n <= 1 || lengths->n == 0)
		return lengths_mean(lengths);
	for (unsigned i = LENGTHS_BINS; i-- > 0;) {
		beyond += lengths->bins[i].n;
		if (lengths->bins[i].n > 0 && beyond >= rank)
			return MAX(lengths->bins[i].sum / lengths->bins[i].n, 1.0);
	}
	return lengths_mean(lengths);
}

void pace_add(struct pace *pace, double ms, double tokens)
{
	const double kept = 1 - 1.0 / MEMORY_ANSWERS;

	if (tokens <= 0)
		return;
	pace->ms = kept * pace->ms + MAX(ms, 0.0);
	pace->tokens = kept * pace->tokens + tokens;
}

double pace_ms_per_token(const struct pace *pace)
{
	return pace->tokens > 0 ? MAX(pace->ms / pace->tokens, 1e-6) : 0;
}
