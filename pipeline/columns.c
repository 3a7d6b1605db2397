#include "columns.h"

#include "base/mem.h"
#include "definition.h"
#include "verifier.h"

#include <stdlib.h>
#include <string.h>

/* The candidate's own facts, in this order, after the verifiers'. */
static const struct expr_column facts[] = {{"n_tokens", EXPR_INTEGER},
	{"n_prompt_tokens", EXPR_INTEGER}, {"finish", EXPR_TEXT}, {"source", EXPR_TEXT},
	{"idx", EXPR_INTEGER}};

size_t columns_find(const struct columns *columns, const char *name)
{
	for (size_t i = 0; i < columns->n; i++) {
		if (strcasecmp(columns->list[i].name, name) == 0) { /* SQL names have no case */
			return i;
		}
	}
	return (size_t)-1;
}

static void add_verifiers(struct columns *columns, const struct definition *def, bool of_group)
{
	for (size_t i = 0; i < def->n_verifiers; i++) {
		const struct verifier_def *v = &def->verifiers[i];
		if (verifier_is_of_group(v) == of_group) {
			columns->list[columns->n++] = (struct expr_column){v->name, EXPR_REAL};
			columns->list[columns->n++] = (struct expr_column){
				xasprintf("%s_reason", v->name), EXPR_TEXT};
		}
	}
}

static bool is_of_group(const struct definition *def, const char *name)
{
	for (size_t i = 0; i < def->n_verifiers; i++) {
		const struct verifier_def *v = &def->verifiers[i];
		size_t len = strlen(v->name);
		if (verifier_is_of_group(v) && strncasecmp(name, v->name, len) == 0 &&
			(!name[len] || strcasecmp(name + len, "_reason") == 0)) {
			return true;
		}
	}
	return false;
}

void columns_init(struct columns *columns, const struct definition *def)
{
	size_t most = 2 * def->n_verifiers + ARRAY_LEN(facts) + def->n_fields;
	*columns = (struct columns){.list = xcalloc(most, sizeof(*columns->list))};
	add_verifiers(columns, def, false);
	memcpy(columns->list + columns->n, facts, sizeof(facts));
	columns->n += ARRAY_LEN(facts);
	columns->first_field = columns->n;
	for (size_t i = 0; i < def->n_fields; i++) {
		/* A field never hides a verifier or a fact, as `accept` must not change its meaning with the data. */
		if (columns_find(columns, def->fields[i]) == (size_t)-1 &&
			!is_of_group(def, def->fields[i])) {
			columns->list[columns->n++] = (struct expr_column){
				def->fields[i], EXPR_ANY};
		}
	}
	columns->n_fields = columns->n - columns->first_field;
	columns->n_of_candidate = columns->n;
	add_verifiers(columns, def, true);
}

/* The verifiers' second columns have names of ours. */
static void free_names(struct columns *columns, size_t from, size_t to)
{
	for (size_t i = from + 1; i < to; i += 2) {
		free((char *)(uintptr_t)columns->list[i].name);
	}
}

void columns_release(struct columns *columns)
{
	if (columns->list) {
		free_names(columns, 0, columns->first_field - ARRAY_LEN(facts));
		free_names(columns, columns->n_of_candidate, columns->n);
	}
	free(columns->list);
	*columns = (struct columns){0};
}

static struct expr_value text_value(struct slice text)
{
	return (struct expr_value){
		.kind = text.data ? EXPR_VALUE_TEXT : EXPR_VALUE_NULL, .text = text};
}

static struct expr_value int_value(int64_t v)
{
	return (struct expr_value){.kind = EXPR_VALUE_INT, .integer = v};
}

static struct expr_value field_value(const struct json *v, struct arena *arena)
{
	struct expr_value out = {.kind = EXPR_VALUE_NULL};
	bool truth;
	switch (json_kind(v)) {
	case JSON_INT:
		json_int(v, &out.integer);
		out.kind = EXPR_VALUE_INT;
		break;
	case JSON_REAL:
		json_num(v, &out.real);
		out.kind = EXPR_VALUE_REAL;
		break;
	case JSON_BOOL:
		json_bool(v, &truth);
		out = int_value(truth);
		break;
	case JSON_STRING:
		out.text.data = json_str(v, &out.text.len);
		out.kind = EXPR_VALUE_TEXT;
		break;
	case JSON_ARRAY:
	case JSON_OBJECT: {
		struct str text;
		str_init(&text, STR_NO_CAP);
		json_dump(v, true, &text);
		out = text_value(
			(struct slice){arena_memdup0(arena, text.data, text.len), text.len});
		str_release(&text);
		break;
	}
	case JSON_NONE:
	case JSON_NULL:
		break;
	}
	return out;
}

/* What an audit has found is for the books: decisions are those that they would be without it. */
static size_t fill_verifiers(const struct definition *def, const struct columns_source *from,
	bool of_group, size_t at, struct expr_value *row)
{
	for (size_t i = 0; i < def->n_verifiers; i++) {
		if (verifier_is_of_group(&def->verifiers[i]) != of_group) {
			continue;
		}
		bool have = from->scores && from->scored[i] && !from->scores[i].audit;
		const struct score *s = have ? &from->scores[i] : NULL;
		row[at++] = (struct expr_value){
			.kind = s && s->known ? EXPR_VALUE_REAL : EXPR_VALUE_NULL,
			.real = s ? s->value : 0};
		row[at++] = text_value(s && s->reason ? slice_z(s->reason) : (struct slice){0});
	}
	return at;
}

void columns_fill(const struct columns *columns, const struct definition *def,
	const struct columns_source *from, struct arena *arena, struct expr_value *row)
{
	size_t at = fill_verifiers(def, from, false, 0, row);
	row[at++] = int_value(from->n_tokens);
	row[at++] = int_value((int64_t)from->n_prompt_tokens);
	row[at++] = text_value(from->finish ? slice_z(from->finish) : (struct slice){0});
	row[at++] = text_value(slice_z(from->source));
	row[at++] = int_value(from->idx);
	for (; at < columns->n_of_candidate; at++) {
		row[at] = field_value(json_get(from->fields, columns->list[at].name), arena);
	}
	fill_verifiers(def, from, true, at, row);
}

static const char *null_columns(const struct columns *columns, const struct expr *accept,
	const struct expr_value *row, struct arena *arena)
{
	struct str list;
	str_init(&list, 512);
	for (size_t i = 0; i < columns->n_of_candidate; i++) {
		if (row[i].kind == EXPR_VALUE_NULL && expr_reads(accept, i)) {
			str_printf(&list, "%s%s", list.len ? " " : "", columns->list[i].name);
		}
	}
	const char *names = arena_strdup(arena, list.data);
	str_release(&list);
	return names;
}

struct decision columns_decide(const struct columns *columns, struct expr *accept,
	const struct expr_value *row, struct arena *arena)
{
	struct error err = {0};
	enum expr_truth truth = EXPR_TRUE;
	if (accept && !expr_eval(accept, row, &truth, &err)) {
		return (struct decision){
			CANDIDATE_UNDECIDED, "expression", arena_strdup(arena, err.msg)};
	}
	if (truth == EXPR_UNKNOWN) {
		return (struct decision){CANDIDATE_UNDECIDED, "null_columns",
			null_columns(columns, accept, row, arena)};
	}
	return (struct decision){
		truth == EXPR_TRUE ? CANDIDATE_ACCEPTED : CANDIDATE_REJECTED, "accept", NULL};
}
