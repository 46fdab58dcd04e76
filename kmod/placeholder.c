// SPDX-License-Identifier: GPL-2.0
/*
 * Door 1, before the bind: a sock of family AF_GRAFT that can be given options,
 * polled and closed, and waits for an endpoint's name.
 *
 * Options of level SOL_SOCKET are set on the sock itself, by the kernel or by us,
 * and copied by the re-seat. Those of other levels, and a few of that one, mean
 * something to the host socket alone: they are kept and set on it in the same
 * order.
 */

#include <linux/module.h>
#include <linux/poll.h>
#include <linux/slab.h>

#include "family.h"
#include "grafted.h"
#include "options.h"
#include "placeholder.h"
#include "reseat.h"

static struct proto graft_placeholder_proto = {
	.name		= "GRAFT",
	.owner		= THIS_MODULE,
	.obj_size	= sizeof(struct graft_placeholder),
};

/*
 * What comes from a cache with a constructor is not zeroed by the allocator.
 * sk_alloc() zeroes every sock itself.
 */
static void graft_placeholder_ctor(void *object)
{
}

/* See graft_undecided_lock(). */
static bool graft_placeholder_lock(struct socket *sock)
{
	graft_decision_lock(sock);
	if (sock->ops == &graft_placeholder_ops)
		return true;
	graft_decision_unlock(sock);
	return false;
}

static int graft_placeholder_bind(struct socket *sock, struct graft_sockaddr *uaddr,
				  int len)
{
	int err;

	if (!graft_placeholder_lock(sock))
		return -EINVAL;
	err = graft_reseat_bind(sock, uaddr, len);
	graft_decision_unlock(sock);
	return err;
}

/*
 * Connecting to a unix endpoint by name is the one connect that needs no bind.
 */
static int graft_placeholder_connect(struct socket *sock,
				     struct graft_sockaddr *uaddr, int len, int flags)
{
	int err;

	if (!graft_placeholder_lock(sock))
		return READ_ONCE(sock->ops)->connect(sock, uaddr, len, flags);
	err = graft_reseat_connect(sock, uaddr, len);
	graft_decision_unlock(sock);
	if (err)
		return err;
	return READ_ONCE(sock->ops)->connect(sock, uaddr, len, flags);
}

static int graft_placeholder_getname(struct socket *sock,
				     struct sockaddr *uaddr, int peer)
{
	struct sockaddr_gr *gr = (struct sockaddr_gr *)uaddr;

	if (peer)
		return -ENOTCONN;
	memset(gr, 0, sizeof(*gr));
	gr->sgr_family = sock->sk->sk_family;
	return offsetof(struct sockaddr_gr, sgr_epname) + 1;
}

static __poll_t graft_placeholder_poll(struct file *file, struct socket *sock,
				       poll_table *wait)
{
	sock_poll_wait(file, sock, wait);
	/* as an unconnected socket of its type answers */
	return sock->type == SOCK_STREAM ? EPOLLOUT | EPOLLWRNORM | EPOLLHUP :
					   EPOLLOUT | EPOLLWRNORM;
}

static int graft_placeholder_ioctl(struct socket *sock, unsigned int cmd,
				   unsigned long arg)
{
	return graft_ioctl_allowed(cmd) ? -EINVAL : -EPERM;
}

static int graft_placeholder_listen(struct socket *sock, int backlog)
{
	if (sock->ops != &graft_placeholder_ops)
		return READ_ONCE(sock->ops)->listen(sock, backlog);
	return sock->type == SOCK_STREAM ? -EDESTADDRREQ : -EOPNOTSUPP;
}

static int graft_placeholder_accept(struct socket *sock, struct socket *newsock,
				    GRAFT_ACCEPT_PARAMS)
{
	return -EINVAL;
}

static int graft_placeholder_shutdown(struct socket *sock, int how)
{
	return -ENOTCONN;
}

/* Keep an option for the host socket; the decision lock is held. */
static int graft_option_keep(struct graft_placeholder *ph, int level,
			     int optname, sockptr_t optval,
			     unsigned int optlen)
{
	struct graft_option *option, *old;

	if (optlen > GRAFT_OPTION_SIZE)
		return -EINVAL;
	option = kmalloc(struct_size(option, value, optlen),
			 GFP_KERNEL_ACCOUNT);
	if (!option)
		return -ENOMEM;
	option->level = level;
	option->optname = optname;
	option->len = optlen;
	if (copy_from_sockptr(option->value, optval, optlen)) {
		kfree(option);
		return -EFAULT;
	}

	list_for_each_entry(old, &ph->options, list) {
		if (old->level == level && old->optname == optname) {
			list_del(&old->list);
			kfree(old);
			ph->n_options--;
			break;
		}
	}
	if (ph->n_options >= GRAFT_OPTIONS_MAX) {
		kfree(option);
		return -ENOBUFS;
	}
	list_add_tail(&option->list, &ph->options);
	ph->n_options++;
	return 0;
}

static int graft_placeholder_setsockopt(struct socket *sock, int level,
					int optname, sockptr_t optval,
					unsigned int optlen)
{
	int err;

	if (!graft_option_allowed(level, optname))
		return -ENOPROTOOPT;
	if (!graft_placeholder_lock(sock)) {
		if (level == SOL_SOCKET)
			return graft_set_sol_socket(sock, optname, optval,
						    optlen);
		return READ_ONCE(sock->ops)->setsockopt(sock, level, optname,
							optval, optlen);
	}
	/* these two are for families that know them, as the host socket's does */
	if (level == SOL_SOCKET && optname != SO_ZEROCOPY &&
	    optname != SO_REUSEPORT)
		err = sock_setsockopt(sock, level, optname, optval, optlen);
	else
		err = graft_option_keep(graft_placeholder(sock->sk), level,
					optname, optval, optlen);
	graft_decision_unlock(sock);
	return err;
}

static int graft_placeholder_getsockopt(struct socket *sock, int level,
					int optname, char __user *optval,
					int __user *optlen)
{
	const struct graft_option *option;
	int len, err = -ENOPROTOOPT;

	if (level == IPPROTO_GRAFT)
		return graft_option_get(NULL, GRAFT_STATE_UNDECIDED, optname,
					optval, optlen);
	if (!graft_placeholder_lock(sock))
		return READ_ONCE(sock->ops)->getsockopt(sock, level, optname,
							optval, optlen);
	list_for_each_entry(option, &graft_placeholder(sock->sk)->options,
			    list) {
		if (option->level != level || option->optname != optname)
			continue;
		err = -EFAULT;
		if (get_user(len, optlen))
			break;
		len = min_t(unsigned int, len, option->len);
		if (!put_user(len, optlen) &&
		    !copy_to_user(optval, option->value, len))
			err = 0;
		break;
	}
	graft_decision_unlock(sock);
	return err;
}

/* Without a bind there is neither a peer nor an address to send from. */
static int graft_placeholder_sendmsg(struct socket *sock, struct msghdr *msg,
				     size_t size)
{
	if (sock->ops != &graft_placeholder_ops)
		return READ_ONCE(sock->ops)->sendmsg(sock, msg, size);
	return -ENOTCONN;
}

static int graft_placeholder_recvmsg(struct socket *sock, struct msghdr *msg,
				     size_t size, int flags)
{
	if (sock->ops != &graft_placeholder_ops)
		return READ_ONCE(sock->ops)->recvmsg(sock, msg, size, flags);
	return -ENOTCONN;
}

static void graft_placeholder_destruct(struct sock *sk)
{
	struct graft_placeholder *ph = graft_placeholder(sk);
	struct graft_option *option, *next;

	list_for_each_entry_safe(option, next, &ph->options, list)
		kfree(option);
}

static int graft_placeholder_release(struct socket *sock)
{
	struct sock *sk = sock->sk;

	if (sk) {
		sock_orphan(sk);
		sock->sk = NULL;
		sock_put(sk);
	}
	return 0;
}

const struct proto_ops graft_placeholder_ops = {
	.family		= PF_GRAFT,
	.owner		= THIS_MODULE,
	.release	= graft_placeholder_release,
	.bind		= graft_placeholder_bind,
	.connect	= graft_placeholder_connect,
	.socketpair	= sock_no_socketpair,
	.accept		= graft_placeholder_accept,
	.getname	= graft_placeholder_getname,
	.poll		= graft_placeholder_poll,
	.ioctl		= graft_placeholder_ioctl,
	.listen		= graft_placeholder_listen,
	.shutdown	= graft_placeholder_shutdown,
	.setsockopt	= graft_placeholder_setsockopt,
	.getsockopt	= graft_placeholder_getsockopt,
	.sendmsg	= graft_placeholder_sendmsg,
	.recvmsg	= graft_placeholder_recvmsg,
	.mmap		= sock_no_mmap,
};

/**
 * graft_placeholder_create - make an AF_GRAFT socket
 * @net: the caller's namespace
 * @sock: the socket
 * @protocol: 0, IPPROTO_TCP for a stream or IPPROTO_UDP for datagrams
 * @kern: made by the kernel
 *
 * Return: 0, -ESOCKTNOSUPPORT, -EPROTONOSUPPORT or -ENOMEM.
 */
int graft_placeholder_create(struct net *net, struct socket *sock,
			     int protocol, int kern)
{
	struct sock *sk;

	switch (sock->type) {
	case SOCK_STREAM:
		if (protocol && protocol != IPPROTO_TCP)
			return -EPROTONOSUPPORT;
		break;
	case SOCK_DGRAM:
		if (protocol && protocol != IPPROTO_UDP)
			return -EPROTONOSUPPORT;
		break;
	default:
		return -ESOCKTNOSUPPORT;
	}

	sk = sk_alloc(net, graft_family(), GFP_KERNEL,
		      &graft_placeholder_proto, kern);
	if (!sk)
		return -ENOMEM;
	INIT_LIST_HEAD(&graft_placeholder(sk)->options);
	sock_init_data(sock, sk);
	sk->sk_destruct = graft_placeholder_destruct;
	sk->sk_protocol = protocol;
	sock->ops = &graft_placeholder_ops;
	sock->state = SS_UNCONNECTED;
	graft_route_sol_socket(sock, true);
	return 0;
}

int graft_placeholder_init(void)
{
	struct proto *prot = &graft_placeholder_proto;
	int err;

	prot->slab = kmem_cache_create("graft_placeholder", prot->obj_size, 0,
				       SLAB_HWCACHE_ALIGN | SLAB_ACCOUNT,
				       graft_placeholder_ctor);
	if (!prot->slab)
		return -ENOMEM;
	err = proto_register(prot, 0);
	if (err)
		kmem_cache_destroy(prot->slab);
	return err;
}

/* This also destroys the cache. */
void graft_placeholder_exit(void)
{
	proto_unregister(&graft_placeholder_proto);
}
