/*
 * Dialects: the APIs that inference servers speak. A row of the table builds requests and reads answers; it does no I/O, so
 * that all of it can be tested with recorded answers. What is sent when, to whom and how often is not its affair.
 *
 * Answers are hostile: every reader checks kinds, counts and ranges and says in `err` what was wrong. Strings in results are
 * borrowed from the JSON tree or live in the arena that was handed in.
 *
 * To add a row: write dialect_NAME.c, declare its ops below, put one line into dialects.c and one into meson.build. What a server
 * does not have is a NULL below.
 */
#ifndef PIPELINE_ENGINE_DIALECT_H
#define PIPELINE_ENGINE_DIALECT_H

#include "base/arena.h"
#include "base/json.h"
#include "engine/engine.h"
#include "engine/spelling.h"

#define DIALECT_VOCAB_MAX (4u << 20) /* ids of a vocabulary; the largest known have 256 Ki */
#define DIALECT_TOP_MAX 1024 /* alternatives of one token */

/* What probing one endpoint found. Strings live in the endpoint's arena; zeroed: nothing is known. */
struct dialect_facts {
	const char *model; /* name to send and to show */
	const char *build;
	const char *server; /* `owned_by` of its models: the program that it is */
	const char *model_path; /* as the server sees it */
	const char *chat_template;
	const char *bos_token, *eos_token;
	int64_t bos_id, eos_id; /* -1: unknown */
	uint32_t n_slots, context, n_vocab; /* 0: unknown */
	bool ignores_seeds; /* it says itself that equal seeds give different candidates */
	const uint32_t *
		probe_ids; /* n_probe_ids: of a word, for later steps to ask with; NULL: none yet */
	size_t n_probe_ids;
};

/*
 * One request of the probe. The first step decides whether a server speaks the dialect: `read` returns false if not. Later
 * steps add facts; an `optional` one may be refused.
 */
struct dialect_step {
	const char *path;
	bool optional;
	/* Appends the body of a POST; NULL: GET. False: there is nothing to ask, skip the step. */
	bool (*build)(const struct dialect_facts *facts, struct str *out);
	bool (*read)(const struct json *body, struct arena *arena, struct dialect_facts *facts,
		struct error *err);
};

/* Appends "messages": [{role, content}, ...] to the object at hand. */
void dialect_put_messages(struct json_writer *w, const struct engine_message *messages, size_t n);

/* One HTTP request for candidates first .. first + n - 1 of a job. */
struct dialect_call {
	const struct engine_job *job;
	uint32_t first, n;
	uint32_t max_tokens; /* of the job, less where the context ends before */
	uint32_t context; /* 0: unknown */
	const char *model;
	const struct dialect_facts *facts;
	bool stream; /* ask for events instead of one answer; only where the dialect has read_event */
	const struct spelling *spelling; /* of the vocabulary; NULL: not known, or not yet */
};

struct dialect_result {
	struct engine_candidate
		*candidates; /* n of the call, in order; `i` counts within the job */
	uint32_t n_prompt; /* tokens of the prompt, as the server counted; 0 unknown */
	uint64_t n_sampled; /* tokens sampled for all of them */
};

/*
 * Streams. What the events of an answer say is gathered here, a struct dialect_partial per candidate, until the candidate has
 * ended; `conclude` then makes of it what read_generate would have made of the answer in one piece: the same ids, logprobs,
 * text and finish. engine_generate.c splits the bytes into events, hands each to read_event, and shows what is new to the
 * guard.
 */
struct dialect_partial {
	struct str text;
	uint32_t *ids; /* owns; n_ids: no more than max_tokens + 1, see dialect_add_id */
	float *logprobs; /* owns; as many */
	size_t *ends; /* owns; bytes of text up to and with each id, where the dialect needs them */
	size_t n_ids, cap, logprobs_cap, ends_cap;
	size_t n_shown; /* ids up to the last that came with text */
	size_t n_before; /* the same, as it was before the last id came: those in front of a stop string */
	uint32_t n_tokens; /* sampled, where no ids are given and the server counts */
	uint32_t n_pieces; /* events with text, where no ids are given: about as many as tokens */
	const struct engine_top *top; /* n_top, of the first token; in the stream's arena */
	size_t n_top;
	enum finish finish;
	enum engine_reason reason; /* not ENGINE_OK: the server ended this candidate so */
	const struct error *err;
	bool ended; /* nothing more will come: conclude may be called */
	bool has_finish; /* how it ended is known, if not all that is to be known */
	bool in_thought; /* openai: the text ends inside what came as reasoning */
	/* Some of its ids cannot be known from the stream: it has to be asked for again, in one piece. */
	bool lost;
};

struct dialect_stream {
	const struct dialect_call *call; /* borrows */
	struct arena arena;
	struct dialect_partial *candidates; /* call->n */
	uint32_t n_prompt; /* tokens of the prompt, as the server counted; 0 unknown */
};

struct dialect_piece {
	uint32_t id;
	struct slice piece;
};

struct dialect_ops {
	const char *name; /* the word used in YAML */
	const char *summary; /* one line for `thresh engines` */
	bool has_ids, has_n, has_logprobs;
	bool prefix_per_slot; /* see engine_info */
	const struct dialect_step *steps; /* end with a NULL path */
	const char *health_path; /* any 2xx: the server answers */
	/* The server is up, and says that it cannot work yet. Optional. */
	bool (*loading)(long status, const struct json *body);

	const char *generate_path;
	void (*build_generate)(const struct dialect_call *call, struct str *out);
	/* All n candidates or an error. One candidate may carry a reason and an error of its own. */
	bool (*read_generate)(const struct dialect_call *call, const struct json *body,
		struct arena *arena, struct dialect_result *out, struct error *err);
	/*
	 * Streams; both or neither. An event is the JSON of one server-sent event ("[DONE]" and errors are dealt with before);
	 * NULL: there will be no more, which ends candidates that wait only for a count. False: it makes no sense.
	 */
	bool (*read_event)(
		struct dialect_stream *stream, const struct json *event, struct error *err);
	/* Of candidate `index` of the call, which has ended and is not lost. `out` borrows from the stream. */
	bool (*conclude)(struct dialect_stream *stream, uint32_t index,
		struct engine_candidate *out, struct error *err);
	/* The server leaves out ids where a character has several: `spelling` is worth having. */
	bool stream_hides_ids;
	/* A 4xx that means: the prompt leaves no room in the context. Optional. */
	bool (*prompt_too_long)(const struct json *body);

	/*
	 * Only where has_ids. Messages -> text that the model is given. Without read_template the server renders and tokenizes
	 * in one step: the answer has ids, which read_tokenize reads.
	 */
	const char *template_path;
	void (*build_template)(const struct engine_message *messages, size_t n, struct str *out);
	bool (*read_template)(const struct json *body, struct slice *out_text, struct error *err);
	/*
	 * Text -> ids. `whole`: the text is a prompt from its start, add what the tokenizer adds there. `special`: read special
	 * tokens; where the server always does, the dialect has one of the two ways below to find out that it has.
	 */
	const char *tokenize_path;
	void (*build_tokenize)(struct slice text, bool whole, bool special, struct str *out);
	bool (*read_tokenize)(const struct json *body, uint32_t n_vocab, struct arena *arena,
		const uint32_t **out_ids, size_t *out_n, struct error *err);
	/* Does this answer about `text` hold a special token? */
	bool (*finds_special)(const struct json *body, struct slice text);
	/* Or another question, at detokenize_path: is one of these ids that of a special token? */
	void (*build_find_special)(const uint32_t *ids, size_t n, struct str *out);
	bool (*read_find_special)(const struct json *body, size_t n, bool *out, struct error *err);
	/* Ids -> text, special tokens shown. */
	const char *detokenize_path;
	void (*build_detokenize)(const uint32_t *ids, size_t n, struct str *out);
	bool (*read_detokenize)(const struct json *body, struct slice *out_text, struct error *err);
	/* All pieces in one request, raw bytes; control tokens come empty. Optional. */
	const char *pieces_path;
	bool (*build_pieces)(const struct dialect_facts *facts, struct str *out);
	bool (*read_pieces)(const struct json *body, uint32_t n_vocab, struct arena *arena,
		struct slice *pieces, struct error *err);
};

extern const struct dialect_ops dialect_llamacpp, dialect_vllm, dialect_sglang, dialect_openai;

/* In the order in which 'auto' tries them; ends with NULL. */
extern const struct dialect_ops *const dialects[];
/* NULL if there is none of that name. */
const struct dialect_ops *dialect_find(const char *name);

/* --- shared by the rows --- */

void dialect_stream_init(struct dialect_stream *stream, const struct dialect_call *call);
void dialect_stream_release(struct dialect_stream *stream);
/* The candidate with that "index" (absent: the first). False: there is none, or it has ended. */
bool dialect_stream_find(struct dialect_stream *stream, const struct json *event,
	struct dialect_partial **out, struct error *err);
/* False: more than max_tokens + 1. NAN: no logprob was told. */
bool dialect_add_id(struct dialect_stream *stream, struct dialect_partial *partial, uint32_t id,
	float logprob, struct error *err);

/* What a candidate that has ids came to; the first n_ids of them count. */
void dialect_conclude_ids(
	struct dialect_stream *stream, uint32_t index, size_t n_ids, struct engine_candidate *out);

/* A copy; NULL for what is no text, is empty, or is longer than a megabyte. */
const char *dialect_copy_text(const struct json *v, struct arena *arena);
/* A positive number; 0 for anything else. */
uint32_t dialect_read_count(const struct json *v);
/* The first model of /v1/models: fills server, model and context. NULL if it is not `owner` that serves it. */
const struct json *dialect_read_model(const struct json *body, const char *owner,
	struct arena *arena, struct dialect_facts *facts, struct error *err);
/* A text under `key`. */
bool dialect_read_text(
	const struct json *body, const char *key, struct slice *out_text, struct error *err);
/* {"tokens": [...]}, as it is asked with and answered. */
void dialect_build_detokenize(const uint32_t *ids, size_t n, struct str *out);
bool dialect_read_tokens(const struct json *body, uint32_t n_vocab, struct arena *arena,
	const uint32_t **out_ids, size_t *out_n, struct error *err);
/* A list of ids under `key`. */
bool dialect_read_ids(const struct json *body, const char *key, uint32_t n_vocab,
	struct arena *arena, const uint32_t **out_ids, size_t *out_n, struct error *err);
/* -1 unless the answer of a tokenization is a single id. */
int64_t dialect_read_single_id(const struct json *body, uint32_t n_vocab);
/* [1,2,3], and under `key`. */
void dialect_put_ids(struct json_writer *w, const char *key, const uint32_t *ids, size_t n);
/* "stop": [...], if there are stop strings. */
void dialect_put_stop(struct json_writer *w, const struct engine_sampling *sampling);
/* A refusal in the words of vLLM, SGLang or OpenAI that means: no room in the context. */
bool dialect_says_too_long(const struct json *body);
/* `owned_by` of a model in /v1/models; NULL if it is none or too long. */
const char *dialect_read_owner(const struct json *model, struct arena *arena);
/* The text of an error answer, whatever its shape; NULL if there is none. */
const char *dialect_error_text(const struct json *body);
/* An id: an integer, not negative, below n_vocab if that is known and below 2^32 - 1. */
bool dialect_read_id(const struct json *v, uint32_t n_vocab, uint32_t *out);
/* A finite number not above 0 (rounding apart). */
bool dialect_read_logprob(const struct json *v, float *out);
/* The piece of {"token": "...", "bytes": [..]}: the bytes where there are any, else the text. */
bool dialect_read_piece(const struct json *entry, struct arena *arena, struct slice *out);
/* The `top_logprobs` of a token. */
bool dialect_read_top(const struct json *list, struct arena *arena, const struct engine_top **out,
	size_t *out_n, struct error *err);

#endif
