/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _GRAFT_POLICE_H
#define _GRAFT_POLICE_H

#include <linux/cred.h>
#include <net/ip6_fib.h>
#include <net/route.h>

#include "acl.h"
#include "state.h"

/**
 * struct graft_path - the way that a packet would take
 * @t: the table that rules the socket
 * @ep: the endpoint
 * @cred: of whom the ACL is asked about
 * @target: the namespace of the host socket
 * @mark: its mark
 * @ifindex: its device, or 0
 * @protocol: one bit of GRAFT_PROTO_*
 */
struct graft_path {
	struct graft_table	*t;
	struct graft_endpoint	*ep;
	const struct cred	*cred;
	struct net		*target;
	u32			mark;
	int			ifindex;
	u8			protocol;
};

int graft_police_path(const struct graft_path *path, enum graft_acl_use use,
		      const struct graft_addr *dst, struct graft_why *why);
void graft_police_forget(struct graft_socket *gs);
int graft_police_listen(struct graft_socket *gs, struct sock *sk);
int graft_police_peer(struct graft_socket *gs, struct sock *sk);
int graft_police_send(struct graft_socket *gs, struct sock *sk,
		      const struct graft_addr *dst, const void *name, int len);

/*
 * Has the socket another mark or device than its endpoint's? Where SOL_SOCKET does
 * not come through us a program may set them, the device without a capability.
 */
static inline bool graft_strays(const struct graft_socket *gs,
				const struct sock *sk)
{
	return READ_ONCE(sk->sk_mark) != gs->mark ||
	       READ_ONCE(sk->sk_bound_dev_if) != gs->ifindex;
}

static inline int graft_refuse_stray(struct graft_why *why)
{
	return graft_refuse(why, GRAFT_REASON_OPTION, -EACCES,
			    "mark or device is not the endpoint's");
}

/* Lengths that are known make it a few comparisons; only @rare ones need a call. */
static __always_inline bool graft_same_name(const void *a, const void *b,
					    int len, bool rare)
{
	if (len == sizeof(struct sockaddr_in))
		return !memcmp(a, b, sizeof(struct sockaddr_in));
	if (len == sizeof(struct sockaddr_in6))
		return !memcmp(a, b, sizeof(struct sockaddr_in6));
	return rare && !memcmp(a, b, len);
}

/**
 * graft_police_again - was this destination allowed last, and nothing changed?
 * @gs: the socket's state
 * @sk: its sock
 * @name: the destination of an addressed send, as the program gave it
 * @len: its length
 * @rare: of lengths other than that of an address, too
 *
 * The quick way of graft_police_send(), for one datagram after another; inline
 * since it stands in front of each.
 */
static __always_inline bool graft_police_again(const struct graft_socket *gs,
					       const struct sock *sk,
					       const void *name, int len,
					       bool rare)
{
	const struct graft_allowed *allowed = &gs->allowed;
	const struct net *target = sock_net(sk);
	unsigned int seq = raw_seqcount_begin(&gs->allowed_seq);

	/* a write meanwhile makes it a question for graft_police_send() */
	return len == allowed->len &&
	       graft_same_name(name, &allowed->name, len, rare) &&
	       allowed->generation == READ_ONCE(gs->table->generation) &&
	       (!allowed->cred || allowed->cred == current_cred()) &&
	       allowed->fib4 == rt_genid_ipv4(target) &&
	       allowed->fib6 == rt_genid_ipv6(target) &&
	       graft_rests(&allowed->rest) &&
	       !read_seqcount_retry(&gs->allowed_seq, seq);
}

int graft_police_task(const struct socket *sock, const struct net *target,
		      bool privileged, struct graft_why *why);

#endif /* _GRAFT_POLICE_H */
