#include "client/error.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Texts embed words of a stranger: nothing in them may move a cursor. */
static void error_clean(char *text)
{
	unsigned char *p;

	for (p = (unsigned char *)text; *p; p++)
		if (*p < 0x20 || *p == 0x7f)
			*p = ' ';
}

/* A text that was cut must not end in half a UTF-8 character. */
static void error_trim(char *text, size_t len)
{
	size_t n = len;

	while (n > 0 && ((unsigned char)text[n - 1] & 0xc0) == 0x80)
		n--;
	if (n > 0 && ((unsigned char)text[n - 1] & 0xc0) == 0xc0)
		text[n - 1] = '\0';
}

__attribute__((format(printf, 2, 0))) static void
error_say(struct sbx_error *e, const char *fmt, va_list ap)
{
	int n = vsnprintf(e->text, sizeof(e->text), fmt, ap);

	if (n < 0)
		e->text[0] = '\0';
	else if ((size_t)n >= sizeof(e->text))
		error_trim(e->text, sizeof(e->text) - 1);
	error_clean(e->text);
}

int sbx_error_vset(struct sbx_error *e, int err, const char *fmt, va_list ap)
{
	if (!e)
		return err;
	e->err = err;
	e->retry = SBX_RETRY_NEVER;
	e->status = 0;
	error_say(e, fmt, ap);
	return err;
}

void sbx_error_reword(struct sbx_error *e, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	error_say(e, fmt, ap);
	va_end(ap);
}

int sbx_error_set(struct sbx_error *e, int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	sbx_error_vset(e, err, fmt, ap);
	va_end(ap);
	return err;
}

static const struct {
	int status, err;
	enum sbx_retry retry;
	const char *text;
} http_errors[] = {
	{400, -EINVAL, SBX_RETRY_NEVER, "the request was refused as wrong"},
	{401, -EACCES, SBX_RETRY_TOKEN,
	 "the key or token was refused; check it, or get a new one"},
	{403, -EACCES, SBX_RETRY_NEVER,
	 "the key does not have the right to do this"},
	{404, -ENOENT, SBX_RETRY_NEVER, "not found"},
	{408, -ETIMEDOUT, SBX_RETRY_LATER, "the service ran out of time"},
	{409, -EAGAIN, SBX_RETRY_LATER, "not ready"},
	{410, -ENOENT, SBX_RETRY_NEVER, "gone"},
	{413, -EMSGSIZE, SBX_RETRY_NEVER, "the request is too large"},
	{422, -EINVAL, SBX_RETRY_NEVER, "the request was refused as wrong"},
	{425, -EAGAIN, SBX_RETRY_LATER, "not ready"},
	{429, -EAGAIN, SBX_RETRY_LATER,
	 "too many requests for now; it will work again in a minute"},
	{501, -EOPNOTSUPP, SBX_RETRY_NEVER, "the service cannot do this"},
	{502, -EAGAIN, SBX_RETRY_LATER,
	 "the service is not reachable behind "
	 "its gateway"},
	{503, -EAGAIN, SBX_RETRY_LATER, "the service is not ready"},
	{504, -ETIMEDOUT, SBX_RETRY_LATER, "the service ran out of time"},
	{507, -ENOSPC, SBX_RETRY_NEVER, "the service has no space left"},
};

int sbx_error_from_http(struct sbx_error *e, int status, const char *what)
{
	size_t i;
	int err;

	for (i = 0; i < sizeof(http_errors) / sizeof(http_errors[0]); i++) {
		if (http_errors[i].status != status)
			continue;
		err = sbx_error_set(e, http_errors[i].err, "%s: %s (HTTP %d)",
				    what, http_errors[i].text, status);
		if (e) {
			e->retry = http_errors[i].retry;
			e->status = status;
		}
		return err;
	}
	if (status >= 400 && status < 500)
		err = sbx_error_set(e, -EIO, "%s: refused (HTTP %d)", what,
				    status);
	else if (status >= 500 && status < 600)
		err = sbx_error_set(e, -EIO, "%s: the service failed (HTTP %d)",
				    what, status);
	else
		err = sbx_error_set(e, -EPROTO,
				    "%s: unexpected answer (HTTP %d); check "
				    "the address of the service",
				    what, status);
	if (e) {
		e->status = status;
		if (status >= 500 && status < 600)
			e->retry = SBX_RETRY_LATER;
	}
	return err;
}

bool sbx_error_is_no_route(int status, const char *body, size_t len)
{
	static const char words[] = "404 page not found";

	return status == 404 && len >= sizeof(words) - 1 &&
	       !memcmp(body, words, sizeof(words) - 1);
}

int sbx_error_wonder(struct sbx_error *e, const char *url, const char *product,
		     const char *why)
{
	return sbx_error_set(e, -EPROTO,
			     "what answers at %.80s does not look like %s "
			     "(%s); check the address",
			     url, product, why);
}
