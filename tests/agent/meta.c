/*
 * meta.json of a sandbox: written once, read when the agent starts.  And the
 * JSON that REST answers.  Loop thread; removal on a worker.
 */
#include "tests/agent/meta.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/agent/tree.h"

#define META_MAX (1024 * 1024)

json_t *agent_sandbox_time(int64_t ms)
{
	time_t s = (time_t)(ms / 1000);
	char text[64], zone[8];
	struct tm tm;
	size_t n;

	localtime_r(&s, &tm);
	n = strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
	strftime(zone, sizeof(zone), "%z", &tm);
	if (!tm.tm_gmtoff)
		snprintf(text + n, sizeof(text) - n, ".%09dZ",
			 (int)(ms % 1000) * 1000000);
	else
		snprintf(text + n, sizeof(text) - n, ".%09d%.3s:%.2s",
			 (int)(ms % 1000) * 1000000, zone, zone + 3);
	return json_string(text);
}

json_t *agent_sandbox_preview(const struct agent_sandbox *s, int64_t port)
{
	return json_sprintf("http://sbx-%s-%lld.preview.localhost:%d", s->id,
			    (long long)port, s->agent->port);
}

static const char *state_name(const struct agent_sandbox *s)
{
	static const char *const names[] = {"starting", "running", "stopping"};

	return names[s->state];
}

static void json_add_previews(json_t *json, const struct agent_sandbox *s)
{
	json_t *urls = json_object(), *port;
	char key[16];
	size_t i;

	json_array_foreach(s->ports, i, port)
	{
		snprintf(key, sizeof(key), "%lld",
			 (long long)json_integer_value(port));
		json_object_set_new(
			urls, key,
			agent_sandbox_preview(s, json_integer_value(port)));
	}
	if (json_object_size(urls))
		json_object_set(json, "preview_urls", urls);
	json_decref(urls);
}

json_t *agent_sandbox_json(const struct agent_sandbox *s, int version,
			   bool created_now)
{
	json_t *json = json_object();

	json_object_set_new(json, "id", json_string(s->id));
	json_object_set_new(json, "status", json_string(state_name(s)));
	json_object_set_new(json, "template", json_string(s->template));
	json_object_set_new(
		json, "ws_url",
		json_sprintf("http://localhost:8080/api/v%d/sandboxes/%s/ws",
			     version, s->id));
	json_add_previews(json, s);
	if (version == 1) {
		json_object_set_new(json, "created_at",
				    agent_sandbox_time(s->created_ms));
		json_object_set_new(json, "expires_at",
				    agent_sandbox_time(s->expires_ms));
	} else {
		json_object_set_new(json, "created_at_ms",
				    json_integer(s->created_ms));
		json_object_set_new(json, "expires_at_ms",
				    json_integer(s->expires_ms));
		json_object_set_new(json, "from_warm_pool",
				    json_boolean(s->claimed && created_now));
	}
	if (json_object_size(s->metadata))
		json_object_set(json, "metadata", s->metadata);
	if (json_array_size(s->capabilities))
		json_object_set(json, "capabilities", s->capabilities);
	return json;
}

int agent_meta_save(const struct agent_sandbox *s)
{
	json_t *json =
		json_pack("{s:s,s:s,s:b,s:I,s:I,s:O?,s:O?,s:O?,s:O?}", "id",
			  s->id, "template", s->template, "claimed", s->claimed,
			  "created_ms", s->created_ms, "expires_ms",
			  s->expires_ms, "metadata", s->metadata, "env", s->env,
			  "ports", s->ports, "capabilities", s->capabilities);
	char *text = json ? json_dumps(json, JSON_INDENT(2)) : NULL;
	int r = text ? agent_tree_write(s->dir_fd, "meta.json", text) : -ENOMEM;

	free(text);
	json_decref(json);
	return r;
}

static json_t *meta_take(json_t *json, const char *name, json_type type)
{
	json_t *member = json_object_get(json, name);

	return member && json_typeof(member) == type ? json_incref(member)
						     : NULL;
}

static json_t *meta_read(int dir_fd)
{
	int fd = openat(dir_fd, "meta.json", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	char *text = fd < 0 ? NULL : malloc(META_MAX);
	json_t *json = NULL;
	ssize_t n;

	if (text) {
		n = read(fd, text, META_MAX);
		if (n > 0)
			json = json_loadb(text, (size_t)n, 0, NULL);
	}
	free(text);
	if (fd >= 0)
		close(fd);
	return json;
}

static int meta_load(struct agent *agent, const char *id)
{
	struct agent_sandbox *s = agent_sandbox_new(agent, id);
	json_t *json = NULL;
	const char *template;
	bool claimed;
	int r;

	if (!s)
		return -ENOMEM;
	s->template = NULL;
	r = agent_sandbox_open_folders(s);
	if (!r)
		json = meta_read(s->dir_fd);
	template = json_string_value(json_object_get(json, "template"));
	if (template)
		s->template = strdup(template);
	s->created_ms = json_integer_value(json_object_get(json, "created_ms"));
	s->expires_ms = json_integer_value(json_object_get(json, "expires_ms"));
	s->metadata = meta_take(json, "metadata", JSON_OBJECT);
	s->env = meta_take(json, "env", JSON_OBJECT);
	s->ports = meta_take(json, "ports", JSON_ARRAY);
	s->capabilities = meta_take(json, "capabilities", JSON_ARRAY);
	s->state = AGENT_RUNNING;
	/* pods are found by their names, but for claimed ones */
	claimed = json_is_true(json_object_get(json, "claimed"));
	json_decref(json);
	if (claimed)
		agent_sandbox_forget(s);
	if (claimed || s->template)
		return 0;
	agent_sandbox_forget(s);
	return r < 0 ? r : -EINVAL;
}

static bool is_id(const char *name)
{
	return strlen(name) == 12 && name[8] == '-' &&
	       strspn(name, "0123456789abcdef-") == 12;
}

int agent_sandboxes_load(struct agent *agent)
{
	int fd = openat(agent->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *d;

	if (!dir)
		return -errno;
	while (agent->traits.remember && (d = readdir(dir)) &&
	       agent->nr_sandboxes < AGENT_SANDBOXES_MAX) {
		int r = is_id(d->d_name) ? meta_load(agent, d->d_name) : 0;

		if (r < 0)
			AGENT_LOG("%s/%s is no sandbox, ignoring: %s",
				  agent->dir, d->d_name, strerror(-r));
	}
	closedir(dir);
	return 0;
}

static int trash_open(const struct agent *agent)
{
	return agent_tree_make(agent->own_fd, "trash", 0700, (uid_t)-1,
			       (gid_t)-1);
}

static void trash_work(uv_work_t *work)
{
	int trash = trash_open(work->data);
	DIR *dir = trash < 0 ? NULL : fdopendir(trash);
	struct dirent *d;

	while (dir && (d = readdir(dir))) {
		if (strcmp(d->d_name, ".") && strcmp(d->d_name, ".."))
			agent_tree_remove(dirfd(dir), d->d_name);
	}
	if (dir)
		closedir(dir);
}

static void trash_done(uv_work_t *work, int status)
{
	free(work);
}

void agent_meta_empty_trash(struct agent *agent)
{
	uv_work_t *work = calloc(1, sizeof(*work));

	if (!work)
		return;
	work->data = agent;
	if (uv_queue_work(&agent->loop, work, trash_work, trash_done) < 0)
		free(work);
}

void agent_meta_discard(struct agent *agent, const char *id)
{
	int trash = trash_open(agent);
	char to[64];

	if (trash < 0)
		return;
	snprintf(to, sizeof(to), "%s.%08x", id, agent_random(UINT32_MAX));
	if (renameat(agent->dir_fd, id, trash, to) < 0)
		AGENT_LOG("cannot remove %s/%s: %s", agent->dir, id,
			  strerror(errno));
	close(trash);
	agent_meta_empty_trash(agent);
}
