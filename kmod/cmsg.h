/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _GRAFT_CMSG_H
#define _GRAFT_CMSG_H

#include "state.h"

int graft_cmsg_check(struct graft_socket *gs, struct sock *sk,
		     struct msghdr *msg);

#endif /* _GRAFT_CMSG_H */
