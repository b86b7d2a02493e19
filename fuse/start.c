/*
 * Starting up: see start.h.
 */
#include "fuse/start.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fuse/control.h"
#include "fuse/limits.h"
#include "fuse/sandbox.h"

/* ---- configuration ---- */

static char **copy_words(char **words)
{
	char **copy;
	size_t n = 0;

	while (words[n])
		n++;
	copy = calloc(n + 1, sizeof(*copy));
	for (size_t i = 0; copy && i < n; i++) {
		copy[i] = strdup(words[i]);
		if (!copy[i])
			break; /* the list just ends here */
	}
	return copy;
}

/* relative to where we were started, not to where the daemon is later */
static char *program_path(const char *program)
{
	char *path = strchr(program, '/') ? realpath(program, NULL) : NULL;

	return path ? path : strdup(program);
}

static void conf_apply(struct sbx_conf *conf, const struct sfs_opts *opts)
{
	if (opts->timeout_ms)
		conf->timeout_ms = opts->timeout_ms;
	if (opts->plain || opts->helper)
		conf->helper = opts->helper;
	if (opts->agent) {
		free(conf->agent);
		conf->agent = program_path(opts->agent);
	}
	if (opts->agent_args)
		conf->agent_args = copy_words(opts->agent_args);
}

int sfs_start_conf(struct sfs_mount *m, struct sbx_error *reterr)
{
	int r = sbx_conf_parse_source(&m->conf, m->opts->source, reterr);

	if (r < 0)
		return r;
	conf_apply(&m->conf, m->opts);
	r = sbx_conf_find_key(&m->conf, m->opts->keyfile, reterr);
	if (r < 0)
		return r;
	m->fs.uid = m->opts->uid;
	m->fs.gid = m->opts->gid;
	m->fs.umask = m->opts->umask;
	m->fs.read_only = m->opts->read_only;
	m->fs.local_locks = m->opts->local_locks;
	m->fs.follow_inside = m->opts->follow_inside;
	m->fs.timeout_ms = m->conf.timeout_ms;
	m->fs.cache_max = m->opts->cache;
	m->fs.cache_full = 2 * m->opts->cache + SFS_CACHE_SLACK;
	return 0;
}

/* ---- the first question ---- */

static void on_probed(void *arg, struct sbx_box *box,
		      const struct sbx_error *error)
{
	struct sfs_mount *m = arg;

	m->probe_error = *error;
	m->probed = true;
	if (box)
		m->only = sbx_box_ref(box);
}

/* Says which address it was about. */
static int probe_failed(struct sfs_mount *m, struct sbx_error *reterr)
{
	const struct sbx_error *e = &m->probe_error;

	if (m->conf.only && e->err == -ENOENT)
		return sbx_error_set(reterr, -ENOENT,
				     "there is no sandbox \"%s\" on %s: mount "
				     "without /%s to see those that there are",
				     m->conf.only, m->conf.service,
				     m->conf.only);
	return sbx_error_set(reterr, e->err, "%s",
			     e->text[0] ? e->text : strerror(-e->err));
}

int sfs_start_client(struct sfs_mount *m, struct sfs_stop *stop,
		     struct sbx_error *reterr)
{
	static const struct sbx_client_listener listener = {
		.on_gone = sfs_sandbox_on_gone,
		.on_changed = sfs_sandbox_on_changed,
	};
	int r;

	r = sbx_client_open(m->fs.loop, &m->conf, &m->client, reterr);
	if (r < 0)
		return r;
	sbx_client_set_listener(m->client, &listener, m);
	if (m->conf.only)
		sbx_client_find(m->client, m->conf.only, on_probed, m);
	else
		sbx_client_list(m->client, on_probed, m);
	while (!m->probed && !sfs_stop_is_asked(stop))
		uv_run(m->fs.loop, UV_RUN_ONCE);
	if (!m->probed)
		return sbx_error_set(reterr, -EINTR, "interrupted");
	return m->probe_error.err ? probe_failed(m, reterr) : 0;
}

int sfs_start_root(struct sfs_mount *m, struct sbx_error *reterr)
{
	const struct ctl_type *type = m->only ? &ctl_sandbox : &ctl_root;
	struct sfs_sandbox *sb = NULL;
	struct ctl_node *n = NULL;

	if (m->only)
		sb = sfs_sandbox_get(m, m->only);
	if (!m->only || sb)
		n = ctl_node_get(sb ? &sb->nodes : &m->nodes, type, m, sb,
				 NULL);
	if (!n)
		return sbx_error_set(reterr, -ENOMEM, "out of memory");
	n->known = true; /* the kernel never forgets its root */
	m->fs.root = &n->n;
	return 0;
}
