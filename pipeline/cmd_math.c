#include "base/arena.h"
#include "cli.h"
#include "commands.h"
#include "verifiers/math/mathcheck.h"

#include <stdio.h>
#include <string.h>

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

int cmd_math(int argc, char **argv)
{
	const char *rules = "default";
	struct cli_option options[] = {{"rules", "NAME", "default, strict (boxed and #### only) or lax", CLI_STRING, &rules}, {0}};
	struct cli cli = {"math", "GOLD PRED", "Compares an output with the right answer, as the math verifier does.", options, 2, 2,
		"PRED may be a whole chain of thought. Exit code: 0 equal, 1 anything else.", NULL, 0};
	int exit_code;
	if (!cli_parse(&cli, argc, argv, &exit_code)) {
		return exit_code;
	}
	const struct math_policy *policy = strcmp(rules, "strict") == 0 ? &math_policy_strict
		: strcmp(rules, "lax") == 0				? &math_policy_lax
									: &math_policy_default;
	struct arena arena = {0};
	struct math_verdict v;
	const struct math_value *gold = math_parse_gold(slice_z(cli.args[0]), &arena);
	math_check(gold, slice_z(cli.args[1]), policy, &arena, &v);
	printf("%s\n", math_outcome_name(v.outcome));
	print_value("gold", gold);
	print_value("pred", v.pred);
	printf("  %-8s %s\n  %-8s %s\n", "rule", math_rule_name(v.rule), "method", math_method_name(v.method));
	arena_release(&arena);
	return cli_finish_stdout(v.outcome == MATH_EQUAL ? 0 : 1);
}
