// SPDX-License-Identifier: GPL-2.0
/*
 * Ingress and egress rules: the longest prefix wins, then the narrower port
 * range, then the rule that was given first.
 *
 * A set is compiled once and never changes. Each direction and family is a hash
 * table of prefixes, tried from the longest length in use to the shortest, so a
 * look-up costs a probe per distinct length. A prefix's rules are sorted by the
 * width of their port range, then by its first port: within one width the rules
 * that hold a port stand together and are found by bisection.
 */

#include <linux/hash.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/sort.h>

#include "rules.h"

struct graft_rule_node {
	u32	prefix[4];	/* network order */
	u32	first;		/* in graft_rule_side.order */
	u32	n;
	u32	next;		/* node in the same bucket, plus one */
	u8	len;
};

static unsigned int graft_rule_width(const struct graft_rule *rule)
{
	return rule->port_hi - rule->port_lo;
}

static struct graft_rule_side *graft_rules_side(const struct graft_rules *rules,
						u8 direction, u16 family)
{
	unsigned int i = (direction == GRAFT_EGRESS ? 2 : 0) +
			 (family == AF_INET6 ? 1 : 0);

	return (struct graft_rule_side *)&rules->sides[i];
}

/**
 * graft_rule_check - say what is wrong with a rule
 * @rule: from a program or from netlink
 *
 * Return: NULL for a sound rule, else a sentence.
 */
const char *graft_rule_check(const struct graft_rule *rule)
{
	unsigned int bits, i;
	bool named, wants_name;

	if (memchr_inv(rule->reserved, 0, sizeof(rule->reserved)))
		return "reserved bytes are zero";
	if (rule->direction != GRAFT_INGRESS && rule->direction != GRAFT_EGRESS)
		return "direction must be ingress (1) or egress (2)";
	if (rule->family != 0 && rule->family != AF_INET &&
	    rule->family != AF_INET6)
		return "a rule's address is IPv4 or IPv6";
	bits = rule->family ? graft_addr_bits(rule->family) : 0;
	if (rule->prefixlen > bits)
		return "prefix length is longer than the address";
	for (i = rule->prefixlen; i < 128; i++)
		if (rule->address[i / 8] & (0x80 >> (i % 8)))
			return "address has bits set behind its prefix";
	if (!rule->protocols || rule->protocols & ~GRAFT_PROTO_ALL)
		return "protocols must be tcp (1), udp (2) or both (3)";
	if (rule->port_lo > rule->port_hi)
		return "first port is greater than the last";
	if (rule->verdict < GRAFT_VERDICT_ENDPOINT ||
	    rule->verdict > GRAFT_VERDICT_DENY)
		return "verdict must be endpoint (1), native (2) or deny (3)";
	if (strnlen(rule->endpoint, GRAFT_NAME_MAX) == GRAFT_NAME_MAX)
		return "endpoint name is longer than 63 bytes";
	named = rule->endpoint[0];
	wants_name = rule->verdict == GRAFT_VERDICT_ENDPOINT;
	if (named != wants_name)
		return "an endpoint's name goes with verdict endpoint, and only with it";
	return NULL;
}

/**
 * graft_rules_alloc - make an empty set
 * @n: how many rules the caller is going to put into .rule
 *
 * Return: the set, to be compiled and in the end freed, or NULL.
 */
struct graft_rules *graft_rules_alloc(u32 n)
{
	struct graft_rules *rules;

	rules = kzalloc(sizeof(*rules), GFP_KERNEL_ACCOUNT);
	if (!rules)
		return NULL;
	rules->n = n;
	rules->rule = kvcalloc(n, sizeof(*rules->rule), GFP_KERNEL_ACCOUNT);
	rules->name = kvcalloc(n, sizeof(*rules->name), GFP_KERNEL_ACCOUNT);
	if (n && (!rules->rule || !rules->name)) {
		kvfree(rules->rule);
		kvfree(rules->name);
		kfree(rules);
		return NULL;
	}
	return rules;
}

static void graft_rules_destroy(struct graft_rules *rules)
{
	struct graft_rule_side *side;

	for (side = rules->sides;
	     side < rules->sides + ARRAY_SIZE(rules->sides); side++) {
		kvfree(side->buckets);
		kvfree(side->nodes);
		kvfree(side->order);
	}
	kvfree(rules->rule);
	kvfree(rules->name);
	kfree(rules);
}

static void graft_rules_free_rcu(struct rcu_head *rcu)
{
	graft_rules_destroy(container_of(rcu, struct graft_rules, rcu));
}

/* Free @rules, NULL allowed, once nobody reads it. */
void graft_rules_free(struct graft_rules *rules)
{
	if (rules)
		call_rcu(&rules->rcu, graft_rules_free_rcu);
}

/* Prefixes together, longest first; then narrow before wide, low before high. */
static int graft_rule_order(const void *a, const void *b, const void *priv)
{
	const struct graft_rule *rule = priv;
	const struct graft_rule *x = &rule[*(const u32 *)a];
	const struct graft_rule *y = &rule[*(const u32 *)b];
	int cmp;

	if (x->prefixlen != y->prefixlen)
		return (int)y->prefixlen - x->prefixlen;
	cmp = memcmp(x->address, y->address, sizeof(x->address));
	if (cmp)
		return cmp;
	cmp = (int)graft_rule_width(x) - (int)graft_rule_width(y);
	if (cmp)
		return cmp;
	if (x->port_lo != y->port_lo)
		return (int)x->port_lo - y->port_lo;
	return x < y ? -1 : x > y;
}

/* The first @len bits of @a. */
static void graft_prefix(u32 key[4], const struct graft_addr *a,
			 unsigned int len)
{
	unsigned int i;

	for (i = 0; i < 4; i++) {
		unsigned int bits = min(len, 32U);

		key[i] = bits ? (__force u32)(a->v6.s6_addr32[i] &
					      htonl(~0U << (32 - bits))) : 0;
		len -= bits;
	}
}

/* Rules are the operator's, so nobody has a reason to make them collide. */
static u32 graft_prefix_hash(const u32 prefix[4], u8 len)
{
	u32 hash = len;
	unsigned int i;

	for (i = 0; i < 4; i++)
		hash = (hash ^ prefix[i]) * GOLDEN_RATIO_32;
	return hash ^ hash >> 16;
}

static int graft_side_compile(struct graft_rules *rules, u8 direction,
			      u16 family)
{
	struct graft_rule_side *side = graft_rules_side(rules, direction, family);
	struct graft_rule_node *node = NULL;
	const struct graft_rule *rule;
	u32 i, n = 0, *bucket;

	for (i = 0; i < rules->n; i++) {
		rule = &rules->rule[i];
		n += rule->direction == direction &&
		     (!rule->family || rule->family == family);
	}
	if (!n)
		return 0;

	side->n = n;
	side->mask = roundup_pow_of_two(n) - 1;
	side->order = kvcalloc(n, sizeof(*side->order), GFP_KERNEL_ACCOUNT);
	side->nodes = kvcalloc(n, sizeof(*side->nodes), GFP_KERNEL_ACCOUNT);
	side->buckets = kvcalloc(side->mask + 1, sizeof(*side->buckets),
				 GFP_KERNEL_ACCOUNT);
	if (!side->order || !side->nodes || !side->buckets)
		return -ENOMEM;

	for (i = 0, n = 0; i < rules->n; i++) {
		rule = &rules->rule[i];
		if (rule->direction == direction &&
		    (!rule->family || rule->family == family))
			side->order[n++] = i;
	}
	sort_r(side->order, n, sizeof(*side->order), graft_rule_order, NULL,
	       rules->rule);

	for (i = 0; i < n; i++) {
		rule = &rules->rule[side->order[i]];
		if (!node || node->len != rule->prefixlen ||
		    memcmp(node->prefix, rule->address, sizeof(node->prefix))) {
			node = &side->nodes[side->n_nodes++];
			memcpy(node->prefix, rule->address,
			       sizeof(node->prefix));
			node->len = rule->prefixlen;
			node->first = i;
			bucket = &side->buckets[graft_prefix_hash(node->prefix,
								  node->len) &
						side->mask];
			node->next = *bucket;
			*bucket = side->n_nodes;
			if (!side->n_lens ||
			    side->lens[side->n_lens - 1] != node->len)
				side->lens[side->n_lens++] = node->len;
		}
		node->n++;
	}
	return 0;
}

/**
 * graft_rules_compile - make a set ready for look-ups
 * @rules: the set, each of its rules checked
 *
 * Return: 0 or -ENOMEM, after which the set can only be freed.
 */
int graft_rules_compile(struct graft_rules *rules)
{
	u32 i;

	for (i = 0; i < rules->n; i++)
		rules->name[i] = graft_name(rules->rule[i].endpoint,
					    strlen(rules->rule[i].endpoint));
	return graft_side_compile(rules, GRAFT_INGRESS, AF_INET) ?:
	       graft_side_compile(rules, GRAFT_INGRESS, AF_INET6) ?:
	       graft_side_compile(rules, GRAFT_EGRESS, AF_INET) ?:
	       graft_side_compile(rules, GRAFT_EGRESS, AF_INET6);
}

/*
 * Few rules are tried one after another: the order puts the one that decides
 * first.
 */
#define GRAFT_RULES_FEW	4

static const struct graft_rule *
graft_rules_scan(const struct graft_rules *rules,
		 const struct graft_rule_side *side,
		 const struct graft_addr *a, u8 protocol)
{
	const struct graft_rule *rule;
	u32 i;

	for (i = 0; i < side->n; i++) {
		rule = &rules->rule[side->order[i]];
		if (a->port >= rule->port_lo && a->port <= rule->port_hi &&
		    rule->protocols & protocol &&
		    graft_prefix_match(rule->address, rule->prefixlen,
				       a->v6.s6_addr))
			return rule;
	}
	return NULL;
}

/* The first of the rules [i, end) whose port range does not end before @port. */
static u32 graft_rules_bisect(const struct graft_rules *rules, const u32 *order,
			      u32 i, u32 end, u16 port)
{
	while (i < end) {
		u32 mid = i + (end - i) / 2;

		if (rules->rule[order[mid]].port_hi < port)
			i = mid + 1;
		else
			end = mid;
	}
	return i;
}

/* The first of [i, end) that is wider than the rule at i. */
static u32 graft_rules_wider(const struct graft_rules *rules, const u32 *order,
			     u32 i, u32 end)
{
	unsigned int width = graft_rule_width(&rules->rule[order[i]]);
	u32 lo = i, step;

	/* gallop: distinct widths are few, but each may be long */
	for (step = 1; lo + step < end &&
	     graft_rule_width(&rules->rule[order[lo + step]]) == width;
	     step *= 2)
		lo += step;
	end = min(end, lo + step);
	lo++;
	while (lo < end) {
		u32 mid = lo + (end - lo) / 2;

		if (graft_rule_width(&rules->rule[order[mid]]) == width)
			lo = mid + 1;
		else
			end = mid;
	}
	return lo;
}

static const struct graft_rule *
graft_node_lookup(const struct graft_rules *rules, const u32 *order,
		  const struct graft_rule_node *node, u16 port, u8 protocol)
{
	u32 i = node->first, end = node->first + node->n, next;
	const struct graft_rule *rule;

	for (; i < end; i = next) {
		next = end - i > 1 ? graft_rules_wider(rules, order, i, end) :
				     end;
		i = graft_rules_bisect(rules, order, i, next, port);
		for (; i < next; i++) {
			rule = &rules->rule[order[i]];
			if (rule->port_lo > port)
				break;
			if (rule->protocols & protocol)
				return rule;
		}
	}
	return NULL;
}

/* By the prefixes' lengths; apart, so that few rules need no room on the stack. */
static noinline const struct graft_rule *
graft_rules_search(const struct graft_rules *rules,
		   const struct graft_rule_side *side,
		   const struct graft_addr *a, u8 protocol)
{
	const struct graft_rule_node *node;
	const struct graft_rule *rule;
	u32 i, next, key[4];

	for (i = 0; i < side->n_lens; i++) {
		graft_prefix(key, a, side->lens[i]);
		next = side->buckets[graft_prefix_hash(key, side->lens[i]) &
				     side->mask];
		for (; next; next = node->next) {
			node = &side->nodes[next - 1];
			if (node->len != side->lens[i] ||
			    memcmp(node->prefix, key, sizeof(key)))
				continue;
			rule = graft_node_lookup(rules, side->order, node,
						 a->port, protocol);
			if (rule)
				return rule;
		}
	}
	return NULL;
}

/**
 * graft_rules_lookup - the rule that decides
 * @rules: the set, which the caller keeps from being freed; NULL for none
 * @direction: of the decision
 * @a: local address for ingress, destination for egress
 * @protocol: one bit of GRAFT_PROTO_*
 *
 * Return: the rule, or NULL when none matches.
 */
const struct graft_rule *
graft_rules_lookup(const struct graft_rules *rules,
		   enum graft_direction direction,
		   const struct graft_addr *a, u8 protocol)
{
	const struct graft_rule_side *side;

	if (!rules)
		return NULL;
	side = graft_rules_side(rules, direction, a->family);
	if (side->n <= GRAFT_RULES_FEW)
		return graft_rules_scan(rules, side, a, protocol);
	return graft_rules_search(rules, side, a, protocol);
}
