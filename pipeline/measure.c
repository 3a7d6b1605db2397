#include "measure.h"

#include "base/hash.h"
#include "base/json.h"
#include "base/mem.h"
#include "ledger/ledger.h"
#include "registry.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define RIGHT_FROM 0.5

enum label { LABEL_UNKNOWN, LABEL_WRONG, LABEL_RIGHT };

static enum label label_of_number(double v)
{
	return v >= RIGHT_FROM ? LABEL_RIGHT : LABEL_WRONG;
}

static enum label label_of_field(const struct json *v)
{
	static const char *const right[] = {"true", "yes", "1", "correct", "right"},
				 *const wrong[] = {"false", "no", "0", "incorrect", "wrong"};
	const char *text = json_z(v);
	double number;
	bool truth;
	if (json_bool(v, &truth)) {
		return truth ? LABEL_RIGHT : LABEL_WRONG;
	}
	if (json_num(v, &number)) {
		return label_of_number(number);
	}
	for (size_t i = 0; text && i < ARRAY_LEN(right); i++) {
		if (strcasecmp(text, right[i]) == 0) {
			return LABEL_RIGHT;
		}
		if (strcasecmp(text, wrong[i]) == 0) {
			return LABEL_WRONG;
		}
	}
	return LABEL_UNKNOWN;
}

struct reading {
	struct measures *out;
	const char *label;
	int64_t prompt;
	enum label of_prompt;
};

/* A verifier of the label's name goes before a field, as its column does. */
static enum label label_of(const struct reading *r, const struct ledger_candidate *c)
{
	for (size_t i = 0; i < c->n_scores; i++) {
		if (strcasecmp(c->scores[i].verifier, r->label) == 0) {
			return c->scores[i].known ? label_of_number(c->scores[i].value)
						  : LABEL_UNKNOWN;
		}
	}
	return r->of_prompt;
}

static struct measured *measured_of(struct measures *m, const char *verifier)
{
	for (size_t i = 0; i < m->n; i++) {
		if (strcmp(m->list[i].verifier, verifier) == 0) {
			return &m->list[i];
		}
	}
	m->list = xreallocarray(m->list, m->n + 1, sizeof(*m->list));
	m->list[m->n] = (struct measured){.verifier = xstrdup(verifier)};
	return &m->list[m->n++];
}

static bool visit(void *ctx, const struct ledger_candidate *c, const struct ledger_prompt *p,
	struct error *err)
{
	struct reading *r = ctx;
	if (p->id != r->prompt) {
		AUTO_JSON struct json *fields = json_parse(p->fields.data, p->fields.len, err);
		if (!fields) {
			return false;
		}
		r->prompt = p->id;
		r->of_prompt = label_of_field(json_get(fields, r->label));
	}
	enum label label = label_of(r, c);
	if (label == LABEL_UNKNOWN) {
		return true;
	}
	r->out->n_labelled++;
	for (size_t i = 0; i < c->n_scores; i++) {
		const struct ledger_score *s = &c->scores[i];
		if (!s->known || strcasecmp(s->verifier, r->label) == 0) {
			continue;
		}
		struct measured *m = measured_of(r->out, s->verifier);
		m->list = array_room(m->list, m->n, &m->cap, sizeof(*m->list));
		m->list[m->n++] = (struct labelled){s->value, label == LABEL_RIGHT};
		m->n_right += label == LABEL_RIGHT;
		m->n_between += s->value > 0 && s->value < 1;
	}
	return true;
}

static int best_first(const void *a, const void *b)
{
	double x = ((const struct labelled *)a)->score, y = ((const struct labelled *)b)->score;
	return (x < y) - (x > y);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(
		((const struct measured *)a)->verifier, ((const struct measured *)b)->verifier);
}

bool measures_read(struct ledger *l, const char *label, struct measures *out, struct error *err)
{
	struct reading r = {.out = out, .label = label};
	*out = (struct measures){0};
	if (!ledger_each_candidate(l, visit, &r, err)) {
		measures_release(out);
		return false;
	}
	for (size_t i = 0; i < out->n; i++) {
		qsort(out->list[i].list, out->list[i].n, sizeof(*out->list[i].list), best_first);
	}
	if (out->n) {
		qsort(out->list, out->n, sizeof(*out->list), by_name);
	}
	return true;
}

void measures_release(struct measures *m)
{
	for (size_t i = 0; i < m->n; i++) {
		free(m->list[i].verifier);
		free(m->list[i].list);
	}
	free(m->list);
	*m = (struct measures){0};
}

/* Wilson's interval: unlike the usual normal one it stays within 0..1, and 3 of 3 does not make it a point. */
void measured_interval(uint64_t k, uint64_t n_all, double *out_low, double *out_high)
{
	const double z = 1.959964, n = (double)n_all, p = (double)k / n;
	double whole = 1 + z * z / n, centre = p + z * z / (2 * n);
	double half = z * sqrt(p * (1 - p) / n + z * z / (4 * n * n));
	*out_low = fmax(0, (centre - half) / whole);
	*out_high = fmin(1, (centre + half) / whole);
}

struct outcome measured_at(const struct measured *m, double threshold)
{
	struct outcome o = {0};
	while (o.n_kept < m->n && m->list[o.n_kept].score >= threshold) {
		o.n_right_kept += m->list[o.n_kept++].right;
	}
	o.precision = o.n_kept ? (double)o.n_right_kept / (double)o.n_kept : NAN;
	o.recall = m->n_right ? (double)o.n_right_kept / (double)m->n_right : NAN;
	o.kept = m->n ? (double)o.n_kept / (double)m->n : NAN;
	o.precision_low = o.precision_high = NAN;
	if (o.n_kept) {
		measured_interval(o.n_right_kept, o.n_kept, &o.precision_low, &o.precision_high);
	}
	return o;
}

double measured_auc(const struct measured *m)
{
	double won = 0; /* pairs of a right and a wrong one in which the right one is ahead */
	size_t right_ahead = 0, n_wrong = m->n - m->n_right;
	for (size_t i = 0, end; i < m->n; i = end) {
		size_t right = 0;
		for (end = i; end < m->n && !(m->list[end].score < m->list[i].score); end++) {
			right += m->list[end].right;
		}
		size_t wrong = end - i - right;
		won += (double)wrong * ((double)right_ahead + (double)right / 2);
		right_ahead += right;
	}
	return m->n_right && n_wrong ? won / ((double)m->n_right * (double)n_wrong) : NAN;
}

struct hashing {
	const char *verifier;
	struct str text;
};

static void add_row(void *ctx, const char *path, const char *value)
{
	struct hashing *h = ctx;
	size_t len = strlen(h->verifier);
	if (strncmp(path, h->verifier, len) == 0 && path[len] == '.' &&
		strcmp(path + len, ".when") != 0) {
		str_printf(&h->text, "%s=%s\n", path, value);
	}
}

void measured_fingerprint(struct ledger *l, const char *verifier, char out[33])
{
	struct hashing h = {.verifier = verifier};
	str_init(&h.text, STR_NO_CAP);
	for (const struct stage_ops *const *s = registry_stages(); *s; s++) {
		if ((*s)->submit) {
			ledger_each_fingerprint(l, (*s)->name, add_row, &h);
		}
	}
	hash128_hex(hash128(h.text.data, h.text.len), out);
	str_release(&h.text);
}
