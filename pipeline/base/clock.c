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
	const char *fixed = getenv("THRESH_TEST_NOW");
	int64_t seconds;
	if (fixed && text_parse_i64(fixed, &seconds)) {
		return seconds * 1000;
	}
	return now_ms(CLOCK_REALTIME);
}

static void local_time(int64_t wall_ms, struct tm *out)
{
	time_t seconds = (time_t)(wall_ms / 1000);
	tzset();
	localtime_r(&seconds, out);
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
