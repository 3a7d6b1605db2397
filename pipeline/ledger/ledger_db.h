/* Shared by the files of this folder that hold the ledger's statements: the connection, its statements, its dictionaries. */
#ifndef PIPELINE_LEDGER_LEDGER_DB_H
#define PIPELINE_LEDGER_LEDGER_DB_H

#include "ledger/body.h"
#include "ledger/ledger.h"

#include <sqlite3.h>

#define LEDGER_STATEMENTS_MAX 96

struct ledger {
	sqlite3 *db;
	char *path;
	bool read_only;
	bool in_transaction;
	bool broken; /* a statement has failed in a transaction: nothing more may be written */
	unsigned dirty_rows, commit_rows;
	/* Prepared once; found by the address of the SQL literal. */
	struct {
		const char *sql;
		sqlite3_stmt *stmt;
	} statements[LEDGER_STATEMENTS_MAX];
	size_t n_statements;
	struct body_codec codec;
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
/* Makes the counts of tally.sql if they are not there; on a connection that only reads, for itself alone. */
bool ledger_open_tally(struct ledger *l, struct error *err);
/* Registers text(), ids() and fields() on the connection. */
bool ledger_add_functions(struct ledger *l, struct error *err);

#endif
