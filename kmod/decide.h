/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _GRAFT_DECIDE_H
#define _GRAFT_DECIDE_H

#include "kind.h"
#include "state.h"

/* What a decision came to. */
enum graft_outcome {
	GRAFT_OUT_OPEN,		/* not decided: no ingress rule matches a bind */
	GRAFT_OUT_NATIVE,	/* the kernel's operations are in place */
	GRAFT_OUT_GRAFTED,	/* grafted, and bound as the endpoint says */
};

int graft_decide_bind(struct socket *sock, const struct graft_kind *kind,
		      const struct graft_addr *a);
int graft_decide_listen(struct socket *sock, const struct graft_kind *kind);
int graft_decide_destination(struct socket *sock, const struct graft_kind *kind,
			     const struct graft_addr *dst);
void graft_go_native(struct socket *sock, const struct graft_kind *kind);

#endif /* _GRAFT_DECIDE_H */
