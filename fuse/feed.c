/*
 * What happens in a sandbox: see feed.h.
 */
#include "fuse/feed.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fuse/ctl_ports.h"
#include "fuse/jsonline.h"
#include "fuse/sandbox.h"
#include "fuse/text.h"

#define NR_PORTS 65536

struct sfs_feed {
	struct sfs_sandbox *sb; /* whose this is; NULL: gone */
	unsigned int refs;	/* the sandbox's, readers' and questions' */
	struct sfs_lines lines;
	struct sfs_feed_reader *readers, *next_reader;
	bool asking, watching; /* for what happens to files */
	bool lacking;	       /* it could not be asked: till it can */
	uint32_t epoch;	       /* the helper that was asked */
	enum sbx_link_state told;
	bool ports_known;
	uint8_t ports[NR_PORTS / 8]; /* open ones */
};

static void feed_unref(struct sfs_feed *f)
{
	if (--f->refs > 0)
		return;
	sfs_lines_clear(&f->lines);
	free(f);
}

/* ---- telling ---- */

/* Readers may go while they are told, but for the last. */
static void feed_news(struct sfs_feed *f)
{
	struct sfs_feed_reader *rd;

	for (rd = f->readers; rd; rd = f->next_reader) {
		f->next_reader = rd->next;
		rd->on_news(rd->arg);
	}
}

static struct sfs_jsonline line_begin(const char *type)
{
	struct sfs_jsonline j;

	sfs_jsonline_begin(&j);
	sfs_jsonline_time(&j, "time", sfs_now_ms());
	sfs_jsonline_string(&j, "type", type);
	return j;
}

static void line_end(struct sfs_feed *f, struct sfs_jsonline *j)
{
	sfs_lines_add(&f->lines, sfs_jsonline_end(j));
	feed_news(f);
}

static struct sfs_feed *feed_of(struct sfs_sandbox *sb)
{
	return sb->feed && sb->feed->readers ? sb->feed : NULL;
}

/* ---- the connection and the state ---- */

static void ask(struct sfs_feed *f);

static const char *link_name(enum sbx_link_state state)
{
	switch (state) {
	case SBX_LINK_UP:
		return "up";
	case SBX_LINK_LOST:
		return "lost";
	case SBX_LINK_IDLE:
	case SBX_LINK_CONNECTING:
	case SBX_LINK_DEAD:
		break;
	}
	return NULL;
}

void sfs_feed_link(struct sfs_sandbox *sb, enum sbx_link_state state)
{
	struct sfs_feed *f = feed_of(sb);
	struct sfs_jsonline j;
	bool fresh;

	if (!f)
		return;
	fresh = state == SBX_LINK_UP && f->epoch &&
		f->epoch != sbx_remote_epoch(sb->remote);
	/* it runs anew there, and has not seen what happened: that it is up is
	 * told when it watches, or what is done then would be missing */
	if (fresh)
		f->lacking = true;
	else if (state != f->told && link_name(state) &&
		 (state == SBX_LINK_LOST || f->told == SBX_LINK_LOST)) {
		j = line_begin("connection");
		sfs_jsonline_string(&j, "state", link_name(state));
		line_end(f, &j);
	}
	f->told = state;
	if (fresh && f->sb)
		ask(f);
	else if (state == SBX_LINK_UP)
		sfs_feed_look_again(sb);
}

void sfs_feed_look_again(struct sfs_sandbox *sb)
{
	struct sfs_feed *f = feed_of(sb);

	if (f && f->lacking && !f->asking)
		ask(f);
}

void sfs_feed_state(struct sfs_sandbox *sb)
{
	struct sfs_feed *f = feed_of(sb);
	struct sfs_jsonline j;

	if (!f)
		return;
	j = line_begin("state");
	sfs_jsonline_string(&j, "state", sbx_state_name(sb->box->sb.state));
	line_end(f, &j);
}

void sfs_feed_gone(struct sfs_sandbox *sb)
{
	struct sfs_feed *f = sb->feed;
	struct sfs_jsonline j;

	if (!f)
		return;
	sb->feed = NULL;
	f->sb = NULL;
	j = line_begin("state");
	sfs_jsonline_string(&j, "state", "gone");
	line_end(f, &j);
	feed_unref(f);
}

/* ---- commands ---- */

void sfs_feed_job(struct sfs_sandbox *sb, const struct sfs_job *job)
{
	struct sfs_feed *f = feed_of(sb);
	bool ended = job->state == SBX_JOB_ENDED;
	struct sfs_jsonline j;

	if (!f)
		return;
	j = line_begin(job->name ? "terminal" : "job");
	if (job->name)
		sfs_jsonline_bytes(&j, "terminal", job->name,
				   strlen(job->name));
	else
		sfs_jsonline_number(&j, "job", job->number);
	sfs_jsonline_string(&j, "state", ended ? "ended" : "started");
	if (!ended)
		sfs_jsonline_bytes(&j, "command", job->command,
				   strnlen(job->command, 4096));
	else if (job->error)
		sfs_jsonline_string(&j, "error", strerror(-job->error));
	else
		sfs_jsonline_number(&j, "exit_code", job->exit_code);
	line_end(f, &j);
}

/* ---- ports ---- */

static void tell_port(struct sfs_feed *f, uint16_t port, bool open)
{
	struct sfs_jsonline j = line_begin("port");

	sfs_jsonline_number(&j, "port", port);
	sfs_jsonline_string(&j, "state", open ? "open" : "closed");
	line_end(f, &j);
}

static bool port_is_open(const struct sfs_feed *f, unsigned int port)
{
	return f->ports[port / 8] & 1u << port % 8;
}

static void port_set(struct sfs_feed *f, uint16_t port, bool open)
{
	if (port_is_open(f, port) == open)
		return;
	f->ports[port / 8] ^= (uint8_t)(1u << port % 8);
	if (f->ports_known)
		tell_port(f, port, open);
}

void sfs_feed_port(struct sfs_sandbox *sb, uint16_t port, bool open)
{
	struct sfs_feed *f = feed_of(sb);

	if (f)
		port_set(f, port, open);
}

void sfs_feed_ports(struct sfs_sandbox *sb, const uint16_t *open, size_t nr)
{
	struct sfs_feed *f = feed_of(sb);
	uint8_t now[NR_PORTS / 8] = {0};

	if (!f)
		return;
	for (size_t i = 0; i < nr; i++)
		now[open[i] / 8] |= (uint8_t)(1u << open[i] % 8);
	for (unsigned int p = 1; p < NR_PORTS; p++)
		port_set(f, (uint16_t)p, now[p / 8] & 1u << p % 8);
	f->ports_known = true;
}

/* ---- files ---- */

static const char *what_name(unsigned int what)
{
	switch (what) {
	case SBX_CHANGE_CREATED:
		return "created";
	case SBX_CHANGE_DELETED:
		return "deleted";
	case SBX_CHANGE_DATA:
		return "modified";
	case SBX_CHANGE_ATTR:
		return "attrib";
	case SBX_CHANGE_MOVED_TO:
		return "moved";
	default:
		return NULL;
	}
}

static void tell_unwatched(struct sfs_feed *f, const char *path, size_t len,
			   const char *why)
{
	struct sfs_jsonline j = line_begin("unwatched");

	if (len)
		sfs_jsonline_bytes(&j, "path", path, len);
	if (why)
		sfs_jsonline_string(&j, "why", why);
	line_end(f, &j);
}

void sfs_feed_report(struct sfs_sandbox *sb, unsigned int what, bool is_dir,
		     const char *path, size_t len, const char *to,
		     size_t to_len)
{
	struct sfs_feed *f = feed_of(sb);
	const char *name = what_name(what);
	struct sfs_jsonline j;

	if (!f || (what && !name))
		return;
	if (!what && len) {
		tell_unwatched(f, path, len, NULL);
		return;
	}
	if (!what) { /* the kernel there lost some, nobody knows how many */
		j = line_begin("lost");
		line_end(f, &j);
		return;
	}
	j = line_begin(name);
	if (to) {
		sfs_jsonline_bytes(&j, "from", path, len);
		sfs_jsonline_bytes(&j, "to", to, to_len);
	} else {
		sfs_jsonline_bytes(&j, "path", len ? path : ".", len ? len : 1);
	}
	if (is_dir)
		sfs_jsonline_bool(&j, "directory", true);
	line_end(f, &j);
}

/* ---- asking the helper ---- */

static void feed_ready(struct sfs_feed *f)
{
	struct sfs_feed_reader *rd;

	for (rd = f->readers; rd; rd = f->next_reader) {
		void (*fn)(void *arg) = rd->on_ready;

		f->next_reader = rd->next;
		rd->on_ready = NULL;
		if (fn)
			fn(rd->arg);
	}
}

static bool has_opening(const struct sfs_feed *f)
{
	const struct sfs_feed_reader *rd = f->readers;

	while (rd && !rd->on_ready)
		rd = rd->next;
	return rd;
}

/* Nothing was told for a while, and is from now on. */
static void feed_found(struct sfs_feed *f)
{
	struct sfs_jsonline j;

	if (!f->lacking)
		return;
	f->lacking = false;
	j = line_begin("connection");
	sfs_jsonline_string(&j, "state", "up");
	sfs_jsonline_bool(&j, "missed", true);
	line_end(f, &j);
}

/* Without a helper there is nobody to be asked another time. */
static void feed_failed(struct sfs_feed *f, int err)
{
	bool is_told;

	if (err == -EOPNOTSUPP)
		feed_found(f);
	is_told = f->lacking && !has_opening(f);
	f->lacking = err != -EOPNOTSUPP;
	f->watching = !f->lacking;
	if (f->sb && !is_told)
		tell_unwatched(f, NULL, 0, strerror(-err));
}

static void on_watched(void *arg, int err, struct sbx_rd *rd)
{
	struct sfs_feed *f = arg;
	unsigned int why;

	if (err == -ERESTART) { /* sfs_feed_link has asked again, or will */
		feed_unref(f);
		return;
	}
	f->asking = false;
	if (err) {
		feed_failed(f, err);
	} else {
		f->watching = true;
		feed_found(f);
		sbx_get_u32(rd);
		why = sbx_get_u32(rd);
		if (rd->err || why)
			tell_unwatched(f, NULL, 0,
				       strerror(rd->err ? EPROTO : (int)why));
	}
	feed_ready(f);
	/* the connection is held to be up: then nobody will say so */
	if (err == -ETIMEDOUT && f->sb && f->readers &&
	    sbx_remote_state(f->sb->remote) == SBX_LINK_UP)
		sfs_feed_look_again(f->sb);
	feed_unref(f);
}

static void ask(struct sfs_feed *f)
{
	struct sbx_remote *r = f->sb->remote;
	struct sbx_buf *b;

	f->asking = true;
	f->watching = false;
	f->epoch = sbx_remote_epoch(r);
	f->refs++;
	b = sbx_remote_begin(r, SBX_OP_REPORT, 1);
	sbx_put_bool(b, true);
	sbx_remote_submit(r, on_watched, NULL, f);
	sfs_ports_watch(f->sb);
}

/* Nobody reads any more: the sandbox forgets it. */
static void feed_stop(struct sfs_feed *f)
{
	struct sfs_sandbox *sb = f->sb;
	struct sbx_buf *b;

	sb->feed = NULL;
	f->sb = NULL;
	f->refs--; /* a reader's is left */
	if (!sb->remote || sb->gone)
		return;
	b = sbx_remote_begin(sb->remote, SBX_OP_REPORT, 1);
	sbx_put_bool(b, false);
	sbx_remote_submit_quiet(sb->remote);
	sfs_ports_unwatch(sb);
}

/* ---- readers ---- */

static struct sfs_feed *feed_new(struct sfs_sandbox *sb)
{
	struct sfs_feed *f = calloc(1, sizeof(*f));

	if (!f)
		return NULL;
	f->sb = sb;
	f->refs = 1;
	f->told = sbx_remote_state(sb->remote);
	sb->feed = f;
	return f;
}

int sfs_feed_attach(struct sfs_sandbox *sb, struct sfs_feed_reader *rd)
{
	int r = sfs_sandbox_use(sb);
	struct sfs_feed *f;

	if (r < 0)
		return r;
	f = sb->feed ? sb->feed : feed_new(sb);
	if (!f)
		return -ENOMEM;
	f->refs++;
	rd->feed = f;
	rd->pos = (struct sfs_lines_pos){.number = f->lines.next};
	rd->next = f->readers;
	rd->at = &f->readers;
	if (rd->next)
		rd->next->at = &rd->next;
	f->readers = rd;
	if (f->watching && rd->on_ready) {
		void (*fn)(void *arg) = rd->on_ready;

		rd->on_ready = NULL;
		fn(rd->arg);
	} else if (!f->asking) {
		ask(f);
	}
	return 0;
}

void sfs_feed_detach(struct sfs_feed_reader *rd)
{
	struct sfs_feed *f = rd->feed;

	if (!f)
		return;
	rd->feed = NULL;
	free(rd->note);
	rd->note = NULL;
	*rd->at = rd->next;
	if (rd->next)
		rd->next->at = rd->at;
	if (f->next_reader == rd)
		f->next_reader = rd->next;
	if (!f->readers && f->sb)
		feed_stop(f);
	feed_unref(f);
}

bool sfs_feed_is_ready(const struct sfs_feed_reader *rd)
{
	return !rd->feed->sb || rd->note ||
	       sfs_lines_have(&rd->feed->lines, &rd->pos);
}

/* A line of its own, also if it comes in the middle of one that was lost. */
static char *note_text(uint64_t lost, bool is_torn)
{
	struct sfs_jsonline j = line_begin("lost");
	char *line, *note = NULL;

	sfs_jsonline_number(&j, "events", (int64_t)lost);
	line = sfs_jsonline_end(&j);
	if (line && asprintf(&note, "%s%s", is_torn ? "\n" : "", line) < 0)
		note = NULL;
	free(line);
	return note;
}

static size_t note_read(struct sfs_feed_reader *rd, char *dst, size_t size)
{
	size_t n = strlen(rd->note + rd->note_off);
	bool all = n <= size;

	if (!all)
		n = size;
	memcpy(dst, rd->note + rd->note_off, n);
	rd->note_off += n;
	if (all) {
		free(rd->note);
		rd->note = NULL;
	}
	return n;
}

size_t sfs_feed_read(struct sfs_feed_reader *rd, char *dst, size_t size)
{
	struct sfs_feed *f = rd->feed;
	bool is_torn = rd->pos.off;
	uint64_t lost;
	size_t n = 0;

	if (!rd->note) {
		lost = sfs_lines_lost(&f->lines, &rd->pos);
		rd->note = lost ? note_text(lost, is_torn) : NULL;
		rd->note_off = 0;
	}
	if (rd->note)
		n = note_read(rd, dst, size);
	if (n < size && !rd->note)
		n += sfs_lines_read(&f->lines, &rd->pos, dst + n, size - n);
	return n;
}
