// SPDX-License-Identifier: Apache-2.0
/* A preload library of somebody else's that wraps the same functions. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <stdio.h>

int socket(int domain, int type, int protocol)
{
	int (*next)(int, int, int) = (int (*)(int, int, int))dlsym(RTLD_NEXT, "socket");

	printf("wrapper %d %d %d\n", domain, type, protocol);
	return next(domain, type, protocol);
}

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **result)
{
	int (*next)(const char *, const char *, const struct addrinfo *, struct addrinfo **) =
		(int (*)(const char *, const char *, const struct addrinfo *, struct addrinfo **))dlsym(RTLD_NEXT,
													"getaddrinfo");

	printf("wrapper %s %d %d\n", node, hints->ai_family, hints->ai_flags);
	return next(node, service, hints, result);
}
