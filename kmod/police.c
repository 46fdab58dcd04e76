// SPDX-License-Identifier: GPL-2.0
/*
 * What a grafted socket may reach. Asked at connect, at an addressed send and at
 * listen; data on a connected socket passes nothing of this.
 *
 * A datagram server answers one address after another, so the last destination
 * that was allowed is remembered together with what the answer rested on: the
 * table's generation, the target's routes and, where there is an ACL, the
 * credentials of the task.
 */

#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/fs.h>
#include <linux/pid_namespace.h>
#include <linux/sched/signal.h>
#include <net/addrconf.h>
#include <net/ip6_fib.h>
#include <net/ip6_route.h>
#include <net/ip_fib.h>
#include <net/route.h>

#include "event.h"
#include "held.h"
#include "police.h"
#include "rules.h"

enum graft_reach {
	GRAFT_REACH_REMOTE,
	GRAFT_REACH_OWN,	/* an address of the target's own */
	GRAFT_REACH_SPECIAL,	/* loopback's alias, link-local, broadcast, multicast */
};

static enum graft_reach graft_reach_type(unsigned int type)
{
	switch (type) {
	case RTN_LOCAL:
		return GRAFT_REACH_OWN;
	case RTN_BROADCAST:
	case RTN_MULTICAST:
	case RTN_ANYCAST:
		return GRAFT_REACH_SPECIAL;
	}
	return GRAFT_REACH_REMOTE;
}

/*
 * By the type of the route, not by prefix. Without rules of its own a target
 * has every local route where inet_addr_type() looks; else the whole lookup is
 * needed, with the mark and device that the packet is going to have.
 */
static enum graft_reach graft_reach_v4(const struct graft_path *path,
				       const struct graft_addr *dst)
{
	struct flowi4 fl4 = {
		.daddr = dst->v4,
		.flowi4_mark = path->mark,
		.flowi4_oif = path->ifindex,
	};
	struct rtable *rt;
	unsigned int type;

	if (!dst->v4 || ipv4_is_linklocal_169(dst->v4))
		return GRAFT_REACH_SPECIAL;
	if (!path->mark && !path->ifindex &&
	    !fib4_has_custom_rules(path->target))
		return graft_reach_type(inet_addr_type(path->target, dst->v4));

	/* a local route that a rule hides is no less the target's own address */
	type = inet_addr_type(path->target, dst->v4);
	if (type != RTN_UNICAST)
		return graft_reach_type(type);
	rt = ip_route_output_key(path->target, &fl4);
	if (IS_ERR(rt))
		return GRAFT_REACH_REMOTE; /* and the stack is going to say so */
	type = rt->rt_type;
	ip_rt_put(rt);
	return graft_reach_type(type);
}

#if IS_ENABLED(CONFIG_IPV6)
static enum graft_reach graft_reach_v6(const struct graft_path *path,
				       const struct graft_addr *dst)
{
	struct flowi6 fl6 = {
		.daddr = dst->v6,
		.flowi6_mark = path->mark,
		.flowi6_oif = path->ifindex,
	};
	int type = ipv6_addr_type(&dst->v6);
	enum graft_reach reach = GRAFT_REACH_REMOTE;
	struct dst_entry *de;
	u32 flags;

	if (type & IPV6_ADDR_LOOPBACK)
		return GRAFT_REACH_OWN;
	if (type == IPV6_ADDR_ANY ||
	    type & (IPV6_ADDR_LINKLOCAL | IPV6_ADDR_MULTICAST))
		return GRAFT_REACH_SPECIAL;

	/* an address that a rule of routing hides is no less the target's own */
	if (ipv6_chk_addr(path->target, &dst->v6, NULL, 0))
		return GRAFT_REACH_OWN;
	de = ip6_route_output(path->target, NULL, &fl6);
	if (!de->error) {
		flags = container_of(de, struct rt6_info, dst)->rt6i_flags;
		if (flags & RTF_LOCAL)
			reach = GRAFT_REACH_OWN;
		else if (flags & RTF_ANYCAST)
			reach = GRAFT_REACH_SPECIAL;
	}
	dst_release(de);
	return reach;
}
#else
static enum graft_reach graft_reach_v6(const struct graft_path *path,
				       const struct graft_addr *dst)
{
	return GRAFT_REACH_SPECIAL;
}
#endif

/**
 * graft_police_path - may a packet take this way?
 * @path: the way
 * @use: GRAFT_ACL_CONNECT or GRAFT_ACL_ANSWER
 * @dst: the destination
 * @why: the refusal, where one is returned
 *
 * Return: 0; an enum graft_hold where it is allowed because an endpoint holds the
 * destination's port, see graft_held_rest(); or -EACCES.
 */
int graft_police_path(const struct graft_path *path, enum graft_acl_use use,
		      const struct graft_addr *dst, struct graft_why *why)
{
	enum graft_hold hold = GRAFT_HOLD_NONE;
	enum graft_reach reach;
	bool local;

	if (!graft_acl_allows(path->cred, path->t, path->ep, use,
			      path->protocol, dst, &local))
		return graft_refuse(why, GRAFT_REASON_ACL, -EACCES,
				    "the ACL does not allow this destination");
	if (local)
		return 0;

	reach = dst->family == AF_INET ? graft_reach_v4(path, dst) :
					 graft_reach_v6(path, dst);
	if (reach == GRAFT_REACH_REMOTE)
		return 0;
	if (reach == GRAFT_REACH_OWN)
		hold = graft_held_target(path->target, path->protocol, dst,
					 path->ifindex);
	return hold ?: graft_refuse(why, GRAFT_REASON_LOCAL, -EACCES,
			    "the destination is the target's own, and no ACL rule says local");
}

/*
 * What the egress rules say of a grafted socket's destination. One that an
 * egress rule grafted may go where they name the same endpoint; any other may
 * go where they do not say deny.
 */
static int graft_police_egress(struct graft_socket *gs,
			       const struct graft_addr *dst,
			       struct graft_why *why)
{
	bool egress = gs->door == 2 && gs->verb == GRAFT_VERB_CONNECT;
	const struct graft_rule *rule;
	int err = 0;

	rcu_read_lock();
	rule = graft_rules_lookup(gs->rules ?:
				  rcu_dereference(gs->table->rules),
				  GRAFT_EGRESS, dst, gs->protocol);
	if (rule && rule->verdict == GRAFT_VERDICT_DENY)
		err = graft_refuse(why, GRAFT_REASON_RULE, -EACCES,
				   "an egress rule denies this destination");
	else if (egress && dst->family != gs->family)
		err = graft_refuse(why, GRAFT_REASON_FAMILY, -EACCES,
				   "the endpoint's address is of another family than the destination");
	else if (egress && (!rule || rule->verdict != GRAFT_VERDICT_ENDPOINT ||
			    strcmp(rule->endpoint, gs->ep->name)))
		err = graft_refuse(why, GRAFT_REASON_EGRESS, -EACCES,
				   "no egress rule gives this destination to the socket's endpoint");
	rcu_read_unlock();
	return err;
}

static struct graft_path graft_path_of(const struct graft_socket *gs,
				       const struct sock *sk,
				       const struct cred *cred)
{
	return (struct graft_path) {
		.t = gs->table,
		.ep = gs->ep,
		.cred = cred,
		.target = sock_net(sk),
		.mark = gs->mark,
		.ifindex = gs->ifindex,
		.protocol = gs->protocol,
	};
}

/* What a socket reaches others for: a datagram server answers. */
static enum graft_acl_use graft_use(const struct graft_socket *gs,
				    const struct sock *sk)
{
	return sk->sk_type == SOCK_DGRAM && gs->verb == GRAFT_VERB_LISTEN ?
	       GRAFT_ACL_ANSWER : GRAFT_ACL_CONNECT;
}

static void graft_allow(struct graft_socket *gs,
			const struct graft_allowed *now)
{
	const struct cred *old;

	if (now->cred)
		get_cred(now->cred);
	spin_lock(&gs->allowed_lock);
	write_seqcount_begin(&gs->allowed_seq);
	old = gs->allowed.cred;
	gs->allowed = *now;
	write_seqcount_end(&gs->allowed_seq);
	spin_unlock(&gs->allowed_lock);
	put_cred(old);
}

/* The socket has another port by its next datagram, or is held nowhere: ask then. */
void graft_police_forget(struct graft_socket *gs)
{
	static const struct graft_allowed nothing;

	graft_allow(gs, &nothing);
}

/**
 * graft_police_send - may a grafted socket reach this destination now?
 * @gs: its state
 * @sk: its sock
 * @dst: the destination of a connect or of an addressed send
 * @name: the same as the program gave it, to be remembered; or NULL
 * @len: its length
 *
 * Return: 0; an enum graft_hold as in graft_police_path(); or -EACCES, which is
 * reported.
 */
int graft_police_send(struct graft_socket *gs, struct sock *sk,
		      const struct graft_addr *dst, const void *name, int len)
{
	struct graft_path path;
	struct graft_allowed now;
	struct graft_why why = { };
	int err;

	if (READ_ONCE(gs->revoked)) {
		err = graft_refuse(&why, GRAFT_REASON_REVOKED, -EACCES,
				   "the grant of this socket was withdrawn");
		goto denied;
	}
	if (graft_strays(gs, sk)) {
		err = graft_refuse_stray(&why);
		goto denied;
	}
	path = graft_path_of(gs, sk, current_cred());
	/* what was true before the answer was found, or it is not remembered */
	now = (struct graft_allowed) {
		/* pairs with graft_table_changed() */
		.generation = smp_load_acquire(&gs->table->generation),
		.fib4 = rt_genid_ipv4(path.target),
		.fib6 = rt_genid_ipv6(path.target),
		.rest = graft_held_rest(path.target, path.protocol, dst->port),
		.cred = rcu_access_pointer(gs->table->acl) ? current_cred() :
							     NULL,
	};
	err = graft_police_egress(gs, dst, &why) ?:
	      graft_police_path(&path, graft_use(gs, sk), dst, &why);
	if (err < 0)
		goto denied;
	if (!err)
		now.rest.ends = NULL;
	else if (!graft_held_client(gs) || err == GRAFT_HOLD_MOVING)
		return err;
	if (len > 0 && len <= (int)sizeof(now.name)) {
		memcpy(&now.name, name, len);
		now.len = len;
		graft_allow(gs, &now);
	}
	return err;

denied:
	graft_event(GRAFT_EVENT_DENIED, &why, gs->table, sk, gs->ep, NULL,
		    GRAFT_VERB_CONNECT, dst);
	return err;
}

/**
 * graft_police_peer - may a connected datagram socket still reach its peer?
 * @gs: its state
 * @sk: its sock
 *
 * Return: 0, after which it is not asked about that peer again until something
 * changes; or -EACCES, which is reported.
 */
int graft_police_peer(struct graft_socket *gs, struct sock *sk)
{
	/* whoever sends: it was connected for the one that was granted it */
	const struct cred *cred = graft_socket_cred(gs);
	struct graft_path path = graft_path_of(gs, sk, cred);
	/* what was true before the answer was found; then who the peer is */
	struct graft_asked_peer now = {
		.connects = atomic_read(&gs->connects),
		.fib4 = rt_genid_ipv4(path.target),
		.fib6 = rt_genid_ipv6(path.target),
	};
	struct graft_why why = { };
	struct graft_addr peer;
	int err = 0;

	/* pairs with graft_connect_native() */
	smp_rmb();
	graft_addr_remote(&peer, sk);
	now.rest = graft_held_rest(path.target, path.protocol, peer.port);
	if (!peer.port)
		; /* disconnected meanwhile */
	else if (!gs->looped)
		err = graft_police_path(&path, graft_use(gs, sk), &peer, &why);
	else
		err = graft_held_peer(gs, sk, &peer) ?:
		      graft_refuse(&why, GRAFT_REASON_LOCAL, -EACCES,
				   "the server of the socket's own namespace is gone");
	put_cred(cred);
	if (err < 0) {
		graft_event(GRAFT_EVENT_DENIED, &why, gs->table, sk, gs->ep,
			    NULL, GRAFT_VERB_CONNECT, &peer);
		return err;
	}
	if (!err)
		now.rest.ends = NULL;
	else if (!graft_held_client(gs) || err == GRAFT_HOLD_MOVING)
		return 0;
	spin_lock(&gs->allowed_lock);
	gs->asked_peer = now;
	spin_unlock(&gs->allowed_lock);
	return 0;
}

/* Say why not; what was asked may have changed, and the ACL is left over. */
static noinline int graft_deny_listen(struct graft_socket *gs, struct sock *sk)
{
	struct graft_why why = { };

	if (READ_ONCE(gs->revoked))
		graft_refuse(&why, GRAFT_REASON_REVOKED, -EACCES,
			     "the grant of this socket was withdrawn");
	else if (gs->protocol && graft_strays(gs, sk))
		graft_refuse_stray(&why);
	else if (gs->looped)
		graft_refuse(&why, GRAFT_REASON_PORT, -EACCES,
			     "the socket was grafted to reach its own namespace and has no endpoint's port");
	else
		graft_refuse(&why, GRAFT_REASON_ACL, -EACCES,
			     "the ACL does not allow listening");
	graft_event(GRAFT_EVENT_DENIED, &why, gs->table, sk, gs->ep, NULL,
		    GRAFT_VERB_LISTEN, NULL);
	return why.err;
}

/**
 * graft_police_listen - may a grafted socket listen?
 * @gs: its state
 * @sk: its sock
 *
 * Return: 0 or -EACCES, which is reported.
 */
int graft_police_listen(struct graft_socket *gs, struct sock *sk)
{
	bool local;

	if (likely(!READ_ONCE(gs->revoked) &&
		   !(gs->protocol && graft_strays(gs, sk)) && !gs->looped &&
		   graft_acl_allows(current_cred(), gs->table, gs->ep,
				    GRAFT_ACL_LISTEN,
				    gs->protocol ?: GRAFT_PROTO_ALL, NULL,
				    &local)))
		return 0;
	return graft_deny_listen(gs, sk);
}

static bool graft_cred_has(const struct cred *cred, int cap)
{
	return cap_raised(cred->cap_bset, cap) ||
	       cap_raised(cred->cap_permitted, cap) ||
	       cap_raised(cred->cap_inheritable, cap);
}

/* Could whoever has these credentials configure the target's network? */
static bool graft_cred_risky(const struct cred *cred, const struct net *target)
{
	const struct user_namespace *ns;

	if (graft_cred_has(cred, CAP_SYS_ADMIN) ||
	    (!graft_cred_has(cred, CAP_NET_ADMIN) &&
	     !(GRAFT_NET_RAW_IS_RISKY && graft_cred_has(cred, CAP_NET_RAW))))
		return false;
	for (ns = target->user_ns; ns; ns = ns->parent)
		if (ns == cred->user_ns)
			return true;
	return false;
}

static bool graft_init_risky(const struct pid_namespace *pid_ns,
			     const struct net *target)
{
	const struct task_struct *init;
	bool risky;

	rcu_read_lock();
	init = READ_ONCE(pid_ns->child_reaper);
	risky = init && graft_cred_risky(__task_cred(init), target);
	rcu_read_unlock();
	return risky;
}

/**
 * graft_police_task - may the calling task hold a socket of this target at all?
 * @sock: the socket
 * @target: the target namespace
 * @privileged: what the endpoint says
 * @why: the refusal, where one is returned
 *
 * Socket ioctls that sock_ioctl() answers by itself look at the socket's
 * namespace and at the caller's capabilities over it, and pass nothing of ours.
 * A container that holds CAP_NET_ADMIN over the target (because it shares the
 * target's user namespace) could configure the host through such a socket. One
 * that also holds CAP_SYS_ADMIN needs no socket for that.
 *
 * A descriptor goes to others, so not only the task is looked at: who opened the
 * socket counts, and so does the init of each pid namespace that the task is in,
 * which stands for all that the container may start. Every one of them, since the
 * container may put a pid namespace of its own around the task.
 *
 * Return: 0 or -EACCES.
 */
int graft_police_task(const struct socket *sock, const struct net *target,
		      bool privileged, struct graft_why *why)
{
	struct pid_namespace *pid_ns = task_active_pid_ns(current);
	bool risky;

	if (privileged)
		return 0;
	risky = graft_cred_risky(current_cred(), target) ||
		(sock->file && sock->file->f_cred != current_cred() &&
		 graft_cred_risky(sock->file->f_cred, target));
	/* the first of all namespaces' init is the host's, and may do as it likes */
	for (; !risky && pid_ns != &init_pid_ns; pid_ns = pid_ns->parent)
		risky = graft_init_risky(pid_ns, target);
	if (likely(!risky))
		return 0;
	return graft_refuse(why, GRAFT_REASON_CAPABLE, -EACCES,
			    "the container could configure the target's network through the socket; drop the capability or make the endpoint privileged");
}
