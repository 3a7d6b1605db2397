/* What node.c lends to node_set.c and to nobody else. */
#ifndef PIPELINE_CONFIG_NODE_BUILD_H
#define PIPELINE_CONFIG_NODE_BUILD_H

#include "base/arena.h"
#include "config/node.h"

/*
 * Parses one value, block collections refused. Its nodes live in the tree's memory, have `origin` as their place and begin
 * `depth` levels below the root. Blank text gives a null scalar. The tree itself is not changed.
 */
MUST_CHECK struct node *tree_build_value(
	struct tree *tree, const char *text, unsigned depth, const char *origin, struct error *err);

#endif
