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
 * Two kinds of server need other ways. One that renders and tokenizes in one step answers with ids; the text to be cut at the sentinels
 * is then what these ids stand for. One that always reads special tokens is asked, of such a content, whether it has found
 * one, which the dialect knows how to; a special content is broken behind every character that could begin a special token, and the
 * parts are tokenized one by one, so that none can be read. Since a tokenizer may have views of its own on how a text begins, what
 * was put together like this must stand for the text that was meant, or the prompt is refused.
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

#define PIECES_MAX 1024

enum tokenize_step {
	STEP_WITH_SPECIAL,
	STEP_WITHOUT_SPECIAL,
	STEP_FIND_SPECIAL,
	STEP_TEMPLATE,
	STEP_TEMPLATE_TEXT, /* of the ids that came in the step before */
	STEP_PIECE,
	STEP_CHECK
};

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
	/* Chosen once: what one server makes of a prompt must not be gone on with in another one's way. NULL: the engine is not ready. */
	const struct dialect_ops *dialect;
	bool *is_special; /* per message */
	bool any_special;
	enum special_policy policy;
	engine_prompt_cb *done;
	void *ctx;
	enum tokenize_step step;
	size_t message; /* being looked at */
	const uint32_t
		*with; /* ids of its content, or of the rendered text, with special tokens read */
	size_t n_with;
	struct piece *pieces; /* malloc'd, n_pieces */
	size_t n_pieces, cap_pieces, piece;
	bool broken; /* contents were: the ids are checked */
	uint32_t *ids; /* malloc'd, n_ids */
	size_t n_ids, cap_ids;
	bool nothing_to_ask; /* the dialect has no ids */
	bool plain; /* no template: one message, which is a text without special tokens */
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
	free(t->pieces);
	free(t->ids);
	free(t);
}

static void refuse(struct tokenize *t, const struct error *why)
{
	struct error err = *why;

	error_hint(&err, "set the policy for special tokens to reject such prompts");
	answer(t, ENGINE_REJECTED, &err);
}

/* --- what is asked --- */

/* Special tokens are read, asked or not. */
static bool always_special(const struct dialect_ops *dialect)
{
	return dialect->finds_special != NULL || dialect->build_find_special != NULL;
}

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
	t->dialect->build_template(shown, t->n_messages, out);
}

/* The tokenizer is to begin the first piece as it begins a text. Ids of a template have their beginning already. */
static bool is_whole(const struct tokenize *t)
{
	return t->plain ? !t->continues : t->dialect->read_template != NULL;
}

static void build(struct call *call, struct str *out)
{
	struct tokenize *t = call->owner;
	const struct dialect_ops *dialect = t->dialect;

	switch (t->step) {
	case STEP_WITH_SPECIAL:
	case STEP_WITHOUT_SPECIAL:
		dialect->build_tokenize(
			t->messages[t->message].content, false, t->step == STEP_WITH_SPECIAL, out);
		break;
	case STEP_FIND_SPECIAL:
		dialect->build_find_special(t->with, t->n_with, out);
		break;
	case STEP_TEMPLATE:
		build_template(t, out);
		break;
	case STEP_TEMPLATE_TEXT:
		dialect->build_detokenize(t->with, t->n_with, out);
		break;
	case STEP_PIECE:
		dialect->build_tokenize(t->pieces[t->piece].text, t->piece == 0 && is_whole(t),
			t->pieces[t->piece].special, out);
		break;
	case STEP_CHECK:
		dialect->build_detokenize(t->ids, t->n_ids, out);
		break;
	}
}

/* --- what comes of it --- */

static bool may_begin_special(char c)
{
	/* No tokenizer known writes a special token that starts otherwise. */
	return c == '<' || c == '[';
}

static bool may_be_special(struct slice text)
{
	for (size_t i = 0; i < text.len; i++) {
		if (may_begin_special(text.data[i]))
			return true;
	}
	return false;
}

static bool add_piece(struct tokenize *t, struct slice text, bool special, struct error *err)
{
	/* The first piece is asked for even if empty: it brings the BOS. */
	if (text.len == 0 && t->n_pieces > 0)
		return true;
	if (t->n_pieces == PIECES_MAX)
		return error_set(err, FAIL_DATA,
			"the text of a special token is in the prompt, which would have to be "
			"tokenized in more than %d parts",
			PIECES_MAX);
	t->pieces = array_room(t->pieces, t->n_pieces, &t->cap_pieces, sizeof(*t->pieces));
	t->pieces[t->n_pieces++] = (struct piece){text, special};
	return true;
}

static bool add_content(struct tokenize *t, size_t message, struct error *err)
{
	struct slice text = t->messages[message].content;
	bool ok = true;

	if (!t->is_special[message] || !always_special(t->dialect))
		return add_piece(t, text, false, err);
	t->broken = true;
	for (size_t i = 0, from = 0; i < text.len && ok; i++) {
		if (!may_begin_special(text.data[i]) && i + 1 < text.len)
			continue;
		ok = add_piece(t, (struct slice){text.data + from, i + 1 - from}, false, err);
		from = i + 1;
	}
	return ok;
}

static void contents_known(struct tokenize *t)
{
	struct error err = {0};

	if (!t->plain)
		ask(t, STEP_TEMPLATE);
	else if (add_content(t, 0, &err))
		ask(t, STEP_PIECE);
	else
		answer(t, ENGINE_REJECTED, &err);
}

static void check_messages(struct tokenize *t)
{
	while (t->message < t->n_messages && !may_be_special(t->messages[t->message].content))
		t->message++;
	if (t->message < t->n_messages)
		ask(t, STEP_WITH_SPECIAL);
	else
		contents_known(t);
}

static void content_known(struct tokenize *t, bool special)
{
	t->is_special[t->message] = special;
	t->any_special |= special;
	if (special && t->policy == SPECIAL_REJECT) {
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
	size_t message;
};

static int compare_places(const void *a, const void *b)
{
	const struct place *left = a, *right = b;

	return left->at < right->at ? -1 : left->at > right->at;
}

/* Cuts the rendered text at the sentinels. */
static bool cut_text(struct tokenize *t, struct slice text, struct error *err)
{
	struct place *places = arena_alloc_array(&t->arena, t->n_messages, sizeof(*places));
	size_t n = 0;
	const char *at = text.data;

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
		places[n++].message = i;
	}
	qsort(places, n, sizeof(*places), compare_places);
	for (size_t i = 0; i < n; i++) {
		if (!add_piece(t, (struct slice){at, (size_t)(places[i].at - at)}, true, err) ||
			!add_content(t, places[i].message, err))
			return false;
		at = places[i].at + places[i].len;
	}
	return add_piece(t, (struct slice){at, text.len - (size_t)(at - text.data)}, true, err);
}

static void text_came(struct tokenize *t, struct slice text)
{
	struct error err = {0};

	text.data = arena_memdup0(&t->arena, text.data, text.len);
	if (cut_text(t, text, &err))
		ask(t, STEP_PIECE);
	else
		refuse(t, &err);
}

static void template_came(struct tokenize *t, const struct json *body)
{
	struct error err = {0};
	struct slice text;

	if (t->dialect->read_template(body, &text, &err))
		text_came(t, text);
	else
		call_answer_is_bad(&t->call, &err);
}

/* --- the pieces' ids --- */

static void add_ids(struct tokenize *t, const uint32_t *ids, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		t->ids = array_room(t->ids, t->n_ids, &t->cap_ids, sizeof(*t->ids));
		t->ids[t->n_ids++] = ids[i];
	}
}

static void empty_prompt(struct tokenize *t)
{
	struct error err = {0};

	error_set(&err, FAIL_DATA, "the prompt was tokenized to 0 tokens");
	call_answer_is_bad(&t->call, &err);
}

static void template_ids_came(struct tokenize *t, const uint32_t *ids, size_t n)
{
	if (n == 0) {
		empty_prompt(t);
	} else if (t->any_special) {
		t->with = ids;
		t->n_with = n;
		ask(t, STEP_TEMPLATE_TEXT);
	} else {
		add_ids(t, ids, n);
		answer(t, ENGINE_OK, NULL);
	}
}

/* What the joined ids stand for; the tokenizer may have put its beginning in front. */
static void check_came(struct tokenize *t, struct slice text)
{
	struct error err = {0};
	struct str meant;
	bool same;

	str_init(&meant, STR_NO_CAP);
	for (size_t i = 0; i < t->n_pieces; i++)
		str_append(&meant, t->pieces[i].text.data, t->pieces[i].text.len);
	same = text.len >= meant.len &&
		memcmp(text.data + text.len - meant.len, meant.data, meant.len) == 0;
	str_release(&meant);
	if (same) {
		answer(t, ENGINE_OK, NULL);
		return;
	}
	error_set(&err, FAIL_DATA,
		"the prompt holds the text of a special token, and the tokenizer of '%s' cannot "
		"read that as plain text",
		t->call.engine->config->name);
	refuse(t, &err);
}

static void piece_came(struct tokenize *t, const uint32_t *ids, size_t n)
{
	int64_t bos = t->call.endpoint->facts.bos_id;
	bool last = t->piece + 1 == t->n_pieces;

	if (last && n == 0 && t->n_ids == 0 && !t->continues) {
		empty_prompt(t);
		return;
	}

	if (t->piece == 0 && !t->plain && n >= 2 && bos >= 0 && ids[0] == (uint32_t)bos &&
		ids[1] == ids[0]) {
		ids++;
		n--;
	}
	add_ids(t, ids, n);
	t->piece++;
	if (!last)
		ask(t, STEP_PIECE);
	else if (t->broken)
		ask(t, STEP_CHECK);
	else
		answer(t, ENGINE_OK, NULL);
}

static void content_ids_came(
	struct tokenize *t, const struct json *body, const uint32_t *ids, size_t n)
{
	const struct dialect_ops *dialect = t->dialect;
	bool differ;

	if (t->step == STEP_WITHOUT_SPECIAL) {
		differ = n != t->n_with || memcmp(ids, t->with, n * sizeof(*ids)) != 0;
		content_known(t, differ);
		return;
	}
	t->with = ids;
	t->n_with = n;
	if (dialect->finds_special != NULL)
		content_known(t, dialect->finds_special(body, t->messages[t->message].content));
	else if (dialect->build_find_special != NULL && n == 0)
		content_known(t, false);
	else
		ask(t,
			dialect->build_find_special != NULL ? STEP_FIND_SPECIAL
							    : STEP_WITHOUT_SPECIAL);
}

static void ids_came(struct tokenize *t, const struct json *body)
{
	const struct dialect_ops *dialect = t->dialect;
	const uint32_t *ids;
	size_t n;
	struct error err = {0};

	if (!dialect->read_tokenize(
		    body, t->call.endpoint->facts.n_vocab, &t->arena, &ids, &n, &err))
		call_answer_is_bad(&t->call, &err);
	else if (t->step == STEP_PIECE)
		piece_came(t, ids, n);
	else if (t->step == STEP_TEMPLATE)
		template_ids_came(t, ids, n);
	else
		content_ids_came(t, body, ids, n);
}

static void find_came(struct tokenize *t, const struct json *body)
{
	struct error err = {0};
	bool special;

	if (t->dialect->read_find_special(body, t->n_with, &special, &err))
		content_known(t, special);
	else
		call_answer_is_bad(&t->call, &err);
}

static void detokenized(struct tokenize *t, const struct json *body)
{
	struct error err = {0};
	struct slice text;

	if (!t->dialect->read_detokenize(body, &text, &err))
		call_answer_is_bad(&t->call, &err);
	else if (t->step == STEP_CHECK)
		check_came(t, text);
	else
		text_came(t, text);
}

static void read_answer(struct tokenize *t, const struct json *body)
{
	bool as_text = t->dialect->read_template != NULL;

	if (t->step == STEP_FIND_SPECIAL)
		find_came(t, body);
	else if (t->step == STEP_TEMPLATE_TEXT || t->step == STEP_CHECK)
		detokenized(t, body);
	else if (t->step == STEP_TEMPLATE && as_text)
		template_came(t, body);
	else
		ids_came(t, body);
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
	else
		read_answer(t, body);
}

static const char *path_of(const struct dialect_ops *dialect, enum tokenize_step step)
{
	switch (step) {
	case STEP_TEMPLATE:
		return dialect->template_path;
	case STEP_FIND_SPECIAL:
	case STEP_TEMPLATE_TEXT:
	case STEP_CHECK:
		return dialect->detokenize_path;
	case STEP_WITH_SPECIAL:
	case STEP_WITHOUT_SPECIAL:
	case STEP_PIECE:
		break;
	}
	return dialect->tokenize_path;
}

static void prepare(struct tokenize *t, enum tokenize_step step)
{
	struct engine *engine = t->request.engine;
	const struct dialect_ops *dialect = t->dialect;

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
		t->call.path = path_of(dialect, step);
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

static struct tokenize *open_tokenize(struct engine *engine, const struct engine_message *messages,
	size_t n, engine_prompt_cb *done, void *ctx)
{
	struct tokenize *t = xcalloc(1, sizeof(*t));

	t->dialect = engine->dialect;
	t->done = done;
	t->ctx = ctx;
	t->n_messages = n;
	t->messages = arena_alloc_array(&t->arena, n, sizeof(*t->messages));
	t->is_special = arena_alloc_array(&t->arena, n, sizeof(*t->is_special));
	for (size_t i = 0; i < n; i++) {
		struct slice content = messages[i].content;

		t->messages[i].role = arena_strdup(&t->arena, messages[i].role);
		t->messages[i].content.data = arena_memdup0(&t->arena, content.data, content.len);
		t->messages[i].content.len = content.len;
	}
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
	struct tokenize *t = open_tokenize(engine, messages, n, done, ctx);
	struct error none = {0};

	assert(n > 0);
	t->policy = policy;
	if (engine->state == ENGINE_READY && !engine->info.has_ids)
		answer_without_asking(t, ENGINE_OK, &none);
	else
		check_messages(t);
	return &t->request;
}

static struct engine_request *tokenize_plain(
	struct engine *engine, struct slice text, bool continues, engine_prompt_cb *done, void *ctx)
{
	const struct engine_message message = {"", text};
	struct tokenize *t = open_tokenize(engine, &message, 1, done, ctx);
	struct error err = {0};

	t->plain = true;
	t->continues = continues;
	if (engine->state == ENGINE_READY && !engine->info.has_ids) {
		error_set(&err, FAIL_CONFIG, "engine '%s' (dialect '%s') has no tokenizer to ask",
			engine->config->name, engine->info.dialect);
		answer_without_asking(t, ENGINE_REJECTED, &err);
	} else if (t->dialect != NULL && always_special(t->dialect)) {
		check_messages(t);
	} else {
		t->message = 1;
		contents_known(t);
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
