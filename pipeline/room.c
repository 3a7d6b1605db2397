#include "room.h"

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "definition.h"
#include "estimate.h"
#include "ledger/ledger.h"
#include "run.h"
#include "summary.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

uint64_t room_free_bytes(const char *path)
{
	const char *simulated = getenv("THRESH_TEST_FREE");
	uint64_t bytes;
	if (simulated && text_parse_size(simulated, &bytes)) {
		return bytes;
	}
	char *at = xstrdup(path);
	struct statvfs fs;
	while (statvfs(at, &fs) < 0) {
		char *up = file_dirname(at);
		bool end = strcmp(up, at) == 0;
		free(at);
		at = up;
		if (end) {
			free(at);
			return 0;
		}
	}
	free(at);
	return (uint64_t)fs.f_bavail * fs.f_frsize;
}

/* Shards and their sidecars. */
static bool sum_shards(struct ledger *l, int64_t *out, struct error *err)
{
	static const char *const folders[] = {"shards", "meta", "logprobs"};
	*out = 0;
	for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
		struct ledger_shard *list;
		size_t n;
		if (!ledger_get_shards(l, folders[i], &list, &n, err)) {
			return false;
		}
		for (size_t k = 0; k < n; k++) {
			*out += (int64_t)list[k].zip_bytes;
		}
		free(list);
	}
	return true;
}

/* False: the run says nothing of sizes. */
static bool read_night(const char *path, struct estimate_past *out)
{
	struct error ignored;
	struct summary_facts facts;
	struct ledger_pruned pruned;
	struct stat st;
	struct ledger *l = ledger_open(path, LEDGER_READ, &ignored);
	int64_t shard_bytes;
	if (!l) {
		return false;
	}
	ledger_pruned(l, &pruned);
	bool ok = !pruned.at_ms && summary_read(l, &facts, &ignored) && facts.finished &&
		facts.n_candidates && facts.n_settled && sum_shards(l, &shard_bytes, &ignored) &&
		stat(path, &st) == 0;
	ledger_close(l);
	if (ok) {
		*out = (struct estimate_past){.n_prompts = facts.n_settled,
			.n_candidates = facts.n_candidates,
			.n_tokens = facts.tokens_generated,
			.ledger_bytes = (int64_t)st.st_size,
			.shard_bytes = shard_bytes,
			.backlog = facts.n_pending > 0};
	}
	return ok;
}

/* Malloc'd id of the newest night that can be gone by; NULL: there is none. */
static char *find_night(const struct run *run, struct estimate_past *out)
{
	size_t n;
	char **ids = run_list(run->def->workdir, &n), *found = NULL;
	for (size_t i = n; i-- > 0;) {
		AUTO_FREE char *path = xasprintf("%s/runs/%s/ledger.db", run->def->workdir, ids[i]);
		if (!found && strcmp(ids[i], run->id) != 0 && read_night(path, out)) {
			found = xstrdup(ids[i]);
		}
		free(ids[i]);
	}
	free(ids);
	return found;
}

static bool refuse(
	const struct run *run, double wanted, uint64_t there, const char *basis, struct error *err)
{
	char need[24], have[24];
	text_format_size((uint64_t)wanted, need);
	text_format_size(there, have);
	error_set(err, FAIL_IO,
		"workdir '%s' has %s free, and the night is expected to write %s, by %s%s",
		run->def->workdir, have, need, basis ? "what a candidate took in run " : "a guess",
		basis ? basis : "");
	return error_hint(err,
		"make room (thresh prune), draw fewer prompts (--limit), or let it try: --set "
		"budget.disk=warn");
}

bool room_check(struct run *run, struct error *err)
{
	struct summary_facts facts;
	struct estimate_past past;
	if (run->options.from) {
		return true; /* which generates nothing */
	}
	if (!summary_read(run->ledger, &facts, err)) {
		return false;
	}
	AUTO_FREE char *basis = find_night(run, &past);
	double wanted = estimate_disk(basis ? &past : NULL, facts.n_pending,
		run->def->budget.tokens > 0
			? (double)run->def->budget.tokens - (double)facts.tokens_generated
			: 0);
	uint64_t there = room_free_bytes(run->def->workdir);
	if (!there || wanted <= (double)there) {
		return true;
	}
	if (basis && run->def->budget.disk == ROOM_REFUSE && !ledger_last_begun(run->ledger)) {
		return refuse(run, wanted, there, basis, err);
	}
	struct error warning;
	(void)!refuse(run, wanted, there, basis, &warning);
	log_warn("the disk may become full", "why", warning.msg, NULL);
	return true;
}
