#include "group.h"

#include <string.h>

const char *candidate_state_name(enum candidate_state state)
{
	static const char *const names[] = {
		"pending", "accepted", "rejected", "undecided", "failed"};
	return names[state];
}

struct candidate *group_new_candidate(struct group *group, size_t n_verifiers, uint32_t idx)
{
	struct candidate *c = arena_alloc(&group->arena, sizeof(*c));
	c->group = group;
	c->idx = idx;
	c->wave = group->wave;
	c->scores = arena_alloc_array(&group->arena, n_verifiers, sizeof(*c->scores));
	c->scored = arena_alloc_array(&group->arena, n_verifiers, sizeof(*c->scored));
	return c;
}

void group_reserve(struct group *group, size_t n)
{
	if (n <= group->n_reserved) {
		return;
	}
	struct candidate **list = arena_alloc_array(&group->arena, n, sizeof(*list));
	if (group->n_reserved) {
		memcpy(list, group->candidates, group->n_reserved * sizeof(*list));
	}
	group->candidates = list;
	group->n_reserved = n;
}

size_t group_count(const struct group *group, enum candidate_state state)
{
	size_t n = 0;
	for (size_t i = 0; i < group->n_candidates; i++) {
		n += group->candidates[i] && group->candidates[i]->state == state;
	}
	return n;
}
