/* The table of verifiers. main hands it to the registry. */
#ifndef VERIFIERS_VERIFIERS_H
#define VERIFIERS_VERIFIERS_H

#include "verifier.h"

extern const struct verifier_ops *const verifiers[]; /* ends with NULL */

extern const struct verifier_ops verify_choice;
extern const struct verifier_ops verify_code;
extern const struct verifier_ops verify_exec;
extern const struct verifier_ops verify_judge;
extern const struct verifier_ops verify_length;
extern const struct verifier_ops verify_math;
extern const struct verifier_ops verify_regex;
extern const struct verifier_ops verify_repetition;
extern const struct verifier_ops verify_reward;
extern const struct verifier_ops verify_safety;
extern const struct verifier_ops verify_steps;
extern const struct verifier_ops verify_vote;

#endif
