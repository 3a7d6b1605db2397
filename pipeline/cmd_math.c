/*
 * math: the checker from the command line, for a pair of arguments or for a file of pairs. Lines are read in batches, a batch is
 * checked on all cores, and its results are written in the order of the lines.
 */
#include "base/arena.h"
#include "base/json.h"
#include "base/text.h"
#include "base/workers.h"
#include "cli.h"
#include "commands.h"
#include "verifiers/math/mathcheck.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_BYTES_MAX (8u << 20)
#define BATCH_LINES 2048
#define BATCH_BYTES (32u << 20)
#define SLICE_LINES 32 /* a job */

static void print_value(const char *name, const struct math_value *v)
{
	struct str text;
	str_init(&text, 4096);
	if (v) {
		math_value_format(v, &text);
	}
	printf("  %-8s %s\n", name, v ? text.data : "could not be read");
	str_release(&text);
}

static int check_pair(const char *gold_text, const char *pred, const struct math_policy *policy)
{
	struct arena arena = {0};
	struct math_verdict v;
	const struct math_value *gold = math_parse_gold(slice_z(gold_text), &arena);
	math_check(gold, slice_z(pred), policy, &arena, &v);
	printf("%s\n", math_outcome_name(v.outcome));
	print_value("gold", gold);
	print_value("pred", v.pred);
	printf("  %-8s %s\n  %-8s %s\n", "rule", math_rule_name(v.rule), "method",
		math_method_name(v.method));
	arena_release(&arena);
	return v.outcome == MATH_EQUAL ? 0 : 1;
}

/* --- Lines --- */

struct line {
	size_t from, len; /* in the batch's text */
	struct str out;
	bool bad;
	struct error err;
};

struct batch {
	const struct math_policy *policy;
	struct str text;
	struct line lines[BATCH_LINES];
	size_t n;
	uint64_t n_before; /* lines of the batches before */
	struct arena *arenas; /* one a thread */
};

/* What a reader wants to know beyond the verdict: which rule found the answer, or why there is no verdict. */
static const char *reason_of(const struct math_verdict *v)
{
	switch (v->outcome) {
	case MATH_NO_ANSWER:
		return "the output holds no answer";
	case MATH_PRED_UNPARSED:
		return "the answer cannot be read";
	case MATH_GOLD_UNPARSED:
		return "the gold cannot be read";
	case MATH_UNDECIDED:
		return "neither equal nor different is certain";
	case MATH_EQUAL:
	case MATH_DIFFERENT:
		break;
	}
	return math_rule_name(v->rule);
}

static bool string_member(
	const struct json *object, const char *key, struct slice *out, struct error *err)
{
	const struct json *v = json_get(object, key);
	out->data = v ? json_str(v, &out->len) : NULL;
	return out->data || error_set(err, FAIL_DATA, "member '%s' must be a string", key);
}

static bool check_line(struct batch *b, struct line *line, struct arena *arena)
{
	AUTO_JSON struct json *row = json_parse(b->text.data + line->from, line->len, &line->err);
	struct slice gold, pred;
	if (!row || !string_member(row, "gold", &gold, &line->err) ||
		!string_member(row, "pred", &pred, &line->err)) {
		return false;
	}
	struct math_verdict v;
	math_check(math_parse_gold(gold, arena), pred, b->policy, arena, &v);
	struct json_writer w = {.out = &line->out};
	struct str id;
	str_init(&id, LINE_BYTES_MAX);
	json_begin_object(&w);
	json_key(&w, "id");
	if (json_get(row, "id")) {
		json_dump(json_get(row, "id"), false, &id);
		json_put_raw(&w, id.data, id.len);
	} else {
		json_put_null(&w);
	}
	json_member_z(&w, "verdict", math_outcome_name(v.outcome));
	json_member_z(&w, "method", math_method_name(v.method));
	json_member_z(&w, "reason", reason_of(&v));
	json_end_object(&w);
	str_release(&id);
	return true;
}

static void check_slice(void *ctx, size_t i, unsigned thread)
{
	struct batch *b = ctx;
	size_t end = MIN(b->n, (i + 1) * SLICE_LINES);
	for (size_t at = i * SLICE_LINES; at < end; at++) {
		b->lines[at].bad = !check_line(b, &b->lines[at], &b->arenas[thread]);
		arena_reset(&b->arenas[thread]);
	}
}

/* Prints what came before the first bad line. */
static bool run_batch(struct batch *b, struct workers *workers, struct error *err)
{
	bool ok = true;
	for (size_t i = 0; i * SLICE_LINES < b->n; i++) {
		workers_push(workers, check_slice, b, i);
	}
	workers_wait(workers);
	for (size_t i = 0; i < b->n; i++) {
		struct line *line = &b->lines[i];
		if (ok && line->bad) {
			*err = line->err;
			ok = error_context(
				err, "line %llu", (unsigned long long)(b->n_before + i + 1));
		} else if (ok) {
			fwrite(line->out.data, 1, line->out.len, stdout);
			putchar('\n');
		}
		str_release(&line->out);
	}
	b->n_before += b->n;
	b->n = 0;
	str_reset(&b->text);
	return ok;
}

/* Appends the next line to the batch. False at the end of the input, and for a line that is too long. */
static bool read_line(struct batch *b, struct error *err)
{
	struct line *line = &b->lines[b->n];
	*line = (struct line){.from = b->text.len};
	int c = getchar_unlocked();
	if (c == EOF) {
		return false;
	}
	for (; c != EOF && c != '\n'; c = getchar_unlocked()) {
		if (b->text.len - line->from == LINE_BYTES_MAX) {
			return error_set(err, FAIL_DATA, "line %llu is longer than %u bytes",
				(unsigned long long)(b->n_before + b->n + 1), LINE_BYTES_MAX);
		}
		str_append_c(&b->text, (char)c);
	}
	line->len = b->text.len - line->from;
	str_init(&line->out, LINE_BYTES_MAX * 2);
	b->n++;
	return true;
}

static bool check_lines(struct batch *b, struct workers *workers, struct error *err)
{
	while (read_line(b, err)) {
		bool full = b->n == BATCH_LINES || b->text.len >= BATCH_BYTES;
		if (full && !run_batch(b, workers, err)) {
			return false;
		}
	}
	struct error last = {0};
	bool ok = run_batch(b, workers, &last);
	if (err->kind == FAIL_NONE && !ok) {
		*err = last;
	}
	return err->kind == FAIL_NONE;
}

static int check_stdin(const struct math_policy *policy)
{
	struct error err = {0};
	struct workers *workers = workers_new(0);
	struct batch *b = calloc(1, sizeof(*b));
	struct arena *arenas = calloc(workers_n(workers), sizeof(*arenas));
	int exit_code = 1;
	if (b && arenas) {
		b->policy = policy;
		b->arenas = arenas;
		str_init(&b->text, BATCH_BYTES + LINE_BYTES_MAX + 1);
		exit_code = check_lines(b, workers, &err) ? 0 : cli_fail(&err);
		str_release(&b->text);
		for (unsigned i = 0; i < workers_n(workers); i++) {
			arena_release(&arenas[i]);
		}
	}
	workers_free(workers);
	free(arenas);
	free(b);
	return cli_finish_stdout(exit_code);
}

int cmd_math(int argc, char **argv)
{
	const char *rules = "default";
	bool lines = false;
	struct cli_option options[] = {
		{"rules", "NAME", "default, strict (boxed and #### only) or lax", CLI_STRING,
			&rules},
		{"jsonl", NULL,
			"read {\"id\", \"gold\", \"pred\"} lines from stdin, write a verdict a "
			"line",
			CLI_FLAG, &lines},
		{0},
	};
	struct cli cli = {"math", "GOLD PRED",
		"Compares an output with the right answer, as the math verifier does.", options, 0,
		2,
		"PRED may be a whole chain of thought. Exit code: 0 equal, 1 anything else; with "
		"--jsonl 0 once all lines are\n"
		"checked.",
		NULL, 0};
	int exit_code;
	if (!cli_parse(&cli, argc, argv, &exit_code)) {
		return exit_code;
	}
	const struct math_policy *policy = strcmp(rules, "strict") == 0 ? &math_policy_strict
		: strcmp(rules, "lax") == 0                             ? &math_policy_lax
									: &math_policy_default;
	if (cli.n_args != (lines ? 0 : 2)) {
		struct error err;
		(void)error_set(&err, FAIL_USAGE,
			lines ? "math --jsonl takes no arguments, not %zu"
			      : "math takes GOLD and PRED, not %zu arguments",
			cli.n_args);
		return cli_fail(&err);
	}
	return lines ? check_stdin(policy)
		     : cli_finish_stdout(check_pair(cli.args[0], cli.args[1], policy));
}
