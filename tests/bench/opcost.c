// SPDX-License-Identifier: Apache-2.0
/*
 * What an operation on a socket costs, on several paths in turn.
 *
 * Under the lab's --icount the time-stamp counter counts instructions of the whole machine, so a
 * figure holds both ends' programs, the kernel's work in between and its timer ticks. The paths take
 * turns, a batch each per round, so that what drifts (page tables, timers, hash chains) drifts for all
 * of them; compare the figures of one round.
 *
 *   opcost -e NAME,NETNS,DOOR,BIND,REACH,PORT[,SERVER,CLIENT] ... -p NAME,NEAR,FAR ...
 *          -o OPERATION ... [-r ROUNDS] [-t NAME ...]
 *
 * Each -e is an end of a path: the namespace in which its program runs (a name below /run/netns, or a
 * path), the door that the program takes (0: none; 3: none, but a client binds its address first, as
 * one of door 1 has to; 4: none, where the BPF door serves), the address that it binds, IPv4 or IPv6,
 * the address at which the other end reaches it, its port, and for door 1 the endpoints that a server
 * and a client of it bind. Each -p is a path: the end under test, and the one that it talks to. Each -t
 * is a path in whose batches the BPF door's program is at work: it is taken from its pin, which is gone
 * then. Prints one JSON object per batch: instructions per operation.
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
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <linux/bpf.h>
#include <linux/graft.h>

#define MAX_PATHS 8
#define MAX_ENDS (2 * MAX_PATHS)
#define MAX_OPERATIONS 24
#define LARGE 65536
#define WARM_UP_SHARE 8 /* of a batch's steps */
#define DOOR_LINK "/sys/fs/bpf/graft/link"
#define SETTLING 500000 /* microseconds, until the kernel has freed what a program no longer needs */
#define PATIENCE 300	/* seconds of the guest's, for a batch whose answer never comes */

struct address {
	union {
		struct sockaddr any;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
		struct sockaddr_gr graft;
		struct sockaddr_storage storage;
	};
	socklen_t length;
};

struct end {
	const char *name;
	int netns;
	int door;
	int family;
	struct address bind;
	struct address unbound; /* the same without a port */
	struct address reach;
	struct address server;
	struct address client;
};

struct path {
	const char *name;
	const struct end *near;
	const struct end *far;
	bool beside_program; /* the BPF door's program is at work */

	/* During a batch: the process that answers, and the socket towards it. */
	pid_t answerer;
	int fd;
};

/* An operation: what is set up before its batches, one step of a batch, and how many steps make one. */
struct operation {
	const char *name;
	unsigned int steps;
	int type;
	bool inwards; /* the near end serves; otherwise the far end does */
	size_t forth; /* bytes of an exchange, seen from the end that keeps the time */
	size_t back;
	unsigned int burst; /* datagrams that go forth before one comes back; 0 is 1 */
	bool listens;	    /* a server that is bound listens as well */
	bool connects;	    /* a client of datagrams connects, and its sends name nobody */
	void (*answer)(const struct operation *operation, int fd);
	void (*set_up)(const struct operation *operation, struct path *path);
	void (*step)(const struct operation *operation, struct path *path);
};

static struct end ends[MAX_ENDS];
static size_t end_count;
static struct path paths[MAX_PATHS];
static size_t path_count;

/* The BPF door's program, and its link while it is at work. */
static int program = -1;
static int program_link = -1;

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

static const struct end *server_of(const struct operation *operation, const struct path *path)
{
	return operation->inwards ? path->near : path->far;
}

static const struct end *client_of(const struct operation *operation, const struct path *path)
{
	return operation->inwards ? path->far : path->near;
}

/* A socket as the end's program opens it. */
static int open_socket(const struct end *end, int type)
{
	int fd;

	switch (end->door) {
	case 0:
	case 3:
	case 4:
		fd = socket(end->family, type, 0);
		break;
	case 1:
		fd = socket(AF_GRAFT, type, protocol_of(type));
		break;
	default:
		fd = socket(end->family, type, IPPROTO_GRAFT);
	}
	if (fd < 0)
		err(1, "%s: socket", end->name);
	return fd;
}

static void bind_to(const struct end *end, int fd, const struct address *address)
{
	if (bind(fd, &address->any, address->length) < 0)
		err(1, "%s: bind", end->name);
}

static void bind_server(const struct end *end, int fd)
{
	bind_to(end, fd, end->door == 1 ? &end->server : &end->bind);
}

/* Door 1 leads nowhere until an endpoint is named; through the others a client just connects. */
static void name_client(const struct end *end, int fd)
{
	if (end->door == 3)
		bind_to(end, fd, &end->unbound);
	if (end->door == 1)
		bind_to(end, fd, &end->client);
}

static void connect_to(const struct end *end, int fd, const struct address *to)
{
	if (connect(fd, &to->any, to->length) < 0)
		err(1, "%s: connect", end->name);
}

/* A figure of a socket that was not grafted would be the host's twice. */
static void must_be_grafted(const struct end *end, int fd)
{
	unsigned int state = 0;
	socklen_t length = sizeof(state);

	if (!end->door || end->door == 3)
		return;
	if (getsockopt(fd, IPPROTO_GRAFT, GRAFT_SO_STATE, &state, &length) < 0)
		err(1, "%s: GRAFT_SO_STATE", end->name);
	if (state != GRAFT_STATE_GRAFTED)
		errx(1, "%s: the socket is in state %u, not grafted", end->name, state);
}

static void set_option(int fd, int level, int option)
{
	int one = 1;

	if (setsockopt(fd, level, option, &one, sizeof(one)) < 0)
		err(1, "setsockopt %d %d", level, option);
}

/* A connection in TIME_WAIT would make the next one's search for a port dearer. */
static void reset_at_close(int fd)
{
	static const struct linger reset = { .l_onoff = 1 };

	if (setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)) < 0)
		err(1, "SO_LINGER");
}

/* Receives @length bytes; false where the other end has closed instead. */
static bool receive_all(int fd, size_t length)
{
	static char buffer[LARGE];

	while (length) {
		ssize_t got = recv(fd, buffer, length < LARGE ? length : LARGE, 0);

		if (got < 0 && errno != ECONNRESET)
			err(1, "recv");
		if (got <= 0)
			return false;
		length -= got;
	}
	return true;
}

static void send_all(int fd, size_t length)
{
	static const char buffer[LARGE];

	while (length) {
		ssize_t sent = send(fd, buffer, length < LARGE ? length : LARGE, 0);

		if (sent < 0)
			err(1, "send");
		length -= sent;
	}
}

static int accept_one(int listener)
{
	int fd = accept(listener, NULL, NULL);

	if (fd < 0)
		err(1, "accept");
	return fd;
}

static void answer_stream(const struct operation *operation, int listener)
{
	int fd = accept_one(listener);

	set_option(fd, IPPROTO_TCP, TCP_NODELAY);
	while (receive_all(fd, operation->forth))
		send_all(fd, operation->back);
}

static void answer_connections(const struct operation *operation, int listener)
{
	for (;;) {
		int fd = accept_one(listener);

		while (receive_all(fd, operation->forth))
			send_all(fd, operation->back);
		close(fd);
	}
}

static unsigned int burst_of(const struct operation *operation)
{
	return operation->burst ? operation->burst : 1;
}

static void answer_datagrams(const struct operation *operation, int fd)
{
	static char buffer[LARGE];

	for (;;) {
		struct address from;

		for (unsigned int i = 0; i < burst_of(operation); i++) {
			from.length = sizeof(from.storage);
			if (recvfrom(fd, buffer, sizeof(buffer), 0, &from.any, &from.length) !=
			    (ssize_t)operation->forth)
				err(1, "recvfrom");
		}
		if (sendto(fd, buffer, operation->back, 0, &from.any, from.length) < 0)
			err(1, "sendto");
	}
}

/* Nobody accepts: that is no part of what connecting costs. */
static void answer_nobody(const struct operation *operation, int fd)
{
	(void)operation;
	(void)fd;
	for (;;)
		pause();
}

static int open_server(const struct operation *operation, const struct end *end)
{
	int fd;

	enter(end->netns);
	fd = open_socket(end, operation->type);
	bind_server(end, fd);
	if (operation->type == SOCK_STREAM && listen(fd, 4096) < 0)
		err(1, "%s: listen", end->name);
	must_be_grafted(end, fd);
	return fd;
}

static void open_client(const struct operation *operation, struct path *path)
{
	const struct end *end = client_of(operation, path);

	enter(end->netns);
	path->fd = open_socket(end, operation->type);
	name_client(end, path->fd);
	if (operation->type == SOCK_STREAM || operation->connects)
		connect_to(end, path->fd, &server_of(operation, path)->reach);
	if (operation->type == SOCK_STREAM)
		set_option(path->fd, IPPROTO_TCP, TCP_NODELAY);
}

/* It has said why, and nobody else would answer. */
static void answerer_ended(int signal)
{
	(void)signal;
	_exit(1);
}

/* Answers come from a process of their own. */
static void start_answerer(const struct operation *operation, struct path *path)
{
	const struct end *end = server_of(operation, path);
	int ready[2], server;
	char byte;

	if (pipe2(ready, O_CLOEXEC) < 0)
		err(1, "pipe");
	signal(SIGCHLD, answerer_ended);
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
	signal(SIGCHLD, SIG_DFL);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	server = open_server(operation, end);
	if (write(ready[1], "", 1) != 1)
		err(1, "write");
	operation->answer(operation, server);
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

/* Without connect the destination is given, and so policed, with each datagram. */
static void exchange_datagrams(const struct operation *operation, struct path *path)
{
	const struct address *to = &server_of(operation, path)->reach;
	const struct sockaddr *name = operation->connects ? NULL : &to->any;
	socklen_t length = name ? to->length : 0;
	static char buffer[LARGE];

	for (unsigned int i = 0; i < burst_of(operation); i++)
		if (sendto(path->fd, buffer, operation->forth, 0, name, length) < 0)
			err(1, "%s: sendto", path->name);
	if (recv(path->fd, buffer, operation->back, 0) != (ssize_t)operation->back)
		err(1, "%s: recv", path->name);
}

/* The time of a program is taken that opens sockets itself. */
static void set_up_program(const struct operation *operation, struct path *path)
{
	if (operation->answer)
		start_answerer(operation, path);
	enter(operation->answer ? client_of(operation, path)->netns : path->near->netns);
}

static void open_and_close(const struct operation *operation, struct path *path)
{
	close(open_socket(path->near, operation->type));
}

static void bind_and_close(const struct operation *operation, struct path *path)
{
	int fd = open_socket(path->near, operation->type);

	bind_server(path->near, fd);
	if (operation->listens && listen(fd, 4096) < 0)
		err(1, "%s: listen", path->name);
	close(fd);
}

static void connect_and_close(const struct operation *operation, struct path *path)
{
	const struct end *end = client_of(operation, path);
	int fd = open_socket(end, operation->type);

	name_client(end, fd);
	connect_to(end, fd, &server_of(operation, path)->reach);
	if (operation->forth) {
		send_all(fd, operation->forth);
		if (!receive_all(fd, operation->back))
			errx(1, "%s: the serving end failed", path->name);
	}
	if (operation->type == SOCK_STREAM)
		reset_at_close(fd);
	close(fd);
}

#define STREAM_EXCHANGE SOCK_STREAM, .answer = answer_stream, .set_up = set_up_exchange, .step = exchange_stream
#define DATAGRAM_EXCHANGE SOCK_DGRAM, .answer = answer_datagrams, .set_up = set_up_exchange, .step = exchange_datagrams
#define OPEN .set_up = set_up_program, .step = open_and_close
#define BIND .inwards = true, .set_up = set_up_program, .step = bind_and_close
#define CONNECT .set_up = set_up_program, .step = connect_and_close

static const struct operation operations[] = {
	{ "tcp-round-trip-out", 400, STREAM_EXCHANGE, .forth = 64, .back = 64 },
	{ "tcp-round-trip-in", 400, STREAM_EXCHANGE, .inwards = true, .forth = 64, .back = 64 },
	{ "udp-round-trip-out", 400, DATAGRAM_EXCHANGE, .forth = 64, .back = 64 },
	{ "udp-round-trip-in", 400, DATAGRAM_EXCHANGE, .inwards = true, .forth = 64, .back = 64 },
	{ "tcp-send", 60, STREAM_EXCHANGE, .forth = LARGE, .back = 1 },
	{ "tcp-receive", 60, STREAM_EXCHANGE, .forth = 1, .back = LARGE },
	{ "tcp-serve", 60, STREAM_EXCHANGE, .inwards = true, .forth = 1, .back = LARGE },
	{ "udp-send", 60, DATAGRAM_EXCHANGE, .forth = 1448, .back = 1, .burst = 32, .connects = true },
	{ "udp-send-to", 60, DATAGRAM_EXCHANGE, .forth = 1448, .back = 1, .burst = 32 },
	{ "udp-receive", 60, DATAGRAM_EXCHANGE, .inwards = true, .forth = 1448, .back = 1, .burst = 32,
	  .connects = true },
	{ "tcp-socket", 4000, SOCK_STREAM, OPEN },
	{ "udp-socket", 4000, SOCK_DGRAM, OPEN },
	{ "tcp-bind", 200, SOCK_STREAM, BIND },
	{ "udp-bind", 200, SOCK_DGRAM, BIND },
	{ "tcp-listen", 200, SOCK_STREAM, BIND, .listens = true },
	{ "tcp-connect", 100, SOCK_STREAM, CONNECT, .answer = answer_nobody },
	{ "udp-connect", 200, SOCK_DGRAM, CONNECT, .answer = answer_nobody },
	{ "tcp-request-out", 100, SOCK_STREAM, CONNECT, .answer = answer_connections, .forth = 64, .back = 64 },
	{ "tcp-request-in", 100, SOCK_STREAM, CONNECT, .answer = answer_connections, .forth = 64, .back = 64,
	  .inwards = true },
};

static void tear_down(struct path *path)
{
	signal(SIGCHLD, SIG_DFL); /* the answering end may go as soon as this one has */
	if (path->fd >= 0)
		close(path->fd); /* before the other end's, so that TIME_WAIT is the client's */
	path->fd = -1;
	if (path->answerer > 0) {
		kill(path->answerer, SIGKILL);
		waitpid(path->answerer, NULL, 0);
	}
	path->answerer = 0;
}

static int bpf(int command, union bpf_attr *attributes, const char *what)
{
	int got = syscall(SYS_bpf, command, attributes, sizeof(*attributes));

	if (got < 0)
		err(1, "the BPF door's program: %s", what);
	return got;
}

/* From its link, which nobody else is to hold. */
static void take_program(void)
{
	struct bpf_link_info info = { 0 };
	union bpf_attr ask = { .info = { .info_len = sizeof(info), .info = (uintptr_t)&info } };
	int link;

	if (program >= 0)
		return;
	link = bpf(BPF_OBJ_GET, &(union bpf_attr){ .pathname = (uintptr_t)DOOR_LINK }, DOOR_LINK);
	ask.info.bpf_fd = link;
	bpf(BPF_OBJ_GET_INFO_BY_FD, &ask, "info");
	program = bpf(BPF_PROG_GET_FD_BY_ID, &(union bpf_attr){ .prog_id = info.prog_id }, "open");
	if (unlink(DOOR_LINK) < 0)
		err(1, "%s", DOOR_LINK);
	if (!access(DOOR_LINK "-too", F_OK))
		errx(1, "this kernel preempts itself, so there are two programs, and figures would be of one");
	close(link);
}

static void detach_program(void)
{
	close(program_link);
	program_link = -1;
}

/* In either case it is attached first: what that leaves the kernel to do makes two percent of a batch. */
static void attach_program(bool wanted)
{
	union bpf_attr attach = { .link_create = { .prog_fd = program, .attach_type = BPF_MODIFY_RETURN } };

	if (program_link >= 0)
		detach_program();
	program_link = bpf(BPF_LINK_CREATE, &attach, "attach");
	if (!wanted)
		detach_program();
	usleep(SETTLING);
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

	alarm(PATIENCE);
	if (program >= 0)
		attach_program(path->beside_program);
	operation->set_up(operation, path);
	run_batch(operation, path, operation->steps / WARM_UP_SHARE);
	instructions = run_batch(operation, path, operation->steps);
	if (path->fd >= 0)
		must_be_grafted(client_of(operation, path), path->fd);
	tear_down(path);
	alarm(0);
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

	snprintf(path, sizeof(path), "%s%s", *name == '/' ? "" : "/run/netns/", name);
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

static void parse_address(struct address *address, const char *text, int port)
{
	if (inet_pton(AF_INET, text, &address->in.sin_addr) == 1) {
		address->in.sin_family = AF_INET;
		address->in.sin_port = htons(port);
		address->length = sizeof(address->in);
	} else if (inet_pton(AF_INET6, text, &address->in6.sin6_addr) == 1) {
		address->in6.sin6_family = AF_INET6;
		address->in6.sin6_port = htons(port);
		address->length = sizeof(address->in6);
	} else {
		errx(1, "%s is not an IP address", text);
	}
}

static void parse_endpoint(struct address *address, const char *name)
{
	address->graft.sgr_family = AF_GRAFT;
	snprintf(address->graft.sgr_epname, sizeof(address->graft.sgr_epname), "%s", name);
	address->length = sizeof(address->graft);
}

static void parse_end(char *text)
{
	struct end *end = &ends[end_count++];
	const char *bind, *reach;
	int port;

	if (end_count > MAX_ENDS)
		errx(2, "more than %d ends", MAX_ENDS);
	end->name = next_field(&text, "the end's name");
	end->netns = open_netns(next_field(&text, "the end's namespace"));
	end->door = atoi(next_field(&text, "the end's door"));
	bind = next_field(&text, "the address to bind");
	reach = next_field(&text, "the address to reach it at");
	port = atoi(next_field(&text, "the port"));
	parse_address(&end->bind, bind, port);
	parse_address(&end->unbound, bind, 0);
	parse_address(&end->reach, reach, port);
	end->family = end->bind.any.sa_family;
	if (end->door == 1) {
		parse_endpoint(&end->server, next_field(&text, "the server's endpoint"));
		parse_endpoint(&end->client, next_field(&text, "the client's endpoint"));
	}
}

static const struct end *find_end(const char *name)
{
	for (size_t i = 0; i < end_count; i++)
		if (!strcmp(name, ends[i].name))
			return &ends[i];
	errx(1, "there is no end %s", name);
}

static void parse_path(char *text)
{
	struct path *path = &paths[path_count++];

	if (path_count > MAX_PATHS)
		errx(2, "more than %d paths", MAX_PATHS);
	path->fd = -1;
	path->name = next_field(&text, "the path's name");
	path->near = find_end(next_field(&text, "the end under test"));
	path->far = find_end(next_field(&text, "the other end"));
}

static struct path *find_path(const char *name)
{
	for (size_t i = 0; i < path_count; i++)
		if (!strcmp(name, paths[i].name))
			return &paths[i];
	errx(1, "there is no path %s", name);
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

	while ((option = getopt(argc, argv, "e:p:t:o:r:")) != -1) {
		switch (option) {
		case 'e':
			parse_end(optarg);
			break;
		case 'p':
			parse_path(optarg);
			break;
		case 't':
			find_path(optarg)->beside_program = true;
			take_program();
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
	/* Who wakes up does not interrupt who woke it, or bursts would be cut at random. */
	if (sched_setscheduler(0, SCHED_BATCH, &(struct sched_param){ 0 }) < 0)
		err(1, "sched_setscheduler");
	if (!path_count || !wanted_count || !rounds)
		errx(2, "-e, -p and -o are needed, and ROUNDS above 0");
	for (size_t i = 0; i < wanted_count; i++)
		measure(wanted[i], rounds);
	return 0;
}
