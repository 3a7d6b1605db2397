/* Time, behind one door so that tests can set it: THRESH_TEST_NOW=SECONDS in the environment says what it was when the process began. */
#ifndef PIPELINE_BASE_CLOCK_H
#define PIPELINE_BASE_CLOCK_H

#include <stddef.h>
#include <stdint.h>

/* Milliseconds since 1970, UTC. */
int64_t clock_wall_ms(void);
/* Milliseconds that only grow; for durations. */
int64_t clock_mono_ms(void);
int64_t clock_mono_us(void);
struct clock_local {
	int year, month, day; /* as written: from 1 */
	int hour, minute;
};
/*
 * When the local clock shows that. Where it shows it twice (the end of summer time), the first time; where it never does (the
 * beginning), when it jumps over it: whoever must be done by then is done in either reading.
 */
int64_t clock_of_local(const struct clock_local *local);
/* The first moment after `after_ms` at which the local clock shows that time of day, or jumps over it. */
int64_t clock_next(int64_t after_ms, int hour, int minute);
/* "2026-11-24", local time. */
void clock_date(int64_t wall_ms, char out[11]);
/* "2026-11-24 06:00:00 CET", local time with the zone. */
void clock_stamp(int64_t wall_ms, char out[40]);
/* "1h02m", "3m05s", "4.2s", "12ms"; for people. */
void clock_duration(int64_t ms, char out[24]);

#endif
