/*
 * The socket through which a running night is asked and steered: WORKDIR/.control, of the user alone (0600). A connection is one request, a
 * word and a newline, and one answer, a line of JSON; flow/flow_control.c answers while stages generate and verify.
 *
 *	status | pause | resume | drain
 *	{"ok": true, "run": "2026-11-24.1", "paused": false, ...}    or    {"ok": false, "error": "..."}
 */
#ifndef PIPELINE_CONTROL_H
#define PIPELINE_CONTROL_H

#include "base/error.h"
#include "base/str.h"

#define CONTROL_REQUEST_BYTES_MAX 64
#define CONTROL_ANSWER_BYTES_MAX (1u << 20)

/*
 * A listening socket, not blocking, in place of one that a dead run has left; the workdir's lock must be held. -1 with err. A path
 * longer than a socket address can hold is fine.
 */
MUST_CHECK int control_listen(const char *workdir, struct error *err);
/* When the socket is closed: removes its name. */
void control_unlink(const char *workdir);

/*
 * Sends a request and waits for the answer, some seconds at most; `out` is appended to. False: nobody is at work in the workdir, or in
 * a stage that cannot be asked, or it is another user's, or it does not answer; the message says which.
 */
MUST_CHECK bool control_ask(
	const char *workdir, const char *request, struct str *out, struct error *err);

#endif
