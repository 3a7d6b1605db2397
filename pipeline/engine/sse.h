/*
 * Server-sent events, read as they come: bytes in, events out, wherever the bytes were split. Lines end with CR, LF or both;
 * comments and fields that nobody needs are skipped; several lines of data make one event, joined by LF. An event that the end
 * of the stream cuts off is none, as the standard has it.
 *
 *	sse_init(&sse, 1 << 20);
 *	while (bytes come)
 *		if (!sse_feed(&sse, bytes, on_event, ctx, &err))
 *			...
 *	sse_release(&sse);
 */
#ifndef PIPELINE_ENGINE_SSE_H
#define PIPELINE_ENGINE_SSE_H

#include "base/error.h"
#include "base/str.h"

struct sse {
	struct str line; /* the beginning of a line whose end has not come */
	struct str data; /* of the event at hand */
	bool has_data;
	bool after_cr; /* an LF belongs to the line that has ended already */
	bool begun; /* past the place where a byte order mark may stand */
};

/* `data` is borrowed and valid in the callback. False ends sse_feed. */
typedef bool sse_event_cb(void *ctx, struct slice data, struct error *err);

void sse_init(struct sse *sse, size_t event_bytes_max);
void sse_release(struct sse *sse);
/* False: the callback said so, or an event is larger than the limit. Nothing may be fed after that. */
MUST_CHECK bool sse_feed(
	struct sse *sse, struct slice bytes, sse_event_cb *event, void *ctx, struct error *err);

#endif
