/*
 * What ComputeSDK alone has, as files (own.h): servers, overlays, env files,
 * terminals, watchers, signals, session tokens, magic links, code to run and
 * child sandboxes.  Each row of the tree is a request to the daemon and a
 * member of its answer; what is written becomes the request's body in
 * svc_computesdk_words.c.
 */
#include <string.h>

#include "client/svc_computesdk.h"

#define R   SBX_OWN_READ
#define W   SBX_OWN_WRITE
#define DIR SBX_OWN_DIR
#define DEL SBX_OWN_REMOVE

const struct sbx_own csdk_own[] = {
	{"daemon/health.json", R},
	{"daemon/info.json", R},
	{"daemon/ready.json", R},
	{"daemon/auth.json", R},
	{"auth", R},
	{"servers/new", R | W},
	{"servers/+", DIR | DEL},
	{"servers/+/info.json", R},
	{"servers/+/status", R | W},
	{"servers/+/url", R},
	{"servers/+/port", R},
	{"servers/+/pid", R},
	{"servers/+/ctl", W},
	{"servers/+/log/stdout", R},
	{"servers/+/log/stderr", R},
	{"servers/+/log/combined", R},
	{"overlays/new", R | W},
	{"overlays/+", DIR | DEL},
	{"overlays/+/info.json", R},
	{"overlays/+/source", R},
	{"overlays/+/target", R},
	{"overlays/+/strategy", R},
	{"overlays/+/status", R},
	{"overlays/+/error", R},
	{"overlays/+/stats.json", R},
	{"env/+", DIR | SBX_OWN_MAKE},
	{"env/+/+", R | W | SBX_OWN_MAKE | DEL},
	{"term/new", R | W},
	{"term/+", DIR | DEL},
	{"term/+/info.json", R},
	{"term/+/commands.json", R},
	{"term/+/commands/+", DIR},
	{"term/+/commands/+/info.json", R},
	{"term/+/commands/+/command", R},
	{"term/+/commands/+/status", R},
	{"term/+/commands/+/stdout", R},
	{"term/+/commands/+/stderr", R},
	{"term/+/commands/+/exit_code", R},
	{"term/+/exec", R | W | SBX_OWN_TEXT},
	{"term/+/data", SBX_OWN_STREAM | W},
	{"term/+/size", W},
	{"watch/new", R | W},
	{"watch/+", DIR | DEL},
	{"watch/+/info.json", R},
	{"watch/+/events", SBX_OWN_STREAM},
	{"signals/status", R},
	{"signals/ctl", W},
	{"signals/emit", W},
	{"signals/events", SBX_OWN_STREAM},
	{"tokens/new", R | W},
	{"tokens/+", DIR | DEL},
	{"tokens/+/info.json", R},
	{"tokens/+/description", R},
	{"tokens/+/created", R},
	{"tokens/+/expires", R},
	{"magiclink", R | W},
	{"code/auto", R | W | SBX_OWN_FLUSH | SBX_OWN_TEXT},
	{"code/python", R | W | SBX_OWN_FLUSH | SBX_OWN_TEXT},
	{"code/node", R | W | SBX_OWN_FLUSH | SBX_OWN_TEXT},
	{"code/bash", R | W | SBX_OWN_FLUSH | SBX_OWN_TEXT},
	{"code/sh", R | W | SBX_OWN_FLUSH | SBX_OWN_TEXT},
	{"code/ruby", R | W | SBX_OWN_FLUSH | SBX_OWN_TEXT},
	{"code/run.json", R | W | SBX_OWN_FLUSH},
	{"batch", R | W | SBX_OWN_FLUSH},
	{"url/+", R | SBX_OWN_ANY},
	{"children/new", R | W},
	{"children/+", DIR | DEL},
	{"children/+/info.json", R},
	{"children/+/url", R},
	{"snapshot", R | W | SBX_OWN_FLUSH},
	{"snapshots/+", DIR | DEL | SBX_OWN_PLACE},
	{"snapshots/+/info.json", R | SBX_OWN_PLACE},
	{NULL, 0},
};

/* What the second generation has, by how their paths begin. */
static bool second_has(const char *path)
{
	static const char *const all[] = {
		"daemon/health", "daemon/info", "daemon/auth", "auth",
		"term/",	 "watch/",	"signals/",    "tokens/",
		"magiclink",	 "children/",	"url/",
	};
	size_t i;

	if (!strncmp(path, "term/+/commands", 15))
		return false;
	for (i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (!strncmp(path, all[i], strlen(all[i])))
			return true;
	return false;
}

/* The first generation has none of it, but for the daemon's word; and only a
 * gateway has snapshots. */
bool csdk_own_has(struct sbx_service *svc, const char *id,
		  const struct sbx_own *row, const char *path)
{
	const struct csdk_box *b =
		id ? csdk_box_find((struct csdk *)svc, id) : NULL;

	if (path && !strncmp(path, "url/", 4) && !sbx_port_from_text(path + 4))
		return false;
	if (!strncmp(row->path, "snapshot", 8))
		return !csdk_is_direct((struct csdk *)svc);
	if (b && b->generation == 2)
		return second_has(row->path);
	return !b || b->generation != 1 ||
	       !strcmp(row->path, "daemon/health.json");
}

/* ---- what is asked for each ---- */

#define COMMAND "/terminals/%s/commands/%t"

const struct csdk_row csdk_reads[] = {
	{"daemon/health.json", "GET", "/health"},
	{"daemon/info.json", "GET", "/info"},
	{"daemon/ready.json", "GET", "/ready"},
	{"daemon/auth.json", "GET", "/auth/info"},
	{"auth", "GET", "/auth/status"},
	{"servers/+/info.json", "GET", "/servers/%s", NULL, "server"},
	{"servers/+/status", "GET", "/servers/%s", NULL, "server.status"},
	{"servers/+/url", "GET", "/servers/%s", NULL, "server.url"},
	{"servers/+/port", "GET", "/servers/%s", NULL, "server.port"},
	{"servers/+/pid", "GET", "/servers/%s", NULL, "server.pid"},
	{"servers/+/log/stdout", "GET", "/servers/%s/logs", "stream=stdout",
	 "logs"},
	{"servers/+/log/stderr", "GET", "/servers/%s/logs", "stream=stderr",
	 "logs"},
	{"servers/+/log/combined", "GET", "/servers/%s/logs", "stream=combined",
	 "logs"},
	{"overlays/+/info.json", "GET", "/filesystem/overlays/%s"},
	{"overlays/+/source", "GET", "/filesystem/overlays/%s", NULL, "source"},
	{"overlays/+/target", "GET", "/filesystem/overlays/%s", NULL, "target"},
	{"overlays/+/strategy", "GET", "/filesystem/overlays/%s", NULL,
	 "strategy"},
	{"overlays/+/status", "GET", "/filesystem/overlays/%s", NULL,
	 "copy_status"},
	{"overlays/+/error", "GET", "/filesystem/overlays/%s", NULL,
	 "copy_error"},
	{"overlays/+/stats.json", "GET", "/filesystem/overlays/%s", NULL,
	 "stats"},
	{"term/+/info.json", "GET", "/terminals/%s"},
	/* one with a shell runs none */
	{"term/+/commands.json", "GET", "/terminals/%s/commands", NULL,
	 "commands", .none = "[]\n"},
	{"term/+/commands/+/info.json", "GET", COMMAND},
	{"term/+/commands/+/command", "GET", COMMAND, NULL, "command"},
	{"term/+/commands/+/status", "GET", COMMAND, NULL, "status"},
	{"term/+/commands/+/stdout", "GET", COMMAND, NULL, "stdout"},
	{"term/+/commands/+/stderr", "GET", COMMAND, NULL, "stderr"},
	{"term/+/commands/+/exit_code", "GET", COMMAND, NULL, "exit_code"},
	{"watch/+/info.json", "GET", "/watchers/%s"},
	{"signals/status", "GET", "/signals/status", NULL, "status"},
	{"tokens/+/info.json", "GET", "/auth/session_tokens/%s"},
	{"tokens/+/description", "GET", "/auth/session_tokens/%s", NULL,
	 "description"},
	{"tokens/+/created", "GET", "/auth/session_tokens/%s", NULL,
	 "created_at"},
	{"tokens/+/expires", "GET", "/auth/session_tokens/%s", NULL,
	 "expires_at"},
	{"children/+/info.json", "GET", "/sandboxes/%s"},
	{"children/+/url", "GET", "/sandboxes/%s", NULL, "url"},
	{NULL},
};

const struct csdk_row csdk_writes[] = {
	{"servers/new", "POST", "/servers", NULL, "server.slug"},
	{"servers/+/ctl", "POST", "/servers/%s/%v", NULL, "",
	 csdk_words_server_ctl},
	{"servers/+/status", "PATCH", "/servers/%s/status", NULL, "",
	 csdk_words_server_status},
	{"overlays/new", "POST", "/filesystem/overlays", NULL, "id"},
	{"term/new", "POST", "/terminals", NULL, "id", csdk_words_terminal},
	{"term/+/exec", "POST", "/terminals/%s/execute", NULL, NULL,
	 csdk_words_command},
	{"watch/new", "POST", "/watchers", NULL, "id", csdk_words_watch},
	{"signals/ctl", "POST", "/signals/%v", NULL, "", csdk_words_signal_ctl},
	{"signals/emit", "POST", "/signals/%v", NULL, "", csdk_words_emit},
	{"tokens/new", "POST", "/auth/session_tokens", NULL, NULL,
	 csdk_words_token},
	{"magiclink", "POST", "/auth/magic-links", NULL, "magic_url",
	 csdk_words_link},
	{"code/run.json", "POST", "/run/code"},
	{"code/+", "POST", "/run/code", NULL, "output", csdk_words_code},
	{"batch", "POST", "/files/batch", NULL, "results", csdk_words_batch},
	{"children/new", "POST", "/sandboxes", NULL, "subdomain",
	 csdk_words_child},
	{"env/+/+", "POST", "/env", "file=%s", "", csdk_words_variable},
	{"snapshot", "POST", "/snapshots", NULL, "id", csdk_words_snapshot,
	 true},
	{NULL},
};

const struct csdk_row csdk_makes[] = {
	{"env/+", "POST", "/env", "file=%s", NULL, csdk_words_no_variable},
	{"env/+/+", "POST", "/env", "file=%s", NULL, csdk_words_variable},
	{NULL},
};

const struct csdk_row csdk_removes[] = {
	{"servers/+", "DELETE", "/servers/%s"},
	{"overlays/+", "DELETE", "/filesystem/overlays/%s"},
	{"term/+", "DELETE", "/terminals/%s"},
	{"watch/+", "DELETE", "/watchers/%s"},
	{"tokens/+", "DELETE", "/auth/session_tokens/%s"},
	{"children/+", "DELETE", "/sandboxes/%s", "delete_files=true"},
	{"env/+/+", "DELETE", "/env", "file=%s", NULL, csdk_words_key},
	{"snapshots/+", "DELETE", "/snapshots/%s", .is_gateways = true},
	{NULL},
};

/* member: the list; words of its entries are their names */
const struct csdk_row csdk_lists[] = {
	{"servers", "GET", "/servers", NULL, "servers"},
	{"overlays", "GET", "/filesystem/overlays", NULL, "overlays"},
	{"term", "GET", "/terminals", NULL, "terminals"},
	{"term/+/commands", "GET", "/terminals/%s/commands", NULL, "commands",
	 .none = ""},
	{"watch", "GET", "/watchers", NULL, "watchers"},
	{"tokens", "GET", "/auth/session_tokens", NULL, "tokens"},
	{"children", "GET", "/sandboxes", NULL, "sandboxes"},
	{"env", "GET", "/files", "path=.", "files"},
	{"env/+", "GET", "/env", "file=%s", "variables"},
	{"snapshots", "GET", "/snapshots", .is_gateways = true},
	{NULL},
};

/* ---- places in the tree ---- */

/* Does the path fit?  The names for its "+" then, borrowed from path. */
static bool path_fits(const char *pattern, const char *path,
		      struct csdk_names *ret)
{
	size_t nr = 0, n;

	for (;; pattern++, path++) {
		n = strcspn(path, "/");
		if (pattern[0] == '+' && n && nr < CSDK_MAX_NAMES) {
			ret->text[nr] = path;
			ret->len[nr++] = n;
			pattern++;
			path += n;
		} else if (strcspn(pattern, "/") != n ||
			   memcmp(pattern, path, n) != 0) {
			return false;
		} else {
			pattern += n;
			path += n;
		}
		if (!*pattern || !*path)
			return !*pattern && !*path;
	}
}

const struct csdk_row *csdk_row_of(const struct csdk_row *rows,
				   const char *path, struct csdk_names *names)
{
	for (; rows->pattern; rows++)
		if (path_fits(rows->pattern, path, names))
			return rows;
	return NULL;
}
