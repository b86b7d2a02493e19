/*
 * One TCP connection: first HTTP, after an upgrade a WebSocket.  It lives
 * from accept until libwebsockets destroys its side.
 */
#ifndef AGENT_CONN_H
#define AGENT_CONN_H

#include "tests/agent/msg.h"
#include "tests/agent/run.h"
#include "tests/agent/sandbox.h"

struct agent_http;
struct agent_message;
struct agent_segment;

TAILQ_HEAD(agent_segment_queue, agent_segment);
STAILQ_HEAD(agent_message_queue, agent_message);

/* Output of commands stops being read above, goes on below half of it. */
#define AGENT_TX_FULL (1024 * 1024)

struct agent_conn {
	LIST_ENTRY(agent_conn) link;
	struct agent *agent;
	struct lws *wsi;
	uint64_t nr; /* never used twice: jobs remember it, not a pointer */
	int fd;

	/* rate limit without X-Forwarded-For */
	int64_t window_ms;
	int requests;

	struct agent_http *http;

	/* after the upgrade */
	LIST_ENTRY(agent_conn) sandbox_link;
	struct agent_sandbox *sandbox;
	struct agent_run_list runs;
	bool is_socket, closing, rx_paused, tx_paused, ports_told;
	bool close_sent, flooding;
	uint16_t close_code; /* to be sent by the next WRITEABLE */
	char close_reason[64];
	unsigned int nr_jobs; /* Fs calls under way */

	uint8_t *rx; /* a message that came in parts */
	size_t rx_len;
	struct agent_message_queue inbox;
	size_t inbox_bytes;
	struct agent_message *held; /* stdin that waits for the next one */

	struct agent_segment_queue tx;
	size_t tx_bytes;     /* queued */
	size_t tx_due_bytes; /* of these, not held back by a delay */
	uv_timer_t *timer;   /* the next due time of either queue */
};

struct agent_conn *agent_conn_new(struct agent *agent, int fd);
struct agent_conn *agent_conn_free(struct agent_conn *conn);
struct agent_conn *agent_conn_by_nr(struct agent *agent, uint64_t nr);
/* Ends it: a bare TCP close, or with a reset. */
void agent_conn_close(struct agent_conn *conn);
void agent_conn_reset(struct agent_conn *conn);
/* Close frame, then the end. */
void agent_conn_close_frame(struct agent_conn *conn, uint16_t code,
			    const char *reason);
/* Has the timer call agent_socket_on_time at due_ns (uv_hrtime). */
void agent_conn_wake_at(struct agent_conn *conn, uint64_t due_ns);

/* listen.c */
int agent_listen(struct agent *agent, const char *address);
/* Faults `refuse` and `blackhole` have changed. */
void agent_listen_update(struct agent *agent);
void agent_listen_close(struct agent *agent);
extern const struct lws_protocols agent_protocols[];

/* tx.c: the send queue */
void agent_tx_message(struct agent_conn *conn, uint8_t type, uint32_t channel,
		      uint32_t id, const void *payload, size_t len);
/* Reads fd into messages of at most `piece` bytes; returns like read(2). */
ssize_t agent_tx_fill(struct agent_conn *conn, uint8_t type, uint32_t channel,
		      int fd);
/* Sends; < 0: the connection is to be closed. */
int agent_tx_on_writeable(struct agent_conn *conn);
void agent_tx_on_time(struct agent_conn *conn);
void agent_tx_release(struct agent_conn *conn);

/* socket.c: messages in */
void agent_socket_open(struct agent_conn *conn);
/* < 0: the connection is to be closed. */
int agent_socket_on_data(struct agent_conn *conn, const uint8_t *data,
			 size_t len, bool first, bool last);
void agent_socket_on_time(struct agent_conn *conn);
/* After each turn of the loop: handles what has come. */
void agent_sockets_handle(struct agent *agent);
void agent_socket_release(struct agent_conn *conn);
/* Error to this connection. */
void agent_socket_error(struct agent_conn *conn, uint32_t channel, uint32_t id,
			const char *code, const char *message);
/* Whom events of the sandbox go to; NULL: nobody. */
struct agent_conn *agent_socket_owner(struct agent_conn *conn);

#endif
