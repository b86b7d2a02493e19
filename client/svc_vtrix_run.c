/*
 * Commands, each one call of "exec".  Its output is what the news of it
 * bring: the result repeats it, but cut.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/svc_vtrix.h"

/* The executor ends it, and then answers. */
#define ANSWER_MS  10000
#define LONGEST_MS (24 * 3600 * 1000)

struct vtrix_run {
	struct vtrix_call call;
	struct sbx_run *run;
	struct sbx_rest *rest;
	struct sbx_buf out, err;
};

static void run_free(struct vtrix_run *r)
{
	sbx_buf_release(&r->out);
	sbx_buf_release(&r->err);
	free(r);
}

/* The same for one that was just started, or cancelled. */
static void run_end_later(struct vtrix_run *r, int err, const char *text)
{
	struct sbx_rest *rest = r->rest;
	struct sbx_run *run = r->run;

	run_free(r);
	sbx_error_set(&run->error, err, "%s", text);
	sbx_rest_run_end_later(rest, run);
}

static void run_finish(struct vtrix_run *r, const struct sbx_error *e,
		       bool maybe_done)
{
	struct sbx_run *run = r->run;

	run->error = *e;
	run->maybe_done = maybe_done;
	run->priv = NULL;
	run_free(r);
	run->done(run);
}

/* The bytes, of which none were consumed, leave the buffer, with a NUL behind
 * them: also of one that is full. */
static int take(struct sbx_buf *b, char **ret, size_t *ret_len)
{
	size_t len = sbx_buf_len(b);

	b->err = 0;
	b->max++;
	if (sbx_buf_add(b, "", 1) < 0)
		return -ENOMEM;
	*ret = (char *)b->data;
	*ret_len = len;
	*b = (struct sbx_buf){0};
	return 0;
}

static void on_note(struct vtrix_call *call, const struct sbx_vtrix_msg *m,
		    enum sbx_vtrix_ends ends)
{
	struct vtrix_run *r = call->arg;
	struct sbx_error e;

	if (!strcmp(m->method, "exec.stderr"))
		/* of words for people the beginning is enough */
		sbx_vtrix_add_chunk(&r->err, m->data, ends);
	if (strcmp(m->method, "exec.stdout") != 0 ||
	    sbx_vtrix_add_chunk(&r->out, m->data, ends) == 0)
		return;
	sbx_error_set(&e, -EPROTO,
		      "a command in the sandbox printed more than can be kept");
	e.retry = SBX_RETRY_LATER;
	vtrix_call_cancel(call);
	run_finish(r, &e, true);
}

static void on_end(struct vtrix_call *call, const json_t *result,
		   const struct sbx_error *error, bool maybe_done)
{
	struct vtrix_run *r = call->arg;
	struct sbx_run *run = r->run;
	struct sbx_error e = *error;

	if (!e.err) {
		run->exit_code = sbx_vtrix_exit_code(result);
		maybe_done = true;
		if (run->exit_code < 0) {
			sbx_error_set(&e, -EPROTO,
				      "what came of a command in the sandbox "
				      "is missing");
			e.retry = SBX_RETRY_LATER;
		} else if (take(&r->out, &run->out, &run->out_len) < 0 ||
			   take(&r->err, &run->err, &run->err_len) < 0) {
			sbx_run_release(run);
			sbx_error_set(&e, -ENOMEM, "out of memory");
		}
	}
	run_finish(r, &e, e.err && maybe_done);
}

static unsigned int longest(const struct sbx_run *run)
{
	return run->timeout_ms && run->timeout_ms < LONGEST_MS ? run->timeout_ms
							       : LONGEST_MS;
}

static json_t *params_of(const struct sbx_run *run)
{
	json_t *params;

	/* without a limit it has one that nobody knows */
	params = json_pack("{s:s,s:i}", "command", run->command, "timeout",
			   (int)((longest(run) + 999) / 1000));
	if (params && run->input &&
	    json_object_set_new(params, "stdin_data", json_string(run->input)) <
		    0) {
		json_decref(params);
		return NULL;
	}
	return params;
}

void vtrix_run(struct sbx_service *svc, const char *id, struct sbx_run *run)
{
	struct vtrix *x = (struct vtrix *)svc;
	struct vtrix_run *r = calloc(1, sizeof(*r));

	run->error = (struct sbx_error){0};
	if (!r) {
		sbx_error_set(&run->error, -ENOMEM, "out of memory");
		sbx_rest_run_end_later(&x->rest, run);
		return;
	}
	sbx_buf_init(&r->out, VTRIX_OUTPUT_MAX);
	sbx_buf_init(&r->err, VTRIX_ERR_MAX);
	r->run = run;
	r->rest = &x->rest;
	run->priv = r;
	r->call = (struct vtrix_call){
		.method = "exec",
		.params = params_of(run),
		.timeout_ms = longest(run) + ANSWER_MS,
		.on_note = on_note,
		.on_end = on_end,
		.arg = r,
	};
	if (vtrix_call_start(x, id, &r->call) < 0)
		run_end_later(r, -ENOMEM, "out of memory");
}

/* One that blocks has no name yet by which it could be ended. */
void vtrix_run_cancel(struct sbx_service *svc, struct sbx_run *run)
{
	struct vtrix_run *r = run->priv;

	if (!r)
		return;
	vtrix_call_cancel(&r->call);
	run->maybe_done = true;
	run_end_later(r, -ECANCELED, "nobody waits for it any more");
}
