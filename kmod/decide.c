// SPDX-License-Identifier: GPL-2.0
/*
 * The decision of a door 2 socket: ingress rules at bind, egress rules at
 * connect or the first addressed send. The caller holds the socket's decision
 * lock and has seen that it is undecided.
 */

#include <linux/cred.h>
#include <linux/inetdevice.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <net/addrconf.h>
#include <net/route.h>

#include "abort.h"
#include "bind.h"
#include "decide.h"
#include "event.h"
#include "held.h"
#include "police.h"
#include "rules.h"

/**
 * struct graft_wish - what a program wants of a socket
 * @t: the table that rules it
 * @kind: its kind
 * @gs: its state with its own rules, or NULL
 * @verb: GRAFT_VERB_*
 * @aborts: graft_table.aborts before the rules were asked
 * @a: local address for listen, destination for connect
 * @reach: where a socket of the same namespace is that took @a's place; its
 *	family is 0 for none
 * @where: the target in which that is
 */
struct graft_wish {
	struct graft_table	*t;
	const struct graft_kind	*kind;
	struct graft_socket	*gs;
	u8			verb;
	s64			aborts;
	const struct graft_addr	*a;
	struct graft_addr	reach;
	const struct net	*where;
};

/* Field by field: zeroing all of it would cost more than the rest. */
static void graft_wish_init(struct graft_wish *wish, const struct socket *sock,
			    const struct graft_kind *kind, u8 verb,
			    const struct graft_addr *a)
{
	wish->t = graft_table(sock_net(sock->sk));
	wish->kind = kind;
	wish->gs = graft_socket_of(sock);
	wish->verb = verb;
	wish->aborts = atomic64_read_acquire(&wish->t->aborts);
	wish->a = a;
	wish->reach.family = 0;
	wish->where = NULL;
}

/**
 * struct graft_ruling - what the rules say of a wish
 * @verdict: enum graft_verdict
 * @ep: the endpoint that the rule names, held; NULL for none in the table
 * @name: the name of that which is not in the table, or NULL
 */
struct graft_ruling {
	u8			verdict;
	struct graft_endpoint	*ep;
	char			*name;
};

/*
 * Put the kernel's operations in place for good. The socket's hold on the module
 * is the caller's from now on, see undecided.c.
 */
void graft_go_native(struct socket *sock, const struct graft_kind *kind)
{
	struct graft_socket *gs = graft_socket_of(sock);

	graft_socket_attach(sock, NULL);
	__module_get(kind->native->owner);
	/*
	 * TCP does not know SOL_SOCKET, so it is not to get one; UDP has it routed
	 * from the start
	 */
	if (kind->type == SOCK_STREAM)
		graft_route_sol_socket(sock, false);
	graft_socket_switch(sock, kind->native);
	if (gs)
		graft_socket_free(gs);
}

/* Return: as graft_police_path(). */
static __always_inline int
graft_wish_acl(const struct graft_wish *wish, struct graft_endpoint *ep,
	       struct net *target, const struct graft_ep_conf *conf,
	       int ifindex, struct graft_why *why)
{
	struct graft_path path __graft_uninitialized;
	bool local;

	if (wish->reach.family)
		return 0; /* to a port of its own, which was asked already */
	if (wish->verb == GRAFT_VERB_CONNECT) {
		path.t = wish->t;
		path.ep = ep;
		path.cred = current_cred();
		path.target = target;
		path.mark = conf->mark;
		path.ifindex = ifindex;
		path.protocol = wish->kind->bit;
		return graft_police_path(&path, GRAFT_ACL_CONNECT, wish->a,
					 why);
	}
	if (likely(graft_acl_allows(current_cred(), wish->t, ep,
				    GRAFT_ACL_LISTEN, wish->kind->bit, NULL,
				    &local)))
		return 0;
	return graft_refuse(why, GRAFT_REASON_ACL, -EACCES,
			    "the ACL does not allow listening");
}

/*
 * Make what a graft to a port of the socket's own namespace needs: the target's
 * loopback or the very address, and any port.
 */
static void graft_wish_loop(const struct graft_wish *wish,
			    struct graft_ep_conf *conf)
{
	conf->type = wish->reach.family == AF_INET ? GRAFT_EP_IPV4 :
						     GRAFT_EP_IPV6;
	conf->addr = wish->reach;
	conf->port_lo = 0;
	conf->port_hi = 0;
}

/*
 * An endpoint that cannot serve this socket's family leaves it native: a server
 * that also opens an IPv6-only socket should not fail for it.
 */
static bool graft_serves_family(const struct graft_ep_conf *conf,
				const struct sock *sk)
{
	if (conf->type == GRAFT_EP_IPV6)
		return sk->sk_family == AF_INET6;
	return conf->type != GRAFT_EP_IPV4 || !ipv6_only_sock(sk);
}

/*
 * Graft @sock through @ep. On failure nothing has changed.
 *
 * Return: GRAFT_OUT_GRAFTED, GRAFT_OUT_NATIVE for a bind through an endpoint of
 * another family, or an errno.
 */
static int graft_through(struct socket *sock, const struct graft_wish *wish,
			 struct graft_endpoint *ep, struct graft_why *why)
{
	const struct graft_kind *kind = wish->kind;
	bool connects = wish->verb == GRAFT_VERB_CONNECT;
	struct graft_socket *gs = wish->gs;
	struct sock *sk = sock->sk;
	struct graft_ep_conf conf __graft_uninitialized;
	struct graft_home home __graft_uninitialized;
	struct net *target;
	bool holds, reaches_held, missed;
	int ifindex, err;

	target = graft_endpoint_target(ep, &conf, NULL);
	if (!connects && !graft_serves_family(&conf, sk)) {
		graft_refuse(why, GRAFT_REASON_FAMILY, 0,
			     "the endpoint's address is of a family that this socket does not take");
		err = GRAFT_OUT_NATIVE;
		goto err_target;
	}
	if (!target)
		return graft_refuse(why, GRAFT_REASON_TARGET_GONE,
				    -EADDRNOTAVAIL,
				    "the endpoint's target namespace is gone");
	if (wish->reach.family && wish->where != target) {
		err = graft_refuse(why, GRAFT_REASON_TARGET_GONE,
				   -EADDRNOTAVAIL,
				   "the endpoint has another target by now");
		goto err_target;
	}
	if (wish->reach.family)
		graft_wish_loop(wish, &conf);

	err = -EADDRNOTAVAIL;
	if (conf.type == GRAFT_EP_UNIX || !(conf.protocols & kind->bit)) {
		graft_refuse(why, GRAFT_REASON_PROTOCOL, err,
			     "the endpoint does not serve this protocol");
		goto err_target;
	}
	if (connects && conf.addr.family != wish->a->family &&
	    !wish->reach.family) {
		graft_refuse(why, GRAFT_REASON_FAMILY, err,
			     "the endpoint's address is of another family than the destination");
		goto err_target;
	}
	err = graft_police_task(sock, target, conf.privileged, why);
	if (err)
		goto err_target;
	ifindex = graft_target_device(target, conf.device, why);
	if (ifindex < 0) {
		err = ifindex;
		goto err_target;
	}
	err = graft_wish_acl(wish, ep, target, &conf, ifindex, why);
	if (err < 0)
		goto err_target;
	reaches_held = err;

	if (!gs) {
		gs = graft_socket_alloc(wish->t);
		if (!gs) {
			err = graft_refuse(why, GRAFT_REASON_MEMORY, -ENOMEM,
					   "memory is short");
			goto err_target;
		}
	}
	err = graft_socket_admit(gs, wish->t, ep, conf.max_sockets,
				 graft_port_is_ephemeral(&conf), why);
	if (err)
		goto err_free;
	err = graft_rehome(sock, kind, target, &conf, ifindex, &home, why);
	if (err)
		goto err_dismiss;
	/* a datagram client of its own namespace has to be answered there */
	holds = !connects || (wish->reach.family && kind->type == SOCK_DGRAM);
	err = graft_bind(sock, kind->native, ep, &conf, kind->bit,
			 connects ? home.bound.port : wish->a->port, !holds,
			 why);
	if (err)
		goto err_undo;

	gs->native = kind->native;
	gs->door = 2;
	gs->verb = wish->verb;
	gs->family = conf.addr.family;
	gs->protocol = kind->bit;
	gs->mark = conf.mark;
	gs->ifindex = ifindex;
	gs->looped = wish->reach.family;
	gs->aborts = wish->aborts;
	gs->shares = kind->type == SOCK_DGRAM && home.reuse;
	gs->owns_port = gs->ephemeral && kind->type == SOCK_STREAM &&
			inet_sk(sk)->inet_num;
	graft_socket_publish(gs, sock);
	/* before other threads can use it */
	missed = graft_abort_missed(gs, sock);
	graft_socket_switch(sock, &kind->grafted);
	if (!connects)
		gs->asked = *wish->a;
	if (holds && !missed)
		graft_held_add(gs);
	else if (reaches_held && !missed)
		graft_held_client(gs);
	atomic64_inc(connects ? &ep->connects : &ep->binds);
	if (missed)
		return graft_refuse(why, GRAFT_REASON_REVOKED, -EACCES,
				    "the grant was withdrawn meanwhile");
	graft_event(GRAFT_EVENT_GRAFTED, why, wish->t, sk, ep, NULL, wish->verb,
		    wish->a);
	return GRAFT_OUT_GRAFTED;

err_undo:
	graft_rehome_undo(sock, kind, gs->origin, &home);
	target = NULL; /* went with the move */
err_dismiss:
	graft_socket_dismiss(gs);
err_free:
	if (gs != wish->gs)
		graft_socket_free(gs);
err_target:
	if (target)
		put_net(target);
	return err;
}

/*
 * Carry out a ruling.
 *
 * Return: GRAFT_OUT_NATIVE (yet to be put in place), GRAFT_OUT_GRAFTED, or an
 * errno.
 */
static __always_inline int graft_apply(struct socket *sock,
				       const struct graft_wish *wish,
				       const struct graft_ruling *ruling,
				       struct graft_why *why)
{
	int err;

	if (ruling->verdict == GRAFT_VERDICT_NATIVE) {
		graft_refuse(why, GRAFT_REASON_RULE, 0, "a rule says native");
		return GRAFT_OUT_NATIVE;
	}
	if (ruling->verdict == GRAFT_VERDICT_DENY) {
		err = graft_refuse(why, GRAFT_REASON_RULE, -EACCES,
				   "a rule says deny");
		graft_event(GRAFT_EVENT_DENIED, why, wish->t, sock->sk, NULL,
			    NULL, wish->verb, wish->a);
		return err;
	}
	if (!ruling->ep) {
		err = graft_refuse(why, GRAFT_REASON_NO_ENDPOINT,
				   -EADDRNOTAVAIL,
				   "the rule's endpoint is not in the table");
		graft_event(GRAFT_EVENT_DENIED, why, wish->t, sock->sk, NULL,
			    ruling->name, wish->verb, wish->a);
		return err;
	}
	err = graft_through(sock, wish, ruling->ep, why);
	if (err < 0)
		graft_event(GRAFT_EVENT_DENIED, why, wish->t, sock->sk,
			    ruling->ep, NULL, wish->verb, wish->a);
	return err;
}

/*
 * Ask the rules. Return: whether one matches; then the caller puts the ruling.
 */
static __always_inline bool graft_rule(const struct graft_wish *wish,
				       enum graft_direction direction,
				       struct graft_ruling *ruling)
{
	const struct graft_rules *rules;
	const struct graft_rule *rule;

	rcu_read_lock();
	rules = wish->gs ? wish->gs->rules : rcu_dereference(wish->t->rules);
	rule = graft_rules_lookup(rules, direction, wish->a, wish->kind->bit);
	if (rule) {
		ruling->verdict = rule->verdict;
		ruling->ep = NULL;
		ruling->name = NULL;
		if (rule->verdict == GRAFT_VERDICT_ENDPOINT) {
			ruling->ep = graft_endpoint_find(wish->t,
							 graft_rule_name(rules, rule));
			if (!ruling->ep)
				ruling->name = kstrdup(rule->endpoint,
						       GFP_ATOMIC);
		}
	}
	rcu_read_unlock();
	return rule;
}

/* A dual-stack bind to every address takes IPv4's rules, too. */
static noinline bool graft_rule_mapped(struct graft_wish *wish,
				       const struct sock *sk,
				       struct graft_ruling *ruling)
{
	const struct graft_addr *a = wish->a;
	const struct graft_addr any = { .family = AF_INET, .port = a->port };
	bool found;

	if (a->family != AF_INET6 || !graft_addr_is_any(a) ||
	    ipv6_only_sock(sk))
		return false;
	wish->a = &any;
	found = graft_rule(wish, GRAFT_INGRESS, ruling);
	wish->a = a;
	return found;
}

static void graft_ruling_put(const struct graft_ruling *ruling)
{
	if (likely(ruling->ep))
		graft_endpoint_put(ruling->ep);
	else
		kfree(ruling->name);
}

/**
 * graft_decide_bind - decide at bind, or at a listen without one
 * @sock: the socket
 * @kind: its kind
 * @a: the local address that the program asks for
 *
 * Return: an enum graft_outcome, or the errno of a refusal, which leaves the
 * socket as it was.
 */
int graft_decide_bind(struct socket *sock, const struct graft_kind *kind,
		      const struct graft_addr *a)
{
	struct graft_wish wish __graft_uninitialized;
	struct graft_ruling ruling __graft_uninitialized;
	struct graft_why why = { };
	int out;

	graft_wish_init(&wish, sock, kind, GRAFT_VERB_LISTEN, a);
	if (!graft_rule(&wish, GRAFT_INGRESS, &ruling) &&
	    !graft_rule_mapped(&wish, sock->sk, &ruling))
		return GRAFT_OUT_OPEN;
	out = graft_apply(sock, &wish, &ruling, &why);
	if (out == GRAFT_OUT_NATIVE) {
		graft_event(GRAFT_EVENT_NATIVE, &why, wish.t, sock->sk,
			    ruling.ep, NULL, wish.verb, a);
		graft_go_native(sock, kind);
	}
	graft_ruling_put(&ruling);
	return out;
}

/**
 * graft_decide_listen - decide at listen
 * @sock: the socket
 * @kind: its kind
 *
 * A listen without a bind asks for any port of any address. One after a native
 * bind means it.
 *
 * Return: GRAFT_OUT_NATIVE, GRAFT_OUT_GRAFTED, or the errno of a refusal.
 */
int graft_decide_listen(struct socket *sock, const struct graft_kind *kind)
{
	struct graft_addr a = { .family = kind->family };
	struct graft_why why = { };
	int out = GRAFT_OUT_OPEN;

	if (inet_sk(sock->sk)->inet_num)
		graft_addr_local(&a, sock->sk);
	else
		out = graft_decide_bind(sock, kind, &a);
	if (out != GRAFT_OUT_OPEN)
		return out;
	graft_refuse(&why, GRAFT_REASON_NO_RULE, 0, "no rule matches");
	graft_event(GRAFT_EVENT_NATIVE, &why, graft_table(sock_net(sock->sk)),
		    sock->sk, NULL, NULL, GRAFT_VERB_LISTEN, &a);
	graft_go_native(sock, kind);
	return GRAFT_OUT_NATIVE;
}

/* Is @dst an address of @net's own, as a program inside would reach itself? */
static bool graft_is_own(struct net *net, const struct graft_addr *dst)
{
	if (graft_addr_is_any(dst) || graft_addr_is_loopback(dst))
		return true;
	if (dst->family == AF_INET)
		return inet_addr_type(net, dst->v4) == RTN_LOCAL;
#if IS_ENABLED(CONFIG_IPV6)
	return ipv6_chk_addr(net, &dst->v6, NULL, 0);
#else
	return false;
#endif
}

/*
 * Where a socket of the same namespace is that holds @dst's port grafted; one
 * bound to every address is reached by the target's loopback.
 */
static struct graft_endpoint *graft_find_own(struct graft_wish *wish,
					     struct sock *sk)
{
	struct graft_endpoint *ep;

	if (!atomic_read(&wish->t->n_sockets))
		return NULL;
	ep = graft_held_own(wish->t, NULL, wish->kind->bit, wish->a,
			    &wish->reach, &wish->where);
	if (!ep)
		return NULL;
	if (!graft_is_own(sock_net(sk), wish->a) ||
	    (wish->reach.family == AF_INET6 && sk->sk_family == AF_INET) ||
	    (wish->reach.family == AF_INET && ipv6_only_sock(sk))) {
		graft_endpoint_put(ep);
		wish->reach.family = 0;
		return NULL;
	}
	return ep;
}

/**
 * graft_decide_destination - decide at connect or at the first addressed send
 * @sock: the socket
 * @kind: its kind
 * @dst: the destination
 *
 * Return: GRAFT_OUT_NATIVE, GRAFT_OUT_GRAFTED, or the errno of a refusal, which
 * leaves the socket as it was.
 */
int graft_decide_destination(struct socket *sock, const struct graft_kind *kind,
			     const struct graft_addr *dst)
{
	struct graft_wish wish __graft_uninitialized;
	struct graft_ruling ruling __graft_uninitialized;
	struct graft_why why = { };
	struct graft_endpoint *own;
	int out;

	graft_wish_init(&wish, sock, kind, GRAFT_VERB_CONNECT, dst);
	own = graft_find_own(&wish, sock->sk);
	if (own) {
		out = graft_through(sock, &wish, own, &why);
		if (out < 0)
			graft_event(GRAFT_EVENT_DENIED, &why, wish.t, sock->sk,
				    own, NULL, wish.verb, dst);
		graft_endpoint_put(own);
		return out;
	}

	if (graft_rule(&wish, GRAFT_EGRESS, &ruling)) {
		out = graft_apply(sock, &wish, &ruling, &why);
		graft_ruling_put(&ruling);
	} else {
		graft_refuse(&why, GRAFT_REASON_NO_RULE, 0,
			     "no rule matches");
		out = GRAFT_OUT_NATIVE;
	}
	if (out == GRAFT_OUT_NATIVE) {
		graft_event(GRAFT_EVENT_NATIVE, &why, wish.t, sock->sk, NULL,
			    NULL, wish.verb, dst);
		graft_go_native(sock, kind);
	}
	return out;
}
