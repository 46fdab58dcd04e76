/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What differs between the kernels that are supported. No other file looks at
 * the kernel's version.
 */
#ifndef _GRAFT_COMPAT_H
#define _GRAFT_COMPAT_H

#include <linux/version.h>
#include <linux/net.h>
#include <linux/cred.h>
#include <net/inet_sock.h>
#include <net/sock.h>
#include <net/ipv6.h>
#include <net/net_namespace.h>
#include <net/genetlink.h>

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 1, 0)
#error "graft needs Linux 6.1 or later; earlier socket layers lack what it stands on."
#endif

/*
 * What is not seen in a header (who may replace operations, what a lock covers)
 * was checked up to here.
 */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(7, 4, 0) && !defined(GRAFT_UNTESTED_KERNEL)
#error "graft is tested up to Linux 7.3; make GRAFT_UNTESTED_KERNEL=1 builds it all the same."
#endif

#ifndef CONFIG_NET_NS
#error "graft needs a kernel with network namespaces (CONFIG_NET_NS)."
#endif

/* The address that bind and connect are handed; its length is never implied. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 19, 0)
#define graft_sockaddr	sockaddr_unsized
#else
#define graft_sockaddr	sockaddr
#endif

/* What accept() takes behind the two sockets. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 10, 0)
#define GRAFT_ACCEPT_PARAMS	struct proto_accept_arg *arg
#define GRAFT_ACCEPT_ARGS	arg
#else
#define GRAFT_ACCEPT_PARAMS	int flags, bool kern
#define GRAFT_ACCEPT_ARGS	flags, kern
#endif

/* Whether SOL_SOCKET options reach proto_ops->setsockopt. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 7, 0)
#define GRAFT_HAS_SOL_SOCKET	1
static inline void graft_route_sol_socket(struct socket *sock, bool to_ops)
{
	if (to_ops)
		set_bit(SOCK_CUSTOM_SOCKOPT, &sock->flags);
	else
		clear_bit(SOCK_CUSTOM_SOCKOPT, &sock->flags);
}
#else
#define GRAFT_HAS_SOL_SOCKET	0
static inline void graft_route_sol_socket(struct socket *sock, bool to_ops)
{
}
#endif

/* Options are read through getsockopt alone. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(7, 3, 0)
static inline void graft_getsockopt_only(struct proto_ops *ops)
{
	ops->getsockopt_iter = NULL;
}
#else
static inline void graft_getsockopt_only(struct proto_ops *ops)
{
}
#endif

/* What splice and sendfile send goes through sendmsg, where it is checked. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 5, 0)
static inline void graft_sendpage_to_sendmsg(struct proto_ops *ops)
{
}
#else
static inline void graft_sendpage_to_sendmsg(struct proto_ops *ops)
{
	ops->sendpage = sock_no_sendpage;
}
#endif

/* Flags of an inet socket: bit fields once, atomic bits since. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 6, 0)
#define graft_inet_transparent(sk)	inet_test_bit(TRANSPARENT, sk)
#define graft_inet_no_port(sk)		inet_test_bit(BIND_ADDRESS_NO_PORT, sk)
static inline void graft_inet_set_no_port(struct sock *sk, bool on)
{
	inet_assign_bit(BIND_ADDRESS_NO_PORT, sk, on);
}
#else
#define graft_inet_transparent(sk)	(inet_sk(sk)->transparent)
#define graft_inet_no_port(sk)		(inet_sk(sk)->bind_address_no_port)
static inline void graft_inet_set_no_port(struct sock *sk, bool on)
{
	lock_sock(sk);
	inet_sk(sk)->bind_address_no_port = on;
	release_sock(sk);
}
#endif

/* Where a socket keeps its flow labels. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 12, 0)
#define graft_flow_labels(sk)	rcu_access_pointer(inet_sk(sk)->ipv6_fl_list)
#else
#define graft_flow_labels(sk)	rcu_access_pointer(inet6_sk(sk)->ipv6_fl_list)
#endif

/* Whether a unix socket wants credentials with what it receives. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 16, 0)
#define graft_passes_credentials(sock)	((sock)->sk->sk_scm_credentials)
#else
#define graft_passes_credentials(sock)	test_bit(SOCK_PASSCRED, &(sock)->flags)
#endif

/* Forget a tracked reference to a namespace. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 2, 0)
#define graft_netns_tracker_free(net, tracker)	\
	__netns_tracker_free(net, tracker, true)
#else
#define graft_netns_tracker_free(net, tracker)	\
	netns_tracker_free(net, tracker)
#endif

/*
 * On kernels that do not route SOL_SOCKET through proto_ops, CAP_NET_RAW over
 * the target is enough to re-bind a grafted socket to another device.
 */
#define GRAFT_NET_RAW_IS_RISKY	(!GRAFT_HAS_SOL_SOCKET)

#endif /* _GRAFT_COMPAT_H */
