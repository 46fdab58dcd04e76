// SPDX-License-Identifier: Apache-2.0
/*
 * A program that has libgraft.so preloaded and plays the kernel for it: it stands in for the C
 * library's syscall() and getauxval(), prints which system calls the library makes, and answers them
 * as KERNEL says. Each argument is an operation:
 *
 *	socket:DOMAIN:TYPE:PROTOCOL	call socket
 *	libc:DOMAIN:TYPE:PROTOCOL	call the C library's own, as its resolver does
 *	vfork:..., thread:...		call socket in a vfork child, in a thread
 *	raw:DOMAIN:TYPE:PROTOCOL	call socket with KERNEL switched off: the real kernel
 *	resolve:FAMILY:FLAGS:0		call getaddrinfo for 192.0.2.1
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/auxv.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define UNTOUCHED 4321 /* an errno that no call sets */

static bool real_kernel;

static bool kernel(const char *trait)
{
	const char *traits = getenv("KERNEL");

	return !real_kernel && traits && strstr(traits, trait);
}

static long fail(int error)
{
	errno = error;
	return -1;
}

static long fake_socket(long domain, long type, long protocol)
{
	printf("socket %ld %ld %ld\n", domain, type, protocol);
	if (kernel("absent") && protocol == 254)
		return fail(EPROTONOSUPPORT);
	if (kernel("full"))
		return fail(EMFILE);
	return 100;
}

static long fake_setsockopt(long fd, long level, long name, const unsigned char *value, long len)
{
	printf("setsockopt %ld %ld %ld ", fd, level, name);
	for (long i = 0; i < len; i++)
		printf("%02x", value[i]);
	putchar('\n');
	return kernel("norules") ? fail(ENOMEM) : 0;
}

long syscall(long number, ...)
{
	long (*real)(long, ...) = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
	long a, b, c, d, e;
	va_list args;

	va_start(args, number);
	a = va_arg(args, long);
	b = va_arg(args, long);
	c = va_arg(args, long);
	d = va_arg(args, long);
	e = va_arg(args, long);
	va_end(args);
	if (number == SYS_memfd_create && kernel("nomemfd"))
		return fail(EACCES);
	if (real_kernel || (a < 100 && number != SYS_socket))
		return real(number, a, b, c, d, e);
	switch (number) {
	case SYS_socket:
		return fake_socket(a, b, c);
	case SYS_setsockopt:
		return fake_setsockopt(a, b, c, (const unsigned char *)d, e);
	case SYS_close:
		printf("close %ld\n", a);
		return 0;
	}
	return real(number, a, b, c, d, e);
}

unsigned long getauxval(unsigned long type)
{
	unsigned long (*real)(unsigned long) = (unsigned long (*)(unsigned long))dlsym(RTLD_NEXT, "getauxval");

	return type == AT_SECURE && kernel("secure") ? 1 : real(type);
}

struct call {
	int (*function)(int domain, int type, int protocol);
	int domain, type, protocol;
	int result, error;
};

static void *make(void *arg)
{
	struct call *call = arg;

	errno = UNTOUCHED;
	call->result = call->function(call->domain, call->type, call->protocol);
	call->error = errno;
	return NULL;
}

static void resolve(int family, int flags)
{
	struct addrinfo hints = { .ai_family = family, .ai_flags = flags }, *found = NULL;
	int result = getaddrinfo("192.0.2.1", "80", &hints, &found);

	printf("result %d hints %d %d\n", result, hints.ai_family, hints.ai_flags);
	if (found)
		freeaddrinfo(found);
}

static void run(const char *operation)
{
	void *libc = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
	struct call call = { .function = socket };
	char how[16];
	pthread_t thread;

	if (sscanf(operation, "%15[a-z]:%d:%d:%d", how, &call.domain, &call.type, &call.protocol) != 4)
		exit(2);
	if (strcmp(how, "resolve") == 0) {
		resolve(call.domain, call.type);
		return;
	}
	if (strcmp(how, "libc") == 0)
		call.function = (int (*)(int, int, int))dlsym(libc, "socket");
	real_kernel = strcmp(how, "raw") == 0;
	if (strcmp(how, "thread") == 0) {
		pthread_create(&thread, NULL, make, &call);
		pthread_join(thread, NULL);
	} else if (strcmp(how, "vfork") == 0) {
		pid_t child;

		fflush(stdout);
		child = vfork();
		if (child == 0) {
			make(&call);
			_exit(0);
		}
		waitpid(child, NULL, 0);
	} else {
		make(&call);
	}
	real_kernel = false;
	if (strcmp(how, "raw") == 0 && call.result >= 0)
		call.result = 100;
	if (call.error == UNTOUCHED)
		printf("result %d untouched\n", call.result);
	else
		printf("result %d errno %d\n", call.result, call.error);
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		run(argv[i]);
	return 0;
}
