/* Rules are few and requests short, so each request is held against each rule. */
#include "fake_script.h"

#include "base/json.h"
#include "base/lines.h"
#include "base/mem.h"
#include "base/text.h"

#include <limits.h>

#define LINE_MAX_BYTES (1u << 20)

static const struct {
	const char *name;
	enum fault fault;
} faults[] = {{"cut", FAULT_CUT}, {"half", FAULT_HALF}, {"not_json", FAULT_NOT_JSON},
	{"empty", FAULT_EMPTY}, {"never", FAULT_NEVER}, {"slow", FAULT_SLOW}, {"huge", FAULT_HUGE},
	{"body", FAULT_BODY}, {"dead", FAULT_DEAD}, {"wrong_count", FAULT_WRONG_COUNT},
	{"nan", FAULT_NAN}, {"invalid_utf8", FAULT_INVALID_UTF8}, {"few", FAULT_FEW}};

static bool read_fault(struct script_rule *rule, const struct json *value)
{
	const char *name = json_z(value);
	uint64_t status;

	for (size_t i = 0; name && i < ARRAY_LEN(faults); i++) {
		if (strcmp(name, faults[i].name) == 0) {
			rule->fault = faults[i].fault;
			rule->fault_name = faults[i].name;
			return true;
		}
	}
	if (!name || !text_parse_u64(name, &status) || status < 400 || status > 599) {
		return false;
	}
	rule->fault = FAULT_STATUS;
	rule->fault_name = "status";
	rule->status = (unsigned)status;
	return true;
}

/* A missing key leaves `out` as it is. */
static bool read_number(const struct json *rule, const char *key, uint64_t *out)
{
	const struct json *value = json_get(rule, key);
	int64_t number;

	if (!value) {
		return true;
	}
	if (!json_int(value, &number) || number < 0) {
		return false;
	}
	*out = (uint64_t)number;
	return true;
}

static bool read_text(const struct json *rule, const char *key, char **out)
{
	const struct json *value = json_get(rule, key);

	if (!value) {
		return true;
	}
	if (!json_z(value)) {
		return false;
	}
	*out = xstrdup(json_z(value));
	return true;
}

struct unknown_key {
	const char *name; /* NULL: all known */
};

static void find_unknown_key(void *ctx, const char *key, const struct json *value UNUSED)
{
	static const char *const known[] = {"path", "prompt_contains", "nth", "every", "times",
		"fault", "retry_after", "ms", "bytes", "status", "body"};
	struct unknown_key *unknown = ctx;

	for (size_t i = 0; i < ARRAY_LEN(known); i++) {
		if (strcmp(key, known[i]) == 0) {
			return;
		}
	}
	unknown->name = key;
}

static bool read_rule(const struct json *json, struct script_rule *rule, struct error *err)
{
	struct unknown_key unknown = {NULL};
	uint64_t retry_after = UINT64_MAX, status = 200;

	rule->retry_after_s = -1;
	json_each(json, find_unknown_key, &unknown);
	if (unknown.name) {
		return error_set(err, FAIL_CONFIG, "unknown key '%s'", unknown.name);
	}
	if (!read_fault(rule, json_get(json, "fault"))) {
		return error_set(err, FAIL_CONFIG, "'fault' is missing or unknown");
	}
	if (!read_text(json, "path", &rule->path) ||
		!read_text(json, "prompt_contains", &rule->prompt_contains) ||
		!read_text(json, "body", &rule->body)) {
		return error_set(
			err, FAIL_CONFIG, "'path', 'prompt_contains' and 'body' are texts");
	}
	if (!read_number(json, "nth", &rule->nth) || !read_number(json, "every", &rule->every) ||
		!read_number(json, "times", &rule->times) ||
		!read_number(json, "retry_after", &retry_after) ||
		!read_number(json, "ms", &rule->ms) || !read_number(json, "bytes", &rule->bytes) ||
		!read_number(json, "status", &status)) {
		return error_set(err, FAIL_CONFIG, "numbers are whole and not negative");
	}
	if (rule->fault != FAULT_STATUS) {
		rule->status = (unsigned)status;
	}
	if (retry_after <= INT_MAX) {
		rule->retry_after_s = (int)retry_after;
	}
	return true;
}

static bool read_line(struct script *script, struct slice line, struct error *err)
{
	AUTO_JSON struct json *json = json_parse(line.data, line.len, err);
	struct script_rule *rule;

	if (!json) {
		return false;
	}
	if (json_kind(json) != JSON_OBJECT) {
		return error_set(err, FAIL_CONFIG, "a rule is an object");
	}
	script->rules = array_room(script->rules, script->n, &script->cap, sizeof(*rule));
	rule = &script->rules[script->n++];
	*rule = (struct script_rule){0};
	return read_rule(json, rule, err);
}

bool script_read(struct script *script, const char *path, struct error *err)
{
	struct lines in;
	struct slice line;
	enum lines_result got;
	bool ok = true;

	if (!lines_open(&in, path, LINE_MAX_BYTES, err)) {
		return false;
	}
	while (ok && (got = lines_next(&in, &line, err)) != LINES_END) {
		ok = got == LINES_LINE && (line.len == 0 || read_line(script, line, err));
	}
	if (!ok) {
		error_place(err, path, (unsigned)in.line_no, 1);
	}
	lines_release(&in);
	return ok;
}

void script_release(struct script *script)
{
	for (size_t i = 0; i < script->n; i++) {
		free(script->rules[i].path);
		free(script->rules[i].prompt_contains);
		free(script->rules[i].body);
	}
	free(script->rules);
	*script = (struct script){0};
}

static bool fits(const struct script_rule *rule, struct slice path, struct slice prompt_text)
{
	const char *part = rule->prompt_contains;

	if (rule->path && !slice_eq_z(path, rule->path)) {
		return false;
	}
	return !part || memmem(prompt_text.data, prompt_text.len, part, strlen(part));
}

static bool fires(const struct script_rule *rule)
{
	if (rule->times && rule->fired >= rule->times) {
		return false;
	}
	if (rule->nth) {
		return rule->seen == rule->nth;
	}
	return !rule->every || rule->seen % rule->every == 0;
}

const struct script_rule *script_match(
	struct script *script, struct slice path, struct slice prompt_text)
{
	const struct script_rule *found = NULL;

	for (size_t i = 0; i < script->n; i++) {
		struct script_rule *rule = &script->rules[i];

		if (!fits(rule, path, prompt_text)) {
			continue;
		}
		rule->seen++;
		if (!found && fires(rule)) {
			rule->fired++;
			found = rule;
		}
	}
	return found;
}
