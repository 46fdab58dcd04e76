// SPDX-License-Identifier: Apache-2.0
/*
 * Holds many sockets, or namespaces with tables, so that what the kernel needs for them can be measured:
 *
 *   hold listener|bound|connected DOOR ADDRESS LO-HI [ENDPOINT]
 *   hold namespace
 *
 * Reads numbers, one a line, and makes more until it holds so many; answers each with how many it holds. That ends with
 * it, at the end of its input.
 *
 * A listener is TCP, bound and connected are UDP. DOOR is 0 (none), 1 (AF_GRAFT) or 2 (IPPROTO_GRAFT). Sockets are bound
 * to the ports LO to HI of ADDRESS, then to those of the next address; connected ones are not bound but connected to
 * ADDRESS and these ports. ENDPOINT is for door 1: the name's beginning, which the number of the address follows, from 0.
 * A namespace gets a table with one endpoint, whose target is the namespace that the program was started in.
 */
#define _GNU_SOURCE
#include "../guest/nl.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <sys/resource.h>

#define MOST (1 << 20)
#define ENDPOINT_FORMAT "%s%u"

struct sockets {
	int door;
	int type;
	int connects;
	in_addr_t address; /* in host order */
	__u16 low;
	unsigned int ports;
	const char *endpoint;
};

static int open_socket(const struct sockets *sockets)
{
	int protocol = sockets->type == SOCK_STREAM ? IPPROTO_TCP : IPPROTO_UDP;
	int fd;

	if (sockets->door == 1)
		fd = socket(AF_GRAFT, sockets->type, protocol);
	else
		fd = socket(AF_INET, sockets->type, sockets->door ? IPPROTO_GRAFT : 0);
	if (fd < 0)
		err(1, "socket");
	return fd;
}

/* A socket that stayed native would be the host's twice. */
static void must_be_grafted(const struct sockets *sockets, int fd)
{
	unsigned int state = 0;
	socklen_t length = sizeof(state);

	if (!sockets->door)
		return;
	if (getsockopt(fd, IPPROTO_GRAFT, GRAFT_SO_STATE, &state, &length) < 0)
		err(1, "GRAFT_SO_STATE");
	if (state != GRAFT_STATE_GRAFTED)
		errx(1, "a socket is in state %u, not grafted", state);
}

static void name_endpoint(const struct sockets *sockets, int fd, unsigned int number)
{
	struct sockaddr_gr name = { .sgr_family = AF_GRAFT };

	snprintf(name.sgr_epname, sizeof(name.sgr_epname), ENDPOINT_FORMAT, sockets->endpoint, number);
	if (bind(fd, (const void *)&name, sizeof(name)) < 0)
		err(1, "bind %s", name.sgr_epname);
}

static void hold_socket(const struct sockets *sockets, unsigned int i)
{
	unsigned int number = i / sockets->ports;
	struct sockaddr_in where = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(sockets->address + number),
		.sin_port = htons(sockets->low + i % sockets->ports),
	};
	int fd = open_socket(sockets);

	if (sockets->door == 1)
		name_endpoint(sockets, fd, number);
	else if (!sockets->connects && bind(fd, (const void *)&where, sizeof(where)) < 0)
		err(1, "bind, port %u", ntohs(where.sin_port));
	if (sockets->connects && connect(fd, (const void *)&where, sizeof(where)) < 0)
		err(1, "connect, port %u", ntohs(where.sin_port));
	if (sockets->type == SOCK_STREAM && listen(fd, 16) < 0)
		err(1, "listen");
	must_be_grafted(sockets, fd);
}

static void hold_namespace(struct nl *nl, int target)
{
	int table;

	if (unshare(CLONE_NEWNET))
		err(1, "unshare");
	table = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	if (table < 0)
		err(1, "/proc/self/ns/net");
	nl_endpoint(nl, table, target, "ep-server", htonl(INADDR_LOOPBACK), 1, 65535);
	if (nl_commit(nl))
		errx(1, "the kernel refused an endpoint");
}

/* The descriptors' table is no part of what a socket needs, so it has its full size from the start. */
static void make_room(void)
{
	const struct rlimit limit = { MOST, MOST };

	if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
		err(1, "cannot hold %d descriptors", MOST);
	if (dup2(STDIN_FILENO, MOST / 2) < 0 || close(MOST / 2) < 0)
		err(1, "cannot open descriptor %d", MOST / 2);
}

static void parse_sockets(struct sockets *sockets, char **words)
{
	struct in_addr address;
	unsigned int low, high;

	sockets->type = strcmp(words[0], "listener") ? SOCK_DGRAM : SOCK_STREAM;
	sockets->connects = !strcmp(words[0], "connected");
	if (!sockets->connects && sockets->type == SOCK_DGRAM && strcmp(words[0], "bound"))
		errx(2, "%s is not listener, bound, connected or namespace", words[0]);
	sockets->door = atoi(words[1]);
	if (inet_pton(AF_INET, words[2], &address) != 1)
		errx(2, "%s is not an IPv4 address", words[2]);
	if (sscanf(words[3], "%u-%u", &low, &high) != 2 || !low || low > high || high > 65535)
		errx(2, "%s is not LO-HI", words[3]);
	sockets->address = ntohl(address.s_addr);
	sockets->low = low;
	sockets->ports = high - low + 1;
	sockets->endpoint = words[4];
	if (sockets->door == 1 && !sockets->endpoint)
		errx(2, "door 1 needs an ENDPOINT");
}

int main(int argc, char **argv)
{
	struct sockets sockets = {};
	unsigned int held = 0;
	int target = -1;
	char line[32];
	struct nl nl;

	if (argc == 2 && !strcmp(argv[1], "namespace")) {
		target = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
		if (target < 0)
			err(1, "/proc/self/ns/net");
		nl_open(&nl);
	} else if (argc == 5 || argc == 6) {
		parse_sockets(&sockets, argv + 1);
	} else {
		errx(2, "usage: hold listener|bound|connected DOOR ADDRESS LO-HI [ENDPOINT], or hold namespace");
	}
	make_room();
	while (fgets(line, sizeof(line), stdin)) {
		for (unsigned int end = strtoul(line, NULL, 10); held < end; held++) {
			if (target >= 0)
				hold_namespace(&nl, target);
			else
				hold_socket(&sockets, held);
		}
		printf("%u\n", held);
		fflush(stdout);
	}
	return 0;
}
