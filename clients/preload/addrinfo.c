// SPDX-License-Identifier: Apache-2.0
/*
 * AI_ADDRCONFIG asks for addresses of those families alone that the namespace's interfaces have. What
 * is grafted does not go through them: where there is only lo, glibc answers a question for one family
 * with EAI_NONAME before it has asked anyone. So one family asked for is one family wanted.
 */
#include <errno.h>
#include <netdb.h>
#include <sys/auxv.h>

#include "next.h"

typedef int getaddrinfo_call(const char *node, const char *service, const struct addrinfo *hints,
			     struct addrinfo **result);

__attribute__((visibility("default"))) int getaddrinfo(const char *node, const char *service,
						       const struct addrinfo *hints, struct addrinfo **result)
{
	getaddrinfo_call *next = (getaddrinfo_call *)graft_next("getaddrinfo");
	struct addrinfo changed;

	if (!next) {
		errno = ENOSYS;
		return EAI_SYSTEM;
	}
	if (hints && hints->ai_family != AF_UNSPEC && !getauxval(AT_SECURE)) {
		changed = *hints;
		changed.ai_flags &= ~AI_ADDRCONFIG;
		hints = &changed;
	}
	return next(node, service, hints, result);
}
