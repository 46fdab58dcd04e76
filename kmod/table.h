/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _GRAFT_TABLE_H
#define _GRAFT_TABLE_H

#include <linux/mutex.h>
#include <linux/refcount.h>
#include <linux/sched.h>
#include <linux/rhashtable.h>
#include <linux/un.h>
#include <linux/xarray.h>
#include <net/netns/generic.h>

#include "addr.h"

#define GRAFT_UNIX_NAME_MAX	(UNIX_PATH_MAX - 1)

/**
 * struct graft_ep_conf - what an endpoint stands for
 * @target: the target namespace, not pinned; NULL once it is gone
 * @target_cookie: its cookie; outlives it
 * @addr: the host address, for ipv4 and ipv6; its port is unused
 * @port_lo: first port, 0 for an ephemeral one
 * @port_hi: last port
 * @mark: SO_MARK of its sockets
 * @max_sockets: limit on live sockets, 0 for none
 * @type: enum graft_ep_type
 * @protocols: GRAFT_PROTO_*
 * @privileged: tasks that hold CAP_NET_ADMIN over the target may use it
 * @path_len: bytes of @path in use
 * @device: device of the target that sockets are bound to, or empty
 * @path: abstract name without its leading NUL, for unix; NULL otherwise
 */
struct graft_ep_conf {
	struct net		*target;
	u64			target_cookie;
	struct graft_addr	addr;
	u16			port_lo;
	u16			port_hi;
	u32			mark;
	u32			max_sockets;
	u8			type;
	u8			protocols;
	bool			privileged;
	u8			path_len;
	char			device[IFNAMSIZ];
	char			*path;
};

/**
 * struct graft_endpoint - a name in a namespace's table
 * @node: in graft_table.endpoints
 * @target_node: in the target's graft_table.targeted, under graft_nets_lock
 * @rcu: frees it
 * @refs: one of the table, one of each socket and of each request at work
 * @lock: guards @conf
 * @conf: see there
 * @aborted: graft_table.aborts when its sockets were aborted last
 * @removed: it is in no table any more
 * @id: key of dumps, never used twice in a table before 2^31 others
 * @active: live grafted sockets
 * @binds: sockets bound through it
 * @connects: connections and first sends through it
 * @accepts: connections accepted by its listeners
 * @denials: counts by enum graft_reason, allocated at the first denial
 * @hash: of @name
 * @name_len: bytes in @name, 1 to 63
 * @name: NUL-terminated
 */
struct graft_endpoint {
	struct rhash_head	node;
	struct list_head	target_node;
	struct rcu_head		rcu;
	refcount_t		refs;
	spinlock_t		lock;
	struct graft_ep_conf	conf;
	s64			aborted;
	bool			removed;
	u32			id;
	atomic_t		active;
	atomic64_t		binds;
	atomic64_t		connects;
	atomic64_t		accepts;
	atomic64_t		*denials;
	u32			hash;
	u8			name_len;
	char			name[];
};

/**
 * struct graft_claim - one process's claim; see nl.c for its lock
 * @portid: of its netlink socket, 0 for none
 * @pid: in the initial pid namespace
 * @name: what it wants to be called
 * @sentence: what other writers are told; kept here since netlink only points
 *	to it, and always of one length, since it is read after the request
 */
struct graft_claim {
	u32	portid;
	u32	pid;
	char	name[TASK_COMM_LEN];
	char	sentence[80];
};

#define GRAFT_SOCKET_BUCKETS	256

/**
 * struct graft_linger - ports that TIME_WAIT may still hold
 * @until: when none of them does any more, in jiffies
 * @n: how many
 */
struct graft_linger {
	unsigned long	until;
	u32		n;
};

/* A slot is used again when all that it counted is over. */
#define GRAFT_LINGER_WIDTH	(8 * HZ)
#define GRAFT_LINGER_SLOTS	9

/**
 * struct graft_table - the grafting of one namespace
 * @net: the namespace, which this lives and dies with
 * @lock: serialises writers of everything down to @generation
 * @endpoints: by name; readers use RCU
 * @ids: by id, for dumps
 * @next_id: where the search for a free id begins
 * @n_endpoints: in @endpoints
 * @rules: the namespace's rules, replaced whole; NULL for none
 * @acl: the ACL, replaced whole; NULL for none
 * @max_sockets: see uapi, as the next three
 * @generation: grows by one with each change; read without the lock
 * @n_sockets: live grafted sockets that this namespace made
 * @n_ephemeral: of them, those whose port the kernel chose
 * @sockets_lock: guards the next two and writers of @aborts; while it is held no
 *	socket that is in @sockets is released
 * @next_socket: graft_socket.id of the next socket
 * @sockets: the published ones, by graft_socket.id, the newest first
 * @aborts: how many aborts were begun
 * @denied: @aborts when those that the ACL denies were aborted last
 * @lingering: ports in @n_ephemeral whose socket is gone, by when that was; under
 *	@sockets_lock
 * @spare: a free graft_socket, or NULL; by xchg
 * @targeted: endpoints, of any table, whose target is this namespace
 * @owner: the namespace that writes this table, not pinned; NULL for none
 * @owned: tables that this namespace writes, as graft_table.owner_node; like
 *	the two above and the next under graft_nets_lock
 * @owner_node: in the owner's @owned
 * @claim: who alone may write the tables that this namespace writes
 */
struct graft_table {
	struct net		*net;
	struct mutex		lock;
	struct rhashtable	endpoints;
	struct xarray		ids;
	u32			next_id;
	u32			n_endpoints;
	struct graft_rules __rcu *rules;
	struct graft_acl __rcu	*acl;
	u32			max_sockets;
	u32			max_ephemeral;
	u32			max_endpoints;
	bool			frozen;
	u64			generation;

	atomic_t		n_sockets;
	atomic_t		n_ephemeral;
	spinlock_t		sockets_lock;
	unsigned long		next_socket;
	struct hlist_head	sockets[GRAFT_SOCKET_BUCKETS];

	atomic64_t		aborts;
	s64			denied;
	struct graft_linger	lingering[GRAFT_LINGER_SLOTS];
	struct graft_socket	*spare;

	struct list_head	targeted;
	struct net		*owner;
	struct list_head	owned;
	struct list_head	owner_node;
	struct graft_claim	claim;
};

#define GRAFT_MAX_SOCKETS	65536
#define GRAFT_MAX_EPHEMERAL	16384
#define GRAFT_MAX_ENDPOINTS	131072

extern unsigned int graft_table_net_id;

/* The table of @net, which lives as long as @net does. */
static inline struct graft_table *graft_table(const struct net *net)
{
	return net_generic(net, graft_table_net_id);
}

/**
 * struct graft_name - an endpoint's name, ready for a look-up
 * @text: need not be NUL-terminated
 * @hash: of it
 * @len: its length
 */
struct graft_name {
	const char	*text;
	u32		hash;
	u8		len;
};

struct graft_name graft_name(const char *text, size_t len);
struct graft_endpoint *graft_endpoint_find(struct graft_table *t,
					   const struct graft_name *name);
struct graft_endpoint *graft_endpoint_get(struct graft_table *t,
					  const char *name, size_t len);
void graft_endpoint_release(struct graft_endpoint *ep);
void graft_endpoint_conf(struct graft_endpoint *ep, struct graft_ep_conf *conf,
			 char path[GRAFT_UNIX_NAME_MAX]);
void graft_endpoint_denied(struct graft_endpoint *ep, enum graft_reason reason);

struct graft_endpoint *graft_endpoint_alloc(const char *name, size_t len);
int graft_endpoint_add(struct graft_table *t, struct graft_endpoint *ep,
		       struct graft_ep_conf *conf);
void graft_endpoint_change(struct graft_endpoint *ep,
			   struct graft_ep_conf *conf);
void graft_endpoint_remove(struct graft_table *t, struct graft_endpoint *ep);

void graft_table_changed(struct graft_table *t, struct net *writer);
struct net *graft_table_owner(struct graft_table *t);
u32 graft_tables_seq(void);

/**
 * graft_endpoint_target - copy an endpoint's configuration and hold its target
 * @ep: the endpoint
 * @conf: as in graft_endpoint_conf()
 * @path: likewise
 *
 * Return: the target with a reference that the caller puts, or NULL when it is
 * gone or on its way out.
 */
static inline struct net *
graft_endpoint_target(struct graft_endpoint *ep, struct graft_ep_conf *conf,
		      char path[GRAFT_UNIX_NAME_MAX])
{
	struct net *target;

	spin_lock(&ep->lock);
	*conf = ep->conf;
	if (path && conf->path)
		memcpy(path, conf->path, conf->path_len);
	target = conf->target ? maybe_get_net(conf->target) : NULL;
	spin_unlock(&ep->lock);
	conf->path = conf->path ? path : NULL;
	return target;
}

static inline void graft_endpoint_put(struct graft_endpoint *ep)
{
	if (refcount_dec_and_test(&ep->refs))
		graft_endpoint_release(ep);
}

int graft_table_init(void);
void graft_table_exit(void);

#endif /* _GRAFT_TABLE_H */
