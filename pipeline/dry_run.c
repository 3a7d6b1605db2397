/*
 * Runs the batch stages that stand before the flow (the draw) in a temporary folder, then renders the first prompts and has
 * the producing stage's engine tokenize them.
 */
#include "dry_run.h"

#include "base/mem.h"
#include "definition.h"
#include "engine/engine.h"
#include "engine/loop.h"
#include "ledger/ledger.h"
#include "probe_engines.h"
#include "run.h"
#include "stage.h"
#include "template.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHOWN 3

struct counting {
	struct loop *loop;
	size_t n;
	bool ok;
};

static void on_prompt(void *ctx, const struct engine_prompt *prompt)
{
	struct counting *c = ctx;
	c->ok = prompt->reason == ENGINE_OK;
	c->n = prompt->n;
	loop_stop(c->loop);
}

static bool show_prompt(struct run *run, const struct template *t, struct probe_engines *probe,
	struct engine *engine, int64_t id, struct error *err)
{
	struct arena arena = {0};
	struct ledger_prompt p;
	struct json *fields = NULL;
	struct engine_message *messages;
	size_t n;
	enum ledger_found found = ledger_get_prompt(run->ledger, id, &arena, &p, err);
	bool ok = found == LEDGER_FOUND &&
		(fields = json_parse(p.fields.data, p.fields.len, err)) &&
		template_render_row(t, fields, &arena, &messages, &n, err);
	if (ok) {
		struct counting c = {probe->loop, 0, false};
		if (engine && engine_info(engine)->has_ids) {
			engine_tokenize(engine, messages, n, SPECIAL_TEXT, on_prompt, &c);
			loop_run(probe->loop);
		}
		printf("\n--- prompt %" PRId64 " of source %s, line %" PRIu64 "%s", id, p.source,
			p.row_no, c.ok ? "" : "\n");
		if (c.ok) {
			printf(", %zu tokens\n", c.n);
		}
		for (size_t i = 0; i < n; i++) {
			printf("[%s]\n%.*s\n", messages[i].role, (int)messages[i].content.len,
				messages[i].content.data);
		}
	}
	json_free(fields);
	arena_release(&arena);
	return ok || found == LEDGER_END;
}

static void show_plan(const struct definition *def)
{
	printf("pipeline %s\n", def->name);
	for (size_t i = 0; i < def->n_stages; i++) {
		printf("  stage %-10s %s\n", def->stages[i].ops->name, def->stages[i].ops->summary);
	}
	for (size_t i = 0; i < def->n_verifiers; i++) {
		const struct verifier_def *v = &def->verifiers[i];
		printf("  verifier %s%s%s\n", v->name, v->when ? ", when " : "",
			v->when ? v->when : "");
	}
	printf("  accept %s\n", def->accept ? def->accept : "everything");
}

bool dry_draw(struct run *run, struct error *err)
{
	for (size_t i = 0; i < run->def->n_stages && run->def->stages[i].ops->run; i++) {
		const struct stage_ops *ops = run->def->stages[i].ops;
		void *state = xcalloc(1, MAX(ops->state_size, 1));
		bool ok = (!ops->open || ops->open(state, run->def->stages[i].config, run, err)) &&
			ops->run(state, run, err);
		if (ops->close) {
			ops->close(state);
		}
		free(state);
		if (!ok) {
			return error_context(err, "stage '%s'", ops->name);
		}
	}
	return true;
}

bool dry_run(struct run *run, struct error *err)
{
	show_plan(run->def);
	fflush(stdout);
	if (!dry_draw(run, err)) {
		return false;
	}
	struct arena arena = {0};
	struct ledger_source *sources;
	size_t n;
	if (!ledger_sources(run->ledger, &arena, &sources, &n, err)) {
		return false;
	}
	printf("  prompts %" PRId64 "\n", ledger_count_prompts(run->ledger));
	for (size_t i = 0; i < n; i++) {
		printf("    %s %" PRId64 "\n", sources[i].source, sources[i].n_prompts);
	}
	arena_release(&arena);
	const char *path = definition_template(run->def),
		   *engine_name_wanted = definition_writer(run->def);
	struct template *t = path ? template_read(path, err) : NULL;
	if (!t) {
		return !path;
	}
	struct probe_engines probe;
	struct engine *engine = NULL;
	probe_engines_open(&probe, run->def, run->dir);
	for (size_t i = 0; engine_name_wanted && i < run->def->n_engines; i++) {
		if (strcmp(run->def->engines[i].config.name, engine_name_wanted) == 0 &&
			!probe.errors[i].msg[0]) {
			engine = probe.engines[i];
		} else if (probe.errors[i].msg[0]) {
			fprintf(stderr, "thresh: no token counts: %s\n", probe.errors[i].msg);
		}
	}
	bool ok = true;
	for (int64_t id = 1; ok && id <= SHOWN; id++) {
		ok = show_prompt(run, t, &probe, engine, id, err);
	}
	probe_engines_close(&probe);
	template_free(t);
	return ok;
}
