#include "gate.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "definition.h"
#include "ledger/expr.h"
#include "ledger/history.h"
#include "ledger/ledger.h"
#include "run.h"

#include <math.h>
#include <string.h>

#define PREVIOUS "previous_"
#define N_COLUMNS (2 * FIGURE_N)

/* The night's figures, then the previous night's. All are real, so that `accepted / candidates` is no division of integers. */
struct gate_columns {
	struct arena arena; /* of the names */
	struct expr_column list[N_COLUMNS];
};

static void gate_columns_init(struct gate_columns *c)
{
	*c = (struct gate_columns){0};
	for (size_t i = 0; i < FIGURE_N; i++) {
		c->list[i] = (struct expr_column){figure_rows[i].name, EXPR_REAL};
		c->list[FIGURE_N + i] = (struct expr_column){
			arena_printf(&c->arena, PREVIOUS "%s", figure_rows[i].name), EXPR_REAL};
	}
}

void gate_check(const struct definition *def, struct error_list *errors)
{
	struct gate_columns columns;
	const struct node *list = node_get(def->tree.root, "gate");
	gate_columns_init(&columns);
	for (size_t i = 0; i < def->gate.n; i++) {
		struct error err = {0};
		const struct node *at = list->kind == NODE_LIST ? list->items[i] : list;
		struct expr *e = expr_new(def->gate.items[i], columns.list, N_COLUMNS, &err);
		if (!e) {
			error_context(&err, "gate");
			error_place(&err, at->origin ? at->origin : def->tree.file, at->line,
				at->column);
			error_list_add(errors, &err);
		}
		expr_free(e);
	}
	arena_release(&columns.arena);
}

/* --- asking --- */

struct nights {
	struct figures now, before;
	char *previous; /* owns; run, or NULL: there is none */
};

static void take_previous(void *ctx, const struct history_run *run)
{
	struct nights *n = ctx;
	struct error ignored;
	AUTO_JSON struct json *summary = json_parse(run->summary, strlen(run->summary), &ignored);
	n->previous = xstrdup(run->run);
	figures_of_summary(summary, &n->before);
}

static void fill_row(const struct nights *n, struct expr_value row[N_COLUMNS])
{
	for (size_t i = 0; i < N_COLUMNS; i++) {
		double v = i < FIGURE_N ? n->now.values[i] : n->before.values[i - FIGURE_N];
		row[i] = (struct expr_value){
			.kind = isfinite(v) ? EXPR_VALUE_REAL : EXPR_VALUE_NULL, .real = v};
	}
}

/* "acceptance 0.12, previous_acceptance 0.31" */
static void put_why(struct str *out, const struct expr *e, const struct gate_columns *columns,
	const struct expr_value *row)
{
	for (size_t i = 0; i < N_COLUMNS; i++) {
		char number[32] = "null";
		if (!expr_reads(e, i)) {
			continue;
		}
		if (row[i].kind == EXPR_VALUE_REAL) {
			snprintf(number, sizeof(number), "%.6g", row[i].real);
		}
		str_printf(out, "%s%s %s", out->len ? ", " : "", columns->list[i].name, number);
	}
}

static bool has_no_previous(const struct expr *e, const struct expr_value *row)
{
	for (size_t i = FIGURE_N; i < N_COLUMNS; i++) {
		if (expr_reads(e, i) && row[i].kind == EXPR_VALUE_NULL) {
			return true;
		}
	}
	return false;
}

static bool holds(struct expr *e, const struct expr_value *row, struct str *why)
{
	struct error err = {0};
	enum expr_truth truth;
	if (!expr_eval(e, row, &truth, &err)) {
		str_printf(why, "; %s", err.msg);
		return false;
	}
	if (truth == EXPR_UNKNOWN && has_no_previous(e, row)) {
		str_append_z(why, "; nothing to compare with");
		return true;
	}
	return truth == EXPR_TRUE;
}

/* One condition's object; false in *out_all if it does not hold. */
static bool ask_one(const char *sql, const struct gate_columns *columns,
	const struct expr_value *row, struct json_writer *w, bool *out_all, struct error *err)
{
	struct expr *e = expr_new(sql, columns->list, N_COLUMNS, err);
	if (!e) {
		return error_context(err, "gate");
	}
	struct str why;
	str_init(&why, STR_NO_CAP);
	put_why(&why, e, columns, row);
	bool yes = holds(e, row, &why);
	json_begin_object(w);
	json_member_z(w, "sql", sql);
	json_member_bool(w, "holds", yes);
	json_member_z(w, "why", why.data);
	json_end_object(w);
	if (!yes) {
		*out_all = false;
		log_warn("a condition of the gate does not hold", "condition", sql, "figures",
			why.data, NULL);
	}
	str_release(&why);
	expr_free(e);
	return true;
}

static bool ask_all(
	struct run *run, const struct nights *n, struct str *out, bool *out_open, struct error *err)
{
	const struct definition *def = run->def;
	struct gate_columns columns;
	struct expr_value row[N_COLUMNS];
	struct json_writer w = {.out = out};
	bool all = true, ok = true;
	gate_columns_init(&columns);
	fill_row(n, row);
	json_begin_object(&w);
	json_member_z(&w, "previous", n->previous);
	json_key(&w, "conditions");
	json_begin_array(&w);
	for (size_t i = 0; ok && i < def->gate.n; i++) {
		ok = ask_one(def->gate.items[i], &columns, row, &w, &all, err);
	}
	json_end_array(&w);
	json_member_bool(&w, "open", all || run->options.no_gate);
	json_member_bool(&w, "overridden", !all && run->options.no_gate);
	json_end_object(&w);
	arena_release(&columns.arena);
	*out_open = all || run->options.no_gate;
	return ok;
}

static bool store_figures(struct run *run, const struct figures *f, struct error *err)
{
	struct str text;
	str_init(&text, STR_NO_CAP);
	struct json_writer w = {.out = &text};
	figures_put(&w, f);
	bool ok = ledger_set_meta(run->ledger, "figures", text.data, err);
	str_release(&text);
	return ok;
}

/* What the ledger remembers of an earlier sitting. */
struct remembered {
	bool figures,
		open; /* open: it was asked, with these conditions, and the night may be published */
	bool same; /* it was asked with these conditions */
};

static void remember(const struct run *run, struct remembered *out)
{
	const struct definition *def = run->def;
	struct arena arena = {0};
	struct error ignored;
	const char *text = ledger_meta(run->ledger, "gate", &arena);
	AUTO_JSON struct json *gate = text ? json_parse(text, strlen(text), &ignored) : NULL;
	const struct json *conditions = json_get(gate, "conditions");
	*out = (struct remembered){.figures = ledger_meta(run->ledger, "figures", &arena) != NULL,
		.same = json_len(conditions) == def->gate.n};
	for (size_t i = 0; out->same && i < def->gate.n; i++) {
		const char *sql = json_z(json_get(json_at(conditions, i), "sql"));
		out->same = sql && strcmp(sql, def->gate.items[i]) == 0;
	}
	json_bool(json_get(gate, "open"), &out->open);
	out->open = out->same && (out->open || !def->gate.n);
	arena_release(&arena);
}

bool gate_ask(struct run *run, bool *out_open, struct error *err)
{
	struct remembered before;
	remember(run, &before);
	*out_open = before.open || run_is_published(run);
	if (before.figures && *out_open) {
		return true;
	}
	struct nights n = {0};
	figures_clear(&n.before);
	if (!figures_read(run->ledger, run->def, &n.now, err) || !store_figures(run, &n.now, err)) {
		return false;
	}
	if (*out_open) {
		return true;
	}
	(void)!history_previous(run->history, run->number, take_previous, &n);
	struct str text;
	str_init(&text, STR_NO_CAP);
	bool ok = ask_all(run, &n, &text, out_open, err) &&
		ledger_set_meta(run->ledger, "gate", text.data, err);
	str_release(&text);
	free(n.previous);
	return ok;
}

bool gate_changed(const struct run *run)
{
	struct remembered before;
	remember(run, &before);
	return !before.same;
}
