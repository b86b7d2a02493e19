/* PORTS and PORT_WATCH: see ports.h. */
#include "client/helper/ports.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/helper/helper.h"
#include "client/helper/request.h"
#include "client/wire/proto.h"

#define LISTEN_MAX 1024
#define LOOK_MS	   200
/* While no command starts or prints for so long, no server is likely to. */
#define QUICK_MS     5000
#define LOOK_IDLE_MS 1000
#define PROCESS_MAX  512 /* with more, whose port it is costs too much */
#define HIDDEN_MAX   64
#define TCP_LISTEN   0x0a

struct listener {
	uint16_t port;
	unsigned long inode;
	uint32_t pid, uid;
	bool is_known; /* whose it is was found out before */
	bool is_foreign;
	char address[INET6_ADDRSTRLEN];
};

/* The kernel prints addresses as words in its own byte order. */
static void parse_address(const char *hex, struct listener *l)
{
	unsigned int words[4] = {0};
	size_t n = strlen(hex) == 8 ? 1 : 4, i;
	char word[9] = {0};

	for (i = 0; i < n && strlen(hex) >= 8 * (i + 1); i++) {
		memcpy(word, hex + 8 * i, 8);
		words[i] = (unsigned int)strtoul(word, NULL, 16);
	}
	if (!inet_ntop(n == 1 ? AF_INET : AF_INET6, words, l->address,
		       sizeof(l->address)))
		l->address[0] = '\0';
}

static bool parse_line(const char *line, struct listener *l)
{
	unsigned int port, state;
	char address[33];

	if (sscanf(line,
		   " %*d: %32[0-9A-Fa-f]:%x %*s %x %*s %*s %*s %u %*d "
		   "%lu",
		   address, &port, &state, &l->uid, &l->inode) != 5)
		return false;
	if (state != TCP_LISTEN || !port || port > UINT16_MAX)
		return false;
	l->port = (uint16_t)port;
	l->pid = 0;
	l->is_known = l->is_foreign = false;
	parse_address(address, l);
	return true;
}

static size_t read_table(const char *path, struct listener *list, size_t n)
{
	FILE *f = fopen(path, "re");
	char line[512];

	if (!f)
		return n;
	while (n < LISTEN_MAX && fgets(line, sizeof(line), f))
		if (parse_line(line, &list[n]))
			n++;
	fclose(f);
	return n;
}

/* ---- whose ---- */

static void match_socket(struct listener *list, size_t n, const char *link,
			 uint32_t pid)
{
	unsigned long inode;
	size_t i;

	if (sscanf(link, "socket:[%lu]", &inode) != 1)
		return;
	for (i = 0; i < n; i++)
		if (list[i].inode == inode && !list[i].pid)
			list[i].pid = pid;
}

/* Users whose processes cannot be looked into, so what is theirs is not
 * known. */
struct hidden {
	uint32_t uid[HIDDEN_MAX];
	size_t n;
	bool all; /* too many, or nothing could be looked at */
};

static bool is_hidden(const struct hidden *hid, uint32_t uid)
{
	for (size_t i = 0; i < hid->n; i++)
		if (hid->uid[i] == uid)
			return true;
	return hid->all;
}

static void hide(struct hidden *hid, uint32_t pid)
{
	unsigned int uid;
	char path[64], line[128];
	bool found = false;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%u/status", pid);
	f = fopen(path, "re");
	if (!f)
		return; /* gone */
	while (!found && fgets(line, sizeof(line), f))
		found = sscanf(line, "Uid: %*u %u", &uid) == 1;
	fclose(f);
	/* our own first process hides itself because it runs the rest */
	if (!found || (pid == 1 && uid == geteuid()) || is_hidden(hid, uid))
		return;
	if (hid->n < HIDDEN_MAX)
		hid->uid[hid->n++] = uid;
	else
		hid->all = true;
}

static void match_process(struct listener *list, size_t n, uint32_t pid,
			  struct hidden *hid)
{
	char path[64], link[64];
	struct dirent *e;
	ssize_t len;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%u/fd", pid);
	d = opendir(path);
	if (!d) {
		if (errno != ENOENT)
			hide(hid, pid);
		return;
	}
	while ((e = readdir(d))) {
		len = readlinkat(dirfd(d), e->d_name, link, sizeof(link) - 1);
		if (len <= 0)
			continue;
		link[len] = '\0';
		match_socket(list, n, link, pid);
	}
	closedir(d);
}

static void match_processes(struct listener *list, size_t n)
{
	DIR *d = n ? opendir("/proc") : NULL;
	struct hidden hid = {.all = !d};
	struct dirent *e;
	size_t seen = 0, i;

	while (d && (e = readdir(d))) {
		if (!isdigit((unsigned char)e->d_name[0]))
			continue;
		if (++seen > PROCESS_MAX) {
			hid.all = true;
			break;
		}
		match_process(list, n, (uint32_t)strtoul(e->d_name, NULL, 10),
			      &hid);
	}
	if (d)
		closedir(d);
	for (i = 0; i < n; i++)
		list[i].is_foreign =
			!list[i].pid && !is_hidden(&hid, list[i].uid);
}

/* ---- what listens here ---- */

static int by_port(const void *a, const void *b)
{
	const struct listener *x = a, *y = b;

	return (x->port > y->port) - (x->port < y->port);
}

/* What was known of a socket stays true: it does not change hands. */
static bool remember(struct listener *list, size_t n,
		     const struct listener *old, size_t nr_old)
{
	size_t known = 0, i, k;

	for (i = 0; i < n; i++)
		for (k = 0; k < nr_old && !list[i].is_known; k++)
			if (old[k].inode == list[i].inode &&
			    old[k].port == list[i].port) {
				list[i].pid = old[k].pid;
				list[i].is_foreign = old[k].is_foreign;
				list[i].is_known = true;
				known++;
			}
	return known == n;
}

/*
 * The network may be shared with others, whose ports are not ours: those that
 * no process here has open, as far as that can be told.
 */
static size_t listeners(struct listener *list, bool again)
{
	static struct listener all[LISTEN_MAX], old[LISTEN_MAX];
	static size_t nr_old;
	size_t n = read_table("/proc/net/tcp", all, 0), nr = 0, i;

	n = read_table("/proc/net/tcp6", all, n);
	if (again || !remember(all, n, old, nr_old))
		match_processes(all, n);
	memcpy(old, all, n * sizeof(all[0]));
	nr_old = n;
	for (i = 0; i < n; i++)
		if (!all[i].is_foreign)
			list[nr++] = all[i];
	qsort(list, nr, sizeof(*list), by_port);
	return nr;
}

int op_ports(struct req *q)
{
	static struct listener list[LISTEN_MAX];
	size_t n = listeners(list, true), i;

	sbx_put_array(q->out, (uint32_t)n);
	for (i = 0; i < n; i++) {
		sbx_put_array(q->out, 3);
		sbx_put_u64(q->out, list[i].port);
		sbx_put_str(q->out, list[i].address);
		sbx_put_u64(q->out, list[i].pid);
	}
	return 0;
}

/* ---- watching ---- */

static void tell(struct helper *h, uint16_t port, bool open)
{
	struct sbx_buf *b = &h->event;

	sbx_buf_clear(b);
	sbx_put_array(b, 3);
	sbx_put_u64(b, SBX_MSG_PORT);
	sbx_put_u64(b, port);
	sbx_put_bool(b, open);
	peer_send(h, b);
}

/* Both are sorted; what is in one only has changed. */
static void tell_differences(struct helper *h, const uint16_t *now, size_t n)
{
	const struct ports *p = &h->ports;
	size_t i = 0, k = 0;

	while (i < p->n || k < n) {
		if (i < p->n && (k == n || p->open[i] < now[k])) {
			tell(h, p->open[i++], false);
		} else if (k < n && (i == p->n || now[k] < p->open[i])) {
			tell(h, now[k++], true);
		} else {
			i++;
			k++;
		}
	}
}

static void ports_look(struct helper *h)
{
	static struct listener list[LISTEN_MAX];
	size_t n = listeners(list, false), count = 0, i;
	uint16_t now[LISTEN_MAX];

	for (i = 0; i < n; i++)
		if (!count || now[count - 1] != list[i].port)
			now[count++] = list[i].port;
	tell_differences(h, now, count);
	memcpy(h->ports.open, now, count * sizeof(now[0]));
	h->ports.n = count;
}

void ports_sync(struct helper *h)
{
	/* nobody would take it: looked at when there is room again */
	if (h->ports.watching && !peer_is_busy(h))
		ports_look(h);
}

static void on_timer(void *arg)
{
	struct helper *h = arg;

	ports_sync(h);
	h->ports.is_quick = loop_clock_ms() < h->ports.quick_until_ms;
	loop_timer_set(&h->loop, &h->ports.timer,
		       h->ports.is_quick ? LOOK_MS : LOOK_IDLE_MS);
}

void ports_hurry(struct helper *h)
{
	struct ports *p = &h->ports;

	if (!p->watching)
		return;
	p->quick_until_ms = loop_clock_ms() + QUICK_MS;
	if (!p->is_quick)
		loop_timer_set(&h->loop, &p->timer, LOOK_MS);
	p->is_quick = true;
}

int op_port_watch(struct req *q)
{
	struct ports *p = &q->h->ports;
	bool on = sbx_get_bool(&q->rd);

	if (q->rd.err)
		return -EINVAL;
	if (on && !p->open)
		p->open = calloc(LISTEN_MAX, sizeof(*p->open));
	if (on && !p->open)
		return -ENOMEM;
	loop_timer_stop(&p->timer);
	p->watching = on;
	if (on) {
		/* first each open one */
		p->n = 0;
		ports_hurry(q->h);
		loop_timer_set(&q->h->loop, &p->timer, 0);
	}
	return 0;
}

void ports_init(struct helper *h)
{
	h->ports.timer = (struct loop_timer){.fn = on_timer, .arg = h};
}

void ports_release(struct helper *h)
{
	loop_timer_del(&h->loop, &h->ports.timer);
	free(h->ports.open);
	h->ports.open = NULL;
}
