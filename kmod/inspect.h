/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _GRAFT_INSPECT_H
#define _GRAFT_INSPECT_H

#include <net/sock.h>

#include "kind.h"

const char *graft_inspect(const struct sock *sk, const struct graft_kind *kind);

#endif /* _GRAFT_INSPECT_H */
