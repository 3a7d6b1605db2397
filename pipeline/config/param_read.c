/*
 * From a map of the tree to a config struct. Reading never stops at a mistake: it is added to the list, the field gets its
 * default, and the next row follows, so that one run shows everything that is wrong.
 *
 * A default takes the same way as a value from the file: its YAML text is parsed and read by the row. While that goes on,
 * `in_default` makes mistakes (a default file that is missing) stand where the key would have been.
 *
 * Where we are below the top table ("sources[1].map.question") is a chain of links on the stack, spelt out only for errors.
 */
#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"
#include "config/param.h"
#include "config/param_row.h"

#include <assert.h>
#include <ctype.h>

#define NO_ITEM SIZE_MAX
#define KEYS_HINT_BYTES 300 /* after which a list of keys ends with dots */

struct reader {
	const struct tree *tree;
	const char *what;
	struct error_list *errors; /* borrows */
	bool in_default;
	const struct node *default_at;
};

struct trail {
	const struct trail *up; /* NULL at the top table */
	const char *name;
	size_t item; /* NO_ITEM unless an item of a list; then name is NULL */
};

/* Errors */

static void spell_trail(const struct trail *trail, struct str *out)
{
	if (trail->up) {
		spell_trail(trail->up, out);
	}
	if (trail->item != NO_ITEM) {
		str_printf(out, "[%zu]", trail->item);
	} else {
		str_printf(out, "%s%s", trail->up ? "." : "", trail->name);
	}
}

static void add(const struct reader *r, const struct node *node, const char *hint, const char *msg)
{
	struct error err = {0};

	node_error(&err, r->tree, r->in_default ? r->default_at : node, "%s", msg);
	if (hint) {
		error_hint(&err, "%s", hint);
	}
	if (r->what) {
		error_context(&err, "%s", r->what);
	}
	error_list_add(r->errors, &err);
}

/* "TRAIL MESSAGE"; returns false. hint may be NULL. */
PRINTF_LIKE(5, 6)
static bool complain(const struct reader *r, const struct node *node, const struct trail *trail,
	const char *hint, const char *fmt, ...)
{
	struct str msg;
	va_list args;

	str_init(&msg, STR_NO_CAP);
	if (trail) {
		spell_trail(trail, &msg);
		str_append_c(&msg, ' ');
	}
	va_start(args, fmt);
	str_vprintf(&msg, fmt, args);
	va_end(args);
	add(r, node, hint, msg.data);
	str_release(&msg);
	return false;
}

/* "unknown key 'x' in 'sampling'". */
static void complain_key(const struct reader *r, const struct node *node, const struct trail *up,
	const char *hint, const char *problem, const char *key)
{
	char quoted[NODE_QUOTE_BYTES];
	struct str msg;

	str_init(&msg, STR_NO_CAP);
	str_printf(&msg, "%s %s", problem, node_quote(key, quoted));
	if (up) {
		str_append_z(&msg, " in '");
		spell_trail(up, &msg);
		str_append_c(&msg, '\'');
	}
	add(r, node, hint, msg.data);
	str_release(&msg);
}

/* What stands there, for "..., not WHAT": numbers bare, words in quotes. */
#define SHOWN_BYTES (NODE_QUOTE_BYTES + 16)
static const char *show(const struct node *node, char out[SHOWN_BYTES])
{
	char quoted[NODE_QUOTE_BYTES];
	double number;

	switch (node->kind) {
	case NODE_LIST:
		return "a list";
	case NODE_MAP:
		return "a map";
	case NODE_SCALAR:
		break;
	}
	if (node->null) {
		return "nothing";
	}
	if (!node->quoted && text_parse_double(node->text, &number)) {
		snprintf(out, SHOWN_BYTES, "%.40s", node->text);
	} else {
		snprintf(out, SHOWN_BYTES, "%s%s", node->quoted ? "the text " : "",
			node_quote(node->text, quoted));
	}
	return out;
}

static bool wrong_type(const struct reader *r, const struct param *row, const struct node *node,
	const struct trail *trail, const char *hint)
{
	char shown[SHOWN_BYTES];

	return complain(r, node, trail, hint, "must be %s, not %s", param_facts(row->type)->must_be,
		show(node, shown));
}

static void spell_bounds(struct param_bounds b, enum param_type type, struct str *out)
{
	str_append_z(out,
		b.has_min && b.has_max ? "between "
			: b.has_min    ? "at least "
				       : "at most ");
	if (b.has_min) {
		param_format_number(type, b.min, out);
	}
	if (b.has_min && b.has_max) {
		str_append_z(out, " and ");
	}
	if (b.has_max) {
		param_format_number(type, b.max, out);
	}
}

static bool out_of_range(const struct reader *r, const struct param *row, const struct node *node,
	const struct trail *trail)
{
	char shown[SHOWN_BYTES];
	struct str range;

	str_init(&range, STR_NO_CAP);
	spell_bounds(param_limits(row), row->type, &range);
	complain(r, node, trail, NULL, "must be %s, not %s", range.data, show(node, shown));
	str_release(&range);
	return false;
}

static bool in_bounds(const struct param *row, double v)
{
	const struct param_bounds b = param_bounds(row);

	return !(b.has_min && v < b.min) && !(b.has_max && v > b.max);
}

/* Lengths and numbers of items; `unit` is "character" or "item". */
static bool check_amount(const struct reader *r, const struct param *row, const struct node *node,
	const struct trail *trail, size_t n, const char *unit)
{
	const struct param_bounds b = param_bounds(row);
	struct str range;

	if (in_bounds(row, (double)n)) {
		return true;
	}
	str_init(&range, STR_NO_CAP);
	spell_bounds(b, PARAM_TYPE_U64, &range);
	complain(r, node, trail, NULL, "must have %s %s%s, not %zu", range.data, unit,
		(b.has_max ? b.max : b.min) == 1 ? "" : "s", n);
	str_release(&range);
	return false;
}

/* Scalars */

static bool is_digits(const char *text)
{
	text += *text == '-' || *text == '+';
	return *text && text[strspn(text, "0123456789")] == '\0';
}

/* NULL or what to do about a scalar that is no number. */
static const char *number_hint(const struct node *node)
{
	double v;

	if (node->kind != NODE_SCALAR) {
		return NULL;
	}
	if (node->quoted) {
		return text_parse_double(node->text, &v) ? "leave the quotes out" : NULL;
	}
	if (isdigit((unsigned char)node->text[0]) && !text_parse_double(node->text, &v) &&
		node->text[strspn(node->text, "0123456789_,.'")] == '\0') {
		return "write the digits without separators, and a point before decimals";
	}
	return NULL;
}

static bool read_bool(const struct reader *r, const struct param *row, const struct node *node,
	const struct trail *trail, bool *field)
{
	static const char *const yes[] = {"yes", "on", "y", "1", "True", "TRUE", "Yes", "On"};
	static const char *const no[] = {"no", "off", "n", "0", "False", "FALSE", "No", "Off"};
	const char *hint = NULL;

	if (node->kind == NODE_SCALAR && !node->quoted) {
		if (strcmp(node->text, "true") == 0 || strcmp(node->text, "false") == 0) {
			*field = node->text[0] == 't';
			return true;
		}
		for (size_t i = 0; i < ARRAY_LEN(yes); i++) {
			if (strcmp(node->text, yes[i]) == 0) {
				hint = "write true";
			} else if (strcmp(node->text, no[i]) == 0) {
				hint = "write false";
			}
		}
	} else if (node->kind == NODE_SCALAR &&
		(strcmp(node->text, "true") == 0 || strcmp(node->text, "false") == 0)) {
		hint = "leave the quotes out";
	}
	return wrong_type(r, row, node, trail, hint);
}

static bool read_integer(const struct reader *r, const struct param *row, const struct node *node,
	const struct trail *trail, void *field)
{
	const char *text;
	uint64_t u = 0;
	int64_t i = 0;
	bool ok;

	if (node->kind != NODE_SCALAR || node->quoted || !is_digits(node->text)) {
		return wrong_type(r, row, node, trail, number_hint(node));
	}
	text = node->text + (node->text[0] == '+');
	if (row->type == PARAM_TYPE_I64) {
		ok = text_parse_i64(text, &i) && in_bounds(row, (double)i);
	} else {
		ok = text_parse_u64(text, &u) && in_bounds(row, (double)u) &&
			(row->type != PARAM_TYPE_U32 || u <= UINT32_MAX);
	}
	if (!ok) {
		return out_of_range(r, row, node, trail);
	}
	if (row->type == PARAM_TYPE_I64) {
		*(int64_t *)field = i;
	} else if (row->type == PARAM_TYPE_U64) {
		*(uint64_t *)field = u;
	} else {
		*(uint32_t *)field = (uint32_t)u;
	}
	return true;
}

static bool read_double(const struct reader *r, const struct param *row, const struct node *node,
	const struct trail *trail, double *field)
{
	double v;

	if (node->kind != NODE_SCALAR || node->quoted || !text_parse_double(node->text, &v)) {
		return wrong_type(r, row, node, trail, number_hint(node));
	}
	if (!in_bounds(row, v)) {
		return out_of_range(r, row, node, trail);
	}
	*field = v;
	return true;
}

/* SIZE, COUNT, DURATION: quotes do not matter, since with a unit they are words anyway. */
static bool read_quantity(const struct reader *r, const struct param *row, const struct node *node,
	const struct trail *trail, uint64_t *field)
{
	bool (*parse)(const char *, uint64_t *) = row->type == PARAM_TYPE_SIZE ? text_parse_size
		: row->type == PARAM_TYPE_COUNT                                ? text_parse_count
						: text_parse_duration;
	uint64_t v, as_number;

	if (node->kind != NODE_SCALAR) {
		return wrong_type(r, row, node, trail, NULL);
	}
	if (!parse(node->text, &v)) {
		const bool no_unit = row->type == PARAM_TYPE_DURATION &&
			text_parse_u64(node->text, &as_number);

		return wrong_type(
			r, row, node, trail, no_unit ? "add a unit: ms, s, m, h or d" : NULL);
	}
	if (!in_bounds(row, (double)v)) {
		return out_of_range(r, row, node, trail);
	}
	*field = v;
	return true;
}

static size_t count_characters(const char *text)
{
	size_t n = 0;

	for (; *text; text++) {
		n += ((unsigned char)*text & 0xc0) != 0x80;
	}
	return n;
}

static bool read_text(const struct reader *r, const struct param *row, const struct node *node,
	const struct trail *trail, char **field)
{
	char quoted[NODE_QUOTE_BYTES];

	if (node->kind != NODE_SCALAR) {
		return wrong_type(r, row, node, trail, NULL);
	}
	if (row->type != PARAM_TYPE_STR && !node->text[0]) {
		return complain(r, node, trail, NULL, "must not be empty");
	}
	if (!check_amount(r, row, node, trail, count_characters(node->text), "character")) {
		return false;
	}
	if (row->must_exist && !file_exists(node->text)) {
		return complain(r, node, trail,
			node->text[0] == '/'
				? NULL
				: "a relative path starts at the folder in which thresh is run",
			"names no file or folder: %s", node_quote(node->text, quoted));
	}
	*field = xstrdup(node->text);
	return true;
}

static bool read_enum(const struct reader *r, const struct param *row, const struct node *node,
	const struct trail *trail, uint32_t *field)
{
	char shown[SHOWN_BYTES], hint[128];
	const char *nearest = NULL;
	struct str names;
	uint32_t n = 0;

	for (; row->names[n]; n++) {
		if (node->kind == NODE_SCALAR && strcmp(node->text, row->names[n]) == 0) {
			*field = n;
			return true;
		}
	}
	if (node->kind == NODE_SCALAR) {
		nearest = text_nearest(node->text, row->names, n);
	}
	str_init(&names, STR_NO_CAP);
	for (uint32_t i = 0; i < n; i++) {
		str_printf(&names, "%s%s", i == 0 ? "" : i + 1 < n ? ", " : " or ", row->names[i]);
	}
	snprintf(hint, sizeof(hint), "did you mean '%s'?", nearest ? nearest : "");
	complain(r, node, trail, nearest ? hint : NULL, "must be %s, not %s", names.data,
		show(node, shown));
	str_release(&names);
	return false;
}

/* Lists and maps of texts */

/* NULL after a complaint. */
static char *read_member(const struct reader *r, const struct node *node, const struct trail *trail)
{
	char shown[SHOWN_BYTES];

	if (node->kind != NODE_SCALAR || node->null) {
		complain(r, node, trail, NULL, "must be a text, not %s", show(node, shown));
		return NULL;
	}
	return xstrdup(node->text);
}

static bool read_strings(const struct reader *r, const struct param *row, const struct node *node,
	const struct trail *trail, struct param_strings *field)
{
	const size_t n = node->kind == NODE_LIST ? node->n : 1;
	bool ok = true;

	if (node->kind == NODE_MAP) {
		return wrong_type(r, row, node, trail, NULL);
	}
	if (!check_amount(r, row, node, trail, n, "item")) {
		return false;
	}
	field->items = xcalloc(n + 1, sizeof(char *));
	for (size_t i = 0; i < n; i++) {
		const struct trail item = {.up = trail, .item = i};
		char *text = node->kind == NODE_LIST ? read_member(r, node->items[i], &item)
						     : read_member(r, node, trail);

		if (text) {
			field->items[field->n++] = text;
		}
		ok = ok && text;
	}
	return ok;
}

static bool read_map(const struct reader *r, const struct param *row, const struct node *node,
	const struct trail *trail, struct param_map *field)
{
	bool ok = true;

	if (node->kind != NODE_MAP) {
		return wrong_type(r, row, node, trail, NULL);
	}
	if (!check_amount(r, row, node, trail, node->n, "item")) {
		return false;
	}
	field->keys = xcalloc(node->n + 1, sizeof(char *));
	field->values = xcalloc(node->n + 1, sizeof(char *));
	for (size_t i = 0; i < node->n; i++) {
		const struct trail item = {
			.up = trail, .name = node->keys[i]->text, .item = NO_ITEM};
		char *text = read_member(r, node->items[i], &item);

		if (text) {
			field->keys[field->n] = xstrdup(node->keys[i]->text);
			field->values[field->n++] = text;
		}
		ok = ok && text;
	}
	return ok;
}

/* Tables */

static bool read_value(const struct reader *r, const struct param *row, const struct node *node,
	const struct trail *trail, void *field);
static void read_table(const struct reader *r, const struct param *table, const struct node *map,
	const struct node *at, const struct trail *up, bool check_required, void *config);

static void read_default(const struct reader *r, const struct param *row, const struct node *at,
	const struct trail *trail, void *field)
{
	struct reader inner = *r;
	struct error err = {0};
	struct tree tree;
	bool parsed;

	if (!row->def) {
		if (row->type == PARAM_TYPE_STRUCT) {
			read_table(r, row->table, NULL, at, trail, false, field);
		}
		return;
	}
	parsed = tree_parse(&tree, "default", row->def, strlen(row->def), &err);
	assert(parsed && tree.root &&
		row->type != PARAM_TYPE_NODE); /* param_assert has seen to it */
	if (!inner.in_default) {
		inner.in_default = true;
		inner.default_at = at;
	}
	if (!read_value(&inner, row, tree.root, trail, field)) {
		param_release_field(row, field);
	}
	tree_release(&tree);
}

/* One row: its value, its default if there is none or a bad one. */
static void read_row(const struct reader *r, const struct param *row, const struct node *node,
	const struct node *at, const struct trail *up, bool check_required, void *config)
{
	const struct trail trail = {.up = up, .name = row->name, .item = NO_ITEM};
	void *field = param_field(row, config);

	if (node && !node->null) {
		if (read_value(r, row, node, &trail, field)) {
			return;
		}
		param_release_field(row, field);
	} else if (row->required && check_required) {
		AUTO_FREE char *hint = xasprintf("%s: %s", row->name, row->help ? row->help : "");

		complain_key(r, at, up, hint, "missing required key", row->name);
	}
	read_default(r, row, at, &trail, field);
}

static bool is_named(const char *const *names, const char *name)
{
	for (; *names; names++) {
		if (strcmp(*names, name) == 0) {
			return true;
		}
	}
	return false;
}

/* `candidates: 4` for {min: 4, max: 4}. A value that does not fit is told of once, under the name that the user wrote. */
static void read_short(const struct reader *r, const struct param *row, const struct node *node,
	const struct trail *trail, void *config)
{
	bool ok = true;

	for (const struct param *sub = row->table; sub->type; sub++) {
		void *field = param_field(sub, config);

		if (!is_named(row->scalar_for, sub->name)) {
			read_row(r, sub, NULL, node, trail, true, config);
			continue;
		}
		ok = ok && read_value(r, sub, node, trail, field);
		if (!ok) {
			param_release_field(sub, field);
			read_default(r, sub, node, trail, field);
		}
	}
}

static bool read_struct(const struct reader *r, const struct param *row, const struct node *node,
	const struct trail *trail, void *config)
{
	if (node->kind == NODE_SCALAR && row->scalar_for) {
		read_short(r, row, node, trail, config);
		return true;
	}
	if (node->kind != NODE_MAP) {
		char shown[SHOWN_BYTES];

		return complain(r, node, trail, NULL, "must be a map, not %s", show(node, shown));
	}
	read_table(r, row->table, node, node, trail, true, config);
	return true;
}

static bool read_structs(const struct reader *r, const struct param *row, const struct node *node,
	const struct trail *trail, struct param_structs *field)
{
	if (node->kind != NODE_LIST) {
		return wrong_type(r, row, node, trail,
			node->kind == NODE_MAP ? "write '- ' in front of it" : NULL);
	}
	if (!check_amount(r, row, node, trail, node->n, "item")) {
		return false;
	}
	field->items = xcalloc(node->n + 1, row->item_size);
	field->n = node->n;
	for (size_t i = 0; i < node->n; i++) {
		const struct trail item = {.up = trail, .item = i};
		void *config = (char *)field->items + i * row->item_size;

		if (!read_struct(r, row, node->items[i], &item, config)) {
			read_table(r, row->table, NULL, node->items[i], &item, false, config);
		}
	}
	return true;
}

/* After false the field may be half filled; the caller releases it and puts the default there. */
static bool read_value(const struct reader *r, const struct param *row, const struct node *node,
	const struct trail *trail, void *field)
{
	switch (row->type) {
	case PARAM_TYPE_NONE:
		break;
	case PARAM_TYPE_BOOL:
		return read_bool(r, row, node, trail, field);
	case PARAM_TYPE_U32:
	case PARAM_TYPE_U64:
	case PARAM_TYPE_I64:
		return read_integer(r, row, node, trail, field);
	case PARAM_TYPE_DOUBLE:
		return read_double(r, row, node, trail, field);
	case PARAM_TYPE_STR:
	case PARAM_TYPE_PATH:
	case PARAM_TYPE_SQL:
	case PARAM_TYPE_REF:
		return read_text(r, row, node, trail, field);
	case PARAM_TYPE_ENUM:
		return read_enum(r, row, node, trail, field);
	case PARAM_TYPE_SIZE:
	case PARAM_TYPE_COUNT:
	case PARAM_TYPE_DURATION:
		return read_quantity(r, row, node, trail, field);
	case PARAM_TYPE_STRINGS:
		return read_strings(r, row, node, trail, field);
	case PARAM_TYPE_MAP:
		return read_map(r, row, node, trail, field);
	case PARAM_TYPE_STRUCT:
		return read_struct(r, row, node, trail, field);
	case PARAM_TYPE_STRUCTS:
		return read_structs(r, row, node, trail, field);
	case PARAM_TYPE_NODE:
		*(const struct node **)field = node;
		return true;
	}
	assert(!"type of a row");
	return false;
}

static const char *nearest_row(const struct param *table, const char *key)
{
	AUTO_FREE const char **names = NULL;
	size_t n = 0;

	while (table[n].type) {
		n++;
	}
	names = xcalloc(n + 1, sizeof(*names));
	for (size_t i = 0; i < n; i++) {
		names[i] = table[i].name;
	}
	return text_nearest(key, names, n);
}

/* "did you mean 'sampling.temperature'?" for a key, or a misspelt one, that belongs one level lower. */
static bool hint_below(const struct param *table, const char *key, bool exact, struct str *out)
{
	for (const struct param *row = table; row->type; row++) {
		const char *name = NULL;

		if (row->type == PARAM_TYPE_STRUCT) {
			name = nearest_row(row->table, key);
		}
		if (name && (!exact || strcmp(name, key) == 0)) {
			str_printf(out, "did you mean '%s.%s'?", row->name, name);
			return true;
		}
	}
	return false;
}

/* The hint for an unknown key: it stands one level too high, it is misspelt, both, or else here is what there is. */
static void unknown_hint(const struct param *table, const char *key, struct str *out)
{
	const char *nearest;

	if (hint_below(table, key, true, out)) {
		return;
	}
	nearest = nearest_row(table, key);
	if (nearest) {
		str_printf(out, "did you mean '%s'?", nearest);
		return;
	}
	if (hint_below(table, key, false, out)) {
		return;
	}
	str_append_z(out, table->type ? "the keys are " : "it takes no keys");
	for (const struct param *row = table; row->type; row++) {
		if (out->len > KEYS_HINT_BYTES) {
			str_append_z(out, ", ...");
			break;
		}
		str_printf(out, "%s%s", row == table ? "" : ", ", row->name);
	}
}

static void read_table(const struct reader *r, const struct param *table, const struct node *map,
	const struct node *at, const struct trail *up, bool check_required, void *config)
{
	for (size_t i = 0; map && i < map->n; i++) {
		struct str hint;

		if (param_find(table, map->keys[i]->text)) {
			continue;
		}
		str_init(&hint, STR_NO_CAP);
		unknown_hint(table, map->keys[i]->text, &hint);
		complain_key(r, map->keys[i], up, hint.data, "unknown key", map->keys[i]->text);
		str_release(&hint);
	}
	for (const struct param *row = table; row->type; row++) {
		read_row(r, row, node_get(map, row->name), at, up, check_required, config);
	}
}

void param_read(const struct param *table, const struct tree *tree, const struct node *map,
	const struct node *at, const char *what, void *config, struct error_list *errors)
{
	const struct reader r = {.tree = tree, .what = what, .errors = errors};
	const bool good = !map || map->null || map->kind == NODE_MAP;
	char shown[SHOWN_BYTES];

	if (!good) {
		complain(&r, map, NULL, NULL, "must be a map, not %s", show(map, shown));
	}
	if (!map || map->kind != NODE_MAP) {
		map = NULL;
	}
	read_table(&r, table, map, at ? at : map, NULL, good, config);
}
