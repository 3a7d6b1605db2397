/*
 * Which request meets which fault, and the log that tests count requests in.
 *
 * A script is a file of JSON lines, each a rule:
 *
 *	{"path": "/completion", "nth": 3, "fault": "500"}
 *	{"path": "/completion", "every": 4, "times": 2, "fault": "429", "retry_after": 0}
 *	{"prompt_contains": "poison", "fault": "half"}
 *
 * A rule counts the requests that it fits (path, prompt_contains; both optional) and fires on the nth, on every k-th, or on all of them,
 * `times` times at most. The first rule that fires decides; the others have counted the request all the same.
 *
 *	"400" .. "599"	that status, with "retry_after": seconds if given; 503 says that the model is being loaded
 *	cut		the connection closes before the answer
 *	half		the connection closes after half of the body
 *	not_json	200 with a page of HTML
 *	empty		200 with no body
 *	never		no answer until the client goes away
 *	slow		the answer comes "ms" later
 *	huge		the answer is filled up with spaces to "bytes"
 *	body		200, or "status", with the text of "body"
 *	dead		the process ends at once
 *	wrong_count	one probability less than there are ids (openai: usage counts one token more than there are)
 *	nan		a probability that is no number: null in the llama.cpp dialect, NaN in the other, as the real ones write it
 *	invalid_utf8	the text holds bytes that are no UTF-8
 *	few		the last candidate is missing
 */
#ifndef TESTS_FAKE_ENGINE_FAKE_SCRIPT_H
#define TESTS_FAKE_ENGINE_FAKE_SCRIPT_H

#include "base/error.h"
#include "base/str.h"

#include <stdint.h>

enum fault {
	FAULT_NONE,
	FAULT_STATUS,
	FAULT_CUT,
	FAULT_HALF,
	FAULT_NOT_JSON,
	FAULT_EMPTY,
	FAULT_NEVER,
	FAULT_SLOW,
	FAULT_HUGE,
	FAULT_BODY,
	FAULT_DEAD,
	FAULT_WRONG_COUNT,
	FAULT_NAN,
	FAULT_INVALID_UTF8,
	FAULT_FEW,
};

struct script_rule {
	char *path, *prompt_contains; /* own; NULL: any */
	uint64_t nth, every, times; /* 0: not given */
	uint64_t seen, fired;
	enum fault fault;
	const char *fault_name;
	unsigned status;
	int retry_after_s; /* -1: none */
	uint64_t ms, bytes;
	char *body; /* owns */
};

struct script {
	struct script_rule *rules; /* owns */
	size_t n, cap;
};

/* FAIL_CONFIG with file and line for a rule that makes no sense. `script` is zeroed. */
MUST_CHECK bool script_read(struct script *script, const char *path, struct error *err);
void script_release(struct script *script);
/* Counts the request; the rule that fires, or NULL. */
const struct script_rule *script_match(
	struct script *script, struct slice path, struct slice prompt_text);

#endif
