// SPDX-License-Identifier: GPL-2.0
/*
 * The life of a grafted socket's state: allocated before anything changes,
 * admitted (counted against the limits), attached, published in its table for
 * dumps and aborts, and at release taken back in reverse.
 */

#include <linux/cred.h>
#include <linux/fs.h>
#include <linux/slab.h>
#include <net/tcp.h>

#include "held.h"
#include "rules.h"
#include "state.h"

static struct kmem_cache *graft_socket_cache;

/*
 * A table keeps the state that was freed last, for programs make sockets one after
 * another: a hundredth of what a graft costs. Not where use after free is looked for.
 */
#define GRAFT_KEEPS_SPARE	(!IS_ENABLED(CONFIG_KASAN))

/* What stays as it is from one use of a state to the next; nothing else is zero. */
static void graft_socket_ctor(void *object)
{
	struct graft_socket *gs = object;

	memset(gs, 0, sizeof(*gs));
	init_rwsem(&gs->device_sem);
	mutex_init(&gs->peer_lock);
	spin_lock_init(&gs->allowed_lock);
	seqcount_spinlock_init(&gs->allowed_seq, &gs->allowed_lock);
}

/*
 * Return: a state that says nothing yet, or NULL when memory is short. What
 * admission, the graft or publishing set is left as it is: zeroing it all is a
 * tenth of what a graft costs.
 */
struct graft_socket *graft_socket_alloc(struct graft_table *t)
{
	struct graft_socket *gs = NULL;

	if (GRAFT_KEEPS_SPARE && READ_ONCE(t->spare))
		gs = xchg(&t->spare, NULL);
	if (!gs)
		gs = kmem_cache_alloc(graft_socket_cache, GFP_KERNEL);
	if (!gs)
		return NULL;
	gs->ep = NULL;
	gs->cred = NULL;
	gs->peer = NULL;
	gs->rules = NULL;
	gs->placeholder = NULL;
	gs->ephemeral = false;
	gs->connected = false;
	gs->looped = false;
	gs->shares = false;
	gs->owns_port = false;
	gs->lingers = false;
	gs->revoked = false;
	gs->asked.port = 0;
	gs->moving = 0;
	INIT_HLIST_NODE(&gs->held);
	INIT_HLIST_NODE(&gs->held_own);
	gs->allowed.len = 0;
	gs->allowed.cred = NULL;
	atomic_set(&gs->connects, 1);
	gs->asked_peer.connects = 0;
	return gs;
}

/* What a state holds besides its admission. */
static __always_inline void graft_socket_strip(struct graft_socket *gs)
{
	if (unlikely(gs->rules))
		graft_rules_free(gs->rules);
	put_cred(gs->allowed.cred);
	put_cred(gs->cred);
	if (unlikely(gs->peer))
		graft_endpoint_put(gs->peer);
}

/*
 * Free @gs, which is neither admitted nor attached any more. At once: who reads
 * it either holds the socket's file, the decision lock or the lock of the list
 * in which it no longer is.
 */
void graft_socket_free(struct graft_socket *gs)
{
	graft_socket_strip(gs);
	kmem_cache_free(graft_socket_cache, gs);
}

/* The spare of a table that goes. */
void graft_socket_free_spare(struct graft_table *t)
{
	if (t->spare)
		kmem_cache_free(graft_socket_cache, t->spare);
}

/* Whether @v could be counted up without passing @limit (0: no limit). */
static bool graft_count_below(atomic_t *v, u32 limit)
{
	if ((u32)atomic_inc_return(v) <= limit || !limit)
		return true;
	atomic_dec(v);
	return false;
}

/* The holds of a port that TIME_WAIT has given back by now. */
static void graft_linger_end(struct graft_table *t)
{
	struct graft_linger *slot;

	for (slot = t->lingering;
	     slot < t->lingering + ARRAY_SIZE(t->lingering); slot++)
		if (slot->n && time_after_eq(jiffies, slot->until)) {
			atomic_sub(slot->n, &t->n_ephemeral);
			slot->n = 0;
		}
}

/* Count one more ephemeral port, unless there are too many. */
static bool graft_count_ephemeral(struct graft_table *t)
{
	u32 limit = READ_ONCE(t->max_ephemeral);

	if (likely(graft_count_below(&t->n_ephemeral, limit)))
		return true;
	spin_lock(&t->sockets_lock);
	graft_linger_end(t);
	spin_unlock(&t->sockets_lock);
	return graft_count_below(&t->n_ephemeral, limit);
}

/*
 * Will a TIME_WAIT of @sk, or of what was accepted from it, hold its port, when it
 * is closed or (not @close) disconnected, which resets a connection?
 */
static bool graft_may_linger(const struct graft_socket *gs,
			     const struct sock *sk, bool close)
{
	switch (READ_ONCE(sk->sk_state)) {
	case TCP_ESTABLISHED:
	case TCP_FIN_WAIT1:
	case TCP_FIN_WAIT2:
	case TCP_CLOSING:
		return close && (!sock_flag(sk, SOCK_LINGER) ||
				 sk->sk_lingertime);
	case TCP_LISTEN:
		return close && READ_ONCE(gs->lingers);
	case TCP_CLOSE:
		/* the peer has closed as well, and there may be one already */
		return sock_flag(sk, SOCK_DONE);
	}
	return false;
}

/**
 * __graft_socket_linger - count a port that is given up but may stay in use
 * @gs: its state, which owns its port
 * @sk: its sock
 * @close: about to be closed, not disconnected
 *
 * Nobody else can have a port that TIME_WAIT holds and that was bound, not chosen
 * by connect. So it goes on counting for the time that a TIME_WAIT takes. No timer
 * ends that: it is looked at when the limit is reached.
 */
void __graft_socket_linger(struct graft_socket *gs, const struct sock *sk,
			   bool close)
{
	struct graft_table *t = gs->table;
	struct graft_linger *slot;

	if (!graft_may_linger(gs, sk, close))
		return;
	gs->owns_port = false;
	/* where a listener still has the port, that is what counts for it */
	if (sk->sk_state != TCP_LISTEN && graft_held_lingers(sk))
		return;
	spin_lock(&t->sockets_lock);
	graft_linger_end(t);
	slot = &t->lingering[jiffies / GRAFT_LINGER_WIDTH %
			     ARRAY_SIZE(t->lingering)];
	slot->n++;
	slot->until = jiffies + TCP_TIMEWAIT_LEN;
	atomic_inc(&t->n_ephemeral);
	spin_unlock(&t->sockets_lock);
}

static void graft_socket_enter(struct graft_socket *gs, struct graft_table *t,
			       struct graft_endpoint *ep,
			       const struct cred *cred)
{
	refcount_inc(&ep->refs);
	gs->ep = ep;
	gs->cred = cred;
	gs->table = t;
	gs->origin = get_net_track(t->net, &gs->origin_tracker, GFP_KERNEL);
}

/**
 * graft_socket_admit - let a socket in through an endpoint
 * @gs: its state; takes references to @ep and to @t's namespace
 * @t: the table of the namespace that made it
 * @ep: the endpoint
 * @max_sockets: the endpoint's limit
 * @ephemeral: whether the kernel chooses its port
 * @why: the refusal, where one is returned
 *
 * Return: 0, -EACCES for a frozen table, or -ENOBUFS for a limit that is
 * reached. After success graft_socket_dismiss() gives everything back.
 */
int graft_socket_admit(struct graft_socket *gs, struct graft_table *t,
		       struct graft_endpoint *ep, u32 max_sockets,
		       bool ephemeral, struct graft_why *why)
{
	if (READ_ONCE(t->frozen))
		return graft_refuse(why, GRAFT_REASON_FROZEN, -EACCES,
				    "the table is frozen");
	if (!graft_count_below(&ep->active, max_sockets))
		return graft_refuse(why, GRAFT_REASON_MAX_SOCKETS, -ENOBUFS,
				    "the endpoint has as many sockets as it may");
	if (!graft_count_below(&t->n_sockets, READ_ONCE(t->max_sockets))) {
		graft_refuse(why, GRAFT_REASON_MAX_SOCKETS, -ENOBUFS,
			     "the namespace has as many grafted sockets as it may");
		goto err_active;
	}
	if (ephemeral && !graft_count_ephemeral(t)) {
		graft_refuse(why, GRAFT_REASON_MAX_EPHEMERAL, -ENOBUFS,
			     "the namespace has as many ephemeral ports as it may");
		goto err_sockets;
	}

	graft_socket_enter(gs, t, ep, get_current_cred());
	gs->ephemeral = ephemeral;
	return 0;

err_sockets:
	atomic_dec(&t->n_sockets);
err_active:
	atomic_dec(&ep->active);
	return why->err;
}

static __always_inline void graft_socket_leave(struct graft_socket *gs)
{
	if (gs->ephemeral)
		atomic_dec(&gs->table->n_ephemeral);
	atomic_dec(&gs->table->n_sockets);
	atomic_dec(&gs->ep->active);
	graft_endpoint_put(gs->ep);
}

/* Undo graft_socket_admit(). */
void graft_socket_dismiss(struct graft_socket *gs)
{
	graft_socket_leave(gs);
	put_cred(gs->cred);
	gs->ep = NULL;
	gs->cred = NULL;
	gs->table = NULL;
	put_net_track(gs->origin, &gs->origin_tracker);
	gs->origin = NULL;
}

/* Dismiss and free @gs at once; @gs may be its table's spare from then on. */
void graft_socket_end(struct graft_socket *gs)
{
	netns_tracker tracker = gs->origin_tracker;
	struct graft_table *t = gs->table;
	struct net *origin = gs->origin;

	graft_socket_leave(gs);
	graft_socket_strip(gs);
	if (!GRAFT_KEEPS_SPARE || READ_ONCE(t->spare) ||
	    cmpxchg(&t->spare, NULL, gs))
		kmem_cache_free(graft_socket_cache, gs);
	/* the table lasts until here */
	put_net_track(origin, &tracker);
}

/* Of the task that @gs was granted to last, with a reference that the caller puts. */
const struct cred *graft_socket_cred(const struct graft_socket *gs)
{
	const struct cred *cred;

	rcu_read_lock();
	do
		cred = get_cred_rcu(READ_ONCE(gs->cred));
	while (!cred);
	rcu_read_unlock();
	return cred;
}

/**
 * graft_socket_admit_child - the same for a connection that is about to be
 *	accepted
 * @gs: the child's state
 * @parent: its listener's
 *
 * Counted but never refused: the peer is connected already, and its listener
 * was let in. It keeps the listener's port, so it counts for that as well.
 */
void graft_socket_admit_child(struct graft_socket *gs,
			      const struct graft_socket *parent)
{
	graft_socket_enter(gs, parent->table, parent->ep,
			   graft_socket_cred(parent));
	atomic_inc(&parent->ep->active);
	atomic_inc(&parent->table->n_sockets);
	gs->ephemeral = parent->ephemeral;
	if (gs->ephemeral)
		atomic_inc(&parent->table->n_ephemeral);
	gs->owns_port = parent->owns_port;
	gs->native = parent->native;
	gs->family = parent->family;
	gs->protocol = parent->protocol;
	gs->door = parent->door;
	gs->verb = GRAFT_VERB_LISTEN;
	gs->mark = parent->mark;
	gs->ifindex = parent->ifindex;
	gs->aborts = parent->aborts;
}

/*
 * Others that take a socket over (sockmap, kcm, ovpn) ask sk_user_data whether
 * somebody has it. Some of them replace its operations, and then our release
 * would never be called.
 */
static u64 graft_socket_owner;

static void graft_socket_mark(const struct graft_socket *gs)
{
	struct sock *sk = gs->sock->sk;

	if (gs->protocol != GRAFT_PROTO_TCP)
		return;
	/* nobody takes a closed one over, and it was seen to be nobody's */
	if (likely(inet_sk_state_load(sk) == TCP_CLOSE && !sk->sk_user_data)) {
		__rcu_assign_sk_user_data_with_flags(sk, &graft_socket_owner,
						     SK_USER_DATA_NOCOPY);
		return;
	}
	/* a connection may have an owner before it is accepted */
	write_lock_bh(&sk->sk_callback_lock);
	if (!sk->sk_user_data)
		__rcu_assign_sk_user_data_with_flags(sk, &graft_socket_owner,
						     SK_USER_DATA_NOCOPY);
	write_unlock_bh(&sk->sk_callback_lock);
}

static void graft_socket_unmark(const struct graft_socket *gs)
{
	struct sock *sk = gs->sock->sk;

	if (gs->protocol != GRAFT_PROTO_TCP)
		return;
	/* without the callback lock: nobody else writes while the mark is there */
	if ((uintptr_t)READ_ONCE(sk->sk_user_data) ==
	    ((uintptr_t)&graft_socket_owner | SK_USER_DATA_NOCOPY))
		RCU_INIT_POINTER(__sk_user_data(sk), NULL);
}

/**
 * graft_socket_publish - show a socket to dumps and aborts
 * @gs: its state, admitted and complete
 * @sock: the socket, whose decision lock is held or which nobody else has yet
 */
void graft_socket_publish(struct graft_socket *gs, struct socket *sock)
{
	struct graft_table *t = gs->table;

	gs->sock = sock;
	graft_socket_attach(sock, gs);
	graft_socket_mark(gs);
	spin_lock(&t->sockets_lock);
	gs->id = ++t->next_socket;
	hlist_add_head(&gs->node, &t->sockets[gs->id % GRAFT_SOCKET_BUCKETS]);
	spin_unlock(&t->sockets_lock);
}

/* Hide @gs. When this returns nobody reads its socket through the table. */
void graft_socket_unpublish(struct graft_socket *gs)
{
	struct graft_table *t = gs->table;

	graft_socket_unmark(gs);
	graft_held_remove(gs);
	spin_lock(&t->sockets_lock);
	hlist_del(&gs->node);
	spin_unlock(&t->sockets_lock);
}

/**
 * graft_socket_next - walk over the published sockets of a table
 * @t: the table, whose sockets_lock the caller holds
 * @cursor: moves behind the socket that is returned
 *
 * A bucket is walked from its newest socket down. So one that is published
 * meanwhile may be passed over, none is returned twice, and a walk comes to its
 * end whatever is published.
 *
 * Return: the next socket, or NULL at the end.
 */
struct graft_socket *graft_socket_next(struct graft_table *t,
				       struct graft_cursor *cursor)
{
	struct graft_socket *gs;

	lockdep_assert_held(&t->sockets_lock);
	for (; cursor->bucket < GRAFT_SOCKET_BUCKETS; cursor->bucket++) {
		hlist_for_each_entry(gs, &t->sockets[cursor->bucket], node)
			if (!cursor->before || gs->id < cursor->before) {
				cursor->before = gs->id;
				return gs;
			}
		cursor->before = 0;
	}
	return NULL;
}

int graft_state_init(void)
{
	graft_socket_cache = kmem_cache_create("graft_socket",
					       sizeof(struct graft_socket), 0,
					       SLAB_ACCOUNT, graft_socket_ctor);
	return graft_socket_cache ? 0 : -ENOMEM;
}

void graft_state_exit(void)
{
	rcu_barrier();
	kmem_cache_destroy(graft_socket_cache);
}
