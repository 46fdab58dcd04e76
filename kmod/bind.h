/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _GRAFT_BIND_H
#define _GRAFT_BIND_H

#include "rehome.h"

/* CAP_NET_BIND_SERVICE, for the one call that needs it, and CAP_NET_ADMIN. */
extern const struct cred *graft_bind_cred;

int graft_bind(struct socket *sock, const struct proto_ops *native,
	       const struct graft_endpoint *ep,
	       const struct graft_ep_conf *conf, u8 protocol, u16 wish,
	       bool lazily, struct graft_why *why);
void graft_rebind(struct socket *sock, const struct graft_kind *kind,
		  const struct graft_home *home);

/* Does the target's kernel choose the port? */
static inline bool graft_port_is_ephemeral(const struct graft_ep_conf *conf)
{
	return !conf->port_lo;
}

int graft_bind_init(void);
void graft_bind_exit(void);

#endif /* _GRAFT_BIND_H */
