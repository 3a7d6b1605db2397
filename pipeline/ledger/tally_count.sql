-- What the tables of tally.sql hold, counted from the rows: for ledgers that come without them, and for the books.
CREATE TEMP VIEW counted AS
	SELECT 'prompt' AS what, source, state, coalesce(reason, '') AS reason, count(*) AS n, 0 AS n_tokens, 0 AS told,
		0 AS sent, 0 AS read FROM prompt GROUP BY source, state, reason
	UNION ALL SELECT 'candidate', p.source, c.state, coalesce(c.reason, ''), count(*), sum(c.n_tokens), count(c.n_read),
		coalesce(sum(CASE WHEN c.n_read IS NOT NULL THEN p.n_ids END), 0), coalesce(sum(c.n_read), 0)
		FROM candidate c JOIN prompt p ON p.id = c.prompt GROUP BY p.source, c.state, c.reason
	UNION ALL SELECT 'selection', p.source, s.outcome, '', count(*), sum(c.n_tokens), 0, 0, 0
		FROM selection s JOIN candidate c ON c.id = s.candidate JOIN prompt p ON p.id = c.prompt GROUP BY p.source, s.outcome;
CREATE TEMP VIEW counted_score AS
	SELECT verifier, value IS NOT NULL AS known, reason, count(*) AS n, sum(audit) AS n_audit, sum(us) AS us, sum(n_tokens) AS n_tokens,
		coalesce(sum(value > 0 AND value < 1), 0) AS n_between, total(value) AS total, min(value) AS low, max(value) AS high
	FROM score GROUP BY verifier, value IS NOT NULL, reason;
CREATE TEMP VIEW counted_pair AS
	SELECT a.verifier AS a, b.verifier AS b, count(*) AS n, sum((a.value >= 0.5) <> (b.value >= 0.5)) AS n_apart
	FROM score a JOIN score b ON b.candidate = a.candidate AND b.verifier > a.verifier
	WHERE a.value IS NOT NULL AND b.value IS NOT NULL AND a.verifier IN (SELECT json_each.value FROM meta, json_each(meta.value) WHERE meta.key = 'verdicts')
		AND b.verifier IN (SELECT json_each.value FROM meta, json_each(meta.value) WHERE meta.key = 'verdicts') GROUP BY 1, 2;
