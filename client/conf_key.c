/*
 * Where the key comes from: a key file, the environment, the profile.  Before
 * any thread exists, since it changes the environment.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/cleanup.h"
#include "client/conf_parts.h"
#include "client/limits.h"

#define GENERAL_ENV "SBXFS_API_KEY"

int sbx_conf_read_file(const char *path, char **ret_text, size_t *ret_len,
		       bool *ret_private)
{
	SBX_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	size_t len = 0;
	struct stat st;
	ssize_t n;
	char *text;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	text = malloc(SBX_MAX_CONFIG + 1);
	if (!text)
		return -ENOMEM;
	while (len <= SBX_MAX_CONFIG) {
		n = read(fd, text + len, SBX_MAX_CONFIG + 1 - len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		len += (size_t)n;
	}
	if (len > SBX_MAX_CONFIG) {
		explicit_bzero(text, len);
		free(text);
		return -EFBIG;
	}
	text[len] = '\0';
	*ret_private = !(st.st_mode & (S_IRGRP | S_IROTH)) &&
		       (st.st_uid == geteuid() || st.st_uid == 0);
	*ret_text = text;
	*ret_len = len;
	return 0;
}

/*
 * A key becomes part of a header line: nothing but visible ASCII, or it
 * could add lines of its own.
 */
static struct sbx_secret *secret_from_text(const char *text, size_t len,
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
	bool is_private = false;
	char *text = NULL;
	size_t len = 0;
	int r;

	r = sbx_conf_read_file(path, &text, &len, &is_private);
	if (r < 0)
		return sbx_error_set(reterr, r,
				     "cannot read the key file %s: "
				     "%s",
				     path, strerror(-r));
	if (is_private)
		conf->key = secret_from_text(text, len, path, reterr);
	else
		sbx_error_set(reterr, -EACCES,
			      "the key file %s can be read by others; make it "
			      "private: chmod 600 %s",
			      path, path);
	explicit_bzero(text, len);
	free(text);
	if (conf->key)
		return 0;
	return is_private ? -EINVAL : -EACCES;
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
static void env_wipe_all(void)
{
	const struct sbx_conf_service *s;
	size_t i;

	for (i = 0; (s = sbx_conf_service_nth(i)); i++) {
		env_wipe(s->key_env);
		env_wipe(s->token_env);
	}
	env_wipe(GENERAL_ENV);
}

static int key_from_env(const char *name, struct sbx_secret **ret,
			struct sbx_error *reterr)
{
	const char *value = name ? getenv(name) : NULL;

	if (!value || !*value)
		return 0;
	*ret = secret_from_text(value, strlen(value), name, reterr);
	return *ret ? 1 : -EINVAL;
}

/* 1: found */
static int key_from_environment(struct sbx_conf *conf,
				const struct sbx_conf_service *service,
				struct sbx_error *reterr)
{
	int r;

	r = key_from_env(service->key_env, &conf->key, reterr);
	if (r == 0)
		r = key_from_env(service->token_env, &conf->token, reterr);
	if (r == 0)
		r = key_from_env(GENERAL_ENV, &conf->key, reterr);
	return r;
}

static int find_key(struct sbx_conf *conf,
		    const struct sbx_conf_service *service, const char *keyfile,
		    struct sbx_error *reterr)
{
	int r;

	if (keyfile)
		return key_from_file(conf, keyfile, reterr);
	r = key_from_environment(conf, service, reterr);
	if (r != 0)
		return r < 0 ? r : 0;
	if (conf->profile_key || conf->profile_token) {
		conf->key = SBX_TAKE(conf->profile_key);
		if (!conf->key)
			conf->token = SBX_TAKE(conf->profile_token);
		return 0;
	}
	if (conf->profile_keyfile)
		return key_from_file(conf, conf->profile_keyfile, reterr);
	return sbx_error_set(reterr, -ENOKEY,
			     "there is no key for %s; put it into a private "
			     "file and give -o keyfile=FILE, or set %s",
			     conf->url ? conf->url : conf->service,
			     service->key_env);
}

int sbx_conf_find_key(struct sbx_conf *conf, const char *keyfile,
		      struct sbx_error *reterr)
{
	const struct sbx_conf_service *service;
	int r = 0;

	service = sbx_conf_service_find(conf->service, strlen(conf->service));
	if (!service)
		return sbx_error_set(reterr, -EINVAL, "no service was named");
	if (service->key_env)
		r = find_key(conf, service, keyfile, reterr);
	env_wipe_all();
	return r;
}
