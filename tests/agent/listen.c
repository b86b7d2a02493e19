/*
 * The listening socket.  It is ours and not libwebsockets', so that faults
 * can refuse connections or leave them unanswered.  Loop thread only.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/agent/conn.h"

#define CONNS_MAX 1000

static struct sockaddr_in listen_address;
static bool listen_closing; /* the handle is not free yet */

static void on_listen_event(uv_poll_t *poll, int status, int events)
{
	struct agent *agent = poll->data;
	struct agent_conn *conn;
	int fd, one = 1, nr = 0;

	fd = accept4(agent->listen_fd, NULL, NULL,
		     SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0)
		return;
	LIST_FOREACH(conn, &agent->conns, link)
	nr++;
	conn = nr < CONNS_MAX ? agent_conn_new(agent, fd) : NULL;
	if (!conn) {
		close(fd);
		return;
	}
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	conn->wsi = lws_adopt_socket_vhost(agent->vhost, fd);
	if (conn->wsi)
		lws_set_opaque_user_data(conn->wsi, conn);
	else
		agent_conn_free(conn);
}

static int listen_open(struct agent *agent)
{
	socklen_t len = sizeof(listen_address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int one = 1;

	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&listen_address, len) < 0 ||
	    listen(fd, 128) < 0 ||
	    getsockname(fd, (struct sockaddr *)&listen_address, &len) < 0 ||
	    uv_poll_init(&agent->loop, &agent->listen_poll, fd) < 0) {
		int err = errno;

		close(fd);
		return -err;
	}
	agent->listen_fd = fd;
	agent->listen_poll.data = agent;
	uv_poll_start(&agent->listen_poll, UV_READABLE, on_listen_event);
	return ntohs(listen_address.sin_port);
}

int agent_listen(struct agent *agent, const char *address)
{
	const char *colon = strrchr(address, ':');
	char host[64], *end;
	unsigned long port;

	if (!colon ||
	    snprintf(host, sizeof(host), "%.*s", (int)(colon - address),
		     address) >= (int)sizeof(host))
		return -EINVAL;
	port = strtoul(colon + 1, &end, 10);
	listen_address.sin_family = AF_INET;
	listen_address.sin_port = htons((uint16_t)port);
	if (end == colon + 1 || *end || port > 65535 ||
	    inet_pton(AF_INET, host, &listen_address.sin_addr) != 1)
		return -EINVAL;
	return listen_open(agent);
}

static void on_poll_closed(uv_handle_t *h)
{
	struct agent *agent = h->data;

	listen_closing = false;
	/* `refuse` may have been switched off in the meantime */
	if (!agent->stopping && !agent->fault.refuse && agent->listen_fd < 0 &&
	    listen_open(agent) < 0)
		AGENT_LOG("cannot listen again: %s", strerror(errno));
}

void agent_listen_close(struct agent *agent)
{
	if (agent->listen_fd < 0)
		return;
	listen_closing = true;
	uv_close((uv_handle_t *)&agent->listen_poll, on_poll_closed);
	close(agent->listen_fd);
	agent->listen_fd = -1;
}

void agent_listen_update(struct agent *agent)
{
	struct agent_conn *conn;

	if (agent->fault.refuse)
		agent_listen_close(agent);
	else if (agent->listen_fd < 0 && !listen_closing &&
		 listen_open(agent) < 0)
		AGENT_LOG("cannot listen again: %s", strerror(errno));
	/* the kernel still completes connections that nobody accepts */
	if (agent->listen_fd >= 0) {
		if (agent->fault.blackhole)
			uv_poll_stop(&agent->listen_poll);
		else
			uv_poll_start(&agent->listen_poll, UV_READABLE,
				      on_listen_event);
	}
	LIST_FOREACH(conn, &agent->conns, link)
	{
		if (conn->closing)
			continue;
		lws_rx_flow_control(conn->wsi, !agent->fault.blackhole);
		if (!agent->fault.blackhole)
			lws_callback_on_writable(conn->wsi);
	}
}
