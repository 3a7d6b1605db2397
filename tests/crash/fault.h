/* Shared by the two files of the preloaded library. */
#ifndef TESTS_CRASH_FAULT_H
#define TESTS_CRASH_FAULT_H

#include <stdbool.h>
#include <stddef.h>

/* Kinds of calls that can be counted; FAULT names sets of them. */
enum fault_call {
	FAULT_OPEN =
		1 << 0, /* for writing, below the folder that is watched; so are all of files */
	FAULT_WRITE = 1 << 1,
	FAULT_SYNC = 1 << 2,
	FAULT_RENAME = 1 << 3,
	FAULT_TRUNCATE = 1 << 4,
	FAULT_UNLINK = 1 << 5,
	FAULT_MKDIR = 1 << 6,
	FAULT_CONNECT = 1 << 7, /* to an engine, as the two that follow */
	FAULT_SEND = 1 << 8,
	FAULT_RECV = 1 << 9,
	FAULT_MALLOC = 1 << 10,
};

enum fault_effect {
	FAULT_PASSES,
	FAULT_FAILS, /* errno is set */
	FAULT_SKIPPED, /* it is not done, and says that it was */
	FAULT_SHORT, /* half of it is done */
	FAULT_TORN, /* half of it is done, then the process dies */
};

/* Counts the call and says what becomes of it; does not return if it is where the process dies. `what` is told in the report. */
enum fault_effect fault_meets(enum fault_call call, const char *what);

#endif
