/*
 * The tables that main.c (or a test) hands to the program: stages and verifiers by name. The only place where the engine of the program meets the stages; it knows none by name.
 */
#ifndef PIPELINE_REGISTRY_H
#define PIPELINE_REGISTRY_H

#include "stage.h"
#include "verifier.h"

/* Both tables end with NULL and live for ever. Asserts that every row is well formed. */
void registry_set(
	const struct stage_ops *const *stages, const struct verifier_ops *const *verifiers);
const struct stage_ops *const *registry_stages(void);
const struct verifier_ops *const *registry_verifiers(void);
/* NULL if there is none. */
const struct stage_ops *registry_stage(const char *name);
const struct verifier_ops *registry_verifier(const char *name);
/* Names for "did you mean"; *out_n of them, static storage until the next registry_set. */
const char *const *registry_stage_names(size_t *out_n);
const char *const *registry_verifier_names(size_t *out_n);
/* Does a null score with this reason (it may be NULL) say that a verifier failed? */
bool registry_is_failure(const char *reason);

#endif
