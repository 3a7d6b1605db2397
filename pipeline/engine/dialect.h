/*
 * Dialects: the APIs that inference servers speak. A row of the table builds requests and reads answers; it does no I/O, so
 * that all of it can be tested with recorded answers. What is sent when, to whom and how often is not its affair.
 *
 * Answers are hostile: every reader checks kinds, counts and ranges and says in `err` what was wrong. Strings in results are
 * borrowed from the JSON tree or live in the arena that was handed in.
 *
 * To add a row: write dialect_NAME.c, declare its ops below, put one line into dialects.c and one into meson.build. The four
 * shapes met so far (llama.cpp and OpenAI here; vLLM and SGLang as the design describes them) fit: what a server does not
 * have is a NULL below.
 */
#ifndef PIPELINE_ENGINE_DIALECT_H
#define PIPELINE_ENGINE_DIALECT_H

#include "base/arena.h"
#include "base/json.h"
#include "engine/engine.h"

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
};

struct dialect_result {
	struct engine_candidate
		*candidates; /* n of the call, in order; `i` counts within the job */
	uint32_t n_prompt; /* tokens of the prompt, as the server counted; 0 unknown */
	uint64_t n_sampled; /* tokens sampled for all of them */
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
	/* A 4xx that means: the prompt leaves no room in the context. Optional. */
	bool (*prompt_too_long)(const struct json *body);

	/* Only where has_ids. Messages -> text that the model is given. */
	const char *template_path;
	void (*build_template)(const struct engine_message *messages, size_t n, struct str *out);
	bool (*read_template)(const struct json *body, struct slice *out_text, struct error *err);
	/* Text -> ids. `whole`: the text is a prompt from its start, add what the tokenizer adds there. */
	const char *tokenize_path;
	void (*build_tokenize)(struct slice text, bool whole, bool special, struct str *out);
	bool (*read_tokenize)(const struct json *body, uint32_t n_vocab, struct arena *arena,
		const uint32_t **out_ids, size_t *out_n, struct error *err);
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

extern const struct dialect_ops dialect_llamacpp, dialect_openai;

/* In the order in which 'auto' tries them; ends with NULL. */
extern const struct dialect_ops *const dialects[];
/* NULL if there is none of that name. */
const struct dialect_ops *dialect_find(const char *name);

/* --- shared by the rows --- */

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
