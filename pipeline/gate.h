/*
 * `gate:`, the conditions under which a night is published. Each is an SQL expression (ledger/expr.h) over the night's figures
 * (figures.h), and those of the previous night as previous_NAME. They are asked once, when everything is selected and nothing is
 * published.
 *
 * A condition that is NULL does not hold, unless a figure of the previous night that it reads is NULL: then there is nothing to
 * compare with, and it holds.
 */
#ifndef PIPELINE_GATE_H
#define PIPELINE_GATE_H

#include "base/error.h"
#include "figures.h"

#include <stdbool.h>

struct definition;
struct run;

/* Adds every mistake of the definition's conditions, with its place. */
void gate_check(const struct definition *def, struct error_list *errors);

/*
 * Takes the night's figures, asks the conditions, and writes both into the ledger (meta `figures` and `gate`), where the summary
 * finds them. *out_open: the night may be published, as all conditions hold or the run's options say so. What an earlier sitting
 * was allowed is not asked again, so a run that was killed while it published goes on.
 */
MUST_CHECK bool gate_ask(struct run *run, bool *out_open, struct error *err);
/* Whether the conditions are others than those that the run was held by. */
bool gate_changed(const struct run *run);

#endif
