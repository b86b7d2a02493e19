/*
 * Where the sandboxes of one service are: see place.h.
 */
#include "fuse/place.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/log.h"
#include "fuse/sandbox.h"

struct sfs_place *sfs_place_new(struct sfs_mount *m, const char *name)
{
	struct sfs_place *p = calloc(1, sizeof(*p)), **at;

	if (!p)
		return NULL;
	if (name && !(p->name = strdup(name))) {
		free(p);
		return NULL;
	}
	p->m = m;
	sbx_conf_init(&p->conf);
	for (at = &m->places; *at; at = &(*at)->next)
		;
	*at = p;
	return p;
}

void sfs_places_free(struct sfs_mount *m)
{
	struct sfs_place *p;

	while ((p = m->places)) {
		m->places = p->next;
		sbx_box_unref(p->only);
		sbx_conf_release(&p->conf);
		free(p->name);
		free(p);
	}
}

static void on_probed(void *arg, struct sbx_box *box,
		      const struct sbx_error *error)
{
	struct sfs_place *p = arg;

	p->probe_error = *error;
	p->probed = true;
	if (box)
		p->only = sbx_box_ref(box);
}

const char *sfs_place_no_end(const struct sfs_place *p)
{
	return sbx_client_service(p->client)->type->hides_expiry ? "unknown"
								 : "never";
}

int sfs_place_open(struct sfs_place *p, struct sbx_error *reterr)
{
	static const struct sbx_client_listener listener = {
		.on_gone = sfs_sandbox_on_gone,
		.on_changed = sfs_sandbox_on_changed,
	};
	int r = sbx_client_open(p->m->fs.loop, &p->conf, &p->client, reterr);

	if (r < 0)
		return r;
	sbx_client_set_listener(p->client, &listener, p->m);
	if (p->conf.only)
		sbx_client_find(p->client, p->conf.only, on_probed, p);
	else
		sbx_client_list(p->client, on_probed, p);
	return 0;
}

const char *sfs_place_label(const struct sfs_place *p,
			    const struct sbx_box *box,
			    char label[SFS_LABEL_SIZE])
{
	snprintf(label, SFS_LABEL_SIZE, "%s%s%s", p->name ? p->name : "",
		 p->name ? "/" : "", box->folder);
	return label;
}

const struct sbx_run_limits *sfs_place_runs(const struct sfs_place *p)
{
	const struct sbx_run_limits *lim =
		sbx_client_service(p->client)->type->run_limits;

	return lim && lim->commands ? lim : NULL;
}
