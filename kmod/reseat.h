/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _GRAFT_RESEAT_H
#define _GRAFT_RESEAT_H

#include "graft.h"

int graft_reseat_bind(struct socket *sock, const void *uaddr, int len);
int graft_reseat_connect(struct socket *sock, const void *uaddr, int len);
int graft_epname_parse(const void *uaddr, int len, char name[GRAFT_NAME_MAX]);

#endif /* _GRAFT_RESEAT_H */
