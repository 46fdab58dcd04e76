// SPDX-License-Identifier: Apache-2.0
/*
 * An echo server and its client, one for each door.
 *
 *     echo server PORT                         IPPROTO_GRAFT: the namespace's rules choose the endpoint
 *     echo client ENDPOINT ADDRESS PORT TEXT   AF_GRAFT: the program names it
 */
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/graft.h>

/* Prints what became of a socket. Once it is native it knows nothing of IPPROTO_GRAFT. */
static void tell(int fd, const char *what)
{
	char name[GRAFT_NAME_MAX] = "";
	socklen_t len = sizeof(name);

	if (getsockopt(fd, IPPROTO_GRAFT, GRAFT_SO_ENDPOINT, name, &len) == 0)
		printf("%s: grafted through %s\n", what, name);
	else
		printf("%s: %s\n", what, errno == ENOTCONN ? "not decided yet" : "native");
	fflush(stdout);
}

static void write_all(int fd, const char *data, size_t size)
{
	while (size) {
		ssize_t n = send(fd, data, size, MSG_NOSIGNAL);

		if (n < 0)
			err(1, "send");
		data += n;
		size -= (size_t)n;
	}
}

static void serve(in_port_t port)
{
	struct sockaddr_in any = { .sin_family = AF_INET, .sin_port = htons(port) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_GRAFT);
	int on = 1;

	if (fd < 0)
		err(1, errno == EPROTONOSUPPORT ? "graft.ko is not loaded" : "socket");
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0)
		err(1, "SO_REUSEADDR");
	/* Ingress rules decide here. The port is the one that they speak of, not always the host's. */
	if (bind(fd, (struct sockaddr *)&any, sizeof(any)) < 0)
		err(1, "bind to port %u", port);
	if (listen(fd, SOMAXCONN) < 0)
		err(1, "listen");
	tell(fd, "server");

	for (;;) {
		int peer = accept(fd, NULL, NULL);
		char data[4096];
		ssize_t n;

		if (peer < 0)
			err(1, "accept");
		while ((n = recv(peer, data, sizeof(data), 0)) > 0)
			write_all(peer, data, (size_t)n);
		close(peer);
	}
}

static void ask(const char *endpoint, const char *address, in_port_t port, const char *text)
{
	struct sockaddr_gr name = { .sgr_family = AF_GRAFT };
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port) };
	size_t size = strlen(text), got = 0;
	int fd = socket(AF_GRAFT, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char data[4096];

	if (fd < 0)
		err(1, errno == EAFNOSUPPORT ? "graft.ko is not loaded" : "socket");
	if (strlen(endpoint) >= sizeof(name.sgr_epname) || inet_pton(AF_INET, address, &to.sin_addr) != 1)
		errx(2, "an endpoint's name of 1 to 63 bytes and an IPv4 address are expected");
	strcpy(name.sgr_epname, endpoint);
	/* From here on it is a TCP socket of the host, bound to the endpoint's address. */
	if (bind(fd, (struct sockaddr *)&name, sizeof(name)) < 0)
		err(1, "bind to %s", endpoint);
	tell(fd, "client");
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0)
		err(1, "connect to %s", address);

	write_all(fd, text, size);
	while (got < size) {
		ssize_t n = recv(fd, data, sizeof(data), 0);

		if (n <= 0)
			err(1, "recv");
		printf("%.*s", (int)n, data);
		got += (size_t)n;
	}
	putchar('\n');
	close(fd);
}

int main(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[1], "server") == 0)
		serve((in_port_t)atoi(argv[2]));
	else if (argc == 6 && strcmp(argv[1], "client") == 0)
		ask(argv[2], argv[3], (in_port_t)atoi(argv[4]), argv[5]);
	else
		errx(2, "usage: echo server PORT | echo client ENDPOINT ADDRESS PORT TEXT");
	return 0;
}
