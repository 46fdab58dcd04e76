// SPDX-License-Identifier: Apache-2.0
/*
 * What an operation on a socket costs, on several paths in turn.
 *
 * Under the lab's --icount the time-stamp counter counts instructions of the whole machine, so a
 * figure holds both ends' programs, the kernel's work in between, and nothing else. The paths take
 * turns, a batch each per round, so that what drifts (page tables, timers, hash chains) drifts for all
 * of them; compare the figures of one round.
 *
 *   opcost -P NETNS,ADDRESS -p NAME,NETNS,DOOR,BIND,REACH,PORT[,SERVER,CLIENT] ... -o OPERATION ...
 *          [-r ROUNDS]
 *
 * -P is the other machine. Each -p is a path: the namespace in which its program runs, the door that
 * the program takes (0: none; 3: none, but a client binds its address first, as one of door 1 has
 * to), the address that it binds, the address at which the other machine
 * reaches it, its port, and for door 1 the endpoints that a server and a client of it bind. Prints
 * one JSON object per batch: instructions per operation.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <linux/graft.h>

#define MAX_PATHS 8
#define MAX_OPERATIONS 16
#define LARGE 65536
#define PEER_PORT 7900
#define WARM_UP_SHARE 8 /* of a batch's steps */

struct path {
	const char *name;
	int netns;
	int door;
	struct sockaddr_in bind;
	struct sockaddr_in reach;
	struct sockaddr_gr server;
	struct sockaddr_gr client;

	/* During a batch: the process that answers, and the socket towards it. */
	pid_t answerer;
	int fd;
	struct sockaddr_in to;
};

/* An operation: what is set up before its batches, one step of a batch, and how many steps make one. */
struct operation {
	const char *name;
	unsigned int steps;
	int type;
	bool inwards; /* the path's program serves; otherwise the other machine does */
	size_t forth; /* bytes of an exchange, seen from the end that keeps the time */
	size_t back;
	void (*set_up)(const struct operation *operation, struct path *path);
	void (*step)(const struct operation *operation, struct path *path);
};

static struct path paths[MAX_PATHS];
static size_t path_count;
static int peer_netns = -1;
static struct sockaddr_in peer_address;

static uint64_t now(void)
{
	return __builtin_ia32_rdtsc();
}

static void enter(int netns)
{
	if (setns(netns, CLONE_NEWNET) < 0)
		err(1, "setns");
}

static int protocol_of(int type)
{
	return type == SOCK_STREAM ? IPPROTO_TCP : IPPROTO_UDP;
}

/* A socket as the path's program opens it. */
static int open_socket(const struct path *path, int type)
{
	int fd;

	switch (path->door) {
	case 0:
	case 3:
		fd = socket(AF_INET, type, 0);
		break;
	case 1:
		fd = socket(AF_GRAFT, type, protocol_of(type));
		break;
	default:
		fd = socket(AF_INET, type, IPPROTO_GRAFT);
	}
	if (fd < 0)
		err(1, "%s: socket", path->name);
	return fd;
}

static void bind_server(const struct path *path, int fd)
{
	const void *address = &path->bind;
	socklen_t length = sizeof(path->bind);

	if (path->door == 1) {
		address = &path->server;
		length = sizeof(path->server);
	}
	if (bind(fd, address, length) < 0)
		err(1, "%s: bind", path->name);
}

/* Door 1 leads nowhere until an endpoint is named; through the others a client just connects. */
static void name_client(const struct path *path, int fd)
{
	struct sockaddr_in any_port = path->bind;

	any_port.sin_port = 0;
	if (path->door == 3 && bind(fd, (const void *)&any_port, sizeof(any_port)) < 0)
		err(1, "%s: bind", path->name);
	if (path->door == 1 && bind(fd, (const void *)&path->client, sizeof(path->client)) < 0)
		err(1, "%s: bind %s", path->name, path->client.sgr_epname);
}

static void connect_to(const struct path *path, int fd, const struct sockaddr_in *to)
{
	if (connect(fd, (const void *)to, sizeof(*to)) < 0)
		err(1, "%s: connect", path->name);
}

/* A figure of a socket that was not grafted would be the host's twice. */
static void must_be_grafted(const struct path *path, int fd)
{
	unsigned int state = 0;
	socklen_t length = sizeof(state);

	if (!path->door || path->door == 3)
		return;
	if (getsockopt(fd, IPPROTO_GRAFT, GRAFT_SO_STATE, &state, &length) < 0)
		err(1, "%s: GRAFT_SO_STATE", path->name);
	if (state != GRAFT_STATE_GRAFTED)
		errx(1, "%s: the socket is in state %u, not grafted", path->name, state);
}

static void set_option(int fd, int level, int option)
{
	int one = 1;

	if (setsockopt(fd, level, option, &one, sizeof(one)) < 0)
		err(1, "setsockopt %d %d", level, option);
}

/* Receives @length bytes; false where the other end has closed instead. */
static bool receive_all(int fd, size_t length)
{
	static char buffer[LARGE];

	while (length) {
		ssize_t got = recv(fd, buffer, length, 0);

		if (got < 0)
			err(1, "recv");
		if (!got)
			return false;
		length -= got;
	}
	return true;
}

static void send_all(int fd, size_t length)
{
	static const char buffer[LARGE];

	while (length) {
		ssize_t sent = send(fd, buffer, length, 0);

		if (sent < 0)
			err(1, "send");
		length -= sent;
	}
}

static void answer_stream(const struct operation *operation, int listener)
{
	int fd = accept(listener, NULL, NULL);

	if (fd < 0)
		err(1, "accept");
	set_option(fd, IPPROTO_TCP, TCP_NODELAY);
	while (receive_all(fd, operation->forth))
		send_all(fd, operation->back);
}

static void answer_datagrams(const struct operation *operation, int fd)
{
	static char buffer[LARGE];

	for (;;) {
		struct sockaddr_in from;
		socklen_t length = sizeof(from);
		ssize_t got = recvfrom(fd, buffer, sizeof(buffer), 0, (void *)&from, &length);

		if (got != (ssize_t)operation->forth)
			err(1, "recvfrom");
		if (sendto(fd, buffer, operation->back, 0, (void *)&from, length) < 0)
			err(1, "sendto");
	}
}

/* The serving end's socket: the path's own, or one of the other machine at @path->to. */
static int open_server(const struct operation *operation, struct path *path)
{
	int fd;

	if (operation->inwards) {
		enter(path->netns);
		fd = open_socket(path, operation->type);
		bind_server(path, fd);
	} else {
		enter(peer_netns);
		fd = socket(AF_INET, operation->type, 0);
		if (fd < 0 || bind(fd, (void *)&path->to, sizeof(path->to)) < 0)
			err(1, "the other machine: bind");
	}
	if (operation->type == SOCK_STREAM && listen(fd, 4096) < 0)
		err(1, "%s: listen", path->name);
	if (operation->inwards)
		must_be_grafted(path, fd);
	return fd;
}

static void open_client(const struct operation *operation, struct path *path)
{
	if (operation->inwards) {
		enter(peer_netns);
		path->fd = socket(AF_INET, operation->type, 0);
	} else {
		enter(path->netns);
		path->fd = open_socket(path, operation->type);
		name_client(path, path->fd);
	}
	if (path->fd < 0)
		err(1, "%s: socket", path->name);
	if (operation->type == SOCK_STREAM) {
		connect_to(path, path->fd, &path->to);
		set_option(path->fd, IPPROTO_TCP, TCP_NODELAY);
	}
}

/* Answers come from a process of their own. */
static void start_answerer(const struct operation *operation, struct path *path)
{
	int ready[2], server;
	char byte;

	path->to = operation->inwards ? path->reach : peer_address;
	if (pipe2(ready, O_CLOEXEC) < 0)
		err(1, "pipe");
	path->answerer = fork();
	if (path->answerer < 0)
		err(1, "fork");
	if (path->answerer) {
		close(ready[1]);
		if (read(ready[0], &byte, 1) != 1)
			errx(1, "%s: the serving end failed", path->name);
		close(ready[0]);
		return;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	server = open_server(operation, path);
	if (write(ready[1], "", 1) != 1)
		err(1, "write");
	if (!operation->forth)
		pause(); /* nobody accepts: that is no part of what connecting costs */
	else if (operation->type == SOCK_STREAM)
		answer_stream(operation, server);
	else
		answer_datagrams(operation, server);
	_exit(0);
}

static void set_up_exchange(const struct operation *operation, struct path *path)
{
	start_answerer(operation, path);
	open_client(operation, path);
}

static void exchange_stream(const struct operation *operation, struct path *path)
{
	send_all(path->fd, operation->forth);
	if (!receive_all(path->fd, operation->back))
		errx(1, "%s: the serving end failed", path->name);
}

/* Without connect: the destination is given, and so policed, with each datagram. */
static void exchange_datagrams(const struct operation *operation, struct path *path)
{
	static char buffer[LARGE];

	if (sendto(path->fd, buffer, operation->forth, 0, (void *)&path->to, sizeof(path->to)) < 0)
		err(1, "%s: sendto", path->name);
	if (recv(path->fd, buffer, operation->back, 0) != (ssize_t)operation->back)
		err(1, "%s: recv", path->name);
}

static void set_up_program(const struct operation *operation, struct path *path)
{
	if (!operation->inwards)
		start_answerer(operation, path);
}

static void bind_and_close(const struct operation *operation, struct path *path)
{
	int fd = open_socket(path, operation->type);

	bind_server(path, fd);
	close(fd);
}

static void connect_and_close(const struct operation *operation, struct path *path)
{
	/* A connection in TIME_WAIT would make the next one's search for a port dearer. */
	static const struct linger reset = { .l_onoff = 1 };
	int fd = open_socket(path, operation->type);

	name_client(path, fd);
	connect_to(path, fd, &path->to);
	if (setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)) < 0)
		err(1, "%s: SO_LINGER", path->name);
	close(fd);
}

#define STREAM_EXCHANGE SOCK_STREAM, .set_up = set_up_exchange, .step = exchange_stream
#define DATAGRAM_EXCHANGE SOCK_DGRAM, .set_up = set_up_exchange, .step = exchange_datagrams

static const struct operation operations[] = {
	{ "tcp-round-trip-out", 400, STREAM_EXCHANGE, .forth = 64, .back = 64 },
	{ "tcp-round-trip-in", 400, STREAM_EXCHANGE, .inwards = true, .forth = 64, .back = 64 },
	{ "udp-round-trip-out", 400, DATAGRAM_EXCHANGE, .forth = 64, .back = 64 },
	{ "udp-round-trip-in", 400, DATAGRAM_EXCHANGE, .inwards = true, .forth = 64, .back = 64 },
	{ "tcp-send", 60, STREAM_EXCHANGE, .forth = LARGE, .back = 1 },
	{ "tcp-receive", 60, STREAM_EXCHANGE, .forth = 1, .back = LARGE },
	{ "tcp-serve", 60, STREAM_EXCHANGE, .inwards = true, .forth = 1, .back = LARGE },
	{ "tcp-bind", 200, SOCK_STREAM, .inwards = true, .set_up = set_up_program, .step = bind_and_close },
	{ "udp-bind", 200, SOCK_DGRAM, .inwards = true, .set_up = set_up_program, .step = bind_and_close },
	{ "tcp-connect", 100, SOCK_STREAM, .set_up = set_up_program, .step = connect_and_close },
	{ "udp-connect", 200, SOCK_DGRAM, .set_up = set_up_program, .step = connect_and_close },
};

static void tear_down(struct path *path)
{
	if (path->fd >= 0)
		close(path->fd); /* before the other end's, so that TIME_WAIT is the client's */
	path->fd = -1;
	if (path->answerer > 0) {
		kill(path->answerer, SIGKILL);
		waitpid(path->answerer, NULL, 0);
	}
	path->answerer = 0;
}

static uint64_t run_batch(const struct operation *operation, struct path *path, unsigned int steps)
{
	uint64_t begun = now();

	for (unsigned int i = 0; i < steps; i++)
		operation->step(operation, path);
	return now() - begun;
}

/*
 * One batch on one path, with connections of its own: how a connection's buffers come to lie makes
 * half a percent, which averages out over rounds only if each has another.
 */
static uint64_t measure_path(const struct operation *operation, struct path *path)
{
	uint64_t instructions;

	operation->set_up(operation, path);
	enter(path->netns);
	run_batch(operation, path, operation->steps / WARM_UP_SHARE);
	instructions = run_batch(operation, path, operation->steps);
	if (!operation->inwards && path->fd >= 0)
		must_be_grafted(path, path->fd);
	tear_down(path);
	return instructions;
}

/* The first round warms caches and is not printed. */
static void measure(const struct operation *operation, unsigned int rounds)
{
	for (unsigned int round = 0; round <= rounds; round++)
		for (size_t i = 0; i < path_count; i++) {
			struct path *path = &paths[(i + round) % path_count];
			uint64_t instructions = measure_path(operation, path);

			if (!round)
				continue;
			printf("{\"operation\": \"%s\", \"path\": \"%s\", \"round\": %u, \"instructions\": %.1f}\n",
			       operation->name, path->name, round, (double)instructions / operation->steps);
			fflush(stdout);
		}
}

static int open_netns(const char *name)
{
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "/run/netns/%s", name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		err(1, "%s", path);
	return fd;
}

static char *next_field(char **text, const char *what)
{
	char *field = strsep(text, ",");

	if (!field)
		errx(1, "%s is missing", what);
	return field;
}

static void parse_address(struct sockaddr_in *address, const char *text)
{
	address->sin_family = AF_INET;
	if (inet_pton(AF_INET, text, &address->sin_addr) != 1)
		errx(1, "%s is not an IPv4 address", text);
}

static void parse_endpoint(struct sockaddr_gr *address, const char *name)
{
	address->sgr_family = AF_GRAFT;
	snprintf(address->sgr_epname, sizeof(address->sgr_epname), "%s", name);
}

static void parse_path(char *text)
{
	struct path *path = &paths[path_count++];

	if (path_count > MAX_PATHS)
		errx(2, "more than %d paths", MAX_PATHS);
	path->fd = -1;
	path->name = next_field(&text, "the path's name");
	path->netns = open_netns(next_field(&text, "the path's namespace"));
	path->door = atoi(next_field(&text, "the path's door"));
	parse_address(&path->bind, next_field(&text, "the address to bind"));
	parse_address(&path->reach, next_field(&text, "the address to reach it at"));
	path->bind.sin_port = path->reach.sin_port = htons(atoi(next_field(&text, "the port")));
	if (path->door == 1) {
		parse_endpoint(&path->server, next_field(&text, "the server's endpoint"));
		parse_endpoint(&path->client, next_field(&text, "the client's endpoint"));
	}
}

static void parse_peer(char *text)
{
	peer_netns = open_netns(next_field(&text, "the other machine's namespace"));
	parse_address(&peer_address, next_field(&text, "the other machine's address"));
	peer_address.sin_port = htons(PEER_PORT);
}

static const struct operation *find_operation(const char *name)
{
	for (size_t i = 0; i < sizeof(operations) / sizeof(operations[0]); i++)
		if (!strcmp(name, operations[i].name))
			return &operations[i];
	errx(1, "there is no operation %s", name);
}

int main(int argc, char **argv)
{
	const struct operation *wanted[MAX_OPERATIONS];
	unsigned int rounds = 9;
	size_t wanted_count = 0;
	int option;

	while ((option = getopt(argc, argv, "P:p:o:r:")) != -1) {
		switch (option) {
		case 'P':
			parse_peer(optarg);
			break;
		case 'p':
			parse_path(optarg);
			break;
		case 'o':
			if (wanted_count == MAX_OPERATIONS)
				errx(2, "more than %d operations", MAX_OPERATIONS);
			wanted[wanted_count++] = find_operation(optarg);
			break;
		case 'r':
			rounds = atoi(optarg);
			break;
		default:
			return 2;
		}
	}
	if (peer_netns < 0 || !path_count || !wanted_count || !rounds)
		errx(2, "-P, -p and -o are needed, and ROUNDS above 0");
	for (size_t i = 0; i < wanted_count; i++)
		measure(wanted[i], rounds);
	return 0;
}
