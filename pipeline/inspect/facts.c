#include "inspect/facts.h"

#include <string.h>

struct putting {
	struct json_writer w;
	const struct fact_change *changes;
	size_t n_changes;
};

static const struct fact_change *find(const struct putting *p, const char *key)
{
	for (size_t i = 0; i < p->n_changes; i++) {
		if (strcmp(p->changes[i].key, key) == 0) {
			return &p->changes[i];
		}
	}
	return NULL;
}

static void put_old(void *ctx, const char *key, const struct json *value)
{
	struct putting *p = ctx;
	if (strcmp(key, "made_from") == 0 || find(p, key)) {
		return;
	}
	struct str text;
	str_init(&text, STR_NO_CAP);
	json_dump(value, false, &text);
	json_key(&p->w, key);
	json_put_raw(&p->w, text.data, text.len);
	str_release(&text);
}

void facts_put(const struct json *facts, const struct fact_change *changes, size_t n_changes,
	struct str *out)
{
	struct putting p = {{.out = out}, changes, n_changes};
	const char *run = json_z(json_get(facts, "run"));
	json_begin_object(&p.w);
	json_each(facts, put_old, &p);
	if (run) {
		json_member_z(&p.w, "made_from", run);
	}
	for (size_t i = 0; i < n_changes; i++) {
		if (changes[i].json) {
			json_key(&p.w, changes[i].key);
			json_put_raw(&p.w, changes[i].json, strlen(changes[i].json));
		}
	}
	json_end_object(&p.w);
}
