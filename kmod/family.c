// SPDX-License-Identifier: GPL-2.0
/* Door 1: the address family AF_GRAFT, under whatever number it has got. */

#include <linux/module.h>
#include <linux/net.h>

#include "family.h"
#include "graft.h"
#include "placeholder.h"

static int family = AF_GRAFT;
module_param(family, int, 0444);
MODULE_PARM_DESC(family, "Address family number to use for AF_GRAFT (4, AF_IPX, which Linux no longer has)");

static struct net_proto_family graft_net_family = {
	.create	= graft_placeholder_create,
	.owner	= THIS_MODULE,
};

/* The number of AF_GRAFT on this machine. */
int graft_family(void)
{
	return family;
}

int graft_family_init(void)
{
	int err;

	if (family <= AF_UNSPEC || family >= AF_MAX) {
		pr_err("graft: family=%d is no address family; choose one from 1 to %d that this kernel does not use\n",
		       family, AF_MAX - 1);
		return -EINVAL;
	}
	graft_net_family.family = family;
	err = sock_register(&graft_net_family);
	if (err == -EEXIST)
		pr_err("graft: address family %d is in use; load with family=N, N a number that this kernel does not use\n",
		       family);
	return err;
}

void graft_family_exit(void)
{
	sock_unregister(family);
}
