/* Shared by the files of this folder that hold the ledger's statements: the connection, its statements, its dictionaries. */
#ifndef PIPELINE_LEDGER_LEDGER_DB_H
#define PIPELINE_LEDGER_LEDGER_DB_H

#include "ledger/body.h"
#include "ledger/ledger.h"

#include <sqlite3.h>

#define LEDGER_STATEMENTS_MAX 128

struct tally;

struct ledger {
	sqlite3 *db;
	char *path;
	bool read_only;
	bool in_transaction;
	bool broken; /* a statement has failed in a transaction: nothing more may be written */
	unsigned dirty_rows, commit_rows;
	int wal_fd; /* of the WAL, while commits are not synced by SQLite; -1 */
	/* Prepared once; found by the address of the SQL literal. */
	struct {
		const char *sql;
		sqlite3_stmt *stmt;
	} statements[LEDGER_STATEMENTS_MAX];
	size_t n_statements;
	struct body_codec codec;
	struct tally *tally; /* owns: counts that are not written yet (ledger_tally.c) */
};

/* A reset statement for the SQL (a string literal); cached. NULL with err set. */
sqlite3_stmt *ledger_stmt(struct ledger *l, const char *sql, struct error *err);
bool ledger_db_error(struct ledger *l, struct error *err);
/* Opens the transaction if none is. */
bool ledger_begin(struct ledger *l, struct error *err);
/* Steps a write statement to its end, resets it, counts the row. */
bool ledger_step(struct ledger *l, sqlite3_stmt *stmt, struct error *err);
void ledger_bind_z(sqlite3_stmt *stmt, int i, const char *z);
void ledger_bind_dict(sqlite3_stmt *stmt, int i, int64_t dict);
/* Column text copied into the arena; NULL for NULL. */
const char *ledger_column_z(sqlite3_stmt *stmt, int i, struct arena *arena);

/* --- counts, ledger_tally.c; each is told before the row is written --- */

/* Makes them if they are not there; on a connection that only reads, for itself alone. */
bool tally_open(struct ledger *l, struct error *err);
void tally_free(struct ledger *l);
void tally_prompt_in(struct ledger *l, const char *source);
bool tally_prompt_change(
	struct ledger *l, int64_t id, const char *state, const char *reason, struct error *err);
bool tally_candidate_in(struct ledger *l, const struct ledger_candidate *c, struct error *err);
bool tally_candidate_change(
	struct ledger *l, int64_t id, const char *state, const char *reason, struct error *err);
bool tally_selection_change(
	struct ledger *l, int64_t candidate, const char *outcome, struct error *err);
bool tally_score_change(
	struct ledger *l, int64_t candidate, const struct ledger_score *score, struct error *err);
bool tally_scores_out(struct ledger *l, int64_t candidate, struct error *err);
/* The list of verifiers of verdicts is about to change. */
void tally_forget_verdicts(struct ledger *l);
/* Many rows were replaced in the open transaction. */
bool tally_recount(struct ledger *l, struct error *err);
bool tally_recount_selection(struct ledger *l, struct error *err);
/* What was told goes to the ledger; no-op outside a transaction. */
bool tally_write(struct ledger *l, struct error *err);
/* The transaction was taken back. */
void tally_drop(struct ledger *l);
/* A write has failed, of which something may have been told. */
void tally_doubt(struct ledger *l);
/* ledger_stmt for what reads counts: those of the open transaction are written first. */
sqlite3_stmt *ledger_counting_stmt(struct ledger *l, const char *sql, struct error *err);

/* Registers text(), ids() and fields() on the connection. */
bool ledger_add_functions(struct ledger *l, struct error *err);

#endif
