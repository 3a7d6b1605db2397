-- What nights know of each other. Version 1 (PRAGMA user_version). Written once per run, in one transaction keyed by the run.

-- Finished runs, with the summary that `thresh history` shows.
CREATE TABLE run (
	run TEXT PRIMARY KEY,
	number INTEGER NOT NULL,
	ended_ms INTEGER NOT NULL,
	summary TEXT NOT NULL   -- JSON
) STRICT, WITHOUT ROWID;

-- What is known of a prompt over all runs.
CREATE TABLE prompt (
	prompt_id TEXT PRIMARY KEY,
	settled INTEGER NOT NULL,       -- 1: a run has settled it (or it cannot be used at all)
	n_runs INTEGER NOT NULL,
	n_candidates INTEGER NOT NULL,  -- without failed ones
	n_accepted INTEGER NOT NULL,
	last_run TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Candidates that went into published shards.
CREATE TABLE shipped (
	run TEXT NOT NULL,
	candidate INTEGER NOT NULL,
	prompt_id TEXT NOT NULL,
	PRIMARY KEY (run, candidate)
) STRICT, WITHOUT ROWID;
