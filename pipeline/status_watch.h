/* A running night as seen from another terminal: its ledger, read only, and what the run says of itself (control.h). */
#ifndef PIPELINE_STATUS_WATCH_H
#define PIPELINE_STATUS_WATCH_H

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

struct status_watch {
	const char *workdir, *ledger_path;
	bool json; /* a line of JSON each time */
	uint64_t
		every_ms; /* 0: 2 s where the screen is drawn again or JSON is written, else 30 s */
};

/* Shows the run until nobody is at work on it any more, then its summary. False: err, without kind if the reader has gone. */
MUST_CHECK bool status_watch(const struct status_watch *w, struct error *err);
/* The summary alone, as a table or as JSON. */
MUST_CHECK bool status_show(const char *ledger_path, bool json, struct error *err);

#endif
