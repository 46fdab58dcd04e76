/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _GRAFT_STATE_H
#define _GRAFT_STATE_H

#include <linux/cred.h>
#include <linux/mutex.h>
#include <linux/rwsem.h>
#include <linux/seqlock.h>
#include <net/sock.h>

#include "table.h"

/**
 * struct graft_rest - the held port that an answer rests on
 * @ends: how often such a port ended, see held.c; NULL where there is none
 * @was: that number before the answer was found
 */
struct graft_rest {
	const unsigned long	*ends;
	unsigned long		was;
};

static inline bool graft_rests(const struct graft_rest *rest)
{
	const unsigned long *ends = READ_ONCE(rest->ends);

	return !ends || READ_ONCE(*ends) == rest->was;
}

/**
 * struct graft_allowed - a destination, and what its being allowed rests on
 * @name: the destination as the program writes it
 * @len: its length, 0 for none
 * @generation: of the table
 * @fib4: of the target's IPv4 routes
 * @fib6: of the target's IPv6 routes
 * @rest: on a port that an endpoint holds
 * @cred: whom the ACL allowed it, held; NULL where there is no ACL
 */
struct graft_allowed {
	union graft_sockaddr_inet name;
	int			len;
	u64			generation;
	int			fib4;
	int			fib6;
	struct graft_rest	rest;
	const struct cred	*cred;
};

/**
 * struct graft_asked_peer - what the leave to send to a connected datagram
 *	socket's peer rests on
 * @connects: graft_socket.connects when it was asked; another number is another
 *	peer
 * @fib4: of the target's IPv4 routes
 * @fib6: of the target's IPv6 routes
 * @rest: on a port that an endpoint holds
 */
struct graft_asked_peer {
	int			connects;
	int			fib4;
	int			fib6;
	struct graft_rest	rest;
};

/**
 * struct graft_socket - what the module knows of one socket
 * @node: in the table's @sockets
 * @id: of its place there; grows from one socket to the next
 * @sock: the socket; valid while this is in the table's @sockets
 * @native: the kernel's own operations for it
 * @table: the table of the namespace that made it
 * @origin: that namespace, held until release
 * @origin_tracker: of that reference
 * @ep: the endpoint through which it is grafted, held
 * @cred: of the task that was granted this last, held; replaced whole, read
 *	under RCU
 * @peer: the endpoint whose name a unix socket is connected by, held; or NULL.
 *	Under the decision lock
 * @peer_lock: makes one of a unix socket's connect and the change of @peer
 * @rules: its own rules, or NULL for the namespace's
 * @placeholder: AF_GRAFT's first sock, kept for calls in flight; or NULL
 * @aborts: graft_table.aborts before its grant was asked for
 * @mark: SO_MARK that the endpoint gave it
 * @ifindex: device that the endpoint gave it
 * @family: of the endpoint's address
 * @protocol: one bit of GRAFT_PROTO_*; 0 for unix
 * @verb: GRAFT_VERB_* by which it was grafted
 * @door: 1 AF_GRAFT, 2 IPPROTO_GRAFT
 * @ephemeral: counted in graft_table.n_ephemeral
 * @connected: it connected, by whatever verb it was grafted
 * @looped: grafted to reach a port of its own namespace
 * @shares: a datagram socket that asked for SO_REUSEADDR
 * @owns_port: a stream whose ephemeral port was chosen before any connect, and
 *	so is nobody else's for as long as it lingers; or accepted from one
 * @lingers: a listener, and a connection that it accepted may be in TIME_WAIT
 * @revoked: its grant was withdrawn
 * @asked: the address and port that the program asked for at bind
 * @held: in the table of held ports by target port
 * @held_port: that port
 * @moving: calls that may give it back or make it receive less, under way
 * @held_own: in the table of held ports by the port asked for
 * @device_sem: keeps the device of a datagram socket, where its endpoint has
 *	one, from being forgotten between a check and the send
 * @allowed_lock: guards writers of @allowed
 * @allowed_seq: under that lock; readers retry
 * @allowed: the destination that was allowed last, see police.c
 * @connects: how often a datagram socket connected
 * @asked_peer: of its peer, likewise under @allowed_lock
 *
 * Stored in the socket inode's i_private. Before the decision it exists only to
 * carry @rules, is read under the inode's lock alone, and may go. From the
 * graft to the release it stays, so grafted operations read it without a lock.
 */
struct graft_socket {
	struct hlist_node	node;
	unsigned long		id;
	struct socket		*sock;
	const struct proto_ops	*native;
	struct graft_table	*table;
	struct net		*origin;
	netns_tracker		origin_tracker;
	struct graft_endpoint	*ep;
	const struct cred	*cred;
	struct graft_endpoint	*peer;
	struct mutex		peer_lock;
	struct graft_rules	*rules;
	struct sock		*placeholder;
	s64			aborts;
	u32			mark;
	int			ifindex;
	u16			family;
	u8			protocol;
	u8			verb;
	u8			door;
	bool			ephemeral;
	bool			connected;
	bool			looped;
	bool			shares;
	bool			owns_port;
	bool			lingers;
	bool			revoked;
	struct graft_addr	asked;
	struct hlist_node	held;
	u16			held_port;
	unsigned int		moving;
	struct hlist_node	held_own;
	struct rw_semaphore	device_sem;
	spinlock_t		allowed_lock;
	seqcount_spinlock_t	allowed_seq;
	struct graft_allowed	allowed;
	atomic_t		connects;
	struct graft_asked_peer	asked_peer;
};

/* Whom the ACL is asked about from now on: the calling task. */
static inline void graft_socket_granted(struct graft_socket *gs)
{
	if (unlikely(READ_ONCE(gs->cred) != current_cred()))
		put_cred(xchg(&gs->cred, get_current_cred()));
}

const struct cred *graft_socket_cred(const struct graft_socket *gs);
struct graft_socket *graft_socket_alloc(struct graft_table *t);
void graft_socket_free(struct graft_socket *gs);

int graft_socket_admit(struct graft_socket *gs, struct graft_table *t,
		       struct graft_endpoint *ep, u32 max_sockets,
		       bool ephemeral, struct graft_why *why);
void graft_socket_dismiss(struct graft_socket *gs);
void graft_socket_end(struct graft_socket *gs);
void graft_socket_free_spare(struct graft_table *t);
void __graft_socket_linger(struct graft_socket *gs, const struct sock *sk,
			   bool close);
void graft_socket_admit_child(struct graft_socket *gs,
			      const struct graft_socket *parent);
void graft_socket_publish(struct graft_socket *gs, struct socket *sock);
void graft_socket_unpublish(struct graft_socket *gs);

/**
 * struct graft_cursor - how far a walk over a table's sockets has come
 * @bucket: of graft_table.sockets
 * @before: the ids of that bucket that are left are smaller; 0 for all of them
 *
 * It may be kept while the lock is not held. A zeroed one is the beginning.
 */
struct graft_cursor {
	unsigned int	bucket;
	unsigned long	before;
};

struct graft_socket *graft_socket_next(struct graft_table *t,
				       struct graft_cursor *cursor);

/* The state of a socket whose operations are ours; NULL where it has none. */
static inline struct graft_socket *graft_socket_of(const struct socket *sock)
{
	/* pairs with smp_store_release() of sock->ops in graft_socket_switch() */
	smp_rmb();
	return READ_ONCE(SOCK_INODE((struct socket *)sock)->i_private);
}

static inline void graft_socket_attach(struct socket *sock,
				       struct graft_socket *gs)
{
	WRITE_ONCE(SOCK_INODE(sock)->i_private, gs);
}

/* Before a socket is closed (@close) or disconnected. */
static inline void graft_socket_linger(struct graft_socket *gs,
				       const struct sock *sk, bool close)
{
	if (unlikely(gs->owns_port))
		__graft_socket_linger(gs, sk, close);
}

/* From here on every call on @sock goes to @ops. */
static inline void graft_socket_switch(struct socket *sock,
				       const struct proto_ops *ops)
{
	/* pairs with smp_rmb() in graft_socket_of() */
	smp_store_release(&sock->ops, ops);
}

/*
 * Decides once: the inode's lock of a socket serialises its decision, its
 * release, and every control call before the decision. It is taken before the
 * sock's own lock.
 */
static inline void graft_decision_lock(struct socket *sock)
{
	inode_lock(SOCK_INODE(sock));
}

static inline void graft_decision_unlock(struct socket *sock)
{
	inode_unlock(SOCK_INODE(sock));
}

int graft_state_init(void);
void graft_state_exit(void);

#endif /* _GRAFT_STATE_H */
