-- Added to version 1 of history.db, and to those that lack it when they are opened.

-- Verifiers whose thresholds were looked at against labels. The fingerprint is that of the scores: changed parameters are another verifier.
CREATE TABLE IF NOT EXISTS calibration (
	verifier TEXT NOT NULL,
	fingerprint TEXT NOT NULL,
	label TEXT NOT NULL,
	n INTEGER NOT NULL,             -- candidates with score and label
	auc REAL,                       -- NULL: all were right, or all wrong
	done_ms INTEGER NOT NULL,
	PRIMARY KEY (verifier, fingerprint)
) STRICT, WITHOUT ROWID;
