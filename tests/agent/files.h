/* FsRead, FsWrite, FsList, FsRemove. */
#ifndef AGENT_FILES_H
#define AGENT_FILES_H

#include "tests/agent/conn.h"

void agent_files_request(struct agent_conn *conn,
			 const struct agent_envelope *e);

#endif
