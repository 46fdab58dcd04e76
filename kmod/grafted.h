/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _GRAFT_GRAFTED_H
#define _GRAFT_GRAFTED_H

#include "state.h"

int graft_connect_host(struct socket *sock, struct graft_sockaddr *uaddr, int len,
		       int flags);
int graft_set_sol_socket(struct socket *sock, int optname, sockptr_t optval,
			 unsigned int optlen);
bool graft_is_grafted(const struct proto_ops *ops);

/* What inet and unix endpoints' sockets have in common. */
int graft_grafted_release(struct socket *sock);
int graft_grafted_bind(struct socket *sock, struct graft_sockaddr *uaddr, int len);
int graft_grafted_accept(struct socket *sock, struct socket *newsock,
			 GRAFT_ACCEPT_PARAMS);
int graft_grafted_listen(struct socket *sock, int backlog);
int graft_grafted_getsockopt(struct socket *sock, int level, int optname,
			     char __user *optval, int __user *optlen);
int graft_grafted_ioctl(struct socket *sock, unsigned int cmd,
			unsigned long arg);

#endif /* _GRAFT_GRAFTED_H */
