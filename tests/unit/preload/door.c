// SPDX-License-Identifier: Apache-2.0
/*
 * Plays the kernel's side of IPPROTO_GRAFT for the runner: the door is there unless KERNEL is "absent". What the
 * runner starts does not have this library: LD_PRELOAD is from here on what AFTER says.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define DOOR 254

__attribute__((constructor)) static void leave_the_environment(void)
{
	const char *after = getenv("AFTER");

	if (after)
		setenv("LD_PRELOAD", after, 1);
	else
		unsetenv("LD_PRELOAD");
	unsetenv("AFTER");
}

int socket(int domain, int type, int protocol)
{
	int (*next)(int, int, int) = (int (*)(int, int, int))dlsym(RTLD_NEXT, "socket");
	const char *kernel = getenv("KERNEL");

	if (protocol == DOOR && kernel && strcmp(kernel, "absent") == 0) {
		errno = EPROTONOSUPPORT;
		return -1;
	}
	return next(domain, type, protocol == DOOR ? 0 : protocol);
}

int setsockopt(int fd, int level, int name, const void *value, socklen_t len)
{
	int (*next)(int, int, int, const void *, socklen_t) =
		(int (*)(int, int, int, const void *, socklen_t))dlsym(RTLD_NEXT, "setsockopt");

	return level == DOOR ? 0 : next(fd, level, name, value, len);
}
