/* SPDX-License-Identifier: GPL-2.0 */
/* What every part of the module knows. */
#ifndef _GRAFT_H
#define _GRAFT_H

#include <linux/types.h>
#include <linux/net.h>
#include <linux/graft.h>

#include "compat/compat.h"

#define GRAFT_VERSION "0.1.0"

/*
 * For what is large and filled in at once: kernels that zero every variable of
 * the stack need not zero this one.
 */
#if __has_attribute(__uninitialized__)
#define __graft_uninitialized	__attribute__((__uninitialized__))
#else
#define __graft_uninitialized
#endif

struct graft_addr;
struct graft_endpoint;
struct graft_rules;
struct graft_acl;
struct graft_socket;
struct graft_table;

/**
 * struct graft_why - the reason of a refusal, for whoever asks later
 * @reason: what kind of refusal
 * @err: the errno that the program gets, negative
 * @detail: a sentence, static; may be NULL
 */
struct graft_why {
	enum graft_reason	reason;
	int			err;
	const char		*detail;
};

static inline int graft_refuse(struct graft_why *why, enum graft_reason reason,
			       int err, const char *detail)
{
	why->reason = reason;
	why->err = err;
	why->detail = detail;
	return err;
}

#endif /* _GRAFT_H */
