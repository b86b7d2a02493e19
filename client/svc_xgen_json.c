#include "client/svc_xgen_json.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/json.h"
#include "client/limits.h"
#include "client/parse.h"

/* ---- a sandbox ---- */

static const struct sbx_state_word states[] = {
	{"starting", SBX_STATE_STARTING},
	{"running", SBX_STATE_RUNNING},
	{"stopping", SBX_STATE_STOPPING},
	{"stopped", SBX_STATE_STOPPED},
	{"error", SBX_STATE_ERROR},
	/* a word of a later version: whatever it is, it is not usable */
	{NULL, SBX_STATE_ERROR},
};

static int64_t time_member(const json_t *obj, const char *ms_name,
			   const char *text_name)
{
	int64_t ms = sbx_json_int(obj, ms_name, 0);

	if (!ms)
		ms = sbx_time_from_text(sbx_json_str(obj, text_name));
	return ms > 0 ? ms : 0;
}

/* It is shown to people, one in a line. */
static bool url_is_plain(const char *url)
{
	for (; *url; url++)
		if (*url <= 0x20 || *url >= 0x7f)
			return false;
	return true;
}

/* preview_urls: { "3000": "http://..." } */
static int ports_from_json(struct sbx_sandbox *s, const json_t *obj)
{
	const json_t *urls = sbx_json_object(obj, "preview_urls");
	const char *key;
	json_t *value;
	size_t max = json_object_size(urls);
	unsigned long port;
	char *end;

	if (!max)
		return 0;
	if (max > SBX_MAX_PORTS)
		max = SBX_MAX_PORTS;
	s->ports = calloc(max, sizeof(*s->ports));
	if (!s->ports)
		return -ENOMEM;
	json_object_foreach((json_t *)(uintptr_t)urls, key, value)
	{
		port = strtoul(key, &end, 10);
		if (s->nr_ports == max)
			break;
		if (*end || !isdigit((unsigned char)*key) || port < 1 ||
		    port > 65535 || !json_is_string(value) ||
		    !url_is_plain(json_string_value(value)))
			continue;
		s->ports[s->nr_ports].url = strdup(json_string_value(value));
		if (!s->ports[s->nr_ports].url)
			return -ENOMEM;
		s->ports[s->nr_ports++].port = (unsigned int)port;
	}
	return 0;
}

/* "http://sbx-ID-PORT.DOMAIN", nothing behind it */
static int any_port_from(struct sbx_sandbox *s, const struct sbx_url *u)
{
	char number[16];
	const char *host = strstr(u->url, "://"), *at, *end;
	size_t id = strlen(s->id);

	host = host ? host + 3 : "";
	if (strncmp(host, "sbx-", 4) || strncmp(host + 4, s->id, id) ||
	    host[4 + id] != '-')
		return 0;
	at = host + 4 + id + 1;
	snprintf(number, sizeof(number), "%u", u->port);
	if (strncmp(at, number, strlen(number)))
		return 0;
	end = at + strlen(number);
	if (*end != '.' || strpbrk(end, "/?#@ "))
		return 0;
	s->any_port[0] = strndup(u->url, (size_t)(at - u->url));
	s->any_port[1] = strdup(end);
	return s->any_port[0] && s->any_port[1] ? 0 : -ENOMEM;
}

int sbx_xgen_sandbox_from_json(struct sbx_sandbox *ret, const json_t *obj,
			       const char *base_url)
{
	const char *id = sbx_json_str(obj, "id");
	const char *status = sbx_json_str(obj, "status");
	struct sbx_sandbox s = {0};
	int r;

	if (!sbx_is_id(id) || !status)
		return -EPROTO;
	s.state = sbx_state_from_word(states, status);
	s.created_ms = time_member(obj, "created_at_ms", "created_at");
	s.expires_ms = time_member(obj, "expires_at_ms", "expires_at");
	r = sbx_sandbox_texts(
		&s, obj, id,
		sbx_json_str(sbx_json_object(obj, "metadata"), "name"),
		sbx_json_str(obj, "template"), base_url);
	if (r == 0)
		r = ports_from_json(&s, obj);
	for (size_t i = 0; r == 0 && i < s.nr_ports && !s.any_port[0]; i++)
		r = any_port_from(&s, &s.ports[i]);
	if (r < 0)
		sbx_sandbox_release(&s);
	else
		*ret = s;
	return r;
}

/* ---- previews ---- */

int sbx_xgen_preview_learn(struct sbx_xgen_preview *p,
			   const struct sbx_sandbox *s)
{
	struct sbx_xgen_preview new;
	size_t scheme;

	if (!s->any_port[0])
		return 0;
	/* "SCHEMEsbx-ID-" */
	scheme = strlen(s->any_port[0]) - strlen("sbx--") - strlen(s->id);
	new.scheme = strndup(s->any_port[0], scheme);
	new.domain = strdup(s->any_port[1]);
	if (!new.scheme || !new.domain) {
		sbx_xgen_preview_release(&new);
		return -ENOMEM;
	}
	sbx_xgen_preview_release(p);
	*p = new;
	return 0;
}

int sbx_xgen_preview_fill(const struct sbx_xgen_preview *p,
			  struct sbx_sandbox *s)
{
	if (s->any_port[0] || !p->scheme)
		return 0;
	if (asprintf(&s->any_port[0], "%ssbx-%s-", p->scheme, s->id) < 0) {
		s->any_port[0] = NULL;
		return -ENOMEM;
	}
	s->any_port[1] = strdup(p->domain);
	return s->any_port[1] ? 0 : -ENOMEM;
}

void sbx_xgen_preview_release(struct sbx_xgen_preview *p)
{
	free(p->scheme);
	free(p->domain);
	*p = (struct sbx_xgen_preview){0};
}

/* ---- errors ---- */

static const struct {
	const char *code;
	int err;
	enum sbx_retry retry;
} codes[] = {
	{"INVALID_REQUEST", -EINVAL, SBX_RETRY_NEVER},
	{"INVALID_PARAMETER", -EINVAL, SBX_RETRY_NEVER},
	{"UNAUTHORIZED", -EACCES, SBX_RETRY_TOKEN},
	{"FORBIDDEN", -EACCES, SBX_RETRY_NEVER},
	{"insufficient_permissions", -EACCES, SBX_RETRY_NEVER},
	{"insufficient_role", -EACCES, SBX_RETRY_NEVER},
	{"SANDBOX_NOT_FOUND", -ENOENT, SBX_RETRY_NEVER},
	{"SANDBOX_EXPIRED", -ENOENT, SBX_RETRY_NEVER},
	{"SANDBOX_NOT_READY", -EAGAIN, SBX_RETRY_LATER},
	{"QUOTA_EXCEEDED", -EDQUOT, SBX_RETRY_LATER},
	{"POD_CREATE_FAILED", -EAGAIN, SBX_RETRY_LATER},
	{"SIDECAR_UNREACHABLE", -EAGAIN, SBX_RETRY_LATER},
	{"EXEC_TIMEOUT", -ETIMEDOUT, SBX_RETRY_NEVER},
	{"INTERNAL", -EIO, SBX_RETRY_LATER},
};

static bool error_from_code(struct sbx_error *e, const char *code)
{
	size_t i;

	for (i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		if (strcmp(codes[i].code, code))
			continue;
		e->err = codes[i].err;
		e->retry = codes[i].retry;
		return true;
	}
	return false;
}

/* The bodies that are plain words, as the server writes them. */
static bool text_is_known(const char *body, size_t len)
{
	static const char *const words[] = {
		"sandbox not found",
		"sandbox not ready",
		"rate limit exceeded",
	};
	size_t i;

	while (len > 0 && isspace((unsigned char)body[len - 1]))
		len--;
	for (i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strlen(words[i]) == len && !memcmp(words[i], body, len))
			return true;
	return false;
}

int sbx_xgen_error_from_http(struct sbx_error *e, int status, const char *body,
			     size_t len, const char *what)
{
	SBX_JSON json_t *obj = sbx_json_parse(body, len);
	const char *code = sbx_json_str(obj, "code");
	const char *text = sbx_json_str(obj, "message");
	struct sbx_error mine;

	if (!e)
		e = &mine;
	if (!text)
		text = sbx_json_str(obj, "error");
	sbx_error_from_http(e, status, what);
	if (code && error_from_code(e, code)) {
		sbx_error_reword(e, "%s: %.150s (%s)", what,
				 text ? text : "refused", code);
		return e->err;
	}
	/* gateways answer these in their own words, and mean the same */
	if (text || text_is_known(body, len) || status == 401 ||
	    status == 403 || status == 429 || status >= 502)
		return e->err;
	sbx_error_wonder(e, what, SBX_XGEN_PRODUCT,
			 status == 404 ? "page not found" : "strange answer");
	e->status = status;
	return e->err;
}
