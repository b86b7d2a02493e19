#include "client/channel.h"

#include <stdlib.h>
#include <string.h>

#include "client/exchange.h"
#include "client/log.h"
#include "client/plain.h"
#include "client/streamed.h"

struct sbx_channel {
	uv_loop_t *loop;
	struct sbx_service *svc;
	char *id;
	const struct sbx_channel_handler *h;
	void *arg;

	struct sbx_carrier *carrier;
	struct sbx_carrier *left; /* the one that plain mode goes on for */

	void (*on_closed)(void *arg);
	void *closed_arg;
};

static bool is_plain(const struct sbx_channel *c)
{
	return c->left;
}

void sbx_channel_set_plain(struct sbx_channel *c, const char *why)
{
	struct sbx_carrier *plain;

	if (is_plain(c))
		return;
	/* which needs streams: without them there is a helper or nothing */
	if (c->svc->type->run) {
		sbx_exchange_refuse(c->carrier, why);
		return;
	}
	plain = sbx_plain_new(c->loop, c->svc, c->id, why, sbx_channel_info(c),
			      c->h, c->arg);
	if (!plain)
		return;
	c->left = c->carrier;
	c->carrier = plain;
}

static bool on_helpless(void *arg, const struct sbx_error *why)
{
	struct sbx_channel *c = arg;

	sbx_channel_set_plain(c, why->text);
	if (!is_plain(c))
		return false;
	sbx_log(SBX_LOG_WARNING, "channel",
		"%s: %s; going on in plain mode, without a helper", c->id,
		why->text);
	sbx_channel_start(c);
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
		c->carrier = sbx_exchange_new(loop, svc, id, h, arg);
	else if (c->id)
		c->carrier = sbx_streamed_new(loop, svc, id, h, arg);
	if (!c->carrier) {
		free(c->id);
		free(c);
		return NULL;
	}
	if (!svc->type->run)
		sbx_streamed_on_helpless(c->carrier, on_helpless, c);
	return c;
}

static void on_all_closed(void *arg)
{
	struct sbx_channel *c = arg;
	void (*fn)(void *arg) = c->on_closed;
	void *fn_arg = c->closed_arg;

	free(c->id);
	free(c);
	if (fn)
		fn(fn_arg);
}

static void on_carrier_closed(void *arg)
{
	struct sbx_channel *c = arg;

	if (c->left)
		c->left->type->close(c->left, on_all_closed, c);
	else
		on_all_closed(c);
}

void sbx_channel_close(struct sbx_channel *c, void (*on_closed)(void *arg),
		       void *arg)
{
	c->on_closed = on_closed;
	c->closed_arg = arg;
	c->carrier->type->close(c->carrier, on_carrier_closed, c);
}

void sbx_channel_start(struct sbx_channel *c)
{
	c->carrier->type->start(c->carrier);
}

void sbx_channel_renew(struct sbx_channel *c)
{
	if (c->carrier->type->renew)
		c->carrier->type->renew(c->carrier);
}

void sbx_channel_look_again(struct sbx_channel *c)
{
	if (c->carrier->type->look_again)
		c->carrier->type->look_again(c->carrier);
}

int sbx_channel_send(struct sbx_channel *c, uint32_t id, const void *data,
		     size_t len)
{
	return c->carrier->type->send(c->carrier, id, data, len);
}

void sbx_channel_defer(struct sbx_channel *c, unsigned int ms)
{
	if (c->carrier->type->defer)
		c->carrier->type->defer(c->carrier, ms);
}

void sbx_channel_hasten(struct sbx_channel *c)
{
	if (c->carrier->type->hasten)
		c->carrier->type->hasten(c->carrier);
}

void sbx_channel_relax(struct sbx_channel *c, uint32_t id)
{
	if (c->carrier->type->relax)
		c->carrier->type->relax(c->carrier, id);
}

bool sbx_channel_withdraw(struct sbx_channel *c, uint32_t id)
{
	return c->carrier->type->withdraw &&
	       c->carrier->type->withdraw(c->carrier, id);
}

void sbx_channel_expect(struct sbx_channel *c, bool expecting)
{
	if (c->carrier->type->expect)
		c->carrier->type->expect(c->carrier, expecting);
}

bool sbx_channel_is_up(const struct sbx_channel *c)
{
	return c->carrier->type->is_up(c->carrier);
}

bool sbx_channel_is_trying(const struct sbx_channel *c)
{
	return c->carrier->type->is_trying(c->carrier);
}

const struct sbx_remote_info *sbx_channel_info(const struct sbx_channel *c)
{
	return c->carrier->type->info(c->carrier);
}

size_t sbx_channel_unsent(const struct sbx_channel *c)
{
	return c->carrier->type->unsent(c->carrier);
}

uint64_t sbx_channel_heard_ms(const struct sbx_channel *c)
{
	return c->carrier->type->heard_ms
		       ? c->carrier->type->heard_ms(c->carrier)
		       : UINT64_MAX;
}

uint64_t sbx_channel_answered_ms(const struct sbx_channel *c)
{
	return c->carrier->type->answered_ms
		       ? c->carrier->type->answered_ms(c->carrier)
		       : 0;
}

uint64_t sbx_channel_asked_ms(const struct sbx_channel *c)
{
	return c->carrier->type->asked_ms
		       ? c->carrier->type->asked_ms(c->carrier)
		       : 0;
}

bool sbx_channel_is_occupied(const struct sbx_channel *c)
{
	return c->carrier->type->is_occupied &&
	       c->carrier->type->is_occupied(c->carrier);
}
