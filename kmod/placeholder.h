/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _GRAFT_PLACEHOLDER_H
#define _GRAFT_PLACEHOLDER_H

#include <linux/list.h>
#include <net/sock.h>

#include "graft.h"

#define GRAFT_OPTIONS_MAX	32	/* options kept before the bind */
#define GRAFT_OPTION_SIZE	128	/* bytes of one */

/**
 * struct graft_option - an option that was set before there was a host socket
 * @list: in graft_placeholder.options, in the order in which they were set
 * @level: of setsockopt
 * @optname: likewise
 * @len: bytes in @value
 * @value: what was set
 */
struct graft_option {
	struct list_head	list;
	int			level;
	int			optname;
	unsigned int		len;
	u8			value[];
};

/**
 * struct graft_placeholder - the sock of an AF_GRAFT socket before its bind
 * @sk: must be first
 * @options: struct graft_option, under the decision lock
 * @n_options: in @options
 */
struct graft_placeholder {
	struct sock		sk;
	struct list_head	options;
	unsigned int		n_options;
};

static inline struct graft_placeholder *graft_placeholder(struct sock *sk)
{
	return container_of(sk, struct graft_placeholder, sk);
}

extern const struct proto_ops graft_placeholder_ops;

int graft_placeholder_create(struct net *net, struct socket *sock,
			     int protocol, int kern);
int graft_placeholder_init(void);
void graft_placeholder_exit(void);

#endif /* _GRAFT_PLACEHOLDER_H */
