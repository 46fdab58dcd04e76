/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GRAFT_PRELOAD_COMMAND_H
#define GRAFT_PRELOAD_COMMAND_H

/**
 * graft_command_note - tell why a command will not have the library in it
 * @command: a file's path, or a name to look for in PATH as execvp does
 *
 * Return: a clause that continues the command's name, or NULL where nothing is known against it.
 */
const char *graft_command_note(const char *command);

#endif
