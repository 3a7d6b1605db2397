/*
 * The ledger of a run (SQLite, WAL, synchronous=FULL but for ledger_set_lazy): the only truth. schema.sql is its shape; every statement over it is in ledger.c.
 *
 * Writes are grouped: the first one opens a transaction, which is committed after `commit_rows` rows or when the caller, whose
 * loop has the timer, calls ledger_flush. Order is kept, so whatever is durable has everything it rests on durable too; what a crash can
 * lose is the last fraction of a second, which a resume does again with the same seeds.
 *
 * One thread owns a ledger. Readers (`thresh status` beside a running night) open their own connection with LEDGER_READ.
 */
#ifndef PIPELINE_LEDGER_LEDGER_H
#define PIPELINE_LEDGER_LEDGER_H

#include "base/arena.h"
#include "base/error.h"
#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>

struct ledger;

enum ledger_mode {
	LEDGER_CREATE, /* must not exist */
	LEDGER_WRITE,
	LEDGER_READ,
};

/* FAIL_DATA for a file that is no ledger, is damaged, or was made by a newer thresh (the message says which). */
MUST_CHECK struct ledger *ledger_open(const char *path, enum ledger_mode mode, struct error *err);
/* Commits what is pending; NULL: no-op. Errors of that last commit are lost, so flush before when they matter. */
void ledger_close(struct ledger *l);
void ledger_set_commit_rows(struct ledger *l, unsigned rows);
MUST_CHECK bool ledger_flush(struct ledger *l, struct error *err);
/*
 * Commits that are written and not yet synced: from then on they survive the death of the process, which costs nothing, and that of the
 * machine once ledger_sync was done after them. Order is kept all the same. For a loop that must not wait for a disk; false syncs all
 * there is and goes back. Commits what is pending.
 */
MUST_CHECK bool ledger_set_lazy(struct ledger *l, bool lazy, struct error *err);
/* Of a lazy ledger: what was committed before the call is durable when it returns. Any thread, one at a time. */
MUST_CHECK bool ledger_sync(const struct ledger *l, struct error *err);
/* Takes back what is not committed: a batch stage that failed leaves nothing half done. */
void ledger_rollback(struct ledger *l);
/* True when uncommitted rows wait for ledger_flush. */
bool ledger_dirty(const struct ledger *l);
/* Copies the whole ledger (a consistent snapshot) to a new file. */
MUST_CHECK bool ledger_copy(struct ledger *l, const char *to_path, struct error *err);

/* --- facts --- */

/* Value or NULL; arena-owned. */
const char *ledger_meta(struct ledger *l, const char *key, struct arena *arena);
MUST_CHECK bool ledger_set_meta(
	struct ledger *l, const char *key, const char *value, struct error *err);
/* What is not there is no error. */
MUST_CHECK bool ledger_clear_meta(struct ledger *l, const char *key, struct error *err);
void ledger_each_fingerprint(struct ledger *l, const char *stage,
	void (*visit)(void *ctx, const char *path, const char *value), void *ctx);
/* One of them; arena-owned, NULL: not there. */
const char *ledger_fingerprint(
	struct ledger *l, const char *stage, const char *path, struct arena *arena);
MUST_CHECK bool ledger_set_fingerprint(struct ledger *l, const char *stage, const char *path,
	const char *value, struct error *err);
MUST_CHECK bool ledger_clear_fingerprint(struct ledger *l, const char *stage, struct error *err);

struct ledger_stage {
	bool known, done;
	int64_t busy_ms;
	const char *facts; /* JSON or NULL; in the arena */
};
void ledger_stage(
	struct ledger *l, const char *name, struct arena *arena, struct ledger_stage *out);
/* Adds busy_ms to the stage's time; facts NULL leaves what is there. */
MUST_CHECK bool ledger_set_stage(struct ledger *l, const char *name, bool done, int64_t busy_ms,
	const char *facts, struct error *err);

/* --- prompts --- */

struct ledger_prompt {
	int64_t id;
	const char *prompt_id, *source;
	uint64_t row_no;
	struct slice fields; /* JSON */
	const char *state, *reason, *detail;
	const uint32_t *ids; /* n_ids; NULL: not yet tokenized */
	size_t n_ids;
};
MUST_CHECK bool ledger_add_prompt(
	struct ledger *l, const struct ledger_prompt *p, struct error *err);
MUST_CHECK bool ledger_set_prompt_ids(
	struct ledger *l, int64_t id, const uint32_t *ids, size_t n, struct error *err);
/* state "settled" or "failed"; reason of the schema's list. */
MUST_CHECK bool ledger_settle_prompt(struct ledger *l, int64_t id, const char *state,
	const char *reason, const char *detail, struct error *err);
enum ledger_found { LEDGER_FOUND, LEDGER_END, LEDGER_FAILED };
/* The first pending prompt with id > after. Everything returned is in the arena. */
enum ledger_found ledger_next_pending(struct ledger *l, int64_t after, struct arena *arena,
	struct ledger_prompt *out, struct error *err);
/* The first `max` pending prompts with id > after, by id. `source` is valid during the call only. */
MUST_CHECK bool ledger_each_pending(struct ledger *l, int64_t after, size_t max,
	void (*visit)(void *ctx, int64_t id, const char *source), void *ctx, struct error *err);
enum ledger_found ledger_get_prompt(struct ledger *l, int64_t id, struct arena *arena,
	struct ledger_prompt *out, struct error *err);
/* By a unique beginning of prompt_id; LEDGER_END if there is none. */
enum ledger_found ledger_find_prompt(
	struct ledger *l, const char *prefix, int64_t *out_id, struct error *err);
int64_t ledger_count_prompts(struct ledger *l);
/* The last prompt that has a candidate; 0: none has. */
int64_t ledger_last_begun(struct ledger *l);

/* --- candidates --- */

struct ledger_score {
	const char *verifier, *reason, *detail;
	bool known;
	double value;
	bool audit;
	int64_t us;
	uint32_t n_tokens;
};
struct ledger_candidate {
	int64_t id, prompt;
	uint32_t idx, wave, seed;
	const char *state, *reason, *detail;
	const char *finish; /* NULL for failed ones */
	uint32_t n_tokens;
	int64_t n_read; /* tokens of the prompt that the server read for it; -1: it did not tell */
	const char *token_source; /* sampled, retokenized, none */
	const char *endpoint;
	uint32_t attempts, latency_ms;
	int64_t created_ms;
	/* The body; text.data NULL when pruned or failed. */
	struct slice text;
	const uint32_t *ids; /* n_ids */
	size_t n_ids;
	const float *logprobs; /* n_ids or NULL; stored as float16 */
	struct ledger_score *scores; /* n_scores */
	size_t n_scores;
};
MUST_CHECK bool ledger_add_candidate(
	struct ledger *l, const struct ledger_candidate *c, struct error *err);
MUST_CHECK bool ledger_add_score(
	struct ledger *l, int64_t candidate, const struct ledger_score *score, struct error *err);
/* Before those of another sitting are written. */
MUST_CHECK bool ledger_clear_scores(struct ledger *l, int64_t candidate, struct error *err);
MUST_CHECK bool ledger_set_candidate_state(struct ledger *l, int64_t id, const char *state,
	const char *reason, const char *detail, struct error *err);
/* All candidates of a prompt by idx, with bodies and scores, in the arena. */
MUST_CHECK bool ledger_get_candidates(struct ledger *l, int64_t prompt, struct arena *arena,
	struct ledger_candidate **out, size_t *out_n, struct error *err);

/*
 * Walks the candidates that did not fail, by id, with their prompt's fields (the same pointer while the prompt stays the same)
 * and scores, without bodies. `scratch` is the walk's: what is passed is valid in the callback only. A false from visit (with err set) ends the walk.
 */
typedef bool ledger_visit_candidate(void *ctx, const struct ledger_candidate *c,
	const struct ledger_prompt *p, struct error *err);
MUST_CHECK bool ledger_each_candidate(
	struct ledger *l, ledger_visit_candidate *visit, void *ctx, struct error *err);
/* A candidate as the figures of a night see it. */
struct ledger_attempt {
	int64_t prompt;
	uint32_t wave, n_tokens;
	bool decided, accepted; /* decided: accepted or rejected */
	bool answered; /* it has an answer, and equal answers of a prompt have equal keys */
	uint64_t answer;
};
/*
 * Walks the candidates that did not fail, by id. Answers are what the verifier `voter` (NULL: none) has told in its scores'
 * details: a class, or what it took for the answer.
 */
MUST_CHECK bool ledger_each_attempt(struct ledger *l, const char *voter,
	void (*visit)(void *ctx, const struct ledger_attempt *a), void *ctx, struct error *err);
/* Whether the details of the verifier's first scores tell answers. */
bool ledger_tells_answers(struct ledger *l, const char *verifier);
/* Walks the accepted candidates in any order; `source` is borrowed for the call. */
MUST_CHECK bool ledger_each_length(struct ledger *l,
	void (*visit)(void *ctx, const char *source, uint32_t n_tokens), void *ctx,
	struct error *err);
/* Walks the ids of all prompts and candidates that have any. */
MUST_CHECK bool ledger_each_ids(struct ledger *l,
	void (*visit)(void *ctx, const uint32_t *ids, size_t n), void *ctx, struct error *err);

/*
 * Takes the decisions of all candidates back and makes their prompts pending again (`--from verify`), and the scores but for known
 * ones of the verifiers in `keep`, a JSON list of names.
 */
MUST_CHECK bool ledger_reset_verify(struct ledger *l, const char *keep, struct error *err);

/* --- selection, plan, shards --- */

/* Remembers the selection, if there is one, in place of what was remembered before. */
MUST_CHECK bool ledger_keep_selection(struct ledger *l, struct error *err);
struct ledger_change {
	const char *what; /* "kept", "gone" or "new" */
	const char *why; /* what it is now, for one that is gone; what it was, for a new one */
	int64_t n, example; /* a candidate */
};
/* What is chosen now against the remembered selection; none, if none is remembered. In the arena. */
MUST_CHECK bool ledger_changes(struct ledger *l, struct arena *arena, struct ledger_change **out,
	size_t *out_n, struct error *err);

MUST_CHECK bool ledger_clear_selection(
	struct ledger *l, struct error *err); /* the plan and shards' rows too */
/* hash: of ledger_sampled, NULL: it was not asked for. A candidate that has a row keeps its rank and hash. */
MUST_CHECK bool ledger_add_selection(struct ledger *l, int64_t candidate, uint32_t rank,
	const char *outcome, const int64_t *hash, struct error *err);
/*
 * Hash of a candidate's prompt (by its content) and sampled ids: equal ones are the same sample, whichever run they are of.
 * LEDGER_END: there are no ids.
 */
enum ledger_found ledger_sampled(
	struct ledger *l, int64_t candidate, int64_t *out_hash, struct error *err);
/* Whose duplicate a candidate is. */
struct ledger_duplicate {
	const char *run; /* NULL: this one */
	int64_t original; /* candidate of that run */
	double likeness;
	bool same; /* all words are */
	int64_t stand_in; /* of its prompt, chosen in its place; 0: none */
};
/* Makes the selection what select has left; the plan and shards' rows go, too. */
MUST_CHECK bool ledger_clear_duplicates(struct ledger *l, struct error *err);
/* Of a chosen candidate; without a stand-in at first. */
MUST_CHECK bool ledger_add_duplicate(
	struct ledger *l, int64_t candidate, const struct ledger_duplicate *d, struct error *err);
/* Chooses a candidate in the place of a duplicate of its prompt that has no stand-in yet; there must be one. hash: see ledger_add_selection. */
MUST_CHECK bool ledger_choose_stand_in(
	struct ledger *l, int64_t candidate, const int64_t *hash, struct error *err);
/* `run` is in the arena; LEDGER_END: it is none. */
enum ledger_found ledger_get_duplicate(struct ledger *l, int64_t candidate, struct arena *arena,
	struct ledger_duplicate *out, struct error *err);
int64_t ledger_count_chosen(struct ledger *l);
/*
 * Walks the chosen candidates and those that better ones keep out (`spare`): the best of each prompt, then the second best, and so
 * on; by id within. `visit` may change the selection.
 */
MUST_CHECK bool ledger_each_ranked(struct ledger *l,
	bool (*visit)(void *ctx, int64_t candidate, bool spare, struct error *err), void *ctx,
	struct error *err);
struct ledger_text {
	int64_t candidate;
	const char *prompt_id;
	struct slice text; /* data NULL: pruned */
};
/* In the arena. */
enum ledger_found ledger_get_text(struct ledger *l, int64_t candidate, struct arena *arena,
	struct ledger_text *out, struct error *err);
struct ledger_chosen {
	int64_t candidate;
	uint32_t n_prompt_ids, n_ids;
	const char *token_source;
};
/* Chosen candidates by id. */
MUST_CHECK bool ledger_each_chosen(struct ledger *l,
	bool (*visit)(void *ctx, const struct ledger_chosen *c, struct error *err), void *ctx,
	struct error *err);
MUST_CHECK bool ledger_clear_plan(struct ledger *l, struct error *err);
MUST_CHECK bool ledger_add_plan(
	struct ledger *l, uint64_t row, uint32_t pos, int64_t candidate, struct error *err);
/* Rows of the plan: visit is called for each candidate of rows [first, first + n) in (row, pos) order. */
MUST_CHECK bool ledger_each_plan(struct ledger *l, uint64_t first, uint64_t n,
	bool (*visit)(void *ctx, uint64_t row, uint32_t pos, int64_t candidate, struct error *err),
	void *ctx, struct error *err);
int64_t ledger_count_plan_rows(struct ledger *l);
/* One candidate with its body and scores, and its prompt. */
enum ledger_found ledger_get_candidate(struct ledger *l, int64_t id, struct arena *arena,
	struct ledger_candidate *out, struct ledger_prompt *out_prompt, struct error *err);
/* Where a candidate was packed; LEDGER_END: nowhere. outcome NULL: not selected on. */
struct ledger_place {
	const char *outcome;
	uint32_t rank;
	int64_t row, pos, shard; /* -1: not there */
	int64_t instead_of; /* the duplicate that it stands in for; 0: none */
};
enum ledger_found ledger_get_place(struct ledger *l, int64_t candidate, struct arena *arena,
	struct ledger_place *out, struct error *err);

struct ledger_shard {
	uint32_t no;
	uint64_t first_row, n_rows, raw_bytes, zip_bytes;
	char raw_xxh64[17], zip_xxh64[17], zip_sha256[65];
};
MUST_CHECK bool ledger_add_shard(
	struct ledger *l, const char *folder, const struct ledger_shard *s, struct error *err);
/* Shards of a folder by number; *out is malloc'd. */
MUST_CHECK bool ledger_get_shards(struct ledger *l, const char *folder, struct ledger_shard **out,
	size_t *out_n, struct error *err);

/* --- books --- */

struct ledger_count {
	const char *what; /* "prompt", "candidate", "selection", or "score:NAME" */
	const char *state, *reason;
	int64_t n, n_tokens;
};
/* Every state and reason with its count, in a fixed order; in the arena. */
MUST_CHECK bool ledger_counts(struct ledger *l, struct arena *arena, struct ledger_count **out,
	size_t *out_n, struct error *err);
/* A verifier's scores in one line. */
struct ledger_verifier {
	const char *name;
	int64_t n, n_known, n_audit, us, n_tokens;
	double mean, min, max; /* of the known ones */
	int64_t n_between; /* known and strictly between 0 and 1 */
	bool is_verdict; /* says how right a candidate is */
};
MUST_CHECK bool ledger_verifiers(struct ledger *l, struct arena *arena,
	struct ledger_verifier **out, size_t *out_n, struct error *err);
/* Two verifiers of verdicts from 0 to 1 that both know of n candidates and stand on different sides of 0.5 for n_apart. */
struct ledger_pair {
	const char *a, *b;
	int64_t n, n_apart;
};
MUST_CHECK bool ledger_pairs(struct ledger *l, struct arena *arena, struct ledger_pair **out,
	size_t *out_n, struct error *err);
/* Counts by source: prompts, candidates, accepted, chosen. */
struct ledger_source {
	const char *source;
	int64_t n_prompts, n_candidates, n_accepted, n_chosen;
};
MUST_CHECK bool ledger_sources(struct ledger *l, struct arena *arena, struct ledger_source **out,
	size_t *out_n, struct error *err);
/* Tokens of prompts, of those candidates whose server told: sent to it, and read by it; *out_n of them. */
MUST_CHECK bool ledger_prompt_tokens(
	struct ledger *l, int64_t *out_sent, int64_t *out_read, int64_t *out_n, struct error *err);

/* Each prompt and candidate is in one state; all of them, failed ones too. One pass over either. */
struct ledger_funnel {
	int64_t n_prompts, n_settled, n_prompts_failed, n_prompts_pending;
	int64_t n_candidates, n_accepted, n_rejected, n_undecided, n_failed, n_pending;
	int64_t n_chosen;
};
MUST_CHECK bool ledger_funnel(struct ledger *l, struct ledger_funnel *out, struct error *err);
/* What is wrong, in one line; valid during the call. */
typedef void ledger_tell(void *ctx, const char *what);
/*
 * Rows that contradict each other: "candidates that are pending while their prompt is not: 4097, 4098 and 10 more". A line a rule
 * that is broken. False: the ledger cannot be read.
 */
MUST_CHECK bool ledger_each_mismatch(
	struct ledger *l, ledger_tell *tell, void *ctx, struct error *err);
/* The same, where any mismatch ends the run: FAIL_DATA with the first. */
MUST_CHECK bool ledger_check_books(struct ledger *l, struct error *err);
/* Whether the counts (tally.sql) are those of the rows; reads all of them. */
MUST_CHECK bool ledger_check_counts(struct ledger *l, bool *out_same, struct error *err);
/* Counts them again: for whoever has changed rows by other statements than those of this header. */
MUST_CHECK bool ledger_count_again(struct ledger *l, struct error *err);

/* What SQLite finds wrong with pages, indices and references; reads the whole file. */
void ledger_check_file(struct ledger *l, ledger_tell *tell, void *ctx);
struct ledger_bodies {
	int64_t n_prompts, n_bodies;
};
/* Unpacks all that is stored compressed, and counts it. *out is how much there was. */
MUST_CHECK bool ledger_check_bodies(struct ledger *l, ledger_tell *tell, void *ctx,
	struct ledger_bodies *out, struct error *err);

/* --- pruning; the run is finished and nobody else has the ledger --- */

/* Bodies of candidates that were not shipped, and what they hold. */
MUST_CHECK bool ledger_count_prunable(
	struct ledger *l, int64_t *out_n, int64_t *out_bytes, struct error *err);
/* Deletes them. May be stopped at any point and repeated. */
MUST_CHECK bool ledger_prune(struct ledger *l, int64_t now_ms, struct error *err);
/* Gives the space back to the file system; needs as much as is left, for a while. */
MUST_CHECK bool ledger_compact(struct ledger *l, struct error *err);
/* Notes that its published shards are about to go. */
MUST_CHECK bool ledger_prune_shards(struct ledger *l, int64_t now_ms, struct error *err);
/* Whether the file has space to give back. */
bool ledger_has_holes(struct ledger *l);
struct ledger_pruned {
	int64_t at_ms; /* when it was last pruned; 0: never */
	int64_t n_bodies; /* that are gone, or were about to go when that was stopped */
	bool shards; /* the published ones are gone, likewise */
};
void ledger_pruned(struct ledger *l, struct ledger_pruned *out);

/* --- SQL for people --- */

struct ledger_cell {
	enum { CELL_NULL, CELL_INT, CELL_REAL, CELL_TEXT, CELL_BLOB } kind;
	int64_t integer;
	double real;
	struct slice text; /* or blob */
};
/*
 * Runs one read-only statement; text(candidate), ids(candidate) and fields(prompt) unpack what is stored compressed. `row` is called with n cells and the
 * column names; a false ends the query quietly.
 */
MUST_CHECK bool ledger_query(struct ledger *l, const char *sql,
	bool (*row)(void *ctx, const char *const *names, const struct ledger_cell *cells, size_t n),
	void *ctx, struct error *err);

#endif
