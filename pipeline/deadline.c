#include "deadline.h"

#include "base/mem.h"
#include "base/text.h"
#include "ledger/ledger.h"
#include "run.h"

#include <stdio.h>
#include <string.h>

#define NIGHT_IS_PAST_MS (INT64_C(12) * 3600 * 1000) /* after its deadline */
#define AFTER_MS_MAX (UINT64_C(366) * 86400 * 1000)

static bool is_time(const struct clock_local *at)
{
	return at->hour >= 0 && at->hour <= 23 && at->minute >= 0 && at->minute <= 59;
}

static bool is_date(const struct clock_local *at)
{
	static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	bool leap = (at->year % 4 == 0 && at->year % 100 != 0) || at->year % 400 == 0;
	return at->year >= 1970 && at->month >= 1 && at->month <= 12 && at->day >= 1 &&
		at->day <= days[at->month - 1] + (at->month == 2 && leap);
}

/* Digits alone where the form has a '0'; what sscanf would take otherwise ("+6: 0") is no time. */
static bool has_form(const char *text, const char *form)
{
	size_t i = 0;
	for (; form[i]; i++) {
		if (form[i] == '0' ? text[i] < '0' || text[i] > '9' : text[i] != form[i]) {
			return false;
		}
	}
	return text[i] == '\0';
}

bool deadline_parse(const char *text, struct deadline *out)
{
	struct deadline d = {0};
	struct clock_local *at = &d.at;
	if (has_form(text, "00:00") || has_form(text, "0:00")) {
		d.kind = DEADLINE_DAILY;
		if (sscanf(text, "%2d:%2d", &at->hour, &at->minute) != 2 || !is_time(at)) {
			return false;
		}
	} else if (has_form(text, "0000-00-00 00:00") || has_form(text, "0000-00-00T00:00")) {
		d.kind = DEADLINE_MOMENT;
		if (sscanf(text, "%4d-%2d-%2d%*c%2d:%2d", &at->year, &at->month, &at->day,
			    &at->hour, &at->minute) != 5 ||
			!is_date(at) || !is_time(at)) {
			return false;
		}
	} else {
		d.kind = DEADLINE_AFTER;
		if (!text_parse_duration(text, &d.after_ms) || !d.after_ms ||
			d.after_ms > AFTER_MS_MAX) {
			return false;
		}
	}
	*out = d;
	return true;
}

int64_t deadline_of(const struct deadline *d, int64_t now_ms)
{
	switch (d->kind) {
	case DEADLINE_DAILY:
		return clock_next(now_ms, d->at.hour, d->at.minute);
	case DEADLINE_MOMENT:
		return clock_of_local(&d->at);
	default:
		return now_ms + (int64_t)d->after_ms;
	}
}

/* What the run began with, if it still counts. */
static bool stored(struct run *run, const struct deadline *d, int64_t now_ms, int64_t *out_ms)
{
	struct arena arena = {0};
	const char *text = ledger_meta(run->ledger, "deadline", &arena),
		   *ms = ledger_meta(run->ledger, "deadline_ms", &arena);
	bool ok = text && ms && strcmp(text, run->def->budget.deadline) == 0 &&
		text_parse_i64(ms, out_ms) &&
		(d->kind == DEADLINE_MOMENT || now_ms < *out_ms + NIGHT_IS_PAST_MS);
	arena_release(&arena);
	return ok;
}

bool deadline_of_run(struct run *run, int64_t now_ms, struct error *err)
{
	const char *text = run->def->budget.deadline;
	struct deadline d;
	run->deadline_ms = 0;
	if (!text || !deadline_parse(text, &d)) { /* definition_read has refused it */
		return true;
	}
	int64_t at_ms;
	if (run->options.from) {
		/* Nothing is generated; a moment of that night says nothing of today. */
		at_ms = deadline_of(&d, now_ms);
		run->deadline_ms = at_ms > now_ms ? at_ms : 0;
		return true;
	}
	if (stored(run, &d, now_ms, &at_ms)) {
		run->deadline_ms = at_ms;
		return true;
	}
	at_ms = deadline_of(&d, now_ms);
	if (at_ms <= now_ms && !run->resumed) {
		error_set(err, FAIL_CONFIG, "the deadline '%s' has passed already", text);
		return error_hint(err,
			"a time of day such as \"06:00\" is always the next one; or set another: "
			"--set "
			"budget.deadline=8h");
	}
	char number[24];
	snprintf(number, sizeof(number), "%lld", (long long)at_ms);
	run->deadline_ms = at_ms;
	return ledger_set_meta(run->ledger, "deadline", text, err) &&
		ledger_set_meta(run->ledger, "deadline_ms", number, err);
}
