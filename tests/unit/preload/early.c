// SPDX-License-Identifier: Apache-2.0
/* A library that makes a socket before the constructor of libgraft.so has run. */
#include <stdio.h>
#include <sys/socket.h>

__attribute__((constructor)) static void early(void)
{
	printf("early\n");
	socket(AF_INET, SOCK_STREAM, 0);
}
