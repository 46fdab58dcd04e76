/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _GRAFT_NL_H
#define _GRAFT_NL_H

#include <net/genetlink.h>

#include "table.h"

enum graft_nl_group {
	GRAFT_NL_GROUP_TABLE,
	GRAFT_NL_GROUP_EVENT,
};

/**
 * struct graft_nl_req - a request that may be carried out
 * @t: the table
 * @writer: the namespace that the netlink socket belongs to
 * @held: the table's namespace, to be put; NULL where it is @writer
 */
struct graft_nl_req {
	struct graft_table	*t;
	struct net		*writer;
	struct net		*held;
};

extern struct genl_family graft_nl_family;

int graft_nl_begin(struct graft_nl_req *req, struct sk_buff *skb,
		   struct genl_info *info, bool write);
void graft_nl_end(struct graft_nl_req *req);
int graft_nl_may(struct sk_buff *skb, struct net *writer,
		 struct graft_table *t, u32 portid, bool write,
		 struct netlink_ext_ack *extack);

int graft_nl_dump_begin(struct netlink_callback *cb, bool all);
int graft_nl_dump_done(struct netlink_callback *cb);
struct graft_table *graft_nl_dump_table(struct netlink_callback *cb);
void graft_nl_dump_seq(struct netlink_callback *cb, u64 generation);
void *graft_nl_dump_put(struct sk_buff *skb, struct netlink_callback *cb,
			struct graft_table *t, u8 cmd);

/*
 * Is anybody listening who may hear of this table? Netlink keeps one count for
 * all namespaces, so any will do to ask it.
 */
static inline bool graft_nl_heard(struct graft_table *t,
				  enum graft_nl_group group)
{
	return genl_has_listeners(&graft_nl_family, &init_net, group) &&
	       READ_ONCE(t->owner);
}

struct sk_buff *graft_nl_notify_new(u8 cmd, size_t size);
void graft_nl_notify_send(struct graft_table *t, struct sk_buff *skb,
			  enum graft_nl_group group);
int graft_nl_put_table(struct sk_buff *skb, struct graft_table *t);

#define GRAFT_NL_SENTENCE(extack, sentence) ((extack)->_msg = (sentence))

/* nl_endpoint.c */
extern const struct nla_policy graft_endpoint_policy[GRAFT_EP_A_MAX + 1];
int graft_nl_endpoint_new(struct sk_buff *skb, struct genl_info *info);
int graft_nl_endpoint_del(struct sk_buff *skb, struct genl_info *info);
int graft_nl_endpoint_get(struct sk_buff *skb, struct genl_info *info);
int graft_nl_endpoint_dump(struct sk_buff *skb, struct netlink_callback *cb);

/* nl_rules.c */
extern const struct nla_policy graft_rule_policy[GRAFT_RULE_A_MAX + 1];
extern const struct nla_policy graft_acl_policy[GRAFT_ACL_A_MAX + 1];
int graft_nl_rules_set(struct sk_buff *skb, struct genl_info *info);
int graft_nl_rules_dump(struct sk_buff *skb, struct netlink_callback *cb);
int graft_nl_acl_set(struct sk_buff *skb, struct genl_info *info);
int graft_nl_acl_dump(struct sk_buff *skb, struct netlink_callback *cb);

/* nl_socket.c */
extern const struct nla_policy graft_socket_policy[GRAFT_SOCK_A_MAX + 1];
int graft_nl_socket_dump(struct sk_buff *skb, struct netlink_callback *cb);
int graft_nl_socket_abort(struct sk_buff *skb, struct genl_info *info);
int graft_nl_answer_aborted(struct genl_info *info, u32 n);

/* nl_table.c */
extern const struct nla_policy graft_table_policy[GRAFT_TABLE_A_MAX + 1];
int graft_nl_info_get(struct sk_buff *skb, struct genl_info *info);
int graft_nl_table_get(struct sk_buff *skb, struct genl_info *info);
int graft_nl_table_dump(struct sk_buff *skb, struct netlink_callback *cb);
int graft_nl_table_set(struct sk_buff *skb, struct genl_info *info);
int graft_nl_claim(struct sk_buff *skb, struct genl_info *info);
int graft_nl_unclaim(struct sk_buff *skb, struct genl_info *info);
bool graft_claimed_by_other(struct net *writer, u32 portid,
			    const char **sentence);
void graft_claim_drop(struct net *net, u32 portid);

int graft_nl_init(void);
void graft_nl_exit(void);

#endif /* _GRAFT_NL_H */
