/*
 * One end of a session: see link.h.  Runs on the client's loop thread and in
 * the helper; does no input or output.  sendq.c numbers and keeps what goes
 * out, recvq.c sorts what comes; here are frames and the life of a session.
 */
#include "client/wire/link.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/wire/buf.h"
#include "client/wire/proto.h"
#include "client/wire/recvq.h"
#include "client/wire/sendq.h"
#include "client/wire/seq.h"

/* hello, quit: more than a few waiting would be a bug of the caller */
#define CONTROL_MAX 8

struct control {
	uint8_t *data;
	size_t len;
};

struct sbx_link {
	struct sbx_link_conf conf;
	struct sbx_sendq out;
	struct sbx_recvq in;
	struct sbx_buf partial; /* of a frame, from the stream */
	struct control control[CONTROL_MAX];
	size_t controls;
	uint64_t answered; /* in.bytes when we last sent an ack */
	unsigned streams;  /* counts attach and detach */
	uint64_t frames, pings;
	bool attached, resumed, want_empty, broken, deaf;
};

struct sbx_link *sbx_link_new(const struct sbx_link_conf *conf)
{
	struct sbx_link *l;

	if (conf->frame_max_out <= SBX_FRAME_HEADER ||
	    conf->frame_max_in <= SBX_FRAME_HEADER ||
	    conf->window_out < conf->frame_max_out ||
	    conf->window_in < conf->frame_max_in)
		return NULL;
	l = calloc(1, sizeof(*l));
	if (!l)
		return NULL;
	l->conf = *conf;
	sbx_sendq_init(&l->out, conf->frame_max_out - SBX_FRAME_HEADER,
		       conf->window_out);
	sbx_recvq_init(&l->in, conf->frame_max_in, conf->window_in);
	l->in.on_message = conf->on_message;
	l->in.arg = conf->arg;
	sbx_buf_init(&l->partial, conf->frame_max_in);
	return l;
}

static void link_drop_controls(struct sbx_link *l)
{
	while (l->controls)
		free(l->control[--l->controls].data);
	l->want_empty = false;
}

void sbx_link_narrow(struct sbx_link *l, uint64_t window)
{
	size_t most = l->conf.window_out, least = l->conf.frame_max_out;

	l->out.window = !window || window > most ? most
			: window < least	 ? least
						 : (size_t)window;
}

struct sbx_link *sbx_link_free(struct sbx_link *l)
{
	if (!l)
		return NULL;
	link_drop_controls(l);
	sbx_sendq_clear(&l->out);
	sbx_recvq_release(&l->in);
	sbx_buf_release(&l->partial);
	free(l);
	return NULL;
}

/* ---- the life of a session ---- */

static int link_add_control(struct sbx_link *l, const void *data, size_t len)
{
	struct control *c;

	if (l->controls == CONTROL_MAX)
		return -ENOBUFS;
	if (len > l->conf.frame_max_out - SBX_FRAME_HEADER)
		return -EMSGSIZE;
	c = &l->control[l->controls];
	c->data = malloc(len);
	if (!c->data)
		return -ENOMEM;
	memcpy(c->data, data, len);
	c->len = len;
	l->controls++;
	return 0;
}

int sbx_link_attach(struct sbx_link *l, const void *hello, size_t len)
{
	int r;

	sbx_link_detach(l);
	if (!len)
		return -EINVAL;
	r = link_add_control(l, hello, len);
	if (r < 0)
		return r;
	l->attached = true;
	return 0;
}

void sbx_link_detach(struct sbx_link *l)
{
	l->streams++;
	l->attached = false;
	l->resumed = false;
	l->deaf = false;
	l->answered = l->in.bytes;
	link_drop_controls(l);
	sbx_buf_clear(&l->partial);
}

int sbx_link_confirm(struct sbx_link *l, uint32_t peer_received)
{
	/* what was acknowledged is gone and cannot be sent again */
	if (sbx_seq_diff(peer_received, l->out.acked) < 0)
		return -EPROTO;
	return sbx_sendq_ack(&l->out, peer_received);
}

int sbx_link_resume(struct sbx_link *l, uint32_t peer_received)
{
	int r = sbx_link_confirm(l, peer_received);

	if (r < 0)
		return r;
	sbx_sendq_rewind(&l->out);
	l->resumed = true;
	return 0;
}

int sbx_link_attach_known(struct sbx_link *l, const void *hello, size_t len)
{
	int r = sbx_link_attach(l, hello, len);

	if (r < 0)
		return r;
	sbx_sendq_rewind(&l->out);
	l->resumed = true;
	return 0;
}

void sbx_link_deafen(struct sbx_link *l)
{
	l->deaf = true;
}

void sbx_link_reset(struct sbx_link *l)
{
	sbx_sendq_clear(&l->out);
	sbx_recvq_clear(&l->in);
	l->answered = l->in.bytes;
	l->broken = false;
}

uint32_t sbx_link_received(const struct sbx_link *l)
{
	return l->in.seq;
}

/* ---- out ---- */

int sbx_link_send(struct sbx_link *l, const void *data, size_t len)
{
	return sbx_sendq_add(&l->out, data, len);
}

int sbx_link_send_control(struct sbx_link *l, const void *data, size_t len)
{
	if (!l->attached)
		return -ENOTCONN;
	if (len)
		return link_add_control(l, data, len);
	l->want_empty = true;
	return 0;
}

static size_t link_give_control(struct sbx_link *l, uint8_t *dst, size_t cap)
{
	struct control c = l->control[0];

	if (!l->controls || SBX_FRAME_HEADER + c.len > cap)
		return 0;
	sbx_frame_header(dst, (uint32_t)c.len, 0, l->in.seq);
	memcpy(dst + SBX_FRAME_HEADER, c.data, c.len);
	free(c.data);
	l->controls--;
	memmove(l->control, l->control + 1, l->controls * sizeof(c));
	return SBX_FRAME_HEADER + c.len;
}

static size_t link_give_empty(struct sbx_link *l, uint8_t *dst, size_t cap)
{
	if (cap < SBX_FRAME_HEADER)
		return 0;
	sbx_frame_header(dst, 0, 0, l->in.seq);
	l->want_empty = false;
	l->answered = l->in.bytes;
	return SBX_FRAME_HEADER;
}

size_t sbx_link_output(struct sbx_link *l, void *dst, size_t cap)
{
	uint8_t *p = dst;
	size_t done = 0, n;

	if (!l->attached)
		return 0;
	while ((n = link_give_control(l, p + done, cap - done)))
		done += n;
	/* before the peer's hello nobody knows whether its numbers and ours
	 * belong to the same session */
	if (!l->resumed)
		return done;
	if (l->want_empty)
		done += link_give_empty(l, p + done, cap - done);
	while ((n = sbx_sendq_give(&l->out, l->in.seq, p + done, cap - done))) {
		done += n;
		l->answered = l->in.bytes;
	}
	if (l->in.bytes - l->answered >= l->conf.window_in / 4)
		done += link_give_empty(l, p + done, cap - done);
	return done;
}

size_t sbx_link_queued(const struct sbx_link *l)
{
	return l->out.queued;
}

size_t sbx_link_unacked(const struct sbx_link *l)
{
	return l->out.unacked;
}

/* ---- in ---- */

/* The size of the frame that starts here, or -EPROTO.  Needs the header. */
static int64_t frame_size(const struct sbx_link *l, const uint8_t *p)
{
	uint32_t length = sbx_get_be32(p);
	size_t size = (length & ~SBX_FRAME_MORE) + (size_t)SBX_FRAME_HEADER;

	if (sbx_get_be32(p + 4) != (SBX_FRAME_MAGIC ^ length) ||
	    size > l->conf.frame_max_in)
		return -EPROTO;
	return (int64_t)size;
}

static int link_on_control(struct sbx_link *l, const uint8_t *p, size_t size)
{
	size_t len = size - SBX_FRAME_HEADER;

	if (sbx_get_be32(p) & SBX_FRAME_MORE)
		return -EPROTO;
	if (!len) {
		l->pings++;
		return sbx_sendq_ack(&l->out, sbx_get_be32(p + 12));
	}
	/* a hello's ack may be of another instance: not looked at */
	return l->conf.on_control(l->conf.arg, p + SBX_FRAME_HEADER, len);
}

static int link_on_frame(struct sbx_link *l, const uint8_t *p, size_t size)
{
	uint32_t seq = sbx_get_be32(p + 8);
	int r;

	l->frames++;
	if (!seq)
		return link_on_control(l, p, size);
	r = sbx_sendq_ack(&l->out, sbx_get_be32(p + 12));
	if (r < 0)
		return r;
	r = sbx_recvq_frame(&l->in, seq, sbx_get_be32(p) & SBX_FRAME_MORE,
			    p + SBX_FRAME_HEADER, size - SBX_FRAME_HEADER);
	if (r < 0 && sbx_seq_diff(seq, l->in.seq) <= 0)
		l->broken = true;
	return r;
}

/*
 * Completes the frame that earlier input began.  Returns how many bytes were
 * used; *ret_size is the frame's size once it is whole, 0 before.
 */
static int64_t link_fill_partial(struct sbx_link *l, const uint8_t *data,
				 size_t len, size_t *ret_size)
{
	size_t have = sbx_buf_len(&l->partial), want = SBX_FRAME_HEADER, part;
	int64_t size;

	*ret_size = 0;
	if (have >= SBX_FRAME_HEADER) {
		size = frame_size(l, l->partial.data + l->partial.off);
		if (size < 0)
			return size;
		want = (size_t)size;
	}
	part = want - have < len ? want - have : len;
	if (sbx_buf_add(&l->partial, data, part) < 0)
		return -ENOMEM;
	if (have + part < SBX_FRAME_HEADER)
		return (int64_t)part;
	size = frame_size(l, l->partial.data + l->partial.off);
	if (size < 0)
		return size;
	if ((size_t)size == have + part)
		*ret_size = (size_t)size;
	return (int64_t)part;
}

/* One frame straight from the input; 0: it is not whole. */
static int64_t link_direct(struct sbx_link *l, const uint8_t *data, size_t len,
			   size_t *ret_size)
{
	int64_t size;

	*ret_size = 0;
	if (len < SBX_FRAME_HEADER)
		return 0;
	size = frame_size(l, data);
	if (size < 0 || (size_t)size > len)
		return size < 0 ? size : 0;
	*ret_size = (size_t)size;
	return size;
}

int sbx_link_input(struct sbx_link *l, const void *data, size_t len)
{
	unsigned streams = l->streams;
	const uint8_t *p = data, *frame;
	size_t size;
	int64_t n;
	int r;

	while (len && !l->deaf) {
		bool direct = !sbx_buf_len(&l->partial);

		n = direct ? link_direct(l, p, len, &size)
			   : link_fill_partial(l, p, len, &size);
		if (n < 0)
			return (int)n;
		if (!n) {
			/* the beginning of a frame: wait for the rest */
			return sbx_buf_add(&l->partial, p, len);
		}
		frame = direct ? p : sbx_buf_at(&l->partial);
		p += n;
		len -= (size_t)n;
		if (!size)
			continue;
		r = link_on_frame(l, frame, size);
		if (r < 0)
			return r;
		/* a handler changed the streams: the rest is of the old ones */
		if (streams != l->streams || l->deaf)
			return 0;
		if (!direct)
			sbx_buf_clear(&l->partial);
	}
	return 0;
}

bool sbx_link_is_broken(const struct sbx_link *l)
{
	return l->broken;
}

uint64_t sbx_link_frames(const struct sbx_link *l)
{
	return l->frames;
}

uint64_t sbx_link_pings(const struct sbx_link *l)
{
	return l->pings;
}
