/*
 * Records, times and errors of the time-travel service.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "client/cleanup.h"
#include "client/json.h"
#include "client/options.h"
#include "client/parse.h"
#include "client/svc_timetravel.h"
#include "client/wire/buf.h"

/* ---- VMs ---- */

bool sbx_timetravel_id_is_valid(const char *id)
{
	size_t i;

	if (!id || !isalnum((unsigned char)id[0]))
		return false;
	for (i = 0; id[i]; i++)
		if (!isalnum((unsigned char)id[i]) && !strchr("._-", id[i]))
			return false;
	return i <= 128;
}

int64_t sbx_timetravel_time(const char *text)
{
	struct tm tm = {0};
	const char *p = text ? strptime(text, "%Y-%m-%d %H:%M:%S", &tm) : NULL;
	int64_t s = p && !*p ? (int64_t)timegm(&tm) : 0;

	return s > 0 ? s * 1000 : 0;
}

static const struct sbx_state_word states[] = {
	{"creating", SBX_STATE_STARTING}, {"running", SBX_STATE_RUNNING},
	{"stopped", SBX_STATE_STOPPED},	  {"error", SBX_STATE_ERROR},
	{NULL, SBX_STATE_ERROR},
};

/* The record's status is a field of a database: it says running of a VM that
 * was lost, too, which only the agent's health tells. */
static enum sbx_state state_of(const json_t *obj)
{
	const char *status = sbx_json_str(obj, "status");
	enum sbx_state state =
		sbx_state_from_word(states, status ? status : "");

	return state == SBX_STATE_RUNNING &&
			       !sbx_json_bool(obj, "agentHealthy", true)
		       ? SBX_STATE_ERROR
		       : state;
}

int sbx_timetravel_vm_from_json(struct sbx_sandbox *ret, const json_t *obj,
				const char *url)
{
	const char *name = sbx_json_str(obj, "name");
	struct sbx_sandbox s = {0};
	int r;

	if (!sbx_timetravel_id_is_valid(name))
		return -EPROTO;
	s.state = state_of(obj);
	s.created_ms = sbx_timetravel_time(sbx_json_str(obj, "created_at"));
	r = sbx_sandbox_texts(&s, obj, name, name, sbx_json_str(obj, "base_vm"),
			      url);
	if (r == 0)
		*ret = s;
	return r;
}

bool sbx_timetravel_says_agent(const char *info, bool *ret_runs)
{
	SBX_JSON json_t *obj = info ? sbx_json_parse(info, strlen(info)) : NULL;
	const char *status = sbx_json_str(obj, "status");

	*ret_runs = status && !strcmp(status, "running");
	return json_is_boolean(json_object_get(obj, "agentHealthy"));
}

/* ---- snapshots ---- */

const char *sbx_timetravel_shown_name(const json_t *obj)
{
	const char *name = sbx_json_str(obj, "snapshot_name");
	const char *command = sbx_json_str(obj, "command");

	if (command && !strncmp(command, SBX_TIMETRAVEL_NAMED,
				strlen(SBX_TIMETRAVEL_NAMED)))
		name = command + strlen(SBX_TIMETRAVEL_NAMED);
	else if (command &&
		 !strncmp(command, SBX_RUN_MARK, strlen(SBX_RUN_MARK)))
		return NULL;
	return sbx_timetravel_id_is_valid(name) ? name : NULL;
}

static int snapshot_from_json(struct sbx_snapshot *ret, const json_t *obj)
{
	struct sbx_snapshot s = {0};

	s.created_ms = sbx_timetravel_time(sbx_json_str(obj, "created_at"));
	s.info = sbx_json_text(obj, true);
	if (!s.info ||
	    sbx_dup_text(&s.name, sbx_timetravel_shown_name(obj)) < 0) {
		free(s.info);
		return -ENOMEM;
	}
	*ret = s;
	return 0;
}

const json_t *sbx_timetravel_find_snapshot(const json_t *list, const char *name)
{
	const json_t *found = NULL, *obj;
	const char *shown;
	size_t i;

	json_array_foreach((json_t *)(uintptr_t)list, i, obj)
	{
		shown = sbx_timetravel_shown_name(obj);
		if (shown && !strcmp(shown, name))
			found = obj;
	}
	return found;
}

/* The last place of each name. */
static json_t *places_of(const json_t *list)
{
	json_t *places = json_object();
	const char *name;
	const json_t *obj;
	size_t i;

	json_array_foreach((json_t *)(uintptr_t)list, i, obj)
	{
		name = sbx_timetravel_shown_name(obj);
		if (name && json_object_set_new(places, name,
						json_integer((json_int_t)i)))
			break;
	}
	return places;
}

int sbx_timetravel_snapshots(struct sbx_call *call, const json_t *list)
{
	SBX_JSON json_t *places = places_of(list);
	size_t n = json_object_size(places), i, left_out;
	const json_t *obj;
	const char *name;

	call->snapshots = calloc(n + 1, sizeof(*call->snapshots));
	if (!places || !call->snapshots)
		return -ENOMEM;
	/* the oldest */
	left_out = n > SBX_MAX_SNAPSHOTS ? n - SBX_MAX_SNAPSHOTS : 0;
	json_array_foreach((json_t *)(uintptr_t)list, i, obj)
	{
		name = sbx_timetravel_shown_name(obj);
		if (!name || sbx_json_int(places, name, -1) != (int64_t)i)
			continue;
		if (left_out) {
			left_out--;
			continue;
		}
		if (snapshot_from_json(&call->snapshots[call->nr_snapshots],
				       obj) < 0)
			return -ENOMEM;
		call->nr_snapshots++;
	}
	return 0;
}

/* ---- export, import ---- */

/* Keys may end up in a shell line of the service's, unquoted. */
static bool key_is_valid(const char *key)
{
	size_t i;

	if (!key || !isalnum((unsigned char)key[0]) || strstr(key, ".."))
		return false;
	for (i = 0; key[i]; i++)
		if (!isalnum((unsigned char)key[i]) && !strchr("._-/", key[i]))
			return false;
	return i <= 1024;
}

static int take_key(struct sbx_maker *m, const char *key, const json_t *value)
{
	if (!key_is_valid(json_string_value(value)))
		return sbx_maker_wrong(m, key,
				       "it is made of letters, digits, '.', "
				       "'_', '-' and '/', and begins with one "
				       "of the first two");
	return sbx_take_text(m, key, value);
}

static int take_snapshot(struct sbx_maker *m, const char *key,
			 const json_t *value)
{
	if (!sbx_timetravel_id_is_valid(json_string_value(value)))
		return sbx_maker_wrong(m, key, "that is no snapshot's name");
	return sbx_take_text(m, key, value);
}

static int pack_finish(struct sbx_maker *m)
{
	json_t **ret = m->own;

	*ret = json_incref(m->body);
	return 0;
}

static int import_finish(struct sbx_maker *m)
{
	if (!sbx_json_str(m->body, "name") || !sbx_json_str(m->body, "key"))
		return sbx_maker_wrong(m, "import",
				       "the name of a new snapshot and a key "
				       "are wanted, as in {\"name\":\"a\","
				       "\"key\":\"b\"}");
	return pack_finish(m);
}

static const struct sbx_maker_word export_words[] = {
	{"snapshot", take_snapshot},
	{"key", take_key},
	{0},
};

static const struct sbx_maker_word import_words[] = {
	{"name", take_snapshot},
	{"key", take_key},
	{0},
};

json_t *sbx_timetravel_pack_body(const char *text, size_t len, bool imports,
				 struct sbx_error *reterr)
{
	json_t *body = NULL;
	struct sbx_maker m = {.own = &body, .reterr = reterr};

	if (len && memchr(text, '\0', len)) {
		sbx_error_set(reterr, -EINVAL, "text holds no zero byte");
		return NULL;
	}
	if (!len || !text[strspn(text, " \t\r\n")])
		text = NULL;
	if (imports)
		sbx_maker_run(&m, text, import_words, import_finish);
	else
		sbx_maker_run(&m, text, export_words, pack_finish);
	return body;
}

/* ---- errors ---- */

/*
 * Almost everything is 500; the words tell.  What a command on the server's
 * side said may hold any of them ("btrfs: command not found"), so those about
 * a VM must be all that there is.
 */
static const struct {
	const char *words;
	int err;
	enum sbx_retry retry;
} known[] = {
	/* the service was restarted: for good */
	{"VM \" sandbox not found", -ENODEV, SBX_RETRY_NEVER},
	{"VM \" not found", -ENOENT, SBX_RETRY_NEVER},
	{"VM \" already exists", -EEXIST, SBX_RETRY_NEVER},
	{"UNIQUE constraint failed", -EAGAIN, SBX_RETRY_LATER},
	{"S3 not configured", -EOPNOTSUPP, SBX_RETRY_NEVER},
	{"No sandbox runtime available", -EAGAIN, SBX_RETRY_LATER},
};

/* The words; of those about a VM, which begin with VM ", with its name after
 * that. */
static bool says(const char *text, const char *words)
{
	const char *end;

	if (strncmp(words, "VM \"", 4) != 0)
		return strstr(text, words);
	if (strncmp(text, words, 4) != 0)
		return false;
	text += 4;
	end = text + strcspn(text, "\"");
	return end > text && !strcmp(end + (*end ? 1 : 0), words + 4);
}

static void error_of_text(struct sbx_error *e, const char *text,
			  const char *what)
{
	size_t i;

	for (i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (says(text, known[i].words))
			break;
	if (i < sizeof(known) / sizeof(known[0])) {
		e->err = known[i].err;
		e->retry = known[i].retry;
	} else if (e->status == 404) {
		/* any failure to tell of one VM is 404 */
		e->err = -EAGAIN;
		e->retry = SBX_RETRY_LATER;
	}
	if (e->err == -ENODEV)
		sbx_error_reword(e,
				 "%s lost this VM when it was restarted; "
				 "destroy it (%.80s)",
				 what, text);
	else
		sbx_error_reword(e, "%s: %.150s", what, text);
}

int sbx_timetravel_error(struct sbx_error *e, int status, const char *body,
			 size_t len, const char *what)
{
	SBX_JSON json_t *obj = sbx_json_parse(body, len);
	const char *text = sbx_json_str(obj, "error");

	sbx_error_from_http(e, status, what);
	if (status == 413) {
		e->err = -E2BIG;
		sbx_error_reword(e,
				 "%s takes no more than 100 KiB in one request",
				 what);
	} else if (status == 401 || status == 403) {
		e->retry = SBX_RETRY_NEVER;
		sbx_error_reword(e,
				 "%s refused the key; check that it is the "
				 "right one",
				 what);
	} else if (text && (status == 404 || status == 500)) {
		error_of_text(e, text, what);
	} else if (!text && status == 404) {
		/* a page for people: some other server, or a bug of this one */
		sbx_error_wonder(e, what, SBX_TIMETRAVEL_PRODUCT,
				 "page not found");
		e->status = status;
	}
	return e->err;
}

/* ---- runs ---- */

/* The input goes into the command: there is no other way for it. */
static char *command_of(const struct sbx_run *run)
{
	const char *mark = run->ours ? SBX_RUN_MARK " " : "";
	char *text = NULL;
	int n;

	if (run->input)
		n = asprintf(&text, "%sprintf %%s '%s' | {\n%s\n}", mark,
			     run->input, run->command);
	else
		n = asprintf(&text, "%s%s", mark, run->command);
	return n < 0 ? NULL : text;
}

char *sbx_timetravel_run_body(const struct sbx_run *run, unsigned int timeout_s,
			      int *ret_err)
{
	SBX_FREE char *command = command_of(run);
	SBX_JSON json_t *obj = NULL;
	json_t *text;
	char *body;

	*ret_err = -ENOMEM;
	if (!command)
		return NULL;
	text = json_string(command);
	if (!text) {
		*ret_err = -EILSEQ;
		return NULL;
	}
	obj = json_pack("{s:o,s:i}", "command", text, "timeout",
			(int)timeout_s);
	body = obj ? sbx_json_text(obj, false) : NULL;
	if (body && strlen(body) > TIMETRAVEL_BODY) {
		*ret_err = -E2BIG;
		free(body);
		return NULL;
	}
	return body;
}

static int take_text(const json_t *obj, const char *name, char **ret,
		     size_t *ret_len)
{
	const json_t *s = json_object_get(obj, name);

	*ret_len = json_string_length(s);
	*ret = malloc(*ret_len + 1);
	if (!*ret)
		return -ENOMEM;
	if (*ret_len)
		memcpy(*ret, json_string_value(s), *ret_len);
	(*ret)[*ret_len] = '\0';
	return 0;
}

int sbx_timetravel_run_from_json(struct sbx_run *run, const char *body,
				 size_t len)
{
	SBX_JSON json_t *obj = sbx_json_parse_nul(body, len);
	const json_t *code = json_object_get(obj, "exitCode");
	int64_t n = sbx_json_int(obj, "exitCode", 0);
	const char *name;

	if (!json_is_integer(code) ||
	    !json_is_string(json_object_get(obj, "stdout")) ||
	    !json_is_string(json_object_get(obj, "stderr")))
		return -EPROTO;
	name = sbx_json_str(obj, "snapshot");
	if (sbx_timetravel_id_is_valid(name))
		snprintf(run->snapshot, sizeof(run->snapshot), "%s", name);
	/* an agent gives a signal as a negative number */
	run->exit_code = (int)((n < 0 && n >= -64 ? 128 - n : n) & 255);
	if (take_text(obj, "stdout", &run->out, &run->out_len) < 0 ||
	    take_text(obj, "stderr", &run->err, &run->err_len) < 0) {
		sbx_run_release(run);
		return -ENOMEM;
	}
	return 0;
}
