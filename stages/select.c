/*
 * Decides which accepted candidates are shipped. `accept` is evaluated once more over all scores, so that a changed threshold
 * needs nothing but this stage; then each prompt's accepted candidates are ranked by `order_by` and the first `per_prompt` of
 * those that pass `where` are chosen. Ties are broken by id, so the result depends on the ledger, and on what nights before
 * this one have shipped: a candidate with the ids of one that was chosen already, here or then, is left out.
 */
#include "stages.h"

#include "base/mem.h"
#include "columns.h"
#include "definition.h"
#include "ledger/history.h"
#include "ledger/ledger.h"
#include "ledger/wide.h"
#include "run.h"
#include "stage.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum repeats { REPEATS_DROP, REPEATS_KEEP };

struct select_config {
	char *order_by, *where;
	uint32_t per_prompt, repeats;
};

static const char *const repeats_names[] = {"drop", "keep", NULL};

static const struct param params[] = {
	PARAM_SQL("order_by", struct select_config, order_by, .ref = "order",
		.help = "SQL ORDER BY list: the best of a prompt first"),
	PARAM_SQL("where", struct select_config, where, .ref = "group",
		.help = "SQL condition; also sees the group: n_candidates, n_accepted, pass_rate"),
	PARAM_U32("per_prompt", struct select_config, per_prompt, .def = "0", .min = 0,
		.max = CANDIDATES_MAX, .help = "candidates of a prompt at most; 0: all"),
	PARAM_ENUM("repeats", struct select_config, repeats, .def = "drop", .names = repeats_names,
		.late = true,
		.help = "drop: a candidate with the very tokens of another that this or an earlier "
			"night has chosen for the prompt is left out; keep"),
	{0},
};

struct select_state {
	const struct select_config *config;
	struct run *run;
	struct wide *wide;
	struct expr_value *row;
	struct score *scores;
	bool *scored;
	struct arena arena;
	struct json *fields; /* of the prompt seen last */
	int64_t prompt;
	uint32_t rank, n_chosen; /* within the prompt */
	int64_t ranked_prompt;
	int64_t hashes[CANDIDATES_MAX]; /* of the chosen ones of the ranked prompt */
	size_t n_hashes;
};

static bool open_select(void *state, const void *config, struct run *run, struct error *err)
{
	struct select_state *s = state;
	s->config = config;
	s->run = run;
	s->row = xcalloc(run->columns.n, sizeof(*s->row));
	s->scores = xcalloc(run->def->n_verifiers, sizeof(*s->scores));
	s->scored = xcalloc(run->def->n_verifiers, sizeof(*s->scored));
	s->wide = wide_new(run->columns.list, run->columns.n, err);
	return s->wide != NULL;
}

static void close_select(void *state)
{
	struct select_state *s = state;
	wide_free(s->wide);
	json_free(s->fields);
	arena_release(&s->arena);
	free(s->row);
	free(s->scores);
	free(s->scored);
}

static void take_scores(struct select_state *s, const struct ledger_candidate *c)
{
	for (size_t i = 0; i < s->run->def->n_verifiers; i++) {
		s->scored[i] = false;
		for (size_t k = 0; k < c->n_scores; k++) {
			if (strcmp(c->scores[k].verifier, s->run->def->verifiers[i].name) == 0) {
				s->scores[i] = (struct score){.known = c->scores[k].known,
					.value = c->scores[k].value,
					.reason = c->scores[k].reason,
					.detail = c->scores[k].detail,
					.audit = c->scores[k].audit};
				s->scored[i] = true;
			}
		}
	}
}

/* What `accept` says now; written down where it is another than before. */
static bool judge_again(struct select_state *s, const struct ledger_candidate *c,
	bool *out_accepted, struct error *err)
{
	struct decision d = columns_decide(&s->run->columns, s->run->accept, s->row, &s->arena);
	const char *state = candidate_state_name(d.state);
	bool same = strcmp(c->state, state) == 0 && c->reason && strcmp(c->reason, d.reason) == 0;
	*out_accepted = d.state == CANDIDATE_ACCEPTED;
	return same ||
		ledger_set_candidate_state(s->run->ledger, c->id, state, d.reason, d.detail, err);
}

static bool visit(void *ctx, const struct ledger_candidate *c, const struct ledger_prompt *p,
	struct error *err)
{
	struct select_state *s = ctx;
	bool cut = strcmp(c->state, "rejected") == 0 && strcmp(c->reason, "accept") != 0;
	if (strcmp(c->state, "pending") == 0 || cut) {
		return true; /* not verified: the backlog's; cut by a limit: rejected whatever its scores might be */
	}
	if (p->id != s->prompt) {
		json_free(s->fields);
		s->fields = json_parse(p->fields.data, p->fields.len, err);
		s->prompt = p->id;
		if (!s->fields) {
			return false;
		}
	}
	arena_reset(&s->arena);
	take_scores(s, c);
	struct columns_source from = {p->source, s->fields, c->idx, c->n_tokens, p->n_ids,
		c->finish, s->scores, s->scored};
	columns_fill(&s->run->columns, s->run->def, &from, &s->arena, s->row);
	bool accepted;
	return judge_again(s, c, &accepted, err) &&
		wide_add(s->wide, c->id, p->id, accepted, s->row, err);
}

static bool is_among(const struct select_state *s, int64_t hash)
{
	for (size_t i = 0; i < s->n_hashes; i++) {
		if (s->hashes[i] == hash) {
			return true;
		}
	}
	return false;
}

/* For one that would be chosen. What has no ids cannot be told apart, nor packed. */
static bool choose_once(struct select_state *s, int64_t candidate, struct error *err)
{
	int64_t hash;
	enum ledger_found found = ledger_sampled(s->run->ledger, candidate, &hash, err);
	if (found == LEDGER_FAILED) {
		return false;
	}
	bool ask = found == LEDGER_FOUND && s->config->repeats == REPEATS_DROP;
	const char *outcome = ask && is_among(s, hash) ? "repeat"
		: ask && history_is_shipped(s->run->history, hash, s->run->number)
		? "shipped_before"
		: "chosen";
	if (strcmp(outcome, "chosen") == 0) {
		s->n_chosen++;
		if (ask) {
			s->hashes[s->n_hashes++] = hash;
		}
	}
	return ledger_add_selection(s->run->ledger, candidate, ++s->rank, outcome,
		found == LEDGER_FOUND ? &hash : NULL, err);
}

static bool choose(void *ctx, int64_t candidate, int64_t prompt, bool pass, struct error *err)
{
	struct select_state *s = ctx;
	if (prompt != s->ranked_prompt) {
		s->ranked_prompt = prompt;
		s->rank = s->n_chosen = 0;
		s->n_hashes = 0;
	}
	bool full = s->config->per_prompt && s->n_chosen >= s->config->per_prompt;
	if (pass && !full) {
		return choose_once(s, candidate, err);
	}
	return ledger_add_selection(
		s->run->ledger, candidate, ++s->rank, pass ? "per_prompt" : "where", NULL, err);
}

static bool run_select(void *state, struct run *run, struct error *err)
{
	struct select_state *s = state;
	if (!ledger_clear_selection(run->ledger, err)) {
		return false;
	}
	/* One transaction, so that a killed select leaves nothing half done. */
	ledger_set_commit_rows(run->ledger, UINT_MAX);
	bool ok = ledger_each_candidate(run->ledger, visit, s, err) &&
		wide_each(s->wide, s->config->where, s->config->order_by, choose, s, err) &&
		ledger_flush(run->ledger, err);
	ledger_set_commit_rows(run->ledger, run->def->ledger.commit_rows);
	return ok;
}

const struct stage_ops select_stage = {
	.name = "select",
	.summary = "ranks the accepted candidates of each prompt and chooses the best",
	.params = params,
	.config_size = sizeof(struct select_config),
	.state_size = sizeof(struct select_state),
	.open = open_select,
	.run = run_select,
	.reset = ledger_clear_selection,
	.close = close_select,
};
