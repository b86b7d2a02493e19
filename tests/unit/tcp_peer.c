#include "tests/unit/tcp_peer.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

static void on_alloc(uv_handle_t *handle, size_t hint, uv_buf_t *buf)
{
	struct tcp_conn *c = handle->data;

	*buf = uv_buf_init(c->in + c->in_len, sizeof(c->in) - 1 - c->in_len);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
	struct tcp_conn *c = stream->data;

	if (n < 0) {
		tcp_peer_hang_up(c);
		return;
	}
	c->in_len += (size_t)n;
	c->in[c->in_len] = '\0';
	c->peer->on_input(c);
}

static void on_connection(uv_stream_t *server, int status)
{
	struct tcp_peer *p = server->data;
	struct tcp_conn *c = calloc(1, sizeof(*c));

	c->peer = p;
	uv_tcp_init(p->loop, &c->tcp);
	c->tcp.data = c;
	c->next = p->conns;
	p->conns = c;
	p->nr_conns++;
	uv_accept(server, (uv_stream_t *)&c->tcp);
	if (!p->deaf)
		uv_read_start((uv_stream_t *)&c->tcp, on_alloc, on_read);
}

void tcp_peer_start(struct tcp_peer *p, uv_loop_t *loop, tcp_peer_fn *fn)
{
	struct sockaddr_in addr = {.sin_family = AF_INET};
	int len = sizeof(addr);

	memset(p, 0, sizeof(*p));
	p->loop = loop;
	p->on_input = fn;
	addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	uv_tcp_init(loop, &p->tcp);
	p->tcp.data = p;
	uv_tcp_bind(&p->tcp, (struct sockaddr *)&addr, 0);
	uv_listen((uv_stream_t *)&p->tcp, 16, on_connection);
	uv_tcp_getsockname(&p->tcp, (struct sockaddr *)&addr, &len);
	p->port = ntohs(addr.sin_port);
}

static void on_written(uv_write_t *req, int status)
{
	free(req->data);
	free(req);
}

void tcp_peer_say(struct tcp_conn *c, const void *data, size_t len)
{
	uv_write_t *req = malloc(sizeof(*req));
	uv_buf_t buf;

	req->data = malloc(len);
	memcpy(req->data, data, len);
	buf = uv_buf_init(req->data, (unsigned int)len);
	uv_write(req, (uv_stream_t *)&c->tcp, &buf, 1, on_written);
}

static void on_closed(uv_handle_t *handle)
{
	struct tcp_conn *c = handle->data, **p;

	for (p = &c->peer->conns; *p != c; p = &(*p)->next)
		;
	*p = c->next;
	free(c);
}

void tcp_peer_hang_up(struct tcp_conn *c)
{
	if (c->closed)
		return;
	c->closed = true;
	uv_close((uv_handle_t *)&c->tcp, on_closed);
}

void tcp_peer_stop(struct tcp_peer *p)
{
	struct tcp_conn *c;

	for (c = p->conns; c; c = c->next)
		tcp_peer_hang_up(c);
	uv_close((uv_handle_t *)&p->tcp, NULL);
}
