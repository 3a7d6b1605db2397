/*
 * Messages -> prompt ids. Two requests as a rule: the chat template renders the messages, the tokenizer reads the text, special tokens
 * included, since the template writes those on purpose.
 *
 * A content must not write any. Whether it does is found out without knowing the vocabulary: a content in which a special token
 * could begin is tokenized twice, with special tokens read and not read; if the ids differ, it is special. Such a prompt is
 * rejected, or (SPECIAL_TEXT) rendered with a sentinel, a word that occurs nowhere else, in the content's place. The text is cut
 * at the sentinels; the template's parts are tokenized with special tokens, the contents without, and the ids are joined. A
 * template that drops, repeats or rewrites the sentinel cannot be used like this, and the prompt is refused.
 *
 * The whole text is tokenized with `add_special`, as the server's own chat route does: a tokenizer that wants a BOS gets one. Where
 * the template has written it too, one of the two is dropped.
 *
 * A prompt without a single token is nonsense, whatever it was rendered from: nothing could be generated from it. A text may be empty.
 */
#include "engine/engine_private.h"

#include "base/hash.h"
#include "base/json.h"
#include "base/mem.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum tokenize_step { STEP_WITH_SPECIAL, STEP_WITHOUT_SPECIAL, STEP_TEMPLATE, STEP_PIECE };

/* A part of the rendered text that is tokenized by itself. */
struct piece {
	struct slice text;
	bool special; /* special tokens are read */
};

struct tokenize {
	struct engine_request request;
	struct call call; /* one after the other */
	struct arena arena;
	struct engine_message *messages; /* copies; n_messages */
	size_t n_messages;
	bool *is_special; /* per message */
	bool any_special;
	enum special_policy policy;
	engine_prompt_cb *done;
	void *ctx;
	enum tokenize_step step;
	size_t message; /* being looked at */
	const uint32_t *with; /* ids of its content with special tokens read */
	size_t n_with;
	struct piece *pieces; /* n_pieces */
	size_t n_pieces, piece;
	uint32_t *ids; /* malloc'd, n_ids */
	size_t n_ids, cap_ids;
	bool nothing_to_ask; /* the dialect has no ids */
	bool plain; /* nothing but one piece, without special tokens */
	bool continues; /* engine_tokenize_text: it is no text's beginning, and may be empty */
};

static void ask(struct tokenize *t, enum tokenize_step step);

/* --- the end --- */

static void answer(struct tokenize *t, enum engine_reason reason, const struct error *err)
{
	struct engine_prompt prompt = {
		.ids = t->ids,
		.n = reason == ENGINE_OK ? t->n_ids : 0,
		.special = t->any_special,
		.reason = reason,
		.err = reason == ENGINE_OK ? NULL : err,
	};

	t->done(t->ctx, &prompt);
	engine_request_end(&t->request);
	arena_release(&t->arena);
	free(t->ids);
	free(t);
}

/* --- what is asked --- */

static char *sentinel(struct tokenize *t, size_t i)
{
	/* Letters and digits only, so that no template or tokenizer takes it for anything; and not in any of the contents. */
	for (uint64_t nonce = 0;; nonce++) {
		char hex[17];
		char *word;
		bool clash = false;

		hash64_hex(hash64(&i, sizeof(i), nonce), hex);
		word = arena_printf(&t->arena, "Qx%sx%zuxQ", hex, i);
		for (size_t m = 0; m < t->n_messages && !clash; m++)
			clash = memmem(t->messages[m].content.data, t->messages[m].content.len,
					word, strlen(word)) != NULL;
		if (!clash)
			return word;
	}
}

static void build_template(struct tokenize *t, struct str *out)
{
	struct engine_message *shown = arena_alloc_array(&t->arena, t->n_messages, sizeof(*shown));

	for (size_t i = 0; i < t->n_messages; i++) {
		shown[i] = t->messages[i];
		if (t->is_special[i])
			shown[i].content = slice_z(sentinel(t, i));
	}
	t->call.endpoint->dialect->build_template(shown, t->n_messages, out);
}

static void build(struct call *call, struct str *out)
{
	struct tokenize *t = call->owner;
	const struct dialect_ops *dialect = call->endpoint->dialect;

	switch (t->step) {
	case STEP_WITH_SPECIAL:
	case STEP_WITHOUT_SPECIAL:
		dialect->build_tokenize(
			t->messages[t->message].content, false, t->step == STEP_WITH_SPECIAL, out);
		break;
	case STEP_TEMPLATE:
		build_template(t, out);
		break;
	case STEP_PIECE:
		dialect->build_tokenize(t->pieces[t->piece].text, t->piece == 0 && !t->continues,
			t->pieces[t->piece].special, out);
		break;
	}
}

/* --- what comes of it --- */

static bool may_be_special(struct slice text)
{
	/* No tokenizer known writes a special token that starts otherwise. */
	return memchr(text.data, '<', text.len) != NULL || memchr(text.data, '[', text.len) != NULL;
}

static void check_messages(struct tokenize *t)
{
	while (t->message < t->n_messages && !may_be_special(t->messages[t->message].content))
		t->message++;
	ask(t, t->message < t->n_messages ? STEP_WITH_SPECIAL : STEP_TEMPLATE);
}

static void contents_compared(struct tokenize *t, const uint32_t *ids, size_t n)
{
	bool differ = n != t->n_with || memcmp(ids, t->with, n * sizeof(*ids)) != 0;

	t->is_special[t->message] = differ;
	t->any_special |= differ;
	if (differ && t->policy == SPECIAL_REJECT) {
		t->n_ids = 0;
		answer(t, ENGINE_OK, NULL);
		return;
	}
	t->message++;
	check_messages(t);
}

/* Where message i stands in the rendered text; NULL if not exactly once. */
static const char *find_once(struct slice text, const char *word)
{
	const char *found = memmem(text.data, text.len, word, strlen(word));
	const char *behind;

	if (found == NULL)
		return NULL;
	behind = found + strlen(word);
	if (memmem(behind, text.len - (size_t)(behind - text.data), word, strlen(word)) != NULL)
		return NULL;
	return found;
}

struct place {
	const char *at;
	size_t len;
	struct slice content;
};

static int compare_places(const void *a, const void *b)
{
	const struct place *left = a, *right = b;

	return left->at < right->at ? -1 : left->at > right->at;
}

static void add_piece(struct tokenize *t, const char *data, size_t len, bool special)
{
	/* The first piece is asked for even if empty: it brings the BOS. */
	if (len > 0 || t->n_pieces == 0)
		t->pieces[t->n_pieces++] = (struct piece){{data, len}, special};
}

/* Cuts the rendered text at the sentinels. */
static bool cut_text(struct tokenize *t, struct slice text, struct error *err)
{
	struct place *places = arena_alloc_array(&t->arena, t->n_messages, sizeof(*places));
	size_t n = 0;
	const char *at = text.data;

	t->pieces = arena_alloc_array(&t->arena, 2 * t->n_messages + 1, sizeof(*t->pieces));
	for (size_t i = 0; i < t->n_messages; i++) {
		const char *word = t->is_special[i] ? sentinel(t, i) : NULL;

		if (word == NULL)
			continue;
		places[n].at = find_once(text, word);
		if (places[n].at == NULL)
			return error_set(err, FAIL_DATA,
				"message %zu holds the text of a special token, and the chat "
				"template does not copy it literally once",
				i + 1);
		places[n].len = strlen(word);
		places[n++].content = t->messages[i].content;
	}
	qsort(places, n, sizeof(*places), compare_places);
	for (size_t i = 0; i < n; i++) {
		add_piece(t, at, (size_t)(places[i].at - at), true);
		add_piece(t, places[i].content.data, places[i].content.len, false);
		at = places[i].at + places[i].len;
	}
	add_piece(t, at, text.len - (size_t)(at - text.data), true);
	return true;
}

static void template_came(struct tokenize *t, const struct json *body)
{
	struct error err = {0};
	struct slice text;

	if (!t->call.endpoint->dialect->read_template(body, &text, &err)) {
		call_answer_is_bad(&t->call, &err);
		return;
	}
	text.data = arena_memdup0(&t->arena, text.data, text.len);
	if (!cut_text(t, text, &err)) {
		error_hint(&err, "set the policy for special tokens to reject such prompts");
		answer(t, ENGINE_REJECTED, &err);
		return;
	}
	ask(t, STEP_PIECE);
}

static void piece_came(struct tokenize *t, const uint32_t *ids, size_t n)
{
	int64_t bos = t->call.endpoint->facts.bos_id;
	bool last = t->piece + 1 == t->n_pieces;
	struct error err = {0};

	if (last && n == 0 && t->n_ids == 0 && !t->continues) {
		error_set(&err, FAIL_DATA, "the prompt was tokenized to 0 tokens");
		call_answer_is_bad(&t->call, &err);
		return;
	}

	if (t->piece == 0 && !t->plain && n >= 2 && bos >= 0 && ids[0] == (uint32_t)bos &&
		ids[1] == ids[0]) {
		ids++;
		n--;
	}
	for (size_t i = 0; i < n; i++) {
		t->ids = array_room(t->ids, t->n_ids, &t->cap_ids, sizeof(*t->ids));
		t->ids[t->n_ids++] = ids[i];
	}
	t->piece++;
	if (last)
		answer(t, ENGINE_OK, NULL);
	else
		ask(t, STEP_PIECE);
}

static void ids_came(struct tokenize *t, const struct json *body)
{
	const struct dialect_ops *dialect = t->call.endpoint->dialect;
	const uint32_t *ids;
	size_t n;
	struct error err = {0};

	if (!dialect->read_tokenize(
		    body, t->call.endpoint->facts.n_vocab, &t->arena, &ids, &n, &err)) {
		call_answer_is_bad(&t->call, &err);
	} else if (t->step == STEP_WITH_SPECIAL) {
		t->with = ids;
		t->n_with = n;
		ask(t, STEP_WITHOUT_SPECIAL);
	} else if (t->step == STEP_WITHOUT_SPECIAL) {
		contents_compared(t, ids, n);
	} else {
		piece_came(t, ids, n);
	}
}

static void step_done(struct call *call, const struct call_result *result)
{
	struct tokenize *t = call->owner;
	AUTO_JSON struct json *body = NULL;
	struct error err = {0};

	if (result->reason != ENGINE_OK || t->nothing_to_ask) {
		err = *result->err;
		answer(t, result->reason, &err);
		return;
	}
	body = json_parse(result->body.data, result->body.len, &err);
	if (body == NULL)
		call_answer_is_bad(call, &err);
	else if (t->step == STEP_TEMPLATE)
		template_came(t, body);
	else
		ids_came(t, body);
}

static void prepare(struct tokenize *t, enum tokenize_step step)
{
	struct engine *engine = t->request.engine;
	const struct dialect_ops *dialect = engine->dialect;

	t->step = step;
	t->call = (struct call){
		.engine = engine,
		.owner = t,
		.lane = LANE_AUX,
		.dialect = dialect,
		.build = build,
		.done = step_done,
	};
	if (dialect != NULL && dialect->has_ids)
		t->call.path = step == STEP_TEMPLATE ? dialect->template_path
						     : dialect->tokenize_path;
}

static void ask(struct tokenize *t, enum tokenize_step step)
{
	prepare(t, step);
	call_submit(&t->call);
}

static void cancel(struct engine_request *request)
{
	struct tokenize *t = (struct tokenize *)request;

	call_cancel(&t->call);
}

static struct tokenize *open_tokenize(struct engine *engine, engine_prompt_cb *done, void *ctx)
{
	struct tokenize *t = xcalloc(1, sizeof(*t));

	t->done = done;
	t->ctx = ctx;
	engine_request_open(&t->request, engine, cancel);
	return t;
}

/* Nothing to ask: the answer comes on the next turn, through a call that is never sent. */
static void answer_without_asking(
	struct tokenize *t, enum engine_reason reason, const struct error *err)
{
	t->nothing_to_ask = true;
	prepare(t, STEP_PIECE);
	call_refuse(&t->call, reason, err);
}

struct engine_request *engine_tokenize(struct engine *engine, const struct engine_message *messages,
	size_t n, enum special_policy policy, engine_prompt_cb *done, void *ctx)
{
	struct tokenize *t = open_tokenize(engine, done, ctx);
	struct error none = {0};

	assert(n > 0);
	t->policy = policy;
	t->n_messages = n;
	t->messages = arena_alloc_array(&t->arena, n, sizeof(*t->messages));
	t->is_special = arena_alloc_array(&t->arena, n, sizeof(*t->is_special));
	for (size_t i = 0; i < n; i++) {
		struct slice content = messages[i].content;

		t->messages[i].role = arena_strdup(&t->arena, messages[i].role);
		t->messages[i].content.data = arena_memdup0(&t->arena, content.data, content.len);
		t->messages[i].content.len = content.len;
	}
	if (engine->state == ENGINE_READY && !engine->info.has_ids)
		answer_without_asking(t, ENGINE_OK, &none);
	else
		check_messages(t);
	return &t->request;
}

static struct engine_request *tokenize_plain(
	struct engine *engine, struct slice text, bool continues, engine_prompt_cb *done, void *ctx)
{
	struct tokenize *t = open_tokenize(engine, done, ctx);
	struct error err = {0};

	t->plain = true;
	t->continues = continues;
	t->pieces = arena_alloc(&t->arena, sizeof(*t->pieces));
	t->n_pieces = 1;
	t->pieces[0].text = (struct slice){arena_memdup0(&t->arena, text.data, text.len), text.len};
	if (engine->state == ENGINE_READY && !engine->info.has_ids) {
		error_set(&err, FAIL_CONFIG, "engine '%s' (dialect '%s') has no tokenizer to ask",
			engine->config->name, engine->info.dialect);
		answer_without_asking(t, ENGINE_REJECTED, &err);
	} else {
		ask(t, STEP_PIECE);
	}
	return &t->request;
}

struct engine_request *engine_tokenize_text(
	struct engine *engine, struct slice text, engine_prompt_cb *done, void *ctx)
{
	return tokenize_plain(engine, text, true, done, ctx);
}

struct engine_request *engine_tokenize_raw(
	struct engine *engine, struct slice text, engine_prompt_cb *done, void *ctx)
{
	return tokenize_plain(engine, text, false, done, ctx);
}
