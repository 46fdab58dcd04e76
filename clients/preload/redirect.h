/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GRAFT_PRELOAD_REDIRECT_H
#define GRAFT_PRELOAD_REDIRECT_H

#include <stdbool.h>

/**
 * graft_redirect - let a function of this process begin with a branch to another
 * @from: the function
 * @to: where calls of @from go instead, within the branch's reach
 *
 * Changes one page of this process, or nothing at all. A thread that runs in that page meanwhile is
 * not disturbed, unless it is just between the first instructions of @from.
 *
 * Return: true, or false where the processor is none of x86-64 and arm64, @to is out of reach, or
 * the program may not map a page of its own making executable.
 */
bool graft_redirect(void *from, const void *to);

#endif
