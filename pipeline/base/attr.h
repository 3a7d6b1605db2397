/* Compiler attributes and scope-bound cleanup: the one place where GNU C is spelt. */
#ifndef PIPELINE_BASE_ATTR_H
#define PIPELINE_BASE_ATTR_H

#include <stddef.h>

#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))
#define MUST_CHECK __attribute__((warn_unused_result))
#define NORETURN __attribute__((noreturn))
#define UNUSED __attribute__((unused))

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))

/*
 * Locals that die with their scope:
 *
 *	AUTO_FREE char *path = xasprintf("%s/%s", dir, name);
 *	AUTO_FD int fd = open(path, O_RDONLY);
 *	...
 *	return TAKE(path);	// hands the value out; the scope frees nothing
 */
#define AUTO(fn) __attribute__((cleanup(fn)))
#define AUTO_FREE AUTO(attr_free)
#define AUTO_FD AUTO(attr_close)
#define AUTO_FILE AUTO(attr_fclose)
#define TAKE(p)                             \
	(__extension__({                    \
		__typeof__(p) taken_ = (p); \
		(p) = NULL;                 \
		taken_;                     \
	}))
#define TAKE_FD(fd)                \
	(__extension__({           \
		int taken_ = (fd); \
		(fd) = -1;         \
		taken_;            \
	}))

void attr_free(void *pointer_to_pointer);
void attr_close(int *fd);
void attr_fclose(void *pointer_to_file);

#endif
