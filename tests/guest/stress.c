// SPDX-License-Identifier: Apache-2.0
/*
 * Cycles of socket, bind, connect and close over both doors while the table changes: stress CYCLES
 *
 * Two workers, one on each CPU, live in a container's namespace. Meanwhile one thread adds and deletes the endpoints
 * that they use (with live sockets aborted, every other time) and replaces the rules, and another one makes containers
 * and targets, grafts sockets between them and lets them go with the sockets alive. The program makes its own
 * namespaces, leaves none, prints one line of figures, and fails on an errno that no manual page explains.
 */
#include "netns.h"
#include "nl.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define WORKERS 2
#define ENDPOINTS 16 /* the first half is of IPv4, the second of IPv6 */
#define OF_IPV4 8
#define SERVICE 2000
#define HOST 0x0a630001 /* 10.99.0.1; all of 10.0.0.0/8 is the host's own */

static int host, box, listeners[1 + ENDPOINTS - OF_IPV4];
static atomic_bool over;
static atomic_long left, grafted, refused, of_ipv6, changes, namespaces;

static const char *endpoint_name(char *room, int number)
{
	sprintf(room, "ep-%d", number);
	return room;
}

static void must(int answer, const char *what)
{
	if (answer)
		errx(1, "the kernel refused %s: %s", what, strerror(answer));
}

/* Every rule of the container: port 1000 + n is endpoint n's; so is 10.99.0.n, or port 2000 + n of ::1. */
static void write_rules(struct nl *nl)
{
	char name[16];

	nl_graft(nl, GRAFT_CMD_RULES_SET, 0, box);
	for (int i = 0; i < ENDPOINTS; i++) {
		nl_rule(nl, GRAFT_INGRESS, 0, 0, 1000 + i, 1000 + i, endpoint_name(name, i));
		if (i < OF_IPV4)
			nl_rule(nl, GRAFT_EGRESS, htonl((HOST & ~0xff) + i), 32, 1, 65535, name);
		else
			nl_rule_at(nl, GRAFT_EGRESS, &in6addr_loopback, 16, 128, SERVICE + i, SERVICE + i, name);
	}
	nl_end(nl);
	must(nl_commit(nl), "the rules");
}

static void write_endpoint(struct nl *nl, int table, int target, int number)
{
	char name[16];

	endpoint_name(name, number);
	if (number < OF_IPV4)
		nl_endpoint(nl, table, target, name, htonl(HOST), 0, 0);
	else
		nl_endpoint_at(nl, table, target, name, &in6addr_loopback, 16, 0, 0);
	must(nl_commit(nl), "an endpoint");
}

static __u64 draw(__u64 *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* Count how a call ended; return whether it worked. */
static int ended(int result, const char *what)
{
	if (!result) {
		atomic_fetch_add(&grafted, 1);
		return 1;
	}
	switch (errno) {
	case EADDRNOTAVAIL: /* the endpoint is away */
	case EACCES:	    /* the socket was revoked */
	case ECONNREFUSED:
	case ECONNRESET:
	case ECONNABORTED:
	case EINVAL: /* the socket was aborted between two calls */
	case EPIPE:
		atomic_fetch_add(&refused, 1);
		return 0;
	default:
		err(1, "%s", what);
	}
}

static int bind_named(int fd, int number)
{
	struct sockaddr_gr address = { .sgr_family = AF_GRAFT };

	endpoint_name(address.sgr_epname, number);
	return bind(fd, (struct sockaddr *)&address, sizeof(address));
}

union address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

/* An address of a family: of IPv4 in an IPv6 socket it is mapped, where it is not "every address". */
static socklen_t address_of(union address *address, int family, in_addr_t host, int port)
{
	*address = (union address){ .any.sa_family = family };
	if (family == AF_INET) {
		address->v4.sin_port = htons(port);
		address->v4.sin_addr.s_addr = htonl(host);
		return sizeof(address->v4);
	}
	address->v6.sin6_port = htons(port);
	if (host) {
		address->v6.sin6_addr.s6_addr32[2] = htonl(0xffff);
		address->v6.sin6_addr.s6_addr32[3] = htonl(host);
	}
	return sizeof(address->v6);
}

static int bind_port(int fd, int family, int number)
{
	union address address;
	socklen_t length = address_of(&address, family, 0, 1000 + number);

	return bind(fd, &address.any, length);
}

static int connect_service(int fd, int family, int number)
{
	union address address;
	socklen_t length = address_of(&address, family, (HOST & ~0xff) + number, SERVICE);

	if (number >= OF_IPV4) {
		address.v6.sin6_addr = in6addr_loopback;
		address.v6.sin6_port = htons(SERVICE + number);
	}
	return connect(fd, &address.any, length);
}

static void cycle(__u64 dice)
{
	int door1 = dice & 1, kind = dice & 2 ? SOCK_STREAM : SOCK_DGRAM, number = dice >> 8 & (ENDPOINTS - 1);
	int connects = dice & 4, family = number >= OF_IPV4 || dice & 32 ? AF_INET6 : AF_INET, fd;

	/* Through door 1 the family is the endpoint's. */
	if (door1 && number < OF_IPV4)
		family = AF_INET;
	fd = door1 ? socket(AF_GRAFT, kind | SOCK_CLOEXEC, 0) : socket(family, kind | SOCK_CLOEXEC, IPPROTO_GRAFT);
	if (fd < 0)
		err(1, "socket");
	/* No TIME_WAIT, or the ports run out. */
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){ .l_onoff = 1 }, sizeof(struct linger));
	if (door1 || !connects) {
		if (!ended(door1 ? bind_named(fd, number) : bind_port(fd, family, number), "bind"))
			goto out;
		if (kind == SOCK_STREAM && dice & 8)
			ended(listen(fd, 1), "listen");
	}
	if (connects && !(dice & 8) && ended(connect_service(fd, family, number), "connect") && dice & 16)
		ended(send(fd, "x", 1, MSG_NOSIGNAL) == 1 ? 0 : -1, "send");
	if (family == AF_INET6)
		atomic_fetch_add(&of_ipv6, 1);
out:
	close(fd);
}

static void *work(void *argument)
{
	__u64 state = 88172645463325252ULL + (long)argument;
	cpu_set_t cpu;

	CPU_ZERO(&cpu);
	CPU_SET((long)argument, &cpu);
	sched_setaffinity(0, sizeof(cpu), &cpu);
	enter(box);
	while (atomic_fetch_sub(&left, 1) > 0)
		cycle(draw(&state));
	return NULL;
}

/* A service of the host, of every address of both families. */
static int service_at(int port)
{
	union address any;
	socklen_t length = address_of(&any, AF_INET6, 0, port);
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, &any.any, length) || listen(fd, 128))
		err(2, "cannot listen in the host");
	return fd;
}

static void *serve(void *argument)
{
	const int *fd = argument;

	for (;;) {
		int child = accept(*fd, NULL, NULL);

		if (atomic_load(&over))
			return NULL;
		if (child >= 0)
			close(child);
	}
}

static void *flap(void *argument)
{
	__u64 state = 362436069362436069ULL;
	char name[16];
	struct nl nl;

	(void)argument;
	enter(host);
	nl_open(&nl);
	for (long round = 0; !atomic_load(&over); round++) {
		/* every other endpoint comes and goes */
		int number = draw(&state) % ENDPOINTS | 1;

		nl_endpoint_del(&nl, box, endpoint_name(name, number), round & 1);
		must(nl_commit(&nl), "a deletion");
		if (round % 4 == 0)
			write_rules(&nl);
		write_endpoint(&nl, box, host, number);
		atomic_fetch_add(&changes, 2);
	}
	nl_close(&nl);
	return NULL;
}

/* A container and a target of its own, five sockets between them, and what goes first changes from round to round. */
static void *destroy(void *argument)
{
	int fds[5], target, table;
	struct nl nl;

	(void)argument;
	for (long round = 0; !atomic_load(&over); round++) {
		target = namespace_new();
		add_address(HOST);
		nl_open(&nl);
		table = namespace_new();
		write_endpoint(&nl, table, target, 0);
		nl_acl_local(&nl, table);
		must(nl_commit(&nl), "the ACL");
		for (int i = 0; i < 5; i++) {
			fds[i] = socket(AF_GRAFT, i & 1 ? SOCK_STREAM : SOCK_DGRAM, 0);
			if (fds[i] < 0)
				err(1, "socket");
			if (i < 4)
				ended(bind_named(fds[i], 0), "bind");
		}
		nl_close(&nl);
		enter(host);
		close(round & 1 ? target : table);
		if (round & 2)
			close(fds[0]);
		close(round & 1 ? table : target);
		for (int i = round & 2 ? 1 : 0; i < 5; i++)
			close(fds[i]);
		atomic_fetch_add(&namespaces, 2);
	}
	return NULL;
}

static pthread_t start(void *(*run)(void *), void *argument)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, run, argument))
		errx(2, "cannot start a thread");
	return thread;
}

int main(int argc, char **argv)
{
	struct timespec begun, ended_at;
	pthread_t workers[WORKERS], servers[COUNT(listeners)], flapper, destroyer;
	struct nl nl;
	double took;
	long cycles;

	if (argc != 2)
		errx(2, "usage: stress CYCLES");
	cycles = atol(argv[1]);
	left = cycles;
	box = namespace_new();
	host = namespace_new();
	add_address(HOST);
	for (size_t i = 0; i < COUNT(listeners); i++)
		listeners[i] = service_at(i ? SERVICE + OF_IPV4 - 1 + i : SERVICE);
	nl_open(&nl);
	for (int i = 0; i < ENDPOINTS; i++)
		write_endpoint(&nl, box, host, i);
	write_rules(&nl);
	nl_acl_local(&nl, box);
	must(nl_commit(&nl), "the ACL");

	clock_gettime(CLOCK_MONOTONIC, &begun);
	for (size_t i = 0; i < COUNT(listeners); i++)
		servers[i] = start(serve, &listeners[i]);
	flapper = start(flap, NULL);
	destroyer = start(destroy, NULL);
	for (long i = 0; i < WORKERS; i++)
		workers[i] = start(work, (void *)i);
	for (int i = 0; i < WORKERS; i++)
		pthread_join(workers[i], NULL);
	clock_gettime(CLOCK_MONOTONIC, &ended_at);
	atomic_store(&over, 1);
	for (size_t i = 0; i < COUNT(listeners); i++) {
		shutdown(listeners[i], SHUT_RDWR);
		pthread_join(servers[i], NULL);
	}
	pthread_join(flapper, NULL);
	pthread_join(destroyer, NULL);
	nl_close(&nl);

	took = ended_at.tv_sec - begun.tv_sec + (ended_at.tv_nsec - begun.tv_nsec) / 1e9;
	printf("stress: %ld cycles in %.1f s (%.0f per second), %ld of them of IPv6 to their end: %ld calls worked, %ld were "
	       "refused; %ld changes of the table, %ld namespaces\n",
	       cycles, took, cycles / took, atomic_load(&of_ipv6), atomic_load(&grafted), atomic_load(&refused),
	       atomic_load(&changes), atomic_load(&namespaces));
	return 0;
}
