#include "cli.h"

#include "base/mem.h"
#include "base/text.h"

#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OPTIONS_MAX 32

static void print_help(const struct cli *cli)
{
	printf("usage: thresh %s [OPTIONS] %s\n\n%s\n\noptions:\n", cli->command, cli->args_help,
		cli->summary);
	for (const struct cli_option *o = cli->options; o->name; o++) {
		char name[64];
		snprintf(name, sizeof(name), "--%s%s%s", o->name, o->arg ? " " : "",
			o->arg ? o->arg : "");
		printf("  %-20s %s\n", name, o->help);
	}
	printf("  %-20s %s\n", "--help", "this text");
	if (cli->more_help) {
		printf("\n%s\n", cli->more_help);
	}
}

static bool usage(const struct cli *cli, int *out_exit_code, struct error *err)
{
	if (!err->hint[0]) {
		error_hint(err, "thresh %s --help", cli->command);
	}
	error_context(err, "thresh %s", cli->command);
	*out_exit_code = cli_fail(err);
	return false;
}

static const struct cli_option *find(
	const struct cli *cli, const char *name, size_t len, struct error *err)
{
	const char *names[OPTIONS_MAX];
	size_t n = 0;
	for (const struct cli_option *o = cli->options; o->name; o++) {
		if (strlen(o->name) == len && memcmp(o->name, name, len) == 0) {
			return o;
		}
		assert(n < OPTIONS_MAX);
		names[n++] = o->name;
	}
	char word[64];
	snprintf(word, sizeof(word), "%.*s", (int)len, name);
	error_set(err, FAIL_USAGE, "unknown option --%s", word);
	const char *nearest = text_nearest(word, names, n);
	if (nearest) {
		error_hint(err, "did you mean --%s?", nearest);
	}
	return NULL;
}

static bool store(const struct cli_option *o, const char *value, struct error *err)
{
	switch (o->type) {
	case CLI_FLAG:
		*(bool *)o->to = true;
		return true;
	case CLI_STRING:
		*(const char **)o->to = value;
		return true;
	case CLI_COUNT:
		return text_parse_count(value, o->to) ||
			error_set(err, FAIL_USAGE, "--%s must be a whole number, not '%s'", o->name,
				value);
	case CLI_STRINGS: {
		struct cli_strings *list = o->to;
		if (list->n == ARRAY_LEN(list->items)) {
			return error_set(err, FAIL_USAGE, "--%s is given too often", o->name);
		}
		list->items[list->n++] = value;
		return true;
	}
	}
	return false;
}

bool cli_parse(struct cli *cli, int argc, char **argv, int *out_exit_code)
{
	struct error err = {0};
	bool options_over = false;
	cli->args = argv + 1; /* arguments are moved to the front, where options stood */
	for (int i = 1; i < argc; i++) {
		const char *a = argv[i];
		if (options_over || a[0] != '-' || !a[1]) {
			cli->args[cli->n_args++] = argv[i];
			continue;
		}
		if (strcmp(a, "--") == 0) {
			options_over = true;
			continue;
		}
		if (strcmp(a, "--help") == 0 || strcmp(a, "-h") == 0) {
			print_help(cli);
			*out_exit_code = 0;
			return false;
		}
		if (a[1] != '-') {
			error_set(&err, FAIL_USAGE, "unknown option %s", a);
			return usage(cli, out_exit_code, &err);
		}
		size_t len = strcspn(a + 2, "=");
		const struct cli_option *o = find(cli, a + 2, len, &err);
		const char *value = a[2 + len] ? a + 3 + len : NULL;
		if (!o) {
			return usage(cli, out_exit_code, &err);
		}
		if (o->type == CLI_FLAG && value) {
			error_set(&err, FAIL_USAGE, "--%s takes no value", o->name);
			return usage(cli, out_exit_code, &err);
		}
		if (o->type != CLI_FLAG && !value) {
			if (i + 1 == argc) {
				error_set(&err, FAIL_USAGE, "--%s needs a value, %s", o->name,
					o->arg);
				return usage(cli, out_exit_code, &err);
			}
			value = argv[++i];
		}
		if (!store(o, value, &err)) {
			return usage(cli, out_exit_code, &err);
		}
	}
	if (cli->n_args < cli->args_min || cli->n_args > cli->args_max) {
		error_set(&err, FAIL_USAGE,
			cli->n_args < cli->args_min ? "an argument is missing: %s"
						    : "too many arguments, wanted: %s",
			cli->args_help[0] ? cli->args_help : "none");
		return usage(cli, out_exit_code, &err);
	}
	return true;
}

bool cli_is_fancy(int fd)
{
	const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
	return isatty(fd) && !(no_color && no_color[0]) && !(term && strcmp(term, "dumb") == 0);
}

/* Names out of definitions and foreign folders are in it. Only a hint has lines of its own: the end of a server's log. */
int cli_fail(const struct error *err)
{
	struct str text;
	str_init(&text, STR_NO_CAP);
	text_put_printable(&text, err->where, strlen(err->where), false);
	str_append_z(&text, err->where[0] ? ": " : "thresh: ");
	text_put_printable(&text, err->msg, strlen(err->msg), false);
	if (err->hint[0]) {
		str_append_z(&text, "\n  hint: ");
		text_put_printable(&text, err->hint, strlen(err->hint), true);
	}
	fprintf(stderr, "%s\n", text.data);
	str_release(&text);
	return error_exit_code(err->kind);
}

/* "file:12:5" as (12, 5); what has no such place comes last. */
static void place_of(const struct error *err, unsigned long *line, unsigned long *column)
{
	const char *colon = strrchr(err->where, ':');
	*line = *column = (unsigned long)-1;
	if (!colon || colon == err->where) {
		return;
	}
	const char *before = colon;
	while (before > err->where && before[-1] >= '0' && before[-1] <= '9') {
		before--;
	}
	if (before < colon && before > err->where && before[-1] == ':') {
		*line = strtoul(before, NULL, 10);
		*column = strtoul(colon + 1, NULL, 10);
	}
}

static int by_place(const void *a, const void *b)
{
	const struct error *x = a, *y = b;
	unsigned long xl, xc, yl, yc;
	place_of(x, &xl, &xc);
	place_of(y, &yl, &yc);
	if (xl != yl) {
		return xl < yl ? -1 : 1;
	}
	if (xc != yc) {
		return xc < yc ? -1 : 1;
	}
	return strcmp(x->msg, y->msg);
}

int cli_fail_all(struct error_list *errors)
{
	qsort(errors->items, errors->n, sizeof(*errors->items), by_place);
	for (size_t i = 0; i < errors->n; i++) {
		cli_fail(&errors->items[i]);
	}
	return 2;
}

int cli_finish_stdout(int exit_code)
{
	if ((fflush(stdout) != 0 || ferror(stdout)) && errno != EPIPE) {
		struct error err;
		error_errno(&err, "could not write to standard output");
		return cli_fail(&err);
	}
	return exit_code;
}
