/*
 * From libyaml's events to our tree, in one pass and by recursion that TREE_DEPTH_MAX bounds. The event interface is used, not
 * libyaml's documents: those expand nothing but also know no limits, and lose the anchors' nesting that tells a cycle.
 *
 * An alias does not copy: its parent points at the node that the anchor named. What readers of the tree will walk is the
 * expanded tree, though, so an alias is charged with the nodes and the height of what it stands for. `n_nodes` counts up over
 * the whole document, and the difference before and after a node is that node's weight: no second pass is needed, and a bomb
 * is refused at the alias that goes over the limit. An anchor whose node is still being built is a cycle.
 *
 * Children are collected on one stack for all levels; when a collection ends, its part is copied to the arena and popped.
 *
 * yaml.h is included here only. libyaml counts lines and columns from 0, in code points; ours start at 1.
 */
#include "config/node.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"
#include "config/node_build.h"

#include <assert.h>
#include <yaml.h>

struct anchor {
	const char *name; /* in the arena */
	struct node *node; /* NULL while it is being built */
	size_t weight; /* expanded nodes */
	unsigned height; /* levels, at least 1 */
};

struct builder {
	yaml_parser_t yaml;
	struct arena *arena; /* borrows */
	const char *file;
	const char *origin; /* NULL for a file */
	const char *text;
	size_t len;
	struct node **stack; /* owns; children of the open collections */
	size_t n_stack, cap_stack;
	struct anchor anchors[TREE_ANCHORS_MAX];
	size_t n_anchors;
	size_t n_nodes;
	unsigned deepest; /* level reached below the node at work */
};

/* Errors */

const char *node_quote(const char *text, char out[NODE_QUOTE_BYTES])
{
	static const char hex[] = "0123456789abcdef";
	const size_t len = strlen(text);
	size_t used = 0, pos = 0;

	out[used++] = '\'';
	for (unsigned n = 0; pos < len && n < 60; n++) {
		uint32_t code_point;
		unsigned bytes = utf8_decode(text + pos, len - pos, &code_point);

		if (bytes == 0 || code_point < 0x20 || (code_point >= 0x7f && code_point < 0xa0)) {
			unsigned char c = (unsigned char)text[pos + (bytes > 1 ? 1 : 0)];

			out[used++] = '\\';
			out[used++] = 'x';
			out[used++] = hex[c >> 4];
			out[used++] = hex[c & 15];
			pos += bytes ? bytes : 1;
			continue;
		}
		memcpy(out + used, text + pos, bytes);
		used += bytes;
		pos += bytes;
	}
	snprintf(out + used, NODE_QUOTE_BYTES - used, "%s'", pos < len ? "..." : "");
	return out;
}

/* 60 characters of at most 4 bytes, two quotes, the dots and the NUL. */
static_assert(NODE_QUOTE_BYTES >= 60 * 4 + 2 + 3 + 1, "a quoted text must fit");

bool node_error(
	struct error *err, const struct tree *tree, const struct node *node, const char *fmt, ...)
{
	char msg[sizeof(err->msg)];
	va_list args;

	va_start(args, fmt);
	vsnprintf(msg, sizeof(msg), fmt, args);
	va_end(args);
	error_set(err, FAIL_CONFIG, "%s", msg);
	if (node && node->origin) {
		return error_place(err, node->origin, 0, 0);
	}
	if (tree && tree->file) {
		return error_place(err, tree->file, node ? node->line : 0, node ? node->column : 0);
	}
	return false;
}

static bool place_at(const struct builder *b, size_t line, size_t column, struct error *err)
{
	if (b->origin) {
		return error_place(err, b->origin, 0, 0);
	}
	return error_place(err, b->file, (unsigned)line, (unsigned)column);
}

static bool place_at_mark(const struct builder *b, yaml_mark_t mark, struct error *err)
{
	return place_at(b, mark.line + 1, mark.column + 1, err);
}

static bool place_at_offset(const struct builder *b, size_t offset, struct error *err)
{
	size_t line = 1, column = 1;

	for (size_t i = 0; i < offset && i < b->len; i++) {
		const unsigned char c = (unsigned char)b->text[i];

		if (c == '\n') {
			line++;
			column = 1;
		} else if ((c & 0xc0) != 0x80) {
			column++;
		}
	}
	return place_at(b, line, column, err);
}

/*
 * What libyaml's messages mean to somebody who writes a pipeline file. `at_start`: the place to look at is where the construct
 * began, not where the parser gave up, which may be the end of the file.
 */
static const struct wording {
	const char *problem, *context; /* parts of libyaml's texts; NULL: any */
	const char *msg, *hint;
	bool at_start;
} wordings[] = {
	{"found unexpected end of stream", "quoted scalar", "this quoted text is not closed", NULL,
		true},
	{"found unexpected document indicator", "quoted scalar", "this quoted text is not closed",
		NULL, true},
	{"found unknown escape character", NULL, "unknown escape in a double-quoted text",
		"use single quotes, in which a backslash is a backslash", false},
	{"hexdecimal number", NULL, "broken escape in a double-quoted text",
		"use single quotes, in which a backslash is a backslash", false},
	{"invalid Unicode character escape", NULL,
		"an escape names a character that does not exist", NULL, false},
	{"mapping values are not allowed", NULL, "a ':' cannot stand here",
		"quote a value that contains ': ', and check the indentation", false},
	{"mapping keys are not allowed", NULL, "a '?' cannot stand here",
		"quote a value that begins with '? '", false},
	{"block sequence entries are not allowed", NULL, "a list item ('-') cannot stand here",
		"write it on a line of its own, or the list as [a, b]", false},
	{"could not find expected ':'", NULL, "this key has no ':' after it", NULL, true},
	{"did not find expected key", NULL, "expected a key that fits the lines above",
		"keys of one map start in the same column; quote a value that begins with a quoted "
		"part",
		false},
	{"did not find expected '-' indicator", NULL, "expected '-' or less indentation",
		"items of one list start in the same column", false},
	{"did not find expected ',' or ']'", NULL, "expected ',' or ']'", NULL, false},
	{"did not find expected ',' or '}'", NULL, "expected ',' or '}'", NULL, false},
	{"did not find expected node content", NULL, "expected a value",
		"quote a value that begins with one of , ] } &  * !", false},
	{"did not find expected <document start>", NULL, "unexpected text after the end of the map",
		"check the indentation; a value that begins with a quoted part is quoted as a "
		"whole",
		false},
	{"did not find expected alphabetic or numeric character", "anchor",
		"'&' must be followed by a name", "quote a value that begins with '&'", false},
	{"did not find expected alphabetic or numeric character", "alias",
		"'*' must be followed by a name", "quote a value that begins with '*'", false},
	{"expected comment or line break", "block scalar",
		"'>' or '|' begins a block of text, which starts on the next line",
		"quote the whole value", false},
	{"tab character", NULL, "a tab cannot stand here", "indent with spaces", false},
	{"control characters are not allowed", NULL, "control character in the file", NULL, false},
};

/* The byte of the text at a mark, whose index counts code points. */
static char byte_at(const struct builder *b, yaml_mark_t mark)
{
	size_t i = 0;

	for (size_t n = 0; i < b->len; i++) {
		if (((unsigned char)b->text[i] & 0xc0) != 0x80 && n++ == mark.index) {
			return b->text[i];
		}
	}
	return '\0';
}

static bool wrong_start_of_value(const struct builder *b, struct error *err)
{
	const char c = byte_at(b, b->yaml.problem_mark);

	if (c == '\t') {
		error_set(err, FAIL_CONFIG, "a tab cannot stand here");
		error_hint(err, "indent with spaces");
	} else {
		error_set(err, FAIL_CONFIG, "a value cannot begin with '%c'", c);
		error_hint(err, "quote the value");
	}
	return place_at_mark(b, b->yaml.problem_mark, err);
}

static bool syntax_error(const struct builder *b, struct error *err)
{
	const yaml_parser_t *yaml = &b->yaml;
	const char *problem = yaml->problem ? yaml->problem : "syntax error";
	const struct wording *found = NULL;

	if (yaml->error == YAML_MEMORY_ERROR) {
		oom();
	}
	if (strstr(problem, "cannot start any token")) {
		return wrong_start_of_value(b, err);
	}
	for (size_t i = 0; !found && i < ARRAY_LEN(wordings); i++) {
		const struct wording *w = &wordings[i];

		if (strstr(problem, w->problem) &&
			(!w->context || (yaml->context && strstr(yaml->context, w->context)))) {
			found = w;
		}
	}
	if (found) {
		error_set(err, FAIL_CONFIG, "%s", found->msg);
	} else {
		error_set(err, FAIL_CONFIG, "not valid YAML: %s", problem);
	}
	if (found && found->hint) {
		error_hint(err, "%s", found->hint);
	}
	if (yaml->error == YAML_READER_ERROR) {
		return place_at_offset(b, yaml->problem_offset, err);
	}
	if (yaml->context && !b->origin && !(found && found->at_start) &&
		yaml->context_mark.line < yaml->problem_mark.line && !err->hint[0]) {
		error_hint(
			err, "it belongs to what begins on line %zu", yaml->context_mark.line + 1);
	}
	return place_at_mark(b,
		found && found->at_start && yaml->context ? yaml->context_mark : yaml->problem_mark,
		err);
}

PRINTF_LIKE(4, 5)
static bool refuse(
	const struct builder *b, yaml_mark_t mark, struct error *err, const char *fmt, ...)
{
	char msg[sizeof(err->msg)];
	va_list args;

	va_start(args, fmt);
	vsnprintf(msg, sizeof(msg), fmt, args);
	va_end(args);
	error_set(err, FAIL_CONFIG, "%s", msg);
	return place_at_mark(b, mark, err);
}

/* Building */

/* The event is the caller's to delete; it is zeroed or valid after a failure, too. */
static bool next_event(struct builder *b, yaml_event_t *out_event, struct error *err)
{
	if (!yaml_parser_parse(&b->yaml, out_event)) {
		return syntax_error(b, err);
	}
	return true;
}

static bool refuse_tag(
	const struct builder *b, const yaml_event_t *event, const char *tag, struct error *err)
{
	static const char core[] = "tag:yaml.org,2002:";
	const bool is_core = strncmp(tag, core, strlen(core)) == 0;
	char shown[80], quoted[NODE_QUOTE_BYTES];

	snprintf(shown, sizeof(shown), "%s%.60s", is_core ? "!!" : "",
		is_core ? tag + strlen(core) : tag);
	refuse(b, event->start_mark, err, "tags such as %s are not allowed",
		node_quote(shown, quoted));
	return error_hint(err, "leave the tag out; \"12\" in quotes is a text, 12 is a number");
}

static bool count_nodes(
	struct builder *b, const yaml_event_t *event, size_t n, unsigned depth, struct error *err)
{
	if (n > TREE_NODES_MAX - b->n_nodes) {
		return refuse(b, event->start_mark, err,
			"more than %d values in the file, aliases expanded", TREE_NODES_MAX);
	}
	if (depth > TREE_DEPTH_MAX) {
		return refuse(b, event->start_mark, err, "nested more than %d levels deep",
			TREE_DEPTH_MAX);
	}
	b->n_nodes += n;
	b->deepest = MAX(b->deepest, depth);
	return true;
}

static struct node *new_node(struct builder *b, enum node_kind kind, const yaml_event_t *event)
{
	struct node *node = arena_alloc(b->arena, sizeof(*node));

	node->kind = kind;
	node->origin = b->origin;
	if (!b->origin) {
		node->line = (unsigned)event->start_mark.line + 1;
		node->column = (unsigned)event->start_mark.column + 1;
	}
	return node;
}

/* On success *out_anchor is NULL (no anchor) or an entry to be completed when the node is. */
static bool open_anchor(struct builder *b, const yaml_event_t *event, const yaml_char_t *name,
	struct anchor **out_anchor, struct error *err)
{
	struct anchor *anchor;

	*out_anchor = NULL;
	if (!name) {
		return true;
	}
	if (b->n_anchors == TREE_ANCHORS_MAX) {
		return refuse(b, event->start_mark, err, "more than %d anchors in the file",
			TREE_ANCHORS_MAX);
	}
	anchor = &b->anchors[b->n_anchors++];
	*anchor = (struct anchor){.name = arena_strdup(b->arena, (const char *)name)};
	*out_anchor = anchor;
	return true;
}

static struct node *build_alias(
	struct builder *b, const yaml_event_t *event, unsigned depth, struct error *err)
{
	const char *name = (const char *)event->data.alias.anchor;
	char quoted[NODE_QUOTE_BYTES];

	/* Backwards: the last anchor of a name counts. */
	for (size_t i = b->n_anchors; i-- > 0;) {
		struct anchor *anchor = &b->anchors[i];

		if (strcmp(anchor->name, name) != 0) {
			continue;
		}
		if (!anchor->node) {
			refuse(b, event->start_mark, err,
				"alias %s stands inside the value it names",
				node_quote(name, quoted));
			return NULL;
		}
		if (!count_nodes(b, event, anchor->weight, depth + anchor->height - 1, err)) {
			return NULL;
		}
		return anchor->node;
	}
	refuse(b, event->start_mark, err, "no anchor for alias %s above", node_quote(name, quoted));
	error_hint(err, "quote a value that begins with '*'");
	return NULL;
}

static bool is_null_text(const char *text)
{
	static const char *const nulls[] = {"", "~", "null", "Null", "NULL"};

	for (size_t i = 0; i < ARRAY_LEN(nulls); i++) {
		if (strcmp(text, nulls[i]) == 0) {
			return true;
		}
	}
	return false;
}

static struct node *build_scalar(struct builder *b, const yaml_event_t *event, struct error *err)
{
	const char *text = (const char *)event->data.scalar.value;
	const size_t len = event->data.scalar.length;
	struct node *node;

	if (len > TREE_SCALAR_BYTES_MAX) {
		refuse(b, event->start_mark, err,
			"a text of %zu bytes is longer than the limit of %u", len,
			TREE_SCALAR_BYTES_MAX);
		return NULL;
	}
	if (memchr(text, '\0', len)) {
		refuse(b, event->start_mark, err, "a text cannot contain the character \\0");
		return NULL;
	}
	node = new_node(b, NODE_SCALAR, event);
	node->text = arena_memdup0(b->arena, text, len);
	node->quoted = event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
	node->null = !node->quoted && is_null_text(node->text);
	return node;
}

static struct node *build_node(
	struct builder *b, const yaml_event_t *event, unsigned depth, struct error *err);

static void push(struct builder *b, struct node *node)
{
	b->stack = array_room(b->stack, b->n_stack, &b->cap_stack, sizeof(struct node *));
	b->stack[b->n_stack++] = node;
}

static struct node *build_list(
	struct builder *b, const yaml_event_t *start, unsigned depth, struct error *err)
{
	const size_t base = b->n_stack;
	struct node *list = new_node(b, NODE_LIST, start);

	for (;;) {
		AUTO(yaml_event_delete) yaml_event_t event = {0};
		struct node *item;

		if (!next_event(b, &event, err)) {
			return NULL;
		}
		if (event.type == YAML_SEQUENCE_END_EVENT) {
			break;
		}
		item = build_node(b, &event, depth + 1, err);
		if (!item) {
			return NULL;
		}
		push(b, item);
	}
	list->n = b->n_stack - base;
	list->items = arena_alloc_array(b->arena, list->n, sizeof(struct node *));
	for (size_t i = 0; i < list->n; i++) {
		list->items[i] = b->stack[base + i];
	}
	b->n_stack = base;
	return list;
}

static struct node *build_key(
	struct builder *b, const yaml_event_t *event, unsigned depth, struct error *err)
{
	struct node *key;

	if (event->type != YAML_SCALAR_EVENT) {
		refuse(b, event->start_mark, err, "a key must be a word, not %s",
			event->type == YAML_ALIAS_EVENT                    ? "an alias"
				: event->type == YAML_SEQUENCE_START_EVENT ? "a list"
									   : "a map");
		return NULL;
	}
	key = build_node(b, event, depth, err);
	if (!key) {
		return NULL;
	}
	if (strcmp(key->text, "<<") == 0 && !key->quoted) {
		refuse(b, event->start_mark, err, "merge keys (<<) are not supported");
		error_hint(err, "write the keys out, or name the whole value with an alias");
		return NULL;
	}
	if (!key->text[0]) {
		refuse(b, event->start_mark, err, "a key cannot be empty");
		return NULL;
	}
	if (strlen(key->text) > TREE_KEY_BYTES_MAX) {
		refuse(b, event->start_mark, err,
			"a key of %zu bytes is longer than the limit of %d", strlen(key->text),
			TREE_KEY_BYTES_MAX);
		return NULL;
	}
	return key;
}

struct numbered_key {
	const struct node *key;
	size_t i;
};

static int compare_keys(const void *a, const void *b)
{
	const struct numbered_key *x = a, *y = b;
	const int order = strcmp(x->key->text, y->key->text);

	return order ? order : (x->i > y->i) - (x->i < y->i);
}

/* Sorted, not compared in pairs: a map may have tens of thousands of keys. */
static bool check_duplicates(const struct builder *b, const struct node *map, struct error *err)
{
	AUTO_FREE struct numbered_key *keys = xcalloc(map->n + 1, sizeof(*keys));
	const struct node *first = NULL, *again = NULL;
	size_t again_i = SIZE_MAX;
	char quoted[NODE_QUOTE_BYTES];

	for (size_t i = 0; i < map->n; i++) {
		keys[i] = (struct numbered_key){map->keys[i], i};
	}
	qsort(keys, map->n, sizeof(*keys), compare_keys);
	for (size_t i = 1; i < map->n; i++) {
		if (strcmp(keys[i - 1].key->text, keys[i].key->text) == 0 && keys[i].i < again_i) {
			first = keys[i - 1].key;
			again = keys[i].key;
			again_i = keys[i].i;
		}
	}
	if (!again) {
		return true;
	}
	node_quote(again->text, quoted);
	if (b->origin) {
		error_set(err, FAIL_CONFIG, "duplicate key %s", quoted);
	} else {
		error_set(err, FAIL_CONFIG, "duplicate key %s: it already stands on line %u",
			quoted, first->line);
	}
	return place_at(b, again->line, again->column, err);
}

static struct node *build_map(
	struct builder *b, const yaml_event_t *start, unsigned depth, struct error *err)
{
	const size_t base = b->n_stack;
	struct node *map = new_node(b, NODE_MAP, start);

	for (;;) {
		AUTO(yaml_event_delete) yaml_event_t key_event = {0};
		AUTO(yaml_event_delete) yaml_event_t event = {0};
		struct node *key, *value;

		if (!next_event(b, &key_event, err)) {
			return NULL;
		}
		if (key_event.type == YAML_MAPPING_END_EVENT) {
			break;
		}
		key = build_key(b, &key_event, depth + 1, err);
		if (!key || !next_event(b, &event, err)) {
			return NULL;
		}
		value = build_node(b, &event, depth + 1, err);
		if (!value) {
			return NULL;
		}
		push(b, key);
		push(b, value);
	}
	map->n = (b->n_stack - base) / 2;
	map->keys = arena_alloc_array(b->arena, map->n, sizeof(struct node *));
	map->items = arena_alloc_array(b->arena, map->n, sizeof(struct node *));
	for (size_t i = 0; i < map->n; i++) {
		map->keys[i] = b->stack[base + 2 * i];
		map->items[i] = b->stack[base + 2 * i + 1];
	}
	b->n_stack = base;
	return check_duplicates(b, map, err) ? map : NULL;
}

/* What scalars, lists and maps have in common: where the event keeps tag and anchor, and its style. */
struct opening {
	const yaml_char_t *tag, *anchor;
	bool block;
};

static struct opening opening_of(const yaml_event_t *event)
{
	switch (event->type) {
	case YAML_SCALAR_EVENT:
		return (struct opening){event->data.scalar.tag, event->data.scalar.anchor, false};
	case YAML_SEQUENCE_START_EVENT:
		return (struct opening){event->data.sequence_start.tag,
			event->data.sequence_start.anchor,
			event->data.sequence_start.style == YAML_BLOCK_SEQUENCE_STYLE};
	default:
		assert(event->type == YAML_MAPPING_START_EVENT);
		return (struct opening){event->data.mapping_start.tag,
			event->data.mapping_start.anchor,
			event->data.mapping_start.style == YAML_BLOCK_MAPPING_STYLE};
	}
}

static struct node *build_node(
	struct builder *b, const yaml_event_t *event, unsigned depth, struct error *err)
{
	const size_t nodes_before = b->n_nodes;
	const unsigned deepest_before = b->deepest;
	struct opening opening;
	struct anchor *anchor;
	struct node *node;

	if (event->type == YAML_ALIAS_EVENT) {
		return build_alias(b, event, depth, err);
	}
	opening = opening_of(event);
	if (opening.tag) {
		refuse_tag(b, event, (const char *)opening.tag, err);
		return NULL;
	}
	if (b->origin && opening.block) {
		refuse(b, event->start_mark, err,
			"the value must be one word, a [list] or a {map}");
		error_hint(err, "quote a value that contains ': ' or begins with '- '");
		return NULL;
	}
	b->deepest = 0;
	if (!count_nodes(b, event, 1, depth, err) ||
		!open_anchor(b, event, opening.anchor, &anchor, err)) {
		return NULL;
	}
	if (event->type == YAML_SCALAR_EVENT) {
		node = build_scalar(b, event, err);
	} else if (event->type == YAML_SEQUENCE_START_EVENT) {
		node = build_list(b, event, depth, err);
	} else {
		node = build_map(b, event, depth, err);
	}
	if (node && anchor) {
		anchor->node = node;
		anchor->weight = b->n_nodes - nodes_before;
		anchor->height = b->deepest - depth + 1;
	}
	b->deepest = MAX(b->deepest, deepest_before);
	return node;
}

/* The stream: start, at most one document, end. *out_root stays NULL when there is none. */
static bool build_stream(
	struct builder *b, unsigned depth, struct node **out_root, struct error *err)
{
	struct node *root = NULL;

	for (;;) {
		AUTO(yaml_event_delete) yaml_event_t event = {0};

		if (!next_event(b, &event, err)) {
			return false;
		}
		switch (event.type) {
		case YAML_STREAM_START_EVENT:
		case YAML_DOCUMENT_END_EVENT:
			break;
		case YAML_STREAM_END_EVENT:
			*out_root = root;
			return true;
		case YAML_DOCUMENT_START_EVENT:
			if (root) {
				return refuse(b, event.start_mark, err,
					"a second document begins here; a file holds one");
			}
			break;
		default:
			root = build_node(b, &event, depth, err);
			if (!root) {
				return false;
			}
		}
	}
}

static bool check_utf8(const struct builder *b, struct error *err)
{
	for (size_t i = 0; i < b->len;) {
		uint32_t code_point;
		const unsigned bytes = utf8_decode(b->text + i, b->len - i, &code_point);

		if (bytes == 0) {
			error_set(err, FAIL_CONFIG, "the text is not UTF-8: byte 0x%02x",
				(unsigned char)b->text[i]);
			return place_at_offset(b, i, err);
		}
		i += bytes;
	}
	return true;
}

static bool build(struct builder *b, unsigned depth, struct node **out_root, struct error *err)
{
	bool ok;

	if (b->len >= 3 && memcmp(b->text, "\xef\xbb\xbf", 3) == 0) {
		b->text += 3; /* a byte order mark, which would count as a column */
		b->len -= 3;
	}
	if (!check_utf8(b, err)) {
		return false;
	}
	if (!yaml_parser_initialize(&b->yaml)) {
		oom();
	}
	yaml_parser_set_encoding(&b->yaml, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&b->yaml, (const unsigned char *)b->text, b->len);
	ok = build_stream(b, depth, out_root, err);
	yaml_parser_delete(&b->yaml);
	free(b->stack);
	return ok;
}

bool tree_parse(
	struct tree *tree, const char *file, const char *text, size_t len, struct error *err)
{
	struct builder b = {.file = file, .text = text, .len = len};

	*tree = (struct tree){0};
	if (len > TREE_FILE_BYTES_MAX) {
		error_set(err, FAIL_CONFIG, "the file has %zu bytes, more than the limit of %u",
			len, TREE_FILE_BYTES_MAX);
		return error_place(err, file, 0, 0);
	}
	tree->file = xstrdup(file);
	tree->memory = b.arena = xcalloc(1, sizeof(struct arena));
	if (!build(&b, 1, &tree->root, err)) {
		tree_release(tree);
		return false;
	}
	return true;
}

bool tree_read(struct tree *tree, const char *path, struct error *err)
{
	struct str text;
	bool ok;

	*tree = (struct tree){0};
	str_init(&text, TREE_FILE_BYTES_MAX);
	ok = file_read(path, TREE_FILE_BYTES_MAX, &text, err) &&
		tree_parse(tree, path, text.data, text.len, err);
	str_release(&text);
	return ok;
}

struct node *tree_build_value(
	struct tree *tree, const char *text, unsigned depth, const char *origin, struct error *err)
{
	struct builder b = {.arena = tree->memory,
		.file = tree->file,
		.origin = origin,
		.text = text,
		.len = strlen(text)};
	struct node *node = NULL;

	if (!build(&b, depth, &node, err)) {
		return NULL;
	}
	if (!node && text[strspn(text, " \t\n")]) {
		error_set(err, FAIL_CONFIG, "the value is a comment only");
		error_hint(err, "quote a value that begins with '#'");
		error_place(err, origin, 0, 0);
		return NULL;
	}
	if (!node) {
		node = arena_alloc(b.arena, sizeof(*node));
		*node = (struct node){
			.kind = NODE_SCALAR, .origin = origin, .text = "", .null = true};
	}
	return node;
}

void tree_release(struct tree *tree)
{
	if (!tree) {
		return;
	}
	if (tree->memory) {
		arena_release(tree->memory);
		free(tree->memory);
	}
	free(tree->file);
	*tree = (struct tree){0};
}

const struct node *node_get(const struct node *map, const char *key)
{
	if (!map || map->kind != NODE_MAP) {
		return NULL;
	}
	for (size_t i = 0; i < map->n; i++) {
		if (strcmp(map->keys[i]->text, key) == 0) {
			return map->items[i];
		}
	}
	return NULL;
}
