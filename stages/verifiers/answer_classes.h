/*
 * Sorts the answers of a group into classes of equal ones. The one place that knows what "equal" is for a vote: values by the
 * math checker, or letters.
 */
#ifndef VERIFIERS_ANSWER_CLASSES_H
#define VERIFIERS_ANSWER_CLASSES_H

#include "base/arena.h"
#include "group.h"
#include "verifiers/math/mathcheck.h"

enum answer_kind { ANSWER_MATH, ANSWER_CHOICE };

#define ANSWER_NONE ((size_t)-1) /* the text holds no answer */
#define ANSWER_UNREAD ((size_t)-2) /* it holds one that cannot be read */

/*
 * out_class[i] is the class of candidate i, counted from 0 in order of first members, or one of the words above. Returns how many classes
 * there are. A class is what equals its first member: equality with a tolerance is not transitive, and so the result
 * depends on the candidates' order alone.
 */
size_t answer_classes(const struct candidate *const *candidates, size_t n, enum answer_kind kind,
	const struct math_policy *policy, struct arena *arena, size_t *out_class);

#endif
