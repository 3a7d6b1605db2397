/*
 * Pairs a second of the checker, on one thread, for a file of cases or of model outputs; and the slowest pair.
 *
 *	bench_math cases FILE		{gold, pred, note}: both sides are parsed; cases that "must answer in time" are timed apart
 *	bench_math outputs FILE		{ground_truth, NAME: {solution}}: a gold is parsed once, its outputs are checked
 *
 * Prints one JSON object. Reading the file is not part of the figures.
 */
#include "base/arena.h"
#include "base/json.h"
#include "base/lines.h"
#include "base/text.h"
#include "verifiers/math/mathcheck.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PAIRS_MAX 65536
#define SECONDS_MIN 1.0

struct pair {
	char *gold, *pred;
	size_t gold_len, pred_len;
	const struct math_value *parsed; /* NULL: with every check anew */
	bool hard;
};

struct set {
	struct pair pairs[PAIRS_MAX];
	size_t n;
	struct arena arena; /* everything of the file */
};

static double seconds(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void add(
	struct set *set, const struct json *gold, const struct json *pred, bool hard, bool once)
{
	struct pair *p = &set->pairs[set->n];
	const char *g = json_str(gold, &p->gold_len), *o = json_str(pred, &p->pred_len);
	if (!g || !o || set->n + 1 == PAIRS_MAX) {
		return;
	}
	p->gold = arena_memdup0(&set->arena, g, p->gold_len);
	p->pred = arena_memdup0(&set->arena, o, p->pred_len);
	p->hard = hard;
	p->parsed = once ? math_parse_gold((struct slice){p->gold, p->gold_len}, &set->arena)
			 : NULL;
	set->n++;
}

struct row {
	struct set *set;
	const struct json *gold;
};

static void add_output(void *ctx, const char *key, const struct json *value)
{
	struct row *row = ctx;
	(void)key;
	if (json_kind(value) == JSON_OBJECT) {
		add(row->set, row->gold, json_get(value, "solution"), false, true);
	}
}

static bool load(const char *path, bool outputs, struct set *set, struct error *err)
{
	struct lines in = {0};
	struct slice line;
	if (!lines_open(&in, path, 1 << 20, err)) {
		return false;
	}
	while (lines_next(&in, &line, err) == LINES_LINE) {
		AUTO_JSON struct json *row = json_parse(line.data, line.len, err);
		if (!row) {
			break;
		}
		if (outputs) {
			struct row r = {set, json_get(row, "ground_truth")};
			json_each(row, add_output, &r);
		} else {
			const char *note = json_z(json_get(row, "note"));
			add(set, json_get(row, "gold"), json_get(row, "pred"),
				note && strstr(note, "in time"), false);
		}
	}
	lines_release(&in);
	return err->kind == FAIL_NONE;
}

static void check(const struct pair *p, struct arena *arena)
{
	struct math_verdict v;
	const struct math_value *gold = p->parsed
		? p->parsed
		: math_parse_gold((struct slice){p->gold, p->gold_len}, arena);
	math_check(gold, (struct slice){p->pred, p->pred_len}, &math_policy_default, arena, &v);
	arena_reset(arena);
}

/* Seconds of the slowest pair among those that are hard, or that are not; the best of several rounds each. */
static double slowest(const struct set *set, bool hard, struct arena *arena)
{
	double worst = 0;
	for (size_t i = 0; i < set->n; i++) {
		double best = 1e9;
		for (int round = 0; round < 3 && set->pairs[i].hard == hard; round++) {
			double begun = seconds();
			check(&set->pairs[i], arena);
			double spent = seconds() - begun;
			best = spent < best ? spent : best;
		}
		worst = best < 1e9 && best > worst ? best : worst;
	}
	return worst;
}

static void measure(const struct set *set)
{
	struct arena arena = {0};
	size_t n = 0;
	double begun = seconds(), spent;
	do {
		for (size_t i = 0; i < set->n; i++) {
			if (!set->pairs[i].hard) {
				check(&set->pairs[i], &arena);
				n++;
			}
		}
		spent = seconds() - begun;
	} while (spent < SECONDS_MIN && n > 0);
	printf("{\"pairs\": %zu, \"pairs_per_s\": %.0f, \"slowest_ms\": %.3f, \"slowest_hard_ms\": "
	       "%.3f}\n",
		set->n, (double)n / spent, slowest(set, false, &arena) * 1e3,
		slowest(set, true, &arena) * 1e3);
	arena_release(&arena);
}

int main(int argc, char **argv)
{
	struct error err = {0};
	struct set *set = calloc(1, sizeof(*set));
	if (argc != 3 || !set) {
		fprintf(stderr, "usage: bench_math cases|outputs FILE\n");
		free(set);
		return 2;
	}
	bool ok = load(argv[2], strcmp(argv[1], "outputs") == 0, set, &err);
	if (ok) {
		measure(set);
	} else {
		fprintf(stderr, "bench_math: %s\n", err.msg);
	}
	arena_release(&set->arena);
	free(set);
	return ok ? 0 : 1;
}
