/*
 * The bytes of a WebSocket: messages waiting to be written, and a message
 * that arrives in pieces.  Called by ws.c only.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/ws_parts.h"

/* Written at one go before other sockets get their turn. */
#define WRITE_BURST (256 * 1024)
/* An assembly buffer larger than this is not kept for the next message. */
#define KEEP_BUFFER (256 * 1024)

static int ws_queue(struct sbx_ws *ws, bool is_text, const void *head,
		    size_t head_len, const void *data, size_t len)
{
	struct ws_out *o;

	if (ws->state != WS_OPEN || ws->closing || !ws->wsi)
		return -ENOTCONN;
	if (head_len > SBX_WS_MAX_SEND || len > SBX_WS_MAX_SEND - head_len)
		return -EMSGSIZE;
	if (ws->queued >= ws->max_queue) {
		ws->refused = true;
		return -EAGAIN;
	}
	o = malloc(sizeof(*o) + head_len + len);
	if (!o)
		return -ENOMEM;
	o->next = NULL;
	o->len = head_len + len;
	o->is_text = is_text;
	if (head_len)
		memcpy(o->data, head, head_len);
	if (len)
		memcpy(o->data + head_len, data, len);
	*ws->out_tail = o;
	ws->out_tail = &o->next;
	ws->queued += o->len;
	lws_callback_on_writable(ws->wsi);
	return 0;
}

int sbx_ws_send(struct sbx_ws *ws, const void *head, size_t head_len,
		const void *data, size_t len)
{
	return ws_queue(ws, false, head, head_len, data, len);
}

int sbx_ws_send_text(struct sbx_ws *ws, const char *text)
{
	return ws_queue(ws, true, NULL, 0, text, strlen(text));
}

size_t sbx_ws_queued(const struct sbx_ws *ws)
{
	return ws->queued;
}

/* ---- frames (RFC 6455, 5.2) ---- */

#define FINAL  0x80
#define MASKED 0x80
enum ws_opcode {
	WS_TEXT = 1,
	WS_BINARY = 2,
	WS_CLOSE = 8,
	WS_PING = 9,
};

/* The length, the first byte of which has the bit MASKED: 1 to 9 bytes. */
static size_t put_length(uint8_t *to, size_t len)
{
	size_t n = len < 126 ? 0 : len <= UINT16_MAX ? 2 : 8;

	to[0] = MASKED | (uint8_t)(n == 0 ? len : n == 2 ? 126 : 127);
	for (size_t i = 1; i <= n; i++)
		to[i] = (uint8_t)((uint64_t)len >> 8 * (n - i));
	return 1 + n;
}

static void mask(uint8_t *data, size_t len, const uint8_t key[4])
{
	uint64_t word, keys;
	size_t i;

	memcpy(&keys, key, 4);
	memcpy((uint8_t *)&keys + 4, key, 4);
	for (i = 0; i + sizeof(word) <= len; i += sizeof(word)) {
		memcpy(&word, data + i, sizeof(word));
		word ^= keys;
		memcpy(data + i, &word, sizeof(word));
	}
	for (; i < len; i++)
		data[i] ^= key[i % 4];
}

/*
 * A frame with these bytes, which are changed and have WS_HEAD bytes of room
 * before them.  By hand, for libwebsockets masks byte by byte, which is more
 * than half of all that sending costs, and its own way to close, a reason and
 * then an error from the callback, cuts the connection without sending it
 * when uv is the loop.
 */
static int ws_write(struct sbx_ws *ws, enum ws_opcode opcode, uint8_t *data,
		    size_t len)
{
	uint8_t head[WS_HEAD] = {FINAL | (uint8_t)opcode}, *key;
	size_t n = 1 + put_length(head + 1, len);

	key = head + n;
	if (lws_get_random(ws->host->context, key, 4) != 4)
		return -EPIPE;
	n += 4;
	mask(data, len, key);
	memcpy(data - n, head, n);
	return lws_write(ws->wsi, data - n, n + len, LWS_WRITE_RAW) < 0 ? -EPIPE
									: 0;
}

static int ws_write_ping(struct sbx_ws *ws)
{
	uint8_t room[WS_HEAD];

	ws->want_ping = false;
	return ws_write(ws, WS_PING, room + WS_HEAD, 0);
}

int sbx_ws_write_close(struct sbx_ws *ws)
{
	uint8_t room[WS_HEAD + 2];

	room[WS_HEAD] = LWS_CLOSE_STATUS_NORMAL >> 8;
	room[WS_HEAD + 1] = LWS_CLOSE_STATUS_NORMAL & 0xff;
	return ws_write(ws, WS_CLOSE, room + WS_HEAD, 2);
}

/* The socket can take more: returns < 0 when the connection is to be cut. */
int sbx_ws_write_some(struct sbx_ws *ws)
{
	size_t written = 0;
	struct ws_out *o;

	if (ws->want_ping && ws_write_ping(ws) < 0)
		return -EPIPE;
	while ((o = ws->out) && written < WRITE_BURST &&
	       !lws_send_pipe_choked(ws->wsi)) {
		if (ws_write(ws, o->is_text ? WS_TEXT : WS_BINARY, o->data,
			     o->len) < 0)
			return -EPIPE;
		written += o->len;
		ws->queued -= o->len;
		ws->out = o->next;
		if (!ws->out)
			ws->out_tail = &ws->out;
		free(o);
	}
	if (ws->out)
		lws_callback_on_writable(ws->wsi);
	return 0;
}

static void ws_deliver(struct sbx_ws *ws, const void *data, size_t len)
{
	if (ws->handler->on_text && !lws_frame_is_binary(ws->wsi))
		ws->handler->on_text(ws->arg, data, len);
	else
		ws->handler->on_message(ws->arg, data, len);
}

/* left: so much more of this frame follows */
static int ws_in_add(struct sbx_ws *ws, const void *data, size_t len,
		     size_t left)
{
	size_t need = ws->in_len + len + left, cap = ws->in_cap;
	unsigned char *p;

	if (cap < need)
		cap = need > 2 * cap ? need : 2 * cap;
	if (cap != ws->in_cap) {
		p = realloc(ws->in, cap);
		if (!p)
			return -ENOMEM;
		ws->in = p;
		ws->in_cap = cap;
	}
	memcpy(ws->in + ws->in_len, data, len);
	ws->in_len += len;
	return 0;
}

/*
 * A piece of a message.  Whole ones, by far the most, are handed on without
 * copying.  Returns < 0 for what cannot be taken.
 */
int sbx_ws_read_some(struct sbx_ws *ws, const void *data, size_t len)
{
	size_t left = lws_remaining_packet_payload(ws->wsi);
	bool last = lws_is_final_fragment(ws->wsi) && !left;

	if (ws->in_len + len > ws->max_message ||
	    left > ws->max_message - ws->in_len - len)
		return -EMSGSIZE;
	if (last && !ws->in_len) {
		ws_deliver(ws, data, len);
		return 0;
	}
	if (ws_in_add(ws, data, len, left) < 0)
		return -ENOMEM;
	if (!last)
		return 0;
	len = ws->in_len;
	ws->in_len = 0;
	ws_deliver(ws, ws->in, len);
	if (ws->in_cap > KEEP_BUFFER) {
		free(ws->in);
		ws->in = NULL;
		ws->in_cap = 0;
	}
	return 0;
}

void sbx_ws_drop_buffers(struct sbx_ws *ws)
{
	struct ws_out *o;

	while ((o = ws->out)) {
		ws->out = o->next;
		free(o);
	}
	ws->out_tail = &ws->out;
	ws->queued = 0;
	free(ws->in);
	ws->in = NULL;
	ws->in_len = ws->in_cap = 0;
}
