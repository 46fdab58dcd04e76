// SPDX-License-Identifier: GPL-2.0
/*
 * graft: lets a socket of one network namespace stand on the stack of another,
 * exactly where the operator allows it. This file orders init and undo.
 */

#include <linux/init.h>
#include <linux/module.h>
#include <linux/rcupdate.h>

#include "bind.h"
#include "family.h"
#include "graft.h"
#include "kind.h"
#include "nl.h"
#include "placeholder.h"
#include "state.h"
#include "table.h"
#include "unix.h"

static int __init graft_init(void)
{
	int err;

	err = graft_state_init();
	if (err)
		return err;
	err = graft_bind_init();
	if (err)
		goto err_state;
	err = graft_table_init();
	if (err)
		goto err_bind;
	err = graft_nl_init();
	if (err)
		goto err_table;
	err = graft_unix_init();
	if (err)
		goto err_nl;
	err = graft_placeholder_init();
	if (err)
		goto err_nl;
	err = graft_kind_init();
	if (err)
		goto err_placeholder;
	/* From here on there are sockets of ours, so little may fail. */
	err = graft_family_init();
	if (err)
		goto err_placeholder;
	err = graft_kind_open();
	if (err)
		goto err_family;
	return 0;

err_family:
	graft_family_exit();
err_placeholder:
	graft_placeholder_exit();
err_nl:
	graft_nl_exit();
err_table:
	graft_table_exit();
err_bind:
	graft_bind_exit();
err_state:
	graft_state_exit();
	/* modprobe takes EEXIST for a module that is there already, and says nothing. */
	return err == -EEXIST ? -EBUSY : err;
}

/*
 * No socket has our operations any more, or the module would be in use. A task
 * may still be on its way out of one of them, without having slept since.
 */
static void __exit graft_exit(void)
{
	graft_kind_close();
	graft_family_exit();
	synchronize_rcu_tasks();
	graft_placeholder_exit();
	graft_nl_exit();
	graft_table_exit();
	graft_bind_exit();
	graft_state_exit();
}

module_init(graft_init);
module_exit(graft_exit);

MODULE_DESCRIPTION("Socket grafting: sockets of a container on the host's stack");
MODULE_LICENSE("GPL");
MODULE_VERSION(GRAFT_VERSION);
MODULE_ALIAS_GENL_FAMILY(GRAFT_GENL_NAME);
