/* What the param*.c files share about rows; nobody else includes this. */
#ifndef PIPELINE_CONFIG_PARAM_ROW_H
#define PIPELINE_CONFIG_PARAM_ROW_H

#include "config/param.h"

struct param_facts {
	const char *word; /* in help: "size" */
	const char *must_be; /* in errors: "a size such as 64MiB" */
	size_t field_bytes; /* 0: as large as the sub-table says */
};

const struct param_facts *param_facts(enum param_type type);
const struct param *param_find(const struct param *table, const char *name);
/* STR, PATH, SQL, REF: char * in the config. */
bool param_is_text(enum param_type type);
/* U32, U64, I64, DOUBLE, SIZE, COUNT, DURATION. */
bool param_is_number(enum param_type type);
static inline void *param_field(const struct param *row, void *config)
{
	return (char *)config + row->offset;
}
static inline const void *param_field_const(const struct param *row, const void *config)
{
	return (const char *)config + row->offset;
}

struct param_bounds {
	bool has_min, has_max;
	double min, max;
};
/* What the row says. */
struct param_bounds param_bounds(const struct param *row);
/* The same, narrowed to what the field can hold. */
struct param_bounds param_limits(const struct param *row);
/* As it would be written in YAML: 64MiB, 10m, 4096. */
void param_format_number(enum param_type type, double v, struct str *out);

/* Scalars as strings, null as null, keys sorted. */
void param_put_node(struct json_writer *w, const struct node *node);
/* Frees what one field owns and zeroes it. */
void param_release_field(const struct param *row, void *field);

#endif
