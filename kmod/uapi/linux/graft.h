/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * Socket grafting: what programs and the control plane share with graft.ko.
 * The netlink part is described by kmod/spec/graft.yaml.
 */
#ifndef _UAPI_LINUX_GRAFT_H
#define _UAPI_LINUX_GRAFT_H

#include <linux/types.h>
#include <linux/socket.h>

/* Longest endpoint name, its NUL included. */
#define GRAFT_NAME_MAX		64

/*
 * Door 1. Linux gives out no family numbers at run time, so the module borrows
 * AF_IPX unless its parameter "family" says otherwise; GRAFT_CMD_INFO_GET tells
 * the number in use.
 */
#ifndef AF_GRAFT
#define AF_GRAFT		4
#define PF_GRAFT		AF_GRAFT
#endif

struct sockaddr_gr {
	__kernel_sa_family_t	sgr_family;
	char			sgr_epname[GRAFT_NAME_MAX];
};

/*
 * Door 2: the third argument of socket(AF_INET or AF_INET6, ...), and the level
 * of the socket options below.
 */
#ifndef IPPROTO_GRAFT
#define IPPROTO_GRAFT		254
#endif

/* Options at level IPPROTO_GRAFT. */
#define GRAFT_SO_ENDPOINT	1	/* get: char[], the endpoint's name */
#define GRAFT_SO_STATE		2	/* get: __u32, enum graft_state */
#define GRAFT_SO_RULES		3	/* set, before the decision: struct graft_rule[] */

#define GRAFT_SO_RULES_MAX	64	/* rules in one GRAFT_SO_RULES */

enum graft_state {
	GRAFT_STATE_UNDECIDED = 1,
	GRAFT_STATE_GRAFTED,
	GRAFT_STATE_REVOKED,
};

enum graft_direction {
	GRAFT_INGRESS = 1,		/* decides at bind */
	GRAFT_EGRESS,			/* decides at connect or first addressed send */
};

enum graft_verdict {
	GRAFT_VERDICT_ENDPOINT = 1,
	GRAFT_VERDICT_NATIVE,
	GRAFT_VERDICT_DENY,
};

/* Bits of a protocol set. */
#define GRAFT_PROTO_TCP		1
#define GRAFT_PROTO_UDP		2
#define GRAFT_PROTO_ALL		(GRAFT_PROTO_TCP | GRAFT_PROTO_UDP)

/*
 * A rule of one socket, which takes the place of the namespace's rules. Ports
 * are in host order; 1-65535 is every port, 0 is a bind that asks for any port.
 */
struct graft_rule {
	__u8	direction;		/* enum graft_direction */
	__u8	family;			/* AF_INET, AF_INET6; 0: both (prefixlen 0) */
	__u8	prefixlen;
	__u8	protocols;		/* GRAFT_PROTO_* */
	__u8	verdict;		/* enum graft_verdict */
	__u8	reserved[3];		/* zero */
	__u16	port_lo;
	__u16	port_hi;
	__u8	address[16];		/* network order; IPv4 in the first four */
	char	endpoint[GRAFT_NAME_MAX]; /* where verdict is ENDPOINT */
};

/* Netlink. */
#define GRAFT_GENL_NAME		"graft"
#define GRAFT_GENL_VERSION	1
#define GRAFT_MCGRP_TABLE	"table"		/* changes of tables */
#define GRAFT_MCGRP_EVENT	"event"		/* grafts, natives, denials */

enum graft_cmd {
	GRAFT_CMD_UNSPEC,
	GRAFT_CMD_INFO_GET,		/* do */
	GRAFT_CMD_CLAIM,		/* do: only the caller writes from here */
	GRAFT_CMD_UNCLAIM,		/* do; closing the socket does the same */
	GRAFT_CMD_TABLE_GET,		/* do, dump */
	GRAFT_CMD_TABLE_SET,		/* do: limits, freeze */
	GRAFT_CMD_ENDPOINT_NEW,		/* do: NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE */
	GRAFT_CMD_ENDPOINT_DEL,		/* do */
	GRAFT_CMD_ENDPOINT_GET,		/* do, dump */
	GRAFT_CMD_RULES_SET,		/* do: replaces all rules of the table */
	GRAFT_CMD_RULES_GET,		/* dump */
	GRAFT_CMD_ACL_SET,		/* do: replaces all ACL rules of the table */
	GRAFT_CMD_ACL_GET,		/* dump */
	GRAFT_CMD_SOCKET_GET,		/* dump */
	GRAFT_CMD_SOCKET_ABORT,		/* do: by cookie, or by endpoint */

	/* notifications, group "table" */
	GRAFT_CMD_TABLE_NTF,		/* limits or freeze changed */
	GRAFT_CMD_ENDPOINT_NTF,		/* endpoint new or changed */
	GRAFT_CMD_ENDPOINT_DEL_NTF,
	GRAFT_CMD_RULES_NTF,
	GRAFT_CMD_ACL_NTF,
	GRAFT_CMD_CLAIM_NTF,		/* claimed, or (no claimant) released */
	/* notification, group "event" */
	GRAFT_CMD_EVENT_NTF,

	__GRAFT_CMD_MAX,
	GRAFT_CMD_MAX = __GRAFT_CMD_MAX - 1
};

/* Attributes of every message. */
enum graft_attr {
	GRAFT_A_UNSPEC,
	GRAFT_A_PAD,
	GRAFT_A_NETNS_FD,		/* u32: the table namespace; absent: the socket's */
	GRAFT_A_NETNS_COOKIE,		/* u64: the table namespace, in answers */
	GRAFT_A_GENERATION,		/* u64: in a *_SET: ESTALE unless equal */
	GRAFT_A_INFO,			/* nest, enum graft_info_attr */
	GRAFT_A_CLAIMANT,		/* string: process name; in CLAIM: how to be called */
	GRAFT_A_CLAIMANT_PID,		/* u32 */
	GRAFT_A_TABLE,			/* nest, enum graft_table_attr */
	GRAFT_A_ENDPOINT,		/* nest, enum graft_ep_attr */
	GRAFT_A_RULE,			/* nest, enum graft_rule_attr; repeated */
	GRAFT_A_ACL,			/* nest, enum graft_acl_attr; repeated, in order */
	GRAFT_A_SOCKET,			/* nest, enum graft_sock_attr */
	GRAFT_A_EVENT,			/* nest, enum graft_event_attr */
	GRAFT_A_ABORT,			/* flag: abort live sockets that lose their grant */
	GRAFT_A_ABORTED,		/* u32: sockets aborted, in answers */

	__GRAFT_A_MAX,
	GRAFT_A_MAX = __GRAFT_A_MAX - 1
};

enum graft_info_attr {
	GRAFT_INFO_A_UNSPEC,
	GRAFT_INFO_A_VERSION,		/* string: the module's */
	GRAFT_INFO_A_FAMILY,		/* u32: AF_GRAFT's number */
	GRAFT_INFO_A_IPV6,		/* flag */
	GRAFT_INFO_A_SOL_SOCKET,	/* flag: SOL_SOCKET options are policed as they are set */

	__GRAFT_INFO_A_MAX,
	GRAFT_INFO_A_MAX = __GRAFT_INFO_A_MAX - 1
};

enum graft_table_attr {
	GRAFT_TABLE_A_UNSPEC,
	GRAFT_TABLE_A_MAX_SOCKETS,	/* u32: live grafted sockets */
	GRAFT_TABLE_A_MAX_EPHEMERAL,	/* u32: of them, those whose port the kernel chose */
	GRAFT_TABLE_A_MAX_ENDPOINTS,	/* u32 */
	GRAFT_TABLE_A_FROZEN,		/* u8: 1 denies new grafts */
	GRAFT_TABLE_A_ENDPOINTS,	/* u32, answers only, as are the rest */
	GRAFT_TABLE_A_RULES,		/* u32 */
	GRAFT_TABLE_A_ACLS,		/* u32 */
	GRAFT_TABLE_A_SOCKETS,		/* u32 */
	GRAFT_TABLE_A_EPHEMERAL,	/* u32 */
	GRAFT_TABLE_A_OWNER_COOKIE,	/* u64: the namespace that writes this table */

	__GRAFT_TABLE_A_MAX,
	GRAFT_TABLE_A_MAX = __GRAFT_TABLE_A_MAX - 1
};

enum graft_ep_type {
	GRAFT_EP_IPV4 = 1,
	GRAFT_EP_IPV6,
	GRAFT_EP_UNIX,
};

enum graft_ep_attr {
	GRAFT_EP_A_UNSPEC,
	GRAFT_EP_A_PAD,
	GRAFT_EP_A_NAME,		/* string, 1 to 63 bytes */
	GRAFT_EP_A_TYPE,		/* u8, enum graft_ep_type */
	GRAFT_EP_A_ADDRESS,		/* 4 or 16 bytes, network order */
	GRAFT_EP_A_PATH,		/* 1 to 107 bytes: abstract name without its first NUL */
	GRAFT_EP_A_PORT_LO,		/* u16; 0: any */
	GRAFT_EP_A_PORT_HI,		/* u16; equal to LO: that port */
	GRAFT_EP_A_PROTOCOLS,		/* u8, GRAFT_PROTO_*; absent: both */
	GRAFT_EP_A_TARGET_FD,		/* u32, in requests: the target; init_net may name any */
	GRAFT_EP_A_TARGET_COOKIE,	/* u64, in answers; 0: the target is gone */
	GRAFT_EP_A_MARK,		/* u32: SO_MARK of its sockets */
	GRAFT_EP_A_DEVICE,		/* string: of the target; binds its sockets */
	GRAFT_EP_A_MAX_SOCKETS,		/* u32; 0: no limit of its own */
	GRAFT_EP_A_PRIVILEGED,		/* flag: CAP_NET_ADMIN over the target is no bar */
	GRAFT_EP_A_ACTIVE,		/* u64, counters in answers, as are the rest */
	GRAFT_EP_A_BINDS,		/* u64 */
	GRAFT_EP_A_CONNECTS,		/* u64 */
	GRAFT_EP_A_ACCEPTS,		/* u64 */
	GRAFT_EP_A_DENIALS,		/* nest: u64 each, its type an enum graft_reason */

	__GRAFT_EP_A_MAX,
	GRAFT_EP_A_MAX = __GRAFT_EP_A_MAX - 1
};

enum graft_rule_attr {
	GRAFT_RULE_A_UNSPEC,
	GRAFT_RULE_A_DIRECTION,		/* u8, enum graft_direction */
	GRAFT_RULE_A_ADDRESS,		/* 4 or 16 bytes; absent: every address of both families */
	GRAFT_RULE_A_PREFIXLEN,		/* u8; absent: the whole address */
	GRAFT_RULE_A_PROTOCOLS,		/* u8, GRAFT_PROTO_*; absent: both */
	GRAFT_RULE_A_PORT_LO,		/* u16; absent: 1; 0 matches a bind to port 0 */
	GRAFT_RULE_A_PORT_HI,		/* u16; absent: 65535 without LO, else equal to LO */
	GRAFT_RULE_A_VERDICT,		/* u8, enum graft_verdict */
	GRAFT_RULE_A_ENDPOINT,		/* string, where verdict is ENDPOINT */

	__GRAFT_RULE_A_MAX,
	GRAFT_RULE_A_MAX = __GRAFT_RULE_A_MAX - 1
};

/* Bits of a verb set. */
#define GRAFT_VERB_LISTEN	1
#define GRAFT_VERB_CONNECT	2
#define GRAFT_VERB_ALL		(GRAFT_VERB_LISTEN | GRAFT_VERB_CONNECT)

/*
 * ACL rules are tried in order and the first that matches decides. An endpoint
 * that some allow rule names (or that an allow rule for every endpoint covers)
 * is denied what no rule matches; any other is allowed it.
 */
enum graft_acl_attr {
	GRAFT_ACL_A_UNSPEC,
	GRAFT_ACL_A_ALLOW,		/* u8: 1 allow, 0 deny */
	GRAFT_ACL_A_ENDPOINT,		/* string; absent: every endpoint */
	GRAFT_ACL_A_VERBS,		/* u8, GRAFT_VERB_*; absent: both */
	GRAFT_ACL_A_UID_LO,		/* u32; absent, with HI: every user */
	GRAFT_ACL_A_UID_HI,		/* u32; absent: equal to LO */
	GRAFT_ACL_A_GID_LO,		/* u32; absent, with HI: every group */
	GRAFT_ACL_A_GID_HI,		/* u32; absent: equal to LO */
	GRAFT_ACL_A_OWN_IDS,		/* flag: ids are the table namespace's own */
	GRAFT_ACL_A_ADDRESS,		/* 4 or 16 bytes: destination; absent: every one */
	GRAFT_ACL_A_PREFIXLEN,		/* u8 */
	GRAFT_ACL_A_PORT_LO,		/* u16; absent: every port */
	GRAFT_ACL_A_PORT_HI,		/* u16 */
	GRAFT_ACL_A_PROTOCOLS,		/* u8, GRAFT_PROTO_*; absent: both */
	GRAFT_ACL_A_LOCAL,		/* flag: reaches the target's own addresses */

	__GRAFT_ACL_A_MAX,
	GRAFT_ACL_A_MAX = __GRAFT_ACL_A_MAX - 1
};

enum graft_sock_attr {
	GRAFT_SOCK_A_UNSPEC,
	GRAFT_SOCK_A_PAD,
	GRAFT_SOCK_A_COOKIE,		/* u64 */
	GRAFT_SOCK_A_INODE,		/* u64 */
	GRAFT_SOCK_A_ENDPOINT,		/* string */
	GRAFT_SOCK_A_FAMILY,		/* u16 */
	GRAFT_SOCK_A_TYPE,		/* u16 */
	GRAFT_SOCK_A_PROTOCOL,		/* u16 */
	GRAFT_SOCK_A_STATE,		/* u8: the TCP state */
	GRAFT_SOCK_A_UID,		/* u32, in the initial user namespace */
	GRAFT_SOCK_A_CGROUP_ID,		/* u64 */
	GRAFT_SOCK_A_TARGET_COOKIE,	/* u64 */
	GRAFT_SOCK_A_LOCAL_ADDRESS,	/* 4 or 16 bytes */
	GRAFT_SOCK_A_LOCAL_PORT,	/* u16, host order */
	GRAFT_SOCK_A_REMOTE_ADDRESS,
	GRAFT_SOCK_A_REMOTE_PORT,
	GRAFT_SOCK_A_DOOR,		/* u8: 1 AF_GRAFT, 2 IPPROTO_GRAFT */
	GRAFT_SOCK_A_VERB,		/* u8, GRAFT_VERB_*: by which it was grafted */

	__GRAFT_SOCK_A_MAX,
	GRAFT_SOCK_A_MAX = __GRAFT_SOCK_A_MAX - 1
};

enum graft_event {
	GRAFT_EVENT_GRAFTED = 1,
	GRAFT_EVENT_NATIVE,
	GRAFT_EVENT_DENIED,
};

/* Why a socket was not grafted, or a grafted one was refused something. */
enum graft_reason {
	GRAFT_REASON_NONE,
	GRAFT_REASON_NO_RULE,		/* no rule matches: native */
	GRAFT_REASON_RULE,		/* the rule that matches says native or deny */
	GRAFT_REASON_NO_ENDPOINT,	/* the name is not in the table */
	GRAFT_REASON_TARGET_GONE,	/* the target namespace is gone */
	GRAFT_REASON_FAMILY,		/* the endpoint's family does not serve the socket */
	GRAFT_REASON_PROTOCOL,		/* the endpoint does not serve the protocol */
	GRAFT_REASON_PORT,		/* the port asked for is outside the endpoint's range */
	GRAFT_REASON_ACL,		/* no ACL rule allows it, or one denies it */
	GRAFT_REASON_LOCAL,		/* destination is an address of the target's own */
	GRAFT_REASON_EGRESS,		/* the egress rules do not give it to this endpoint */
	GRAFT_REASON_STATE,		/* the socket carries what may not come along */
	GRAFT_REASON_OPTION,		/* option or ancillary data that is not allowed */
	GRAFT_REASON_CAPABLE,		/* the task could configure the target's network */
	GRAFT_REASON_MAX_SOCKETS,	/* the endpoint's or the table's limit on sockets */
	GRAFT_REASON_MAX_EPHEMERAL,	/* the table's limit on ephemeral ports */
	GRAFT_REASON_FROZEN,		/* the table is frozen */
	GRAFT_REASON_REVOKED,		/* the socket's grant was withdrawn */
	GRAFT_REASON_ADDRESS,		/* the target's stack refused; see the errno */
	GRAFT_REASON_MEMORY,

	__GRAFT_REASON_MAX,
	GRAFT_REASON_MAX = __GRAFT_REASON_MAX - 1
};

enum graft_event_attr {
	GRAFT_EVENT_A_UNSPEC,
	GRAFT_EVENT_A_PAD,
	GRAFT_EVENT_A_KIND,		/* u8, enum graft_event */
	GRAFT_EVENT_A_REASON,		/* u8, enum graft_reason */
	GRAFT_EVENT_A_ERRNO,		/* u32, where denied */
	GRAFT_EVENT_A_DETAIL,		/* string: a sentence */
	GRAFT_EVENT_A_COOKIE,		/* u64: the socket's, as SO_COOKIE */
	GRAFT_EVENT_A_ENDPOINT,		/* string */
	GRAFT_EVENT_A_VERB,		/* u8, GRAFT_VERB_* */
	GRAFT_EVENT_A_UID,		/* u32 */
	GRAFT_EVENT_A_PID,		/* u32, in the initial pid namespace */
	GRAFT_EVENT_A_PROTOCOL,		/* u16 */
	GRAFT_EVENT_A_ADDRESS,		/* 4 or 16 bytes: bound or destination, as asked for */
	GRAFT_EVENT_A_PORT,		/* u16, host order */

	__GRAFT_EVENT_A_MAX,
	GRAFT_EVENT_A_MAX = __GRAFT_EVENT_A_MAX - 1
};

#endif /* _UAPI_LINUX_GRAFT_H */
