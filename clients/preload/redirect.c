// SPDX-License-Identifier: Apache-2.0
/*
 * One branch instruction in front of a function.
 *
 * The page that the function begins in is replaced, in one step, by a copy that has the branch. Writing
 * to the page would need it writable and executable at once, which hardened programs forbid themselves
 * (PR_SET_MDWE), or /proc/self/mem, which hardened kernels keep from doing it.
 */
#include "redirect.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#ifndef MFD_CLOEXEC
#define MFD_CLOEXEC 1U
#endif
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8U
#endif

struct branch {
	unsigned char code[8];
	size_t len;
	size_t skip; /* the landing pad that indirect calls need stays in its place */
};

#if defined(__x86_64__)

static bool encode(struct branch *branch, const unsigned char *from, intptr_t to)
{
	static const unsigned char endbr64[] = { 0xf3, 0x0f, 0x1e, 0xfa };
	intptr_t distance;
	int32_t rel;

	branch->skip = memcmp(from, endbr64, sizeof(endbr64)) == 0 ? sizeof(endbr64) : 0;
	branch->len = 5;
	distance = to - (intptr_t)(from + branch->skip + branch->len);
	rel = (int32_t)distance;
	branch->code[0] = 0xe9; /* jmp rel32 */
	memcpy(branch->code + 1, &rel, sizeof(rel));
	return rel == distance;
}

#elif defined(__aarch64__) && defined(__AARCH64EL__)

static bool encode(struct branch *branch, const unsigned char *from, intptr_t to)
{
	static const uint32_t bti_c = 0xd503245f;
	intptr_t distance;
	uint32_t b;

	branch->skip = memcmp(from, &bti_c, sizeof(bti_c)) == 0 ? sizeof(bti_c) : 0;
	branch->len = sizeof(b);
	distance = to - (intptr_t)(from + branch->skip);
	b = 0x14000000 | ((uint32_t)(distance >> 2) & 0x03ffffff); /* b imm26 */
	memcpy(branch->code, &b, sizeof(b));
	return distance >= -(1 << 27) && distance < (1 << 27);
}

#else

static bool encode(struct branch *branch, const unsigned char *from, intptr_t to)
{
	(void)branch;
	(void)from;
	(void)to;
	return false;
}

#endif

/* A file that is mapped executable and never executed. The name shows in /proc/PID/maps. */
static int page_file(void)
{
	int fd = (int)syscall(SYS_memfd_create, "libgraft", MFD_CLOEXEC | MFD_NOEXEC_SEAL);

	if (fd < 0 && errno == EINVAL) /* before 6.3 the second flag is not known */
		fd = (int)syscall(SYS_memfd_create, "libgraft", MFD_CLOEXEC);
	return fd;
}

bool graft_redirect(void *from, const void *to)
{
	size_t size = getauxval(AT_PAGESZ), offset = (uintptr_t)from % size;
	char *page = (char *)from - offset;
	struct branch branch;
	bool done;
	int fd;

	if (!encode(&branch, from, (intptr_t)to))
		return false;
	offset += branch.skip;
	if (offset + branch.len > size)
		return false;
	fd = page_file();
	if (fd < 0)
		return false;
	done = pwrite(fd, page, size, 0) == (ssize_t)size &&
	       pwrite(fd, branch.code, branch.len, (off_t)offset) == (ssize_t)branch.len &&
	       mmap(page, size, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_FIXED, fd, 0) != MAP_FAILED;
	syscall(SYS_close, fd);
	return done;
}
