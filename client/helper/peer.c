/*
 * The client at the other end: its pair of streams, hellos, silence.
 * Called by session.c (new streams) and by whoever sends.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "client/helper/creds.h"
#include "client/helper/helper.h"
#include "client/helper/request.h"
#include "client/helper/socket.h"
#include "client/wire/msg.h"
#include "client/wire/proto.h"

#define INPUT_SIZE  (256 * 1024)
#define OUTPUT_SIZE (2 * SBX_FRAME_MAX_TO_CLIENT)

static void on_in(void *arg, short revents);
static void on_out(void *arg, short revents);

/* ---- hello ---- */

/* One more than the client takes, where there are more: it sees that they are
 * not all. */
static void hello_groups(struct sbx_buf *b)
{
	static gid_t groups[NGROUPS_MAX];
	int n = getgroups(NGROUPS_MAX, groups), i;

	if (n < 0)
		n = 0;
	if (n > SBX_HELLO_GROUPS)
		n = SBX_HELLO_GROUPS + 1;
	sbx_put_array(b, (uint32_t)n);
	for (i = 0; i < n; i++)
		sbx_put_u64(b, groups[i]);
}

static uint32_t hello_features(const struct helper *h)
{
	uint32_t f = SBX_FEATURE_PTY;

	if (h->watch.fd >= 0)
		f |= SBX_FEATURE_INOTIFY;
	if (!access("/proc/net/tcp", R_OK))
		f |= SBX_FEATURE_PORTS;
	if (creds_can())
		f |= SBX_FEATURE_ROOT_USER;
	return f;
}

static void put_pair(struct sbx_buf *b, const char *key, uint64_t v)
{
	sbx_put_str(b, key);
	sbx_put_u64(b, v);
}

static void put_text(struct sbx_buf *b, const char *key, const char *v)
{
	sbx_put_str(b, key);
	sbx_put_bin(b, v, strlen(v));
}

static void hello_write(const struct helper *h, struct sbx_buf *b)
{
	const char *home = getenv("HOME");
	struct utsname un = {0};

	uname(&un);
	sbx_put_map(b, 13);
	put_pair(b, "v", SBX_WIRE_VERSION);
	sbx_put_str(b, "session");
	sbx_put_str(b, h->session);
	put_pair(b, "instance", h->peer.instance);
	put_pair(b, "received", sbx_link_received(h->peer.link));
	put_text(b, "version", SBX_VERSION);
	put_pair(b, "pid", (uint64_t)getpid());
	put_pair(b, "uid", getuid());
	put_pair(b, "gid", getgid());
	sbx_put_str(b, "groups");
	hello_groups(b);
	put_text(b, "machine", un.machine);
	put_text(b, "cwd", h->cwd);
	put_text(b, "home", home && strlen(home) < PATH_MAX ? home : "/");
	put_pair(b, "features", hello_features(h));
}

struct control {
	uint64_t version, instance, received, window;
	bool session_ok, quit, remove;
};

static bool is_key(const uint8_t *key, size_t len, const char *word)
{
	return key && len == strlen(word) && !memcmp(key, word, len);
}

static void control_member(const struct helper *h, struct control *c,
			   struct sbx_rd *rd)
{
	size_t len, n;
	const uint8_t *key = sbx_get_bin(rd, &len), *text;

	if (is_key(key, len, "v")) {
		c->version = sbx_get_u64(rd);
	} else if (is_key(key, len, "instance")) {
		c->instance = sbx_get_u64(rd);
	} else if (is_key(key, len, "received")) {
		c->received = sbx_get_u32(rd);
	} else if (is_key(key, len, "window")) {
		c->window = sbx_get_u64(rd);
	} else if (is_key(key, len, "session")) {
		text = sbx_get_bin(rd, &n);
		c->session_ok = is_key(text, n, h->session);
	} else if (is_key(key, len, "quit")) {
		c->quit = sbx_get_bool(rd);
	} else if (is_key(key, len, "remove")) {
		c->remove = sbx_get_bool(rd);
	} else {
		sbx_get_skip(rd);
	}
}

static int control_parse(const struct helper *h, struct control *c,
			 const uint8_t *data, size_t len)
{
	struct sbx_rd rd, map;
	struct sbx_msg m;
	int r;

	*c = (struct control){0};
	r = sbx_msg_parse(&m, data, len);
	if (r < 0)
		return r;
	rd = sbx_rd_whole(&m);
	map = sbx_get_map(&rd);
	while (map.left && !map.err)
		control_member(h, c, &map);
	sbx_msg_release(&m);
	return rd.err | map.err ? -EPROTO : 0;
}

static int on_control(void *arg, const uint8_t *data, size_t len)
{
	struct helper *h = arg;
	struct control c;
	int r;

	r = control_parse(h, &c, data, len);
	if (r < 0)
		return r;
	if (c.quit) {
		h->remove_self |= c.remove;
		h->quit = true;
		h->ended = true;
		return 0;
	}
	if (c.version != SBX_WIRE_VERSION || !c.session_ok)
		return -EPROTO;
	if (h->peer.greeted)
		return 0;
	h->peer.greeted = true;
	/* what it received from another instance says nothing of ours, nor
	 * is what follows meant for us */
	if (c.instance != h->peer.instance) {
		c.received = 0;
		if (c.instance && h->peer.batch.on)
			sbx_link_deafen(h->peer.link);
	}
	sbx_link_narrow(h->peer.link, c.window);
	return sbx_link_resume(h->peer.link, (uint32_t)c.received);
}

/* ---- streams ---- */

static int on_message(void *arg, const uint8_t *data, size_t len)
{
	struct helper *h = arg;

	/* after quit nothing is carried out any more */
	return h->ended ? 0 : request_message(h, data, len);
}

static void on_linger(void *arg)
{
	struct helper *h = arg;
	int64_t left = silence_look(&h->peer.silence, loop_clock_ms());

	if (!left)
		h->ended = true;
	else
		loop_timer_set(&h->loop, &h->peer.linger, left);
}

static uint64_t random_number(void)
{
	uint64_t n = 0;

	while (!n)
		if (getrandom(&n, sizeof(n), 0) != sizeof(n))
			n = (uint64_t)loop_clock_ms() << 20 ^
			    (uint64_t)getpid();
	return n;
}

int peer_init(struct helper *h, const struct handover *how)
{
	struct peer *p = &h->peer;
	struct sbx_link_conf conf = {.frame_max_out = SBX_FRAME_MAX_TO_CLIENT,
				     .frame_max_in = SBX_FRAME_MAX_TO_HELPER,
				     .window_out = SBX_WINDOW_TO_CLIENT,
				     .window_in = SBX_WINDOW_TO_HELPER,
				     .on_message = on_message,
				     .on_control = on_control,
				     .arg = h};

	/* a batch's answer is at least two frames */
	if (how->batch && how->max_bytes / 2 < conf.frame_max_out)
		conf.frame_max_out = how->max_bytes / 2;
	p->frame_max = conf.frame_max_out;
	p->silence.ms =
		(how->batch ? SBX_BATCH_LINGER_S : SBX_HELPER_LINGER_S) * 1000;
	batch_init(h);
	p->in = (struct loop_fd){.fd = -1, .fn = on_in, .arg = h};
	p->out = (struct loop_fd){.fd = -1, .fn = on_out, .arg = h};
	p->linger = (struct loop_timer){.fn = on_linger, .arg = h};
	p->instance = random_number();
	p->silence.heard_ms = loop_clock_ms();
	p->link = sbx_link_new(&conf);
	p->input = malloc(INPUT_SIZE);
	p->output = malloc(OUTPUT_SIZE);
	if (!p->link || !p->input || !p->output)
		return -ENOMEM;
	on_linger(h);
	return 0;
}

void peer_release(struct helper *h)
{
	struct peer *p = &h->peer;

	peer_detach(h);
	loop_timer_del(&h->loop, &p->linger);
	loop_timer_del(&h->loop, &p->batch.timer);
	p->link = sbx_link_free(p->link);
	free(p->input);
	free(p->output);
	p->input = p->output = NULL;
}

void peer_detach(struct helper *h)
{
	struct peer *p = &h->peer;

	if (!p->attached)
		return;
	p->attached = false;
	p->greeted = false;
	p->out_len = p->out_off = 0;
	loop_timer_stop(&p->batch.timer);
	sbx_link_detach(p->link);
	loop_del(&h->loop, &p->in);
	loop_del(&h->loop, &p->out);
	if (p->out.fd != p->in.fd)
		close(p->out.fd);
	close(p->in.fd);
	if (h->on_detached)
		h->on_detached(h->on_detached_arg);
}

static void set_nonblocking(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags >= 0)
		fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

int peer_attach(struct helper *h, int in, int out, const struct handover *how)
{
	struct peer *p = &h->peer;
	struct sbx_buf hello;
	int r;

	peer_detach(h);
	set_nonblocking(in);
	set_nonblocking(out);
	sbx_buf_init(&hello, p->frame_max / 2);
	hello_write(h, &hello);
	batch_begin(h, how, sbx_buf_len(&hello));
	r = hello.err;
	if (!r)
		r = sbx_link_attach(p->link, sbx_buf_at(&hello),
				    sbx_buf_len(&hello));
	sbx_buf_release(&hello);
	p->in.fd = in;
	p->out.fd = out;
	p->attached = true;
	if (!r)
		r = loop_add(&h->loop, &p->in, in, POLLIN);
	if (!r)
		r = loop_add(&h->loop, &p->out, out, 0);
	if (r < 0)
		peer_detach(h);
	else
		p->silence.heard_ms = loop_clock_ms();
	return r;
}

/* Empty frames ask whether we are there: answered if we were silent. */
static void peer_heard(struct helper *h)
{
	struct peer *p = &h->peer;
	uint64_t frames = sbx_link_frames(p->link);
	uint64_t pings = sbx_link_pings(p->link);
	int64_t now = loop_clock_ms();

	if (frames != p->frames)
		p->silence.heard_ms = now;
	if (pings != p->pings && now - p->said_ms >= 1000)
		sbx_link_send_control(p->link, NULL, 0);
	p->frames = frames;
	p->pings = pings;
}

static void on_in(void *arg, short revents)
{
	struct helper *h = arg;
	struct peer *p = &h->peer;
	ssize_t n;
	int r;

	n = read(p->in.fd, p->input, INPUT_SIZE);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n == 0 && p->batch.on) {
		p->batch.eof = true;
		loop_set(&h->loop, &p->in, -1);
		return;
	}
	if (n <= 0) {
		peer_detach(h);
		return;
	}
	r = sbx_link_input(p->link, p->input, (size_t)n);
	peer_heard(h);
	if (r == -ENOMEM)
		helper_out_of_memory(h);
	/* the client starts anew with the next helper */
	if (sbx_link_is_broken(p->link))
		h->ended = true;
	if (r < 0 || sbx_link_queued(p->link) > HELPER_QUEUE_MAX)
		peer_detach(h);
}

static void on_out(void *arg, short revents)
{
	struct helper *h = arg;

	if (revents & POLLOUT)
		peer_pump(h);
	else if (revents & (POLLERR | POLLHUP | POLLNVAL))
		peer_detach(h);
}

/* Writes once; false: nothing more can be done now. */
static bool peer_write(struct helper *h)
{
	struct peer *p = &h->peer;
	ssize_t n;

	n = write(p->out.fd, p->output + p->out_off, p->out_len - p->out_off);
	if (n < 0 && errno == EINTR)
		return true;
	if (n < 0) {
		if (errno != EAGAIN)
			peer_detach(h);
		return false;
	}
	p->out_off += (size_t)n;
	return true;
}

void peer_pump(struct helper *h)
{
	struct peer *p = &h->peer;

	while (p->attached) {
		if (p->out_off == p->out_len) {
			p->out_off = 0;
			p->out_len = sbx_link_output(
				p->link, p->output, batch_room(h, OUTPUT_SIZE));
			p->batch.given += p->out_len;
			if (!p->out_len)
				break;
			p->said_ms = loop_clock_ms();
		}
		if (!peer_write(h))
			break;
	}
	if (p->attached)
		loop_set(&h->loop, &p->out,
			 p->out_off < p->out_len ? POLLOUT : 0);
}

void peer_send(struct helper *h, const struct sbx_buf *msg)
{
	if (msg->err == -ENOMEM || sbx_link_send(h->peer.link, sbx_buf_at(msg),
						 sbx_buf_len(msg)) == -ENOMEM)
		helper_out_of_memory(h);
}

bool peer_is_busy(const struct helper *h)
{
	const struct peer *p = &h->peer;

	return sbx_link_queued(p->link) + p->out_len - p->out_off >=
	       HELPER_BUSY_BYTES;
}

bool peer_is_full(const struct helper *h)
{
	return sbx_link_queued(h->peer.link) >= HELPER_EVENT_MAX;
}
