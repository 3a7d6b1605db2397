/*
 * Verifiers against labels: for each verifier the known scores of candidates whose label is known, too, and what follows from
 * them. A label is a field of the prompts (true, 1, "yes", ...) or another verifier's score, right from 0.5 on.
 */
#ifndef PIPELINE_MEASURE_H
#define PIPELINE_MEASURE_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ledger;

struct labelled {
	double score;
	bool right;
};

struct measured {
	char *verifier; /* owns */
	struct labelled *list; /* owns; best score first */
	size_t n, cap, n_right;
	size_t n_between; /* strictly between 0 and 1: the verifier has shades, and a threshold matters */
};

struct measures {
	struct measured *list; /* owns; by name */
	size_t n;
	size_t n_labelled; /* candidates with a label */
};

/* Reads the whole ledger. Audited scores count. */
MUST_CHECK bool measures_read(
	struct ledger *l, const char *label, struct measures *out, struct error *err);
void measures_release(struct measures *m);

/* Those with a score of at least the threshold are taken for right. */
struct outcome {
	size_t n_kept, n_right_kept;
	double precision, recall, kept; /* NaN where nothing was kept, or nothing is right */
	double precision_low, precision_high; /* Wilson's interval of 95 %; NaN as the precision */
};
struct outcome measured_at(const struct measured *m, double threshold);
/* The chance that a right one scores higher than a wrong one, equal scores half; NaN without both. */
double measured_auc(const struct measured *m);

/* Wilson's interval of 95 % for a share of which k of n are known; n > 0. */
void measured_interval(uint64_t k, uint64_t n, double *out_low, double *out_high);

/* What the ledger's scores of a verifier were made with, without `when`: 32 hex digits. */
void measured_fingerprint(struct ledger *l, const char *verifier, char out[33]);

#endif
