/*
 * What a server says of its own state: how many requests it works on, how many wait, how full its KV cache is. Read from GET
 * /metrics in the text format of Prometheus (llama.cpp, vLLM, SGLang), or from llama.cpp's GET /slots. Answers are hostile: sizes
 * are limited, numbers must be finite and not negative, what is not understood is skipped.
 */
#ifndef PIPELINE_ENGINE_GAUGES_H
#define PIPELINE_ENGINE_GAUGES_H

#include "base/error.h"
#include "base/json.h"
#include "base/str.h"

#include <stdint.h>

#define GAUGES_BYTES_MAX (4u << 20) /* of an answer; vLLM's has some 100 KiB */
#define GAUGES_REQUESTS_MAX (1u << 20) /* of which one server may claim to have that many */

struct gauges {
	uint32_t running, waiting; /* of all clients */
	double cache; /* share of the KV cache in use, 0 to 1; below 0: not told */
};

/* FAIL_DATA if `text` tells no number of running requests. Series of several engines behind one server are added up. */
MUST_CHECK bool gauges_read_metrics(struct slice text, struct gauges *out, struct error *err);
/* The answer of /slots. `waiting` is 0: it is not told. */
MUST_CHECK bool gauges_read_slots(const struct json *body, struct gauges *out, struct error *err);

#endif
