/*
 * Leaves out what was shipped before, in these words or nearly these: chosen candidates whose text is a near duplicate of one
 * that an earlier run shipped, or of a better one of this run. Better is what select ranks higher: the first choices of all
 * prompts are looked at before any second choice, by id within. Where select.per_prompt has kept others of the prompt out, the
 * next best that is no duplicate takes the place.
 *
 * Compared is the sampled text, not the prompt's: those of one prompt share all of it. A text of a few words counts as one of
 * its prompt alone (near/sketch.h), as "The answer is 4." answers many; `among: prompt` says so of all.
 *
 * The result follows from the ledger and from what was shipped by other runs. The stage writes to its ledger alone; the index
 * of what was shipped is told when the run has published, in a file of the run's own, so that a run that is done again, also
 * under another id, never meets its own texts.
 */
#include "stages.h"

#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "dedup_private.h"
#include "definition.h"
#include "ledger/history.h"
#include "ledger/ledger.h"
#include "near/near_set.h"
#include "run.h"

#include <limits.h>
#include <stdlib.h>

enum dedup_scope { SCOPE_PIPELINE, SCOPE_RUN };
enum dedup_among { AMONG_ALL, AMONG_PROMPT };
static const char *const scope_names[] = {"pipeline", "run", NULL};
static const char *const among_names[] = {"all", "prompt", NULL};

struct dedup_config {
	double threshold;
	uint32_t scope, among;
};

static const struct param params[] = {
	PARAM_DOUBLE("threshold", struct dedup_config, threshold, .def = "0.8", .min = 0.7,
		.max = 1,
		.help = "share of 5-word runs in common from which on two texts are duplicates "
			"(99 % of them are found); 1: all words are the same"),
	PARAM_ENUM("scope", struct dedup_config, scope, .def = "pipeline", .names = scope_names,
		.help = "pipeline: also of what earlier runs have shipped; run: of this one alone"),
	PARAM_ENUM("among", struct dedup_config, among, .def = "all", .names = among_names,
		.help = "all: also of texts of other prompts, from 16 words on; prompt: of the "
			"same prompt alone"),
	{0},
};

struct dedup_state {
	const struct dedup_config *config;
	struct run *run;
	struct near_rule rule;
	struct near_reader reader;
	struct near_index *nights; /* owns; NULL: not looked at */
	struct near_set *kept; /* owns */
	uint16_t *vacant; /* owns; places of duplicates that nobody has taken, by prompt */
	int64_t n_compared, n_of_run, n_of_nights, n_same, n_filled;
};

static bool open_dedup(void *state, const void *config, struct run *run, struct error *err UNUSED)
{
	struct dedup_state *s = state;
	s->config = config;
	s->run = run;
	near_rule_init(&s->rule, s->config->threshold, s->config->among == AMONG_PROMPT);
	return true;
}

static void close_dedup(void *state)
{
	struct dedup_state *s = state;
	near_index_close(s->nights);
	near_set_free(s->kept);
	near_reader_release(&s->reader);
	free(s->vacant);
}

/* Shipped by an earlier run comes first: what is told of a duplicate is then true whatever this run keeps. */
static bool find(struct dedup_state *s, const struct near_record *record, struct near_hit *out)
{
	return (s->nights && near_index_find(s->nights, record, &s->rule, out)) ||
		near_set_find(s->kept, record, &s->rule, out);
}

static uint16_t *vacant_places(struct dedup_state *s, int64_t candidate)
{
	return &s->vacant[candidate / CANDIDATES_MAX];
}

static bool leave_out(struct dedup_state *s, int64_t candidate, const struct near_record *record,
	const struct near_hit *hit, struct error *err)
{
	const struct ledger_duplicate d = {hit->run, (int64_t)hit->record->owner,
		near_similarity(hit->places), near_same(hit->record, record), 0};
	*(hit->run ? &s->n_of_nights : &s->n_of_run) += 1;
	s->n_same += d.same;
	*vacant_places(s, candidate) += 1;
	return ledger_add_duplicate(s->run->ledger, candidate, &d, err);
}

/* Select has not asked of it whether an earlier night shipped it token by token. */
static bool stand_in(struct dedup_state *s, int64_t candidate, const struct near_record *record,
	struct error *err)
{
	int64_t hash;
	enum ledger_found found = ledger_sampled(s->run->ledger, candidate, &hash, err);
	if (found == LEDGER_FAILED) {
		return false;
	}
	if (found == LEDGER_FOUND && history_is_shipped(s->run->history, hash, s->run->number)) {
		return true;
	}
	near_set_add(s->kept, record);
	*vacant_places(s, candidate) -= 1;
	s->n_filled++;
	return ledger_choose_stand_in(
		s->run->ledger, candidate, found == LEDGER_FOUND ? &hash : NULL, err);
}

/* Those that better ones keep out come after all the chosen ones of their prompt, and matter only if a place is vacant by then. */
static bool visit(void *ctx, int64_t candidate, bool spare, struct error *err)
{
	struct dedup_state *s = ctx;
	struct near_record record;
	struct near_hit hit;
	bool pruned;
	if (spare && !*vacant_places(s, candidate)) {
		return true;
	}
	if (!dedup_sketch(s->run->ledger, candidate, &s->reader, &record, &pruned, err)) {
		return false;
	}
	if (pruned) {
		return spare ||
			error_set(err, FAIL_DATA,
				"candidate %lld.%lld has no text to compare: it was pruned",
				(long long)(candidate / CANDIDATES_MAX),
				(long long)(candidate % CANDIDATES_MAX));
	}
	s->n_compared++;
	if (find(s, &record, &hit)) {
		return spare || leave_out(s, candidate, &record, &hit, err);
	}
	if (spare) {
		return stand_in(s, candidate, &record, err);
	}
	near_set_add(s->kept, &record);
	return true;
}

static bool report(struct dedup_state *s, struct error *err)
{
	const struct {
		const char *key;
		int64_t value;
	} counts[] = {{"compared", s->n_compared}, {"duplicates", s->n_of_run + s->n_of_nights},
		{"of_this_run", s->n_of_run}, {"of_earlier_runs", s->n_of_nights},
		{"same_words", s->n_same}, {"filled", s->n_filled},
		{"shipped_before", s->nights ? (int64_t)near_index_searched(s->nights) : 0}};
	struct str text;
	str_init(&text, STR_NO_CAP);
	struct json_writer w = {.out = &text};
	json_begin_object(&w);
	for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
		json_member_int(&w, counts[i].key, counts[i].value);
	}
	json_end_object(&w);
	bool ok = ledger_set_stage(s->run->ledger, "dedup", false, 0, text.data, err);
	str_release(&text);
	return ok;
}

static bool run_dedup(void *state, struct run *run, struct error *err)
{
	struct dedup_state *s = state;
	if (!ledger_clear_duplicates(run->ledger, err)) {
		return false;
	}
	if (s->config->scope == SCOPE_PIPELINE && !(s->nights = dedup_open_nights(run, err))) {
		return false;
	}
	s->kept = near_set_new(run->dir, (uint64_t)ledger_count_chosen(run->ledger), err);
	if (!s->kept) {
		return false;
	}
	s->vacant = xcalloc((size_t)ledger_last_begun(run->ledger) + 1, sizeof(*s->vacant));
	/* One transaction, so that a killed dedup leaves nothing half done. */
	ledger_set_commit_rows(run->ledger, UINT_MAX);
	bool ok = ledger_each_ranked(run->ledger, visit, s, err) && report(s, err) &&
		ledger_flush(run->ledger, err);
	ledger_set_commit_rows(run->ledger, run->def->ledger.commit_rows);
	return ok;
}

static bool published(const void *config, struct run *run, struct error *err)
{
	const struct dedup_config *c = config;
	return c->scope == SCOPE_RUN || dedup_tell_night(run, err);
}

const struct stage_ops dedup_stage = {
	.name = "dedup",
	.summary = "leaves out near duplicates of what was shipped before, or ranks higher",
	.params = params,
	.config_size = sizeof(struct dedup_config),
	.state_size = sizeof(struct dedup_state),
	.open = open_dedup,
	.run = run_dedup,
	.reset = ledger_clear_duplicates,
	.published = published,
	.close = close_dedup,
};
