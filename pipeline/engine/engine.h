/*
 * An engine: a model behind one or more HTTP endpoints, or behind a llama-server that we start. Everything here runs on the
 * thread of the event loop; callbacks come on the loop, never from inside the call that asked.
 *
 *	open -> (probe, server start) -> ready callback
 *	engine_tokenize / engine_generate, any number in flight; work beyond the engine's slots waits in order
 *	engine_close -> closed callback, after which nothing is called any more
 *
 * Failure is told apart: a request's own failure (4xx, nonsense in the answer, retries used up) comes as `err` with a reason
 * code and costs that request only; a dead endpoint is waited for with back-off, without using up the requests' retries,
 * until `down_timeout_ms` has passed, then engine_failed is called once and the run ends resumable.
 */
#ifndef PIPELINE_ENGINE_ENGINE_H
#define PIPELINE_ENGINE_ENGINE_H

#include "base/arena.h"
#include "base/error.h"
#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>

struct guard_config; /* engine/guard.h */
struct loop; /* engine/loop.h: libuv loop + curl multi */
struct engine;
struct endpoint; /* one of its servers */

/* What a definition says of one engine. Plain data, borrowed for the life of the engine. */
struct engine_serve_config {
	char *model; /* path of a GGUF file; NULL: not served */
	uint32_t parallel; /* slots */
	uint32_t context; /* tokens of one slot; the server gets parallel * context */
	uint32_t threads; /* 0: all cores */
	uint32_t port; /* 0: a free one */
	char *binary; /* NULL: THRESH_LLAMA_SERVER, llama-server on PATH, .thresh/bin/llama-server */
	char **args; /* n_args further arguments, borrowed */
	size_t n_args;
	uint32_t restarts_max;
	uint64_t start_timeout_ms;
};

struct engine_config {
	const char *name; /* key below `engines:` */
	struct engine_serve_config serve;
	char **urls;
	size_t n_urls;
	char *model; /* model name sent to the server; NULL: what it says it has */
	char *dialect; /* "auto" or a dialect's name */
	char *api_key_env; /* name of an environment variable; sent as Authorization: Bearer */
	char **header_names, **header_values; /* n_headers extra headers */
	size_t n_headers;
	char *ca_file;
	char *proxy; /* NULL: as curl's environment variables say */
	uint32_t concurrency; /* candidates in flight per endpoint; 0: as many as it can work on */
	bool hedge; /* at the tail, stragglers are sent to a second endpoint as well */
	uint32_t retries;
	uint64_t connect_timeout_ms, request_timeout_ms, down_timeout_ms;
	uint64_t
		hang_timeout_ms; /* of silence, /health included, while requests are in flight; 0: for ever */
	uint64_t watch_ms; /* between two looks at an endpoint at work; 0: a second */
	uint64_t response_bytes_max;
};

/* Closed list; the ledger checks it. */
enum engine_reason {
	ENGINE_OK,
	ENGINE_REJECTED, /* 4xx: the server refused the request */
	ENGINE_SERVER_ERROR, /* 5xx or a cut connection, retries used up */
	ENGINE_TIMEOUT, /* no answer within request_timeout_ms, retries used up */
	ENGINE_BAD_RESPONSE, /* not JSON, half a body, ids and counts that disagree, no token of a prompt, over a limit */
	ENGINE_PROMPT_TOO_LONG, /* the prompt leaves no room in the context */
	ENGINE_CANCELLED,
};
const char *engine_reason_name(enum engine_reason reason);

enum finish {
	FINISH_STOP,
	FINISH_STOP_STRING,
	FINISH_LENGTH,
	FINISH_CONTEXT,
	/* Cut by the guard (engine/guard.h): the ids end where it struck, without an EOS. */
	FINISH_LOOP,
	FINISH_AFTER_ANSWER,
	FINISH_OUTLIER,
	FINISH_CANCELLED
};
/* "stop", "stop_string", "length", "context", "loop", "after_answer", "length_outlier", "cancelled" */
const char *finish_name(enum finish finish);

/* What the probe found. */
struct engine_info {
	const char *dialect;
	const char *model; /* name or path as the server says */
	const char *build; /* server's version, provenance only */
	const char
		*model_path; /* as the server names it, perhaps on another machine; NULL unknown */
	const char *
		server; /* what it calls itself: "llamacpp", "vllm", "sglang", ...; NULL: nothing */
	uint32_t n_slots; /* of all endpoints; 0 unknown */
	uint32_t context; /* tokens of one candidate with its prompt; 0 unknown */
	bool has_ids; /* returns sampled ids and tokenizes prompts */
	bool has_logprobs, has_n;
	bool has_streams; /* answers can be read while they are written: a guard sees them */
	bool has_seed; /* false: it says that it does not honour seeds. True promises nothing */
	bool prefix_per_slot; /* a prompt is cached in the slot that has read it, not for all */
	int64_t eos_id; /* of the token that ends a turn; -1 unknown */
	char chat_template_hash[33]; /* "" unknown */
	char model_hash
		[33]; /* served: hash of the GGUF's size and first and last MiB; url: of the model's name */
};

struct engine_message {
	const char *role; /* system, user, assistant */
	struct slice content;
};

/* --- life --- */

struct engine_events {
	void (*ready)(void *ctx, struct engine *engine);
	/* Could not be started or probed, or was lost; once. No requests are accepted after it; those waiting are answered with ENGINE_CANCELLED. */
	void (*failed)(void *ctx, struct engine *engine, const struct error *err);
	void *ctx;
};

/*
 * What info.model_hash will be, without asking a server; "" if only it can tell, as for a url without `model`. FAIL_IO if the
 * model file cannot be read.
 */
MUST_CHECK bool engine_model_hash(
	const struct engine_config *config, char out[33], struct error *err);
/* `log_dir` is where a served engine's log goes (engine-NAME.log). The start goes on in the background. */
struct engine *engine_new(struct loop *loop, const struct engine_config *config,
	const char *log_dir, struct engine_events events);
void engine_start(struct engine *engine);
/* Valid after ready. */
const struct engine_info *engine_info(const struct engine *engine);
/* Cancels what is in flight (their callbacks come with ENGINE_CANCELLED), stops a served engine, then calls closed and frees the engine. */
void engine_close(struct engine *engine, void (*closed)(void *ctx), void *ctx);
const char *engine_name(const struct engine *engine);

/* Counters since the start; any time. */
struct engine_stats {
	uint64_t requests, retries, failures, tokens_generated, tokens_prompt;
	uint32_t in_flight, waiting; /* candidates */
	uint32_t restarts;
	uint64_t continued; /* requests that went on with a candidate cut by max_tokens */
	uint64_t asked_again; /* candidates whose ids their stream could not tell */
	uint64_t hedges, hedges_won; /* candidates sent twice; those that the second brought */
	uint64_t
		tokens_wasted; /* about: what the losers of those had written when they were cancelled */
};
void engine_stats(const struct engine *engine, struct engine_stats *out);
/* Of one endpoint, from 0 on; false: there are not so many. The url is borrowed. */
struct engine_endpoint_stats {
	const char *url;
	const char *dialect; /* NULL: not probed yet */
	bool up;
	uint32_t limit; /* candidates that it is given at a time */
	uint32_t in_flight; /* and has */
	uint64_t requests, answers, errors,
		tokens; /* those for tokens of a prompt are not counted */
	uint64_t busy_ms; /* time with candidates in flight */
	uint64_t down_ms;
};
bool engine_endpoint_stats(
	const struct engine *engine, size_t i, struct engine_endpoint_stats *out);
/*
 * About how many candidates will still be asked for, beside those that are submitted. Near the end of the work a slow endpoint
 * gets nothing more that a faster one would finish sooner; as long as this is never called, that end is not known, and all are
 * kept busy.
 */
void engine_expect(struct engine *engine, uint64_t n_to_come);
/* True while fewer candidates wait than would fill the slots once more: the time to bring work. */
bool engine_has_room(const struct engine *engine);
/* What was held may perhaps go now. */
void engine_wake(struct engine *engine);
/* Candidates that its endpoints work on at a time, of those that are up. */
uint32_t engine_slots(const struct engine *engine);

/* --- requests --- */

struct engine_request; /* a handle for cancelling; dies when its last callback has returned */

/*
 * Messages -> prompt ids, as the model's chat template renders them. Contents are data: where one holds the text of a special token, `policy`
 * decides: SPECIAL_TEXT tokenizes it as plain text, SPECIAL_REJECT answers with special = true. Only dialects without ids (and a
 * rejected prompt) answer with n = 0: a server that makes no token of a prompt is ENGINE_BAD_RESPONSE.
 */
enum special_policy { SPECIAL_TEXT, SPECIAL_REJECT };
struct engine_prompt {
	const uint32_t *ids; /* borrowed, valid in the callback */
	size_t n;
	bool special; /* a content held the text of a special token */
	enum engine_reason reason;
	const struct error *err; /* when reason is not ENGINE_OK */
};
typedef void engine_prompt_cb(void *ctx, const struct engine_prompt *prompt);
struct engine_request *engine_tokenize(struct engine *engine, const struct engine_message *messages,
	size_t n, enum special_policy policy, engine_prompt_cb *done, void *ctx);
/* Plain text -> ids without special tokens; for answers of engines that give none. */
struct engine_request *engine_tokenize_text(
	struct engine *engine, struct slice text, engine_prompt_cb *done, void *ctx);

struct engine_sampling {
	double temperature, top_p, min_p;
	uint32_t top_k; /* 0: off */
	double repeat_penalty; /* 1: off */
	uint32_t max_tokens;
	char **stop; /* n_stop stop strings */
	size_t n_stop;
};

/* A whole prompt that no chat template renders -> ids, beginning as the tokenizer begins a text; special tokens are not read. */
struct engine_request *engine_tokenize_raw(
	struct engine *engine, struct slice text, engine_prompt_cb *done, void *ctx);

/* May candidates be sent now? Held ones are asked about again when something ends or engine_wake is called. */
enum engine_leave { ENGINE_GO, ENGINE_HOLD, ENGINE_DROP };

struct engine_job {
	const struct engine_message *messages; /* for dialects that take messages; n_messages */
	size_t n_messages;
	const uint32_t *prompt_ids; /* for dialects that take ids; n_prompt_ids */
	size_t n_prompt_ids;
	const struct engine_sampling *sampling;
	uint32_t n; /* candidates wanted; candidate i has seed + i */
	uint32_t seed;
	bool logprobs; /* of each sampled token */
	uint32_t top_logprobs; /* of the first token; for judges */
	/*
	 * Candidates asked for in one HTTP request; 0: 1, which keeps slots busiest and seeds apart. Above 1 the answer is
	 * streamed, where the dialect can, so that each is delivered when it is done.
	 */
	uint32_t per_request;
	bool whole; /* several candidates of a request are answered in one piece, not each when it is done */
	bool priority; /* before waiting work without it: a judge's short question must not queue behind long generations */
	/*
	 * What is watched for while a candidate is written; NULL: nothing. A candidate that is cut is delivered as it is, and its
	 * connection closed, so that its slot is free; one of several in a request is sampled on, unseen, until all are done.
	 */
	const struct guard_config *guard;
	/*
	 * A candidate that max_tokens has cut is continued from its ids, up to so many times by max_tokens each; only of
	 * dialects with ids. The seed of a continuation follows from the candidate's and its number.
	 */
	uint32_t continuations;
	/* Where jobs that share it like to go: set by the first that is sent; the endpoint lives as long as the engine. NULL: by affinity. */
	struct endpoint **home;
	/* Jobs of the same number like to go to the same endpoint, where what they begin with is cached; 0: wherever. */
	uint64_t affinity;
	/*
	 * Right before the candidates i .. i+n-1 are sent, each time they are; with engine_generate's ctx. ENGINE_DROP: they are
	 * answered as cancelled, and have cost nothing. Must not call back into the engine. Optional.
	 */
	enum engine_leave (*may_start)(void *ctx, uint32_t i, uint32_t n);
};

struct engine_top {
	struct slice piece; /* text of the token */
	float logprob;
};

/* One candidate; everything borrowed and valid in the callback. */
struct engine_candidate {
	uint32_t i; /* 0 .. n-1 */
	enum engine_reason reason;
	const struct error *err; /* when reason is not ENGINE_OK; then nothing below */
	struct slice text; /* without special tokens; a stop string is cut */
	const uint32_t
		*ids; /* EOS included when finish is FINISH_STOP; n_ids 0: the dialect gives none */
	size_t n_ids;
	const float *
		logprobs; /* n_ids, or NULL; NaN where the server told none: inside a character of several tokens */
	enum finish finish;
	uint32_t n_tokens; /* sampled; n_ids where there are ids */
	uint32_t n_continued; /* times that it was continued */
	/* Tokens of the prompt that the server read for this candidate; the others were cached, or read for another of the same request. */
	uint32_t n_read;
	bool knows_read; /* the server told */
	const struct engine_top *top; /* n_top, first token */
	size_t n_top;
	const char *endpoint;
	uint32_t attempts;
	uint32_t latency_ms;
};
typedef void engine_candidate_cb(void *ctx, const struct engine_candidate *candidate);
/*
 * The job and what it points to are borrowed until the n-th callback has returned. `done` comes exactly n times, once per i,
 * in any order. n above the slots, or a dialect without n, is split into several HTTP requests.
 */
struct engine_request *engine_generate(
	struct engine *engine, const struct engine_job *job, engine_candidate_cb *done, void *ctx);
/* The outstanding callbacks come with ENGINE_CANCELLED, on the loop. */
void engine_cancel(struct engine_request *request);

/*
 * Scores of a text by a reward model, through one of the scoring APIs (engine/scoring.h). The job and what it points to are borrowed
 * until the callback has returned; it comes once.
 */
struct scoring_ops;
struct engine_score_job {
	const struct scoring_ops *api;
	const struct engine_message *messages; /* n_messages; the last is what is scored */
	size_t n_messages;
	bool raw; /* without the model's activation, where the API can be asked for that */
	bool steps; /* a row per marked step (or token) instead of one for the text */
	uint64_t affinity; /* as engine_job's */
};
struct engine_scores {
	enum engine_reason reason;
	const struct error *err; /* when reason is not ENGINE_OK; then no values */
	long status; /* and the HTTP status that said so; 0: none did */
	const double *values; /* n_rows * n_columns, finite; borrowed, valid in the callback */
	size_t n_rows, n_columns;
	uint32_t n_tokens; /* read by the model, as far as the server tells */
	uint32_t latency_ms; /* of the last attempt, without the wait for a place */
};
typedef void engine_score_cb(void *ctx, const struct engine_scores *scores);
struct engine_request *engine_score(struct engine *engine, const struct engine_score_job *job,
	engine_score_cb *done, void *ctx);

/*
 * A place for something that is not asked yet, so that it can be cancelled like a request: `cancelled` comes once, on a later turn, if
 * engine_cancel is called for it or the engine ends. engine_release gives the place up, without a callback; false: it was
 * cancelled before, and the callback is on its way.
 */
struct engine_request *engine_hold(struct engine *engine, void (*cancelled)(void *ctx), void *ctx);
bool engine_release(struct engine_request *hold);

/*
 * The vocabulary: piece of every id that is asked for, for offline decoding. Served engines (and url engines whose model file can be read here) read it
 * from the GGUF at once; others are asked with /detokenize for the ids given. `done` gets pieces[i] for ids[i] (empty slice: unknown).
 */
struct engine_vocab {
	const uint32_t *ids;
	const struct slice *pieces; /* n; raw bytes */
	const uint8_t *special; /* n; 1: control token */
	size_t n;
	uint32_t n_vocab; /* whole vocabulary; 0 unknown */
	int64_t eos_id; /* -1 unknown */
	char hash
		[33]; /* of the tokenizer: pieces of the whole vocabulary when known, else of the model's name */
	const char
		*source; /* "gguf", "server" (the whole vocabulary as it told it) or "detokenize" */
	const struct error *err; /* NULL: fine */
};
typedef void engine_vocab_cb(void *ctx, const struct engine_vocab *vocab);
void engine_read_vocab(
	struct engine *engine, const uint32_t *ids, size_t n, engine_vocab_cb *done, void *ctx);

#endif
