/*
 * How a stream gets its helper: the script that brings it there, then the two
 * hellos, after which the conversation goes on or begins.
 */
#include <errno.h>
#include <string.h>

#include "client/streamed_int.h"

static int streamed_resume(struct sbx_streamed *s, const struct sbx_hello *h)
{
	bool fresh = s->instance && s->instance != h->instance;
	int r;

	if (!s->instance || fresh) {
		if (h->received)
			return -EPROTO;
		/* sets back the numbers; a first one has queued nothing */
		sbx_link_reset(s->link);
	}
	r = sbx_link_resume(s->link, h->received);
	if (r < 0)
		return r;
	s->info = h->info;
	s->instance = h->instance;
	sbx_streamed_enter(s, PHASE_UP);
	s->h->on_up(s->arg, fresh);
	return 0;
}

int sbx_streamed_on_control(void *arg, const uint8_t *data, size_t len)
{
	struct sbx_streamed *s = arg;
	struct sbx_hello h;
	int r;

	if (s->phase != PHASE_HELLO)
		return -EPROTO;
	r = sbx_hello_parse(&h, data, len);
	if (r < 0)
		return r;
	if (!sbx_hello_fits(&h, s->session))
		return -EPROTO;
	return streamed_resume(s, &h);
}

static int streamed_hello(struct sbx_streamed *s)
{
	struct sbx_buf b;
	int r;

	sbx_buf_init(&b, 1024);
	sbx_hello_put(&b, s->session, s->instance, sbx_link_received(s->link),
		      s->svc->type->max_unacked);
	r = b.err ? b.err
		  : sbx_link_attach(s->link, sbx_buf_at(&b), sbx_buf_len(&b));
	sbx_buf_release(&b);
	return r;
}

int sbx_streamed_upload(struct sbx_streamed *s, const uint8_t *data, size_t len,
			size_t *ret_used)
{
	struct sbx_error why = {0};
	const void *piece;
	size_t n;
	int r;

	r = sbx_upload_input(s->upload, data, len, ret_used, &why);
	if (r < 0) {
		sbx_streamed_break(s, why.err, "%s", why.text);
		return r;
	}
	piece = sbx_upload_piece(s->upload, &n);
	if (piece && s->unit_len) {
		sbx_streamed_break(s, -EPROTO,
				   "the sandbox's shell asks for more of the "
				   "helper than it has taken");
		return -EPROTO;
	}
	if (piece) {
		memcpy(s->unit, piece, n);
		s->unit_len = n;
		sbx_streamed_pump(s);
	}
	if (r == 0)
		return 0;
	sbx_streamed_enter(s, PHASE_HELLO);
	if (streamed_hello(s) < 0) {
		sbx_streamed_break(s, -ENOMEM, "out of memory");
		return -ENOMEM;
	}
	sbx_streamed_pump(s);
	return 1;
}
