-- Counts of the ledger's rows, kept by triggers in the transaction of what they count, so that a look at a large night reads a few dozen
-- rows and not a million. Added to version 1 of the ledger, and to those that lack them when they are opened for writing. Rows may stay with n = 0.
-- The books check the counts against the rows (ledger_tally.c).

-- what: 'prompt', 'candidate' or 'selection', whose state is its outcome. Candidates that are pending are not in it: there are few at a
-- time or none is decided yet, most pass through that state, and the index below counts them.
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

CREATE INDEX candidate_pending ON candidate (prompt, n_tokens, n_read) WHERE state = 'pending';

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

CREATE TRIGGER prompt_in AFTER INSERT ON prompt BEGIN
	INSERT INTO tally VALUES ('prompt', new.source, new.state, coalesce(new.reason, ''), 1, 0, 0, 0, 0)
		ON CONFLICT DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER prompt_change AFTER UPDATE OF source, state, reason ON prompt BEGIN
	UPDATE tally SET n = n - 1
		WHERE what = 'prompt' AND source = old.source AND state = old.state AND reason = coalesce(old.reason, '');
	INSERT INTO tally VALUES ('prompt', new.source, new.state, coalesce(new.reason, ''), 1, 0, 0, 0, 0)
		ON CONFLICT DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER prompt_out AFTER DELETE ON prompt BEGIN
	UPDATE tally SET n = n - 1
		WHERE what = 'prompt' AND source = old.source AND state = old.state AND reason = coalesce(old.reason, '');
END;

CREATE TRIGGER candidate_in AFTER INSERT ON candidate WHEN new.state <> 'pending' BEGIN
	INSERT INTO tally SELECT 'candidate', p.source, new.state, coalesce(new.reason, ''), 1, new.n_tokens,
			new.n_read IS NOT NULL, CASE WHEN new.n_read IS NULL THEN 0 ELSE coalesce(p.n_ids, 0) END, coalesce(new.n_read, 0)
		FROM prompt p WHERE p.id = new.prompt
		ON CONFLICT DO UPDATE SET n = n + 1, n_tokens = n_tokens + excluded.n_tokens, told = told + excluded.told,
			sent = sent + excluded.sent, read = read + excluded.read;
END;
CREATE TRIGGER candidate_decided AFTER UPDATE OF prompt, state, reason, n_tokens, n_read ON candidate WHEN new.state <> 'pending' BEGIN
	INSERT INTO tally SELECT 'candidate', p.source, new.state, coalesce(new.reason, ''), 1, new.n_tokens,
			new.n_read IS NOT NULL, CASE WHEN new.n_read IS NULL THEN 0 ELSE coalesce(p.n_ids, 0) END, coalesce(new.n_read, 0)
		FROM prompt p WHERE p.id = new.prompt
		ON CONFLICT DO UPDATE SET n = n + 1, n_tokens = n_tokens + excluded.n_tokens, told = told + excluded.told,
			sent = sent + excluded.sent, read = read + excluded.read;
END;
CREATE TRIGGER candidate_reopened AFTER UPDATE OF prompt, state, reason, n_tokens, n_read ON candidate WHEN old.state <> 'pending' BEGIN
	UPDATE tally SET n = n - 1, n_tokens = n_tokens - old.n_tokens, told = told - (old.n_read IS NOT NULL),
			sent = sent - CASE WHEN old.n_read IS NULL THEN 0 ELSE (SELECT coalesce(n_ids, 0) FROM prompt WHERE id = old.prompt) END,
			read = read - coalesce(old.n_read, 0)
		WHERE what = 'candidate' AND source = (SELECT source FROM prompt WHERE id = old.prompt) AND state = old.state
			AND reason = coalesce(old.reason, '');
END;
CREATE TRIGGER candidate_out AFTER DELETE ON candidate WHEN old.state <> 'pending' BEGIN
	UPDATE tally SET n = n - 1, n_tokens = n_tokens - old.n_tokens, told = told - (old.n_read IS NOT NULL),
			sent = sent - CASE WHEN old.n_read IS NULL THEN 0 ELSE (SELECT coalesce(n_ids, 0) FROM prompt WHERE id = old.prompt) END,
			read = read - coalesce(old.n_read, 0)
		WHERE what = 'candidate' AND source = (SELECT source FROM prompt WHERE id = old.prompt) AND state = old.state
			AND reason = coalesce(old.reason, '');
END;

CREATE TRIGGER selection_in AFTER INSERT ON selection BEGIN
	INSERT INTO tally SELECT 'selection', p.source, new.outcome, '', 1, c.n_tokens, 0, 0, 0
		FROM candidate c JOIN prompt p ON p.id = c.prompt WHERE c.id = new.candidate
		ON CONFLICT DO UPDATE SET n = n + 1, n_tokens = n_tokens + excluded.n_tokens;
END;
CREATE TRIGGER selection_change AFTER UPDATE ON selection BEGIN
	UPDATE tally SET n = n - 1, n_tokens = n_tokens - (SELECT n_tokens FROM candidate WHERE id = old.candidate)
		WHERE what = 'selection' AND state = old.outcome AND reason = ''
			AND source = (SELECT p.source FROM candidate c JOIN prompt p ON p.id = c.prompt WHERE c.id = old.candidate);
	INSERT INTO tally SELECT 'selection', p.source, new.outcome, '', 1, c.n_tokens, 0, 0, 0
		FROM candidate c JOIN prompt p ON p.id = c.prompt WHERE c.id = new.candidate
		ON CONFLICT DO UPDATE SET n = n + 1, n_tokens = n_tokens + excluded.n_tokens;
END;
CREATE TRIGGER selection_out AFTER DELETE ON selection BEGIN
	UPDATE tally SET n = n - 1, n_tokens = n_tokens - (SELECT n_tokens FROM candidate WHERE id = old.candidate)
		WHERE what = 'selection' AND state = old.outcome AND reason = ''
			AND source = (SELECT p.source FROM candidate c JOIN prompt p ON p.id = c.prompt WHERE c.id = old.candidate);
END;

CREATE TRIGGER score_in AFTER INSERT ON score BEGIN
	INSERT INTO tally_score VALUES (new.verifier, new.value IS NOT NULL, new.reason, 1, new.audit, new.us, new.n_tokens,
			coalesce(new.value > 0 AND new.value < 1, 0), coalesce(new.value, 0), new.value, new.value)
		ON CONFLICT DO UPDATE SET n_audit = n_audit + excluded.n_audit, us = us + excluded.us,
			n_tokens = n_tokens + excluded.n_tokens, n_between = n_between + excluded.n_between,
			total = CASE WHEN n THEN total ELSE 0 END + excluded.total,
			low = CASE WHEN n THEN min(low, excluded.low) ELSE excluded.low END,
			high = CASE WHEN n THEN max(high, excluded.high) ELSE excluded.high END, n = n + 1;
END;
CREATE TRIGGER score_out AFTER DELETE ON score BEGIN
	UPDATE tally_score SET n = n - 1, n_audit = n_audit - old.audit, us = us - old.us, n_tokens = n_tokens - old.n_tokens,
			n_between = n_between - coalesce(old.value > 0 AND old.value < 1, 0), total = total - coalesce(old.value, 0)
		WHERE verifier = old.verifier AND known = (old.value IS NOT NULL) AND reason = old.reason;
END;
CREATE TRIGGER pair_in AFTER INSERT ON score
	WHEN new.value IS NOT NULL AND (SELECT instr(value, '"' || new.verifier || '"') FROM meta WHERE key = 'verdicts') BEGIN
	INSERT INTO tally_pair SELECT min(verifier, new.verifier), max(verifier, new.verifier), 1, (value >= 0.5) <> (new.value >= 0.5)
		FROM score WHERE candidate = new.candidate AND verifier <> new.verifier AND value IS NOT NULL
			AND (SELECT instr(value, '"' || verifier || '"') FROM meta WHERE key = 'verdicts')
		ON CONFLICT DO UPDATE SET n = n + 1, n_apart = n_apart + excluded.n_apart;
END;
CREATE TRIGGER pair_out AFTER DELETE ON score WHEN old.value IS NOT NULL BEGIN
	UPDATE tally_pair SET n = n - 1,
			n_apart = n_apart - (SELECT (value >= 0.5) <> (old.value >= 0.5) FROM score s WHERE s.candidate = old.candidate
				AND s.verifier = CASE WHEN a = old.verifier THEN b ELSE a END)
		WHERE (a = old.verifier OR b = old.verifier)
			AND EXISTS (SELECT 1 FROM score s WHERE s.candidate = old.candidate AND s.value IS NOT NULL
				AND s.verifier = CASE WHEN a = old.verifier THEN b ELSE a END);
END;
-- A score is replaced by deleting and inserting it (ledger_add_score).
CREATE TRIGGER score_change AFTER UPDATE ON score BEGIN
	SELECT raise(ABORT, 'scores are replaced, not changed');
END;
