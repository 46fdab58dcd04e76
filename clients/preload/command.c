// SPDX-License-Identifier: Apache-2.0
#include "command.h"

#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>

static bool find(const char *command, char *path, size_t size)
{
	const char *from = getenv("PATH");

	if (strchr(command, '/'))
		return (size_t)snprintf(path, size, "%s", command) < size;
	while (from) {
		int len = (int)strcspn(from, ":");
		int need = snprintf(path, size, "%.*s/%s", len ? len : 1, len ? from : ".", command);
		struct stat st;

		if ((size_t)need < size && access(path, X_OK) == 0 && stat(path, &st) == 0 && S_ISREG(st.st_mode))
			return true;
		from = from[len] ? from + len + 1 : NULL;
	}
	return false;
}

/* True for a program of this machine's kind that asks for no loader. */
static bool is_static(int fd)
{
	ElfW(Ehdr) head;
	ElfW(Phdr) part;

	if (pread(fd, &head, sizeof(head), 0) != sizeof(head) || memcmp(head.e_ident, ELFMAG, SELFMAG) != 0 ||
	    head.e_phentsize != sizeof(part))
		return false;
	for (unsigned int i = 0; i < head.e_phnum; i++) {
		if (pread(fd, &part, sizeof(part), (off_t)(head.e_phoff + i * sizeof(part))) != sizeof(part))
			return false;
		if (part.p_type == PT_INTERP)
			return false;
	}
	return true;
}

/* The loader itself: what it is told to run does load libraries. */
static bool is_loader(const char *path)
{
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;

	return strncmp(name, "ld-", 3) == 0 || strcmp(name, "ld.so") == 0;
}

/*
 * Why the kernel sets AT_SECURE, upon which the loader ignores LD_PRELOAD: security/commoncap.c. What its user is
 * already changes nothing, and root gains nothing by file capabilities.
 */
static const char *privilege_note(int fd, const struct stat *st)
{
	struct statvfs fs;

	if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 || (fstatvfs(fd, &fs) == 0 && (fs.f_flag & ST_NOSUID)))
		return NULL;
	if (((st->st_mode & S_ISUID) && st->st_uid != getuid()) ||
	    ((st->st_mode & S_ISGID) && (st->st_mode & S_IXGRP) && st->st_gid != getgid()))
		return "is setuid or setgid and loads no library for its user";
	if (getuid() != 0 && fgetxattr(fd, "security.capability", NULL, 0) > 0)
		return "has file capabilities and loads no library for its user";
	return NULL;
}

const char *graft_command_note(const char *command)
{
	char path[4096];
	const char *note = NULL;
	struct stat st;
	int fd;

	if (!find(command, path, sizeof(path)))
		return NULL;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return NULL;
	if (fstat(fd, &st) == 0)
		note = privilege_note(fd, &st);
	if (!note && is_static(fd) && !is_loader(path))
		note = "is linked statically and loads no library";
	close(fd);
	return note;
}
