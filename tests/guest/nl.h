/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The family "graft" for C programs: messages are built in one buffer, several of them go out in one send, and the
 * acknowledgements are counted. What fails ends the program with a sentence.
 */
#ifndef GRAFT_TESTS_NL_H
#define GRAFT_TESTS_NL_H

#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <linux/genetlink.h>
#include <linux/graft.h>
#include <linux/netlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define NL_ROOM (4 << 20)

struct nl {
	int fd;
	__u16 family;
	__u32 sequence;
	__u32 unanswered;
	size_t used;
	struct nlmsghdr *current;
	char *room;
};

static inline void *nl_reserve(struct nl *nl, size_t size)
{
	void *at = nl->room + nl->used;

	if (nl->used + NLMSG_ALIGN(size) > NL_ROOM)
		errx(2, "a netlink batch is larger than %d bytes", NL_ROOM);
	memset(at, 0, NLMSG_ALIGN(size));
	nl->used += NLMSG_ALIGN(size);
	return at;
}

static inline void nl_begin(struct nl *nl, __u16 kind, __u8 command, __u16 flags)
{
	struct genlmsghdr *genl;

	nl->current = nl_reserve(nl, sizeof(*nl->current));
	genl = nl_reserve(nl, sizeof(*genl));
	nl->current->nlmsg_type = kind;
	nl->current->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | flags;
	nl->current->nlmsg_seq = ++nl->sequence;
	genl->cmd = command;
	genl->version = 1;
}

static inline void nl_end(struct nl *nl)
{
	nl->current->nlmsg_len = nl->room + nl->used - (char *)nl->current;
	nl->unanswered++;
}

static inline void nl_put(struct nl *nl, __u16 kind, const void *data, size_t size)
{
	struct nlattr *attr = nl_reserve(nl, NLA_HDRLEN + size);

	attr->nla_type = kind;
	attr->nla_len = NLA_HDRLEN + size;
	memcpy((char *)attr + NLA_HDRLEN, data, size);
}

static inline void nl_u8(struct nl *nl, __u16 kind, __u8 value)
{
	nl_put(nl, kind, &value, sizeof(value));
}

static inline void nl_u16(struct nl *nl, __u16 kind, __u16 value)
{
	nl_put(nl, kind, &value, sizeof(value));
}

static inline void nl_u32(struct nl *nl, __u16 kind, __u32 value)
{
	nl_put(nl, kind, &value, sizeof(value));
}

static inline void nl_string(struct nl *nl, __u16 kind, const char *value)
{
	nl_put(nl, kind, value, strlen(value) + 1);
}

static inline struct nlattr *nl_nest(struct nl *nl, __u16 kind)
{
	struct nlattr *attr = nl_reserve(nl, NLA_HDRLEN);

	attr->nla_type = kind | NLA_F_NESTED;
	return attr;
}

static inline void nl_unnest(struct nl *nl, struct nlattr *attr)
{
	attr->nla_len = nl->room + nl->used - (char *)attr;
}

/* Send what was built. */
static inline void nl_send(struct nl *nl)
{
	if (send(nl->fd, nl->room, nl->used, 0) != (ssize_t)nl->used)
		err(2, "cannot send %zu bytes of netlink messages", nl->used);
	nl->used = 0;
}

/* Wait for every acknowledgement that is due. Return the errno of the last refusal, or 0. */
static inline int nl_wait(struct nl *nl)
{
	char room[1 << 16] __attribute__((aligned(NLMSG_ALIGNTO)));
	int refused = 0;

	while (nl->unanswered) {
		struct nlmsghdr *header = (struct nlmsghdr *)room;
		ssize_t got = recv(nl->fd, room, sizeof(room), 0);

		if (got < 0)
			err(2, "cannot receive from netlink");
		for (; NLMSG_OK(header, got); header = NLMSG_NEXT(header, got)) {
			struct nlmsgerr *answer = NLMSG_DATA(header);

			if (header->nlmsg_type != NLMSG_ERROR)
				continue;
			nl->unanswered--;
			if (answer->error)
				refused = -answer->error;
		}
	}
	return refused;
}

/* Send what was built and wait for its acknowledgements. */
static inline int nl_commit(struct nl *nl)
{
	nl_send(nl);
	return nl_wait(nl);
}

static inline __u16 nl_resolve(struct nl *nl, const char *name)
{
	char room[1 << 14] __attribute__((aligned(NLMSG_ALIGNTO)));
	struct nlmsghdr *header = (struct nlmsghdr *)room;
	struct nlattr *attr;
	ssize_t got;
	char *end;

	nl_begin(nl, GENL_ID_CTRL, CTRL_CMD_GETFAMILY, 0);
	nl_string(nl, CTRL_ATTR_FAMILY_NAME, name);
	nl_end(nl);
	nl_send(nl);
	got = recv(nl->fd, room, sizeof(room), 0);
	if (got < 0)
		err(2, "cannot receive from netlink");
	if (header->nlmsg_type == NLMSG_ERROR)
		errx(2, "there is no netlink family \"%s\": load graft.ko", name);
	end = (char *)header + header->nlmsg_len;
	attr = (struct nlattr *)((char *)NLMSG_DATA(header) + GENL_HDRLEN);
	while ((char *)attr < end && attr->nla_type != CTRL_ATTR_FAMILY_ID)
		attr = (struct nlattr *)((char *)attr + NLA_ALIGN(attr->nla_len));
	if ((char *)attr >= end)
		errx(2, "the netlink family \"%s\" has no number", name);
	nl_wait(nl);
	return *(__u16 *)((char *)attr + NLA_HDRLEN);
}

/* Open a socket of the family in the current network namespace. */
static inline void nl_open(struct nl *nl)
{
	int room = 8 << 20, yes = 1;

	*nl = (struct nl){ .fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_GENERIC),
			   .room = malloc(NL_ROOM) };
	if (nl->fd < 0 || !nl->room)
		err(2, "cannot open a netlink socket");
	setsockopt(nl->fd, SOL_NETLINK, NETLINK_CAP_ACK, &yes, sizeof(yes));
	/* One message holds all the rules of a table, and a batch is acknowledged all at once. */
	setsockopt(nl->fd, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room));
	setsockopt(nl->fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room));
	nl->family = nl_resolve(nl, GRAFT_GENL_NAME);
}

static inline void nl_close(struct nl *nl)
{
	close(nl->fd);
	free(nl->room);
}

static inline void nl_graft(struct nl *nl, __u8 command, __u16 flags, int table)
{
	nl_begin(nl, nl->family, command, flags);
	nl_u32(nl, GRAFT_A_NETNS_FD, table);
}

/* An endpoint in the table of the namespace ``table``, with ports ``low`` to ``high``; ``size`` tells its family. */
static inline void nl_endpoint_at(struct nl *nl, int table, int target, const char *name, const void *address,
				  size_t size, __u16 low, __u16 high)
{
	struct nlattr *nest;

	nl_graft(nl, GRAFT_CMD_ENDPOINT_NEW, NLM_F_CREATE | NLM_F_REPLACE, table);
	nest = nl_nest(nl, GRAFT_A_ENDPOINT);
	nl_string(nl, GRAFT_EP_A_NAME, name);
	nl_u8(nl, GRAFT_EP_A_TYPE, size == sizeof(in_addr_t) ? GRAFT_EP_IPV4 : GRAFT_EP_IPV6);
	nl_put(nl, GRAFT_EP_A_ADDRESS, address, size);
	nl_u16(nl, GRAFT_EP_A_PORT_LO, low);
	nl_u16(nl, GRAFT_EP_A_PORT_HI, high);
	nl_u32(nl, GRAFT_EP_A_TARGET_FD, target);
	nl_unnest(nl, nest);
	nl_end(nl);
}

/* The same, of type ipv4. */
static inline void nl_endpoint(struct nl *nl, int table, int target, const char *name, in_addr_t address, __u16 low,
			       __u16 high)
{
	nl_endpoint_at(nl, table, target, name, &address, sizeof(address), low, high);
}

static inline void nl_endpoint_del(struct nl *nl, int table, const char *name, int abort)
{
	struct nlattr *nest;

	nl_graft(nl, GRAFT_CMD_ENDPOINT_DEL, 0, table);
	nest = nl_nest(nl, GRAFT_A_ENDPOINT);
	nl_string(nl, GRAFT_EP_A_NAME, name);
	nl_unnest(nl, nest);
	if (abort)
		nl_put(nl, GRAFT_A_ABORT, "", 0);
	nl_end(nl);
}

/* Abort the live sockets of the endpoints of this name. */
static inline void nl_socket_abort(struct nl *nl, int table, const char *name)
{
	struct nlattr *nest;

	nl_graft(nl, GRAFT_CMD_SOCKET_ABORT, 0, table);
	nest = nl_nest(nl, GRAFT_A_SOCKET);
	nl_string(nl, GRAFT_SOCK_A_ENDPOINT, name);
	nl_unnest(nl, nest);
	nl_end(nl);
}

/* One rule inside a RULES_SET; a prefix of no length is every address of both families. */
static inline void nl_rule_at(struct nl *nl, __u8 direction, const void *address, size_t size, __u8 length, __u16 low,
			      __u16 high, const char *endpoint)
{
	struct nlattr *nest = nl_nest(nl, GRAFT_A_RULE);

	nl_u8(nl, GRAFT_RULE_A_DIRECTION, direction);
	if (length) {
		nl_put(nl, GRAFT_RULE_A_ADDRESS, address, size);
		nl_u8(nl, GRAFT_RULE_A_PREFIXLEN, length);
	}
	nl_u16(nl, GRAFT_RULE_A_PORT_LO, low);
	nl_u16(nl, GRAFT_RULE_A_PORT_HI, high);
	nl_u8(nl, GRAFT_RULE_A_VERDICT, GRAFT_VERDICT_ENDPOINT);
	nl_string(nl, GRAFT_RULE_A_ENDPOINT, endpoint);
	nl_unnest(nl, nest);
}

/* The same, of IPv4 or of every address. */
static inline void nl_rule(struct nl *nl, __u8 direction, in_addr_t address, __u8 length, __u16 low, __u16 high,
			   const char *endpoint)
{
	nl_rule_at(nl, direction, &address, sizeof(address), length, low, high, endpoint);
}

/* The only ACL rule: whatever the target's own addresses serve may be reached. */
static inline void nl_acl_local(struct nl *nl, int table)
{
	struct nlattr *nest;

	nl_graft(nl, GRAFT_CMD_ACL_SET, 0, table);
	nest = nl_nest(nl, GRAFT_A_ACL);
	nl_u8(nl, GRAFT_ACL_A_ALLOW, 1);
	nl_put(nl, GRAFT_ACL_A_LOCAL, "", 0);
	nl_unnest(nl, nest);
	nl_end(nl);
}

/* The only ACL rule: nothing may be done that needs these verbs, and what is done by them is aborted. */
static inline void nl_acl_no(struct nl *nl, int table, __u8 verbs)
{
	struct nlattr *nest;

	nl_graft(nl, GRAFT_CMD_ACL_SET, 0, table);
	nest = nl_nest(nl, GRAFT_A_ACL);
	nl_u8(nl, GRAFT_ACL_A_ALLOW, 0);
	nl_u8(nl, GRAFT_ACL_A_VERBS, verbs);
	nl_unnest(nl, nest);
	nl_put(nl, GRAFT_A_ABORT, "", 0);
	nl_end(nl);
}

#endif
