/* FsWatch: paths compared every watch-ms, events to the owner. */
#ifndef AGENT_WATCH_H
#define AGENT_WATCH_H

#include "tests/agent/conn.h"

void agent_watch_request(struct agent_conn *conn,
			 const struct agent_envelope *e);
/* The connection goes, and its watches with it. */
void agent_watches_drop(struct agent_conn *conn);

#endif
