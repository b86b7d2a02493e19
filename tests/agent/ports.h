/* PortOpen and PortClose: what the sandbox's processes listen on. */
#ifndef AGENT_PORTS_H
#define AGENT_PORTS_H

#include "tests/agent/sandbox.h"

struct agent_conn;
struct agent_ports;

/* A connection is there: looks at once and then every ports-ms. */
void agent_ports_begin(struct agent_sandbox *s);
/* To one whose connection is not ready yet: a port that is known to be open,
 * if there is one. */
void agent_ports_repeat(struct agent_conn *conn);
/* The runtime's answer. */
void agent_ports_found(struct agent_sandbox *s, const uint16_t *ports,
		       size_t nr);
void agent_ports_end(struct agent_sandbox *s);

#endif
