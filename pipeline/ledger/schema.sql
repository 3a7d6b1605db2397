-- The ledger of one run: everything the night knows. Version 1 (PRAGMA user_version).
-- A change of this file needs a migration in ledger.c, unless the version has not been released.
-- Lists of more than two that are checked for each candidate are written with OR: SQLite makes a table of its own for an IN of that length,
-- anew for every row, which took five times as long as the row itself.

-- Facts of the run as a whole: pipeline, run, number, state, thresh, started_ms, ...
CREATE TABLE meta (
	key TEXT PRIMARY KEY,
	value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- What each stage's definition was when its results were made, one row per parameter, so that a change can be explained.
CREATE TABLE fingerprint (
	stage TEXT NOT NULL,
	path TEXT NOT NULL,
	value TEXT NOT NULL,
	PRIMARY KEY (stage, path)
) STRICT, WITHOUT ROWID;

-- zstd dictionaries, trained on this run's own first rows: single texts of 1 KB compress badly without one.
CREATE TABLE dict (
	id INTEGER PRIMARY KEY,
	kind TEXT NOT NULL CHECK (kind IN ('fields', 'text', 'ids')),
	bytes BLOB NOT NULL
) STRICT;

-- The draw. `id` is the place in it and decides every order downstream.
CREATE TABLE prompt (
	id INTEGER PRIMARY KEY CHECK (id > 0),
	prompt_id TEXT NOT NULL UNIQUE CHECK (length(prompt_id) = 32), -- hash of the content: stable over runs and files
	source TEXT NOT NULL,
	row_no INTEGER NOT NULL,                                      -- line in the source's file, from 1
	state TEXT NOT NULL DEFAULT 'pending',                         -- with its reason: see below
	reason TEXT,
	detail TEXT,
	fields BLOB NOT NULL,                                         -- the mapped row as JSON, zstd with dictionary
	fields_dict INTEGER REFERENCES dict (id),
	n_ids INTEGER,                                                -- tokens of the rendered prompt; NULL until it was asked for
	ids BLOB,                                                     -- see candidate_body.ids
	ids_dict INTEGER REFERENCES dict (id),
	CHECK (CASE state
		WHEN 'pending' THEN reason IS NULL
		WHEN 'settled' THEN (reason = 'enough' OR reason = 'all' OR reason = 'gave_up')
		WHEN 'failed' THEN (reason = 'unverifiable' OR reason = 'special_token' OR reason = 'prompt_too_long' OR reason = 'rejected' OR
			reason = 'server_error' OR reason = 'timeout' OR reason = 'bad_response')
		ELSE 0
	END)
) STRICT;
CREATE INDEX prompt_pending ON prompt (id) WHERE state = 'pending';

-- One completion of a prompt. id = prompt * 4096 + idx, so that ids do not depend on the order of arrival.
CREATE TABLE candidate (
	id INTEGER PRIMARY KEY,
	prompt INTEGER NOT NULL REFERENCES prompt (id),
	idx INTEGER NOT NULL CHECK (idx BETWEEN 0 AND 4095),
	wave INTEGER NOT NULL,
	seed INTEGER NOT NULL,
	state TEXT NOT NULL,    -- with its reason: see below
	reason TEXT,
	detail TEXT,            -- a failure's message; the columns that were null
	finish TEXT CHECK (finish = 'stop' OR finish = 'stop_string' OR finish = 'length' OR finish = 'context' OR finish = 'loop' OR
		finish = 'after_answer' OR finish = 'length_outlier'),
	n_tokens INTEGER NOT NULL CHECK (n_tokens >= 0),
	token_source TEXT NOT NULL CHECK (token_source = 'sampled' OR token_source = 'retokenized' OR token_source = 'none'),
	endpoint TEXT,
	attempts INTEGER NOT NULL,
	latency_ms INTEGER NOT NULL,
	created_ms INTEGER NOT NULL,
	n_read INTEGER CHECK (n_read >= 0), -- tokens of the prompt that the server read for it; NULL: it did not tell
	CHECK (id = prompt * 4096 + idx),
	CHECK (CASE state
		WHEN 'pending' THEN reason IS NULL
		WHEN 'accepted' THEN reason = 'accept'
		WHEN 'rejected' THEN (reason = 'accept' OR reason = 'token_limit' OR reason = 'context_limit' OR reason = 'loop' OR
			reason = 'after_answer' OR reason = 'length_outlier')
		WHEN 'undecided' THEN reason IN ('null_columns', 'expression')
		WHEN 'failed' THEN (reason = 'rejected' OR reason = 'server_error' OR reason = 'timeout' OR reason = 'bad_response' OR
			reason = 'prompt_too_long')
		ELSE 0
	END)
) STRICT;

-- What the candidate is made of, apart, so that counting candidates reads no texts and pruning deletes rows.
CREATE TABLE candidate_body (
	candidate INTEGER PRIMARY KEY REFERENCES candidate (id),
	text BLOB NOT NULL,     -- UTF-8, zstd
	text_dict INTEGER REFERENCES dict (id),
	ids BLOB,               -- one byte width (2 or 4), then the ids, little-endian; zstd
	ids_dict INTEGER REFERENCES dict (id),
	logprobs BLOB           -- float16, little-endian, one per id; zstd
) STRICT;

-- What a verifier instance found. value NULL: could not tell. No row: not asked (`when` said no, or the candidate was cut).
-- audit: asked although `when` said no; decisions do not see it. us, n_tokens: what it cost.
CREATE TABLE score (
	candidate INTEGER NOT NULL REFERENCES candidate (id),
	verifier TEXT NOT NULL,
	value REAL,
	reason TEXT NOT NULL,
	detail TEXT,
	audit INTEGER NOT NULL CHECK (audit IN (0, 1)),
	us INTEGER NOT NULL,
	n_tokens INTEGER NOT NULL,
	PRIMARY KEY (candidate, verifier)
) STRICT, WITHOUT ROWID;

-- The select stage's answer for every accepted candidate; dedup's for the chosen ones that were there before; and pack's for those that
-- are in no row: longer than its context, or without a sampled token. hash: of the prompt and the sampled ids, where it was asked
-- whether they were chosen before: 'repeat' in this run, 'shipped_before' by an earlier night.
CREATE TABLE selection (
	candidate INTEGER PRIMARY KEY REFERENCES candidate (id),
	rank INTEGER NOT NULL,  -- within its prompt, from 1
	outcome TEXT NOT NULL CHECK (outcome = 'chosen' OR outcome = 'where' OR outcome = 'per_prompt' OR outcome = 'repeat' OR
		outcome = 'shipped_before' OR outcome = 'duplicate' OR outcome = 'over_long' OR outcome = 'empty'),
	hash INTEGER
) STRICT;

-- Of which text each candidate with the outcome 'duplicate' is one.
CREATE TABLE duplicate (
	candidate INTEGER PRIMARY KEY REFERENCES candidate (id),
	run TEXT,                   -- the earlier run that shipped it; NULL: this one
	original INTEGER NOT NULL,  -- a candidate of that run
	likeness REAL NOT NULL,     -- estimated share of 5-word runs in common
	same INTEGER NOT NULL CHECK (same IN (0, 1)), -- 1: all words are the same
	stand_in INTEGER            -- the next best of its prompt, chosen in its place
) STRICT;
CREATE INDEX duplicate_stand_in ON duplicate (stand_in) WHERE stand_in IS NOT NULL;

-- The selection that --from has replaced, so that the summary can say what changed.
CREATE TABLE previous (
	candidate INTEGER PRIMARY KEY REFERENCES candidate (id),
	outcome TEXT NOT NULL
) STRICT;

-- The packing plan: row of the data set, place in the row.
CREATE TABLE plan (
	row INTEGER NOT NULL,
	pos INTEGER NOT NULL,
	candidate INTEGER NOT NULL UNIQUE REFERENCES candidate (id),
	PRIMARY KEY (row, pos)
) STRICT, WITHOUT ROWID;

-- Shards, recorded only after the file is durable under its name. `folder`: 'shards' or 'meta' or 'logprobs'.
CREATE TABLE shard (
	folder TEXT NOT NULL CHECK (folder IN ('shards', 'meta', 'logprobs')),
	no INTEGER NOT NULL,
	first_row INTEGER NOT NULL,
	n_rows INTEGER NOT NULL,
	raw_bytes INTEGER NOT NULL,
	zip_bytes INTEGER NOT NULL,
	raw_xxh64 TEXT NOT NULL,
	zip_xxh64 TEXT NOT NULL,
	zip_sha256 TEXT NOT NULL,
	PRIMARY KEY (folder, no)
) STRICT, WITHOUT ROWID;

-- One row per stage that has run: time spent over all sittings, and its books at its end.
CREATE TABLE stage (
	name TEXT PRIMARY KEY,
	state TEXT NOT NULL CHECK (state IN ('open', 'done')),
	busy_ms INTEGER NOT NULL DEFAULT 0,
	ended_ms INTEGER,
	facts TEXT              -- JSON: counts that only the stage knows (duplicates, fill, ...)
) STRICT, WITHOUT ROWID;
