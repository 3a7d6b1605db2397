/*
 * The page of the morning after: one HTML file that needs nothing else, no network and, but for the browser of candidates, no
 * script. Under 2 MB whatever the night was: what is counted is counted over all candidates, texts are of a bounded sample.
 *
 * What a model wrote is hostile here. Texts reach the page through html.h alone, the page's script writes them with
 * textContent alone, and its Content-Security-Policy lets no other style, script or request be.
 */
#ifndef PIPELINE_REPORT_REPORT_H
#define PIPELINE_REPORT_REPORT_H

#include "base/error.h"
#include "base/str.h"

struct ledger;

#define REPORT_FILE "report.html" /* beside the ledger, unless told otherwise */

struct report_source {
	struct ledger *ledger;
	const char *workdir; /* where history.db and shards/ are */
	const char *pipeline; /* the definition's file, for the commands that the page names */
};
/* Appends the page to `out`. */
MUST_CHECK bool report_build(
	const struct report_source *source, struct str *out, struct error *err);
/* Publishes the page under that path: a reader sees the old one or the new one. */
MUST_CHECK bool report_write(
	const struct report_source *source, const char *path, struct error *err);

#endif
