// SPDX-License-Identifier: GPL-2.0
/* Netlink: live grafted sockets. */

#include <linux/cgroup.h>
#include <net/net_namespace.h>
#include <net/sock.h>

#include "abort.h"
#include "nl.h"

const struct nla_policy graft_socket_policy[GRAFT_SOCK_A_MAX + 1] = {
	[GRAFT_SOCK_A_COOKIE]	= { .type = NLA_U64 },
	[GRAFT_SOCK_A_ENDPOINT]	= { .type = NLA_NUL_STRING,
				    .len = GRAFT_NAME_MAX - 1 },
};

static int graft_nl_put_addresses(struct sk_buff *skb, const struct sock *sk)
{
	struct graft_addr a;

	graft_addr_local(&a, sk);
	if (nla_put(skb, GRAFT_SOCK_A_LOCAL_ADDRESS, graft_addr_bytes(a.family),
		    &a.v6) ||
	    nla_put_u16(skb, GRAFT_SOCK_A_LOCAL_PORT, a.port))
		return -EMSGSIZE;
	graft_addr_remote(&a, sk);
	if (!a.port)
		return 0;
	if (nla_put(skb, GRAFT_SOCK_A_REMOTE_ADDRESS,
		    graft_addr_bytes(a.family), &a.v6) ||
	    nla_put_u16(skb, GRAFT_SOCK_A_REMOTE_PORT, a.port))
		return -EMSGSIZE;
	return 0;
}

static u64 graft_cgroup_id(const struct sock *sk)
{
#ifdef CONFIG_SOCK_CGROUP_DATA
	return cgroup_id(sock_cgroup_ptr(&((struct sock *)sk)->sk_cgrp_data));
#else
	return 0;
#endif
}

/* The table's sockets_lock is held, so the socket is not released meanwhile. */
static int graft_nl_put_socket(struct sk_buff *skb,
			       const struct graft_socket *gs)
{
	struct socket *sock = gs->sock;
	struct sock *sk = sock->sk;
	struct nlattr *nest;

	nest = nla_nest_start(skb, GRAFT_A_SOCKET);
	if (!nest ||
	    nla_put_u64_64bit(skb, GRAFT_SOCK_A_COOKIE, graft_cookie(sk),
			      GRAFT_SOCK_A_PAD) ||
	    nla_put_u64_64bit(skb, GRAFT_SOCK_A_INODE,
			      SOCK_INODE(sock)->i_ino, GRAFT_SOCK_A_PAD) ||
	    nla_put_string(skb, GRAFT_SOCK_A_ENDPOINT, gs->ep->name) ||
	    nla_put_u16(skb, GRAFT_SOCK_A_FAMILY, sk->sk_family) ||
	    nla_put_u16(skb, GRAFT_SOCK_A_TYPE, sk->sk_type) ||
	    nla_put_u16(skb, GRAFT_SOCK_A_PROTOCOL, sk->sk_protocol) ||
	    nla_put_u8(skb, GRAFT_SOCK_A_STATE, READ_ONCE(sk->sk_state)) ||
	    nla_put_u32(skb, GRAFT_SOCK_A_UID,
			from_kuid_munged(&init_user_ns,
					 SOCK_INODE(sock)->i_uid)) ||
	    nla_put_u64_64bit(skb, GRAFT_SOCK_A_CGROUP_ID, graft_cgroup_id(sk),
			      GRAFT_SOCK_A_PAD) ||
	    nla_put_u64_64bit(skb, GRAFT_SOCK_A_TARGET_COOKIE,
			      sock_net(sk)->net_cookie, GRAFT_SOCK_A_PAD) ||
	    nla_put_u8(skb, GRAFT_SOCK_A_DOOR, gs->door) ||
	    nla_put_u8(skb, GRAFT_SOCK_A_VERB, gs->verb) ||
	    (gs->protocol && graft_nl_put_addresses(skb, sk)))
		return -EMSGSIZE;
	nla_nest_end(skb, nest);
	return 0;
}

/*
 * The sockets of one table, from the cursor args[3], args[5] on. Return: whether
 * all of them went into @skb.
 */
static bool graft_nl_put_sockets(struct sk_buff *skb,
				 struct netlink_callback *cb,
				 struct graft_table *t)
{
	struct graft_cursor cursor = { cb->args[3], cb->args[5] };
	struct graft_socket *gs;
	void *hdr;

	spin_lock(&t->sockets_lock);
	while ((gs = graft_socket_next(t, &cursor))) {
		hdr = graft_nl_dump_put(skb, cb, t, GRAFT_CMD_SOCKET_GET);
		if (!hdr)
			break;
		if (graft_nl_put_socket(skb, gs)) {
			genlmsg_cancel(skb, hdr);
			break;
		}
		genlmsg_end(skb, hdr);
		cb->args[3] = cursor.bucket;
		cb->args[5] = cursor.before;
	}
	spin_unlock(&t->sockets_lock);
	if (!gs) {
		cb->args[3] = 0;
		cb->args[5] = 0;
	}
	return !gs;
}

/*
 * Which tables: as in graft_nl_table_dump(). args: 2 how many namespaces are
 * done, 3 and 5 the cursor in the next one's sockets.
 */
int graft_nl_socket_dump(struct sk_buff *skb, struct netlink_callback *cb)
{
	struct net *writer = sock_net(cb->skb->sk), *net;
	struct graft_table *t;
	long seen = 0;
	int err;

	err = graft_nl_dump_begin(cb, true);
	if (err)
		return err;
	graft_nl_dump_seq(cb, graft_tables_seq());
	if (cb->args[1]) {
		if (!cb->args[2] &&
		    graft_nl_put_sockets(skb, cb, graft_nl_dump_table(cb)))
			cb->args[2] = 1;
		return skb->len;
	}
	rcu_read_lock();
	for_each_net_rcu(net) {
		if (seen++ < cb->args[2])
			continue;
		t = graft_table(net);
		if ((writer == &init_net || t->owner == writer) &&
		    !graft_nl_put_sockets(skb, cb, t))
			break;
		cb->args[2] = seen;
	}
	rcu_read_unlock();
	return skb->len;
}

/**
 * graft_nl_answer_aborted - answer how many sockets were aborted
 * @info: the request; answered where it asked for an abort
 * @n: how many
 */
int graft_nl_answer_aborted(struct genl_info *info, u32 n)
{
	struct sk_buff *msg;
	void *hdr;

	if (!info->attrs[GRAFT_A_ABORT] &&
	    info->genlhdr->cmd != GRAFT_CMD_SOCKET_ABORT)
		return 0;
	msg = genlmsg_new(GENLMSG_DEFAULT_SIZE, GFP_KERNEL);
	if (!msg)
		return -ENOMEM;
	hdr = genlmsg_put_reply(msg, info, &graft_nl_family, 0,
				info->genlhdr->cmd);
	if (!hdr || nla_put_u32(msg, GRAFT_A_ABORTED, n)) {
		nlmsg_free(msg);
		return -EMSGSIZE;
	}
	genlmsg_end(msg, hdr);
	return genlmsg_reply(msg, info);
}

int graft_nl_socket_abort(struct sk_buff *skb, struct genl_info *info)
{
	struct nlattr *tb[GRAFT_SOCK_A_MAX + 1];
	struct graft_endpoint *ep;
	struct graft_nl_req req;
	struct graft_name named;
	struct nlattr *name;
	u32 n = 0;
	int err;

	if (!info->attrs[GRAFT_A_SOCKET]) {
		GENL_SET_ERR_MSG(info, "which socket is missing: attribute socket with a cookie or an endpoint");
		return -EINVAL;
	}
	err = nla_parse_nested(tb, GRAFT_SOCK_A_MAX,
			       info->attrs[GRAFT_A_SOCKET], graft_socket_policy,
			       info->extack);
	if (err)
		return err;
	name = tb[GRAFT_SOCK_A_ENDPOINT];
	if (!name == !tb[GRAFT_SOCK_A_COOKIE]) {
		GENL_SET_ERR_MSG(info, "give either a cookie or an endpoint");
		return -EINVAL;
	}
	err = graft_nl_begin(&req, skb, info, true);
	if (err)
		return err;
	/* not under the lock: an abort waits for calls of the container's */
	mutex_unlock(&req.t->lock);
	if (name) {
		named = graft_name(nla_data(name), strlen(nla_data(name)));
		ep = graft_endpoint_get(req.t, named.text, named.len);
		if (ep) {
			n = graft_abort_endpoint(req.t, ep);
			graft_endpoint_put(ep);
		} else {
			/* sockets may have outlived it */
			n = graft_abort_name(req.t, &named);
			if (!n) {
				GENL_SET_ERR_MSG(info, "no endpoint of this name is in the table, and no live socket is left of one");
				err = -ENOENT;
			}
		}
	} else {
		n = graft_abort_cookie(req.t,
				       nla_get_u64(tb[GRAFT_SOCK_A_COOKIE]));
		if (!n) {
			GENL_SET_ERR_MSG(info, "no live grafted socket of this namespace has that cookie");
			err = -ENOENT;
		}
	}
	graft_nl_end(&req);
	return err ?: graft_nl_answer_aborted(info, n);
}
