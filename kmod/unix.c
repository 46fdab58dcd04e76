// SPDX-License-Identifier: GPL-2.0
/*
 * Unix endpoints: abstract names of the target, for AF_GRAFT alone. A socket is
 * bound to its endpoint's name, and reaches others by the names of endpoints,
 * never by a name of the target's.
 *
 * The kernel's collector of descriptors in flight knows unix sockets by the
 * family in their operations. A socket that was counted as something else when
 * it was sent must not be one when it arrives, so the family here stays
 * AF_GRAFT, and descriptors are neither sent nor received over such sockets.
 */

#include <linux/cred.h>
#include <linux/module.h>
#include <linux/un.h>
#include <net/scm.h>

#include "abort.h"
#include "acl.h"
#include "event.h"
#include "grafted.h"
#include "options.h"
#include "reseat.h"
#include "unix.h"

static struct proto_ops graft_unix_stream_ops __ro_after_init;
static struct proto_ops graft_unix_dgram_ops __ro_after_init;

/* The operations of a grafted unix socket. */
const struct proto_ops *graft_unix_ops(u16 type)
{
	return type == SOCK_STREAM ? &graft_unix_stream_ops :
				     &graft_unix_dgram_ops;
}

static int graft_unix_address(struct sockaddr_un *sun, const char *path,
			      size_t len)
{
	sun->sun_family = AF_UNIX;
	sun->sun_path[0] = '\0';
	memcpy(sun->sun_path + 1, path, len);
	return offsetof(struct sockaddr_un, sun_path) + 1 + len;
}

/**
 * graft_unix_bind - bind a unix host socket to its endpoint's abstract name
 * @host: the socket
 * @conf: the endpoint's configuration
 * @why: the refusal, where one is returned
 */
int graft_unix_bind(struct socket *host, const struct graft_ep_conf *conf,
		    struct graft_why *why)
{
	struct sockaddr_un sun;
	int err;

	err = host->ops->bind(host, (struct graft_sockaddr *)&sun,
			      graft_unix_address(&sun, conf->path,
						 conf->path_len));
	if (err)
		graft_refuse(why, GRAFT_REASON_ADDRESS, err,
			     "the target refused the abstract name");
	return err;
}

/**
 * graft_unix_acl - may the task bind or connect to this unix endpoint?
 * @t: the table that rules the socket
 * @ep: the endpoint
 * @bind: bind, not connect
 * @verb: the verb that this is
 * @why: the refusal, where one is returned
 */
int graft_unix_acl(struct graft_table *t, const struct graft_endpoint *ep,
		   bool bind, u8 *verb, struct graft_why *why)
{
	bool local;

	*verb = bind ? GRAFT_VERB_LISTEN : GRAFT_VERB_CONNECT;
	if (graft_acl_allows(current_cred(), t, ep, bind ? GRAFT_ACL_LISTEN : GRAFT_ACL_CONNECT,
			     GRAFT_PROTO_ALL, NULL, &local))
		return 0;
	return graft_refuse(why, GRAFT_REASON_ACL, -EACCES,
			    "the ACL does not allow this endpoint");
}

/*
 * Find the abstract name that an endpoint's name stands for. Return: the length
 * of @sun, with a reference to the endpoint in @found, or -EACCES for what is not
 * a unix endpoint of the socket's own table and target.
 */
static int graft_unix_resolve(struct graft_socket *gs, struct sock *sk,
			      const void *uaddr, int len,
			      struct sockaddr_un *sun,
			      struct graft_endpoint **found)
{
	char path[GRAFT_UNIX_NAME_MAX];
	struct graft_why why = { };
	struct graft_ep_conf conf;
	struct graft_endpoint *ep;
	char name[GRAFT_NAME_MAX];
	int n, err;
	u8 verb;

	if (READ_ONCE(gs->revoked))
		return -EACCES;
	n = graft_epname_parse(uaddr, len, name);
	if (n == -EAFNOSUPPORT)
		return -EACCES; /* a name of the target's own */
	if (n < 0)
		return n;
	ep = graft_endpoint_get(gs->table, name, n);
	if (!ep)
		return -EADDRNOTAVAIL;

	graft_endpoint_conf(ep, &conf, path);
	err = graft_unix_acl(gs->table, ep, false, &verb, &why);
	if (!err && (conf.type != GRAFT_EP_UNIX ||
		     conf.target != sock_net(sk)))
		err = graft_refuse(&why, GRAFT_REASON_FAMILY, -EADDRNOTAVAIL,
				   "not a unix endpoint of the same target");
	if (err) {
		graft_event(GRAFT_EVENT_DENIED, &why, gs->table, sk, ep, NULL,
			    GRAFT_VERB_CONNECT, NULL);
		graft_endpoint_put(ep);
		return err;
	}
	atomic64_inc(&ep->connects);
	*found = ep;
	return graft_unix_address(sun, path, conf.path_len);
}

/*
 * Note whom a socket is connected to, so that aborts find it: @ep, whose reference
 * this takes over, or nobody. An abort that passed since the count was @aborts
 * may not have seen it.
 */
static int graft_unix_connected(struct graft_socket *gs, struct socket *sock,
				struct graft_endpoint *ep, s64 aborts)
{
	graft_decision_lock(sock);
	swap(gs->peer, ep);
	/* pairs with graft_abort_count(), as in graft_connected() */
	smp_mb();
	if (gs->revoked ||
	    (gs->peer && atomic64_read(&gs->table->aborts) != aborts &&
	     graft_abort_since(gs, sock, gs->peer, aborts)))
		graft_revoke(gs, sock);
	graft_decision_unlock(sock);
	if (ep)
		graft_endpoint_put(ep);
	return READ_ONCE(gs->revoked) ? -EACCES : 0;
}

/*
 * The kernel knows the process at the other end. A descriptor of it would let its
 * descriptors be fetched; the user stays to be read.
 */
void graft_unix_forget_pid(struct sock *sk)
{
	struct pid *pid;

	spin_lock(&sk->sk_peer_lock);
	pid = sk->sk_peer_pid;
	sk->sk_peer_pid = NULL;
	spin_unlock(&sk->sk_peer_lock);
	put_pid(pid);
}

static int graft_unix_connect_name(struct graft_socket *gs,
				   struct socket *sock,
				   struct graft_sockaddr *uaddr, int len,
				   int flags)
{
	s64 aborts = atomic64_read_acquire(&gs->table->aborts);
	struct graft_endpoint *ep;
	struct sockaddr_un sun;
	int err;

	len = graft_unix_resolve(gs, sock->sk, uaddr, len, &sun, &ep);
	if (len < 0)
		return len;
	err = gs->native->connect(sock, (struct graft_sockaddr *)&sun, len, flags);
	if (err) {
		graft_endpoint_put(ep);
		return err;
	}
	graft_unix_forget_pid(sock->sk);
	return graft_unix_connected(gs, sock, ep, aborts);
}

static int graft_unix_connect(struct socket *sock, struct graft_sockaddr *uaddr,
			      int len, int flags)
{
	struct graft_socket *gs = graft_socket_of(sock);
	int err;

	if (len < (int)sizeof(uaddr->sa_family))
		return -EINVAL;
	/* whose peer it is in the end is whose is noted */
	if (mutex_lock_killable(&gs->peer_lock))
		return -EINTR;
	if (uaddr->sa_family == AF_UNSPEC)
		err = gs->native->connect(sock, uaddr, len, flags) ?:
		      graft_unix_connected(gs, sock, NULL, 0);
	else
		err = graft_unix_connect_name(gs, sock, uaddr, len, flags);
	mutex_unlock(&gs->peer_lock);
	return err;
}

static int graft_unix_sendmsg(struct socket *sock, struct msghdr *msg,
			      size_t size)
{
	struct graft_socket *gs = graft_socket_of(sock);
	void *name = msg->msg_name;
	int namelen = msg->msg_namelen;
	struct graft_endpoint *ep;
	struct sockaddr_un sun;
	struct cmsghdr *cmsg;
	int err;

	for_each_cmsghdr(cmsg, msg) {
		if (!CMSG_OK(msg, cmsg))
			return -EINVAL;
		/* SCM_RIGHTS, and whatever else makes a file of a message */
		if (cmsg->cmsg_level == SOL_SOCKET &&
		    cmsg->cmsg_type != SCM_CREDENTIALS)
			return -EOPNOTSUPP;
	}
	if (!name)
		return gs->native->sendmsg(sock, msg, size);

	err = graft_unix_resolve(gs, sock->sk, name, namelen, &sun, &ep);
	if (err < 0)
		return err;
	graft_endpoint_put(ep);
	msg->msg_name = &sun;
	msg->msg_namelen = err;
	err = gs->native->sendmsg(sock, msg, size);
	msg->msg_name = name;
	msg->msg_namelen = namelen;
	return err;
}

/*
 * What a program of the target sends along: its credentials arrive where they
 * are wanted, descriptors do not. The room for credentials would do for
 * descriptors if a second thread took SO_PASSCRED back meanwhile, so that is
 * refused; and where it cannot be, nothing arrives.
 */
static int graft_unix_recvmsg(struct socket *sock, struct msghdr *msg,
			      size_t size, int flags)
{
	struct graft_socket *gs = graft_socket_of(sock);
	size_t room = GRAFT_HAS_SOL_SOCKET && graft_passes_credentials(sock) ?
			      CMSG_SPACE(sizeof(struct ucred)) : 0;

	if (READ_ONCE(gs->revoked))
		return -ECONNABORTED;
	msg->msg_controllen = min_t(size_t, msg->msg_controllen, room);
	return gs->native->recvmsg(sock, msg, size, flags);
}

static int graft_unix_setsockopt(struct socket *sock, int level, int optname,
				 sockptr_t optval, unsigned int optlen)
{
	struct graft_socket *gs = graft_socket_of(sock);
	int value;

	if (!graft_option_allowed(level, optname))
		return -ENOPROTOOPT;
	if (level == SOL_SOCKET && optname == SO_PASSCRED) {
		/* read once, and never switched off, whatever others do meanwhile */
		if (optlen < sizeof(value))
			return -EINVAL;
		if (copy_from_sockptr(&value, optval, sizeof(value)))
			return -EFAULT;
		if (!value)
			return graft_passes_credentials(sock) ? -EOPNOTSUPP : 0;
		return sock_setsockopt(sock, level, optname,
				       KERNEL_SOCKPTR(&value), sizeof(value));
	}
	if (level == SOL_SOCKET)
		return sock_setsockopt(sock, level, optname, optval, optlen);
	if (!gs->native->setsockopt)
		return -EOPNOTSUPP;
	return gs->native->setsockopt(sock, level, optname, optval, optlen);
}

static int (*graft_unix_peek_off)(struct sock *sk, int val) __ro_after_init;

/* Where the option does not pass us, a call may come late with the placeholder. */
static int graft_unix_set_peek_off(struct sock *sk, int val)
{
	return sk->sk_family == AF_UNIX ? graft_unix_peek_off(sk, val) :
					  -EOPNOTSUPP;
}

static int graft_unix_learn(struct proto_ops *ops, int type)
{
	struct socket *sock;
	int err;

	err = sock_create_kern(&init_net, AF_UNIX, type, 0, &sock);
	if (err)
		return err;
	*ops = *sock->ops;
	sock_release(sock);

	ops->family = PF_GRAFT;
	ops->owner = THIS_MODULE;
	ops->release = graft_grafted_release;
	ops->bind = graft_grafted_bind;
	ops->connect = graft_unix_connect;
	ops->listen = graft_grafted_listen;
	ops->accept = graft_grafted_accept;
	ops->socketpair = sock_no_socketpair;
	ops->sendmsg = graft_unix_sendmsg;
	ops->recvmsg = graft_unix_recvmsg;
	ops->splice_read = NULL; /* then it goes through recvmsg */
	if (ops->set_peek_off) {
		graft_unix_peek_off = ops->set_peek_off;
		ops->set_peek_off = graft_unix_set_peek_off;
	}
	ops->setsockopt = graft_unix_setsockopt;
	ops->getsockopt = graft_grafted_getsockopt;
	graft_getsockopt_only(ops);
	ops->ioctl = graft_grafted_ioctl;
#ifdef CONFIG_COMPAT
	ops->compat_ioctl = graft_grafted_ioctl;
#endif
	return 0;
}

int __init graft_unix_init(void)
{
	return graft_unix_learn(&graft_unix_stream_ops, SOCK_STREAM) ?:
	       graft_unix_learn(&graft_unix_dgram_ops, SOCK_DGRAM);
}
