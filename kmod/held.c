// SPDX-License-Identifier: GPL-2.0
/*
 * Ports that grafted sockets hold. Two questions are answered here: may a
 * grafted socket reach this address of the target's own (an endpoint holds that
 * port), and which port of the target did a program of this namespace get when
 * it asked for that one (so that localhost keeps working inside).
 */

#include <linux/hashtable.h>
#include <linux/spinlock.h>
#include <net/tcp_states.h>

#include "held.h"

/*
 * Guards both tables. An entry's socket cannot be released while the lock is
 * held, since release takes the entry out first.
 */
static DEFINE_SPINLOCK(graft_held_lock);
static DEFINE_HASHTABLE(graft_held_by_target, 12);
/*
 * By the bucket of that table: how often a port ended that it holds, or came to
 * receive less. Read without the lock, by those who were allowed to reach one.
 */
static unsigned long graft_held_ends[1 << 12];
static DEFINE_HASHTABLE(graft_held_by_asker, 12);

static u32 graft_held_key(const void *who, u8 protocol, u16 port)
{
	/* hashed by the table's own function */
	return (u32)(unsigned long)who ^ ((u32)port << 2 | protocol);
}

static unsigned long *graft_held_ends_of(const struct net *target, u8 protocol,
					 u16 port)
{
	u32 key = graft_held_key(target, protocol, port);

	return &graft_held_ends[hash_min(key, HASH_BITS(graft_held_by_target))];
}

/**
 * graft_held_rest - what an answer rests on that a port is held
 * @target: the target namespace
 * @protocol: one bit of GRAFT_PROTO_*
 * @port: the port
 *
 * To be asked before graft_held_target() and graft_held_peer().
 */
struct graft_rest graft_held_rest(const struct net *target, u8 protocol,
				  u16 port)
{
	struct graft_rest rest = {
		.ends = graft_held_ends_of(target, protocol, port),
	};

	/* the look-up takes the lock under which it is written */
	rest.was = READ_ONCE(*rest.ends);
	return rest;
}

static void graft_held_end(const struct graft_socket *gs)
{
	unsigned long *ends = graft_held_ends_of(sock_net(gs->sock->sk),
						 gs->protocol, gs->held_port);

	lockdep_assert_held(&graft_held_lock);
	WRITE_ONCE(*ends, *ends + 1);
}

static void graft_held_hash(struct graft_socket *gs, u16 port)
{
	WRITE_ONCE(gs->held_port, port);
	hash_add(graft_held_by_target, &gs->held,
		 graft_held_key(sock_net(gs->sock->sk), gs->protocol, port));
}

/*
 * Note the port that @gs was bound to; its socket is published. A client of its
 * own namespace's server holds its port so that it can be answered there, but
 * took nobody's place.
 */
void graft_held_add(struct graft_socket *gs)
{
	const struct sock *sk = gs->sock->sk;
	u16 port = READ_ONCE(inet_sk(sk)->inet_num);

	if (!gs->asked.port)
		gs->asked.port = port;
	spin_lock(&graft_held_lock);
	/* a send of another thread's may have been first, see graft_held_client() */
	if (likely(hlist_unhashed(&gs->held)))
		graft_held_hash(gs, port);
	if (!gs->looped)
		hash_add(graft_held_by_asker, &gs->held_own,
			 graft_held_key(gs->table, gs->protocol,
					gs->asked.port));
	spin_unlock(&graft_held_lock);
}

/*
 * The port that a datagram socket has, or is going to get anyway; 0 where it has
 * none, or one that others may share.
 */
static u16 graft_held_port(const struct graft_socket *gs, struct sock *sk)
{
	u16 port = 0;

	lock_sock(sk);
	if (READ_ONCE(gs->revoked))
		goto out; /* it is not to be bound again */
	if (!inet_sk(sk)->inet_num) {
		/* 6.1: set since the graft, unseen */
		sk->sk_reuse = SK_NO_REUSE;
		sk->sk_reuseport = 0;
		if (!sk->sk_prot->get_port(sk, 0))
			inet_sk(sk)->inet_sport = htons(inet_sk(sk)->inet_num);
	}
	if (!sk->sk_reuse && !sk->sk_reuseport)
		port = inet_sk(sk)->inet_num;
out:
	release_sock(sk);
	return port;
}

/* The socket has a port of another number by now, or none; its entry is in place. */
static void graft_held_rehash(struct graft_socket *gs, u16 port)
{
	if (port == gs->held_port)
		return;
	graft_held_end(gs);
	hash_del(&gs->held);
	if (port)
		graft_held_hash(gs, port);
}

/**
 * graft_held_client - let a datagram client be answered by whom it may reach
 * @gs: its state; the socket is published
 *
 * Asked for where its destination is a held port of the target's own: whoever
 * holds that is grafted, and could not reach an address of the target otherwise.
 *
 * Return: whether it can be.
 */
bool graft_held_client(struct graft_socket *gs)
{
	struct sock *sk = gs->sock->sk;
	u16 port;

	if (gs->protocol != GRAFT_PROTO_UDP ||
	    (!hlist_unhashed_lockless(&gs->held) &&
	     READ_ONCE(gs->held_port) == READ_ONCE(inet_sk(sk)->inet_num)))
		return true;
	port = graft_held_port(gs, sk);
	if (!port)
		return false;
	spin_lock(&graft_held_lock);
	if (hlist_unhashed(&gs->held))
		graft_held_hash(gs, port);
	else
		graft_held_rehash(gs, port);
	spin_unlock(&graft_held_lock);
	return true;
}

/*
 * Before a datagram socket connects or disconnects, after which it may receive
 * less, or have given its port back: what others were allowed by is over, and no
 * answer is remembered until graft_held_moved().
 */
void graft_held_move(struct graft_socket *gs)
{
	spin_lock(&graft_held_lock);
	gs->moving++;
	if (!hlist_unhashed(&gs->held))
		graft_held_end(gs);
	spin_unlock(&graft_held_lock);
}

void graft_held_moved(struct graft_socket *gs)
{
	spin_lock(&graft_held_lock);
	gs->moving--;
	if (!hlist_unhashed(&gs->held))
		graft_held_rehash(gs,
				  READ_ONCE(inet_sk(gs->sock->sk)->inet_num));
	spin_unlock(&graft_held_lock);
}

/* The socket's grant was withdrawn. */
void graft_held_revoked(struct graft_socket *gs)
{
	spin_lock(&graft_held_lock);
	if (!hlist_unhashed(&gs->held))
		graft_held_end(gs);
	spin_unlock(&graft_held_lock);
}

void graft_held_remove(struct graft_socket *gs)
{
	if (hlist_unhashed_lockless(&gs->held) &&
	    hlist_unhashed_lockless(&gs->held_own))
		return;
	spin_lock(&graft_held_lock);
	if (!hlist_unhashed(&gs->held))
		graft_held_end(gs);
	hash_del(&gs->held);
	hash_del(&gs->held_own);
	spin_unlock(&graft_held_lock);
}

/*
 * Does the socket hold its port against others? A TCP one does when it listens;
 * until then a program that also said SO_REUSEADDR may get in.
 */
static bool graft_holds(const struct graft_socket *gs, const struct sock *sk)
{
	return !READ_ONCE(gs->revoked) &&
	       (gs->protocol != GRAFT_PROTO_TCP ||
		READ_ONCE(sk->sk_state) == TCP_LISTEN);
}

static enum graft_hold graft_hold_of(const struct graft_socket *gs)
{
	return gs->moving ? GRAFT_HOLD_MOVING : GRAFT_HOLD_STEADY;
}

/* Whether a socket bound to @bound receives what is sent to @dst. */
static bool graft_held_receives(const struct sock *sk,
				const struct graft_addr *bound,
				const struct graft_addr *dst)
{
	if (!graft_addr_is_any(bound))
		return graft_addr_same_host(bound, dst);
	if (bound->family == dst->family)
		return true;
	return bound->family == AF_INET6 && !ipv6_only_sock(sk);
}

/**
 * graft_held_target - does a live grafted socket hold this port of a target, so
 *	that nobody can push it aside?
 * @target: the target namespace
 * @protocol: one bit of GRAFT_PROTO_*
 * @dst: address and port; a loopback address needs a socket bound to it
 * @ifindex: the device that leads there, or 0; one that is bound to another
 *	leaves the port to others
 */
enum graft_hold graft_held_target(const struct net *target, u8 protocol,
				  const struct graft_addr *dst, int ifindex)
{
	enum graft_hold held = GRAFT_HOLD_NONE;
	struct graft_addr bound;
	struct graft_socket *gs;
	int device;

	spin_lock(&graft_held_lock);
	hash_for_each_possible(graft_held_by_target, gs, held,
			       graft_held_key(target, protocol, dst->port)) {
		const struct sock *sk = gs->sock->sk;

		if (gs->protocol != protocol || sock_net(sk) != target ||
		    !graft_holds(gs, sk))
			continue;
		graft_addr_local(&bound, sk);
		if (bound.port != dst->port ||
		    (graft_addr_is_any(&bound) && graft_addr_is_loopback(dst)))
			continue;
		device = READ_ONCE(sk->sk_bound_dev_if);
		if (device && device != ifindex)
			continue;
		if (graft_held_receives(sk, &bound, dst)) {
			held = graft_hold_of(gs);
			break;
		}
	}
	spin_unlock(&graft_held_lock);
	return held;
}

/**
 * graft_held_lingers - note at a live listener that a connection of its port lingers
 * @sk: the connection's sock
 *
 * Return: whether there is such a listener.
 */
bool graft_held_lingers(const struct sock *sk)
{
	struct graft_addr local, bound;
	struct graft_socket *gs;
	bool held = false;

	graft_addr_local(&local, sk);
	spin_lock(&graft_held_lock);
	hash_for_each_possible(graft_held_by_target, gs, held,
			       graft_held_key(sock_net(sk), GRAFT_PROTO_TCP,
					      local.port)) {
		const struct sock *other = gs->sock->sk;

		if (gs->protocol != GRAFT_PROTO_TCP ||
		    sock_net(other) != sock_net(sk) || !graft_holds(gs, other))
			continue;
		graft_addr_local(&bound, other);
		held = bound.port == local.port &&
		       graft_held_receives(other, &bound, &local);
		if (held) {
			WRITE_ONCE(gs->lingers, true);
			break;
		}
	}
	spin_unlock(&graft_held_lock);
	return held;
}

/**
 * graft_held_peer - is the server still there that a looped socket connected to?
 * @gs: the looped socket's state
 * @sk: its sock
 * @peer: where it is connected to
 */
enum graft_hold graft_held_peer(const struct graft_socket *gs,
				const struct sock *sk,
				const struct graft_addr *peer)
{
	enum graft_hold held = GRAFT_HOLD_NONE;
	struct graft_addr bound;
	struct graft_socket *other;

	spin_lock(&graft_held_lock);
	hash_for_each_possible(graft_held_by_target, other, held,
			       graft_held_key(sock_net(sk), gs->protocol,
					      peer->port)) {
		const struct sock *at = other->sock->sk;

		if (other->table != gs->table || other->looped ||
		    other->protocol != gs->protocol ||
		    sock_net(at) != sock_net(sk) || !graft_holds(other, at))
			continue;
		graft_addr_local(&bound, at);
		if (bound.port == peer->port &&
		    graft_held_receives(at, &bound, peer)) {
			held = graft_hold_of(other);
			break;
		}
	}
	spin_unlock(&graft_held_lock);
	return held;
}

/**
 * graft_held_beside - does another socket of an endpoint have just this port?
 * @sk: the sock that is going to be bound beside it, in its target
 * @protocol: one bit of GRAFT_PROTO_*
 * @a: the endpoint's address, with the port
 * @ep: the endpoint
 *
 * One that serves IPv6 alone does not keep the host's programs off the IPv4
 * half, so it counts only for its like.
 */
bool graft_held_beside(const struct sock *sk, u8 protocol,
		       const struct graft_addr *a,
		       const struct graft_endpoint *ep)
{
	struct graft_addr bound;
	struct graft_socket *gs;
	bool held = false;

	spin_lock(&graft_held_lock);
	hash_for_each_possible(graft_held_by_target, gs, held,
			       graft_held_key(sock_net(sk), protocol, a->port)) {
		const struct sock *other = gs->sock->sk;

		if (gs->protocol != protocol || gs->ep != ep || gs->revoked ||
		    sock_net(other) != sock_net(sk) ||
		    (graft_addr_is_any(a) &&
		     ipv6_only_sock(other) != ipv6_only_sock(sk)))
			continue;
		graft_addr_local(&bound, other);
		held = bound.port == a->port && graft_addr_same_host(&bound, a);
		if (held)
			break;
	}
	spin_unlock(&graft_held_lock);
	return held;
}

/**
 * graft_held_share - let sockets of an endpoint share their port, or no longer
 * @target: the target namespace
 * @protocol: one bit of GRAFT_PROTO_*
 * @a: the endpoint's address, with the port
 * @ep: the endpoint
 * @on: whether SO_REUSEADDR is in force for those that asked for it
 */
void graft_held_share(const struct net *target, u8 protocol,
		      const struct graft_addr *a,
		      const struct graft_endpoint *ep, bool on)
{
	struct graft_socket *gs;

	spin_lock(&graft_held_lock);
	hash_for_each_possible(graft_held_by_target, gs, held,
			       graft_held_key(target, protocol, a->port)) {
		struct sock *sk = gs->sock->sk;

		if (gs->shares && gs->protocol == protocol && gs->ep == ep &&
		    sock_net(sk) == target &&
		    READ_ONCE(inet_sk(sk)->inet_num) == a->port)
			sk->sk_reuse = on ? SK_CAN_REUSE : SK_NO_REUSE;
	}
	spin_unlock(&graft_held_lock);
}

/* The loopback address in place of "every address". */
static void graft_held_concrete(struct graft_addr *a, u16 family)
{
	if (!graft_addr_is_any(a))
		return;
	if (a->family == AF_INET || family == AF_INET) {
		memset(&a->v6, 0, sizeof(a->v6));
		a->family = AF_INET;
		a->v4 = htonl(INADDR_LOOPBACK);
	} else {
		a->v6 = in6addr_loopback;
	}
}

/**
 * graft_held_own - find the grafted socket that took this port's place
 * @t: the table of the namespace that both sockets belong to
 * @target: the target in which it has to be; NULL for any
 * @protocol: one bit of GRAFT_PROTO_*
 * @dst: where the program connects to, an address of its own namespace
 * @reach: where to reach it in its target: where it is bound, or the loopback
 *	address where it is bound to every one
 * @where: its target, only to be compared
 *
 * Return: its endpoint with a reference that the caller puts, or NULL.
 */
struct graft_endpoint *graft_held_own(const struct graft_table *t,
				      const struct net *target, u8 protocol,
				      const struct graft_addr *dst,
				      struct graft_addr *reach,
				      const struct net **where)
{
	struct graft_endpoint *ep = NULL;
	struct graft_addr bound;
	struct graft_socket *gs;

	spin_lock(&graft_held_lock);
	hash_for_each_possible(graft_held_by_asker, gs, held_own,
			       graft_held_key(t, protocol, dst->port)) {
		const struct sock *sk = gs->sock->sk;

		if (gs->table != t || gs->protocol != protocol ||
		    gs->asked.port != dst->port || !graft_holds(gs, sk) ||
		    (target && sock_net(sk) != target) ||
		    !graft_held_receives(sk, &gs->asked, dst))
			continue;
		graft_addr_local(&bound, sk);
		if (!bound.port)
			continue;
		*reach = bound;
		graft_held_concrete(reach, dst->family);
		/* it may serve IPv6 alone, whatever the program asked for */
		if (!graft_held_receives(sk, &bound, reach)) {
			reach->family = 0;
			continue;
		}
		*where = sock_net(sk);
		ep = gs->ep;
		refcount_inc(&ep->refs);
		break;
	}
	spin_unlock(&graft_held_lock);
	return ep;
}
