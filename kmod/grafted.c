// SPDX-License-Identifier: GPL-2.0
/*
 * Operations of a grafted socket. Data passes the kernel's own functions; ours
 * are the control calls, a test for fast open in front of a stream's sendmsg,
 * and the check of an addressed datagram.
 */

#include <linux/module.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <net/inet_common.h>
#include <net/ip6_fib.h>
#include <net/tcp.h>

#include "abort.h"
#include "cmsg.h"
#include "event.h"
#include "grafted.h"
#include "held.h"
#include "kind.h"
#include "options.h"
#include "police.h"
#include "unix.h"

int graft_grafted_release(struct socket *sock)
{
	struct graft_socket *gs = graft_socket_of(sock);
	struct sock *placeholder;
	int err;

	/* An accept that failed: the child got our operations, and no sock. */
	if (!gs)
		return 0;
	placeholder = gs->placeholder;
	graft_socket_linger(gs, sock->sk, true);
	graft_socket_unpublish(gs);
	graft_socket_attach(sock, NULL);
	err = gs->native->release(sock);
	if (placeholder) {
		sock_orphan(placeholder);
		sock_put(placeholder);
	}
	graft_socket_end(gs);
	return err;
}

/* A graft is a bind; there is no second. */
int graft_grafted_bind(struct socket *sock, struct graft_sockaddr *uaddr, int len)
{
	return -EINVAL;
}

/*
 * A socket that was grafted to reach a port of its own namespace goes on
 * speaking of that namespace's addresses.
 */
static int graft_loop(const struct graft_socket *gs, const struct sock *sk,
		      const struct graft_addr *dst, struct graft_addr *reach)
{
	struct graft_endpoint *ep;
	const struct net *where;

	if (READ_ONCE(gs->revoked))
		return -EACCES;
	ep = graft_held_own(gs->table, sock_net(sk), gs->protocol, dst, reach,
			    &where);
	if (!ep)
		return -EACCES;
	graft_endpoint_put(ep);
	return 0;
}

/* Asked for each send, where a program may have set them; elsewhere it is no code. */
static bool graft_is_steered(const struct graft_socket *gs,
			     const struct sock *sk)
{
	return !GRAFT_HAS_SOL_SOCKET && gs->protocol && graft_strays(gs, sk);
}

static int graft_deny_steered(struct graft_socket *gs, struct sock *sk)
{
	struct graft_why why = { };

	graft_refuse_stray(&why);
	graft_event(GRAFT_EVENT_DENIED, &why, gs->table, sk, gs->ep, NULL,
		    gs->verb, NULL);
	return why.err;
}

static noinline int graft_take_back(struct graft_socket *gs, struct socket *sock)
{
	graft_decision_lock(sock);
	graft_revoke(gs, sock);
	graft_decision_unlock(sock);
	return -EACCES;
}

/*
 * What a native call that connects, or binds on its own account, answered: taken
 * back where an abort passed meanwhile, or another device was slipped in.
 */
static __always_inline int graft_done(struct graft_socket *gs,
				      struct socket *sock, int ret)
{
	if (likely(!READ_ONCE(gs->revoked) && !graft_is_steered(gs, sock->sk)))
		return ret;
	return graft_take_back(gs, sock);
}

/* An abort passed: does it concern the socket? */
static noinline bool graft_missed(struct graft_socket *gs, struct socket *sock)
{
	bool missed;

	graft_decision_lock(sock);
	missed = graft_abort_again(gs, sock);
	graft_decision_unlock(sock);
	return missed;
}

/* The same of a call that connects: the grant may have been tightened meanwhile. */
static __always_inline int graft_connected(struct graft_socket *gs,
					   struct socket *sock, int ret)
{
	/* the peer is set before this; pairs with graft_abort_count() */
	smp_mb();
	if (unlikely(atomic64_read(&gs->table->aborts) != gs->aborts) &&
	    graft_missed(gs, sock))
		return -EACCES;
	return graft_done(gs, sock, ret);
}

/*
 * A call may have waited for the sock's lock since it was judged. Ask again with
 * the lock held, where an abort has passed since the grant.
 */
static int graft_ask_locked(struct graft_socket *gs, struct sock *sk,
			    const struct graft_sockaddr *uaddr, int len)
{
	struct graft_addr dst;
	int err;

	if (READ_ONCE(gs->revoked))
		return -EACCES;
	if (likely(atomic64_read(&gs->table->aborts) == gs->aborts) ||
	    gs->looped)
		return 0;
	err = graft_addr_parse(&dst, sk, uaddr, len) ?:
	      graft_police_send(gs, sk, &dst, NULL, 0);
	return min(err, 0);
}

/* As the native connect of a stream, but asked again in the middle. */
static int graft_connect_stream(struct graft_socket *gs, struct socket *sock,
				struct graft_sockaddr *uaddr, int len,
				int flags)
{
	struct sock *sk = sock->sk;
	int err;

	lock_sock(sk);
	err = graft_ask_locked(gs, sk, uaddr, len) ?:
	      __inet_stream_connect(sock, uaddr, len, flags, 0);
	release_sock(sk);
	return err;
}

static int graft_connect_native(struct graft_socket *gs, struct socket *sock,
				struct graft_sockaddr *uaddr, int len,
				int flags)
{
	int err;

	WRITE_ONCE(gs->connected, true);
	if (sock->type == SOCK_STREAM) {
		err = graft_connect_stream(gs, sock, uaddr, len, flags);
	} else {
		graft_held_move(gs);
		err = gs->native->connect(sock, uaddr, len, flags);
		/* the peer is set before this; pairs with graft_police_peer() */
		smp_mb__before_atomic();
		atomic_inc(&gs->connects);
		graft_held_moved(gs);
	}
	return graft_connected(gs, sock, err);
}

/* UDP forgets its device when it disconnects; TCP does not. */
static bool graft_may_forget(const struct graft_socket *gs)
{
	return gs->ifindex && gs->protocol == GRAFT_PROTO_UDP;
}

/* The endpoint's device stays. */
static int __graft_disconnect(struct graft_socket *gs, struct socket *sock,
			      struct graft_sockaddr *uaddr, int len, int flags)
{
	struct sock *sk = sock->sk;
	int err;

	if (likely(!graft_may_forget(gs)))
		return graft_done(gs, sock, gs->native->connect(sock, uaddr,
								len, flags));
	if (down_write_killable(&gs->device_sem))
		return -EINTR;
	err = gs->native->connect(sock, uaddr, len, flags);
	lock_sock(sk);
	WRITE_ONCE(sk->sk_bound_dev_if, gs->ifindex);
	sk_dst_reset(sk);
	release_sock(sk);
	err = graft_done(gs, sock, err);
	up_write(&gs->device_sem);
	return err;
}

static int graft_disconnect(struct graft_socket *gs, struct socket *sock,
			    struct graft_sockaddr *uaddr, int len, int flags)
{
	int err;

	graft_socket_linger(gs, sock->sk, false);
	if (gs->protocol != GRAFT_PROTO_UDP)
		return __graft_disconnect(gs, sock, uaddr, len, flags);
	graft_held_move(gs);
	err = __graft_disconnect(gs, sock, uaddr, len, flags);
	graft_held_moved(gs);
	graft_police_forget(gs);
	return err;
}

/* Keep the endpoint's device in place from a check to the end of the call. */
static int graft_device_hold(struct graft_socket *gs)
{
	return unlikely(graft_may_forget(gs)) ?
		       down_read_killable(&gs->device_sem) : 0;
}

static void graft_device_put(struct graft_socket *gs)
{
	if (unlikely(graft_may_forget(gs)))
		up_read(&gs->device_sem);
}

/* Connect to a destination that was policed; the device is held. */
static int __graft_connect_host(struct graft_socket *gs, struct socket *sock,
				struct graft_sockaddr *uaddr, int len,
				int flags)
{
	union graft_sockaddr_inet host;
	struct graft_addr dst, reach;
	int err;

	if (likely(!gs->looped))
		return graft_connect_native(gs, sock, uaddr, len, flags);

	err = graft_addr_parse(&dst, sock->sk, uaddr, len) ?:
	      graft_loop(gs, sock->sk, &dst, &reach);
	if (err)
		return err;
	len = graft_addr_unparse(&reach, sock->sk, &host);
	if (len < 0)
		return len;
	return graft_connect_native(gs, sock, (struct graft_sockaddr *)&host,
				    len, flags);
}

/**
 * graft_connect_host - connect a grafted socket to a destination it may reach
 * @sock: the socket
 * @uaddr: the destination, policed already
 * @len: its length
 * @flags: of the connect
 *
 * Return: as the native connect.
 */
int graft_connect_host(struct socket *sock, struct graft_sockaddr *uaddr, int len,
		       int flags)
{
	struct graft_socket *gs = graft_socket_of(sock);
	int err;

	err = graft_device_hold(gs);
	if (err)
		return err;
	err = __graft_connect_host(gs, sock, uaddr, len, flags);
	graft_device_put(gs);
	return err;
}

static int __graft_grafted_connect(struct graft_socket *gs, struct socket *sock,
				   struct graft_sockaddr *uaddr, int len,
				   int flags)
{
	struct graft_addr dst;
	int err;

	err = graft_addr_parse(&dst, sock->sk, uaddr, len);
	if (err)
		return err;
	if (!gs->looped) {
		err = graft_police_send(gs, sock->sk, &dst, NULL, 0);
		if (err < 0)
			return err;
		graft_socket_granted(gs);
		atomic64_inc(&gs->ep->connects);
	}
	return __graft_connect_host(gs, sock, uaddr, len, flags);
}

static int graft_grafted_connect(struct socket *sock, struct graft_sockaddr *uaddr,
				 int len, int flags)
{
	struct graft_socket *gs = graft_socket_of(sock);
	int err;

	if (len < (int)sizeof(uaddr->sa_family))
		return -EINVAL;
	if (uaddr->sa_family == AF_UNSPEC)
		return graft_disconnect(gs, sock, uaddr, len, flags);
	err = graft_device_hold(gs);
	if (err)
		return err;
	err = __graft_grafted_connect(gs, sock, uaddr, len, flags);
	graft_device_put(gs);
	return err;
}

int graft_grafted_listen(struct socket *sock, int backlog)
{
	struct graft_socket *gs = graft_socket_of(sock);
	int err;

	err = graft_police_listen(gs, sock->sk);
	if (err)
		return err;
	graft_socket_granted(gs);
	return graft_connected(gs, sock, gs->native->listen(sock, backlog));
}

/* A child has no state until it gets one here; made first, lest it fail late. */
int graft_grafted_accept(struct socket *sock, struct socket *newsock,
			 GRAFT_ACCEPT_PARAMS)
{
	struct graft_socket *gs = graft_socket_of(sock);
	struct graft_socket *child;
	int err;

	if (READ_ONCE(gs->revoked))
		return -EINVAL;
	if (unlikely(graft_is_steered(gs, sock->sk)))
		return graft_deny_steered(gs, sock->sk);
	child = graft_socket_alloc(gs->table);
	if (!child)
		return -ENOMEM;
	err = gs->native->accept(sock, newsock, GRAFT_ACCEPT_ARGS);
	if (err) {
		graft_socket_free(child);
		return err;
	}

	graft_socket_admit_child(child, gs);
	if (child->protocol) {
		/* the stack may give a connection those that it came in by */
		child->mark = READ_ONCE(newsock->sk->sk_mark);
		child->ifindex = READ_ONCE(newsock->sk->sk_bound_dev_if);
	} else {
		graft_unix_forget_pid(newsock->sk);
	}
	atomic64_inc(&child->ep->accepts);
	graft_route_sol_socket(newsock, true);
	graft_socket_publish(child, newsock);
	/*
	 * 6.1 took the child's operations before it looked up this function.
	 * Whatever of ours they were, the module is held for them.
	 */
	graft_socket_switch(newsock, READ_ONCE(sock->ops));
	/* an abort that passed before the child could be seen */
	if (unlikely(READ_ONCE(gs->revoked) ||
		     atomic64_read(&gs->table->aborts) != child->aborts)) {
		graft_decision_lock(newsock);
		if (READ_ONCE(gs->revoked))
			graft_revoke(child, newsock);
		else
			graft_abort_again(child, newsock);
		graft_decision_unlock(newsock);
	}
	return 0;
}

/* As the native send that opens a connection, but asked again in the middle. */
static int graft_fast_open(struct graft_socket *gs, struct sock *sk,
			   struct msghdr *msg, size_t size)
{
	int err;

	lock_sock(sk);
	err = graft_ask_locked(gs, sk, msg->msg_name, msg->msg_namelen) ?:
	      tcp_sendmsg_locked(sk, msg, size);
	release_sock(sk);
	return err;
}

static int graft_grafted_stream_sendmsg(struct socket *sock, struct msghdr *msg,
					size_t size)
{
	struct graft_socket *gs = graft_socket_of(sock);
	struct graft_addr dst;
	int err;

	/* a fast open that was put off would still go out */
	if (unlikely(READ_ONCE(gs->revoked)))
		return -EPIPE;
	if (unlikely(graft_is_steered(gs, sock->sk)))
		return graft_deny_steered(gs, sock->sk);
	if (unlikely(msg->msg_flags & MSG_FASTOPEN && msg->msg_name)) {
		/* a fast open to one's own namespace would need its address */
		if (gs->looped)
			return -EOPNOTSUPP;
		err = graft_addr_parse(&dst, sock->sk, msg->msg_name,
				       msg->msg_namelen) ?:
		      graft_police_send(gs, sock->sk, &dst, NULL, 0);
		if (err < 0)
			return err;
		graft_socket_granted(gs);
		WRITE_ONCE(gs->connected, true);
		return graft_connected(gs, sock,
				       graft_fast_open(gs, sock->sk, msg, size));
	}
	return graft_done(gs, sock, gs->native->sendmsg(sock, msg, size));
}

/* Send to a port of the socket's own namespace, at the address that it has. */
static int graft_loop_sendmsg(struct graft_socket *gs, struct socket *sock,
			      const struct graft_addr *dst, struct msghdr *msg,
			      size_t size)
{
	union graft_sockaddr_inet host;
	struct graft_addr reach;
	void *name = msg->msg_name;
	int namelen = msg->msg_namelen;
	int err;

	err = graft_loop(gs, sock->sk, dst, &reach);
	if (err)
		return err;
	err = graft_addr_unparse(&reach, sock->sk, &host);
	if (err < 0)
		return err;
	msg->msg_name = &host;
	msg->msg_namelen = err;
	err = gs->native->sendmsg(sock, msg, size);
	msg->msg_name = name;
	msg->msg_namelen = namelen;
	return err;
}

/*
 * A datagram socket that is connected sends without naming anybody. What allowed its
 * connect may be over: the host has got that address since, or whoever held its port
 * is gone.
 */
static bool graft_peer_is_asked(const struct graft_socket *gs,
				const struct sock *sk)
{
	const struct graft_asked_peer *asked = &gs->asked_peer;

	return asked->connects == atomic_read(&gs->connects) &&
	       asked->fib4 == rt_genid_ipv4(sock_net(sk)) &&
	       asked->fib6 == rt_genid_ipv6(sock_net(sk)) &&
	       graft_rests(&asked->rest);
}

static int graft_ask_peer(struct graft_socket *gs, struct sock *sk)
{
	if (READ_ONCE(sk->sk_state) != TCP_ESTABLISHED ||
	    graft_peer_is_asked(gs, sk))
		return 0;
	return graft_police_peer(gs, sk);
}

/* Does data wait to be sent, to whom it was addressed when the first of it came? */
static bool graft_is_corked(const struct sock *sk)
{
	return READ_ONCE(udp_sk(sk)->pending);
}

static void graft_corked_for(struct graft_addr *dst, struct sock *sk)
{
	const struct flowi *fl = &inet_sk(sk)->cork.fl;

	memset(dst, 0, sizeof(*dst));
	lock_sock(sk);
	if (udp_sk(sk)->pending == AF_INET) {
		dst->family = AF_INET;
		dst->v4 = fl->u.ip4.daddr;
		dst->port = ntohs(fl->u.ip4.fl4_dport);
	} else if (udp_sk(sk)->pending == AF_INET6) {
		dst->family = AF_INET6;
		dst->v6 = fl->u.ip6.daddr;
		dst->port = ntohs(fl->u.ip6.fl6_dport);
	}
	release_sock(sk);
}

/* What allowed that destination may be over by now. */
static int graft_ask_corked(struct graft_socket *gs, struct sock *sk)
{
	struct graft_addr dst;

	graft_corked_for(&dst, sk);
	if (!dst.family)
		return 0;
	if (gs->looped)
		return graft_held_peer(gs, sk, &dst) ? 0 : -EACCES;
	return min(graft_police_send(gs, sk, &dst, NULL, 0), 0);
}

/* Whatever else is sent, or is not, is sent along with it. */
static int graft_ask_waiting(struct graft_socket *gs, struct sock *sk)
{
	return likely(!graft_is_corked(sk)) ? 0 : graft_ask_corked(gs, sk);
}

/* The end of a splice would bind a revoked socket to a port again. */
static void graft_grafted_splice_eof(struct socket *sock)
{
	struct graft_socket *gs = graft_socket_of(sock);

	if (!READ_ONCE(gs->revoked) && gs->native->splice_eof &&
	    !graft_ask_waiting(gs, sock->sk))
		gs->native->splice_eof(sock);
}

static int __graft_dgram_sendmsg(struct graft_socket *gs, struct socket *sock,
				 struct msghdr *msg, size_t size)
{
	const struct sockaddr *name = msg->msg_name;
	struct sock *sk = sock->sk;
	struct graft_addr dst;
	int err;

	/* even without an address: it would bind the socket to a port again */
	if (unlikely(READ_ONCE(gs->revoked)))
		return -EACCES;
	if (unlikely(graft_is_steered(gs, sk)))
		return graft_deny_steered(gs, sk);
	err = graft_ask_waiting(gs, sk);
	if (err)
		return err;
	if (msg->msg_controllen) {
		err = graft_cmsg_check(gs, sk, msg);
		if (err)
			return err;
	}
	/* IPv6 takes AF_UNSPEC for "no address" */
	if (name && msg->msg_namelen >= (int)sizeof(name->sa_family) &&
	    !(name->sa_family == AF_UNSPEC && sk->sk_family == AF_INET6)) {
		err = graft_addr_parse(&dst, sk, name, msg->msg_namelen);
		if (err)
			return err;
		if (gs->looped)
			return graft_loop_sendmsg(gs, sock, &dst, msg, size);
		if (graft_strays(gs, sk) ||
		    !graft_police_again(gs, sk, name, msg->msg_namelen, true))
			err = graft_police_send(gs, sk, &dst, name,
						msg->msg_namelen);
		if (err < 0)
			return err;
	} else {
		err = graft_ask_peer(gs, sk);
		if (err)
			return err;
	}
	return gs->native->sendmsg(sock, msg, size);
}

/* A datagram that is not just another one to the same address. */
static noinline int graft_dgram_sendmsg(struct graft_socket *gs,
					struct socket *sock,
					struct msghdr *msg, size_t size)
{
	int err;

	err = graft_device_hold(gs);
	if (err)
		return err;
	err = graft_done(gs, sock, __graft_dgram_sendmsg(gs, sock, msg, size));
	graft_device_put(gs);
	return err;
}

/* A server answers one client again and again; a client has one peer. */
static int graft_grafted_dgram_sendmsg(struct socket *sock, struct msghdr *msg,
				       size_t size)
{
	struct graft_socket *gs = graft_socket_of(sock);

	if (likely(!msg->msg_controllen && !READ_ONCE(gs->revoked) &&
		   !(gs->ifindex | READ_ONCE(sock->sk->sk_bound_dev_if)) &&
		   !graft_is_corked(sock->sk) &&
		   !graft_is_steered(gs, sock->sk) &&
		   (msg->msg_name ?
			    graft_police_again(gs, sock->sk, msg->msg_name,
					       msg->msg_namelen, false) :
			    graft_peer_is_asked(gs, sock->sk))))
		return graft_done(gs, sock,
				  gs->native->sendmsg(sock, msg, size));
	return graft_dgram_sendmsg(gs, sock, msg, size);
}

/**
 * graft_set_sol_socket - set an option of level SOL_SOCKET on a decided socket
 * @sock: the socket; a native one takes every option
 * @optname: the option
 * @optval: its value
 * @optlen: the value's length
 */
int graft_set_sol_socket(struct socket *sock, int optname, sockptr_t optval,
			 unsigned int optlen)
{
	const struct proto_ops *ops = READ_ONCE(sock->ops);

	if (graft_is_grafted(ops))
		return ops->setsockopt(sock, SOL_SOCKET, optname, optval,
				       optlen);
	return sock_setsockopt(sock, SOL_SOCKET, optname, optval, optlen);
}

static int graft_grafted_setsockopt(struct socket *sock, int level, int optname,
				    sockptr_t optval, unsigned int optlen)
{
	struct graft_socket *gs = graft_socket_of(sock);
	struct graft_why why = { };

	/* uncorking would send what was pending */
	if (unlikely(READ_ONCE(gs->revoked)))
		return -EACCES;
	if (!graft_option_allowed(level, optname) ||
	    graft_option_too_late(sock->sk, level, optname)) {
		graft_refuse(&why, GRAFT_REASON_OPTION, -ENOPROTOOPT,
			     "this option is not allowed on a grafted socket");
		graft_event(GRAFT_EVENT_DENIED, &why, gs->table, sock->sk,
			    gs->ep, NULL, gs->verb, NULL);
		return -ENOPROTOOPT;
	}
	if (level == SOL_SOCKET)
		return sock_setsockopt(sock, level, optname, optval, optlen);
	/* what is uncorked goes to the peer */
	if (level == SOL_UDP && optname == UDP_CORK &&
	    gs->protocol == GRAFT_PROTO_UDP &&
	    (graft_ask_waiting(gs, sock->sk) || graft_ask_peer(gs, sock->sk)))
		return -EACCES;
	return gs->native->setsockopt(sock, level, optname, optval, optlen);
}

int graft_grafted_getsockopt(struct socket *sock, int level, int optname,
			     char __user *optval, int __user *optlen)
{
	struct graft_socket *gs = graft_socket_of(sock);

	if (level == IPPROTO_GRAFT)
		return graft_option_get(gs, READ_ONCE(gs->revoked) ?
						GRAFT_STATE_REVOKED :
						GRAFT_STATE_GRAFTED,
					optname, optval, optlen);
	if (!graft_option_readable(level, optname))
		return -ENOPROTOOPT;
	if (!gs->native->getsockopt)
		return -EOPNOTSUPP;
	return gs->native->getsockopt(sock, level, optname, optval, optlen);
}

int graft_grafted_ioctl(struct socket *sock, unsigned int cmd,
			unsigned long arg)
{
	if (!graft_ioctl_allowed(cmd))
		return -EPERM;
	return graft_socket_of(sock)->native->ioctl(sock, cmd, arg);
}

/*
 * Where the option does not pass us, a call may come late with the placeholder that
 * it found before the re-seat, which is no TCP sock.
 */
static int graft_grafted_set_rcvlowat(struct sock *sk, int val)
{
	const struct graft_kind *kind = graft_kind(sk->sk_family, SOCK_STREAM);

	if (kind)
		return kind->native->set_rcvlowat(sk, val);
	WRITE_ONCE(sk->sk_rcvlowat, val ?: 1);
	return 0;
}

bool graft_is_grafted(const struct proto_ops *ops)
{
	return ops->release == graft_grafted_release;
}

/**
 * graft_grafted_ops - put these operations over a copy of the native ones
 * @ops: the copy
 * @type: SOCK_STREAM or SOCK_DGRAM
 */
void graft_grafted_ops(struct proto_ops *ops, u16 type)
{
	ops->release = graft_grafted_release;
	ops->bind = graft_grafted_bind;
	ops->connect = graft_grafted_connect;
	ops->listen = graft_grafted_listen;
	ops->setsockopt = graft_grafted_setsockopt;
	ops->getsockopt = graft_grafted_getsockopt;
	ops->ioctl = graft_grafted_ioctl;
#ifdef CONFIG_COMPAT
	ops->compat_ioctl = graft_grafted_ioctl;
#endif
	if (type == SOCK_STREAM) {
		ops->accept = graft_grafted_accept;
		ops->sendmsg = graft_grafted_stream_sendmsg;
		ops->set_rcvlowat = graft_grafted_set_rcvlowat;
	} else {
		ops->sendmsg = graft_grafted_dgram_sendmsg;
		ops->splice_eof = graft_grafted_splice_eof;
	}
	graft_getsockopt_only(ops);
	graft_sendpage_to_sendmsg(ops);
}
