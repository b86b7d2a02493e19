#include "client/conf.h"

#include <ctype.h>
#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/cleanup.h"
#include "client/conf_parts.h"
#include "client/limits.h"

#define DEFAULT_TIMEOUT_MS 30000
#define MAX_ONLY	   255

static const struct sbx_conf_service services[] = {
	{"local", NULL, NULL},
	{"xgen", "XGEN_API_KEY", "XGEN_TOKEN"},
	{"opensandbox", "OPEN_SANDBOX_API_KEY", "EXECD_ACCESS_TOKEN",
	 .key_is_optional = true, .token_beside_key = true},
	{"vtrix", "VTRIX_API_KEY", NULL},
	{"computesdk", "COMPUTESDK_API_KEY", "COMPUTESDK_ACCESS_TOKEN",
	 .has_providers = true},
	{"timetravel", "TIMETRAVEL_API_KEY", NULL},
};

const struct sbx_conf_service *sbx_conf_service_find(const char *word,
						     size_t len)
{
	size_t i;

	for (i = 0; i < sizeof(services) / sizeof(services[0]); i++)
		if (strlen(services[i].word) == len &&
		    !memcmp(services[i].word, word, len))
			return &services[i];
	return NULL;
}

const struct sbx_conf_service *sbx_conf_service_nth(size_t n)
{
	return n < sizeof(services) / sizeof(services[0]) ? &services[n] : NULL;
}

void sbx_conf_init(struct sbx_conf *conf)
{
	memset(conf, 0, sizeof(*conf));
	conf->timeout_ms = DEFAULT_TIMEOUT_MS;
	conf->helper = true;
}

void sbx_conf_release(struct sbx_conf *conf)
{
	size_t i;

	free(conf->service);
	free(conf->url);
	free(conf->dir);
	free(conf->only);
	free(conf->agent);
	sbx_conf_names_free(conf->agent_args);
	free(conf->project);
	free(conf->profile_keyfile);
	for (i = 0; conf->headers && conf->headers[i]; i++)
		sbx_secret_free(conf->headers[i]);
	free(conf->headers);
	sbx_secret_free(conf->key);
	sbx_secret_free(conf->token);
	sbx_secret_free(conf->profile_key);
	sbx_secret_free(conf->profile_token);
	memset(conf, 0, sizeof(*conf));
}

int sbx_conf_parse_timeout(const char *text, unsigned int *ret_ms)
{
	unsigned long v;
	char *end;

	if (!isdigit((unsigned char)text[0]))
		return -EINVAL;
	errno = 0;
	v = strtoul(text, &end, 10);
	if (*end || errno || v < 1 || v > SBX_MAX_TIMEOUT_MS / 1000)
		return -EINVAL;
	*ret_ms = (unsigned int)v * 1000;
	return 0;
}

static int conf_no_memory(struct sbx_error *reterr)
{
	return sbx_error_set(reterr, -ENOMEM, "out of memory");
}

static int conf_set_only(struct sbx_conf *conf, const char *only,
			 struct sbx_error *reterr)
{
	size_t len = strlen(only);

	if (!len)
		return 0;
	if (len > MAX_ONLY || strchr(only, '/') || !strcmp(only, ".") ||
	    !strcmp(only, ".."))
		return sbx_error_set(reterr, -EINVAL,
				     "\"%.80s\" cannot be the id or name of a "
				     "sandbox; after the address comes at most "
				     "one /ID",
				     only);
	free(conf->only);
	conf->only = strdup(only);
	return conf->only ? 0 : conf_no_memory(reterr);
}

static char *conf_default_dir(void)
{
	const char *base = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
	const struct passwd *pw;
	char *dir = NULL;
	int r;

	if (base && base[0] == '/') {
		r = asprintf(&dir, "%s/sbxfs", base);
		return r < 0 ? NULL : dir;
	}
	if (!home || home[0] != '/') {
		pw = getpwuid(geteuid());
		home = pw ? pw->pw_dir : "/";
	}
	r = asprintf(&dir, "%s/.local/share/sbxfs", home);
	return r < 0 ? NULL : dir;
}

/* The daemon's own folder will be "/": what is relative is so now. */
static char *conf_absolute(const char *dir)
{
	SBX_FREE char *cwd = NULL;
	char *full = NULL;

	if (dir[0] == '/')
		return strdup(dir);
	cwd = getcwd(NULL, 0);
	if (!cwd || asprintf(&full, "%s/%s", cwd, dir) < 0)
		return NULL;
	return full;
}

/* rest: what follows "local" */
static int conf_parse_local(struct sbx_conf *conf, const char *rest,
			    struct sbx_error *reterr)
{
	SBX_FREE char *dir = NULL;
	char *sep;

	if (rest[0] == ':') {
		dir = strdup(rest + 1);
		if (!dir)
			return conf_no_memory(reterr);
		/* a folder has slashes of its own, so its ID needs two */
		sep = strlen(dir) > 1 ? strstr(dir + 1, "//") : NULL;
		rest = sep ? rest + 1 + (sep - dir) + 1 : "";
		if (sep)
			*sep = '\0';
		if (!*dir)
			return sbx_error_set(
				reterr, -EINVAL,
				"local: needs a folder after the "
				"colon, as in local:/srv/sandboxes");
	}
	free(conf->dir);
	conf->dir = dir ? conf_absolute(dir) : conf_default_dir();
	if (!conf->dir)
		return conf_no_memory(reterr);
	return rest[0] == '/' ? conf_set_only(conf, rest + 1, reterr) : 0;
}

static bool host_is_valid(const char *host, size_t len)
{
	const char *port = NULL;
	size_t i = 0, digits = 0;

	if (len > 0 && host[0] == '[') {
		for (i = 1; i < len && host[i] != ']'; i++)
			if (!isxdigit((unsigned char)host[i]) &&
			    host[i] != ':' && host[i] != '.')
				return false;
		if (i < 3 || i == len)
			return false;
		i++;
	} else {
		while (i < len &&
		       (isalnum((unsigned char)host[i]) || host[i] == '-' ||
			host[i] == '.' || host[i] == '_'))
			i++;
		if (i == 0 || i > 253)
			return false;
	}
	if (i == len)
		return true;
	if (host[i] != ':')
		return false;
	port = host + i + 1;
	digits = len - i - 1;
	for (i = 0; i < digits; i++)
		if (!isdigit((unsigned char)port[i]))
			return false;
	return digits >= 1 && digits <= 5 && atoi(port) >= 1 &&
	       atoi(port) <= 65535;
}

/* "/a/b", nothing in which means anything to a server or a proxy. */
static bool path_is_valid(const char *path, size_t len)
{
	size_t i, from = 1;

	for (i = 1; i <= len; i++) {
		if (i < len && path[i] != '/') {
			if (!isalnum((unsigned char)path[i]) &&
			    !strchr("-._~", path[i]))
				return false;
			continue;
		}
		if (strspn(path + from, ".") >= i - from)
			return false;
		from = i + 1;
	}
	return true;
}

/* url: "http://host:port[/PATH/][/ID]" */
static int conf_parse_url(struct sbx_conf *conf, const char *url,
			  struct sbx_error *reterr)
{
	const char *host = NULL, *path, *id;
	size_t len;

	if (!strncmp(url, "http://", 7))
		host = url + 7;
	else if (!strncmp(url, "https://", 8))
		host = url + 8;
	if (!host)
		return sbx_error_set(reterr, -EINVAL,
				     "after %s+ must come http:// or https://, "
				     "as in %s+http://HOST:PORT",
				     conf->service, conf->service);
	path = strchr(host, '/');
	id = path ? strrchr(path, '/') : NULL;
	len = path ? (size_t)(path - host) : strlen(host);
	if (memchr(host, '@', len))
		return sbx_error_set(
			reterr, -EINVAL,
			"a SOURCE holds no user or key, others could see it; "
			"use a key file: -o keyfile=FILE");
	if (!host_is_valid(host, len))
		return sbx_error_set(reterr, -EINVAL,
				     "\"%.*s\" is no HOST or HOST:PORT",
				     (int)(len < 80 ? len : 80), host);
	if (path && id > path && !path_is_valid(path, (size_t)(id - path)))
		return sbx_error_set(
			reterr, -EINVAL, "\"%.*s\" is no path of a service",
			(int)(id - path < 80 ? id - path : 80), path);
	free(conf->url);
	conf->url = strndup(url, id ? (size_t)(id - url)
				    : (size_t)(host - url) + len);
	if (!conf->url)
		return conf_no_memory(reterr);
	return id ? conf_set_only(conf, id + 1, reterr) : 0;
}

static int conf_set_service(struct sbx_conf *conf,
			    const struct sbx_conf_service *s,
			    struct sbx_error *reterr)
{
	free(conf->service);
	conf->service = strdup(s->word);
	if (!conf->service)
		return conf_no_memory(reterr);
	return 0;
}

static int conf_no_service(const char *word, size_t len,
			   struct sbx_error *reterr)
{
	char known[160] = "";
	size_t i, n = 0;

	for (i = 0; i < sizeof(services) / sizeof(services[0]); i++)
		n += (size_t)snprintf(known + n, sizeof(known) - n, "%s%s",
				      i ? ", " : "", services[i].word);
	return sbx_error_set(reterr, -EINVAL,
			     "\"%.*s\" is no service; known are %s",
			     (int)(len < 40 ? len : 40), word, known);
}

/* 1: this is no SOURCE but may be the name of a profile */
static int conf_parse_direct(struct sbx_conf *conf, const char *source,
			     struct sbx_error *reterr)
{
	const struct sbx_conf_service *s;
	size_t word = strcspn(source, "+:/");
	int r;

	s = sbx_conf_service_find(source, word);
	if (s && !strcmp(s->word, "local") && source[word] != '+') {
		r = conf_set_service(conf, s, reterr);
		return r < 0 ? r
			     : conf_parse_local(conf, source + word, reterr);
	}
	if (source[word] == '+') {
		if (!s || !strcmp(s->word, "local"))
			return conf_no_service(source, word, reterr);
		r = conf_set_service(conf, s, reterr);
		return r < 0 ? r
			     : conf_parse_url(conf, source + word + 1, reterr);
	}
	if (s && source[word] == ':')
		return sbx_error_set(reterr, -EINVAL,
				     "%s needs an address: %s+http://HOST:PORT",
				     s->word, s->word);
	if (!strncmp(source, "http://", 7) || !strncmp(source, "https://", 8))
		return sbx_error_set(reterr, -EINVAL,
				     "the address needs the service before it, "
				     "as in xgen+%.100s",
				     source);
	if (!strncmp(source + word, "://", 3))
		return conf_no_service(source, word, reterr);
	return 1;
}

static int conf_parse_profile(struct sbx_conf *conf, const char *source,
			      struct sbx_error *reterr)
{
	size_t len = strcspn(source, "/");
	SBX_FREE char *name = strndup(source, len);
	struct sbx_profile profile = {0};
	int r;

	if (!name)
		return conf_no_memory(reterr);
	if (!sbx_conf_name_is_ok(name, len))
		return sbx_error_set(reterr, -EINVAL,
				     "\"%.80s\" is no SOURCE; it looks like "
				     "local, local:DIR, xgen+http://HOST:PORT, "
				     "or the name of a profile",
				     source);
	r = sbx_conf_read_profile(conf, name, &profile, reterr);
	if (r == 0 && profile.sources)
		r = sbx_error_set(reterr, -EINVAL,
				  "profile %s stands for several services; "
				  "name one of them instead",
				  name);
	if (r == 0)
		r = conf_parse_direct(conf, profile.source, reterr);
	if (r > 0)
		r = sbx_error_set(
			reterr, -EINVAL,
			"profile %s: its source \"%.80s\" is none; it "
			"looks like local or xgen+http://HOST:PORT",
			name, profile.source);
	if (r == 0 && source[len] == '/')
		r = conf_set_only(conf, source + len + 1, reterr);
	sbx_profile_release(&profile);
	return r;
}

/* Whether a profile is meant, and its name could be one. */
static bool is_profile_name(const char *source)
{
	size_t len = strlen(source);

	return sbx_conf_name_is_ok(source, len) && strcmp(source, "local");
}

int sbx_conf_parse_sources(const char *source, char ***ret_names,
			   struct sbx_error *reterr)
{
	struct sbx_profile profile = {0};
	struct sbx_conf conf;
	int r = 0;

	*ret_names = NULL;
	if (!is_profile_name(source))
		return 0;
	sbx_conf_init(&conf);
	r = sbx_conf_read_profile(&conf, source, &profile, reterr);
	sbx_conf_release(&conf);
	if (r == 0)
		*ret_names = SBX_TAKE(profile.sources);
	sbx_profile_release(&profile);
	return r;
}

void sbx_conf_names_free(char **names)
{
	for (size_t i = 0; names && names[i]; i++)
		free(names[i]);
	free(names);
}

int sbx_conf_parse_source(struct sbx_conf *conf, const char *source,
			  struct sbx_error *reterr)
{
	int r = conf_parse_direct(conf, source, reterr);

	return r > 0 ? conf_parse_profile(conf, source, reterr) : r;
}
