/*
 * Which nights belong into one data set: those that a trainer can read with the tokenizer, the layout and the columns of the
 * night just published. A run that another was made from (`--from`) is left out in favour of that one, since both hold the same
 * conversations; of several that were made from one run, as by `inspect --repack`, one stays for the same reason. Whatever is left
 * out is named, never dropped silently.
 */
#include "pack_private.h"

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "definition.h"
#include "run.h"
#include "shard/mds_merge.h"

#include <stdlib.h>
#include <string.h>

#define LEFT_OUT_NAMED 10 /* in the log of each night */

struct night {
	char *made_from; /* owns; NULL: from nothing, or not known */
	int64_t number; /* of the run, which those made from its folder by hand keep */
	const char *origin; /* borrows; run in which its conversations were first packed */
	bool belongs, remade;
};

struct merging {
	struct pack_state *s;
	char *dir; /* owns; WORKDIR/shards */
	struct json *own; /* owns; index of the run just published */
	char **names; /* owns */
	struct night *nights; /* owns; as names */
	size_t n, n_left_out;
};

static const char *fact(const struct json *index, const char *key)
{
	return json_z(json_get(json_get(index, "thresh"), key));
}

static void left_out(struct merging *m, const char *name, const char *why)
{
	if (m->n_left_out++ < LEFT_OUT_NAMED) {
		log_warn("left out of the index over all nights", "folder", name, "reason", why,
			NULL);
	}
}

/* NULL if it belongs; the reason is valid until the next log line. */
static const char *mismatch(const struct merging *m, const struct json *index)
{
	static const char *const keys[] = {"tokenizer", "layout"};
	for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
		const char *is = fact(index, keys[i]), *own = fact(m->own, keys[i]);
		/* Not known is not the same. */
		if (!is || !own || strcmp(is, own) != 0) {
			return log_fmt("its %s is %s, that of run %s is %s", keys[i],
				is ? is : "not known", m->s->run->id, own ? own : "not known");
		}
	}
	const char *key = mds_merge_compare(index, m->own);
	return key ? log_fmt("its %s are not those of run %s", key, m->s->run->id) : NULL;
}

static void examine(struct merging *m, size_t i)
{
	const char *name = m->names[i];
	struct error err = {0};
	AUTO_JSON struct json *index = mds_merge_read(m->dir, name, &err);
	if (!index) {
		left_out(m, name, err.msg);
		return;
	}
	const char *made_from = fact(index, "made_from");
	m->nights[i].made_from = made_from ? xstrdup(made_from) : NULL;
	json_int(json_get(json_get(index, "thresh"), "run_number"), &m->nights[i].number);
	const char *why = strcmp(name, m->s->run->id) == 0 ? NULL : mismatch(m, index);
	m->nights[i].belongs = !why;
	if (why) {
		left_out(m, name, why);
	}
}

static size_t find(const struct merging *m, const char *name)
{
	size_t i = 0;
	while (i < m->n && strcmp(m->names[i], name) != 0) {
		i++;
	}
	return i;
}

/* Also through a run in between that is itself left out: first <- samples <- packed again. */
static void mark_remade(struct merging *m, size_t i)
{
	const char *from = m->nights[i].made_from;
	/* As many steps as there are nights: what indices say may go in a circle. The run just published stays in any case. */
	for (size_t step = 0; from && step < m->n; step++) {
		size_t before = find(m, from);
		if (before == m->n || before == i || strcmp(from, m->s->run->id) == 0) {
			return;
		}
		if (m->nights[before].belongs && !m->nights[before].remade) {
			log_info("left out of the index over all nights: made again", "folder",
				m->names[before], "as", m->names[i], NULL);
		}
		m->nights[before].remade = true;
		from = m->nights[before].made_from;
	}
}

/* Its folder need not be there any more. */
static const char *find_origin(const struct merging *m, size_t i)
{
	const char *name = m->names[i];
	for (size_t step = 0; step < m->n; step++) {
		size_t at = find(m, name);
		if (at == m->n || !m->nights[at].made_from) {
			break;
		}
		name = m->nights[at].made_from;
	}
	return name;
}

static bool is_in(const struct merging *m, size_t i)
{
	return m->nights[i].belongs && !m->nights[i].remade;
}

/* Which of two with one origin stays: the run just published, else the later run, else the later name. */
static bool goes_before(const struct merging *m, size_t i, size_t k)
{
	const struct night *a = &m->nights[i], *b = &m->nights[k];
	if (strcmp(m->names[i], m->s->run->id) == 0 || strcmp(m->names[k], m->s->run->id) == 0) {
		return strcmp(m->names[i], m->s->run->id) == 0;
	}
	return a->number != b->number ? a->number > b->number : i > k;
}

/* Night i against all others with the same origin. */
static void mark_twin(struct merging *m, size_t i)
{
	for (size_t k = 0; k < m->n; k++) {
		if (k != i && is_in(m, k) && goes_before(m, k, i) &&
			strcmp(m->nights[k].origin, m->nights[i].origin) == 0) {
			log_info("left out of the index over all nights: made from the same run",
				"folder", m->names[i], "as", m->names[k], NULL);
			m->nights[i].remade = true;
			return;
		}
	}
}

/* Read once more, so that one index is in memory at a time. */
static bool write_merged(struct merging *m, struct error *err)
{
	struct mds_merge merge;
	mds_merge_init(&merge, m->dir);
	bool ok = true;
	for (size_t i = 0; ok && i < m->n; i++) {
		if (is_in(m, i)) {
			AUTO_JSON struct json *index = mds_merge_read(m->dir, m->names[i], err);
			ok = index != NULL || error_context(err, "folder '%s'", m->names[i]);
			if (ok) {
				mds_merge_add(&merge, m->names[i], index);
			}
		}
	}
	struct str facts;
	str_init(&facts, STR_NO_CAP);
	mds_merge_put_facts(&merge, json_get(m->own, "thresh"), &facts);
	ok = ok && mds_merge_publish(&merge, facts.data, err);
	str_release(&facts);
	mds_merge_release(&merge);
	return ok;
}

static bool merge(struct merging *m, struct error *err)
{
	m->own = mds_merge_read(m->dir, m->s->run->id, err);
	if (!m->own) {
		return error_context(err, "shards of run '%s'", m->s->run->id);
	}
	for (size_t i = 0; i < m->n; i++) {
		examine(m, i);
	}
	for (size_t i = 0; i < m->n; i++) {
		m->nights[i].origin = find_origin(m, i);
		if (m->nights[i].belongs) {
			mark_remade(m, i);
		}
	}
	for (size_t i = 0; i < m->n; i++) {
		if (is_in(m, i)) {
			mark_twin(m, i);
		}
	}
	if (m->n_left_out > LEFT_OUT_NAMED) {
		log_warn("left out of the index over all nights, further folders", "n",
			log_fmt("%zu", m->n_left_out - LEFT_OUT_NAMED), NULL);
	}
	return write_merged(m, err);
}

bool pack_publish_merged(struct pack_state *s, struct error *err)
{
	struct merging m = {
		.s = s, .dir = file_join(s->run->def->workdir, pack_folder_names[PACK_SHARDS])};
	bool ok = file_remove_drafts(m.dir, err) && mds_merge_folders(m.dir, &m.names, &m.n, err);
	m.nights = xcalloc(m.n, sizeof(*m.nights));
	ok = ok && merge(&m, err);
	for (size_t i = 0; i < m.n; i++) {
		free(m.nights[i].made_from);
	}
	free(m.nights);
	mds_merge_free_names(m.names, m.n);
	json_free(m.own);
	free(m.dir);
	return ok || error_context(err, "index over all nights");
}
