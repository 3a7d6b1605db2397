-- What nights know of each other. Version 2 (PRAGMA user_version). Written once per run, in one transaction keyed by the run.
-- A change of this file needs a migration in history.c.

-- Runs that are over, with the summary that `thresh history` shows.
CREATE TABLE run (
	run TEXT PRIMARY KEY,
	number INTEGER NOT NULL,        -- the night; a run made from another (--from) has that one's
	ended_ms INTEGER NOT NULL,
	summary TEXT NOT NULL,          -- JSON
	state TEXT NOT NULL CHECK (state IN ('finished', 'held')) -- held: its gate said no, so nothing of it counts elsewhere
) STRICT, WITHOUT ROWID;

-- Models that wrote candidates.
CREATE TABLE model (
	id INTEGER PRIMARY KEY,
	hash TEXT NOT NULL UNIQUE,      -- as in the ledgers' fingerprints
	name TEXT NOT NULL
) STRICT;

-- What is known of a prompt over all nights. Candidates are counted without failed ones; decided are those that were accepted or
-- rejected: undecided ones say nothing of a pass rate.
CREATE TABLE prompt (
	prompt_id TEXT PRIMARY KEY,
	settled INTEGER NOT NULL,       -- 1: a run has settled it (or it cannot be used at all)
	n_runs INTEGER NOT NULL,        -- nights
	n_candidates INTEGER NOT NULL,
	n_decided INTEGER NOT NULL,
	n_accepted INTEGER NOT NULL,
	-- Of the model that tried it last, since that came: another model's rate says little of this one's.
	model INTEGER REFERENCES model (id), -- NULL: not known
	model_decided INTEGER NOT NULL,
	model_accepted INTEGER NOT NULL,
	-- Of the last night alone: a run that is made from it takes these back before it adds its own.
	last_run TEXT NOT NULL,
	last_number INTEGER NOT NULL,
	last_candidates INTEGER NOT NULL,
	last_decided INTEGER NOT NULL,
	last_accepted INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Candidates that went into published shards.
CREATE TABLE shipped (
	run TEXT NOT NULL,
	candidate INTEGER NOT NULL,
	prompt_id TEXT NOT NULL,
	hash INTEGER,                   -- as in the ledger's selection; NULL: not known
	PRIMARY KEY (run, candidate)
) STRICT, WITHOUT ROWID;
CREATE INDEX shipped_hash ON shipped (hash) WHERE hash IS NOT NULL;
