/*
 * The Fs calls.  A request is copied into a job, carried out by one of
 * libuv's workers (several at once, so in no order, as in the real service)
 * and answered on the loop thread, if the connection is still there.
 */
#include "tests/agent/files.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/agent/filework.h"

struct job {
	uv_work_t work;
	struct agent *agent;
	struct agent_sandbox *sandbox;
	uint64_t conn;
	uint32_t channel, id;
	struct agent_filework w;
};

static void job_free(struct job *job)
{
	agent_sandbox_unref(job->sandbox);
	agent_filework_release(&job->w);
	free(job);
}

static void job_run(uv_work_t *work)
{
	struct job *job = work->data;

	agent_filework_do(&job->w);
}

static void job_answer(struct job *job, struct agent_conn *conn)
{
	struct agent_filework *w = &job->w;

	if (*w->error)
		agent_socket_error(conn, job->channel, job->id, "fs_error",
				   w->error);
	else if (w->type == MSG_FS_WRITE || w->type == MSG_FS_REMOVE)
		agent_tx_message(conn, MSG_ACK, job->channel, job->id, NULL, 0);
	else
		agent_tx_message(conn, w->type, job->channel, job->id,
				 w->out.data, w->out.size);
}

static void job_done(uv_work_t *work, int status)
{
	struct job *job = work->data;
	struct agent_conn *conn = agent_conn_by_nr(job->agent, job->conn);

	if (conn) {
		conn->nr_jobs--;
		if (!job->w.never)
			job_answer(job, conn);
		/* the next turn may go on reading */
		agent_conn_wake_at(conn, uv_hrtime());
	}
	job_free(job);
}

static char *bytes_copy(const struct agent_bytes *b)
{
	char *copy = malloc(b->len + 1);

	if (copy && b->len)
		memcpy(copy, b->p, b->len);
	return copy;
}

/* NULL, or what is wrong with the payload. */
static const char *job_read(struct job *job, const struct agent_envelope *e)
{
	struct agent_bytes path = {0}, content = {0};
	struct agent_filework *w = &job->w;
	const char *wrong;
	struct agent_map m;
	uint64_t mode = 0;

	agent_map_open(&m, e->payload, e->len);
	agent_map_string(&m, "path", &path);
	if (e->type == MSG_FS_WRITE) {
		agent_map_string(&m, "content", &content);
		agent_map_uint(&m, "mode", &mode); /* ignored */
	}
	if (e->type == MSG_FS_REMOVE)
		agent_map_bool(&m, "recursive", &w->recursive);
	wrong = m.error;
	w->path = bytes_copy(&path);
	w->path_len = path.len;
	w->content = bytes_copy(&content);
	w->content_len = content.len;
	if (!wrong && (!w->path || !w->content))
		wrong = "cannot allocate memory";
	agent_map_close(&m);
	return wrong;
}

void agent_files_request(struct agent_conn *conn,
			 const struct agent_envelope *e)
{
	struct job *job = calloc(1, sizeof(*job));
	const char *wrong = "cannot allocate memory";

	if (job) {
		job->work.data = job;
		job->agent = conn->agent;
		job->sandbox = agent_sandbox_ref(conn->sandbox);
		job->conn = conn->nr;
		job->channel = e->channel;
		job->id = e->id;
		job->w.agent = conn->agent;
		job->w.root_fd = conn->sandbox->workspace_fd;
		job->w.type = e->type;
		/* one byte more than can be sent is enough to know */
		job->w.max = (size_t)conn->agent->traits.message_limit + 1;
		msgpack_sbuffer_init(&job->w.out);
		wrong = job_read(job, e);
	}
	if (!wrong && uv_queue_work(&conn->agent->loop, &job->work, job_run,
				    job_done) == 0) {
		conn->nr_jobs++;
		return;
	}
	agent_socket_error(conn, e->channel, e->id, "invalid_payload",
			   wrong ? wrong : "too many requests");
	if (job)
		job_free(job);
}
