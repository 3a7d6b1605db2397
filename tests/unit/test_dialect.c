/*
 * What dialects write and how they read answers: recorded ones of real servers (shortened), and bad ones made by hand. Every bad
 * answer must be refused with a reason, since what passes here is what a model is trained on.
 */
#include "engine/dialect.h"

#include "base/json.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static struct arena arena;
static struct error err;
static struct str out;
static struct json *body;
static struct dialect_result result;
static struct dialect_facts facts;
static struct engine_sampling sampling;
static struct engine_job job;
static struct dialect_call call;
static uint32_t prompt_ids[3] = {1, 4093, 198};
static char *stop[] = {"help"};
static struct engine_message messages[2] = {
	{"system", {"You are a tutor.", 16}}, {"user", {"Say \"hi\"\n", 9}}};

static void setup(void)
{
	arena = (struct arena){0};
	err = (struct error){0};
	result = (struct dialect_result){0};
	body = NULL;
	str_init(&out, STR_NO_CAP);
	facts = (struct dialect_facts){.bos_id = 1, .eos_id = 2, .n_vocab = 49152, .context = 2048};
	sampling = (struct engine_sampling){
		.temperature = 0.8, .top_p = 0.95, .repeat_penalty = 1, .max_tokens = 8};
	job = (struct engine_job){
		.messages = messages,
		.n_messages = 2,
		.prompt_ids = prompt_ids,
		.n_prompt_ids = 3,
		.sampling = &sampling,
		.n = 1,
		.seed = 1000,
	};
	call = (struct dialect_call){.job = &job,
		.n = 1,
		.max_tokens = 8,
		.context = 2048,
		.model = "m",
		.facts = &facts};
}

static void teardown(void)
{
	json_free(body);
	str_release(&out);
	arena_release(&arena);
}

static bool read_with(const struct dialect_ops *ops, const char *text)
{
	json_free(body);
	body = json_parse(text, strlen(text), &err);
	ck_assert_msg(body != NULL, "%s", err.msg);
	err = (struct error){0};
	result = (struct dialect_result){0};
	return ops->read_generate(&call, body, &arena, &result, &err);
}

static const struct engine_candidate *read_good(const struct dialect_ops *ops, const char *text)
{
	ck_assert_msg(read_with(ops, text), "%s", err.msg);
	return &result.candidates[0];
}

static void read_bad(const struct dialect_ops *ops, const char *text, const char *words)
{
	ck_assert_msg(!read_with(ops, text), "accepted: %s", text);
	ck_assert_int_eq(err.kind, FAIL_DATA);
	ck_assert_msg(strstr(err.msg, words) != NULL, "'%s' does not say '%s'", err.msg, words);
}

static void check_ids(const struct engine_candidate *c, const uint32_t *ids, size_t n)
{
	ck_assert_uint_eq(c->n_ids, n);
	ck_assert_uint_eq(c->n_tokens, n);
	for (size_t i = 0; i < n; i++)
		ck_assert_uint_eq(c->ids[i], ids[i]);
}

/* --- llama.cpp: requests --- */

START_TEST(llamacpp_request_sends_every_sampler)
	{
		const struct json *root;
		int64_t n;
		double v;

		sampling.stop = stop;
		sampling.n_stop = 1;
		call.first = 3;
		dialect_llamacpp.build_generate(&call, &out);
		body = json_parse(out.data, out.len, &err);
		root = body;
		ck_assert_msg(root != NULL, "%s", err.msg);
		ck_assert_uint_eq(json_len(json_get(root, "prompt")), 3);
		ck_assert(json_int(json_get(root, "seed"), &n) && n == 1003);
		ck_assert(json_int(json_get(root, "n_predict"), &n) && n == 8);
		/* The server's defaults are 40 and 0.05. */
		ck_assert(json_int(json_get(root, "top_k"), &n) && n == 0);
		ck_assert(json_num(json_get(root, "min_p"), &v) && v == 0);
		ck_assert(json_num(json_get(root, "repeat_penalty"), &v) && v == 1);
		ck_assert_str_eq(json_z(json_at(json_get(root, "stop"), 0)), "help");
		/* Without it the ids in front of a stop string could not be told. */
		ck_assert(json_int(json_get(root, "n_probs"), &n) && n == 1);
		ck_assert_ptr_null(json_get(root, "n_cmpl"));
	}
END_TEST

START_TEST(llamacpp_request_never_sends_the_seed_that_means_random)
	{
		int64_t seed;

		job.seed = UINT32_MAX;
		dialect_llamacpp.build_generate(&call, &out);
		body = json_parse(out.data, out.len, &err);
		ck_assert(json_int(json_get(body, "seed"), &seed));
		ck_assert_int_ne(seed, UINT32_MAX);
	}
END_TEST

/* --- llama.cpp: good answers --- */

#define ENTRY(id, bytes, logprob) \
	"{\"id\":" #id ",\"token\":\"?\",\"bytes\":" bytes ",\"logprob\":" #logprob "}"

START_TEST(eos_is_the_last_id_and_has_a_logprob)
	{
		static const uint32_t ids[] = {19556, 17, 2};
		const struct engine_candidate *c;

		job.logprobs = true;
		c = read_good(&dialect_llamacpp,
			"{\"index\":0,\"content\":\"Hello!\",\"tokens\":[19556,17,2],\"stop_type\":"
			"\"eos\",\"truncated\":false,"
			"\"tokens_evaluated\":3,\"tokens_predicted\":3,\"completion_"
			"probabilities\":[" ENTRY(19556, "[72,101,108,108,111]", -1.5) "," ENTRY(
				17, "[33]", -0.25) "," ENTRY(2, "[]", -2) "]}");
		check_ids(c, ids, 3);
		ck_assert_int_eq(c->finish, FINISH_STOP);
		ck_assert(slice_eq_z(c->text, "Hello!"));
		ck_assert_double_eq(c->logprobs[2], -2);
		ck_assert_uint_eq(result.n_prompt, 3);
		ck_assert_uint_eq(result.n_sampled, 3);
	}
END_TEST

START_TEST(an_eos_that_the_server_counts_but_leaves_out_is_added)
	{
		static const uint32_t ids[] = {19556, 2};

		check_ids(read_good(&dialect_llamacpp,
				  "{\"content\":\"Hello\",\"tokens\":[19556],\"stop_type\":\"eos\","
				  "\"tokens_predicted\":2}"),
			ids, 2);
	}
END_TEST

START_TEST(another_end_of_generation_id_is_kept_as_it_was_sampled)
	{
		static const uint32_t ids[] = {19556, 0};

		check_ids(read_good(&dialect_llamacpp,
				  "{\"content\":\"Hello\",\"tokens\":[19556,0],\"stop_type\":"
				  "\"eos\",\"tokens_predicted\":2}"),
			ids, 2);
	}
END_TEST

/* As recorded: "a", an emoji of three tokens, "b", EOS. The emoji has one entry, with all of its bytes, at its last token. */
START_TEST(ids_inside_a_character_have_no_logprob)
	{
		const struct engine_candidate *c;

		job.logprobs = true;
		c = read_good(&dialect_llamacpp,
			"{\"content\":\"a\\ud83d\\ude00b\",\"tokens\":[81,10813,242,218,82,0],"
			"\"stop_type\":\"eos\",\"tokens_predicted\":6,"
			"\"completion_probabilities\":[" ENTRY(81, "[97]", -1) "," ENTRY(218,
				"[240,159,152,128]",
				-2) "," ENTRY(82, "[98]", -3) "," ENTRY(0, "[]", -4) "]}");
		ck_assert_uint_eq(c->n_ids, 6);
		ck_assert_double_eq(c->logprobs[0], -1);
		ck_assert(isnan(c->logprobs[1]) && isnan(c->logprobs[2]));
		ck_assert_double_eq(c->logprobs[3], -2);
		ck_assert_double_eq(c->logprobs[4], -3);
		ck_assert_double_eq(c->logprobs[5], -4);
	}
END_TEST

START_TEST(equal_continuation_bytes_belong_to_the_last_of_them)
	{
		const struct engine_candidate *c;

		job.logprobs = true;
		c = read_good(&dialect_llamacpp,
			"{\"content\":\"\\u4000x\",\"tokens\":[228,128,128,88],\"stop_type\":"
			"\"limit\",\"tokens_predicted\":4,"
			"\"completion_probabilities\":[" ENTRY(128, "[228,128,128]", -2) "," ENTRY(
				88, "[120]", -3) "]}");
		ck_assert(isnan(c->logprobs[0]) && isnan(c->logprobs[1]));
		ck_assert_double_eq(c->logprobs[2], -2);
	}
END_TEST

START_TEST(a_limit_inside_a_character_leaves_its_ids_without_logprobs)
	{
		const struct engine_candidate *c;

		job.logprobs = true;
		c = read_good(&dialect_llamacpp,
			"{\"content\":\"\\ufffd\\ufffd\",\"tokens\":[10813,10813],\"stop_type\":"
			"\"limit\",\"tokens_predicted\":2}");
		ck_assert_uint_eq(c->n_ids, 2);
		ck_assert(isnan(c->logprobs[0]) && isnan(c->logprobs[1]));
		ck_assert_int_eq(c->finish, FINISH_LENGTH);
	}
END_TEST

/* As recorded: "I'm here to help with", where "help with" is " help" + " with" and the stop string two tokens. */
START_TEST(ids_behind_a_stop_string_are_dropped)
	{
		static const uint32_t ids[] = {57, 5248, 1535, 288};
		const struct engine_candidate *c;

		sampling.stop = stop;
		sampling.n_stop = 1;
		c = read_good(&dialect_llamacpp,
			"{\"content\":\"I'm here to "
			"\",\"tokens\":[57,5248,1535,288,724,351],\"stop_type\":\"word\",\"tokens_"
			"predicted\":6,"
			"\"completion_probabilities\":[" ENTRY(57, "[73]", -1) "," ENTRY(
				5248, "[39,109]", -1) "," ENTRY(1535, "[32,104,101,114,101]",
				-1) "," ENTRY(288, "[32,116,111]", -1) "]}");
		check_ids(c, ids, 4);
		ck_assert_int_eq(c->finish, FINISH_STOP_STRING);
		ck_assert_ptr_null(c->logprobs);
		ck_assert_uint_eq(result.n_sampled, 6);
	}
END_TEST

START_TEST(an_id_withheld_for_a_stop_string_is_dropped_with_it)
	{
		static const uint32_t ids[] = {57};

		sampling.stop = stop;
		sampling.n_stop = 1;
		check_ids(read_good(&dialect_llamacpp,
				  "{\"content\":\"I\",\"tokens\":[57,700,701],\"stop_type\":"
				  "\"word\",\"tokens_predicted\":3,"
				  "\"completion_probabilities\":[" ENTRY(57, "[73]", -1) "," ENTRY(
					  700, "[]", -1) "]}"),
			ids, 1);
	}
END_TEST

START_TEST(a_full_context_is_told_from_a_token_limit)
	{
		ck_assert_int_eq(read_good(&dialect_llamacpp,
					 "{\"content\":\"a\",\"tokens\":[81],\"stop_type\":"
					 "\"limit\",\"truncated\":false,\"tokens_predicted\":1}")
					 ->finish,
			FINISH_LENGTH);
		ck_assert_int_eq(read_good(&dialect_llamacpp,
					 "{\"content\":\"a\",\"tokens\":[81],\"stop_type\":"
					 "\"limit\",\"truncated\":true,\"tokens_predicted\":1}")
					 ->finish,
			FINISH_CONTEXT);
		/* Where we asked for less because the context ends there. */
		call.context = 4;
		ck_assert_int_eq(read_good(&dialect_llamacpp,
					 "{\"content\":\"a\",\"tokens\":[81],\"stop_type\":"
					 "\"limit\",\"truncated\":false,\"tokens_predicted\":1}")
					 ->finish,
			FINISH_CONTEXT);
	}
END_TEST

START_TEST(candidates_of_one_answer_are_put_in_order)
	{
		call.first = 4;
		call.n = 2;
		read_good(&dialect_llamacpp,
			"[{\"index\":1,\"content\":\"b\",\"tokens\":[82],\"stop_type\":\"limit\"},"
			"{\"index\":0,\"content\":\"a\",\"tokens\":[81],\"stop_type\":\"limit\"}]");
		ck_assert_uint_eq(result.candidates[0].i, 4);
		ck_assert_uint_eq(result.candidates[0].ids[0], 81);
		ck_assert_uint_eq(result.candidates[1].i, 5);
		ck_assert_uint_eq(result.candidates[1].ids[0], 82);
	}
END_TEST

START_TEST(the_prompt_that_was_read_once_counts_once)
	{
		const struct engine_candidate *c;

		c = read_good(&dialect_llamacpp,
			"{\"content\":\"a\",\"tokens\":[81],\"stop_type\":\"limit\","
			"\"timings/prompt_n\":2}");
		ck_assert(c->knows_read);
		ck_assert_uint_eq(c->n_read, 2);
		/* Each of several claims the reading. */
		job.n = call.n = 2;
		c = read_good(&dialect_llamacpp,
			"[{\"index\":1,\"content\":\"b\",\"tokens\":[82],\"stop_type\":\"limit\","
			"\"timings/prompt_n\":3},"
			"{\"index\":0,\"content\":\"a\",\"tokens\":[81],\"stop_type\":\"limit\","
			"\"timings/prompt_n\":3}]");
		ck_assert(c[0].knows_read && c[1].knows_read);
		ck_assert_uint_eq(c[0].n_read, 3);
		ck_assert_uint_eq(c[1].n_read, 0);
	}
END_TEST

static const char *const untold[] = {"", ",\"timings/prompt_n\":-1", ",\"timings/prompt_n\":4",
	",\"timings/prompt_n\":1.5", ",\"timings/prompt_n\":\"2\""};

START_TEST(a_reading_that_makes_no_sense_is_not_told)
	{
		char text[200];

		/* The prompt has three tokens. */
		snprintf(text, sizeof(text),
			"{\"content\":\"a\",\"tokens\":[81],\"stop_type\":\"limit\"%s}",
			untold[_i]);
		ck_assert(!read_good(&dialect_llamacpp, text)->knows_read);
	}
END_TEST

START_TEST(alternatives_of_the_first_token_are_read_for_judges)
	{
		const struct engine_candidate *c;

		job.top_logprobs = 2;
		c = read_good(&dialect_llamacpp,
			"{\"content\":\"No\",\"tokens\":[5230],\"stop_type\":\"limit\","
			"\"completion_probabilities\":[{\"id\":5230,\"token\":\"No\","
			"\"bytes\":[78,111],\"logprob\":-1.1,\"top_logprobs\":[{\"id\":5230,"
			"\"token\":\"No\",\"bytes\":[78,111],\"logprob\":-1.1},"
			"{\"id\":10539,\"token\":\"Yes\",\"bytes\":[89,101,115],\"logprob\":-1.9},{"
			"\"id\":7,\"token\":\"x\",\"bytes\":[120],\"logprob\":null}]}]}");
		ck_assert_uint_eq(c->n_top, 2);
		ck_assert(slice_eq_z(c->top[1].piece, "Yes"));
		ck_assert_float_eq_tol(c->top[1].logprob, -1.9f, 1e-6f);
	}
END_TEST

/* --- llama.cpp: bad answers --- */

static const struct {
	const char *text, *words;
	bool logprobs;
	uint32_t n;
} bad_llamacpp[] = {
	{"[]", "0 candidates"},
	{"\"hello\"", "the answer is"},
	{"{}", "no 'content'"},
	{"{\"content\":7,\"tokens\":[]}", "no 'content'"},
	{"{\"content\":\"a\"}", "no 'tokens'"},
	{"{\"content\":\"a\",\"tokens\":[81]}", "no 'stop_type'"},
	{"{\"content\":\"a\",\"tokens\":[81],\"stop_type\":\"boredom\"}", "boredom"},
	{"{\"content\":\"a\",\"tokens\":[-1],\"stop_type\":\"limit\"}", "not in the vocabulary"},
	{"{\"content\":\"a\",\"tokens\":[49152],\"stop_type\":\"limit\"}", "not in the vocabulary"},
	{"{\"content\":\"a\",\"tokens\":[1.5],\"stop_type\":\"limit\"}", "not in the vocabulary"},
	{"{\"content\":\"a\",\"tokens\":[1,1,1,1,1,1,1,1,1,1],\"stop_type\":\"limit\"}",
		"at most 8"},
	{"{\"content\":\"a\",\"tokens\":[81],\"stop_type\":\"eos\",\"tokens_predicted\":5}",
		"the server counted 5"},
	{"{\"content\":\"a\",\"tokens\":[81],\"stop_type\":\"limit\",\"tokens_evaluated\":2}",
		"3 were sent"},
	{"{\"content\":\"a\",\"tokens\":[81],\"stop_type\":\"limit\","
	 "\"generation_settings/seed\":4711}",
		"another request: its seed is 4711"},
	{"{\"content\":\"\",\"tokens\":[],\"stop_type\":\"eos\",\"tokens_predicted\":0}",
		"no ids at all"},
	{"{\"index\":1,\"content\":\"a\",\"tokens\":[81],\"stop_type\":\"limit\"}", "index 1"},
	{"[{\"index\":0,\"content\":\"a\",\"tokens\":[81],\"stop_type\":\"limit\"},"
	 "{\"index\":0,\"content\":\"a\",\"tokens\":[81],\"stop_type\":\"limit\"}]",
		"index 0", false, 2},
	{"{\"content\":\"a\",\"tokens\":[81],\"stop_type\":\"limit\"}", "2 were asked for", false,
		2},
	/* Probabilities. */
	{"{\"content\":\"a\",\"tokens\":[81],\"stop_type\":\"limit\"}",
		"1 ids and probabilities of 0", true},
	{"{\"content\":\"a\",\"tokens\":[81],\"stop_type\":\"limit\",\"completion_probabilities\":{"
	 "}}",
		"no list", true},
	{"{\"content\":\"ab\",\"tokens\":[81,82],\"stop_type\":\"limit\",\"completion_"
	 "probabilities\":[" ENTRY(81, "[97]", -1) "]}",
		"2 ids and probabilities of 1", true},
	{"{\"content\":\"a\",\"tokens\":[81],\"stop_type\":\"limit\",\"completion_probabilities\":"
	 "[" ENTRY(81, "[97]", -1) "," ENTRY(81, "[97]", -1) "]}",
		"1 ids and probabilities of 2", true},
	{"{\"content\":\"a\",\"tokens\":[81],\"stop_type\":\"limit\",\"completion_probabilities\":"
	 "[" ENTRY(82, "[97]", -1) "]}",
		"not what was sampled", true},
	{"{\"content\":\"ab\",\"tokens\":[81,82],\"stop_type\":\"limit\",\"completion_"
	 "probabilities\":[" ENTRY(82, "[98]", -1) "]}",
		"not what was sampled", true},
	{"{\"content\":\"a\",\"tokens\":[81],\"stop_type\":\"limit\",\"completion_probabilities\":"
	 "[" ENTRY(81, "[97]", null) "]}",
		"no valid logprob", true},
	{"{\"content\":\"a\",\"tokens\":[81],\"stop_type\":\"limit\",\"completion_probabilities\":"
	 "[" ENTRY(81, "[97]", 0.5) "]}",
		"no valid logprob", true},
	{"{\"content\":\"a\",\"tokens\":[81],\"stop_type\":\"limit\",\"completion_probabilities\":"
	 "[" ENTRY(81, "[97]", -1e300) "]}",
		"no valid logprob", true},
	{"{\"content\":\"a\",\"tokens\":[81],\"stop_type\":\"limit\",\"completion_probabilities\":"
	 "[" ENTRY(81, "[297]", -1) "]}",
		"no valid token", true},
	{"{\"content\":\"a\",\"tokens\":[81],\"stop_type\":\"limit\",\"completion_probabilities\":["
	 "7]}",
		"no valid id", true},
};

START_TEST(llamacpp_refuses_an_answer_that_makes_no_sense)
	{
		job.logprobs = bad_llamacpp[_i].logprobs;
		call.n = bad_llamacpp[_i].n != 0 ? bad_llamacpp[_i].n : 1;
		read_bad(&dialect_llamacpp, bad_llamacpp[_i].text, bad_llamacpp[_i].words);
	}
END_TEST

START_TEST(llamacpp_knows_a_prompt_that_is_too_long)
	{
		static const char text[] =
			"{\"error\":{\"code\":400,\"message\":\"request (2048 tokens) exceeds\","
			"\"type\":\"exceed_context_size_error\",\"n_prompt_tokens\":2048,\"n_ctx\":"
			"2048}}";
		static const char other[] = "{\"error\":{\"code\":400,\"message\":\"no\",\"type\":"
					    "\"invalid_request_error\"}}";

		body = json_parse(text, sizeof(text) - 1, &err);
		ck_assert(dialect_llamacpp.prompt_too_long(body));
		ck_assert(dialect_openai.prompt_too_long(body));
		ck_assert_str_eq(dialect_error_text(body), "request (2048 tokens) exceeds");
		json_free(body);
		body = json_parse(other, sizeof(other) - 1, &err);
		ck_assert(!dialect_llamacpp.prompt_too_long(body));
		ck_assert(!dialect_llamacpp.prompt_too_long(NULL));
	}
END_TEST

/* --- llama.cpp: probing, prompts --- */

static bool read_step(const struct dialect_ops *ops, size_t i, const char *text)
{
	json_free(body);
	body = json_parse(text, strlen(text), &err);
	ck_assert_msg(body != NULL, "%s", err.msg);
	return ops->steps[i].read(body, &arena, &facts, &err);
}

START_TEST(llamacpp_is_known_by_its_props)
	{
		facts = (struct dialect_facts){.bos_id = -1, .eos_id = -1};
		ck_assert(!read_step(&dialect_llamacpp, 0, "{\"object\":\"list\",\"data\":[]}"));
		ck_assert(read_step(&dialect_llamacpp, 0,
			"{\"default_generation_settings\":{\"params\":{},\"n_ctx\":2048},\"total_"
			"slots\":16,\"model_alias\":\"student\","
			"\"model_path\":\"m.gguf\",\"chat_template\":\"{{x}}\",\"eos_token\":\"<|"
			"im_end|>\",\"build_info\":\"b1\"}"));
		ck_assert_uint_eq(facts.n_slots, 16);
		ck_assert_uint_eq(facts.context, 2048);
		ck_assert_str_eq(facts.model, "student");
		ck_assert(read_step(&dialect_llamacpp, 1,
			"{\"data\":[{\"id\":\"student\",\"owned_by\":\"llamacpp\",\"meta\":{\"n_"
			"vocab\":49152}}]}"));
		ck_assert_uint_eq(facts.n_vocab, 49152);
		ck_assert_str_eq(facts.server, "llamacpp");
		ck_assert(dialect_llamacpp.steps[2].build(&facts, &out));
		ck_assert_ptr_nonnull(strstr(out.data, "<|im_end|>"));
		ck_assert(read_step(&dialect_llamacpp, 2, "{\"tokens\":[2]}"));
		ck_assert_int_eq(facts.eos_id, 2);
		/* An EOS that is several tokens is no token. */
		ck_assert(read_step(&dialect_llamacpp, 2, "{\"tokens\":[2,3]}"));
		ck_assert_int_eq(facts.eos_id, -1);
		ck_assert(!dialect_llamacpp.steps[3].build(&facts, &out));
	}
END_TEST

START_TEST(props_with_nonsense_leave_facts_unknown)
	{
		facts = (struct dialect_facts){.bos_id = -1, .eos_id = -1};
		ck_assert(read_step(&dialect_llamacpp, 0,
			"{\"default_generation_settings\":[],\"total_slots\":-5,\"model_alias\":7,"
			"\"model_path\":null,\"chat_template\":{},"
			"\"eos_token\":\"\"}"));
		ck_assert_uint_eq(facts.n_slots, 0);
		ck_assert_uint_eq(facts.context, 0);
		ck_assert_ptr_null(facts.model);
		ck_assert_ptr_null(facts.chat_template);
		ck_assert_ptr_null(facts.eos_token);
	}
END_TEST

START_TEST(token_lists_are_checked_against_the_vocabulary)
	{
		const uint32_t *ids;
		size_t n;

		body = json_parse("{\"tokens\":[1,9690]}", 19, &err);
		ck_assert(dialect_llamacpp.read_tokenize(body, 49152, &arena, &ids, &n, &err));
		ck_assert_uint_eq(n, 2);
		ck_assert_uint_eq(ids[1], 9690);
		ck_assert(!dialect_llamacpp.read_tokenize(body, 100, &arena, &ids, &n, &err));
		ck_assert(!dialect_llamacpp.read_tokenize(NULL, 100, &arena, &ids, &n, &err));
	}
END_TEST

START_TEST(the_whole_vocabulary_must_be_complete)
	{
		struct slice pieces[3] = {{0}};
		static const char good[] =
			"{\"completion_probabilities\":[{\"top_logprobs\":[{\"id\":2,\"bytes\":[98]"
			"},{\"id\":0,\"bytes\":[]},{\"id\":1,\"bytes\":[97]}]}]}";
		static const char twice[] =
			"{\"completion_probabilities\":[{\"top_logprobs\":[{\"id\":2,\"bytes\":[98]"
			"},{\"id\":2,\"bytes\":[98]},{\"id\":1,\"bytes\":[97]}]}]}";

		body = json_parse(good, sizeof(good) - 1, &err);
		ck_assert(dialect_llamacpp.read_pieces(body, 3, &arena, pieces, &err));
		ck_assert(slice_eq_z(pieces[2], "b"));
		ck_assert_uint_eq(pieces[0].len, 0);
		ck_assert(!dialect_llamacpp.read_pieces(body, 4, &arena, pieces, &err));
		json_free(body);
		memset(pieces, 0, sizeof(pieces));
		body = json_parse(twice, sizeof(twice) - 1, &err);
		ck_assert(!dialect_llamacpp.read_pieces(body, 3, &arena, pieces, &err));
	}
END_TEST

/* --- openai --- */

START_TEST(openai_request_holds_only_fields_that_openai_knows)
	{
		int64_t n;

		dialect_openai.build_generate(&call, &out);
		body = json_parse(out.data, out.len, &err);
		ck_assert_str_eq(json_z(json_get(body, "model")), "m");
		ck_assert_str_eq(
			json_z(json_get(json_at(json_get(body, "messages"), 1), "content")),
			"Say \"hi\"\n");
		ck_assert(json_int(json_get(body, "seed"), &n) && n == 1000);
		ck_assert_ptr_null(json_get(body, "top_k"));
		ck_assert_ptr_null(json_get(body, "min_p"));
		ck_assert_ptr_null(json_get(body, "repetition_penalty"));
		ck_assert_ptr_null(json_get(body, "logprobs"));
		ck_assert_ptr_null(json_get(body, "n"));
	}
END_TEST

START_TEST(openai_request_asks_for_top_logprobs_with_logprobs)
	{
		bool on = false;
		int64_t n;

		job.top_logprobs = 5;
		dialect_openai.build_generate(&call, &out);
		body = json_parse(out.data, out.len, &err);
		ck_assert(json_bool(json_get(body, "logprobs"), &on) && on);
		ck_assert(json_int(json_get(body, "top_logprobs"), &n) && n == 5);
	}
END_TEST

START_TEST(openai_judge_answer_is_read)
	{
		const struct engine_candidate *c;

		job.top_logprobs = 2;
		c = read_good(&dialect_openai,
			"{\"choices\":[{\"finish_reason\":\"length\",\"index\":0,\"message\":{"
			"\"role\":\"assistant\",\"content\":\"No\"},"
			"\"logprobs\":{\"content\":[{\"token\":\"No\",\"bytes\":[78,111],"
			"\"logprob\":-1.1,\"top_logprobs\":["
			"{\"token\":\"No\",\"bytes\":[78,111],\"logprob\":-1.1},{\"token\":\"Yes\","
			"\"bytes\":null,\"logprob\":-1.9}]}]}}],"
			"\"usage\":{\"completion_tokens\":1,\"prompt_tokens\":33}}");
		ck_assert_uint_eq(c->n_top, 2);
		ck_assert(slice_eq_z(c->top[1].piece, "Yes"));
		ck_assert_uint_eq(c->n_ids, 0);
		ck_assert_uint_eq(c->n_tokens, 1);
		ck_assert_int_eq(c->finish, FINISH_LENGTH);
		ck_assert_uint_eq(result.n_prompt, 33);
	}
END_TEST

START_TEST(openai_thoughts_in_a_field_of_their_own_are_put_back)
	{
		ck_assert(
			slice_eq_z(read_good(&dialect_openai,
					   "{\"choices\":[{\"finish_reason\":\"stop\",\"message\":{"
					   "\"content\":\"5\",\"reasoning_content\":\"2+3\"}}]}")
					   ->text,
				"<think>2+3</think>5"));
		ck_assert(
			slice_eq_z(read_good(&dialect_openai,
					   "{\"choices\":[{\"finish_reason\":\"stop\",\"message\":{"
					   "\"content\":\"5\",\"reasoning_content\":null}}]}")
					   ->text,
				"5"));
	}
END_TEST

START_TEST(openai_stop_string_is_told_where_the_server_tells_it)
	{
		ck_assert_int_eq(read_good(&dialect_openai,
					 "{\"choices\":[{\"finish_reason\":\"stop\",\"stop_"
					 "reason\":\"help\",\"message\":{\"content\":\"\"}}]}")
					 ->finish,
			FINISH_STOP_STRING);
		ck_assert_int_eq(read_good(&dialect_openai,
					 "{\"choices\":[{\"finish_reason\":\"stop\",\"stop_"
					 "reason\":null,\"message\":{\"content\":\"\"}}]}")
					 ->finish,
			FINISH_STOP);
	}
END_TEST

START_TEST(openai_filtered_choice_fails_alone)
	{
		call.n = 2;
		read_good(&dialect_openai,
			"{\"choices\":[{\"index\":0,\"finish_reason\":\"content_filter\","
			"\"message\":{\"content\":null}},"
			"{\"index\":1,\"finish_reason\":\"stop\",\"message\":{\"content\":\"fine\"}"
			"}]}");
		ck_assert_int_eq(result.candidates[0].reason, ENGINE_REJECTED);
		ck_assert_ptr_nonnull(strstr(result.candidates[0].err->msg, "content_filter"));
		ck_assert_int_eq(result.candidates[1].reason, ENGINE_OK);
	}
END_TEST

static const struct {
	const char *text, *words;
} bad_openai[] = {
	{"[]", "no list 'choices'"},
	{"{\"choices\":{}}", "no list 'choices'"},
	{"{\"choices\":[]}", "0 candidates"},
	{"{\"choices\":[7]}", "no text"},
	{"{\"choices\":[{\"finish_reason\":\"stop\",\"message\":{\"content\":7}}]}", "no text"},
	{"{\"choices\":[{\"message\":{\"content\":\"a\"}}]}", "no 'finish_reason'"},
	{"{\"choices\":[{\"index\":3,\"finish_reason\":\"stop\",\"message\":{\"content\":\"a\"}}]}",
		"index 3"},
	{"{\"choices\":[{\"finish_reason\":\"stop\",\"message\":{\"content\":\"a\"},\"logprobs\":{"
	 "\"content\":[{\"token\":\"a\"}]}}]}",
		"top_logprobs"},
	{"{\"choices\":[{\"finish_reason\":\"stop\",\"message\":{\"content\":\"a\"},\"logprobs\":{"
	 "\"content\":[{\"token\":\"a\","
	 "\"top_logprobs\":[{\"token\":\"a\",\"logprob\":\"x\"}]}]}}]}",
		"no logprob"},
};

START_TEST(openai_refuses_an_answer_that_makes_no_sense)
	{
		job.top_logprobs = 2;
		read_bad(&dialect_openai, bad_openai[_i].text, bad_openai[_i].words);
	}
END_TEST

START_TEST(a_server_may_say_what_program_it_is)
	{
		facts = (struct dialect_facts){0};
		ck_assert(read_step(&dialect_openai, 0,
			"{\"data\":[{\"id\":\"m\",\"owned_by\":\"vllm\",\"max_model_len\":64}]}"));
		ck_assert_str_eq(facts.server, "vllm");
		ck_assert(read_step(
			&dialect_openai, 0, "{\"data\":[{\"id\":\"m\",\"owned_by\":7}]}"));
		ck_assert_ptr_null(facts.server);
		ck_assert(read_step(&dialect_openai, 0,
			"{\"data\":[{\"id\":\"m\",\"owned_by\":\"0123456789012345678901234567890123"
			"4567890123456789012345678901234567890\"}]}"));
		ck_assert_ptr_null(facts.server);
	}
END_TEST

/* --- vLLM --- */

START_TEST(vllm_request_sends_every_sampler)
	{
		const struct json *root;
		int64_t n;
		double v;

		call.first = 3;
		call.n = 2;
		dialect_vllm.build_generate(&call, &out);
		body = json_parse(out.data, out.len, &err);
		root = body;
		ck_assert_msg(root != NULL, "%s", err.msg);
		ck_assert_uint_eq(json_len(json_get(root, "prompt")), 3);
		ck_assert(json_int(json_get(root, "seed"), &n) && n == 1003);
		ck_assert(json_int(json_get(root, "n"), &n) && n == 2);
		ck_assert(json_int(json_get(root, "max_tokens"), &n) && n == 8);
		/* The server's defaults are the model's. */
		ck_assert(json_int(json_get(root, "top_k"), &n) && n == -1);
		ck_assert(json_num(json_get(root, "min_p"), &v) && v == 0);
		ck_assert(json_num(json_get(root, "repetition_penalty"), &v) && v == 1);
		ck_assert_ptr_null(json_get(root, "logprobs"));
		ck_assert_ptr_null(json_get(root, "stop"));
	}
END_TEST

START_TEST(vllm_is_asked_for_the_texts_of_tokens_with_a_stop_string)
	{
		int64_t n;

		sampling.stop = stop;
		sampling.n_stop = 1;
		dialect_vllm.build_generate(&call, &out);
		body = json_parse(out.data, out.len, &err);
		ck_assert(json_int(json_get(body, "logprobs"), &n) && n == 1);
		ck_assert_str_eq(json_z(json_at(json_get(body, "stop"), 0)), "help");
	}
END_TEST

#define VLLM(choices, usage)                                                                   \
	"{\"id\":\"cmpl-8669d7bdd9b85bba\",\"object\":\"text_completion\",\"model\":\"smol\"," \
	"\"choices\":[" choices "],\"usage\":{\"prompt_tokens\":3," usage "}}"
#define VLLM_SUM                                                                                 \
	"{\"index\":0,\"text\":\"2+3 = 5\",\"logprobs\":{\"text_offset\":[0,1,2,3,5,6,7],"       \
	"\"token_logprobs\":[-1.675973653793335,-1.0010809898376465,-0.009277448058128357,"      \
	"-0.5442476868629456,-0.056933268904685974,-0.012086722999811172,-0.21677221357822418]," \
	"\"tokens\":[\"2\",\"+\",\"3\",\" =\",\" \",\"5\",\"<|im_end|>\"],\"top_logprobs\":["    \
	"{\"2\":-1.675973653793335,\"Two\":-2.175973653793335,\"x\":null},{\"+\":-1.0}]},"       \
	"\"finish_reason\":\"stop\",\"stop_reason\":null,\"token_ids\":[34,27,35,446,216,37,2]," \
	"\"prompt_logprobs\":null,\"prompt_token_ids\":[1,4093,198],\"routed_experts\":null}"

START_TEST(vllm_answer_ends_with_the_eos_and_has_logprobs)
	{
		static const uint32_t ids[] = {34, 27, 35, 446, 216, 37, 2};
		const struct engine_candidate *c;

		job.logprobs = true;
		job.top_logprobs = 2;
		c = read_good(&dialect_vllm, VLLM(VLLM_SUM, "\"completion_tokens\":7"));
		check_ids(c, ids, 7);
		ck_assert_int_eq(c->finish, FINISH_STOP);
		ck_assert(slice_eq_z(c->text, "2+3 = 5"));
		ck_assert_float_eq_tol(c->logprobs[6], -0.2167722f, 1e-6f);
		ck_assert_uint_eq(c->n_top, 2);
		for (size_t i = 0; i < 2; i++)
			ck_assert(slice_eq_z(c->top[i].piece, "2") ||
				slice_eq_z(c->top[i].piece, "Two"));
		ck_assert_uint_eq(result.n_prompt, 3);
		ck_assert_uint_eq(result.n_sampled, 7);
		job.logprobs = false;
		job.top_logprobs = 0;
		ck_assert_ptr_null(
			read_good(&dialect_vllm, VLLM(VLLM_SUM, "\"completion_tokens\":7"))
				->logprobs);
	}
END_TEST

START_TEST(vllm_ids_in_front_of_a_stop_string_are_kept)
	{
		static const uint32_t ids[] = {10813, 242, 218, 476};
		const struct engine_candidate *c;

		sampling.stop = stop;
		sampling.n_stop = 1;
		c = read_good(&dialect_vllm,
			VLLM("{\"index\":0,\"text\":\"\\ud83d\\ude00 \\\"2\",\"logprobs\":{"
			     "\"token_logprobs\":[-1,-1,-1,-1,-1,-1],\"tokens\":[\"\",\"\","
			     "\"\\ud83d\\ude00\",\" \\\"\",\"2he\",\"lp\"],\"top_logprobs\":[]},"
			     "\"finish_reason\":\"stop\",\"stop_reason\":\"help\","
			     "\"token_ids\":[10813,242,218,476,34,35]}",
				"\"completion_tokens\":6"));
		ck_assert_int_eq(c->finish, FINISH_STOP_STRING);
		check_ids(c, ids, 4);
		ck_assert_ptr_null(c->logprobs);
		ck_assert_uint_eq(result.n_sampled, 6);
	}
END_TEST

START_TEST(vllm_candidates_are_put_in_order)
	{
		call.first = 4;
		call.n = 2;
		ck_assert(read_with(&dialect_vllm,
			VLLM("{\"index\":1,\"text\":\"b\",\"finish_reason\":\"length\","
			     "\"token_ids\":[82]},{\"index\":0,\"text\":\"a\",\"finish_reason\":"
			     "\"stop\",\"stop_reason\":7,\"token_ids\":[81,7]}",
				"\"completion_tokens\":3")));
		ck_assert_uint_eq(result.candidates[0].i, 4);
		ck_assert_uint_eq(result.candidates[0].ids[0], 81);
		ck_assert_int_eq(result.candidates[0].finish, FINISH_STOP);
		ck_assert_int_eq(result.candidates[1].finish, FINISH_LENGTH);
		ck_assert_uint_eq(result.candidates[1].i, 5);
	}
END_TEST

START_TEST(vllm_full_context_is_told_from_a_token_limit)
	{
		call.context = 5;
		ck_assert_int_eq(read_good(&dialect_vllm,
					 VLLM("{\"text\":\"ab\",\"finish_reason\":\"length\","
					      "\"token_ids\":[81,82]}",
						 "\"completion_tokens\":2"))
					 ->finish,
			FINISH_CONTEXT);
	}
END_TEST

START_TEST(vllm_aborted_candidate_fails_alone)
	{
		const struct engine_candidate *c = read_good(&dialect_vllm,
			VLLM("{\"text\":\"a\",\"finish_reason\":\"abort\",\"token_ids\":[81]}",
				"\"completion_tokens\":1"));

		ck_assert_int_eq(c->reason, ENGINE_REJECTED);
		ck_assert(strstr(c->err->msg, "abort") != NULL);
	}
END_TEST

static const struct {
	const char *text, *words;
	bool logprobs, stops;
} bad_vllm[] = {
	{"{}", "no list 'choices'"},
	{"{\"choices\":[]}", "0 candidates"},
	{"{\"choices\":[7]}", "no 'text'"},
	{"{\"choices\":[{\"text\":\"a\",\"finish_reason\":\"length\",\"token_ids\":null}]}",
		"no 'token_ids'"},
	{"{\"choices\":[{\"text\":\"a\",\"token_ids\":[81]}]}", "no 'finish_reason'"},
	{"{\"choices\":[{\"index\":1,\"text\":\"a\",\"token_ids\":[81]}]}", "index 1"},
	{"{\"choices\":[{\"text\":\"a\",\"finish_reason\":\"length\",\"token_ids\":[49152]}]}",
		"not in the vocabulary"},
	{"{\"choices\":[{\"text\":\"a\",\"finish_reason\":\"length\",\"token_ids\":[1,1,1,1,1,1,1,"
	 "1,1,1]}]}",
		"at most 8"},
	{"{\"choices\":[{\"text\":\"a\",\"finish_reason\":\"stop\",\"token_ids\":[]}]}",
		"said to have ended it"},
	{"{\"choices\":[{\"text\":\"a\",\"finish_reason\":\"stop\",\"stop_reason\":7,"
	 "\"token_ids\":[81]}]}",
		"said to have ended it"},
	{"{\"choices\":[{\"text\":\"a\",\"finish_reason\":\"length\",\"token_ids\":[81],"
	 "\"prompt_token_ids\":[1,4094,198]}]}",
		"another prompt than was sent, from token 1"},
	{"{\"choices\":[{\"text\":\"a\",\"finish_reason\":\"length\",\"token_ids\":[81],"
	 "\"prompt_token_ids\":[1,4093]}]}",
		"a prompt of 2 tokens, 3 were sent"},
	{"{\"choices\":[{\"text\":\"a\",\"finish_reason\":\"length\",\"token_ids\":[81]}],"
	 "\"usage\":{\"prompt_tokens\":4}}",
		"a prompt of 4 tokens, 3 were sent"},
	{"{\"choices\":[{\"text\":\"a\",\"finish_reason\":\"length\",\"token_ids\":[81]}],"
	 "\"usage\":{\"completion_tokens\":2}}",
		"the server counted 2"},
	{"{\"choices\":[{\"text\":\"a\",\"finish_reason\":\"length\",\"token_ids\":[81],"
	 "\"logprobs\":null}]}",
		"1 ids and probabilities of 0", true},
	{"{\"choices\":[{\"text\":\"a\",\"finish_reason\":\"length\",\"token_ids\":[81],"
	 "\"logprobs\":{\"token_logprobs\":[0.5]}}]}",
		"no valid number", true},
	{"{\"choices\":[{\"text\":\"a\",\"finish_reason\":\"stop\",\"stop_reason\":\"help\","
	 "\"token_ids\":[81],\"logprobs\":{\"token_logprobs\":[-1],\"tokens\":[]}}]}",
		"the texts of 0", false, true},
};

START_TEST(vllm_refuses_an_answer_that_makes_no_sense)
	{
		job.logprobs = bad_vllm[_i].logprobs;
		sampling.stop = stop;
		sampling.n_stop = bad_vllm[_i].stops;
		read_bad(&dialect_vllm, bad_vllm[_i].text, bad_vllm[_i].words);
	}
END_TEST

START_TEST(vllm_is_known_by_its_models_its_ids_and_its_names)
	{
		facts = (struct dialect_facts){.bos_id = -1, .eos_id = -1};
		ck_assert(read_step(&dialect_vllm, 0,
			"{\"object\":\"list\",\"data\":[{\"id\":\"smol\",\"object\":\"model\","
			"\"owned_by\":\"vllm\",\"root\":\"/models/smol\",\"parent\":null,"
			"\"max_model_len\":2048}]}"));
		ck_assert_str_eq(facts.model, "smol");
		ck_assert_str_eq(facts.model_path, "/models/smol");
		ck_assert_uint_eq(facts.context, 2048);
		ck_assert(!read_step(
			&dialect_vllm, 0, "{\"data\":[{\"id\":\"m\",\"owned_by\":\"sglang\"}]}"));
		ck_assert(!read_step(&dialect_vllm, 1,
			"{\"count\":1,\"max_model_len\":2048,\"tokens\":[11262]}"));
		ck_assert(read_step(&dialect_vllm, 1,
			"{\"count\":1,\"max_model_len\":2048,\"tokens\":[11262],\"token_strs\":["
			"\"yes\"]}"));
		dialect_vllm.steps[2].build(&facts, &out);
		ck_assert(strstr(out.data, "[11262]") != NULL);
		ck_assert(read_step(&dialect_vllm, 2, VLLM(VLLM_SUM, "\"completion_tokens\":7")));
		/* Before 0.10.2. */
		ck_assert(!read_step(&dialect_vllm, 2,
			"{\"choices\":[{\"index\":0,\"text\":\"a\",\"finish_reason\":\"length\"}]"
			"}"));
		ck_assert(read_step(&dialect_vllm, 3, "{\"version\":\"0.32.0\"}"));
		ck_assert_str_eq(facts.build, "0.32.0");
	}
END_TEST

START_TEST(vllm_tells_more_of_its_tokenizer_if_started_so)
	{
		facts = (struct dialect_facts){.bos_id = -1, .eos_id = -1};
		str_reset(&out);
		ck_assert(!dialect_vllm.steps[5].build(&facts, &out));
		ck_assert(read_step(&dialect_vllm, 4,
			"{\"tokenizer_class\":\"GPT2Tokenizer\",\"eos_token\":{\"content\":"
			"\"<|im_end|>\"},\"bos_token\":\"<|im_start|>\",\"chat_template\":\"{{x}}"
			"\"}"));
		ck_assert_str_eq(facts.chat_template, "{{x}}");
		ck_assert(dialect_vllm.steps[5].build(&facts, &out));
		ck_assert(strstr(out.data, "<|im_end|>") != NULL);
		ck_assert(read_step(&dialect_vllm, 5, "{\"tokens\":[2],\"token_strs\":[\"x\"]}"));
		ck_assert_int_eq(facts.eos_id, 2);
		ck_assert_str_eq(facts.bos_token, "<|im_start|>");
	}
END_TEST

static const struct {
	const char *text, *answer;
	bool special;
} special_vllm[] = {
	{"Hi <|im_end|>\n [x] <b>",
		"{\"tokens\":[26843,216,2,198,933,104,77,2067,82,46],\"token_strs\":[\"Hi\","
		"\"\\u0120\",\"<|im_end|>\",\"\\u010a\",\"\\u0120[\",\"x\",\"]\",\"\\u0120<\","
		"\"b\","
		"\">\"]}",
		true},
	{"a <b> [x] <=> [:]",
		"{\"tokens\":[1,2,3,4,5,6],\"token_strs\":[\"a\",\"<\",\"b>\",\"[x\",\"<=>\",\"[:]"
		"\"]}",
		false},
	{"[INST]", "{\"tokens\":[3],\"token_strs\":[\"[INST]\"]}", true},
	/* The name of a byte, which is not what the text says. */
	{"<\n", "{\"tokens\":[5,13],\"token_strs\":[\"<\",\"<0x0A>\"]}", false},
	/* Not told: better a plain text in pieces than a special token in it. */
	{"<b>", "{\"tokens\":[5,13]}", true},
};

START_TEST(vllm_special_tokens_in_a_text_are_found_by_their_names)
	{
		body = json_parse(special_vllm[_i].answer, strlen(special_vllm[_i].answer), &err);
		ck_assert_msg(body != NULL, "%s", err.msg);
		ck_assert(dialect_vllm.finds_special(body, slice_z(special_vllm[_i].text)) ==
			special_vllm[_i].special);
	}
END_TEST

START_TEST(vllm_begins_a_turn_whoever_had_the_last)
	{
		bool on = false;

		dialect_vllm.build_template(messages, 2, &out);
		body = json_parse(out.data, out.len, &err);
		ck_assert(json_bool(json_get(body, "add_generation_prompt"), &on) && on);
		ck_assert_uint_eq(json_len(json_get(body, "messages")), 2);
	}
END_TEST

/* --- SGLang: answers of the shape that its documentation has --- */

static const struct json *build_sglang_params(void)
{
	json_free(body);
	str_reset(&out);
	dialect_sglang.build_generate(&call, &out);
	body = json_parse(out.data, out.len, &err);
	ck_assert_msg(body != NULL, "%s", err.msg);
	return json_get(body, "sampling_params");
}

START_TEST(sglang_request_sends_every_sampler_and_a_seed_only_where_it_counts)
	{
		const struct json *params;
		int64_t n;
		double v;

		call.first = 3;
		params = build_sglang_params();
		ck_assert_uint_eq(json_len(json_get(body, "input_ids")), 3);
		ck_assert(json_int(json_get(params, "sampling_seed"), &n) && n == 1003);
		ck_assert(json_int(json_get(params, "max_new_tokens"), &n) && n == 8);
		ck_assert(json_int(json_get(params, "top_k"), &n) && n == -1);
		ck_assert(json_num(json_get(params, "min_p"), &v) && v == 0);
		ck_assert(json_num(json_get(params, "repetition_penalty"), &v) && v == 1);
		ck_assert_ptr_null(json_get(body, "return_logprob"));
		facts.ignores_seeds = true;
		params = build_sglang_params();
		ck_assert_ptr_null(json_get(params, "sampling_seed"));
	}
END_TEST

#define SGLANG(ids, finish, more)                                 \
	"{\"text\":\"Yes.\",\"output_ids\":" ids                  \
	",\"meta_info\":{\"id\":\"d1\",\"finish_reason\":" finish \
	",\"prompt_tokens\":3,\"cached_tokens\":0,\"e2e_latency\":0.1" more "}}"
#define SGLANG_LOGPROBS                                                                            \
	",\"completion_tokens\":3,\"output_token_logprobs\":[[-0.5,10,\"Yes\"],[-0.25,30,\".\"],"  \
	"[-0.125,2,\"<|im_end|>\"]],\"output_top_logprobs\":[[[-0.5,10,\"Yes\"],[-1.5,11,\"No\"]," \
	"[null,12,\"x\"]],[[-0.25,30,\".\"]],[[-0.125,2,\"<|im_end|>\"]]]"

START_TEST(sglang_answer_ends_with_the_eos_and_has_logprobs)
	{
		static const uint32_t ids[] = {10, 30, 2};
		const struct engine_candidate *c;

		job.logprobs = true;
		job.top_logprobs = 3;
		c = read_good(&dialect_sglang,
			SGLANG("[10,30,2]", "{\"type\":\"stop\",\"matched\":2}", SGLANG_LOGPROBS));
		check_ids(c, ids, 3);
		ck_assert_int_eq(c->finish, FINISH_STOP);
		ck_assert_float_eq_tol(c->logprobs[2], -0.125f, 1e-6f);
		ck_assert_uint_eq(c->n_top, 2);
		ck_assert(slice_eq_z(c->top[1].piece, "No"));
		ck_assert_uint_eq(result.n_prompt, 3);
	}
END_TEST

START_TEST(sglang_eos_that_is_counted_and_left_out_is_added)
	{
		static const uint32_t ids[] = {10, 30, 2};
		const struct engine_candidate *c;

		job.logprobs = true;
		c = read_good(&dialect_sglang,
			SGLANG("[10,30]", "{\"type\":\"stop\",\"matched\":2}",
				",\"completion_tokens\":3,\"output_token_logprobs\":[[-0.5,10,null]"
				",["
				"-0.25,30,null]]"));
		check_ids(c, ids, 3);
		ck_assert(isnan(c->logprobs[2]));
	}
END_TEST

START_TEST(sglang_ids_in_front_of_a_stop_string_are_kept)
	{
		static const uint32_t ids[] = {10, 30};
		const struct engine_candidate *c;

		sampling.stop = stop;
		sampling.n_stop = 1;
		c = read_good(&dialect_sglang,
			SGLANG("[10,30,40,41]", "{\"type\":\"stop\",\"matched\":\"help\"}",
				",\"completion_tokens\":4,\"output_token_logprobs\":[[-0.5,10,"
				"\"Yes\"],["
				"-0.25,30,\".\"],[-1,40,\"he\"],[-1,41,\"lp\"]]"));
		ck_assert_int_eq(c->finish, FINISH_STOP_STRING);
		check_ids(c, ids, 2);
	}
END_TEST

START_TEST(sglang_aborted_candidate_fails_alone)
	{
		const struct engine_candidate *c = read_good(&dialect_sglang,
			SGLANG("[]", "{\"type\":\"abort\",\"message\":\"x\"}", ""));

		ck_assert_int_eq(c->reason, ENGINE_REJECTED);
		call.context = 4;
		ck_assert_int_eq(read_good(&dialect_sglang,
					 SGLANG("[10]", "{\"type\":\"length\",\"length\":1}", ""))
					 ->finish,
			FINISH_CONTEXT);
	}
END_TEST

static const struct {
	const char *text, *words;
	bool logprobs;
} bad_sglang[] = {
	{"7", "the answer is"},
	{"[]", "0 candidates"},
	{"{}", "no 'text'"},
	{"{\"text\":\"a\"}", "no 'output_ids'"},
	{"{\"text\":\"a\",\"output_ids\":[81]}", "no 'finish_reason'"},
	{SGLANG("[49152]", "{\"type\":\"length\"}", ""), "not in the vocabulary"},
	{SGLANG("[1,1,1,1,1,1,1,1,1,1]", "{\"type\":\"length\"}", ""), "at most 8"},
	{SGLANG("[81]", "{\"type\":\"length\"}", ",\"completion_tokens\":2"),
		"the server counted 2"},
	{SGLANG("[81]", "{\"type\":\"stop\",\"matched\":2}", ",\"completion_tokens\":1"),
		"said to have ended it"},
	{SGLANG("[]", "{\"type\":\"stop\"}", ""), "without a token"},
	{"{\"text\":\"a\",\"output_ids\":[81],\"meta_info\":{\"finish_reason\":{\"type\":"
	 "\"length\"},"
	 "\"prompt_tokens\":4}}",
		"a prompt of 4 tokens, 3 were sent"},
	{SGLANG("[81]", "{\"type\":\"length\"}", ""), "1 ids and probabilities of 0", true},
	{SGLANG("[81]", "{\"type\":\"length\"}", ",\"output_token_logprobs\":[[-1,82,null]]"),
		"not of the id", true},
	{SGLANG("[81]", "{\"type\":\"length\"}", ",\"output_token_logprobs\":[[0.5,81,null]]"),
		"no valid number", true},
};

START_TEST(sglang_refuses_an_answer_that_makes_no_sense)
	{
		job.logprobs = bad_sglang[_i].logprobs;
		read_bad(&dialect_sglang, bad_sglang[_i].text, bad_sglang[_i].words);
	}
END_TEST

START_TEST(sglang_is_known_by_its_models_its_ids_and_its_server_info)
	{
		facts = (struct dialect_facts){.bos_id = -1, .eos_id = -1};
		ck_assert(read_step(&dialect_sglang, 0,
			"{\"data\":[{\"id\":\"qwen\",\"owned_by\":\"sglang\",\"max_model_len\":"
			"4096}]}"));
		ck_assert_uint_eq(facts.context, 4096);
		ck_assert(facts.ignores_seeds);
		ck_assert(!read_step(
			&dialect_sglang, 0, "{\"data\":[{\"id\":\"m\",\"owned_by\":\"vllm\"}]}"));
		facts.ignores_seeds = true;
		ck_assert(read_step(&dialect_sglang, 1,
			"{\"tokens\":[1,9690],\"count\":2,\"max_model_len\":4096}"));
		dialect_sglang.steps[2].build(&facts, &out);
		ck_assert(strstr(out.data, "[1,9690]") != NULL);
		ck_assert(
			read_step(&dialect_sglang, 2, SGLANG("[81]", "{\"type\":\"length\"}", "")));
		ck_assert(!read_step(&dialect_sglang, 2, "{\"text\":\"a\",\"meta_info\":{}}"));
		ck_assert(read_step(&dialect_sglang, 3,
			"{\"version\":\"0.5.4\",\"enable_deterministic_inference\":true}"));
		ck_assert(!facts.ignores_seeds);
		ck_assert_str_eq(facts.build, "0.5.4");
	}
END_TEST

static const struct {
	const char *answer;
	int found; /* -1: no answer at all */
} special_sglang[] = {
	{"{\"text\":[\"a\",\"\"]}", 1},
	{"{\"text\":[\"a\",\"b\"]}", 0},
	{"{\"text\":[\"a\"]}", -1},
	{"{\"text\":[\"a\",7]}", -1},
	{"{\"text\":\"ab\"}", -1},
};

START_TEST(sglang_special_tokens_in_a_text_are_found_by_leaving_them_out)
	{
		static const uint32_t ids[] = {5, 6};
		bool found = false, ok;

		dialect_sglang.build_find_special(ids, 2, &out);
		ck_assert_str_eq(out.data, "{\"tokens\":[[5],[6]],\"skip_special_tokens\":true}");
		body = json_parse(
			special_sglang[_i].answer, strlen(special_sglang[_i].answer), &err);
		ok = dialect_sglang.read_find_special(body, 2, &found, &err);
		ck_assert(ok == (special_sglang[_i].found >= 0));
		ck_assert(!ok || found == (special_sglang[_i].found == 1));
	}
END_TEST

static const struct {
	const struct dialect_ops *ops;
	const char *text;
	bool too_long;
} lengths[] = {
	{&dialect_vllm,
		"{\"error\":{\"message\":\"This model's maximum context length is 2048 tokens. "
		"However, your prompt contains 3000 input tokens, which exceeds this limit even "
		"without any output tokens.\",\"type\":\"BadRequestError\",\"code\":400}}",
		true},
	{&dialect_vllm,
		"{\"error\":{\"message\":\"max_tokens must be at least 1, got 0. "
		"(parameter=max_tokens, value=0)\",\"type\":\"BadRequestError\",\"code\":400}}",
		true},
	{&dialect_vllm,
		"{\"error\":{\"message\":\"Token id 999999 is out of vocabulary\",\"code\":400}}",
		false},
	{&dialect_llamacpp,
		"{\"error\":{\"code\":500,\"message\":\"input (700 tokens) is too large to "
		"process. "
		"increase the physical batch size (current batch size: 512)\",\"type\":\"server_"
		"error\"}}",
		true},
	{&dialect_openai,
		"{\"object\":\"error\",\"message\":\"This model's maximum context length is 4096 "
		"tokens. However, you requested 5000 tokens in the input.\",\"code\":400}",
		true},
	{&dialect_openai,
		"{\"error\":{\"message\":\"The input (5000 tokens) is longer than the model's "
		"context length (4096 tokens).\"}}",
		true},
	{&dialect_openai, "{\"error\":{\"message\":\"The model `x` does not exist.\"}}", false},
	{&dialect_llamacpp, "{\"error\":\"x\"}", false},
};

START_TEST(a_text_that_is_too_long_is_told_from_other_refusals)
	{
		body = json_parse(lengths[_i].text, strlen(lengths[_i].text), &err);
		ck_assert_msg(body != NULL, "%s", err.msg);
		ck_assert(lengths[_i].ops->prompt_too_long(body) == lengths[_i].too_long);
	}
END_TEST

START_TEST(dialects_are_found_by_name)
	{
		ck_assert_ptr_eq(dialect_find("llama.cpp"), &dialect_llamacpp);
		ck_assert_ptr_eq(dialect_find("openai"), &dialect_openai);
		ck_assert_ptr_eq(dialect_find("vllm"), &dialect_vllm);
		ck_assert_ptr_eq(dialect_find("sglang"), &dialect_sglang);
		ck_assert_ptr_null(dialect_find("auto"));
	}
END_TEST

int main(void)
{
	Suite *suite = suite_create("dialect");
	TCase *tc = tcase_create("all");
	SRunner *sr = srunner_create(suite);

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, llamacpp_request_sends_every_sampler);
	tcase_add_test(tc, llamacpp_request_never_sends_the_seed_that_means_random);
	tcase_add_test(tc, eos_is_the_last_id_and_has_a_logprob);
	tcase_add_test(tc, an_eos_that_the_server_counts_but_leaves_out_is_added);
	tcase_add_test(tc, another_end_of_generation_id_is_kept_as_it_was_sampled);
	tcase_add_test(tc, ids_inside_a_character_have_no_logprob);
	tcase_add_test(tc, equal_continuation_bytes_belong_to_the_last_of_them);
	tcase_add_test(tc, a_limit_inside_a_character_leaves_its_ids_without_logprobs);
	tcase_add_test(tc, ids_behind_a_stop_string_are_dropped);
	tcase_add_test(tc, an_id_withheld_for_a_stop_string_is_dropped_with_it);
	tcase_add_test(tc, a_full_context_is_told_from_a_token_limit);
	tcase_add_test(tc, candidates_of_one_answer_are_put_in_order);
	tcase_add_test(tc, the_prompt_that_was_read_once_counts_once);
	tcase_add_loop_test(tc, a_reading_that_makes_no_sense_is_not_told, 0, ARRAY_LEN(untold));
	tcase_add_test(tc, alternatives_of_the_first_token_are_read_for_judges);
	tcase_add_loop_test(tc, llamacpp_refuses_an_answer_that_makes_no_sense, 0,
		(int)ARRAY_LEN(bad_llamacpp));
	tcase_add_test(tc, llamacpp_knows_a_prompt_that_is_too_long);
	tcase_add_test(tc, llamacpp_is_known_by_its_props);
	tcase_add_test(tc, props_with_nonsense_leave_facts_unknown);
	tcase_add_test(tc, token_lists_are_checked_against_the_vocabulary);
	tcase_add_test(tc, the_whole_vocabulary_must_be_complete);
	tcase_add_test(tc, openai_request_holds_only_fields_that_openai_knows);
	tcase_add_test(tc, openai_request_asks_for_top_logprobs_with_logprobs);
	tcase_add_test(tc, openai_judge_answer_is_read);
	tcase_add_test(tc, openai_thoughts_in_a_field_of_their_own_are_put_back);
	tcase_add_test(tc, openai_stop_string_is_told_where_the_server_tells_it);
	tcase_add_test(tc, openai_filtered_choice_fails_alone);
	tcase_add_loop_test(
		tc, openai_refuses_an_answer_that_makes_no_sense, 0, (int)ARRAY_LEN(bad_openai));
	tcase_add_test(tc, a_server_may_say_what_program_it_is);
	tcase_add_test(tc, sglang_request_sends_every_sampler_and_a_seed_only_where_it_counts);
	tcase_add_test(tc, sglang_answer_ends_with_the_eos_and_has_logprobs);
	tcase_add_test(tc, sglang_eos_that_is_counted_and_left_out_is_added);
	tcase_add_test(tc, sglang_ids_in_front_of_a_stop_string_are_kept);
	tcase_add_test(tc, sglang_aborted_candidate_fails_alone);
	tcase_add_loop_test(
		tc, sglang_refuses_an_answer_that_makes_no_sense, 0, (int)ARRAY_LEN(bad_sglang));
	tcase_add_test(tc, sglang_is_known_by_its_models_its_ids_and_its_server_info);
	tcase_add_loop_test(tc, sglang_special_tokens_in_a_text_are_found_by_leaving_them_out, 0,
		(int)ARRAY_LEN(special_sglang));
	tcase_add_test(tc, vllm_request_sends_every_sampler);
	tcase_add_test(tc, vllm_is_asked_for_the_texts_of_tokens_with_a_stop_string);
	tcase_add_test(tc, vllm_answer_ends_with_the_eos_and_has_logprobs);
	tcase_add_test(tc, vllm_ids_in_front_of_a_stop_string_are_kept);
	tcase_add_test(tc, vllm_candidates_are_put_in_order);
	tcase_add_test(tc, vllm_full_context_is_told_from_a_token_limit);
	tcase_add_test(tc, vllm_aborted_candidate_fails_alone);
	tcase_add_loop_test(
		tc, vllm_refuses_an_answer_that_makes_no_sense, 0, (int)ARRAY_LEN(bad_vllm));
	tcase_add_test(tc, vllm_is_known_by_its_models_its_ids_and_its_names);
	tcase_add_test(tc, vllm_tells_more_of_its_tokenizer_if_started_so);
	tcase_add_loop_test(tc, vllm_special_tokens_in_a_text_are_found_by_their_names, 0,
		(int)ARRAY_LEN(special_vllm));
	tcase_add_test(tc, vllm_begins_a_turn_whoever_had_the_last);
	tcase_add_loop_test(tc, a_text_that_is_too_long_is_told_from_other_refusals, 0,
		(int)ARRAY_LEN(lengths));
	tcase_add_test(tc, dialects_are_found_by_name);
	suite_add_tcase(suite, tc);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
