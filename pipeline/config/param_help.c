/*
 * A parameter table for people (help) and for editors (JSON Schema). Help is laid out in two passes over the table and its
 * sub-tables: the first finds the widths of the columns, the second writes, so that all levels share their columns.
 */
#include "config/param.h"

#include "base/mem.h"
#include "base/text.h"
#include "config/param_row.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>

#define HELP_COLUMNS 100
#define HELP_DEFAULT_COLUMNS_MAX 20 /* a longer default is written into the text */
#define HELP_TEXT_COLUMNS_MIN 30
#define HELP_STEP 2
#define HELP_GAP 2

struct layout {
	size_t name, type, def; /* columns, gaps not counted; the indentation belongs to the name */
};

static size_t columns(const char *z)
{
	return utf8_columns(z, strlen(z));
}

static const char *default_cell(const struct param *row)
{
	if (row->required) {
		return "required";
	}
	return row->def && columns(row->def) <= HELP_DEFAULT_COLUMNS_MAX ? row->def : "-";
}

static void measure(const struct param *table, unsigned indent, struct layout *layout)
{
	for (const struct param *row = table; row->type; row++) {
		layout->name = MAX(layout->name, indent + columns(row->name));
		layout->type = MAX(layout->type, columns(param_facts(row->type)->word));
		layout->def = MAX(layout->def, columns(default_cell(row)));
		if (row->table) {
			measure(row->table, indent + HELP_STEP, layout);
		}
	}
}

static void add_range(const struct param *row, struct str *out)
{
	const struct param_bounds b = param_bounds(row);
	const enum param_type type = param_is_number(row->type) ? row->type : PARAM_TYPE_U64;

	if (b.has_min && b.has_max) {
		param_format_number(type, b.min, out);
		str_append_z(out, " to ");
		param_format_number(type, b.max, out);
	} else if (b.has_min) {
		str_append_z(out, "at least ");
		param_format_number(type, b.min, out);
	} else if (b.has_max) {
		str_append_z(out, "at most ");
		param_format_number(type, b.max, out);
	} else {
		return;
	}
	if (!param_is_number(row->type)) {
		str_append_z(out, param_is_text(row->type) ? " characters" : " items");
	}
}

/* "; " between two remarks. */
static void next_remark(struct str *remarks)
{
	if (remarks->len) {
		str_append_z(remarks, "; ");
	}
}

/* The last column: the help line and, in brackets, what else limits the value. */
static void describe(const struct param *row, struct str *out)
{
	struct str remarks;

	str_init(&remarks, STR_NO_CAP);
	for (size_t i = 0; row->type == PARAM_TYPE_ENUM && row->names[i]; i++) {
		str_printf(&remarks, "%s%s", i ? ", " : "", row->names[i]);
	}
	add_range(row, &remarks);
	if (row->type == PARAM_TYPE_STRINGS) {
		next_remark(&remarks);
		str_append_z(&remarks, "one text will do");
	}
	if (row->scalar_for) {
		next_remark(&remarks);
		str_append_z(&remarks, "a bare value sets ");
		for (size_t i = 0; row->scalar_for[i]; i++) {
			str_printf(&remarks, "%s%s", i ? " and " : "", row->scalar_for[i]);
		}
	}
	if (row->def && columns(row->def) > HELP_DEFAULT_COLUMNS_MAX) {
		next_remark(&remarks);
		str_printf(&remarks, "default: %s", row->def);
	}
	str_append_z(out, row->help ? row->help : "");
	if (remarks.len) {
		str_printf(out, "%s(%s)", out->len ? " " : "", remarks.data);
	}
	str_release(&remarks);
}

static void pad(struct str *out, size_t n)
{
	while (n--) {
		str_append_c(out, ' ');
	}
}

static void put_cell(struct str *out, const char *text, size_t width)
{
	str_append_z(out, text);
	pad(out, width - columns(text) + HELP_GAP);
}

/* Words of `text`, the lines after the first indented by `start`. */
static void put_wrapped(struct str *out, const char *text, size_t start)
{
	const size_t width = MAX(
		(size_t)HELP_TEXT_COLUMNS_MIN, start < HELP_COLUMNS ? HELP_COLUMNS - start : 0);
	size_t used = 0;

	for (const char *word = text + strspn(text, " "); *word;) {
		const size_t len = strcspn(word, " ");
		const size_t wide = utf8_columns(word, len);

		if (used && used + 1 + wide > width) {
			str_append_c(out, '\n');
			pad(out, start);
			used = 0;
		} else if (used) {
			str_append_c(out, ' ');
			used++;
		}
		str_append(out, word, len);
		used += wide;
		word += len;
		word += strspn(word, " ");
	}
	str_append_c(out, '\n');
}

static void put_rows(
	const struct param *table, unsigned indent, const struct layout *layout, struct str *out)
{
	const size_t start = layout->name + layout->type + layout->def + 3 * (size_t)HELP_GAP;

	for (const struct param *row = table; row->type; row++) {
		struct str text;

		pad(out, indent);
		put_cell(out, row->name, layout->name - indent);
		put_cell(out, param_facts(row->type)->word, layout->type);
		put_cell(out, default_cell(row), layout->def);
		str_init(&text, STR_NO_CAP);
		describe(row, &text);
		put_wrapped(out, text.data, start);
		str_release(&text);
		if (row->table) {
			put_rows(row->table, indent + HELP_STEP, layout, out);
		}
	}
}

void param_help(const struct param *table, unsigned indent, struct str *out)
{
	struct layout layout = {0};

	measure(table, indent, &layout);
	put_rows(table, indent, &layout, out);
}

/* JSON Schema */

static void put_member_z(struct json_writer *w, const char *key, const char *value)
{
	json_member_z(w, key, value);
}

static void put_types(struct json_writer *w, const char *const *types)
{
	json_key(w, "type");
	if (!types[1]) {
		json_put_z(w, types[0]);
		return;
	}
	json_begin_array(w);
	for (; *types; types++) {
		json_put_z(w, *types);
	}
	json_end_array(w);
}

/* A plain 12 or true is a text where a text is wanted. */
static const char *const text_types[] = {"string", "number", "boolean", NULL};

/* The patterns are those of text_parse_size and its like. */
static void put_type(struct json_writer *w, enum param_type type)
{
	static const char *const boolean[] = {"boolean", NULL};
	static const char *const integer[] = {"integer", NULL};
	static const char *const number[] = {"number", NULL};
	static const char *const quantity[] = {"integer", "string", NULL};
	static const char *const list_or_text[] = {"array", "string", "number", "boolean", NULL};
	static const char *const list[] = {"array", NULL};
	static const char *const map[] = {"object", NULL};

	switch (type) {
	case PARAM_TYPE_BOOL:
		put_types(w, boolean);
		break;
	case PARAM_TYPE_U32:
	case PARAM_TYPE_U64:
	case PARAM_TYPE_I64:
		put_types(w, integer);
		break;
	case PARAM_TYPE_DOUBLE:
		put_types(w, number);
		break;
	case PARAM_TYPE_STR:
	case PARAM_TYPE_PATH:
	case PARAM_TYPE_SQL:
	case PARAM_TYPE_REF:
		put_types(w, text_types);
		break;
	case PARAM_TYPE_SIZE:
		put_types(w, quantity);
		put_member_z(w, "pattern", "^[0-9]+(\\.[0-9]+)? *(B|[kKMGT]B|[KMGT]iB)?$");
		break;
	case PARAM_TYPE_COUNT:
		put_types(w, quantity);
		put_member_z(w, "pattern", "^[0-9]+(\\.[0-9]+)? *[kKMGBT]?$");
		break;
	case PARAM_TYPE_DURATION:
		put_types(w, quantity);
		put_member_z(w, "pattern", "^(0|([0-9]+(\\.[0-9]+)?(ms|s|m|h|d))+)$");
		break;
	case PARAM_TYPE_STRINGS:
		put_types(w, list_or_text);
		break;
	case PARAM_TYPE_STRUCTS:
		put_types(w, list);
		break;
	case PARAM_TYPE_MAP:
		put_types(w, map);
		break;
	case PARAM_TYPE_NONE:
	case PARAM_TYPE_ENUM:
	case PARAM_TYPE_STRUCT:
	case PARAM_TYPE_NODE:
		break;
	}
}

static void put_limit(struct json_writer *w, const char *key, enum param_type type, double v)
{
	json_key(w, key);
	if (type != PARAM_TYPE_DOUBLE && v >= 0 && v < 0x1p63) {
		json_put_uint(w, (uint64_t)v);
	} else {
		json_put_num(w, v);
	}
}

/* Limits of texts, lists and maps count characters, items and members; the rest limits the value. */
static void put_limits(struct json_writer *w, const struct param *row)
{
	const char *min = "minimum", *max = "maximum";
	struct param_bounds b = param_bounds(row);

	if (param_is_text(row->type)) {
		min = "minLength";
		max = "maxLength";
	} else if (row->type == PARAM_TYPE_STRINGS || row->type == PARAM_TYPE_STRUCTS) {
		min = "minItems";
		max = "maxItems";
	} else if (row->type == PARAM_TYPE_MAP) {
		min = "minProperties";
		max = "maxProperties";
	} else if (row->type == PARAM_TYPE_DURATION) {
		b = (struct param_bounds){.has_min = true, .has_max = true}; /* a bare 0 only */
	} else if (row->type == PARAM_TYPE_U32 || row->type == PARAM_TYPE_U64) {
		b = param_limits(row);
		b.has_max = b.has_max && b.max < 0x1p63;
	} else if (row->type == PARAM_TYPE_SIZE || row->type == PARAM_TYPE_COUNT) {
		b.min = b.has_min ? b.min : 0;
		b.has_min = true;
	}
	if (param_is_text(row->type) && row->type != PARAM_TYPE_STR && !b.has_min) {
		b.has_min = true; /* no empty path, name or expression */
		b.min = 1;
	}
	if (b.has_min) {
		put_limit(w, min, row->type, b.min);
	}
	if (b.has_max) {
		put_limit(w, max, row->type, b.max);
	}
}

static void put_default_value(
	struct json_writer *w, const struct param *row, const struct node *node)
{
	uint64_t u;
	int64_t i;
	double d;

	if (row->type == PARAM_TYPE_BOOL) {
		json_put_bool(w, strcmp(node->text, "true") == 0);
	} else if (row->type == PARAM_TYPE_DOUBLE && text_parse_double(node->text, &d)) {
		json_put_num(w, d);
	} else if (param_is_number(row->type) && text_parse_u64(node->text, &u)) {
		json_put_uint(w, u);
	} else if (row->type == PARAM_TYPE_I64 && text_parse_i64(node->text, &i)) {
		json_put_int(w, i);
	} else {
		param_put_node(w, node);
	}
}

/* Sub-tables tell their own defaults row by row. */
static void put_default(struct json_writer *w, const struct param *row)
{
	struct error err = {0};
	struct tree tree;

	if (!row->def || row->table) {
		return;
	}
	if (tree_parse(&tree, "default", row->def, strlen(row->def), &err) && tree.root) {
		json_key(w, "default");
		put_default_value(w, row, tree.root);
	}
	tree_release(&tree);
}

static void put_table(struct json_writer *w, const struct param *table);
static void put_row(struct json_writer *w, const struct param *row, bool describe_it);

/* A sub-table; with scalar_for also a value of the first row that it names. */
static void put_struct(struct json_writer *w, const struct param *row)
{
	if (!row->scalar_for) {
		put_table(w, row->table);
		return;
	}
	json_key(w, "anyOf");
	json_begin_array(w);
	json_begin_object(w);
	put_table(w, row->table);
	json_end_object(w);
	put_row(w, param_find(row->table, row->scalar_for[0]), false);
	json_end_array(w);
}

static void put_members(struct json_writer *w, const struct param *row)
{
	if (row->type == PARAM_TYPE_STRINGS || row->type == PARAM_TYPE_MAP) {
		json_key(w, row->type == PARAM_TYPE_MAP ? "additionalProperties" : "items");
		json_begin_object(w);
		put_types(w, text_types);
		json_end_object(w);
	} else if (row->type == PARAM_TYPE_STRUCTS) {
		json_key(w, "items");
		json_begin_object(w);
		put_struct(w, row);
		json_end_object(w);
	} else if (row->type == PARAM_TYPE_STRUCT) {
		put_struct(w, row);
	} else if (row->type == PARAM_TYPE_ENUM) {
		json_key(w, "enum");
		json_begin_array(w);
		for (size_t i = 0; row->names[i]; i++) {
			json_put_z(w, row->names[i]);
		}
		json_end_array(w);
	}
}

static void put_row(struct json_writer *w, const struct param *row, bool describe_it)
{
	json_begin_object(w);
	put_type(w, row->type);
	if (describe_it && row->help) {
		put_member_z(w, "description", row->help);
	}
	put_limits(w, row);
	put_members(w, row);
	if (describe_it) {
		put_default(w, row);
	}
	json_end_object(w);
}

/* The members of an object schema, without its braces. */
static void put_table(struct json_writer *w, const struct param *table)
{
	bool any = false;

	put_member_z(w, "type", "object");
	json_key(w, "properties");
	json_begin_object(w);
	for (const struct param *row = table; row->type; row++) {
		any = any || row->required;
		json_key(w, row->name);
		put_row(w, row, true);
	}
	json_end_object(w);
	if (any) {
		json_key(w, "required");
		json_begin_array(w);
		for (const struct param *row = table; row->type; row++) {
			if (row->required) {
				json_put_z(w, row->name);
			}
		}
		json_end_array(w);
	}
	json_member_bool(w, "additionalProperties", false);
}

void param_schema(const struct param *table, struct json_writer *w)
{
	json_begin_object(w);
	put_table(w, table);
	json_end_object(w);
}
