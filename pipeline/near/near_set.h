/*
 * The sketches of a night that is under way, to be searched and added to. They lie in a file without a name, so that the kernel
 * may write them out of memory: 200 bytes each.
 */
#ifndef PIPELINE_NEAR_NEAR_SET_H
#define PIPELINE_NEAR_NEAR_SET_H

#include "base/error.h"
#include "near/sketch.h"

struct near_set;

/* For n_max records; `dir` is a folder to have the file in. NULL on failure. */
MUST_CHECK struct near_set *near_set_new(const char *dir, uint64_t n_max, struct error *err);
void near_set_free(struct near_set *set);
void near_set_add(struct near_set *set, const struct near_record *record);
/* The likest that the rule allows; of equals the first. Valid until the set is freed. */
bool near_set_find(const struct near_set *set, const struct near_record *wanted,
	const struct near_rule *rule, struct near_hit *out);

#endif
