/*
 * Options by letter. A letter alone says little: "A" is an article, and "not A" the opposite. So a letter states an option where it
 * opens what was found as the answer, "(C)", "C.", "D, since ...", or opens the output; within prose only if no other is named.
 */
#include "math_impl.h"

#include "base/text.h"

#include <string.h>

static bool is_option(char c)
{
	return c >= 'A' && c <= 'J';
}

/* Neither letter, digit nor sign: a letter ends there. Bytes of other alphabets do not go on with a word. */
static bool ends_word(struct slice s, size_t at)
{
	return at >= s.len ||
		(!math_is_letter(s.data[at]) && !math_is_digit(s.data[at]) &&
			!memchr("_'^", s.data[at], 3));
}

/* What goes before a letter and says nothing: brackets, emphasis, commands that set type. */
static size_t skip_opening(struct slice s, size_t at)
{
	static const char *const openings[] = {"\\text{", "\\textbf{", "\\mathrm{", "\\mathbf{",
		"\\textit{", "\\(", "\\boxed{", "(", "[", "{", "*", "$", "\"", "'", " ", "\n",
		"option ", "Option ", "choice ", "Choice "};
	for (size_t i = 0; i < ARRAY_LEN(openings); i++) {
		size_t n = strlen(openings[i]);
		if (math_starts(s, MIN(at, s.len), openings[i], n)) {
			at += n;
			i = (size_t)-1;
		}
	}
	return at;
}

/* Bytes of "and ", "or " or "&" at s[at]. */
static size_t joint_at(struct slice s, size_t at)
{
	static const char *const joints[] = {"and ", "or ", "& ", "/"};
	for (size_t i = 0; i < ARRAY_LEN(joints); i++) {
		if (at <= s.len && math_starts(s, at, joints[i], strlen(joints[i]))) {
			return strlen(joints[i]);
		}
	}
	return 0;
}

/* The letter that a text opens with as an option; out_rest gets what stands behind it. 0 if it opens with none. */
static char opening_letter(struct slice s, size_t *out_rest)
{
	size_t at = skip_opening(s, 0);
	if (at >= s.len || !is_option(s.data[at]) || !ends_word(s, at + 1)) {
		return 0;
	}
	char letter = s.data[at];
	size_t rest = at + 1;
	while (rest < s.len && memchr(")]}*$.:,\"'", s.data[rest], 10)) {
		rest++;
	}
	/* E*2 is a product. */
	if (rest > at + 1 && s.data[rest - 1] == '*' && rest < s.len &&
		(math_is_digit(s.data[rest]) || math_is_letter(s.data[rest]))) {
		return 0;
	}
	bool marked = rest > at + 1, blank = rest < s.len && s.data[rest] == ' ';
	char after = rest + 1 < s.len ? s.data[rest + 1] : ' ';
	/* "A dog", "I think", "B = 5", "E * 2" */
	bool article = !marked && blank && (letter == 'A' || letter == 'I') && after >= 'a' &&
		after <= 'z';
	/* "\\ 3", "\\text{...}" and "\\quad" set a space or a text; any other command makes a formula of it. */
	size_t command = rest + blank;
	bool space = MATH_STARTS(s, MIN(command, s.len), "\\ ") ||
		MATH_STARTS(s, MIN(command, s.len), "\\text") ||
		MATH_STARTS(s, MIN(command, s.len), "\\q") ||
		MATH_STARTS(s, MIN(command, s.len), "\\,") ||
		MATH_STARTS(s, MIN(command, s.len), "\\)");
	bool formula = (blank && memchr("=+-*/<>^", after, 8)) ||
		(rest < s.len && memchr("=+-*/<>^", s.data[rest], 8)) ||
		(command < s.len && s.data[command] == '\\' && !space);
	/* "A, B and C" and "B or C" name several. */
	size_t more = skip_opening(s, rest), joined = joint_at(s, more);
	more = skip_opening(s, more + joined);
	bool several = (marked || joined) && more < s.len && is_option(s.data[more]) &&
		ends_word(s, more + 1);
	if (article || formula || several || (rest < s.len && s.data[rest] == '(')) {
		return 0;
	}
	*out_rest = rest;
	return letter;
}

void math_read_choice(struct work *w, struct slice s, struct math_value *v)
{
	size_t rest = 0;
	bool word;
	char letter = opening_letter(s, &rest);
	if (letter == 0) {
		return;
	}
	struct slice option = math_normal_text(math_sub(s, rest, s.len), w->arena, &word);
	/* "A x + 1" is a formula; "(A) Cecile" is none, although a word may be a unit. */
	bool label = rest >= 3 && memchr("({", s.data[rest - 3], 2) != NULL;
	label = label || (rest >= 4 && s.data[rest - 1] == '}' && s.data[rest - 4] == '(');
	if (option.len > 0 && v->kind != VALUE_TEXT && !label) {
		return;
	}
	const struct math_value *read = option.len > 0
		? math_parse_on(w, math_sub(s, rest, s.len), NULL)
		: NULL;
	v->other = read && read->kind != VALUE_TEXT ? read : v->other;
	v->choice = letter;
	v->option = option;
}

static bool decide(const struct math_value *gold, char letter, struct math_verdict *out)
{
	out->outcome = letter == gold->choice ? MATH_EQUAL : MATH_DIFFERENT;
	out->method = MATH_BY_CHOICE;
	return true;
}

/* "(A)" is no article. */
static bool in_brackets(struct slice s, size_t at)
{
	return at > 0 && at + 1 < s.len && s.data[at - 1] == '(' && s.data[at + 1] == ')';
}

/* \angle C, A \cup B */
static bool behind_command(struct slice s, size_t at)
{
	size_t end = at;
	while (end > 0 && s.data[end - 1] == ' ') {
		end--;
	}
	size_t from = end;
	while (from > 0 && math_is_letter(s.data[from - 1])) {
		from--;
	}
	return from > 0 && from < end && s.data[from - 1] == '\\';
}

/* The one option that is named by a letter standing alone; 0 for none, and for more than one. */
static char only_letter(struct slice s)
{
	char only = 0;
	for (size_t at = 0; at < s.len; at++) {
		bool formula = (at + 1 < s.len && memchr("}*+-/=<>(", s.data[at + 1], 9)) ||
			behind_command(s, at) ||
			(at > 0 && memchr("\\{*+-/=<>", s.data[at - 1], 9));
		bool alone = is_option(s.data[at]) && !formula && ends_word(s, at + 1) &&
			(at == 0 || ends_word(s, at - 1)) &&
			((s.data[at] != 'A' && s.data[at] != 'I') || in_brackets(s, at));
		if (alone && only != 0 && only != s.data[at]) {
			return 0;
		}
		only = alone ? s.data[at] : only;
	}
	return only;
}

/* "the correct option is A": the letter that is named last like that; 0 if there is none. */
static char named_letter(struct slice s)
{
	static const char *const phrases[] = {"option is ", "choice is ",
		"option is: ", "choice is: ", "correct one is ", "I choose ", "I select ",
		"option: ", "choice: "};
	const char *last = NULL;
	size_t rest;
	for (size_t i = 0; i < ARRAY_LEN(phrases); i++) {
		const char *at = s.data, *end = s.data + s.len;
		while ((at = memmem(at, (size_t)(end - at), phrases[i], strlen(phrases[i])))) {
			at += strlen(phrases[i]);
			last = !last || at > last ? at : last;
		}
	}
	return last ? opening_letter(math_sub(s, (size_t)(last - s.data), s.len), &rest) : 0;
}

bool math_check_choice(const struct math_value *gold, struct slice output,
	const struct math_span *spans, size_t n, struct math_verdict *out)
{
	size_t rest;
	for (size_t i = 0; i < n; i++) {
		char letter = spans[i].rule < MATH_RULE_MATH ? opening_letter(spans[i].text, &rest)
							     : 0;
		out->rule = spans[i].rule;
		out->span = spans[i].text;
		if (letter != 0) {
			return decide(gold, letter, out);
		}
		if (spans[i].rule == MATH_RULE_BOXED || spans[i].rule == MATH_RULE_HASHES) {
			return false; /* something else was stated: the text of the option, perhaps */
		}
	}
	char letter = opening_letter(output, &rest);
	if (output.len > MATH_SPAN_BYTES_MAX) {
		output = math_sub(output, output.len - MATH_SPAN_BYTES_MAX, output.len);
	}
	letter = letter ? letter : named_letter(output);
	letter = letter ? letter : only_letter(output);
	out->rule = MATH_RULE_WHOLE;
	out->span = output;
	return letter != 0 && decide(gold, letter, out);
}
