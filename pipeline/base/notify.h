/*
 * What a service manager is told (sd_notify(3)): a datagram of `NAME=value` lines to the socket that NOTIFY_SOCKET names. Without one, nothing
 * happens. The protocol is these few lines, so there is no library behind it.
 */
#ifndef PIPELINE_BASE_NOTIFY_H
#define PIPELINE_BASE_NOTIFY_H

#include "base/attr.h"

#include <stdbool.h>
#include <stdint.h>

/* Whether somebody listens. */
bool notify_is_wanted(void);
/* notify_send("READY=1\nSTATUS=drawing %d prompts", n); a datagram that cannot be sent is lost. Control characters other than \n become spaces. */
PRINTF_LIKE(1, 2) void notify_send(const char *fmt, ...);
/* How often the watchdog wants to hear of this process; 0: there is none. */
uint64_t notify_watchdog_us(void);

#endif
