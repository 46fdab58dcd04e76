/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GRAFT_PRELOAD_NEXT_H
#define GRAFT_PRELOAD_NEXT_H

/**
 * graft_next - find the function that a program would call if this library were not there
 * @name: the function's name
 *
 * Return: its address in the libraries preloaded after this one or in the C library, or NULL.
 */
void *graft_next(const char *name);

/**
 * graft_libc - find a function of the C library itself
 * @name: the function's name
 *
 * Return: its address, or NULL.
 */
void *graft_libc(const char *name);

#endif
