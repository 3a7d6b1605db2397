/*
 * The vocabulary, from the best source at hand:
 *
 * 1. The GGUF file: of a served engine, or of one whose server names a file that lies here too and fits (as many tokens). Read
 *    on the thread pool.
 * 2. The server, all pieces at once, where the dialect knows how. Control tokens come without text and are asked for one by one.
 * 3. The server, each id that was wanted by itself. Broken UTF-8 comes as U+FFFD then, which is why this is the last resort,
 *    and nothing tells control tokens from others.
 *
 * 1 and 2 give the same bytes and so the same hash.
 */
#include "engine/engine_private.h"

#include "base/hash.h"
#include "base/json.h"
#include "base/mem.h"
#include "engine/gguf.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define PIECE_ANSWER_BYTES 160 /* of one entry when all pieces are asked for, generously */

struct vocab;

/* One id that is asked for by itself. */
struct ask {
	struct call call;
	struct vocab *vocab;
	uint32_t id;
	struct slice *out;
};

struct vocab {
	struct engine_request request;
	struct arena arena;
	uint32_t *ids; /* wanted, n */
	size_t n;
	engine_vocab_cb *done;
	void *ctx;
	struct call call; /* source 2; also carries a cancelled request to its end */
	char *gguf_path; /* in the arena; NULL: none */
	struct gguf gguf;
	bool gguf_ok;
	bool cancelled;
	bool whole; /* all or nothing: not one request for each of so many ids */
	struct error err;
	struct slice *pieces; /* whole vocabulary, n_vocab; or NULL */
	uint8_t *special;
	uint32_t n_vocab;
	struct slice *wanted; /* source 3: n */
	struct ask *asks; /* n_asks */
	size_t n_asks, asks_left;
	bool failed;
	const char *source;
};

/* --- the end --- */

static void finish(struct vocab *v)
{
	struct engine *engine = v->request.engine;
	struct slice *pieces = v->wanted != NULL
		? v->wanted
		: arena_alloc_array(&v->arena, v->n, sizeof(*pieces));
	uint8_t *special = arena_alloc(&v->arena, v->n);
	struct engine_vocab out = {
		.ids = v->ids,
		.pieces = pieces,
		.special = special,
		.n = v->n,
		.n_vocab = v->n_vocab,
		.eos_id = engine->facts != NULL ? engine->facts->eos_id : -1,
		.source = v->source,
		.err = v->failed ? &v->err : NULL,
	};

	for (size_t i = 0; i < v->n && v->pieces != NULL; i++) {
		if (v->ids[i] >= v->n_vocab)
			continue;
		pieces[i] = v->pieces[v->ids[i]];
		special[i] = v->special[v->ids[i]];
	}
	if (v->pieces != NULL)
		gguf_vocab_hash(v->pieces, v->special, v->n_vocab, out.hash);
	else
		memcpy(out.hash, engine->info.model_hash, sizeof(out.hash));
	if (v->gguf_ok && v->gguf.eos_id >= 0)
		out.eos_id = v->gguf.eos_id;
	v->done(v->ctx, &out);
	engine_request_end(&v->request);
	gguf_release(&v->gguf);
	arena_release(&v->arena);
	free(v->asks);
	free(v);
}

static void finish_failed(struct vocab *v, const struct error *err)
{
	v->failed = true;
	v->err = *err;
	v->pieces = NULL;
	finish(v);
}

/* --- ids asked for one by one --- */

static void build_ask(struct call *call, struct str *out)
{
	struct ask *ask = call->owner;

	call->endpoint->dialect->build_detokenize(&ask->id, 1, out);
}

static void ask_done(struct call *call, const struct call_result *result)
{
	struct ask *ask = call->owner;
	struct vocab *v = ask->vocab;
	AUTO_JSON struct json *body = NULL;
	struct error err = {0};
	struct slice text;

	if (result->reason != ENGINE_OK) {
		v->failed = true;
		v->err = *result->err;
	} else {
		body = json_parse(result->body.data, result->body.len, &err);
		if (body == NULL || !call->endpoint->dialect->read_detokenize(body, &text, &err)) {
			call_answer_is_bad(call, &err);
			return;
		}
		*ask->out = (struct slice){arena_memdup0(&v->arena, text.data, text.len), text.len};
	}
	if (--v->asks_left > 0)
		return;
	if (v->failed)
		v->pieces = NULL;
	finish(v);
}

static void add_ask(struct vocab *v, uint32_t id, struct slice *out)
{
	v->asks[v->n_asks++] = (struct ask){
		.vocab = v,
		.id = id,
		.out = out,
	};
}

/* All are submitted together; the pool sends a few at a time. */
static void send_asks(struct vocab *v)
{
	struct engine *engine = v->request.engine;

	v->asks_left = v->n_asks;
	for (size_t i = 0; i < v->n_asks; i++) {
		v->asks[i].call = (struct call){
			.engine = engine,
			.owner = &v->asks[i],
			.lane = LANE_AUX,
			.path = engine->dialect->detokenize_path,
			.dialect = engine->dialect,
			.build = build_ask,
			.done = ask_done,
		};
		call_submit(&v->asks[i].call);
	}
}

static void ask_wanted(struct vocab *v)
{
	struct error err = {0};

	if (v->whole) {
		error_set(&err, FAIL_REMOTE, "the server does not tell its vocabulary");
		finish_failed(v, &err);
		return;
	}
	v->source = "detokenize";
	v->wanted = arena_alloc_array(&v->arena, v->n, sizeof(*v->wanted));
	v->asks = xcalloc(v->n, sizeof(*v->asks));
	for (size_t i = 0; i < v->n; i++)
		add_ask(v, v->ids[i], &v->wanted[i]);
	send_asks(v);
}

/* --- all pieces at once --- */

static void build_all(struct call *call, struct str *out)
{
	call->endpoint->dialect->build_pieces(&call->endpoint->facts, out);
}

static void ask_control_tokens(struct vocab *v)
{
	size_t n_empty = 0;

	v->special = arena_alloc(&v->arena, v->n_vocab);
	for (uint32_t i = 0; i < v->n_vocab; i++)
		n_empty += v->pieces[i].len == 0;
	if (n_empty == 0) {
		finish(v);
		return;
	}
	v->asks = xcalloc(n_empty, sizeof(*v->asks));
	for (uint32_t i = 0; i < v->n_vocab; i++) {
		if (v->pieces[i].len > 0)
			continue;
		v->special[i] = 1;
		add_ask(v, i, &v->pieces[i]);
	}
	send_asks(v);
}

static void all_came(struct call *call, const struct call_result *result)
{
	struct vocab *v = call->owner;
	const struct dialect_ops *dialect = call->endpoint->dialect;
	AUTO_JSON struct json *body = NULL;
	struct error err = {0};

	if (result->reason == ENGINE_CANCELLED) {
		err = *result->err;
		finish_failed(v, &err);
		return;
	}
	v->pieces = arena_alloc_array(&v->arena, v->n_vocab, sizeof(*v->pieces));
	if (result->reason == ENGINE_OK)
		body = json_parse(result->body.data, result->body.len, &err);
	if (body != NULL && dialect->read_pieces(body, v->n_vocab, &v->arena, v->pieces, &err)) {
		v->source = "server";
		ask_control_tokens(v);
		return;
	}
	/* An older server, or one that limits n_probs: the long way. */
	v->pieces = NULL;
	v->n_vocab = 0;
	ask_wanted(v);
}

static void ask_server(struct vocab *v)
{
	struct engine *engine = v->request.engine;
	const struct dialect_ops *dialect = engine->dialect;
	uint64_t answer_bytes = (uint64_t)engine->facts->n_vocab * PIECE_ANSWER_BYTES;

	if (dialect->build_pieces == NULL || engine->facts->n_vocab == 0 ||
		answer_bytes > engine->config->response_bytes_max) {
		ask_wanted(v);
		return;
	}
	v->n_vocab = engine->facts->n_vocab;
	v->call = (struct call){
		.engine = engine,
		.owner = v,
		.lane = LANE_PRIORITY,
		.weight = 1,
		.path = dialect->pieces_path,
		.dialect = dialect,
		.build = build_all,
		.done = all_came,
	};
	call_submit(&v->call);
}

/* --- the file --- */

static void read_file(void *ctx)
{
	struct vocab *v = ctx;

	v->gguf_ok = gguf_read(v->gguf_path, &v->gguf, &v->err);
}

static void file_was_read(void *ctx)
{
	struct vocab *v = ctx;
	struct engine *engine = v->request.engine;
	bool served = engine->config->serve.model != NULL;
	uint32_t n_vocab = engine->facts->n_vocab;
	struct error err = {0};

	if (v->cancelled) {
		error_set(&err, FAIL_INTERRUPTED, "cancelled");
		finish_failed(v, &err);
		return;
	}
	if (v->gguf_ok && n_vocab != 0 && v->gguf.n_tokens != n_vocab)
		v->gguf_ok = false; /* a file of that name, but not the server's */
	if (!v->gguf_ok && served && v->err.kind != FAIL_NONE) {
		err = v->err;
		finish_failed(v, &err);
		return;
	}
	if (!v->gguf_ok) {
		ask_server(v);
		return;
	}
	v->source = "gguf";
	v->n_vocab = v->gguf.n_tokens;
	v->pieces = arena_alloc_array(&v->arena, v->n_vocab, sizeof(*v->pieces));
	v->special = arena_alloc(&v->arena, v->n_vocab);
	memcpy(v->pieces, v->gguf.pieces, v->n_vocab * sizeof(*v->pieces));
	memcpy(v->special, v->gguf.special, v->n_vocab);
	finish(v);
}

/* --- begin --- */

static const char *find_file(const struct engine *engine)
{
	struct error ignored;

	if (engine->config->serve.model != NULL)
		return engine->config->serve.model;
	if (engine->facts->model_path != NULL && gguf_check(engine->facts->model_path, &ignored))
		return engine->facts->model_path;
	return NULL;
}

static void cancel(struct engine_request *request)
{
	struct vocab *v = (struct vocab *)request;

	v->cancelled = true;
	call_cancel(&v->call);
	for (size_t i = 0; i < v->n_asks; i++)
		call_cancel(&v->asks[i].call);
}

static void refused(struct call *call, const struct call_result *result)
{
	struct error err = *result->err;

	finish_failed(call->owner, &err);
}

static void refuse(struct vocab *v, enum engine_reason reason, const struct error *err)
{
	v->call = (struct call){
		.engine = v->request.engine, .owner = v, .lane = LANE_AUX, .done = refused};
	call_refuse(&v->call, reason, err);
}

static void begin(struct engine *engine, const uint32_t *ids, size_t n, bool whole,
	engine_vocab_cb *done, void *ctx)
{
	struct vocab *v = xcalloc(1, sizeof(*v));
	const char *path;
	struct error err = {0};

	engine_request_open(&v->request, engine, cancel);
	v->done = done;
	v->ctx = ctx;
	v->n = n;
	v->whole = whole;
	v->ids = arena_alloc_array(&v->arena, n, sizeof(*v->ids));
	if (n > 0)
		memcpy(v->ids, ids, n * sizeof(*ids));
	v->source = "";
	if (engine->state != ENGINE_READY) {
		error_set(&err, FAIL_INTERRUPTED, "cancelled");
		refuse(v, ENGINE_CANCELLED, &err);
		return;
	}
	path = find_file(engine);
	if (path != NULL) {
		v->gguf_path = arena_strdup(&v->arena, path);
		loop_work(engine->loop, read_file, file_was_read, v);
	} else if (!engine->info.has_ids || n == 0) {
		error_set(&err, FAIL_CONFIG, "engine '%s' has no tokenizer to ask",
			engine->config->name);
		refuse(v, ENGINE_REJECTED, &err);
	} else {
		ask_server(v);
	}
}

void engine_read_vocab(
	struct engine *engine, const uint32_t *ids, size_t n, engine_vocab_cb *done, void *ctx)
{
	begin(engine, ids, n, false, done, ctx);
}

void engine_read_whole_vocab(struct engine *engine, engine_vocab_cb *done, void *ctx)
{
	uint32_t n = engine->facts->n_vocab;
	AUTO_FREE uint32_t *ids = xreallocarray(NULL, n, sizeof(*ids));

	for (uint32_t i = 0; i < n; i++)
		ids[i] = i;
	begin(engine, ids, n, true, done, ctx);
}
