// SPDX-License-Identifier: GPL-2.0
/*
 * Door 1: a host socket, made in the target namespace as any program there would
 * make it and bound to the endpoint, has its sock put into the application's
 * socket. The placeholder stays until release for calls in flight.
 */

#include <linux/cred.h>
#include <linux/module.h>
#include <linux/pkt_sched.h>
#include <linux/security.h>
#include <net/sock.h>

#include "abort.h"
#include "acl.h"
#include "bind.h"
#include "event.h"
#include "family.h"
#include "held.h"
#include "kind.h"
#include "placeholder.h"
#include "police.h"
#include "reseat.h"
#include "unix.h"

/**
 * graft_epname_parse - read a struct sockaddr_gr
 * @uaddr: the address, in kernel memory
 * @len: its length; programs built for 16-byte names pass less than the whole
 * @name: the endpoint's name, NUL-terminated
 *
 * A name ends at its first NUL or at the address's end.
 *
 * Return: the name's length, -EINVAL for an address that is too short or too
 * long, for an empty or over-long name, or -EAFNOSUPPORT.
 */
int graft_epname_parse(const void *uaddr, int len, char name[GRAFT_NAME_MAX])
{
	const struct sockaddr_gr *gr = uaddr;
	int room = len - (int)offsetof(struct sockaddr_gr, sgr_epname);
	int n;

	if (len < (int)sizeof(gr->sgr_family))
		return -EINVAL;
	if (gr->sgr_family != graft_family())
		return -EAFNOSUPPORT;
	if (room < 1 || len > (int)sizeof(*gr))
		return -EINVAL;
	n = strnlen(gr->sgr_epname, room);
	if (!n || n >= GRAFT_NAME_MAX)
		return -EINVAL;
	memcpy(name, gr->sgr_epname, n);
	name[n] = '\0';
	return n;
}

/*
 * Options of level SOL_SOCKET that the program may have set on the placeholder.
 * Nothing reaches @to yet, so it needs no lock.
 */
static void graft_reseat_sol_socket(const struct sock *from, struct sock *to)
{
	static const unsigned long flags =
		BIT(SOCK_KEEPOPEN) | BIT(SOCK_LINGER) | BIT(SOCK_BROADCAST) |
		BIT(SOCK_URGINLINE) | BIT(SOCK_LOCALROUTE) | BIT(SOCK_DBG) |
		BIT(SOCK_RXQ_OVFL) | BIT(SOCK_ZEROCOPY) | BIT(SOCK_NOFCS) |
		BIT(SOCK_FASYNC);

	to->sk_flags |= from->sk_flags & flags;
	to->sk_reuse = from->sk_reuse;
	to->sk_reuseport = from->sk_reuseport;
	to->sk_lingertime = from->sk_lingertime;
	to->sk_priority = from->sk_priority;
	to->sk_rcvlowat = from->sk_rcvlowat;
	to->sk_rcvtimeo = from->sk_rcvtimeo;
	to->sk_sndtimeo = from->sk_sndtimeo;
	to->sk_no_check_tx = from->sk_no_check_tx;
	if (from->sk_userlocks & SOCK_SNDBUF_LOCK)
		WRITE_ONCE(to->sk_sndbuf, from->sk_sndbuf);
	if (from->sk_userlocks & SOCK_RCVBUF_LOCK)
		WRITE_ONCE(to->sk_rcvbuf, from->sk_rcvbuf);
	to->sk_userlocks |= from->sk_userlocks &
			    (SOCK_SNDBUF_LOCK | SOCK_RCVBUF_LOCK);
}

/* Time stamps switch something on in the stack, so they are set, not copied. */
static void graft_reseat_timestamps(const struct sock *from,
				    struct socket *host)
{
	bool fresh = sock_flag(from, SOCK_TSTAMP_NEW);
	int flags = from->sk_tsflags, on = 1;

	if (sock_flag(from, SOCK_RCVTSTAMPNS))
		sock_setsockopt(host, SOL_SOCKET, fresh ? SO_TIMESTAMPNS_NEW :
							  SO_TIMESTAMPNS_OLD,
				KERNEL_SOCKPTR(&on), sizeof(on));
	else if (sock_flag(from, SOCK_RCVTSTAMP))
		sock_setsockopt(host, SOL_SOCKET, fresh ? SO_TIMESTAMP_NEW :
							  SO_TIMESTAMP_OLD,
				KERNEL_SOCKPTR(&on), sizeof(on));
	if (flags)
		sock_setsockopt(host, SOL_SOCKET, fresh ? SO_TIMESTAMPING_NEW :
							  SO_TIMESTAMPING_OLD,
				KERNEL_SOCKPTR(&flags), sizeof(flags));
}

static const char *graft_reseat_inspect(const struct sock *sk)
{
	if (sk->sk_mark)
		return "SO_MARK is set";
	if (sk->sk_bound_dev_if)
		return "SO_BINDTODEVICE is set";
	if (sk->sk_reuse > SK_CAN_REUSE)
		return "reuse of addresses is forced";
	if (sk->sk_priority > TC_PRIO_INTERACTIVE)
		return "SO_PRIORITY is above 6";
	if (rcu_access_pointer(sk->sk_filter))
		return "a filter is attached before the bind";
	return NULL;
}

/* The options that were kept, in the order in which they were set. */
static int graft_reseat_options(struct graft_placeholder *ph,
				struct socket *host)
{
	const struct graft_option *option;
	int err;

	list_for_each_entry(option, &ph->options, list) {
		sockptr_t value = KERNEL_SOCKPTR((void *)option->value);

		if (option->level == SOL_SOCKET)
			err = sock_setsockopt(host, SOL_SOCKET, option->optname,
					      value, option->len);
		else if (host->ops->setsockopt)
			err = host->ops->setsockopt(host, option->level,
						    option->optname, value,
						    option->len);
		else
			err = -ENOPROTOOPT;
		if (err)
			return err;
	}
	return 0;
}

/*
 * Put @host's sock into @sock. Calls that are at work with the placeholder go on
 * with it; the wait queue is @sock's own and stays.
 *
 * Return: whether an abort has passed meanwhile.
 */
static bool graft_reseat(struct socket *sock, struct socket *host,
			 struct graft_socket *gs, const struct proto_ops *ops)
{
	struct sock *sk = host->sk;
	bool missed;

	gs->placeholder = sock->sk;
	write_lock_bh(&sk->sk_callback_lock);
	rcu_assign_pointer(sk->sk_wq, &sock->wq);
	sk_set_socket(sk, sock);
	sk->sk_uid = SOCK_INODE(sock)->i_uid;
	security_sock_graft(sk, sock);
	write_unlock_bh(&sk->sk_callback_lock);

	if (test_bit(SOCK_SUPPORT_ZC, &host->flags))
		set_bit(SOCK_SUPPORT_ZC, &sock->flags);
	host->sk = NULL;
	/* in this order: what is published is read as a sock of its kind */
	WRITE_ONCE(sock->sk, sk);
	graft_socket_publish(gs, sock);
	/* before other threads can use it */
	missed = graft_abort_missed(gs, sock);
	graft_socket_switch(sock, ops);
	return missed;
}

/*
 * Does the ACL let the task use this endpoint at all, by either verb? A datagram
 * socket at a port that others may know serves from its bind on, so it needs
 * leave to listen; a stream is asked again when it listens.
 */
static int graft_reseat_acl(struct graft_table *t, struct graft_endpoint *ep,
			    const struct graft_ep_conf *conf, u8 protocol,
			    u8 *verb, struct graft_why *why)
{
	bool serves = protocol == GRAFT_PROTO_UDP &&
		      !graft_port_is_ephemeral(conf);
	bool local;

	*verb = GRAFT_VERB_LISTEN;
	if (graft_acl_allows(current_cred(), t, ep, GRAFT_ACL_LISTEN, protocol, NULL, &local))
		return 0;
	*verb = GRAFT_VERB_CONNECT;
	if (!serves &&
	    graft_acl_allows(current_cred(), t, ep, GRAFT_ACL_CONNECT, protocol, NULL, &local))
		return 0;
	return graft_refuse(why, GRAFT_REASON_ACL, -EACCES,
			    "the ACL does not allow this endpoint");
}

/* Make the host socket and bind it; @why tells of a failure. */
static struct socket *graft_reseat_host(struct socket *sock,
					const struct graft_endpoint *ep,
					const struct graft_ep_conf *conf,
					struct net *target, int ifindex,
					bool bind, struct graft_why *why)
{
	struct sock *from = sock->sk;
	const char *detail;
	struct socket *host;
	u16 family;
	int err;

	detail = graft_reseat_inspect(from);
	if (detail)
		return ERR_PTR(graft_refuse(why, GRAFT_REASON_STATE,
					    -EOPNOTSUPP, detail));

	family = conf->type == GRAFT_EP_UNIX ? AF_UNIX : conf->addr.family;
	err = __sock_create(target, family, sock->type, 0, &host, 0);
	if (err)
		return ERR_PTR(graft_refuse(why, GRAFT_REASON_ADDRESS, err,
					    "the target has no such sockets"));

	WRITE_ONCE(host->sk->sk_mark, conf->mark);
	WRITE_ONCE(host->sk->sk_bound_dev_if, ifindex);
	graft_reseat_sol_socket(from, host->sk);
	graft_reseat_timestamps(from, host);
	err = graft_reseat_options(graft_placeholder(from), host);
	if (err) {
		graft_refuse(why, GRAFT_REASON_OPTION, err,
			     "an option that was set before the bind does not suit the endpoint");
		goto err_release;
	}
	if (!bind)
		return host;
	if (family == AF_UNIX)
		err = graft_unix_bind(host, conf, why);
	else
		err = graft_bind(host, host->ops, ep, conf,
				 graft_protocol_bit(host->sk), 0, false, why);
	if (err)
		goto err_release;
	return host;

err_release:
	sock_release(host);
	return ERR_PTR(err);
}

/* Seat a host socket of @ep in @sock, bound (@bind) or not. */
static int graft_reseat_through(struct socket *sock, struct graft_endpoint *ep,
				bool bind, s64 aborts, struct graft_why *why)
{
	struct graft_table *t = graft_table(sock_net(sock->sk));
	u8 bit = sock->type == SOCK_STREAM ? GRAFT_PROTO_TCP : GRAFT_PROTO_UDP;
	char path[GRAFT_UNIX_NAME_MAX] __graft_uninitialized;
	struct graft_ep_conf conf __graft_uninitialized;
	const struct proto_ops *ops;
	struct graft_socket *gs;
	struct socket *host;
	struct net *target;
	int ifindex, err;
	bool missed;
	u8 verb;

	target = graft_endpoint_target(ep, &conf, path);
	if (!target)
		return graft_refuse(why, GRAFT_REASON_TARGET_GONE,
				    -EADDRNOTAVAIL,
				    "the endpoint's target namespace is gone");
	err = -EADDRNOTAVAIL;
	if (conf.type != GRAFT_EP_UNIX && !(conf.protocols & bit)) {
		graft_refuse(why, GRAFT_REASON_PROTOCOL, err,
			     "the endpoint does not serve this protocol");
		goto out_target;
	}
	if (!bind && conf.type != GRAFT_EP_UNIX) {
		graft_refuse(why, GRAFT_REASON_FAMILY, err,
			     "only a unix endpoint is connected to by name; bind to this one, then connect to an address");
		goto out_target;
	}
	err = graft_police_task(sock, target, conf.privileged, why);
	if (err)
		goto out_target;
	ifindex = graft_target_device(target, conf.device, why);
	if (ifindex < 0) {
		err = ifindex;
		goto out_target;
	}
	if (conf.type == GRAFT_EP_UNIX)
		err = graft_unix_acl(t, ep, bind, &verb, why);
	else
		err = graft_reseat_acl(t, ep, &conf, bit, &verb, why);
	if (err)
		goto out_target;

	gs = graft_socket_alloc(t);
	if (!gs) {
		err = graft_refuse(why, GRAFT_REASON_MEMORY, -ENOMEM,
				   "memory is short");
		goto out_target;
	}
	err = graft_socket_admit(gs, t, ep, conf.max_sockets,
				 conf.type != GRAFT_EP_UNIX &&
				 graft_port_is_ephemeral(&conf), why);
	if (err)
		goto err_free;
	host = graft_reseat_host(sock, ep, &conf, target, ifindex, bind, why);
	if (IS_ERR(host)) {
		err = PTR_ERR(host);
		goto err_dismiss;
	}

	gs->native = host->ops;
	gs->door = 1;
	gs->verb = verb;
	gs->family = conf.addr.family;
	gs->protocol = graft_protocol_bit(host->sk);
	gs->mark = conf.mark;
	gs->ifindex = ifindex;
	gs->shares = sock->type == SOCK_DGRAM && sock->sk->sk_reuse;
	gs->owns_port = gs->ephemeral && sock->type == SOCK_STREAM;
	gs->aborts = aborts;
	ops = conf.type == GRAFT_EP_UNIX ?
		      graft_unix_ops(sock->type) :
		      &graft_kind(conf.addr.family, sock->type)->grafted;
	missed = graft_reseat(sock, host, gs, ops);
	sock_release(host);
	if (bind)
		atomic64_inc(&ep->binds);
	if (bind && gs->protocol && !missed) {
		/* no address was asked for: each of the namespace's own reaches it */
		gs->asked = (struct graft_addr) { .family = AF_INET6 };
		graft_held_add(gs);
	}
	err = 0;
	if (missed)
		err = graft_refuse(why, GRAFT_REASON_REVOKED, -EACCES,
				   "the grant was withdrawn meanwhile");
	else
		graft_event(GRAFT_EVENT_GRAFTED, why, t, sock->sk, ep, NULL,
			    verb, NULL);
	goto out_target;

err_dismiss:
	graft_socket_dismiss(gs);
err_free:
	graft_socket_free(gs);
out_target:
	put_net(target);
	return err;
}

static int graft_reseat_named(struct socket *sock, const void *uaddr, int len,
			      bool bind)
{
	struct graft_table *t = graft_table(sock_net(sock->sk));
	u8 verb = bind ? GRAFT_VERB_LISTEN : GRAFT_VERB_CONNECT;
	s64 aborts = atomic64_read_acquire(&t->aborts);
	struct graft_why why = { };
	struct graft_endpoint *ep;
	char name[GRAFT_NAME_MAX] __graft_uninitialized;
	int n, err;

	n = graft_epname_parse(uaddr, len, name);
	if (n < 0)
		return n;
	ep = graft_endpoint_get(t, name, n);
	if (!ep) {
		err = graft_refuse(&why, GRAFT_REASON_NO_ENDPOINT,
				   -EADDRNOTAVAIL,
				   "no endpoint of this name is in the table");
		graft_event(GRAFT_EVENT_DENIED, &why, t, sock->sk, NULL, name,
			    verb, NULL);
		return err;
	}
	err = graft_reseat_through(sock, ep, bind, aborts, &why);
	if (err)
		graft_event(GRAFT_EVENT_DENIED, &why, t, sock->sk, ep, NULL,
			    verb, NULL);
	graft_endpoint_put(ep);
	return err;
}

/**
 * graft_reseat_bind - bind an AF_GRAFT socket to an endpoint
 * @sock: the socket, its decision lock held, with its placeholder
 * @uaddr: struct sockaddr_gr
 * @len: its length
 *
 * Return: 0 or an errno, after which nothing has changed.
 */
int graft_reseat_bind(struct socket *sock, const void *uaddr, int len)
{
	return graft_reseat_named(sock, uaddr, len, true);
}

/**
 * graft_reseat_connect - make an AF_GRAFT socket ready to connect to a unix
 *	endpoint
 * @sock: the socket, its decision lock held, with its placeholder
 * @uaddr: struct sockaddr_gr
 * @len: its length
 *
 * Return: 0, after which the socket's operations are to connect, or an errno;
 * -EDESTADDRREQ for another family of address, which needs a bind first.
 */
int graft_reseat_connect(struct socket *sock, const void *uaddr, int len)
{
	const struct sockaddr *sa = uaddr;

	if (len >= (int)sizeof(sa->sa_family) &&
	    sa->sa_family != graft_family())
		return -EDESTADDRREQ;
	return graft_reseat_named(sock, uaddr, len, false);
}
