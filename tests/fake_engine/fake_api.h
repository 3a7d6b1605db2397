/*
 * The HTTP interfaces that the fake engine has, without HTTP: a request in, a body out. Two steps, since a script may want to
 * know the prompt before it decides what becomes of the answer:
 *
 *	api_read(api, &request, &call);		what is asked for; a refusal is an answer already (call.status)
 *	api_write(api, &call, fault);		call.body
 *	api_call_release(&call);
 *
 * Shapes and error texts are those of the real servers, as probed; see the README for what is left out.
 */
#ifndef TESTS_FAKE_ENGINE_FAKE_API_H
#define TESTS_FAKE_ENGINE_FAKE_API_H

#include "base/json.h"
#include "fake_http.h"
#include "fake_model.h"
#include "fake_script.h"

struct api {
	struct vocab vocab;
	bool openai; /* not llama.cpp */
	bool vllm, sglang; /* and which of them, if not just any: it has ids */
	bool deterministic; /* sglang: honours seeds */
	bool reranks; /* llama.cpp: started for /v1/rerank */
	const char *owner; /* openai: `owned_by` of its model */
	bool has_slots; /* llama.cpp: GET /slots is answered */
	const char *metrics_of; /* whose names /metrics has; NULL or "none": it is not there */
	uint32_t n_slots;
	uint32_t context; /* of one candidate with its prompt */
	const char *model_name, *model_path, *api_key; /* borrowed; api_key may be NULL */
	/* What /slots and /metrics tell; kept by the owner. */
	uint32_t n_busy, n_deferred;
	uint64_t prompt_tokens, predicted_tokens;
	struct model_text scratch;
};

struct api_route;

/* Of a streamed answer: where it ends in the body, when it is due, and how many tokens it brings. */
struct api_event {
	size_t end;
	uint32_t step; /* tokens of its candidate by then; 0: with the one before */
	uint32_t n_tokens;
};

struct api_call {
	const struct api_route *route; /* NULL: unknown path */
	unsigned status;
	const char *content_type;
	struct str body;
	struct json *json; /* owns the request */
	/* What there is of a prompt: its ids, and its text with special tokens shown. */
	struct ids prompt;
	struct str prompt_text;
	uint32_t n; /* candidates; 0: nothing is generated */
	bool many; /* llama.cpp: the answer is an array */
	uint32_t seed;
	struct model_limits limits;
	struct slice *stops; /* owns; the texts are the request's */
	int64_t wide_seed; /* sglang */
	bool has_probs, return_ids;
	bool names_ids; /* vLLM, SGLang: tokens are told apart in the answer as they do it */
	bool new_turn; /* vLLM, SGLang: a last message of the assistant is complete, too */
	uint32_t n_probs; /* alternatives listed with each token */
	bool by_text, by_step, activates; /* of a request for scores */
	bool stream, has_usage; /* asked for as events; openai: with one of usage */
	struct api_event *events; /* owns; n_events, in the order in which they are sent */
	size_t n_events, events_cap;
	uint64_t fields; /* llama.cpp: a bit per row of the table of fields; 0: all */
	/* Known after api_write. */
	uint64_t n_tokens;
	uint32_t n_longest;
};

bool api_knows_metrics(const char *name);
void api_init(struct api *api); /* the rest of the struct is the caller's to fill; zeroed before */
void api_release(struct api *api);
void api_read(struct api *api, const struct fake_request *request, struct api_call *call);
void api_write(struct api *api, struct api_call *call, enum fault fault);
void api_call_release(struct api_call *call);

#endif
