#include "client/svc_computesdk_json.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/cleanup.h"
#include "client/json.h"
#include "client/limits.h"

#define MAX_ID	128
#define MAX_URL 1024

static bool is_word(const char *id, const char *more)
{
	size_t i;

	if (!id || !isalnum((unsigned char)id[0]))
		return false;
	for (i = 0; id[i]; i++)
		if (i >= MAX_ID ||
		    (!isalnum((unsigned char)id[i]) && !strchr(more, id[i])))
			return false;
	return true;
}

bool sbx_csdk_id_is_valid(const char *id)
{
	return is_word(id, "._-");
}

bool sbx_csdk_thing_is_valid(const char *id)
{
	return is_word(id, "._-:");
}

const json_t *sbx_csdk_data(const json_t *obj)
{
	const json_t *data = json_object_get(obj, "data");

	return json_is_object(data) || json_is_array(data) ? data : obj;
}

/* ---- a sandbox ---- */

void sbx_csdk_place_release(struct sbx_csdk_place *p)
{
	free(p->url);
	sbx_secret_free(p->token);
	memset(p, 0, sizeof(*p));
}

/* "http(s)://host[:port][/path]", and nothing that would make it another. */
static bool address_is_valid(const char *url)
{
	const char *host = NULL;
	size_t i;

	if (url && !strncmp(url, "https://", 8))
		host = url + 8;
	else if (url && !strncmp(url, "http://", 7))
		host = url + 7;
	if (!host || strlen(url) > MAX_URL || strstr(host, "..") ||
	    strstr(host, "//") || host[0] == '/' || host[0] == ':')
		return false;
	for (i = 0; host[i]; i++)
		if (!isalnum((unsigned char)host[i]) &&
		    !strchr("-._~:/[]", host[i]))
			return false;
	return i > 0;
}

static int token_from_text(struct sbx_secret **ret, const char *text)
{
	size_t i;

	*ret = NULL;
	if (!text || !*text)
		return 0;
	for (i = 0; text[i]; i++)
		if (text[i] <= 0x20 || text[i] > 0x7e || i >= SBX_MAX_SECRET)
			return -EPROTO;
	*ret = sbx_secret_new(text, i);
	return *ret ? 0 : -ENOMEM;
}

static int place_from_json(struct sbx_csdk_place *ret, const json_t *data,
			   const char *gateway)
{
	const char *url = sbx_json_str(data, "url");
	size_t len;
	int r;

	if (!address_is_valid(url) ||
	    (!strncmp(gateway, "https:", 6) && strncmp(url, "https:", 6) != 0))
		return -EPROTO;
	r = token_from_text(&ret->token, sbx_json_str(data, "token"));
	if (r == 0)
		r = sbx_dup_text(&ret->url, url);
	if (r < 0) {
		sbx_csdk_place_release(ret);
		return r;
	}
	len = strlen(ret->url);
	if (ret->url[len - 1] == '/')
		ret->url[len - 1] = '\0';
	return 0;
}

/* The answer without what opens the sandbox to whoever reads it. */
static char *info_text(const json_t *data)
{
	SBX_JSON json_t *copy = json_deep_copy(data);

	if (!copy)
		return NULL;
	json_object_del(copy, "token");
	return sbx_json_text(copy, true);
}

bool sbx_csdk_is_creating(const json_t *data)
{
	const char *status = sbx_json_str(data, "status");

	return status && !strcmp(status, "creating");
}

static const char *name_of(const json_t *data)
{
	const char *name =
		sbx_json_str(sbx_json_object(data, "metadata"), "name");

	if (!name)
		name = sbx_json_str(data, "name");
	/* those that we make up are of no use to anybody */
	if (!sbx_is_file_name(name) ||
	    !strncmp(name, SBX_CSDK_MADE_UP, strlen(SBX_CSDK_MADE_UP)))
		return NULL;
	return name;
}

static int sandbox_fill(struct sbx_sandbox *s, const json_t *data,
			const char *id, const char *url)
{
	int r = sbx_dup_text(&s->id, id);

	s->state = sbx_csdk_is_creating(data) ? SBX_STATE_STARTING
					      : SBX_STATE_RUNNING;
	if (r == 0)
		r = sbx_dup_text(&s->name, name_of(data));
	if (r == 0)
		r = sbx_dup_text(&s->url, url);
	if (r == 0 && sbx_csdk_port_url(url, s->any_port) == -ENOMEM)
		r = -ENOMEM;
	s->created_ms = sbx_time_from_text(sbx_json_str(data, "created_at"));
	s->info = info_text(data);
	return s->info ? r : -ENOMEM;
}

int sbx_csdk_sandbox_from_json(struct sbx_sandbox *ret,
			       struct sbx_csdk_place *ret_place,
			       const json_t *data, const char *id,
			       const char *url)
{
	const char *told = sbx_json_str(data, "sandboxId");
	struct sbx_csdk_place place = {0};
	struct sbx_sandbox s = {0};
	int r;

	if ((told && id && strcmp(told, id) != 0) ||
	    !sbx_csdk_id_is_valid(told ? told : id))
		return -EPROTO;
	r = place_from_json(&place, data, url);
	if (r < 0)
		return r;
	r = sandbox_fill(&s, data, told ? told : id, place.url);
	if (r < 0) {
		sbx_csdk_place_release(&place);
		sbx_sandbox_release(&s);
		return r;
	}
	*ret = s;
	*ret_place = place;
	return 0;
}

int sbx_csdk_port_url(const char *url, char *ret[2])
{
	const char *host = strstr(url, "://"), *dot;

	if (!host)
		return -ENOENT;
	host += 3;
	dot = host + strcspn(host, "./:");
	/* an address of numbers, or a name without a domain, has no room */
	if (*dot != '.' || host == dot ||
	    strspn(host, "0123456789.") == strcspn(host, "/:"))
		return -ENOENT;
	if (asprintf(&ret[0], "%.*s-", (int)(dot - url), url) < 0)
		ret[0] = NULL;
	ret[1] = strndup(dot, strcspn(dot, "/"));
	if (ret[0] && ret[1])
		return 0;
	free(ret[0]);
	free(ret[1]);
	ret[0] = ret[1] = NULL;
	return -ENOMEM;
}

char *sbx_csdk_find_body(const char *namespace, const char *name)
{
	SBX_JSON json_t *obj =
		json_pack("{s:s,s:s}", "namespace", namespace, "name", name);

	return obj ? sbx_json_text(obj, false) : NULL;
}

/* ---- errors ---- */

/* The words of an error, in one of its shapes; NULL if it is none. */
static const char *error_words(const json_t *obj)
{
	const json_t *error = json_object_get(obj, "error");
	const char *text = json_string_value(error);

	if (!text)
		text = sbx_json_str(error, "message");
	return text ? text : sbx_json_str(obj, "message");
}

int sbx_csdk_gateway_error(struct sbx_error *e, int status, const char *body,
			   size_t len, const char *what)
{
	SBX_JSON json_t *obj = sbx_json_parse(body, len);
	const char *text = error_words(obj);
	enum sbx_retry retry;
	int err = sbx_error_from_http(e, status, what);

	retry = e->retry;
	if (status == 401)
		sbx_error_set(e, err,
			      "%s refused the key; check that COMPUTESDK_API"
			      "_KEY is set to the right one",
			      what);
	else if (status == 403)
		sbx_error_set(e, err,
			      "%s does not let this key use that provider; "
			      "check COMPUTESDK_PROVIDER and its credentials "
			      "(%.80s)",
			      what, text ? text : "forbidden");
	else if (text)
		sbx_error_set(e, err, "%s: %.150s", what, text);
	else if (status == 404 && len && body[0] == '<')
		err = sbx_error_wonder(e, what, SBX_CSDK_PRODUCT,
				       "page not found");
	else
		return err;
	e->retry = retry;
	e->status = status;
	return err;
}

/* What the system says through the daemon; the one nearest to the end of its
 * text is the reason. */
static const struct {
	const char *words;
	int err;
} sentences[] = {
	{"no such file or directory", -ENOENT},
	{"not found", -ENOENT},
	{"permission denied", -EACCES},
	{"operation not permitted", -EPERM},
	{"file exists", -EEXIST},
	{"not a directory", -ENOTDIR},
	{"is a directory", -EISDIR},
	{"cannot read directory", -EISDIR},
	{"directory not empty", -ENOTEMPTY},
	{"no space left", -ENOSPC},
	{"read-only file system", -EROFS},
	{"file name too long", -ENAMETOOLONG},
	{"too many levels", -ELOOP},
	{"path outside base directory", -EACCES},
	{"argument list too long", -E2BIG},
	{"text file busy", -ETXTBSY},
	{"cross-device", -EXDEV},
};

static int error_from_words(const char *text)
{
	const char *at, *best = NULL;
	size_t i;
	int err = 0;

	for (i = 0; i < sizeof(sentences) / sizeof(sentences[0]); i++) {
		const char *from = text, *last = NULL;

		while ((at = strcasestr(from, sentences[i].words))) {
			last = at;
			from = at + 1;
		}
		if (last && (!best || last > best)) {
			best = last;
			err = sentences[i].err;
		}
	}
	return err;
}

int sbx_csdk_daemon_error(struct sbx_error *e, int status, const char *body,
			  size_t len, const char *what)
{
	SBX_JSON json_t *obj = sbx_json_parse(body, len);
	const char *text = error_words(obj);
	int err = sbx_error_from_http(e, status, what), known;
	enum sbx_retry retry = e->retry;

	if (sbx_error_is_no_route(status, body, len)) {
		sbx_error_set(e, -EOPNOTSUPP,
			      "the daemon at %.80s is of a generation that "
			      "cannot do this",
			      what);
		e->status = status;
		return e->err;
	}
	if (status == 401) {
		sbx_error_set(e, -EACCES, "%s refused the token", what);
		e->retry = SBX_RETRY_TOKEN;
		e->status = status;
		return e->err;
	}
	if (!text)
		return err;
	known = status == 403 ? 0 : error_from_words(text);
	sbx_error_set(e, known ? known : err, "%s: %.150s", what, text);
	e->retry = known ? SBX_RETRY_NEVER : retry;
	e->status = status;
	return e->err;
}

bool sbx_csdk_is_refusal(int status)
{
	return status >= 400 && status <= 501 && status != 401 &&
	       status != 408 && status != 425 && status != 429;
}

/* ---- commands ---- */

char *sbx_csdk_command_body(const char *text)
{
	SBX_JSON json_t *obj = json_pack("{s:s}", "command", text);

	return obj ? sbx_json_text(obj, false) : NULL;
}

char *sbx_csdk_stream_body(const char *text)
{
	SBX_JSON json_t *obj =
		json_pack("{s:s,s:b}", "command", text, "stream", 1);

	return obj ? sbx_json_text(obj, false) : NULL;
}

const char *sbx_csdk_command_output(const json_t *obj)
{
	const json_t *data = sbx_csdk_data(obj);
	const char *text = sbx_json_str(data, "stdout");

	if (!json_is_number(json_object_get(data, "exit_code")))
		return NULL;
	return text ? text : sbx_json_str(data, "output");
}

/* ---- files ---- */

/* Whether two keys are the same but for capitals and '_'. */
static bool key_is(const char *key, const char *want)
{
	for (; *key || *want; key++, want++) {
		while (*key == '_')
			key++;
		while (*want == '_')
			want++;
		if (tolower((unsigned char)*key) !=
		    tolower((unsigned char)*want))
			return false;
		if (!*key)
			return true;
	}
	return true;
}

const json_t *sbx_csdk_member(const json_t *obj, const char *want)
{
	const char *key;
	json_t *v;

	json_object_foreach((json_t *)(uintptr_t)obj, key,
			    v) if (key_is(key, want)) return v;
	return NULL;
}

static uint64_t size_of(const json_t *v)
{
	double d = json_number_value(v);

	return d > 0 && d < 9e18 ? (uint64_t)d : 0;
}

static int file_from_json(struct sbx_file *ret, const json_t *obj)
{
	const char *name = json_string_value(sbx_csdk_member(obj, "name"));
	const json_t *time = sbx_csdk_member(obj, "modified_at");

	if (!sbx_is_file_name(name))
		return -EPROTO;
	if (!time)
		time = sbx_csdk_member(obj, "ModTime");
	ret->size = size_of(sbx_csdk_member(obj, "size"));
	ret->is_dir = json_is_true(sbx_csdk_member(obj, "is_dir"));
	ret->mtime_s = sbx_time_from_text(json_string_value(time)) / 1000;
	return sbx_dup_text(&ret->name, name);
}

int sbx_csdk_files_from_json(struct sbx_file **ret, size_t *ret_nr,
			     const json_t *obj, size_t max)
{
	const json_t *list = json_object_get(sbx_csdk_data(obj), "files");

	if (!json_is_array(list) && !json_is_null(list))
		return -EPROTO;
	return sbx_files_from_json(ret, ret_nr, list, max, file_from_json);
}

int sbx_csdk_file_from_json(uint8_t **ret, size_t *ret_len, const json_t *obj,
			    size_t max)
{
	const json_t *data = sbx_csdk_data(obj);
	const json_t *file = sbx_csdk_member(data, "file");
	const json_t *text = json_object_get(data, "content");
	size_t len = json_string_length(text);

	if (!json_is_object(file) || (text && !json_is_string(text)))
		return -EPROTO;
	if (len > max)
		return -EFBIG;
	/* several bytes may have become one sign of as many */
	if (len != size_of(sbx_csdk_member(file, "size")) ||
	    (len && memmem(json_string_value(text), len, "\xef\xbf\xbd", 3)))
		return -EILSEQ;
	*ret = malloc(len + 1);
	if (!*ret)
		return -ENOMEM;
	if (len)
		memcpy(*ret, json_string_value(text), len);
	*ret_len = len;
	return 0;
}

static char *encode(const char *text, const char *plain)
{
	char *to = malloc(3 * strlen(text) + 1), *p = to;

	for (; to && *text; text++) {
		if (isalnum((unsigned char)*text) || strchr(plain, *text))
			*p++ = *text;
		else
			p += sprintf(p, "%%%02X", (unsigned char)*text);
	}
	if (to)
		*p = '\0';
	return to;
}

char *sbx_csdk_encode_path(const char *path)
{
	return encode(path, "-_.!~*'()/");
}

char *sbx_csdk_encode_query(const char *text)
{
	return encode(text, "-_.~");
}
