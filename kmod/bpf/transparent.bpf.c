// SPDX-License-Identifier: GPL-2.0
/*
 * The BPF door: sockets of whole namespaces come through door 2, whatever
 * their programs were compiled from.
 *
 * The kernel asks update_socket_protocol() which protocol a socket() call is
 * for. In a namespace whose cookie is in the map, IPPROTO_GRAFT is the answer
 * for what the preload library would ask for as well, and for nothing else.
 * An answer of 0 leaves the call as it is.
 *
 * While graft.ko is not loaded nobody serves that protocol, so sockets stay
 * native: the module is seen to open door 2 and to close it.
 */

#include <linux/bpf.h>
#include <linux/in.h>
#include <stdbool.h>

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include <linux/graft.h>

#define AF_INET 2
#define AF_INET6 10
#define SOCK_STREAM 1
#define SOCK_DGRAM 2
#define SOCK_TYPE_MASK 0xf /* the rest is SOCK_NONBLOCK and SOCK_CLOEXEC */

/* Once, and whole: graftd writes meanwhile. */
#define READ_ONCE(x) (*(const volatile typeof(x) *)&(x))

/* What is read of the kernel's own; where it lies is found when this is loaded. */
#define KERNEL_TYPE __attribute__((preserve_access_index))

struct net {
	__u64 net_cookie;
} KERNEL_TYPE;

struct nsproxy {
	struct net *net_ns;
} KERNEL_TYPE;

struct task_struct {
	struct nsproxy *nsproxy;
} KERNEL_TYPE;

struct inet_protosw {
	unsigned short type;
	unsigned short protocol;
} KERNEL_TYPE;

/* The namespaces, by cookie: graftd's to fill. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, __u64);
	__type(value, __u8);
} graft_transparent SEC(".maps");

/*
 * By a hash of the cookie, who in the map has that hash: nobody, the one whose
 * cookie it is, or SEVERAL. It tells nearly all that is asked, for a look into
 * the map costs half as much as the kernel's call of this program. graftd's as
 * well, which names nobody who is not in the map.
 */
#define HASH_BITS 14
#define HASH(cookie) ((cookie) * 0x9e3779b97f4a7c15 >> (64 - HASH_BITS))
#define NOBODY 0ULL
#define SEVERAL (~0ULL)

struct hints {
	__u64 hint[1 << HASH_BITS];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct hints);
} graft_hints SEC(".maps");

/* Whether graft.ko serves door 2. */
bool door_is_open;

/* The host's own namespace, which is never transparent. */
__u64 host_cookie;

static __always_inline bool is_transparent(__u64 cookie)
{
	__u32 only = 0;
	struct hints *hints = bpf_map_lookup_elem(&graft_hints, &only);
	__u64 hint = hints ? READ_ONCE(hints->hint[HASH(cookie)]) : NOBODY;

	if (hint == NOBODY || cookie == host_cookie)
		return false;
	return hint == cookie ||
	       (hint == SEVERAL &&
		bpf_map_lookup_elem(&graft_transparent, &cookie));
}

static __always_inline bool graftable(int type, int protocol)
{
	switch (type & SOCK_TYPE_MASK) {
	case SOCK_STREAM:
		return protocol == 0 || protocol == IPPROTO_TCP ||
		       protocol == IPPROTO_MPTCP;
	case SOCK_DGRAM:
		return protocol == 0 || protocol == IPPROTO_UDP;
	}
	return false;
}

static __always_inline int answer(int family, int type, int protocol)
{
	struct task_struct *task;
	__u64 cookie;

	if (family != AF_INET && family != AF_INET6)
		return 0;
	/* A task that is ending has no nsproxy; what is read through it is 0. */
	task = bpf_get_current_task_btf();
	cookie = task->nsproxy->net_ns->net_cookie;
	if (!is_transparent(cookie))
		return 0;
	if (!door_is_open || !graftable(type, protocol))
		return 0;
	return IPPROTO_GRAFT;
}

SEC("fmod_ret/update_socket_protocol")
int BPF_PROG(transparent, int family, int type, int protocol)
{
	return answer(family, type, protocol);
}

/*
 * The kernel lets no program run within itself on one processor, and takes a
 * task that was preempted in it for that: sockets of other tasks pass it by,
 * until that one goes on. Where kernels preempt, this one is there for them.
 */
SEC("fmod_ret/update_socket_protocol")
int BPF_PROG(transparent_too, int family, int type, int protocol)
{
	return answer(family, type, protocol);
}

/* The module opens streams of IPv4 last, and closes them first. */
static __always_inline bool is_the_door(struct inet_protosw *kind)
{
	return kind->protocol == IPPROTO_GRAFT && kind->type == SOCK_STREAM;
}

SEC("fexit/inet_register_protosw")
int BPF_PROG(door_opens, struct inet_protosw *kind)
{
	if (is_the_door(kind))
		door_is_open = true;
	return 0;
}

SEC("fentry/inet_unregister_protosw")
int BPF_PROG(door_closes, struct inet_protosw *kind)
{
	if (is_the_door(kind))
		door_is_open = false;
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
