/*
 * Code contexts, of images that have an interpreter for them (Jupyter), as
 * files in each sandbox's folder:
 *
 *	contexts/new		makes one of a language
 *	contexts/ID/exec	runs code in it, and reads as what that printed
 *	contexts/ID/ctl		"interrupt" ends what it runs
 *	contexts/ID/info.json	what execd says of it
 *
 * An execd without an interpreter never answers who wants a context.  So it
 * is first told to run nothing in one that does not exist, which it refuses
 * at once and in two ways.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/cleanup.h"
#include "client/json.h"
#include "client/limits.h"
#include "client/own.h"
#include "client/svc_opensandbox.h"
#include "client/svc_opensandbox_text.h"

#define CONTEXT	  "/code/contexts/%s"
#define WORKSPACE "/workspace"
/* An interpreter takes seconds to start. */
#define MAKE_MS 60000
/* Code runs as long as it runs, but not for ever with somebody waiting. */
#define RUN_MS 3600000

/* The id in contexts/ID/...; in URLs it needs no encoding. */
static bool id_of(const struct sbx_work *w, char id[129])
{
	const char *at = strchr(w->call->path, '/') + 1;
	size_t len = strcspn(at, "/");

	if (len > 128)
		return false;
	memcpy(id, at, len);
	id[len] = '\0';
	return sbx_is_id(id);
}

static bool is_file(const struct sbx_work *w, const char *name)
{
	return !strcmp(strrchr(w->call->path, '/') + 1, name);
}

static void one_ask(struct sbx_work *w, const char *method, sbx_answer_fn *fn)
{
	char id[129];

	if (!id_of(w, id))
		osb_give_missing(w);
	else
		osb_errand_start(w, &(struct osb_errand){.method = method,
							 .path = CONTEXT,
							 .name = id,
							 .is_safe = true,
							 .fn = fn});
}

/* What code that ran has to say, to be freed; NULL: *e says why there is
 * nothing. */
static char *output_of(const struct sbx_work *w,
		       const struct sbx_answer *answer, size_t *ret_len,
		       struct sbx_error *e)
{
	struct sbx_buf out;
	char *text = NULL;
	size_t len;

	*e = answer->error;
	sbx_buf_init(&out, SBX_HTTP_MAX_BODY);
	if (!e->err)
		sbx_osb_code_output(&out, answer->body, answer->len,
				    w->rest->url, e);
	len = sbx_buf_len(&out);
	if (!e->err && !(text = malloc(len + 1)))
		sbx_error_set(e, -ENOMEM, "out of memory");
	if (text && len)
		memcpy(text, sbx_buf_at(&out), len);
	sbx_buf_release(&out);
	*ret_len = len;
	return text;
}

/* ---- making one ---- */

static void on_made(struct sbx_work *w, const struct sbx_answer *answer)
{
	SBX_JSON json_t *made = sbx_json_parse(answer->body, answer->len);
	const char *id = sbx_json_str(made, "id");
	struct sbx_error e = answer->error;

	if (!e.err && !sbx_is_id(id))
		sbx_rest_wonder(w->rest, &e, "no context in it");
	if (e.err)
		sbx_work_done(w, &e);
	else
		sbx_work_give_line(w, id);
}

static void make(struct sbx_work *w)
{
	struct sbx_error e;
	char *body = NULL;

	if (sbx_osb_context_body(&body, w->call->input, w->call->input_len,
				 WORKSPACE, &e) < 0)
		sbx_work_done(w, &e);
	else
		osb_errand_start(w,
				 &(struct osb_errand){.method = "POST",
						      .path = "/code/context",
						      .longest_ms = MAKE_MS,
						      .body = body,
						      .fn = on_made});
}

static void on_probed(struct sbx_work *w, const struct sbx_answer *answer)
{
	struct sbx_error e;
	size_t len;
	SBX_FREE char *nothing = output_of(w, answer, &len, &e);

	if (nothing || e.err == -ENOENT ||
	    strcasestr(e.text, "context not found")) {
		make(w);
		return;
	}
	if (e.status == 500)
		sbx_error_set(&e, -EOPNOTSUPP,
			      "contexts: the sandbox's image has no "
			      "interpreter for them");
	sbx_work_done(w, &e);
}

static void new_write(struct sbx_work *w)
{
	SBX_FREE char *wish = NULL;
	SBX_JSON json_t *obj = NULL;
	char *body = NULL;
	struct sbx_error e;

	if (sbx_osb_context_body(&wish, w->call->input, w->call->input_len,
				 WORKSPACE, &e) < 0) {
		sbx_work_done(w, &e);
		return;
	}
	obj = sbx_json_parse(wish, strlen(wish));
	if (sbx_osb_code_body(&body, "none", sbx_json_str(obj, "language"), "",
			      0, &e) < 0)
		sbx_work_done(w, &e);
	else
		osb_errand_start(w, &(struct osb_errand){.method = "POST",
							 .path = "/code",
							 .is_safe = true,
							 .body = body,
							 .fn = on_probed});
}

/* ---- running code ---- */

static void on_ran(struct sbx_work *w, const struct sbx_answer *answer)
{
	struct sbx_error e;
	size_t len;
	char *text = output_of(w, answer, &len, &e);

	if (!text) {
		if (strstr(e.text, "session is busy"))
			e.err = -EBUSY;
		sbx_work_done(w, &e);
		return;
	}
	w->call->data = (uint8_t *)text;
	w->call->len = len;
	sbx_work_done(w, NULL);
}

/* Code goes with its language, or it is taken for a shell's. */
static void on_found(struct sbx_work *w, const struct sbx_answer *answer)
{
	const char *language = sbx_json_str(answer->json, "language");
	struct sbx_error e = answer->error;
	char *body = NULL;
	char id[129];

	if (!e.err && (!language || !*language))
		sbx_rest_wonder(w->rest, &e, "a context without a language");
	if (!e.err && id_of(w, id))
		sbx_osb_code_body(&body, id, language, w->call->input,
				  w->call->input_len, &e);
	if (e.err)
		sbx_work_done(w, &e);
	else
		osb_errand_start(w, &(struct osb_errand){.method = "POST",
							 .path = "/code",
							 .longest_ms = RUN_MS,
							 .body = body,
							 .fn = on_ran});
}

static void ctl_write(struct sbx_work *w)
{
	const char *text = w->call->input;
	size_t len = strcspn(text, "\r\n");
	struct sbx_error e;
	char *query = NULL;
	char id[129];

	if (len != 9 || strncmp(text, "interrupt", len) != 0) {
		sbx_error_set(&e, -EINVAL, "ctl: \"interrupt\" is wanted");
		sbx_work_done(w, &e);
	} else if (!id_of(w, id)) {
		osb_give_missing(w);
	} else if (asprintf(&query, "id=%s", id) < 0) {
		sbx_work_no_memory(w);
	} else {
		osb_errand_start(w, &(struct osb_errand){.method = "DELETE",
							 .path = "/code",
							 .is_safe = true,
							 .query = query,
							 .fn = osb_give_done});
	}
}

void osb_contexts_write(struct sbx_work *w)
{
	if (!strcmp(w->call->path, "contexts/new"))
		new_write(w);
	else if (is_file(w, "ctl"))
		ctl_write(w);
	else
		one_ask(w, "GET", on_found);
}

/* ---- looking ---- */

static void on_info(struct sbx_work *w, const struct sbx_answer *answer)
{
	struct sbx_error e = answer->error;

	if (!e.err && !json_is_object(answer->json))
		sbx_rest_wonder(w->rest, &e, "no context in it");
	if (e.err)
		sbx_work_done(w, &e);
	else
		sbx_work_give_json(w, answer->json);
}

void osb_contexts_read(struct sbx_work *w)
{
	if (is_file(w, "info.json"))
		one_ask(w, "GET", on_info);
	else
		sbx_work_done(w, NULL); /* nothing was asked of it */
}

/* Some are told twice. */
static void add_ids(struct sbx_work *w, const json_t *list)
{
	SBX_JSON json_t *seen = json_object();
	const char *id;
	size_t i;

	for (i = 0; i < json_array_size(list); i++) {
		id = sbx_json_str(json_array_get(list, i), "id");
		if (!sbx_is_id(id) || json_object_get(seen, id) ||
		    w->call->nr_files >= SBX_OWN_MAX_NAMES)
			continue;
		json_object_set_new(seen, id, json_true());
		osb_add_name(w, id);
	}
}

static void on_list(struct sbx_work *w, const struct sbx_answer *answer)
{
	struct sbx_error e = answer->error;

	if (!e.err && !json_is_array(answer->json))
		sbx_rest_wonder(w->rest, &e, "no list in it");
	if (e.err) {
		sbx_work_done(w, &e);
	} else if (osb_make_names(w, json_array_size(answer->json))) {
		add_ids(w, answer->json);
		sbx_work_done(w, NULL);
	}
}

void osb_contexts_list(struct sbx_work *w)
{
	osb_errand_start(w, &(struct osb_errand){.method = "GET",
						 .path = "/code/contexts",
						 .is_safe = true,
						 .fn = on_list});
}

void osb_contexts_remove(struct sbx_work *w)
{
	one_ask(w, "DELETE", osb_give_done);
}
