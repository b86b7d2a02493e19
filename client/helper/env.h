/*
 * The variables that commands start with.  They are those of the helper, but
 * a sandbox may be told others while it runs, which its new processes have: a
 * batch is one (proto.h), and its variables are those of the commands from
 * then on.
 */
#ifndef HELPER_ENV_H
#define HELPER_ENV_H

/* environ becomes that of the process at the other end of a socket; it stays
 * what it is where that cannot be read, or holds nonsense. */
void env_follow(int sock);

#endif
