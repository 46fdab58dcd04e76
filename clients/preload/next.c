// SPDX-License-Identifier: Apache-2.0
#include "next.h"

#include <dlfcn.h>
#include <stddef.h>

/*
 * Before 2.34 glibc has dlopen and dlsym in a library of their own, which a program need not have
 * loaded; the C library then has these two in their place.
 */
void *__libc_dlopen_mode(const char *name, int mode);
void *__libc_dlsym(void *handle, const char *name);

#pragma weak dlopen
#pragma weak dlsym
#pragma weak __libc_dlopen_mode
#pragma weak __libc_dlsym

#define LIBC "libc.so.6" /* musl takes this name for itself */
#define GLIBC_OWN_CALL 0x80000000

void *graft_libc(const char *name)
{
	void *libc;

	if (dlopen && dlsym) {
		libc = dlopen(LIBC, RTLD_LAZY | RTLD_NOLOAD);
		return libc ? dlsym(libc, name) : NULL;
	}
	if (__libc_dlopen_mode && __libc_dlsym) {
		libc = __libc_dlopen_mode(LIBC, (int)(RTLD_LAZY | GLIBC_OWN_CALL));
		return libc ? __libc_dlsym(libc, name) : NULL;
	}
	return NULL;
}

void *graft_next(const char *name)
{
	return dlsym ? dlsym(RTLD_NEXT, name) : graft_libc(name);
}
