/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _GRAFT_EVENT_H
#define _GRAFT_EVENT_H

#include "addr.h"

void graft_event(enum graft_event kind, const struct graft_why *why,
		 struct graft_table *t, struct sock *sk,
		 struct graft_endpoint *ep, const char *name, u8 verb,
		 const struct graft_addr *a);
u8 graft_protocol_bit(const struct sock *sk);

#endif /* _GRAFT_EVENT_H */
