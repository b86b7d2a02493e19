/*
 * "ports": what listens in a sandbox, and what its service makes reachable.
 * Writing a number makes the next read wait until something listens there.
 *
 * Waiting: the helper is told to announce every opening, and is then asked
 * once for what is open; so nothing slips between.
 */
#include "fuse/ctl_ports.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>

#include "fuse/ctl_file.h"
#include "fuse/feed.h"
#include "fuse/limits.h"
#include "fuse/sandbox.h"
#include "fuse/text.h"

/* A service that does not answer is waited for no longer: ports are shown
 * without URLs then. */
#define LOOK_MS 3000

/* A reader that waits for a port: part of its open file. */
struct sfs_portwait {
	struct sfs_portwait *next;
	struct ctl_file *f;
	uint16_t port; /* 0: none is waited for */
	bool queued;
};

struct ports_file {
	struct ctl_file f;
	struct sfs_portwait wait;
	unsigned int tries; /* of one question: helpers that were lost */
	/* what is to be shown, while URLs are looked for */
	uint16_t *open;
	size_t nr;
	bool is_line; /* open[0], which was waited for, and not the table */
};

static struct ports_file *ports_of(struct ctl_file *f)
{
	return (struct ports_file *)f;
}

static struct sfs_portwait *wait_of(struct ctl_file *f)
{
	return &ports_of(f)->wait;
}

/* ---- the table ---- */

static const char *own_url(const struct sbx_sandbox *s, unsigned int port)
{
	for (size_t i = 0; i < s->nr_ports; i++)
		if (s->ports[i].port == port && s->ports[i].url)
			return s->ports[i].url;
	return NULL;
}

static void put_url(struct sbx_buf *to, const struct sbx_sandbox *s,
		    unsigned int port)
{
	const char *url = own_url(s, port);

	if (url) {
		sfs_text_clean(to, url);
		sbx_buf_add(to, "\n", 1);
	} else if (s->any_port[0]) {
		sfs_text_printf(to, "%s%u%s\n", s->any_port[0], port,
				s->any_port[1]);
	} else {
		sfs_text_printf(to, "-\n");
	}
}

static void put_port(struct ctl_file *f, unsigned int port, const char *state)
{
	sfs_text_printf(&f->text, "%-5u  %-8s  ", port, state);
	put_url(&f->text, &f->node->sb->box->sb, port);
}

static int by_port(const void *a, const void *b)
{
	return (int)*(const uint16_t *)a - (int)*(const uint16_t *)b;
}

static bool has_port(const uint16_t *open, size_t nr, unsigned int port)
{
	for (size_t i = 0; i < nr; i++)
		if (open[i] == port)
			return true;
	return false;
}

/* open: in any order, with repetitions */
static void put_table(struct ctl_file *f, uint16_t *open, size_t nr)
{
	const struct sbx_sandbox *s = &f->node->sb->box->sb;

	qsort(open, nr, sizeof(*open), by_port);
	for (size_t i = 0; i < nr; i++)
		if (i == 0 || open[i] != open[i - 1])
			put_port(f, open[i], "open");
	for (size_t i = 0; i < s->nr_ports; i++)
		if (!has_port(open, nr, s->ports[i].port))
			put_port(f, s->ports[i].port, "declared");
}

static void show(struct ctl_file *f)
{
	struct ports_file *pf = ports_of(f);

	if (pf->is_line)
		put_port(f, pf->open[0], "open");
	else
		put_table(f, pf->open, pf->nr);
	free(pf->open);
	pf->open = NULL;
	ctl_file_loaded(f, NULL);
}

static void on_urls(void *arg, struct sbx_box *box,
		    const struct sbx_error *error)
{
	show(arg); /* what is known now, whatever came of it */
}

/* Takes open.  What the service said of this sandbox may be older than what
 * it said of another one, by which URLs are put together. */
static void show_with_urls(struct ctl_file *f, uint16_t *open, size_t nr,
			   bool is_line)
{
	const struct sfs_place *p = f->node->place;
	struct sbx_box *box = f->node->sb->box;
	struct ports_file *pf = ports_of(f);
	bool lacks = false;

	pf->open = open;
	pf->nr = nr;
	pf->is_line = is_line;
	for (size_t i = 0; i < nr && !box->sb.any_port[0] && !lacks; i++)
		lacks = !own_url(&box->sb, open[i]);
	if (lacks)
		sbx_client_refresh(p->client, box, true,
				   p->conf.timeout_ms < LOOK_MS
					   ? p->conf.timeout_ms
					   : LOOK_MS,
				   on_urls, f);
	else
		show(f);
}

/* [[port, address, pid] ...] as a list of numbers */
static int take_ports(struct sbx_rd *rd, uint16_t **ret, size_t *ret_nr)
{
	struct sbx_rd list = sbx_get_array(rd);
	uint16_t *open = calloc((size_t)list.left + 1, sizeof(*open));
	size_t nr = 0;

	if (!open)
		return -ENOMEM;
	while (list.left) {
		struct sbx_rd one = sbx_get_array(&list);
		uint32_t port = sbx_get_u32(&one);

		if (list.err || one.err || port == 0 || port > 65535) {
			free(open);
			return -EPROTO;
		}
		open[nr++] = (uint16_t)port;
	}
	if (rd->err) {
		free(open);
		return rd->err;
	}
	*ret = open;
	*ret_nr = nr;
	return 0;
}

/* ---- asking ---- */

static void tell_watch(struct sfs_sandbox *sb, bool on)
{
	struct sbx_buf *b = sbx_remote_begin(sb->remote, SBX_OP_PORT_WATCH, 1);

	sbx_put_bool(b, on);
	sbx_remote_submit_quiet(sb->remote);
	sb->port_epoch = on ? sbx_remote_epoch(sb->remote) : 0;
}

void sfs_ports_unwatch(struct sfs_sandbox *sb)
{
	if (!sb->portwaits && !sb->feed && sb->remote && !sb->gone)
		tell_watch(sb, false);
}

static void wait_unlink(struct sfs_portwait *w)
{
	struct sfs_sandbox *sb = w->f->node->sb;
	struct sfs_portwait **at = &sb->portwaits;

	for (; *at != w; at = &(*at)->next)
		;
	*at = w->next;
	w->queued = false;
	if (!sb->portwaits && sb->remote)
		sbx_remote_listen(sb->remote, false);
	sfs_ports_unwatch(sb);
}

static void wait_done(struct sfs_portwait *w)
{
	uint16_t *line = malloc(sizeof(*line));
	struct sbx_error e = {0};

	wait_unlink(w);
	if (!line) {
		sbx_error_set(&e, -ENOMEM, "out of memory");
		ctl_file_loaded(w->f, &e);
		return;
	}
	*line = w->port;
	w->port = 0; /* the next read gives the table again */
	show_with_urls(w->f, line, 1, true);
}

static void ports_failed(struct ctl_file *f, int err)
{
	struct sbx_error e = {0};
	const struct sbx_error *why =
		f->node->sb->remote ? sbx_remote_error(f->node->sb->remote)
				    : NULL;

	sbx_error_set(&e, err, "ports: the sandbox cannot be asked%s%s",
		      why && why->err ? ": " : "",
		      why && why->err ? why->text : "");
	if (wait_of(f)->queued)
		wait_unlink(wait_of(f));
	ctl_file_loaded(f, &e);
}

static void ask(struct ctl_file *f, sbx_reply_fn *fn)
{
	struct sbx_remote *r = f->node->sb->remote;

	sbx_remote_begin(r, SBX_OP_PORTS, 0);
	sbx_remote_submit(r, fn, NULL, f);
}

/* The answer to somebody who wants the table. */
static void on_ports(void *arg, int err, struct sbx_rd *rd)
{
	struct ctl_file *f = arg;
	uint16_t *open = NULL;
	size_t nr = 0;

	if (err == -ERESTART && ports_of(f)->tries++ < SFS_MAX_RESTARTS) {
		ask(f, on_ports);
		return;
	}
	if (err == -ERESTART)
		err = -EIO;
	if (!err)
		err = take_ports(rd, &open, &nr);
	if (err) {
		ports_failed(f, err);
		return;
	}
	show_with_urls(f, open, nr, false);
}

/* The answer to somebody who waits; he may have been served meanwhile. */
static void on_ports_for_wait(void *arg, int err, struct sbx_rd *rd)
{
	struct ctl_file *f = arg;
	struct sfs_portwait *w = wait_of(f);
	uint16_t *open = NULL;
	size_t nr = 0;

	if (w->queued) {
		if (!err)
			err = take_ports(rd, &open, &nr);
		/* a new helper: on_up has asked again */
		if (err && err != -ERESTART)
			ports_failed(f, err);
		else if (!err && has_port(open, nr, w->port))
			wait_done(w);
		free(open);
	}
	ctl_file_unref(f);
}

static void wait_begin(struct ctl_file *f)
{
	struct sfs_portwait *w = wait_of(f);
	struct sfs_sandbox *sb = f->node->sb;

	if (!sb->portwaits) {
		tell_watch(sb, true);
		sbx_remote_listen(sb->remote, true);
	}
	w->f = f;
	w->queued = true;
	w->next = sb->portwaits;
	sb->portwaits = w;
	ask(ctl_file_ref(f), on_ports_for_wait);
}

/* ---- for events ---- */

/* The answer that says what was open before anything is told. */
static void on_ports_for_feed(void *arg, int err, struct sbx_rd *rd)
{
	struct sfs_sandbox *sb = arg;
	uint16_t *open = NULL;
	size_t nr = 0;

	if (!err)
		err = take_ports(rd, &open, &nr);
	if (!err)
		sfs_feed_ports(sb, open, nr);
	free(open);
	sfs_sandbox_unref(sb);
}

void sfs_ports_watch(struct sfs_sandbox *sb)
{
	/* the question first: what is told then is compared with its answer */
	sbx_remote_begin(sb->remote, SBX_OP_PORTS, 0);
	sbx_remote_submit(sb->remote, on_ports_for_feed, NULL,
			  sfs_sandbox_ref(sb));
	tell_watch(sb, true);
}

/* ---- what sandbox.c hears ---- */

void sfs_ports_on_port(struct sfs_sandbox *sb, uint16_t port, bool open)
{
	struct sfs_portwait *w = sb->portwaits, *next;

	if (!open || !w)
		return;
	for (; w; w = next) {
		next = w->next;
		if (w->port == port)
			wait_done(w);
	}
}

void sfs_ports_on_up(struct sfs_sandbox *sb)
{
	if (!sb->portwaits || sb->port_epoch == sbx_remote_epoch(sb->remote))
		return;
	tell_watch(sb, true);
	for (struct sfs_portwait *w = sb->portwaits; w; w = w->next)
		ask(ctl_file_ref(w->f), on_ports_for_wait);
}

void sfs_ports_fail(struct sfs_sandbox *sb, int err)
{
	while (sb->portwaits)
		ports_failed(sb->portwaits->f, err);
}

/* ---- the file ---- */

static void ports_load(struct ctl_file *f)
{
	int r = sfs_sandbox_use(f->node->sb);

	ports_of(f)->tries = 0;
	if (r < 0)
		ports_failed(f, r);
	else if (wait_of(f)->port)
		wait_begin(f);
	else
		ask(f, on_ports);
}

static void ports_write(fuse_req_t req, struct ctl_file *f, const char *data,
			size_t size)
{
	struct sfs_portwait *w = wait_of(f);
	unsigned long port;
	char word[16];
	int r = sfs_text_word(word, sizeof(word), data, size);

	if (r == 0)
		r = sfs_text_number(word, 65535, &port);
	if (r < 0 || port == 0) {
		ctl_fail(req, f->node, -EINVAL,
			 "ports: one port from 1 to 65535 is wanted");
		return;
	}
	w->port = (uint16_t)port;
	if (w->queued) /* somebody reads already: now for this one */
		ask(ctl_file_ref(f), on_ports_for_wait);
	fuse_reply_write(req, size);
}

static unsigned int ports_poll(struct ctl_file *f)
{
	static const unsigned int out = POLLOUT | POLLWRNORM;

	if (wait_of(f)->port)
		ctl_file_load(f, f->write_end);
	return f->state == CTL_LOADED || !wait_of(f)->port
		       ? out | POLLIN | POLLRDNORM
		       : out;
}

static void ports_close(struct ctl_file *f)
{
	if (!wait_of(f)->queued)
		return;
	wait_unlink(wait_of(f));
	ctl_file_unref(f); /* the load's */
}

static const struct ctl_file_type ports_file = {
	.size = sizeof(struct ports_file),
	.load = ports_load,
	.write = ports_write,
	.poll = ports_poll,
	.close = ports_close,
};

const struct ctl_type ctl_ports = {
	.name = "ports",
	.mode = S_IFREG | 0600,
	.ops = &ctl_file_ops,
	.file = &ports_file,
};
