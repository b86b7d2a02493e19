/*
 * What is shown for a second only: see fresh.h.
 */
#include "fuse/fresh.h"

#include <errno.h>

#include "fuse/tree.h"

/* When everything known was true, UINT64_MAX: it is now. */
static uint64_t true_ms(const struct sfs_files *f)
{
	uint64_t heard =
		f->closed ? UINT64_MAX : sbx_remote_heard_ms(f->remote);

	return heard > f->fresh_ms ? heard : f->fresh_ms;
}

bool sfs_files_are_fresh(const struct sfs_files *f)
{
	uint64_t heard = true_ms(f);

	return heard == UINT64_MAX ||
	       (heard && files_now(f) - heard < SFS_BRIEF_MS);
}

/* True when it was asked; but who waits for one that took long is to get on
 * with it. */
static uint64_t when_asked(const struct sfs_files *f, uint64_t asked_ms)
{
	uint64_t least = files_now(f) - SFS_BRIEF_MS / 2;

	return asked_ms > least ? asked_ms : least;
}

uint32_t sfs_told_ms(const struct sfs_files *f)
{
	uint64_t asked = f->closed ? 0 : sbx_remote_asked_ms(f->remote);

	return (uint32_t)(asked ? when_asked(f, asked) : files_now(f));
}

void sfs_files_defer(struct sfs_files *f, unsigned int ms)
{
	if (!f->closed && (!ms || sfs_tree_is_wanted(f)))
		sbx_remote_defer(f->remote, ms);
}

double sfs_fresh_limit(const struct sfs_files *f, double s)
{
	uint64_t heard = true_ms(f), age = files_now(f) - heard;
	double left;

	if (heard == UINT64_MAX)
		return s;
	left = heard && age < SFS_BRIEF_MS ? (double)(SFS_BRIEF_MS - age) / 1000
					   : 0;
	return s < left ? s : left;
}

/* Everything that happened before has been told by now. */
static void on_answer(void *arg, int err, struct sbx_rd *rd)
{
	struct sfs_files *f = arg;

	f->freshening = false;
	/* of another helper nothing is known any more */
	if (err == -ERESTART)
		err = 0;
	if (!err)
		f->fresh_ms = when_asked(f, f->asked_ms);
	sfs_calls_resume(&f->unsure, err);
}

bool sfs_fresh_wait(struct sfs_call *c)
{
	struct sfs_files *f = c->files;

	if (sfs_files_are_fresh(f))
		return false;
	sfs_calls_add(&f->unsure, c);
	sfs_call_waits(c);
	if (f->freshening)
		return true;
	f->freshening = true;
	f->asked_ms = files_now(f);
	sbx_remote_begin(f->remote, SBX_OP_BARRIER, 0);
	sbx_remote_submit(f->remote, on_answer, NULL, f);
	return true;
}

void sfs_fresh_open(fuse_req_t req, struct sfs_inode *i,
		    const struct fuse_file_info *fi,
		    void (*resume)(struct sfs_call *c, int err))
{
	struct sfs_call *c = sfs_call_new(req, i, NULL, NULL);

	if (!c)
		return;
	c->fi = *fi;
	c->resume = resume;
	if (!sfs_fresh_wait(c))
		resume(c, 0);
}
