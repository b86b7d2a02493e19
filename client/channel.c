#include "client/channel.h"

#include <stdlib.h>
#include <string.h>

#include "client/exchange.h"
#include "client/log.h"
#include "client/plain.h"
#include "client/streamed.h"

/* One of them carries: plain if it is there, else exchange or streamed. */
struct sbx_channel {
	uv_loop_t *loop;
	struct sbx_service *svc;
	char *id;
	const struct sbx_channel_handler *h;
	void *arg;

	struct sbx_plain *plain;
	struct sbx_exchange *exchange; /* where the service has no streams */
	struct sbx_streamed *streamed; /* where it has */

	void (*on_closed)(void *arg);
	void *closed_arg;
};

void sbx_channel_set_plain(struct sbx_channel *c, const char *why)
{
	/* which needs streams: without them there is a helper or nothing */
	if (c->exchange)
		sbx_exchange_refuse(c->exchange, why);
	else if (!c->plain)
		c->plain = sbx_plain_new(c->loop, c->svc, c->id, why,
					 sbx_streamed_info(c->streamed) != NULL,
					 c->h, c->arg);
}

static bool on_helpless(void *arg, const struct sbx_error *why)
{
	struct sbx_channel *c = arg;

	sbx_channel_set_plain(c, why->text);
	if (!c->plain)
		return false;
	sbx_log(SBX_LOG_WARNING, "channel",
		"%s: %s; going on in plain mode, without a helper", c->id,
		why->text);
	sbx_plain_start(c->plain);
	return true;
}

struct sbx_channel *sbx_channel_new(uv_loop_t *loop, struct sbx_service *svc,
				    const char *id,
				    const struct sbx_channel_handler *h,
				    void *arg)
{
	struct sbx_channel *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->loop = loop;
	c->svc = svc;
	c->h = h;
	c->arg = arg;
	c->id = strdup(id);
	if (c->id && svc->type->run)
		c->exchange = sbx_exchange_new(loop, svc, id, h, arg);
	else if (c->id)
		c->streamed = sbx_streamed_new(loop, svc, id, h, arg);
	if (!c->exchange && !c->streamed) {
		free(c->id);
		free(c);
		return NULL;
	}
	if (c->streamed)
		sbx_streamed_on_helpless(c->streamed, on_helpless, c);
	return c;
}

void sbx_channel_start(struct sbx_channel *c)
{
	if (c->plain)
		sbx_plain_start(c->plain);
	else if (c->exchange)
		sbx_exchange_start(c->exchange);
	else
		sbx_streamed_start(c->streamed);
}

void sbx_channel_renew(struct sbx_channel *c)
{
	if (c->exchange)
		sbx_exchange_renew(c->exchange);
	else if (!c->plain)
		sbx_streamed_renew(c->streamed);
}

void sbx_channel_look_again(struct sbx_channel *c)
{
	if (c->exchange)
		sbx_exchange_look_again(c->exchange);
	else if (!c->plain)
		sbx_streamed_look_again(c->streamed);
}

static void on_carrier_closed(void *arg)
{
	struct sbx_channel *c = arg;
	void (*fn)(void *arg) = c->on_closed;
	void *fn_arg = c->closed_arg;

	free(c->id);
	free(c);
	if (fn)
		fn(fn_arg);
}

static void on_plain_closed(void *arg)
{
	struct sbx_channel *c = arg;

	sbx_streamed_close(c->streamed, on_carrier_closed, c);
}

void sbx_channel_close(struct sbx_channel *c, void (*on_closed)(void *arg),
		       void *arg)
{
	c->on_closed = on_closed;
	c->closed_arg = arg;
	if (c->plain)
		sbx_plain_close(c->plain, on_plain_closed, c);
	else if (c->exchange)
		sbx_exchange_close(c->exchange, on_carrier_closed, c);
	else
		sbx_streamed_close(c->streamed, on_carrier_closed, c);
}

int sbx_channel_send(struct sbx_channel *c, uint32_t id, const void *data,
		     size_t len)
{
	if (c->plain)
		return sbx_plain_send(c->plain, data, len);
	if (c->exchange)
		return sbx_exchange_send(c->exchange, id, data, len);
	return sbx_streamed_send(c->streamed, data, len);
}

bool sbx_channel_withdraw(struct sbx_channel *c, uint32_t id)
{
	return c->exchange && sbx_exchange_withdraw(c->exchange, id);
}

void sbx_channel_expect(struct sbx_channel *c, bool expecting)
{
	if (c->exchange)
		sbx_exchange_expect(c->exchange, expecting);
	else if (!c->plain)
		sbx_streamed_expect(c->streamed, expecting);
}

bool sbx_channel_is_up(const struct sbx_channel *c)
{
	if (c->plain)
		return sbx_plain_is_up(c->plain);
	return c->exchange ? sbx_exchange_is_up(c->exchange)
			   : sbx_streamed_is_up(c->streamed);
}

bool sbx_channel_is_trying(const struct sbx_channel *c)
{
	if (c->plain)
		return sbx_plain_is_trying(c->plain);
	return c->exchange ? sbx_exchange_is_trying(c->exchange)
			   : sbx_streamed_is_trying(c->streamed);
}

const struct sbx_remote_info *sbx_channel_info(const struct sbx_channel *c)
{
	if (c->plain)
		return sbx_plain_info(c->plain);
	return c->exchange ? sbx_exchange_info(c->exchange)
			   : sbx_streamed_info(c->streamed);
}

size_t sbx_channel_unsent(const struct sbx_channel *c)
{
	if (c->plain)
		return sbx_plain_unsent(c->plain);
	return c->exchange ? sbx_exchange_unsent(c->exchange)
			   : sbx_streamed_unsent(c->streamed);
}

uint64_t sbx_channel_heard_ms(const struct sbx_channel *c)
{
	return c->exchange ? sbx_exchange_heard_ms(c->exchange) : UINT64_MAX;
}

uint64_t sbx_channel_answered_ms(const struct sbx_channel *c)
{
	return c->exchange ? sbx_exchange_answered_ms(c->exchange) : 0;
}

bool sbx_channel_is_occupied(const struct sbx_channel *c)
{
	return c->exchange && sbx_exchange_is_occupied(c->exchange);
}
