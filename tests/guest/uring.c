// SPDX-License-Identifier: Apache-2.0
/*
 * Acts of a container's program through io_uring: uring ACT ADDRESS PORT
 *
 * Each act makes its socket through door 2 and prints one line, "ok" with what came of it or the name of an errno.
 * It exits with 0 either way, with 77 where the kernel lacks the operation, and with 2 where something else went wrong.
 */
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <liburing.h>
#include <linux/graft.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

/* Newer than the oldest liburing that this is built with. */
#define OP_SEND_ZC 47
#define OP_BIND 56
#define OP_URING_CMD 46
#define CMD_SETSOCKOPT 3
#define MISSING 77

union address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

static struct io_uring ring;
static union address address;
static socklen_t length;
static int port;

static struct io_uring_sqe *entry(void)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);

	if (!sqe)
		errx(2, "the submission queue is full");
	return sqe;
}

static void submit(void)
{
	int done = io_uring_submit(&ring);

	if (done < 0)
		errx(2, "io_uring_submit: %s", strerror(-done));
}

static int completion(void)
{
	struct __kernel_timespec patience = { .tv_sec = 20 };
	struct io_uring_cqe *cqe;
	int result = io_uring_wait_cqe_timeout(&ring, &cqe, &patience);

	if (result)
		errx(2, "no completion: %s", strerror(-result));
	result = cqe->res;
	io_uring_cqe_seen(&ring, cqe);
	return result;
}

static int run(void)
{
	submit();
	return completion();
}

static void need(int opcode)
{
	struct io_uring_probe *probe = io_uring_get_probe_ring(&ring);
	int there = probe && io_uring_opcode_supported(probe, opcode);

	io_uring_free_probe(probe);
	if (!there) {
		printf("missing\n");
		exit(MISSING);
	}
}

static int door2(int kind)
{
	int fd = socket(address.any.sa_family, kind, IPPROTO_GRAFT);

	if (fd < 0)
		err(2, "socket");
	return fd;
}

static int tell(int result, const char *what)
{
	if (result < 0)
		printf("%s\n", strerrorname_np(-result));
	else
		printf("ok %s\n", what);
	return 0;
}

static int connect_it(int fd)
{
	io_uring_prep_connect(entry(), fd, &address.any, length);
	return run();
}

/* connect, send and recv: what the other side echoes. */
static int act_connect(void)
{
	char data[64] = "";
	int fd = door2(SOCK_STREAM), result = connect_it(fd);

	if (result < 0)
		return tell(result, "");
	io_uring_prep_send(entry(), fd, "through the ring", 16, 0);
	if (run() != 16)
		errx(2, "send");
	io_uring_prep_recv(entry(), fd, data, sizeof(data) - 1, 0);
	return tell(run(), data);
}

/* connect with a poll of the socket that was armed before the decision. */
static int act_poll(void)
{
	int fd = door2(SOCK_STREAM), result, events;
	struct io_uring_sqe *sqe = entry();

	io_uring_prep_poll_add(sqe, fd, POLLIN);
	submit();
	if (connect(fd, &address.any, length))
		return tell(-errno, "");
	if (send(fd, "x", 1, 0) != 1)
		err(2, "send");
	do {
		/* An unconnected socket is hung up, which ends a poll that was armed on it: arm it again. */
		events = completion();
		result = events > 0 && !(events & POLLIN);
		if (result) {
			io_uring_prep_poll_add(entry(), fd, POLLIN);
			submit();
		}
	} while (result);
	return tell(events, "readable");
}

/* A datagram receive that waits since before the decision. */
static int act_receive(void)
{
	int fd = door2(SOCK_DGRAM), result;
	char data[64] = "";

	io_uring_prep_recv(entry(), fd, data, sizeof(data) - 1, 0);
	submit();
	if (sendto(fd, "question", 8, 0, &address.any, length) != 8)
		return tell(-errno, "");
	result = completion();
	return tell(result, data);
}

/* accept on a listener that an ingress rule grafts: serve one client, until it goes. */
static int act_accept(void)
{
	union address any = { .any.sa_family = address.any.sa_family };
	int fd = door2(SOCK_STREAM), client;
	char data[64] = "", more;

	any.v4.sin_port = htons(port);
	if (bind(fd, &any.any, length) || listen(fd, 4))
		return tell(-errno, "");
	printf("listening\n");
	fflush(stdout);
	io_uring_prep_accept(entry(), fd, NULL, NULL, 0);
	client = run();
	if (client < 0)
		return tell(client, "");
	io_uring_prep_recv(entry(), client, data, sizeof(data) - 1, 0);
	if (run() <= 0)
		errx(2, "recv");
	io_uring_prep_send(entry(), client, data, strlen(data), 0);
	if (run() < 0)
		errx(2, "send");
	io_uring_prep_recv(entry(), client, &more, 1, 0);
	return tell(run(), data);
}

static int act_sendmsg(void)
{
	struct iovec part = { .iov_base = "x", .iov_len = 1 };
	struct msghdr message = { .msg_name = &address, .msg_namelen = length, .msg_iov = &part, .msg_iovlen = 1 };

	io_uring_prep_sendmsg(entry(), door2(SOCK_DGRAM), &message, 0);
	return tell(run(), "");
}

/* A zero-copy send that names its destination. */
static int act_send_zc(void)
{
	struct io_uring_sqe *sqe;
	int result, more;

	need(OP_SEND_ZC);
	sqe = entry();
	io_uring_prep_rw(OP_SEND_ZC, sqe, door2(SOCK_DGRAM), "x", 1, (uintptr_t)&address);
	sqe->addr_len = length;
	submit();
	result = completion();
	more = result >= 0;
	if (more)
		completion();
	return tell(result, "");
}

/* Fast open: a stream sendmsg that names its destination connects. */
static int act_fastopen(void)
{
	struct iovec part = { .iov_base = "x", .iov_len = 1 };
	struct msghdr message = { .msg_name = &address, .msg_namelen = length, .msg_iov = &part, .msg_iovlen = 1 };

	io_uring_prep_sendmsg(entry(), door2(SOCK_STREAM), &message, MSG_FASTOPEN | MSG_NOSIGNAL);
	return tell(run(), "");
}

/* The ring's own socket operation. */
static int own_socket(int protocol)
{
	char name[GRAFT_NAME_MAX] = "";
	socklen_t room = sizeof(name);
	int fd, result;

	need(IORING_OP_SOCKET);
	io_uring_prep_socket(entry(), address.any.sa_family, SOCK_STREAM, protocol, 0);
	fd = run();
	if (fd < 0)
		return tell(fd, "");
	result = connect_it(fd);
	if (!result && getsockopt(fd, IPPROTO_GRAFT, GRAFT_SO_ENDPOINT, name, &room))
		result = -errno;
	return tell(result, name);
}

static int act_socket(void)
{
	return own_socket(IPPROTO_GRAFT);
}

/* The same by a program that asks for no door. */
static int act_plain_socket(void)
{
	return own_socket(0);
}

/* The ring's own bind. */
static int act_bind(void)
{
	union address any = { .any.sa_family = address.any.sa_family };
	int fd = door2(SOCK_STREAM), result;
	char name[GRAFT_NAME_MAX] = "";
	socklen_t room = sizeof(name);
	struct io_uring_sqe *sqe;

	need(OP_BIND);
	any.v4.sin_port = htons(port);
	sqe = entry();
	io_uring_prep_rw(OP_BIND, sqe, fd, &any, 0, length);
	result = run();
	if (!result && getsockopt(fd, IPPROTO_GRAFT, GRAFT_SO_ENDPOINT, name, &room))
		result = -errno;
	return tell(result, name);
}

/* The ring's own setsockopt, on a grafted socket. */
static int act_mark(void)
{
	int fd = door2(SOCK_STREAM), value = 77, result = connect_it(fd);
	struct io_uring_sqe *sqe;

	if (result < 0)
		return tell(result, "");
	need(OP_URING_CMD);
	sqe = entry();
	io_uring_prep_rw(OP_URING_CMD, sqe, fd, NULL, 0, 0);
	sqe->off = CMD_SETSOCKOPT;
	/* level and optname, then optlen, lie where a write has its address and its splice descriptor. */
	sqe->addr = (__u64)SO_MARK << 32 | SOL_SOCKET;
	sqe->file_index = sizeof(value);
	sqe->addr3 = (uintptr_t)&value;
	result = run();
	if (result == -EOPNOTSUPP || result == -EINVAL) {
		printf("missing\n");
		return MISSING;
	}
	return tell(result, "");
}

static const struct {
	const char *name;
	int (*run)(void);
} acts[] = {
	{ "connect", act_connect },
	{ "poll", act_poll },
	{ "receive", act_receive },
	{ "accept", act_accept },
	{ "sendmsg", act_sendmsg },
	{ "send-zc", act_send_zc },
	{ "fastopen", act_fastopen },
	{ "socket", act_socket },
	{ "bind", act_bind },
	{ "mark", act_mark },
	{ "plain-socket", act_plain_socket },
};

int main(int argc, char **argv)
{
	if (argc != 4)
		errx(2, "usage: uring ACT ADDRESS PORT");
	port = atoi(argv[3]);
	if (inet_pton(AF_INET6, argv[2], &address.v6.sin6_addr) == 1) {
		address.v6.sin6_family = AF_INET6;
		length = sizeof(address.v6);
	} else if (inet_pton(AF_INET, argv[2], &address.v4.sin_addr) == 1) {
		address.v4.sin_family = AF_INET;
		length = sizeof(address.v4);
	} else {
		errx(2, "\"%s\" is not an address", argv[2]);
	}
	address.v4.sin_port = htons(port);
	if (io_uring_queue_init(8, &ring, 0)) {
		printf("missing\n");
		return MISSING;
	}
	for (size_t i = 0; i < sizeof(acts) / sizeof(acts[0]); i++) {
		if (!strcmp(acts[i].name, argv[1]))
			return acts[i].run();
	}
	errx(2, "there is no act \"%s\"", argv[1]);
}
