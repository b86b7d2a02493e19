/*
 * The life of a sandbox: made, starting, running, stopping, removed.  Its
 * folder is removed when nothing refers to it any more, in the background.
 * Loop thread only.
 */
#include "tests/agent/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "tests/agent/conn.h"
#include "tests/agent/meta.h"
#include "tests/agent/pod.h"
#include "tests/agent/ports.h"
#include "tests/agent/tree.h"

struct agent_sandbox *agent_sandbox_ref(struct agent_sandbox *s)
{
	s->refs++;
	return s;
}

static void sandbox_free(struct agent_sandbox *s)
{
	agent_ports_end(s);
	if (s->doomed)
		agent_meta_discard(s->agent, s->id);
	if (s->workspace_fd >= 0)
		close(s->workspace_fd);
	if (s->dir_fd >= 0)
		close(s->dir_fd);
	free(s->template);
	json_decref(s->metadata);
	json_decref(s->env);
	json_decref(s->ports);
	json_decref(s->capabilities);
	free(s);
}

struct agent_sandbox *agent_sandbox_unref(struct agent_sandbox *s)
{
	if (s && !--s->refs)
		sandbox_free(s);
	return NULL;
}

struct agent_sandbox *agent_sandbox_find(struct agent *agent, const char *id)
{
	struct agent_sandbox *s;

	LIST_FOREACH(s, &agent->sandboxes, link)
	{
		if (s->listed && !strcmp(s->id, id))
			return s;
	}
	return NULL;
}

bool agent_sandbox_is_reachable(const struct agent_sandbox *s)
{
	return s->state == AGENT_RUNNING && agent_now_ms() >= s->address_ms;
}

struct agent_sandbox *agent_sandbox_new(struct agent *agent, const char *id)
{
	struct agent_sandbox *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->agent = agent;
	s->refs = 1;
	s->listed = true;
	s->dir_fd = s->workspace_fd = -1;
	snprintf(s->id, sizeof(s->id), "%s", id);
	for (int i = 0; i < AGENT_RUN_BUCKETS; i++)
		LIST_INIT(&s->runs[i]);
	LIST_INIT(&s->conns);
	LIST_INIT(&s->watches);
	LIST_INSERT_HEAD(&agent->sandboxes, s, link);
	agent->nr_sandboxes++;
	return s;
}

void agent_sandbox_forget(struct agent_sandbox *s)
{
	s->listed = false;
	LIST_REMOVE(s, link);
	s->agent->nr_sandboxes--;
	agent_sandbox_unref(s);
}

static void on_timer_closed(uv_handle_t *h)
{
	free(h);
}

/* Calls fn once, in a while; replaces what was planned before. */
static void sandbox_plan(struct agent_sandbox *s, uv_timer_cb fn, uint64_t ms)
{
	if (s->timer)
		uv_close((uv_handle_t *)s->timer, on_timer_closed);
	else
		agent_sandbox_ref(s);
	s->timer = calloc(1, sizeof(*s->timer));
	if (!s->timer)
		abort(); /* a handful of bytes, and nothing works without */
	uv_timer_init(&s->agent->loop, s->timer);
	s->timer->data = s;
	uv_timer_start(s->timer, fn, ms, 0);
}

static struct agent_sandbox *timer_done(uv_timer_t *timer)
{
	struct agent_sandbox *s = timer->data;

	uv_close((uv_handle_t *)timer, on_timer_closed);
	s->timer = NULL;
	return s;
}

void agent_sandbox_cancel(struct agent_sandbox *s)
{
	if (!s->timer)
		return;
	timer_done(s->timer);
	agent_sandbox_unref(s);
}

static void sandbox_run(struct agent_sandbox *s)
{
	s->state = AGENT_RUNNING;
	s->address_ms = agent_now_ms() +
			(s->claimed ? 0 : s->agent->traits.address_delay_ms);
	/* so that the first command does not wait for it */
	agent_pod_get(s);
}

static void on_start(uv_timer_t *timer)
{
	struct agent_sandbox *s = timer_done(timer);

	sandbox_run(s);
	agent_sandbox_unref(s);
}

void agent_sandbox_drop_conns(struct agent_sandbox *s)
{
	struct agent_conn *conn;

	LIST_FOREACH(conn, &s->conns, sandbox_link)
	agent_conn_close(conn);
}

void agent_sandbox_kill_sidecar(struct agent_sandbox *s)
{
	s->dead = true;
	agent_sandbox_drop_conns(s);
}

static void sandbox_stop(struct agent_sandbox *s)
{
	agent_sandbox_drop_conns(s);
	agent_pod_stop(s->pod);
	s->doomed = true;
	s->dead = true;
	agent_sandbox_forget(s);
}

static void on_stop(uv_timer_t *timer)
{
	struct agent_sandbox *s = timer_done(timer);

	/* the name of a claimed pod is another, so it is not found */
	if (s->claimed)
		s->listed = false;
	else
		sandbox_stop(s);
	agent_sandbox_unref(s);
}

void agent_sandbox_expire(struct agent_sandbox *s)
{
	if (s->state == AGENT_STOPPING)
		return;
	s->state = AGENT_STOPPING;
	sandbox_plan(s, on_stop, (uint64_t)s->agent->traits.stop_delay_ms);
}

void agent_sandbox_delete(struct agent_sandbox *s)
{
	s->listed = false;
	if (!s->claimed)
		agent_sandbox_expire(s);
}

static int sandbox_make_id(struct agent *agent, char id[16])
{
	for (int i = 0; i < 100; i++) {
		snprintf(id, 16, "%08x-4%02x", agent_random(UINT32_MAX),
			 agent_random(0x100));
		if (mkdirat(agent->dir_fd, id, 0700) == 0)
			return 0;
		if (errno != EEXIST)
			return -errno;
	}
	return -EEXIST;
}

int agent_sandbox_open_folders(struct agent_sandbox *s)
{
	struct agent *agent = s->agent;
	uid_t uid = agent_uid(agent);
	gid_t gid = getuid() ? getgid() : agent->root ? 0 : 1000;
	bool pod = agent->traits.pod_owners && !getuid();
	int fd;

	s->dir_fd = openat(agent->dir_fd, s->id,
			   O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (s->dir_fd < 0)
		return -errno;
	fd = agent_tree_make(s->dir_fd, "home", 0755, uid, gid);
	if (fd < 0)
		return fd;
	/* where the workspace is mounted */
	mkdirat(fd, "workspace", 0755);
	close(fd);
	/* Kubernetes makes it root's and writable for a group */
	s->workspace_fd = agent_tree_make(
		s->dir_fd, "workspace", pod ? 02777 : 0755, pod ? 0 : uid, gid);
	return s->workspace_fd < 0 ? s->workspace_fd : 0;
}

int agent_sandbox_create(struct agent *agent, struct agent_create *c,
			 struct agent_sandbox **ret)
{
	struct agent_sandbox *s;
	char id[16];
	int r;

	if (agent->nr_sandboxes >= AGENT_SANDBOXES_MAX)
		return -EDQUOT;
	r = sandbox_make_id(agent, id);
	if (r < 0)
		return r;
	s = agent_sandbox_new(agent, id);
	if (!s)
		return -ENOMEM;
	s->template = strdup(c->template);
	s->metadata = json_incref(c->metadata);
	s->env = json_incref(c->env);
	s->ports = json_incref(c->ports);
	s->capabilities = json_incref(c->capabilities);
	s->created_ms = agent_now_ms();
	s->expires_ms = s->created_ms + c->life_ms;
	s->claimed = agent->traits.warm_pool;
	r = s->template ? agent_sandbox_open_folders(s) : -ENOMEM;
	if (!r)
		r = agent_meta_save(s);
	if (r < 0) {
		s->doomed = true;
		agent_sandbox_forget(s);
		return r;
	}
	if (s->claimed)
		sandbox_run(s);
	else
		sandbox_plan(
			s, on_start,
			agent_random((uint32_t)agent->traits.start_delay_ms +
				     1));
	*ret = s;
	return 0;
}

void agent_sandboxes_stop(struct agent *agent)
{
	while (!LIST_EMPTY(&agent->sandboxes)) {
		struct agent_sandbox *s = LIST_FIRST(&agent->sandboxes);

		agent_sandbox_cancel(s);
		agent_pod_stop(s->pod);
		/* deleted ones, if their end was still to come */
		s->doomed = !s->listed || s->state == AGENT_STOPPING;
		agent_sandbox_forget(s);
	}
}
