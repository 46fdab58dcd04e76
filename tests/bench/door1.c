// SPDX-License-Identifier: Apache-2.0
/*
 * door1.so: takes an unmodified program through door 1, AF_GRAFT, as the published system's preload
 * library did, and no further than the benchmarks need.
 *
 *   DOOR1_SERVERS='5201=ep-5201 8001=ep-8001' DOOR1_CLIENT=ep-out LD_PRELOAD=door1.so COMMAND
 *
 * IPv4 sockets become AF_GRAFT. To bind a port of DOOR1_SERVERS names its endpoint, to bind port 0
 * names DOOR1_CLIENT; so does to connect, or to send to an address, without a bind. Another port
 * cannot be bound. Calls that the C library makes for itself are not seen.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <linux/graft.h>

static int name_endpoint(int fd, const char *name, size_t length)
{
	struct sockaddr_gr address = { .sgr_family = AF_GRAFT };

	if (length >= sizeof(address.sgr_epname)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	memcpy(address.sgr_epname, name, length);
	return (int)syscall(SYS_bind, fd, &address, sizeof(address));
}

static int name_client(int fd)
{
	const char *name = getenv("DOOR1_CLIENT");

	if (!name) {
		errno = EDESTADDRREQ;
		return -1;
	}
	return name_endpoint(fd, name, strlen(name));
}

static int name_server(int fd, unsigned long port)
{
	const char *rest = getenv("DOOR1_SERVERS");

	while (rest && *rest) {
		char *name;
		bool found = strtoul(rest, &name, 10) == port && *name == '=';
		size_t length = strcspn(name, " ");

		if (found)
			return name_endpoint(fd, name + 1, length - 1);
		rest = name + length + strspn(name + length, " ");
	}
	errno = EADDRNOTAVAIL;
	return -1;
}

/* Whether @fd is of AF_GRAFT and waits for an endpoint's name: with one it has become the host's socket. */
static bool is_nameless(int fd)
{
	int domain, saved = errno;
	socklen_t length = sizeof(domain);
	bool nameless = getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) == 0 && domain == AF_GRAFT;

	errno = saved;
	return nameless;
}

int socket(int domain, int type, int protocol)
{
	int kind = type & ~(SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (domain == AF_INET && (kind == SOCK_STREAM || kind == SOCK_DGRAM))
		domain = AF_GRAFT;
	return (int)syscall(SYS_socket, domain, type, protocol);
}

int bind(int fd, const struct sockaddr *address, socklen_t length)
{
	const struct sockaddr_in *wanted = (const void *)address;

	if (!is_nameless(fd))
		return (int)syscall(SYS_bind, fd, address, length);
	if (length < sizeof(*wanted) || wanted->sin_family != AF_INET) {
		errno = EINVAL;
		return -1;
	}
	return wanted->sin_port ? name_server(fd, ntohs(wanted->sin_port)) : name_client(fd);
}

int connect(int fd, const struct sockaddr *address, socklen_t length)
{
	if (is_nameless(fd) && name_client(fd) < 0)
		return -1;
	return (int)syscall(SYS_connect, fd, address, length);
}

/* What has a name is not looked at: this is the data path. */
ssize_t sendto(int fd, const void *data, size_t size, int flags, const struct sockaddr *address, socklen_t length)
{
	ssize_t sent = syscall(SYS_sendto, fd, data, size, flags, address, length);

	if (sent >= 0 || !address || !is_nameless(fd))
		return sent;
	if (name_client(fd) < 0)
		return -1;
	return syscall(SYS_sendto, fd, data, size, flags, address, length);
}
