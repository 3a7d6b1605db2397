/*
 * What there is to say about rows apart from reading them: facts about the types, who owns what, the walk over a filled config
 * and the check of a table. param_read.c reads, param_help.c writes help and schema; a new type is an enum value, a line in
 * `facts`, and a case in each switch, where the compiler asks for it.
 */
#include "config/param.h"

#include "base/mem.h"
#include "base/text.h"
#include "config/param_row.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>

#define TABLE_DEPTH_MAX 8

static const struct param_facts facts[] = {
	[PARAM_TYPE_BOOL] = {"true/false", "true or false", sizeof(bool)},
	[PARAM_TYPE_U32] = {"integer", "a whole number", sizeof(uint32_t)},
	[PARAM_TYPE_U64] = {"integer", "a whole number", sizeof(uint64_t)},
	[PARAM_TYPE_I64] = {"integer", "a whole number", sizeof(int64_t)},
	[PARAM_TYPE_DOUBLE] = {"number", "a number", sizeof(double)},
	[PARAM_TYPE_STR] = {"text", "a text", sizeof(char *)},
	[PARAM_TYPE_PATH] = {"path", "a path", sizeof(char *)},
	[PARAM_TYPE_SQL] = {"SQL", "an SQL expression", sizeof(char *)},
	[PARAM_TYPE_REF] = {"name", "a name", sizeof(char *)},
	[PARAM_TYPE_ENUM] = {"word", "a word", sizeof(uint32_t)},
	[PARAM_TYPE_SIZE] = {"size", "a size such as 64MiB", sizeof(uint64_t)},
	[PARAM_TYPE_COUNT] = {"count", "a count such as 2000 or 50M", sizeof(uint64_t)},
	[PARAM_TYPE_DURATION] = {"duration", "a duration such as 90s, 10m or 1h30m",
		sizeof(uint64_t)},
	[PARAM_TYPE_STRINGS] = {"list", "a text or a list of texts", sizeof(struct param_strings)},
	[PARAM_TYPE_MAP] = {"map", "a map of texts", sizeof(struct param_map)},
	[PARAM_TYPE_STRUCT] = {"map", "a map", 0},
	[PARAM_TYPE_STRUCTS] = {"list of maps", "a list of maps", sizeof(struct param_structs)},
	[PARAM_TYPE_NODE] = {"any", "anything", sizeof(const struct node *)},
};

const struct param_facts *param_facts(enum param_type type)
{
	assert(type > PARAM_TYPE_NONE && (size_t)type < ARRAY_LEN(facts) && facts[type].word);
	return &facts[type];
}

bool param_is_text(enum param_type type)
{
	return type == PARAM_TYPE_STR || type == PARAM_TYPE_PATH || type == PARAM_TYPE_SQL ||
		type == PARAM_TYPE_REF;
}

bool param_is_number(enum param_type type)
{
	switch (type) {
	case PARAM_TYPE_U32:
	case PARAM_TYPE_U64:
	case PARAM_TYPE_I64:
	case PARAM_TYPE_DOUBLE:
	case PARAM_TYPE_SIZE:
	case PARAM_TYPE_COUNT:
	case PARAM_TYPE_DURATION:
		return true;
	default:
		return false;
	}
}

const struct param *param_find(const struct param *table, const char *name)
{
	for (const struct param *row = table; row->type; row++) {
		if (strcmp(row->name, name) == 0) {
			return row;
		}
	}
	return NULL;
}

struct param_bounds param_bounds(const struct param *row)
{
	struct param_bounds b = {.min = row->min, .max = row->max};

	if (row->max > row->min) {
		/* No amount is below 0, so that "at least 0 items" says nothing. */
		b.has_min = !isinf(row->min) && (row->min != 0 || param_is_number(row->type));
		b.has_max = !isinf(row->max);
	} else if (row->min > 0 && row->max == 0) {
		b.has_min = true;
	}
	return b;
}

struct param_bounds param_limits(const struct param *row)
{
	struct param_bounds b = param_bounds(row);
	double lowest = 0, highest;

	switch (row->type) {
	case PARAM_TYPE_U32:
		highest = UINT32_MAX;
		break;
	case PARAM_TYPE_U64:
		highest = 0x1p64;
		break;
	case PARAM_TYPE_I64:
		lowest = -0x1p63;
		highest = 0x1p63;
		break;
	default:
		return b;
	}
	b.min = b.has_min ? fmax(b.min, lowest) : lowest;
	b.max = b.has_max ? fmin(b.max, highest) : highest;
	b.has_min = b.has_max = true;
	return b;
}

struct unit {
	const char *name;
	uint64_t factor;
};

/* In the largest unit that leaves a whole number. */
static void format_unit(uint64_t v, const struct unit *units, size_t n, struct str *out)
{
	for (size_t i = 0; i < n; i++) {
		if (v && v % units[i].factor == 0) {
			str_printf(out, "%" PRIu64 "%s", v / units[i].factor, units[i].name);
			return;
		}
	}
	str_printf(out, "%" PRIu64, v);
}

void param_format_number(enum param_type type, double v, struct str *out)
{
	static const struct unit sizes[] = {
		{"TiB", 1ull << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}};
	static const struct unit times[] = {{"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}};
	char text[32];

	if (v < 0 || v != floor(v)) {
		text_format_double(v, text);
		str_append_z(out, text);
	} else if (type == PARAM_TYPE_SIZE && v < 0x1p63) {
		format_unit((uint64_t)v, sizes, ARRAY_LEN(sizes), out);
	} else if (type == PARAM_TYPE_DURATION && v < 0x1p63) {
		format_unit((uint64_t)v, times, ARRAY_LEN(times), out);
	} else if (type != PARAM_TYPE_DOUBLE && v >= 0x1p64) {
		str_printf(out, "%" PRIu64, UINT64_MAX);
	} else if (type == PARAM_TYPE_I64 && v >= 0x1p63) {
		str_printf(out, "%" PRId64, INT64_MAX);
	} else if (v < 0x1p63) {
		str_printf(out, "%" PRIu64, (uint64_t)v);
	} else {
		text_format_double(v, text);
		str_append_z(out, text);
	}
}

/* Owning */

static void release_strings(struct param_strings *strings)
{
	for (size_t i = 0; i < strings->n; i++) {
		free(strings->items[i]);
	}
	free(strings->items);
}

static void release_map(struct param_map *map)
{
	for (size_t i = 0; i < map->n; i++) {
		free(map->keys[i]);
		free(map->values[i]);
	}
	free(map->keys);
	free(map->values);
}

static void release_structs(const struct param *row, struct param_structs *structs)
{
	for (size_t i = 0; i < structs->n; i++) {
		param_release(row->table, (char *)structs->items + i * row->item_size);
	}
	free(structs->items);
}

void param_release_field(const struct param *row, void *field)
{
	switch (row->type) {
	case PARAM_TYPE_STR:
	case PARAM_TYPE_PATH:
	case PARAM_TYPE_SQL:
	case PARAM_TYPE_REF:
		free(*(char **)field);
		break;
	case PARAM_TYPE_STRINGS:
		release_strings(field);
		break;
	case PARAM_TYPE_MAP:
		release_map(field);
		break;
	case PARAM_TYPE_STRUCTS:
		release_structs(row, field);
		break;
	case PARAM_TYPE_STRUCT:
		param_release(row->table, field);
		return;
	case PARAM_TYPE_NONE:
	case PARAM_TYPE_BOOL:
	case PARAM_TYPE_U32:
	case PARAM_TYPE_U64:
	case PARAM_TYPE_I64:
	case PARAM_TYPE_DOUBLE:
	case PARAM_TYPE_ENUM:
	case PARAM_TYPE_SIZE:
	case PARAM_TYPE_COUNT:
	case PARAM_TYPE_DURATION:
	case PARAM_TYPE_NODE:
		break;
	}
	memset(field, 0, param_facts(row->type)->field_bytes);
}

void param_release(const struct param *table, void *config)
{
	if (!config) {
		return;
	}
	for (const struct param *row = table; row->type; row++) {
		param_release_field(row, param_field(row, config));
	}
}

/* Walking */

struct walk {
	void (*visit)(void *ctx, const char *path, const char *value, const struct param *row);
	void *ctx;
	struct str path, value;
};

static int compare_pairs(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* {"a": "x", "b": "y"} without spaces, by key: the order in which a map was written means nothing. */
static void put_map(struct json_writer *w, const struct param_map *map)
{
	AUTO_FREE const char **pairs = xcalloc(map->n + 1, 2 * sizeof(*pairs));

	for (size_t i = 0; i < map->n; i++) {
		pairs[2 * i] = map->keys[i];
		pairs[2 * i + 1] = map->values[i];
	}
	qsort(pairs, map->n, 2 * sizeof(*pairs), compare_pairs);
	json_begin_object(w);
	for (size_t i = 0; i < map->n; i++) {
		json_member_z(w, pairs[2 * i], pairs[2 * i + 1]);
	}
	json_end_object(w);
}

static int compare_indexed_keys(const void *a, const void *b, void *keys)
{
	struct node *const *k = keys;

	return strcmp(k[*(const size_t *)a]->text, k[*(const size_t *)b]->text);
}

static void put_map_node(struct json_writer *w, const struct node *map)
{
	AUTO_FREE size_t *order = xcalloc(map->n + 1, sizeof(*order));

	for (size_t i = 0; i < map->n; i++) {
		order[i] = i;
	}
	qsort_r(order, map->n, sizeof(*order), compare_indexed_keys, map->keys);
	json_begin_object(w);
	for (size_t i = 0; i < map->n; i++) {
		json_key(w, map->keys[order[i]]->text);
		param_put_node(w, map->items[order[i]]);
	}
	json_end_object(w);
}

/* The depth of a tree is bounded where it is made, by TREE_DEPTH_MAX. */
void param_put_node(struct json_writer *w, const struct node *node)
{
	switch (node->kind) {
	case NODE_SCALAR:
		json_put_z(w, node->null ? NULL : node->text);
		break;
	case NODE_LIST:
		json_begin_array(w);
		for (size_t i = 0; i < node->n; i++) {
			param_put_node(w, node->items[i]);
		}
		json_end_array(w);
		break;
	case NODE_MAP:
		put_map_node(w, node);
		break;
	}
}

static void put_strings(struct json_writer *w, const struct param_strings *strings)
{
	json_begin_array(w);
	for (size_t i = 0; i < strings->n; i++) {
		json_put_z(w, strings->items[i]);
	}
	json_end_array(w);
}

static void format_leaf(const struct param *row, const void *field, struct str *out)
{
	struct json_writer w = {.out = out};
	char number[32];

	switch (row->type) {
	case PARAM_TYPE_BOOL:
		str_append_z(out, *(const bool *)field ? "true" : "false");
		break;
	case PARAM_TYPE_U32:
		str_printf(out, "%" PRIu32, *(const uint32_t *)field);
		break;
	case PARAM_TYPE_U64:
	case PARAM_TYPE_SIZE:
	case PARAM_TYPE_COUNT:
	case PARAM_TYPE_DURATION:
		str_printf(out, "%" PRIu64, *(const uint64_t *)field);
		break;
	case PARAM_TYPE_I64:
		str_printf(out, "%" PRId64, *(const int64_t *)field);
		break;
	case PARAM_TYPE_DOUBLE:
		text_format_double(*(const double *)field, number);
		str_append_z(out, number);
		break;
	case PARAM_TYPE_STR:
	case PARAM_TYPE_PATH:
	case PARAM_TYPE_SQL:
	case PARAM_TYPE_REF:
		if (*(char *const *)field) {
			str_append_z(out, *(char *const *)field);
		}
		break;
	case PARAM_TYPE_ENUM:
		str_append_z(out, row->names[*(const uint32_t *)field]);
		break;
	case PARAM_TYPE_STRINGS:
		if (((const struct param_strings *)field)->n) {
			put_strings(&w, field);
		}
		break;
	case PARAM_TYPE_MAP:
		if (((const struct param_map *)field)->n) {
			put_map(&w, field);
		}
		break;
	case PARAM_TYPE_NODE:
		if (*(const struct node *const *)field) {
			param_put_node(&w, *(const struct node *const *)field);
		}
		break;
	case PARAM_TYPE_NONE:
	case PARAM_TYPE_STRUCT:
	case PARAM_TYPE_STRUCTS:
		assert(!"not a leaf");
	}
}

static void cut_path(struct walk *walk, size_t len)
{
	walk->path.len = len;
	walk->path.data[len] = '\0';
}

static void walk_table(
	struct walk *walk, const struct param *table, const void *config, bool no_fingerprint);

static void walk_structs(struct walk *walk, const struct param *row,
	const struct param_structs *structs, bool no_fingerprint)
{
	const size_t base = walk->path.len;

	for (size_t i = 0; i < structs->n; i++) {
		str_printf(&walk->path, "[%zu].", i);
		walk_table(walk, row->table, (const char *)structs->items + i * row->item_size,
			no_fingerprint);
		cut_path(walk, base);
	}
}

static void walk_row(
	struct walk *walk, const struct param *row, const void *field, bool no_fingerprint)
{
	struct param leaf;

	if (row->type == PARAM_TYPE_STRUCT) {
		str_append_c(&walk->path, '.');
		walk_table(walk, row->table, field, no_fingerprint);
		return;
	}
	if (row->type == PARAM_TYPE_STRUCTS) {
		walk_structs(walk, row, field, no_fingerprint);
		return;
	}
	leaf = *row;
	leaf.no_fingerprint = no_fingerprint;
	str_reset(&walk->value);
	format_leaf(row, field, &walk->value);
	walk->visit(walk->ctx, walk->path.data, walk->value.data, &leaf);
}

static void walk_table(
	struct walk *walk, const struct param *table, const void *config, bool no_fingerprint)
{
	const size_t base = walk->path.len;

	for (const struct param *row = table; row->type; row++) {
		str_append_z(&walk->path, row->name);
		walk_row(walk, row, param_field_const(row, config),
			no_fingerprint || row->no_fingerprint);
		cut_path(walk, base);
	}
}

void param_each(const struct param *table, const void *config,
	void (*visit)(void *ctx, const char *path, const char *value, const struct param *row),
	void *ctx)
{
	struct walk walk = {.visit = visit, .ctx = ctx};

	str_init(&walk.path, STR_NO_CAP);
	str_init(&walk.value, STR_NO_CAP);
	walk_table(&walk, table, config, false);
	str_release(&walk.path);
	str_release(&walk.value);
}

/* Checking a table */

static void require(bool good, const struct param *row, const char *rule)
{
	if (!good) {
		fprintf(stderr, "bug in a parameter table: row '%s': %s\n",
			row->name ? row->name : "(no name)", rule);
		abort();
	}
}

static void require_names(const struct param *row)
{
	require(row->names && row->names[0], row, "an ENUM needs names");
	for (size_t i = 0; row->names[i]; i++) {
		require(row->names[i][0], row, "a name is empty");
		for (size_t j = 0; j < i; j++) {
			require(strcmp(row->names[i], row->names[j]) != 0, row,
				"two names are the same");
		}
	}
}

static void require_scalar_for(const struct param *row)
{
	require(row->table, row, "scalar_for needs a table");
	require(row->scalar_for[0], row, "scalar_for names nothing");
	for (size_t i = 0; row->scalar_for[i]; i++) {
		const struct param *sub = param_find(row->table, row->scalar_for[i]);

		require(sub, row, "scalar_for names no row of the table");
		require(sub->type != PARAM_TYPE_STRUCT && sub->type != PARAM_TYPE_STRUCTS &&
				sub->type != PARAM_TYPE_MAP,
			row, "scalar_for names a row that no scalar fits");
	}
}

/* Reads the default as a user's value would be read, but for files, which need not be there when a table is checked. */
static void require_default(const struct param *row, size_t config_size)
{
	struct param one[2] = {*row};
	struct error_list errors = {0};
	struct error err = {0};
	struct tree tree;
	void *config = xcalloc(1, config_size);

	one[0].must_exist = false;
	require(!row->required, row, "a required row needs no default");
	require(row->type != PARAM_TYPE_NODE, row, "a NODE cannot have a default");
	require(tree_parse(&tree, "default", row->def, strlen(row->def), &err), row, err.msg);
	require(tree.root && !tree.root->null, row,
		"the default is null; write '' for an empty text");
	tree_release(&tree);
	param_read(one, NULL, NULL, NULL, NULL, config, &errors);
	require(errors.n == 0, row, errors.n ? errors.items[0].msg : "");
	param_release(one, config);
	error_list_release(&errors);
	free(config);
}

static void require_table(const struct param *table, size_t config_size, unsigned depth);

static void require_row(
	const struct param *table, const struct param *row, size_t config_size, unsigned depth)
{
	const bool has_table = row->type == PARAM_TYPE_STRUCT || row->type == PARAM_TYPE_STRUCTS;
	const struct param_facts *f;

	require(row->name && row->name[0], row, "a name is missing");
	require(!strpbrk(row->name, ".[]= "), row, "a name holds a character that paths use");
	require(param_find(table, row->name) == row, row, "the name stands in the table twice");
	require(row->help && row->help[0], row, "help is missing");
	f = param_facts(row->type);
	require(row->offset <= config_size && f->field_bytes <= config_size - row->offset, row,
		"the field lies outside the config");
	require(!isnan(row->min) && !isnan(row->max), row, "a limit is no number");
	require(row->max >= row->min || (row->min > 0 && row->max == 0), row, "min is above max");
	require(!row->late || row->def, row, "late needs a default, which is what was done before");
	require(!row->must_exist || row->type == PARAM_TYPE_PATH, row, "must_exist is for PATH");
	require(!row->table == !has_table, row, "STRUCT and STRUCTS have a table, others not");
	if (row->type == PARAM_TYPE_ENUM) {
		require_names(row);
	}
	if (row->scalar_for) {
		require_scalar_for(row);
	}
	if (row->type == PARAM_TYPE_STRUCT) {
		require_table(row->table, config_size - row->offset, depth + 1);
	}
	if (row->type == PARAM_TYPE_STRUCTS) {
		require(row->item_size > 0, row, "item_size is missing");
		require_table(row->table, row->item_size, depth + 1);
	}
	if (row->def) {
		require_default(row, config_size);
	}
}

static void require_table(const struct param *table, size_t config_size, unsigned depth)
{
	require(depth <= TABLE_DEPTH_MAX, table, "tables are nested too deep, or in a circle");
	for (const struct param *row = table; row->type; row++) {
		require_row(table, row, config_size, depth);
	}
}

void param_assert(const struct param *table, size_t config_size)
{
	require_table(table, config_size, 1);
}
