/*
 * YAML of any kind: tree_parse refuses it with a place, or gives a tree within its limits. Of what it accepts, the last line
 * is then given to tree_set, so that settings are tried on strange trees, too, and what comes out must keep the limits.
 */
#include "base/arena.h"
#include "base/mem.h"
#include "config/node.h"

#include <assert.h>
#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t check_node(const struct node *node, unsigned depth)
{
	size_t n = 1;

	assert(depth <= TREE_DEPTH_MAX);
	assert(node->origin ? !node->line && !node->column : node->line && node->column);
	if (node->kind == NODE_SCALAR) {
		assert(strlen(node->text) <= TREE_SCALAR_BYTES_MAX);
		assert(!(node->null && node->quoted));
		return n;
	}
	for (size_t i = 0; i < node->n; i++) {
		n += check_node(node->items[i], depth + 1);
		if (node->kind == NODE_MAP) {
			n += check_node(node->keys[i], depth + 1);
		}
	}
	/* The first key of a map finds its own value: keys are unique. */
	assert(node->kind != NODE_MAP || !node->n ||
		node_get(node, node->keys[0]->text) == node->items[0]);
	return n;
}

static void check_set(struct tree *tree, const uint8_t *data, size_t size)
{
	const uint8_t *newline = size ? memrchr(data, '\n', size - 1) : NULL;
	const uint8_t *line = newline ? newline + 1 : data;
	AUTO_FREE char *assignment = xmemdup0(line, (size_t)(data + size - line));
	struct node *root = tree->root;
	struct error err = {0};

	if (tree_set(tree, assignment, &err)) {
		check_node(tree->root, 1);
	} else {
		assert(tree->root == root);
		assert(err.kind == FAIL_USAGE);
		assert(strncmp(err.where, "--set ", 6) == 0 || !strchr(assignment, '='));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct error err = {0};
	struct tree tree;

	if (!tree_parse(&tree, "fuzz", (const char *)data, size, &err)) {
		assert(err.kind == FAIL_CONFIG && strncmp(err.where, "fuzz", 4) == 0);
		assert(!tree.root && !tree.memory && !tree.file);
		return 0;
	}
	if (tree.root) {
		assert(check_node(tree.root, 1) <= TREE_NODES_MAX);
	}
	check_set(&tree, data, size);
	tree_release(&tree);
	tree_release(&tree);
	return 0;
}
