// SPDX-License-Identifier: GPL-2.0
/*
 * Endpoint tables, one per network namespace.
 *
 * Programs look endpoints up under RCU and take a reference; they copy the
 * configuration out under the endpoint's lock, so a change is seen whole or not
 * at all. Writers hold the table's mutex. A target namespace is not pinned by
 * the endpoints that name it: when it goes they lose it (graft_table_net_exit)
 * and stay in the table, useless until they are changed.
 */

#include <linux/hash.h>
#include <linux/slab.h>
#include <linux/stringhash.h>
#include <net/net_namespace.h>

#include "acl.h"
#include "rules.h"
#include "state.h"
#include "table.h"

unsigned int graft_table_net_id __read_mostly;

/*
 * Guards what namespaces know of one another: every table's list "targeted" and
 * the targets of the endpoints on it, and its owner and the list "owned". Taken
 * outside an endpoint's lock.
 */
static DEFINE_SPINLOCK(graft_nets_lock);

/* Grows when a namespace comes or goes; dumps of all tables look at it. */
static atomic_t graft_nets_seq = ATOMIC_INIT(1);

/* Names are the operator's, so nobody has a reason to make them collide. */
static u32 graft_hash(u32 hash, u32 seed)
{
	hash = (hash ^ seed) * GOLDEN_RATIO_32;
	return hash ^ hash >> 16;
}

static u32 graft_name_hash(const void *data, u32 len, u32 seed)
{
	const struct graft_name *name = data;

	return graft_hash(name->hash, seed);
}

static u32 graft_endpoint_hash(const void *data, u32 len, u32 seed)
{
	const struct graft_endpoint *ep = data;

	return graft_hash(ep->hash, seed);
}

/* Without a call; the last words overlap. */
static __always_inline bool graft_same_text(const char *a, const char *b,
					    unsigned int len)
{
	unsigned int i;

	if (len < sizeof(u64))
		return !memcmp(a, b, len);
	for (i = 0; i < len - sizeof(u64); i += sizeof(u64))
		if (get_unaligned((const u64 *)(a + i)) !=
		    get_unaligned((const u64 *)(b + i)))
			return false;
	i = len - sizeof(u64);
	return get_unaligned((const u64 *)(a + i)) ==
	       get_unaligned((const u64 *)(b + i));
}

static inline int graft_endpoint_cmp(struct rhashtable_compare_arg *arg,
				     const void *obj)
{
	const struct graft_name *name = arg->key;
	const struct graft_endpoint *ep = obj;

	return ep->hash != name->hash || ep->name_len != name->len ||
	       !graft_same_text(ep->name, name->text, name->len);
}

static const struct rhashtable_params graft_endpoint_params = {
	.head_offset		= offsetof(struct graft_endpoint, node),
	.key_len		= sizeof(struct graft_name),
	.hashfn			= graft_name_hash,
	.obj_hashfn		= graft_endpoint_hash,
	.obj_cmpfn		= graft_endpoint_cmp,
	.automatic_shrinking	= true,
};

static void graft_endpoint_free(struct rcu_head *rcu)
{
	struct graft_endpoint *ep =
		container_of(rcu, struct graft_endpoint, rcu);

	kfree(ep->conf.path);
	kfree(ep->denials);
	kfree(ep);
}

/* The last reference is gone. */
void graft_endpoint_release(struct graft_endpoint *ep)
{
	call_rcu(&ep->rcu, graft_endpoint_free);
}

/* Make a name of @len bytes, at most 63, ready for a look-up. */
struct graft_name graft_name(const char *text, size_t len)
{
	return (struct graft_name){
		.text = text,
		.hash = full_name_hash(NULL, text, len),
		.len = len,
	};
}

/**
 * graft_endpoint_find - find an endpoint by a name that is ready
 * @t: the table
 * @name: the name
 *
 * The caller is in an RCU read section.
 *
 * Return: the endpoint with a reference that the caller puts, or NULL.
 */
struct graft_endpoint *graft_endpoint_find(struct graft_table *t,
					   const struct graft_name *name)
{
	struct graft_endpoint *ep;

	ep = rhashtable_lookup(&t->endpoints, name, graft_endpoint_params);
	if (ep && !refcount_inc_not_zero(&ep->refs))
		ep = NULL;
	return ep;
}

/**
 * graft_endpoint_get - find an endpoint by name
 * @t: the table
 * @name: need not be NUL-terminated
 * @len: its length, at most 63
 *
 * Return: the endpoint with a reference that the caller puts, or NULL.
 */
struct graft_endpoint *graft_endpoint_get(struct graft_table *t,
					  const char *name, size_t len)
{
	const struct graft_name ready = graft_name(name, len);
	struct graft_endpoint *ep;

	rcu_read_lock();
	ep = graft_endpoint_find(t, &ready);
	rcu_read_unlock();
	return ep;
}

/**
 * graft_endpoint_conf - copy an endpoint's configuration
 * @ep: the endpoint
 * @conf: the copy; its target may not be dereferenced, its path is @path
 * @path: room for a unix endpoint's name, or NULL
 */
void graft_endpoint_conf(struct graft_endpoint *ep, struct graft_ep_conf *conf,
			 char path[GRAFT_UNIX_NAME_MAX])
{
	spin_lock(&ep->lock);
	*conf = ep->conf;
	if (path && conf->path)
		memcpy(path, conf->path, conf->path_len);
	spin_unlock(&ep->lock);
	conf->path = conf->path ? path : NULL;
}

/* Count a denial at @ep. The array comes with the first; few ever need it. */
void graft_endpoint_denied(struct graft_endpoint *ep, enum graft_reason reason)
{
	atomic64_t *denials = READ_ONCE(ep->denials);

	if (!denials) {
		denials = kcalloc(__GRAFT_REASON_MAX, sizeof(*denials),
				  GFP_ATOMIC | __GFP_NOWARN);
		if (!denials)
			return;
		if (cmpxchg(&ep->denials, NULL, denials)) {
			kfree(denials);
			denials = READ_ONCE(ep->denials);
		}
	}
	atomic64_inc(&denials[reason]);
}

/**
 * graft_endpoint_alloc - make an endpoint that is in no table yet
 * @name: its name
 * @len: the name's length, 1 to 63
 *
 * Return: the endpoint with the reference that graft_endpoint_add() takes over,
 * or NULL when memory is short.
 */
struct graft_endpoint *graft_endpoint_alloc(const char *name, size_t len)
{
	struct graft_endpoint *ep;

	ep = kzalloc(struct_size(ep, name, len + 1), GFP_KERNEL_ACCOUNT);
	if (!ep)
		return NULL;
	refcount_set(&ep->refs, 1);
	spin_lock_init(&ep->lock);
	INIT_LIST_HEAD(&ep->target_node);
	ep->hash = full_name_hash(NULL, name, len);
	ep->name_len = len;
	memcpy(ep->name, name, len);
	return ep;
}

/*
 * Give @ep the configuration @conf and put it on its target's list, so that the
 * target's end reaches it. The caller holds the target, if any.
 */
static void graft_endpoint_aim(struct graft_endpoint *ep,
			       const struct graft_ep_conf *conf)
{
	spin_lock(&graft_nets_lock);
	list_del_init(&ep->target_node);
	spin_lock(&ep->lock);
	ep->conf = *conf;
	spin_unlock(&ep->lock);
	if (conf->target)
		list_add_tail(&ep->target_node,
			      &graft_table(conf->target)->targeted);
	spin_unlock(&graft_nets_lock);
}

/* Take @ep's target away: nobody would tell @ep any more when it goes. */
static void graft_endpoint_unaim(struct graft_endpoint *ep)
{
	spin_lock(&graft_nets_lock);
	list_del_init(&ep->target_node);
	spin_lock(&ep->lock);
	ep->conf.target = NULL;
	spin_unlock(&ep->lock);
	spin_unlock(&graft_nets_lock);
}

/**
 * graft_endpoint_add - put a new endpoint into a table
 * @t: the table, whose lock the caller holds
 * @ep: the endpoint, which the table owns on success
 * @conf: its configuration, whose target the caller holds; its path is taken
 *	over on success
 *
 * Return: 0, -EEXIST, -ENOSPC when the table is full, or -ENOMEM.
 */
int graft_endpoint_add(struct graft_table *t, struct graft_endpoint *ep,
		       struct graft_ep_conf *conf)
{
	struct graft_name key = { ep->name, ep->hash, ep->name_len };
	struct graft_endpoint *old;
	int err;

	lockdep_assert_held(&t->lock);
	if (t->n_endpoints >= t->max_endpoints)
		return -ENOSPC;

	err = xa_alloc_cyclic(&t->ids, &ep->id, NULL,
			      XA_LIMIT(1, INT_MAX), &t->next_id, GFP_KERNEL);
	if (err < 0)
		return err == -EBUSY ? -ENOSPC : err;

	graft_endpoint_aim(ep, conf);
	rcu_read_lock();
	old = rhashtable_lookup_get_insert_key(&t->endpoints, &key, &ep->node,
					       graft_endpoint_params);
	rcu_read_unlock();
	if (old) {
		graft_endpoint_unaim(ep);
		ep->conf.path = NULL;
		xa_erase(&t->ids, ep->id);
		return IS_ERR(old) ? PTR_ERR(old) : -EEXIST;
	}
	xa_store(&t->ids, ep->id, ep, GFP_KERNEL); /* reserved: cannot fail */
	t->n_endpoints++;
	return 0;
}

/**
 * graft_endpoint_change - give an endpoint another configuration
 * @ep: the endpoint, whose table's lock the caller holds
 * @conf: as in graft_endpoint_add(); its path is taken over
 *
 * Live sockets keep what they have.
 */
void graft_endpoint_change(struct graft_endpoint *ep,
			   struct graft_ep_conf *conf)
{
	char *path = ep->conf.path;

	graft_endpoint_aim(ep, conf);
	kfree(path);
}

/* Take @ep out of @t, whose lock the caller holds. Live sockets keep it. */
void graft_endpoint_remove(struct graft_table *t, struct graft_endpoint *ep)
{
	lockdep_assert_held(&t->lock);
	WRITE_ONCE(ep->removed, true);
	rhashtable_remove_fast(&t->endpoints, &ep->node, graft_endpoint_params);
	xa_erase(&t->ids, ep->id);
	t->n_endpoints--;
	graft_endpoint_unaim(ep);
	graft_endpoint_put(ep);
}

static bool graft_table_is_blank(const struct graft_table *t)
{
	return !t->n_endpoints && !rcu_access_pointer(t->rules) &&
	       !rcu_access_pointer(t->acl) && !t->frozen &&
	       t->max_sockets == GRAFT_MAX_SOCKETS &&
	       t->max_ephemeral == GRAFT_MAX_EPHEMERAL &&
	       t->max_endpoints == GRAFT_MAX_ENDPOINTS;
}

/**
 * graft_table_changed - note a change
 * @t: the table, whose lock the caller holds
 * @writer: the namespace that the change came from, held
 *
 * A table belongs to the first that writes into it, until nothing is left in it.
 */
void graft_table_changed(struct graft_table *t, struct net *writer)
{
	lockdep_assert_held(&t->lock);
	/* not seen before what changed; pairs with graft_police_send() */
	smp_store_release(&t->generation, t->generation + 1);

	spin_lock(&graft_nets_lock);
	if (graft_table_is_blank(t)) {
		list_del_init(&t->owner_node);
		WRITE_ONCE(t->owner, NULL);
	} else if (!t->owner) {
		list_add_tail(&t->owner_node, &graft_table(writer)->owned);
		WRITE_ONCE(t->owner, writer);
	}
	spin_unlock(&graft_nets_lock);
}

/* The namespace that writes @t, with a reference that the caller puts, or NULL. */
struct net *graft_table_owner(struct graft_table *t)
{
	struct net *owner = READ_ONCE(t->owner);

	if (!owner)
		return NULL;
	if (owner == &init_net)
		return get_net(owner);
	spin_lock(&graft_nets_lock);
	owner = t->owner ? maybe_get_net(t->owner) : NULL;
	spin_unlock(&graft_nets_lock);
	return owner;
}

u32 graft_tables_seq(void)
{
	return atomic_read(&graft_nets_seq);
}

static int __net_init graft_table_net_init(struct net *net)
{
	struct graft_table *t = graft_table(net);
	int err;

	err = rhashtable_init(&t->endpoints, &graft_endpoint_params);
	if (err)
		return err;
	t->net = net;
	mutex_init(&t->lock);
	xa_init_flags(&t->ids, XA_FLAGS_ALLOC1);
	spin_lock_init(&t->sockets_lock);
	t->max_sockets = GRAFT_MAX_SOCKETS;
	t->max_ephemeral = GRAFT_MAX_EPHEMERAL;
	t->max_endpoints = GRAFT_MAX_ENDPOINTS;
	INIT_LIST_HEAD(&t->targeted);
	INIT_LIST_HEAD(&t->owned);
	INIT_LIST_HEAD(&t->owner_node);
	atomic_inc(&graft_nets_seq);
	return 0;
}

/*
 * Nobody can find @net any more: every socket that it made is gone (they hold
 * it), and so is every request. Endpoints of other tables that aim at it may
 * still be read; they lose it here, before the namespace's memory goes.
 */
static void __net_exit graft_table_net_exit(struct net *net)
{
	struct graft_table *t = graft_table(net);
	struct graft_table *owned, *next_owned;
	struct graft_endpoint *ep, *next;
	unsigned long id;

	atomic_inc(&graft_nets_seq);
	mutex_lock(&t->lock);
	xa_for_each(&t->ids, id, ep)
		graft_endpoint_remove(t, ep);
	graft_rules_free(rcu_replace_pointer(t->rules, NULL, true));
	graft_acl_free(rcu_replace_pointer(t->acl, NULL, true));
	mutex_unlock(&t->lock);

	spin_lock(&graft_nets_lock);
	list_for_each_entry_safe(ep, next, &t->targeted, target_node) {
		spin_lock(&ep->lock);
		ep->conf.target = NULL;
		spin_unlock(&ep->lock);
		list_del_init(&ep->target_node);
	}
	list_for_each_entry_safe(owned, next_owned, &t->owned, owner_node) {
		WRITE_ONCE(owned->owner, NULL);
		list_del_init(&owned->owner_node);
	}
	list_del_init(&t->owner_node);
	spin_unlock(&graft_nets_lock);

	WARN_ON(atomic_read(&t->n_sockets));
	graft_socket_free_spare(t);
	xa_destroy(&t->ids);
	rhashtable_destroy(&t->endpoints);
}

static struct pernet_operations graft_table_net_ops = {
	.init	= graft_table_net_init,
	.exit	= graft_table_net_exit,
	.id	= &graft_table_net_id,
	.size	= sizeof(struct graft_table),
};

int graft_table_init(void)
{
	return register_pernet_subsys(&graft_table_net_ops);
}

void graft_table_exit(void)
{
	unregister_pernet_subsys(&graft_table_net_ops);
	rcu_barrier();
}
