/*
 * The life of a remote, and what is known of it: see remote.h.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "client/log.h"
#include "client/remote_int.h"

/* ---- up and down ---- */

void sbx_remote_set_state(struct sbx_remote *r, enum sbx_link_state state)
{
	if (r->state == state)
		return;
	r->state = state;
	if (r->listener && r->listener->on_state)
		r->listener->on_state(r->listener_arg, state);
}

static void on_channel_up(void *arg, bool fresh)
{
	struct sbx_remote *r = arg;

	if (r->state == SBX_LINK_DEAD)
		return; /* what was on its way when it died */
	if (fresh) {
		/* without streams a helper is replaced between two answers:
		 * whoever listens must hear that the old one is lost */
		if (r->state == SBX_LINK_UP)
			sbx_remote_set_state(r, SBX_LINK_LOST);
		/* what is held speaks of numbers the new helper lacks */
		r->epoch++;
		sbx_remote_restarted(r);
	}
	r->error.err = 0;
	r->stats.reconnects += r->state == SBX_LINK_LOST;
	sbx_remote_set_state(r, SBX_LINK_UP);
	if (fresh && r->files && r->files->on_doubt)
		r->files->on_doubt(r->files_arg, true);
	sbx_remote_held_send(r);
}

static void on_confirmed(struct sbx_call *call)
{
	struct sbx_remote *r = call->arg;
	int err = call->error.err;

	sbx_call_free(call);
	r->confirm = NULL;
	if (r->closing) {
		sbx_remote_close(r, r->on_closed, r->closed_arg);
		return;
	}
	if (err == -ENOENT)
		sbx_remote_die(r);
	else if (r->state != SBX_LINK_DEAD && r->nr_pending)
		sbx_channel_start(r->channel);
}

/* The service said that there is no such sandbox: make sure. */
static void remote_confirm_gone(struct sbx_remote *r)
{
	if (r->confirm)
		return;
	r->confirm = sbx_call_new(SBX_CALL_GET, r->id);
	if (!r->confirm)
		return;
	r->confirm->timeout_ms = r->timeout_ms;
	r->confirm->done = on_confirmed;
	r->confirm->arg = r;
	r->svc->type->submit(r->svc, r->confirm);
}

static void on_channel_down(void *arg, const struct sbx_error *why,
			    bool retrying)
{
	struct sbx_remote *r = arg;

	if (r->state == SBX_LINK_DEAD)
		return;
	if (r->state == SBX_LINK_UP) {
		r->lost_since = uv_now(r->loop);
		r->lost_at = time(NULL);
	}
	/* one that is paused says so again and again */
	sbx_log(why->retry == SBX_RETRY_RESUME && r->error.retry == why->retry
			? SBX_LOG_DEBUG
			: SBX_LOG_WARNING,
		"remote", "%s: %s%s", r->id, why->text,
		retrying ? "; connecting again" : "");
	r->error = *why;
	sbx_remote_set_state(r, r->epoch > 1 || sbx_channel_info(r->channel)
					? SBX_LINK_LOST
					: SBX_LINK_CONNECTING);
	if (why->err == -ENOENT) {
		remote_confirm_gone(r);
	} else if (!retrying || why->retry == SBX_RETRY_RESUME) {
		r->failed_at = uv_now(r->loop);
		sbx_remote_pending_fail_all(r, why->err);
	}
}

static bool remote_holds(void *arg)
{
	const struct sbx_remote *r = arg;

	return r->state != SBX_LINK_DEAD && r->files && r->files->holds &&
	       r->files->holds(r->files_arg);
}

static const struct sbx_channel_handler channel_handler = {
	.on_message = sbx_remote_message,
	.on_up = on_channel_up,
	.on_down = on_channel_down,
	.holds = remote_holds,
};

/* ---- life ---- */

struct sbx_remote *sbx_remote_new(uv_loop_t *loop, struct sbx_service *svc,
				  const char *id, unsigned int timeout_ms)
{
	struct sbx_remote *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->loop = loop;
	r->svc = svc;
	r->timeout_ms = timeout_ms;
	r->epoch = 1;
	r->last_number = SBX_DIR_FIRST - 1;
	r->held_tail = &r->held;
	sbx_buf_init(&r->scratch, SBX_MESSAGE_MAX);
	r->id = strdup(id);
	if (r->id)
		r->channel =
			sbx_channel_new(loop, svc, id, &channel_handler, r);
	if (!r->channel) {
		free(r->id);
		free(r);
		return NULL;
	}
	uv_timer_init(loop, &r->tick);
	uv_prepare_init(loop, &r->kick);
	r->tick.data = r->kick.data = r;
	r->open_handles = 2;
	return r;
}

void sbx_remote_set_plain(struct sbx_remote *r, const char *why)
{
	sbx_channel_set_plain(r->channel, why);
}

void sbx_remote_set_files(struct sbx_remote *r,
			  const struct sbx_remote_handler *h, void *arg)
{
	r->files = h;
	r->files_arg = arg;
}

void sbx_remote_set_listener(struct sbx_remote *r,
			     const struct sbx_remote_listener *l, void *arg)
{
	r->listener = l;
	r->listener_arg = arg;
}

static void remote_fail_now(struct sbx_remote *r, int err)
{
	sbx_remote_pending_fail_all(r, err);
	sbx_remote_held_clear(r);
	sbx_remote_kick(&r->kick);
	sbx_remote_jobs_lost(r);
}

void sbx_remote_die(struct sbx_remote *r)
{
	if (r->state == SBX_LINK_DEAD)
		return;
	sbx_error_set(&r->error, -ESTALE, "the sandbox is gone");
	sbx_remote_set_state(r, SBX_LINK_DEAD);
	remote_fail_now(r, -ESTALE);
	if (r->files && r->files->on_doubt)
		r->files->on_doubt(r->files_arg, true);
}

void sbx_remote_look_again(struct sbx_remote *r)
{
	if (!r->channel || r->closing || r->state == SBX_LINK_DEAD ||
	    r->state == SBX_LINK_IDLE)
		return;
	r->error = (struct sbx_error){0};
	sbx_channel_look_again(r->channel);
}

void sbx_remote_renew(struct sbx_remote *r)
{
	if (r->channel && !r->closing && r->state != SBX_LINK_DEAD)
		sbx_channel_renew(r->channel);
}

/* Also what is asked for in answer to that. */
static void remote_fail_rest(struct sbx_remote *r)
{
	while (r->nr_pending) {
		sbx_remote_pending_fail_all(r, -ECANCELED);
		sbx_remote_kick(&r->kick);
	}
}

static void on_handle_closed(uv_handle_t *h)
{
	struct sbx_remote *r = h->data;
	void (*fn)(void *arg) = r->on_closed;
	void *arg = r->closed_arg;

	if (--r->open_handles)
		return;
	/* what was asked for since these began to close */
	remote_fail_rest(r);
	sbx_remote_held_clear(r);
	sbx_buf_release(&r->scratch);
	free(r->slots);
	free(r->id);
	free(r);
	if (fn)
		fn(arg);
}

static void on_channel_closed(void *arg)
{
	struct sbx_remote *r = arg;

	r->channel = NULL;
	remote_fail_rest(r);
	uv_close((uv_handle_t *)&r->tick, on_handle_closed);
	uv_close((uv_handle_t *)&r->kick, on_handle_closed);
}

void sbx_remote_close(struct sbx_remote *r, void (*on_closed)(void *arg),
		      void *arg)
{
	r->on_closed = on_closed;
	r->closed_arg = arg;
	if (!r->closing) {
		r->closing = true;
		r->files = NULL;
		r->listener = NULL;
		remote_fail_now(r, -ECANCELED);
	}
	if (r->confirm)
		return; /* on_confirmed comes back here */
	sbx_channel_close(r->channel, on_channel_closed, r);
}

/* ---- questions ---- */

enum sbx_link_state sbx_remote_state(const struct sbx_remote *r)
{
	return r->state;
}

void sbx_remote_describe(const struct sbx_remote *r, char *dst, size_t size)
{
	char when[32];
	struct tm tm;

	gmtime_r(&r->lost_at, &tm);
	strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", &tm);
	switch (r->state) {
	case SBX_LINK_IDLE:
		snprintf(dst, size, "not needed yet");
		break;
	case SBX_LINK_CONNECTING:
		snprintf(dst, size, "connecting since %s", when);
		break;
	case SBX_LINK_UP:
		snprintf(dst, size, "up%s",
			 sbx_remote_is_occupied(r)
				 ? "; files wait for the command that runs"
				 : "");
		break;
	case SBX_LINK_LOST:
		snprintf(dst, size, "reconnecting since %s", when);
		break;
	case SBX_LINK_DEAD:
		snprintf(dst, size, "sandbox gone");
		break;
	}
}

const struct sbx_remote_info *sbx_remote_info(const struct sbx_remote *r)
{
	return r->channel ? sbx_channel_info(r->channel) : NULL;
}

uint32_t sbx_remote_epoch(const struct sbx_remote *r)
{
	return r->epoch;
}

const struct sbx_error *sbx_remote_error(const struct sbx_remote *r)
{
	return &r->error;
}

size_t sbx_remote_unsent(const struct sbx_remote *r)
{
	return r->held_bytes +
	       (r->channel ? sbx_channel_unsent(r->channel) : 0);
}

uint64_t sbx_remote_heard_ms(const struct sbx_remote *r)
{
	return r->channel ? sbx_channel_heard_ms(r->channel) : UINT64_MAX;
}

uint64_t sbx_remote_asked_ms(const struct sbx_remote *r)
{
	const struct sbx_remote_info *info = sbx_remote_info(r);

	return info && info->silent ? sbx_channel_asked_ms(r->channel) : 0;
}

bool sbx_remote_is_occupied(const struct sbx_remote *r)
{
	return r->channel && sbx_channel_is_occupied(r->channel);
}

uint64_t sbx_remote_number(struct sbx_remote *r)
{
	return ++r->last_number;
}
