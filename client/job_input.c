#include <errno.h>

#include "client/job_int.h"

/* (the helper's STDIN_MAX) */
#define INPUT_MAX (2 * 1024 * 1024)

static void on_input_done(void *arg, int err, struct sbx_rd *rd)
{
	struct sbx_job *j = arg;

	(void)rd;
	j->input_waiting -= j->input_waiting < SBX_WRITE_MAX ? j->input_waiting
							     : SBX_WRITE_MAX;
	if (err && !j->input_error)
		j->input_error = err == -EPIPE || err == -EFBIG ? err : -EIO;
	sbx_job_news(j);
	sbx_job_unref(j);
}

static void job_send_input(struct sbx_job *j, const void *data, size_t len)
{
	struct sbx_buf *b = sbx_remote_begin(j->r, SBX_OP_STDIN, 2);

	sbx_put_u64(b, j->number);
	sbx_put_bin(b, data, len);
	/* counted by the piece, so that the answer need not be told how much */
	j->input_waiting += SBX_WRITE_MAX;
	sbx_job_ref(j);
	sbx_remote_submit(j->r, on_input_done, NULL, j);
}

int sbx_job_can_write(const struct sbx_job *j)
{
	if (!j->r || j->state == SBX_JOB_ENDED)
		return -EPIPE;
	if (j->input_error)
		return j->input_error;
	return j->input_waiting + SBX_WRITE_MAX <= INPUT_MAX ? 0 : -EAGAIN;
}

long sbx_job_write(struct sbx_job *j, const void *data, size_t len)
{
	const uint8_t *p = data;
	size_t done = 0;

	int r = sbx_job_can_write(j);

	/* (its end is told also where not all of it was taken) */
	if (r == -EPIPE || (r < 0 && len))
		return r;
	if (!len) {
		job_send_input(j, NULL, 0);
		if (!j->tty) /* there it is but a character */
			j->input_error = -EPIPE;
		return 0;
	}
	while (done < len && j->input_waiting + SBX_WRITE_MAX <= INPUT_MAX) {
		size_t n = len - done;

		if (n > SBX_WRITE_MAX)
			n = SBX_WRITE_MAX;
		job_send_input(j, p + done, n);
		done += n;
	}
	return done ? (long)done : -EAGAIN;
}

/* ---- orders ---- */

static int job_tell(struct sbx_job *j, uint32_t op, size_t nr,
		    const uint64_t *numbers)
{
	if (!j->r || j->state == SBX_JOB_ENDED)
		return -ESRCH;
	sbx_job_order(j, op, nr, numbers);
	return 0;
}

int sbx_job_hangup(struct sbx_job *j)
{
	return job_tell(j, SBX_OP_HANGUP, 0, NULL);
}

int sbx_job_signal(struct sbx_job *j, int signo)
{
	const struct sbx_remote_info *info =
		j->r ? sbx_remote_info(j->r) : NULL;

	if (info && info->runs && j->state == SBX_JOB_RUNNING)
		return -EOPNOTSUPP;
	return job_tell(j, SBX_OP_SIGNAL, 1, (uint64_t[]){(uint64_t)signo});
}

int sbx_job_resize(struct sbx_job *j, unsigned int cols, unsigned int rows)
{
	return job_tell(j, SBX_OP_RESIZE, 2, (uint64_t[]){cols, rows});
}

int sbx_job_close_output(struct sbx_job *j, unsigned int stream)
{
	return job_tell(j, SBX_OP_CLOSE_OUTPUT, 1, (uint64_t[]){stream});
}
