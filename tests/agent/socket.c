/*
 * The WebSocket: what comes in.  Messages are put together, counted, held
 * back if a delay is set, and handled once per turn of the loop, those that
 * came together in random order, as the real service's goroutines do.
 * Loop thread only.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/agent/conn.h"
#include "tests/agent/exec.h"
#include "tests/agent/files.h"
#include "tests/agent/ports.h"
#include "tests/agent/watch.h"

/* Above, reading from the connection stops; goes on below half of it. */
#define INBOX_FULL (64 * 1024 * 1024)
#define STDIN_FULL (64 * 1024 * 1024)
#define BATCH_MAX  256
#define JOBS_MAX   256

struct agent_message {
	STAILQ_ENTRY(agent_message) link;
	uint64_t due_ns;
	size_t len;
	uint8_t data[];
};

struct agent_conn *agent_socket_owner(struct agent_conn *conn)
{
	return conn->agent->traits.owner ? conn->sandbox->owner : conn;
}

void agent_socket_error(struct agent_conn *conn, uint32_t channel, uint32_t id,
			const char *code, const char *message)
{
	msgpack_sbuffer out;

	if (!conn)
		return;
	msgpack_sbuffer_init(&out);
	agent_pack_error(&out, code, message,
			 conn->agent->traits.map_order && agent_random(2));
	agent_tx_message(conn, MSG_ERROR, channel, id, out.data, out.size);
	msgpack_sbuffer_destroy(&out);
}

static void socket_dispatch(struct agent_conn *conn,
			    const struct agent_envelope *e)
{
	switch (e->type) {
	case MSG_PING:
		agent_tx_message(agent_socket_owner(conn), MSG_PONG, 0, e->id,
				 NULL, 0);
		break;
	case MSG_EXEC_START:
		agent_exec_start(conn, e);
		break;
	case MSG_EXEC_STDIN:
		agent_exec_stdin(conn, e);
		break;
	case MSG_EXEC_SIGNAL:
		agent_exec_signal(conn, e);
		break;
	case MSG_EXEC_RESIZE:
		break; /* there never is a tty */
	case MSG_FS_READ:
	case MSG_FS_WRITE:
	case MSG_FS_LIST:
	case MSG_FS_REMOVE:
		agent_files_request(conn, e);
		break;
	case MSG_FS_WATCH:
		agent_watch_request(conn, e);
		break;
	default:
		agent_socket_error(agent_socket_owner(conn), e->channel, e->id,
				   "unknown_message", "unknown message type");
		break;
	}
}

/* Faults and traits that lose a request. */
static bool socket_loses(struct agent_conn *conn, uint8_t type)
{
	struct agent *agent = conn->agent;

	if (type == MSG_EXEC_STDIN)
		return false;
	if (agent->fault.no_reply) {
		agent->fault.no_reply--;
		return true;
	}
	return agent->traits.no_reply &&
	       agent_random(1000) < (uint32_t)agent->traits.no_reply;
}

static void socket_handle(struct agent_conn *conn, const uint8_t *data,
			  size_t len)
{
	struct agent_envelope e;

	if (conn->closing || !agent_envelope_read(&e, data, len) ||
	    socket_loses(conn, e.type))
		return;
	socket_dispatch(conn, &e);
}

static struct agent_message *message_new(const uint8_t *data, size_t len)
{
	struct agent_message *m = malloc(sizeof(*m) + len);

	if (m) {
		m->due_ns = 0;
		m->len = len;
		memcpy(m->data, data, len);
	}
	return m;
}

/* The one that waits for another to overtake it. */
static void socket_release_held(struct agent_conn *conn)
{
	struct agent_message *m = conn->held;

	if (!m)
		return;
	conn->held = NULL;
	socket_handle(conn, m->data, m->len);
	free(m);
}

static void socket_handle_stdin(struct agent_conn *conn, const uint8_t *data,
				size_t len)
{
	int chance = conn->agent->traits.stdin_reorder;

	if (!conn->held && chance && agent_random(1000) < (uint32_t)chance) {
		conn->held = message_new(data, len);
		if (conn->held)
			return;
	}
	socket_handle(conn, data, len);
	socket_release_held(conn);
}

/* Only who goes on sending stdin to a full sandbox is made to wait. */
static void socket_pause(struct agent_conn *conn)
{
	size_t stdin_bytes = conn->sandbox->stdin_bytes;
	bool full, empty;

	if (stdin_bytes < STDIN_FULL / 2)
		conn->flooding = false;
	full = conn->inbox_bytes > INBOX_FULL || conn->flooding ||
	       conn->nr_jobs > JOBS_MAX;
	empty = conn->inbox_bytes < INBOX_FULL / 2 && !conn->flooding &&
		conn->nr_jobs < JOBS_MAX / 2;
	if (conn->closing || (conn->rx_paused ? !empty : !full))
		return;
	conn->rx_paused = full;
	lws_rx_flow_control(conn->wsi, !full);
}

static void socket_message(struct agent_conn *conn, const uint8_t *data,
			   size_t len)
{
	uint64_t delay = conn->agent->fault.delay_ms;
	struct agent_message *m;

	agent_journal_message(&conn->agent->journal, data, len);
	if (len && data[0] == MSG_EXEC_STDIN &&
	    conn->sandbox->stdin_bytes > STDIN_FULL)
		conn->flooding = true;
	/* the fast way, without a copy: this is where the bytes are */
	if (len && data[0] == MSG_EXEC_STDIN && !delay &&
	    STAILQ_EMPTY(&conn->inbox)) {
		socket_handle_stdin(conn, data, len);
		return;
	}
	m = message_new(data, len);
	if (!m)
		return;
	m->due_ns = delay ? uv_hrtime() + delay * 1000000 : 0;
	conn->inbox_bytes += len;
	STAILQ_INSERT_TAIL(&conn->inbox, m, link);
}

static int socket_too_long(struct agent_conn *conn)
{
	char reason[64];

	conn->agent->journal.too_long++;
	snprintf(reason, sizeof(reason), "read limited at %d bytes",
		 conn->agent->traits.message_limit + 1);
	agent_conn_close_frame(conn, 1009, reason);
	return 0;
}

int agent_socket_on_data(struct agent_conn *conn, const uint8_t *data,
			 size_t len, bool first, bool last)
{
	size_t limit = (size_t)conn->agent->traits.message_limit;

	if (conn->closing)
		return 0;
	if (agent_fault_count(conn->agent, len)) {
		agent_conn_reset(conn);
		return 0;
	}
	if (first)
		conn->rx_len = 0;
	if (conn->rx_len + len > limit)
		return socket_too_long(conn);
	if (first && last) {
		socket_message(conn, data, len);
	} else {
		if (!conn->rx)
			conn->rx = malloc(limit);
		if (!conn->rx)
			return -1;
		memcpy(conn->rx + conn->rx_len, data, len);
		conn->rx_len += len;
		if (last)
			socket_message(conn, conn->rx, conn->rx_len);
	}
	socket_pause(conn);
	return 0;
}

/* Takes what is due, at most BATCH_MAX; the rest waits for the next turn. */
static int inbox_take(struct agent_conn *conn, struct agent_message **batch)
{
	uint64_t now = uv_hrtime();
	struct agent_message *m;
	int n = 0;

	while (n < BATCH_MAX && (m = STAILQ_FIRST(&conn->inbox))) {
		if (m->due_ns > now) {
			agent_conn_wake_at(conn, m->due_ns);
			break;
		}
		STAILQ_REMOVE_HEAD(&conn->inbox, link);
		conn->inbox_bytes -= m->len;
		batch[n++] = m;
	}
	return n;
}

/* All but stdin, which has its own, rarer disorder. */
static void batch_shuffle(struct agent_message **batch, int n)
{
	for (int i = n - 1; i > 0; i--) {
		int j = (int)agent_random((uint32_t)i + 1);
		struct agent_message *m = batch[i];

		if ((m->len && m->data[0] == MSG_EXEC_STDIN) ||
		    (batch[j]->len && batch[j]->data[0] == MSG_EXEC_STDIN))
			continue;
		batch[i] = batch[j];
		batch[j] = m;
	}
}

static void socket_handle_inbox(struct agent_conn *conn)
{
	struct agent_message *batch[BATCH_MAX];
	int n = inbox_take(conn, batch);

	if (conn->agent->traits.reorder)
		batch_shuffle(batch, n);
	for (int i = 0; i < n; i++) {
		struct agent_message *m = batch[i];

		if (m->len && m->data[0] == MSG_EXEC_STDIN)
			socket_handle_stdin(conn, m->data, m->len);
		else
			socket_handle(conn, m->data, m->len);
		free(m);
	}
	socket_release_held(conn);
	if (n == BATCH_MAX)
		agent_conn_wake_at(conn, uv_hrtime());
	socket_pause(conn);
}

void agent_sockets_handle(struct agent *agent)
{
	struct agent_conn *conn;

	if (agent->fault.blackhole)
		return;
	LIST_FOREACH(conn, &agent->conns, link)
	{
		if (conn->is_socket && !conn->closing)
			socket_handle_inbox(conn);
	}
}

void agent_socket_on_time(struct agent_conn *conn)
{
	if (conn->is_socket && !conn->closing && !conn->agent->fault.blackhole)
		socket_handle_inbox(conn);
	agent_tx_on_time(conn);
}

void agent_socket_open(struct agent_conn *conn)
{
	struct agent_sandbox *s = conn->sandbox;

	conn->is_socket = true;
	conn->agent->journal.sockets++;
	if (s->dead) {
		agent_conn_close_frame(conn, 1011,
				       "failed to connect to sandbox");
		return;
	}
	conn->agent->nr_accepted++;
	LIST_INSERT_HEAD(&s->conns, conn, sandbox_link);
	s->owner = conn;
	if (agent_random(1000) < (uint32_t)conn->agent->traits.early_event)
		agent_ports_repeat(conn);
	agent_tx_message(conn, MSG_READY, 0, 0, NULL, 0);
	agent_ports_begin(s);
}

void agent_socket_release(struct agent_conn *conn)
{
	struct agent_sandbox *s = conn->sandbox;
	struct agent_message *m;

	if (!s)
		return;
	while (!LIST_EMPTY(&conn->runs)) {
		struct agent_run *run = LIST_FIRST(&conn->runs);

		LIST_REMOVE(run, listener_link);
		agent_run_detach(run);
	}
	while ((m = STAILQ_FIRST(&conn->inbox))) {
		STAILQ_REMOVE_HEAD(&conn->inbox, link);
		free(m);
	}
	free(conn->held);
	free(conn->rx);
	if (conn->is_socket && conn->sandbox_link.le_prev)
		LIST_REMOVE(conn, sandbox_link);
	if (s->owner == conn)
		s->owner = NULL; /* it does not go back to anybody */
	agent_watches_drop(conn);
	if (LIST_EMPTY(&s->conns))
		agent_ports_end(s);
	conn->sandbox = agent_sandbox_unref(s);
}
