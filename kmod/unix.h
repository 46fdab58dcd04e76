/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _GRAFT_UNIX_H
#define _GRAFT_UNIX_H

#include "state.h"

const struct proto_ops *graft_unix_ops(u16 type);
int graft_unix_bind(struct socket *host, const struct graft_ep_conf *conf,
		    struct graft_why *why);
int graft_unix_acl(struct graft_table *t, const struct graft_endpoint *ep,
		   bool bind, u8 *verb, struct graft_why *why);
void graft_unix_forget_pid(struct sock *sk);
int graft_unix_init(void);

#endif /* _GRAFT_UNIX_H */
