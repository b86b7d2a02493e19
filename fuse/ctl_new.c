/*
 * "new": options of a new sandbox are written, its name is read back on the
 * same open file.
 *
 * One write is one creation and returns when the sandbox can be used.  Only a
 * write of a single line, or one that fills a buffer, may be but the first of
 * several, because shells write like that: such pieces are gathered, and the
 * sandbox is made when a descriptor is closed or the name is read, or with
 * the piece that completes a JSON object.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/cleanup.h"
#include "client/spec.h"
#include "fuse/ctl_file.h"
#include "fuse/pieces.h"
#include "fuse/text.h"

struct new_file {
	struct ctl_file f;
	struct sfs_pieces pieces;
	struct sbx_box *box;	/* what was made last; counted, or NULL */
	struct sbx_error error; /* why what was gathered gave nothing */
	unsigned int busy;	/* creations under way */
	bool reading;		/* a load waits for them */
};

struct creation {
	struct new_file *nf; /* its file is counted */
	struct ctl_op *op;   /* who waits for it; NULL: a reader */
};

static struct new_file *new_of(struct ctl_file *f)
{
	return (struct new_file *)f;
}

/* ---- making ---- */

static void new_loaded(struct new_file *nf)
{
	struct sbx_error e = nf->error;

	nf->reading = false;
	nf->error.err = 0; /* told once */
	if (!e.err && nf->box)
		sfs_text_printf(&nf->f.text, "%s\n", nf->box->folder);
	ctl_file_loaded(&nf->f, &e);
}

static void creation_end(struct creation *c, struct sbx_box *box,
			 const struct sbx_error *error)
{
	struct new_file *nf = c->nf;
	struct ctl_op *op = c->op;

	free(c);
	if (!nf->f.closed) {
		sbx_box_unref(nf->box);
		nf->box = box ? sbx_box_ref(box) : NULL;
	}
	if (!op || op->size == 0)
		nf->error = *error;
	if (op)
		ctl_op_finish(op, error);
	if (--nf->busy == 0 && nf->reading)
		new_loaded(nf);
	ctl_file_unref(&nf->f);
}

static void on_created(void *arg, struct sbx_box *box,
		       const struct sbx_error *error)
{
	creation_end(arg, box, error);
}

/* name may be NULL, as may op. */
static void new_create(struct new_file *nf, struct ctl_op *op,
		       const char *options, const char *name)
{
	static const struct sbx_error no_memory = {
		.err = -ENOMEM,
		.text = "out of memory",
	};
	struct creation *c = malloc(sizeof(*c));

	ctl_file_ref(&nf->f);
	nf->busy++;
	if (!c) {
		nf->error = no_memory;
		nf->busy--;
		if (op)
			ctl_op_finish(op, &no_memory);
		ctl_file_unref(&nf->f);
		return;
	}
	*c = (struct creation){.nf = nf, .op = op};
	sbx_client_create(nf->f.node->place->client, name, options, on_created,
			  c);
}

/* What was gathered. */
static void new_create_text(struct new_file *nf, struct ctl_op *op)
{
	struct sbx_error e;
	char *options, *name;
	int r = sbx_create_spec_parse(&options, &name,
				      (char *)sbx_buf_at(&nf->pieces.text),
				      sbx_buf_len(&nf->pieces.text), &e);

	sfs_pieces_clear(&nf->pieces);
	if (r == 0) {
		new_create(nf, op, options, name);
		sbx_wipe(options);
		free(name);
		return;
	}
	sfs_pieces_refuse(&nf->pieces, r);
	if (!op || op->size == 0)
		nf->error = e;
	if (op)
		ctl_op_finish(op, &e);
}

/* ---- the file ---- */

static void new_load(struct ctl_file *f)
{
	struct new_file *nf = new_of(f);

	nf->reading = true;
	nf->busy++; /* not to be loaded from within */
	if (sbx_buf_len(&nf->pieces.text))
		new_create_text(nf, NULL);
	sfs_pieces_end(&nf->pieces);
	if (--nf->busy == 0)
		new_loaded(nf);
}

/* Whether the lines make sense; the last one may be cut off. */
static int new_check_lines(struct new_file *nf, struct sbx_error *reterr)
{
	struct sbx_client *client = nf->f.node->place->client;
	const char *text = (char *)sbx_buf_at(&nf->pieces.text), *end;
	char *options, *name;
	int r;

	end = memrchr(text, '\n', sbx_buf_len(&nf->pieces.text));
	if (!end || nf->pieces.is_json)
		return 0;
	r = sbx_create_spec_parse(&options, &name, text, (size_t)(end - text),
				  reterr);
	if (r < 0)
		return r;
	r = sbx_client_service(client)->type->options_check(options, reterr);
	sbx_wipe(options);
	free(name);
	return r;
}

static void new_write(fuse_req_t req, struct ctl_file *f, const char *data,
		      size_t size)
{
	struct new_file *nf = new_of(f);
	struct sbx_error e;
	struct ctl_op *op;
	int r;

	if (nf->pieces.refused) {
		fuse_reply_err(req, -nf->pieces.refused);
		return;
	}
	nf->error.err = 0;
	r = sfs_pieces_add(&nf->pieces, data, size, &e);
	if (r == SFS_PIECES_WHOLE) {
		op = ctl_op_new(req, f->node, f, size);
		if (op)
			new_create_text(nf, op);
		else
			sfs_pieces_clear(&nf->pieces);
		return;
	}
	if (r == SFS_PIECES_MORE)
		r = new_check_lines(nf, &e);
	if (r == 0) {
		fuse_reply_write(req, size);
		return;
	}
	sfs_pieces_refuse(&nf->pieces, r);
	ctl_fail(req, f->node, r, "%s", e.text);
}

static void new_flush(fuse_req_t req, struct ctl_file *f)
{
	struct new_file *nf = new_of(f);
	struct ctl_op *op = NULL;

	if (!sbx_buf_len(&nf->pieces.text))
		fuse_reply_err(req, 0);
	else
		op = ctl_op_new(req, f->node, f, 0);
	if (op)
		new_create_text(nf, op);
	sfs_pieces_end(&nf->pieces);
}

static int new_open(struct ctl_file *f, int flags)
{
	sfs_pieces_init(&new_of(f)->pieces, SBX_SPEC_CREATE_MAX);
	return 0;
}

static void new_close(struct ctl_file *f)
{
	struct new_file *nf = new_of(f);

	sbx_box_unref(nf->box);
	nf->box = NULL;
	sfs_pieces_release(&nf->pieces);
}

static bool new_present(const struct ctl_node *dir)
{
	return sbx_client_can(dir->place->client, SBX_CALL_CREATE);
}

static const struct ctl_file_type new_file = {
	.size = sizeof(struct new_file),
	.open = new_open,
	.load = new_load,
	.write = new_write,
	.flush = new_flush,
	.close = new_close,
};

const struct ctl_type ctl_new = {
	.name = "new",
	.mode = S_IFREG | 0600,
	.ops = &ctl_file_ops,
	.file = &new_file,
	.present = new_present,
};
