/*
 * The vocabulary is made at start from the word list below, in its order, so ids change only when the list does (golden files
 * hold ids: append, never insert). What /completion prints of a token is the same every time it is sampled, so those JSON
 * fragments are made once here; printing them anew was most of the cost of an answer.
 */
#include "fake_vocab.h"

#include "base/json.h"
#include "base/mem.h"

#include <assert.h>

static const char *const specials[] = {"<|im_start|>", "<|im_end|>", "<s>", "<|endoftext|>", "</s>",
	"<unk>", "<think>", "</think>"};

/* Each becomes two tokens: as it stands, and with a space before it. */
static const char words[] = "the of and to in is that it for was on are as with he she they we you "
			    "at be this have from or one had by not but "
			    "what all were when there can an your which their said if do will each "
			    "about how up out them then many some so "
			    "these would other into has more her two like him see time could no "
			    "make than first been its who now people my "
			    "made over did down only way find use may water long little very after "
			    "words called just where most know get "
			    "through back much before go good new write our me man too any day "
			    "same right look think also around another "
			    "came come work three must because does part even place well such here "
			    "take why things help put years different "
			    "away again off went old number great tell men say small every found "
			    "still between name should home big give air "
			    "line set own under read last never us left end along while might next "
			    "sound below saw something thought both "
			    "few those always show large often together asked house world going "
			    "want school important until form food keep "
			    "children feet land side without boy once animal life enough took four "
			    "head above kind began almost live page got "
			    "need far hand high year mother light country father let night picture "
			    "being study second soon story since white "
			    "ever paper hard near sentence better best across during today however "
			    "sure knew try told young sun thing whole "
			    "hear example heard several change answer room sea against top turned "
			    "learn point city play toward five himself "
			    "usually money seen car morning given trees boxed equals total sum "
			    "step add adds plus minus times divided "
			    "makes leaves each counts groups check result therefore start rest "
			    "follows text nothing apples oranges pencils "
			    "books boxes dollars cents hours minutes miles percent half quarter "
			    "third price cost pays buys sells "
			    "Yes No yes no YES NO The We So First Then Now Let There That This "
			    "Each Adding It I You Question Answer "
			    "assistant user system following correct reply fake judge";

static const char *const extras[] = {".\n", "\n\n", ", ", ". ", " = ", " + ", " - ", " * ",
	"\\boxed{", "}.", "\\(", "\\)", "####", " $", "**"};

void ids_add(struct ids *ids, uint32_t id)
{
	ids->items = array_room(ids->items, ids->n, &ids->cap, sizeof(*ids->items));
	ids->items[ids->n++] = id;
}

void ids_release(struct ids *ids)
{
	free(ids->items);
	*ids = (struct ids){0};
}

/* --- the trie --- */

static size_t edge_slot(const struct vocab *v, uint32_t key)
{
	size_t i = (key * 2654435761u) & (VOCAB_EDGES - 1);

	while (v->edges[i].key && v->edges[i].key != key) {
		i = (i + 1) & (VOCAB_EDGES - 1);
	}
	return i;
}

/* 0, the root, is nobody's child: it says that there is none. */
static uint16_t child(const struct vocab *v, uint16_t node, unsigned char byte)
{
	uint32_t key = ((uint32_t)node << 8 | byte) + 1;
	const struct vocab_edge *edge = &v->edges[edge_slot(v, key)];

	return edge->key ? edge->node : 0;
}

static uint16_t make_child(struct vocab *v, uint16_t node, unsigned char byte)
{
	uint32_t key = ((uint32_t)node << 8 | byte) + 1;
	struct vocab_edge *edge = &v->edges[edge_slot(v, key)];

	if (!edge->key) {
		assert(v->n_nodes + 1u < ARRAY_LEN(v->ends));
		*edge = (struct vocab_edge){key, ++v->n_nodes};
	}
	return edge->node;
}

/* Returns the end's place in `ends`. */
static uint16_t *insert(struct vocab *v, const char *bytes, size_t len)
{
	uint16_t node = 0;

	for (size_t i = 0; i < len; i++) {
		node = make_child(v, node, (unsigned char)bytes[i]);
	}
	return &v->ends[node];
}

/* --- making it --- */

static void describe(struct vocab_token *token, uint32_t id)
{
	bool hidden = vocab_is_special(id);
	struct str s;

	str_init(&s, STR_NO_CAP);
	struct json_writer w = {.out = &s};
	json_put_str(&w, token->bytes, hidden ? 0 : token->len);
	str_append_z(&s, ",\"bytes\":[");
	for (size_t i = 0; i < token->len && !hidden; i++) {
		str_printf(&s, "%s%u", i ? "," : "", (unsigned char)token->bytes[i]);
	}
	str_append_c(&s, ']');
	token->json = xasprintf("\"id\":%u,\"token\":%s", id, s.data);
	token->chat_json = xasprintf("\"token\":%s", s.data);
	str_release(&s);
}

static void add(struct vocab *v, const char *bytes, size_t len)
{
	assert(v->n < VOCAB_MAX);
	v->tokens[v->n].bytes = xmemdup0(bytes, len);
	v->tokens[v->n].len = len;
	describe(&v->tokens[v->n], v->n);
	v->n++;
}

/* A word that is there already is not added again: the list has homonyms. */
static void add_text(struct vocab *v, const char *bytes, size_t len)
{
	uint16_t *end = insert(v, bytes, len);

	if (!*end) {
		add(v, bytes, len);
		*end = (uint16_t)v->n;
	}
}

static void add_words(struct vocab *v)
{
	char spaced[32] = " ";

	for (const char *p = words; *p;) {
		size_t len = strcspn(p, " ");

		assert(len + 1 < sizeof(spaced));
		memcpy(spaced + 1, p, len);
		add_text(v, p, len);
		add_text(v, spaced, len + 1);
		p += len + (p[len] == ' ');
	}
}

void vocab_init(struct vocab *v)
{
	for (unsigned byte = 0; byte < 256; byte++) {
		char c = (char)byte;

		add_text(v, &c, 1);
	}
	for (size_t i = 0; i < ARRAY_LEN(specials); i++) {
		add(v, specials[i], strlen(specials[i]));
	}
	assert(v->n == VOCAB_SPECIAL_END);
	for (unsigned i = 10; i < 100; i++) {
		char digits[3] = {(char)('0' + i / 10), (char)('0' + i % 10), 0};

		add_text(v, digits, 2);
	}
	add_words(v);
	for (size_t i = 0; i < ARRAY_LEN(extras); i++) {
		add_text(v, extras[i], strlen(extras[i]));
	}
}

void vocab_release(struct vocab *v)
{
	for (uint32_t i = 0; i < v->n; i++) {
		free(v->tokens[i].bytes);
		free(v->tokens[i].json);
		free(v->tokens[i].chat_json);
	}
	v->n = 0;
}

/* --- using it --- */

/* The special token at the start of text, or 0. */
static uint32_t special_at(const char *text, size_t len)
{
	for (size_t i = 0; i < ARRAY_LEN(specials); i++) {
		size_t n = strlen(specials[i]);

		if (n <= len && memcmp(text, specials[i], n) == 0) {
			return (uint32_t)(256 + i);
		}
	}
	return 0;
}

/* The longest token at the start of text; bytes are tokens, so there always is one. */
static uint32_t longest_at(const struct vocab *v, const char *text, size_t len)
{
	uint16_t node = 0;
	uint32_t best = 0;

	for (size_t i = 0; i < len; i++) {
		node = child(v, node, (unsigned char)text[i]);
		if (!node) {
			break;
		}
		if (v->ends[node]) {
			best = v->ends[node] - 1u;
		}
	}
	return best;
}

void vocab_encode(
	const struct vocab *v, const char *text, size_t len, bool parse_special, struct ids *out)
{
	for (size_t at = 0; at < len;) {
		bool open = parse_special && text[at] == '<';
		uint32_t id = open ? special_at(text + at, len - at) : 0;

		if (!id) {
			/* A token of the text must not run into a special one: none of them has '<' but at its start. */
			id = longest_at(v, text + at, len - at);
		}
		ids_add(out, id);
		at += v->tokens[id].len;
	}
}

void vocab_decode(
	const struct vocab *v, const uint32_t *ids, size_t n, bool show_special, struct str *out)
{
	for (size_t i = 0; i < n; i++) {
		assert(ids[i] < v->n);
		if (show_special || !vocab_is_special(ids[i])) {
			str_append(out, v->tokens[ids[i]].bytes, v->tokens[ids[i]].len);
		}
	}
}

uint32_t vocab_find(const struct vocab *v, const char *bytes)
{
	uint32_t id = longest_at(v, bytes, strlen(bytes));

	assert(strcmp(v->tokens[id].bytes, bytes) == 0);
	return id;
}
