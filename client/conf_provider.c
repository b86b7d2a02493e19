/*
 * Whose machines a ComputeSDK gateway is to use, and the credentials for
 * them: header lines of every request to it.  From the environment, before
 * any thread exists.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/cleanup.h"
#include "client/conf_parts.h"
#include "client/limits.h"

#define PROVIDER_ENV	 "COMPUTESDK_PROVIDER"
#define DEFAULT_PROVIDER "computesdk" /* which needs no credentials */
#define MAX_LINES	 8

/* In the order in which they are looked for; the first of a provider's is
 * the one by which it is known. */
static const struct {
	const char *provider, *env, *header;
} credentials[] = {
	{"e2b", "E2B_API_KEY", "X-E2B-API-Key"},
	{"railway", "RAILWAY_API_KEY", "X-Railway-API-Key"},
	{"railway", "RAILWAY_PROJECT_ID", "X-Railway-Project-ID"},
	{"railway", "RAILWAY_ENVIRONMENT_ID", "X-Railway-Environment-ID"},
	{"render", "RENDER_API_KEY", "X-Render-API-Key"},
	{"render", "RENDER_OWNER_ID", "X-Render-Owner-ID"},
	{"daytona", "DAYTONA_API_KEY", "X-Daytona-API-Key"},
	{"modal", "MODAL_TOKEN_ID", "X-Modal-Token-Id"},
	{"modal", "MODAL_TOKEN_SECRET", "X-Modal-Token-Secret"},
	{"runloop", "RUNLOOP_API_KEY", "X-Runloop-API-Key"},
	{"vercel", "VERCEL_OIDC_TOKEN", "X-Vercel-OIDC-Token"},
	{"vercel", "VERCEL_TOKEN", "X-Vercel-Token"},
	{"vercel", "VERCEL_TEAM_ID", "X-Vercel-Team-Id"},
	{"vercel", "VERCEL_PROJECT_ID", "X-Vercel-Project-Id"},
	{"cloudflare", "CLOUDFLARE_SANDBOX_URL", "X-Cloudflare-Sandbox-Url"},
	{"cloudflare", "CLOUDFLARE_SANDBOX_SECRET",
	 "X-Cloudflare-Sandbox-Secret"},
	{"cloudflare", "CLOUDFLARE_API_TOKEN", "X-Cloudflare-API-Token"},
	{"cloudflare", "CLOUDFLARE_ACCOUNT_ID", "X-Cloudflare-Account-Id"},
	{"codesandbox", "CSB_API_KEY", "X-CodeSandbox-API-Key"},
	{"blaxel", "BL_API_KEY", "X-Blaxel-API-Key"},
	{"blaxel", "BL_WORKSPACE", "X-Blaxel-Workspace"},
	{"namespace", "NSC_TOKEN", "X-Namespace-Token"},
	{"hopx", "HOPX_API_KEY", "X-HOPX-API-Key"},
	{"beam", "BEAM_TOKEN", "X-Beam-Token"},
	{"beam", "BEAM_WORKSPACE_ID", "X-Beam-Workspace-Id"},
	{"sprites", "SPRITES_TOKEN", "X-Sprites-Token"},
	{"agentuity", "AGENTUITY_SDK_KEY", "X-Agentuity-SDK-Key"},
	{"freestyle", "FREESTYLE_API_KEY", "X-Freestyle-API-Key"},
	{"upstash", "UPSTASH_BOX_API_KEY", "X-Upstash-Box-API-Key"},
	{"fly", "FLY_API_TOKEN", "X-Fly-API-Token"},
	{"lambda", "LAMBDA_API_KEY", "X-Lambda-API-Key"},
};
#define NR_CREDENTIALS (sizeof(credentials) / sizeof(credentials[0]))

const char *sbx_conf_provider_env(size_t n)
{
	return n < NR_CREDENTIALS ? credentials[n].env : NULL;
}

static const char *env_of(const char *name)
{
	const char *value = getenv(name);

	return value && *value ? value : NULL;
}

static const char *provider_found(void)
{
	const char *word = env_of(PROVIDER_ENV);
	size_t i;

	if (word)
		return word;
	for (i = 0; i < NR_CREDENTIALS; i++)
		if (env_of(credentials[i].env))
			return credentials[i].provider;
	return DEFAULT_PROVIDER;
}

static bool provider_is_valid(const char *word)
{
	size_t len = strspn(word, "abcdefghijklmnopqrstuvwxyz0123456789-");

	return len > 0 && len <= 40 && !word[len];
}

/* "NAME: VALUE" as a secret at the end of the list. */
static int add_line(struct sbx_conf *conf, size_t *nr, const char *name,
		    const char *value, const char *where,
		    struct sbx_error *reterr)
{
	char line[SBX_MAX_SECRET + 64];
	struct sbx_secret *checked;
	int n;

	checked =
		sbx_conf_secret_from_text(value, strlen(value), where, reterr);
	if (!checked)
		return -EINVAL;
	n = snprintf(line, sizeof(line), "%s: %s", name,
		     sbx_secret_text(checked));
	sbx_secret_free(checked);
	if (n > 0 && n < SBX_MAX_SECRET)
		conf->headers[*nr] = sbx_secret_new(line, (size_t)n);
	explicit_bzero(line, sizeof(line));
	if (!conf->headers[*nr])
		return sbx_error_set(reterr, -EINVAL, "%s: it is too long",
				     where);
	(*nr)++;
	return 0;
}

int sbx_conf_find_provider(struct sbx_conf *conf, struct sbx_error *reterr)
{
	const char *provider = provider_found(), *value;
	size_t i, nr = 0;
	int r;

	if (!provider_is_valid(provider))
		return sbx_error_set(reterr, -EINVAL,
				     PROVIDER_ENV " is no name of a provider, "
						  "as e2b or modal");
	conf->headers = calloc(MAX_LINES + 1, sizeof(*conf->headers));
	if (!conf->headers)
		return sbx_error_set(reterr, -ENOMEM, "out of memory");
	r = add_line(conf, &nr, "X-Provider", provider, PROVIDER_ENV, reterr);
	for (i = 0; r == 0 && i < NR_CREDENTIALS && nr < MAX_LINES; i++) {
		value = env_of(credentials[i].env);
		if (value && !strcmp(credentials[i].provider, provider))
			r = add_line(conf, &nr, credentials[i].header, value,
				     credentials[i].env, reterr);
	}
	return r;
}
