#include "probe_engines.h"

#include "base/mem.h"
#include "definition.h"
#include "engine/engine.h"
#include "engine/loop.h"

#include <stdlib.h>
#include <string.h>

static void answered(struct probe_engines *p)
{
	if (--p->n_waiting == 0) {
		loop_stop(p->loop);
	}
}

static void on_ready(void *ctx, struct engine *engine UNUSED)
{
	answered(ctx);
}

static void on_failed(void *ctx, struct engine *engine, const struct error *err)
{
	struct probe_engines *p = ctx;
	for (size_t i = 0; i < p->def->n_engines; i++) {
		if (p->engines[i] == engine) {
			p->errors[i] = *err;
		}
	}
	answered(p);
}

void probe_engines_open(struct probe_engines *p, const struct definition *def, const char *log_dir)
{
	*p = (struct probe_engines){.def = def, .loop = loop_new()};
	p->engines = xcalloc(def->n_engines, sizeof(*p->engines));
	p->errors = xcalloc(def->n_engines, sizeof(*p->errors));
	for (size_t i = 0; i < def->n_engines; i++) {
		if (def->engines[i].used) {
			p->engines[i] = engine_new(p->loop, &def->engines[i].config, log_dir,
				(struct engine_events){on_ready, on_failed, p});
			p->n_waiting++;
		}
	}
	for (size_t i = 0; i < def->n_engines; i++) {
		if (p->engines[i]) {
			engine_start(p->engines[i]);
		}
	}
	if (p->n_waiting) {
		loop_run(p->loop);
	}
}

static void on_closed(void *ctx UNUSED)
{
}

void probe_engines_close(struct probe_engines *p)
{
	for (size_t i = 0; i < p->def->n_engines; i++) {
		if (p->engines[i]) {
			engine_close(p->engines[i], on_closed, p);
		}
	}
	loop_run(p->loop);
	loop_free(p->loop);
	free(p->engines);
	free(p->errors);
	*p = (struct probe_engines){0};
}
