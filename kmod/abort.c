// SPDX-License-Identifier: GPL-2.0
/*
 * Takes a grant back from live sockets: from then on they neither send nor
 * receive. The stack's own abort is not enough: it leaves a socket alone that is
 * only bound, and a UDP socket bound.
 *
 * A walk over the live sockets does not see one that is being grafted, or
 * accepted, by a grant that was looked up before. So the table counts aborts
 * before each walk. A socket knows the count that its grant was looked up at, or
 * its listener's, and who publishes it or has connected it compares the two: either
 * the walk meets the socket and its peer, or this meets the count. The lock of the
 * list and a barrier order them.
 */

#include <linux/file.h>
#include <linux/fs.h>
#include <linux/sock_diag.h>
#include <linux/tcp.h>
#include <net/udp.h>

#include "abort.h"
#include "acl.h"
#include "held.h"
#include "rehome.h"

/* The cookie of a sock, as SO_COOKIE reads it. */
u64 graft_cookie(struct sock *sk)
{
	u32 halves[2];

	sock_diag_save_cookie(sk, halves);
	return (u64)halves[1] << 32 | halves[0];
}

/* Drop what was received and not read; @sk is locked. */
static void graft_purge(const struct graft_socket *gs, struct sock *sk)
{
	struct sk_buff *skb;
	int err = 0;

	if (gs->protocol == GRAFT_PROTO_UDP) {
		/* an error that waits comes before what was received */
		do {
			skb = skb_recv_udp(sk, MSG_DONTWAIT, &err);
			kfree_skb(skb);
		} while (skb || err != -EAGAIN);
	} else if (sk->sk_state == TCP_CLOSE) {
		__skb_queue_purge(&sk->sk_receive_queue);
		WRITE_ONCE(tcp_sk(sk)->copied_seq, tcp_sk(sk)->rcv_nxt);
	}
}

/*
 * The decision lock is held, so the socket is not being released. May be called
 * again, for a call in flight may have undone some of it.
 */
void graft_revoke(struct graft_socket *gs, struct socket *sock)
{
	struct sock *sk = sock->sk;

	WRITE_ONCE(gs->revoked, true);
	graft_held_revoked(gs);
	if (!gs->protocol) {
		gs->native->shutdown(sock, SHUT_RDWR);
		return;
	}
	if (sk->sk_prot->diag_destroy)
		sk->sk_prot->diag_destroy(sk, ECONNABORTED);

	lock_sock(sk);
	WRITE_ONCE(sk->sk_shutdown, SHUTDOWN_MASK);
	if (sk->sk_state == TCP_CLOSE || gs->protocol == GRAFT_PROTO_UDP)
		graft_unbind(sk);
	graft_purge(gs, sk);
	if (!sk->sk_err)
		WRITE_ONCE(sk->sk_err, ECONNABORTED);
	sk->sk_state_change(sk);
	sk_error_report(sk);
	release_sock(sk);
}

/* Hold the inode of the next socket. */
static struct inode *graft_abort_next(struct graft_table *t,
				      struct graft_cursor *cursor,
				      struct graft_socket **gs)
{
	struct inode *inode = NULL;

	spin_lock(&t->sockets_lock);
	while (!inode && (*gs = graft_socket_next(t, cursor)))
		inode = igrab(SOCK_INODE((*gs)->sock));
	spin_unlock(&t->sockets_lock);
	return inode;
}

/**
 * graft_abort - abort live sockets of a table
 * @t: the table
 * @what: which
 *
 * Return: how many. Sockets that are grafted meanwhile may be passed over.
 */
u32 graft_abort(struct graft_table *t, const struct graft_abort *what)
{
	struct graft_cursor cursor = { };
	struct graft_socket *gs;
	struct inode *inode;
	u32 n = 0;

	/* ends however fast a container grafts: see graft_socket_next() */
	while ((inode = graft_abort_next(t, &cursor, &gs))) {
		/*
		 * Not a netlink socket's, whose release takes generic netlink's
		 * lock under its own.
		 */
		inode_lock_nested(inode, I_MUTEX_CHILD);
		/* ours until it is released, which takes this lock */
		if (READ_ONCE(inode->i_private) == gs && gs->table == t &&
		    !gs->revoked && what->matches(what, gs, gs->sock->sk)) {
			graft_revoke(gs, gs->sock);
			n++;
		}
		inode_unlock(inode);
		iput(inode);
		cond_resched();
	}
	return n;
}

static bool graft_is_named(const struct graft_endpoint *ep,
			   const struct graft_name *name)
{
	return ep && ep->hash == name->hash && ep->name_len == name->len &&
	       !memcmp(ep->name, name->text, name->len);
}

static bool graft_matches_endpoint(const struct graft_abort *what,
				   const struct graft_socket *gs,
				   struct sock *sk)
{
	return graft_is_named(gs->ep, &what->name) ||
	       graft_is_named(gs->peer, &what->name);
}

/*
 * Count an abort. @last is where its number stays: an endpoint's, or the table's
 * for those that the ACL denies; NULL for an endpoint that is gone.
 */
static void graft_abort_count(struct graft_table *t, s64 *last)
{
	spin_lock(&t->sockets_lock);
	/* in this order: who reads the count then sees whose it was */
	if (last)
		WRITE_ONCE(*last, atomic64_read(&t->aborts) + 1);
	atomic64_inc_return(&t->aborts);
	spin_unlock(&t->sockets_lock);
}

/*
 * Abort every socket of an endpoint of this name, and every unix socket that is
 * connected to one. A socket may have outlived its endpoint, and another of the
 * same name has taken that one's place.
 */
static u32 graft_abort_named(struct graft_table *t, const struct graft_name *name)
{
	const struct graft_abort what = {
		.matches = graft_matches_endpoint,
		.name = *name,
	};
	u32 n = graft_abort(t, &what);

	/*
	 * A listener whose endpoint is gone may have accepted behind the walk,
	 * before that came to it. It accepts no more.
	 */
	return n ? n + graft_abort(t, &what) : 0;
}

/* Abort them where no endpoint of this name is in the table. */
u32 graft_abort_name(struct graft_table *t, const struct graft_name *name)
{
	graft_abort_count(t, NULL);
	return graft_abort_named(t, name);
}

/* Abort them where one is. */
u32 graft_abort_endpoint(struct graft_table *t, struct graft_endpoint *ep)
{
	const struct graft_name name = { ep->name, ep->hash, ep->name_len };

	graft_abort_count(t, &ep->aborted);
	return graft_abort_named(t, &name);
}

static bool graft_matches_cookie(const struct graft_abort *what,
				 const struct graft_socket *gs, struct sock *sk)
{
	return graft_cookie(sk) == what->cookie;
}

/* Abort the socket with this cookie. */
u32 graft_abort_cookie(struct graft_table *t, u64 cookie)
{
	const struct graft_abort what = {
		.matches = graft_matches_cookie,
		.cookie = cookie,
	};

	return graft_abort(t, &what);
}

static bool graft_is_denied(const struct graft_socket *gs, struct sock *sk,
			    const struct cred *cred)
{
	u8 protocol = gs->protocol ?: GRAFT_PROTO_ALL;
	bool listens = gs->verb == GRAFT_VERB_LISTEN ||
		       READ_ONCE(sk->sk_state) == TCP_LISTEN;
	struct graft_addr peer;
	bool local;

	if (listens && !graft_acl_allows(cred, gs->table, gs->ep,
					 GRAFT_ACL_LISTEN, protocol, NULL,
					 &local))
		return true;
	if (gs->peer)
		return !graft_acl_allows(cred, gs->table, gs->peer,
					 GRAFT_ACL_CONNECT, protocol, NULL,
					 &local);
	if (!gs->protocol || gs->looped)
		return false;
	graft_addr_remote(&peer, sk);
	if (!peer.port)
		return false;
	/* whom a listener accepted was not connected to */
	if (listens && gs->protocol == GRAFT_PROTO_TCP && !gs->connected)
		return false;
	return !graft_acl_allows(cred, gs->table, gs->ep,
				 listens && gs->protocol == GRAFT_PROTO_UDP ?
					 GRAFT_ACL_ANSWER : GRAFT_ACL_CONNECT,
				 protocol, &peer, &local);
}

/*
 * Would the ACL refuse what the socket is doing? It is asked about whom that was
 * granted to last, for the task that uses it is not at hand.
 */
static bool graft_matches_denied(const struct graft_abort *what,
				 const struct graft_socket *gs, struct sock *sk)
{
	bool denied;

	rcu_read_lock();
	denied = graft_is_denied(gs, sk, READ_ONCE(gs->cred));
	rcu_read_unlock();
	return denied;
}

/* Abort the sockets that the ACL, as it is now, would refuse. */
u32 graft_abort_denied(struct graft_table *t)
{
	const struct graft_abort what = { .matches = graft_matches_denied };

	graft_abort_count(t, &t->denied);
	return graft_abort(t, &what);
}

/**
 * graft_abort_since - has an abort meant this socket?
 * @gs: its state
 * @sock: the socket, its decision lock held
 * @ep: an endpoint that it uses
 * @aborts: graft_table.aborts as it was before; the caller has seen it move
 */
bool graft_abort_since(const struct graft_socket *gs, struct socket *sock,
		       const struct graft_endpoint *ep, s64 aborts)
{
	/* pairs with graft_abort_count() */
	smp_rmb();
	return READ_ONCE(ep->aborted) > aborts ||
	       (READ_ONCE(gs->table->denied) > aborts &&
		graft_matches_denied(NULL, gs, sock->sk));
}

/*
 * There were aborts since @gs was granted; see graft_abort_missed(). It stays the
 * one that was granted before them: what it does meanwhile in another thread, like
 * a connect that the ACL allowed before, is to be seen when that is done.
 */
bool graft_abort_again(struct graft_socket *gs, struct socket *sock)
{
	if (!graft_abort_since(gs, sock, gs->ep, gs->aborts))
		return false;
	graft_revoke(gs, sock);
	return true;
}

/*
 * Of a socket that is published just now: an abort by name does not know the
 * endpoint that it was granted, if that was removed since.
 */
bool __graft_abort_missed(struct graft_socket *gs, struct socket *sock)
{
	if (graft_abort_again(gs, sock))
		return true;
	if (!READ_ONCE(gs->ep->removed))
		return false;
	graft_revoke(gs, sock);
	return true;
}
