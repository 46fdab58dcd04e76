/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _GRAFT_REHOME_H
#define _GRAFT_REHOME_H

#include "kind.h"
#include "table.h"

/**
 * struct graft_home - what a socket leaves behind when it moves
 * @bound: where it was bound; it may be an address without a port
 * @locks: SOCK_BINDADDR_LOCK and SOCK_BINDPORT_LOCK
 * @reuse: SO_REUSEADDR
 * @reuseport: SO_REUSEPORT
 */
struct graft_home {
	struct graft_addr	bound;
	u8			locks;
	u8			reuse;
	u8			reuseport;
};

int graft_rehome(struct socket *sock, const struct graft_kind *kind,
		 struct net *target, const struct graft_ep_conf *conf,
		 int ifindex, struct graft_home *home, struct graft_why *why);
void graft_rehome_undo(struct socket *sock, const struct graft_kind *kind,
		       struct net *origin, const struct graft_home *home);
void graft_unbind(struct sock *sk);
int graft_find_device(struct net *target, const char *device,
		      struct graft_why *why);

/* The index of an endpoint's device, 0 where it names none, or an errno. */
static inline int graft_target_device(struct net *target, const char *device,
				      struct graft_why *why)
{
	return device[0] ? graft_find_device(target, device, why) : 0;
}

#endif /* _GRAFT_REHOME_H */
