/*
 * Loops. For each period p the number of ids in a row that equal the id p places before is kept: run[p]. One more id costs a
 * comparison per period, without branches, which the compiler does several at a time. A run of r means that the last
 * r + p ids are one passage of p ids over and over. They are a loop when they are at least `loop` ids and LOOP_REPEATS passages.
 * Text without letters repeats itself honestly (repetends, tables of zeros, long rows of a matrix), so it needs
 * NUMBERS_FACTOR times as much.
 *
 * Answers. The last \boxed{...} that is closed, or a line "#### ..." that is ended, outside of <think> ... </think>: where a
 * chain is open nothing is final. An answer given again, or corrected, begins the count anew: a loop of answers is a loop.
 */
#include "engine/guard.h"

#include "base/mem.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define LOOP_REPEATS 4
#define NUMBERS_FACTOR 4
#define ANSWER_BYTES_MAX 4096 /* of what stands in \boxed{}: more is none */
#define WINDOW (8 * GUARD_PERIOD_MAX)

struct guard {
	const struct guard_config *config;
	uint32_t window
		[WINDOW]; /* the last ids; never fewer than the longest period, once so many came */
	size_t n_window;
	uint32_t run
		[GUARD_PERIOD_MAX]; /* [period - p] is of period p, so that both arrays are read forwards */
	size_t n_ids, letter_at; /* all that came; when the last letter was among their text */
	struct str tail; /* text in which no answer was found yet, from where one may begin */
	bool thinks, answered;
	bool in_line; /* the text before `tail` does not end a line */
	size_t answer_at; /* n_ids when the answer was complete */
};

struct guard *guard_new(const struct guard_config *config)
{
	struct guard *guard = xcalloc(1, sizeof(*guard));

	assert(config->loop == 0 || (config->period >= 1 && config->period <= GUARD_PERIOD_MAX));
	guard->config = config;
	str_init(&guard->tail, STR_NO_CAP);
	return guard;
}

void guard_free(struct guard *guard)
{
	if (guard == NULL)
		return;
	str_release(&guard->tail);
	free(guard);
}

/* --- loops --- */

static void add_id(struct guard *guard, uint32_t id)
{
	size_t longest = guard->config->period, period = MIN(longest, guard->n_window);
	uint32_t *run = guard->run + (longest - period), *before;

	if (guard->n_window == WINDOW) {
		memmove(guard->window, guard->window + WINDOW - longest,
			longest * sizeof(*guard->window));
		guard->n_window = longest;
	}
	before = guard->window + guard->n_window - period;
	for (size_t i = 0; i < period; i++)
		run[i] = before[i] == id ? run[i] + 1 : 0;
	guard->window[guard->n_window++] = id;
}

/* Ids of the longest repetition at the end; 0: none of enough passages. */
static size_t longest_repetition(const struct guard *guard)
{
	size_t period = guard->config->period, longest = 0;

	for (size_t p = 1; p <= period; p++) {
		size_t run = guard->run[period - p], all = run + p;

		if (run >= (LOOP_REPEATS - 1) * p && all > longest)
			longest = all;
	}
	return longest;
}

static bool is_letter(char c)
{
	/* Of bytes above ASCII most are parts of letters, and none of digits that a model counts with. */
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (unsigned char)c >= 0x80;
}

static bool loops(struct guard *guard, const uint32_t *ids, size_t n, struct slice text)
{
	size_t repeated, needed = guard->config->loop;

	for (size_t i = 0; i < n; i++)
		add_id(guard, ids[i]);
	for (size_t i = 0; i < text.len; i++) {
		if (is_letter(text.data[i])) {
			guard->letter_at = guard->n_ids;
			break;
		}
	}
	if (guard->n_ids < needed)
		return false;
	repeated = longest_repetition(guard);
	if (guard->n_ids - guard->letter_at >= repeated)
		needed *= NUMBERS_FACTOR;
	return repeated >= needed;
}

/* --- answers --- */

static bool starts_with(struct slice text, const char *word)
{
	size_t n = strlen(word);

	return text.len >= n && memcmp(text.data, word, n) == 0;
}

/* So much of `word` as there is room for: more text decides. */
static bool may_become(struct slice text, const char *word)
{
	return text.len < strlen(word) && memcmp(text.data, word, text.len) == 0;
}

/* The length of a box up to its closing brace; 0: not closed yet. */
static size_t box_length(struct slice text)
{
	size_t depth = 0;

	for (size_t i = 0; i < text.len; i++) {
		if (text.data[i] == '\\' && i > 0) {
			i++;
			continue;
		}
		depth += text.data[i] == '{';
		if (text.data[i] == '}' && --depth == 0)
			return i + 1;
	}
	return 0;
}

/* What begins at `text` and has a meaning: its length, or 0 when more text is needed; 1 when it is nothing. */
static size_t read_mark(struct guard *guard, struct slice text, bool at_line)
{
	static const char box[] = "\\boxed{", hashes[] = "#### ", open[] = "<think>",
			  close[] = "</think>";
	const char *end;
	size_t len;

	if (starts_with(text, open) || starts_with(text, close)) {
		guard->thinks = text.data[1] != '/';
		guard->answered = false;
		return guard->thinks ? sizeof(open) - 1 : sizeof(close) - 1;
	}
	if (starts_with(text, box)) {
		len = box_length(text);
		if (len == 0)
			return text.len > ANSWER_BYTES_MAX ? 1 : 0;
	} else if (at_line && starts_with(text, hashes)) {
		end = memchr(text.data, '\n', text.len);
		if (end == NULL)
			return text.len > ANSWER_BYTES_MAX ? 1 : 0;
		len = (size_t)(end - text.data);
	} else {
		return may_become(text, box) || may_become(text, open) || may_become(text, close) ||
				(at_line && may_become(text, hashes))
			? 0
			: 1;
	}
	if (!guard->thinks) {
		guard->answered = true;
		guard->answer_at = guard->n_ids;
	}
	return len;
}

static bool goes_on_after_answer(struct guard *guard, struct slice text)
{
	struct str *tail = &guard->tail;
	size_t at = 0, len = 1;

	str_append(tail, text.data, text.len);
	while (at < tail->len && len > 0) {
		struct slice rest = {tail->data + at, tail->len - at};

		len = strchr("\\#<", rest.data[0]) != NULL && rest.data[0] != '\0'
			? read_mark(guard, rest, !guard->in_line)
			: 1;
		if (len > 0)
			guard->in_line = rest.data[len - 1] != '\n';
		at += len;
	}
	memmove(tail->data, tail->data + at, tail->len - at);
	tail->len -= at;
	tail->data[tail->len] = '\0';
	return guard->answered && guard->n_ids - guard->answer_at > guard->config->after_answer;
}

bool guard_add(
	struct guard *guard, const uint32_t *ids, size_t n, struct slice text, enum finish *out_why)
{
	const struct guard_config *config = guard->config;

	guard->n_ids += n;
	if (config->loop > 0 && loops(guard, ids, n, text))
		*out_why = FINISH_LOOP;
	else if (config->after_answer > 0 && goes_on_after_answer(guard, text))
		*out_why = FINISH_AFTER_ANSWER;
	else if (config->length_max > 0 && guard->n_ids > config->length_max)
		*out_why = FINISH_OUTLIER;
	else
		return false;
	return true;
}
