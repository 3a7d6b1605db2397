/*
 * Finds out which layers this machine gives, and puts the options of bubblewrap together.
 *
 * As root we become "nobody" first: RLIMIT_NPROC does not bind root, not even root of a user namespace that is the real root
 * outside. Below that user, the limit counts from zero in each sandbox's own user namespace.
 */
#include "verifiers/sandbox/sandbox_private.h"

#include "base/attr.h"
#include "base/file.h"
#include "base/mem.h"
#include "verifiers/sandbox/cgroup.h"
#include "verifiers/sandbox/filter.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NOBODY 65534

static void add(struct sandbox *box, const char *option)
{
	box->prefix = array_room(
		box->prefix, box->n_prefix, &box->cap_prefix, sizeof(*box->prefix));
	box->prefix[box->n_prefix++] = xstrdup(option);
}

static void add_all(struct sandbox *box, const char *const *options)
{
	for (; *options; options++) {
		add(box, *options);
	}
}

/* /bin and its like: links into /usr, or, on an old installation, folders of their own. */
static void add_root_folder(struct sandbox *box, const char *path)
{
	struct stat st;
	char target[64];
	ssize_t n;
	if (lstat(path, &st) != 0) {
		return;
	}
	if (S_ISLNK(st.st_mode) && (n = readlink(path, target, sizeof(target) - 1)) > 0) {
		target[n] = '\0';
		add_all(box, (const char *const[]){"--symlink", target, path, NULL});
	} else {
		add_all(box, (const char *const[]){"--ro-bind", path, path, NULL});
	}
}

static void add_number(struct sandbox *box, const char *option, uint64_t number)
{
	AUTO_FREE char *text = xasprintf("%llu", (unsigned long long)number);
	add(box, option);
	add(box, text);
}

/*
 * The command is the init of its namespace: nobody in there can signal it, all of them end with it, and bubblewrap, which stays
 * outside, waits for it, so that no zombie is left to whoever adopts orphans here.
 */
static void build_prefix(struct sandbox *box, const char *bwrap, const struct sandbox_config *c)
{
	add(box, bwrap);
	add_all(box,
		(const char *const[]){"--unshare-all", "--die-with-parent", "--new-session",
			"--as-pid-1", "--cap-drop", "ALL", "--ro-bind", "/usr", "/usr", NULL});
	add_root_folder(box, "/bin");
	add_root_folder(box, "/lib");
	add_root_folder(box, "/lib64");
	add_number(box, "--size", c->scratch_bytes);
	add_all(box, (const char *const[]){"--tmpfs", "/tmp", NULL});
	/* Behind /tmp, since that is where one of them may lie. */
	for (const char *const *path = c->readable; path && *path; path++) {
		add_all(box, (const char *const[]){"--ro-bind", *path, *path, NULL});
	}
	/* No /dev/zero: mapped as shared, it is memory that no limit counts (filter.c). */
	add_all(box,
		(const char *const[]){"--dev-bind", "/dev/null", "/dev/null", "--dev-bind",
			"/dev/urandom", "/dev/urandom", NULL});
	/* The root itself is a tmpfs without a limit. */
	add_all(box, (const char *const[]){"--remount-ro", "/", "--chdir", "/tmp", NULL});
	add_number(box, "--seccomp", FILTER_FD);
	add_number(box, "--info-fd", INFO_FD);
	add(box, "--");
}

static void drop_prefix(struct sandbox *box)
{
	for (size_t i = 0; i < box->n_prefix; i++) {
		free(box->prefix[i]);
	}
	box->n_prefix = 0;
}

static const char *find_bwrap(void)
{
	static const char *const places[] = {
		"/usr/bin/bwrap", "/usr/local/bin/bwrap", "/bin/bwrap"};
	/* For tests, which make it disappear. */
	const char *named = getenv("THRESH_TEST_BWRAP");
	if (named) {
		return access(named, X_OK) == 0 ? named : NULL;
	}
	for (size_t i = 0; i < ARRAY_LEN(places); i++) {
		if (access(places[i], X_OK) == 0) {
			return places[i];
		}
	}
	return NULL;
}

static char *first_line(const struct str *text)
{
	return xmemdup0(text->data, MIN(strcspn(text->data, "\n"), 300));
}

/* True if a command that does nothing runs in the sandbox as it is now. */
static bool try_it(struct sandbox *box, char **out_why)
{
	static const char *const nothing[] = {"/usr/bin/true", NULL};
	struct sandbox_command command = {.argv = nothing,
		.limits = {.cpu_ms = 5000,
			.wall_ms = 10000,
			.memory_bytes = 256 << 20,
			.output_bytes = 1 << 20,
			.processes = 16}};
	struct sandbox_result result;
	sandbox_run(box, &command, &result);
	bool ok = result.end == SANDBOX_EXITED && result.exit_code == 0;
	if (!ok) {
		free(*out_why);
		*out_why = first_line(&result.err);
	}
	sandbox_result_release(&result);
	return ok;
}

/* Without /proc/PID/task/TID/children there is no looking at a tree. */
static bool can_look(void)
{
	AUTO_FREE char *path = xasprintf("/proc/self/task/%d/children", (int)gettid());
	return access(path, R_OK) == 0;
}

static void miss(struct sandbox *box, const char *layer)
{
	char *all = box->missing ? xasprintf("%s; %s", box->missing, layer) : xstrdup(layer);
	free(box->missing);
	box->missing = all;
}

static void find_layers(struct sandbox *box, const struct sandbox_config *config)
{
	AUTO_FREE char *why = NULL;
	const char *bwrap = find_bwrap();
	if (geteuid() == 0) {
		box->run_as = NOBODY;
	}
	if (!can_look() && !box->cgroups) {
		miss(box,
			"limits of the whole tree (neither a delegated cgroup nor "
			"/proc/PID/task/TID/children)");
	}
	if (!bwrap) {
		miss(box, "namespaces (bubblewrap, 'bwrap', is not installed)");
		return;
	}
	build_prefix(box, bwrap, config);
	if (!try_it(box, &why)) {
		AUTO_FREE char *layer = xasprintf("namespaces (%s)", why);
		miss(box, layer);
		drop_prefix(box);
	}
}

struct sandbox *sandbox_new(const struct sandbox_config *config, struct error *err)
{
	struct sandbox *box = xcalloc(1, sizeof(*box));
	str_init(&box->filter, 64 << 10);
	box->scratch_bytes = config->scratch_bytes;
	box->cgroups = cgroups_find();
	if (!filter_build(&box->filter, err)) {
		sandbox_free(box);
		return NULL;
	}
	find_layers(box, config);
	if (box->missing && !config->unsafe) {
		error_set(err, FAIL_IO, "the sandbox lacks %s", box->missing);
		error_hint(err,
			"install bubblewrap and allow unprivileged user namespaces, or say "
			"`unsafe: true` to run models' code without that layer");
		sandbox_free(box);
		return NULL;
	}
	return box;
}

void sandbox_free(struct sandbox *box)
{
	if (!box) {
		return;
	}
	drop_prefix(box);
	free(box->prefix);
	free(box->missing);
	cgroups_free(box->cgroups);
	str_release(&box->filter);
	free(box);
}

const char *sandbox_missing(const struct sandbox *box)
{
	return box->missing;
}
