/*
 * Files by the daemon's own calls, for a sandbox in which no command can be
 * run.  They bring text only: what is none has been changed on its way, and
 * is refused.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "client/cleanup.h"
#include "client/json.h"
#include "client/svc_computesdk.h"

#define MAX_NAMES 100000

static void file_fail(struct sbx_work *w, int r)
{
	struct sbx_error e;

	if (r != -EILSEQ) {
		sbx_work_no_files(w, r);
		return;
	}
	sbx_error_set(&e, r,
		      "the daemon can bring text only, and this file is none, "
		      "or has a U+FFFD, which stands for what is none");
	sbx_work_done(w, &e);
}

/* Relative ones are below the workspace, whatever the generation; absolute
 * ones mean the sandbox's own root in some. */
static const char *path_of(const struct sbx_work *w)
{
	const char *path = w->call->path ? w->call->path : "";

	path += strspn(path, "/");
	return *path ? path : ".";
}

/* ---- a folder ---- */

static void on_files(struct sbx_work *w, const struct sbx_answer *answer)
{
	struct sbx_call *call = w->call;
	int r;

	if (answer->error.err) {
		sbx_work_done(w, &answer->error);
		return;
	}
	r = sbx_csdk_files_from_json(&call->files, &call->nr_files,
				     answer->json, MAX_NAMES);
	if (r < 0)
		sbx_work_no_files(w, r);
	else
		sbx_work_done(w, NULL);
}

static void files_ask(struct sbx_work *w)
{
	SBX_FREE char *word = sbx_csdk_encode_query(path_of(w));
	SBX_FREE char *query = NULL;

	if (!word || asprintf(&query, "path=%s", word) < 0) {
		query = NULL;
		sbx_work_no_memory(w);
		return;
	}
	csdk_work_ask(w,
		      (struct sbx_request_conf){.method = "GET",
						.path = "/files",
						.query = query,
						.repeatable = true,
						.wants_json = true},
		      on_files);
}

void csdk_files_start(struct sbx_work *w)
{
	if (csdk_work_state(w, sizeof(struct csdk_at)))
		csdk_work_place(w, files_ask);
}

/* ---- a file ---- */

static void on_file(struct sbx_work *w, const struct sbx_answer *answer)
{
	struct sbx_call *call = w->call;
	SBX_JSON json_t *obj = NULL;
	int r;

	if (answer->error.err) {
		sbx_work_done(w, &answer->error);
		return;
	}
	obj = sbx_json_parse_nul(answer->body, answer->len);
	r = sbx_csdk_file_from_json(&call->data, &call->len, obj,
				    sbx_svc_computesdk.max_file);
	if (r < 0)
		file_fail(w, r);
	else
		sbx_work_done(w, NULL);
}

static void file_ask(struct sbx_work *w)
{
	SBX_FREE char *path = sbx_csdk_encode_path(path_of(w));

	if (!path) {
		sbx_work_no_memory(w);
		return;
	}
	csdk_work_ask(w,
		      (struct sbx_request_conf){.method = "GET",
						.path = "/files/%s",
						.id = path,
						.query = "content=true",
						.repeatable = true},
		      on_file);
}

void csdk_file_start(struct sbx_work *w)
{
	if (csdk_work_state(w, sizeof(struct csdk_at)))
		csdk_work_place(w, file_ask);
}
