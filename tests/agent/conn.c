/*
 * Connections and libwebsockets' view of them: every callback of the library
 * arrives here and is handed to http.c before the upgrade, to socket.c and
 * tx.c after it.  Loop thread only.
 */
#include "tests/agent/conn.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/agent/http.h"

/* How long a peer may take to answer our close frame. */
#define CLOSE_SECONDS 3

struct agent_conn *agent_conn_new(struct agent *agent, int fd)
{
	struct agent_conn *conn = calloc(1, sizeof(*conn));
	static uint64_t last;

	if (!conn)
		return NULL;
	conn->agent = agent;
	conn->nr = ++last;
	conn->fd = fd;
	STAILQ_INIT(&conn->inbox);
	TAILQ_INIT(&conn->tx);
	LIST_INIT(&conn->runs);
	LIST_INSERT_HEAD(&agent->conns, conn, link);
	return conn;
}

static void on_timer_closed(uv_handle_t *h)
{
	free(h);
}

struct agent_conn *agent_conn_free(struct agent_conn *conn)
{
	if (!conn)
		return NULL;
	conn->closing = true;
	agent_http_release(conn);
	agent_socket_release(conn);
	agent_tx_release(conn);
	if (conn->timer)
		uv_close((uv_handle_t *)conn->timer, on_timer_closed);
	LIST_REMOVE(conn, link);
	free(conn);
	return NULL;
}

struct agent_conn *agent_conn_by_nr(struct agent *agent, uint64_t nr)
{
	struct agent_conn *conn;

	LIST_FOREACH(conn, &agent->conns, link)
	{
		if (conn->nr == nr)
			return conn;
	}
	return NULL;
}

void agent_conn_close(struct agent_conn *conn)
{
	if (conn->closing && !conn->close_code && !conn->close_sent)
		return;
	conn->closing = true;
	conn->close_code = 0;
	lws_set_timeout(conn->wsi, PENDING_TIMEOUT_USER_REASON_BASE,
			LWS_TO_KILL_ASYNC);
	/* outside of its callbacks the library does not look at its timers */
	lws_cancel_service(conn->agent->lws);
}

void agent_conn_reset(struct agent_conn *conn)
{
	struct sockaddr sa = {.sa_family = AF_UNSPEC};

	/* dissolving the association sends RST at once, unsent data is lost */
	if (connect(conn->fd, &sa, sizeof(sa)) < 0)
		AGENT_LOG("cannot reset: %s", strerror(errno));
	agent_conn_close(conn);
}

void agent_conn_close_frame(struct agent_conn *conn, uint16_t code,
			    const char *reason)
{
	if (conn->closing)
		return;
	conn->closing = true;
	conn->close_code = code;
	snprintf(conn->close_reason, sizeof(conn->close_reason), "%s", reason);
	lws_callback_on_writable(conn->wsi);
}

static void on_timer(uv_timer_t *timer)
{
	struct agent_conn *conn = timer->data;

	if (conn->is_socket)
		agent_socket_on_time(conn);
	else
		agent_http_on_time(conn);
}

void agent_conn_wake_at(struct agent_conn *conn, uint64_t due_ns)
{
	uint64_t now = uv_hrtime(), ms;

	if (!conn->timer) {
		conn->timer = malloc(sizeof(*conn->timer));
		if (!conn->timer)
			return;
		uv_timer_init(&conn->agent->loop, conn->timer);
		conn->timer->data = conn;
	}
	ms = due_ns > now ? (due_ns - now + 999999) / 1000000 : 0;
	if (!uv_is_active((uv_handle_t *)conn->timer) ||
	    uv_timer_get_due_in(conn->timer) > ms)
		uv_timer_start(conn->timer, on_timer, ms, 0);
}

/*
 * libwebsockets sends no close frame when a WRITEABLE callback asks for the
 * end, so it is made here.  What the peer had sent before must still be read,
 * or the kernel answers with a reset and the frame is lost.
 */
static int conn_send_close(struct agent_conn *conn)
{
	size_t len = strlen(conn->close_reason);
	uint8_t frame[LWS_PRE + 4 + sizeof(conn->close_reason)];
	uint8_t *p = frame + LWS_PRE;

	p[0] = 0x88;
	p[1] = (uint8_t)(2 + len);
	p[2] = (uint8_t)(conn->close_code >> 8);
	p[3] = (uint8_t)conn->close_code;
	memcpy(p + 4, conn->close_reason, len);
	conn->close_code = 0;
	conn->close_sent = true;
	lws_set_timeout(conn->wsi, PENDING_TIMEOUT_USER_REASON_BASE,
			CLOSE_SECONDS);
	return lws_write(conn->wsi, p, len + 4, LWS_WRITE_HTTP) < 0 ? -1 : 0;
}

static int conn_on_socket_writeable(struct agent_conn *conn)
{
	if (conn->close_code)
		return conn_send_close(conn);
	return conn->closing ? 0 : agent_tx_on_writeable(conn);
}

static int conn_callback(struct lws *wsi, enum lws_callback_reasons reason,
			 void *user, void *in, size_t len)
{
	struct agent_conn *conn = wsi ? lws_get_opaque_user_data(wsi) : NULL;

	if (!conn)
		return 0;
	switch ((int)reason) {
	case LWS_CALLBACK_HTTP:
		return agent_http_on_request(conn, in, len);
	case LWS_CALLBACK_HTTP_BODY:
		return agent_http_on_body(conn, in, len);
	case LWS_CALLBACK_HTTP_BODY_COMPLETION:
		return agent_http_on_body_end(conn);
	case LWS_CALLBACK_HTTP_WRITEABLE:
		return agent_http_on_writeable(conn);
	case LWS_CALLBACK_HTTP_CONFIRM_UPGRADE:
		return agent_http_on_upgrade(conn, in);
	case LWS_CALLBACK_ESTABLISHED:
		agent_http_release(conn);
		agent_socket_open(conn);
		return 0;
	case LWS_CALLBACK_RECEIVE:
		return agent_socket_on_data(
			conn, in, len, lws_is_first_fragment(wsi),
			lws_is_final_fragment(wsi) &&
				!lws_remaining_packet_payload(wsi));
	case LWS_CALLBACK_SERVER_WRITEABLE:
		return conn_on_socket_writeable(conn);
	case LWS_CALLBACK_WS_PEER_INITIATED_CLOSE:
		return conn->close_sent ? -1 : 0; /* ours is answered */
	case LWS_CALLBACK_WSI_DESTROY:
		lws_set_opaque_user_data(wsi, NULL);
		agent_conn_free(conn);
		return 0;
	default:
		return 0;
	}
}

const struct lws_protocols agent_protocols[] = {
	{.name = "xgen", .callback = conn_callback, .rx_buffer_size = 65536},
	{0},
};
