/*
 * Credentials: the API key, and tokens that the agent signs.  A token is two
 * base64url parts, payload and HMAC-SHA256, as the real service's.
 */
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdlib.h>
#include <string.h>

#include "tests/agent/http.h"

#define SIGNATURE_TEXT 64 /* 43 characters and an end */

static int base64url(const void *data, size_t len, char *to, size_t room)
{
	int n = lws_b64_encode_string_url(data, (int)len, to, (int)room);

	while (n > 0 && to[n - 1] == '=')
		to[--n] = 0;
	return n;
}

static void token_sign(const struct agent *agent, const char *payload,
		       size_t len, char to[SIGNATURE_TEXT])
{
	unsigned char mac[EVP_MAX_MD_SIZE];
	unsigned int mac_len = 0;

	HMAC(EVP_sha256(), agent->secret, sizeof(agent->secret),
	     (const unsigned char *)payload, len, mac, &mac_len);
	base64url(mac, mac_len, to, SIGNATURE_TEXT);
}

bool agent_token_is_key(const struct agent *agent, const char *key)
{
	size_t len = strlen(agent->key);

	return strlen(key) == len && !CRYPTO_memcmp(key, agent->key, len);
}

char *agent_token_new(struct agent *agent, int64_t *ret_expires_ms)
{
	int64_t now = agent_now_ms();
	char json[256], payload[400], signature[SIGNATURE_TEXT], *token;
	int n;

	*ret_expires_ms = now + agent->traits.token_life_s * INT64_C(1000);
	n = snprintf(json, sizeof(json),
		     "{\"sub\":\"default\",\"role\":\"admin\",\"iat\":%lld,"
		     "\"exp_ms\":%lld,\"nonce\":%u}",
		     (long long)(now / 1000), (long long)*ret_expires_ms,
		     agent_random(UINT32_MAX));
	n = base64url(json, (size_t)n, payload, sizeof(payload));
	token_sign(agent, payload, (size_t)n, signature);
	if (asprintf(&token, "%s.%s", payload, signature) < 0)
		return NULL;
	return token;
}

static const char *token_check(const struct agent *agent, const char *token)
{
	const char *dot = strchr(token, '.');
	char payload[512], signature[SIGNATURE_TEXT];
	json_t *claims;
	int64_t expires;
	int n;

	if (!dot || strchr(dot + 1, '.'))
		return "invalid token format";
	token_sign(agent, token, (size_t)(dot - token), signature);
	if (strlen(signature) != strlen(dot + 1) ||
	    CRYPTO_memcmp(signature, dot + 1, strlen(signature)))
		return "invalid token signature";
	n = lws_b64_decode_string_len(token, (int)(dot - token), payload,
				      sizeof(payload));
	if (n < 0)
		return "decode claims: illegal base64 data";
	claims = json_loadb(payload, (size_t)n, 0, NULL);
	if (!claims)
		return "unmarshal claims: unexpected end of JSON input";
	expires = json_integer_value(json_object_get(claims, "exp_ms"));
	json_decref(claims);
	return agent_now_ms() >= expires ? "token expired" : NULL;
}

const char *agent_token_check(struct agent *agent, const char *authorization,
			      const char *token)
{
	const char *space;

	if (!authorization)
		return token && *token ? token_check(agent, token)
				       : "missing authorization";
	space = strchr(authorization, ' ');
	if (!space)
		return "invalid authorization format";
	if (!strncmp(authorization, "ApiKey ", 7))
		return agent_token_is_key(agent, space + 1) ? NULL
							    : "invalid API key";
	if (!strncmp(authorization, "Bearer ", 7))
		return token_check(agent, space + 1);
	return "unsupported auth scheme";
}
