/*
 * The guard: tells, while a candidate is being written, that it is not worth going on with. Three signs, each switched on by
 * itself:
 *
 *	a loop		the same passage again and again, to the token, for `loop` tokens
 *	its answer	the final answer is given, and `after_answer` tokens later there is still no end
 *	its length	more than `length_max` tokens, which is more than those of its kind have needed
 *
 * It looks at what is new, so its work is the same for each token however long the text is. A verdict is final.
 */
#ifndef PIPELINE_ENGINE_GUARD_H
#define PIPELINE_ENGINE_GUARD_H

#include "base/str.h"
#include "engine/engine.h"

#define GUARD_PERIOD_MAX 512

struct guard_config {
	uint32_t loop; /* tokens; 0: off */
	uint32_t
		period; /* of the longest passage whose repetition is seen; 1 .. GUARD_PERIOD_MAX */
	uint32_t after_answer; /* tokens; 0: off */
	uint32_t length_max; /* tokens; 0: off */
};

struct guard;

/* `config` is borrowed. */
struct guard *guard_new(const struct guard_config *config);
void guard_free(struct guard *guard);
/*
 * What is new: n ids (or, where there are none, hashes of the pieces of text), and the text that came with them. True: the
 * candidate is to be cut, for *out_why; the guard is of no further use then.
 */
bool guard_add(struct guard *guard, const uint32_t *ids, size_t n, struct slice text,
	enum finish *out_why);

#endif
