/* One line a verifier, in the order in which `thresh verifiers` lists them. */
#include "verifiers/verifiers.h"

const struct verifier_ops *const verifiers[] = {
	&verify_math,
	&verify_choice,
	&verify_regex,
	&verify_length,
	&verify_repetition,
	&verify_judge,
	&verify_reward,
	&verify_steps,
	&verify_safety,
	&verify_code,
	&verify_exec,
	&verify_vote,
	NULL,
};
