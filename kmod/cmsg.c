// SPDX-License-Identifier: GPL-2.0
/*
 * Ancillary data of a grafted datagram socket: an allow-list. What names another
 * source, route or device than the endpoint's is refused, and so is what is not
 * known.
 */

#include <linux/errqueue.h>
#include <linux/net_tstamp.h>
#include <linux/udp.h>
#include <net/addrconf.h>
#include <net/ipv6.h>
#include <net/route.h>

#include "cmsg.h"
#include "event.h"

/*
 * A server that is bound to every address may choose which of the target's it
 * answers from; any other has the one that it is bound to.
 */
static bool graft_cmsg_source(const struct sock *sk,
			      const struct graft_addr *src)
{
	struct graft_addr bound;

	if (graft_addr_is_any(src))
		return true;
	graft_addr_local(&bound, sk);
	if (!graft_addr_is_any(&bound))
		return graft_addr_same_host(&bound, src);
	if (graft_addr_is_loopback(src))
		return false;
	if (src->family == AF_INET)
		return inet_addr_type(sock_net(sk), src->v4) == RTN_LOCAL;
#if IS_ENABLED(CONFIG_IPV6)
	return !(ipv6_addr_type(&src->v6) & IPV6_ADDR_LINKLOCAL) &&
	       ipv6_chk_addr(sock_net(sk), &src->v6, NULL, 0);
#else
	return false;
#endif
}

static bool graft_cmsg_ip(const struct sock *sk, const struct cmsghdr *cmsg)
{
	const struct in_pktinfo *info = CMSG_DATA(cmsg);
	struct graft_addr src = { .family = AF_INET };

	switch (cmsg->cmsg_type) {
	case IP_TTL:
	case IP_TOS:
		return true;
	case IP_PKTINFO:
		if (cmsg->cmsg_len != CMSG_LEN(sizeof(*info)))
			return false;
		src.v4 = info->ipi_spec_dst.s_addr;
		return !info->ipi_ifindex && graft_cmsg_source(sk, &src);
	}
	return false; /* IP_RETOPTS is a source route */
}

static bool graft_cmsg_ipv6(const struct sock *sk, const struct cmsghdr *cmsg)
{
	const struct in6_pktinfo *info = CMSG_DATA(cmsg);
	struct graft_addr src = { .family = AF_INET6 };

	switch (cmsg->cmsg_type) {
	case IPV6_HOPLIMIT:
	case IPV6_TCLASS:
	case IPV6_DONTFRAG:
		return true;
	case IPV6_PKTINFO:
		if (cmsg->cmsg_len != CMSG_LEN(sizeof(*info)))
			return false;
		if (ipv6_addr_v4mapped(&info->ipi6_addr)) {
			src.family = AF_INET;
			src.v4 = info->ipi6_addr.s6_addr32[3];
		} else {
			src.v6 = info->ipi6_addr;
		}
		return !info->ipi6_ifindex && graft_cmsg_source(sk, &src);
	}
	return false; /* IPV6_RTHDR and other extension headers, flow labels */
}

static bool graft_cmsg_allowed(const struct sock *sk,
			       const struct cmsghdr *cmsg)
{
	switch (cmsg->cmsg_level) {
	case SOL_SOCKET:
		/* SO_MARK would take another route; it also needs a capability */
		return cmsg->cmsg_type == SO_TIMESTAMPING_OLD ||
		       cmsg->cmsg_type == SO_TIMESTAMPING_NEW ||
		       cmsg->cmsg_type == SCM_TXTIME;
	case SOL_IP:
		return graft_cmsg_ip(sk, cmsg);
	case SOL_IPV6:
		return graft_cmsg_ipv6(sk, cmsg);
	case SOL_UDP:
		return cmsg->cmsg_type == UDP_SEGMENT;
	}
	return false;
}

/**
 * graft_cmsg_check - look through the ancillary data of a send
 * @gs: the socket's state
 * @sk: its sock
 * @msg: the message; its control data is in kernel memory
 *
 * Return: 0, -EINVAL for malformed data as the stack would answer, or -EACCES,
 * which is reported.
 */
int graft_cmsg_check(struct graft_socket *gs, struct sock *sk,
		     struct msghdr *msg)
{
	struct graft_why why = { };
	struct cmsghdr *cmsg;

	for_each_cmsghdr(cmsg, msg) {
		if (!CMSG_OK(msg, cmsg))
			return -EINVAL;
		if (graft_cmsg_allowed(sk, cmsg))
			continue;
		graft_refuse(&why, GRAFT_REASON_OPTION, -EACCES,
			     "ancillary data names another source, route or device, or is not known");
		graft_event(GRAFT_EVENT_DENIED, &why, gs->table, sk, gs->ep,
			    NULL, GRAFT_VERB_CONNECT, NULL);
		return why.err;
	}
	return 0;
}
