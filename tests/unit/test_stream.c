/*
 * Streamed answers in their parts: events out of bytes that were split anywhere, ids that a server did not send, candidates out
 * of events (recorded ones of real servers, shortened), and what the guard cuts and what it must not.
 */
#include "engine/dialect.h"
#include "engine/guard.h"
#include "engine/spelling.h"
#include "engine/sse.h"

#include "base/file.h"
#include "base/json.h"
#include "base/lines.h"
#include "base/mem.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static struct error err;

/* --- events --- */

static struct str events;
static bool stop_at_second;

static bool on_event(void *ctx, struct slice data, struct error *e)
{
	unsigned *n = ctx;

	str_append_c(&events, '[');
	str_append(&events, data.data, data.len);
	str_append_c(&events, ']');
	return ++*n < 2 || !stop_at_second || error_set(e, FAIL_DATA, "enough");
}

static bool feed(const char *text, size_t step, size_t event_max)
{
	struct sse sse;
	size_t len = strlen(text);
	unsigned n = 0;
	bool ok = true;

	str_release(&events);
	str_init(&events, STR_NO_CAP);
	err = (struct error){0};
	sse_init(&sse, event_max);
	for (size_t at = 0; at < len && ok; at += step)
		ok = sse_feed(
			&sse, (struct slice){text + at, MIN(step, len - at)}, on_event, &n, &err);
	sse_release(&sse);
	return ok;
}

static const struct {
	const char *stream, *events;
} streams[] = {
	{"data: a\n\ndata: b\n\n", "[a][b]"},
	{"data: a\r\n\r\ndata: b\r\n\r\n", "[a][b]"},
	{"data: a\r\rdata: b\r\r", "[a][b]"},
	{"data: a\r\n\ndata:b\n\r\n", "[a][b]"},
	{": a comment\n\ndata: a\n: another\nid: 7\nevent: x\nretry\n\n", "[a]"},
	{"data: a\ndata: b\ndata\ndata:  c\n\n", "[a\nb\n\n c]"},
	{"\xef\xbb\xbf"
	 "data: a\n\n",
		"[a]"},
	{"data:\n\n", "[]"},
	{"\n\n\n", ""},
	{"database: a\n\ndat: b\n\n", ""},
	{"error: {\"code\":500}\n\n", "[{\"code\":500}]"},
	{"data: [DONE]\n\n", "[[DONE]]"},
	/* Half a stream: the last event has no end. */
	{"data: a\n\ndata: b", "[a]"},
	{"data: a\n\ndata: b\n", "[a]"},
};

START_TEST(events_are_the_same_however_the_bytes_are_split)
	{
		for (size_t step = 1; step < 12; step++) {
			ck_assert_msg(feed(streams[_i].stream, step, 64), "%s", err.msg);
			ck_assert_str_eq(events.data, streams[_i].events);
		}
	}
END_TEST

START_TEST(an_event_over_the_limit_is_refused)
	{
		ck_assert(feed("data: 0123456789\n\n", 3, 16));
		ck_assert(!feed("data: 01234567890123456789\n\n", 100, 16));
		ck_assert_ptr_nonnull(strstr(err.msg, "larger than 16 bytes"));
		/* A line without an end, and an event of many lines. */
		ck_assert(!feed("data: 01234567890123456789", 1, 16));
		ck_assert(!feed("data: 01234567\ndata: 01234567\n\n", 1, 16));
		ck_assert(feed(": 0123456\n: 0123456\n: 0123456\n", 5, 16));
	}
END_TEST

START_TEST(a_callback_may_stop)
	{
		stop_at_second = true;
		ck_assert(!feed("data: a\n\ndata: b\n\ndata: c\n\n", 64, 64));
		stop_at_second = false;
		ck_assert_str_eq(events.data, "[a][b]");
		ck_assert_str_eq(err.msg, "enough");
	}
END_TEST

/* --- spelling --- */

/* Pieces of SmolLM2 around an emoji; the ids are places here. */
static const struct {
	const char *bytes;
	size_t len;
	uint8_t special;
} vocabulary[] = {{"a", 1, 0}, {"\xf0", 1, 0}, {"\x9f", 1, 0}, {"\xf0\x9f", 2, 0}, {"\xa4", 1, 0},
	{"\x96", 1, 0}, {" \xf0\x9f", 3, 0}, {"\xa6", 1, 0}, {"\x80", 1, 0}, {"<e>", 3, 1},
	{"\xa6\x80", 2, 0}, {"\xc3", 1, 0}, {"\x97", 1, 0}, {" ", 1, 0}, {"\xe2", 1, 0},
	{"\x88", 1, 0}, {"\xe2", 1, 0}};

static struct spelling *make_spelling(void)
{
	struct slice pieces[ARRAY_LEN(vocabulary)];
	uint8_t special[ARRAY_LEN(vocabulary)];

	for (size_t i = 0; i < ARRAY_LEN(vocabulary); i++) {
		pieces[i] = (struct slice){vocabulary[i].bytes, vocabulary[i].len};
		special[i] = vocabulary[i].special;
	}
	return spelling_new(pieces, special, ARRAY_LEN(vocabulary));
}

START_TEST(hidden_ids_are_told_only_where_there_is_one_way)
	{
		struct spelling *s = make_spelling();
		uint32_t ids[4];

		ck_assert(spelling_split(s, (struct slice){"\xf0\x9f\xa4", 3}, 2, ids));
		ck_assert(ids[0] == 3 && ids[1] == 4);
		ck_assert(spelling_split(s, (struct slice){"\xf0\x9f\xa4", 3}, 3, ids));
		ck_assert(ids[0] == 1 && ids[1] == 2 && ids[2] == 4);
		/* After " " alone the text would not have stopped inside a character. */
		ck_assert(spelling_split(s, (struct slice){" \xf0\x9f\xa6", 4}, 2, ids));
		ck_assert(ids[0] == 6 && ids[1] == 7);
		ck_assert(!spelling_split(s, (struct slice){" \xf0\x9f\xa6", 4}, 3, ids));
		ck_assert(!spelling_split(s, (struct slice){"\xf0\x9f\xa4", 3}, 1, ids));
		ck_assert(!spelling_split(s, (struct slice){"\xf0\x9f\xa4", 3}, 4, ids));
		/* Two ids of the same bytes. */
		ck_assert(!spelling_split(s, (struct slice){"\xe2", 1}, 1, ids));
		ck_assert(!spelling_split(s, (struct slice){"<e>", 3}, 1, ids));
		ck_assert(!spelling_split(s, (struct slice){"", 0}, 0, ids));
		ck_assert(!spelling_split(s, (struct slice){"\xf0\x9f\xa4", 3}, 1000, ids));
		ck_assert_uint_eq(spelling_piece(s, 6).len, 3);
		ck_assert_uint_eq(spelling_piece(s, 9).len, 0);
		ck_assert_uint_eq(spelling_piece(s, 1u << 31).len, 0);
		spelling_free(s);
		spelling_free(NULL);
	}
END_TEST

/* --- dialects --- */

static struct dialect_facts facts;
static struct engine_sampling sampling;
static struct engine_job job;
static struct dialect_call call;
static struct dialect_stream stream;
static struct spelling *spelling;
static uint32_t prompt_ids[3] = {0, 1, 2};
static char *stop_strings[] = {"END"};
static struct engine_candidate candidate;

static void setup(void)
{
	err = (struct error){0};
	spelling = make_spelling();
	facts = (struct dialect_facts){.bos_id = -1, .eos_id = 9, .n_vocab = 17, .context = 64};
	sampling = (struct engine_sampling){.temperature = 1, .max_tokens = 8};
	job = (struct engine_job){.prompt_ids = prompt_ids,
		.n_prompt_ids = 3,
		.sampling = &sampling,
		.n = 2,
		.logprobs = true};
	call = (struct dialect_call){.job = &job,
		.first = 4,
		.n = 1,
		.max_tokens = 8,
		.context = 64,
		.facts = &facts,
		.stream = true,
		.spelling = spelling};
	dialect_stream_init(&stream, &call);
}

static void teardown(void)
{
	dialect_stream_release(&stream);
	spelling_free(spelling);
}

static void restart(uint32_t n)
{
	dialect_stream_release(&stream);
	call.n = n;
	dialect_stream_init(&stream, &call);
}

static bool event(const struct dialect_ops *ops, const char *text)
{
	struct json *body = json_parse(text, strlen(text), &err);
	bool ok;

	ck_assert_msg(body != NULL, "%s", err.msg);
	err = (struct error){0};
	ok = ops->read_event(&stream, body, &err);
	json_free(body);
	return ok;
}

static void good(const struct dialect_ops *ops, const char *text)
{
	ck_assert_msg(event(ops, text), "%s", err.msg);
}

static void bad(const struct dialect_ops *ops, const char *text, const char *words)
{
	ck_assert_msg(!event(ops, text), "accepted: %s", text);
	ck_assert_msg(strstr(err.msg, words) != NULL, "'%s' does not say '%s'", err.msg, words);
}

static void conclude(const struct dialect_ops *ops, uint32_t i)
{
	ck_assert(stream.candidates[i].ended && !stream.candidates[i].lost);
	ck_assert_msg(ops->conclude(&stream, i, &candidate, &err), "%s", err.msg);
}

#define TOKEN(i, id, text, n, logprob)                                                            \
	"{\"index\":" #i ",\"content\":\"" text "\",\"tokens\":[" #id                             \
	"],\"stop\":false,\"id_slot\":-1,\"tokens_predicted\":" #n                                \
	",\"tokens_evaluated\":3,\"completion_probabilities\":[{\"id\":" #id ",\"token\":\"" text \
	"\",\"logprob\":" #logprob ",\"top_logprobs\":[]}]}"
#define LAST(i, type, n)                                                         \
	"{\"index\":" #i ",\"content\":\"\",\"tokens\":[],\"stop_type\":\"" type \
	"\",\"truncated\":false,\"tokens_evaluated\":3,\"tokens_predicted\":" #n "}"

START_TEST(llamacpp_events_make_the_candidate)
	{
		good(&dialect_llamacpp, TOKEN(0, 0, "a", 1, -0.5));
		good(&dialect_llamacpp, TOKEN(0, 13, " ", 2, -1));
		ck_assert(!stream.candidates[0].ended);
		good(&dialect_llamacpp, TOKEN(0, 9, "", 3, -2));
		good(&dialect_llamacpp, LAST(0, "eos", 3));
		conclude(&dialect_llamacpp, 0);
		ck_assert_uint_eq(candidate.i, 4);
		ck_assert_uint_eq(candidate.n_ids, 3);
		ck_assert_uint_eq(candidate.ids[2], 9);
		ck_assert(candidate.logprobs[1] == -1);
		ck_assert_int_eq(candidate.finish, FINISH_STOP);
		ck_assert_uint_eq(stream.n_prompt, 3);
		ck_assert(slice_eq_z(candidate.text, "a "));
	}
END_TEST

START_TEST(llamacpp_hidden_ids_are_found)
	{
		/* As the real server tells " \U0001f980" out of three tokens: the last id, and that there were three. */
		good(&dialect_llamacpp, TOKEN(0, 0, "a", 1, -0.5));
		good(&dialect_llamacpp, TOKEN(0, 8, " \xf0\x9f\xa6\x80", 4, -0.9));
		good(&dialect_llamacpp, LAST(0, "limit", 4));
		conclude(&dialect_llamacpp, 0);
		ck_assert_uint_eq(candidate.n_ids, 4);
		ck_assert(candidate.ids[1] == 6 && candidate.ids[2] == 7 && candidate.ids[3] == 8);
		ck_assert(isnan(candidate.logprobs[1]) && isnan(candidate.logprobs[2]));
		ck_assert_float_eq_tol(candidate.logprobs[3], -0.9f, 1e-6);
		ck_assert_int_eq(candidate.finish, FINISH_LENGTH);
	}
END_TEST

START_TEST(llamacpp_what_cannot_be_told_is_lost)
	{
		/* Two spellings of the first byte. */
		good(&dialect_llamacpp, TOKEN(0, 8, "\xe2\x88\x80", 3, -0.5));
		ck_assert(stream.candidates[0].lost);
		/* No vocabulary. */
		call.spelling = NULL;
		restart(1);
		good(&dialect_llamacpp, TOKEN(0, 12, "\xc3\x97", 2, -0.5));
		ck_assert(stream.candidates[0].lost);
		call.spelling = spelling;
		restart(1);
		good(&dialect_llamacpp, TOKEN(0, 12, "\xc3\x97", 2, -0.5));
		ck_assert(!stream.candidates[0].lost);
		/* Cut inside a character: ids that no event has. */
		good(&dialect_llamacpp, LAST(0, "limit", 3));
		ck_assert(stream.candidates[0].lost);
		/* Text was held back when the limit came. */
		sampling.stop = stop_strings;
		sampling.n_stop = 1;
		restart(1);
		good(&dialect_llamacpp, TOKEN(0, 0, "a", 1, -0.5));
		good(&dialect_llamacpp, TOKEN(0, 13, "", 2, -0.5));
		good(&dialect_llamacpp, LAST(0, "limit", 2));
		ck_assert(stream.candidates[0].lost);
	}
END_TEST

START_TEST(llamacpp_a_stop_string_takes_its_ids_along)
	{
		sampling.stop = stop_strings;
		sampling.n_stop = 1;
		restart(1);
		good(&dialect_llamacpp, TOKEN(0, 0, "a", 1, -0.5));
		good(&dialect_llamacpp, TOKEN(0, 13, "", 2, -0.5));
		good(&dialect_llamacpp, TOKEN(0, 0, " a", 3, -0.5));
		good(&dialect_llamacpp, TOKEN(0, 13, "", 4, -0.5));
		good(&dialect_llamacpp, LAST(0, "word", 4));
		conclude(&dialect_llamacpp, 0);
		ck_assert_int_eq(candidate.finish, FINISH_STOP_STRING);
		ck_assert_uint_eq(candidate.n_ids, 3);
	}
END_TEST

START_TEST(llamacpp_candidates_of_a_request_are_told_apart)
	{
		restart(2);
		good(&dialect_llamacpp, TOKEN(1, 0, "a", 1, -0.5));
		good(&dialect_llamacpp, TOKEN(0, 13, " ", 1, -0.5));
		good(&dialect_llamacpp, LAST(1, "limit", 1));
		ck_assert(stream.candidates[1].ended && !stream.candidates[0].ended);
		conclude(&dialect_llamacpp, 1);
		ck_assert_uint_eq(candidate.i, 5);
		bad(&dialect_llamacpp, TOKEN(1, 0, "a", 2, -0.5), "goes on after its end");
		bad(&dialect_llamacpp, TOKEN(2, 0, "a", 1, -0.5), "of candidate 2");
		bad(&dialect_llamacpp, TOKEN(-1, 0, "a", 1, -0.5), "of candidate -1");
	}
END_TEST

START_TEST(llamacpp_events_that_make_no_sense)
	{
		bad(&dialect_llamacpp, "{\"index\":0}", "no 'content' or no 'tokens'");
		bad(&dialect_llamacpp, "[]", "no 'content' or no 'tokens'");
		bad(&dialect_llamacpp, TOKEN(0, 17, "a", 1, -0.5), "not in the vocabulary");
		bad(&dialect_llamacpp, TOKEN(0, 0, "a", 1, 0.5), "no valid probability");
		bad(&dialect_llamacpp, TOKEN(0, 0, "a", 1, null), "no valid probability");
		bad(&dialect_llamacpp, TOKEN(0, 0, "a", 0, -0.5),
			"the server counts 0 ids where 1 came");
		bad(&dialect_llamacpp, TOKEN(0, 0, "a", 100, -0.5), "100 ids were sampled");
		bad(&dialect_llamacpp, LAST(0, "because", 0), "'stop_type' is");
		bad(&dialect_llamacpp,
			"{\"content\":\"\",\"tokens\":[],\"stop_type\":\"eos\",\"tokens_"
			"evaluated\":4}",
			"a prompt of 4 tokens");
		bad(&dialect_llamacpp, "{\"content\":\"ab\",\"tokens\":[1,2]}",
			"an event has 2 ids");
		/* n_probs without a count: ids without end. */
		job.logprobs = false;
		restart(1);
		for (int i = 0; i < 9; i++)
			good(&dialect_llamacpp, "{\"content\":\"a\",\"tokens\":[0]}");
		bad(&dialect_llamacpp, "{\"content\":\"a\",\"tokens\":[0]}", "10 ids were sampled");
	}
END_TEST

/* --- vLLM: events of a real one (0.32), shortened --- */

#define VLLM_EVENT(i, text, probs, tokens, ids, finish, stop, prompt)                          \
	"{\"id\":\"cmpl-1\",\"object\":\"text_completion\",\"model\":\"smol\",\"choices\":[{"  \
	"\"index\":" #i ",\"text\":\"" text                                                    \
	"\",\"logprobs\":{\"text_offset\":[0],\"token_logprobs\":" probs ",\"tokens\":" tokens \
	",\"top_logprobs\":[{\"2\":-1.5,\"In\":-3.5}]},\"finish_reason\":" finish              \
	",\"stop_reason\":" stop ",\"prompt_token_ids\":" prompt ",\"token_ids\":" ids "}]}"

START_TEST(vllm_events_make_the_candidate)
	{
		job.top_logprobs = 2;
		facts.n_vocab = 0;
		restart(2);
		good(&dialect_vllm,
			VLLM_EVENT(
				0, "", "[-3.5]", "[\"In\"]", "[788]", "null", "null", "[0,1,2]"));
		good(&dialect_vllm,
			VLLM_EVENT(1, "", "[-1.5]", "[\"2\"]", "[34]", "null", "null", "[0,1,2]"));
		ck_assert_uint_eq(stream.n_prompt, 3);
		/* What was sampled while nobody read comes in one event. */
		good(&dialect_vllm,
			VLLM_EVENT(0, "In mathematics,", "[-0.25,-0.5]", "[\" mathematics\",\",\"]",
				"[6530,28]", "\"length\"", "null", "null"));
		ck_assert(!stream.candidates[1].ended);
		good(&dialect_vllm,
			VLLM_EVENT(1, "2", "[-2]", "[\"<|im_end|>\"]", "[2]", "\"stop\"", "null",
				"null"));
		good(&dialect_vllm, "{\"choices\":[],\"usage\":{\"prompt_tokens\":3}}");
		conclude(&dialect_vllm, 0);
		ck_assert_uint_eq(candidate.i, 4);
		ck_assert_int_eq(candidate.finish, FINISH_LENGTH);
		ck_assert_uint_eq(candidate.n_ids, 3);
		ck_assert(candidate.ids[0] == 788 && candidate.ids[1] == 6530 &&
			candidate.ids[2] == 28);
		ck_assert(candidate.logprobs[0] == -3.5 && candidate.logprobs[2] == -0.5);
		ck_assert(slice_eq_z(candidate.text, "In mathematics,"));
		ck_assert_uint_eq(candidate.n_top, 2);
		conclude(&dialect_vllm, 1);
		ck_assert_int_eq(candidate.finish, FINISH_STOP);
		ck_assert_uint_eq(candidate.n_ids, 2);
		ck_assert_uint_eq(candidate.ids[1], 2);
	}
END_TEST

START_TEST(vllm_no_id_of_a_character_is_hidden)
	{
		facts.n_vocab = 0;
		restart(1);
		good(&dialect_vllm,
			VLLM_EVENT(0, "", "[-2]", "[\"\"]", "[10813]", "null", "null", "[0,1,2]"));
		good(&dialect_vllm,
			VLLM_EVENT(0, "", "[-1]", "[\"\"]", "[116]", "null", "null", "null"));
		good(&dialect_vllm,
			VLLM_EVENT(0, "\xf0\x9f\xa6\x80", "[-1]", "[\"\xf0\x9f\xa6\x80\"]", "[218]",
				"\"length\"", "null", "null"));
		conclude(&dialect_vllm, 0);
		ck_assert_uint_eq(candidate.n_ids, 3);
		ck_assert(slice_eq_z(candidate.text, "\xf0\x9f\xa6\x80"));
	}
END_TEST

START_TEST(vllm_a_stop_string_takes_its_ids_along)
	{
		sampling.stop = stop_strings;
		sampling.n_stop = 1;
		job.logprobs = false; /* asked for all the same: they have the texts */
		facts.n_vocab = 0;
		restart(1);
		good(&dialect_vllm,
			VLLM_EVENT(0, "", "[-1]", "[\"2\"]", "[34]", "null", "null", "[0,1,2]"));
		good(&dialect_vllm,
			VLLM_EVENT(0, "", "[-1,-1]", "[\" +\",\" \"]", "[1232,216]", "null", "null",
				"null"));
		good(&dialect_vllm,
			VLLM_EVENT(0, "", "[-1]", "[\"6\"]", "[38]", "null", "null", "null"));
		good(&dialect_vllm,
			VLLM_EVENT(0, "2 + 6", "[-1]", "[\" equals\"]", "[16473]", "\"stop\"",
				"\" equals\"", "null"));
		conclude(&dialect_vllm, 0);
		ck_assert_int_eq(candidate.finish, FINISH_STOP_STRING);
		ck_assert_uint_eq(candidate.n_ids, 4);
		ck_assert_ptr_null(candidate.logprobs);
	}
END_TEST

START_TEST(vllm_events_that_make_no_sense)
	{
		bad(&dialect_vllm, "{\"index\":0}", "no list 'choices'");
		bad(&dialect_vllm, "{\"choices\":[{\"index\":0}]}", "no 'text'");
		bad(&dialect_vllm,
			VLLM_EVENT(1, "a", "[-1]", "[\"a\"]", "[1]", "null", "null", "null"),
			"of candidate 1");
		bad(&dialect_vllm,
			VLLM_EVENT(0, "a", "[-1]", "[\"a\"]", "[17]", "null", "null", "null"),
			"not in the vocabulary");
		bad(&dialect_vllm,
			VLLM_EVENT(0, "a", "[-1]", "[\"a\"]", "[1,1]", "null", "null", "null"),
			"2 ids and probabilities of 1");
		bad(&dialect_vllm,
			VLLM_EVENT(0, "a", "[1.5]", "[\"a\"]", "[1]", "null", "null", "null"),
			"no valid number");
		bad(&dialect_vllm, VLLM_EVENT(0, "a", "[-1]", "[7]", "[1]", "null", "null", "null"),
			"has no text");
		bad(&dialect_vllm,
			VLLM_EVENT(0, "a", "[-1]", "[\"a\"]", "[1]", "null", "null", "[0,1]"),
			"a prompt of 2 tokens");
		bad(&dialect_vllm,
			VLLM_EVENT(0, "a", "[-1]", "[\"a\"]", "[1]", "null", "null", "[0,1,3]"),
			"another prompt");
		bad(&dialect_vllm,
			"{\"choices\":[{\"index\":0,\"text\":\"a\",\"token_ids\":[1],\"finish_"
			"reason\":null}]}",
			"probabilities of 0");
		restart(1);
		bad(&dialect_vllm, VLLM_EVENT(0, "", "[]", "[]", "[]", "\"stop\"", "null", "null"),
			"not with the id");
		job.logprobs = false;
		restart(1);
		for (int i = 0; i < 9; i++)
			good(&dialect_vllm,
				"{\"choices\":[{\"index\":0,\"text\":\"a\",\"token_ids\":[1],"
				"\"finish_reason\":null}]}");
		bad(&dialect_vllm,
			"{\"choices\":[{\"index\":0,\"text\":\"a\",\"token_ids\":[1],\"finish_"
			"reason\":null}]}",
			"more ids came");
		restart(1);
		good(&dialect_vllm,
			"{\"choices\":[{\"index\":0,\"text\":\"a\",\"token_ids\":[1],\"finish_"
			"reason\":\"abort\"}]}");
		conclude(&dialect_vllm, 0);
		ck_assert_int_eq(candidate.reason, ENGINE_REJECTED);
	}
END_TEST

#define CHUNK(delta, finish)                                                       \
	"{\"choices\":[{\"index\":0,\"delta\":" delta ",\"finish_reason\":" finish \
	"}],\"usage\":null}"

START_TEST(openai_events_make_the_candidate)
	{
		good(&dialect_openai, CHUNK("{\"role\":\"assistant\",\"content\":null}", "null"));
		good(&dialect_openai, CHUNK("{\"reasoning_content\":\"2 and \"}", "null"));
		good(&dialect_openai,
			CHUNK("{\"reasoning_content\":\"2\",\"content\":null}", "null"));
		good(&dialect_openai, CHUNK("{\"content\":\"It is \"}", "null"));
		good(&dialect_openai, CHUNK("{\"content\":\"4\"}", "null"));
		good(&dialect_openai, CHUNK("{}", "\"stop\""));
		ck_assert(!stream.candidates[0].ended);
		ck_assert_uint_eq(stream.candidates[0].n_pieces, 4);
		good(&dialect_openai,
			"{\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":7}}");
		conclude(&dialect_openai, 0);
		ck_assert(slice_eq_z(candidate.text, "<think>2 and 2</think>It is 4"));
		ck_assert_uint_eq(candidate.n_tokens, 7);
		ck_assert_uint_eq(stream.n_prompt, 9);
		ck_assert_int_eq(candidate.finish, FINISH_STOP);
	}
END_TEST

START_TEST(openai_ends_without_a_count)
	{
		good(&dialect_openai, CHUNK("{\"reasoning\":\"hm\"}", "null"));
		good(&dialect_openai, CHUNK("{}", "\"length\""));
		ck_assert(dialect_openai.read_event(&stream, NULL, &err));
		conclude(&dialect_openai, 0);
		ck_assert(slice_eq_z(candidate.text, "<think>hm</think>"));
		ck_assert_int_eq(candidate.finish, FINISH_LENGTH);
		/* Half a stream does not end it. */
		restart(1);
		good(&dialect_openai, CHUNK("{\"content\":\"It\"}", "null"));
		ck_assert(dialect_openai.read_event(&stream, NULL, &err));
		ck_assert(!stream.candidates[0].ended);
	}
END_TEST

START_TEST(openai_events_that_make_no_sense)
	{
		good(&dialect_openai, CHUNK("{\"content\":\"It\"}", "null"));
		bad(&dialect_openai, CHUNK("{\"reasoning_content\":\"hm\"}", "null"),
			"reasoning came after the answer");
		good(&dialect_openai, CHUNK("{}", "\"content_filter\""));
		ck_assert_int_eq(stream.candidates[0].reason, ENGINE_REJECTED);
		bad(&dialect_openai, "{\"choices\":[{\"index\":1,\"delta\":{}}]}",
			"of candidate 1");
	}
END_TEST

/* --- the guard --- */

static enum finish why;

/* Number of the id at which it is cut; 0: it is not. Text comes a letter per id, or none. */
static size_t cut_at(struct guard_config config, const uint32_t *ids, size_t n, char letter)
{
	struct guard *guard = guard_new(&config);
	size_t at = 0;

	for (size_t i = 0; i < n && at == 0; i++) {
		if (guard_add(guard, &ids[i], 1, (struct slice){&letter, 1}, &why))
			at = i + 1;
	}
	guard_free(guard);
	return at;
}

static size_t cut_text(struct guard_config config, const char *text)
{
	struct guard *guard = guard_new(&config);
	size_t at = 0;

	for (size_t i = 0; text[i] != '\0' && at == 0; i++) {
		uint32_t id = (uint32_t)i;

		if (guard_add(guard, &id, 1, (struct slice){text + i, 1}, &why))
			at = i + 1;
	}
	guard_free(guard);
	return at;
}

START_TEST(loops_of_every_period_are_cut)
	{
		struct guard_config config = {.loop = 128, .period = 256};
		uint32_t ids[8192];

		for (uint32_t period = 1; period <= 256; period++) {
			size_t wanted = MAX(128, 4 * period);

			for (uint32_t i = 0; i < 8192; i++)
				ids[i] = i < 100 ? 1000 + i : (i - 100) % period;
			size_t at = cut_at(config, ids, 8192, 'x');
			ck_assert_uint_eq(at, 100 + wanted);
			ck_assert_int_eq(why, FINISH_LOOP);
		}
		/* One passage longer than is looked for. */
		for (uint32_t i = 0; i < 8192; i++)
			ids[i] = i % 257;
		ck_assert_uint_eq(cut_at(config, ids, 8192, 'x'), 0);
	}
END_TEST

START_TEST(what_only_resembles_a_loop_goes_on)
	{
		struct guard_config config = {.loop = 128, .period = 256};
		uint32_t ids[8192];

		/* Sentences that differ in a number each. */
		for (uint32_t i = 0; i < 8192; i++)
			ids[i] = i % 20 == 7 ? 1000 + i : i % 20;
		ck_assert_uint_eq(cut_at(config, ids, 8192, 'x'), 0);
		/* A long repetition that ends. */
		for (uint32_t i = 0; i < 8192; i++)
			ids[i] = i % 150 < 120 ? i % 3 : i;
		ck_assert_uint_eq(cut_at(config, ids, 8192, 'x'), 0);
		/* Numbers may repeat four times as long. */
		for (uint32_t i = 0; i < 8192; i++)
			ids[i] = i % 6;
		ck_assert_uint_eq(cut_at(config, ids, 500, '7'), 0);
		ck_assert_uint_eq(cut_at(config, ids, 8192, '7'), 512);
	}
END_TEST

static const struct {
	const char *text;
	size_t at;
} answers[] = {
	{"so \\boxed{4}. And on", 18},
	{"so \\boxed{4}", 0},
	{"so \\boxed{\\frac{1}{2}} is", 0},
	{"so \\boxed{\\frac{1}{2}} is it", 28},
	{"so \\boxed{4 and on and on", 0},
	{"#### 4\nand", 0},
	{"#### 4\nand on", 13},
	{"#### 4 and on", 0},
	{"a #### 4\nand on and on", 0},
	{"<think>\\boxed{4} and on and on", 0},
	{"<think>\\boxed{4} and on</think> and on", 0},
	{"<think>a</think>\\boxed{4} and on", 31},
	{"\\boxe{4} and on and on and on", 0},
	{"\\boxed{\\}} and on", 16},
};

START_TEST(going_on_after_the_answer_is_cut)
	{
		struct guard_config config = {.after_answer = 5};

		ck_assert_uint_eq(cut_text(config, answers[_i].text), answers[_i].at);
		if (answers[_i].at > 0)
			ck_assert_int_eq(why, FINISH_AFTER_ANSWER);
	}
END_TEST

START_TEST(an_answer_that_is_given_again_begins_the_count_anew)
	{
		struct guard_config config = {.after_answer = 15};

		ck_assert_uint_eq(cut_text(config, "\\boxed{4} or \\boxed{5} and so on"), 0);
		ck_assert_uint_eq(cut_text(config, "\\boxed{4} or \\box{5} and so on"), 25);
	}
END_TEST

START_TEST(too_long_is_cut)
	{
		struct guard_config config = {.length_max = 5};

		ck_assert_uint_eq(cut_text(config, "abcde"), 0);
		ck_assert_uint_eq(cut_text(config, "abcdef"), 6);
		ck_assert_int_eq(why, FINISH_OUTLIER);
	}
END_TEST

/* Words and numbers as tokens: as repetitive as the text is, and no ids of a model needed. */
static size_t cut_words(struct guard_config config, struct slice text, size_t *out_byte)
{
	struct guard *guard = guard_new(&config);
	size_t at = 0, i = 0, cut = 0;

	while (at < text.len && cut == 0) {
		size_t end = at + 1;
		uint32_t id = (uint32_t)(unsigned char)text.data[at];

		while (end < text.len && text.data[at] >= 'A' && text.data[end] >= 'A') {
			id = id * 31 + (unsigned char)text.data[end];
			end++;
		}
		i++;
		/* The end of the text is that of the candidate. */
		if (guard_add(guard, &id, 1, (struct slice){text.data + at, end - at}, &why) &&
			end < text.len)
			cut = i;
		*out_byte = at = end;
	}
	guard_free(guard);
	return cut;
}

static unsigned n_texts;

/*
 * A few of the reference texts never end: from some place on they are one passage up to their last byte, or the answer is given
 * and what follows is a thousand bytes of anything. Those are no false cuts.
 */
static bool never_ends(struct slice text, size_t from)
{
	static const char box[] = "\\boxed{";
	size_t last = 0;

	for (size_t i = 0; i + sizeof(box) < text.len; i++)
		last = memcmp(text.data + i, box, sizeof(box) - 1) == 0 ? i : last;
	if (why == FINISH_AFTER_ANSWER)
		return text.len - last > 1000;
	for (size_t period = 1; period <= 64 && period <= from; period++) {
		size_t i = from;

		while (i < text.len && text.data[i] == text.data[i - period])
			i++;
		if (i == text.len)
			return true;
	}
	return false;
}

static void check_text(void *ctx, const char *key, const struct json *value)
{
	const struct guard_config config = {.loop = 128, .period = 256, .after_answer = 512};
	struct slice text;

	if (json_kind(value) == JSON_OBJECT)
		json_each(value, check_text, ctx);
	for (size_t i = 0; json_kind(value) == JSON_ARRAY && i < json_len(value); i++)
		check_text(ctx, key, json_at(value, i));
	text.data = json_str(value, &text.len);
	if (text.data == NULL)
		return;
	size_t byte, at = cut_words(config, text, &byte);
	ck_assert_msg(at == 0 || never_ends(text, byte), "%s of %s: cut at %zu for %s: %.400s", key,
		(const char *)ctx, at, finish_name(why), text.data);
	n_texts++;
}

static void check_reference(const char *name)
{
	const char *env = getenv("THRESH_SHARED");
	AUTO_FREE char *here = file_dirname(__FILE__);
	AUTO_FREE char *path = env ? file_join(env, name)
				   : xasprintf("%s/../../../shared/%s", here, name);
	struct lines in;
	struct slice line;

	if (!file_exists(path)) {
		printf("# %s is not there: skipped\n", name);
		return;
	}
	n_texts = 0;
	ck_assert_msg(lines_open(&in, path, 8 << 20, &err), "%s", err.msg);
	while (lines_next(&in, &line, &err) == LINES_LINE) {
		struct json *row = json_parse(line.data, line.len, &err);

		ck_assert_ptr_nonnull(row);
		json_each(row, check_text, (void *)name);
		json_free(row);
	}
	ck_assert_uint_gt(n_texts, 100);
	lines_release(&in);
}

START_TEST(reference_outputs_are_never_cut)
	{
		check_reference("data/gsm8k-k4-open.jsonl");
		check_reference("data/math-k8-open.jsonl");
	}
END_TEST

int main(void)
{
	Suite *suite = suite_create("stream");
	TCase *events_case = tcase_create("events"), *dialects_case = tcase_create("dialects"),
	      *guard_case = tcase_create("guard");
	SRunner *runner;
	int failed;

	tcase_add_loop_test(events_case, events_are_the_same_however_the_bytes_are_split, 0,
		(int)ARRAY_LEN(streams));
	tcase_add_test(events_case, an_event_over_the_limit_is_refused);
	tcase_add_test(events_case, a_callback_may_stop);
	tcase_add_test(events_case, hidden_ids_are_told_only_where_there_is_one_way);
	suite_add_tcase(suite, events_case);
	tcase_add_checked_fixture(dialects_case, setup, teardown);
	tcase_add_test(dialects_case, llamacpp_events_make_the_candidate);
	tcase_add_test(dialects_case, llamacpp_hidden_ids_are_found);
	tcase_add_test(dialects_case, llamacpp_what_cannot_be_told_is_lost);
	tcase_add_test(dialects_case, llamacpp_a_stop_string_takes_its_ids_along);
	tcase_add_test(dialects_case, llamacpp_candidates_of_a_request_are_told_apart);
	tcase_add_test(dialects_case, llamacpp_events_that_make_no_sense);
	tcase_add_test(dialects_case, vllm_events_make_the_candidate);
	tcase_add_test(dialects_case, vllm_no_id_of_a_character_is_hidden);
	tcase_add_test(dialects_case, vllm_a_stop_string_takes_its_ids_along);
	tcase_add_test(dialects_case, vllm_events_that_make_no_sense);
	tcase_add_test(dialects_case, openai_events_make_the_candidate);
	tcase_add_test(dialects_case, openai_ends_without_a_count);
	tcase_add_test(dialects_case, openai_events_that_make_no_sense);
	suite_add_tcase(suite, dialects_case);
	tcase_add_test(guard_case, loops_of_every_period_are_cut);
	tcase_add_test(guard_case, what_only_resembles_a_loop_goes_on);
	tcase_add_loop_test(
		guard_case, going_on_after_the_answer_is_cut, 0, (int)ARRAY_LEN(answers));
	tcase_add_test(guard_case, an_answer_that_is_given_again_begins_the_count_anew);
	tcase_add_test(guard_case, too_long_is_cut);
	tcase_add_test(guard_case, reference_outputs_are_never_cut);
	suite_add_tcase(suite, guard_case);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
