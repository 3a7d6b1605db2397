#include "status_watch.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "cli.h"
#include "control.h"
#include "ledger/ledger.h"
#include "registry.h"
#include "stage.h"
#include "summary.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define DRAWN_EVERY_MS 2000
#define LINES_EVERY_MS 30000
#define LOOK_MS 200 /* whether the run has ended */

/* A reader that has gone is no error. */
static bool flush(struct error *err)
{
	return fflush(stdout) == 0 ||
		(errno != EPIPE && error_errno(err, "could not write to standard output"));
}

/* One look at the run. */
struct view {
	long pid; /* 0: nobody is at work */
	struct ledger *ledger; /* owns */
	struct arena arena;
	const char *run; /* its id */
	struct json *live; /* owns: what the run says; NULL: it cannot be asked now */
	struct str live_text;
};

static void view_release(struct view *v)
{
	json_free(v->live);
	str_release(&v->live_text);
	ledger_close(v->ledger);
	arena_release(&v->arena);
}

static void ask_run(const struct status_watch *w, struct view *v)
{
	struct error ignored = {0};
	bool ok = false;
	if (!control_ask(w->workdir, "status", &v->live_text, &ignored)) {
		return;
	}
	v->live = json_parse(v->live_text.data, v->live_text.len, &ignored);
	const char *run = json_z(json_get(v->live, "run"));
	if (!json_bool(json_get(v->live, "ok"), &ok) || !ok || !run || !v->run ||
		strcmp(run, v->run) != 0) {
		json_free(v->live); /* not of this run, or not an answer */
		v->live = NULL;
	}
}

static bool look(const struct status_watch *w, struct view *v, struct error *err)
{
	AUTO_FREE char *lock = file_join(w->workdir, ".lock");
	*v = (struct view){.pid = file_lock_holder(lock)};
	str_init(&v->live_text, STR_NO_CAP);
	v->ledger = ledger_open(w->ledger_path, LEDGER_READ, err);
	if (!v->ledger) {
		view_release(v);
		return false;
	}
	v->run = ledger_meta(v->ledger, "run", &v->arena);
	const char *state = ledger_meta(v->ledger, "state", &v->arena);
	if (state && strcmp(state, "finished") == 0) {
		v->pid = 0; /* whoever is at work now works on another run */
	}
	if (v->pid) {
		ask_run(w, v);
	}
	return true;
}

static int64_t int_of(const struct json *object, const char *key)
{
	int64_t n = 0;
	return json_int(json_get(object, key), &n) ? n : 0;
}

static bool is_set(const struct json *object, const char *key)
{
	bool value = false;
	return json_bool(json_get(object, key), &value) && value;
}

static double num_of(const struct json *object, const char *key)
{
	double value = 0;
	return json_num(json_get(object, key), &value) ? value : 0;
}

/* --- the whole screen --- */

static const char *mood_of(const struct json *live)
{
	return is_set(live, "stopping")    ? "stopping"
		: is_set(live, "draining") ? "draining"
		: is_set(live, "paused")   ? "paused"
		: !is_set(live, "ready")   ? "waiting for the engines"
					   : "at work";
}

static void print_stage_names(FILE *out, const struct json *live)
{
	const struct json *stages = json_get(live, "stages");
	for (size_t i = 0; i < json_len(stages); i++) {
		const char *name = json_z(json_at(stages, i));
		fprintf(out, "%s%s", i ? "+" : "", name ? name : "?");
	}
}

static void print_pace(FILE *out, const struct json *live)
{
	int64_t eta_ms, deadline_ms = int_of(live, "deadline_ms");
	fprintf(out,
		"  now    %.0f tokens/s, %" PRId64 " in flight, %" PRId64 " waiting, %" PRId64
		" being verified",
		num_of(live, "tokens_per_s"), int_of(live, "in_flight"), int_of(live, "waiting"),
		int_of(live, "verifying"));
	if (json_int(json_get(live, "eta_ms"), &eta_ms)) {
		char duration[24];
		clock_duration(eta_ms, duration);
		fprintf(out, ", ETA %s", duration);
	}
	if (deadline_ms) {
		char stamp[40];
		clock_stamp(deadline_ms, stamp);
		fprintf(out, ", until %s", stamp);
	}
	fputc('\n', out);
}

/* Addresses come from the definition and names from servers. */
static void print_word(FILE *out, const char *word)
{
	struct str text;
	str_init(&text, STR_NO_CAP);
	text_put_printable(&text, word ? word : "?", word ? strlen(word) : 1, false);
	fputs(text.data, out);
	str_release(&text);
}

static void print_engines(FILE *out, const struct json *live)
{
	const struct json *engines = json_get(live, "engines");
	for (size_t i = 0; i < json_len(engines); i++) {
		const struct json *e = json_at(engines, i), *list = json_get(e, "endpoints");
		for (size_t k = 0; k < json_len(list); k++) {
			const struct json *p = json_at(list, k);
			int64_t errors = int_of(p, "errors");
			fputs("  engine ", out);
			print_word(out, json_z(json_get(e, "name")));
			fputs(" at ", out);
			print_word(out, json_z(json_get(p, "url")));
			fprintf(out, ": %" PRId64 " of %" PRId64 " in flight%s",
				int_of(p, "in_flight"), int_of(p, "limit"),
				is_set(p, "up") ? "" : ", DOWN");
			if (errors) {
				fprintf(out, ", %" PRId64 " errors", errors);
			}
			fputc('\n', out);
		}
	}
}

/* The one that has begun and is not done; NULL: none. Of neighbours that work together the first. */
static const char *stage_under_way(struct ledger *l)
{
	struct arena arena = {0};
	const char *name = NULL;
	for (const struct stage_ops *const *s = registry_stages(); *s && !name; s++) {
		struct ledger_stage row;
		ledger_stage(l, (*s)->name, &arena, &row);
		name = row.known && !row.done ? (*s)->name : NULL;
	}
	arena_release(&arena);
	return name;
}

static bool print_screen(FILE *out, const struct view *v, struct error *err)
{
	if (v->live) {
		fprintf(out, "pid %ld, ", v->pid);
		print_stage_names(out, v->live);
		fprintf(out, ", %s\n", mood_of(v->live));
		print_pace(out, v->live);
		print_engines(out, v->live);
		fputc('\n', out);
	} else if (v->pid) {
		const char *stage = stage_under_way(v->ledger);
		fprintf(out, "pid %ld, %s\n\n", v->pid, stage ? stage : "between two stages");
	}
	return summary_print(v->ledger, out, err);
}

/* In place of what stands there, without a flicker; what does not fit is cut, as scrolling would spoil the next picture. */
static void draw(const char *text)
{
	struct winsize size;
	bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row > 1;
	unsigned rows = known ? size.ws_row - 1u : 23;
	fputs("\033[H", stdout);
	for (unsigned row = 0; *text && row < rows; row++) {
		size_t len = strcspn(text, "\n");
		size_t shown = known && len > size.ws_col ? size.ws_col : len;
		while (shown < len && shown && ((unsigned char)text[shown] & 0xc0) == 0x80) {
			shown--; /* not inside a character */
		}
		printf("%.*s\033[K\n", (int)shown, text);
		text += len + (text[len] == '\n');
	}
	fputs("\033[J", stdout);
}

static bool draw_screen(const struct view *v, struct error *err)
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);
	if (!out) {
		oom();
	}
	bool ok = print_screen(out, v, err);
	fclose(out);
	if (ok) {
		draw(text);
	}
	free(text);
	return ok;
}

/* --- lines --- */

static bool print_line(const struct view *v, struct error *err)
{
	struct summary_facts f;
	char stamp[40];
	if (!summary_read(v->ledger, &f, err)) {
		return false;
	}
	clock_stamp(clock_wall_ms(), stamp);
	printf("%s %s", stamp, v->run);
	if (v->live) {
		fputc(' ', stdout);
		print_stage_names(stdout, v->live);
		printf(" %s", mood_of(v->live));
	}
	printf(" %" PRId64 "/%" PRId64 " prompts, %" PRId64 " candidates, %" PRId64 " accepted",
		f.n_prompts - f.n_pending, f.n_prompts, f.n_candidates, f.n_accepted);
	if (v->live) {
		int64_t eta_ms;
		printf(", %.0f tok/s, %" PRId64 " in flight", num_of(v->live, "tokens_per_s"),
			int_of(v->live, "in_flight"));
		if (json_int(json_get(v->live, "eta_ms"), &eta_ms)) {
			char duration[24];
			clock_duration(eta_ms, duration);
			printf(", ETA %s", duration);
		}
	}
	putchar('\n');
	return true;
}

static bool print_json(const struct view *v, struct error *err)
{
	struct str text;
	str_init(&text, STR_NO_CAP);
	struct json_writer w = {.out = &text};
	json_begin_object(&w);
	json_member_int(&w, "time_ms", clock_wall_ms());
	json_member_bool(&w, "running", v->pid != 0);
	json_member_int(&w, "pid", v->pid);
	json_key(&w, "live");
	if (v->live) {
		json_put_raw(&w, v->live_text.data, v->live_text.len);
	} else {
		json_put_null(&w);
	}
	json_key(&w, "summary");
	bool ok = summary_json(v->ledger, &w, err);
	json_end_object(&w);
	if (ok) {
		printf("%s\n", text.data);
	}
	str_release(&text);
	return ok;
}

/* --- watching --- */

static bool show(const struct status_watch *w, const struct view *v, bool fancy, struct error *err)
{
	bool ok = w->json ? print_json(v, err)
		: !v->pid
		? (fancy ? fputs("\033[H\033[J", stdout) : 0, summary_print(v->ledger, stdout, err))
		: fancy ? draw_screen(v, err)
			: print_line(v, err);
	return ok && flush(err);
}

static void sleep_ms(uint64_t ms)
{
	const struct timespec time = {(time_t)(ms / 1000), (long)(ms % 1000) * 1000000};
	nanosleep(&time, NULL);
}

/* Until it is time for the next look, or nobody is at work any more. */
static void wait_for_news(const struct status_watch *w, uint64_t every_ms)
{
	AUTO_FREE char *lock = file_join(w->workdir, ".lock");
	int64_t until_ms = clock_mono_ms() + (int64_t)every_ms;
	while (clock_mono_ms() < until_ms && file_lock_holder(lock)) {
		sleep_ms(MIN(LOOK_MS, (uint64_t)MAX(until_ms - clock_mono_ms(), 1)));
	}
}

bool status_watch(const struct status_watch *w, struct error *err)
{
	bool fancy = !w->json && cli_is_fancy(STDOUT_FILENO);
	uint64_t every_ms = w->every_ms ? w->every_ms
		: fancy || w->json      ? DRAWN_EVERY_MS
					: LINES_EVERY_MS;
	if (fancy) {
		fputs("\033[2J", stdout);
	}
	for (;;) {
		struct view v;
		if (!look(w, &v, err)) {
			return false;
		}
		bool ok = show(w, &v, fancy, err), over = !v.pid;
		view_release(&v);
		if (!ok || over) {
			return ok;
		}
		wait_for_news(w, every_ms);
	}
}

bool status_show(const char *ledger_path, bool json, struct error *err)
{
	struct ledger *l = ledger_open(ledger_path, LEDGER_READ, err);
	if (!l) {
		return false;
	}
	bool ok;
	if (json) {
		struct str text;
		str_init(&text, STR_NO_CAP);
		struct json_writer w = {.out = &text};
		ok = summary_json(l, &w, err);
		if (ok) {
			printf("%s\n", text.data);
		}
		str_release(&text);
	} else {
		ok = summary_print(l, stdout, err);
	}
	ledger_close(l);
	return ok && flush(err);
}
