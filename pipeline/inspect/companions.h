/* The files beside the shards that go with them into another folder. */
#ifndef PIPELINE_INSPECT_COMPANIONS_H
#define PIPELINE_INSPECT_COMPANIONS_H

#include "shard/mds_read.h"

/*
 * Copies vocab.zst and manifest.yaml from where the shards of `from` are into `to`. In a merged folder each part has its own:
 * the vocabularies become one, if they agree (else there is none, and a line on stderr), the manifests manifest.000.yaml and
 * so on.
 */
MUST_CHECK bool companions_copy(
	const char *to, const char *from, const struct mds_reader *r, struct error *err);

#endif
