/*
 * One session: the first process of it becomes a daemon that listens on a
 * private socket; each process hands its streams to that daemon and waits
 * until they are given up.
 */
#ifndef HELPER_SESSION_H
#define HELPER_SESSION_H

#include <stdbool.h>

struct handover;

/* Returns the exit status of this process. */
int session_run(const char *session, bool remove_self);
/*
 * A connection to the session's daemon, which is started if there is none,
 * for streams to be used in the way of how; negative: none can be had.
 */
int session_join(const char *session, bool remove_self,
		 const struct handover *how);

#endif
