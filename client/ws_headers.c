/*
 * Header lines of our own in a WebSocket's handshake.  Called by ws.c only.
 */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/cleanup.h"
#include "client/ws_parts.h"

void sbx_ws_wipe_headers(struct sbx_ws *ws)
{
	size_t i;

	for (i = 0; i < ws->nr_headers; i++)
		sbx_wipe(ws->headers[i]);
	free(ws->headers);
	ws->headers = NULL;
	ws->nr_headers = 0;
}

static int ws_add_header(struct sbx_ws *ws, const char *name,
			 const char *scheme, const char *value)
{
	char **h = realloc(ws->headers, (ws->nr_headers + 1) * sizeof(*h));

	if (!h)
		return -ENOMEM;
	ws->headers = h;
	h += ws->nr_headers;
	if (asprintf(h, "%s%s%s%s%s", name, *name ? ": " : "", scheme,
		     *scheme ? " " : "", value) < 0)
		return -ENOMEM;
	ws->nr_headers++;
	return 0;
}

int sbx_ws_make_headers(struct sbx_ws *ws, const struct sbx_ws_conf *conf)
{
	const char *secret = sbx_secret_text(conf->auth);
	size_t i;
	int r = 0;

	if (conf->auth_scheme)
		r = ws_add_header(ws, "Authorization", conf->auth_scheme,
				  secret);
	else if (conf->auth_name && conf->auth)
		r = ws_add_header(ws, conf->auth_name, "", secret);
	for (i = 0; r == 0 && conf->headers && conf->headers[i]; i++)
		r = ws_add_header(ws, "", "", conf->headers[i]);
	return r;
}

int sbx_ws_put_headers(struct sbx_ws *ws, struct lws *wsi, void *in, size_t len)
{
	unsigned char **at = in, *end = *at + len;
	char name[64];
	size_t i;

	for (i = 0; i < ws->nr_headers; i++) {
		const char *value = strchr(ws->headers[i], ':');

		/* libwebsockets wants the colon with the name */
		if (!value ||
		    value + 2 - ws->headers[i] > (ptrdiff_t)sizeof(name))
			return -1;
		value++;
		snprintf(name, (size_t)(value - ws->headers[i]) + 1, "%s",
			 ws->headers[i]);
		value += *value == ' ';
		if (lws_add_http_header_by_name(wsi,
						(const unsigned char *)name,
						(const unsigned char *)value,
						(int)strlen(value), at, end))
			return -1;
	}
	return 0;
}
