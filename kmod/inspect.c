// SPDX-License-Identifier: GPL-2.0
/*
 * What a socket may not bring along. Inside its own user namespace a container
 * sets options that need a capability; on the host's stack they would be in
 * force without one. Others steer packets around the destination that was
 * policed.
 */

#include <linux/pkt_sched.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <net/inet_connection_sock.h>
#include <net/inet_sock.h>
#include <net/ipv6.h>
#include <net/tcp.h>

#include "inspect.h"

static const char *graft_inspect_sock(const struct sock *sk)
{
	if (sk->sk_user_data)
		return "the socket belongs to a part of the kernel";
	if (!sk->sk_net_refcnt)
		return "the socket does not hold its namespace";
	if (sk->sk_mark)
		return "SO_MARK is set";
	if (sk->sk_bound_dev_if)
		return "SO_BINDTODEVICE is set";
	if (sk->sk_reuse > SK_CAN_REUSE)
		return "reuse of addresses is forced";
	if (sk->sk_priority > TC_PRIO_INTERACTIVE)
		return "SO_PRIORITY is above 6";
	if (rcu_access_pointer(sk->sk_reuseport_cb))
		return "a reuseport group or program is attached";
	if (sock_flag(sk, SOCK_TXTIME) && sk->sk_clockid != CLOCK_MONOTONIC)
		return "SO_TXTIME is set to another clock than CLOCK_MONOTONIC";
#ifdef CONFIG_XFRM
	if (rcu_access_pointer(sk->sk_policy[0]) ||
	    rcu_access_pointer(sk->sk_policy[1]))
		return "an xfrm policy is set";
#endif
	return NULL;
}

static const char *graft_inspect_inet(const struct sock *sk)
{
	const struct inet_sock *inet = inet_sk(sk);

	if (graft_inet_transparent(sk))
		return "IP_TRANSPARENT is set";
	if (rcu_access_pointer(inet->inet_opt))
		return "IP_OPTIONS are set";
	if (rcu_access_pointer(inet->mc_list))
		return "the socket is member of a multicast group";
	if (inet->uc_index)
		return "IP_UNICAST_IF is set";
	if (inet->mc_index || inet->mc_addr)
		return "IP_MULTICAST_IF is set";
	return NULL;
}

#if IS_ENABLED(CONFIG_IPV6)
static const char *graft_inspect_inet6(const struct sock *sk)
{
	const struct ipv6_pinfo *np = inet6_sk(sk);

	if (sk->sk_family != AF_INET6)
		return NULL;
	if (rcu_access_pointer(np->opt))
		return "IPv6 extension headers are set";
	if (np->sticky_pktinfo.ipi6_ifindex ||
	    !ipv6_addr_any(&np->sticky_pktinfo.ipi6_addr))
		return "IPV6_PKTINFO is set";
	if (rcu_access_pointer(np->ipv6_mc_list) || np->ipv6_ac_list)
		return "the socket is member of a multicast or anycast group";
	if (np->ucast_oif)
		return "IPV6_UNICAST_IF is set";
	if (np->mcast_oif)
		return "IPV6_MULTICAST_IF is set";
	if (graft_flow_labels(sk))
		return "flow labels are held";
	return NULL;
}
#else
static const char *graft_inspect_inet6(const struct sock *sk)
{
	return NULL;
}
#endif

static const char *graft_inspect_tcp(const struct sock *sk)
{
	if (tcp_sk(sk)->repair)
		return "TCP_REPAIR is on";
	if (inet_csk(sk)->icsk_ulp_ops)
		return "TCP_ULP is set";
	if (inet_csk(sk)->icsk_ca_setsockopt &&
	    !(inet_csk(sk)->icsk_ca_ops->flags & TCP_CONG_NON_RESTRICTED))
		return "a restricted congestion control is set";
	return NULL;
}

static const char *graft_inspect_udp(const struct sock *sk)
{
	/* what it hooks up stays when it is taken back */
	if (udp_sk(sk)->encap_type || udp_sk(sk)->encap_rcv)
		return "UDP_ENCAP is or was set";
	if (udp_sk(sk)->pending)
		return "corked data is waiting";
	return NULL;
}

/**
 * graft_inspect - look for state that may not come along
 * @sk: the sock, locked
 * @kind: its kind
 *
 * Return: NULL when it may move, else a sentence that names what forbids it.
 */
const char *graft_inspect(const struct sock *sk, const struct graft_kind *kind)
{
	if (sk->sk_prot != kind->native_prot)
		return "another protocol has taken the socket over";
	if (sk->sk_state != TCP_CLOSE)
		return "the socket is connected";
	return graft_inspect_sock(sk) ?:
	       graft_inspect_inet(sk) ?:
	       graft_inspect_inet6(sk) ?:
	       (kind->type == SOCK_STREAM ? graft_inspect_tcp(sk) :
					    graft_inspect_udp(sk));
}
