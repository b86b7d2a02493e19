/*
 * Where the key comes from: a key file, the environment, the profile.  Before
 * any thread exists, since it changes the environment.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/cleanup.h"
#include "client/conf_parts.h"
#include "client/limits.h"

#define GENERAL_ENV "SBXFS_API_KEY"

/*
 * A key becomes part of a header line: nothing but visible ASCII, or it
 * could add lines of its own.
 */
struct sbx_secret *sbx_conf_secret_from_text(const char *text, size_t len,
					     const char *where,
					     struct sbx_error *reterr)
{
	struct sbx_secret *s;
	size_t i;

	while (len > 0 && strchr(" \t\r\n", text[len - 1]))
		len--;
	while (len > 0 && strchr(" \t\r\n", *text)) {
		text++;
		len--;
	}
	if (!len) {
		sbx_error_set(reterr, -EINVAL, "%s: there is no key in it",
			      where);
		return NULL;
	}
	for (i = 0; i < len; i++) {
		if (text[i] > 0x20 && text[i] < 0x7f)
			continue;
		sbx_error_set(reterr, -EINVAL,
			      "%s: what is in it cannot be a key: it has "
			      "blanks, line breaks or other characters that "
			      "keys do not have",
			      where);
		return NULL;
	}
	s = sbx_secret_new(text, len);
	if (!s)
		sbx_error_set(reterr, len > SBX_MAX_SECRET ? -EINVAL : -ENOMEM,
			      "%s: the key is too long", where);
	return s;
}

static int key_from_file(struct sbx_conf *conf, const char *path,
			 struct sbx_error *reterr)
{
	static const char what[] = "the key file";
	struct sbx_conf_file f;
	int r = sbx_conf_file_read(&f, path, what, reterr);

	if (r == 0)
		r = sbx_conf_file_check(&f, what, true, reterr);
	if (r == 0) {
		conf->key =
			sbx_conf_secret_from_text(f.text, f.len, path, reterr);
		r = conf->key ? 0 : -EINVAL;
	}
	sbx_conf_file_release(&f);
	return r;
}

/* Its bytes are wiped, too, since /proc/PID/environ shows them for as long as
 * we live. */
static void env_wipe(const char *name)
{
	char *value = name ? getenv(name) : NULL;

	if (!value)
		return;
	explicit_bzero(value, strlen(value));
	unsetenv(name);
}

/* No key of any service is left to child processes. */
void sbx_conf_wipe_environment(void)
{
	const struct sbx_conf_service *s;
	size_t i;

	for (i = 0; (s = sbx_conf_service_nth(i)); i++) {
		env_wipe(s->key_env);
		env_wipe(s->token_env);
	}
	for (i = 0; sbx_conf_provider_env(i); i++)
		env_wipe(sbx_conf_provider_env(i));
	env_wipe(GENERAL_ENV);
}

static int key_from_env(const char *name, struct sbx_secret **ret,
			struct sbx_error *reterr)
{
	const char *value = name ? getenv(name) : NULL;

	if (!value || !*value)
		return 0;
	*ret = sbx_conf_secret_from_text(value, strlen(value), name, reterr);
	return *ret ? 1 : -EINVAL;
}

/* 1: found */
static int key_from_environment(struct sbx_conf *conf,
				const struct sbx_conf_service *service,
				struct sbx_error *reterr)
{
	int r;

	r = key_from_env(service->key_env, &conf->key, reterr);
	if (r == 0 && !service->token_beside_key)
		r = key_from_env(service->token_env, &conf->token, reterr);
	if (r == 0)
		r = key_from_env(GENERAL_ENV, &conf->key, reterr);
	return r;
}

/* 1: found */
static int key_from_profile(struct sbx_conf *conf, struct sbx_error *reterr)
{
	int r;

	if (conf->profile_key || conf->profile_token) {
		conf->key = SBX_TAKE(conf->profile_key);
		if (!conf->key)
			conf->token = SBX_TAKE(conf->profile_token);
		return 1;
	}
	if (!conf->profile_keyfile)
		return 0;
	r = key_from_file(conf, conf->profile_keyfile, reterr);
	return r < 0 ? r : 1;
}

static int find_key(struct sbx_conf *conf,
		    const struct sbx_conf_service *service, const char *keyfile,
		    struct sbx_error *reterr)
{
	int r = 0;

	if (keyfile)
		return key_from_file(conf, keyfile, reterr);
	if (conf->own_key_first)
		r = key_from_profile(conf, reterr);
	if (r == 0)
		r = key_from_environment(conf, service, reterr);
	if (r == 0)
		r = key_from_profile(conf, reterr);
	if (r != 0 || service->key_is_optional)
		return r < 0 ? r : 0;
	return sbx_error_set(reterr, -ENOKEY,
			     "there is no key for %s; put it into a private "
			     "file and give -o keyfile=FILE, or set %s",
			     conf->url ? conf->url : conf->service,
			     service->key_env);
}

static int find_token(struct sbx_conf *conf,
		      const struct sbx_conf_service *service,
		      struct sbx_error *reterr)
{
	int r = 0;

	if (conf->token || !service->token_beside_key)
		return 0;
	if (!conf->own_key_first || !conf->profile_token)
		r = key_from_env(service->token_env, &conf->token, reterr);
	if (r == 0)
		conf->token = SBX_TAKE(conf->profile_token);
	return r < 0 ? r : 0;
}

int sbx_conf_find_key(struct sbx_conf *conf, const char *keyfile,
		      struct sbx_error *reterr)
{
	const struct sbx_conf_service *service;
	int r;

	service = sbx_conf_service_find(conf->service, strlen(conf->service));
	if (!service)
		return sbx_error_set(reterr, -EINVAL, "no service was named");
	if (!service->key_env)
		return 0;
	r = find_key(conf, service, keyfile, reterr);
	if (r == 0 && service->has_providers)
		r = sbx_conf_find_provider(conf, reterr);
	return r < 0 ? r : find_token(conf, service, reterr);
}
