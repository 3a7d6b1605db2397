/* Functions that have no safe use here; calling one is a compile error. Force-included by meson.build. */
#ifndef PIPELINE_BASE_BANNED_H
#define PIPELINE_BASE_BANNED_H

/* The declarations must be seen before the names are poisoned. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#pragma GCC poison strcpy strcat strncat sprintf vsprintf strtok atoi atol atof gets localtime \
	gmtime ctime asctime

#endif
