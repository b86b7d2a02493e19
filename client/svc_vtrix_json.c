#include "client/svc_vtrix_json.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "client/cleanup.h"
#include "client/json.h"
#include "client/labels.h"
#include "client/parse.h"

#define MAX_HOST 253
#define MAX_ID	 128

/* ---- envelopes and errors ---- */

int sbx_vtrix_open(const json_t *answer, json_t **ret_data)
{
	const json_t *code = json_object_get(answer, "code");
	json_t *data = json_object_get(answer, "data");

	if (json_is_array(answer) || (json_is_object(answer) && !code &&
				      (sbx_json_str(answer, "sandboxID") ||
				       sbx_vtrix_list(answer, NULL)))) {
		*ret_data = (json_t *)(uintptr_t)answer;
		return 0;
	}
	if (!json_is_integer(code))
		return -EPROTO;
	if (json_integer_value(code))
		return -EREMOTEIO;
	*ret_data = json_is_null(data) ? NULL : data;
	return 0;
}

/* Numbers of their own are not published; some are those of HTTP. */
static int status_of(int status, const json_t *obj, const char *text)
{
	int64_t code = sbx_json_int(obj, "code", 0);

	if (status >= 400 && status != 500)
		return status;
	if (code >= 400 && code <= 599)
		status = (int)code;
	if (status < 400 || status == 500)
		return strcasestr(text, "not found") ? 404 : 500;
	return status;
}

bool sbx_vtrix_is_envelope(const char *body, size_t len)
{
	SBX_JSON json_t *obj = sbx_json_parse(body, len);

	return json_is_integer(json_object_get(obj, "code"));
}

int sbx_vtrix_error(struct sbx_error *e, int status, const char *body,
		    size_t len, const char *url)
{
	SBX_JSON json_t *obj = sbx_json_parse(body, len);
	const char *text = sbx_json_str(obj, "message");
	struct sbx_error mine;
	int err;

	if (!e)
		e = &mine;
	if (!json_is_integer(json_object_get(obj, "code"))) {
		err = sbx_error_from_http(e, status, url);
		if (status == 404)
			err = sbx_error_wonder(e, url, SBX_VTRIX_PRODUCT,
					       "page not found");
		e->status = status;
		return err;
	}
	text = text ? text : "";
	status = status_of(status, obj, text);
	err = sbx_error_from_http(e, status, url);
	if (status == 401 || !*text)
		return err;
	sbx_error_reword(e, "%s: %.150s", url, text);
	return err;
}

/* ---- a sandbox ---- */

static const struct sbx_state_word states[] = {
	{"creating", SBX_STATE_STARTING},
	{"warming", SBX_STATE_STARTING},
	{"warm", SBX_STATE_STARTING},
	{"active", SBX_STATE_RUNNING},
	{"stopped", SBX_STATE_STOPPED},
	{"destroying", SBX_STATE_STOPPING},
	{"failed", SBX_STATE_ERROR},
	/* the second generation's */
	{"running", SBX_STATE_RUNNING},
	{"ready", SBX_STATE_RUNNING},
	{"paused", SBX_STATE_PAUSED},
	{"deleted", SBX_STATE_STOPPED},
	{"expired", SBX_STATE_STOPPED},
	{"error", SBX_STATE_ERROR},
	/* a word that is not known is one on the way to something */
	{NULL, SBX_STATE_STARTING},
};

const char *sbx_vtrix_state_word(const json_t *obj)
{
	const char *word = sbx_json_str(obj, "status");

	if (!word || !*word)
		word = sbx_json_str(obj, "state");
	return word ? word : "";
}

/* Of two words neither may say that it cannot be used yet. */
static enum sbx_state state_of(const json_t *obj)
{
	const char *other = sbx_json_str(obj, "state");
	enum sbx_state state =
		sbx_state_from_word(states, sbx_vtrix_state_word(obj));

	if (state == SBX_STATE_RUNNING && other && *other)
		state = sbx_state_from_word(states, other);
	return state;
}

static const char *first_str(const json_t *obj, const char *a, const char *b)
{
	const char *text = sbx_json_str(obj, a);

	if (!text || !*text)
		text = sbx_json_str(obj, b);
	return text && *text ? text : NULL;
}

static int64_t time_of(const json_t *obj, const char *a, const char *b)
{
	int64_t ms = sbx_time_from_text(first_str(obj, a, b));

	return ms > 0 ? ms : 0; /* a server in Go has the year 1 for none */
}

static const char *image_of(const json_t *obj)
{
	const char *image = sbx_json_str(sbx_json_object(obj, "spec"), "image");

	return image && *image ? image
			       : first_str(obj, "image_tag", "templateID");
}

/* It becomes part of addresses that users are given. */
static bool host_is_valid(const char *host)
{
	size_t i;

	for (i = 0; host[i]; i++)
		if (!isalnum((unsigned char)host[i]) &&
		    !strchr("-._:", host[i]))
			return false;
	return i > 0 && i <= MAX_HOST;
}

static bool url_is_valid(const char *url)
{
	size_t i;

	if (strncmp(url, "http://", 7) != 0 && strncmp(url, "https://", 8) != 0)
		return false;
	for (i = 0; url[i]; i++)
		if (url[i] <= 0x20 || url[i] >= 0x7f)
			return false;
	return i <= 1024;
}

/* Where there is no host, the one address that there is leads to the pod's
 * own port, whichever was asked for. */
static int ports_from(struct sbx_sandbox *s, const json_t *obj)
{
	const char *host = sbx_json_str(obj, "preview_host");
	const char *url = sbx_json_str(obj, "preview_url");
	int64_t port = sbx_json_int(obj, "port", 0);

	if (host && host_is_valid(host)) {
		s->any_port[0] = strdup("https://");
		if (asprintf(&s->any_port[1], "-%s", host) < 0)
			s->any_port[1] = NULL;
		return s->any_port[0] && s->any_port[1] ? 0 : -ENOMEM;
	}
	if (!url || !url_is_valid(url) || port < 1 || port > 65535)
		return 0;
	s->ports = calloc(1, sizeof(*s->ports));
	if (!s->ports)
		return -ENOMEM;
	s->nr_ports = 1;
	s->ports[0].port = (unsigned int)port;
	return sbx_dup_text(&s->ports[0].url, url);
}

bool sbx_vtrix_id_is_valid(const char *id)
{
	size_t i;

	if (!id || !isalnum((unsigned char)id[0]))
		return false;
	for (i = 0; id[i]; i++)
		if (!isalnum((unsigned char)id[i]) &&
		    !strchr("-._~:@+=,", id[i]))
			return false;
	return i <= MAX_ID;
}

int sbx_vtrix_sandbox_from_json(struct sbx_sandbox *ret, const json_t *obj,
				const char *url)
{
	const char *id = first_str(obj, "id", "sandboxID");
	const json_t *labels = sbx_json_object(obj, "labels");
	struct sbx_sandbox s = {0};
	char name[256];
	int r;

	if (!sbx_vtrix_id_is_valid(id) || !*sbx_vtrix_state_word(obj))
		return -EPROTO;
	if (!labels)
		labels = sbx_json_object(obj, "metadata");
	s.state = state_of(obj);
	s.created_ms = time_of(obj, "created_at", "startedAt");
	s.expires_ms = time_of(obj, "expire_at", "endAt");
	r = sbx_sandbox_texts(&s, obj, id, sbx_labels_name(labels, name),
			      image_of(obj), url);
	if (r == 0)
		r = ports_from(&s, obj);
	if (r < 0)
		sbx_sandbox_release(&s);
	else
		*ret = s;
	return r;
}

/* ---- lists ---- */

const json_t *sbx_vtrix_list(const json_t *data, bool *ret_more)
{
	const json_t *items = sbx_json_array(data, "items");
	const json_t *pages = sbx_json_object(data, "pagination");

	if (ret_more)
		*ret_more = sbx_json_bool(pages, "has_more", false);
	if (json_is_array(data))
		return data;
	return items ? items : sbx_json_array(data, "sandboxes");
}

/* A server in Go writes null for a list of nothing. */
int sbx_vtrix_fill_list(json_t *answer)
{
	json_t *data = json_object_get(answer, "data");

	if (json_is_null(data))
		return json_object_set_new(answer, "data", json_array()) < 0
			       ? -ENOMEM
			       : 0;
	if (!json_is_null(json_object_get(data, "items")))
		return 0;
	return json_object_set_new(data, "items", json_array()) < 0 ? -ENOMEM
								    : 0;
}

const json_t *sbx_vtrix_created(const json_t *data)
{
	const json_t *inner = sbx_json_object(data, "sandbox");

	return inner ? inner : data;
}

/* ---- extend ---- */

void sbx_vtrix_extend_body(char text[SBX_VTRIX_EXTEND_BODY],
			   enum sbx_vtrix_unit unit, unsigned int seconds)
{
	unsigned int hours = (seconds + 3599) / 3600;

	if (unit == SBX_VTRIX_SECONDS)
		snprintf(text, SBX_VTRIX_EXTEND_BODY, "{\"seconds\":%u}",
			 seconds);
	else if (unit == SBX_VTRIX_HOURS)
		snprintf(text, SBX_VTRIX_EXTEND_BODY, "{\"hours\":%u}", hours);
	else
		snprintf(text, SBX_VTRIX_EXTEND_BODY,
			 "{\"hours\":%u,\"seconds\":%u}", hours, seconds);
}
