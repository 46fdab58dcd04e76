// SPDX-License-Identifier: GPL-2.0
/*
 * Door 2: IPPROTO_GRAFT on AF_INET and AF_INET6.
 *
 * A door 2 socket is the kernel's own from its first moment: it is allocated
 * with a copy of the native protocol whose init function puts the native one in
 * place and hands over. Only its operations are ours, until its decision. The
 * copy shares the native slab and is never registered, so nothing of it can
 * reach the host's: sockets, request socks and TIME_WAIT all belong to the
 * native protocol.
 */

#include <net/inet_common.h>
#include <net/ipv6.h>
#include <net/tcp.h>

#include "kind.h"

static struct graft_kind graft_kinds[] = {
	{ .family = AF_INET, .type = SOCK_STREAM, .bit = GRAFT_PROTO_TCP },
	{ .family = AF_INET, .type = SOCK_DGRAM, .bit = GRAFT_PROTO_UDP },
#if IS_ENABLED(CONFIG_IPV6)
	{ .family = AF_INET6, .type = SOCK_STREAM, .bit = GRAFT_PROTO_TCP },
	{ .family = AF_INET6, .type = SOCK_DGRAM, .bit = GRAFT_PROTO_UDP },
#endif
};

/* The kind of an address family and a type; NULL where IPv6 is off. */
const struct graft_kind *graft_kind(u16 family, u16 type)
{
	const struct graft_kind *kind;

	for (kind = graft_kinds;
	     kind < graft_kinds + ARRAY_SIZE(graft_kinds); kind++)
		if (kind->family == family && kind->type == type)
			return kind->native ? kind : NULL;
	return NULL;
}

/* The first thing that the stack calls on a new door 2 socket. */
static int graft_door_init(struct sock *sk)
{
	const struct graft_kind *kind =
		container_of(sk->sk_prot, struct graft_kind, door);
	int err;

	/*
	 * Both: what the sock was made by decides where its TIME_WAIT and its
	 * memory go.
	 */
	sk->sk_prot = kind->native_prot;
	sk->sk_prot_creator = kind->native_prot;
	sk->sk_protocol = kind->type == SOCK_STREAM ? IPPROTO_TCP : IPPROTO_UDP;
	graft_route_sol_socket(sk->sk_socket, true);
	err = sk->sk_prot->init(sk);
	/* held by sk_alloc() for a protocol that the sock no longer has */
	module_put(THIS_MODULE);
	return err;
}

static int graft_kind_register(struct graft_kind *kind)
{
#if IS_ENABLED(CONFIG_IPV6)
	if (kind->family == AF_INET6)
		return inet6_register_protosw(&kind->sw);
#endif
	inet_register_protosw(&kind->sw);
	return 0;
}

static void graft_kind_unregister(struct graft_kind *kind)
{
#if IS_ENABLED(CONFIG_IPV6)
	if (kind->family == AF_INET6) {
		inet6_unregister_protosw(&kind->sw);
		return;
	}
#endif
	inet_unregister_protosw(&kind->sw);
}

/*
 * Not every table and protocol is exported; a socket has them all. The tables
 * are the kernel's own and outlive it.
 */
static int graft_kind_learn(struct graft_kind *kind)
{
	struct socket *sock;
	int err;

	err = sock_create_kern(&init_net, kind->family, kind->type, 0, &sock);
	if (err)
		return err;
	kind->native = sock->ops;
	kind->native_prot = sock->sk->sk_prot;
	sock_release(sock);

	kind->undecided = *kind->native;
	kind->undecided.owner = THIS_MODULE;
	graft_undecided_ops(&kind->undecided, kind->type);
	kind->grafted = *kind->native;
	kind->grafted.owner = THIS_MODULE;
	graft_grafted_ops(&kind->grafted, kind->type);

	kind->door = *kind->native_prot;
	kind->door.init = graft_door_init;
	kind->door.owner = THIS_MODULE;

	kind->sw.type = kind->type;
	kind->sw.protocol = IPPROTO_GRAFT;
	kind->sw.prot = &kind->door;
	kind->sw.ops = &kind->undecided;
	kind->sw.flags = kind->type == SOCK_STREAM ? INET_PROTOSW_ICSK : 0;
	return 0;
}

/* Learn the kinds. Opens no door yet, so what fails after this can be undone. */
int graft_kind_init(void)
{
	struct graft_kind *kind;
	int err;

	for (kind = graft_kinds;
	     kind < graft_kinds + ARRAY_SIZE(graft_kinds); kind++) {
		err = graft_kind_learn(kind);
		if (err == -EAFNOSUPPORT && kind->family == AF_INET6)
			continue; /* IPv6 is switched off */
		if (err)
			return err;
	}
	return 0;
}

/*
 * Open door 2. Streams of IPv4 are opened last and closed first: the BPF door
 * takes them for the sign that all are open.
 */
int graft_kind_open(void)
{
	struct graft_kind *end = graft_kinds + ARRAY_SIZE(graft_kinds);
	struct graft_kind *kind;
	int err;

	for (kind = end; kind-- > graft_kinds;) {
		if (!kind->native)
			continue;
		err = graft_kind_register(kind);
		if (err)
			goto err_unregister;
	}
	return 0;

err_unregister:
	while (++kind < end)
		if (kind->native)
			graft_kind_unregister(kind);
	return err;
}

/* Close it. */
void graft_kind_close(void)
{
	struct graft_kind *kind;

	for (kind = graft_kinds;
	     kind < graft_kinds + ARRAY_SIZE(graft_kinds); kind++)
		if (kind->native)
			graft_kind_unregister(kind);
}
