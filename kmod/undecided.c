// SPDX-License-Identifier: GPL-2.0
/*
 * Operations of a door 2 socket before its decision.
 *
 * Each control call takes the decision lock, sees whether the socket is still
 * undecided, and if not goes on to whatever operations it has got. Options too
 * are set under that lock: none may slip in between the inspection of a socket
 * and its move.
 *
 * A socket that goes native gives its hold on the module to the call that decided
 * so, which puts it when it is done. Another call may be waiting for the lock
 * meanwhile, and so holds the module itself. Who gets the lock without waiting
 * needs no hold: an undecided socket that is locked keeps the module, and so does
 * a grafted one.
 */

#include <linux/module.h>
#include <linux/tcp.h>

#include "bind.h"
#include "decide.h"
#include "grafted.h"
#include "held.h"
#include "options.h"
#include "rules.h"

/*
 * Begin a control call. Return: true with the decision lock held where the
 * socket is undecided; false without it where it is decided by now.
 */
static bool graft_undecided_lock(struct socket *sock)
{
	graft_decision_lock(sock);
	if (graft_is_undecided(sock->ops))
		return true;
	graft_decision_unlock(sock);
	return false;
}

/* The same for who does not hold the module; false also where it would wait. */
static bool graft_undecided_trylock(struct socket *sock)
{
	if (!inode_trylock(SOCK_INODE(sock)))
		return false;
	if (likely(graft_is_undecided(sock->ops)))
		return true;
	graft_decision_unlock(sock);
	return false;
}

/* Run @call on @sock while holding the module; see the top. */
#define graft_holding_module(call) ({					\
	int __ret = -EAGAIN;						\
									\
	if (try_module_get(THIS_MODULE)) {				\
		__ret = (call);						\
		module_put(THIS_MODULE);				\
	}								\
	__ret;								\
})

static const struct proto_ops *graft_native_ops(const struct socket *sock)
{
	return graft_kind(sock->sk->sk_family, sock->sk->sk_type)->native;
}

/*
 * Read what a program wants to be bound to, as the native bind is going to: IPv4
 * takes AF_UNSPEC with no address for AF_INET, IPv6 its own family alone, and no
 * IPv4-mapped address where the socket is IPv6's only.
 */
static bool graft_bind_parse(struct graft_addr *a, const struct sock *sk,
			     const struct graft_sockaddr *uaddr, int len)
{
	const struct sockaddr_in *in = (const struct sockaddr_in *)uaddr;

	if (len < (int)sizeof(uaddr->sa_family))
		return false;
	if (uaddr->sa_family == sk->sk_family)
		return !graft_addr_parse(a, sk, uaddr, len) &&
		       !(a->family == AF_INET && ipv6_only_sock(sk));
	if (uaddr->sa_family != AF_UNSPEC || sk->sk_family != AF_INET ||
	    len < (int)sizeof(*in) || in->sin_addr.s_addr)
		return false;
	*a = (struct graft_addr){
		.family = AF_INET,
		.port = ntohs(in->sin_port),
	};
	return true;
}

/* The decision lock is held. Return: an enum graft_outcome, or an errno. */
static __always_inline int __graft_undecided_bind(struct socket *sock,
						  struct graft_sockaddr *uaddr,
						  int len)
{
	const struct graft_kind *kind = graft_kind_undecided(sock->ops);
	struct graft_addr a __graft_uninitialized;
	int out = GRAFT_OUT_OPEN;

	/* what cannot be read, or is bound, the native bind refuses */
	if (!inet_sk(sock->sk)->inet_num &&
	    graft_bind_parse(&a, sock->sk, uaddr, len))
		out = graft_decide_bind(sock, kind, &a);
	if (out == GRAFT_OUT_OPEN)
		out = kind->native->bind(sock, uaddr, len) ?: GRAFT_OUT_OPEN;
	return out;
}

static noinline int graft_undecided_bind_waiting(struct socket *sock,
						 struct graft_sockaddr *uaddr,
						 int len)
{
	int out;

	if (graft_undecided_lock(sock)) {
		out = __graft_undecided_bind(sock, uaddr, len);
		graft_decision_unlock(sock);
		if (out == GRAFT_OUT_NATIVE)
			module_put(THIS_MODULE); /* there is another */
		else
			return min(out, 0);
	}
	return READ_ONCE(sock->ops)->bind(sock, uaddr, len);
}

static int graft_undecided_bind(struct socket *sock, struct graft_sockaddr *uaddr,
				int len)
{
	int out;

	if (unlikely(!graft_undecided_trylock(sock)))
		return graft_holding_module(graft_undecided_bind_waiting(sock,
									 uaddr,
									 len));
	out = __graft_undecided_bind(sock, uaddr, len);
	graft_decision_unlock(sock);
	if (out != GRAFT_OUT_NATIVE)
		return min(out, 0);
	out = READ_ONCE(sock->ops)->bind(sock, uaddr, len);
	module_put(THIS_MODULE);
	return out;
}

/* The decision lock is held. Return: an enum graft_outcome, or an errno. */
static int __graft_undecided_destination(struct socket *sock, const void *uaddr,
					 int len)
{
	struct graft_addr dst;

	if (graft_addr_parse(&dst, sock->sk, uaddr, len))
		return GRAFT_OUT_OPEN;
	return graft_decide_destination(sock, graft_kind_undecided(sock->ops),
					&dst);
}

/*
 * Decide for a destination, if the socket is still undecided.
 *
 * Return: GRAFT_OUT_GRAFTED where this call grafted it, for this destination;
 * GRAFT_OUT_NATIVE where its present operations are to be asked;
 * GRAFT_OUT_OPEN where nothing is decided, because the native call is going to
 * refuse such an address; or an errno.
 */
static int graft_undecided_destination(struct socket *sock, const void *uaddr,
				       int len)
{
	int out;

	if (!graft_undecided_lock(sock))
		return GRAFT_OUT_NATIVE;
	out = __graft_undecided_destination(sock, uaddr, len);
	graft_decision_unlock(sock);
	if (out == GRAFT_OUT_NATIVE)
		module_put(THIS_MODULE); /* there is another */
	return out;
}

/*
 * A connect that decides nothing. Should the socket have been decided in the
 * meantime, its operations know what to do.
 */
static int graft_undecided_refused(struct socket *sock, struct graft_sockaddr *uaddr,
				   int len, int flags)
{
	int err;

	if (!graft_undecided_lock(sock))
		return READ_ONCE(sock->ops)->connect(sock, uaddr, len, flags);
	err = graft_native_ops(sock)->connect(sock, uaddr, len, flags);
	graft_decision_unlock(sock);
	return err;
}

static int graft_undecided_connect_waiting(struct socket *sock,
					   struct graft_sockaddr *uaddr, int len,
					   int flags)
{
	int out = GRAFT_OUT_OPEN;

	if (len >= (int)sizeof(uaddr->sa_family) &&
	    uaddr->sa_family != AF_UNSPEC)
		out = graft_undecided_destination(sock, uaddr, len);
	switch (out) {
	case GRAFT_OUT_GRAFTED:
		return graft_connect_host(sock, uaddr, len, flags);
	case GRAFT_OUT_NATIVE:
		return READ_ONCE(sock->ops)->connect(sock, uaddr, len, flags);
	case GRAFT_OUT_OPEN: /* a disconnect, or an address that is refused */
		return graft_undecided_refused(sock, uaddr, len, flags);
	}
	return out;
}

static int graft_undecided_connect(struct socket *sock, struct graft_sockaddr *uaddr,
				   int len, int flags)
{
	int out;

	if (unlikely(len < (int)sizeof(uaddr->sa_family) ||
		     uaddr->sa_family == AF_UNSPEC ||
		     !graft_undecided_trylock(sock)))
		goto wait;
	out = __graft_undecided_destination(sock, uaddr, len);
	graft_decision_unlock(sock);
	switch (out) {
	case GRAFT_OUT_GRAFTED:
		return graft_connect_host(sock, uaddr, len, flags);
	case GRAFT_OUT_NATIVE:
		out = READ_ONCE(sock->ops)->connect(sock, uaddr, len, flags);
		module_put(THIS_MODULE);
		return out;
	case GRAFT_OUT_OPEN:
		goto wait;
	}
	return out;

wait:
	return graft_holding_module(graft_undecided_connect_waiting(sock, uaddr,
								    len, flags));
}

static int __graft_undecided_listen(struct socket *sock, int backlog)
{
	int out;

	if (graft_undecided_lock(sock)) {
		out = graft_decide_listen(sock,
					  graft_kind_undecided(sock->ops));
		graft_decision_unlock(sock);
		if (out < 0)
			return out;
		if (out == GRAFT_OUT_NATIVE)
			module_put(THIS_MODULE); /* there is another */
	}
	return READ_ONCE(sock->ops)->listen(sock, backlog);
}

static int graft_undecided_listen(struct socket *sock, int backlog)
{
	return graft_holding_module(__graft_undecided_listen(sock, backlog));
}

/*
 * A send that decides nothing. Not outside the lock: it may bind the socket, and
 * must not begin here and end on a grafted one.
 */
static int __graft_undecided_unaddressed(struct socket *sock,
					 struct msghdr *msg, size_t size)
{
	int err;

	if (!graft_undecided_lock(sock))
		return READ_ONCE(sock->ops)->sendmsg(sock, msg, size);
	err = graft_native_ops(sock)->sendmsg(sock, msg, size);
	graft_decision_unlock(sock);
	return err;
}

static int __graft_undecided_sendmsg(struct socket *sock, struct msghdr *msg,
				     size_t size)
{
	int out;

	out = graft_undecided_destination(sock, msg->msg_name,
					  msg->msg_namelen);
	if (out < 0)
		return out;
	if (out == GRAFT_OUT_OPEN)
		return __graft_undecided_unaddressed(sock, msg, size);
	return READ_ONCE(sock->ops)->sendmsg(sock, msg, size);
}

/* The first addressed send decides. */
static int graft_undecided_dgram_sendmsg(struct socket *sock,
					 struct msghdr *msg, size_t size)
{
	const struct sockaddr *name = msg->msg_name;

	/* without an address there is nothing to decide, nor to send to */
	if (!name || (name->sa_family == AF_UNSPEC &&
		      sock->sk->sk_family == AF_INET6))
		return graft_holding_module(__graft_undecided_unaddressed(sock,
									  msg,
									  size));
	return graft_holding_module(__graft_undecided_sendmsg(sock, msg, size));
}

/* Fast open connects from within a send. */
static int graft_undecided_stream_sendmsg(struct socket *sock,
					  struct msghdr *msg, size_t size)
{
	if (!(msg->msg_flags & MSG_FASTOPEN) || !msg->msg_name)
		return graft_holding_module(graft_native_ops(sock)->sendmsg(sock,
									    msg,
									    size));
	return graft_holding_module(__graft_undecided_sendmsg(sock, msg, size));
}

/* Take the rules of one socket; they last until the decision. */
static int graft_undecided_rules(struct socket *sock, sockptr_t optval,
				 unsigned int optlen)
{
	struct graft_socket *gs;
	struct graft_rules *rules;

	rules = graft_option_rules(optval, optlen);
	if (IS_ERR(rules))
		return PTR_ERR(rules);

	if (!graft_undecided_lock(sock)) {
		graft_rules_free(rules);
		return -EISCONN;
	}
	gs = graft_socket_of(sock);
	if (!gs) {
		gs = graft_socket_alloc(graft_table(sock_net(sock->sk)));
		if (!gs) {
			graft_decision_unlock(sock);
			graft_rules_free(rules);
			return -ENOMEM;
		}
		graft_socket_attach(sock, gs);
	}
	swap(gs->rules, rules);
	graft_decision_unlock(sock);
	graft_rules_free(rules);
	return 0;
}

/*
 * kTLS builds its global tables from the operations of the first socket that
 * asks for it, so it must never see ours. ADDRFORM replaces operations and
 * protocol. Programs take the answer as "not on this system".
 */
static bool graft_option_before_decision(int level, int optname)
{
	return !(level == SOL_TCP && optname == TCP_ULP) &&
	       !(level == SOL_IPV6 && optname == IPV6_ADDRFORM);
}

static int __graft_undecided_setsockopt(struct socket *sock, int level,
					int optname, sockptr_t optval,
					unsigned int optlen)
{
	const struct proto_ops *native;
	int err;

	if (level == IPPROTO_GRAFT)
		return optname == GRAFT_SO_RULES ?
			       graft_undecided_rules(sock, optval, optlen) :
			       -ENOPROTOOPT;
	if (!graft_undecided_lock(sock)) {
		if (level == SOL_SOCKET)
			return graft_set_sol_socket(sock, optname, optval,
						    optlen);
		return READ_ONCE(sock->ops)->setsockopt(sock, level, optname,
							optval, optlen);
	}
	native = graft_kind_undecided(sock->ops)->native;
	if (!graft_option_before_decision(level, optname))
		err = -ENOPROTOOPT;
	else if (level == SOL_SOCKET)
		err = sock_setsockopt(sock, level, optname, optval, optlen);
	else
		err = native->setsockopt(sock, level, optname, optval, optlen);
	graft_decision_unlock(sock);
	return err;
}

static int graft_undecided_setsockopt(struct socket *sock, int level,
				      int optname, sockptr_t optval,
				      unsigned int optlen)
{
	return graft_holding_module(__graft_undecided_setsockopt(sock, level,
								 optname, optval,
								 optlen));
}

static int graft_undecided_getsockopt(struct socket *sock, int level,
				      int optname, char __user *optval,
				      int __user *optlen)
{
	if (level == IPPROTO_GRAFT)
		return graft_holding_module(graft_option_get(NULL,
							     GRAFT_STATE_UNDECIDED,
							     optname, optval,
							     optlen));
	return graft_holding_module(graft_native_ops(sock)->getsockopt(sock,
								       level,
								       optname,
								       optval,
								       optlen));
}

/* Under the lock: a device ioctl must not begin here and end in the target. */
static int __graft_undecided_ioctl(struct socket *sock, unsigned int cmd,
				   unsigned long arg, bool compat)
{
	const struct proto_ops *ops;
	bool locked = graft_undecided_lock(sock);
	int err = -ENOIOCTLCMD;

	ops = locked ? graft_kind_undecided(sock->ops)->native :
		       READ_ONCE(sock->ops);
	if (!compat)
		err = ops->ioctl(sock, cmd, arg);
#ifdef CONFIG_COMPAT
	else if (ops->compat_ioctl)
		err = ops->compat_ioctl(sock, cmd, arg);
#endif
	if (locked)
		graft_decision_unlock(sock);
	return err;
}

static int graft_undecided_ioctl(struct socket *sock, unsigned int cmd,
				 unsigned long arg)
{
	return graft_holding_module(__graft_undecided_ioctl(sock, cmd, arg,
							    false));
}

#ifdef CONFIG_COMPAT
static int graft_undecided_compat_ioctl(struct socket *sock, unsigned int cmd,
					unsigned long arg)
{
	return graft_holding_module(__graft_undecided_ioctl(sock, cmd, arg,
							    true));
}
#endif

/*
 * accept() takes the child's operations before it calls this. A socket that was
 * undecided then did not listen, whatever it does by now.
 */
static int graft_undecided_accept(struct socket *sock, struct socket *newsock,
				  GRAFT_ACCEPT_PARAMS)
{
	return -EINVAL;
}

static int graft_undecided_release(struct socket *sock)
{
	struct graft_socket *gs = graft_socket_of(sock);

	/* An accept that failed: the child got our operations, and no sock. */
	if (!sock->sk)
		return 0;
	if (gs) {
		graft_socket_attach(sock, NULL);
		graft_socket_free(gs);
	}
	return graft_native_ops(sock)->release(sock);
}

bool graft_is_undecided(const struct proto_ops *ops)
{
	return READ_ONCE(ops)->release == graft_undecided_release;
}

/**
 * graft_undecided_ops - put these operations over a copy of the native ones
 * @ops: the copy
 * @type: SOCK_STREAM or SOCK_DGRAM
 */
void graft_undecided_ops(struct proto_ops *ops, u16 type)
{
	ops->release = graft_undecided_release;
	ops->bind = graft_undecided_bind;
	ops->connect = graft_undecided_connect;
	ops->listen = graft_undecided_listen;
	ops->setsockopt = graft_undecided_setsockopt;
	ops->getsockopt = graft_undecided_getsockopt;
	ops->ioctl = graft_undecided_ioctl;
#ifdef CONFIG_COMPAT
	ops->compat_ioctl = graft_undecided_compat_ioctl;
#endif
	graft_getsockopt_only(ops);
	graft_sendpage_to_sendmsg(ops);
	if (type == SOCK_STREAM)
		ops->accept = graft_undecided_accept;
	ops->sendmsg = type == SOCK_STREAM ? graft_undecided_stream_sendmsg :
					     graft_undecided_dgram_sendmsg;
}
