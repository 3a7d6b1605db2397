/*
 * Parameter tables: one row per key that may be written in YAML, and the one source for parsing, ranges, defaults, units,
 * "did you mean", `--help`, the JSON Schema and fingerprints.
 *
 *	struct generate_config { struct param_str engine; uint32_t max_tokens; double temperature; };
 *	static const struct param params[] = {
 *		PARAM_REF("engine", struct generate_config, engine, .ref = "engine", .required = true, .help = "name of an engine"),
 *		PARAM_U32("max_tokens", struct generate_config, max_tokens, .def = "1024", .min = 1, .max = 1 << 20, .help = "..."),
 *		{0},
 *	};
 *
 * A config struct is plain memory of config_size bytes, zeroed, filled by param_read and released by param_release, which
 * frees what the rows of the table own (strings, lists). Rows of another field type do not compile.
 */
#ifndef PIPELINE_CONFIG_PARAM_H
#define PIPELINE_CONFIG_PARAM_H

#include "base/error.h"
#include "base/json.h"
#include "config/node.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum param_type {
	PARAM_TYPE_NONE, /* ends a table */
	PARAM_TYPE_BOOL,
	PARAM_TYPE_U32,
	PARAM_TYPE_U64,
	PARAM_TYPE_I64,
	PARAM_TYPE_DOUBLE,
	PARAM_TYPE_STR, /* char *: owned; NULL when absent and without default */
	PARAM_TYPE_PATH, /* char *: as STR; must name an existing file or folder when must_exist */
	PARAM_TYPE_SQL, /* char *: an SQL expression; checked by pipeline/ against the view named in `ref` */
	PARAM_TYPE_REF, /* char *: a name that must be defined elsewhere, `ref` says as what ("engine"); resolved by pipeline/ */
	PARAM_TYPE_ENUM, /* uint32_t: index into `names` */
	PARAM_TYPE_SIZE, /* uint64_t bytes: "64MiB" */
	PARAM_TYPE_COUNT, /* uint64_t: "50M" */
	PARAM_TYPE_DURATION, /* uint64_t milliseconds: "10m" */
	PARAM_TYPE_STRINGS, /* struct param_strings: a list of strings, or one string */
	PARAM_TYPE_MAP, /* struct param_map: string -> string */
	PARAM_TYPE_STRUCT, /* a struct in place, read by `table` */
	PARAM_TYPE_STRUCTS, /* struct param_structs: a list of maps, each read by `table` into item_size bytes */
	PARAM_TYPE_NODE, /* const struct node *: borrowed from the tree, read by the owner of the table */
};

struct param_strings {
	char **items; /* owns */
	size_t n;
};
struct param_map {
	char **keys, **values; /* own */
	size_t n;
};
struct param_structs {
	void *items; /* owns n * item_size bytes */
	size_t n;
};

struct param {
	const char *name;
	enum param_type type;
	size_t offset;
	const char *help; /* one line */
	const char *
		def; /* default, as it would be written in YAML ("''" is the empty text); NULL: zero, or absent */
	bool required;
	/*
	 * Numbers, sizes, durations: inclusive; texts: characters; lists and maps: items. Checked when max > min. With min > 0 and
	 * max left 0 there is no upper limit.
	 */
	double min, max;
	const char *const *names; /* ENUM: ends with NULL */
	const char *ref;
	bool must_exist; /* PATH */
	const struct param *table; /* STRUCT, STRUCTS */
	size_t item_size; /* STRUCTS */
	/*
	 * STRUCT and number parameters that may also be written short: `candidates: 4` for {min: 4, max: 4}. A scalar where
	 * a map is expected is read as the value of each of these names of the sub-table (NULL-terminated).
	 */
	const char *const *scalar_for;
	bool no_fingerprint; /* changes nothing in the results: timeouts, concurrency */
	/*
	 * Was added when there were runs already, which did what its default says: only another value is part of the fingerprint, so
	 * that a run which was begun before goes on.
	 */
	bool late;
};

/* The _Generic makes a field of another type a compile error. */
#define PARAM_FIELD_(T, f, type) (offsetof(T, f) + 0 * sizeof(_Generic(((T *)0)->f, type : 0)))
#define PARAM_BOOL(n, T, f, ...)                                                          \
	{                                                                                 \
		.name = (n), .type = PARAM_TYPE_BOOL, .offset = PARAM_FIELD_(T, f, bool), \
		__VA_ARGS__                                                               \
	}
#define PARAM_U32(n, T, f, ...)                                                              \
	{                                                                                    \
		.name = (n), .type = PARAM_TYPE_U32, .offset = PARAM_FIELD_(T, f, uint32_t), \
		__VA_ARGS__                                                                  \
	}
#define PARAM_U64(n, T, f, ...)                                                              \
	{                                                                                    \
		.name = (n), .type = PARAM_TYPE_U64, .offset = PARAM_FIELD_(T, f, uint64_t), \
		__VA_ARGS__                                                                  \
	}
#define PARAM_I64(n, T, f, ...)                                                             \
	{                                                                                   \
		.name = (n), .type = PARAM_TYPE_I64, .offset = PARAM_FIELD_(T, f, int64_t), \
		__VA_ARGS__                                                                 \
	}
#define PARAM_DOUBLE(n, T, f, ...)                                                            \
	{                                                                                     \
		.name = (n), .type = PARAM_TYPE_DOUBLE, .offset = PARAM_FIELD_(T, f, double), \
		__VA_ARGS__                                                                   \
	}
#define PARAM_STR(n, T, f, ...)                                                            \
	{                                                                                  \
		.name = (n), .type = PARAM_TYPE_STR, .offset = PARAM_FIELD_(T, f, char *), \
		__VA_ARGS__                                                                \
	}
#define PARAM_PATH(n, T, f, ...)                                                            \
	{                                                                                   \
		.name = (n), .type = PARAM_TYPE_PATH, .offset = PARAM_FIELD_(T, f, char *), \
		__VA_ARGS__                                                                 \
	}
#define PARAM_SQL(n, T, f, ...)                                                            \
	{                                                                                  \
		.name = (n), .type = PARAM_TYPE_SQL, .offset = PARAM_FIELD_(T, f, char *), \
		__VA_ARGS__                                                                \
	}
#define PARAM_REF(n, T, f, ...)                                                            \
	{                                                                                  \
		.name = (n), .type = PARAM_TYPE_REF, .offset = PARAM_FIELD_(T, f, char *), \
		__VA_ARGS__                                                                \
	}
#define PARAM_ENUM(n, T, f, ...)                                                              \
	{                                                                                     \
		.name = (n), .type = PARAM_TYPE_ENUM, .offset = PARAM_FIELD_(T, f, uint32_t), \
		__VA_ARGS__                                                                   \
	}
#define PARAM_SIZE(n, T, f, ...)                                                              \
	{                                                                                     \
		.name = (n), .type = PARAM_TYPE_SIZE, .offset = PARAM_FIELD_(T, f, uint64_t), \
		__VA_ARGS__                                                                   \
	}
#define PARAM_COUNT(n, T, f, ...)                                                              \
	{                                                                                      \
		.name = (n), .type = PARAM_TYPE_COUNT, .offset = PARAM_FIELD_(T, f, uint64_t), \
		__VA_ARGS__                                                                    \
	}
#define PARAM_DURATION(n, T, f, ...)                                                              \
	{                                                                                         \
		.name = (n), .type = PARAM_TYPE_DURATION, .offset = PARAM_FIELD_(T, f, uint64_t), \
		__VA_ARGS__                                                                       \
	}
#define PARAM_STRINGS(n, T, f, ...)                                             \
	{                                                                       \
		.name = (n), .type = PARAM_TYPE_STRINGS,                        \
		.offset = PARAM_FIELD_(T, f, struct param_strings), __VA_ARGS__ \
	}
#define PARAM_MAP(n, T, f, ...)                                             \
	{                                                                   \
		.name = (n), .type = PARAM_TYPE_MAP,                        \
		.offset = PARAM_FIELD_(T, f, struct param_map), __VA_ARGS__ \
	}
#define PARAM_STRUCTS(n, T, f, ...)                                             \
	{                                                                       \
		.name = (n), .type = PARAM_TYPE_STRUCTS,                        \
		.offset = PARAM_FIELD_(T, f, struct param_structs), __VA_ARGS__ \
	}
#define PARAM_STRUCT(n, T, f, ...)                                                            \
	{                                                                                     \
		.name = (n), .type = PARAM_TYPE_STRUCT, .offset = offsetof(T, f), __VA_ARGS__ \
	}
/* A map whose keys are fields of the same struct: offsets of `table` count from the start of the whole config. */
#define PARAM_GROUP(n, ...) {.name = (n), .type = PARAM_TYPE_STRUCT, .offset = 0, __VA_ARGS__}
#define PARAM_NODE(n, T, f, ...)                                               \
	{                                                                      \
		.name = (n), .type = PARAM_TYPE_NODE,                          \
		.offset = PARAM_FIELD_(T, f, const struct node *), __VA_ARGS__ \
	}

/*
 * Reads `map` (NULL or a null scalar: all defaults) into `config` (zeroed memory of the table's struct). Every mistake is added to `errors`
 * with its place and the reading goes on: unknown key (with the nearest name), wrong type, out of range, missing required
 * (placed at `at`, the node that should have had it). `what` names the thing in messages: "stage 'generate'"; it may be NULL.
 * A key whose value is null is absent. What could not be read has its default, so that later checks can go on; required keys
 * of a STRUCT count only where the STRUCT is written or itself required. NODE rows borrow from the tree.
 * Relative PATHs are taken relative to the current folder; existence is checked when must_exist.
 */
void param_read(const struct param *table, const struct tree *tree, const struct node *map,
	const struct node *at, const char *what, void *config, struct error_list *errors);
void param_release(const struct param *table, void *config);

/*
 * Visits every leaf as ("sampling.temperature", "0.8"), defaults included, in table order: fingerprints and "what changed".
 * Values are canonical: bytes for sizes, ms for durations, names for ENUM, JSON for lists, maps (sorted by key) and nodes, "" for
 * what is absent. Items of STRUCTS are `name[0].x`. Rows with no_fingerprint are visited, too, and what lies below such a row
 * has the flag in the `row` that is passed; path, value and row are valid during the call only.
 */
void param_each(const struct param *table, const void *config,
	void (*visit)(void *ctx, const char *path, const char *value, const struct param *row),
	void *ctx);

/* Help for people, up to 100 columns wide: one entry per key with type, default, range; sub-tables indented below. */
void param_help(const struct param *table, unsigned indent, struct str *out);
/*
 * {"type": "object", "properties": ..., "required": ..., "additionalProperties": false}. Takes what param_read takes, but for
 * null values, which are legal and pointless. A NODE accepts anything.
 */
void param_schema(const struct param *table, struct json_writer *w);
/*
 * Stops the program, naming the row, if a table is not well formed: names unique, help there, defaults legal, ranges sane, fields
 * inside config_size bytes. For tests and start-up.
 */
void param_assert(const struct param *table, size_t config_size);

#endif
