/* SPDX-License-Identifier: GPL-2.0 */
/* What differs in generic netlink between the kernels that are supported. */
#ifndef _GRAFT_COMPAT_GENL_H
#define _GRAFT_COMPAT_GENL_H

#include <linux/version.h>
#include <net/genetlink.h>

/* The attributes of a dump's request. */
static inline struct nlattr **graft_dump_attrs(struct netlink_callback *cb)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 6, 0)
	return genl_info_dump(cb)->attrs;
#else
	return genl_dumpit_info(cb)->attrs;
#endif
}

#endif /* _GRAFT_COMPAT_GENL_H */
