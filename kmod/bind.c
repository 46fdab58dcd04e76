// SPDX-License-Identifier: GPL-2.0
/*
 * Binds a host socket to an endpoint's address and port, by the native bind.
 */

#include <linux/cred.h>
#include <linux/mutex.h>
#include <linux/random.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <net/inet_connection_sock.h>
#include <net/inet_hashtables.h>
#include <net/ip.h>
#include <net/ipv6.h>

#include "bind.h"
#include "held.h"

const struct cred *graft_bind_cred;

/*
 * Sharing a port goes by uid, and a container's root is the host's. So a socket
 * may share only with sockets of its own endpoint: unless one of those holds
 * the port, it is bound as if it did not want to share. A wish for a reuseport
 * group comes back once it holds the port, so that its own may join; from then
 * on a host program of the same uid that asks for a group may join as well. The
 * wish to share datagrams by SO_REUSEADDR does not come back, for that would let
 * any host program in, and then let us take its datagrams: it is granted for the
 * moment in which another of the same endpoint binds.
 *
 * Kernels that do not route SOL_SOCKET to us let a second thread set the wish
 * in between; a TCP bucket or a UDP group that is shared, or the wish, tells.
 */
static bool graft_bound_shared(const struct sock *sk)
{
	const struct inet_bind_bucket *tb;

	if (rcu_access_pointer(sk->sk_reuseport_cb))
		return true;
	if (sk->sk_protocol != IPPROTO_TCP)
		return sk->sk_reuse || sk->sk_reuseport;
	tb = inet_csk(sk)->icsk_bind_hash;
	return tb && tb->fastreuseport > 0;
}

static int graft_bind_alone(struct socket *sock, const struct proto_ops *native,
			    union graft_sockaddr_inet *uaddr, int len)
{
	struct sock *sk = sock->sk;
	bool shared = false;
	u8 reuseport;
	int err;

	lock_sock(sk);
	reuseport = sk->sk_reuseport;
	sk->sk_reuseport = 0;
	if (sk->sk_type == SOCK_DGRAM)
		sk->sk_reuse = 0;
	release_sock(sk);

	err = native->bind(sock, (struct graft_sockaddr *)uaddr, len);

	lock_sock(sk);
	if (!err)
		shared = graft_bound_shared(sk);
	if (sk->sk_type == SOCK_DGRAM)
		sk->sk_reuse = 0;
	sk->sk_reuseport = reuseport;
	release_sock(sk);
	return shared ? -EADDRINUSE : err;
}

/* Guards sk_reuse of the datagram sockets that share a port, while one binds. */
static DEFINE_MUTEX(graft_sharing_lock);

/* Bind beside a live socket of the same endpoint. */
static int graft_bind_beside(struct socket *sock,
			     const struct proto_ops *native,
			     const struct graft_endpoint *ep, u8 protocol,
			     const struct graft_addr *a,
			     union graft_sockaddr_inet *uaddr, int len)
{
	struct sock *sk = sock->sk;
	int err;

	if (sk->sk_type == SOCK_STREAM || !sk->sk_reuse)
		return native->bind(sock, (struct graft_sockaddr *)uaddr, len);

	mutex_lock(&graft_sharing_lock);
	graft_held_share(sock_net(sk), protocol, a, ep, true);
	err = native->bind(sock, (struct graft_sockaddr *)uaddr, len);
	graft_held_share(sock_net(sk), protocol, a, ep, false);
	lock_sock(sk);
	sk->sk_reuse = 0;
	release_sock(sk);
	mutex_unlock(&graft_sharing_lock);
	return err;
}

static int graft_bind_port(struct socket *sock, const struct proto_ops *native,
			   const struct graft_endpoint *ep,
			   const struct graft_ep_conf *conf, u8 protocol,
			   u16 port)
{
	union graft_sockaddr_inet uaddr __graft_uninitialized;
	struct graft_addr a = conf->addr;
	const struct cred *old = NULL;
	struct sock *sk = sock->sk;
	int len, err;

	a.port = port;
	len = graft_addr_unparse(&a, sk, &uaddr);
	if (len < 0)
		return -EADDRNOTAVAIL;

	/* the table entry is the grant; only bind itself runs with it */
	if (port && inet_port_requires_bind_service(sock_net(sk), port))
		old = override_creds(graft_bind_cred);
	if (!port || !(sk->sk_reuseport ||
		       (sk->sk_type == SOCK_DGRAM && sk->sk_reuse)))
		err = native->bind(sock, (struct graft_sockaddr *)&uaddr, len);
	else if (graft_held_beside(sk, protocol, &a, ep))
		err = graft_bind_beside(sock, native, ep, protocol, &a, &uaddr,
					len);
	else
		err = graft_bind_alone(sock, native, &uaddr, len);
	if (old)
		revert_creds(old);
	return err;
}

/* Any free port of the endpoint's range, from a random one on. */
static int graft_bind_range(struct socket *sock, const struct proto_ops *native,
			    const struct graft_endpoint *ep,
			    const struct graft_ep_conf *conf, u8 protocol)
{
	u32 n = conf->port_hi - conf->port_lo + 1;
	u32 first = get_random_u32() % n;
	int err = -EADDRINUSE;
	u32 i;

	for (i = 0; i < n && err == -EADDRINUSE; i++) {
		err = graft_bind_port(sock, native, ep, conf, protocol,
				      conf->port_lo + (first + i) % n);
		if (fatal_signal_pending(current))
			return -EINTR;
		cond_resched();
	}
	return err;
}

/*
 * Any ephemeral port, chosen now, or left to connect as IP_BIND_ADDRESS_NO_PORT
 * does, whatever the program has set that option to.
 */
static int graft_bind_any(struct socket *sock, const struct proto_ops *native,
			  const struct graft_endpoint *ep,
			  const struct graft_ep_conf *conf, u8 protocol,
			  bool lazily)
{
	struct sock *sk = sock->sk;
	bool no_port;
	int err;

	/* an IPv6 socket left alone would take every IPv6 address with IPv4's */
	if (lazily && graft_addr_is_any(&conf->addr) &&
	    conf->addr.family == sk->sk_family)
		return 0;
	no_port = graft_inet_no_port(sk);
	if (no_port != lazily)
		graft_inet_set_no_port(sk, lazily);
	err = graft_bind_port(sock, native, ep, conf, protocol, 0);
	if (no_port != lazily)
		graft_inet_set_no_port(sk, no_port);
	return err;
}

/* Is this a port that the target's kernel might have chosen itself? */
static bool graft_port_ephemeral_in(struct net *target, u16 port)
{
	int lo, hi;

	inet_get_local_port_range(target, &lo, &hi);
	return port >= lo && port <= hi &&
	       !inet_is_local_reserved_port(target, port);
}

/**
 * graft_bind - bind a host socket to an endpoint
 * @sock: the socket, in its target, without a port, out of others' reach
 * @native: its native operations
 * @ep: the endpoint
 * @conf: its configuration, of type ipv4 or ipv6
 * @protocol: one bit of GRAFT_PROTO_*
 * @wish: the port that the program asked for or has natively, 0 for any
 * @lazily: the port may wait for connect, and @wish is no more than a wish
 * @why: the refusal, where one is returned
 *
 * Return: 0, -EADDRINUSE, -EADDRNOTAVAIL or what else the native bind answers.
 */
int graft_bind(struct socket *sock, const struct proto_ops *native,
	       const struct graft_endpoint *ep,
	       const struct graft_ep_conf *conf, u8 protocol, u16 wish,
	       bool lazily, struct graft_why *why)
{
	struct sock *sk = sock->sk;
	int err = -EADDRINUSE;
	bool inside;

	if (conf->port_lo && conf->port_lo == conf->port_hi) {
		err = graft_bind_port(sock, native, ep, conf, protocol,
				      conf->port_lo);
		goto out;
	}
	/* a port that the kernel chooses for UDP may be one that others share */
	if (sk->sk_type == SOCK_DGRAM && graft_port_is_ephemeral(conf) &&
	    (sk->sk_reuse || sk->sk_reuseport)) {
		lock_sock(sk);
		sk->sk_reuse = 0;
		sk->sk_reuseport = 0;
		release_sock(sk);
	}

	if (conf->port_lo) {
		inside = wish && wish >= conf->port_lo &&
			 wish <= conf->port_hi;
		if (wish && !inside && !lazily)
			return graft_refuse(why, GRAFT_REASON_PORT,
					    -EADDRNOTAVAIL,
					    "the port is outside the endpoint's range");
		if (inside)
			err = graft_bind_port(sock, native, ep, conf, protocol,
					      wish);
		if (!inside || (lazily && err == -EADDRINUSE))
			err = graft_bind_range(sock, native, ep, conf,
					       protocol);
	} else {
		/* keep an ephemeral port, which the program may have told others */
		if (lazily && graft_port_ephemeral_in(sock_net(sk), wish))
			err = graft_bind_port(sock, native, ep, conf, protocol,
					      wish);
		if (err == -EADDRINUSE)
			err = graft_bind_any(sock, native, ep, conf, protocol,
					     lazily);
	}
	if (!err && sk->sk_type == SOCK_DGRAM && graft_port_is_ephemeral(conf) &&
	    (sk->sk_reuse || sk->sk_reuseport))
		err = -EADDRINUSE; /* a second thread, see graft_bound_shared() */
out:
	if (err)
		graft_refuse(why, GRAFT_REASON_ADDRESS, err,
			     "the target's stack refused the address or port");
	return err;
}

/* An address without a port is in no table of the stack's. */
static void graft_rebind_address(struct sock *sk, const struct graft_home *home)
{
	const struct graft_addr *a = &home->bound;

	lock_sock(sk);
	if (a->family == AF_INET) {
		inet_sk(sk)->inet_rcv_saddr = a->v4;
		inet_sk(sk)->inet_saddr = a->v4;
	}
#if IS_ENABLED(CONFIG_IPV6)
	if (sk->sk_family == AF_INET6) {
		if (a->family == AF_INET)
			ipv6_addr_set_v4mapped(a->v4, &sk->sk_v6_rcv_saddr);
		else
			sk->sk_v6_rcv_saddr = a->v6;
		inet6_sk(sk)->saddr = sk->sk_v6_rcv_saddr;
	}
#endif
	sk->sk_userlocks |= home->locks;
	release_sock(sk);
}

/**
 * graft_rebind - give a socket its native address and port back
 * @sock: the socket, its decision lock held
 * @kind: its kind
 * @home: where it was bound
 */
void graft_rebind(struct socket *sock, const struct graft_kind *kind,
		  const struct graft_home *home)
{
	union graft_sockaddr_inet uaddr;
	struct sock *sk = sock->sk;
	const struct cred *old;
	int len;

	if (!home->bound.port) {
		if (!graft_addr_is_any(&home->bound))
			graft_rebind_address(sk, home);
		return;
	}
	len = graft_addr_unparse(&home->bound, sk, &uaddr);
	if (len < 0)
		return;
	old = override_creds(graft_bind_cred);
	if (!kind->native->bind(sock, (struct graft_sockaddr *)&uaddr, len)) {
		lock_sock(sk);
		sk->sk_userlocks &= ~(SOCK_BINDADDR_LOCK | SOCK_BINDPORT_LOCK);
		sk->sk_userlocks |= home->locks;
		release_sock(sk);
	}
	revert_creds(old);
}

int graft_bind_init(void)
{
	struct cred *cred = prepare_kernel_cred(&init_task);

	if (!cred)
		return -ENOMEM;
	cap_clear(cred->cap_effective);
	cap_raise(cred->cap_effective, CAP_NET_BIND_SERVICE);
	cap_raise(cred->cap_effective, CAP_NET_ADMIN);
	graft_bind_cred = cred;
	return 0;
}

void graft_bind_exit(void)
{
	put_cred(graft_bind_cred);
}
