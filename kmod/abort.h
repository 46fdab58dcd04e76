/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _GRAFT_ABORT_H
#define _GRAFT_ABORT_H

#include "state.h"

/**
 * struct graft_abort - which live sockets to abort
 * @matches: says of a socket whether it goes; called under the decision lock
 * @name: an endpoint's, for @matches
 * @cookie: for @matches
 */
struct graft_abort {
	bool (*matches)(const struct graft_abort *what,
			const struct graft_socket *gs, struct sock *sk);
	struct graft_name		name;
	u64				cookie;
};

void graft_revoke(struct graft_socket *gs, struct socket *sock);
u32 graft_abort(struct graft_table *t, const struct graft_abort *what);
bool graft_abort_again(struct graft_socket *gs, struct socket *sock);
bool graft_abort_since(const struct graft_socket *gs, struct socket *sock,
		       const struct graft_endpoint *ep, s64 aborts);

bool __graft_abort_missed(struct graft_socket *gs, struct socket *sock);

/**
 * graft_abort_missed - abort a socket that an abort has passed over
 * @gs: its state, published
 * @sock: the socket, its decision lock held
 *
 * Return: whether it was.
 */
static inline bool graft_abort_missed(struct graft_socket *gs,
				      struct socket *sock)
{
	return unlikely(atomic64_read(&gs->table->aborts) != gs->aborts) &&
	       __graft_abort_missed(gs, sock);
}

u32 graft_abort_endpoint(struct graft_table *t, struct graft_endpoint *ep);
u32 graft_abort_name(struct graft_table *t, const struct graft_name *name);
u32 graft_abort_cookie(struct graft_table *t, u64 cookie);
u32 graft_abort_denied(struct graft_table *t);
u64 graft_cookie(struct sock *sk);

#endif /* _GRAFT_ABORT_H */
