// SPDX-License-Identifier: Apache-2.0
/*
 * Threads that crowd the processors, and do nothing but make sockets and close them: crowd THREADS SECONDS
 *
 * It runs in a transparent namespace. Prints how many sockets there were, and how many of them were native.
 */
#include <err.h>
#include <linux/graft.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_THREADS 64

struct worker {
	pthread_t thread;
	unsigned long made, native;
};

static struct worker workers[MAX_THREADS];
static time_t end;

static time_t now(void)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	return at.tv_sec;
}

static void *work(void *argument)
{
	struct worker *worker = argument;

	while (now() < end) {
		unsigned int state;
		socklen_t length = sizeof(state);
		int fd = socket(AF_INET, SOCK_STREAM, 0);

		if (fd < 0)
			err(1, "socket");
		worker->made++;
		if (getsockopt(fd, IPPROTO_GRAFT, GRAFT_SO_STATE, &state, &length) < 0)
			worker->native++;
		close(fd);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	unsigned long made = 0, native = 0;
	int threads;

	if (argc != 3 || (threads = atoi(argv[1])) < 1 || threads > MAX_THREADS)
		errx(2, "usage: crowd THREADS SECONDS, with at most %d threads", MAX_THREADS);
	end = now() + atoi(argv[2]) + 1;
	for (int i = 0; i < threads; i++)
		if (pthread_create(&workers[i].thread, NULL, work, &workers[i]))
			errx(1, "pthread_create");
	for (int i = 0; i < threads; i++) {
		pthread_join(workers[i].thread, NULL);
		made += workers[i].made;
		native += workers[i].native;
	}
	printf("%lu %lu\n", made, native);
	return 0;
}
