#include "client/ws.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "client/log.h"
#include "client/ws_parts.h"

#define SLOT_BITS 10 /* 1 << SLOT_BITS == SBX_WS_MAX_SOCKETS */

static void ws_connect(struct sbx_ws *ws);

/* ---- the end of a socket ---- */

static void on_timer_closed(uv_handle_t *handle)
{
	struct sbx_ws *ws = handle->data;

	sbx_ws_host_gone(ws->host, ws);
	sbx_ws_drop_buffers(ws);
	if (ws->found)
		uv_freeaddrinfo(ws->found);
	free(ws->address);
	free(ws->authority);
	free(ws->path);
	free(ws);
}

/* Freed when its caller has been told and libwebsockets is done with it. */
static void ws_try_free(struct sbx_ws *ws)
{
	if (ws->handler || ws->wsi || ws->resolve || ws->timer_closed)
		return;
	ws->timer_closed = true;
	sbx_ws_wipe_headers(ws);
	uv_close((uv_handle_t *)&ws->timer, on_timer_closed);
}

static void on_deliver(uv_timer_t *timer)
{
	struct sbx_ws_host *h = timer->data;
	const struct sbx_ws_handler *handler;
	struct sbx_ws *ws;
	size_t i;

	for (i = 0; i < SBX_WS_MAX_SOCKETS; i++) {
		ws = h->slots[i];
		if (!ws || !ws->end_due)
			continue;
		ws->end_due = false;
		handler = ws->handler;
		ws->handler = NULL;
		handler->on_close(ws->arg, &ws->end);
		ws_try_free(ws);
	}
}

/* The first reason stays; on_close follows from the loop. */
static void ws_end(struct sbx_ws *ws)
{
	if (ws->state == WS_ENDED)
		return;
	ws->end.was_open = ws->state == WS_OPEN;
	ws->state = WS_ENDED;
	ws->end_due = true;
	uv_timer_start(&ws->host->kick, on_deliver, 0, 0);
}

static void ws_fail(struct sbx_ws *ws, int err, enum sbx_retry retry,
		    const char *what)
{
	if (ws->state == WS_ENDED)
		return;
	sbx_error_set(&ws->end.error, err, "%s: %s", ws->authority, what);
	ws->end.error.retry = retry;
	ws_end(ws);
}

/*
 * Ends the connection without any politeness.  It must be woken to do so:
 * libwebsockets looks at its own timers only after a socket had something.
 */
static void ws_kill(struct sbx_ws *ws)
{
	if (ws->resolve) {
		ws->resolve->ws = NULL;
		uv_cancel((uv_req_t *)&ws->resolve->req);
		ws->resolve = NULL;
	}
	if (!ws->wsi)
		return;
	lws_set_timeout(ws->wsi, PENDING_TIMEOUT_USER_REASON_BASE,
			LWS_TO_KILL_ASYNC);
	lws_cancel_service(ws->host->context);
}

static void ws_cut(struct sbx_ws *ws)
{
	ws_fail(ws, -ECANCELED, SBX_RETRY_NEVER, "the connection was closed");
	ws_kill(ws);
	ws_try_free(ws);
}

static void on_timer(uv_timer_t *timer);

void sbx_ws_close(struct sbx_ws *ws)
{
	if (ws->state != WS_OPEN || !ws->wsi) {
		ws_cut(ws);
		return;
	}
	ws->closing = true;
	ws_fail(ws, -ECANCELED, SBX_RETRY_NEVER, "the connection was closed");
	/* reading goes on, for the answer to our close frame */
	lws_rx_flow_control(ws->wsi, 1);
	lws_callback_on_writable(ws->wsi);
	uv_timer_start(&ws->timer, on_timer, SBX_WS_CLOSE_MS, 0);
}

/* Forgets a connection that will not end. */
void sbx_ws_abandon(struct sbx_ws *ws)
{
	ws->wsi = NULL;
	ws_try_free(ws);
}

/* The host goes down: who is saying goodbye gets a moment to finish. */
void sbx_ws_hurry(struct sbx_ws *ws)
{
	if (ws->closing && ws->wsi)
		uv_timer_start(&ws->timer, on_timer, SBX_WS_HURRY_MS, 0);
	else
		ws_cut(ws);
}

/* ---- time ---- */

static void ws_check_alive(struct sbx_ws *ws)
{
	uint64_t silent = uv_now(ws->host->loop) - ws->last_heard;

	/* who does not read cannot hear */
	if (ws->paused)
		silent = 0;
	if (silent < ws->ping_ms) {
		ws->ping_sent = false;
		uv_timer_start(&ws->timer, on_timer, ws->ping_ms - silent, 0);
		return;
	}
	if (ws->ping_sent) {
		ws_fail(ws, -ETIMEDOUT, SBX_RETRY_CONNECTION,
			"the connection is dead: no answer to a ping");
		ws_kill(ws);
		return;
	}
	ws->ping_sent = ws->want_ping = true;
	lws_callback_on_writable(ws->wsi);
	uv_timer_start(&ws->timer, on_timer, ws->pong_ms, 0);
}

static void on_timer(uv_timer_t *timer)
{
	struct sbx_ws *ws = timer->data;

	if (ws->state == WS_OPEN) {
		ws_check_alive(ws);
		return;
	}
	ws_fail(ws, -ETIMEDOUT, SBX_RETRY_CONNECTION,
		"no WebSocket connection in time; check the address, the "
		"network and the service");
	ws_kill(ws);
	ws_try_free(ws);
}

static void ws_heard(struct sbx_ws *ws)
{
	ws->last_heard = uv_now(ws->host->loop);
	ws->ping_sent = false;
}

void sbx_ws_pause(struct sbx_ws *ws, bool paused)
{
	if (ws->state != WS_OPEN || !ws->wsi || ws->paused == paused)
		return;
	ws->paused = paused;
	lws_rx_flow_control(ws->wsi, !paused);
	if (paused)
		return;
	ws_heard(ws);
	/* what it holds back is looked at after an event only: make one */
	lws_callback_on_writable(ws->wsi);
}

/* ---- what libwebsockets tells ---- */

static struct sbx_ws *ws_find(struct lws *wsi, const void *user)
{
	uintptr_t number = (uintptr_t)user;
	struct sbx_ws_host *h;
	struct sbx_ws *ws;

	if (!wsi || !number)
		return NULL;
	h = lws_context_user(lws_get_context(wsi));
	ws = h ? h->slots[number & (SBX_WS_MAX_SOCKETS - 1)] : NULL;
	/* a failed attempt has afterthoughts while the next one runs */
	return ws && ws->number == number && ws->wsi == wsi ? ws : NULL;
}

static int ws_on_established(struct sbx_ws *ws)
{
	if (ws->state != WS_CONNECTING)
		return -1;
	sbx_ws_wipe_headers(ws);
	ws->state = WS_OPEN;
	ws_heard(ws);
	uv_timer_start(&ws->timer, on_timer, ws->ping_ms, 0);
	ws->handler->on_open(ws->arg);
	return 0;
}

static int ws_on_receive(struct sbx_ws *ws, const void *data, size_t len)
{
	int r;

	if (ws->state != WS_OPEN)
		return 0;
	ws_heard(ws);
	r = sbx_ws_read_some(ws, data, len);
	if (r == 0)
		return 0;
	ws_fail(ws, r == -EMSGSIZE ? -EPROTO : r, SBX_RETRY_CONNECTION,
		r == -EMSGSIZE ? "a message was larger than can be meant"
			       : "out of memory");
	return -1;
}

static int ws_on_writeable(struct sbx_ws *ws)
{
	if (sbx_ws_write_some(ws) < 0)
		return -1;
	if (ws->closing && !ws->out && !ws->sent_close) {
		/* the answer to it, or the timer, ends it: cutting it now
		 * could take back what the peer has not read yet */
		ws->sent_close = true;
		return sbx_ws_write_close(ws);
	}
	if (ws->state != WS_OPEN)
		return 0;
	if (ws->refused && ws->queued <= ws->max_queue / 2) {
		ws->refused = false;
		ws->handler->on_writable(ws->arg);
	}
	return 0;
}

static void ws_on_peer_close(struct sbx_ws *ws, const unsigned char *data,
			     size_t len)
{
	size_t i, n;

	/* nothing counts behind the first */
	if (len < 2 || ws->end.code != 1006)
		return;
	ws->end.code = data[0] << 8 | data[1];
	n = len - 2;
	if (n >= sizeof(ws->end.reason))
		n = sizeof(ws->end.reason) - 1;
	for (i = 0; i < n; i++) {
		unsigned char c = data[2 + i];

		ws->end.reason[i] = (char)(c < 0x20 || c == 0x7f ? ' ' : c);
	}
	ws->end.reason[n] = '\0';
}

static void ws_on_closed(struct sbx_ws *ws)
{
	char text[200];

	ws->wsi = NULL;
	if (ws->end.code == 1006)
		snprintf(text, sizeof(text), "the connection broke");
	else
		snprintf(text, sizeof(text),
			 "the service closed the "
			 "connection (%d %.120s)",
			 ws->end.code, ws->end.reason);
	ws_fail(ws, -ETIMEDOUT, SBX_RETRY_CONNECTION, text);
	ws_try_free(ws);
}

/* No status: what it was must be guessed from libwebsockets' words. */
static void ws_fail_connect(struct sbx_ws *ws, const char *words, size_t len)
{
	if (ws->tls && words && memmem(words, len, "SSL", 3))
		ws_fail(ws, -EPROTO, SBX_RETRY_NEVER,
			"no trusted TLS connection; check the address, the "
			"clock and the certificates");
	else if (words && memmem(words, len, "HS:", 3))
		ws_fail(ws, -EPROTO, SBX_RETRY_CONNECTION,
			"what answers there does not speak WebSocket; check "
			"the address");
	else
		ws_fail(ws, -ETIMEDOUT, SBX_RETRY_CONNECTION,
			"cannot connect; check that the service runs there "
			"and that the port is right");
}

static void ws_on_refused(struct sbx_ws *ws, struct lws *wsi, const char *in,
			  size_t len)
{
	int status = (int)lws_http_client_http_response(wsi);

	ws->wsi = NULL;
	if (ws->state == WS_ENDED) {
		ws_try_free(ws);
		return;
	}
	if (!status && ws->next_addr) {
		ws_connect(ws);
		return;
	}
	if (status && status != 101) {
		sbx_error_from_http(&ws->end.error, status, ws->authority);
		ws_end(ws);
		return;
	}
	ws_fail_connect(ws, in, len);
}

int sbx_ws_callback(struct lws *wsi, enum lws_callback_reasons reason,
		    void *user, void *in, size_t len)
{
	struct sbx_ws *ws = ws_find(wsi, user);

	if (!ws)
		return 0;
	switch ((int)reason) {
	case LWS_CALLBACK_CLIENT_APPEND_HANDSHAKE_HEADER:
		return sbx_ws_put_headers(ws, wsi, in, len);
	case LWS_CALLBACK_CLIENT_ESTABLISHED:
		return ws_on_established(ws);
	case LWS_CALLBACK_CLIENT_RECEIVE:
		return ws_on_receive(ws, in, len);
	case LWS_CALLBACK_CLIENT_RECEIVE_PONG:
		ws_heard(ws);
		return 0;
	case LWS_CALLBACK_CLIENT_WRITEABLE:
		return ws_on_writeable(ws);
	case LWS_CALLBACK_WS_PEER_INITIATED_CLOSE:
		ws_on_peer_close(ws, in, len);
		return ws->sent_close ? -1 : 0;
	case LWS_CALLBACK_CLIENT_CLOSED:
	/* a connection that is reset during the handshake: nothing else tells
	 */
	case LWS_CALLBACK_WSI_DESTROY:
		ws_on_closed(ws);
		return 0;
	case LWS_CALLBACK_CLIENT_CONNECTION_ERROR:
		ws_on_refused(ws, wsi, in, len);
		return 0;
	default:
		return 0;
	}
}

/* ---- the beginning ---- */

static void ws_connect_failed(struct sbx_ws *ws)
{
	if (ws->next_addr) {
		ws_connect(ws);
		return;
	}
	ws_fail(ws, -ETIMEDOUT, SBX_RETRY_CONNECTION,
		"cannot connect; check that the service runs there and that "
		"the port is right");
}

/* To the next of the addresses found. */
static void ws_connect(struct sbx_ws *ws)
{
	struct lws_client_connect_info info = {0};
	struct addrinfo *to = ws->next_addr;
	char numeric[NI_MAXHOST];
	struct lws *wsi;

	ws->next_addr = to->ai_next;
	if (getnameinfo(to->ai_addr, to->ai_addrlen, numeric, sizeof(numeric),
			NULL, 0, NI_NUMERICHOST)) {
		ws_connect_failed(ws);
		return;
	}
	ws->state = WS_CONNECTING;
	info.context = ws->host->context;
	info.address = numeric;
	info.port = ws->port;
	info.host = ws->authority;
	info.path = ws->path;
	info.alpn = "http/1.1";
	info.local_protocol_name = "sbx";
	info.ietf_version_or_minus_one = -1;
	info.ssl_connection = LCCSCF_HTTP_NO_FOLLOW_REDIRECT;
	if (ws->tls)
		info.ssl_connection |= LCCSCF_USE_SSL;
	info.userdata = (void *)ws->number;
	info.pwsi = &ws->wsi;
	wsi = lws_client_connect_via_info(&info);
	if (wsi)
		return;
	ws->wsi = NULL;
	if (ws->state == WS_CONNECTING)
		ws_connect_failed(ws);
}

static void ws_take_addresses(struct sbx_ws *ws, struct addrinfo *found)
{
	ws->found = ws->next_addr = found;
	ws_connect(ws);
}

static void on_resolved(uv_getaddrinfo_t *req, int status,
			struct addrinfo *found)
{
	struct resolve *r = req->data;
	struct sbx_ws *ws = r->ws;

	free(r);
	if (!ws) {
		uv_freeaddrinfo(found);
		return;
	}
	ws->resolve = NULL;
	if (status == 0 && found) {
		ws_take_addresses(ws, found);
		return;
	}
	uv_freeaddrinfo(found);
	ws_fail(ws, -ETIMEDOUT, SBX_RETRY_CONNECTION,
		"there is no such host; check the name and the network");
}

/* libwebsockets would wait for the name server: looked up beforehand. */
static int ws_resolve(struct sbx_ws *ws)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
				 .ai_flags = AI_NUMERICHOST};
	struct addrinfo *found = NULL;
	struct resolve *r;

	if (getaddrinfo(ws->address, NULL, &hints, &found) == 0) {
		ws_take_addresses(ws, found);
		return 0;
	}
	hints.ai_flags = 0;
	r = calloc(1, sizeof(*r));
	if (!r)
		return -ENOMEM;
	r->req.data = r;
	r->ws = ws;
	if (uv_getaddrinfo(ws->host->loop, &r->req, on_resolved, ws->address,
			   NULL, &hints) < 0) {
		free(r);
		return -ENOMEM;
	}
	ws->resolve = r;
	return 0;
}

static int ws_parse_url(struct sbx_ws *ws, const char *url)
{
	const char *host = strstr(url, "://"), *path, *port, *end;

	if (!host)
		return -EINVAL;
	ws->tls = !strncmp(url, "https:", 6) || !strncmp(url, "wss:", 4);
	host += 3;
	path = strchr(host, '/');
	end = path ? path : host + strlen(host);
	ws->authority = strndup(host, (size_t)(end - host));
	ws->path = strdup(path ? path : "/");
	port = memrchr(host, ':', (size_t)(end - host));
	if (port && memchr(port, ']', (size_t)(end - port)))
		port = NULL;
	ws->port = port ? atoi(port + 1) : ws->tls ? 443 : 80;
	if (port)
		end = port;
	if (*host == '[' && end > host + 1 && end[-1] == ']') {
		host++;
		end--;
	}
	ws->address = strndup(host, (size_t)(end - host));
	return ws->authority && ws->path && ws->address ? 0 : -ENOMEM;
}

/* A free slot, and a number that no socket of it ever had. */
static struct sbx_ws *ws_new(struct sbx_ws_host *h)
{
	struct sbx_ws *ws;
	unsigned int i;

	_Static_assert(1 << SLOT_BITS == SBX_WS_MAX_SOCKETS, "slots");
	if (h->closing || !h->context || h->nr_sockets >= SBX_WS_MAX_SOCKETS)
		return NULL;
	ws = calloc(1, sizeof(*ws));
	if (!ws)
		return NULL;
	for (i = 0; h->slots[i]; i++)
		;
	ws->host = h;
	ws->slot = i;
	ws->number = ++h->generation << SLOT_BITS | i;
	ws->out_tail = &ws->out;
	ws->end.code = 1006;
	h->slots[i] = ws;
	h->nr_sockets++;
	uv_timer_init(h->loop, &ws->timer);
	ws->timer.data = ws;
	return ws;
}

static unsigned int or_default(unsigned int value, unsigned int def)
{
	return value ? value : def;
}

struct sbx_ws *sbx_ws_open(struct sbx_ws_host *host,
			   const struct sbx_ws_conf *conf,
			   const struct sbx_ws_handler *handler, void *arg)
{
	struct sbx_ws *ws = ws_new(host);

	if (!ws)
		return NULL;
	ws->handler = handler;
	ws->arg = arg;
	ws->ping_ms = or_default(conf->ping_ms, SBX_WS_PING_MS);
	ws->pong_ms = or_default(conf->pong_ms, SBX_WS_PONG_MS);
	ws->max_message =
		conf->max_message ? conf->max_message : SBX_WS_MAX_MESSAGE;
	ws->max_queue = conf->max_queue ? conf->max_queue : SBX_WS_MAX_SEND;
	uv_timer_start(&ws->timer, on_timer,
		       or_default(conf->connect_timeout_ms, SBX_WS_CONNECT_MS),
		       0);
	if (ws_parse_url(ws, conf->url) < 0 ||
	    sbx_ws_make_headers(ws, conf) < 0 || ws_resolve(ws) < 0)
		ws_fail(ws, -ENOMEM, SBX_RETRY_LATER, "out of memory");
	return ws;
}
