/*
 * When the engine is asked.
 *
 * Most engines are asked for all of a wave at once, and queue. One that keeps a prompt in the slot that has read it (llama.cpp) would then
 * read it in each of several slots. It gets as many requests as it has slots, and a prompt's candidates one after another, so that
 * each finds the prompt in the slot that its predecessor has left: generate_feed(). Where slots would be idle, several are asked for
 * in one request, which reads the prompt once. Which of this happens depends on time; what is sampled does not, since each
 * candidate has its seed.
 */
#include "generate_private.h"

#include "base/mem.h"
#include "budget.h"
#include "flow/flow.h"
#include "run.h"
#include "stage.h"

#include <assert.h>

#define READ_COST \
	8 /* tokens of a prompt that are read in the time in which one is written, about */

static enum engine_leave may_start(void *ctx, uint32_t i, uint32_t n)
{
	struct part *part = ctx;
	return flow_begin(part->wave->group, &part->tickets[i], n);
}

uint32_t generate_slots(const struct generate_state *s)
{
	/* With every endpoint down, one request waits for the first that comes back. */
	return MAX(engine_slots(s->engine), 1);
}

/* One request for the next missing candidates, `n` at most; neighbours, since their seeds count up. */
static void ask_part(struct wave *w, uint32_t n)
{
	struct generate_state *s = w->state;
	struct group *group = w->group;
	const struct prompt *prompt = &group->prompt;
	bool by_messages = !engine_info(s->engine)->has_ids;
	while (group->candidates[w->next]) {
		w->next++;
	}
	size_t first = w->next, end = first;
	while (end < w->to && end - first < n && !group->candidates[end]) {
		end++;
	}
	n = (uint32_t)(end - first);
	struct part *part = arena_alloc(&group->arena, sizeof(*part));
	*part = (struct part){.wave = w, .first = first, .n_left = n, .next = w->parts};
	w->parts = part;
	part->tickets = arena_alloc_array(&group->arena, n, sizeof(*part->tickets));
	w->next = end;
	w->n_unasked -= n;
	flow_unasked(s->run, -(int64_t)n);
	s->n_asked += n;
	part->job = (struct engine_job){
		.messages = by_messages ? w->messages : NULL,
		.n_messages = by_messages ? w->n_messages : 0,
		.prompt_ids = prompt->ids,
		.n_prompt_ids = prompt->n_ids,
		.sampling = &s->sampling,
		.n = n,
		.seed = run_seed(s->run, prompt->prompt_id, (uint32_t)first),
		.logprobs = s->config->logprobs,
		.whole = s->feeds,
		.per_request = s->feeds ? n : s->config->per_request,
		.home = &group->home,
		.may_start = may_start,
		.guard = generate_guards(s->config) ? &part->guard : NULL,
		.continuations = s->config->continuations,
	};
	part->guard = generate_guard(s, prompt->source);
	part->request = engine_generate(s->engine, &part->job, generate_on_candidate, part);
}

static void list_wave(struct wave *w, int where)
{
	struct generate_state *s = w->state;
	if (w->listed == WAVE_WAITING) {
		TAILQ_REMOVE(&s->waiting, w, link);
		s->n_waiting--;
	} else if (w->listed == WAVE_BEGUN) {
		TAILQ_REMOVE(&s->begun, w, link);
	}
	w->listed = where;
	if (where == WAVE_BEGUN) {
		TAILQ_INSERT_TAIL(&s->begun, w, link);
	} else if (where == WAVE_WAITING) {
		/* What was begun goes first: its prompt is cached, and it ends sooner. But in rounds the first wave of others does. */
		if (w->parts || (w->group->wave && !s->config->rounds)) {
			TAILQ_INSERT_HEAD(&s->waiting, w, link);
		} else {
			TAILQ_INSERT_TAIL(&s->waiting, w, link);
		}
		s->n_waiting++;
	}
}

/* Of one more candidate: as those that the prompt has, or else as those of its source. */
static double expected_tokens(const struct wave *w)
{
	const struct group *group = w->group;
	uint64_t n = 0, n_tokens = 0;
	for (size_t i = 0; i < group->n_candidates; i++) {
		const struct candidate *c = group->candidates[i];
		n += c != NULL;
		n_tokens += c ? c->n_tokens : 0;
	}
	return n_tokens ? (double)n_tokens / (double)n
			: flow_expected_tokens(w->state->run, group->prompt.source);
}

/*
 * The wave whose candidates, one after another, would outlast all other work spread over the slots; NULL: none would. It gets a second
 * slot, although the prompt is read again there. That happens near the end, which would otherwise wait for one slot.
 */
static struct wave *find_straggler(const struct generate_state *s)
{
	double all = (double)flow_prompts_to_come(s->run) * s->config->candidates.min *
		flow_expected_tokens(s->run, NULL);
	struct wave *longest = NULL, *w;
	double most = 0;
	TAILQ_FOREACH(w, &s->waiting, link)
	{
		all += w->n_unasked * expected_tokens(w);
	}
	TAILQ_FOREACH(w, &s->begun, link)
	{
		double tokens = expected_tokens(w);
		/* With the candidate that is under way, and less what a second slot costs. */
		double chain = (w->n_unasked + 1) * tokens -
			(double)w->group->prompt.n_ids / READ_COST;
		all += w->n_unasked * tokens;
		longest = chain > most ? w : longest;
		most = MAX(chain, most);
	}
	return most * generate_slots(s) > all ? longest : NULL;
}

void generate_feed(struct generate_state *s)
{
	while (s->n_asked < generate_slots(s)) {
		uint64_t n_others = (uint64_t)flow_prompts_to_come(s->run) + s->n_tokenizing +
			s->n_waiting;
		struct wave *w = find_straggler(s);
		if (!w && (w = TAILQ_FIRST(&s->waiting))) {
			n_others--;
		}
		if (!w) {
			return;
		}
		ask_part(w,
			candidates_at_once(generate_slots(s) - s->n_asked, n_others, w->n_unasked));
		list_wave(w, w->n_unasked ? WAVE_BEGUN : WAVE_UNLISTED);
		flow_wake(s->run);
	}
}

void generate_ask(struct wave *w)
{
	struct generate_state *s = w->state;
	/* All are counted before the first is asked for. */
	for (size_t i = w->from; i < w->to; i++) {
		w->n_unasked += w->group->candidates[i] == NULL;
	}
	assert(w->n_unasked);
	w->n_out = w->n_unasked;
	flow_unasked(s->run, w->n_unasked);
	w->next = w->from;
	if (s->feeds) {
		list_wave(w, WAVE_WAITING);
		generate_feed(s);
		return;
	}
	while (w->n_unasked) {
		ask_part(w, UINT32_MAX);
	}
}

void generate_drop_unasked(struct wave *w)
{
	list_wave(w, WAVE_UNLISTED);
	w->n_out -= w->n_unasked;
	flow_unasked(w->state->run, -(int64_t)w->n_unasked);
	w->n_unasked = 0;
}

void generate_part_done(struct wave *w)
{
	if (w->listed == WAVE_BEGUN) {
		list_wave(w, WAVE_WAITING);
	}
}
