// SPDX-License-Identifier: GPL-2.0
/* Netlink: endpoints. */

#include <linux/slab.h>
#include <net/net_namespace.h>

#include "abort.h"
#include "nl.h"

const struct nla_policy graft_endpoint_policy[GRAFT_EP_A_MAX + 1] = {
	[GRAFT_EP_A_NAME]	= { .type = NLA_NUL_STRING,
				    .len = GRAFT_NAME_MAX - 1 },
	[GRAFT_EP_A_TYPE]	= NLA_POLICY_RANGE(NLA_U8, GRAFT_EP_IPV4,
						   GRAFT_EP_UNIX),
	[GRAFT_EP_A_ADDRESS]	= { .type = NLA_BINARY, .len = 16 },
	[GRAFT_EP_A_PATH]	= { .type = NLA_BINARY,
				    .len = GRAFT_UNIX_NAME_MAX },
	[GRAFT_EP_A_PORT_LO]	= { .type = NLA_U16 },
	[GRAFT_EP_A_PORT_HI]	= { .type = NLA_U16 },
	[GRAFT_EP_A_PROTOCOLS]	= NLA_POLICY_RANGE(NLA_U8, 1, GRAFT_PROTO_ALL),
	[GRAFT_EP_A_TARGET_FD]	= { .type = NLA_U32 },
	[GRAFT_EP_A_MARK]	= { .type = NLA_U32 },
	[GRAFT_EP_A_DEVICE]	= { .type = NLA_NUL_STRING,
				    .len = IFNAMSIZ - 1 },
	[GRAFT_EP_A_MAX_SOCKETS] = { .type = NLA_U32 },
	[GRAFT_EP_A_PRIVILEGED]	= { .type = NLA_FLAG },
};

static int graft_nl_counters(struct sk_buff *skb, struct graft_endpoint *ep)
{
	const atomic64_t *denials = READ_ONCE(ep->denials);
	struct nlattr *nest;
	unsigned int reason;
	u64 count;

	if (nla_put_u64_64bit(skb, GRAFT_EP_A_ACTIVE, atomic_read(&ep->active),
			      GRAFT_EP_A_PAD) ||
	    nla_put_u64_64bit(skb, GRAFT_EP_A_BINDS,
			      atomic64_read(&ep->binds), GRAFT_EP_A_PAD) ||
	    nla_put_u64_64bit(skb, GRAFT_EP_A_CONNECTS,
			      atomic64_read(&ep->connects), GRAFT_EP_A_PAD) ||
	    nla_put_u64_64bit(skb, GRAFT_EP_A_ACCEPTS,
			      atomic64_read(&ep->accepts), GRAFT_EP_A_PAD))
		return -EMSGSIZE;
	if (!denials)
		return 0;
	nest = nla_nest_start(skb, GRAFT_EP_A_DENIALS);
	if (!nest)
		return -EMSGSIZE;
	for (reason = 1; reason < __GRAFT_REASON_MAX; reason++) {
		count = atomic64_read(&denials[reason]);
		if (count && nla_put_u64_64bit(skb, reason, count, 0))
			return -EMSGSIZE;
	}
	nla_nest_end(skb, nest);
	return 0;
}

/* Put the nest GRAFT_A_ENDPOINT: the same for get, dump and notification. */
static int graft_nl_put_endpoint(struct sk_buff *skb, struct graft_endpoint *ep)
{
	char path[GRAFT_UNIX_NAME_MAX];
	struct graft_ep_conf conf;
	struct nlattr *nest;

	graft_endpoint_conf(ep, &conf, path);
	nest = nla_nest_start(skb, GRAFT_A_ENDPOINT);
	if (!nest || nla_put_string(skb, GRAFT_EP_A_NAME, ep->name) ||
	    nla_put_u8(skb, GRAFT_EP_A_TYPE, conf.type) ||
	    nla_put_u64_64bit(skb, GRAFT_EP_A_TARGET_COOKIE,
			      conf.target ? conf.target_cookie : 0,
			      GRAFT_EP_A_PAD))
		return -EMSGSIZE;
	if (conf.type == GRAFT_EP_UNIX) {
		if (nla_put(skb, GRAFT_EP_A_PATH, conf.path_len, path))
			return -EMSGSIZE;
	} else {
		if (nla_put(skb, GRAFT_EP_A_ADDRESS,
			    graft_addr_bytes(conf.addr.family),
			    &conf.addr.v6) ||
		    nla_put_u16(skb, GRAFT_EP_A_PORT_LO, conf.port_lo) ||
		    nla_put_u16(skb, GRAFT_EP_A_PORT_HI, conf.port_hi) ||
		    nla_put_u8(skb, GRAFT_EP_A_PROTOCOLS, conf.protocols))
			return -EMSGSIZE;
	}
	if ((conf.mark && nla_put_u32(skb, GRAFT_EP_A_MARK, conf.mark)) ||
	    (conf.device[0] &&
	     nla_put_string(skb, GRAFT_EP_A_DEVICE, conf.device)) ||
	    (conf.max_sockets &&
	     nla_put_u32(skb, GRAFT_EP_A_MAX_SOCKETS, conf.max_sockets)) ||
	    (conf.privileged && nla_put_flag(skb, GRAFT_EP_A_PRIVILEGED)) ||
	    graft_nl_counters(skb, ep))
		return -EMSGSIZE;
	nla_nest_end(skb, nest);
	return 0;
}

static int graft_nl_put_head(struct sk_buff *skb, struct graft_table *t)
{
	if (nla_put_u64_64bit(skb, GRAFT_A_NETNS_COOKIE, t->net->net_cookie,
			      GRAFT_A_PAD) ||
	    nla_put_u64_64bit(skb, GRAFT_A_GENERATION, t->generation,
			      GRAFT_A_PAD))
		return -EMSGSIZE;
	return 0;
}

static void graft_nl_endpoint_notify(struct graft_table *t,
				     struct graft_endpoint *ep, u8 cmd)
{
	struct sk_buff *skb;

	if (!graft_nl_heard(t, GRAFT_NL_GROUP_TABLE))
		return;
	skb = graft_nl_notify_new(cmd, NLMSG_GOODSIZE);
	if (!skb)
		return;
	if (graft_nl_put_head(skb, t) || graft_nl_put_endpoint(skb, ep))
		nlmsg_free(skb);
	else
		graft_nl_notify_send(t, skb, GRAFT_NL_GROUP_TABLE);
}

/*
 * The address of an endpoint. Multicast and broadcast are nothing to bind to;
 * an IPv4-mapped address would be IPv4 under another name.
 */
static int graft_nl_address(struct graft_ep_conf *conf, struct nlattr *attr,
			    struct netlink_ext_ack *extack)
{
	u16 family = conf->type == GRAFT_EP_IPV4 ? AF_INET : AF_INET6;

	if (nla_len(attr) != graft_addr_bytes(family)) {
		NL_SET_ERR_MSG_ATTR(extack, attr,
				    "an ipv4 endpoint takes an address of 4 bytes, an ipv6 endpoint one of 16");
		return -EINVAL;
	}
	conf->addr.family = family;
	memcpy(&conf->addr.v6, nla_data(attr), nla_len(attr));
	if (family == AF_INET ? ipv4_is_multicast(conf->addr.v4) ||
				ipv4_is_lbcast(conf->addr.v4) :
				ipv6_addr_is_multicast(&conf->addr.v6) ||
				ipv6_addr_v4mapped(&conf->addr.v6)) {
		NL_SET_ERR_MSG_ATTR(extack, attr,
				    "multicast, broadcast and IPv4-mapped addresses are no endpoints; give a unicast or the unspecified address");
		return -EINVAL;
	}
	return 0;
}

static int graft_nl_internet(struct graft_ep_conf *conf, struct nlattr **tb,
			     struct genl_info *info)
{
	int err;

	if (!tb[GRAFT_EP_A_ADDRESS]) {
		GENL_SET_ERR_MSG(info, "an ipv4 or ipv6 endpoint needs an address");
		return -EINVAL;
	}
	if (tb[GRAFT_EP_A_PATH]) {
		NL_SET_ERR_MSG_ATTR(info->extack, tb[GRAFT_EP_A_PATH],
				    "a path is for unix endpoints");
		return -EINVAL;
	}
	err = graft_nl_address(conf, tb[GRAFT_EP_A_ADDRESS], info->extack);
	if (err)
		return err;
	if (!tb[GRAFT_EP_A_PORT_LO]) {
		GENL_SET_ERR_MSG(info, "an ipv4 or ipv6 endpoint needs a port, 0 for any");
		return -EINVAL;
	}
	conf->port_lo = nla_get_u16(tb[GRAFT_EP_A_PORT_LO]);
	conf->port_hi = tb[GRAFT_EP_A_PORT_HI] ?
				nla_get_u16(tb[GRAFT_EP_A_PORT_HI]) :
				conf->port_lo;
	if (conf->port_hi < conf->port_lo ||
	    (!conf->port_lo && conf->port_hi)) {
		NL_SET_ERR_MSG_ATTR(info->extack, tb[GRAFT_EP_A_PORT_LO],
				    "a range of ports goes from a lower, not 0, to a higher one; any is 0 and 0");
		return -EINVAL;
	}
	conf->protocols = tb[GRAFT_EP_A_PROTOCOLS] ?
				  nla_get_u8(tb[GRAFT_EP_A_PROTOCOLS]) :
				  GRAFT_PROTO_ALL;
	return 0;
}

static int graft_nl_unix(struct graft_ep_conf *conf, struct nlattr **tb,
			 struct genl_info *info)
{
	if (!tb[GRAFT_EP_A_PATH] || !nla_len(tb[GRAFT_EP_A_PATH])) {
		GENL_SET_ERR_MSG(info, "a unix endpoint needs a path: an abstract name of 1 to 107 bytes");
		return -EINVAL;
	}
	if (tb[GRAFT_EP_A_ADDRESS] || tb[GRAFT_EP_A_PORT_LO] ||
	    tb[GRAFT_EP_A_PORT_HI] || tb[GRAFT_EP_A_PROTOCOLS] ||
	    tb[GRAFT_EP_A_MARK] || tb[GRAFT_EP_A_DEVICE]) {
		GENL_SET_ERR_MSG(info, "address, port, protocols, mark and device are for ipv4 and ipv6 endpoints");
		return -EINVAL;
	}
	conf->path_len = nla_len(tb[GRAFT_EP_A_PATH]);
	conf->path = kmemdup(nla_data(tb[GRAFT_EP_A_PATH]), conf->path_len,
			     GFP_KERNEL_ACCOUNT);
	return conf->path ? 0 : -ENOMEM;
}

/*
 * May a request name this target? The namespace that it comes from, it may. A
 * descriptor of another is no proof of a right over it (SIOCGSKNS hands them
 * out), so that is asked for, and a container is given no say at all.
 */
static int graft_nl_may_target(struct sk_buff *skb,
			       const struct graft_nl_req *req,
			       const struct net *target, struct nlattr *attr,
			       struct netlink_ext_ack *extack)
{
	if (target == req->writer)
		return 0;
	if (req->writer != &init_net) {
		NL_SET_ERR_MSG_ATTR(extack, attr,
				    "the target must be the namespace of the netlink socket: ask from there, or from the initial namespace");
		return -EPERM;
	}
	if (target == req->t->net) {
		NL_SET_ERR_MSG_ATTR(extack, attr,
				    "the target is the table's own namespace: name another, or let a rule say native");
		return -EPERM;
	}
	/* a security module may tell this from the right over the initial one */
	if (!netlink_ns_capable(skb, target->user_ns, CAP_NET_ADMIN)) {
		NL_SET_ERR_MSG_ATTR(extack, attr,
				    "CAP_NET_ADMIN is needed over the target's namespace");
		return -EPERM;
	}
	return 0;
}

/*
 * The configuration in a request, its target held. What fails leaves nothing
 * behind.
 */
static int graft_nl_conf(struct graft_ep_conf *conf, struct nlattr **tb,
			 const struct graft_nl_req *req, struct sk_buff *skb,
			 struct genl_info *info)
{
	struct net *target;
	int err;

	memset(conf, 0, sizeof(*conf));
	if (!tb[GRAFT_EP_A_TYPE]) {
		GENL_SET_ERR_MSG(info, "an endpoint needs a type: ipv4, ipv6 or unix");
		return -EINVAL;
	}
	conf->type = nla_get_u8(tb[GRAFT_EP_A_TYPE]);
	if (!tb[GRAFT_EP_A_TARGET_FD]) {
		GENL_SET_ERR_MSG(info, "an endpoint needs a target namespace, given as a descriptor");
		return -EINVAL;
	}
	target = get_net_ns_by_fd(nla_get_u32(tb[GRAFT_EP_A_TARGET_FD]));
	if (IS_ERR(target)) {
		NL_SET_ERR_MSG_ATTR(info->extack, tb[GRAFT_EP_A_TARGET_FD],
				    "not a descriptor of a network namespace");
		return PTR_ERR(target);
	}
	err = graft_nl_may_target(skb, req, target, tb[GRAFT_EP_A_TARGET_FD],
				  info->extack);
	if (err)
		goto err_put;
	err = conf->type == GRAFT_EP_UNIX ? graft_nl_unix(conf, tb, info) :
					    graft_nl_internet(conf, tb, info);
	if (err)
		goto err_put;

	conf->target = target;
	conf->target_cookie = target->net_cookie;
	if (tb[GRAFT_EP_A_MARK])
		conf->mark = nla_get_u32(tb[GRAFT_EP_A_MARK]);
	if (tb[GRAFT_EP_A_DEVICE])
		nla_strscpy(conf->device, tb[GRAFT_EP_A_DEVICE], IFNAMSIZ);
	if (tb[GRAFT_EP_A_MAX_SOCKETS])
		conf->max_sockets = nla_get_u32(tb[GRAFT_EP_A_MAX_SOCKETS]);
	conf->privileged = nla_get_flag(tb[GRAFT_EP_A_PRIVILEGED]);
	return 0;

err_put:
	put_net(target);
	return err;
}

/* The name in the request, into @tb as well. Return: its length or an errno. */
static int graft_nl_endpoint_name(struct genl_info *info, struct nlattr **tb)
{
	struct nlattr *name;
	int err;

	if (!info->attrs[GRAFT_A_ENDPOINT]) {
		GENL_SET_ERR_MSG(info, "the attribute endpoint is missing");
		return -EINVAL;
	}
	err = nla_parse_nested(tb, GRAFT_EP_A_MAX,
			       info->attrs[GRAFT_A_ENDPOINT],
			       graft_endpoint_policy, info->extack);
	if (err)
		return err;
	name = tb[GRAFT_EP_A_NAME];
	if (!name || !*(char *)nla_data(name)) {
		GENL_SET_ERR_MSG(info, "an endpoint needs a name of 1 to 63 bytes");
		return -EINVAL;
	}
	return strlen(nla_data(name));
}

/* Change what is there, or add it; the table's lock is held. */
static int graft_nl_endpoint_store(struct graft_table *t,
				   struct graft_endpoint *fresh,
				   struct graft_ep_conf *conf,
				   struct genl_info *info,
				   struct graft_endpoint **stored)
{
	u16 flags = info->nlhdr->nlmsg_flags;
	struct graft_endpoint *old;
	int err;

	old = graft_endpoint_get(t, fresh->name, fresh->name_len);
	if (old) {
		if (flags & NLM_F_EXCL || !(flags & NLM_F_REPLACE)) {
			GENL_SET_ERR_MSG(info, "an endpoint of this name is in the table; replace it or take another name");
			graft_endpoint_put(old);
			return -EEXIST;
		}
		graft_endpoint_change(old, conf);
		*stored = old;
		return 0;
	}
	if (!(flags & NLM_F_CREATE)) {
		GENL_SET_ERR_MSG(info, "no endpoint of this name is in the table");
		return -ENOENT;
	}
	err = graft_endpoint_add(t, fresh, conf);
	if (err == -ENOSPC)
		GENL_SET_ERR_MSG(info, "the table is full; raise its max-endpoints");
	if (err)
		return err;
	refcount_inc(&fresh->refs);
	*stored = fresh;
	return 0;
}

int graft_nl_endpoint_new(struct sk_buff *skb, struct genl_info *info)
{
	struct nlattr *tb[GRAFT_EP_A_MAX + 1];
	struct graft_endpoint *fresh, *stored, *changed = NULL;
	struct graft_ep_conf conf;
	struct graft_nl_req req;
	struct net *target;
	u32 aborted = 0;
	int len, err;

	len = graft_nl_endpoint_name(info, tb);
	if (len < 0)
		return len;
	err = graft_nl_begin(&req, skb, info, true);
	if (err)
		return err;
	err = graft_nl_conf(&conf, tb, &req, skb, info);
	if (err)
		goto out_unlock;
	target = conf.target;
	fresh = graft_endpoint_alloc(nla_data(tb[GRAFT_EP_A_NAME]), len);
	err = -ENOMEM;
	if (!fresh)
		goto out_conf;

	err = graft_nl_endpoint_store(req.t, fresh, &conf, info, &stored);
	if (err) {
		kfree(fresh);
		goto out_conf;
	}
	conf.path = NULL; /* the endpoint's now */
	if (stored != fresh)
		kfree(fresh);
	graft_table_changed(req.t, req.writer);
	graft_nl_endpoint_notify(req.t, stored, GRAFT_CMD_ENDPOINT_NTF);
	if (stored != fresh && nla_get_flag(info->attrs[GRAFT_A_ABORT]))
		changed = stored;
	else
		graft_endpoint_put(stored);
out_conf:
	kfree(conf.path);
	put_net(target);
out_unlock:
	mutex_unlock(&req.t->lock);
	/* not under the lock: an abort waits for calls of the container's */
	if (changed) {
		aborted = graft_abort_endpoint(req.t, changed);
		graft_endpoint_put(changed);
	}
	graft_nl_end(&req);
	return err ?: graft_nl_answer_aborted(info, aborted);
}

int graft_nl_endpoint_del(struct sk_buff *skb, struct genl_info *info)
{
	struct nlattr *tb[GRAFT_EP_A_MAX + 1];
	struct graft_nl_req req;
	struct graft_endpoint *ep;
	u32 aborted = 0;
	int len, err;

	len = graft_nl_endpoint_name(info, tb);
	if (len < 0)
		return len;
	err = graft_nl_begin(&req, skb, info, true);
	if (err)
		return err;
	ep = graft_endpoint_get(req.t, nla_data(tb[GRAFT_EP_A_NAME]), len);
	if (!ep) {
		GENL_SET_ERR_MSG(info, "no endpoint of this name is in the table");
		err = -ENOENT;
		goto out_unlock;
	}
	graft_nl_endpoint_notify(req.t, ep, GRAFT_CMD_ENDPOINT_DEL_NTF);
	graft_endpoint_remove(req.t, ep);
	graft_table_changed(req.t, req.writer);
out_unlock:
	mutex_unlock(&req.t->lock);
	if (!err && nla_get_flag(info->attrs[GRAFT_A_ABORT]))
		aborted = graft_abort_endpoint(req.t, ep);
	if (ep)
		graft_endpoint_put(ep);
	graft_nl_end(&req);
	return err ?: graft_nl_answer_aborted(info, aborted);
}

int graft_nl_endpoint_get(struct sk_buff *skb, struct genl_info *info)
{
	struct nlattr *tb[GRAFT_EP_A_MAX + 1];
	struct graft_endpoint *ep;
	struct graft_nl_req req;
	struct sk_buff *msg;
	int len, err;
	void *hdr;

	len = graft_nl_endpoint_name(info, tb);
	if (len < 0)
		return len;
	err = graft_nl_begin(&req, skb, info, false);
	if (err)
		return err;
	ep = graft_endpoint_get(req.t, nla_data(tb[GRAFT_EP_A_NAME]), len);
	if (!ep) {
		GENL_SET_ERR_MSG(info, "no endpoint of this name is in the table");
		err = -ENOENT;
		goto out;
	}
	msg = genlmsg_new(NLMSG_GOODSIZE, GFP_KERNEL);
	err = -ENOMEM;
	if (!msg)
		goto out_put;
	err = -EMSGSIZE;
	hdr = genlmsg_put_reply(msg, info, &graft_nl_family, 0,
				GRAFT_CMD_ENDPOINT_GET);
	if (!hdr || graft_nl_put_head(msg, req.t) ||
	    graft_nl_put_endpoint(msg, ep)) {
		nlmsg_free(msg);
		goto out_put;
	}
	genlmsg_end(msg, hdr);
	err = genlmsg_reply(msg, info);
out_put:
	graft_endpoint_put(ep);
out:
	graft_nl_end(&req);
	return err;
}

/* args: 2 the id after the last endpoint that was put. */
int graft_nl_endpoint_dump(struct sk_buff *skb, struct netlink_callback *cb)
{
	struct graft_endpoint *ep;
	struct graft_table *t;
	unsigned long id = cb->args[2];
	void *hdr;
	int err;

	err = graft_nl_dump_begin(cb, false);
	if (err)
		return err;
	t = graft_nl_dump_table(cb);
	mutex_lock(&t->lock);
	graft_nl_dump_seq(cb, t->generation);
	xa_for_each_start(&t->ids, id, ep, cb->args[2]) {
		hdr = graft_nl_dump_put(skb, cb, t, GRAFT_CMD_ENDPOINT_GET);
		if (!hdr)
			break;
		if (graft_nl_put_endpoint(skb, ep)) {
			genlmsg_cancel(skb, hdr);
			break;
		}
		genlmsg_end(skb, hdr);
		cb->args[2] = id + 1;
	}
	mutex_unlock(&t->lock);
	return skb->len;
}
