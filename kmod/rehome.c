// SPDX-License-Identifier: GPL-2.0
/*
 * Door 2: the socket itself moves to the target namespace.
 *
 * Only a socket that is closed and holds no port can move, for then nothing in
 * the stack refers to it by its namespace: it is in no hash table, has no route,
 * no timer runs. One that was bound natively gives its port back first, under
 * the same lock. Whatever the program did to the socket stays done, which is why
 * it is inspected here and nowhere else.
 */

#include <linux/netdevice.h>
#include <net/inet_connection_sock.h>
#include <net/inet_hashtables.h>
#include <net/tcp.h>

#include "bind.h"
#include "inspect.h"
#include "rehome.h"

/*
 * Give a bound socket's port and address back; @sk is locked and in TCP_CLOSE.
 * A socket can have an address without a port (IP_BIND_ADDRESS_NO_PORT, or a
 * disconnect), and packets would carry it.
 */
void graft_unbind(struct sock *sk)
{
	struct inet_sock *inet = inet_sk(sk);

	if (!inet->inet_num)
		; /* in no table */
	else if (sk->sk_prot->put_port)
		sk->sk_prot->put_port(sk);
	else
		sk->sk_prot->unhash(sk); /* UDP keeps port and hash together */
	sk->sk_userlocks &= ~(SOCK_BINDADDR_LOCK | SOCK_BINDPORT_LOCK);
	inet->inet_num = 0;
	inet->inet_sport = 0;
	inet->inet_rcv_saddr = 0;
	inet->inet_saddr = 0;
#if IS_ENABLED(CONFIG_IPV6)
	if (sk->sk_family == AF_INET6) {
		sk->sk_v6_rcv_saddr = in6addr_any;
		inet6_sk(sk)->saddr = in6addr_any;
	}
#endif
}

/*
 * Count @sk in @net instead of its own namespace. Takes over the caller's
 * reference to @net and drops the one that the sock had; the caller sees to it
 * that the old namespace is held besides.
 */
static __always_inline void graft_sock_move(struct sock *sk, struct net *net)
{
	struct net *old = sock_net(sk);

	sock_inuse_add(old, -1);
	graft_netns_tracker_free(old, &sk->ns_tracker);
	sock_net_set(sk, net);
	netns_tracker_alloc(net, &sk->ns_tracker, GFP_KERNEL);
	sock_inuse_add(net, 1);
	put_net(old);

	if (unlikely(rcu_access_pointer(sk->sk_dst_cache)))
		sk_dst_reset(sk);
	/* of multicast that it received before it left the group */
	if (unlikely(rcu_access_pointer(sk->sk_rx_dst)))
		dst_release(rcu_dereference_protected(xchg(&sk->sk_rx_dst, NULL),
						      true));
}

/*
 * A size that the program has set stays, but for what is beyond the target's: the
 * container's own namespace has no such bounds for one that is merely locked.
 */
static int graft_buffer_size(int size, bool locked, const int limits[3])
{
	return locked ? min(size, READ_ONCE(limits[2])) : READ_ONCE(limits[1]);
}

/* Values that the program never set are the target's. */
static __always_inline void graft_sock_defaults(struct sock *sk)
{
	const struct netns_ipv4 *ipv4 = &sock_net(sk)->ipv4;

	if (sk->sk_protocol != IPPROTO_TCP)
		return;
	WRITE_ONCE(sk->sk_sndbuf,
		   graft_buffer_size(sk->sk_sndbuf,
				     sk->sk_userlocks & SOCK_SNDBUF_LOCK,
				     ipv4->sysctl_tcp_wmem));
	WRITE_ONCE(sk->sk_rcvbuf,
		   graft_buffer_size(sk->sk_rcvbuf,
				     sk->sk_userlocks & SOCK_RCVBUF_LOCK,
				     ipv4->sysctl_tcp_rmem));
	tcp_sk(sk)->reordering = READ_ONCE(ipv4->sysctl_tcp_reordering);
}

/*
 * The target's congestion control, where the program chose none. Rarely
 * another than the origin's, so what it costs does not matter.
 */
static noinline void __graft_sock_congestion(struct sock *sk)
{
	char name[TCP_CA_NAME_MAX];
	const struct cred *old;

	rcu_read_lock();
	strscpy(name, rcu_dereference(sock_net(sk)->ipv4.tcp_congestion_control)
			->name, sizeof(name));
	rcu_read_unlock();
	old = override_creds(graft_bind_cred);
	if (!sk->sk_prot->setsockopt(sk, SOL_TCP, TCP_CONGESTION,
				     KERNEL_SOCKPTR(name), strlen(name))) {
		lock_sock(sk);
		inet_csk(sk)->icsk_ca_setsockopt = 0;
		release_sock(sk);
	}
	revert_creds(old);
}

static void graft_sock_congestion(struct sock *sk)
{
	const struct tcp_congestion_ops *ca;

	ca = rcu_access_pointer(sock_net(sk)->ipv4.tcp_congestion_control);
	if (unlikely(!inet_csk(sk)->icsk_ca_setsockopt &&
		     ca != inet_csk(sk)->icsk_ca_ops))
		__graft_sock_congestion(sk);
}

/**
 * graft_find_device - find the device that an endpoint names
 * @target: its target
 * @device: the name
 * @why: the refusal, where one is returned
 *
 * Return: the index, or -EADDRNOTAVAIL.
 */
int graft_find_device(struct net *target, const char *device,
		      struct graft_why *why)
{
	struct net_device *dev;
	int ifindex;

	rcu_read_lock();
	dev = dev_get_by_name_rcu(target, device);
	ifindex = dev ? dev->ifindex : 0;
	rcu_read_unlock();
	return ifindex ?: graft_refuse(why, GRAFT_REASON_ADDRESS,
				       -EADDRNOTAVAIL,
				       "the endpoint's device is not in the target");
}

/* Has @sk a local port or address? */
static bool graft_is_bound(const struct sock *sk)
{
	const struct inet_sock *inet = inet_sk(sk);

	if (inet->inet_num || inet->inet_rcv_saddr || inet->inet_saddr)
		return true;
#if IS_ENABLED(CONFIG_IPV6)
	return sk->sk_family == AF_INET6 &&
	       !(ipv6_addr_any(&sk->sk_v6_rcv_saddr) &&
		 ipv6_addr_any(&inet6_sk(sk)->saddr));
#else
	return false;
#endif
}

/*
 * A closed sock that is in no table is reached by calls on its socket alone, and
 * where options pass us, all that change it have the decision lock. Every other
 * one has to be locked.
 */
static bool graft_rehome_lock(struct sock *sk)
{
	bool needed = !GRAFT_HAS_SOL_SOCKET || inet_sk(sk)->inet_num ||
		      READ_ONCE(sk->sk_state) != TCP_CLOSE;

	if (unlikely(needed))
		lock_sock(sk);
	return needed;
}

static void graft_rehome_unlock(struct sock *sk, bool locked)
{
	if (unlikely(locked))
		release_sock(sk);
}

/**
 * graft_rehome - move a door 2 socket to its target
 * @sock: the socket, its decision lock held
 * @kind: its kind
 * @target: the target; its reference goes to the sock on success
 * @conf: the endpoint's configuration
 * @ifindex: the endpoint's device
 * @home: filled in for graft_rehome_undo()
 * @why: the refusal, where one is returned
 *
 * The caller holds the namespace that the socket comes from.
 *
 * Return: 0, or -EOPNOTSUPP for a socket that carries what may not come along.
 */
int graft_rehome(struct socket *sock, const struct graft_kind *kind,
		 struct net *target, const struct graft_ep_conf *conf,
		 int ifindex, struct graft_home *home, struct graft_why *why)
{
	struct sock *sk = sock->sk;
	const char *detail;
	bool locked;

	locked = graft_rehome_lock(sk);
	home->bound = (struct graft_addr){ .family = AF_INET };
	home->locks = sk->sk_userlocks &
		      (SOCK_BINDADDR_LOCK | SOCK_BINDPORT_LOCK);
	home->reuse = sk->sk_reuse;
	home->reuseport = sk->sk_reuseport;

	/* a natively bound reuseport socket leaves its group with its port */
	if (graft_is_bound(sk)) {
		graft_addr_local(&home->bound, sk);
		if (sk->sk_state == TCP_CLOSE &&
		    sk->sk_prot == kind->native_prot)
			graft_unbind(sk);
	}
	detail = graft_inspect(sk, kind);
	if (detail) {
		graft_rehome_unlock(sk, locked);
		graft_rebind(sock, kind, home);
		return graft_refuse(why, GRAFT_REASON_STATE, -EOPNOTSUPP,
				    detail);
	}

	graft_sock_move(sk, target);
	WRITE_ONCE(sk->sk_mark, conf->mark);
	WRITE_ONCE(sk->sk_bound_dev_if, ifindex);
	graft_sock_defaults(sk);
	graft_rehome_unlock(sk, locked);
	if (kind->type == SOCK_STREAM)
		graft_sock_congestion(sk);
	return 0;
}

/**
 * graft_rehome_undo - bring a socket back that could not be bound
 * @sock: the socket, its decision lock held
 * @kind: its kind
 * @origin: where it came from; a reference is taken
 * @home: from graft_rehome()
 *
 * Its native port is bound again. Should somebody have taken the port in this
 * moment, the socket is left without one, as after a bind that failed.
 */
void graft_rehome_undo(struct socket *sock, const struct graft_kind *kind,
		       struct net *origin, const struct graft_home *home)
{
	struct sock *sk = sock->sk;

	lock_sock(sk);
	graft_unbind(sk);
	WRITE_ONCE(sk->sk_mark, 0);
	WRITE_ONCE(sk->sk_bound_dev_if, 0);
	sk->sk_reuse = home->reuse;
	sk->sk_reuseport = home->reuseport;
	graft_sock_move(sk, get_net(origin));
	graft_sock_defaults(sk);
	release_sock(sk);
	if (kind->type == SOCK_STREAM)
		graft_sock_congestion(sk);
	graft_rebind(sock, kind, home);
}
