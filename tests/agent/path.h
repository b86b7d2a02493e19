/*
 * Paths of the Fs calls: relative to the workspace, whose content belongs to
 * a stranger.  Links are followed as the real service does, but by us, one
 * by one, and never out of the workspace.  Any thread.
 */
#ifndef AGENT_PATH_H
#define AGENT_PATH_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

struct agent_path {
	char text[PATH_MAX]; /* relative, no links in it; "." is the root */
	bool exists;
	const char *why; /* a sentence, if it is not to be used */
	int err;	 /* an errno, or 0 */
};

/* text is not NUL-ended; follow: links in the last component too. */
void agent_path_resolve(int root_fd, const char *text, size_t len, bool follow,
			struct agent_path *ret);
/*
 * Opens what was resolved, and fails rather than follow a link that was put
 * there since.  flags and mode as for open(2); -errno.
 */
int agent_path_open(int root_fd, const char *path, int flags, unsigned mode);

#endif
