-- Counts of the ledger's rows, written in the transaction of what they count (ledger_tally.c), so that a look at a large night reads a few dozen
-- rows and not a million. Added to version 1 of the ledger, and to those that lack them when they are opened for writing. Rows may stay with n = 0.

-- what: 'prompt', 'candidate' or 'selection', whose state is its outcome.
-- told, sent, read: candidates whose server told what it read of their prompt, the prompt's tokens, and those read.
CREATE TABLE tally (
	what TEXT NOT NULL,
	source TEXT NOT NULL,
	state TEXT NOT NULL,
	reason TEXT NOT NULL,    -- '': none
	n INTEGER NOT NULL,
	n_tokens INTEGER NOT NULL,
	told INTEGER NOT NULL,
	sent INTEGER NOT NULL,
	read INTEGER NOT NULL,
	PRIMARY KEY (what, source, state, reason)
) STRICT, WITHOUT ROWID;

-- known: whether there is a value. between: values strictly between 0 and 1. low, high: bounds of the values; those of rows that were
-- deleted are still in them, as long as others are left.
CREATE TABLE tally_score (
	verifier TEXT NOT NULL,
	known INTEGER NOT NULL,
	reason TEXT NOT NULL,
	n INTEGER NOT NULL,
	n_audit INTEGER NOT NULL,
	us INTEGER NOT NULL,
	n_tokens INTEGER NOT NULL,
	n_between INTEGER NOT NULL,
	total REAL NOT NULL,
	low REAL,
	high REAL,
	PRIMARY KEY (verifier, known, reason)
) STRICT, WITHOUT ROWID;

-- Candidates of which both verifiers know, and those for which they stand on different sides of 0.5; a < b. Of verifiers of verdicts only.
CREATE TABLE tally_pair (
	a TEXT NOT NULL,
	b TEXT NOT NULL,
	n INTEGER NOT NULL,
	n_apart INTEGER NOT NULL,
	PRIMARY KEY (a, b)
) STRICT, WITHOUT ROWID;
