/* Lengths of the accepted candidates of each source, and the limit that follows from them for the next ones. */
#include "generate_private.h"

#include "base/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct lengths {
	char *source; /* owns */
	uint32_t *counts; /* owns; n_buckets of LENGTH_STEP tokens each */
	size_t n_buckets;
	uint64_t n;
	uint32_t limit; /* 0: not enough were seen */
};

#define LENGTH_STEP 16

static struct lengths *lengths_of(struct generate_state *s, const char *source)
{
	for (size_t i = 0; i < s->n_lengths; i++) {
		if (strcmp(s->lengths[i].source, source) == 0) {
			return &s->lengths[i];
		}
	}
	s->lengths = array_room(s->lengths, s->n_lengths, &s->lengths_cap, sizeof(*s->lengths));
	s->lengths[s->n_lengths] = (struct lengths){.source = xstrdup(source)};
	return &s->lengths[s->n_lengths++];
}

/* The upper end of the bucket in which the quantile lies, times the margin. */
static uint32_t find_limit(const struct generate_config *c, const struct lengths *l)
{
	uint64_t below = 0, wanted = (uint64_t)ceil(c->guard.quantile * (double)l->n);
	size_t i = 0;
	if (l->n < c->guard.samples) {
		return 0;
	}
	while (i < l->n_buckets && (below += l->counts[i]) < wanted) {
		i++;
	}
	return (uint32_t)MIN(
		ceil((double)(i + 1) * LENGTH_STEP * c->guard.margin), (double)UINT32_MAX);
}

void generate_add_length(void *ctx, const char *source, uint32_t n_tokens)
{
	struct generate_state *s = ctx;
	struct lengths *l = lengths_of(s, source);
	size_t bucket = n_tokens / LENGTH_STEP;
	if (bucket >= l->n_buckets) {
		l->counts = xreallocarray(l->counts, bucket + 1, sizeof(*l->counts));
		memset(l->counts + l->n_buckets, 0,
			(bucket + 1 - l->n_buckets) * sizeof(*l->counts));
		l->n_buckets = bucket + 1;
	}
	l->counts[bucket]++;
	l->n++;
	l->limit = find_limit(s->config, l);
}

/* Those of earlier sittings were taken from the ledger when the stage was opened. */
void generate_learn_lengths(struct generate_state *s, const struct group *group)
{
	for (size_t i = 0; i < group->n_candidates; i++) {
		struct candidate *c = group->candidates[i];
		if (c && c->state == CANDIDATE_ACCEPTED && !c->length_known) {
			c->length_known = true;
			generate_add_length(s, group->prompt.source, c->n_tokens);
		}
	}
}

bool generate_guards(const struct generate_config *c)
{
	return c->guard.loop || c->guard.after_answer || c->guard.quantile > 0;
}

struct guard_config generate_guard(struct generate_state *s, const char *source)
{
	const struct generate_config *c = s->config;
	return (struct guard_config){
		.loop = c->guard.loop,
		.period = c->guard.period,
		.after_answer = c->guard.after_answer,
		.length_max = c->guard.quantile > 0 ? lengths_of(s, source)->limit : 0,
	};
}

void generate_release_lengths(struct generate_state *s)
{
	for (size_t i = 0; i < s->n_lengths; i++) {
		free(s->lengths[i].source);
		free(s->lengths[i].counts);
	}
	free(s->lengths);
	s->lengths = NULL;
	s->n_lengths = 0;
}
