/*
 * Files by execd's own calls, for a sandbox in which no command can be run
 * that could be spoken with: execd starts those with bash only.  For reading:
 * its other calls remove whole trees and follow links.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/cleanup.h"
#include "client/parse.h"
#include "client/svc_opensandbox.h"

#define WORKSPACE "/workspace"
#define MAX_NAMES 100000

/* "path=..." of what is asked for.  execd puts what its variables hold in place
 * of "$NAME", and there is no way to tell it not to. */
static int query_of(const struct sbx_work *w, char **ret)
{
	const char *path = w->call->path ? w->call->path : "";
	SBX_FREE char *whole = NULL, *word = NULL;

	*ret = NULL;
	path += strspn(path, "/");
	if (strchr(path, '$'))
		return -EINVAL;
	if (asprintf(&whole, WORKSPACE "%s%s", *path ? "/" : "", path) < 0)
		whole = NULL;
	word = whole ? sbx_percent_encode(whole) : NULL;
	if (!word || asprintf(ret, "path=%s", word) < 0) {
		*ret = NULL;
		return -ENOMEM;
	}
	return 0;
}

static void files_ask(struct sbx_work *w, const char *path, size_t max_body,
		      sbx_answer_fn *fn)
{
	struct osb_errand what = {.method = "GET",
				  .path = path,
				  .is_safe = true,
				  .max_body = max_body,
				  .fn = fn};
	struct sbx_error e;
	int r = query_of(w, &what.query);

	if (r == 0) {
		osb_errand_start(w, &what);
	} else if (r == -ENOMEM) {
		sbx_work_no_memory(w);
	} else {
		sbx_error_set(&e, -EOPNOTSUPP,
			      "execd takes a $ in a name for a variable of its "
			      "own");
		sbx_work_done(w, &e);
	}
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
	r = sbx_osb_files_from_json(&call->files, &call->nr_files, answer->json,
				    MAX_NAMES);
	if (r < 0)
		sbx_work_no_files(w, r);
	else
		sbx_work_done(w, NULL);
}

void osb_files_start(struct sbx_work *w)
{
	files_ask(w, OSB_LIST_FILES, 0, on_files);
}

/* ---- a file ---- */

static void on_file(struct sbx_work *w, const struct sbx_answer *answer)
{
	struct sbx_call *call = w->call;

	if (answer->error.err) {
		sbx_work_done(w, &answer->error);
		return;
	}
	call->data = malloc(answer->len + 1);
	if (!call->data) {
		sbx_work_no_memory(w);
		return;
	}
	memcpy(call->data, answer->body, answer->len);
	call->len = answer->len;
	sbx_work_done(w, NULL);
}

void osb_file_start(struct sbx_work *w)
{
	files_ask(w, "/files/download", sbx_svc_opensandbox.max_file, on_file);
}
