// SPDX-License-Identifier: GPL-2.0
/*
 * ACL rules narrow what a table grants. They are tried in order and the first
 * that matches decides; an endpoint that some allow rule covers is denied what
 * none matches, any other is allowed it. Rules are chained by the hash of their
 * endpoint's name, so a decision reads those of its own endpoint and those for
 * every endpoint.
 */

#include <linux/cred.h>
#include <linux/jhash.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/uidgid.h>
#include <linux/user_namespace.h>

#include "acl.h"
#include "table.h"

/**
 * graft_acl_alloc - make an empty ACL
 * @n: how many rules the caller is going to put into .rule
 *
 * Return: the ACL, to be compiled and in the end freed, or NULL.
 */
struct graft_acl *graft_acl_alloc(u32 n)
{
	struct graft_acl *acl;

	acl = kzalloc(sizeof(*acl), GFP_KERNEL_ACCOUNT);
	if (!acl)
		return NULL;
	acl->n = n;
	acl->mask = roundup_pow_of_two(max(n, 1U)) - 1;
	acl->rule = kvcalloc(n, sizeof(*acl->rule), GFP_KERNEL_ACCOUNT);
	acl->buckets = kvcalloc(acl->mask + 1, sizeof(*acl->buckets),
				GFP_KERNEL_ACCOUNT);
	if ((n && !acl->rule) || !acl->buckets) {
		kvfree(acl->rule);
		kvfree(acl->buckets);
		kfree(acl);
		return NULL;
	}
	return acl;
}

static void graft_acl_free_rcu(struct rcu_head *rcu)
{
	struct graft_acl *acl = container_of(rcu, struct graft_acl, rcu);

	kvfree(acl->rule);
	kvfree(acl->buckets);
	kfree(acl);
}

/* Free @acl, NULL allowed, once nobody reads it. */
void graft_acl_free(struct graft_acl *acl)
{
	if (acl)
		call_rcu(&acl->rcu, graft_acl_free_rcu);
}

static u32 graft_acl_hash(const char *endpoint, size_t len)
{
	return jhash(endpoint, len, 0);
}

/* Chain the rules, from the last to the first, so that chains are in order. */
void graft_acl_compile(struct graft_acl *acl)
{
	struct graft_acl_rule *rule;
	u32 i, *head;

	for (i = acl->n; i > 0; i--) {
		rule = &acl->rule[i - 1];
		if (rule->endpoint[0])
			head = &acl->buckets[graft_acl_hash(rule->endpoint,
							    strlen(rule->endpoint)) &
					     acl->mask];
		else
			head = &acl->every;
		rule->next = *head;
		*head = i;
	}
}

static bool graft_acl_user(const struct graft_acl_rule *rule,
			   const struct cred *cred, struct user_namespace *ns)
{
	u32 uid = from_kuid(ns, cred->euid);

	/* who has no id there is nobody's, not the one that stands for nobody */
	return rule->any_user ||
	       (uid != (u32)-1 && uid >= rule->uid_lo && uid <= rule->uid_hi);
}

static bool graft_acl_group(const struct graft_acl_rule *rule,
			    const struct cred *cred, struct user_namespace *ns)
{
	const struct group_info *groups = cred->group_info;
	u32 gid = from_kgid(ns, cred->egid);
	int i = 0;

	if (rule->any_group)
		return true;
	for (;;) {
		if (gid != (u32)-1 && gid >= rule->gid_lo &&
		    gid <= rule->gid_hi)
			return true;
		if (i == groups->ngroups)
			return false;
		gid = from_kgid(ns, groups->gid[i++]);
	}
}

static bool graft_acl_matches(const struct graft_acl_rule *rule,
			      const struct cred *cred,
			      struct user_namespace *own, u8 verb, u8 protocol,
			      const struct graft_addr *dst)
{
	struct user_namespace *ns = rule->own_ids ? own : &init_user_ns;
	bool everywhere;

	if (!(rule->verbs & verb) || !(rule->protocols & protocol))
		return false;
	if (!graft_acl_user(rule, cred, ns) ||
	    !graft_acl_group(rule, cred, ns))
		return false;
	everywhere = !rule->family && rule->port_lo <= 1 &&
		     rule->port_hi == U16_MAX;
	if (verb == GRAFT_VERB_LISTEN) /* which has no destination */
		return everywhere;
	if (!dst) /* somewhere: an allow opens some way, a deny must close all */
		return rule->allow || everywhere;
	if (dst->port < rule->port_lo || dst->port > rule->port_hi)
		return false;
	return !rule->family ||
	       (rule->family == dst->family &&
		graft_prefix_match(rule->address, rule->prefixlen,
				   dst->v6.s6_addr));
}

/**
 * graft_acl_ask - ask the ACL
 * @cred: of the task that would do it
 * @t: the table that rules the socket
 * @ep: the endpoint
 * @use: what for
 * @protocol: bits of GRAFT_PROTO_*, one of which must be covered
 * @dst: the destination; not read for GRAFT_ACL_LISTEN; NULL asks whether there
 *	is any
 * @local: set when the rule that allows reaches the target's own addresses
 *
 * Return: whether it is allowed.
 */
bool graft_acl_ask(const struct cred *cred, struct graft_table *t,
		   const struct graft_endpoint *ep, enum graft_acl_use use,
		   u8 protocol, const struct graft_addr *dst, bool *local)
{
	u8 verb = use == GRAFT_ACL_LISTEN ? GRAFT_VERB_LISTEN :
					    GRAFT_VERB_CONNECT;
	const struct graft_acl_rule *rule;
	const struct graft_acl *acl;
	bool narrowed = false;
	bool allowed = true;
	u32 i, own, every;

	*local = false;
	rcu_read_lock();
	acl = rcu_dereference(t->acl);
	if (!acl)
		goto out;

	own = acl->buckets[graft_acl_hash(ep->name, ep->name_len) & acl->mask];
	every = acl->every;
	while (own || every) {
		if (!own || (every && every < own)) {
			i = every;
			every = acl->rule[i - 1].next;
		} else {
			i = own;
			own = acl->rule[i - 1].next;
		}
		rule = &acl->rule[i - 1];
		if (rule->endpoint[0] && strcmp(rule->endpoint, ep->name))
			continue;
		if (graft_acl_matches(rule, cred, t->net->user_ns, verb, protocol,
				      dst)) {
			allowed = rule->allow;
			*local = rule->allow && rule->local;
			goto out;
		}
		/* leave to listen is leave to answer, until connects are named */
		if (rule->allow && (use != GRAFT_ACL_ANSWER ||
				    rule->verbs & GRAFT_VERB_CONNECT))
			narrowed = true;
	}
	allowed = !narrowed;
out:
	rcu_read_unlock();
	return allowed;
}
