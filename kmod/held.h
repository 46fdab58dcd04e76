/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _GRAFT_HELD_H
#define _GRAFT_HELD_H

#include "state.h"

/* Whether a port is held; as an answer, whether it may be remembered. */
enum graft_hold {
	GRAFT_HOLD_NONE,
	GRAFT_HOLD_STEADY,	/* until graft_held_rest() says otherwise */
	GRAFT_HOLD_MOVING,	/* at this moment */
};

void graft_held_add(struct graft_socket *gs);
bool graft_held_client(struct graft_socket *gs);
void graft_held_move(struct graft_socket *gs);
void graft_held_moved(struct graft_socket *gs);
void graft_held_revoked(struct graft_socket *gs);
void graft_held_remove(struct graft_socket *gs);
struct graft_rest graft_held_rest(const struct net *target, u8 protocol,
				  u16 port);
enum graft_hold graft_held_target(const struct net *target, u8 protocol,
				  const struct graft_addr *dst, int ifindex);
bool graft_held_lingers(const struct sock *sk);
enum graft_hold graft_held_peer(const struct graft_socket *gs,
				const struct sock *sk,
				const struct graft_addr *peer);
bool graft_held_beside(const struct sock *sk, u8 protocol,
		       const struct graft_addr *a,
		       const struct graft_endpoint *ep);
void graft_held_share(const struct net *target, u8 protocol,
		      const struct graft_addr *a,
		      const struct graft_endpoint *ep, bool on);
struct graft_endpoint *graft_held_own(const struct graft_table *t,
				      const struct net *target, u8 protocol,
				      const struct graft_addr *dst,
				      struct graft_addr *reach,
				      const struct net **where);

#endif /* _GRAFT_HELD_H */
