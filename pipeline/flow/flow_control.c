/*
 * A running section is asked and steered through the socket of control.h. The socket lives as long as the section; each of its phases serves it from a loop of
 * its own. What is asked for is kept in flow_night, so that a night that is paused in one phase is paused in the next.
 *
 *	pause	no further candidate is begun; what is in flight is finished, verified and kept
 *	drain	the same for good: the rest is backlog, and the stages after the flow follow, as at a deadline
 *
 * The bytes that come are anybody's who has the user's rights, a port scanner of his included: few connections, one short line each, some
 * seconds.
 */
#include "flow/flow_private.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "control.h"
#include "engine/loop.h"
#include "run.h"

#include <assert.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PEERS_MAX 16
#define PEER_MS 5000 /* for a request and its answer */

struct flow_peer {
	uv_pipe_t pipe;
	uv_write_t write;
	struct flow *flow;
	struct loop_timer *timer;
	char line[CONTROL_REQUEST_BYTES_MAX];
	size_t len;
	struct str answer;
	bool closing;
	struct flow_peer *next, *prev;
};

/* --- what is told --- */

static void put_endpoints(struct json_writer *w, const struct engine *engine)
{
	struct engine_endpoint_stats s;
	json_key(w, "endpoints");
	json_begin_array(w);
	for (size_t i = 0; engine_endpoint_stats(engine, i, &s); i++) {
		json_begin_object(w);
		json_member_z(w, "url", s.url);
		json_member_bool(w, "up", s.up);
		json_member_int(w, "in_flight", s.in_flight);
		json_member_int(w, "limit", s.limit);
		json_member_int(w, "errors", (int64_t)s.errors);
		json_end_object(w);
	}
	json_end_array(w);
}

static void put_engines(struct json_writer *w, const struct run *run)
{
	json_key(w, "engines");
	json_begin_array(w);
	for (size_t i = 0; i < run->def->n_engines; i++) {
		const struct engine *engine = run->engines ? run->engines[i] : NULL;
		if (engine) {
			struct engine_stats s;
			engine_stats(engine, &s);
			json_begin_object(w);
			json_member_z(w, "name", engine_name(engine));
			json_member_int(w, "in_flight", s.in_flight);
			json_member_int(w, "waiting", s.waiting);
			json_member_int(w, "restarts", s.restarts);
			put_endpoints(w, engine);
			json_end_object(w);
		}
	}
	json_end_array(w);
}

static void put_stages(struct json_writer *w, const struct flow *f)
{
	json_key(w, "stages");
	json_begin_array(w);
	for (size_t i = 0; i < f->n_stages; i++) {
		json_put_z(w, f->stages[i].ops->name);
	}
	json_end_array(w);
}

static void put_state(struct json_writer *w, struct flow *f)
{
	const struct flow_stats *s = &f->stats;
	json_member_z(w, "run", f->run->id);
	json_member_int(w, "pid", getpid());
	put_stages(w, f);
	json_member_bool(w, "ready", f->n_opened == f->n_stages);
	json_member_bool(w, "paused", f->night->paused);
	json_member_bool(w, "draining", f->night->draining);
	json_member_bool(w, "stopping", f->stopping);
	json_member_int(w, "prompts", s->n_prompts);
	json_member_int(w, "prompts_left", s->n_prompts_left);
	json_member_int(w, "candidates", s->n_candidates);
	json_member_int(w, "accepted", s->n_accepted);
	json_member_int(w, "failed", s->n_failed);
	json_member_int(w, "tokens", s->n_tokens);
	json_member_num(w, "tokens_per_s", s->tokens_per_s);
	json_member_int(w, "in_flight", s->in_flight);
	json_member_int(w, "waiting", s->waiting);
	json_member_int(w, "verifying", (int64_t)f->n_consumed);
	json_key(w, "eta_ms");
	if (s->eta_ms >= 0 && !f->night->paused) {
		json_put_int(w, s->eta_ms);
	} else {
		json_put_null(w);
	}
	if (f->run->deadline_ms) {
		json_member_int(w, "deadline_ms", f->run->deadline_ms);
	}
	put_engines(w, f->run);
}

static void put_answer(struct flow *f, struct str *out, const char *error)
{
	struct json_writer w = {.out = out};
	json_begin_object(&w);
	json_member_bool(&w, "ok", !error);
	if (error) {
		json_member_z(&w, "error", error);
	} else {
		put_state(&w, f);
	}
	json_end_object(&w);
	str_append_c(out, '\n');
}

/* --- what is done --- */

static void wake_all(struct flow *f)
{
	for (size_t i = 0; f->run->engines && i < f->run->def->n_engines; i++) {
		if (f->run->engines[i]) {
			engine_wake(f->run->engines[i]);
		}
	}
	flow_turn_soon(f);
}

static const char *pause_night(struct flow *f)
{
	if (f->night->draining) {
		return "the night is draining: nothing is begun any more";
	}
	if (!f->night->paused) {
		log_info("paused: candidates in flight finish", "again", "thresh resume", NULL);
	}
	f->night->paused = true;
	return NULL;
}

static const char *resume_night(struct flow *f)
{
	if (f->night->draining) {
		return "the night is draining, which cannot be taken back";
	}
	if (f->night->paused) {
		log_info("resumed", NULL);
	}
	f->night->paused = false;
	wake_all(f);
	return NULL;
}

static const char *drain_night(struct flow *f)
{
	if (!f->night->draining) {
		char duration[24];
		uint64_t ms = f->run->def->budget.drain_ms;
		clock_duration((int64_t)ms, duration);
		log_info("draining: candidates in flight may finish, the rest is backlog", "drain",
			duration, NULL);
		f->night->draining = true;
		f->night->paused = false;
		f->night->drain_end_ms = clock_mono_ms() + (int64_t)ms;
		wake_all(f);
	}
	return NULL;
}

static const char *tell(struct flow *f UNUSED)
{
	return NULL;
}

static const char *obey(struct flow *f, const char *word)
{
	static const struct {
		const char *word;
		const char *(*act)(struct flow *f); /* NULL: done; or why not */
	} requests[] = {{"status", tell}, {"pause", pause_night}, {"resume", resume_night},
		{"drain", drain_night}};
	for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
		if (strcmp(word, requests[i].word) == 0) {
			return f->closing ? "the stage is ending" : requests[i].act(f);
		}
	}
	return "unknown request; there are status, pause, resume and drain";
}

/* --- connections --- */

static void peer_closed(uv_handle_t *handle)
{
	struct flow_peer *p = handle->data;
	str_release(&p->answer);
	free(p);
}

static void close_peer(struct flow_peer *p)
{
	if (p->closing) {
		return;
	}
	p->closing = true;
	*(p->prev ? &p->prev->next : &p->flow->peers) = p->next;
	if (p->next) {
		p->next->prev = p->prev;
	}
	p->flow->n_peers--;
	loop_timer_stop(p->timer);
	uv_close((uv_handle_t *)&p->pipe, peer_closed);
}

static void peer_too_slow(void *ctx)
{
	struct flow_peer *p = ctx;
	p->timer = NULL;
	close_peer(p);
}

static void answered(uv_write_t *write, int status UNUSED)
{
	close_peer(write->data);
}

static void answer(struct flow_peer *p, const char *error)
{
	uv_read_stop((uv_stream_t *)&p->pipe);
	put_answer(p->flow, &p->answer, error);
	uv_buf_t buf = uv_buf_init(p->answer.data, (unsigned)p->answer.len);
	p->write.data = p;
	if (uv_write(&p->write, (uv_stream_t *)&p->pipe, &buf, 1, answered) != 0) {
		close_peer(p);
	}
}

static void room_for_bytes(uv_handle_t *handle, size_t suggested UNUSED, uv_buf_t *buf)
{
	struct flow_peer *p = handle->data;
	*buf = uv_buf_init(p->line + p->len, (unsigned)(sizeof(p->line) - p->len));
}

static void on_bytes(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf UNUSED)
{
	struct flow_peer *p = stream->data;
	if (n < 0) { /* with a full line libuv has no room: it is answered before that */
		close_peer(p);
		return;
	}
	p->len += (size_t)n;
	char *end = memchr(p->line, '\n', p->len);
	if (end) {
		*end = '\0';
		answer(p, obey(p->flow, p->line));
	} else if (p->len == sizeof(p->line)) {
		answer(p, "a request is one short word and a newline");
	}
}

static void on_peer(uv_stream_t *listener, int status)
{
	struct flow *f = listener->data;
	if (status < 0) {
		return;
	}
	struct flow_peer *p = xcalloc(1, sizeof(*p));
	uv_pipe_init(loop_uv(f->run->loop), &p->pipe, 0);
	p->pipe.data = p;
	p->flow = f;
	str_init(&p->answer, CONTROL_ANSWER_BYTES_MAX);
	p->next = f->peers;
	if (p->next) {
		p->next->prev = p;
	}
	f->peers = p;
	f->n_peers++;
	if (uv_accept(listener, (uv_stream_t *)&p->pipe) != 0 || f->n_peers > PEERS_MAX) {
		close_peer(p);
		return;
	}
	p->timer = loop_after(f->run->loop, PEER_MS, peer_too_slow, p);
	uv_read_start((uv_stream_t *)&p->pipe, room_for_bytes, on_bytes);
}

/* --- the socket --- */

void flow_control_open(struct flow_night *night, const char *workdir)
{
	struct error err = {0};
	night->control_fd = control_listen(workdir, &err);
	if (night->control_fd < 0) {
		log_warn(
			"the run cannot be paused or watched from outside", "error", err.msg, NULL);
	}
}

void flow_control_close(struct flow_night *night, const char *workdir)
{
	if (night->control_fd >= 0) {
		close(night->control_fd);
		control_unlink(workdir);
	}
}

static void listener_closed(uv_handle_t *handle)
{
	free(handle);
}

void flow_control_serve(struct flow *f)
{
	int fd = f->night->control_fd >= 0 ? fcntl(f->night->control_fd, F_DUPFD_CLOEXEC, 0) : -1;
	if (fd < 0) {
		return;
	}
	f->listener = xcalloc(1, sizeof(*f->listener));
	uv_pipe_init(loop_uv(f->run->loop), f->listener, 0);
	f->listener->data = f;
	if (uv_pipe_open(f->listener, fd) != 0 ||
		uv_listen((uv_stream_t *)f->listener, PEERS_MAX, on_peer) != 0) {
		log_warn("the run cannot be paused or watched from outside", NULL);
	}
}

void flow_control_end(struct flow *f)
{
	while (f->peers) {
		close_peer(f->peers);
	}
	if (f->listener) {
		uv_close((uv_handle_t *)f->listener, listener_closed);
		f->listener = NULL;
	}
}
