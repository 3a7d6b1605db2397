/*
 * Reading goes in three steps, each adding every mistake it finds: the YAML tree (with --set applied), the tables (top
 * level, engines, stages), then what spans them: names that refer to engines, SQL against the columns, templates against the
 * fields. A step that cannot work on what is left (no tree at all) ends the reading.
 */
#include "definition.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"
#include "columns.h"
#include "deadline.h"
#include "gate.h"
#include "ledger/wide.h"
#include "power.h"
#include "registry.h"
#include "template.h"
#include "verifier.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct engine_written {
	struct {
		char *model, *binary;
		uint32_t parallel, context, threads, port, restarts;
		struct param_strings args;
		uint64_t start_timeout;
	} serve;
	struct param_strings url;
	char *model, *api_key_env, *ca_file, *proxy, *tokenizer;
	uint32_t dialect, concurrency, retries;
	bool hedge;
	bool exclusive;
	struct param_map headers;
	uint64_t connect_timeout, request_timeout, down_timeout, hang_timeout, max_response;
};

static const struct param serve_params[] = {
	PARAM_PATH("model", struct engine_written, serve.model, .must_exist = true,
		.help = "GGUF file; llama-server is started for it"),
	PARAM_U32("parallel", struct engine_written, serve.parallel, .def = "16", .min = 1,
		.max = 1024, .no_fingerprint = true,
		.help = "slots: candidates decoded at the same time"),
	PARAM_U32("context", struct engine_written, serve.context, .def = "2048", .min = 64,
		.max = 4194304, .help = "tokens that one candidate may have, prompt included"),
	PARAM_U32("threads", struct engine_written, serve.threads, .def = "0", .min = 0,
		.max = 4096, .no_fingerprint = true,
		.help = "threads of the server; 0: one per core"),
	PARAM_U32("port", struct engine_written, serve.port, .def = "0", .min = 0, .max = 65535,
		.no_fingerprint = true, .help = "port on 127.0.0.1; 0: a free one"),
	PARAM_STR("binary", struct engine_written, serve.binary, .no_fingerprint = true,
		.help = "llama-server to run; else THRESH_LLAMA_SERVER, PATH, .thresh/bin"),
	PARAM_STRINGS("args", struct engine_written, serve.args,
		.help = "further arguments for llama-server"),
	PARAM_U32("restarts", struct engine_written, serve.restarts, .def = "3", .min = 0,
		.max = 1000, .no_fingerprint = true,
		.help = "how often a server that died is started again"),
	PARAM_DURATION("start_timeout", struct engine_written, serve.start_timeout, .def = "5m",
		.min = 1000, .max = 86400000, .no_fingerprint = true,
		.help = "how long loading the model may take"),
	{0},
};

static const char *const dialect_names[] = {"auto", "llama.cpp", "vllm", "sglang", "openai", NULL};

const struct param engine_params[] = {
	PARAM_GROUP("serve", .table = serve_params, .help = "start and watch a llama-server"),
	PARAM_BOOL("exclusive", struct engine_written, exclusive, .def = "false",
		.no_fingerprint = true,
		.help = "never in memory together with another exclusive engine: the night goes in "
			"phases, one of them at a time"),
	PARAM_STRINGS("url", struct engine_written, url, .no_fingerprint = true,
		.help = "one or more running servers"),
	PARAM_STR("model", struct engine_written, model,
		.help = "model name to ask for; default: the one the server has"),
	PARAM_ENUM("dialect", struct engine_written, dialect, .def = "auto", .names = dialect_names,
		.no_fingerprint = true, .help = "API that the servers speak; auto: asked at start"),
	PARAM_STR("api_key_env", struct engine_written, api_key_env, .no_fingerprint = true,
		.help = "environment variable that holds the API key"),
	PARAM_MAP("headers", struct engine_written, headers, .no_fingerprint = true,
		.help = "further HTTP headers"),
	PARAM_PATH("ca_file", struct engine_written, ca_file, .must_exist = true,
		.no_fingerprint = true, .help = "CA certificates for https"),
	PARAM_STR("proxy", struct engine_written, proxy, .no_fingerprint = true,
		.help = "proxy; default: as curl's environment variables say"),
	PARAM_REF("tokenizer", struct engine_written, tokenizer, .ref = "engine",
		.help = "engine that makes token ids for one whose servers return none"),
	PARAM_U32("concurrency", struct engine_written, concurrency, .def = "0", .min = 0,
		.max = 65536, .no_fingerprint = true,
		.help = "candidates in flight per server; 0: as many as its slots or gauges show "
			"it can "
			"work on"),
	PARAM_BOOL("hedge", struct engine_written, hedge, .def = "false", .no_fingerprint = true,
		.help = "at the end, send an answer that a slow server is late with to a free "
			"faster "
			"one, too"),
	PARAM_U32("retries", struct engine_written, retries, .def = "4", .min = 0, .max = 100,
		.no_fingerprint = true,
		.help = "attempts after the first, for answers that may get better"),
	PARAM_DURATION("connect_timeout", struct engine_written, connect_timeout, .def = "10s",
		.min = 1, .max = 86400000, .no_fingerprint = true,
		.help = "time to reach a server"),
	PARAM_DURATION("request_timeout", struct engine_written, request_timeout, .def = "1h",
		.min = 1, .max = 86400000, .no_fingerprint = true,
		.help = "time for one answer; slow is no failure, so be generous"),
	PARAM_DURATION("down_timeout", struct engine_written, down_timeout, .def = "10m", .min = 0,
		.max = 86400000, .no_fingerprint = true,
		.help = "how long to wait for a server that cannot be reached, before the run "
			"stops, resumable"),
	PARAM_DURATION("hang_timeout", struct engine_written, hang_timeout, .def = "30s", .min = 0,
		.max = 86400000, .no_fingerprint = true,
		.help = "silence, health path included, after which a server with requests in "
			"flight "
			"is given up; 0: never"),
	PARAM_SIZE("max_response", struct engine_written, max_response, .def = "64MiB", .min = 1024,
		.max = 1 << 30, .no_fingerprint = true,
		.help = "larger answers are refused unread"),
	{0},
};

static const char *const disk_names[] = {"refuse", "warn", NULL}; /* enum room_policy */

static const struct param budget_params[] = {
	PARAM_STR("deadline", struct definition, budget.deadline,
		.help = "when the night must be over, shards included: a local time \"06:00\" or "
			"\"2026-11-25 06:00\", or a time from its beginning on, 8h"),
	PARAM_DURATION("drain", struct definition, budget.drain_ms, .def = "10s", .min = 0,
		.max = 86400000,
		.help = "how long candidates under way may take after Ctrl-C or SIGTERM; and what "
			"one is taken to last before the deadline until some have been seen"),
	PARAM_COUNT("tokens", struct definition, budget.tokens, .def = "0",
		.help = "generated tokens after which no candidate is begun; 0: no limit"),
	PARAM_DOUBLE("energy", struct definition, budget.energy_wh, .def = "0", .min = 0,
		.max = 1e12,
		.help = "watt-hours of this machine after which no candidate is begun, measured "
			"by RAPL and nvidia-smi; 0: no limit"),
	PARAM_ENUM("disk", struct definition, budget.disk, .def = "refuse", .names = disk_names,
		.help = "what becomes of a run that the workdir's file system is not expected to "
			"hold, by what the last one took"),
	PARAM_DOUBLE("watts", struct definition, budget.watts, .def = "0", .min = 0, .max = 1e9,
		.help = "what the machine takes, for `energy` where it cannot be measured"),
	{0},
};

static const struct param hook_params[] = {
	PARAM_STR("on_success", struct definition, hooks.on_success,
		.help = "shell command after a run that ended with exit code 0 or 3"),
	PARAM_STR("on_failure", struct definition, hooks.on_failure,
		.help = "shell command after one that ended with 1, 2 or 4"),
	PARAM_STR("after", struct definition, hooks.after,
		.help = "shell command after any, behind the others"),
	PARAM_DURATION("timeout", struct definition, hooks.timeout_ms, .def = "10m", .min = 1,
		.max = 86400000, .help = "how long each may take before it is stopped"),
	{0},
};

static const struct param ledger_params[] = {
	PARAM_DURATION("commit_every", struct definition, ledger.commit_ms, .def = "64ms", .min = 1,
		.max = 60000,
		.help = "longest time that a result waits for its commit; where commits are "
			"fast, less"),
	PARAM_U32("commit_rows", struct definition, ledger.commit_rows, .def = "4096", .min = 1,
		.max = 100000, .help = "rows of one commit"),
	{0},
};

const struct param definition_params[] = {
	PARAM_STR("name", struct definition, name, .required = true, .min = 1, .max = 128,
		.help = "of the pipeline; a ledger belongs to one"),
	PARAM_U64("seed", struct definition, seed, .def = "0",
		.help = "everything random follows from it"),
	PARAM_STR("workdir", struct definition, workdir, .required = true, .min = 1, .max = 2048,
		.help = "folder of runs, shards and history"),
	PARAM_NODE("engines", struct definition, engines_node,
		.help = "name: engine, see `thresh engines`"),
	PARAM_NODE("stages", struct definition, stages_node, .required = true,
		.help = "list of stages, see `thresh stages`"),
	PARAM_SQL("accept", struct definition, accept, .ref = "candidate",
		.help = "SQL over one candidate: what is accepted"),
	PARAM_STR("audit", struct definition, audit,
		.help = "share of the candidates, such as 2%, that every verifier is asked about "
			"whatever its `when` says; it changes no decision"),
	PARAM_STR("label", struct definition, label,
		.help = "field or verifier that says what is right (0 or 1): verifiers are "
			"measured against it"),
	PARAM_STRINGS("gate", struct definition, gate, .max = 100,
		.help = "SQL conditions over the night's figures, see docs/history.md: where one "
			"does not hold, nothing is published and the exit code is 4"),
	PARAM_GROUP("budget", .table = budget_params, .help = "when to stop"),
	PARAM_GROUP("hooks", .table = hook_params,
		.help = "what to start when a run has ended, see docs/runbook.md"),
	PARAM_STR("metrics", struct definition, metrics, .min = 1, .max = 2048,
		.help = "file for Prometheus' textfile collector, rewritten as the run goes on: a "
			"path that ends in .prom"),
	PARAM_GROUP("ledger", .table = ledger_params, .help = "how results are committed"),
	{0},
};

/* --- lookups --- */

const struct engine_def *definition_engine(const struct definition *def, const char *name)
{
	for (size_t i = 0; i < def->n_engines; i++) {
		if (strcmp(def->engines[i].config.name, name) == 0) {
			return &def->engines[i];
		}
	}
	return NULL;
}

const struct stage_def *definition_stage(const struct definition *def, const char *name)
{
	for (size_t i = 0; i < def->n_stages; i++) {
		if (strcmp(def->stages[i].ops->name, name) == 0) {
			return &def->stages[i];
		}
	}
	return NULL;
}

const struct verifier_def *definition_verifier(const struct definition *def, const char *name)
{
	for (size_t i = 0; i < def->n_verifiers; i++) {
		if (strcmp(def->verifiers[i].name, name) == 0) {
			return &def->verifiers[i];
		}
	}
	return NULL;
}

const char *definition_engine_named(const struct param *table, const void *config)
{
	for (const struct param *row = table; row && row->name; row++) {
		if (row->type == PARAM_TYPE_REF && strcmp(row->ref, "engine") == 0) {
			return *(char *const *)((const char *)config + row->offset);
		}
	}
	return NULL;
}

bool definition_has_phases(const struct definition *def)
{
	size_t n = 0;
	for (size_t i = 0; i < def->n_engines; i++) {
		n += def->engines[i].used && def->engines[i].exclusive;
	}
	return n > 1;
}

bool verifier_is_of_group(const struct verifier_def *v)
{
	return v->ops->score_group != NULL;
}

bool definition_has_field(const struct definition *def, const char *name)
{
	for (size_t i = 0; i < def->n_fields; i++) {
		if (strcmp(def->fields[i], name) == 0) {
			return true;
		}
	}
	return false;
}

void definition_add_field(struct definition *def, const char *name)
{
	if (!definition_has_field(def, name)) {
		def->fields = array_room(
			def->fields, def->n_fields, &def->cap_fields, sizeof(*def->fields));
		def->fields[def->n_fields++] = xstrdup(name);
	}
}

struct verifier_def *definition_add_verifier(struct definition *def)
{
	def->verifiers = xreallocarray(
		def->verifiers, def->n_verifiers + 1, sizeof(*def->verifiers));
	struct verifier_def *v = &def->verifiers[def->n_verifiers++];
	*v = (struct verifier_def){0};
	return v;
}

/* --- engines --- */

static void convert_engine(struct engine_def *e, const char *name, struct engine_written *w)
{
	e->written = w;
	e->tokenizer = w->tokenizer;
	e->exclusive = w->exclusive;
	e->config = (struct engine_config){
		.name = name,
		.serve = {w->serve.model, w->serve.parallel, w->serve.context, w->serve.threads,
			w->serve.port, w->serve.binary, w->serve.args.items, w->serve.args.n,
			w->serve.restarts, w->serve.start_timeout},
		.urls = w->url.items,
		.n_urls = w->url.n,
		.model = w->model,
		.dialect = (char *)(uintptr_t)dialect_names[w->dialect],
		.api_key_env = w->api_key_env,
		.header_names = w->headers.keys,
		.header_values = w->headers.values,
		.n_headers = w->headers.n,
		.ca_file = w->ca_file,
		.proxy = w->proxy,
		.concurrency = w->concurrency,
		.hedge = w->hedge,
		.retries = w->retries,
		.connect_timeout_ms = w->connect_timeout,
		.request_timeout_ms = w->request_timeout,
		.down_timeout_ms = w->down_timeout,
		.hang_timeout_ms = w->hang_timeout,
		.response_bytes_max = w->max_response,
	};
}

static void check_engine(
	const struct definition *def, const struct engine_def *e, struct error_list *errors)
{
	struct error err = {0};
	bool serves = node_get(e->node, "serve") != NULL;
	if (serves && e->config.n_urls) {
		node_error(&err, &def->tree, e->node, "engine '%s' has both `serve` and `url`",
			e->config.name);
		error_hint(&err, "`serve` starts a server, `url` names running ones: keep one");
		error_list_add(errors, &err);
	} else if (serves && !e->config.serve.model) {
		node_error(&err, &def->tree, node_get(e->node, "serve"),
			"engine '%s': `serve` needs `model`, a GGUF file", e->config.name);
		error_list_add(errors, &err);
	} else if (!serves && !e->config.n_urls) {
		node_error(&err, &def->tree, e->node, "engine '%s' has neither `serve` nor `url`",
			e->config.name);
		error_hint(&err,
			"serve: {model: FILE.gguf} starts llama-server; url: http://HOST:PORT uses "
			"a running server");
		error_list_add(errors, &err);
	}
	if (e->exclusive && !serves) {
		node_error(&err, &def->tree, node_get(e->node, "exclusive"),
			"engine '%s' is exclusive, but thresh does not serve it and cannot stop it",
			e->config.name);
		error_hint(&err,
			"leave `exclusive` away, or start it with `serve: {model: "
			"FILE.gguf}`");
		error_list_add(errors, &err);
	}
	for (size_t i = 0; i < e->config.n_urls; i++) {
		if (strncmp(e->config.urls[i], "http://", 7) != 0 &&
			strncmp(e->config.urls[i], "https://", 8) != 0) {
			node_error(&err, &def->tree, node_get(e->node, "url"),
				"engine '%s': url '%s' has no scheme", e->config.name,
				e->config.urls[i]);
			error_hint(&err, "write http://%s", e->config.urls[i]);
			error_list_add(errors, &err);
		}
	}
}

static void read_engines(struct definition *def, struct error_list *errors)
{
	const struct node *map = def->engines_node;
	struct error err = {0};
	if (!map) {
		return;
	}
	if (map->kind != NODE_MAP) {
		node_error(&err, &def->tree, map, "`engines` must be a map of names to engines");
		error_list_add(errors, &err);
		return;
	}
	def->engines = xcalloc(map->n, sizeof(*def->engines));
	for (size_t i = 0; i < map->n; i++) {
		struct engine_def *e = &def->engines[def->n_engines++];
		AUTO_FREE char *what = xasprintf("engine '%s'", map->keys[i]->text);
		struct engine_written *w = xcalloc(1, sizeof(*w));
		size_t before = errors->n;
		e->node = map->items[i];
		param_read(engine_params, &def->tree, e->node, map->keys[i], what, w, errors);
		convert_engine(e, map->keys[i]->text, w);
		if (errors->n == before) {
			check_engine(def, e, errors);
		}
	}
}

/* --- stages --- */

static size_t place_in_table(const struct stage_ops *ops)
{
	size_t i = 0;
	while (registry_stages()[i] != ops) {
		i++;
	}
	return i;
}

/* Refuses a second stage of a name and a wrong order; the table's order is the order in which results can depend on each other. */
static bool check_order(const struct definition *def, const struct stage_ops *ops,
	const struct node *key, struct error *err)
{
	for (size_t i = 0; i < def->n_stages; i++) {
		const struct stage_ops *other = def->stages[i].ops;
		if (other == ops) {
			return node_error(
				err, &def->tree, key, "two stages of the name '%s'", ops->name);
		}
		if (place_in_table(other) > place_in_table(ops)) {
			return node_error(err, &def->tree, key,
				"stage '%s' must come before stage '%s'", ops->name, other->name);
		}
	}
	return true;
}

static const struct stage_ops *find_stage(
	const struct definition *def, const struct node *item, struct error *err)
{
	if (item->kind != NODE_MAP || item->n != 1) {
		node_error(err, &def->tree, item,
			"a stage must be one name and its parameters, like `- sample: {...}`");
		return NULL;
	}
	const struct stage_ops *ops = registry_stage(item->keys[0]->text);
	if (!ops) {
		size_t n;
		const char *const *names = registry_stage_names(&n);
		const char *nearest = text_nearest(item->keys[0]->text, names, n);
		node_error(
			err, &def->tree, item->keys[0], "unknown stage '%s'", item->keys[0]->text);
		if (nearest) {
			error_hint(err, "did you mean '%s'?", nearest);
		} else {
			error_hint(err, "`thresh stages` lists them");
		}
	}
	return ops;
}

static void read_stages(struct definition *def, struct error_list *errors)
{
	const struct node *list = def->stages_node;
	struct error err = {0};
	if (!list) {
		return;
	}
	if (list->kind != NODE_LIST || !list->n) {
		node_error(&err, &def->tree, list, "`stages` must be a list of stages");
		error_list_add(errors, &err);
		return;
	}
	def->stages = xcalloc(list->n, sizeof(*def->stages));
	for (size_t i = 0; i < list->n; i++) {
		const struct stage_ops *ops = find_stage(def, list->items[i], &err);
		if (!ops || !check_order(def, ops, list->items[i]->keys[0], &err)) {
			error_list_add(errors, &err);
			continue;
		}
		struct stage_def *s = &def->stages[def->n_stages++];
		*s = (struct stage_def){
			ops, xcalloc(1, ops->config_size), list->items[i]->items[0]};
		if (ops->params) {
			AUTO_FREE char *what = xasprintf("stage '%s'", ops->name);
			param_read(ops->params, &def->tree, s->node, list->items[i]->keys[0], what,
				s->config, errors);
		} else {
			ops->read_config(
				s->config, &(struct stage_check){def, &def->tree, s->node, errors});
		}
	}
}

/* --- what spans the tables --- */

static void unknown_engine(const struct definition *def, const struct node *node, const char *what,
	const char *name, struct error *err)
{
	const char **names = xcalloc(def->n_engines, sizeof(*names));
	for (size_t i = 0; i < def->n_engines; i++) {
		names[i] = def->engines[i].config.name;
	}
	const char *nearest = text_nearest(name, names, def->n_engines);
	node_error(err, &def->tree, node, "%s: there is no engine '%s'", what, name);
	if (nearest) {
		error_hint(err, "did you mean '%s'?", nearest);
	} else {
		error_hint(err, "define it below `engines:`");
	}
	free(names);
}

/* With the columns of the group it would have been right. */
static void explain_group_column(const char *sql, const struct columns *columns, struct error *err)
{
	struct error ignored = {0};
	struct expr *e = expr_new(sql, columns->list, columns->n, &ignored);
	for (size_t i = columns->n_of_candidate; e && i < columns->n; i++) {
		if (expr_reads(e, i)) {
			error_set(err, FAIL_CONFIG,
				"'%s' is not known of a candidate alone, but once its prompt has "
				"all its candidates",
				columns->list[i].name);
			error_hint(err, "use it in select: order_by and where see it");
			break;
		}
	}
	expr_free(e);
}

static bool check_sql(
	const struct definition *def, const struct param *row, const char *sql, struct error *err)
{
	struct columns columns;
	columns_init(&columns, def);
	bool of_candidate = strcmp(row->ref, "candidate") == 0;
	size_t n = of_candidate ? columns.n_of_candidate : columns.n;
	if (!of_candidate) {
		columns.list = xreallocarray(
			columns.list, n + WIDE_N_GROUP_COLUMNS, sizeof(*columns.list));
		memcpy(columns.list + n, wide_group_columns, sizeof(wide_group_columns));
		n += WIDE_N_GROUP_COLUMNS;
	}
	bool ok;
	if (strcmp(row->ref, "order") == 0) {
		ok = expr_check_order(sql, columns.list, n, err);
	} else {
		struct expr *e = expr_new(sql, columns.list, n, err);
		ok = e != NULL;
		expr_free(e);
		if (!ok && of_candidate) {
			explain_group_column(sql, &columns, err);
		}
	}
	columns_release(&columns);
	return ok;
}

static bool check_template(const struct definition *def, const char *path, const struct node *node,
	const char *what, struct error *err)
{
	struct template *t = template_read(path, err);
	if (!t) {
		return false;
	}
	bool ok = true;
	for (size_t i = 0; ok && !def->fields_open && i < template_n_fields(t); i++) {
		const char *field = template_field(t, i);
		/* `candidate` is what verifiers' templates judge, `rationale` what a judge wrote of it before. */
		if (!definition_has_field(def, field) && strcmp(field, "candidate") != 0 &&
			strcmp(field, "rationale") != 0) {
			ok = node_error(err, &def->tree, node,
				"%s: template '%s' uses {{%s}}, which the prompts do not have",
				what, path, field);
			const char *nearest = text_nearest(
				field, (const char *const *)def->fields, def->n_fields);
			if (nearest) {
				error_hint(err, "did you mean {{%s}}?", nearest);
			}
		}
	}
	template_free(t);
	return ok;
}

static bool check_ref(struct definition *def, const struct param *row, const char *value,
	const struct node *node, const char *what, struct error *err)
{
	if (row->type == PARAM_TYPE_REF && strcmp(row->ref, "engine") == 0) {
		struct engine_def *e = (struct engine_def *)(uintptr_t)definition_engine(
			def, value);
		if (!e) {
			unknown_engine(def, node, what, value, err);
			return false;
		}
		e->used = true;
	}
	if (row->type == PARAM_TYPE_REF && strcmp(row->ref, "field") == 0 && !def->fields_open &&
		!definition_has_field(def, value)) {
		node_error(
			err, &def->tree, node, "%s: the prompts have no field '%s'", what, value);
		const char *nearest = text_nearest(
			value, (const char *const *)def->fields, def->n_fields);
		return nearest ? error_hint(err, "did you mean '%s'?", nearest) : false;
	}
	if (row->type == PARAM_TYPE_REF && strcmp(row->ref, "verifier") == 0) {
		const struct verifier_def *v = definition_verifier(def, value);
		if (!v || verifier_is_of_group(v)) {
			node_error(err, &def->tree, node, "%s: there is no verifier '%s'%s", what,
				value, v ? " that scores single candidates" : "");
			return error_hint(
				err, "name a verifier of this stage, as its column is named");
		}
	}
	if (row->type == PARAM_TYPE_SQL && !check_sql(def, row, value, err)) {
		error_context(err, "%s: %s", what, row->name);
		return error_place(err, def->tree.file, node->line, node->column);
	}
	if (row->type == PARAM_TYPE_PATH && row->ref && strcmp(row->ref, "template") == 0 &&
		file_exists(value)) {
		return check_template(def, value, node, what, err);
	}
	return true;
}

void definition_check_refs(struct definition *def, const struct param *table, const void *config,
	const struct node *node, const char *what, struct error_list *errors)
{
	struct error err = {0};
	for (const struct param *row = table; node && row->name; row++) {
		const struct node *at = node_get(node, row->name);
		const void *value = (const char *)config + row->offset;
		if (!at) {
			continue;
		}
		if (row->type == PARAM_TYPE_STRUCT) {
			definition_check_refs(def, row->table, value, at, what, errors);
		} else if (row->type == PARAM_TYPE_REF || row->type == PARAM_TYPE_SQL ||
			row->type == PARAM_TYPE_PATH) {
			const char *text = *(char *const *)value;
			if (text && !check_ref(def, row, text, at, what, &err)) {
				error_list_add(errors, &err);
			}
		}
	}
}

static void check_all(struct definition *def, struct error_list *errors)
{
	for (size_t i = 0; i < def->n_stages; i++) {
		const struct stage_def *s = &def->stages[i];
		if (s->ops->check) {
			s->ops->check(
				s->config, &(struct stage_check){def, &def->tree, s->node, errors});
		}
	}
	/* After all checks, as those of the first stages say which fields the prompts have. */
	for (size_t i = 0; i < def->n_stages; i++) {
		const struct stage_def *s = &def->stages[i];
		AUTO_FREE char *what = xasprintf("stage '%s'", s->ops->name);
		if (s->ops->params) {
			definition_check_refs(
				def, s->ops->params, s->config, s->node, what, errors);
		}
	}
	for (size_t i = 0; i < def->n_verifiers; i++) {
		const struct verifier_def *v = &def->verifiers[i];
		AUTO_FREE char *what = xasprintf("verifier '%s'", v->name);
		static const struct param when = {
			.name = "when", .type = PARAM_TYPE_SQL, .ref = "candidate"};
		struct error err = {0};
		definition_check_refs(def, v->ops->params, v->config, v->node, what, errors);
		if (v->when &&
			!check_ref(def, &when, v->when, node_get(v->node, "when"), what, &err)) {
			error_list_add(errors, &err);
		}
	}
	for (size_t i = 0; i < def->n_engines; i++) {
		AUTO_FREE char *what = xasprintf("engine '%s'", def->engines[i].config.name);
		definition_check_refs(def, engine_params, def->engines[i].written,
			def->engines[i].node, what, errors);
	}
	definition_check_refs(def, definition_params, def, def->tree.root, "the pipeline", errors);
}

/* What writes and what makes its ids are needed at the same time. */
static void check_phases(struct definition *def, struct error_list *errors)
{
	for (size_t i = 0; i < def->n_engines; i++) {
		const struct engine_def *e = &def->engines[i],
					*tokenizer = e->tokenizer
			? definition_engine(def, e->tokenizer)
			: NULL;
		if (e->exclusive && tokenizer && tokenizer->exclusive && tokenizer != e) {
			struct error err = {0};
			node_error(&err, &def->tree, node_get(e->node, "exclusive"),
				"engine '%s' is exclusive, and so is its tokenizer '%s': they are "
				"needed "
				"at the same time",
				e->config.name, e->tokenizer);
			error_hint(&err, "leave `exclusive` away at one of them");
			error_list_add(errors, &err);
		}
	}
}

static void check_budget(struct definition *def, struct error_list *errors)
{
	struct error err = {0};
	struct deadline ignored;
	const struct node *budget = node_get(def->tree.root, "budget");
	if (def->budget.deadline && !deadline_parse(def->budget.deadline, &ignored)) {
		node_error(&err, &def->tree, node_get(budget, "deadline"),
			"deadline must be a time of day like \"06:00\", not '%s'",
			def->budget.deadline);
		error_hint(&err, "or a moment like \"2026-11-25 06:00\", or a duration like 8h");
		error_list_add(errors, &err);
	}
	if (def->budget.energy_wh > 0 && !(def->budget.watts > 0) && !power_is_measured()) {
		node_error(&err, &def->tree, node_get(budget, "energy"),
			"energy cannot be measured here: no readable counter in "
			"/sys/class/powercap/intel-rapl:*, and no nvidia-smi");
		error_hint(&err,
			"say what the machine takes with budget.watts, or let this user read "
			"energy_uj (only root may by default)");
		error_list_add(errors, &err);
	}
}

/* The collector reads files of that ending alone, so any other would be written in vain. */
static void check_metrics(struct definition *def, struct error_list *errors)
{
	size_t len = def->metrics ? strlen(def->metrics) : 0;
	if (!def->metrics || (len > 5 && strcmp(def->metrics + len - 5, ".prom") == 0)) {
		return;
	}
	struct error err = {0};
	node_error(&err, &def->tree, node_get(def->tree.root, "metrics"),
		"metrics must be a path that ends in .prom, not '%s'", def->metrics);
	error_hint(&err, "node_exporter's textfile collector reads no other files");
	error_list_add(errors, &err);
}

/* "2%" or 0.02. */
static void check_audit(struct definition *def, struct error_list *errors)
{
	if (!def->audit) {
		return;
	}
	size_t len = strlen(def->audit);
	bool percent = len && def->audit[len - 1] == '%';
	AUTO_FREE char *number = xmemdup0(def->audit, len - percent);
	double value;
	if (text_parse_double(number, &value) && value >= 0 && value <= (percent ? 100 : 1)) {
		def->audit_share = percent ? value / 100 : value;
		return;
	}
	struct error err = {0};
	node_error(&err, &def->tree, node_get(def->tree.root, "audit"),
		"audit must be a share from 0%% to 100%%, not '%s'", def->audit);
	error_hint(&err, "write audit: 2%%");
	error_list_add(errors, &err);
}

static void check_label(struct definition *def, struct error_list *errors)
{
	const struct verifier_def *v = def->label ? definition_verifier(def, def->label) : NULL;
	if (!def->label || (v && !verifier_is_of_group(v)) || def->fields_open ||
		(!v && definition_has_field(def, def->label))) {
		return;
	}
	struct error err = {0};
	const char *nearest = text_nearest(
		def->label, (const char *const *)def->fields, def->n_fields);
	node_error(&err, &def->tree, node_get(def->tree.root, "label"),
		"label '%s' is neither a field of the prompts nor a verifier of single candidates",
		def->label);
	if (nearest) {
		error_hint(&err, "did you mean '%s'?", nearest);
	}
	error_list_add(errors, &err);
}

void definition_read(struct definition *def, const char *path, const char *const *sets,
	size_t n_sets, struct error_list *errors)
{
	struct error err = {0};
	*def = (struct definition){0};
	if (!tree_read(&def->tree, path, &err)) {
		error_list_add(errors, &err);
		return;
	}
	for (size_t i = 0; i < n_sets; i++) {
		if (!tree_set(&def->tree, sets[i], &err)) {
			error_list_add(errors, &err);
		}
	}
	if (!def->tree.root || def->tree.root->kind != NODE_MAP) {
		error_set(&err, FAIL_CONFIG,
			def->tree.root ? "a pipeline must be a map of keys" : "the file is empty");
		error_hint(&err, "data/pipelines/quickstart.yaml is a small example");
		error_place(&err, path, 1, 1);
		error_list_add(errors, &err);
		return;
	}
	param_read(definition_params, &def->tree, def->tree.root, def->tree.root, "the pipeline",
		def, errors);
	read_engines(def, errors);
	read_stages(def, errors);
	check_phases(def, errors);
	check_budget(def, errors);
	check_audit(def, errors);
	check_metrics(def, errors);
	check_all(def, errors);
	check_label(def, errors);
	gate_check(def, errors);
}

bool definition_for_reading(struct definition *def, const char *path, struct error *err)
{
	struct error_list errors = {0};
	definition_read(def, path, NULL, 0, &errors);
	if (!def->workdir) {
		*err = errors.items[0];
	}
	error_list_release(&errors);
	return def->workdir != NULL;
}

void definition_release(struct definition *def)
{
	for (size_t i = 0; i < def->n_engines; i++) {
		param_release(engine_params, def->engines[i].written);
		free(def->engines[i].written);
	}
	for (size_t i = 0; i < def->n_stages; i++) {
		if (def->stages[i].ops->params) {
			param_release(def->stages[i].ops->params, def->stages[i].config);
		} else {
			def->stages[i].ops->release_config(def->stages[i].config);
		}
		free(def->stages[i].config);
	}
	for (size_t i = 0; i < def->n_verifiers; i++) {
		param_release(def->verifiers[i].ops->params, def->verifiers[i].config);
		free(def->verifiers[i].config);
		free(def->verifiers[i].when);
		free(def->verifiers[i].name);
	}
	for (size_t i = 0; i < def->n_fields; i++) {
		free(def->fields[i]);
	}
	free(def->engines);
	free(def->stages);
	free(def->verifiers);
	free(def->fields);
	if (def->tree.root) {
		param_release(definition_params, def);
	}
	tree_release(&def->tree);
	*def = (struct definition){0};
}

/* --- fingerprints --- */

struct fingerprint_visit {
	void (*visit)(void *ctx, const char *path, const char *value);
	void *ctx;
	const char *prefix; /* of a verifier's parameters */
};

static void visit_param(void *ctx, const char *path, const char *value, const struct param *row)
{
	const struct fingerprint_visit *to = ctx;
	if (row->no_fingerprint || (row->late && strcmp(value, row->def) == 0)) {
		return;
	}
	to->visit(to->ctx, path, value);
	if (row->type == PARAM_TYPE_PATH && row->ref && strcmp(row->ref, "template") == 0 &&
		value[0]) {
		struct error err;
		struct template *t = template_read(value, &err);
		AUTO_FREE char *content = xasprintf("%s.content", path);
		to->visit(to->ctx, content, t ? template_hash(t) : "");
		template_free(t);
	}
}

static void visit_verifier_fact(void *ctx, const char *path, const char *value)
{
	const struct fingerprint_visit *to = ctx;
	AUTO_FREE char *full = xasprintf("%s.%s", to->prefix, path);
	to->visit(to->ctx, full, value);
}

static void visit_verifier_param(
	void *ctx, const char *path, const char *value, const struct param *row)
{
	const struct fingerprint_visit *to = ctx;
	AUTO_FREE char *full = xasprintf("%s.%s", to->prefix, path);
	visit_param(ctx, full, value, row);
}

/* Verifiers decide the scores of their stage, `when` decides who is asked; the version stands for their code. */
static void visit_verifiers(const struct definition *def, struct fingerprint_visit *to)
{
	for (size_t i = 0; i < def->n_verifiers; i++) {
		const struct verifier_def *v = &def->verifiers[i];
		AUTO_FREE char *kind = xasprintf("%s.kind", v->name);
		AUTO_FREE char *when = xasprintf("%s.when", v->name);
		AUTO_FREE char *version = xasprintf("%s/%u", v->ops->name, v->ops->version);
		to->visit(to->ctx, kind, version);
		to->visit(to->ctx, when, v->when ? v->when : "");
		to->prefix = v->name;
		param_each(v->ops->params, v->config, visit_verifier_param, to);
		if (v->ops->fingerprint) {
			v->ops->fingerprint(v->config, visit_verifier_fact, to);
		}
	}
}

void definition_fingerprint(const struct definition *def, const struct stage_def *stage,
	void (*visit)(void *ctx, const char *path, const char *value), void *ctx)
{
	struct fingerprint_visit to = {visit, ctx, NULL};
	if (stage->ops->params) {
		param_each(stage->ops->params, stage->config, visit_param, &to);
	}
	if (stage->ops->fingerprint) {
		stage->ops->fingerprint(stage->config, visit, ctx);
	}
	if (stage->ops->submit) {
		visit_verifiers(def, &to);
	}
}

/* Value of the first parameter of that kind in a stage: how the program, which knows no stage by name, finds its way. */
static const char *param_of(const struct stage_def *s, enum param_type type, const char *ref)
{
	for (const struct param *row = s->ops->params; row && row->name; row++) {
		if (row->type == type && row->ref && strcmp(row->ref, ref) == 0) {
			return *(char *const *)((const char *)s->config + row->offset);
		}
	}
	return NULL;
}

const char *definition_template(const struct definition *def)
{
	const char *path = NULL;
	for (size_t i = 0; !path && i < def->n_stages; i++) {
		path = param_of(&def->stages[i], PARAM_TYPE_PATH, "template");
	}
	return path;
}

const char *definition_writer(const struct definition *def)
{
	const char *name = NULL;
	for (size_t i = 0; !name && i < def->n_stages; i++) {
		name = def->stages[i].ops->plan
			? param_of(&def->stages[i], PARAM_TYPE_REF, "engine")
			: NULL;
	}
	return name;
}
