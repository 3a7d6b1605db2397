/*
 * Whether a prompt may be drawn, by what earlier nights know of it, and whether before or after others. Pure: the same history
 * gives the same draw.
 *
 * A pass rate is that of the model which tried the prompt last: accepted of accepted and rejected candidates, over the nights
 * since that model came.
 */
#ifndef STAGES_SAMPLE_CHOICE_H
#define STAGES_SAMPLE_CHOICE_H

#include <stdbool.h>
#include <stdint.h>

struct history_prompt;

enum draw { DRAW_NEW, DRAW_ANY, DRAW_WINDOW };
enum unknown { UNKNOWN_LAST, UNKNOWN_FIRST, UNKNOWN_NEVER };
enum retry { RETRY_NEVER, RETRY_MODEL_CHANGED };

struct draw_rules {
	uint32_t draw, unknown, retry;
	double rate_min, rate_max; /* the window, both ends in it; below it a prompt is hard */
	double retire; /* 0: never */
};

enum choice {
	CHOICE_DRAW, /* new, or in the window, or any will do */
	CHOICE_RETRY, /* hard for another model */
	CHOICE_UNKNOWN, /* of a window: no model's pass rate is known */
	/* Not drawn: */
	CHOICE_SETTLED,
	CHOICE_RETIRED, /* it passes so often that the lower end of Wilson's 95 % interval reaches `retire` */
	CHOICE_OUTSIDE, /* of the window */
	CHOICES,
};

/* `model_hash`: of the model that would answer; needed for RETRY_MODEL_CHANGED alone. */
enum choice sample_choose(
	const struct draw_rules *rules, const struct history_prompt *p, const char *model_hash);
bool sample_is_drawn(enum choice c);
/* True for what is drawn only when nothing is left that is not so. */
bool sample_comes_last(const struct draw_rules *rules, enum choice c);

#endif
