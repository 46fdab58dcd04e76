// SPDX-License-Identifier: GPL-2.0
/*
 * Socket options and ioctls of a grafted socket: allow-lists, and our own
 * options. A refused option answers ENOPROTOOPT, which programs take as "this
 * system does not have it".
 */

#include <linux/netfilter_ipv4.h>
#include <asm/ioctls.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <net/ipv6.h>

#include "options.h"
#include "rules.h"

static bool graft_option_socket(int optname)
{
	switch (optname) {
	case SO_BINDTODEVICE:	/* the device is the endpoint's */
	case SO_BINDTOIFINDEX:
	case SO_MARK:		/* and so is the mark */
		return false;
	}
	return true;
}

static bool graft_option_tcp(int optname)
{
	switch (optname) {
	case TCP_ULP:		/* would build global tables from our operations */
	case TCP_REPAIR:	/* forges a connection */
	case TCP_REPAIR_QUEUE:
	case TCP_REPAIR_OPTIONS:
	case TCP_REPAIR_WINDOW:
	case TCP_QUEUE_SEQ:
		return false;
	}
	return true;
}

static bool graft_option_udp(int optname)
{
	switch (optname) {
	case UDP_CORK:
	case UDP_SEGMENT:
	case UDP_GRO:
	case UDP_NO_CHECK6_TX:
	case UDP_NO_CHECK6_RX:
		return true;
	}
	return false; /* UDP_ENCAP feeds xfrm */
}

static bool graft_option_ip(int optname)
{
	switch (optname) {
	case IP_TOS:
	case IP_TTL:
	case IP_MINTTL:
	case IP_MTU_DISCOVER:
	case IP_RECVERR:
	case IP_RECVERR_RFC4884:
	case IP_RECVTTL:
	case IP_RECVTOS:
	case IP_RECVOPTS:
	case IP_RETOPTS:
	case IP_PKTINFO:
	case IP_PASSSEC:
	case IP_CHECKSUM:
	case IP_RECVORIGDSTADDR:
	case IP_RECVFRAGSIZE:
	case IP_BIND_ADDRESS_NO_PORT:
#ifdef IP_LOCAL_PORT_RANGE
	case IP_LOCAL_PORT_RANGE:
#endif
	case IP_FREEBIND:	/* the address is the endpoint's all the same */
	case IP_MULTICAST_TTL:	/* without effect, and often set blindly */
	case IP_MULTICAST_LOOP:
	case IP_MULTICAST_ALL:
		return true;
	}
	/*
	 * IP_OPTIONS is a source route; IP_UNICAST_IF, IP_MULTICAST_IF and
	 * memberships name devices; IP_TRANSPARENT takes any address;
	 * IP_XFRM_POLICY and netfilter's options configure the host.
	 */
	return false;
}

static bool graft_option_ipv6(int optname)
{
	switch (optname) {
	case IPV6_V6ONLY:
	case IPV6_UNICAST_HOPS:
	case IPV6_MINHOPCOUNT:
	case IPV6_TCLASS:
	case IPV6_MTU:
	case IPV6_MTU_DISCOVER:
	case IPV6_DONTFRAG:
	case IPV6_AUTOFLOWLABEL:
	case IPV6_RECVERR:
	case IPV6_RECVERR_RFC4884:
	case IPV6_RECVPKTINFO:
	case IPV6_RECVHOPLIMIT:
	case IPV6_RECVTCLASS:
	case IPV6_RECVPATHMTU:
	case IPV6_RECVORIGDSTADDR:
	case IPV6_RECVFRAGSIZE:
	case IPV6_FLOWINFO:
	case IPV6_ADDR_PREFERENCES:
	case IPV6_FREEBIND:
	case IPV6_MULTICAST_HOPS:
	case IPV6_MULTICAST_LOOP:
	case IPV6_MULTICAST_ALL:
		return true;
	}
	/* IPV6_ADDRFORM replaces the operations; the rest as for IPv4 */
	return false;
}

/* May a program set this option on a grafted socket? */
bool graft_option_allowed(int level, int optname)
{
	switch (level) {
	case SOL_SOCKET:
		return graft_option_socket(optname);
	case SOL_TCP:
		return graft_option_tcp(optname);
	case SOL_UDP:
		return graft_option_udp(optname);
	case SOL_IP:
		return graft_option_ip(optname);
	case SOL_IPV6:
		return graft_option_ipv6(optname);
	}
	return false;
}

/*
 * Would this option let others share the port that a grafted socket holds? It
 * belongs before the bind, which watches over it.
 */
bool graft_option_too_late(const struct sock *sk, int level, int optname)
{
	return level == SOL_SOCKET &&
	       (optname == SO_REUSEPORT ||
		(optname == SO_REUSEADDR && sk->sk_type == SOCK_DGRAM));
}

/*
 * May a program read this option of a grafted socket? All of the stack's own;
 * of netfilter's, which share the numbers from 64 on, only the original
 * destination, which is the program's.
 */
bool graft_option_readable(int level, int optname)
{
	if ((level != SOL_IP && level != SOL_IPV6) || optname < 64 ||
	    optname == SO_ORIGINAL_DST)
		return true;
	if (level == SOL_IP)
		return false;
	switch (optname) {
	case IPV6_RECVTCLASS:
	case IPV6_TCLASS:
	case IPV6_AUTOFLOWLABEL ... IPV6_FREEBIND:
		return true;
	}
	return false;
}

/* May a program call this ioctl on a grafted socket? */
bool graft_ioctl_allowed(unsigned int cmd)
{
	switch (cmd) {
	case SIOCINQ:
	case SIOCOUTQ:
	case SIOCOUTQNSD:
	case SIOCATMARK:
		return true;
	}
	return false;
}

static int graft_option_copy(const void *value, int len, char __user *optval,
			     int __user *optlen)
{
	int room;

	if (get_user(room, optlen))
		return -EFAULT;
	if (room < len)
		return -EINVAL;
	if (put_user(len, optlen) || copy_to_user(optval, value, len))
		return -EFAULT;
	return 0;
}

/**
 * graft_option_get - read an option of level IPPROTO_GRAFT
 * @gs: the socket's state; NULL before the decision
 * @state: enum graft_state
 * @optname: GRAFT_SO_*
 * @optval: where to
 * @optlen: its room, then its length
 *
 * Return: 0, -ENOTCONN for the endpoint of a socket that has none yet, -EINVAL
 * when there is not room enough, -EFAULT, or -ENOPROTOOPT.
 */
int graft_option_get(const struct graft_socket *gs, u32 state, int optname,
		     char __user *optval, int __user *optlen)
{
	switch (optname) {
	case GRAFT_SO_ENDPOINT:
		if (!gs || !gs->ep)
			return -ENOTCONN;
		return graft_option_copy(gs->ep->name, gs->ep->name_len + 1,
					 optval, optlen);
	case GRAFT_SO_STATE:
		return graft_option_copy(&state, sizeof(state), optval, optlen);
	}
	return -ENOPROTOOPT;
}

/**
 * graft_option_rules - read what GRAFT_SO_RULES sets
 * @optval: struct graft_rule[]
 * @optlen: its bytes
 *
 * Return: the compiled rules, or an error pointer: -EINVAL for a malformed rule
 * or length or for too many, -EFAULT, -ENOMEM.
 */
struct graft_rules *graft_option_rules(sockptr_t optval, unsigned int optlen)
{
	struct graft_rules *rules;
	u32 i, n = optlen / sizeof(struct graft_rule);
	int err;

	if (!n || n > GRAFT_SO_RULES_MAX || optlen % sizeof(struct graft_rule))
		return ERR_PTR(-EINVAL);

	rules = graft_rules_alloc(n);
	if (!rules)
		return ERR_PTR(-ENOMEM);
	err = -EFAULT;
	if (copy_from_sockptr(rules->rule, optval, optlen))
		goto err_free;
	err = -EINVAL;
	for (i = 0; i < n; i++)
		if (graft_rule_check(&rules->rule[i]))
			goto err_free;
	err = graft_rules_compile(rules);
	if (err)
		goto err_free;
	return rules;

err_free:
	graft_rules_free(rules);
	return ERR_PTR(err);
}
