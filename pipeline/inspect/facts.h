/* The facts of a folder (FORMAT.md, `thresh` in index.json) as they are to stand in another one that was made of it. */
#ifndef PIPELINE_INSPECT_FACTS_H
#define PIPELINE_INSPECT_FACTS_H

#include "base/json.h"

struct fact_change {
	const char *key;
	const char *json; /* NULL: left out */
};

/*
 * Appends `facts` (NULL: none) with changes. `made_from` becomes the run of `facts`, if they tell one: beside the old folder the
 * new one then takes its place in the index over all nights, instead of giving its conversations twice.
 */
void facts_put(const struct json *facts, const struct fact_change *changes, size_t n_changes,
	struct str *out);

#endif
