/*
 * A stage is a static const row in a table (stages/stages.c). There are two kinds:
 *
 *	batch	run(): the whole run at once, in a fixed order, out of the ledger and into it; may be repeated from the start
 *		after a crash, and then gives the same. sample, select and pack are batch stages.
 *	flow	works on groups that the runner brings, asynchronously, on the event loop. A flow stage either produces candidates (plan +
 *		start_wave: generate) or works on one candidate at a time (submit: verify). Neighbouring flow stages form one
 *		section, through which candidates pass as they arrive.
 *
 * The runner decides order, waves and resume; what was paid for is written to the ledger before it goes on. A rejection is a result
 * with a reason, not an error: errors end the run, resumable.
 *
 * Adding a stage: stages/README.md.
 */
#ifndef PIPELINE_STAGE_H
#define PIPELINE_STAGE_H

#include "budget.h"
#include "config/param.h"
#include "group.h"

#include <stdbool.h>
#include <stddef.h>

struct definition;
struct ledger;
struct run;

struct stage_check {
	struct definition *definition; /* a check may say which fields the prompts have */
	const struct tree *tree;
	const struct node *node; /* the stage's own map */
	struct error_list *errors;
};

struct stage_ops {
	const char *name; /* the word used in YAML */
	const char *summary; /* one line for `thresh stages` */
	const struct param *params; /* ends with {0}; NULL: the node is read by read_config */
	size_t config_size, state_size;

	/* For a stage whose YAML is not a map of parameters (verify: a list). Both or neither; instead of `params`. */
	void (*read_config)(void *config, const struct stage_check *check);
	void (*release_config)(void *config);
	/* Visits what the fingerprint must hold beside the parameters (verifiers' versions, template contents). Optional. */
	void (*fingerprint)(const void *config,
		void (*visit)(void *ctx, const char *path, const char *value), void *ctx);

	/* Rules the table cannot express; every mistake is added with its place. Reads files, never the network. Optional. */
	void (*check)(const void *config, const struct stage_check *check);

	/*
	 * Once a run, before any work; engines are ready. If check() passed, only the outside world can make it fail. Optional.
	 * For a batch stage it is called right before run().
	 */
	bool (*open)(void *state, const void *config, struct run *run, struct error *err);

	/* Batch: set for batch stages only. Facts for the summary go to the ledger (ledger_set_stage). */
	bool (*run)(void *state, struct run *run, struct error *err);
	/* Batch: what it makes is seen outside of the run's own folder, so the gate (gate.h) comes before it. */
	bool publishes;

	/*
	 * Batch: takes back what the stage and those after it have written to the ledger (`--from`, a changed definition). Every batch
	 * stage but the first has it.
	 */
	bool (*reset)(struct ledger *ledger, struct error *err);
	/*
	 * Batch: the run's product is public, and the run is about to be marked as finished: writes what later runs must know of it
	 * beside history. Called again after a crash in between, and without a state. Optional.
	 */
	bool (*published)(const void *config, struct run *run, struct error *err);

	/* Flow, producer. */
	/*
	 * How many candidates the group shall have after the next wave, given those it has, all of them decided; the same number as it has now:
	 * settled, and *out_reason says why ("enough", "all", "gave_up"). A pure function of the candidates 0 .. n-1, so that a resumed run decides as the first did.
	 */
	size_t (*plan)(
		void *state, const struct group *group, size_t n_accepted, const char **out_reason);
	/*
	 * Makes the candidates `from` .. `to`-1 of the group that are not there yet; each is given to flow_candidate(), then
	 * flow_wave_made() ends the wave. Or flow_prompt_failed() instead of all that. Never from inside the call.
	 */
	void (*start_wave)(void *state, struct group *group, size_t from, size_t to);
	/*
	 * True: a group's next wave waits until every other group has had as many. Groups then wait in the ledger, not in memory.
	 * Optional; asked once.
	 */
	bool (*in_rounds)(void *state);
	/* True when another group would find room; otherwise the stage calls flow_wake() once there is. */
	bool (*has_room)(void *state);
	/* When all groups are through: what needs the engines for the last time. Calls flow_finished() once, not from inside the call. Optional. */
	void (*finish)(void *state);

	/* Flow, consumer. */
	/* Before any token is spent on a group; false: it cannot be worked on, out_reason says why, the prompt fails. Optional. */
	bool (*admit)(void *state, struct group *group, const char **out_reason);
	/* Works on one candidate, then calls flow_done(candidate), not from inside the call. */
	void (*submit)(void *state, struct candidate *candidate);
	/*
	 * Before a prompt is settled, when all its candidates are decided and no more will come: fills scores that only the whole group
	 * can have, then calls flow_group_finished(group), not from inside the call. False: there are none. Optional.
	 */
	bool (*finish_group)(void *state, struct group *group);

	/* Flow: nobody wants the answers any more; what is out is still answered (cancelled), soon. Optional. */
	void (*cancel)(void *state, struct group *group);

	/*
	 * Makes anew what the stage keeps beside the runs' own folders, out of what is published; of `run` there is the definition, and the
	 * id of the newest run that is. For `thresh fsck --repair`. Optional.
	 */
	bool (*mend)(struct run *run, struct error *err);

	/* Nothing is in flight. Accepts a state whose open() failed. Optional. */
	void (*close)(void *state);
};

/* What flow stages call back; flow/flow_groups.c. All on the loop's thread. */
void flow_candidate(struct candidate *candidate);
void flow_wave_made(struct group *group);
void flow_prompt_failed(struct group *group, const char *reason, const char *detail);
/*
 * n candidates of the group would be sent to an engine now: may they? If so their tickets are open until flow_end is told what became of
 * each. Tickets are zeroed at first, and the stage's; they must not move.
 */
enum engine_leave flow_begin(struct group *group, struct budget_ticket *tickets, uint32_t n);
/* A ticket that is not open is left alone. */
void flow_end(struct group *group, struct budget_ticket *ticket, enum engine_reason reason,
	uint32_t n_tokens);
/* The prompt's rendered ids, before its first candidate; kept in the ledger. */
void flow_prompt_ids(struct group *group, const uint32_t *ids, size_t n);
void flow_done(struct candidate *candidate);
void flow_group_finished(struct group *group);
void flow_finished(struct run *run);
/* A stage cannot go on (its engine is lost, its ledger full): the run ends, resumable. */
void flow_failed(struct run *run, const struct error *err);
/* A consumer cannot go on without an engine that is not there in this phase: what it has scored so far is kept for the next. */
void flow_parked(struct candidate *candidate, const char *engine);
/* Cancelled by cancel(): the candidate is dropped without a trace and made again on resume. */
void flow_cancelled(struct group *group);
/* Likewise for a consumer's candidate: it stays undecided and is worked on again on resume. */
void flow_dropped(struct candidate *candidate);

#endif
