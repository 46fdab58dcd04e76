// SPDX-License-Identifier: GPL-2.0
/*
 * Tells whoever listens (netlink group "event", tracepoint graft_decision) what
 * became of a socket and why.
 */

#include <linux/cred.h>
#include <linux/sched.h>
#include <linux/sock_diag.h>
#include <net/ipv6.h>

#include "event.h"
#include "nl.h"
#include "table.h"
#include "trace.h"

/* The bit of GRAFT_PROTO_* that @sk speaks; 0 for neither. */
u8 graft_protocol_bit(const struct sock *sk)
{
	switch (sk->sk_protocol) {
	case IPPROTO_TCP:
		return GRAFT_PROTO_TCP;
	case IPPROTO_UDP:
		return GRAFT_PROTO_UDP;
	}
	return 0;
}

static int graft_event_fill(struct sk_buff *skb, enum graft_event kind,
			    const struct graft_why *why,
			    struct graft_table *t, const struct sock *sk,
			    u64 cookie, const char *name, u8 verb,
			    const struct graft_addr *a)
{
	struct nlattr *nest;

	if (nla_put_u64_64bit(skb, GRAFT_A_NETNS_COOKIE, t->net->net_cookie,
			      GRAFT_A_PAD))
		return -EMSGSIZE;
	nest = nla_nest_start(skb, GRAFT_A_EVENT);
	if (!nest)
		return -EMSGSIZE;
	if (nla_put_u8(skb, GRAFT_EVENT_A_KIND, kind) ||
	    nla_put_u8(skb, GRAFT_EVENT_A_REASON, why->reason) ||
	    (why->err && nla_put_u32(skb, GRAFT_EVENT_A_ERRNO, -why->err)) ||
	    (why->detail &&
	     nla_put_string(skb, GRAFT_EVENT_A_DETAIL, why->detail)) ||
	    nla_put_u64_64bit(skb, GRAFT_EVENT_A_COOKIE, cookie,
			      GRAFT_EVENT_A_PAD) ||
	    (name[0] && nla_put_string(skb, GRAFT_EVENT_A_ENDPOINT, name)) ||
	    nla_put_u8(skb, GRAFT_EVENT_A_VERB, verb) ||
	    nla_put_u32(skb, GRAFT_EVENT_A_UID,
			from_kuid(&init_user_ns, current_uid())) ||
	    nla_put_u32(skb, GRAFT_EVENT_A_PID, current->tgid) ||
	    nla_put_u16(skb, GRAFT_EVENT_A_PROTOCOL, sk->sk_protocol))
		return -EMSGSIZE;
	if (a && (nla_put(skb, GRAFT_EVENT_A_ADDRESS,
			  graft_addr_bytes(a->family), &a->v6) ||
		  nla_put_u16(skb, GRAFT_EVENT_A_PORT, a->port)))
		return -EMSGSIZE;
	nla_nest_end(skb, nest);
	return 0;
}

/* graft_event() where somebody listens. */
void graft_event_report(enum graft_event kind, const struct graft_why *why,
			struct graft_table *t, struct sock *sk,
			struct graft_endpoint *ep, const char *name, u8 verb,
			const struct graft_addr *a)
{
	struct sk_buff *skb;
	u32 halves[2];
	u64 cookie;

	name = ep ? ep->name : name ?: "";
	sock_diag_save_cookie(sk, halves);
	cookie = (u64)halves[1] << 32 | halves[0];
	trace_graft_decision(kind, why, cookie, name, verb, a);
	if (!graft_nl_heard(t, GRAFT_NL_GROUP_EVENT))
		return;

	skb = graft_nl_notify_new(GRAFT_CMD_EVENT_NTF, NLMSG_GOODSIZE);
	if (!skb)
		return;
	if (graft_event_fill(skb, kind, why, t, sk, cookie, name, verb, a))
		nlmsg_free(skb);
	else
		graft_nl_notify_send(t, skb, GRAFT_NL_GROUP_EVENT);
}
