#include <errno.h>
#include <search.h>
#include <stdlib.h>

#include "client/log.h"
#include "client/remote_int.h"

#define MAX_ERRNO 511 /* Linux tells programs of none above */

/* ---- jobs ---- */

static int job_compare(const void *a, const void *b)
{
	const struct remote_job *x = a, *y = b;

	return (x->number > y->number) - (x->number < y->number);
}

static struct remote_job *job_find(struct sbx_remote *r, uint32_t number)
{
	struct remote_job key = {.number = number};
	struct remote_job **at = tfind(&key, &r->jobs, job_compare);

	return at ? *at : NULL;
}

int sbx_remote_job_add(struct sbx_remote *r, uint32_t number,
		       const struct sbx_remote_job *h, void *arg)
{
	struct remote_job *j;

	if (r->nr_jobs >= SBX_JOBS_MAX)
		return -EAGAIN;
	j = calloc(1, sizeof(*j));
	if (!j)
		return -ENOMEM;
	j->number = number;
	j->h = h;
	j->arg = arg;
	if (!tsearch(j, &r->jobs, job_compare)) {
		free(j);
		return -ENOMEM;
	}
	r->nr_jobs++;
	return 0;
}

void sbx_remote_job_del(struct sbx_remote *r, uint32_t number)
{
	struct remote_job *j = job_find(r, number);

	if (!j)
		return;
	tdelete(j, &r->jobs, job_compare);
	free(j);
	r->nr_jobs--;
}

void sbx_remote_jobs_lost(struct sbx_remote *r)
{
	while (r->jobs) {
		struct remote_job j = **(struct remote_job **)r->jobs;

		sbx_remote_job_del(r, j.number);
		j.h->on_lost(j.arg, -EIO);
	}
}

/* ---- what the helper sends ---- */

/*
 * What the kernel here makes of an error is not for a sandbox to choose. ENOSYS
 * means "never ask again", of any sandbox; what is above 511 it does not take
 * for an answer, so that whoever asked would wait for ever; and ERESTART is our
 * own word for a helper that was lost.
 */
static int error_of_helper(uint32_t err)
{
	if (err == ENOSYS)
		return -EOPNOTSUPP;
	return err == ERESTART || err > MAX_ERRNO ? -EIO : -(int)err;
}

static int on_reply(struct sbx_remote *r, struct sbx_rd *rd)
{
	struct pending *p = sbx_remote_pending_find(r, sbx_get_u32(rd));
	uint32_t err = sbx_get_u32(rd);

	if (rd->err)
		return -EPROTO;
	r->stats.answers++;
	if (!p || p->fail)
		return 0;
	sbx_remote_count_answer(r, p);
	sbx_remote_count_latency(r, p);
	sbx_remote_pending_finish(r, p, error_of_helper(err), rd);
	return 0;
}

static int on_part(struct sbx_remote *r, struct sbx_rd *rd)
{
	struct pending *p = sbx_remote_pending_find(r, sbx_get_u32(rd));

	if (rd->err)
		return -EPROTO;
	if (!p || p->fail)
		return 0;
	if (uv_now(r->loop) - p->begun <
	    (uint64_t)PARTS_PATIENCE * r->timeout_ms)
		p->since = uv_now(r->loop);
	sbx_remote_count_answer(r, p);
	if (p->part)
		p->part(p->arg, rd);
	return 0;
}

static int on_change(struct sbx_remote *r, struct sbx_rd *rd)
{
	uint64_t dir = sbx_get_u64(rd);
	size_t len;
	const char *name = sbx_get_name(rd, &len);
	unsigned int what = sbx_get_u32(rd);
	struct sbx_attr attr;
	bool exists = sbx_get_attr(rd, &attr);
	uint32_t cookie = sbx_get_u32(rd);

	if (rd->err)
		return -EPROTO;
	if (r->files && r->files->on_change)
		r->files->on_change(r->files_arg, dir, name ? name : "", len,
				    what, exists ? &attr : NULL, cookie);
	return 0;
}

static int on_output(struct sbx_remote *r, struct sbx_rd *rd)
{
	struct remote_job *j = job_find(r, sbx_get_u32(rd));
	uint32_t stream = sbx_get_u32(rd);
	size_t len;
	const uint8_t *data = sbx_get_bin(rd, &len);
	bool eof = sbx_get_bool(rd);

	if (rd->err || stream < 1 || stream > 2)
		return -EPROTO;
	if (j)
		j->h->on_output(j->arg, (int)stream, data, len, eof);
	return 0;
}

static int on_exit_msg(struct sbx_remote *r, struct sbx_rd *rd)
{
	struct remote_job *j = job_find(r, sbx_get_u32(rd));
	uint32_t code = sbx_get_u32(rd);
	struct sbx_remote_exit e = {.code = (int)code};
	char snapshot[SBX_SNAPSHOT_SIZE];
	const char *name;
	size_t len;
	int i;

	e.signo = sbx_get_u32(rd);
	e.duration_ms = sbx_get_i64(rd);
	for (i = 0; i < 2 && rd->left; i++) {
		e.printed[i] = sbx_get_u64(rd);
		if (e.printed[i] > INT64_MAX / 2)
			return -EPROTO;
	}
	name = rd->left ? sbx_get_name(rd, &len) : NULL;
	if (rd->err || code > 255 || e.signo > 127 ||
	    (e.signo && code != 128 + e.signo))
		return -EPROTO;
	if (name && len < sizeof(snapshot)) {
		memcpy(snapshot, name, len);
		snapshot[len] = '\0';
		e.snapshot = snapshot;
	}
	if (j)
		j->h->on_exit(j->arg, &e);
	return 0;
}

static int on_report(struct sbx_remote *r, struct sbx_rd *rd)
{
	unsigned int what = sbx_get_u32(rd);
	bool is_dir = sbx_get_bool(rd);
	size_t len, to_len;
	const uint8_t *path = sbx_get_bin(rd, &len);
	const uint8_t *to = sbx_get_bin(rd, &to_len);

	if (rd->err)
		return -EPROTO;
	if (r->listener && r->listener->on_report)
		r->listener->on_report(r->listener_arg, what, is_dir,
				       path ? (const char *)path : "", len,
				       (const char *)to, to_len);
	return 0;
}

static int on_job_lost(struct sbx_remote *r, struct sbx_rd *rd)
{
	struct remote_job *j = job_find(r, sbx_get_u32(rd)), lost;
	int err = error_of_helper(sbx_get_u32(rd));

	if (rd->err)
		return -EPROTO;
	if (!j)
		return 0;
	lost = *j;
	sbx_remote_job_del(r, lost.number);
	lost.h->on_lost(lost.arg, err ? err : -EIO);
	return 0;
}

static int on_event(struct sbx_remote *r, uint32_t type, struct sbx_rd *rd)
{
	size_t len;
	const uint8_t *text;
	uint64_t n;
	uint32_t v;

	switch (type) {
	case SBX_MSG_OVERFLOW:
		if (r->files && r->files->on_doubt)
			r->files->on_doubt(r->files_arg, false);
		return 0;
	case SBX_MSG_UNWATCHED:
		n = sbx_get_u64(rd);
		v = sbx_get_u32(rd);
		if (!rd->err && r->files && r->files->on_unwatched)
			r->files->on_unwatched(r->files_arg, n, (int)v);
		return rd->err;
	case SBX_MSG_PORT:
		v = sbx_get_u32(rd);
		if (v > 65535)
			return -EPROTO;
		if (r->listener && r->listener->on_port)
			r->listener->on_port(r->listener_arg, (uint16_t)v,
					     sbx_get_bool(rd));
		return rd->err;
	case SBX_MSG_JOB_LOST:
		return on_job_lost(r, rd);
	case SBX_MSG_LOG:
		sbx_get_u32(rd);
		text = sbx_get_bin(rd, &len);
		if (text)
			sbx_log(SBX_LOG_INFO, "helper", "%.*s",
				(int)(len > 500 ? 500 : len),
				(const char *)text);
		return rd->err;
	case SBX_MSG_REPORT:
		return on_report(r, rd);
	default:
		return 0; /* a later version's; ignoring */
	}
}

int sbx_remote_message(void *arg, const uint8_t *data, size_t len)
{
	struct sbx_remote *r = arg;
	struct sbx_msg m;
	struct sbx_rd rd;
	uint32_t type;
	int err;

	if (sbx_msg_parse(&m, data, len) < 0)
		return -EPROTO;
	rd = sbx_rd_root(&m);
	type = sbx_get_u32(&rd);
	r->stats.bytes_received += len;
	if (type != SBX_MSG_REPLY && type != SBX_MSG_PART)
		r->stats.events++;
	if (rd.err)
		err = -EPROTO;
	else if (type == SBX_MSG_REPLY)
		err = on_reply(r, &rd);
	else if (type == SBX_MSG_PART)
		err = on_part(r, &rd);
	else if (type == SBX_MSG_CHANGE)
		err = on_change(r, &rd);
	else if (type == SBX_MSG_OUTPUT)
		err = on_output(r, &rd);
	else if (type == SBX_MSG_EXIT)
		err = on_exit_msg(r, &rd);
	else
		err = on_event(r, type, &rd);
	sbx_msg_release(&m);
	return err;
}
