/*
 * `--set a.b.c=value`. Nodes are never changed in place, since an alias may share them: the nodes on the path are copied and
 * the copies point at the rest, as in any persistent tree. So a setting changes one place only, and a failure half-way leaves
 * the tree as it was. What is left over lives in the tree's arena until the tree is released; settings are few.
 */
#include "base/attr.h"
#include "base/mem.h"
#include "base/text.h"
#include "config/node.h"
#include "config/node_build.h"

#include <assert.h>

/* Levels that a path element may add: an entry of a list is a map in an item. */
#define LEVELS_PER_ELEMENT 2

struct setting {
	struct tree *tree;
	struct arena *arena;
	const char *origin; /* "--set a.b=c" */
	const char *path[TREE_SET_PATH_MAX + 1]; /* one more for the `stages` of the shorthand */
	size_t n_path;
	struct node *value;
};

PRINTF_LIKE(3, 4)
static bool refuse(const struct setting *s, struct error *err, const char *fmt, ...)
{
	char msg[sizeof(err->msg)];
	va_list args;

	va_start(args, fmt);
	vsnprintf(msg, sizeof(msg), fmt, args);
	va_end(args);
	error_set(err, FAIL_USAGE, "%s", msg);
	return error_place(err, s->origin, 0, 0);
}

static struct node *new_node(struct setting *s, enum node_kind kind)
{
	struct node *node = arena_alloc(s->arena, sizeof(*node));

	node->kind = kind;
	node->origin = s->origin;
	return node;
}

static struct node *new_key(struct setting *s, const char *text)
{
	struct node *key = new_node(s, NODE_SCALAR);

	key->text = text;
	return key;
}

/* A copy with room for `more` further items; it points at the same children. */
static struct node *copy_node(struct setting *s, const struct node *old, size_t more)
{
	struct node *node = arena_alloc(s->arena, sizeof(*node));

	*node = *old;
	node->items = arena_alloc_array(s->arena, old->n + more, sizeof(struct node *));
	for (size_t i = 0; i < old->n; i++) {
		node->items[i] = old->items[i];
	}
	if (old->kind != NODE_MAP) {
		return node;
	}
	node->keys = arena_alloc_array(s->arena, old->n + more, sizeof(struct node *));
	for (size_t i = 0; i < old->n; i++) {
		node->keys[i] = old->keys[i];
	}
	return node;
}

/* "generate" for `generate` and for `generate: {...}`, else NULL. */
static const char *entry_name(const struct node *entry)
{
	if (entry->kind == NODE_SCALAR && !entry->null) {
		return entry->text;
	}
	return entry->kind == NODE_MAP && entry->n == 1 ? entry->keys[0]->text : NULL;
}

/* The `as: NAME` of an entry, which tells two of one kind apart, else NULL. */
static const char *entry_alias(const struct node *entry)
{
	const struct node *as = entry->kind == NODE_MAP && entry->n == 1
		? node_get(entry->items[0], "as")
		: NULL;

	return as && as->kind == NODE_SCALAR && !as->null ? as->text : NULL;
}

/*
 * How many entries have the name; *out_i is the first. What an entry is called, its `as` if it has one, comes before the kind of
 * thing that it is: with `judge` and `judge as strict`, `judge` is the first of the two.
 */
static size_t count_entries(const struct node *list, const char *name, size_t *out_i)
{
	size_t n_called = 0, n_kind = 0, called = 0, kind = 0;

	for (size_t i = list->n; i-- > 0;) {
		const char *word = entry_name(list->items[i]);
		const char *as = entry_alias(list->items[i]);

		if (!word) {
			continue;
		}
		if (strcmp(as ? as : word, name) == 0) {
			n_called++;
			called = i;
		}
		if (strcmp(word, name) == 0) {
			n_kind++;
			kind = i;
		}
	}
	*out_i = n_called ? called : kind;
	return n_called ? n_called : n_kind;
}

static bool refuse_entry(const struct setting *s, const struct node *list, const char *name,
	const char *parent, struct error *err)
{
	AUTO_FREE const char **names = xcalloc(list->n + 1, sizeof(*names));
	char quoted[NODE_QUOTE_BYTES], quoted_parent[NODE_QUOTE_BYTES];
	const char *nearest;
	size_t n = 0;

	for (size_t i = 0; i < list->n; i++) {
		const char *entry = entry_name(list->items[i]);

		if (entry) {
			names[n++] = entry;
		}
	}
	refuse(s, err, "no entry %s in the list%s%s", node_quote(name, quoted), parent ? " " : "",
		parent ? node_quote(parent, quoted_parent) : "");
	nearest = text_nearest(name, names, n);
	if (nearest) {
		error_hint(err, "did you mean %s?", node_quote(nearest, quoted));
	}
	return false;
}

static bool find_entry(const struct setting *s, const struct node *list, size_t depth,
	size_t *out_i, struct error *err)
{
	const char *name = s->path[depth];
	const char *parent = depth ? s->path[depth - 1] : NULL;
	char quoted[NODE_QUOTE_BYTES];
	uint64_t index;
	size_t n;

	if (text_parse_u64(name, &index)) {
		if (index >= list->n) {
			return refuse(s, err, "the list has %zu entries, so no number %s", list->n,
				node_quote(name, quoted));
		}
		*out_i = (size_t)index;
		return true;
	}
	n = count_entries(list, name, out_i);
	if (n > 1) {
		refuse(s, err, "%zu entries are named %s", n, node_quote(name, quoted));
		return error_hint(
			err, "use the number of the entry (the first is 0), or its `as` name");
	}
	return n == 1 || refuse_entry(s, list, name, parent, err);
}

static struct node *set_at(
	struct setting *s, const struct node *old, size_t depth, struct error *err);

static struct node *set_in_map(
	struct setting *s, const struct node *old, size_t depth, struct error *err)
{
	const char *name = s->path[depth];
	struct node *map = copy_node(s, old, 1), *child;
	size_t i = 0;

	while (i < old->n && strcmp(old->keys[i]->text, name) != 0) {
		i++;
	}
	child = set_at(s, i < old->n ? old->items[i] : NULL, depth + 1, err);
	if (!child) {
		return NULL;
	}
	if (i == old->n) {
		map->keys[i] = new_key(s, name);
		map->n++;
	}
	map->items[i] = child;
	return map;
}

/* An entry found by its name: `name` or `name: old`; the path goes on below the name. */
static struct node *set_in_entry(
	struct setting *s, const struct node *entry, size_t depth, struct error *err)
{
	const bool is_map = entry->kind == NODE_MAP;
	struct node *map = is_map ? copy_node(s, entry, 0) : new_node(s, NODE_MAP);

	if (!is_map) {
		map->n = 1;
		map->keys = arena_alloc_array(s->arena, 1, sizeof(struct node *));
		map->items = arena_alloc_array(s->arena, 1, sizeof(struct node *));
		map->keys[0] = copy_node(s, entry, 0);
	}
	map->items[0] = set_at(s, is_map ? entry->items[0] : NULL, depth + 1, err);
	return map->items[0] ? map : NULL;
}

static struct node *set_in_list(
	struct setting *s, const struct node *old, size_t depth, struct error *err)
{
	struct node *list, *item;
	uint64_t index;
	size_t i;

	if (!find_entry(s, old, depth, &i, err)) {
		return NULL;
	}
	if (text_parse_u64(s->path[depth], &index)) {
		item = set_at(s, old->items[i], depth + 1, err);
	} else {
		item = set_in_entry(s, old->items[i], depth, err);
	}
	if (!item) {
		return NULL;
	}
	list = copy_node(s, old, 0);
	list->items[i] = item;
	return list;
}

/* The node that takes the place of `old` (NULL: there is none), for the path from `depth` on; NULL on failure. */
static struct node *set_at(
	struct setting *s, const struct node *old, size_t depth, struct error *err)
{
	char quoted[NODE_QUOTE_BYTES];

	if (depth == s->n_path) {
		return s->value;
	}
	if (!old || old->null) {
		return set_in_map(s, new_node(s, NODE_MAP), depth, err);
	}
	if (old->kind == NODE_MAP) {
		return set_in_map(s, old, depth, err);
	}
	if (old->kind == NODE_LIST) {
		return set_in_list(s, old, depth, err);
	}
	refuse(s, err, "%s is a single value and has no key below it",
		depth ? node_quote(s->path[depth - 1], quoted) : "the file");
	return NULL;
}

static bool split_path(struct setting *s, const char *path, size_t len, struct error *err)
{
	char *copy = arena_memdup0(s->arena, path, len);

	if (len > TREE_KEY_BYTES_MAX) {
		return refuse(s, err, "the path is longer than %d bytes", TREE_KEY_BYTES_MAX);
	}
	for (char *element = copy; element;) {
		char *dot = strchr(element, '.');

		if (dot) {
			*dot++ = '\0';
		}
		if (!element[0]) {
			refuse(s, err, "the path has an empty element");
			return error_hint(err, "write --set a.b.c=value");
		}
		if (s->n_path == TREE_SET_PATH_MAX) {
			return refuse(
				s, err, "the path has more than %d elements", TREE_SET_PATH_MAX);
		}
		s->path[s->n_path++] = element;
		element = dot;
	}
	return true;
}

/* `generate.x` means `stages.generate.x` where that can only be meant. */
static void expand_shorthand(struct setting *s)
{
	const struct node *stages = node_get(s->tree->root, "stages");
	size_t i;

	if (!stages || stages->kind != NODE_LIST || node_get(s->tree->root, s->path[0]) ||
		!count_entries(stages, s->path[0], &i)) {
		return;
	}
	for (i = s->n_path; i > 0; i--) {
		s->path[i] = s->path[i - 1];
	}
	s->path[0] = "stages";
	s->n_path++;
}

bool tree_set(struct tree *tree, const char *assignment, struct error *err)
{
	struct setting s = {.tree = tree, .arena = tree->memory};
	const char *equals;
	char quoted[NODE_QUOTE_BYTES];
	struct node *root;

	assert(tree->memory && assignment);
	equals = strchr(assignment, '=');
	s.origin = arena_printf(s.arena, "--set %s", assignment);
	if (!utf8_valid(assignment, strlen(assignment))) {
		error_set(err, FAIL_USAGE, "--set: the text is not UTF-8");
		return false;
	}
	if (!equals) {
		error_set(err, FAIL_USAGE, "--set needs PATH=VALUE, not %s",
			node_quote(assignment, quoted));
		return error_hint(err, "for example --set generate.sampling.temperature=1");
	}
	if (!split_path(&s, assignment, (size_t)(equals - assignment), err)) {
		return false;
	}
	expand_shorthand(&s);
	s.value = tree_build_value(
		tree, equals + 1, (unsigned)s.n_path * LEVELS_PER_ELEMENT + 1, s.origin, err);
	if (!s.value) {
		err->kind = FAIL_USAGE;
		return false;
	}
	root = set_at(&s, tree->root, 0, err);
	if (!root) {
		return false;
	}
	tree->root = root;
	return true;
}

/* A path and the value below it must both fit, or a legal setting could not have any value. */
static_assert(
	(TREE_SET_PATH_MAX + 1) * LEVELS_PER_ELEMENT + 1 < TREE_DEPTH_MAX, "paths are too long");
