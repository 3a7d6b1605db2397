/*
 * A text is put together from sentences about the message's own numbers, so that it reads like arithmetic, tokenized, and then made less tidy:
 * now and then a token is spelt in bytes, as sampling does, so that ids which were sampled differ from ids that a tokenizer would give
 * for the same text. A pipeline that tokenizes texts again instead of keeping the ids is found out by that.
 *
 * All chance comes from one generator seeded by (prompt, seed); the log probabilities are drawn from (prompt, place, id) alone.
 */
#include "fake_model.h"

#include "base/hash.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/text.h"

#include <math.h>
#include <strings.h>

#define DEFAULT_LEN 60
#define JUDGE_LIMIT_MAX 8
#define BYTE_SPELLING_ONE_IN 24
#define LOGPROBS 256

/* --- reading a prompt --- */

/* Where the text of the last user message starts and ends: between <|im_start|>user\n and the next special token. */
static void find_message(const struct vocab *v, const uint32_t *ids, size_t n, struct str *out)
{
	static const char role[] = "user\n";

	for (size_t i = n; i-- > 0;) {
		size_t end = i + 1;

		if (ids[i] != VOCAB_IM_START) {
			continue;
		}
		while (end < n && ids[end] != VOCAB_IM_END && ids[end] != VOCAB_IM_START) {
			end++;
		}
		str_reset(out);
		vocab_decode(v, ids + i + 1, end - i - 1, true, out);
		if (out->len >= sizeof(role) - 1 &&
			memcmp(out->data, role, sizeof(role) - 1) == 0) {
			return;
		}
	}
	/* No chat: all of it. */
	str_reset(out);
	vocab_decode(v, ids, n, true, out);
}

static void read_setting(struct model_prompt *p, char *word)
{
	char *value = strchr(word, '=');
	double number;
	bool is_number;

	if (!value) {
		return;
	}
	*value++ = '\0';
	is_number = text_parse_double(value, &number);
	if (strcmp(word, "answer") == 0) {
		snprintf(p->answer, sizeof(p->answer), "%s", value);
		p->has_answer = true;
	} else if (strcmp(word, "safety") == 0) {
		snprintf(p->safety, sizeof(p->safety), "%s", value);
	} else if (!is_number) {
		return;
	} else if (strcmp(word, "p") == 0) {
		p->p_right = number;
	} else if (strcmp(word, "loop") == 0) {
		p->p_loop = number;
	} else if (strcmp(word, "judge") == 0) {
		p->p_judge = number;
	} else if (strcmp(word, "step") == 0) {
		p->p_step = number;
	} else if (strcmp(word, "reward") == 0) {
		p->reward = number;
	} else if (strcmp(word, "len") == 0 && number >= 1 && number <= 1e6) {
		p->len = (uint32_t)number;
	}
}

static void read_marker(struct model_prompt *p)
{
	static const char open[] = "[fake:";
	const char *start = strstr(p->text.data, open);
	const char *end = start ? strchr(start, ']') : NULL;
	AUTO_FREE char *copy = NULL;

	if (!end) {
		return;
	}
	start += sizeof(open) - 1;
	copy = xmemdup0(start, (size_t)(end - start));
	for (char *rest = copy, *word; (word = strsep(&rest, " "));) {
		read_setting(p, word);
	}
}

/* Steps come as messages of their own, so the marker may stand in an earlier one. */
static void read_step(struct model_prompt *p, const struct vocab *v, const uint32_t *ids, size_t n)
{
	static const char word[] = "step=";
	struct str all;
	const char *found;
	char *end;

	str_init(&all, STR_NO_CAP);
	vocab_decode(v, ids, n, true, &all);
	found = strstr(all.data, "[fake:");
	found = found ? strstr(found, word) : NULL;
	if (found) {
		p->p_step = strtod(found + sizeof(word) - 1, &end);
	}
	str_release(&all);
}

/* Tokens of an assistant's turn that was left open: what is written goes on from there. */
static size_t count_written(const struct vocab *v, const uint32_t *ids, size_t n)
{
	static const char role[] = "assistant\n";
	struct ids header = {0};
	size_t start = n, written = 0;

	while (start > 0 && ids[start - 1] != VOCAB_IM_START && ids[start - 1] != VOCAB_IM_END) {
		start--;
	}
	vocab_encode(v, role, sizeof(role) - 1, false, &header);
	if (start > 0 && ids[start - 1] == VOCAB_IM_START && n - start > header.n &&
		memcmp(ids + start, header.items, header.n * sizeof(*ids)) == 0) {
		written = n - start - header.n;
	}
	ids_release(&header);
	return written;
}

static void read_numbers(struct model_prompt *p)
{
	int64_t sum = 0;

	for (const char *c = p->text.data; *c; c++) {
		int64_t value = 0;

		if (*c < '0' || *c > '9') {
			continue;
		}
		for (; *c >= '0' && *c <= '9'; c++) {
			value = value < 1000000000 ? value * 10 + (*c - '0') : value;
		}
		c--;
		sum += value;
		if (p->n_numbers < ARRAY_LEN(p->numbers)) {
			p->numbers[p->n_numbers++] = value % 100000;
		}
	}
	snprintf(p->answer, sizeof(p->answer), "%lld", (long long)sum);
}

void model_read(struct model_prompt *p, const struct vocab *v, const uint32_t *ids, size_t n)
{
	*p = (struct model_prompt){.ids = ids,
		.n = n,
		.p_right = 0.5,
		.p_judge = 0.5,
		.reward = 1,
		.p_step = -1,
		.len = DEFAULT_LEN};
	p->hash = hash64(ids, n * sizeof(*ids), 0);
	str_init(&p->text, STR_NO_CAP);
	find_message(v, ids, n, &p->text);
	read_numbers(p);
	read_marker(p);
	read_step(p, v, ids, n);
	p->written = count_written(v, ids, n);
	p->asks_safety = strstr(p->text.data, "safe, or unsafe");
	p->asks_yes_no = strcasestr(p->text.data, "yes or no");
}

void model_prompt_release(struct model_prompt *p)
{
	str_release(&p->text);
}

/* --- writing --- */

static void say(const struct vocab *v, const char *sentence, struct rng *rng, struct ids *out)
{
	struct ids tidy = {0};

	vocab_encode(v, sentence, strlen(sentence), false, &tidy);
	for (size_t i = 0; i < tidy.n; i++) {
		const struct vocab_token *token = &v->tokens[tidy.items[i]];

		if (!rng || token->len == 1 || rng_below(rng, BYTE_SPELLING_ONE_IN)) {
			ids_add(out, tidy.items[i]);
			continue;
		}
		for (size_t j = 0; j < token->len; j++) {
			ids_add(out, (unsigned char)token->bytes[j]);
		}
	}
	ids_release(&tidy);
}

static int64_t pick_number(const struct model_prompt *p, struct rng *rng)
{
	return p->n_numbers ? p->numbers[rng_below(rng, p->n_numbers)]
			    : (int64_t)rng_below(rng, 20) + 1;
}

static void make_sentence(const struct model_prompt *p, struct rng *rng, char *out, size_t bytes)
{
	static const char *const plain[] = {" Let us think about it step by step.",
		" First, we look at what is given.", " The rest follows from the text.",
		" Each part counts once, so nothing is left out.",
		" Now we check that the total is correct.",
		" There must be the same number on each side \xe2\x80\x94 and there is.",
		" So we know how many there are in all.\n"};
	long long a = pick_number(p, rng), b = pick_number(p, rng);

	switch (rng_below(rng, 5)) {
	case 0:
		snprintf(out, bytes, " We add %lld and %lld, which makes %lld.", a, b, a + b);
		break;
	case 1:
		snprintf(out, bytes, " Then %lld \xc3\x97 %lld = %lld.", a, b, a * b);
		break;
	case 2:
		snprintf(out, bytes, " That leaves %lld - %lld = %lld.", a + b, b, a);
		break;
	default:
		snprintf(out, bytes, "%s", plain[rng_below(rng, ARRAY_LEN(plain))]);
	}
}

static void make_ending(
	const struct model_prompt *p, bool right, struct rng *rng, char *out, size_t bytes)
{
	int64_t value;

	if (right) {
		snprintf(out, bytes, " So the answer is \\boxed{%s}.", p->answer);
	} else if (text_parse_i64(p->answer, &value) && value < INT64_MAX - 10) {
		value += 1 + (int64_t)rng_below(rng, 9);
		snprintf(out, bytes, " So the answer is \\boxed{%lld}.", (long long)value);
	} else {
		snprintf(out, bytes, " So the answer is \\boxed{%u}.",
			1000 + (unsigned)rng_below(rng, 1000));
	}
}

/* Without any limit but `most`: what it would say if nobody stopped it. */
static void think(const struct model_prompt *p, const struct vocab *v, struct rng *rng, size_t most,
	struct ids *out)
{
	char ending[128], sentence[256];
	bool right = rng_unit(rng) < p->p_right;
	bool loops = rng_unit(rng) < p->p_loop;
	size_t ending_tokens;

	make_ending(p, right, rng, ending, sizeof(ending));
	/* An estimate will do: `len` is about the length. */
	ending_tokens = 9 + strlen(p->answer);
	make_sentence(p, rng, sentence, sizeof(sentence));
	while (out->n < most && (loops || p->written + out->n + ending_tokens < p->len)) {
		/* A model that loops is certain of every token. */
		say(v, sentence + (out->n == 0), loops ? NULL : rng, out);
		if (!loops) {
			make_sentence(p, rng, sentence, sizeof(sentence));
		}
	}
	say(v, ending + (out->n == 0), rng, out);
	ids_add(out, VOCAB_IM_END);
}

double model_reward(const struct model_prompt *p, struct slice text)
{
	char boxed[80];

	snprintf(boxed, sizeof(boxed), "\\boxed{%s}", p->answer);
	return memmem(text.data, text.len, boxed, strlen(boxed)) ? p->reward : -p->reward;
}

static double p_of_yes(const struct model_prompt *p)
{
	char boxed[80];
	double yes = MIN(MAX(p->p_judge, 0.0), 1.0);

	if (p->p_step >= 0 && !p->asks_yes_no) {
		return strstr(p->text.data, "\xc3\x97") ? p->p_step / 2 : p->p_step;
	}
	snprintf(boxed, sizeof(boxed), "\\boxed{%s}", p->answer);
	return p->has_answer && !strstr(p->text.data, boxed) ? 1 - yes : yes;
}

void model_judge(const struct model_prompt *p, const struct vocab *v,
	struct model_choice out[MODEL_JUDGE_TOKENS])
{
	static const struct {
		const char *text;
		double of_yes, of_no, of_rest;
	} rows[MODEL_JUDGE_TOKENS] = {{"Yes", 0.80, 0, 0}, {" Yes", 0.12, 0, 0},
		{"yes", 0.06, 0, 0}, {"YES", 0.02, 0, 0}, {"No", 0, 0.80, 0}, {" No", 0, 0.12, 0},
		{"no", 0, 0.06, 0}, {"NO", 0, 0.02, 0}, {"The", 0, 0, 0.7}, {"I", 0, 0, 0.3}};
	bool steps = p->p_step >= 0 && !p->asks_yes_no;
	double yes = p_of_yes(p);

	for (size_t i = 0; i < MODEL_JUDGE_TOKENS; i++) {
		double said = rows[i].of_yes * yes + rows[i].of_no * (1 - yes);
		size_t at = i;

		/* A hundredth goes to something else, and no probability is 0, whose logarithm cannot be written. */
		const char *text = steps && i == 0 ? "+" : steps && i == 4 ? "-" : rows[i].text;
		struct model_choice choice = {
			vocab_find(v, text), MAX(0.99 * said + 0.01 * rows[i].of_rest, 1e-9)};
		for (; at > 0 && out[at - 1].p < choice.p; at--) {
			out[at] = out[at - 1];
		}
		out[at] = choice;
	}
}

static void judge(const struct model_prompt *p, const struct vocab *v, bool greedy, struct rng *rng,
	struct ids *out)
{
	struct model_choice choices[MODEL_JUDGE_TOKENS];
	double u = greedy ? 0 : rng_unit(rng);
	size_t i = 0;

	model_judge(p, v, choices);
	for (; i + 1 < MODEL_JUDGE_TOKENS && u >= choices[i].p; i++) {
		u -= choices[i].p;
	}
	ids_add(out, choices[i].id);
	ids_add(out, VOCAB_IM_END);
}

static void classify(const struct model_prompt *p, const struct vocab *v, struct ids *out)
{
	char boxed[80], answer[96] = "safe";

	snprintf(boxed, sizeof(boxed), "\\boxed{%s}", p->answer);
	if (p->safety[0] && !strstr(p->text.data, boxed)) {
		snprintf(answer, sizeof(answer), "unsafe\n%s",
			strcmp(p->safety, "-") == 0 ? "" : p->safety);
	}
	vocab_encode(v, answer, strlen(answer), false, out);
	ids_add(out, VOCAB_IM_END);
}

/* The stop string that is complete first, and where it begins; false if there is none. */
static bool find_stop(const struct model_text *t, const struct model_limits *limits,
	struct slice *out_word, size_t *out_start)
{
	size_t best = SIZE_MAX;

	for (size_t i = 0; i < limits->n_stops; i++) {
		const struct slice *word = &limits->stops[i];
		const char *found = word->len
			? memmem(t->text.data, t->text.len, word->data, word->len)
			: NULL;
		size_t start = found ? (size_t)(found - t->text.data) : 0;

		if (found && start + word->len < best) {
			best = start + word->len;
			*out_word = *word;
			*out_start = start;
		}
	}
	return best != SIZE_MAX;
}

/* As llama.cpp does it: the text is cut at the byte, the ids after the token that completed the stop string. */
static void cut_at_stop(
	const struct vocab *v, const struct model_limits *limits, struct model_text *t)
{
	size_t start, end = 0, i = 0;

	if (!find_stop(t, limits, &t->stop_word, &start)) {
		return;
	}
	t->n_probs = 0;
	for (; end < start + t->stop_word.len; i++) {
		uint32_t id = t->ids.items[i];

		end += vocab_is_special(id) ? 0 : v->tokens[id].len;
		if (end <= start) {
			t->n_probs = i + 1;
		}
	}
	t->ids.n = i;
	t->text.len = start;
	t->text.data[start] = '\0';
	t->stop = MODEL_WORD;
	t->truncated = false;
}

void model_write(const struct model_prompt *p, const struct vocab *v,
	const struct model_limits *limits, uint32_t seed, struct model_text *out)
{
	size_t room = limits->context - p->n, most = MIN((size_t)limits->max_tokens, room);
	uint64_t drawn = limits->greedy ? 0 : (uint64_t)seed + 1;
	struct rng rng;

	rng_seed(&rng, hash64(&drawn, sizeof(drawn), p->hash));
	out->ids.n = 0;
	out->judged = (p->asks_yes_no || p->p_step >= 0) && limits->max_tokens <= JUDGE_LIMIT_MAX;
	if (out->judged) {
		judge(p, v, limits->greedy, &rng, &out->ids);
	} else if (p->asks_safety) {
		classify(p, v, &out->ids);
	} else {
		think(p, v, &rng, most, &out->ids);
	}
	out->stop = out->ids.n > most ? MODEL_LIMIT : MODEL_EOS;
	out->ids.n = MIN(out->ids.n, most);
	out->truncated = out->stop == MODEL_LIMIT && out->ids.n == room;
	out->n_probs = out->ids.n;
	out->stop_word = (struct slice){"", 0};
	if (!out->text.data) {
		str_init(&out->text, STR_NO_CAP);
	}
	str_reset(&out->text);
	vocab_decode(v, out->ids.items, out->ids.n, false, &out->text);
	cut_at_stop(v, limits, out);
}

void model_text_release(struct model_text *t)
{
	ids_release(&t->ids);
	if (t->text.data) {
		str_release(&t->text);
	}
	*t = (struct model_text){0};
}

/* --- probabilities --- */

const char *model_logprob(const struct model_prompt *p, const struct model_text *t, size_t place,
	const struct vocab *v)
{
	static char table[LOGPROBS][24];
	static char judged[32];
	uint64_t key[2] = {place, t->ids.items[place]};

	if (!table[0][0]) {
		/* Mostly near 0, now and then a surprise, as a model's are. */
		for (int i = 0; i < LOGPROBS; i++) {
			snprintf(table[i], sizeof(table[i]), "%.7g",
				-0.0004 - 7 * pow(i / (double)LOGPROBS, 4));
		}
	}
	if (t->judged && place == 0) {
		struct model_choice choices[MODEL_JUDGE_TOKENS];

		model_judge(p, v, choices);
		for (size_t i = 0; i < MODEL_JUDGE_TOKENS; i++) {
			if (choices[i].id == t->ids.items[0]) {
				snprintf(judged, sizeof(judged), "%.7g", log(choices[i].p));
			}
		}
		return judged;
	}
	return table[hash64(key, sizeof(key), p->hash) % LOGPROBS];
}
