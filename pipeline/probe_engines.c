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

static void on_ready(void *ctx, struct engine *engine)
{
	struct probe_engines *p = ctx;
	for (size_t i = 0; i < p->def->n_engines; i++) {
		if (p->engines[i] == engine) {
			p->infos[i] = engine_info(engine);
		}
	}
	answered(p);
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

static void open_one(struct probe_engines *p, size_t i, const char *log_dir)
{
	p->engines[i] = engine_new(p->loop, &p->def->engines[i].config, log_dir,
		(struct engine_events){on_ready, on_failed, p});
	p->n_waiting++;
}

static void on_closed(void *ctx UNUSED)
{
}

static const char *copy(struct probe_engines *p, const char *text)
{
	return text ? arena_strdup(&p->arena, text) : NULL;
}

/* What it said of itself outlives it. */
static void keep_info(struct probe_engines *p, size_t i)
{
	struct engine_info *info = arena_alloc(&p->arena, sizeof(*info));
	*info = *p->infos[i];
	info->model = copy(p, info->model);
	info->build = copy(p, info->build);
	info->model_path = copy(p, info->model_path);
	info->server = copy(p, info->server);
	p->infos[i] = info;
}

/* It would not fit beside the one that writes: looked at alone, and stopped. */
static void look_at(struct probe_engines *p, size_t i, const char *log_dir)
{
	open_one(p, i, log_dir);
	engine_start(p->engines[i]);
	loop_run(p->loop);
	if (p->infos[i]) {
		keep_info(p, i);
	}
	engine_close(p->engines[i], on_closed, p);
	p->engines[i] = NULL;
	loop_run(p->loop);
}

static bool must_go(const struct definition *def, size_t i)
{
	const char *writer = definition_writer(def);
	const struct engine_def *e = &def->engines[i];
	return e->used && e->exclusive && definition_has_phases(def) &&
		!(writer && strcmp(writer, e->config.name) == 0);
}

void probe_engines_open(struct probe_engines *p, const struct definition *def, const char *log_dir)
{
	*p = (struct probe_engines){.def = def, .loop = loop_new()};
	p->engines = xcalloc(def->n_engines, sizeof(*p->engines));
	p->errors = xcalloc(def->n_engines, sizeof(*p->errors));
	p->infos = xcalloc(def->n_engines, sizeof(*p->infos));
	for (size_t i = 0; i < def->n_engines; i++) {
		if (must_go(def, i)) {
			look_at(p, i, log_dir);
		}
	}
	for (size_t i = 0; i < def->n_engines; i++) {
		if (def->engines[i].used && !must_go(def, i)) {
			open_one(p, i, log_dir);
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
	free(p->infos);
	arena_release(&p->arena);
	*p = (struct probe_engines){0};
}
