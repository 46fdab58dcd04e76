// SPDX-License-Identifier: Apache-2.0
/* Prints what a fresh TCP socket answers to GRAFT_SO_STATE, or that it is native. */
#include <stdio.h>
#include <sys/socket.h>

#include <linux/graft.h>

int main(void)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	__u32 state = 0;
	socklen_t len = sizeof(state);

	if (fd < 0)
		perror("socket");
	else if (getsockopt(fd, IPPROTO_GRAFT, GRAFT_SO_STATE, &state, &len))
		puts("native");
	else
		printf("state %u\n", state);
	return 0;
}
