/*
 * WebSocket client transport: whole binary messages, both ways, on
 * libwebsockets driven by our own uv loop.  Knows no service.  Loop thread
 * only.
 *
 * A socket is made once and ends once; making a new one is the caller's
 * business.  The server is a stranger: messages and queues are capped,
 * redirects are not followed, no extension is agreed to.
 */
#ifndef SBX_WS_H
#define SBX_WS_H

#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

#include "client/conf.h"
#include "client/error.h"

/* What all sockets of one loop share: the libwebsockets context. */
struct sbx_ws_host;
struct sbx_ws;

/* with_tls: also for wss (this reads the system's certificates) */
struct sbx_ws_host *sbx_ws_host_new(uv_loop_t *loop, bool with_tls);
/*
 * Cuts all sockets (their on_close is called, with -ECANCELED, from the
 * loop), frees, then calls on_closed.
 */
void sbx_ws_host_close(struct sbx_ws_host *host, void (*on_closed)(void *arg),
		       void *arg);

/* Why a socket ended. */
struct sbx_ws_end {
	struct sbx_error error; /* .status: HTTP status of the handshake */
	bool was_open;
	int code; /* close code; 1006 if there was no close frame */
	char reason[124];
};

/* Handlers may call every function of the socket. */
struct sbx_ws_handler {
	void (*on_open)(void *arg);
	/* one whole message; data dies with the call */
	void (*on_message)(void *arg, const void *data, size_t len);
	/* the same for one of text; absent: on_message gets these, too */
	void (*on_text)(void *arg, const char *text, size_t len);
	/* sbx_ws_queued() has fallen below half of max_queue after a send
	 * was refused */
	void (*on_writable)(void *arg);
	/* the last call; the socket is freed when it returns */
	void (*on_close)(void *arg, const struct sbx_ws_end *end);
};

struct sbx_ws_conf {
	const char *url;	 /* "http(s)://host[:port]/path" or ws(s) */
	const char *auth_scheme; /* as in struct sbx_http_request */
	const struct sbx_secret *auth;	 /* borrowed for the call */
	const char *auth_name;		 /* likewise */
	char *const *headers;		 /* likewise; copied */
	unsigned int connect_timeout_ms; /* handshake included; 0: default */
	unsigned int ping_ms, pong_ms;	 /* 0: default */
	size_t max_message;		 /* towards us; 0: default */
	size_t max_queue;		 /* from us; a message more may wait */
};

/*
 * Never fails at once: what is wrong comes through on_close, later.  NULL
 * only without memory, or beyond SBX_WS_MAX_SOCKETS.
 */
struct sbx_ws *sbx_ws_open(struct sbx_ws_host *host,
			   const struct sbx_ws_conf *conf,
			   const struct sbx_ws_handler *handler, void *arg);
/*
 * Queues one message made of two parts (copied).  -EAGAIN when max_queue
 * bytes wait already, -EMSGSIZE, -ENOMEM, -ENOTCONN when not open.
 */
int sbx_ws_send(struct sbx_ws *ws, const void *head, size_t head_len,
		const void *data, size_t len);
/* The same for one message of text. */
int sbx_ws_send_text(struct sbx_ws *ws, const char *text);
size_t sbx_ws_queued(const struct sbx_ws *ws);
/* Stops reading; what was read already may still come. */
void sbx_ws_pause(struct sbx_ws *ws, bool paused);
/*
 * Sends what is queued and a close frame, without waiting for either: from
 * here on only on_close(-ECANCELED) is called, soon.
 */
void sbx_ws_close(struct sbx_ws *ws);

#endif
