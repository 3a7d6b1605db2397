#include "registry.h"

#include <assert.h>
#include <string.h>

#define ROWS_MAX 64

/* Set once at start-up, read-only afterwards. */
static const struct stage_ops *const *all_stages;
static const struct verifier_ops *const *all_verifiers;
static const char *stage_names[ROWS_MAX], *verifier_names[ROWS_MAX];
static size_t n_stages, n_verifiers;

static void assert_stage(const struct stage_ops *s)
{
	assert(s->name && s->summary && s->config_size);
	assert(!s->params != !s->read_config && !s->read_config == !s->release_config);
	bool producer = s->plan || s->start_wave || s->has_room, consumer = s->submit;
	assert((s->run != NULL) + producer + consumer == 1);
	assert(!producer || (s->plan && s->start_wave && s->has_room));
	assert(!s->admit || consumer);
	if (s->params) {
		param_assert(s->params, s->config_size);
	}
}

static bool has_word(const char *const *words, const char *word)
{
	for (; words && *words; words++) {
		if (strcmp(*words, word) == 0) {
			return true;
		}
	}
	return false;
}

/* A word means the same for all of them, since a ledger tells them by the word alone. */
static void assert_failures(const struct verifier_ops *v)
{
	for (const char *const *word = v->failures; word && *word; word++) {
		assert(has_word(v->reasons, *word));
		for (size_t i = 0; i < n_verifiers; i++) {
			const struct verifier_ops *other = all_verifiers[i];
			assert(!has_word(other->reasons, *word) ||
				has_word(other->failures, *word));
		}
	}
}

static void assert_verifier(const struct verifier_ops *v)
{
	assert(v->name && v->summary && v->version && v->params && v->config_size && v->reasons);
	assert((v->score != NULL) + (v->submit != NULL) + (v->score_group != NULL) == 1);
	param_assert(v->params, v->config_size);
}

void registry_set(
	const struct stage_ops *const *stages, const struct verifier_ops *const *verifiers)
{
	all_stages = stages;
	all_verifiers = verifiers;
	for (n_stages = 0; stages[n_stages]; n_stages++) {
		assert(n_stages < ROWS_MAX);
		assert_stage(stages[n_stages]);
		stage_names[n_stages] = stages[n_stages]->name;
	}
	for (n_verifiers = 0; verifiers[n_verifiers]; n_verifiers++) {
		assert(n_verifiers < ROWS_MAX);
		assert_verifier(verifiers[n_verifiers]);
		verifier_names[n_verifiers] = verifiers[n_verifiers]->name;
	}
	for (size_t i = 0; i < n_verifiers; i++) {
		assert_failures(verifiers[i]);
	}
}

const struct stage_ops *const *registry_stages(void)
{
	return all_stages;
}

const struct verifier_ops *const *registry_verifiers(void)
{
	return all_verifiers;
}

const struct stage_ops *registry_stage(const char *name)
{
	for (size_t i = 0; i < n_stages; i++) {
		if (strcmp(all_stages[i]->name, name) == 0) {
			return all_stages[i];
		}
	}
	return NULL;
}

const struct verifier_ops *registry_verifier(const char *name)
{
	for (size_t i = 0; i < n_verifiers; i++) {
		if (strcmp(all_verifiers[i]->name, name) == 0) {
			return all_verifiers[i];
		}
	}
	return NULL;
}

const char *const *registry_stage_names(size_t *out_n)
{
	*out_n = n_stages;
	return stage_names;
}

const char *const *registry_verifier_names(size_t *out_n)
{
	*out_n = n_verifiers;
	return verifier_names;
}

bool registry_is_failure(const char *reason)
{
	bool failure = reason && strcmp(reason, WHEN_FAILED) == 0;
	for (size_t i = 0; reason && !failure && i < n_verifiers; i++) {
		failure = has_word(all_verifiers[i]->failures, reason);
	}
	return failure;
}
