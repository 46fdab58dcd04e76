/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _GRAFT_POLICE_H
#define _GRAFT_POLICE_H

#include "acl.h"
#include "state.h"

/**
 * struct graft_path - the way that a packet would take
 * @t: the table that rules the socket
 * @ep: the endpoint
 * @target: the namespace of the host socket
 * @mark: its mark
 * @ifindex: its device, or 0
 * @protocol: one bit of GRAFT_PROTO_*
 */
struct graft_path {
	struct graft_table	*t;
	struct graft_endpoint	*ep;
	struct net		*target;
	u32			mark;
	int			ifindex;
	u8			protocol;
};

int graft_police_path(const struct graft_path *path, enum graft_acl_use use,
		      const struct graft_addr *dst, struct graft_why *why);
int graft_police_listen(struct graft_socket *gs, struct sock *sk);
int graft_police_send(struct graft_socket *gs, struct sock *sk,
		      const struct graft_addr *dst, const void *name, int len);
bool graft_police_again(const struct graft_socket *gs, const struct sock *sk,
			const void *name, int len);
int graft_police_task(const struct socket *sock, const struct net *target,
		      bool privileged, struct graft_why *why);

#endif /* _GRAFT_POLICE_H */
