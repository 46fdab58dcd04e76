// SPDX-License-Identifier: GPL-2.0
/*
 * The life of a grafted socket's state: allocated before anything changes,
 * admitted (counted against the limits), attached, published in its table for
 * dumps and aborts, and at release taken back in reverse.
 */

#include <linux/cred.h>
#include <linux/fs.h>
#include <linux/slab.h>

#include "held.h"
#include "rules.h"
#include "state.h"

static struct kmem_cache *graft_socket_cache;

/* Return: a zeroed state, or NULL when memory is short. */
struct graft_socket *graft_socket_alloc(void)
{
	struct graft_socket *gs;

	gs = kmem_cache_zalloc(graft_socket_cache, GFP_KERNEL);
	if (gs) {
		spin_lock_init(&gs->allowed_lock);
		seqcount_spinlock_init(&gs->allowed_seq, &gs->allowed_lock);
	}
	return gs;
}

static void graft_socket_free_rcu(struct rcu_head *rcu)
{
	kmem_cache_free(graft_socket_cache,
			container_of(rcu, struct graft_socket, rcu));
}

/* Free @gs, which is neither admitted nor attached any more. */
void graft_socket_free(struct graft_socket *gs)
{
	graft_rules_free(gs->rules);
	put_cred(gs->allowed.cred);
	call_rcu(&gs->rcu, graft_socket_free_rcu);
}

/* Whether @v could be counted up without passing @limit (0: no limit). */
static bool graft_count_below(atomic_t *v, u32 limit)
{
	if ((u32)atomic_inc_return(v) <= limit || !limit)
		return true;
	atomic_dec(v);
	return false;
}

/* Reserve @gs's place among the sockets of @t and take its references. */
static int graft_socket_enter(struct graft_socket *gs, struct graft_table *t,
			      struct graft_endpoint *ep)
{
	int err;

	/* the lowest free: ids that grow would make and free nodes each time */
	err = xa_alloc(&t->sockets, &gs->id, NULL, XA_LIMIT(0, INT_MAX),
		       GFP_KERNEL);
	if (err)
		return err;
	refcount_inc(&ep->refs);
	gs->ep = ep;
	gs->table = t;
	gs->origin = get_net_track(t->net, &gs->origin_tracker, GFP_KERNEL);
	return 0;
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
	if (ephemeral &&
	    !graft_count_below(&t->n_ephemeral, READ_ONCE(t->max_ephemeral))) {
		graft_refuse(why, GRAFT_REASON_MAX_EPHEMERAL, -ENOBUFS,
			     "the namespace has as many ephemeral ports as it may");
		goto err_sockets;
	}

	if (graft_socket_enter(gs, t, ep)) {
		graft_refuse(why, GRAFT_REASON_MEMORY, -ENOMEM,
			     "memory is short");
		goto err_ephemeral;
	}
	gs->ephemeral = ephemeral;
	return 0;

err_ephemeral:
	if (ephemeral)
		atomic_dec(&t->n_ephemeral);
err_sockets:
	atomic_dec(&t->n_sockets);
err_active:
	atomic_dec(&ep->active);
	return why->err;
}

/* Undo graft_socket_admit(). */
void graft_socket_dismiss(struct graft_socket *gs)
{
	if (gs->ephemeral)
		atomic_dec(&gs->table->n_ephemeral);
	atomic_dec(&gs->table->n_sockets);
	atomic_dec(&gs->ep->active);
	graft_endpoint_put(gs->ep);
	xa_erase(&gs->table->sockets, gs->id);
	gs->ep = NULL;
	gs->table = NULL;
	put_net_track(gs->origin, &gs->origin_tracker);
	gs->origin = NULL;
}

/**
 * graft_socket_admit_child - the same for a connection that is about to be
 *	accepted
 * @gs: the child's state
 * @parent: its listener's
 *
 * Counted but never refused: the peer is connected already, and its listener
 * was let in. Return: 0 or -ENOMEM.
 */
int graft_socket_admit_child(struct graft_socket *gs,
			     const struct graft_socket *parent)
{
	int err;

	err = graft_socket_enter(gs, parent->table, parent->ep);
	if (err)
		return -ENOMEM;
	atomic_inc(&parent->ep->active);
	atomic_inc(&parent->table->n_sockets);
	gs->native = parent->native;
	gs->family = parent->family;
	gs->protocol = parent->protocol;
	gs->door = parent->door;
	gs->verb = parent->verb;
	gs->mark = parent->mark;
	gs->ifindex = parent->ifindex;
	return 0;
}

/**
 * graft_socket_publish - show a socket to dumps and aborts
 * @gs: its state, admitted and complete
 * @sock: the socket, whose decision lock is held or which nobody else has yet
 *
 * The place was reserved on admission, so this cannot fail.
 */
void graft_socket_publish(struct graft_socket *gs, struct socket *sock)
{
	gs->sock = sock;
	graft_socket_attach(sock, gs);
	xa_store(&gs->table->sockets, gs->id, gs, GFP_KERNEL);
}

/*
 * Hide @gs, whose place stays reserved. When this returns nobody reads its socket
 * through the table.
 */
void graft_socket_unpublish(struct graft_socket *gs)
{
	graft_held_remove(gs);
	xa_store(&gs->table->sockets, gs->id, NULL, GFP_KERNEL);
}

int graft_state_init(void)
{
	graft_socket_cache = KMEM_CACHE(graft_socket, SLAB_ACCOUNT);
	return graft_socket_cache ? 0 : -ENOMEM;
}

void graft_state_exit(void)
{
	rcu_barrier();
	kmem_cache_destroy(graft_socket_cache);
}
