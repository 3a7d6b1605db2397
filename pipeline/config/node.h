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
	unsigned line, column; /* from 1 */
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
#define TREE_DEPTH_MAX 32
#define TREE_NODES_MAX 100000 /* aliases expanded */

/* Errors have file, line and column. An empty file gives a tree without root. */
MUST_CHECK bool tree_read(struct tree *tree, const char *path, struct error *err);
MUST_CHECK bool tree_parse(
	struct tree *tree, const char *file, const char *text, size_t len, struct error *err);
void tree_release(struct tree *tree);

const struct node *node_get(const struct node *map, const char *key);
/* Fills err with FAIL_CONFIG and the node's place; returns false. */
PRINTF_LIKE(4, 5)
bool node_error(
	struct error *err, const struct tree *tree, const struct node *node, const char *fmt, ...);
/*
 * `--set a.b.c=value`: changes or adds the scalar at that path (value parsed as YAML, so lists work). In a list of one-key
 * maps (`stages:`, verifiers) a path element names the key: `generate` finds `stages: - generate: {...}`; a number is an index.
 * The shorthand `generate.x` for `stages.generate.x` is taken when no top-level key has the first name.
 */
MUST_CHECK bool tree_set(struct tree *tree, const char *assignment, struct error *err);

#endif
