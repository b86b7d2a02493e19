/* ExecStart, ExecStdin and ExecSignal on a WebSocket. */
#ifndef AGENT_EXEC_H
#define AGENT_EXEC_H

#include "tests/agent/args.h"
#include "tests/agent/conn.h"

void agent_exec_start(struct agent_conn *conn, const struct agent_envelope *e);
void agent_exec_stdin(struct agent_conn *conn, const struct agent_envelope *e);
void agent_exec_signal(struct agent_conn *conn, const struct agent_envelope *e);

/*
 * The environment that commands get: the four fixed ones, then "NAME=value"
 * pairs that may override them.  NULL-ended in a.
 */
void agent_exec_environment(struct agent_args *a);
void agent_exec_setenv(struct agent_args *a, const char *name,
		       const char *value);

#define AGENT_WORKSPACE "/home/sandbox/workspace"

#endif
