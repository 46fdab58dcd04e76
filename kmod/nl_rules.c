// SPDX-License-Identifier: GPL-2.0
/* Netlink: rules and ACL, each replaced whole. */

#include <linux/slab.h>
#include <net/net_namespace.h>

#include "abort.h"
#include "acl.h"
#include "nl.h"
#include "rules.h"

#define GRAFT_RULES_MAX		65536

const struct nla_policy graft_rule_policy[GRAFT_RULE_A_MAX + 1] = {
	[GRAFT_RULE_A_DIRECTION] = NLA_POLICY_RANGE(NLA_U8, GRAFT_INGRESS,
						    GRAFT_EGRESS),
	[GRAFT_RULE_A_ADDRESS]	= { .type = NLA_BINARY, .len = 16 },
	[GRAFT_RULE_A_PREFIXLEN] = NLA_POLICY_MAX(NLA_U8, 128),
	[GRAFT_RULE_A_PROTOCOLS] = NLA_POLICY_RANGE(NLA_U8, 1, GRAFT_PROTO_ALL),
	[GRAFT_RULE_A_PORT_LO]	= { .type = NLA_U16 },
	[GRAFT_RULE_A_PORT_HI]	= { .type = NLA_U16 },
	[GRAFT_RULE_A_VERDICT]	= NLA_POLICY_RANGE(NLA_U8,
						   GRAFT_VERDICT_ENDPOINT,
						   GRAFT_VERDICT_DENY),
	[GRAFT_RULE_A_ENDPOINT]	= { .type = NLA_NUL_STRING,
				    .len = GRAFT_NAME_MAX - 1 },
};

const struct nla_policy graft_acl_policy[GRAFT_ACL_A_MAX + 1] = {
	[GRAFT_ACL_A_ALLOW]	= NLA_POLICY_MAX(NLA_U8, 1),
	[GRAFT_ACL_A_ENDPOINT]	= { .type = NLA_NUL_STRING,
				    .len = GRAFT_NAME_MAX - 1 },
	[GRAFT_ACL_A_VERBS]	= NLA_POLICY_RANGE(NLA_U8, 1, GRAFT_VERB_ALL),
	[GRAFT_ACL_A_UID_LO]	= { .type = NLA_U32 },
	[GRAFT_ACL_A_UID_HI]	= { .type = NLA_U32 },
	[GRAFT_ACL_A_GID_LO]	= { .type = NLA_U32 },
	[GRAFT_ACL_A_GID_HI]	= { .type = NLA_U32 },
	[GRAFT_ACL_A_OWN_IDS]	= { .type = NLA_FLAG },
	[GRAFT_ACL_A_ADDRESS]	= { .type = NLA_BINARY, .len = 16 },
	[GRAFT_ACL_A_PREFIXLEN]	= NLA_POLICY_MAX(NLA_U8, 128),
	[GRAFT_ACL_A_PORT_LO]	= { .type = NLA_U16 },
	[GRAFT_ACL_A_PORT_HI]	= { .type = NLA_U16 },
	[GRAFT_ACL_A_PROTOCOLS]	= NLA_POLICY_RANGE(NLA_U8, 1, GRAFT_PROTO_ALL),
	[GRAFT_ACL_A_LOCAL]	= { .type = NLA_FLAG },
};

static int graft_nl_count(struct genl_info *info, int type)
{
	struct nlattr *attr;
	int rem, n = 0;

	nla_for_each_attr(attr, genlmsg_data(info->genlhdr),
			  genlmsg_len(info->genlhdr), rem)
		n += nla_type(attr) == type;
	return n;
}

/*
 * An address and its prefix. Return: its family, 0 for none, or an errno; an
 * IPv4-mapped prefix is refused, since destinations are compared as IPv4.
 */
static int graft_nl_prefix(struct nlattr *address, struct nlattr *prefixlen,
			   u8 to[16], u8 *len, struct netlink_ext_ack *extack)
{
	int family;

	*len = 0;
	if (!address) {
		if (!prefixlen)
			return 0;
		NL_SET_ERR_MSG_ATTR(extack, prefixlen,
				    "a prefix length goes with an address");
		return -EINVAL;
	}
	if (nla_len(address) != 4 && nla_len(address) != 16) {
		NL_SET_ERR_MSG_ATTR(extack, address,
				    "an address has 4 bytes or 16");
		return -EINVAL;
	}
	family = nla_len(address) == 4 ? AF_INET : AF_INET6;
	memcpy(to, nla_data(address), nla_len(address));
	*len = prefixlen ? nla_get_u8(prefixlen) : graft_addr_bits(family);
	if (family == AF_INET6 && *len >= 96 &&
	    ipv6_addr_v4mapped((struct in6_addr *)to)) {
		NL_SET_ERR_MSG_ATTR(extack, address,
				    "give an IPv4-mapped address as IPv4");
		return -EINVAL;
	}
	return family;
}

static int graft_nl_rule(struct graft_rule *rule, struct nlattr *attr,
			 struct netlink_ext_ack *extack)
{
	struct nlattr *tb[GRAFT_RULE_A_MAX + 1];
	const char *wrong;
	int err;

	err = nla_parse_nested(tb, GRAFT_RULE_A_MAX, attr, graft_rule_policy,
			       extack);
	if (err)
		return err;
	err = graft_nl_prefix(tb[GRAFT_RULE_A_ADDRESS],
			      tb[GRAFT_RULE_A_PREFIXLEN], rule->address,
			      &rule->prefixlen, extack);
	if (err < 0)
		return err;
	rule->family = err;
	if (tb[GRAFT_RULE_A_DIRECTION])
		rule->direction = nla_get_u8(tb[GRAFT_RULE_A_DIRECTION]);
	rule->protocols = tb[GRAFT_RULE_A_PROTOCOLS] ?
				  nla_get_u8(tb[GRAFT_RULE_A_PROTOCOLS]) :
				  GRAFT_PROTO_ALL;
	rule->port_lo = tb[GRAFT_RULE_A_PORT_LO] ?
				nla_get_u16(tb[GRAFT_RULE_A_PORT_LO]) : 1;
	rule->port_hi = tb[GRAFT_RULE_A_PORT_HI] ?
				nla_get_u16(tb[GRAFT_RULE_A_PORT_HI]) :
			tb[GRAFT_RULE_A_PORT_LO] ? rule->port_lo : U16_MAX;
	if (tb[GRAFT_RULE_A_VERDICT])
		rule->verdict = nla_get_u8(tb[GRAFT_RULE_A_VERDICT]);
	if (tb[GRAFT_RULE_A_ENDPOINT])
		nla_strscpy(rule->endpoint, tb[GRAFT_RULE_A_ENDPOINT],
			    GRAFT_NAME_MAX);
	wrong = graft_rule_check(rule);
	if (!wrong)
		return 0;
	GRAFT_NL_SENTENCE(extack, wrong);
	extack->bad_attr = attr;
	return -EINVAL;
}

static void graft_nl_set_notify(struct graft_table *t, u8 cmd)
{
	struct sk_buff *skb;

	if (!graft_nl_heard(t, GRAFT_NL_GROUP_TABLE))
		return;
	skb = graft_nl_notify_new(cmd, NLMSG_GOODSIZE);
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

static struct graft_rules *graft_nl_rules(struct genl_info *info)
{
	struct graft_rules *rules;
	struct nlattr *attr;
	int rem, err;
	u32 i = 0, n;

	n = graft_nl_count(info, GRAFT_A_RULE);
	if (!n)
		return NULL;
	if (n > GRAFT_RULES_MAX) {
		GENL_SET_ERR_MSG(info, "a namespace has at most 65536 rules");
		return ERR_PTR(-ENOSPC);
	}
	rules = graft_rules_alloc(n);
	if (!rules)
		return ERR_PTR(-ENOMEM);
	nla_for_each_attr(attr, genlmsg_data(info->genlhdr),
			  genlmsg_len(info->genlhdr), rem) {
		if (nla_type(attr) != GRAFT_A_RULE)
			continue;
		err = graft_nl_rule(&rules->rule[i++], attr, info->extack);
		if (err)
			goto err_free;
	}
	err = graft_rules_compile(rules);
	if (err)
		goto err_free;
	return rules;

err_free:
	graft_rules_free(rules);
	return ERR_PTR(err);
}

int graft_nl_rules_set(struct sk_buff *skb, struct genl_info *info)
{
	struct graft_rules *rules;
	struct graft_nl_req req;
	int err;

	err = graft_nl_begin(&req, skb, info, true);
	if (err)
		return err;
	rules = graft_nl_rules(info);
	if (IS_ERR(rules)) {
		err = PTR_ERR(rules);
		goto out_unlock;
	}
	rules = rcu_replace_pointer(req.t->rules, rules,
				    lockdep_is_held(&req.t->lock));
	graft_rules_free(rules);
	graft_table_changed(req.t, req.writer);
	graft_nl_set_notify(req.t, GRAFT_CMD_RULES_NTF);
out_unlock:
	mutex_unlock(&req.t->lock);
	graft_nl_end(&req);
	return err;
}

static int graft_nl_put_rule(struct sk_buff *skb, const struct graft_rule *rule)
{
	struct nlattr *nest = nla_nest_start(skb, GRAFT_A_RULE);

	if (!nest ||
	    nla_put_u8(skb, GRAFT_RULE_A_DIRECTION, rule->direction) ||
	    (rule->family &&
	     (nla_put(skb, GRAFT_RULE_A_ADDRESS, graft_addr_bytes(rule->family),
		      rule->address) ||
	      nla_put_u8(skb, GRAFT_RULE_A_PREFIXLEN, rule->prefixlen))) ||
	    nla_put_u8(skb, GRAFT_RULE_A_PROTOCOLS, rule->protocols) ||
	    nla_put_u16(skb, GRAFT_RULE_A_PORT_LO, rule->port_lo) ||
	    nla_put_u16(skb, GRAFT_RULE_A_PORT_HI, rule->port_hi) ||
	    nla_put_u8(skb, GRAFT_RULE_A_VERDICT, rule->verdict) ||
	    (rule->endpoint[0] &&
	     nla_put_string(skb, GRAFT_RULE_A_ENDPOINT, rule->endpoint)))
		return -EMSGSIZE;
	nla_nest_end(skb, nest);
	return 0;
}

/* args: 2 how many rules were put. */
int graft_nl_rules_dump(struct sk_buff *skb, struct netlink_callback *cb)
{
	const struct graft_rules *rules;
	struct graft_table *t;
	void *hdr;
	int err;

	err = graft_nl_dump_begin(cb, false);
	if (err)
		return err;
	t = graft_nl_dump_table(cb);
	mutex_lock(&t->lock);
	graft_nl_dump_seq(cb, t->generation);
	rules = rcu_dereference_protected(t->rules, lockdep_is_held(&t->lock));
	for (; rules && cb->args[2] < rules->n; cb->args[2]++) {
		hdr = graft_nl_dump_put(skb, cb, t, GRAFT_CMD_RULES_GET);
		if (!hdr)
			break;
		if (graft_nl_put_rule(skb, &rules->rule[cb->args[2]])) {
			genlmsg_cancel(skb, hdr);
			break;
		}
		genlmsg_end(skb, hdr);
	}
	mutex_unlock(&t->lock);
	return skb->len;
}

/* A range of ids; absent, with its end, every id. */
static int graft_nl_ids(struct nlattr *lo, struct nlattr *hi, u32 *from, u32 *to,
			bool *any, struct netlink_ext_ack *extack)
{
	*any = !lo && !hi;
	if (*any)
		return 0;
	if (lo) {
		*from = nla_get_u32(lo);
		*to = hi ? nla_get_u32(hi) : *from;
		if (*from <= *to)
			return 0;
	}
	NL_SET_ERR_MSG_ATTR(extack, hi,
			    "a range of ids goes from a lower to a higher one");
	return -EINVAL;
}

static int graft_nl_acl_rule(struct graft_acl_rule *rule, struct nlattr *attr,
			     struct netlink_ext_ack *extack)
{
	struct nlattr *tb[GRAFT_ACL_A_MAX + 1];
	int err;

	err = nla_parse_nested(tb, GRAFT_ACL_A_MAX, attr, graft_acl_policy,
			       extack);
	if (err)
		return err;
	if (!tb[GRAFT_ACL_A_ALLOW]) {
		NL_SET_ERR_MSG_ATTR(extack, attr,
				    "an ACL rule says allow (1) or deny (0)");
		return -EINVAL;
	}
	rule->allow = nla_get_u8(tb[GRAFT_ACL_A_ALLOW]);
	rule->local = nla_get_flag(tb[GRAFT_ACL_A_LOCAL]);
	rule->own_ids = nla_get_flag(tb[GRAFT_ACL_A_OWN_IDS]);
	if (rule->local && !rule->allow) {
		NL_SET_ERR_MSG_ATTR(extack, tb[GRAFT_ACL_A_LOCAL],
				    "local goes with allow");
		return -EINVAL;
	}
	rule->verbs = tb[GRAFT_ACL_A_VERBS] ?
			      nla_get_u8(tb[GRAFT_ACL_A_VERBS]) :
			      GRAFT_VERB_ALL;
	rule->protocols = tb[GRAFT_ACL_A_PROTOCOLS] ?
				  nla_get_u8(tb[GRAFT_ACL_A_PROTOCOLS]) :
				  GRAFT_PROTO_ALL;
	err = graft_nl_ids(tb[GRAFT_ACL_A_UID_LO], tb[GRAFT_ACL_A_UID_HI],
			   &rule->uid_lo, &rule->uid_hi, &rule->any_user,
			   extack) ?:
	      graft_nl_ids(tb[GRAFT_ACL_A_GID_LO], tb[GRAFT_ACL_A_GID_HI],
			   &rule->gid_lo, &rule->gid_hi, &rule->any_group,
			   extack);
	if (err)
		return err;
	err = graft_nl_prefix(tb[GRAFT_ACL_A_ADDRESS],
			      tb[GRAFT_ACL_A_PREFIXLEN], rule->address,
			      &rule->prefixlen, extack);
	if (err < 0)
		return err;
	rule->family = err;
	if (err && rule->prefixlen > graft_addr_bits(err)) {
		NL_SET_ERR_MSG_ATTR(extack, tb[GRAFT_ACL_A_PREFIXLEN],
				    "prefix length is longer than the address");
		return -EINVAL;
	}
	rule->port_lo = tb[GRAFT_ACL_A_PORT_LO] ?
				nla_get_u16(tb[GRAFT_ACL_A_PORT_LO]) : 0;
	rule->port_hi = tb[GRAFT_ACL_A_PORT_HI] ?
				nla_get_u16(tb[GRAFT_ACL_A_PORT_HI]) :
			tb[GRAFT_ACL_A_PORT_LO] ? rule->port_lo : U16_MAX;
	if (rule->port_lo > rule->port_hi) {
		NL_SET_ERR_MSG_ATTR(extack, tb[GRAFT_ACL_A_PORT_LO],
				    "first port is greater than the last");
		return -EINVAL;
	}
	if (tb[GRAFT_ACL_A_ENDPOINT])
		nla_strscpy(rule->endpoint, tb[GRAFT_ACL_A_ENDPOINT],
			    GRAFT_NAME_MAX);
	if (tb[GRAFT_ACL_A_ENDPOINT] && !rule->endpoint[0]) {
		NL_SET_ERR_MSG_ATTR(extack, tb[GRAFT_ACL_A_ENDPOINT],
				    "an endpoint's name has 1 to 63 bytes; leave it out for every endpoint");
		return -EINVAL;
	}
	return 0;
}

static struct graft_acl *graft_nl_acl(struct genl_info *info)
{
	struct graft_acl *acl;
	struct nlattr *attr;
	int rem, err;
	u32 i = 0, n;

	n = graft_nl_count(info, GRAFT_A_ACL);
	if (!n)
		return NULL;
	if (n > GRAFT_RULES_MAX) {
		GENL_SET_ERR_MSG(info, "a namespace has at most 65536 ACL rules");
		return ERR_PTR(-ENOSPC);
	}
	acl = graft_acl_alloc(n);
	if (!acl)
		return ERR_PTR(-ENOMEM);
	nla_for_each_attr(attr, genlmsg_data(info->genlhdr),
			  genlmsg_len(info->genlhdr), rem) {
		if (nla_type(attr) != GRAFT_A_ACL)
			continue;
		err = graft_nl_acl_rule(&acl->rule[i++], attr, info->extack);
		if (err) {
			graft_acl_free(acl);
			return ERR_PTR(err);
		}
	}
	graft_acl_compile(acl);
	return acl;
}

int graft_nl_acl_set(struct sk_buff *skb, struct genl_info *info)
{
	struct graft_nl_req req;
	struct graft_acl *acl;
	u32 aborted = 0;
	int err;

	err = graft_nl_begin(&req, skb, info, true);
	if (err)
		return err;
	acl = graft_nl_acl(info);
	if (IS_ERR(acl)) {
		err = PTR_ERR(acl);
		goto out_unlock;
	}
	acl = rcu_replace_pointer(req.t->acl, acl,
				  lockdep_is_held(&req.t->lock));
	graft_acl_free(acl);
	graft_table_changed(req.t, req.writer);
	graft_nl_set_notify(req.t, GRAFT_CMD_ACL_NTF);
out_unlock:
	mutex_unlock(&req.t->lock);
	if (!err && nla_get_flag(info->attrs[GRAFT_A_ABORT]))
		aborted = graft_abort_denied(req.t);
	graft_nl_end(&req);
	return err ?: graft_nl_answer_aborted(info, aborted);
}

static int graft_nl_put_acl(struct sk_buff *skb,
			    const struct graft_acl_rule *rule)
{
	struct nlattr *nest = nla_nest_start(skb, GRAFT_A_ACL);

	if (!nest || nla_put_u8(skb, GRAFT_ACL_A_ALLOW, rule->allow) ||
	    (rule->endpoint[0] &&
	     nla_put_string(skb, GRAFT_ACL_A_ENDPOINT, rule->endpoint)) ||
	    nla_put_u8(skb, GRAFT_ACL_A_VERBS, rule->verbs) ||
	    nla_put_u8(skb, GRAFT_ACL_A_PROTOCOLS, rule->protocols) ||
	    (!rule->any_user &&
	     (nla_put_u32(skb, GRAFT_ACL_A_UID_LO, rule->uid_lo) ||
	      nla_put_u32(skb, GRAFT_ACL_A_UID_HI, rule->uid_hi))) ||
	    (!rule->any_group &&
	     (nla_put_u32(skb, GRAFT_ACL_A_GID_LO, rule->gid_lo) ||
	      nla_put_u32(skb, GRAFT_ACL_A_GID_HI, rule->gid_hi))) ||
	    (rule->own_ids && nla_put_flag(skb, GRAFT_ACL_A_OWN_IDS)) ||
	    (rule->family &&
	     (nla_put(skb, GRAFT_ACL_A_ADDRESS, graft_addr_bytes(rule->family),
		      rule->address) ||
	      nla_put_u8(skb, GRAFT_ACL_A_PREFIXLEN, rule->prefixlen))) ||
	    ((rule->port_lo || rule->port_hi != U16_MAX) &&
	     (nla_put_u16(skb, GRAFT_ACL_A_PORT_LO, rule->port_lo) ||
	      nla_put_u16(skb, GRAFT_ACL_A_PORT_HI, rule->port_hi))) ||
	    (rule->local && nla_put_flag(skb, GRAFT_ACL_A_LOCAL)))
		return -EMSGSIZE;
	nla_nest_end(skb, nest);
	return 0;
}

/* args: 2 how many rules were put. */
int graft_nl_acl_dump(struct sk_buff *skb, struct netlink_callback *cb)
{
	const struct graft_acl *acl;
	struct graft_table *t;
	void *hdr;
	int err;

	err = graft_nl_dump_begin(cb, false);
	if (err)
		return err;
	t = graft_nl_dump_table(cb);
	mutex_lock(&t->lock);
	graft_nl_dump_seq(cb, t->generation);
	acl = rcu_dereference_protected(t->acl, lockdep_is_held(&t->lock));
	for (; acl && cb->args[2] < acl->n; cb->args[2]++) {
		hdr = graft_nl_dump_put(skb, cb, t, GRAFT_CMD_ACL_GET);
		if (!hdr)
			break;
		if (graft_nl_put_acl(skb, &acl->rule[cb->args[2]])) {
			genlmsg_cancel(skb, hdr);
			break;
		}
		genlmsg_end(skb, hdr);
	}
	mutex_unlock(&t->lock);
	return skb->len;
}
