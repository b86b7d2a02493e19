/*
 * The size of a daemon's terminal, which can be told on a WebSocket only: one
 * is opened for it.  It is for a call of svc_computesdk_own.c, whose work may
 * be dropped meanwhile.
 */
#include <errno.h>
#include <stdlib.h>

#include "client/svc_computesdk.h"

#define CONNECT_MS 15000

struct resize {
	struct sbx_work *w; /* NULL: it was dropped, or is done */
	struct sbx_ws *ws;
	void *state; /* the work's own */
	void (*drop)(void *state);
	struct sbx_buf text;
	int sent; /* what came of sending it */
};

static void resize_free(struct resize *r)
{
	sbx_buf_release(&r->text);
	free(r);
}

static void resize_drop(void *state)
{
	struct resize *r = state;

	r->drop(r->state);
	r->w = NULL;
	if (r->ws)
		sbx_ws_close(r->ws); /* on_close frees it */
	else
		resize_free(r);
}

static void on_open(void *arg)
{
	struct resize *r = arg;

	r->sent = sbx_ws_send_text(r->ws, (char *)sbx_buf_at(&r->text));
	sbx_ws_close(r->ws);
}

static void on_message(void *arg, const void *data, size_t len)
{
	(void)arg; /* what others are told */
	(void)data;
	(void)len;
}

static void on_close(void *arg, const struct sbx_ws_end *end)
{
	struct resize *r = arg;
	struct sbx_error e = end->error;

	r->ws = NULL;
	if (!r->w) {
		resize_free(r);
		return;
	}
	if (r->sent == 0)
		e = (struct sbx_error){0};
	else if (r->sent != -ENOTCONN)
		sbx_error_set(&e, r->sent, "the size could not be sent");
	sbx_work_done(r->w, &e);
}

static const struct sbx_ws_handler handler = {
	.on_open = on_open,
	.on_message = on_message,
	.on_close = on_close,
};

void csdk_resize(struct sbx_work *w, const struct csdk_box *b,
		 const char *terminal, unsigned int cols, unsigned int rows)
{
	struct sbx_ws_conf conf = {.connect_timeout_ms = CONNECT_MS};
	struct resize *r = calloc(1, sizeof(*r));
	struct sbx_error e;

	if (!r) {
		sbx_work_no_memory(w);
		return;
	}
	r->w = w;
	r->state = w->state;
	r->drop = w->drop;
	r->sent = -ENOTCONN;
	w->state = r;
	w->drop = resize_drop;
	sbx_buf_init(&r->text, 512);
	sbx_csdk_put_resize(&r->text, terminal, cols, rows);
	if (!r->text.err)
		r->ws = csdk_box_socket(b, &conf, &handler, r);
	if (r->ws)
		return;
	sbx_error_set(&e, -EAGAIN, "no more connections can be made now");
	sbx_work_done(w, &e);
}
