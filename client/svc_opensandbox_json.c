#include "client/svc_opensandbox_json.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/cleanup.h"
#include "client/json.h"
#include "client/labels.h"

#define MAX_HEADERS    16
#define MAX_HEADER     2048
#define MAX_ENDPOINT   1024
#define HTTP_NO_ANSWER 502

/* ---- a sandbox ---- */

const char *sbx_osb_state_word(const json_t *obj)
{
	const char *word =
		sbx_json_str(sbx_json_object(obj, "status"), "state");

	return word ? word : "";
}

static const struct sbx_state_word states[] = {
	{"Pending", SBX_STATE_STARTING},
	{"Running", SBX_STATE_RUNNING},
	{"Allocated", SBX_STATE_RUNNING},
	{"Pausing", SBX_STATE_PAUSED}, /* it does not answer any more */
	{"Paused", SBX_STATE_PAUSED},
	{"Resuming", SBX_STATE_STARTING},
	{"Stopping", SBX_STATE_STOPPING},
	{"Terminated", SBX_STATE_STOPPED},
	{"Failed", SBX_STATE_ERROR},
	/* a word of a later version: whatever it is, it is not usable */
	{NULL, SBX_STATE_ERROR},
};

static const char *image_of(const json_t *obj)
{
	const char *uri = sbx_json_str(sbx_json_object(obj, "image"), "uri");

	return uri ? uri : sbx_json_str(obj, "snapshotId");
}

int sbx_osb_sandbox_from_json(struct sbx_sandbox *ret, const json_t *obj,
			      const char *url)
{
	const char *id = sbx_json_str(obj, "id");
	struct sbx_sandbox s = {0};
	char name[256];
	int r;

	if (!sbx_is_id(id) || !*sbx_osb_state_word(obj))
		return -EPROTO;
	s.state = sbx_state_from_word(states, sbx_osb_state_word(obj));
	s.created_ms = sbx_time_from_text(sbx_json_str(obj, "createdAt"));
	s.expires_ms = sbx_time_from_text(sbx_json_str(obj, "expiresAt"));
	r = sbx_sandbox_texts(
		&s, obj, id,
		sbx_labels_name(sbx_json_object(obj, "metadata"), name),
		image_of(obj), url);
	if (r == 0)
		*ret = s;
	return r;
}

/* ---- errors ---- */

/* By the end of the code, which begins with the runtime's name. */
static const struct {
	const char *end;
	int err;
	enum sbx_retry retry;
} codes[] = {
	{"MISSING_API_KEY", -EACCES, SBX_RETRY_TOKEN},
	{"INVALID_API_KEY", -EACCES, SBX_RETRY_TOKEN},
	{"POD_IP_NOT_AVAILABLE", -EAGAIN, SBX_RETRY_LATER},
	{"SANDBOX_NOT_FOUND", -ENOENT, SBX_RETRY_NEVER},
	{"SNAPSHOT::NOT_FOUND", -ENOENT, SBX_RETRY_NEVER},
	{"CONTEXT_NOT_FOUND", -ENOENT, SBX_RETRY_NEVER},
	{"FILE_NOT_FOUND", -ENOENT, SBX_RETRY_NEVER},
	{"INVALID_EXPIRATION", -EOPNOTSUPP, SBX_RETRY_NEVER},
	{"ALREADY_CONNECTED", -EBUSY, SBX_RETRY_LATER},
	{"IMAGE_PULL_FAILED", -EIO, SBX_RETRY_NEVER},
	{"NOT_SUPPORTED", -EOPNOTSUPP, SBX_RETRY_NEVER},
};

/* By the end of execd's message, which is the system's own sentence. */
static const struct {
	const char *end;
	int err;
} sentences[] = {
	{"no such file or directory", -ENOENT},
	{"file not found", -ENOENT},
	{"permission denied", -EACCES},
	{"operation not permitted", -EPERM},
	{"already exists", -EEXIST},
	{"file exists", -EEXIST},
	{"not a directory", -ENOTDIR},
	{"is a directory", -EISDIR},
	{"directory not empty", -ENOTEMPTY},
	{"no space left on device", -ENOSPC},
	{"disk quota exceeded", -EDQUOT},
	{"read-only file system", -EROFS},
	{"file name too long", -ENAMETOOLONG},
	{"invalid cross-device link", -EXDEV},
	{"too many levels of symbolic links", -ELOOP},
	{"text file busy", -ETXTBSY},
	{"device or resource busy", -EBUSY},
	{"too many open files", -EMFILE},
	{"cannot allocate memory", -ENOMEM},
};

static bool ends_with(const char *text, const char *end)
{
	size_t len = strlen(text), n = strlen(end);

	return len >= n && !strcmp(text + len - n, end);
}

static void error_from_code(struct sbx_error *e, const char *code,
			    const char *text)
{
	size_t i;

	for (i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		if (!ends_with(code, codes[i].end))
			continue;
		e->err = codes[i].err;
		e->retry = codes[i].retry;
		return;
	}
	if (strcmp(code, "RUNTIME_ERROR") != 0)
		return;
	e->retry = SBX_RETRY_NEVER;
	for (i = 0; i < sizeof(sentences) / sizeof(sentences[0]); i++)
		if (ends_with(text, sentences[i].end))
			e->err = sentences[i].err;
}

/* "body.timeout: Input should be ...", of the first complaint */
static bool detail_text(const json_t *obj, char *to, size_t size)
{
	const json_t *first = json_array_get(sbx_json_array(obj, "detail"), 0);
	const json_t *loc = sbx_json_array(first, "loc");
	const char *msg = sbx_json_str(first, "msg"), *word;
	size_t i, len = 0;

	if (!msg)
		return false;
	to[0] = '\0';
	for (i = 0; i < json_array_size(loc) && i < 4 && len < size; i++) {
		word = json_string_value(json_array_get(loc, i));
		if (word)
			len += (size_t)snprintf(to + len, size - len, "%s%.30s",
						len ? "." : "", word);
	}
	if (len < size)
		snprintf(to + len, size - len, ": %.80s", msg);
	return true;
}

int sbx_osb_error_from_http(struct sbx_error *e, int status, const char *body,
			    size_t len, const char *what)
{
	SBX_JSON json_t *obj = sbx_json_parse(body, len);
	const char *code = sbx_json_str(obj, "code");
	const char *text = sbx_json_str(obj, "message");
	char detail[160];
	struct sbx_error mine;

	if (!e)
		e = &mine;
	sbx_error_from_http(e, status, what);
	if (code) {
		error_from_code(e, code, text ? text : "");
		sbx_error_reword(e, "%s: %.150s (%.60s)", what,
				 text ? text : "refused", code);
		return e->err;
	}
	if (status == 422 && detail_text(obj, detail, sizeof(detail))) {
		sbx_error_reword(e, "%s refused this: %s", what, detail);
		return e->err;
	}
	/* execd's own 401; and what gateways answer in their own words */
	if (sbx_json_str(obj, "error") || status == 401 || status == 403 ||
	    status == 429 || status >= HTTP_NO_ANSWER ||
	    sbx_error_is_no_route(status, body, len))
		return e->err;
	sbx_error_wonder(e, what, SBX_OSB_PRODUCT,
			 status == 404 ? "page not found" : "strange answer");
	e->status = status;
	return e->err;
}

/* ---- endpoints ---- */

static bool base_is_valid(const char *base)
{
	size_t i, len = strlen(base);

	if (!len || len > MAX_ENDPOINT || strstr(base, "..") ||
	    strstr(base, "//") || base[0] == '/')
		return false;
	for (i = 0; i < len; i++)
		if (!isalnum((unsigned char)base[i]) &&
		    !strchr("-._~:/[]%", base[i]))
			return false;
	return true;
}

/* What would change whom a request goes to, or where it ends. */
static bool header_is_ours(const char *name)
{
	static const char *const names[] = {
		"Host",	   "Connection", "Content-Length", "Transfer-Encoding",
		"Upgrade", "Expect",
	};
	size_t i;

	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (!strcasecmp(name, names[i]))
			return true;
	return !strncasecmp(name, "Sec-WebSocket", 13);
}

static bool header_is_valid(const char *name, const char *value)
{
	size_t i;

	if (!*name || !value || strlen(name) + strlen(value) > MAX_HEADER ||
	    strlen(name) > 60 || header_is_ours(name))
		return false;
	for (i = 0; name[i]; i++)
		if (!isalnum((unsigned char)name[i]) && name[i] != '-')
			return false;
	for (i = 0; value[i]; i++)
		if (value[i] < 0x20 || value[i] > 0x7e)
			return false;
	return i > 0;
}

void sbx_osb_endpoint_release(struct sbx_osb_endpoint *e)
{
	size_t i;

	for (i = 0; e->headers && e->headers[i]; i++)
		sbx_wipe(e->headers[i]);
	free(e->headers);
	free(e->base);
	memset(e, 0, sizeof(*e));
}

static int endpoint_headers(struct sbx_osb_endpoint *e, const json_t *headers)
{
	const char *name;
	json_t *v;
	size_t n = 0;

	if (json_object_size(headers) > MAX_HEADERS)
		return -EPROTO;
	e->headers = calloc(json_object_size(headers) + 1, sizeof(char *));
	if (!e->headers)
		return -ENOMEM;
	json_object_foreach((json_t *)(uintptr_t)headers, name, v)
	{
		if (!header_is_valid(name, json_string_value(v)))
			return -EPROTO;
		if (asprintf(&e->headers[n], "%s: %s", name,
			     json_string_value(v)) < 0) {
			e->headers[n] = NULL;
			return -ENOMEM;
		}
		n++;
	}
	return 0;
}

int sbx_osb_endpoint_from_json(struct sbx_osb_endpoint *ret, const json_t *obj)
{
	const char *base = sbx_json_str(obj, "endpoint");
	struct sbx_osb_endpoint e = {0};
	size_t len;
	int r;

	if (!base || !base_is_valid(base))
		return -EPROTO;
	r = sbx_dup_text(&e.base, base);
	if (r == 0)
		r = endpoint_headers(&e, sbx_json_object(obj, "headers"));
	if (r < 0) {
		sbx_osb_endpoint_release(&e);
		return r;
	}
	len = strlen(e.base);
	if (e.base[len - 1] == '/')
		e.base[len - 1] = '\0';
	*ret = e;
	return 0;
}

/* ---- files ---- */

static int file_from_json(struct sbx_file *ret, const json_t *obj)
{
	const char *path = sbx_json_str(obj, "path");
	const char *type = sbx_json_str(obj, "type");
	const char *slash = path ? strrchr(path, '/') : NULL;
	int64_t size = sbx_json_int(obj, "size", 0);
	const char *time = sbx_json_str(obj, "modified_at");

	if (!slash || !sbx_is_file_name(slash + 1) || !type ||
	    (strcmp(type, "file") != 0 && strcmp(type, "directory") != 0))
		return -EPROTO;
	ret->is_dir = *type == 'd';
	ret->size = size > 0 ? (uint64_t)size : 0;
	ret->mtime_s = sbx_time_from_text(time) / 1000;
	return sbx_dup_text(&ret->name, slash + 1);
}

int sbx_osb_files_from_json(struct sbx_file **ret, size_t *ret_nr,
			    const json_t *list, size_t max)
{
	return json_is_array(list) ? sbx_files_from_json(ret, ret_nr, list, max,
							 file_from_json)
				   : -EPROTO;
}
