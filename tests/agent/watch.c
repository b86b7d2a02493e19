/*
 * FsWatch.  Each watch is walked every watch-ms on a worker, which makes a
 * sorted list of all entries that are no folders with their times; two lists
 * are compared on the loop thread.  The real service polls just so, and
 * misses the same things.
 */
#include "tests/agent/watch.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/agent/filework.h"
#include "tests/agent/path.h"

#define ENTRIES_MAX 200000 /* of one watch; more are not seen */
#define DEPTH_MAX   64
#define WATCHES_MAX 64 /* of one connection */

struct entry {
	char *path;
	int64_t mtime_ns;
};

struct snapshot {
	struct entry *entries;
	size_t nr, room;
};

struct agent_watch {
	LIST_ENTRY(agent_watch) link;
	struct agent *agent;
	struct agent_sandbox *sandbox;
	uint64_t conn;	/* whose it is */
	uint64_t asker; /* who gets the answer */
	char *path;	/* as asked for */
	size_t path_len;
	uv_timer_t timer;
	uv_work_t work;
	bool working, dropped;
	bool first; /* the first walk is under way: it is answered then */
	uint32_t channel, id;
	struct snapshot now, next;
	char error[512];
};

static void snapshot_release(struct snapshot *s)
{
	for (size_t i = 0; i < s->nr; i++)
		free(s->entries[i].path);
	free(s->entries);
	*s = (struct snapshot){0};
}

static void snapshot_add(struct snapshot *s, const char *path,
			 const struct stat *st)
{
	if (s->nr == ENTRIES_MAX)
		return;
	if (s->nr == s->room) {
		size_t room = (s->room + 128) * 2;
		struct entry *e = realloc(s->entries, room * sizeof(*e));

		if (!e)
			return;
		s->entries = e;
		s->room = room;
	}
	s->entries[s->nr].path = strdup(path);
	s->entries[s->nr].mtime_ns =
		st->st_mtim.tv_sec * INT64_C(1000000000) + st->st_mtim.tv_nsec;
	s->nr += s->entries[s->nr].path != NULL;
}

static void snapshot_walk(struct snapshot *s, int at, const char *name,
			  char *path, int depth)
{
	int fd = openat(at, name,
			O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	size_t len = strlen(path);
	struct dirent *d;
	struct stat st;

	while (dir && (d = readdir(dir)) && s->nr < ENTRIES_MAX) {
		if (!strcmp(d->d_name, ".") || !strcmp(d->d_name, "..") ||
		    fstatat(fd, d->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
		    snprintf(path + len, PATH_MAX - len, "%s%s", len ? "/" : "",
			     d->d_name) >= (int)(PATH_MAX - len))
			continue;
		if (!S_ISDIR(st.st_mode))
			snapshot_add(s, path, &st);
		else if (depth < DEPTH_MAX)
			snapshot_walk(s, fd, d->d_name, path, depth + 1);
	}
	path[len] = 0;
	if (dir)
		closedir(dir);
	else if (fd >= 0)
		close(fd);
}

static int by_path(const void *a, const void *b)
{
	return strcmp(((const struct entry *)a)->path,
		      ((const struct entry *)b)->path);
}

static void watch_work(uv_work_t *work)
{
	struct agent_watch *w = work->data;
	int root_fd = w->sandbox->workspace_fd;
	struct agent_path path;
	char text[PATH_MAX];
	struct stat st;
	int fd = -1;

	agent_filework_become(w->agent);
	agent_path_resolve(root_fd, w->path, w->path_len, true, &path);
	if (path.exists)
		fd = agent_path_open(root_fd, path.text, O_PATH | O_NOFOLLOW,
				     0);
	if (fd >= 0 && fstat(fd, &st) == 0) {
		snprintf(text, sizeof(text), "%s",
			 strcmp(path.text, ".") ? path.text : "");
		if (S_ISDIR(st.st_mode))
			snapshot_walk(&w->next, fd, ".", text, 0);
		else
			snapshot_add(&w->next, text, &st);
		close(fd);
	} else if (path.why) {
		snprintf(w->error, sizeof(w->error), "%s", path.why);
	} else {
		snprintf(w->error, sizeof(w->error),
			 "stat %.*s: no such file or directory",
			 (int)(w->path_len > 200 ? 200 : w->path_len), w->path);
	}
	agent_filework_unbecome(w->agent);
	if (w->next.nr)
		qsort(w->next.entries, w->next.nr, sizeof(*w->next.entries),
		      by_path);
}

static void watch_tell(struct agent_watch *w, const char *path,
		       const char *type)
{
	struct agent_conn *conn = agent_conn_by_nr(w->agent, w->conn);
	msgpack_sbuffer out;

	if (conn)
		conn = agent_socket_owner(conn);
	if (!conn)
		return;
	msgpack_sbuffer_init(&out);
	agent_pack_event(&out, path, strlen(path), type);
	agent_tx_message(conn, MSG_FS_EVENT, 0, 0, out.data, out.size);
	msgpack_sbuffer_destroy(&out);
}

/* What is new or changed first, then what has gone. */
static void watch_compare(struct agent_watch *w)
{
	const struct snapshot *old = &w->now, *new = &w->next;
	size_t i = 0, k;

	for (k = 0; k < new->nr; k++) {
		int order = -1;

		while (i < old->nr &&
		       (order = strcmp(old->entries[i].path,
				       new->entries[k].path)) < 0)
			i++;
		if (i == old->nr || order > 0)
			watch_tell(w, new->entries[k].path, "created");
		else if (old->entries[i].mtime_ns != new->entries[k].mtime_ns)
			watch_tell(w, new->entries[k].path, "modified");
	}
	k = 0;
	for (i = 0; i < old->nr; i++) {
		while (k < new->nr &&
		       strcmp(new->entries[k].path, old->entries[i].path) < 0)
			k++;
		if (k == new->nr ||
		    strcmp(new->entries[k].path, old->entries[i].path))
			watch_tell(w, old->entries[i].path, "deleted");
	}
}

static void on_watch_closed(uv_handle_t *h)
{
	struct agent_watch *w = h->data;

	agent_sandbox_unref(w->sandbox);
	snapshot_release(&w->now);
	snapshot_release(&w->next);
	free(w->path);
	free(w);
}

static void watch_drop(struct agent_watch *w)
{
	if (!w->dropped)
		LIST_REMOVE(w, link);
	w->dropped = true;
	if (!w->working && !uv_is_closing((uv_handle_t *)&w->timer))
		uv_close((uv_handle_t *)&w->timer, on_watch_closed);
}

/* The first walk has told whether the path exists at all. */
static void watch_answer(struct agent_watch *w)
{
	struct agent_conn *conn = agent_conn_by_nr(w->agent, w->asker);

	w->first = false;
	if (conn && *w->error)
		agent_socket_error(conn, w->channel, w->id, "watch_error",
				   w->error);
	else if (conn)
		agent_tx_message(conn, MSG_ACK, w->channel, w->id, NULL, 0);
	if (*w->error)
		watch_drop(w);
}

static void watch_done(uv_work_t *work, int status)
{
	struct agent_watch *w = work->data;

	w->working = false;
	if (w->dropped) {
		watch_drop(w);
		return;
	}
	if (w->first)
		watch_answer(w);
	else
		watch_compare(w);
	snapshot_release(&w->now);
	w->now = w->next;
	w->next = (struct snapshot){0};
	*w->error = 0;
}

static void watch_look(struct agent_watch *w)
{
	if (w->working || w->dropped)
		return;
	w->working = uv_queue_work(&w->agent->loop, &w->work, watch_work,
				   watch_done) == 0;
}

static void on_timer(uv_timer_t *timer)
{
	watch_look(timer->data);
}

static void watch_add(struct agent_conn *conn, const struct agent_envelope *e,
		      const struct agent_bytes *path)
{
	uint64_t ms = (uint64_t)conn->agent->traits.watch_ms;
	struct agent_conn *owner = agent_socket_owner(conn);
	struct agent_watch *w = calloc(1, sizeof(*w));

	if (w)
		w->path = malloc(path->len + 1);
	if (!w || !w->path) {
		free(w);
		return;
	}
	memcpy(w->path, path->p ? path->p : "", path->len);
	w->path_len = path->len;
	w->agent = conn->agent;
	w->sandbox = agent_sandbox_ref(conn->sandbox);
	/* without an owner it is looked at once, and nobody is told */
	w->conn = owner ? owner->nr : conn->nr;
	w->asker = conn->nr;
	w->channel = e->channel;
	w->id = e->id;
	w->first = true;
	w->timer.data = w->work.data = w;
	LIST_INSERT_HEAD(&conn->sandbox->watches, w, link);
	uv_timer_init(&conn->agent->loop, &w->timer);
	uv_timer_start(&w->timer, on_timer, ms, ms);
	watch_look(w);
}

static unsigned int watch_count(const struct agent_conn *conn)
{
	const struct agent_watch *w;
	unsigned int n = 0;

	LIST_FOREACH(w, &conn->sandbox->watches, link)
	n += w->conn == conn->nr;
	return n;
}

static void watch_remove(struct agent_conn *conn,
			 const struct agent_bytes *path)
{
	struct agent_watch *w = LIST_FIRST(&conn->sandbox->watches);
	struct agent_conn *owner = agent_socket_owner(conn);

	while (w) {
		struct agent_watch *next = LIST_NEXT(w, link);

		if (owner && w->conn == owner->nr && w->path_len == path->len &&
		    (!path->len || !memcmp(w->path, path->p, path->len)))
			watch_drop(w);
		w = next;
	}
}

void agent_watch_request(struct agent_conn *conn,
			 const struct agent_envelope *e)
{
	struct agent_bytes path = {0};
	struct agent_map m;
	bool unwatch = false;

	agent_map_open(&m, e->payload, e->len);
	agent_map_string(&m, "path", &path);
	agent_map_bool(&m, "unwatch", &unwatch);
	if (m.error) {
		agent_socket_error(conn, e->channel, e->id, "invalid_payload",
				   m.error);
	} else if (unwatch) {
		watch_remove(conn, &path);
		agent_tx_message(conn, MSG_ACK, e->channel, e->id, NULL, 0);
	} else if (watch_count(conn) >= WATCHES_MAX) {
		agent_socket_error(conn, e->channel, e->id, "watcher_error",
				   "too many watches");
	} else {
		watch_add(conn, e, &path);
	}
	agent_map_close(&m);
}

void agent_watches_drop(struct agent_conn *conn)
{
	struct agent_watch *w = LIST_FIRST(&conn->sandbox->watches);

	while (w) {
		struct agent_watch *next = LIST_NEXT(w, link);

		if (w->conn == conn->nr)
			watch_drop(w);
		w = next;
	}
}
