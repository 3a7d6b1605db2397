/* Which prompts a draw takes, by what earlier nights know of them. */
#include "sample_choice.h"

#include "fixture.h"
#include "ledger/history.h"

#define OLD "old"
#define NOW "now"

static const struct {
	const char *what;
	struct draw_rules rules;
	struct history_prompt p;
	enum choice wanted;
} rows[] = {
	{"unknown, new", {.draw = DRAW_NEW}, {0}, CHOICE_DRAW},
	{"settled, new", {.draw = DRAW_NEW}, {.known = true, .settled = true}, CHOICE_SETTLED},
	{"backlog, new", {.draw = DRAW_NEW}, {.known = true, .model_decided = 4}, CHOICE_DRAW},
	{"settled, any", {.draw = DRAW_ANY}, {.known = true, .settled = true}, CHOICE_DRAW},
	{"settled, but hard for another model",
		{.draw = DRAW_NEW, .retry = RETRY_MODEL_CHANGED, .rate_min = 0.1},
		{.settled = true, .model_decided = 8, .model_hash = OLD}, CHOICE_RETRY},
	{"hard for this model", {.draw = DRAW_NEW, .retry = RETRY_MODEL_CHANGED, .rate_min = 0.1},
		{.settled = true, .model_decided = 8, .model_hash = NOW}, CHOICE_SETTLED},
	{"hard for a model that nobody knows",
		{.draw = DRAW_NEW, .retry = RETRY_MODEL_CHANGED, .rate_min = 0.1},
		{.settled = true, .model_decided = 8}, CHOICE_RETRY},
	{"as often as min is not hard",
		{.draw = DRAW_NEW, .retry = RETRY_MODEL_CHANGED, .rate_min = 0.25},
		{.settled = true, .model_decided = 8, .model_accepted = 2, .model_hash = OLD},
		CHOICE_SETTLED},
	{"hard, and not to be tried again", {.draw = DRAW_NEW, .rate_min = 0.1},
		{.settled = true, .model_decided = 8, .model_hash = OLD}, CHOICE_SETTLED},
	{"in the window", {.draw = DRAW_WINDOW, .rate_min = 0.25, .rate_max = 0.75},
		{.settled = true, .model_decided = 4, .model_accepted = 3}, CHOICE_DRAW},
	{"at its lower end", {.draw = DRAW_WINDOW, .rate_min = 0.25, .rate_max = 0.75},
		{.settled = true, .model_decided = 4, .model_accepted = 1}, CHOICE_DRAW},
	{"above it", {.draw = DRAW_WINDOW, .rate_min = 0.25, .rate_max = 0.75},
		{.settled = true, .model_decided = 4, .model_accepted = 4}, CHOICE_OUTSIDE},
	{"a little above it", {.draw = DRAW_WINDOW, .rate_min = 0.25, .rate_max = 0.75},
		{.settled = true, .model_decided = 8, .model_accepted = 7}, CHOICE_OUTSIDE},
	{"below it", {.draw = DRAW_WINDOW, .rate_min = 0.25, .rate_max = 0.75},
		{.settled = true, .model_decided = 8, .model_accepted = 1}, CHOICE_OUTSIDE},
	{"below it, for another model",
		{.draw = DRAW_WINDOW,
			.retry = RETRY_MODEL_CHANGED,
			.rate_min = 0.25,
			.rate_max = 0.75},
		{.settled = true, .model_decided = 8, .model_accepted = 1, .model_hash = OLD},
		CHOICE_RETRY},
	{"above it, for another model",
		{.draw = DRAW_WINDOW,
			.retry = RETRY_MODEL_CHANGED,
			.rate_min = 0.25,
			.rate_max = 0.75},
		{.settled = true, .model_decided = 8, .model_accepted = 8, .model_hash = OLD},
		CHOICE_OUTSIDE},
	{"of another model's time only", {.draw = DRAW_WINDOW, .rate_min = 0.25, .rate_max = 0.75},
		{.settled = true,
			.n_decided = 8,
			.n_accepted = 0,
			.model_decided = 4,
			.model_accepted = 2},
		CHOICE_DRAW},
	{"unknown, window", {.draw = DRAW_WINDOW, .rate_max = 1}, {0}, CHOICE_UNKNOWN},
	{"undecided only, window", {.draw = DRAW_WINDOW, .rate_max = 1},
		{.settled = true, .n_candidates = 4}, CHOICE_UNKNOWN},
	{"cannot be used, window", {.draw = DRAW_WINDOW, .rate_max = 1}, {.settled = true},
		CHOICE_SETTLED},
	{"unknown, not wanted", {.draw = DRAW_WINDOW, .unknown = UNKNOWN_NEVER, .rate_max = 1}, {0},
		CHOICE_OUTSIDE},
	/* Wilson's lower end of 16 of 16 is 0.806, of 4 of 4 it is 0.510. */
	{"solved for certain", {.draw = DRAW_ANY, .retire = 0.8},
		{.model_decided = 16, .model_accepted = 16}, CHOICE_RETIRED},
	{"perhaps solved", {.draw = DRAW_ANY, .retire = 0.8},
		{.model_decided = 4, .model_accepted = 4}, CHOICE_DRAW},
	{"solved by four", {.draw = DRAW_WINDOW, .retire = 0.5, .rate_max = 1},
		{.model_decided = 4, .model_accepted = 4}, CHOICE_RETIRED},
	{"nothing to retire for", {.draw = DRAW_ANY, .retire = 0.1}, {0}, CHOICE_DRAW},
};

START_TEST(rule)
	{
		enum choice c = sample_choose(&rows[_i].rules, &rows[_i].p, NOW);
		ck_assert_msg(c == rows[_i].wanted, "%s: %d, not %d", rows[_i].what, (int)c,
			(int)rows[_i].wanted);
	}
END_TEST

START_TEST(the_unknown_have_their_place)
	{
		struct draw_rules window = {.draw = DRAW_WINDOW}, any = {.draw = DRAW_ANY};
		ck_assert(sample_comes_last(&window, CHOICE_UNKNOWN));
		ck_assert(!sample_comes_last(&window, CHOICE_DRAW));
		ck_assert(!sample_comes_last(&window, CHOICE_RETRY));
		window.unknown = UNKNOWN_FIRST;
		ck_assert(!sample_comes_last(&window, CHOICE_UNKNOWN));
		ck_assert(sample_comes_last(&window, CHOICE_DRAW));
		ck_assert(!sample_comes_last(&any, CHOICE_DRAW));
	}
END_TEST

int main(void)
{
	Suite *s = suite_create("sample_choice");
	TCase *t = tcase_create("rules");
	tcase_add_loop_test(t, rule, 0, ARRAY_LEN(rows));
	tcase_add_test(t, the_unknown_have_their_place);
	suite_add_tcase(s, t);
	return run_suite(s);
}
