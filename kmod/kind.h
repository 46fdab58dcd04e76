/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _GRAFT_KIND_H
#define _GRAFT_KIND_H

#include <net/protocol.h>
#include <net/sock.h>

#include "graft.h"

/**
 * struct graft_kind - one kind of socket: a family and a type
 * @family: AF_INET or AF_INET6
 * @type: SOCK_STREAM or SOCK_DGRAM
 * @bit: GRAFT_PROTO_TCP or GRAFT_PROTO_UDP
 * @native: the kernel's operations, taken from a socket of its making
 * @native_prot: the kernel's protocol, likewise
 * @undecided: operations of a door 2 socket before its decision
 * @grafted: operations of a grafted socket, of either door
 * @door: protocol that a door 2 socket is allocated with, and leaves at once
 * @sw: how IPPROTO_GRAFT finds it
 */
struct graft_kind {
	u16			family;
	u16			type;
	u8			bit;
	const struct proto_ops	*native;
	struct proto		*native_prot;
	struct proto_ops	undecided;
	struct proto_ops	grafted;
	struct proto		door;
	struct inet_protosw	sw;
};

const struct graft_kind *graft_kind(u16 family, u16 type);

static inline const struct graft_kind *
graft_kind_undecided(const struct proto_ops *ops)
{
	return container_of(ops, struct graft_kind, undecided);
}

int graft_kind_init(void);
int graft_kind_open(void);
void graft_kind_close(void);

/* undecided.c and grafted.c: put their operations over copies of the native. */
void graft_undecided_ops(struct proto_ops *ops, u16 type);
bool graft_is_undecided(const struct proto_ops *ops);
void graft_grafted_ops(struct proto_ops *ops, u16 type);

#endif /* _GRAFT_KIND_H */
