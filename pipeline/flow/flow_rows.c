/*
 * What a group is in the ledger: candidates, scores and decisions as rows, and back again after a resume.
 */
#include "flow/flow_private.h"

#include "base/clock.h"
#include "base/mem.h"
#include "ledger/ledger.h"
#include "run.h"

#include <string.h>

bool flow_write_candidate(struct flow *f, const struct candidate *c)
{
	const struct ledger_candidate row = {
		.id = candidate_id(c->group->prompt.id, c->idx),
		.prompt = c->group->prompt.id,
		.idx = c->idx,
		.wave = c->wave,
		.seed = c->seed,
		.state = candidate_state_name(c->state),
		.reason = c->reason,
		.detail = c->detail,
		.finish = c->state == CANDIDATE_FAILED ? NULL : finish_name(c->finish),
		.n_tokens = c->n_tokens,
		.n_read = c->knows_read ? (int64_t)c->n_read : -1,
		.token_source = c->retokenized ? "retokenized"
			: c->ids               ? "sampled"
					       : "none",
		.endpoint = c->endpoint,
		.attempts = c->attempts,
		.latency_ms = c->latency_ms,
		.created_ms = clock_wall_ms(),
		.text = c->state == CANDIDATE_FAILED ? (struct slice){0} : c->text,
		.ids = c->ids,
		.n_ids = c->n_ids,
		.logprobs = c->logprobs,
	};
	struct error err = {0};
	if (!ledger_add_candidate(f->run->ledger, &row, &err)) {
		flow_fail(f, &err);
		return false;
	}
	flow_commit_soon(f);
	return true;
}

/* Those of single candidates, or those of the group. */
bool flow_write_scores(struct flow *f, const struct candidate *c, bool of_group, struct error *err)
{
	const struct definition *def = f->run->def;
	int64_t id = candidate_id(c->group->prompt.id, c->idx);
	bool ok = true;
	for (size_t i = 0; ok && i < def->n_verifiers; i++) {
		const struct score *s = &c->scores[i];
		if (c->scored[i] && verifier_is_of_group(&def->verifiers[i]) == of_group) {
			ok = ledger_add_score(f->run->ledger, id,
				&(struct ledger_score){def->verifiers[i].name, s->reason, s->detail,
					s->known, s->value, s->audit, s->us, s->n_tokens},
				err);
		}
	}
	return ok;
}

static bool replace_scores(struct flow *f, const struct candidate *c, struct error *err)
{
	int64_t id = candidate_id(c->group->prompt.id, c->idx);
	return (!c->has_stored || ledger_clear_scores(f->run->ledger, id, err)) &&
		flow_write_scores(f, c, false, err);
}

bool flow_write_parked(struct flow *f, const struct candidate *c)
{
	struct error err = {0};
	bool ok = replace_scores(f, c, &err);
	if (!ok) {
		flow_fail(f, &err);
	}
	return ok;
}

bool flow_write_decision(struct flow *f, const struct candidate *c)
{
	int64_t id = candidate_id(c->group->prompt.id, c->idx);
	struct error err = {0};
	bool ok = replace_scores(f, c, &err) &&
		ledger_set_candidate_state(f->run->ledger, id, candidate_state_name(c->state),
			c->reason, c->detail, &err);
	if (!ok) {
		flow_fail(f, &err);
	}
	return ok;
}

/* Those of verifiers that the definition still has. A group's score is taken afresh with the group. */
static void adopt_scores(struct flow *f, struct candidate *c, const struct ledger_candidate *row)
{
	const struct definition *def = f->run->def;
	c->has_stored = row->n_scores > 0;
	for (size_t i = 0; i < def->n_verifiers; i++) {
		for (size_t k = 0; k < row->n_scores; k++) {
			const struct ledger_score *s = &row->scores[k];
			if (strcmp(s->verifier, def->verifiers[i].name) == 0 &&
				!verifier_is_of_group(&def->verifiers[i])) {
				c->scores[i] = (struct score){s->known, s->value, s->reason,
					s->detail, s->audit, s->n_tokens, s->us};
				c->scored[i] = true;
			}
		}
	}
}

/* Adopts a candidate that the ledger has; one that is pending was written but not yet decided when the last sitting ended. */
static struct candidate *adopt(
	struct flow *f, struct group *group, const struct ledger_candidate *row)
{
	struct candidate *c = group_new_candidate(group, f->run->def->n_verifiers, row->idx);
	c->wave = row->wave;
	c->seed = row->seed;
	c->text = row->text;
	c->ids = row->ids;
	c->n_ids = row->n_ids;
	c->logprobs = row->logprobs;
	c->n_tokens = row->n_tokens;
	c->retokenized = strcmp(row->token_source, "retokenized") == 0;
	c->reason = row->reason;
	c->detail = row->detail;
	adopt_scores(f, c, row);
	for (int s = 0; s <= CANDIDATE_FAILED; s++) {
		if (strcmp(candidate_state_name(s), row->state) == 0) {
			c->state = s;
		}
	}
	c->length_known = c->state == CANDIDATE_ACCEPTED;
	for (int k = 0; row->finish && k <= FINISH_CANCELLED; k++) {
		if (strcmp(finish_name(k), row->finish) == 0) {
			c->finish = k;
		}
	}
	return c;
}

static bool load_candidates(struct flow_group *g, struct error *err)
{
	struct flow *f = g->flow;
	struct group *group = &g->group;
	struct ledger_candidate *rows;
	size_t n;
	if (!ledger_get_candidates(
		    f->run->ledger, group->prompt.id, &group->arena, &rows, &n, err)) {
		return false;
	}
	for (size_t i = 0; i < n; i++) {
		group_reserve(group, rows[i].idx + 1);
		group->candidates[rows[i].idx] = adopt(f, group, &rows[i]);
	}
	/* A plan sees what earlier waves gave, never what a later one left in the ledger: waves are gone through again. */
	group->n_candidates = 0;
	return true;
}

struct flow_group *flow_load_group(struct flow *f, const struct ledger_prompt *row,
	struct arena *taken_arena, struct error *err)
{
	struct flow_group *g = xcalloc(1, sizeof(*g));
	g->flow = f;
	g->source = f->budget ? budget_source(f->budget, row->source) : 0;
	g->made = true;
	g->next = f->groups;
	if (f->groups) {
		f->groups->prev = g;
	}
	f->groups = g;
	f->n_groups++;
	struct group *group = &g->group;
	group->arena = *taken_arena;
	*taken_arena = (struct arena){0};
	group->flow = g;
	g->fields = json_parse(row->fields.data, row->fields.len, err);
	group->prompt = (struct prompt){
		row->id, row->prompt_id, row->source, g->fields, row->ids, row->n_ids};
	group->prepared = arena_alloc_array(
		&group->arena, f->run->def->n_verifiers, sizeof(void *));
	if (!g->fields || !load_candidates(g, err)) {
		flow_free_group(g);
		return NULL;
	}
	return g;
}
