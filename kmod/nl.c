// SPDX-License-Identifier: GPL-2.0
/*
 * The generic netlink family "graft": who may ask, which table is meant, and
 * notifications. The handlers stand in nl_*.c; kmod/spec/graft.yaml describes
 * the messages.
 *
 * GENL_ADMIN_PERM would let any container pass that holds CAP_NET_ADMIN, and a
 * namespace descriptor is no proof of anything. So a request must come from a
 * socket of a namespace that has the capability over itself and over the table's
 * namespace, and unless it is the initial one CAP_SYS_ADMIN too; an endpoint's
 * target is that very namespace, or from the initial one any over which it has
 * the capability; no namespace but the initial one rules its own table; and a
 * table that something was written into belongs to the namespace that wrote it
 * first, though the initial namespace may always write.
 */

#include <linux/module.h>
#include <linux/netlink.h>
#include <net/net_namespace.h>

#include "compat/genl.h"
#include "nl.h"

/* Fill in for the attribute "namespace" and hold what it names. */
static struct net *graft_nl_netns(struct nlattr **attrs, struct net *writer,
				  struct netlink_ext_ack *extack)
{
	struct net *net;

	if (!attrs[GRAFT_A_NETNS_FD])
		return NULL;
	net = get_net_ns_by_fd(nla_get_u32(attrs[GRAFT_A_NETNS_FD]));
	if (IS_ERR(net))
		NL_SET_ERR_MSG_ATTR(extack, attrs[GRAFT_A_NETNS_FD],
				    "not a descriptor of a network namespace");
	return net;
}

/**
 * graft_nl_may - may this socket read or write this table?
 * @skb: the request
 * @writer: the namespace of the socket
 * @t: the table
 * @portid: of the socket
 * @write: to write
 * @extack: told why not
 *
 * Return: 0, -EPERM, or -EBUSY when another process has claimed the tables.
 */
int graft_nl_may(struct sk_buff *skb, struct net *writer,
		 struct graft_table *t, u32 portid, bool write,
		 struct netlink_ext_ack *extack)
{
	struct net *owner = READ_ONCE(t->owner);
	const char *sentence;

	if (!netlink_ns_capable(skb, writer->user_ns, CAP_NET_ADMIN) ||
	    !netlink_ns_capable(skb, t->net->user_ns, CAP_NET_ADMIN)) {
		NL_SET_ERR_MSG(extack,
			       "CAP_NET_ADMIN is needed over the socket's namespace and over the table's");
		return -EPERM;
	}
	if (writer == &init_net)
		goto claim;
	if (writer == t->net) {
		NL_SET_ERR_MSG(extack,
			       "a namespace does not rule its own table; ask from the target namespace");
		return -EPERM;
	}
	/* a container's own root is not who rules the container */
	if (t->net->user_ns != &init_user_ns &&
	    writer->user_ns == t->net->user_ns) {
		NL_SET_ERR_MSG(extack,
			       "the namespaces of a user namespace are ruled from outside of it");
		return -EPERM;
	}
	/* or a container could write into whatever nobody owns yet */
	if (!netlink_ns_capable(skb, t->net->user_ns, CAP_SYS_ADMIN)) {
		NL_SET_ERR_MSG(extack,
			       "outside the initial namespace CAP_SYS_ADMIN is needed too, over the table's namespace");
		return -EPERM;
	}
	if (owner && owner != writer) {
		NL_SET_ERR_MSG(extack,
			       "the table belongs to the namespace that wrote it first");
		return -EPERM;
	}
claim:
	if (write && graft_claimed_by_other(writer, portid, &sentence)) {
		GRAFT_NL_SENTENCE(extack, sentence);
		return -EBUSY;
	}
	return 0;
}

/**
 * graft_nl_begin - find the table of a request and see whether it may proceed
 * @req: filled in; graft_nl_end() ends it
 * @skb: the request
 * @info: likewise
 * @write: it writes
 *
 * Return: 0, with the table's lock held where @write, or an errno.
 */
int graft_nl_begin(struct graft_nl_req *req, struct sk_buff *skb,
		   struct genl_info *info, bool write)
{
	struct net *writer = genl_info_net(info);
	u64 generation;
	int err;

	req->writer = writer;
	req->held = graft_nl_netns(info->attrs, writer, info->extack);
	if (IS_ERR(req->held))
		return PTR_ERR(req->held);
	req->t = graft_table(req->held ?: writer);

	/* who owns it is looked at under the lock under which that changes */
	if (write)
		mutex_lock(&req->t->lock);
	err = graft_nl_may(skb, writer, req->t, info->snd_portid, write,
			   info->extack);
	if (err)
		goto err_unlock;
	if (!write)
		return 0;
	if (!info->attrs[GRAFT_A_GENERATION])
		return 0;
	generation = nla_get_u64(info->attrs[GRAFT_A_GENERATION]);
	if (generation == req->t->generation)
		return 0;
	NL_SET_ERR_MSG_ATTR(info->extack, info->attrs[GRAFT_A_GENERATION],
			    "the table has changed since it was read; read it again");
	err = -ESTALE;
err_unlock:
	if (write)
		mutex_unlock(&req->t->lock);
	if (req->held)
		put_net(req->held);
	return err;
}

/* End a request that graft_nl_begin() let through; its lock is released. */
void graft_nl_end(struct graft_nl_req *req)
{
	if (req->held)
		put_net(req->held);
}

/*
 * Dumps. What cb->args hold: 0 the table, 1 whether its namespace was given and
 * is held, 2 and 3 the handler's own, 4 whether the dump may proceed.
 */
static int graft_nl_dump_one(struct netlink_callback *cb)
{
	struct net *writer = sock_net(cb->skb->sk);
	struct graft_table *t;
	struct net *held;
	int err;

	held = graft_nl_netns(graft_dump_attrs(cb), writer, cb->extack);
	if (IS_ERR(held))
		return PTR_ERR(held);
	t = graft_table(held ?: writer);
	err = graft_nl_may(cb->skb, writer, t, NETLINK_CB(cb->skb).portid,
			   false, cb->extack);
	if (err) {
		if (held)
			put_net(held);
		return err;
	}
	cb->args[0] = (long)t;
	cb->args[1] = !!held;
	return 0;
}

/* Without a namespace: every table that the socket's namespace writes. */
static int graft_nl_dump_all(struct netlink_callback *cb)
{
	struct net *writer = sock_net(cb->skb->sk);

	if (graft_dump_attrs(cb)[GRAFT_A_NETNS_FD])
		return graft_nl_dump_one(cb);
	if (netlink_ns_capable(cb->skb, writer->user_ns, CAP_NET_ADMIN))
		return 0;
	NL_SET_ERR_MSG(cb->extack,
		       "CAP_NET_ADMIN is needed over the socket's namespace");
	return -EPERM;
}

/*
 * Begin a part of a dump, the first with the question who asks; @all where the
 * dump may be of more than one table. The first part is made on behalf of the
 * sender. A start operation would be the place, but on 6.1 it has no extack.
 * args: 0 the table, 1 whether its namespace is held, 4 whether it was asked; the
 * others are the dump's own.
 */
int graft_nl_dump_begin(struct netlink_callback *cb, bool all)
{
	int err;

	if (cb->args[4])
		return 0;
	err = all ? graft_nl_dump_all(cb) : graft_nl_dump_one(cb);
	if (!err)
		cb->args[4] = 1;
	return err;
}

int graft_nl_dump_done(struct netlink_callback *cb)
{
	if (cb->args[1])
		put_net(graft_nl_dump_table(cb)->net);
	return 0;
}

struct graft_table *graft_nl_dump_table(struct netlink_callback *cb)
{
	return (struct graft_table *)cb->args[0];
}

/*
 * Say what is dumped from here on, once for each part of a dump: when it differs
 * from what the parts before were of, even with nothing left to put, the dump
 * is flagged as interrupted.
 */
void graft_nl_dump_seq(struct netlink_callback *cb, u64 generation)
{
	cb->seq = (u32)generation ?: 1;
}

/**
 * graft_nl_dump_put - begin a message of a dump
 * @skb: the dump
 * @cb: its state, after graft_nl_dump_seq()
 * @t: the table that the message is about
 * @cmd: the message
 *
 * Return: the message's header, or NULL when @skb is full.
 */
void *graft_nl_dump_put(struct sk_buff *skb, struct netlink_callback *cb,
			struct graft_table *t, u8 cmd)
{
	void *hdr;

	hdr = genlmsg_put(skb, NETLINK_CB(cb->skb).portid, cb->nlh->nlmsg_seq,
			  &graft_nl_family, NLM_F_MULTI, cmd);
	if (!hdr)
		return NULL;
	genl_dump_check_consistent(cb, hdr);
	if (nla_put_u64_64bit(skb, GRAFT_A_NETNS_COOKIE, t->net->net_cookie,
			      GRAFT_A_PAD) ||
	    nla_put_u64_64bit(skb, GRAFT_A_GENERATION, t->generation,
			      GRAFT_A_PAD)) {
		genlmsg_cancel(skb, hdr);
		return NULL;
	}
	return hdr;
}

/* Begin a notification of at most @size bytes of attributes; NULL for none. */
struct sk_buff *graft_nl_notify_new(u8 cmd, size_t size)
{
	struct sk_buff *skb = genlmsg_new(size, GFP_KERNEL);

	if (skb && !genlmsg_put(skb, 0, 0, &graft_nl_family, 0, cmd)) {
		nlmsg_free(skb);
		return NULL;
	}
	return skb;
}

/* Send a notification to the namespace that writes @t; @skb is used up. */
void graft_nl_notify_send(struct graft_table *t, struct sk_buff *skb,
			  enum graft_nl_group group)
{
	struct net *owner = graft_table_owner(t);

	if (!owner) {
		nlmsg_free(skb);
		return;
	}
	genlmsg_end(skb, genlmsg_data(nlmsg_data(nlmsg_hdr(skb))));
	genlmsg_multicast_netns(&graft_nl_family, owner, skb, 0, group,
				GFP_KERNEL);
	put_net(owner);
}

/* A listener or writer has closed its socket: its claim goes with it. */
static int graft_nl_event(struct notifier_block *nb, unsigned long event,
			  void *data)
{
	const struct netlink_notify *notify = data;

	if (event == NETLINK_URELEASE && notify->protocol == NETLINK_GENERIC)
		graft_claim_drop(notify->net, notify->portid);
	return NOTIFY_DONE;
}

static struct notifier_block graft_nl_notifier = {
	.notifier_call = graft_nl_event,
};

static const struct nla_policy graft_nl_policy[GRAFT_A_MAX + 1] = {
	[GRAFT_A_NETNS_FD]	= { .type = NLA_U32 },
	[GRAFT_A_GENERATION]	= { .type = NLA_U64 },
	[GRAFT_A_CLAIMANT]	= { .type = NLA_NUL_STRING,
				    .len = TASK_COMM_LEN - 1 },
	[GRAFT_A_TABLE]		= NLA_POLICY_NESTED(graft_table_policy),
	[GRAFT_A_ENDPOINT]	= NLA_POLICY_NESTED(graft_endpoint_policy),
	[GRAFT_A_RULE]		= NLA_POLICY_NESTED(graft_rule_policy),
	[GRAFT_A_ACL]		= NLA_POLICY_NESTED(graft_acl_policy),
	[GRAFT_A_SOCKET]	= NLA_POLICY_NESTED(graft_socket_policy),
	[GRAFT_A_ABORT]		= { .type = NLA_FLAG },
};

#define GRAFT_NL_DO(command, handler)					\
	{								\
		.cmd = (command), .doit = (handler),			\
		.policy = graft_nl_policy, .maxattr = GRAFT_A_MAX,	\
	}
#define GRAFT_NL_DUMP(command, do_handler, dump_handler)		\
	{								\
		.cmd = (command), .doit = (do_handler),			\
		.dumpit = (dump_handler), .done = graft_nl_dump_done,	\
		.policy = graft_nl_policy, .maxattr = GRAFT_A_MAX,	\
	}

static const struct genl_ops graft_nl_ops[] = {
	GRAFT_NL_DO(GRAFT_CMD_INFO_GET, graft_nl_info_get),
	GRAFT_NL_DO(GRAFT_CMD_CLAIM, graft_nl_claim),
	GRAFT_NL_DO(GRAFT_CMD_UNCLAIM, graft_nl_unclaim),
	GRAFT_NL_DUMP(GRAFT_CMD_TABLE_GET, graft_nl_table_get,
		      graft_nl_table_dump),
	GRAFT_NL_DO(GRAFT_CMD_TABLE_SET, graft_nl_table_set),
	GRAFT_NL_DO(GRAFT_CMD_ENDPOINT_NEW, graft_nl_endpoint_new),
	GRAFT_NL_DO(GRAFT_CMD_ENDPOINT_DEL, graft_nl_endpoint_del),
	GRAFT_NL_DUMP(GRAFT_CMD_ENDPOINT_GET, graft_nl_endpoint_get,
		      graft_nl_endpoint_dump),
	GRAFT_NL_DO(GRAFT_CMD_RULES_SET, graft_nl_rules_set),
	GRAFT_NL_DUMP(GRAFT_CMD_RULES_GET, NULL, graft_nl_rules_dump),
	GRAFT_NL_DO(GRAFT_CMD_ACL_SET, graft_nl_acl_set),
	GRAFT_NL_DUMP(GRAFT_CMD_ACL_GET, NULL, graft_nl_acl_dump),
	GRAFT_NL_DUMP(GRAFT_CMD_SOCKET_GET, NULL, graft_nl_socket_dump),
	GRAFT_NL_DO(GRAFT_CMD_SOCKET_ABORT, graft_nl_socket_abort),
};

static const struct genl_multicast_group graft_nl_groups[] = {
	[GRAFT_NL_GROUP_TABLE] = { .name = GRAFT_MCGRP_TABLE,
				   .flags = GENL_MCAST_CAP_NET_ADMIN },
	[GRAFT_NL_GROUP_EVENT] = { .name = GRAFT_MCGRP_EVENT,
				   .flags = GENL_MCAST_CAP_NET_ADMIN },
};

struct genl_family graft_nl_family __ro_after_init = {
	.name		= GRAFT_GENL_NAME,
	.version	= GRAFT_GENL_VERSION,
	.maxattr	= GRAFT_A_MAX,
	.netnsok	= true,
	.parallel_ops	= true,
	/* up to here NLM_F_CREATE, _EXCL and _REPLACE are not taken for noise */
	.resv_start_op	= GRAFT_CMD_ENDPOINT_NEW + 1,
	.module		= THIS_MODULE,
	.ops		= graft_nl_ops,
	.n_ops		= ARRAY_SIZE(graft_nl_ops),
	.mcgrps		= graft_nl_groups,
	.n_mcgrps	= ARRAY_SIZE(graft_nl_groups),
};

int __init graft_nl_init(void)
{
	int err;

	err = netlink_register_notifier(&graft_nl_notifier);
	if (err)
		return err;
	err = genl_register_family(&graft_nl_family);
	if (err)
		netlink_unregister_notifier(&graft_nl_notifier);
	return err;
}

void graft_nl_exit(void)
{
	genl_unregister_family(&graft_nl_family);
	netlink_unregister_notifier(&graft_nl_notifier);
}
