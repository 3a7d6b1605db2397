/* What a server tells of its state: /metrics, or /slots if it is JSON. */
#include "engine/gauges.h"

#include <assert.h>
#include <stddef.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice text = {(const char *)data, size};
	struct gauges gauges;
	struct error err = {0};

	if (gauges_read_metrics(text, &gauges, &err))
		assert(gauges.running <= GAUGES_REQUESTS_MAX && gauges.cache <= 1);
	AUTO_JSON struct json *body = json_parse(text.data, text.len, &err);
	if (body != NULL && gauges_read_slots(body, &gauges, &err))
		assert(gauges.running <= GAUGES_REQUESTS_MAX && gauges.waiting == 0);
	return 0;
}
