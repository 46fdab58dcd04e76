// SPDX-License-Identifier: Apache-2.0
/*
 * Two threads of a container race each other on one socket: race FIRST SECOND LOOPS ALLOWED FORBIDDEN PORT
 *
 * ALLOWED is ADDRESS/PORT that the grant covers, FORBIDDEN one that it does not, PORT a port that an ingress rule
 * grafts. In every loop a fresh socket gets both acts at once: one of door 2, or of door 1 where an act binds to a name.
 * What is printed, one NAME COUNT a line, is how the acts and the sockets ended; the caller decides what may be there,
 * and watches FORBIDDEN itself.
 */
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <linux/graft.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#ifndef SO_BINDTODEVICE
#define SO_BINDTODEVICE 25
#endif

union address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

static union address allowed, forbidden, flipping, wildcard;
static socklen_t length;
static int kind = SOCK_STREAM, door;
static atomic_int racing, turn, done;

struct act {
	const char *name;
	int kind; /* of the socket, or 0 */
	int (*run)(int fd);
};

static int connect_allowed(int fd)
{
	return connect(fd, &allowed.any, length);
}

static int connect_forbidden(int fd)
{
	return connect(fd, &forbidden.any, length);
}

/* The address changes under the kernel's eyes: what was judged must be what is used. */
static int connect_flipping(int fd)
{
	return connect(fd, &flipping.any, length);
}

static int flip(int fd)
{
	(void)fd;
	for (int i = 0; i < 200; i++) {
		flipping = forbidden;
		atomic_thread_fence(memory_order_seq_cst);
		flipping = allowed;
	}
	return 0;
}

static int sendto_flipping(int fd)
{
	return sendto(fd, "x", 1, MSG_DONTWAIT, &flipping.any, length);
}

static int send_allowed(int fd)
{
	return sendto(fd, "x", 1, MSG_DONTWAIT, &allowed.any, length);
}

static int send_forbidden(int fd)
{
	return sendto(fd, "x", 1, MSG_DONTWAIT, &forbidden.any, length);
}

static int fastopen_forbidden(int fd)
{
	return sendto(fd, "x", 1, MSG_FASTOPEN | MSG_DONTWAIT | MSG_NOSIGNAL, &forbidden.any, length);
}

static int fastopen_option(int fd)
{
	int yes = 1;

	return setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, &yes, sizeof(yes));
}

static int disconnect_connect(int fd)
{
	struct sockaddr unspec = { .sa_family = AF_UNSPEC };

	connect(fd, &unspec, sizeof(unspec));
	return connect(fd, &forbidden.any, length);
}

static int disconnect_often(int fd)
{
	struct sockaddr unspec = { .sa_family = AF_UNSPEC };
	int result = 0;

	for (int i = 0; i < 200; i++)
		result |= connect(fd, &unspec, sizeof(unspec));
	return result;
}

/* Half of them differ from the one before in what no stack reads, so that they are judged anew and not remembered. */
static int send_often(int fd)
{
	union address to = allowed;
	int result = -1;

	for (int i = 0; i < 200; i++) {
		if (to.any.sa_family == AF_INET)
			to.v4.sin_zero[0] = i / 2;
		else
			to.v6.sin6_flowinfo = htonl(i / 2);
		if (sendto(fd, "x", 1, MSG_DONTWAIT, &to.any, length) > 0)
			result = 0;
	}
	return result;
}

static int bind_port(int fd)
{
	return bind(fd, &wildcard.any, length);
}

static int serve(int fd)
{
	return listen(fd, 1);
}

static int mark(int fd)
{
	int value = 77;

	return setsockopt(fd, SOL_SOCKET, SO_MARK, &value, sizeof(value));
}

static int device(int fd)
{
	return setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3);
}

static int transparent(int fd)
{
	int yes = 1;

	return setsockopt(fd, IPPROTO_IP, IP_TRANSPARENT, &yes, sizeof(yes));
}

static int repair(int fd)
{
	int yes = 1;

	return setsockopt(fd, IPPROTO_TCP, TCP_REPAIR, &yes, sizeof(yes));
}

static int source_route(int fd)
{
	/* Strict source route through 127.0.0.1. */
	unsigned char options[] = { 0x89, 7, 4, 127, 0, 0, 1, 0 };

	return setsockopt(fd, IPPROTO_IP, IP_OPTIONS, options, sizeof(options));
}

static int upper_layer(int fd)
{
	return setsockopt(fd, IPPROTO_TCP, TCP_ULP, "tls", 4);
}

static int addrform(int fd)
{
	int family = AF_INET;

	return setsockopt(fd, IPPROTO_IPV6, IPV6_ADDRFORM, &family, sizeof(family));
}

static int bind_name(int fd)
{
	struct sockaddr_gr address = { .sgr_family = AF_GRAFT, .sgr_epname = "ep" };

	return bind(fd, (struct sockaddr *)&address, sizeof(address));
}

static int receive(int fd)
{
	char room[16];

	return recv(fd, room, sizeof(room), MSG_DONTWAIT) < 0;
}

static int poll_it(int fd)
{
	struct pollfd one = { .fd = fd, .events = POLLIN | POLLOUT };

	return poll(&one, 1, 0) < 0;
}

/* Options that are kept for the host socket, and such that are copied to it. */
static int options(int fd)
{
	int value = 16, yes = 1, result;

	result = setsockopt(fd, IPPROTO_IP, IP_TOS, &value, sizeof(value));
	result |= setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
	result |= setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &(int){ 65536 }, sizeof(int));
	return result;
}

static int close_it(int fd)
{
	return shutdown(fd, SHUT_RDWR);
}

static int look(int fd)
{
	char name[GRAFT_NAME_MAX];
	union address address;
	socklen_t size = sizeof(address), room = sizeof(name);

	getsockname(fd, &address.any, &size);
	size = sizeof(address);
	getpeername(fd, &address.any, &size);
	return getsockopt(fd, IPPROTO_GRAFT, GRAFT_SO_ENDPOINT, name, &room);
}

static const struct act acts[] = {
	{ "connect-allowed", 0, connect_allowed },
	{ "connect-forbidden", 0, connect_forbidden },
	{ "connect-flipping", 0, connect_flipping },
	{ "flip", 0, flip },
	{ "sendto-flipping", SOCK_DGRAM, sendto_flipping },
	{ "sendto-allowed", SOCK_DGRAM, send_allowed },
	{ "sendto-forbidden", SOCK_DGRAM, send_forbidden },
	{ "fastopen-forbidden", SOCK_STREAM, fastopen_forbidden },
	{ "fastopen-option", SOCK_STREAM, fastopen_option },
	{ "disconnect-connect", 0, disconnect_connect },
	{ "disconnect-often", 0, disconnect_often },
	{ "sendto-often", SOCK_DGRAM, send_often },
	{ "bind", 0, bind_port },
	{ "bind-name", 0, bind_name },
	{ "bind-name-datagram", SOCK_DGRAM, bind_name },
	{ "receive", 0, receive },
	{ "poll", 0, poll_it },
	{ "options", 0, options },
	{ "listen", SOCK_STREAM, serve },
	{ "mark", 0, mark },
	{ "device", 0, device },
	{ "transparent", 0, transparent },
	{ "repair", SOCK_STREAM, repair },
	{ "source-route", 0, source_route },
	{ "ulp", SOCK_STREAM, upper_layer },
	{ "addrform", 0, addrform },
	{ "shutdown", 0, close_it },
	{ "look", 0, look },
};

static const struct act *find(const char *name)
{
	for (size_t i = 0; i < sizeof(acts) / sizeof(acts[0]); i++) {
		if (strcmp(acts[i].name, name))
			continue;
		if (acts[i].kind)
			kind = acts[i].kind;
		if (acts[i].run == bind_name)
			door = AF_GRAFT;
		return &acts[i];
	}
	errx(2, "there is no act \"%s\"", name);
}

struct lane {
	const struct act *act;
	long errors[256];
};

static void run(struct lane *lane, int fd)
{
	lane->errors[lane->act->run(fd) ? errno & 255 : 0]++;
}

/* Spin until a counter moves on; give way at times, for a guest's CPUs are threads of a busy machine. */
static int wait_for(atomic_int *counter, int past)
{
	for (unsigned int i = 0;; i++) {
		int now = atomic_load(counter);

		if (now != past)
			return now;
		if (i % 1024 == 1023)
			sched_yield();
	}
}

static void *second(void *argument)
{
	for (int seen = 0;;) {
		seen = wait_for(&turn, seen);
		if (seen < 0)
			return NULL;
		run(argument, racing);
		atomic_store(&done, seen);
	}
}

static void parse(union address *address, char *text)
{
	char *port = strrchr(text, '/');

	if (!port)
		errx(2, "\"%s\" is not ADDRESS/PORT", text);
	*port++ = 0;
	if (inet_pton(AF_INET6, text, &address->v6.sin6_addr) == 1) {
		address->v6.sin6_family = AF_INET6;
		address->v6.sin6_port = htons(atoi(port));
		length = sizeof(address->v6);
	} else if (inet_pton(AF_INET, text, &address->v4.sin_addr) == 1) {
		address->v4.sin_family = AF_INET;
		address->v4.sin_port = htons(atoi(port));
		length = sizeof(address->v4);
	} else {
		errx(2, "\"%s\" is not an address", text);
	}
}

/* What became of the socket: who its peer is, whether it is grafted, whether it carries what it must not. */
static void judge(int fd, long *to_forbidden, long *grafted, long *tainted)
{
	int mark_value = 0, transparent_value = 0, repair_value = 0, state = 0;
	char device_name[16] = "", options[40];
	socklen_t size = sizeof(union address);
	union address peer = { 0 };
	socklen_t room = sizeof(int);

	if (!getpeername(fd, &peer.any, &size) && !memcmp(&peer, &forbidden, length))
		(*to_forbidden)++;
	if (getsockopt(fd, IPPROTO_GRAFT, GRAFT_SO_STATE, &state, &room) || state != GRAFT_STATE_GRAFTED)
		return;
	(*grafted)++;
	getsockopt(fd, SOL_SOCKET, SO_MARK, &mark_value, &(socklen_t){ sizeof(int) });
	getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, device_name, &(socklen_t){ sizeof(device_name) });
	getsockopt(fd, IPPROTO_IP, IP_TRANSPARENT, &transparent_value, &(socklen_t){ sizeof(int) });
	if (kind == SOCK_STREAM)
		getsockopt(fd, IPPROTO_TCP, TCP_REPAIR, &repair_value, &(socklen_t){ sizeof(int) });
	room = sizeof(options);
	if (getsockopt(fd, IPPROTO_IP, IP_OPTIONS, options, &room))
		room = 0;
	if (!mark_value && !device_name[0] && !transparent_value && !repair_value && !room)
		return;
	/* Where SOL_SOCKET does not pass the module, mark and device do get there, and then nothing leaves. */
	if (send(fd, "x", 1, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 && errno == EACCES)
		return;
	(*tainted)++;
}

static void print_errors(const struct lane *lane, const char *which)
{
	for (int code = 0; code < 256; code++) {
		if (lane->errors[code])
			printf("%s.%s %ld\n", which, code ? strerrorname_np(code) : "ok", lane->errors[code]);
	}
}

int main(int argc, char **argv)
{
	long to_forbidden = 0, grafted = 0, tainted = 0, loops;
	struct lane lanes[2] = { 0 };
	pthread_t thread;

	if (argc != 7)
		errx(2, "usage: race FIRST SECOND LOOPS ALLOWED FORBIDDEN PORT");
	lanes[0].act = find(argv[1]);
	lanes[1].act = find(argv[2]);
	loops = atol(argv[3]);
	parse(&allowed, argv[4]);
	parse(&forbidden, argv[5]);
	flipping = allowed;
	wildcard.any.sa_family = allowed.any.sa_family;
	wildcard.v4.sin_port = htons(atoi(argv[6]));

	if (pthread_create(&thread, NULL, second, &lanes[1]))
		errx(2, "cannot start a thread");
	for (long i = 1; i <= loops; i++) {
		int fd = door ? socket(door, kind, 0) : socket(allowed.any.sa_family, kind, IPPROTO_GRAFT);

		if (fd < 0)
			err(1, "socket");
		/* A device that slips into a handshake ends it, which the kernel would take minutes to believe. */
		setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &(struct timeval){ .tv_sec = 2 }, sizeof(struct timeval));
		racing = fd;
		atomic_store(&turn, i);
		/* Which of the two comes first changes from loop to loop. */
		for (volatile long delay = i % 16 * 8; delay > 0; delay--)
			;
		run(&lanes[0], fd);
		wait_for(&done, i - 1);
		judge(fd, &to_forbidden, &grafted, &tainted);
		/* The listener's queue is as long as the loops; no port of ours lingers. */
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){ .l_onoff = 1 }, sizeof(struct linger));
		close(fd);
	}
	atomic_store(&turn, -1);
	pthread_join(thread, NULL);
	print_errors(&lanes[0], "first");
	print_errors(&lanes[1], "second");
	printf("forbidden %ld\ngrafted %ld\ntainted %ld\n", to_forbidden, grafted, tainted);
	return 0;
}
