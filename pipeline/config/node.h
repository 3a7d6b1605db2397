/*
 * A YAML file as a tree of nodes that know where they stand. One document per file. Scalars keep their text; what a scalar
 * means is decided by the parameter table that reads it (no "Norway problem"); `quoted` tells "12" from 12.
 *
 * Hostile input: depth, nodes, scalar length and file size are limited; aliases share the node they name, and the size that
 * they expand to is limited too, so an alias bomb is an error. Merge keys (<<), tags and duplicate keys are errors.
 */
#ifndef PIPELINE_CONFIG_NODE_H
#define PIPELINE_CONFIG_NODE_H

#include "base/error.h"
#include "base/str.h"

enum node_kind { NODE_SCALAR, NODE_LIST, NODE_MAP };

struct node {
	enum node_kind kind;
	unsigned line, column; /* from 1; 0 when the node was not written in the file */
	const char *
		origin; /* "--set a.b=c" for what tree_set made, which stands in errors as the place; else NULL */
	const char *text; /* scalar: NUL-terminated, no NUL inside */
	bool quoted; /* scalar in quotes or a block scalar: always a string */
	bool null; /* plain scalar that is empty, ~ or null */
	struct node **items; /* list: n items; map: n values */
	struct node **keys; /* map: n keys, scalars */
	size_t n;
};

struct tree {
	struct node *root; /* owned by the tree; NULL for an empty file */
	char *file; /* as the user wrote it; stands in errors */
	void *memory; /* owns every node */
};

#define TREE_FILE_BYTES_MAX (4u << 20)
#define TREE_DEPTH_MAX 32 /* aliases expanded */
#define TREE_NODES_MAX 100000 /* aliases expanded; keys count */
#define TREE_SCALAR_BYTES_MAX (1u << 20)
#define TREE_KEY_BYTES_MAX 1024
#define TREE_ANCHORS_MAX 256
#define TREE_SET_PATH_MAX 12 /* elements of a path given to --set */

/*
 * Errors are FAIL_CONFIG with file, line and column (FAIL_IO if the file could not be read). An empty file gives a tree
 * without root. After a failure the tree is zeroed; tree_release of it is a no-op.
 */
MUST_CHECK bool tree_read(struct tree *tree, const char *path, struct error *err);
MUST_CHECK bool tree_parse(
	struct tree *tree, const char *file, const char *text, size_t len, struct error *err);
void tree_release(struct tree *tree);

/* The value of a key; NULL if there is none, or `map` is NULL or no map. */
const struct node *node_get(const struct node *map, const char *key);
/* The text in single quotes, fit for a message: cut after 60 characters, control characters escaped. Returns `out`. */
#define NODE_QUOTE_BYTES 260
const char *node_quote(const char *text, char out[NODE_QUOTE_BYTES]);
/* Fills err with FAIL_CONFIG and the node's place (NULL: the file's); returns false. */
PRINTF_LIKE(4, 5)
bool node_error(
	struct error *err, const struct tree *tree, const struct node *node, const char *fmt, ...);
/*
 * `--set a.b.c=value`: changes or adds the value at that path (parsed as YAML; lists and maps in flow style). In a list of
 * one-key maps (`stages:`, verifiers) a path element names the key, or the `as:` inside: `generate` finds
 * `stages: - generate: {...}`; a number is an index from 0. The shorthand `generate.x` for `stages.generate.x` is taken when no
 * top-level key has the first name and a stage has it. Errors are FAIL_USAGE placed at "--set a.b.c=value"; nodes made here
 * have that as their origin, so later errors name it too. The tree is unchanged after a failure; where an alias shares a
 * node, only the place that the path names changes.
 */
MUST_CHECK bool tree_set(struct tree *tree, const char *assignment, struct error *err);

#endif
