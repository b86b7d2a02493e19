/*
 * Looks for listening ports while a sandbox has connections.  In the real
 * service every connection has its own scan and all report to the one that
 * was accepted last; so the same port is told once per connection, and once
 * more for the agent's own.  Loop thread only.
 */
#include "tests/agent/ports.h"

#include <stdlib.h>
#include <string.h>

#include "tests/agent/conn.h"
#include "tests/agent/pod.h"
#include "tests/agent/runtime.h"

struct agent_ports {
	struct agent_sandbox *sandbox;
	uv_timer_t timer;
	uint16_t open[RT_PORTS_MAX];
	size_t nr;
};

static bool ports_has(const uint16_t *ports, size_t nr, uint16_t port)
{
	for (size_t i = 0; i < nr; i++) {
		if (ports[i] == port)
			return true;
	}
	return false;
}

static void ports_send(struct agent_conn *conn, uint8_t type, uint16_t port,
		       int times)
{
	msgpack_sbuffer out;

	msgpack_sbuffer_init(&out);
	agent_pack_port(&out, port);
	while (times-- > 0)
		agent_tx_message(conn, type, 0, 0, out.data, out.size);
	msgpack_sbuffer_destroy(&out);
}

/* To the owner, once per connection; or to each, if there is no owner. */
static void ports_tell(struct agent_sandbox *s, uint8_t type, uint16_t port)
{
	struct agent_conn *conn;
	int times = 1;

	if (!s->agent->traits.owner) {
		LIST_FOREACH(conn, &s->conns, sandbox_link)
		{
			if (conn->ports_told)
				ports_send(conn, type, port, 1);
		}
		return;
	}
	if (s->agent->traits.duplicate_ports) {
		LIST_FOREACH(conn, &s->conns, sandbox_link)
		times += conn->ports_told;
	}
	if (s->owner)
		ports_send(s->owner, type, port, times);
}

/* A new connection's first scan reports all that is open. */
static void ports_tell_new(struct agent_ports *p)
{
	struct agent_sandbox *s = p->sandbox;
	struct agent_conn *conn;

	LIST_FOREACH(conn, &s->conns, sandbox_link)
	{
		struct agent_conn *to = agent_socket_owner(conn);

		if (conn->ports_told)
			continue;
		conn->ports_told = true;
		for (size_t i = 0; to && i < p->nr; i++)
			ports_send(to, MSG_PORT_OPEN, p->open[i], 1);
	}
}

void agent_ports_found(struct agent_sandbox *s, const uint16_t *ports,
		       size_t nr)
{
	struct agent_ports *p = s->open_ports;

	if (!p)
		return;
	nr = nr > RT_PORTS_MAX ? RT_PORTS_MAX : nr;
	for (size_t i = 0; i < nr; i++) {
		if (!ports_has(p->open, p->nr, ports[i]))
			ports_tell(s, MSG_PORT_OPEN, ports[i]);
	}
	for (size_t i = 0; i < p->nr; i++) {
		if (!ports_has(ports, nr, p->open[i]))
			ports_tell(s, MSG_PORT_CLOSE, p->open[i]);
	}
	memcpy(p->open, ports, nr * sizeof(*ports));
	p->nr = nr;
	ports_tell_new(p);
}

static void on_scan(uv_timer_t *timer)
{
	struct agent_ports *p = timer->data;

	if (p->sandbox->pod)
		agent_pod_ask_ports(p->sandbox->pod);
	else if (p->nr)
		agent_ports_found(p->sandbox, NULL, 0);
}

void agent_ports_repeat(struct agent_conn *conn)
{
	const struct agent_ports *p = conn->sandbox->open_ports;

	if (p && p->nr)
		ports_send(conn, MSG_PORT_OPEN, p->open[0], 1);
}

void agent_ports_begin(struct agent_sandbox *s)
{
	struct agent_ports *p = s->open_ports;

	if (p)
		return;
	p = calloc(1, sizeof(*p));
	if (!p)
		return;
	p->sandbox = s;
	p->timer.data = p;
	uv_timer_init(&s->agent->loop, &p->timer);
	uv_timer_start(&p->timer, on_scan, (uint64_t)s->agent->traits.ports_ms,
		       (uint64_t)s->agent->traits.ports_ms);
	s->open_ports = p;
}

static void on_timer_closed(uv_handle_t *h)
{
	free(h->data);
}

void agent_ports_end(struct agent_sandbox *s)
{
	if (s->open_ports)
		uv_close((uv_handle_t *)&s->open_ports->timer, on_timer_closed);
	s->open_ports = NULL;
}
