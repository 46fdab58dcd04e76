// SPDX-License-Identifier: GPL-2.0
/* Internet addresses in one form, whichever family the program speaks. */

#include <net/inet_sock.h>
#include <net/ipv6.h>

#include "addr.h"

static void graft_addr_set_v6(struct graft_addr *a, const struct in6_addr *v6)
{
	memset(&a->v6, 0, sizeof(a->v6));
	if (ipv6_addr_v4mapped(v6)) {
		a->family = AF_INET;
		a->v4 = v6->s6_addr32[3];
		a->scope = 0;
	} else {
		a->family = AF_INET6;
		a->v6 = *v6;
	}
}

/**
 * graft_addr_parse - read the address that a program handed to a call
 * @a: the result
 * @sk: its socket
 * @uaddr: the address, in kernel memory
 * @len: its length
 *
 * Reads what the native operations would read, so that what is policed is what
 * is used: UDP takes AF_INET on an IPv6 socket, and in a send on an IPv4 one it
 * takes AF_UNSPEC for AF_INET. TCP takes its own family alone.
 *
 * Return: 0, or -EAFNOSUPPORT or -EINVAL, with which the native operations
 * refuse such an address too.
 */
int graft_addr_parse(struct graft_addr *a, const struct sock *sk,
		     const void *uaddr, int len)
{
	const struct sockaddr_in6 *in6 = uaddr;
	const struct sockaddr_in *in = uaddr;

	memset(a, 0, sizeof(*a));
	if (len < (int)sizeof(in->sin_family))
		return -EINVAL;

	if (in->sin_family == AF_INET6 && sk->sk_family == AF_INET6) {
		if (len < SIN6_LEN_RFC2133)
			return -EINVAL;
		a->port = ntohs(in6->sin6_port);
		if (len >= (int)sizeof(*in6))
			a->scope = in6->sin6_scope_id;
		graft_addr_set_v6(a, &in6->sin6_addr);
		return 0;
	}
	if ((in->sin_family == AF_INET &&
	     (sk->sk_family == AF_INET || sk->sk_type == SOCK_DGRAM)) ||
	    (in->sin_family == AF_UNSPEC && sk->sk_family == AF_INET &&
	     sk->sk_type == SOCK_DGRAM)) {
		if (len < (int)sizeof(*in))
			return -EINVAL;
		a->family = AF_INET;
		a->port = ntohs(in->sin_port);
		a->v4 = in->sin_addr.s_addr;
		return 0;
	}
	return -EAFNOSUPPORT;
}

/**
 * graft_addr_unparse - write an address as a socket's native operations take it
 * @a: the address
 * @sk: the socket; an AF_INET6 one gets IPv4 as IPv4-mapped
 * @out: the result
 *
 * Return: the result's length, or -EAFNOSUPPORT for IPv6 on an AF_INET socket.
 */
int graft_addr_unparse(const struct graft_addr *a, const struct sock *sk,
		       union graft_sockaddr_inet *out)
{
	memset(out, 0, sizeof(*out));
	if (sk->sk_family == AF_INET) {
		if (a->family != AF_INET)
			return -EAFNOSUPPORT;
		out->in.sin_family = AF_INET;
		out->in.sin_port = htons(a->port);
		out->in.sin_addr.s_addr = a->v4;
		return sizeof(out->in);
	}
	out->in6.sin6_family = AF_INET6;
	out->in6.sin6_port = htons(a->port);
	out->in6.sin6_scope_id = a->scope;
	if (a->family == AF_INET)
		ipv6_addr_set_v4mapped(a->v4, &out->in6.sin6_addr);
	else
		out->in6.sin6_addr = a->v6;
	return sizeof(out->in6);
}

/* The address and port that @sk is bound to. */
void graft_addr_local(struct graft_addr *a, const struct sock *sk)
{
	memset(a, 0, sizeof(*a));
	a->family = AF_INET;
	a->v4 = inet_sk(sk)->inet_rcv_saddr;
#if IS_ENABLED(CONFIG_IPV6)
	if (sk->sk_family == AF_INET6)
		graft_addr_set_v6(a, &sk->sk_v6_rcv_saddr);
#endif
	a->port = READ_ONCE(inet_sk(sk)->inet_num);
}

/* The address and port that @sk is connected to; zero where it is not. */
void graft_addr_remote(struct graft_addr *a, const struct sock *sk)
{
	memset(a, 0, sizeof(*a));
	a->family = AF_INET;
	a->v4 = inet_sk(sk)->inet_daddr;
#if IS_ENABLED(CONFIG_IPV6)
	if (sk->sk_family == AF_INET6)
		graft_addr_set_v6(a, &sk->sk_v6_daddr);
#endif
	a->port = ntohs(inet_sk(sk)->inet_dport);
}
