/*
 * The send queue of a WebSocket.  Frames are put together here, many in one
 * segment, and given to libwebsockets as ready bytes: one send for many
 * messages.  (libwebsockets passes data written as LWS_WRITE_HTTP through on
 * a WebSocket, and adds its own control frames only between two writes.)
 * Output of commands is read from the pipe straight into the frames.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "tests/agent/conn.h"

#define SEGMENT_SIZE  (68 * 1024)
#define SEGMENT_SPARE 32
#define FILL_PIECES   16
#define FRAME_HEAD    4 /* of a frame with 126 to 65535 bytes */
#define TURN_BYTES    (512 * 1024)
#define DELAYED_MAX   (64 * 1024 * 1024)

struct agent_segment {
	TAILQ_ENTRY(agent_segment) link;
	uint64_t due_ns; /* 0: at once */
	bool counted;	 /* in tx_due_bytes */
	size_t len, room;
	uint8_t data[]; /* LWS_PRE, then frames */
};

static TAILQ_HEAD(, agent_segment) spares = TAILQ_HEAD_INITIALIZER(spares);
static unsigned int nr_spares;

static struct agent_segment *segment_new(size_t room)
{
	struct agent_segment *seg = NULL;

	if (room <= SEGMENT_SIZE && nr_spares) {
		seg = TAILQ_FIRST(&spares);
		TAILQ_REMOVE(&spares, seg, link);
		nr_spares--;
	} else {
		room = room < SEGMENT_SIZE ? SEGMENT_SIZE : room;
		seg = malloc(sizeof(*seg) + LWS_PRE + room);
		if (seg)
			seg->room = room;
	}
	if (seg) {
		seg->len = 0;
		seg->due_ns = 0;
		seg->counted = false;
	}
	return seg;
}

static void segment_free(struct agent_segment *seg)
{
	if (seg->room == SEGMENT_SIZE && nr_spares < SEGMENT_SPARE) {
		TAILQ_INSERT_HEAD(&spares, seg, link);
		nr_spares++;
	} else {
		free(seg);
	}
}

void agent_tx_release(struct agent_conn *conn)
{
	while (!TAILQ_EMPTY(&conn->tx)) {
		struct agent_segment *seg = TAILQ_FIRST(&conn->tx);

		TAILQ_REMOVE(&conn->tx, seg, link);
		segment_free(seg);
	}
	conn->tx_bytes = conn->tx_due_bytes = 0;
}

/* The last segment if n bytes fit into it, else a new one. */
static struct agent_segment *tx_reserve(struct agent_conn *conn, size_t n)
{
	struct agent_segment *seg = TAILQ_LAST(&conn->tx, agent_segment_queue);
	uint64_t delay = conn->agent->fault.delay_ms;
	uint64_t due = delay ? uv_hrtime() + delay * 1000000 : 0;

	/* delayed ones share a segment for a millisecond */
	if (seg && seg->room - seg->len >= n &&
	    (seg->due_ns ? due && due - seg->due_ns < 1000000 : !due))
		return seg;
	seg = segment_new(n);
	if (!seg)
		return NULL;
	seg->due_ns = due;
	TAILQ_INSERT_TAIL(&conn->tx, seg, link);
	return seg;
}

static uint8_t *segment_end(struct agent_segment *seg)
{
	return seg->data + LWS_PRE + seg->len;
}

/* Pauses or resumes the commands whose output this connection carries. */
static void tx_pause(struct agent_conn *conn, bool paused)
{
	struct agent_run *run;

	if (conn->tx_paused == paused)
		return;
	conn->tx_paused = paused;
	LIST_FOREACH(run, &conn->runs, listener_link)
	agent_run_pause(run, paused);
}

static void tx_commit(struct agent_conn *conn, struct agent_segment *seg,
		      size_t n)
{
	seg->len += n;
	conn->tx_bytes += n;
	if (!seg->due_ns || seg->counted)
		conn->tx_due_bytes += n;
	if (!seg->due_ns)
		seg->counted = true;
	conn->agent->journal.out_bytes += n;
	if (conn->tx_due_bytes > AGENT_TX_FULL || conn->tx_bytes > DELAYED_MAX)
		tx_pause(conn, true);
	if (seg->due_ns)
		agent_conn_wake_at(conn, TAILQ_FIRST(&conn->tx)->due_ns);
	else
		lws_callback_on_writable(conn->wsi);
}

/* Writes the head of a frame; returns its length, at most 10. */
static size_t frame_head(uint8_t *to, size_t len)
{
	to[0] = 0x82; /* a whole binary message */
	if (len < 126) {
		to[1] = (uint8_t)len;
		return 2;
	}
	if (len < 65536) {
		to[1] = 126;
		to[2] = (uint8_t)(len >> 8);
		to[3] = (uint8_t)len;
		return 4;
	}
	to[1] = 127;
	for (int i = 0; i < 8; i++)
		to[2 + i] = (uint8_t)((uint64_t)len >> (56 - 8 * i));
	return 10;
}

void agent_tx_message(struct agent_conn *conn, uint8_t type, uint32_t channel,
		      uint32_t id, const void *payload, size_t len)
{
	size_t total = len + AGENT_ENVELOPE, head;
	struct agent_segment *seg;
	uint8_t *to;

	if (!conn || conn->closing || !conn->is_socket)
		return;
	/* the real agent's reader gives up: everything is cut, without a word
	 */
	if (total > (size_t)conn->agent->traits.message_limit) {
		conn->agent->journal.too_long++;
		agent_conn_close(conn);
		return;
	}
	seg = tx_reserve(conn, total + 10);
	if (!seg) {
		agent_conn_close(conn);
		return;
	}
	to = segment_end(seg);
	head = frame_head(to, total);
	agent_envelope_write(to + head, type, channel, id);
	if (len)
		memcpy(to + head + AGENT_ENVELOPE, payload, len);
	conn->agent->journal.out_messages++;
	tx_commit(conn, seg, head + total);
}

/*
 * Makes a frame at `at` of n bytes that lie further on, in a slot made for
 * the longest head; returns its length.
 */
static size_t fill_frame(uint8_t *at, const uint8_t *from, uint8_t type,
			 uint32_t channel, size_t n)
{
	uint8_t head[10];
	size_t len = frame_head(head, n + AGENT_ENVELOPE);
	uint8_t *to = at + len + AGENT_ENVELOPE;

	if (to != from)
		memmove(to, from, n);
	memcpy(at, head, len);
	agent_envelope_write(at + len, type, channel, 0);
	return len + AGENT_ENVELOPE + n;
}

ssize_t agent_tx_fill(struct agent_conn *conn, uint8_t type, uint32_t channel,
		      int fd)
{
	const size_t piece = (size_t)conn->agent->traits.piece;
	const size_t slot = piece + FRAME_HEAD + AGENT_ENVELOPE;
	struct iovec iov[FILL_PIECES];
	struct agent_segment *seg;
	size_t want = SEGMENT_SIZE / slot, used = 0;
	ssize_t n, left;
	uint8_t *at;
	int nr;

	want = want > FILL_PIECES ? FILL_PIECES : want;
	seg = tx_reserve(conn, want * slot);
	if (!seg) {
		errno = EAGAIN;
		return -1;
	}
	at = segment_end(seg);
	for (nr = 0; nr < (int)want; nr++) {
		iov[nr].iov_base =
			at + (size_t)nr * slot + FRAME_HEAD + AGENT_ENVELOPE;
		iov[nr].iov_len = piece;
	}
	n = readv(fd, iov, nr);
	left = n;
	for (int i = 0; left > 0; i++, left -= (ssize_t)piece) {
		size_t len = (size_t)left < piece ? (size_t)left : piece;

		used += fill_frame(at + used, iov[i].iov_base, type, channel,
				   len);
		conn->agent->journal.out_messages++;
	}
	if (used)
		tx_commit(conn, seg, used);
	return n;
}

static bool tx_is_due(struct agent_conn *conn, struct agent_segment *seg)
{
	if (!seg->due_ns)
		return true;
	if (seg->due_ns > uv_hrtime())
		return false;
	if (!seg->counted) {
		seg->counted = true;
		conn->tx_due_bytes += seg->len;
	}
	return true;
}

void agent_tx_on_time(struct agent_conn *conn)
{
	if (!TAILQ_EMPTY(&conn->tx) && !conn->closing)
		lws_callback_on_writable(conn->wsi);
}

int agent_tx_on_writeable(struct agent_conn *conn)
{
	struct agent_segment *seg;
	size_t sent = 0;

	if (conn->agent->fault.blackhole)
		return 0;
	while ((seg = TAILQ_FIRST(&conn->tx)) && sent < TURN_BYTES &&
	       tx_is_due(conn, seg)) {
		if (agent_fault_count(conn->agent, seg->len)) {
			agent_conn_reset(conn);
			return 0;
		}
		if (lws_write(conn->wsi, seg->data + LWS_PRE, seg->len,
			      LWS_WRITE_HTTP) < (int)seg->len)
			return -1;
		sent += seg->len;
		conn->tx_bytes -= seg->len;
		conn->tx_due_bytes -= seg->len;
		TAILQ_REMOVE(&conn->tx, seg, link);
		segment_free(seg);
		if (lws_partial_buffered(conn->wsi))
			break;
	}
	if (conn->tx_due_bytes < AGENT_TX_FULL / 2 &&
	    conn->tx_bytes < DELAYED_MAX / 2)
		tx_pause(conn, false);
	/* whatever ended the turn: what is left has its next one */
	seg = TAILQ_FIRST(&conn->tx);
	if (seg && tx_is_due(conn, seg))
		lws_callback_on_writable(conn->wsi);
	else if (seg)
		agent_conn_wake_at(conn, seg->due_ns);
	return 0;
}
