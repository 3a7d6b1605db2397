/*
 * Any program as a verifier. A few long-lived workers run it; each is given candidates as JSON lines on its stdin and answers in
 * lines on its stdout, in any order, each answer with the id of its question. docs/verifiers.md has the protocol.
 *
 * The program is not ours and will hang, crash and print nonsense. None of that is a verdict: it is a null score with a
 * reason. A worker that says nothing for too long is killed and costs the candidate it was asked about first, the others it
 * had are asked again. One that dies is started again after a growing pause, and what it had is asked once more, each alone in
 * a worker, so that a candidate that kills its worker is found and takes no other with it.
 *
 * When workers die again and again and none has ever answered, the program itself is broken and the run stops, resumable: a
 * night of nulls would be paid for in vain.
 */
#include "verifiers.h"

#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "definition.h"
#include "engine/child.h"
#include "engine/loop.h"
#include "run.h"
#include "stage.h"
#include "verifier.h"

#include <assert.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ANSWER_BYTES_MAX (1 << 20) /* of one line */
#define QUESTION_BYTES_MAX (64 << 20)
#define DETAIL_BYTES_MAX 4096
#define LOG_BYTES_MAX (16 << 20) /* of one sitting */
#define TRIES_MAX 2
#define BACKOFF_MS 100
#define BACKOFF_MS_MAX 30000
#define HOPELESS_DEATHS 5
#define SCRIPT_BYTES_MAX (1 << 20)

struct exec_config {
	struct param_strings command, fields;
	uint32_t workers, in_flight;
	uint64_t timeout, start_timeout;
};

static const struct param params[] = {
	PARAM_STRINGS("command", struct exec_config, command, .required = true, .min = 1,
		.max = 256,
		.help = "program and its arguments, not read by a shell; files that it names are "
			"part of the fingerprint"),
	PARAM_STRINGS("fields", struct exec_config, fields, .max = 256,
		.help = "fields of the prompt that it is given; default: all"),
	PARAM_U32("workers", struct exec_config, workers, .def = "2", .min = 1, .max = 256,
		.no_fingerprint = true, .help = "processes that run it at the same time"),
	PARAM_U32("in_flight", struct exec_config, in_flight, .def = "1", .min = 1, .max = 1024,
		.no_fingerprint = true,
		.help = "candidates that a worker is given before it has answered"),
	PARAM_DURATION("timeout", struct exec_config, timeout, .def = "30s", .min = 1,
		.max = 86400000, .no_fingerprint = true,
		.help = "how long a worker that has work may say nothing"),
	PARAM_DURATION("start_timeout", struct exec_config, start_timeout, .def = "1m", .min = 0,
		.max = 86400000, .no_fingerprint = true,
		.help = "added to that for a worker's first answer: imports, models"),
	{0},
};

static const char *const reasons[] = {
	"scored", "null", "bad_answer", "timeout", "crashed", "too_long", NULL};
static const char *const failures[] = {"timeout", "crashed", "bad_answer", NULL};

struct worker;

/* A candidate on its way. */
struct item {
	struct verify_job *job; /* NULL: cancelled, the answer is not wanted */
	uint64_t id;
	unsigned tries; /* workers that have died over it */
	struct item *next; /* in the queue, or in its worker's list, oldest first */
};

struct worker {
	struct exec_state *state;
	struct child *child; /* NULL: not running */
	struct item *items; /* asked and not answered, oldest first */
	unsigned n_items;
	bool answered; /* this process has */
	bool killed; /* by us: what it still has is innocent */
	unsigned n_deaths; /* since the last answer */
	struct loop_timer *
		timer; /* silence while it runs, the pause before it is started again while it does not */
};

struct exec_state {
	const struct exec_config *config;
	struct run *run;
	const char *name; /* of the instance */
	struct worker *workers; /* owns; config->workers */
	struct item *queue, **queue_end;
	uint64_t last_id;
	char **args; /* owns the list, not the words */
	char *log_path; /* owns */
	int log_fd;
	size_t log_bytes;
	bool log_cut;
	bool ever_answered, hopeless;
};

static void pump(struct exec_state *s);

/* --- configuration --- */

static void check(const void *config, const struct tree *tree, const struct node *node,
	struct error_list *errors)
{
	const struct exec_config *c = config;
	struct error err = {0};
	if (c->command.n && !c->command.items[0][0]) {
		node_error(&err, tree, node_get(node, "command"),
			"verifier 'exec': command begins with an empty word");
		error_list_add(errors, &err);
	} else if (c->command.n == 1 && strchr(c->command.items[0], ' ') &&
		!file_exists(c->command.items[0])) {
		node_error(&err, tree, node_get(node, "command"),
			"verifier 'exec': there is no program '%s'", c->command.items[0]);
		error_hint(&err, "no shell reads it; write a list: [python3, score.py]");
		error_list_add(errors, &err);
	}
}

static bool is_small_file(const char *path)
{
	struct stat st;
	return stat(path, &st) == 0 && S_ISREG(st.st_mode) && st.st_size <= SCRIPT_BYTES_MAX;
}

/* A changed script gives other scores under the same command. Large files (interpreters, models) are left to their names. */
static void fingerprint(const void *config,
	void (*visit)(void *ctx, const char *path, const char *value), void *ctx)
{
	const struct exec_config *c = config;
	for (size_t i = 0; i < c->command.n; i++) {
		struct str text;
		struct error ignored;
		str_init(&text, SCRIPT_BYTES_MAX);
		if (is_small_file(c->command.items[i]) &&
			file_read(c->command.items[i], SCRIPT_BYTES_MAX, &text, &ignored)) {
			AUTO_FREE char *path = xasprintf("command[%zu].content", i);
			char hex[33];
			hash128_hex(hash128(text.data, text.len), hex);
			visit(ctx, path, hex);
		}
		str_release(&text);
	}
}

static bool is_program(const char *path)
{
	struct stat st;
	return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0;
}

static bool find_program(const char *name)
{
	const char *path = getenv("PATH");
	if (strchr(name, '/')) {
		return is_program(name);
	}
	for (; path && *path; path += strcspn(path, ":"), path += *path == ':') {
		size_t len = strcspn(path, ":");
		AUTO_FREE char *dir = xmemdup0(len ? path : ".", len ? len : 1);
		AUTO_FREE char *full = file_join(dir, name);
		if (is_program(full)) {
			return true;
		}
	}
	return false;
}

static const char *instance_name(const struct run *run, const void *config)
{
	for (size_t i = 0; i < run->def->n_verifiers; i++) {
		if (run->def->verifiers[i].config == config) {
			return run->def->verifiers[i].name;
		}
	}
	return "exec";
}

static bool open_exec(void *state, const void *config, struct run *run, struct error *err)
{
	struct exec_state *s = state;
	s->config = config;
	s->run = run;
	s->name = instance_name(run, config);
	s->queue_end = &s->queue;
	s->log_fd = -1;
	s->args = xcalloc(s->config->command.n + 1, sizeof(*s->args));
	memcpy(s->args, s->config->command.items, s->config->command.n * sizeof(*s->args));
	s->workers = xcalloc(s->config->workers, sizeof(*s->workers));
	for (uint32_t i = 0; i < s->config->workers; i++) {
		s->workers[i].state = s;
	}
	if (!find_program(s->args[0])) {
		error_set(err, FAIL_IO, "there is no program '%s'", s->args[0]);
		return error_hint(err,
			"give its path, relative to the current folder, or a name that PATH has");
	}
	AUTO_FREE char *file = xasprintf("verifier-%s.log", s->name);
	s->log_path = file_join(run->dir, file);
	s->log_fd = open(s->log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	return s->log_fd >= 0 ||
		error_errno(err, "could not open the workers' log '%s'", s->log_path);
}

static void free_items(struct item *item)
{
	while (item) {
		struct item *next = item->next;
		assert(!item->job); /* the flow waits for every answer */
		free(item);
		item = next;
	}
}

static void close_exec(void *state)
{
	struct exec_state *s = state;
	for (uint32_t i = 0; s->workers && i < s->config->workers; i++) {
		struct worker *w = &s->workers[i];
		loop_timer_stop(w->timer);
		if (w->child) {
			child_stop(w->child);
		}
		free_items(w->items);
	}
	free_items(s->queue);
	if (s->log_path && s->log_fd >= 0) {
		close(s->log_fd);
	}
	free(s->workers);
	free(s->args);
	free(s->log_path);
}

/* --- the log --- */

/* What is over the limit is not kept; the disk is not the program's to fill. */
static void keep_noise(struct exec_state *s, const char *bytes, size_t len)
{
	size_t room = LOG_BYTES_MAX - s->log_bytes, kept = MIN(len, room);
	if (kept && write(s->log_fd, bytes, kept) < 0) {
		return; /* a log that cannot be written is no reason to lose a night */
	}
	s->log_bytes += kept;
	if (kept < len && !s->log_cut) {
		s->log_cut = true;
		log_warn("a verifier's log is full, dropping what its workers print", "verifier",
			s->name, "log", s->log_path, NULL);
	}
}

/* --- answers --- */

/* The item has left every list. */
static void give_score(struct item *item, const struct score *score)
{
	if (item->job) {
		verify_done(item->job, score);
	}
	free(item);
}

static void give_null(struct item *item, const char *reason, const char *detail)
{
	give_score(item, &(struct score){.reason = reason, .detail = detail});
}

static void put_member(struct json_writer *w, const struct json *answer, const char *key)
{
	const struct json *v = json_get(answer, key);
	if (json_kind(v) == JSON_NONE || json_kind(v) == JSON_NULL) {
		return;
	}
	struct str text;
	str_init(&text, DETAIL_BYTES_MAX / 2);
	json_dump(v, false, &text);
	json_key(w, key);
	if (text.full) {
		json_put_z(w, "too long to keep");
	} else {
		json_put_raw(w, text.data, text.len);
	}
	str_release(&text);
}

/* What the program says beside the number, as JSON; empty: nothing. */
static void read_detail(const struct json *answer, struct str *out)
{
	struct json_writer w = {.out = out};
	json_begin_object(&w);
	put_member(&w, answer, "reason");
	put_member(&w, answer, "detail");
	json_end_object(&w);
	if (slice_eq_z((struct slice){out->data, out->len}, "{}")) {
		str_reset(out);
	}
}

static void read_score(const struct json *answer, struct score *out)
{
	const struct json *v = json_get(answer, "score");
	bool truth;
	if (json_kind(v) == JSON_NULL) {
		*out = (struct score){.reason = "null"};
	} else if (json_num(v, &out->value) && isfinite(out->value)) {
		*out = (struct score){.known = true, .value = out->value, .reason = "scored"};
	} else if (json_bool(v, &truth)) {
		*out = (struct score){.known = true, .value = truth, .reason = "scored"};
	} else {
		*out = (struct score){.reason = "bad_answer"};
	}
}

static struct item *take_item(struct worker *w, uint64_t id)
{
	for (struct item **at = &w->items; *at; at = &(*at)->next) {
		struct item *item = *at;
		if (item->id == id) {
			*at = item->next;
			w->n_items--;
			return item;
		}
	}
	return NULL;
}

static void watch_silence(struct worker *w);

static void take_answer(struct worker *w, struct item *item, const struct json *answer)
{
	struct score score = {0};
	struct str detail;
	str_init(&detail, DETAIL_BYTES_MAX);
	read_score(answer, &score);
	read_detail(answer, &detail);
	score.detail = detail.len ? detail.data : NULL;
	w->answered = w->state->ever_answered = true;
	w->n_deaths = 0;
	watch_silence(w);
	give_score(item, &score);
	str_release(&detail);
	pump(w->state);
}

/* The oldest item is blamed for what cannot be attributed. */
static void fail_oldest(struct worker *w, const char *reason, const char *detail)
{
	struct item *item = w->items;
	if (item) {
		w->items = item->next;
		w->n_items--;
		give_null(item, reason, detail);
	}
}

/* The id of a line that begins as an answer and is no JSON, such as one with a NaN; 0: none can be seen. */
static uint64_t id_of_broken(const char *line)
{
	const char *at = line[0] == '{' ? strstr(line, "\"id\"") : NULL;
	if (!at) {
		return 0;
	}
	at += strlen("\"id\"");
	at += strspn(at, " :");
	AUTO_FREE char *digits = xmemdup0(at, strspn(at, "0123456789"));
	uint64_t id;
	return text_parse_u64(digits, &id) ? id : 0;
}

/* Libraries greet and warn on stdout: what is no answer goes to the log. */
static void on_line(void *ctx, const char *line, size_t len)
{
	struct worker *w = ctx;
	struct error err = {0};
	if (!line) {
		w->killed = true;
		fail_oldest(w, "bad_answer", "{\"reason\":\"a line of more than 1 MiB\"}");
		return;
	}
	AUTO_JSON struct json *answer = json_parse(line, len, &err);
	int64_t id = 0;
	if (!answer) {
		id = (int64_t)id_of_broken(line);
	} else if (!json_int(json_get(answer, "id"), &id)) {
		id = 0;
	}
	struct item *item = take_item(w, (uint64_t)id);
	if (item) {
		take_answer(w, item, answer);
	} else {
		keep_noise(w->state, line, len);
		keep_noise(w->state, "\n", 1);
	}
}

static void on_noise(void *ctx, const char *bytes, size_t len)
{
	keep_noise(((struct worker *)ctx)->state, bytes, len);
}

/* --- questions --- */

static void put_fields(
	struct json_writer *w, const struct exec_config *c, const struct json *fields)
{
	struct str text;
	str_init(&text, STR_NO_CAP);
	json_key(w, "fields");
	if (!c->fields.n) {
		json_dump(fields, false, &text);
		json_put_raw(w, text.data, text.len);
		str_release(&text);
		return;
	}
	json_begin_object(w);
	for (size_t i = 0; i < c->fields.n; i++) {
		const struct json *v = json_get(fields, c->fields.items[i]);
		if (v) {
			str_reset(&text);
			json_dump(v, false, &text);
			json_key(w, c->fields.items[i]);
			json_put_raw(w, text.data, text.len);
		}
	}
	json_end_object(w);
	str_release(&text);
}

static void put_question(struct str *out, const struct exec_config *c, uint64_t id,
	const struct candidate *candidate)
{
	const struct prompt *prompt = &candidate->group->prompt;
	struct json_writer w = {.out = out};
	json_begin_object(&w);
	json_member_uint(&w, "id", id);
	json_member_z(&w, "prompt_id", prompt->prompt_id);
	json_member_uint(&w, "idx", candidate->idx);
	put_fields(&w, c, prompt->fields);
	json_key(&w, "text");
	json_put_str(&w, candidate->text.data, candidate->text.len);
	json_end_object(&w);
	str_append_c(out, '\n');
}

/* --- workers --- */

static void silent_too_long(void *ctx)
{
	struct worker *w = ctx;
	w->timer = NULL;
	child_kill(w->child);
	w->killed = true;
	fail_oldest(w, "timeout", NULL);
}

/* From now on, or from the last answer on. */
static void watch_silence(struct worker *w)
{
	const struct exec_config *c = w->state->config;
	loop_timer_stop(w->timer);
	w->timer = w->n_items
		? loop_after(w->state->run->loop, c->timeout + (w->answered ? 0 : c->start_timeout),
			  silent_too_long, w)
		: NULL;
}

static void put_in_front(struct exec_state *s, struct item *item)
{
	item->next = s->queue;
	s->queue = item;
	if (!item->next) {
		s->queue_end = &item->next;
	}
}

/* What a dead worker had goes back to the front of the queue, in its order. */
static void take_back(struct worker *w)
{
	struct item *reversed = NULL;
	while (w->items) {
		struct item *item = w->items;
		w->items = item->next;
		item->next = reversed;
		reversed = item;
	}
	w->n_items = 0;
	while (reversed) {
		struct item *item = reversed;
		reversed = item->next;
		item->tries += !w->killed;
		if (!item->job || item->tries >= TRIES_MAX) {
			give_null(item, "crashed", NULL);
		} else {
			put_in_front(w->state, item);
		}
	}
}

static void give_up(struct exec_state *s, int64_t status, int sig)
{
	struct error err = {0};
	s->hopeless = true;
	if (sig) {
		error_set(&err, FAIL_IO,
			"verifier '%s': '%s' was killed by signal %d before it answered, %d times",
			s->name, s->args[0], sig, HOPELESS_DEATHS);
	} else {
		error_set(&err, FAIL_IO,
			"verifier '%s': '%s' ended with exit code %lld before it answered, %d "
			"times",
			s->name, s->args[0], (long long)status, HOPELESS_DEATHS);
	}
	error_hint(&err, "what it printed is in %s", s->log_path);
	flow_failed(s->run, &err);
}

static void pause_is_over(void *ctx)
{
	struct worker *w = ctx;
	w->timer = NULL;
	pump(w->state);
}

static unsigned count_deaths(const struct exec_state *s)
{
	unsigned n = 0;
	for (uint32_t i = 0; i < s->config->workers; i++) {
		n += s->workers[i].n_deaths;
	}
	return n;
}

static void on_end(void *ctx, int64_t status, int sig)
{
	struct worker *w = ctx;
	struct exec_state *s = w->state;
	uint64_t pause_ms = BACKOFF_MS;
	loop_timer_stop(w->timer);
	w->child = NULL;
	for (unsigned i = 0; i < w->n_deaths && pause_ms < BACKOFF_MS_MAX; i++) {
		pause_ms *= 2;
	}
	w->n_deaths++;
	w->timer = loop_after(s->run->loop, pause_ms, pause_is_over, w);
	log_debug("a verifier's worker ended", "verifier", s->name, "status",
		log_fmt("%lld", (long long)status), "signal", log_fmt("%d", sig), NULL);
	take_back(w);
	if (!s->ever_answered && !s->hopeless && count_deaths(s) >= HOPELESS_DEATHS) {
		give_up(s, status, sig);
	}
	pump(s);
}

static bool start_worker(struct worker *w)
{
	struct exec_state *s = w->state;
	struct error err = {0};
	w->answered = w->killed = false;
	w->child = child_start(s->run->loop, s->args, ANSWER_BYTES_MAX,
		(struct child_events){on_line, on_noise, on_end, w}, &err);
	if (!w->child) {
		/* Out of processes or memory, most likely; that passes. */
		log_warn("could not start a verifier's worker, trying again", "verifier", s->name,
			"error", err.msg, NULL);
		w->timer = loop_after(s->run->loop, BACKOFF_MS_MAX, pause_is_over, w);
	}
	return w->child != NULL;
}

/* One that has killed a worker is asked alone. */
static bool has_room(const struct worker *w, const struct item *item)
{
	if (!w->child) {
		return !w->timer; /* in its pause */
	}
	if (w->killed) {
		return false;
	}
	return item->tries || (w->items && w->items->tries)
		? !w->n_items
		: w->n_items < w->state->config->in_flight;
}

/* The one with least to do; a running one before one that must be started. */
static struct worker *find_worker(struct exec_state *s, const struct item *item)
{
	struct worker *best = NULL;
	for (uint32_t i = 0; i < s->config->workers; i++) {
		struct worker *w = &s->workers[i];
		if (has_room(w, item) &&
			(!best || w->n_items < best->n_items ||
				(w->n_items == best->n_items && w->child && !best->child))) {
			best = w;
		}
	}
	return best;
}

static void tell_too_long(void *ctx)
{
	give_null(ctx, "too_long", NULL);
}

/* The question is made here and not when the candidate comes, so that a long queue holds no texts. */
static void give_item(struct worker *w, struct item *item)
{
	struct exec_state *s = w->state;
	struct item **end = &w->items;
	struct str question;
	str_init(&question, QUESTION_BYTES_MAX);
	put_question(&question, s->config, item->id, item->job->candidate);
	if (question.full) {
		item->job->work = NULL; /* answered before it could be cancelled */
		loop_after(s->run->loop, 0, tell_too_long, item);
		str_release(&question);
		return;
	}
	while (*end) {
		end = &(*end)->next;
	}
	item->next = NULL;
	*end = item;
	w->n_items++;
	child_write(w->child, question.data, question.len);
	str_release(&question);
	if (w->n_items == 1) {
		watch_silence(w);
	}
}

/* Gives out what waits, in order. */
static void pump(struct exec_state *s)
{
	while (s->queue) {
		struct item *item = s->queue;
		struct worker *w = item->job ? find_worker(s, item) : NULL;
		if (item->job && (!w || (!w->child && !start_worker(w)))) {
			return;
		}
		s->queue = item->next;
		if (!s->queue) {
			s->queue_end = &s->queue;
		}
		if (w) {
			give_item(w, item);
		} else {
			free(item);
		}
	}
}

/* --- what the verify stage calls --- */

static void submit(void *state, struct verify_job *job)
{
	struct exec_state *s = state;
	struct item *item = xcalloc(1, sizeof(*item));
	*item = (struct item){.job = job, .id = ++s->last_id};
	job->work = item;
	*s->queue_end = item;
	s->queue_end = &item->next;
	pump(s);
}

static void tell_cancelled(void *ctx)
{
	verify_cancelled(ctx);
}

/* A worker that has it goes on and its answer is thrown away. */
static void cancel(void *state, struct verify_job *job)
{
	struct exec_state *s = state;
	struct item *item = job->work;
	if (!item) {
		return; /* an answer is on its way */
	}
	job->work = NULL;
	item->job = NULL; /* pump() and the answer find that out */
	loop_after(s->run->loop, 0, tell_cancelled, job);
}

const struct verifier_ops verify_exec = {
	.name = "exec",
	.summary = "what a program of yours answers, asked in JSON lines: a number, or null",
	.version = 1,
	.params = params,
	.config_size = sizeof(struct exec_config),
	.state_size = sizeof(struct exec_state),
	.reasons = reasons,
	.failures = failures,
	.check = check,
	.fingerprint = fingerprint,
	.open = open_exec,
	.submit = submit,
	.cancel = cancel,
	.close = close_exec,
};
