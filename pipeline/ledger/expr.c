/*
 * How it works. An expression passes four gates before it is trusted:
 *
 *	scan       our own walk over the text. It knows quotes and parentheses only, which is enough to be sure that the text stays
 *	           inside the parentheses that we put around it, and holds no comment, no statement end and no parameter. What
 *	           SQLite is shown afterwards can therefore be nothing but one parenthesised expression.
 *	authorizer while SQLite compiles, every name is offered to `authorize`: one SELECT (ours), the columns that were given,
 *	           the functions of the list. A name not on a list fails to compile, so there is no list of bad names to keep up.
 *	WHERE      it is first compiled as a WHERE clause, where aggregates and window functions are misuse by SQLite's own rules.
 *	limits     depth, program size, LIKE patterns, string length and steps: what remains is bounded in time and memory.
 *
 * Why SQLite and not an expression language of our own: the same text also stands in statements over the ledger, and two
 * implementations of NULL logic, affinities and comparison would differ somewhere, some night.
 *
 * The columns are those of a real table of one row. Evaluating binds the columns that the expression reads (the authorizer told
 * which), updates the row, and steps the query: two small programs without parsing. The table's name cannot be written in an
 * expression (it has a control character, which the scan refuses), so no text depends on it.
 */
#include "ledger/expr.h"

#include "base/mem.h"
#include "base/text.h"

#include <sqlite3.h>
#include <string.h>
#include <strings.h>

#define ROW_TABLE "\x01row"
#define HINT_NAMES 24 /* columns that a hint lists at most */
#define STEPS_BETWEEN_CHECKS 1000
#define TEXT_BYTES_MAX (8 << 20) /* of one value, bound or computed */

/* Sorted as people look for them; the error message prints the list. None reads a clock, draws a number, or allocates by a count. */
static const char *const functions[] = {"abs", "coalesce", "glob", "hex", "ifnull", "iif", "instr",
	"length", "like", "lower", "ltrim", "max", "min", "nullif", "replace", "round", "rtrim",
	"sign", "substr", "substring", "trim", "typeof", "unicode", "upper"};

struct expr {
	sqlite3 *db;
	sqlite3_stmt *query, *update;
	char *text; /* owns; trimmed */
	size_t n_columns;
	/* Per column given: its index in the table, or -1 for a name that came before. */
	int *places;
	bool *reads; /* per column given */
	uint64_t steps;
};

/* What a compilation is allowed, and what it was refused. */
struct gate {
	const struct expr_column *columns;
	size_t n_columns;
	bool *reads;
	unsigned selects;
	bool subquery;
	char function[64]; /* refused */
	char column[128]; /* refused */
};

static bool is_function(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(functions); i++) {
		if (strcasecmp(functions[i], name) == 0) {
			return true;
		}
	}
	return false;
}

static bool is_word(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		c == '_' || c == '$' || (unsigned char)c >= 0x80;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static struct slice trim(const char *text)
{
	while (is_blank(*text)) {
		text++;
	}
	size_t len = strlen(text);
	while (len > 0 && is_blank(text[len - 1])) {
		len--;
	}
	return (struct slice){text, len};
}

static bool word_is(struct slice word, const char *z)
{
	return word.len == strlen(z) && strncasecmp(word.data, z, word.len) == 0;
}

/* The step of a walk over an expression's text: a quoted thing, a word, or one other character. */
struct lexeme {
	size_t end; /* 0: a quote that is not closed */
	bool quoted, word;
};

static struct lexeme next_lexeme(struct slice s, size_t at)
{
	char c = s.data[at];
	struct lexeme x = {.end = at + 1};
	if (c == '\'' || c == '"' || c == '`' || c == '[') {
		char close = c == '[' ? ']' : c;
		x.quoted = true;
		/* A doubled quote inside reads as two quoted things side by side, which is as good. */
		const char *q = memchr(s.data + at + 1, close, s.len - at - 1);
		x.end = q ? (size_t)(q - s.data) + 1 : 0;
	} else if (is_word(c)) {
		x.word = true;
		while (x.end < s.len && is_word(s.data[x.end])) {
			x.end++;
		}
	}
	return x;
}

static bool scan_word(struct slice word, struct error *err)
{
	static const char *const queries[] = {"select", "values"};
	for (size_t i = 0; i < ARRAY_LEN(queries); i++) {
		if (word_is(word, queries[i])) {
			error_set(err, FAIL_CONFIG,
				"a subquery ('%s') is not allowed in an expression", queries[i]);
			return error_hint(err,
				"an expression sees its own columns only; a column of that name "
				"goes in double quotes");
		}
	}
	return true;
}

static bool scan_char(struct slice s, size_t at, struct error *err)
{
	char c = s.data[at], next = at + 1 < s.len ? s.data[at + 1] : '\0';
	if (c == ';') {
		return error_set(err, FAIL_CONFIG, "';' is not allowed in an expression");
	}
	if ((c == '-' && next == '-') || (c == '/' && next == '*')) {
		error_set(err, FAIL_CONFIG, "a comment ('%c%c') is not allowed in an expression", c,
			next);
		return c == '-' ? error_hint(err, "minus a negative number is written - -1")
				: false;
	}
	if (c == '?' || c == ':' || c == '@' || c == '#') {
		return error_set(err, FAIL_CONFIG, "'%c' is not allowed in an expression", c);
	}
	return true;
}

static bool scan(struct slice s, struct error *err)
{
	unsigned depth = 0;
	if (s.len == 0) {
		return error_set(err, FAIL_CONFIG, "the expression is empty");
	}
	if (s.len > EXPR_BYTES_MAX) {
		return error_set(err, FAIL_CONFIG, "the expression has %zu bytes, more than %d",
			s.len, EXPR_BYTES_MAX);
	}
	if (!utf8_valid(s.data, s.len)) {
		return error_set(err, FAIL_CONFIG, "the expression is not valid UTF-8");
	}
	for (size_t at = 0; at < s.len; at++) {
		if ((unsigned char)s.data[at] < 0x20 && !is_blank(s.data[at])) {
			return error_set(err, FAIL_CONFIG,
				"a control character (0x%02x) is not allowed in an expression",
				(unsigned char)s.data[at]);
		}
	}
	for (size_t at = 0; at < s.len;) {
		struct lexeme x = next_lexeme(s, at);
		if (x.end == 0) {
			return error_set(err, FAIL_CONFIG, "a quote (%c) is opened and not closed",
				s.data[at]);
		}
		if (x.word && !scan_word((struct slice){s.data + at, x.end - at}, err)) {
			return false;
		}
		if (!x.word && !x.quoted && !scan_char(s, at, err)) {
			return false;
		}
		if (s.data[at] == '(' && ++depth > EXPR_PARENS_MAX) {
			/* SQLite 3.40 refuses about 90 for its parser's stack, 3.46 lets that grow. */
			return error_set(err, FAIL_CONFIG,
				"more than %d parentheses are open at once", EXPR_PARENS_MAX);
		}
		if (s.data[at] == ')' && depth-- == 0) {
			return error_set(
				err, FAIL_CONFIG, "')' closes a parenthesis that was never opened");
		}
		at = x.end;
	}
	return depth == 0 || error_set(err, FAIL_CONFIG, "%u '(' opened and not closed", depth);
}

/* --- Compiling --- */

static int read_allowed(struct gate *g, const char *table, const char *column)
{
	if (strcmp(table, ROW_TABLE) == 0) {
		if (*column == '\0') {
			return SQLITE_OK; /* the table is read, but no column of it */
		}
		for (size_t i = 0; i < g->n_columns; i++) {
			if (strcasecmp(g->columns[i].name, column) == 0) {
				if (g->reads) {
					g->reads[i] = true;
				}
				return SQLITE_OK;
			}
		}
	}
	snprintf(g->column, sizeof(g->column), "%s", column);
	return SQLITE_DENY;
}

static int authorize(void *ctx, int action, const char *p1, const char *p2, const char *database,
	const char *accessor)
{
	struct gate *g = ctx;
	(void)database;
	(void)accessor;
	switch (action) {
	case SQLITE_SELECT:
		if (g->selects++ == 0) {
			return SQLITE_OK;
		}
		g->subquery = true;
		return SQLITE_DENY;
	case SQLITE_READ:
		return read_allowed(g, p1 ? p1 : "", p2 ? p2 : "");
	case SQLITE_FUNCTION:
		if (p2 && is_function(p2)) {
			return SQLITE_OK;
		}
		snprintf(g->function, sizeof(g->function), "%s", p2 ? p2 : "");
		return SQLITE_DENY;
	default:
		return SQLITE_DENY;
	}
}

static int check_steps(void *ctx)
{
	struct expr *e = ctx;
	e->steps += STEPS_BETWEEN_CHECKS;
	return e->steps > EXPR_STEPS_MAX;
}

static void hint_functions(struct error *err)
{
	struct str list;
	str_init(&list, STR_NO_CAP);
	for (size_t i = 0; i < ARRAY_LEN(functions); i++) {
		str_printf(&list, "%s%s", i ? ", " : "", functions[i]);
	}
	error_hint(err, "what may be used: %s", list.data);
	str_release(&list);
}

static void hint_columns(const struct gate *g, const char *name, struct error *err)
{
	const char **names = xcalloc(g->n_columns + 1, sizeof(*names));
	for (size_t i = 0; i < g->n_columns; i++) {
		names[i] = g->columns[i].name;
	}
	const char *nearest = text_nearest(name, names, g->n_columns);
	if (nearest) {
		error_hint(err, "did you mean '%s'?", nearest);
	} else if (g->n_columns > 0) {
		struct str list;
		str_init(&list, STR_NO_CAP);
		size_t shown = MIN(g->n_columns, (size_t)HINT_NAMES);
		for (size_t i = 0; i < shown; i++) {
			str_printf(&list, "%s%s", i ? ", " : "", names[i]);
		}
		error_hint(err, "columns: %s%s; text goes in single quotes", list.data,
			shown < g->n_columns ? ", ..." : "");
		str_release(&list);
	}
	free(names);
}

static bool no_such_column(const struct gate *g, const char *name, struct error *err)
{
	error_set(err, FAIL_CONFIG, "no such column: %s", name);
	hint_columns(g, name, err);
	return false;
}

/* "no such column: x" (3.40) or `no such column: "x" - should this be ...` (later): the name, in buf. */
static bool unknown_column(const char *msg, char *buf, size_t buf_bytes)
{
	static const char prefix[] = "no such column: ";
	if (strncmp(msg, prefix, strlen(prefix)) != 0) {
		return false;
	}
	const char *name = msg + strlen(prefix);
	if (*name == '"') {
		const char *close = strrchr(name + 1, '"');
		size_t len = close ? (size_t)(close - name) - 1 : strlen(name + 1);
		snprintf(buf, buf_bytes, "%.*s", (int)len, name + 1);
	} else {
		snprintf(buf, buf_bytes, "%s", name);
	}
	return true;
}

static bool function_refused(const char *name, struct error *err)
{
	error_set(err, FAIL_CONFIG, "function '%s' is not allowed in an expression", name);
	hint_functions(err);
	return false;
}

/* Turns what SQLite or the authorizer said about `text`, which begins at `offset` of the statement, into a sentence for people. */
static bool compile_failed(
	sqlite3 *db, const struct gate *g, struct slice text, size_t offset, struct error *err)
{
	char name[256];
	const char *msg = sqlite3_errmsg(db);
	if (g->function[0]) {
		return function_refused(g->function, err);
	}
	if (g->subquery) {
		return error_set(err, FAIL_CONFIG, "a subquery is not allowed in an expression");
	}
	if (g->column[0]) {
		return no_such_column(g, g->column, err);
	}
	if (unknown_column(msg, name, sizeof(name))) {
		return no_such_column(g, name, err);
	}
	if (sscanf(msg, "no such function: %200s", name) == 1) {
		return function_refused(name, err);
	}
	if (strncmp(msg, "misuse of", 9) == 0) {
		error_set(err, FAIL_CONFIG, "%s", msg);
		return error_hint(err,
			"an expression sees one candidate; max and min take two or more values "
			"here");
	}
	int at = sqlite3_error_offset(db);
	if (strstr(msg, "syntax error") && at >= 0 && (size_t)at >= offset + text.len) {
		return error_set(err, FAIL_CONFIG, "the expression ends too early");
	}
	if (at >= (int)offset) {
		return error_set(
			err, FAIL_CONFIG, "%s (at character %zu)", msg, (size_t)at - offset + 1);
	}
	return error_set(err, FAIL_CONFIG, "%s", msg);
}

/* Compiles PREFIX (TEXT); the parentheses and what the scan found make sure that TEXT stays between them. */
static sqlite3_stmt *compile(sqlite3 *db, struct gate *g, const char *prefix, struct slice text,
	const char *suffix, struct error *err)
{
	struct str sql;
	sqlite3_stmt *stmt = NULL;
	str_init(&sql, STR_NO_CAP);
	str_printf(&sql, "%s(", prefix);
	str_append(&sql, text.data, text.len);
	str_printf(&sql, ")%s", suffix);
	g->selects = 0;
	sqlite3_set_authorizer(db, authorize, g);
	int rc = sqlite3_prepare_v3(
		db, sql.data, (int)sql.len, SQLITE_PREPARE_PERSISTENT, &stmt, NULL);
	if (rc == SQLITE_NOMEM) {
		oom();
	}
	if (rc != SQLITE_OK) {
		compile_failed(db, g, text, strlen(prefix) + 1, err);
	} else if (sqlite3_bind_parameter_count(stmt) != 0) {
		error_set(err, FAIL_CONFIG, "parameters are not allowed in an expression");
		sqlite3_finalize(stmt);
		stmt = NULL;
	}
	/* The gate dies with the caller; what else is compiled on this connection is ours. */
	sqlite3_set_authorizer(db, NULL, NULL);
	str_release(&sql);
	return stmt;
}

/* --- The connection and its one row --- */

static void append_name(struct str *sql, const char *name)
{
	str_append_c(sql, '"');
	for (; *name; name++) {
		if (*name == '"') {
			str_append_c(sql, '"');
		}
		str_append_c(sql, *name);
	}
	str_append_c(sql, '"');
}

static const char *affinity(enum expr_type type)
{
	switch (type) {
	case EXPR_INTEGER:
		return " INTEGER";
	case EXPR_REAL:
		return " REAL";
	case EXPR_TEXT:
		return " TEXT";
	case EXPR_ANY:
		break;
	}
	return "";
}

static void must(int rc)
{
	/* The statements are ours and touch memory only. */
	if (rc != SQLITE_OK) {
		oom();
	}
}

static bool seen_before(const struct expr_column *columns, size_t i)
{
	for (size_t j = 0; j < i; j++) {
		if (strcasecmp(columns[j].name, columns[i].name) == 0) {
			return true;
		}
	}
	return false;
}

/* A name given twice is the first one's: prompts may have a field that is called like a verifier. */
static void create_row(struct expr *e, const struct expr_column *columns)
{
	struct str sql;
	int n = 0;
	str_init(&sql, STR_NO_CAP);
	str_append_z(&sql, "CREATE TABLE \"" ROW_TABLE "\" (");
	for (size_t i = 0; i < e->n_columns; i++) {
		e->places[i] = seen_before(columns, i) ? -1 : n;
		if (e->places[i] < 0) {
			continue;
		}
		str_append_z(&sql, n++ > 0 ? ", " : "");
		append_name(&sql, columns[i].name);
		str_append_z(&sql, affinity(columns[i].type));
	}
	/* A table needs a column, and a definition may have none to see. */
	str_append_z(&sql, n > 0 ? "" : "\"\x01none\"");
	str_append_z(&sql, "); INSERT INTO \"" ROW_TABLE "\" DEFAULT VALUES");
	must(sqlite3_exec(e->db, sql.data, NULL, NULL, NULL));
	str_release(&sql);
}

static void set_limits(sqlite3 *db, size_t n_columns)
{
	const struct {
		int id, value;
	} limits[] = {
		{SQLITE_LIMIT_LENGTH, TEXT_BYTES_MAX},
		{SQLITE_LIMIT_SQL_LENGTH, EXPR_BYTES_MAX + 256},
		{SQLITE_LIMIT_COLUMN, (int)MAX(n_columns, (size_t)64)},
		{SQLITE_LIMIT_EXPR_DEPTH, 64},
		{SQLITE_LIMIT_COMPOUND_SELECT, 1},
		{SQLITE_LIMIT_VDBE_OP, 5000},
		{SQLITE_LIMIT_FUNCTION_ARG, 16},
		{SQLITE_LIMIT_ATTACHED, 0},
		{SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 100},
		{SQLITE_LIMIT_TRIGGER_DEPTH, 0},
		{SQLITE_LIMIT_WORKER_THREADS, 0},
	};
	for (size_t i = 0; i < ARRAY_LEN(limits); i++) {
		sqlite3_limit(db, limits[i].id, limits[i].value);
	}
}

static void strict_quotes(sqlite3 *db)
{
	sqlite3_db_config(db, SQLITE_DBCONFIG_DQS_DML, 0, (int *)NULL);
	sqlite3_db_config(db, SQLITE_DBCONFIG_DQS_DDL, 0, (int *)NULL);
}

/* UPDATE of the columns that are read; parameter ?i+1 is table column i. */
static void compile_update(struct expr *e, const struct expr_column *columns)
{
	struct str sql;
	bool any = false;
	str_init(&sql, STR_NO_CAP);
	str_append_z(&sql, "UPDATE \"" ROW_TABLE "\" SET ");
	for (size_t i = 0; i < e->n_columns; i++) {
		if (!e->reads[i]) {
			continue;
		}
		str_append_z(&sql, any ? ", " : "");
		append_name(&sql, columns[i].name);
		str_printf(&sql, " = ?%d", e->places[i] + 1);
		any = true;
	}
	if (any) {
		sqlite3_limit(e->db, SQLITE_LIMIT_SQL_LENGTH, INT32_MAX);
		must(sqlite3_prepare_v3(e->db, sql.data, (int)sql.len, SQLITE_PREPARE_PERSISTENT,
			&e->update, NULL));
	}
	str_release(&sql);
}

static struct expr *expr_open(struct slice text, const struct expr_column *columns, size_t n)
{
	struct expr *e = xcalloc(1, sizeof(*e));
	e->text = xmemdup0(text.data, text.len);
	e->n_columns = n;
	e->places = xcalloc(n + 1, sizeof(*e->places));
	e->reads = xcalloc(n + 1, sizeof(*e->reads));
	must(sqlite3_open_v2(":memory:", &e->db,
		SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_MEMORY |
			SQLITE_OPEN_NOMUTEX,
		NULL));
	strict_quotes(e->db);
	create_row(e, columns);
	set_limits(e->db, n);
	sqlite3_progress_handler(e->db, STEPS_BETWEEN_CHECKS, check_steps, e);
	return e;
}

struct expr *expr_new(
	const char *text, const struct expr_column *columns, size_t n_columns, struct error *err)
{
	struct slice s = trim(text);
	if (!scan(s, err)) {
		return NULL;
	}
	struct expr *e = expr_open(s, columns, n_columns);
	struct gate g = {.columns = columns, .n_columns = n_columns, .reads = e->reads};
	sqlite3_stmt *as_where = compile(
		e->db, &g, "SELECT 1 FROM \"" ROW_TABLE "\" WHERE ", s, "", err);
	sqlite3_finalize(as_where);
	if (as_where) {
		e->query = compile(e->db, &g, "SELECT ", s, " FROM \"" ROW_TABLE "\"", err);
	}
	if (!e->query) {
		expr_free(e);
		return NULL;
	}
	compile_update(e, columns);
	return e;
}

void expr_free(struct expr *e)
{
	if (!e) {
		return;
	}
	sqlite3_finalize(e->query);
	sqlite3_finalize(e->update);
	sqlite3_close(e->db);
	free(e->text);
	free(e->places);
	free(e->reads);
	free(e);
}

static int bind(sqlite3_stmt *stmt, int at, const struct expr_value *v)
{
	switch (v->kind) {
	case EXPR_VALUE_INT:
		return sqlite3_bind_int64(stmt, at, v->integer);
	case EXPR_VALUE_REAL:
		return sqlite3_bind_double(stmt, at, v->real);
	case EXPR_VALUE_TEXT:
		/* The row outlives the step, so SQLite need not copy. */
		return sqlite3_bind_text64(stmt, at, v->text.data ? v->text.data : "", v->text.len,
			SQLITE_STATIC, SQLITE_UTF8);
	case EXPR_VALUE_NULL:
		break;
	}
	return sqlite3_bind_null(stmt, at);
}

static bool eval_failed(struct expr *e, int rc, struct error *err)
{
	if (rc == SQLITE_NOMEM) {
		oom();
	}
	if (rc == SQLITE_INTERRUPT) {
		error_set(err, FAIL_DATA, "more than %d steps", EXPR_STEPS_MAX);
	} else {
		error_set(err, FAIL_DATA, "%s",
			rc == SQLITE_TOOBIG ? "a text or a pattern is too long"
					    : sqlite3_errmsg(e->db));
	}
	return error_context(err, "expression '%s'", e->text);
}

static bool set_row(struct expr *e, const struct expr_value *row, struct error *err)
{
	int rc = SQLITE_OK;
	for (size_t i = 0; i < e->n_columns && rc == SQLITE_OK; i++) {
		if (e->reads[i]) {
			rc = bind(e->update, e->places[i] + 1, &row[i]);
		}
	}
	if (rc == SQLITE_OK) {
		rc = sqlite3_step(e->update);
	}
	sqlite3_reset(e->update);
	sqlite3_clear_bindings(e->update);
	return rc == SQLITE_DONE || eval_failed(e, rc, err);
}

bool expr_eval(
	struct expr *e, const struct expr_value *row, enum expr_truth *out, struct error *err)
{
	e->steps = 0;
	if (e->update && !set_row(e, row, err)) {
		return false;
	}
	int rc = sqlite3_step(e->query);
	if (rc != SQLITE_ROW) {
		eval_failed(e, rc, err);
		sqlite3_reset(e->query);
		return false;
	}
	/* What WHERE would do: NULL is unknown; text counts as the number it begins with. */
	if (sqlite3_column_type(e->query, 0) == SQLITE_NULL) {
		*out = EXPR_UNKNOWN;
	} else {
		*out = sqlite3_column_double(e->query, 0) != 0 ? EXPR_TRUE : EXPR_FALSE;
	}
	sqlite3_reset(e->query);
	return true;
}

bool expr_reads(const struct expr *e, size_t column)
{
	return column < e->n_columns && e->reads[column];
}

const char *expr_text(const struct expr *e)
{
	return e->text;
}

/* --- ORDER BY --- */

/* The last word of s (outside quotes, since s has passed the scan and a quote ends in its mark), or an empty slice. */
static struct slice last_word(struct slice s)
{
	size_t at = s.len;
	while (at > 0 && is_word(s.data[at - 1])) {
		at--;
	}
	return (struct slice){s.data + at, s.len - at};
}

static bool drop_word(struct slice *s, const char *word)
{
	struct slice last = last_word(*s);
	/* "desc" alone is a term's whole text, not its direction. */
	if (!word_is(last, word) || last.len == s->len) {
		return false;
	}
	s->len -= last.len;
	while (s->len > 0 && is_blank(s->data[s->len - 1])) {
		s->len--;
	}
	return true;
}

/* Takes ASC, DESC, NULLS FIRST and NULLS LAST off the end of a term. */
static struct slice drop_direction(struct slice s)
{
	struct slice whole = s;
	if ((drop_word(&s, "first") || drop_word(&s, "last")) && !drop_word(&s, "nulls")) {
		s = whole;
	}
	if (!drop_word(&s, "asc")) {
		(void)drop_word(&s, "desc");
	}
	return s;
}

static bool has_collate(struct slice s)
{
	for (size_t at = 0; at < s.len;) {
		struct lexeme x = next_lexeme(s, at);
		if (x.word && word_is((struct slice){s.data + at, x.end - at}, "collate")) {
			return true;
		}
		at = x.end ? x.end : s.len;
	}
	return false;
}

static bool check_term(
	struct slice term, const struct expr_column *columns, size_t n_columns, struct error *err)
{
	char *trimmed = xmemdup0(term.data, term.len);
	struct slice s = drop_direction(trim(trimmed));
	char *text = xmemdup0(s.data, s.len);
	bool ok = false, reads = false;
	free(trimmed);
	if (has_collate((struct slice){text, s.len})) {
		ok = error_set(err, FAIL_CONFIG, "COLLATE is not allowed in an order");
	} else {
		struct expr *e = expr_new(text, columns, n_columns, err);
		for (size_t i = 0; e && i < n_columns; i++) {
			reads |= expr_reads(e, i);
		}
		ok = e && reads;
		if (e && !reads) {
			/* In SQL a bare number is the place of a result column: never what was meant. */
			error_set(err, FAIL_CONFIG, "'%s' reads no column, so it orders nothing",
				text);
		}
		expr_free(e);
	}
	free(text);
	return ok;
}

bool expr_check_order(
	const char *text, const struct expr_column *columns, size_t n_columns, struct error *err)
{
	struct slice s = trim(text);
	size_t start = 0;
	unsigned depth = 0;
	if (!scan(s, err)) {
		return false;
	}
	for (size_t at = 0; at <= s.len;) {
		if (at == s.len || (s.data[at] == ',' && depth == 0)) {
			struct slice term = {s.data + start, at - start};
			if (!check_term(term, columns, n_columns, err)) {
				return false;
			}
			start = ++at;
			continue;
		}
		depth += s.data[at] == '(';
		depth -= s.data[at] == ')';
		at = next_lexeme(s, at).end;
	}
	return true;
}

/* --- Other connections --- */

static bool is_listed(const char *const *names, const char *name)
{
	for (; name && *names; names++) {
		if (strcasecmp(*names, name) == 0) {
			return true;
		}
	}
	return false;
}

/* What a listed view does inside is its own affair: SQLite names the view as the accessor then. */
static int authorize_tables(void *ctx, int action, const char *p1, const char *p2,
	const char *database, const char *accessor)
{
	const char *const *tables = ctx;
	(void)database;
	switch (action) {
	case SQLITE_SELECT:
		return SQLITE_OK;
	case SQLITE_READ:
		return is_listed(tables, p1) || is_listed(tables, accessor) ? SQLITE_OK
									    : SQLITE_DENY;
	case SQLITE_FUNCTION:
		return (p2 && is_function(p2)) || is_listed(tables, accessor) ? SQLITE_OK
									      : SQLITE_DENY;
	default:
		return SQLITE_DENY;
	}
}

void expr_restrict(void *sqlite, const char *const *tables)
{
	sqlite3 *db = sqlite;
	union {
		const char *const *tables;
		void *ctx;
	} u = {.tables = tables};
	strict_quotes(db);
	sqlite3_limit(db, SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 100);
	sqlite3_set_authorizer(db, authorize_tables, u.ctx);
}

void expr_unrestrict(void *sqlite)
{
	sqlite3 *db = sqlite;
	sqlite3_set_authorizer(db, NULL, NULL);
	sqlite3_limit(db, SQLITE_LIMIT_LIKE_PATTERN_LENGTH, INT32_MAX);
}
