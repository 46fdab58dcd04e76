// SPDX-License-Identifier: GPL-2.0
/* Netlink: the module itself, tables as a whole, and the claim. */

#include <linux/spinlock.h>
#include <net/net_namespace.h>

#include "acl.h"
#include "family.h"
#include "kind.h"
#include "nl.h"
#include "rules.h"

/* Guards every graft_table.claim. */
static DEFINE_SPINLOCK(graft_claim_lock);

const struct nla_policy graft_table_policy[GRAFT_TABLE_A_MAX + 1] = {
	[GRAFT_TABLE_A_MAX_SOCKETS]	= { .type = NLA_U32 },
	[GRAFT_TABLE_A_MAX_EPHEMERAL]	= { .type = NLA_U32 },
	[GRAFT_TABLE_A_MAX_ENDPOINTS]	= { .type = NLA_U32 },
	[GRAFT_TABLE_A_FROZEN]		= NLA_POLICY_MAX(NLA_U8, 1),
};

static int graft_nl_put_claim(struct sk_buff *skb, struct net *writer)
{
	struct graft_claim claim;

	spin_lock(&graft_claim_lock);
	claim = graft_table(writer)->claim;
	spin_unlock(&graft_claim_lock);
	if (!claim.portid)
		return 0;
	if (nla_put_string(skb, GRAFT_A_CLAIMANT, claim.name) ||
	    nla_put_u32(skb, GRAFT_A_CLAIMANT_PID, claim.pid))
		return -EMSGSIZE;
	return 0;
}

/* Answers anyone: versions are no secret; the claimant's name is for admins. */
int graft_nl_info_get(struct sk_buff *skb, struct genl_info *info)
{
	struct net *writer = genl_info_net(info);
	struct sk_buff *msg;
	struct nlattr *nest;
	void *hdr;

	msg = genlmsg_new(GENLMSG_DEFAULT_SIZE, GFP_KERNEL);
	if (!msg)
		return -ENOMEM;
	hdr = genlmsg_put_reply(msg, info, &graft_nl_family, 0,
				GRAFT_CMD_INFO_GET);
	if (!hdr)
		goto err_free;
	nest = nla_nest_start(msg, GRAFT_A_INFO);
	if (!nest ||
	    nla_put_string(msg, GRAFT_INFO_A_VERSION, GRAFT_VERSION) ||
	    nla_put_u32(msg, GRAFT_INFO_A_FAMILY, graft_family()) ||
	    (graft_kind(AF_INET6, SOCK_STREAM) &&
	     nla_put_flag(msg, GRAFT_INFO_A_IPV6)) ||
	    (GRAFT_HAS_SOL_SOCKET &&
	     nla_put_flag(msg, GRAFT_INFO_A_SOL_SOCKET)))
		goto err_free;
	nla_nest_end(msg, nest);
	if (netlink_ns_capable(skb, writer->user_ns, CAP_NET_ADMIN) &&
	    graft_nl_put_claim(msg, writer))
		goto err_free;
	genlmsg_end(msg, hdr);
	return genlmsg_reply(msg, info);

err_free:
	nlmsg_free(msg);
	return -EMSGSIZE;
}

/* Put the nest GRAFT_A_TABLE. The counts are those of this moment. */
int graft_nl_put_table(struct sk_buff *skb, struct graft_table *t)
{
	const struct graft_rules *rules;
	const struct graft_acl *acl;
	struct net *owner = graft_table_owner(t);
	u64 owner_cookie = owner ? owner->net_cookie : 0;
	struct nlattr *nest;
	u32 n_rules, n_acl;

	if (owner)
		put_net(owner);
	rcu_read_lock();
	rules = rcu_dereference(t->rules);
	n_rules = rules ? rules->n : 0;
	acl = rcu_dereference(t->acl);
	n_acl = acl ? acl->n : 0;
	rcu_read_unlock();

	nest = nla_nest_start(skb, GRAFT_A_TABLE);
	if (!nest ||
	    nla_put_u32(skb, GRAFT_TABLE_A_MAX_SOCKETS, t->max_sockets) ||
	    nla_put_u32(skb, GRAFT_TABLE_A_MAX_EPHEMERAL, t->max_ephemeral) ||
	    nla_put_u32(skb, GRAFT_TABLE_A_MAX_ENDPOINTS, t->max_endpoints) ||
	    nla_put_u8(skb, GRAFT_TABLE_A_FROZEN, t->frozen) ||
	    nla_put_u32(skb, GRAFT_TABLE_A_ENDPOINTS, t->n_endpoints) ||
	    nla_put_u32(skb, GRAFT_TABLE_A_RULES, n_rules) ||
	    nla_put_u32(skb, GRAFT_TABLE_A_ACLS, n_acl) ||
	    nla_put_u32(skb, GRAFT_TABLE_A_SOCKETS,
			atomic_read(&t->n_sockets)) ||
	    nla_put_u32(skb, GRAFT_TABLE_A_EPHEMERAL,
			atomic_read(&t->n_ephemeral)) ||
	    nla_put_u64_64bit(skb, GRAFT_TABLE_A_OWNER_COOKIE, owner_cookie,
			      GRAFT_TABLE_A_UNSPEC))
		return -EMSGSIZE;
	nla_nest_end(skb, nest);
	return 0;
}

int graft_nl_table_get(struct sk_buff *skb, struct genl_info *info)
{
	struct graft_nl_req req;
	struct sk_buff *msg;
	void *hdr;
	int err;

	err = graft_nl_begin(&req, skb, info, false);
	if (err)
		return err;
	msg = genlmsg_new(GENLMSG_DEFAULT_SIZE, GFP_KERNEL);
	err = -ENOMEM;
	if (!msg)
		goto out;
	err = -EMSGSIZE;
	hdr = genlmsg_put_reply(msg, info, &graft_nl_family, 0,
				GRAFT_CMD_TABLE_GET);
	if (!hdr ||
	    nla_put_u64_64bit(msg, GRAFT_A_NETNS_COOKIE, req.t->net->net_cookie,
			      GRAFT_A_PAD) ||
	    nla_put_u64_64bit(msg, GRAFT_A_GENERATION, req.t->generation,
			      GRAFT_A_PAD) ||
	    graft_nl_put_table(msg, req.t)) {
		nlmsg_free(msg);
		goto out;
	}
	genlmsg_end(msg, hdr);
	err = genlmsg_reply(msg, info);
out:
	graft_nl_end(&req);
	return err;
}

/*
 * One table where a namespace is given, else all that the socket's namespace
 * owns, or in the initial namespace all that somebody wrote into. args: 2 how
 * many namespaces were seen.
 */
int graft_nl_table_dump(struct sk_buff *skb, struct netlink_callback *cb)
{
	struct net *writer = sock_net(cb->skb->sk), *net;
	struct graft_table *t;
	long seen = 0;
	void *hdr;
	int err;

	err = graft_nl_dump_begin(cb, true);
	if (err)
		return err;
	graft_nl_dump_seq(cb, graft_tables_seq());
	rcu_read_lock();
	for_each_net_rcu(net) {
		if (seen++ < cb->args[2])
			continue;
		t = graft_table(net);
		if (cb->args[1] ? t != graft_nl_dump_table(cb) :
		    !t->owner || (writer != &init_net && t->owner != writer)) {
			cb->args[2] = seen;
			continue;
		}
		hdr = graft_nl_dump_put(skb, cb, t, GRAFT_CMD_TABLE_GET);
		if (!hdr)
			break;
		if (graft_nl_put_table(skb, t)) {
			genlmsg_cancel(skb, hdr);
			break;
		}
		genlmsg_end(skb, hdr);
		cb->args[2] = seen;
	}
	rcu_read_unlock();
	return skb->len;
}

static void graft_nl_table_notify(struct graft_table *t)
{
	struct sk_buff *skb;

	if (!graft_nl_heard(t, GRAFT_NL_GROUP_TABLE))
		return;
	skb = graft_nl_notify_new(GRAFT_CMD_TABLE_NTF, NLMSG_GOODSIZE);
	if (!skb)
		return;
	if (nla_put_u64_64bit(skb, GRAFT_A_NETNS_COOKIE, t->net->net_cookie,
			      GRAFT_A_PAD) ||
	    nla_put_u64_64bit(skb, GRAFT_A_GENERATION, t->generation,
			      GRAFT_A_PAD) ||
	    graft_nl_put_table(skb, t))
		nlmsg_free(skb);
	else
		graft_nl_notify_send(t, skb, GRAFT_NL_GROUP_TABLE);
}

int graft_nl_table_set(struct sk_buff *skb, struct genl_info *info)
{
	struct nlattr *tb[GRAFT_TABLE_A_MAX + 1];
	struct graft_nl_req req;
	int err;

	if (GENL_REQ_ATTR_CHECK(info, GRAFT_A_TABLE)) {
		GENL_SET_ERR_MSG(info, "what to set is missing: attribute table");
		return -EINVAL;
	}
	err = nla_parse_nested(tb, GRAFT_TABLE_A_MAX,
			       info->attrs[GRAFT_A_TABLE], graft_table_policy,
			       info->extack);
	if (err)
		return err;
	err = graft_nl_begin(&req, skb, info, true);
	if (err)
		return err;
	if (tb[GRAFT_TABLE_A_MAX_SOCKETS])
		WRITE_ONCE(req.t->max_sockets,
			   nla_get_u32(tb[GRAFT_TABLE_A_MAX_SOCKETS]));
	if (tb[GRAFT_TABLE_A_MAX_EPHEMERAL])
		WRITE_ONCE(req.t->max_ephemeral,
			   nla_get_u32(tb[GRAFT_TABLE_A_MAX_EPHEMERAL]));
	if (tb[GRAFT_TABLE_A_MAX_ENDPOINTS])
		req.t->max_endpoints =
			nla_get_u32(tb[GRAFT_TABLE_A_MAX_ENDPOINTS]);
	if (tb[GRAFT_TABLE_A_FROZEN])
		WRITE_ONCE(req.t->frozen, nla_get_u8(tb[GRAFT_TABLE_A_FROZEN]));
	graft_table_changed(req.t, req.writer);
	graft_nl_table_notify(req.t);
	mutex_unlock(&req.t->lock);
	graft_nl_end(&req);
	return 0;
}

/**
 * graft_claimed_by_other - is a claim in the way of a writer?
 * @writer: the namespace of its socket
 * @portid: of its socket
 * @sentence: set to what to tell it
 */
bool graft_claimed_by_other(struct net *writer, u32 portid,
			    const char **sentence)
{
	struct graft_claim *claim = &graft_table(writer)->claim;
	bool other;

	spin_lock(&graft_claim_lock);
	other = claim->portid && claim->portid != portid;
	spin_unlock(&graft_claim_lock);
	*sentence = claim->sentence;
	return other;
}

/* Tell listeners of @writer who has the claim now. */
static void graft_claim_notify(struct net *writer)
{
	struct sk_buff *skb;
	void *hdr;

	if (!genl_has_listeners(&graft_nl_family, writer, GRAFT_NL_GROUP_TABLE))
		return;
	skb = genlmsg_new(GENLMSG_DEFAULT_SIZE, GFP_ATOMIC);
	if (!skb)
		return;
	hdr = genlmsg_put(skb, 0, 0, &graft_nl_family, 0, GRAFT_CMD_CLAIM_NTF);
	if (!hdr || graft_nl_put_claim(skb, writer)) {
		nlmsg_free(skb);
		return;
	}
	genlmsg_end(skb, hdr);
	genlmsg_multicast_netns(&graft_nl_family, writer, skb, 0,
				GRAFT_NL_GROUP_TABLE, GFP_ATOMIC);
}

int graft_nl_claim(struct sk_buff *skb, struct genl_info *info)
{
	struct net *writer = genl_info_net(info);
	struct graft_claim *claim = &graft_table(writer)->claim;
	char name[TASK_COMM_LEN];
	int err = 0, n;

	if (!netlink_ns_capable(skb, writer->user_ns, CAP_NET_ADMIN)) {
		GENL_SET_ERR_MSG(info, "CAP_NET_ADMIN is needed to claim the tables");
		return -EPERM;
	}
	if (info->attrs[GRAFT_A_CLAIMANT])
		nla_strscpy(name, info->attrs[GRAFT_A_CLAIMANT], sizeof(name));
	else
		get_task_comm(name, current);

	spin_lock(&graft_claim_lock);
	if (claim->portid && claim->portid != info->snd_portid) {
		GRAFT_NL_SENTENCE(info->extack, claim->sentence);
		err = -EBUSY;
	} else {
		claim->portid = info->snd_portid;
		claim->pid = current->tgid;
		strscpy(claim->name, name, sizeof(claim->name));
		n = snprintf(claim->sentence, sizeof(claim->sentence),
			     "the tables are claimed by %s (pid %u)", name,
			     claim->pid);
		memset(claim->sentence + n, ' ',
		       sizeof(claim->sentence) - 1 - n);
	}
	spin_unlock(&graft_claim_lock);
	if (!err)
		graft_claim_notify(writer);
	return err;
}

/* Drop the claim of the netlink socket @portid of @net, if it has it. */
void graft_claim_drop(struct net *net, u32 portid)
{
	struct graft_claim *claim = &graft_table(net)->claim;
	bool had;

	spin_lock(&graft_claim_lock);
	had = claim->portid && claim->portid == portid;
	if (had)
		claim->portid = 0;
	spin_unlock(&graft_claim_lock);
	if (had)
		graft_claim_notify(net);
}

int graft_nl_unclaim(struct sk_buff *skb, struct genl_info *info)
{
	struct net *writer = genl_info_net(info);
	const char *sentence;

	if (graft_claimed_by_other(writer, info->snd_portid, &sentence)) {
		GRAFT_NL_SENTENCE(info->extack, sentence);
		return -EBUSY;
	}
	graft_claim_drop(writer, info->snd_portid);
	return 0;
}
