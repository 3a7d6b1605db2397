/* Time, behind one door so that tests can set it: THRESH_TEST_NOW=SECONDS in the environment fixes the wall clock's start. */
#ifndef PIPELINE_BASE_CLOCK_H
#define PIPELINE_BASE_CLOCK_H

#include <stddef.h>
#include <stdint.h>

/* Milliseconds since 1970, UTC. */
int64_t clock_wall_ms(void);
/* Milliseconds that only grow; for durations. */
int64_t clock_mono_ms(void);
int64_t clock_mono_us(void);
/* "2026-11-24", local time. */
void clock_date(int64_t wall_ms, char out[11]);
/* "2026-11-24 06:00:00 CET", local time with the zone. */
void clock_stamp(int64_t wall_ms, char out[40]);
/* "1h02m", "3m05s", "4.2s", "12ms"; for people. */
void clock_duration(int64_t ms, char out[24]);

#endif
