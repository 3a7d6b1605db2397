/*
 * What the fake engine writes: a plausible chain of thought that ends in an answer, a pure function of the prompt's ids and the
 * seed. The last user message may steer it with a line
 *
 *	[fake: answer=42 p=0.5 len=40]
 *
 *	answer=TEXT	what stands in \boxed{} of a right text; default: the sum of all integers in the message
 *	p=P		share of candidates that are right; default 0.5
 *	len=N		tokens of a text, about; default 60
 *	loop=P		share of candidates that say one sentence again and again until the limit; default 0
 *	judge=P		P(Yes) when the message is put to a judge; default 0.5
 *	step=P		in any message: P(+) of a step; half of that if the last message multiplies; default: steps are not judged
 *	safety=C	what a safety model calls a text without \boxed{ANSWER}, like S1,S10 or - for no category; default: it is safe
 *	reward=X	what a reward model gives a text with \boxed{ANSWER}, and -X without; default 1
 *
 * A message that contains "Yes or No", asked with a limit of at most 8 tokens, is a judge's: one token of the spellings of Yes and No
 * is sampled. With both `answer` and `judge` given, P(Yes) is `judge` if the message contains \boxed{ANSWER} and 1 - judge if it does
 * not. With `step`, asked with such a limit, one token of + and - is sampled instead. One that contains "safe, or unsafe" is a safety
 * model's.
 */
#ifndef TESTS_FAKE_ENGINE_FAKE_MODEL_H
#define TESTS_FAKE_ENGINE_FAKE_MODEL_H

#include "fake_vocab.h"

/* A prompt, read once for all its candidates. Borrows the ids. */
struct model_prompt {
	const uint32_t *ids;
	size_t n;
	uint64_t hash; /* of the ids */
	struct str text; /* of the last user message; owns */
	char answer[64];
	bool has_answer; /* a marker said so */
	double p_right, p_loop, p_judge, reward;
	double p_step; /* below 0: steps are not judged */
	uint32_t len;
	size_t written; /* tokens of the answer that the prompt ends with */
	bool asks_yes_no, asks_safety;
	char safety[64]; /* categories; "": safe */
	int64_t numbers[8]; /* the first integers in the message */
	size_t n_numbers;
};

struct model_limits {
	bool greedy; /* temperature 0: the seed does not matter */
	uint32_t max_tokens; /* at least 1 */
	uint32_t context; /* of prompt and text together; more than the prompt has */
	const struct slice *stops;
	size_t n_stops;
};

enum model_stop { MODEL_EOS, MODEL_LIMIT, MODEL_WORD };

struct model_text {
	struct ids ids; /* as sampled, EOS included */
	struct str text; /* of the ids without special tokens, cut at a stop string */
	enum model_stop stop;
	struct slice stop_word; /* borrowed from the limits */
	bool truncated; /* the context is full */
	size_t n_probs; /* tokens that have a probability: those of a stop string have none */
	bool judged; /* the first token is of the judge's distribution */
};

#define MODEL_JUDGE_TOKENS 10
struct model_choice {
	uint32_t id;
	double p;
};

void model_read(struct model_prompt *p, const struct vocab *v, const uint32_t *ids, size_t n);
void model_prompt_release(struct model_prompt *p);
/* `out` is zeroed or used before; its storage is used again. */
void model_write(const struct model_prompt *p, const struct vocab *v,
	const struct model_limits *limits, uint32_t seed, struct model_text *out);
void model_text_release(struct model_text *t);
/* What a reward model gives the whole text `text`. */
double model_reward(const struct model_prompt *p, struct slice text);
/* What a judge's first token is drawn from, most probable first. */
void model_judge(const struct model_prompt *p, const struct vocab *v,
	struct model_choice out[MODEL_JUDGE_TOKENS]);
/* The log probability of the token at a place of the text, as text: the same whatever the seed and temperature. */
const char *model_logprob(const struct model_prompt *p, const struct model_text *t, size_t place,
	const struct vocab *v);

#endif
