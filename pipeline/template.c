/*
 * A template is compiled when it is read: each message becomes a list of pieces, literal text and field by turns, so that
 * rendering is a walk and every mistake of the file is found before the night.
 */
#include "template.h"

#include "base/file.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/text.h"
#include "config/node.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define FIELD_BYTES_MAX 64

struct piece {
	struct slice text; /* literal, or the field's name */
	bool field;
};

struct message {
	const char *role;
	struct piece *pieces;
	size_t n;
};

struct template
{
	struct arena arena;
	struct message *messages;
	size_t n_messages;
	/* Few-shot turns, rendered from the same user message; they stand before the last message. */
	struct message *examples;
	size_t n_examples;
	const char **fields;
	size_t n_fields;
	char hash[33];
};

static void add_field(struct template *t, const char *name)
{
	for (size_t i = 0; i < t->n_fields; i++) {
		if (strcmp(t->fields[i], name) == 0) {
			return;
		}
	}
	const char **fields = arena_alloc_array(&t->arena, t->n_fields + 1, sizeof(*fields));
	if (t->n_fields) {
		memcpy(fields, t->fields, t->n_fields * sizeof(*fields));
	}
	fields[t->n_fields++] = name;
	t->fields = fields;
}

static void add_piece(struct template *t, struct message *m, struct piece piece)
{
	if (!piece.field && !piece.text.len) {
		return;
	}
	struct piece *pieces = arena_alloc_array(&t->arena, m->n + 1, sizeof(*pieces));
	if (m->n) {
		memcpy(pieces, m->pieces, m->n * sizeof(*pieces));
	}
	pieces[m->n++] = piece;
	m->pieces = pieces;
}

/* `{{ name }}` at s; false with a message if it is malformed. */
static bool take_field(
	struct template *t, const char *s, const char **out_name, const char **out_rest)
{
	const char *p = s + 2 + strspn(s + 2, " ");
	size_t len = strspn(p, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_");
	const char *end = p + len + strspn(p + len, " ");
	if (!len || len > FIELD_BYTES_MAX || end[0] != '}' || end[1] != '}') {
		return false;
	}
	*out_name = arena_memdup0(&t->arena, p, len);
	*out_rest = end + 2;
	return true;
}

static bool compile(struct template *t, const struct tree *tree, const struct node *node,
	struct message *m, struct error *err)
{
	const char *from = node->text, *p = from;
	while (*p) {
		if (p[0] == '\\' && p[1] == '{' && p[2] == '{') {
			add_piece(t, m, (struct piece){{from, (size_t)(p - from)}, false});
			from = p + 1; /* the braces stay, the backslash goes */
			p += 3;
		} else if (p[0] == '{' && p[1] == '{') {
			const char *name, *rest;
			if (!take_field(t, p, &name, &rest)) {
				node_error(err, tree, node, "malformed {{field}}: '%.*s'",
					(int)strnlen(p, 24), p);
				return error_hint(err,
					"a field's name has letters, digits and _; a literal {{ is "
					"written \\{{");
			}
			add_piece(t, m, (struct piece){{from, (size_t)(p - from)}, false});
			add_piece(t, m, (struct piece){slice_z(name), true});
			from = p = rest;
		} else {
			p++;
		}
	}
	add_piece(t, m, (struct piece){{from, (size_t)(p - from)}, false});
	return true;
}

static bool read_message(struct template *t, const struct tree *tree, const struct node *node,
	struct message *out, struct error *err)
{
	static const char *const roles[] = {"system", "user", "assistant"};
	if (node->kind != NODE_MAP || node->n != 1 || node->items[0]->kind != NODE_SCALAR) {
		return node_error(err, tree, node,
			"a message must be one role and its text, like `user: ...`");
	}
	const char *role = node->keys[0]->text;
	for (size_t i = 0; i < ARRAY_LEN(roles); i++) {
		if (strcmp(role, roles[i]) == 0) {
			out->role = roles[i];
		}
	}
	if (!out->role) {
		node_error(err, tree, node->keys[0], "unknown role '%s'", role);
		const char *nearest = text_nearest(role, roles, ARRAY_LEN(roles));
		return nearest ? error_hint(err, "did you mean '%s'?", nearest)
			       : error_hint(err, "roles are system, user and assistant");
	}
	return compile(t, tree, node->items[0], out, err);
}

static struct slice field_of_example(void *ctx, const char *field)
{
	const struct node *value = node_get(ctx, field);
	return value && value->kind == NODE_SCALAR ? slice_z(value->text) : (struct slice){0};
}

static struct slice fill(const struct message *m, template_lookup *lookup, void *ctx,
	struct arena *arena, const char **out_missing)
{
	struct slice *parts = arena_alloc_array(arena, m->n, sizeof(*parts));
	size_t len = 0;
	for (size_t i = 0; i < m->n; i++) {
		parts[i] = m->pieces[i].field ? lookup(ctx, m->pieces[i].text.data)
					      : m->pieces[i].text;
		if (!parts[i].data) {
			*out_missing = m->pieces[i].text.data;
			return parts[i];
		}
		len += parts[i].len;
	}
	char *text = arena_alloc(arena, len + 1), *to = text;
	for (size_t i = 0; i < m->n; i++) {
		memcpy(to, parts[i].data, parts[i].len);
		to += parts[i].len;
	}
	return (struct slice){text, len};
}

/* One example gives two turns: the template's last user message with the example's fields, and the `assistant` text. */
static bool read_example(
	struct template *t, const struct tree *tree, const struct node *node, struct error *err)
{
	const struct node *answer = node->kind == NODE_MAP ? node_get(node, "assistant") : NULL;
	if (!answer || answer->kind != NODE_SCALAR) {
		return node_error(
			err, tree, node, "an example needs the template's fields and `assistant`");
	}
	const char *missing = NULL;
	struct slice user = fill(&t->messages[t->n_messages - 1], field_of_example,
		(void *)(uintptr_t)node, &t->arena, &missing);
	if (missing) {
		return node_error(err, tree, node, "the example has no field '%s'", missing);
	}
	struct piece *pieces = arena_alloc_array(&t->arena, 2, sizeof(*pieces));
	pieces[0] = (struct piece){user, false};
	pieces[1] = (struct piece){slice_z(arena_strdup(&t->arena, answer->text)), false};
	t->examples[t->n_examples++] = (struct message){"user", &pieces[0], 1};
	t->examples[t->n_examples++] = (struct message){"assistant", &pieces[1], 1};
	return true;
}

static bool read_tree(struct template *t, const struct tree *tree, struct error *err)
{
	const struct node *root = tree->root;
	if (!root || root->kind != NODE_MAP) {
		error_set(err, FAIL_CONFIG, "a template must be a map with `messages:`");
		return error_place(err, tree->file, root ? root->line : 1, root ? root->column : 1);
	}
	static const char *const known[] = {"messages", "examples"};
	for (size_t i = 0; i < root->n; i++) {
		const char *key = root->keys[i]->text;
		if (strcmp(key, known[0]) != 0 && strcmp(key, known[1]) != 0) {
			node_error(err, tree, root->keys[i], "unknown key '%s' in a template", key);
			const char *nearest = text_nearest(key, known, ARRAY_LEN(known));
			return nearest ? error_hint(err, "did you mean '%s'?", nearest)
				       : error_hint(err, "keys are messages and examples");
		}
	}
	const struct node *messages = node_get(root, "messages"),
			  *examples = node_get(root, "examples");
	if (!messages || messages->kind != NODE_LIST || !messages->n) {
		return node_error(err, tree, messages ? messages : root,
			"a template needs a list of `messages`");
	}
	t->messages = arena_alloc_array(&t->arena, messages->n, sizeof(*t->messages));
	for (size_t i = 0; i < messages->n; i++) {
		if (!read_message(
			    t, tree, messages->items[i], &t->messages[t->n_messages++], err)) {
			return false;
		}
	}
	if (examples &&
		(examples->kind != NODE_LIST ||
			strcmp(t->messages[t->n_messages - 1].role, "user") != 0)) {
		return node_error(err, tree, examples,
			"`examples` must be a list, and the last message one of the user");
	}
	t->examples = arena_alloc_array(
		&t->arena, examples ? 2 * examples->n : 0, sizeof(*t->examples));
	for (size_t i = 0; examples && i < examples->n; i++) {
		if (!read_example(t, tree, examples->items[i], err)) {
			return false;
		}
	}
	for (size_t i = 0; i < t->n_messages; i++) {
		for (size_t k = 0; k < t->messages[i].n; k++) {
			if (t->messages[i].pieces[k].field) {
				add_field(t, t->messages[i].pieces[k].text.data);
			}
		}
	}
	return true;
}

/* Literal text is borrowed from the tree while compiling; it must outlive it. */
static void own_pieces(struct template *t, struct message *messages, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		for (size_t k = 0; k < messages[i].n; k++) {
			struct slice *text = &messages[i].pieces[k].text;
			text->data = arena_memdup0(&t->arena, text->data, text->len);
		}
	}
}

struct template *template_read(const char *path, struct error *err)
{
	struct str text;
	str_init(&text, TREE_FILE_BYTES_MAX + 1);
	struct tree tree = {0};
	struct template *t = xcalloc(1, sizeof(*t));
	bool ok = file_read(path, TREE_FILE_BYTES_MAX, &text, err) &&
		tree_parse(&tree, path, text.data, text.len, err) && read_tree(t, &tree, err);
	if (ok) {
		own_pieces(t, t->messages, t->n_messages);
		own_pieces(t, t->examples, t->n_examples);
		hash128_hex(hash128(text.data, text.len), t->hash);
	} else if (err->kind != FAIL_CONFIG) {
		err->kind = FAIL_CONFIG;
	}
	tree_release(&tree);
	str_release(&text);
	if (!ok) {
		template_free(t);
		return NULL;
	}
	return t;
}

void template_free(struct template *t)
{
	if (t) {
		arena_release(&t->arena);
		free(t);
	}
}

const char *template_hash(const struct template *t)
{
	return t->hash;
}

size_t template_n_fields(const struct template *t)
{
	return t->n_fields;
}

const char *template_field(const struct template *t, size_t i)
{
	assert(i < t->n_fields);
	return t->fields[i];
}

struct slice template_value(const struct json *fields, const char *field, struct arena *arena)
{
	const struct json *value = json_get(fields, field);
	struct slice text = {0};
	if (json_kind(value) == JSON_STRING) {
		text.data = json_str(value, &text.len);
	} else if (value) {
		struct str s;
		str_init(&s, STR_NO_CAP);
		json_dump(value, true, &s);
		text = (struct slice){arena_memdup0(arena, s.data, s.len), s.len};
		str_release(&s);
	}
	return text;
}

bool template_render(const struct template *t, template_lookup *lookup, void *ctx,
	struct arena *arena, struct engine_message **out, size_t *out_n, struct error *err)
{
	size_t n = t->n_messages + t->n_examples, at = 0;
	struct engine_message *messages = arena_alloc_array(arena, n, sizeof(*messages));
	for (size_t i = 0; i < t->n_messages; i++) {
		if (i + 1 == t->n_messages) {
			for (size_t k = 0; k < t->n_examples; k++) {
				messages[at++] = (struct engine_message){
					t->examples[k].role, t->examples[k].pieces[0].text};
			}
		}
		const char *missing = NULL;
		struct slice text = fill(&t->messages[i], lookup, ctx, arena, &missing);
		if (missing) {
			return error_set(
				err, FAIL_DATA, "the template's field '%s' is missing", missing);
		}
		messages[at++] = (struct engine_message){t->messages[i].role, text};
	}
	*out = messages;
	*out_n = at;
	return true;
}

struct row {
	const struct json *fields;
	struct arena *arena;
};

static struct slice row_value(void *ctx, const char *field)
{
	const struct row *row = ctx;
	return template_value(row->fields, field, row->arena);
}

bool template_render_row(const struct template *t, const struct json *fields, struct arena *arena,
	struct engine_message **out, size_t *out_n, struct error *err)
{
	return template_render(t, row_value, &(struct row){fields, arena}, arena, out, out_n, err);
}
