/*
 * Making sandboxes of which each has a name of its own.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/cleanup.h"
#include "client/client_int.h"

/* From the question whether there is one until it is made: services do not
 * mind two of one name. */
struct sbx_making {
	struct sbx_client *c;
	struct sbx_making *next;
	char *name, *options; /* options: or NULL */
	sbx_box_fn *fn;
	void *arg;
};

static void making_free(struct sbx_making *m)
{
	free(m->name);
	sbx_wipe(m->options);
	free(m);
}

static void making_end(struct sbx_making *m, struct sbx_box *box,
		       const struct sbx_error *error)
{
	struct sbx_making **at = &m->c->makings;

	while (*at != m)
		at = &(*at)->next;
	*at = m->next;
	m->fn(m->arg, box, error);
	making_free(m);
}

static void on_made(void *arg, struct sbx_box *box,
		    const struct sbx_error *error)
{
	making_end(arg, box, error);
}

static void on_name_looked_up(void *arg, struct sbx_box *box,
			      const struct sbx_error *error)
{
	struct sbx_making *m = arg;
	struct sbx_error e = *error;

	if (e.err == -ENOENT) {
		client_make(m->c, m->options, on_made, m);
		return;
	}
	if (!e.err)
		sbx_error_set(&e, -EEXIST,
			      "there is a sandbox of that name already");
	making_end(m, NULL, &e);
}

static struct sbx_making *making_new(struct sbx_client *c, const char *name,
				     const char *options)
{
	struct sbx_making *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	m->name = strdup(name);
	m->options = options ? strdup(options) : NULL;
	if (!m->name || (options && !m->options)) {
		making_free(m);
		return NULL;
	}
	m->c = c;
	m->next = c->makings;
	c->makings = m;
	return m;
}

void sbx_client_create(struct sbx_client *c, const char *name,
		       const char *options, sbx_box_fn *fn, void *arg)
{
	struct sbx_making *m;

	if (!name) {
		client_make(c, options, fn, arg);
		return;
	}
	for (m = c->makings; m; m = m->next)
		if (!strcmp(m->name, name)) {
			client_fail(fn, arg, -EEXIST,
				    "a sandbox of that name is being made");
			return;
		}
	m = making_new(c, name, options);
	if (!m) {
		client_fail(fn, arg, -ENOMEM, "out of memory");
		return;
	}
	m->fn = fn;
	m->arg = arg;
	sbx_client_find(c, name, on_name_looked_up, m);
}
