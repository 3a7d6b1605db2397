/*
 * A pipeline file, read and checked: typed configurations of its engines, stages and verifiers. Reading finds every mistake
 * at once and needs no network; what it returns is immutable and lives until definition_release.
 */
#ifndef PIPELINE_DEFINITION_H
#define PIPELINE_DEFINITION_H

#include "config/node.h"
#include "config/param.h"
#include "engine/engine.h"
#include "ledger/expr.h"

#include <stdbool.h>
#include <stdint.h>

struct stage_ops;
struct verifier_ops;

struct engine_def {
	struct engine_config config; /* borrows from `written` */
	void *written; /* owns: the parameters as read */
	const char *tokenizer; /* engine that makes ids for one that has none; NULL */
	bool exclusive; /* not in memory together with others that are */
	bool used; /* by a stage or verifier */
	const struct node *node;
};

struct stage_def {
	const struct stage_ops *ops;
	void *config; /* owns */
	const struct node *node;
};

struct verifier_def {
	char *name; /* instance: `as:` or the kind's name; also its column */
	const struct verifier_ops *ops;
	void *config; /* owns */
	char *when; /* SQL or NULL */
	const struct node *node;
};

struct definition {
	struct tree tree;
	char *name, *workdir, *accept;
	char *audit, *label; /* as written; NULL: none */
	struct param_strings gate; /* conditions for publishing a night (gate.h) */
	double audit_share; /* 0 to 1 */
	uint64_t seed;
	struct {
		char *deadline; /* as written (deadline.h), or NULL */
		uint64_t drain_ms, tokens;
		double energy_wh; /* 0: no limit */
		uint32_t disk; /* enum room_policy */
		double watts; /* what the machine takes, where it cannot be measured; 0: not said */
	} budget;
	struct {
		char *on_success, *on_failure, *after; /* for /bin/sh; NULL: none */
		uint64_t timeout_ms;
	} hooks;
	char *metrics; /* file for Prometheus; NULL: none */
	struct {
		uint64_t commit_ms;
		uint32_t commit_rows;
	} ledger;
	const struct node *engines_node, *stages_node;
	struct engine_def *engines;
	size_t n_engines;
	struct stage_def *stages;
	size_t n_stages;
	struct verifier_def *verifiers; /* of the verify stage */
	size_t n_verifiers;
	char **fields; /* the prompts' fields, as far as they are known offline */
	size_t n_fields, cap_fields;
	bool fields_open; /* there may be more (a command's rows without `map`) */
};

/* Every mistake is added to errors; with none, `def` is complete. `sets`: --set assignments. Release in either case. */
void definition_read(struct definition *def, const char *path, const char *const *sets,
	size_t n_sets, struct error_list *errors);
void definition_release(struct definition *def);
/*
 * For commands that only look at what a pipeline made: needs a readable file with a `workdir`, whatever else is wrong with it. The first
 * mistake that prevents even that is returned. Release in either case.
 */
MUST_CHECK bool definition_for_reading(struct definition *def, const char *path, struct error *err);

/* Scores a group as a whole, so that no expression over a candidate can see it. */
bool verifier_is_of_group(const struct verifier_def *v);
/* NULL if there is none of that name. */
const struct engine_def *definition_engine(const struct definition *def, const char *name);
const struct verifier_def *definition_verifier(const struct definition *def, const char *name);
const struct stage_def *definition_stage(const struct definition *def, const char *name);
/* Whether more engines are used that exclude each other than one, so that the flow goes in phases (flow_phases.c). */
bool definition_has_phases(const struct definition *def);
/* The engine that a stage or verifier names in its config; NULL: none. */
const char *definition_engine_named(const struct param *table, const void *config);
bool definition_has_field(const struct definition *def, const char *name);
/* Path of the template of the prompts, and the name of the engine that answers them; NULL if no stage has one. */
const char *definition_template(const struct definition *def);
const char *definition_writer(const struct definition *def);
/* For a stage's check(): a field that the prompts have. Copied; twice is fine. */
void definition_add_field(struct definition *def, const char *name);
/* For the verify stage's read_config(): takes a zeroed place for one more verifier. */
struct verifier_def *definition_add_verifier(struct definition *def);

/* Visits all that a stage's results depend on, as (path, value): parameters that are not marked otherwise, and what the stage adds. */
void definition_fingerprint(const struct definition *def, const struct stage_def *stage,
	void (*visit)(void *ctx, const char *path, const char *value), void *ctx);

/*
 * Checks what a table's rows refer to (engines, which are marked as used; SQL; templates) in a config read from `node`. For stages
 * this is done by definition_read; the verify stage calls it for its verifiers.
 */
void definition_check_refs(struct definition *def, const struct param *table, const void *config,
	const struct node *node, const char *what, struct error_list *errors);

/* Tables, for help and schema. */
extern const struct param definition_params[], engine_params[];

#endif
