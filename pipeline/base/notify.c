#include "base/notify.h"

#include "base/mem.h"
#include "base/text.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

bool notify_is_wanted(void)
{
	const char *path = getenv("NOTIFY_SOCKET");
	return path && (path[0] == '/' || path[0] == '@') && path[1];
}

static bool address_of(const char *path, struct sockaddr_un *out, socklen_t *out_len)
{
	size_t len = strlen(path);
	*out = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (len >= sizeof(out->sun_path)) {
		return false;
	}
	memcpy(out->sun_path, path, len);
	if (path[0] == '@') {
		out->sun_path[0] = '\0'; /* the abstract name space */
	}
	*out_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
	return true;
}

void notify_send(const char *fmt, ...)
{
	struct sockaddr_un address;
	socklen_t len;
	if (!notify_is_wanted() || !address_of(getenv("NOTIFY_SOCKET"), &address, &len)) {
		return;
	}
	va_list args;
	va_start(args, fmt);
	AUTO_FREE char *text = xvasprintf(fmt, args);
	va_end(args);
	for (char *c = text; *c; c++) {
		*c = (unsigned char)*c < ' ' && *c != '\n' ? ' ' : *c;
	}
	AUTO_FD int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd >= 0) {
		/* Never waits: a manager that does not read must not hold the night up. */
		ssize_t sent = sendto(fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT,
			(struct sockaddr *)&address, len);
		(void)sent;
	}
}

uint64_t notify_watchdog_us(void)
{
	const char *text = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
	uint64_t us, its;
	if (!notify_is_wanted() || !text || !text_parse_u64(text, &us) ||
		(pid && (!text_parse_u64(pid, &its) || its != (uint64_t)getpid()))) {
		return 0;
	}
	return us;
}
