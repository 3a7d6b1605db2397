/*
 * Which prompt comes next: in the order of the draw, so that a night which ends early has done a fair share of every source; but the
 * last of them, when they are about to run out, with the longest expected first. A long one begun last would run on alone while the
 * other slots are idle. What is expected of a prompt is what candidates of its source have had so far. Nothing that is sampled
 * depends on the order.
 *
 * In rounds, prompts that want another wave wait in the ledger until the others have had as many; see stage_ops.in_rounds.
 */
#include "flow/flow_private.h"

#include "base/mem.h"
#include "ledger/ledger.h"
#include "run.h"

#include <stdlib.h>
#include <string.h>

#define TAIL_MAX 8192 /* prompts */
#define TAIL_GROUPS 2 /* so many times those that are at work */

struct flow_source {
	char *name; /* owns */
	uint64_t n, n_tokens;
};

static struct flow_source *find_source(const struct flow_order *o, const char *name)
{
	for (size_t i = 0; i < o->n_sources; i++) {
		if (strcmp(o->sources[i].name, name) == 0) {
			return &o->sources[i];
		}
	}
	return NULL;
}

void flow_learn(struct flow *f, const struct candidate *c)
{
	struct flow_order *o = &f->order;
	const char *name = c->group->prompt.source;
	struct flow_source *source = find_source(o, name);
	if (!source) {
		o->sources = xreallocarray(o->sources, o->n_sources + 1, sizeof(*o->sources));
		source = &o->sources[o->n_sources++];
		*source = (struct flow_source){.name = xstrdup(name)};
	}
	source->n++;
	source->n_tokens += c->n_tokens;
	o->n_known++;
	o->n_tokens += c->n_tokens;
}

double flow_expected_tokens(const struct run *run, const char *name)
{
	const struct flow_order *o = &run->flow->order;
	const struct flow_source *source = name ? find_source(o, name) : NULL;
	if (source) {
		return (double)source->n_tokens / (double)source->n;
	}
	return o->n_known ? (double)o->n_tokens / (double)o->n_known : 1;
}

struct late {
	int64_t id;
	double tokens;
};

struct reading {
	const struct run *run;
	struct late *list;
	size_t n;
};

static void take_late(void *ctx, int64_t id, const char *source)
{
	struct reading *r = ctx;
	r->list[r->n++] = (struct late){id, flow_expected_tokens(r->run, source)};
}

static int by_length(const void *a, const void *b)
{
	const struct late *x = a, *y = b;
	return x->tokens != y->tokens ? (x->tokens < y->tokens ? 1 : -1)
				      : (x->id > y->id) - (x->id < y->id);
}

/* Reads the prompts that are left, once they are few. */
static bool begin_tail(struct flow *f, struct error *err)
{
	struct flow_order *o = &f->order;
	size_t n_left = (size_t)flow_prompts_to_come(f->run);
	if (o->in_rounds || o->tail || !n_left ||
		n_left > MIN(TAIL_GROUPS * f->n_groups, TAIL_MAX)) {
		return true;
	}
	struct reading r = {f->run, xcalloc(n_left, sizeof(*r.list)), 0};
	if (!ledger_each_pending(f->run->ledger, o->cursor, n_left, take_late, &r, err)) {
		free(r.list);
		return false;
	}
	qsort(r.list, r.n, sizeof(*r.list), by_length);
	o->tail = r.list;
	o->n_tail = r.n;
	return true;
}

/* No prompt is left behind the cursor; false: nor anywhere else. */
static bool start_next_round(struct flow_order *o)
{
	if (!o->n_later) {
		return false;
	}
	o->n_later = 0;
	o->round++;
	o->cursor = 0;
	return true;
}

static bool is_in_memory(const struct flow *f, int64_t prompt)
{
	const struct flow_group *g = f->groups;
	while (g && g->group.prompt.id != prompt) {
		g = g->next;
	}
	return g != NULL;
}

enum ledger_found flow_next_prompt(
	struct flow *f, struct arena *arena, struct ledger_prompt *out, struct error *err)
{
	struct flow_order *o = &f->order;
	if (!begin_tail(f, err)) {
		return LEDGER_FAILED;
	}
	if (o->tail && o->tail_at < o->n_tail) {
		return ledger_get_prompt(f->run->ledger, o->tail[o->tail_at].id, arena, out, err);
	}
	for (;;) {
		enum ledger_found found = ledger_next_pending(
			f->run->ledger, o->cursor, arena, out, err);
		if (found == LEDGER_FOUND) {
			/* One that is still at work on the last round goes on by itself. */
			if (!o->round || !is_in_memory(f, out->id)) {
				return found;
			}
			o->cursor = out->id;
			arena_reset(arena);
		} else if (found == LEDGER_FAILED || !start_next_round(o)) {
			return found;
		}
	}
}

void flow_pass_prompt(struct flow *f, int64_t id)
{
	struct flow_order *o = &f->order;
	o->tail_at += o->tail && o->tail_at < o->n_tail;
	o->cursor = MAX(o->cursor, id);
}

void flow_order_release(struct flow *f)
{
	for (size_t i = 0; i < f->order.n_sources; i++) {
		free(f->order.sources[i].name);
	}
	free(f->order.sources);
	free(f->order.tail);
}
