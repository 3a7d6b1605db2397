#include "base/clock.h"

#include "base/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static int64_t now_ms(clockid_t id)
{
	struct timespec t;
	clock_gettime(id, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int64_t clock_mono_ms(void)
{
	return now_ms(CLOCK_MONOTONIC);
}

int64_t clock_mono_us(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

int64_t clock_wall_ms(void)
{
	static int64_t first_mono_ms; /* of the test */
	const char *fixed = getenv("THRESH_TEST_NOW");
	int64_t seconds;
	if (fixed && text_parse_i64(fixed, &seconds)) {
		int64_t mono_ms = now_ms(CLOCK_MONOTONIC);
		first_mono_ms = first_mono_ms ? first_mono_ms : mono_ms;
		return seconds * 1000 + mono_ms - first_mono_ms;
	}
	return now_ms(CLOCK_REALTIME);
}

static void local_time(int64_t wall_ms, struct tm *out)
{
	time_t seconds = (time_t)(wall_ms / 1000);
	tzset();
	localtime_r(&seconds, out);
}

/* --- local times --- */

#define DAY_S 86400

/* What the local clock is ahead of UTC. */
static int64_t offset_at(int64_t s)
{
	struct tm tm;
	local_time(s * 1000, &tm);
	return (int64_t)timegm(&tm) - s;
}

/* In (before, after] the offset changes once; the first second of the new one. */
static int64_t change_between(int64_t before, int64_t after)
{
	int64_t old = offset_at(before);
	while (after - before > 1) {
		int64_t middle = before + (after - before) / 2;
		*(offset_at(middle) == old ? &before : &after) = middle;
	}
	return after;
}

/*
 * The seconds at which the local clock shows `as_utc` (the shown time read as UTC), earliest first, at most two; where it jumps over
 * that, the second at which it does. It is changed at most once in two days.
 */
static unsigned moments_of(int64_t as_utc, int64_t out[2])
{
	unsigned n = 0;
	/* The greater offset gives the earlier moment. */
	int64_t a = offset_at(as_utc - DAY_S), b = offset_at(as_utc + DAY_S);
	int64_t tries[] = {as_utc - (a > b ? a : b), as_utc - (a > b ? b : a)};
	for (unsigned i = 0; i < (a == b ? 1u : 2u); i++) {
		if (tries[i] + offset_at(tries[i]) == as_utc) {
			out[n++] = tries[i];
		}
	}
	if (!n) {
		out[n++] = change_between(tries[0] - 1, tries[1]);
	}
	return n;
}

int64_t clock_of_local(const struct clock_local *local)
{
	struct tm tm = {.tm_year = local->year - 1900,
		.tm_mon = local->month - 1,
		.tm_mday = local->day,
		.tm_hour = local->hour,
		.tm_min = local->minute};
	int64_t moments[2];
	moments_of((int64_t)timegm(&tm), moments);
	return moments[0] * 1000;
}

int64_t clock_next(int64_t after_ms, int hour, int minute)
{
	struct tm today;
	local_time(after_ms, &today);
	for (int day = 0;; day++) {
		struct tm tm = {.tm_year = today.tm_year,
			.tm_mon = today.tm_mon,
			.tm_mday = today.tm_mday + day,
			.tm_hour = hour,
			.tm_min = minute};
		int64_t moments[2];
		unsigned n = moments_of((int64_t)timegm(&tm), moments);
		for (unsigned i = 0; i < n; i++) {
			if (moments[i] * 1000 > after_ms) {
				return moments[i] * 1000;
			}
		}
	}
}

void clock_date(int64_t wall_ms, char out[11])
{
	struct tm tm;
	local_time(wall_ms, &tm);
	if (strftime(out, 11, "%Y-%m-%d", &tm) == 0) {
		snprintf(out, 11, "0000-00-00");
	}
}

void clock_stamp(int64_t wall_ms, char out[40])
{
	struct tm tm;
	local_time(wall_ms, &tm);
	if (strftime(out, 40, "%Y-%m-%d %H:%M:%S %Z", &tm) == 0) {
		out[0] = '\0';
	}
}

void clock_duration(int64_t ms, char out[24])
{
	long long s = ms / 1000;
	if (ms < 1000) {
		snprintf(out, 24, "%lldms", (long long)ms);
	} else if (s < 60) {
		snprintf(out, 24, "%lld.%llds", s, (long long)(ms % 1000 / 100));
	} else if (s < 3600) {
		snprintf(out, 24, "%lldm%02llds", s / 60, s % 60);
	} else {
		snprintf(out, 24, "%lldh%02lldm", s / 3600, s / 60 % 60);
	}
}
