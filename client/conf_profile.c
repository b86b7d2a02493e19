/*
 * Profiles: sections of an INI file, the user's own before the system's.
 *
 *	[work]
 *	source = xgen+https://sandboxes.example.org
 *	keyfile = /home/me/.xgen-key
 *	timeout = 60
 *
 *	[all]
 *	sources = work, other
 */
#include <ctype.h>
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
	struct sbx_profile *profile;
	bool found, holds_key;
	bool has_words; /* that make no sense beside "sources" */
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

bool sbx_conf_name_is_ok(const char *name, size_t len)
{
	size_t i;

	for (i = 0; i < len; i++)
		if (!isalnum((unsigned char)name[i]) && !strchr("._-", name[i]))
			return false;
	return len > 0;
}

/* Each is the name of a folder in the mount. */
static bool profile_add_source(struct profile_reader *p, const char *name,
			       size_t len)
{
	struct sbx_profile *to = p->profile;
	char **list;
	size_t i;

	if (!sbx_conf_name_is_ok(name, len) || name[0] == '.' || len > 64)
		return profile_wrong(p, "sources",
				     "must be names of other profiles, of at "
				     "most 64 characters, as in \"sources = a, "
				     "b\"");
	if (strlen(p->name) == len && !memcmp(p->name, name, len))
		return profile_wrong(p, "sources",
				     "names itself; give the names of other "
				     "profiles");
	for (i = 0; i < to->nr_sources; i++)
		if (strlen(to->sources[i]) == len &&
		    !memcmp(to->sources[i], name, len))
			return profile_wrong(p, "sources",
					     "has one name twice; take one of "
					     "them out");
	if (to->nr_sources == SBX_MAX_SOURCES)
		return profile_wrong(p, "sources",
				     "has more than 32 names; use several "
				     "mounts");
	list = realloc(to->sources, (to->nr_sources + 2) * sizeof(*list));
	if (list) {
		to->sources = list;
		list[to->nr_sources] = strndup(name, len);
		list[to->nr_sources + 1] = NULL;
	}
	if (list && list[to->nr_sources]) {
		to->nr_sources++;
		return true;
	}
	p->err = sbx_error_set(p->reterr, -ENOMEM, "out of memory");
	return false;
}

static bool profile_sources(struct profile_reader *p, const char *value)
{
	static const char between[] = ", \t";

	for (value += strspn(value, between); *value;
	     value += strspn(value, between)) {
		size_t len = strcspn(value, between);

		if (!profile_add_source(p, value, len))
			return false;
		value += len;
	}
	return true;
}

static bool profile_take(struct profile_reader *p, const char *key,
			 const char *value)
{
	struct sbx_conf *c = p->conf;

	if (!strcmp(key, "sources"))
		return profile_sources(p, value);
	p->has_words = true;
	if (!strcmp(key, "source"))
		return profile_string(p, &p->profile->source, value);
	if (!strcmp(key, "keyfile"))
		return profile_string(p, &c->profile_keyfile, value);
	if (!strcmp(key, "agent"))
		return profile_string(p, &c->agent, value);
	if (!strcmp(key, "project"))
		return profile_string(p, &c->project, value);
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
			     "there is no such word; those that there are: "
			     "source, key, token, keyfile, timeout, helper, "
			     "agent, project, sources");
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

static int profile_check(struct profile_reader *p, int line,
			 const struct sbx_conf_file *f)
{
	int r = sbx_conf_file_check(f, "the configuration", p->holds_key,
				    p->reterr);

	if (r < 0)
		return r;
	if (line > 0)
		return sbx_error_set(
			p->reterr, -EINVAL,
			"%s: line %d cannot be understood (a line is "
			"[NAME], or WORD = VALUE, of less than 200 "
			"characters; a longer key goes into a keyfile)",
			p->path, line);
	if (line < 0)
		return sbx_error_set(p->reterr, -ENOMEM, "out of memory");
	if (p->err)
		return p->err;
	if (!p->found)
		return -ENOENT;
	if (p->profile->sources && p->has_words)
		return sbx_error_set(
			p->reterr, -EINVAL,
			"%s: [%s] has sources, so it can have nothing else: "
			"its other words belong into the profiles that it "
			"names",
			p->path, p->name);
	if (!p->profile->sources && !p->profile->source)
		return sbx_error_set(
			p->reterr, -EINVAL,
			"%s: [%s] has no source; add a line like source = "
			"xgen+http://HOST:PORT",
			p->path, p->name);
	return 0;
}

static int profile_read_file(struct sbx_conf *conf, const char *path,
			     const char *name, struct sbx_profile *profile,
			     struct sbx_error *reterr)
{
	struct profile_reader p = {
		.conf = conf,
		.path = path,
		.name = name,
		.profile = profile,
		.reterr = reterr,
	};
	struct sbx_conf_file f;
	int r = sbx_conf_file_read(&f, path, "the configuration", reterr);

	if (r == 0)
		r = profile_check(&p, ini_parse_string(f.text, on_entry, &p),
				  &f);
	sbx_conf_file_release(&f);
	return r == -ENOTDIR ? -ENOENT : r;
}

void sbx_profile_release(struct sbx_profile *p)
{
	sbx_conf_names_free(p->sources);
	free(p->source);
	*p = (struct sbx_profile){0};
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
			  struct sbx_profile *ret, struct sbx_error *reterr)
{
	SBX_FREE char *user = profile_user_path();
	int r = -ENOENT;

	if (user)
		r = profile_read_file(conf, user, name, ret, reterr);
	if (r == -ENOENT)
		r = profile_read_file(conf, SYSTEM_CONFIG, name, ret, reterr);
	if (r == -ENOENT && sbx_conf_service_find(name, strlen(name)))
		sbx_error_set(reterr, r,
			      "%s needs an address: %s+http://HOST:PORT (and "
			      "there is no profile of that name)",
			      name, name);
	else if (r == -ENOENT)
		sbx_error_set(reterr, r,
			      "\"%s\" is no SOURCE and no profile in %s or %s; "
			      "a SOURCE looks like local, local:DIR or "
			      "xgen+http://HOST:PORT",
			      name, user ? user : "~/.config/sbxfs/config",
			      SYSTEM_CONFIG);
	return r;
}
