// SPDX-License-Identifier: Apache-2.0
/*
 * libgraft.so: asks for IPPROTO_GRAFT where a program asks for TCP or UDP over IPv4 or IPv6, and for
 * nothing else. The kernel gives a genuine TCP or UDP socket and decides at bind, connect or the
 * first addressed send whether it is grafted, so no other call is looked at.
 *
 * The object is linked with no library, and what it needs of the C library is there without a
 * symbol version in glibc and musl alike: one file loads under both.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>
#include <netinet/in.h>
#include <sys/auxv.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "next.h"
#include "redirect.h"
#include "rules.h"

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

typedef int socket_call(int domain, int type, int protocol);

/* Written before main, by init; read only from then on. */
static struct {
	bool ready;
	bool off;	   /* the program has more privileges than its user */
	bool bad_rules;	   /* GRAFT_RULES is not what the runner writes */
	socket_call *next; /* the C library's, or that of a library preloaded after this one */
	bool redirected;   /* the C library's comes back to graft_socket */
	struct graft_rules rules;
} preload;

/*
 * The kinds of socket for which the kernel did not know IPPROTO_GRAFT: asking again would make it look
 * for a module each time.
 */
static bool unknown[4];

static void init(void);

static bool *unknown_of(int domain, int type)
{
	return &unknown[(domain == AF_INET6 ? 2 : 0) + ((type & SOCK_DGRAM) ? 1 : 0)];
}

static bool graftable(int domain, int type, int protocol)
{
	if (domain != AF_INET && domain != AF_INET6)
		return false;
	switch (type & ~(SOCK_NONBLOCK | SOCK_CLOEXEC)) {
	case SOCK_STREAM:
		return protocol == 0 || protocol == IPPROTO_TCP || protocol == IPPROTO_MPTCP;
	case SOCK_DGRAM:
		return protocol == 0 || protocol == IPPROTO_UDP;
	}
	return false;
}

static int plain_socket(int domain, int type, int protocol)
{
	return (int)syscall(SYS_socket, domain, type, protocol);
}

/* open_socket - make a socket by @make, at the door where there is one */
static int open_socket(socket_call *make, int domain, int type, int protocol)
{
	const struct graft_rules *rules = &preload.rules;
	bool *absent = unknown_of(domain, type);
	int fd, saved = errno;

	if (preload.off || !graftable(domain, type, protocol))
		return make(domain, type, protocol);
	if (preload.bad_rules) {
		errno = EINVAL;
		return -1;
	}
	if (__atomic_load_n(absent, __ATOMIC_RELAXED))
		return make(domain, type, protocol);

	fd = make(domain, type, IPPROTO_GRAFT);
	if (fd < 0 && (errno == EPROTONOSUPPORT || errno == ESOCKTNOSUPPORT)) {
		__atomic_store_n(absent, true, __ATOMIC_RELAXED);
		errno = saved;
		return make(domain, type, protocol);
	}
	if (fd >= 0 && rules->count &&
	    syscall(SYS_setsockopt, fd, IPPROTO_GRAFT, GRAFT_SO_RULES, rules->rule,
		    rules->count * sizeof(rules->rule[0])) < 0) {
		saved = errno;
		syscall(SYS_close, fd);
		errno = saved;
		return -1;
	}
	return fd;
}

/* What the C library's own socket becomes: its resolver calls that one without asking the loader. */
static int libc_socket(int domain, int type, int protocol)
{
	return open_socket(plain_socket, domain, type, protocol);
}

/* What a program calls. */
__attribute__((visibility("default"))) int socket(int domain, int type, int protocol)
{
	if (!preload.ready) /* from a constructor that came before ours */
		init();
	if (preload.redirected)
		return preload.next(domain, type, protocol);
	return open_socket(preload.next ? preload.next : plain_socket, domain, type, protocol);
}

__attribute__((constructor)) static void init(void)
{
	const char *text = getenv(GRAFT_RULES_ENV);
	int saved = errno;
	void *own = NULL;

	if (preload.ready)
		return;
	preload.ready = true;
	preload.off = getauxval(AT_SECURE) != 0;
	if (text && !preload.off)
		preload.bad_rules = graft_rules_parse(&preload.rules, text) != NULL;
	preload.next = (socket_call *)graft_next("socket");
	if (preload.next && !preload.off)
		own = graft_libc("socket");
	if (own)
		preload.redirected = graft_redirect(own, (const void *)libc_socket);
	errno = saved;
}
