// SPDX-License-Identifier: Apache-2.0
/* resolve FAMILY FLAGS NAME: prints the addresses that getaddrinfo finds, one a line, or its error. */
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *found, *one;
	char text[64];
	int error;

	if (argc != 4)
		return 2;
	hints.ai_family = atoi(argv[1]);
	hints.ai_flags = atoi(argv[2]);
	error = getaddrinfo(argv[3], NULL, &hints, &found);
	if (error) {
		printf("%s\n", gai_strerror(error));
		return 1;
	}
	for (one = found; one; one = one->ai_next) {
		getnameinfo(one->ai_addr, one->ai_addrlen, text, sizeof(text), NULL, 0, NI_NUMERICHOST);
		printf("%s\n", text);
	}
	freeaddrinfo(found);
	return 0;
}
