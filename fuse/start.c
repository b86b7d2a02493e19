/*
 * Starting up: see start.h.
 */
#include "fuse/start.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuse/control.h"
#include "fuse/limits.h"
#include "fuse/place.h"
#include "fuse/sandbox.h"

/* How long a mount of several services waits for the others when one has
 * answered: nobody likes to wait for what may be dead. */
#define GRACE_MS 2000

/* ---- configuration ---- */

/* NULL: no memory */
static char **copy_words(char **words)
{
	char **copy;
	size_t n = 0;

	while (words[n])
		n++;
	copy = calloc(n + 1, sizeof(*copy));
	for (size_t i = 0; copy && i < n; i++) {
		copy[i] = strdup(words[i]);
		if (!copy[i]) {
			sbx_conf_names_free(copy);
			return NULL;
		}
	}
	return copy;
}

/* relative to where we were started, not to where the daemon is later */
static char *program_path(const char *program)
{
	char *path = strchr(program, '/') ? realpath(program, NULL) : NULL;

	return path ? path : strdup(program);
}

static int conf_apply(struct sbx_conf *conf, const struct sfs_opts *opts)
{
	if (opts->timeout_ms)
		conf->timeout_ms = opts->timeout_ms;
	if (opts->plain || opts->helper)
		conf->helper = opts->helper;
	if (opts->agent) {
		free(conf->agent);
		conf->agent = program_path(opts->agent);
		if (!conf->agent)
			return -ENOMEM;
	}
	if (!opts->agent_args)
		return 0;
	conf->agent_args = copy_words(opts->agent_args);
	return conf->agent_args ? 0 : -ENOMEM;
}

/* One service: source is what names it. */
static int place_conf(struct sfs_place *p, const char *source,
		      struct sbx_error *reterr)
{
	const struct sfs_opts *opts = p->m->opts;
	int r = sbx_conf_parse_source(&p->conf, source, reterr);

	if (r == 0 && p->name && p->conf.only)
		r = sbx_error_set(
			reterr, -EINVAL,
			"the source of %s ends in /ID, and a mount of "
			"several services shows whole ones: mount "
			"that sandbox by itself",
			p->name);
	if (r < 0)
		return r;
	if (conf_apply(&p->conf, opts) < 0)
		return sbx_error_set(reterr, -ENOMEM, "out of memory");
	p->conf.own_key_first = p->name;
	return sbx_conf_find_key(&p->conf, opts->keyfile, reterr);
}

static int conf_places(struct sfs_mount *m, char **names,
		       struct sbx_error *reterr)
{
	struct sfs_place *p;
	int r = 0;

	if (names && m->opts->keyfile)
		return sbx_error_set(reterr, -EINVAL,
				     "option keyfile= is for one service; put "
				     "it into the profiles that %s names",
				     m->opts->source);
	for (size_t i = 0; r == 0 && (names ? names[i] != NULL : i == 0); i++) {
		p = sfs_place_new(m, names ? names[i] : NULL);
		if (!p)
			return sbx_error_set(reterr, -ENOMEM, "out of memory");
		r = place_conf(p, names ? names[i] : m->opts->source, reterr);
		if (p->conf.timeout_ms > m->fs.timeout_ms)
			m->fs.timeout_ms = p->conf.timeout_ms;
	}
	return r;
}

int sfs_start_conf(struct sfs_mount *m, struct sbx_error *reterr)
{
	char **names;
	int r = sbx_conf_parse_sources(m->opts->source, &names, reterr);

	if (r == 0)
		r = conf_places(m, names, reterr);
	sbx_conf_names_free(names);
	sbx_conf_wipe_environment();
	if (r < 0)
		return r;
	m->fs.uid = m->opts->uid;
	m->fs.gid = m->opts->gid;
	m->fs.umask = m->opts->umask;
	m->fs.read_only = m->opts->read_only;
	m->fs.local_locks = m->opts->local_locks;
	m->fs.follow_inside = m->opts->follow_inside;
	m->fs.cache_max = m->opts->cache;
	m->fs.cache_full = 2 * m->opts->cache + SFS_CACHE_SLACK;
	return 0;
}

/* ---- the first question ---- */

/* Says which address it was about. */
static int probe_failed(const struct sfs_place *p, struct sbx_error *reterr)
{
	const struct sbx_error *e = &p->probe_error;

	if (p->conf.only && e->err == -ENOENT)
		return sbx_error_set(reterr, -ENOENT,
				     "there is no sandbox \"%s\" on %s: mount "
				     "without /%s to see those that there are",
				     p->conf.only, p->conf.service,
				     p->conf.only);
	return sbx_error_set(reterr, e->err, "%s",
			     e->text[0] ? e->text : strerror(-e->err));
}

/* How many have answered, and how many of those well. */
static size_t probed(const struct sfs_mount *m, size_t *ret_good,
		     size_t *ret_all)
{
	const struct sfs_place *p;
	size_t n = 0;

	*ret_good = *ret_all = 0;
	for (p = m->places; p; p = p->next) {
		*ret_all += 1;
		n += p->probed;
		*ret_good += p->probed && !p->probe_error.err;
	}
	return n;
}

static void on_grace_over(uv_timer_t *t)
{
	/* that the loop turned is all that is needed */
}

/*
 * Until all have answered.  When one has, and well, the others are not waited
 * for much longer.  The number of good answers, or -EINTR.
 */
static int wait_for_answers(struct sfs_mount *m, struct sfs_stop *stop)
{
	bool timed = false;
	size_t good, all;

	while (probed(m, &good, &all) < all && !sfs_stop_is_asked(stop)) {
		if (timed && !uv_is_active((uv_handle_t *)&stop->timer))
			break;
		if (good && !timed)
			uv_timer_start(&stop->timer, on_grace_over, GRACE_MS,
				       0);
		timed = good;
		uv_run(m->fs.loop, UV_RUN_ONCE);
	}
	uv_timer_stop(&stop->timer);
	return sfs_stop_is_asked(stop) ? -EINTR : (int)good;
}

/* The mount goes on without it. */
static void tell_absent(struct sfs_mount *m, const struct sfs_place *p)
{
	struct sbx_error e = {0};

	if (p->probed)
		probe_failed(p, &e);
	else
		sbx_error_set(&e, -ETIMEDOUT, "no answer so far");
	sfs_errlog_note(&m->errors, "mount", p->name, &e);
	/* in the foreground the log is there, too */
	if (!m->opts->foreground)
		fprintf(stderr, "sbxfs: %s: %s\n", p->name, e.text);
}

int sfs_start_places(struct sfs_mount *m, struct sfs_stop *stop,
		     struct sbx_error *reterr)
{
	struct sfs_place *p;
	int r = 0;

	for (p = m->places; r == 0 && p; p = p->next)
		r = sfs_place_open(p, reterr);
	if (r < 0)
		return r;
	r = wait_for_answers(m, stop);
	if (r < 0)
		return sbx_error_set(reterr, r, "interrupted");
	if (r == 0 && !m->places->name)
		return probe_failed(m->places, reterr);
	for (p = m->places; p; p = p->next)
		if (!p->probed || p->probe_error.err)
			tell_absent(m, p);
	if (r == 0)
		return sbx_error_set(reterr, m->places->probe_error.err,
				     "none of the services of %s answers",
				     m->opts->source);
	return 0;
}

int sfs_start_root(struct sfs_mount *m, struct sbx_error *reterr)
{
	struct sfs_place *p = m->places;
	struct sfs_sandbox *sb = NULL;
	struct ctl_node *n = NULL;

	if (p->only) {
		sb = sfs_sandbox_get(p, p->only);
		if (sb)
			n = ctl_node_of_sandbox(sb, &ctl_sandbox);
	} else if (p->name) {
		n = ctl_node_of_mount(m, &ctl_top);
	} else {
		n = ctl_node_of_place(p, &ctl_place);
	}
	if (!n)
		return sbx_error_set(reterr, -ENOMEM, "out of memory");
	n->known = true; /* the kernel never forgets its root */
	m->fs.root = &n->n;
	return 0;
}
