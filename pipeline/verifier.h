/*
 * A verifier scores one candidate against its prompt and never decides. It is a static const row in a table (see
 * stages/verifiers/verifiers.c); adding one touches its file, a line in the table, one in meson.build, and its tests.
 *
 * "Could not tell" is not 0: a verifier's own failure (an engine that does not answer, a limit reached, a text that cannot be
 * read) is a null score with a reason. The number's range is the verifier's affair; stated in its summary.
 */
#ifndef PIPELINE_VERIFIER_H
#define PIPELINE_VERIFIER_H

#include "config/param.h"
#include "group.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A failure of the verify stage itself: the instance's `when` could not be evaluated. */
#define WHEN_FAILED "when_failed"

struct run;
struct verify_job;

struct verifier_ops {
	const char *name; /* the word used in YAML */
	const char *summary; /* one line for `thresh verifiers`: what the number means */
	/* Part of the fingerprint; goes up when the same input may get another score. */
	unsigned version;
	const struct param
		*params; /* ends with {0}; parsed into config_size bytes before check() */
	size_t config_size, state_size;
	/* The number says what the text is like (its length), not how right it is: never compared with verdicts and labels. */
	bool is_fact;
	const char *const *reasons; /* every word a score's reason can be; ends with NULL */
	/*
	 * Those of them that say that the verifier, or whom it asks, has failed, and not that the text cannot be judged. A run that
	 * has such scores is done with failed items. Ends with NULL; NULL: none.
	 */
	const char *const *failures;

	/* Rules the table cannot express, each mistake with its place (`node` is the verifier's map). No I/O. Optional. */
	void (*check)(const void *config, const struct tree *tree, const struct node *node,
		struct error_list *errors);
	/* Once a run. If check() passed, only the outside world can make it fail. Optional. */
	bool (*open)(void *state, const void *config, struct run *run, struct error *err);
	/*
	 * Once per prompt, before any token is spent: whatever all its candidates share (a parsed gold), allocated in `arena`.
	 * Pure and thread-safe. False when the prompt cannot be verified at all: out_reason says why (a word of
	 * `reasons`), and the prompt is skipped. Optional.
	 */
	bool (*prepare)(const void *state, const struct prompt *prompt, struct arena *arena,
		void **out_prepared, const char **out_reason);

	/* Exactly one of the three is set. */
	/*
	 * CPU work on a thread of the pool, several at a time, or on the loop's while it takes microseconds: pure but for `scratch` (reset after each call) and `out`, whose reason is static
	 * and whose detail is in `scratch` (the caller copies).
	 */
	void (*score)(const void *state, const struct candidate *candidate, void *prepared,
		struct arena *scratch, struct score *out);
	/* Asks somebody else, on the loop: starts the work and later calls verify_done(job, score) once, from the loop. */
	void (*submit)(void *state, struct verify_job *job);
	/*
	 * The group as a whole, once its prompt is about to be settled and no candidate will be added: on a thread of the pool, pure
	 * as score() is. `candidates` are those that were verified, by idx; one score each. A group's score cannot be known
	 * while its candidates are decided, so `accept` and `when` do not see it; order_by and select.where do.
	 */
	void (*score_group)(const void *state, const struct candidate *const *candidates, size_t n,
		struct arena *scratch, struct score *out);

	/* Nobody wants the answer to the job any more; it is still given, soon (verify_cancelled). Not needed where job->request is set. Optional. */
	void (*cancel)(void *state, struct verify_job *job);
	/* Visits what the score rests on beside the parameters (a script's content). Optional. */
	void (*fingerprint)(const void *config,
		void (*visit)(void *ctx, const char *path, const char *value), void *ctx);

	/* Nothing is in flight any more. Accepts a state whose open() failed. Optional. */
	void (*close)(void *state);
};

/* One candidate on its way through a verifier that has submit(). */
struct verify_job {
	const struct candidate *candidate;
	void *prepared;
	/* Set by submit() to what verify_cancel needs; may stay NULL. */
	struct engine_request *request;
	void *work; /* the verifier's own, for its cancel(); may stay NULL */
	uint32_t n_tokens; /* read and written by a model for this job: whoever asks adds to it */
	void *owner; /* the verify stage's */
};

/* It waited for its turn until now: the time it took counts from here. Optional. */
void verify_begun(struct verify_job *job);
/* The score is copied; where it says how long it took (`us`), that counts. Must not be called from inside submit(). */
void verify_done(struct verify_job *job, const struct score *score);
/* Instead: the work was cancelled. The candidate stays undecided and is verified again by the next sitting. */
void verify_cancelled(struct verify_job *job);

#endif
