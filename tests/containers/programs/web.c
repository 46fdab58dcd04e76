// SPDX-License-Identifier: Apache-2.0
/* web PORT UNRULED UPSTREAM-ADDRESS:PORT, for any libc: listens on both ports, and answers one request at a time.
 * "/" is answered with the address that asks, "/fetch" with what UPSTREAM answers.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const char ask[] = "GET / HTTP/1.0\r\nHost: upstream\r\n\r\n";
static const char ok[] = "HTTP/1.0 200 OK\r\n\r\n";
static const char bad[] = "HTTP/1.0 502 Bad Gateway\r\n\r\n";

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static int listen_on(const char *port)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(atoi(port)) };
	int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;

	if (fd < 0)
		die("socket");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)))
		die("bind");
	if (listen(fd, 16))
		die("listen");
	return fd;
}

static int connect_to(const char *upstream)
{
	struct sockaddr_in address = { .sin_family = AF_INET };
	char text[INET_ADDRSTRLEN] = "";
	const char *colon = strchr(upstream, ':');
	int fd;

	if (!colon || colon - upstream >= (long)sizeof(text))
		return -1;
	memcpy(text, upstream, colon - upstream);
	address.sin_port = htons(atoi(colon + 1));
	if (inet_pton(AF_INET, text, &address.sin_addr) != 1)
		return -1;
	fd = socket(AF_INET, SOCK_STREAM, 0);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address))) {
		int error = errno;

		close(fd);
		errno = error;
		return -1;
	}
	return fd;
}

static void fetch(int client, const char *upstream)
{
	char buffer[4096];
	int fd = connect_to(upstream);
	ssize_t got;

	if (fd < 0) {
		dprintf(client, "%s%s\n", bad, strerror(errno));
		return;
	}
	/* The answer's own head and body are the answer. */
	if (write(fd, ask, sizeof(ask) - 1) > 0)
		while ((got = read(fd, buffer, sizeof(buffer))) > 0 && write(client, buffer, got) == got)
			;
	close(fd);
}

static void serve(int listener, const char *upstream)
{
	struct sockaddr_in peer;
	socklen_t length = sizeof(peer);
	char request[4096] = "";
	size_t have = 0;
	ssize_t got;
	int client = accept(listener, (struct sockaddr *)&peer, &length);

	if (client < 0)
		return;
	while (have < sizeof(request) - 1 && !strstr(request, "\r\n\r\n") &&
	       (got = read(client, request + have, sizeof(request) - 1 - have)) > 0)
		have += got;
	if (!strncmp(request, "GET /fetch ", 11))
		fetch(client, upstream);
	else
		dprintf(client, "%s%s\n", ok, inet_ntoa(peer.sin_addr));
	close(client);
}

int main(int argc, char **argv)
{
	struct pollfd fds[2] = { { .events = POLLIN }, { .events = POLLIN } };

	if (argc != 4) {
		fputs("usage: web PORT UNRULED UPSTREAM\n", stderr);
		return 2;
	}
	for (int i = 0; i < 2; i++)
		fds[i].fd = listen_on(argv[1 + i]);
	while (poll(fds, 2, -1) > 0)
		for (int i = 0; i < 2; i++)
			if (fds[i].revents)
				serve(fds[i].fd, argv[3]);
	return 1;
}
