/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _GRAFT_FAMILY_H
#define _GRAFT_FAMILY_H

int graft_family(void);
int graft_family_init(void);
void graft_family_exit(void);

#endif /* _GRAFT_FAMILY_H */
