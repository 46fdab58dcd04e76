/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _GRAFT_ADDR_H
#define _GRAFT_ADDR_H

#include <linux/in.h>
#include <linux/in6.h>

#include "compat/unaligned.h"

#include "graft.h"

/**
 * struct graft_addr - an internet address and port
 * @family: AF_INET or AF_INET6; IPv4-mapped IPv6 addresses are AF_INET
 * @port: in host order
 * @scope: IPv6 scope id, else 0
 * @v4: the address where @family is AF_INET; the other twelve bytes are zero
 * @v6: the address where @family is AF_INET6
 */
struct graft_addr {
	u16		family;
	u16		port;
	u32		scope;
	union {
		__be32		v4;
		struct in6_addr	v6;
	};
};

/* Room for what a socket's native operations take. */
union graft_sockaddr_inet {
	struct sockaddr_in	in;
	struct sockaddr_in6	in6;
};

int graft_addr_parse(struct graft_addr *a, const struct sock *sk,
		     const void *uaddr, int len);
int graft_addr_unparse(const struct graft_addr *a, const struct sock *sk,
		       union graft_sockaddr_inet *out);
void graft_addr_local(struct graft_addr *a, const struct sock *sk);
void graft_addr_remote(struct graft_addr *a, const struct sock *sk);

static inline bool graft_addr_is_any(const struct graft_addr *a)
{
	return a->family == AF_INET ? !a->v4 : ipv6_addr_any(&a->v6);
}

static inline bool graft_addr_is_loopback(const struct graft_addr *a)
{
	return a->family == AF_INET ? ipv4_is_loopback(a->v4) :
				      ipv6_addr_loopback(&a->v6);
}

static inline bool graft_addr_same_host(const struct graft_addr *a,
					const struct graft_addr *b)
{
	return a->family == b->family && ipv6_addr_equal(&a->v6, &b->v6);
}

static inline unsigned int graft_addr_bits(u16 family)
{
	return family == AF_INET ? 32 : 128;
}

static inline unsigned int graft_addr_bytes(u16 family)
{
	return family == AF_INET ? 4 : 16;
}

/* Whether the first @len bits of @prefix and @address are the same. */
static inline bool graft_prefix_match(const u8 *prefix, unsigned int len,
				      const u8 *address)
{
	unsigned int i;

	for (i = 0; len >= 32; i += 4, len -= 32)
		if (get_unaligned((const u32 *)(prefix + i)) !=
		    get_unaligned((const u32 *)(address + i)))
			return false;
	return !len || !((get_unaligned_be32(prefix + i) ^
			  get_unaligned_be32(address + i)) >> (32 - len));
}

#endif /* _GRAFT_ADDR_H */
