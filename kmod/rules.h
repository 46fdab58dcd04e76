/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _GRAFT_RULES_H
#define _GRAFT_RULES_H

#include <linux/rcupdate.h>
#include <net/ipv6.h>

#include "table.h"

/**
 * struct graft_rules - a compiled set of ingress and egress rules
 * @rcu: frees it
 * @n: rules
 * @rule: as they were given, in the order in which they were given
 * @name: each one's endpoint's name, ready for a look-up
 * @sides: by direction and family, what a look-up reads
 */
struct graft_rules {
	struct rcu_head		rcu;
	u32			n;
	struct graft_rule	*rule;
	struct graft_name	*name;
	struct graft_rule_side {
		u32			*buckets;	/* index of a node, plus one */
		struct graft_rule_node	*nodes;
		u32			*order;		/* rules, the preferred first */
		u32			mask;
		u32			n_nodes;
		u32			n;		/* in @order */
		u8			n_lens;
		u8			lens[129];	/* prefix lengths in use, longest first */
	} sides[4];
};

struct graft_rules *graft_rules_alloc(u32 n);
int graft_rules_compile(struct graft_rules *rules);
void graft_rules_free(struct graft_rules *rules);
const char *graft_rule_check(const struct graft_rule *rule);

const struct graft_rule *
graft_rules_lookup(const struct graft_rules *rules,
		   enum graft_direction direction,
		   const struct graft_addr *a, u8 protocol);

static inline const struct graft_name *
graft_rule_name(const struct graft_rules *rules, const struct graft_rule *rule)
{
	return &rules->name[rule - rules->rule];
}

#endif /* _GRAFT_RULES_H */
