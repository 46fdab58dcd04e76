/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _GRAFT_EVENT_H
#define _GRAFT_EVENT_H

#include "nl.h"
#include "table.h"
#include "trace.h"

void graft_event_report(enum graft_event kind, const struct graft_why *why,
			struct graft_table *t, struct sock *sk,
			struct graft_endpoint *ep, const char *name, u8 verb,
			const struct graft_addr *a);

/**
 * graft_event - report a decision
 * @kind: what became of the socket
 * @why: the reason, and where denied the errno
 * @t: the table that ruled
 * @sk: the socket
 * @ep: the endpoint in question, whose denials are counted; or NULL
 * @name: its name where there is no @ep; or NULL
 * @verb: GRAFT_VERB_*
 * @a: the address in question, as the program gave it; or NULL
 *
 * Costs two tests where nobody listens.
 */
static inline void graft_event(enum graft_event kind,
			       const struct graft_why *why,
			       struct graft_table *t, struct sock *sk,
			       struct graft_endpoint *ep, const char *name,
			       u8 verb, const struct graft_addr *a)
{
	if (ep && kind == GRAFT_EVENT_DENIED)
		graft_endpoint_denied(ep, why->reason);
	if (unlikely(graft_nl_heard(t, GRAFT_NL_GROUP_EVENT) ||
		     trace_graft_decision_enabled()))
		graft_event_report(kind, why, t, sk, ep, name, verb, a);
}

u8 graft_protocol_bit(const struct sock *sk);

#endif /* _GRAFT_EVENT_H */
