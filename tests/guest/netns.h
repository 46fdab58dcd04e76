/* SPDX-License-Identifier: Apache-2.0 */
/* Network namespaces of a C program's own, for programs whose threads live in different ones. */
#ifndef NETNS_H
#define NETNS_H

#include <err.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

static inline int namespace_here(void)
{
	int fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		err(2, "/proc/thread-self/ns/net");
	return fd;
}

static inline void enter(int fd)
{
	if (setns(fd, CLONE_NEWNET))
		err(2, "setns");
}

/* Move this thread to a fresh namespace whose loopback is up, and return its descriptor. */
static inline int namespace_new(void)
{
	struct ifreq request = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };
	int fd;

	if (unshare(CLONE_NEWNET))
		err(2, "unshare");
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &request))
		err(2, "cannot bring lo up");
	close(fd);
	return namespace_here();
}

/* Give this thread's namespace another address, in host order, on its loopback. */
static inline void add_address(in_addr_t host)
{
	struct ifreq request = { .ifr_name = "lo:1" };
	struct sockaddr_in *address = (struct sockaddr_in *)&request.ifr_addr;
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	address->sin_family = AF_INET;
	address->sin_addr.s_addr = htonl(host);
	if (fd < 0 || ioctl(fd, SIOCSIFADDR, &request))
		err(2, "cannot add an address to lo");
	close(fd);
}

#endif
