/*
 * Profiles: sections of an INI file, the user's own before the system's.
 *
 *	[work]
 *	source = xgen+https://sandboxes.example.org
 *	keyfile = /home/me/.xgen-key
 *	timeout = 60
 */
#include <errno.h>
#include <ini.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/cleanup.h"
#include "client/conf_parts.h"
#include "client/limits.h"

#define SYSTEM_CONFIG "/etc/sbxfs/config"

struct profile_reader {
	struct sbx_conf *conf;
	const char *path, *name;
	char *source;
	bool found, holds_key;
	int err;
	struct sbx_error *reterr;
};

static bool profile_wrong(struct profile_reader *p, const char *key,
			  const char *why)
{
	p->err = sbx_error_set(p->reterr, -EINVAL, "%s: [%s] %s: %s", p->path,
			       p->name, key, why);
	return false;
}

static bool profile_string(struct profile_reader *p, char **to,
			   const char *value)
{
	free(*to);
	*to = strdup(value);
	if (*to)
		return true;
	p->err = sbx_error_set(p->reterr, -ENOMEM, "out of memory");
	return false;
}

static bool profile_secret(struct profile_reader *p, struct sbx_secret **to,
			   const char *key, const char *value)
{
	const char *c;

	for (c = value; *c; c++)
		if (*c <= 0x20 || *c >= 0x7f)
			return profile_wrong(p, key, "this cannot be a key");
	sbx_secret_free(*to);
	*to = sbx_secret_new(value, strlen(value));
	return *to ? true : profile_wrong(p, key, "too long");
}

static bool profile_take(struct profile_reader *p, const char *key,
			 const char *value)
{
	struct sbx_conf *c = p->conf;

	if (!strcmp(key, "source"))
		return profile_string(p, &p->source, value);
	if (!strcmp(key, "keyfile"))
		return profile_string(p, &c->profile_keyfile, value);
	if (!strcmp(key, "agent"))
		return profile_string(p, &c->agent, value);
	if (!strcmp(key, "key"))
		return profile_secret(p, &c->profile_key, key, value);
	if (!strcmp(key, "token"))
		return profile_secret(p, &c->profile_token, key, value);
	if (!strcmp(key, "timeout")) {
		if (sbx_conf_parse_timeout(value, &c->timeout_ms) < 0)
			return profile_wrong(p, key,
					     "must be seconds, 1 to 86400");
		return true;
	}
	if (!strcmp(key, "helper")) {
		if (strcmp(value, "on") && strcmp(value, "off"))
			return profile_wrong(p, key, "must be on or off");
		c->helper = !strcmp(value, "on");
		return true;
	}
	return profile_wrong(p, key,
			     "unknown; known are source, key, token, keyfile, "
			     "timeout, helper, agent");
}

static int on_entry(void *arg, const char *section, const char *key,
		    const char *value)
{
	struct profile_reader *p = arg;

	if (!strcmp(key, "key") || !strcmp(key, "token"))
		p->holds_key = true;
	if (p->err || strcmp(section, p->name))
		return 1;
	p->found = true;
	profile_take(p, key, value);
	return 1;
}

static int profile_check(struct profile_reader *p, int line, bool is_private)
{
	if (line > 0)
		return sbx_error_set(
			p->reterr, -EINVAL,
			"%s: line %d cannot be understood (a line is "
			"[NAME], or WORD = VALUE, of less than 200 "
			"characters; a longer key goes into a keyfile)",
			p->path, line);
	if (line < 0)
		return sbx_error_set(p->reterr, -ENOMEM, "out of memory");
	if (p->holds_key && !is_private)
		return sbx_error_set(
			p->reterr, -EACCES,
			"%s holds a key and can be read by others; make it "
			"private: chmod 600 %s",
			p->path, p->path);
	if (p->err)
		return p->err;
	if (!p->found)
		return -ENOENT;
	if (!p->source)
		return sbx_error_set(p->reterr, -EINVAL,
				     "%s: [%s] has no source", p->path,
				     p->name);
	return 0;
}

static int profile_read_file(struct sbx_conf *conf, const char *path,
			     const char *name, char **ret_source,
			     struct sbx_error *reterr)
{
	struct profile_reader p = {
		.conf = conf, .path = path, .name = name, .reterr = reterr};
	bool is_private = false;
	char *text = NULL;
	size_t len = 0;
	int r, line;

	r = sbx_conf_read_file(path, &text, &len, &is_private);
	if (r == -ENOENT || r == -ENOTDIR)
		return -ENOENT;
	if (r < 0)
		return sbx_error_set(reterr, r, "cannot read %s: %s", path,
				     strerror(-r));
	line = ini_parse_string(text, on_entry, &p);
	explicit_bzero(text, len);
	free(text);
	r = profile_check(&p, line, is_private);
	if (r == 0)
		*ret_source = SBX_TAKE(p.source);
	free(p.source);
	return r;
}

static char *profile_user_path(void)
{
	const char *base = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
	const struct passwd *pw;
	char *path = NULL;
	int r;

	/* the XDG rules: a relative path counts as none */
	if (base && base[0] == '/') {
		r = asprintf(&path, "%s/sbxfs/config", base);
		return r < 0 ? NULL : path;
	}
	if (!home || home[0] != '/') {
		pw = getpwuid(geteuid());
		home = pw ? pw->pw_dir : NULL;
	}
	if (!home)
		return NULL;
	r = asprintf(&path, "%s/.config/sbxfs/config", home);
	return r < 0 ? NULL : path;
}

int sbx_conf_read_profile(struct sbx_conf *conf, const char *name,
			  char **ret_source, struct sbx_error *reterr)
{
	SBX_FREE char *user = profile_user_path();
	int r = -ENOENT;

	if (user)
		r = profile_read_file(conf, user, name, ret_source, reterr);
	if (r == -ENOENT)
		r = profile_read_file(conf, SYSTEM_CONFIG, name, ret_source,
				      reterr);
	if (r == -ENOENT)
		sbx_error_set(reterr, r,
			      "\"%s\" is no SOURCE and no profile in %s or %s; "
			      "a SOURCE looks like local, local:DIR or "
			      "xgen+http://HOST:PORT",
			      name, user ? user : "~/.config/sbxfs/config",
			      SYSTEM_CONFIG);
	return r;
}
