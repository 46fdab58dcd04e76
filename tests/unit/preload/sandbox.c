// SPDX-License-Identifier: Apache-2.0
/* A sandbox in which the system calls that libgraft.so and graft make by number are refused. */
#include <errno.h>

long syscall(long number, ...)
{
	(void)number;
	errno = EPERM;
	return -1;
}
