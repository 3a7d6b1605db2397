/* What a preflight has found, and how it is told. Nobody else includes this. */
#ifndef PIPELINE_PREFLIGHT_PRIVATE_H
#define PIPELINE_PREFLIGHT_PRIVATE_H

#include "base/arena.h"
#include "base/json.h"
#include "estimate.h"
#include "preflight.h"
#include "probe_engines.h"

struct engine;

enum seeds { SEEDS_UNKNOWN, SEEDS_HONOURED, SEEDS_DIFFER, SEEDS_IGNORED };

struct trial {
	bool done; /* to its end */
	bool cut; /* for want of time */
	struct estimate_trial facts;
	int64_t n_accepted, n_rejected, n_undecided, n_failed, n_truncated, n_prompts_failed;
	const char *worst; /* in the arena: the commonest failure; NULL: none */
};

struct preflight {
	struct definition *def;
	const struct preflight_options *options;
	struct arena arena;
	struct str warnings; /* n_warnings texts, each with its NUL */
	size_t n_warnings;
	int exit_code;
	struct str json; /* what is said, with options->json */
	struct json_writer w;
	struct probe_engines probe;
	struct engine *writer; /* NULL: there is none, or it is not there */
	uint32_t n_slots, context;
	enum seeds seeds;
	int64_t n_prompts;
	size_t longest; /* tokens of the longest prompt; 0 unknown */
	struct trial trial;
	struct estimate estimate;
	uint64_t disk_free; /* 0 unknown */
};

/* Each prints a part, or puts it into the JSON. */
void preflight_tell_engines(struct preflight *p);
void preflight_tell_prompts(struct preflight *p);
void preflight_tell_trial(struct preflight *p);
void preflight_tell_warnings(struct preflight *p);

#endif
