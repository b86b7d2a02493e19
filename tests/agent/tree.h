/*
 * Folders of the agent's own, handled without ever following a link: what is
 * in them was made by commands of a sandbox.
 */
#ifndef AGENT_TREE_H
#define AGENT_TREE_H

#include <sys/types.h>

/* Makes a folder if it is not there, and opens it (O_PATH). */
int agent_tree_make(int dir_fd, const char *name, mode_t mode, uid_t uid,
		    gid_t gid);
/*
 * Removes a folder and all that is below it, on this file system.  May take
 * long; any thread.
 */
int agent_tree_remove(int dir_fd, const char *name);
/* Replaces a file by text, atomically. */
int agent_tree_write(int dir_fd, const char *name, const char *text);

#endif
