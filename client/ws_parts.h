/*
 * What the files ws*.c share; nobody else includes this.
 *
 * libwebsockets keeps calling for a connection after it told of its end, so
 * it never gets a pointer of ours: a socket is known to it by a number, which
 * is looked up at each callback and means nothing once the socket is gone.
 */
#ifndef SBX_WS_PARTS_H
#define SBX_WS_PARTS_H

#include <libwebsockets.h>
#include <netdb.h>

#include "client/limits.h"
#include "client/ws.h"

enum ws_state {
	WS_RESOLVING,
	WS_CONNECTING, /* TCP, TLS and handshake */
	WS_OPEN,
	WS_ENDED, /* on_close is due or was called */
};

#define WS_HEAD 14 /* bytes before a frame's own, at most */

/* A message on its way out. */
struct ws_out {
	struct ws_out *next;
	size_t len;
	bool is_text;
	unsigned char room[WS_HEAD];
	unsigned char data[];
};

struct sbx_ws {
	struct sbx_ws_host *host;
	unsigned int slot;
	uintptr_t number;
	enum ws_state state;
	const struct sbx_ws_handler *handler; /* NULL: the caller is gone */
	void *arg;
	struct lws *wsi; /* NULL when libwebsockets is done with it */

	bool tls, paused, refused, closing, sent_close, want_ping, ping_sent;
	char *address, *authority, *path;
	int port;
	/* "NAME:", then its value, wiped and freed after the handshake */
	char **headers;
	size_t nr_headers;

	struct addrinfo *found, *next_addr;
	struct resolve *resolve; /* under way, or NULL */
	uv_timer_t timer;	 /* connecting, pings, closing */
	unsigned int ping_ms, pong_ms;
	uint64_t last_heard;

	struct ws_out *out, **out_tail;
	size_t queued, max_queue;

	unsigned char *in; /* a message that comes in pieces */
	size_t in_len, in_cap, max_message;

	bool end_due, timer_closed;
	struct sbx_ws_end end;
};

struct resolve {
	uv_getaddrinfo_t req;
	struct sbx_ws *ws; /* NULL: nobody waits for it any more */
};

struct sbx_ws_host {
	uv_loop_t *loop;
	struct lws_context *context;
	uv_timer_t patience; /* with the end of the sockets */
	uv_timer_t kick;     /* delivers what is due, from the loop */
	struct sbx_ws *slots[SBX_WS_MAX_SOCKETS];
	unsigned int nr_sockets;
	uintptr_t generation;
	bool closing, context_destroyed;
	/* the two handles that the context owns: see ws_host.c */
	uv_handle_t *owned[4];
	size_t nr_owned;
	bool owned_seen;
	uv_idle_t wait;
	void (*on_closed)(void *arg);
	void *closed_arg;
};

/* ws.c, for ws_host.c */
int sbx_ws_callback(struct lws *wsi, enum lws_callback_reasons reason,
		    void *user, void *in, size_t len);
void sbx_ws_hurry(struct sbx_ws *ws);
void sbx_ws_abandon(struct sbx_ws *ws);

/* ws_host.c, for ws.c */
void sbx_ws_host_gone(struct sbx_ws_host *host, struct sbx_ws *ws);

/* ws_headers.c */
int sbx_ws_make_headers(struct sbx_ws *ws, const struct sbx_ws_conf *conf);
void sbx_ws_wipe_headers(struct sbx_ws *ws);
/* into libwebsockets' handshake: in and len are those of its callback */
int sbx_ws_put_headers(struct sbx_ws *ws, struct lws *wsi, void *in,
		       size_t len);

/* ws_io.c: the message queue and assembly, for ws.c */
int sbx_ws_write_some(struct sbx_ws *ws);
int sbx_ws_write_close(struct sbx_ws *ws);
int sbx_ws_read_some(struct sbx_ws *ws, const void *data, size_t len);
void sbx_ws_drop_buffers(struct sbx_ws *ws);

#endif
