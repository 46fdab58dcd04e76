/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _GRAFT_OPTIONS_H
#define _GRAFT_OPTIONS_H

#include <linux/sockptr.h>

#include "state.h"

bool graft_option_allowed(int level, int optname);
bool graft_option_too_late(const struct sock *sk, int level, int optname);
bool graft_option_readable(int level, int optname);
bool graft_ioctl_allowed(unsigned int cmd);
int graft_option_get(const struct graft_socket *gs, u32 state, int optname,
		     char __user *optval, int __user *optlen);
struct graft_rules *graft_option_rules(sockptr_t optval, unsigned int optlen);

#endif /* _GRAFT_OPTIONS_H */
