/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _GRAFT_ACL_H
#define _GRAFT_ACL_H

#include <linux/rcupdate.h>

#include "table.h"

/**
 * struct graft_acl_rule - who may do what through which endpoint
 * @allow: what it says of what it matches
 * @local: an allow that reaches the target's own addresses
 * @own_ids: @uid and @gid are the table namespace's, not the initial one's
 * @any_user: every uid matches
 * @any_group: every gid matches
 * @verbs: GRAFT_VERB_*
 * @protocols: GRAFT_PROTO_*
 * @family: of @address; 0 for every destination
 * @prefixlen: bits of @address that count
 * @address: destination
 * @port_lo: first destination port
 * @port_hi: last
 * @uid_lo: first uid
 * @uid_hi: last
 * @gid_lo: first gid; the effective one and the supplementary ones are tried
 * @gid_hi: last
 * @next: index, plus one, of the next rule of the same endpoint
 * @endpoint: its name, empty for every one
 */
struct graft_acl_rule {
	bool	allow;
	bool	local;
	bool	own_ids;
	bool	any_user;
	bool	any_group;
	u8	verbs;
	u8	protocols;
	u8	prefixlen;
	u16	family;
	u16	port_lo;
	u16	port_hi;
	u8	address[16];
	u32	uid_lo;
	u32	uid_hi;
	u32	gid_lo;
	u32	gid_hi;
	u32	next;
	char	endpoint[GRAFT_NAME_MAX];
};

/**
 * struct graft_acl - a compiled ACL
 * @rcu: frees it
 * @n: rules
 * @rule: in order
 * @every: index, plus one, of the first rule for every endpoint
 * @mask: of @buckets
 * @buckets: index, plus one, of the first rule of the endpoints that hash there
 */
struct graft_acl {
	struct rcu_head		rcu;
	u32			n;
	struct graft_acl_rule	*rule;
	u32			every;
	u32			mask;
	u32			*buckets;
};

/* Why an ACL is asked: an answer is a send from a port that may be listened on. */
enum graft_acl_use {
	GRAFT_ACL_LISTEN,
	GRAFT_ACL_CONNECT,
	GRAFT_ACL_ANSWER,
};

struct graft_acl *graft_acl_alloc(u32 n);
void graft_acl_compile(struct graft_acl *acl);
void graft_acl_free(struct graft_acl *acl);

bool graft_acl_ask(const struct cred *cred, struct graft_table *t,
		   const struct graft_endpoint *ep, enum graft_acl_use use,
		   u8 protocol, const struct graft_addr *dst, bool *local);

/* graft_acl_ask() where there is an ACL; without one all is allowed. */
static inline bool graft_acl_allows(const struct cred *cred,
				    struct graft_table *t,
				    const struct graft_endpoint *ep,
				    enum graft_acl_use use, u8 protocol,
				    const struct graft_addr *dst, bool *local)
{
	*local = false;
	return !rcu_access_pointer(t->acl) ||
	       graft_acl_ask(cred, t, ep, use, protocol, dst, local);
}

#endif /* _GRAFT_ACL_H */
