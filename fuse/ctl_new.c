/*
 * "new": options of a new sandbox are written, its name is read back on the
 * same open file.  Each write is one creation and returns when the sandbox
 * can be used.
 */
#include <errno.h>
#include <stdlib.h>

#include "client/spec.h"
#include "fuse/ctl_file.h"
#include "fuse/text.h"

struct new_file {
	struct ctl_file f;
	struct sbx_box *box; /* what the last write made; counted, or NULL */
};

struct creation {
	struct ctl_op *op;
	char *options;
};

static struct new_file *new_of(struct ctl_file *f)
{
	return (struct new_file *)f;
}

static void new_load(struct ctl_file *f)
{
	const struct new_file *nf = new_of(f);

	if (nf->box)
		sfs_text_printf(&f->text, "%s\n", nf->box->folder);
	ctl_file_loaded(f, NULL);
}

static void on_created(void *arg, struct sbx_box *box,
		       const struct sbx_error *error)
{
	struct ctl_op *op = arg;
	struct new_file *nf = new_of(op->file);

	if (box && !op->file->closed) {
		sbx_box_unref(nf->box);
		nf->box = sbx_box_ref(box);
	}
	ctl_op_finish(op, error);
}

static void on_name_looked_up(void *arg, struct sbx_box *box,
			      const struct sbx_error *error)
{
	struct creation *c = arg;
	struct ctl_op *op = c->op;
	struct sbx_error e = *error;

	if (e.err == -ENOENT) {
		sbx_client_create(op->node->m->client, c->options, on_created,
				  op);
	} else {
		if (!e.err)
			sbx_error_set(&e, -EEXIST,
				      "there is a sandbox of that name "
				      "already");
		ctl_op_finish(op, &e);
	}
	free(c->options);
	free(c);
}

/* Takes options. */
static void new_create(struct ctl_op *op, char *options, const char *name)
{
	struct sbx_client *client = op->node->m->client;
	static const struct sbx_error no_memory = {
		.err = -ENOMEM,
		.text = "out of memory",
	};
	struct creation *c;

	if (!name) {
		sbx_client_create(client, options, on_created, op);
		free(options);
		return;
	}
	c = malloc(sizeof(*c));
	if (!c) {
		free(options);
		ctl_op_finish(op, &no_memory);
		return;
	}
	*c = (struct creation){.op = op, .options = options};
	sbx_client_find(client, name, on_name_looked_up, c);
}

static void new_write(fuse_req_t req, struct ctl_file *f, const char *data,
		      size_t size)
{
	struct sbx_error e;
	struct ctl_op *op;
	char *options, *name;

	if (sbx_create_spec_parse(&options, &name, data, size, &e) < 0) {
		ctl_fail(req, f->node, e.err, "%s", e.text);
		return;
	}
	op = ctl_op_new(req, f->node, f, size);
	if (op)
		new_create(op, options, name);
	else
		free(options);
	free(name);
}

static void new_close(struct ctl_file *f)
{
	struct new_file *nf = new_of(f);

	sbx_box_unref(nf->box);
	nf->box = NULL;
}

static bool new_present(const struct ctl_node *dir)
{
	return sbx_client_can(dir->m->client, SBX_CALL_CREATE);
}

static const struct ctl_file_type new_file = {
	.size = sizeof(struct new_file),
	.load = new_load,
	.write = new_write,
	.close = new_close,
};

const struct ctl_type ctl_new = {
	.name = "new",
	.mode = S_IFREG | 0600,
	.ops = &ctl_file_ops,
	.file = &new_file,
	.present = new_present,
};
