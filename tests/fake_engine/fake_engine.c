/*
 * fake_engine: an inference server without a model, for tests. It answers as llama.cpp's server or as an OpenAI-compatible one does, always the
 * same for the same prompt and seed, and misbehaves where a script says so. README.md tells how to use it.
 *
 * One thread, one libuv loop. An answer is written as soon as the request has been read; what takes time in a real engine is
 * only the waiting for it: a request for n candidates holds min(n, slots) slots for as long as its longest text takes
 * at --delay-ms-per-token, and requests that find too few slots free wait in order.
 */
#include "fake_api.h"
#include "fake_gguf.h"
#include "fake_options.h"

#include "base/file.h"
#include "base/hash.h"
#include "base/mem.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#define EXIT_SCRIPTED_DEATH 3

/* A request that has been read and not answered yet. */
struct pending {
	struct engine_state *state; /* borrows */
	struct fake_conn *conn; /* borrows; NULL when the client has gone */
	struct api_call call;
	const struct script_rule *rule; /* the fault it meets, or NULL */
	uint32_t slots; /* that it needs */
	bool running, timing;
	uv_timer_t timer;
	size_t n_sent; /* events of a stream */
	uint64_t started_ms;
	struct pending *next; /* in the queue */
};

struct engine_state {
	struct fake_options options;
	uv_loop_t loop;
	struct fake_http http;
	uv_signal_t sigterm, sigint;
	struct api api;
	struct script script;
	int log_fd; /* -1: no log */
	struct pending *queue, **queue_end; /* waiting for slots, oldest first */
};

/* --- the log --- */

static void log_request(struct engine_state *state, struct slice path, const struct api_call *call,
	const struct script_rule *rule)
{
	struct json_writer w;
	struct str line;
	char hash[17];

	if (state->log_fd < 0) {
		return;
	}
	str_init(&line, STR_NO_CAP);
	w = (struct json_writer){.out = &line};
	hash64_hex(call->prompt.n ? hash64(call->prompt.items, call->prompt.n * sizeof(uint32_t), 0)
				  : hash64(call->prompt_text.data, call->prompt_text.len, 0),
		hash);
	json_begin_object(&w);
	json_key(&w, "path");
	json_put_str(&w, path.data, path.len);
	json_key(&w, "seed");
	json_put_uint(&w, call->seed);
	json_key(&w, "n");
	json_put_uint(&w, call->n);
	json_key(&w, "prompt_hash");
	json_put_z(&w, hash);
	json_key(&w, "n_prompt");
	json_put_uint(&w, call->prompt.n);
	json_key(&w, "n_tokens");
	json_put_uint(&w, call->n_tokens);
	json_key(&w, "status");
	json_put_uint(&w, call->status);
	json_key(&w, "fault");
	json_put_z(&w, rule ? rule->fault_name : NULL);
	json_end_object(&w);
	str_append_c(&line, '\n');
	if (write(state->log_fd, line.data, line.len) != (ssize_t)line.len) {
		fprintf(stderr, "fake_engine: could not write the log: %s\n", strerror(errno));
	}
	str_release(&line);
}

/* --- answering --- */

static void pending_free(struct pending *p)
{
	api_call_release(&p->call);
	free(p);
}

static void timer_closed(uv_handle_t *handle)
{
	pending_free(handle->data);
}

static void start_waiting(struct engine_state *state);

/* Gives the slots back and frees it, now or when its timer is closed. */
static void pending_end(struct pending *p)
{
	struct engine_state *state = p->state;

	if (p->running) {
		state->api.n_busy -= p->slots;
	}
	p->running = false;
	if (p->timing) {
		uv_close((uv_handle_t *)&p->timer, timer_closed);
	} else {
		pending_free(p);
	}
	start_waiting(state);
}

static void send_answer(struct pending *p)
{
	const struct script_rule *rule = p->rule;
	struct fake_reply reply = {.status = p->call.status,
		.content_type = p->call.content_type,
		.retry_after_s = rule ? rule->retry_after_s : -1,
		.body = {p->call.body.data, p->call.body.len}};
	struct fake_conn *conn = p->conn;

	if (rule && rule->fault == FAULT_HALF) {
		reply.kind = FAKE_REPLY_HALF;
	} else if (rule && rule->fault == FAULT_HUGE) {
		reply.kind = FAKE_REPLY_HUGE;
		reply.bytes = rule->bytes;
	}
	*fake_conn_call(conn) = NULL;
	fake_http_reply(conn, &reply);
	pending_end(p);
}

static void timer_fired(uv_timer_t *timer)
{
	send_answer(timer->data);
}

/* --- streams --- */

/* Events whose tokens have been sampled by now; ends the answer behind the last, or in the middle if the script says so. */
static void send_due_events(struct pending *p)
{
	struct engine_state *state = p->state;
	struct api_call *call = &p->call;
	double delay = state->options.delay_ms_per_token;
	uint64_t elapsed = uv_now(&state->loop) - p->started_ms;
	bool half = p->rule && p->rule->fault == FAULT_HALF;
	size_t stop = half ? call->n_events / 2 : call->n_events;
	size_t from = p->n_sent ? call->events[p->n_sent - 1].end : 0, to = from;
	struct fake_conn *conn = p->conn;

	while (p->n_sent < stop &&
		(delay <= 0 || (double)call->events[p->n_sent].step * delay <= (double)elapsed)) {
		to = call->events[p->n_sent].end;
		state->api.predicted_tokens += call->events[p->n_sent++].n_tokens;
	}
	if (to > from) {
		fake_http_part(conn, (struct slice){call->body.data + from, to - from});
	}
	if (p->n_sent < stop) {
		return;
	}
	*fake_conn_call(conn) = NULL;
	if (half) {
		fake_http_drop(conn);
	} else {
		fake_http_end(conn);
	}
	pending_end(p);
}

static void stream_timer_fired(uv_timer_t *timer)
{
	send_due_events(timer->data);
}

static void start_stream(struct pending *p, double wait_ms)
{
	struct engine_state *state = p->state;

	p->started_ms = uv_now(&state->loop) + (uint64_t)wait_ms;
	fake_http_begin(p->conn, p->call.status, p->call.content_type);
	if (state->options.delay_ms_per_token <= 0 && wait_ms < 1) {
		send_due_events(p);
		return;
	}
	uv_timer_init(&state->loop, &p->timer);
	p->timer.data = p;
	p->timing = true;
	uv_timer_start(&p->timer, stream_timer_fired, (uint64_t)wait_ms, 1);
}

static void start(struct pending *p)
{
	struct engine_state *state = p->state;
	double ms = state->options.delay_ms_per_token * p->call.n_longest;
	double wait_ms = p->rule && p->rule->fault == FAULT_SLOW ? (double)p->rule->ms : 0;

	state->api.n_busy += p->slots;
	p->running = true;
	if (p->call.n_events > 0) {
		start_stream(p, wait_ms);
		return;
	}
	ms += wait_ms;
	if (ms < 1) {
		send_answer(p);
		return;
	}
	uv_timer_init(&state->loop, &p->timer);
	p->timer.data = p;
	p->timing = true;
	uv_timer_start(&p->timer, timer_fired, (uint64_t)ms, 0);
}

static void start_waiting(struct engine_state *state)
{
	while (state->queue && state->api.n_busy + state->queue->slots <= state->api.n_slots) {
		struct pending *p = state->queue;

		state->queue = p->next;
		state->queue_end = state->queue ? state->queue_end : &state->queue;
		state->api.n_deferred--;
		start(p);
	}
}

static void enqueue(struct pending *p)
{
	struct engine_state *state = p->state;

	p->next = NULL;
	*state->queue_end = p;
	state->queue_end = &p->next;
	state->api.n_deferred++;
	start_waiting(state);
}

static void dequeue(struct pending *p)
{
	struct engine_state *state = p->state;
	struct pending **at = &state->queue;

	while (*at && *at != p) {
		at = &(*at)->next;
	}
	if (!*at) {
		return;
	}
	*at = p->next;
	if (state->queue_end == &p->next) {
		state->queue_end = at;
	}
	state->api.n_deferred--;
}

/* --- faults that replace the answer --- */

static void replace_body(struct api_call *call, unsigned status, const char *type, const char *body)
{
	call->status = status;
	call->content_type = type;
	call->n = 0;
	str_reset(&call->body);
	str_append_z(&call->body, body);
}

static void replace_with_status(struct api_call *call, unsigned status)
{
	static const char json[] = "application/json; charset=utf-8";
	bool loading = status == 503;
	AUTO_FREE char *body = xasprintf(
		"{\"error\":{\"message\":\"%s\",\"type\":\"%s\",\"code\":%u}}",
		loading ? "Loading model" : "scripted fault",
		loading                ? "unavailable_error"
			: status < 500 ? "invalid_request_error"
				       : "server_error",
		status);

	replace_body(call, status, json, body);
}

/* Writes the answer, or what the script puts in its place. */
static void make_answer(struct engine_state *state, struct pending *p)
{
	const struct script_rule *rule = p->rule;
	enum fault fault = rule ? rule->fault : FAULT_NONE;

	switch (fault) {
	case FAULT_STATUS:
		replace_with_status(&p->call, rule->status);
		break;
	case FAULT_NOT_JSON:
		replace_body(&p->call, 200, "text/html", "<html><body>it works</body></html>\n");
		break;
	case FAULT_EMPTY:
		replace_body(&p->call, 200, "application/json", "");
		break;
	case FAULT_BODY:
		replace_body(
			&p->call, rule->status, "application/json", rule->body ? rule->body : "");
		break;
	default:
		api_write(&state->api, &p->call, fault);
	}
}

/* --- requests --- */

static void got_request(void *ctx, struct fake_conn *conn, const struct fake_request *request)
{
	struct engine_state *state = ctx;
	struct pending *p = xcalloc(1, sizeof(*p));
	struct slice text;
	enum fault fault;

	p->state = state;
	p->conn = conn;
	api_read(&state->api, request, &p->call);
	text = (struct slice){p->call.prompt_text.data, p->call.prompt_text.len};
	p->rule = script_match(&state->script, request->path, text);
	fault = p->rule ? p->rule->fault : FAULT_NONE;
	if (fault == FAULT_CUT || fault == FAULT_NEVER || fault == FAULT_DEAD) {
		p->call.status = 0;
	} else {
		make_answer(state, p);
	}
	log_request(state, request->path, &p->call, p->rule);
	if (fault == FAULT_DEAD) {
		_exit(EXIT_SCRIPTED_DEATH);
	}
	if (fault == FAULT_CUT) {
		fake_http_drop(conn);
		pending_free(p);
		return;
	}
	*fake_conn_call(conn) = p;
	p->slots = MIN(p->call.n, state->api.n_slots);
	if (fault == FAULT_NEVER) {
		/* It stays as it is until the client goes. */
	} else if (p->slots) {
		enqueue(p);
	} else {
		start(p);
	}
}

static void client_gone(void *ctx UNUSED, struct fake_conn *conn)
{
	struct pending *p = *fake_conn_call(conn);

	if (!p) {
		return;
	}
	*fake_conn_call(conn) = NULL;
	p->conn = NULL;
	if (p->timing) {
		uv_timer_stop(&p->timer);
	}
	dequeue(p);
	pending_end(p);
}

/* --- life --- */

static void got_signal(uv_signal_t *handle, int signum UNUSED)
{
	struct engine_state *state = handle->data;

	uv_close((uv_handle_t *)&state->sigterm, NULL);
	uv_close((uv_handle_t *)&state->sigint, NULL);
	fake_http_stop(&state->http);
}

static bool write_port_file(const char *path, unsigned port, struct error *err)
{
	AUTO_FREE char *dir = file_dirname(path);
	char line[16];
	int len = snprintf(line, sizeof(line), "%u\n", port);

	return file_publish(dir, file_basename(path), line, (size_t)len, err);
}

static bool die_with_parent(struct error *err)
{
	pid_t parent = getppid();

	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0) {
		return error_errno(err, "could not ask for the parent's death");
	}
	/* It may have died before we asked. */
	if (getppid() != parent) {
		return error_set(err, FAIL_IO, "the parent is gone");
	}
	return true;
}

static bool open_log(struct engine_state *state, struct error *err)
{
	const char *path = state->options.log;

	if (!path) {
		return true;
	}
	state->log_fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
	return state->log_fd >= 0 || error_errno(err, "could not open log '%s'", path);
}

static void api_configure(struct api *api, const struct fake_options *options)
{
	api->openai = options->openai;
	api->vllm = options->vllm;
	api->sglang = options->sglang;
	api->deterministic = options->deterministic;
	api->has_slots = options->has_slots;
	api->metrics_of = options->metrics_of;
	api->reranks = options->reranks;
	api->owner = options->owner;
	api->n_slots = options->n_slots;
	api->n_busy = MIN(options->n_others, options->n_slots);
	api->n_deferred = options->n_others - api->n_busy;
	api->context = options->context;
	api->model_name = options->model_name;
	api->model_path = options->model_path;
	api->api_key = options->api_key;
}

static void watch_signals(struct engine_state *state)
{
	uv_signal_init(&state->loop, &state->sigterm);
	uv_signal_init(&state->loop, &state->sigint);
	state->sigterm.data = state;
	state->sigint.data = state;
	uv_signal_start(&state->sigterm, got_signal, SIGTERM);
	uv_signal_start(&state->sigint, got_signal, SIGINT);
}

static bool prepare(struct engine_state *state, struct error *err)
{
	const struct fake_options *options = &state->options;

	if (options->die_with_parent && !die_with_parent(err)) {
		return false;
	}
	if (options->script && !script_read(&state->script, options->script, err)) {
		return false;
	}
	return open_log(state, err);
}

/* As llama-server, the port is taken before the model is looked at. */
static bool listen_and_load(struct engine_state *state, struct error *err)
{
	const struct fake_options *options = &state->options;
	struct fake_http_events events = {got_request, client_gone, state};
	unsigned port;

	if (!fake_http_listen(&state->http, &state->loop, options->port, events, &port, err)) {
		if (options->as_llama_server) {
			error_set(err, FAIL_IO,
				"start: couldn't bind HTTP server socket, hostname: 127.0.0.1, "
				"port: %u",
				options->port);
		}
		return false;
	}
	if (options->as_llama_server && !gguf_check(options->model_path, err)) {
		return false;
	}
	if (options->port_file && !write_port_file(options->port_file, port, err)) {
		return false;
	}
	printf("listening on http://127.0.0.1:%u\n", port);
	fflush(stdout);
	return true;
}

static int report(const struct fake_options *options, const struct error *err)
{
	char text[2048];

	error_format(err, text, sizeof(text));
	fprintf(stderr, "%s%s\n", options->as_llama_server ? "" : "fake_engine: ", text);
	if (options->as_llama_server && err->kind == FAIL_DATA) {
		fprintf(stderr, "failed to load model '%s'\n", options->model_path);
	}
	if (options->as_llama_server) {
		fprintf(stderr,
			"llama-server: Failed to init server, please check the input params.\n");
		return 1;
	}
	return error_exit_code(err->kind);
}

static bool serve(struct engine_state *state, struct error *err)
{
	bool ok;

	uv_loop_init(&state->loop);
	state->queue_end = &state->queue;
	watch_signals(state);
	ok = listen_and_load(state, err);
	if (!ok) {
		got_signal(&state->sigterm, 0);
	}
	uv_run(&state->loop, UV_RUN_DEFAULT);
	uv_loop_close(&state->loop);
	return ok;
}

static struct engine_state state;

int main(int argc, char **argv)
{
	struct error err = {0};
	bool ok;

	state.log_fd = -1;
	signal(SIGPIPE, SIG_IGN);
	if (!fake_options_read(&state.options, argc, argv, &err)) {
		return report(&state.options, &err);
	}
	if (state.options.help) {
		fputs(fake_options_help, stdout);
		return 0;
	}
	api_init(&state.api);
	api_configure(&state.api, &state.options);
	if (state.options.write_gguf) {
		ok = gguf_write(&state.api.vocab, state.options.write_gguf, &err);
	} else {
		ok = prepare(&state, &err) && serve(&state, &err);
	}
	api_release(&state.api);
	script_release(&state.script);
	attr_close(&state.log_fd);
	return ok ? 0 : report(&state.options, &err);
}
