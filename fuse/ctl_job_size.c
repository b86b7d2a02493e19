/*
 * "size" of a command on a terminal: columns and rows.
 */
#include <errno.h>
#include <string.h>

#include "fuse/ctl_file.h"
#include "fuse/ctl_job.h"
#include "fuse/jobs.h"
#include "fuse/text.h"

static bool size_present(const struct ctl_node *dir)
{
	return dir->job->tty;
}

static void size_load(struct ctl_file *f)
{
	const struct sfs_job *j = f->node->job;

	sfs_text_printf(&f->text, "%u %u\n", j->cols, j->rows);
	ctl_file_loaded(f, NULL);
}

static int size_parse(const char *data, size_t len, unsigned long *ret_cols,
		      unsigned long *ret_rows)
{
	char text[32], *rows;
	int r = sfs_text_word(text, sizeof(text), data, len);

	rows = r < 0 ? NULL : strpbrk(text, " \t");
	if (!rows)
		return -EINVAL;
	*rows++ = 0;
	rows += strspn(rows, " \t");
	r = sfs_text_number(text, UINT16_MAX, ret_cols);
	if (r == 0)
		r = sfs_text_number(rows, UINT16_MAX, ret_rows);
	return r < 0 || !*ret_cols || !*ret_rows ? -EINVAL : 0;
}

static void size_write(fuse_req_t req, struct ctl_file *f, const char *data,
		       size_t size)
{
	struct sfs_job *j = f->node->job;
	unsigned long cols, rows;
	int r = size_parse(data, size, &cols, &rows);

	if (r < 0) {
		ctl_fail(req, f->node, r,
			 "size: columns and rows are wanted, as in 80 24");
		return;
	}
	r = j->job ? sbx_job_resize(j->job, (unsigned int)cols,
				    (unsigned int)rows)
		   : -ESRCH;
	if (r < 0) {
		ctl_fail(req, f->node, r, "size: the command has ended");
		return;
	}
	j->cols = (unsigned int)cols;
	j->rows = (unsigned int)rows;
	fuse_reply_write(req, size);
}

static const struct ctl_file_type size_file = {
	.load = size_load,
	.write = size_write,
};

const struct ctl_type ctl_job_size = {
	.name = "size",
	.mode = S_IFREG | 0600,
	.ops = &ctl_file_ops,
	.file = &size_file,
	.present = size_present,
};
