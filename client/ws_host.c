/*
 * The libwebsockets context of one loop, from creation to its end.
 *
 * With a loop that is not its own, libwebsockets 4.1 destroys a context in
 * two steps: the first call closes its connections and handles, and the
 * second, once the loop has seen the last of them, frees the memory in which
 * two of these handles live.  It tells nobody when that is.  So the handles
 * it made are noted when it makes them, and looked for in the loop at the
 * end.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/log.h"
#include "client/ws_parts.h"

/* idle and timer handles in the loop when the context is made */
#define MAX_BEFORE 1024
/* libwebsockets has one of each */
#define OWNED_HANDLES 2

static const struct lws_protocols protocols[] = {
	{.name = "sbx",
	 .callback = sbx_ws_callback,
	 .rx_buffer_size = 128 * 1024},
	{.name = NULL},
};

static void on_lws_log(int level, const char *line)
{
	sbx_log(SBX_LOG_DEBUG, "ws", "libwebsockets: %.*s",
		(int)strcspn(line, "\r\n"), line);
}

/* ---- the handles that the context owns ---- */

struct handle_set {
	uv_handle_t **list;
	size_t nr, max;
};

static void on_walk_collect(uv_handle_t *handle, void *arg)
{
	struct handle_set *set = arg;

	if (handle->type != UV_IDLE && handle->type != UV_TIMER)
		return;
	if (set->nr < set->max)
		set->list[set->nr++] = handle;
}

static bool set_has(const struct handle_set *set, const uv_handle_t *handle)
{
	size_t i;

	for (i = 0; i < set->nr; i++)
		if (set->list[i] == handle)
			return true;
	return false;
}

static void host_note_owned(struct sbx_ws_host *h,
			    const struct handle_set *before,
			    const struct handle_set *after)
{
	size_t i, max = sizeof(h->owned) / sizeof(h->owned[0]);

	for (i = 0; i < after->nr && h->nr_owned < max; i++)
		if (!set_has(before, after->list[i]))
			h->owned[h->nr_owned++] = after->list[i];
}

static void on_walk_find(uv_handle_t *handle, void *arg)
{
	struct sbx_ws_host *h = arg;
	size_t i;

	for (i = 0; i < h->nr_owned; i++)
		if (h->owned[i] == handle)
			h->owned_seen = true;
}

static bool host_owned_are_closed(struct sbx_ws_host *h)
{
	h->owned_seen = false;
	uv_walk(h->loop, on_walk_find, h);
	return !h->owned_seen;
}

/* ---- creation ---- */

static struct lws_context *host_context(struct sbx_ws_host *h, bool with_tls)
{
	struct lws_context_creation_info info = {0};
	void *loops[1] = {h->loop};

	info.port = CONTEXT_PORT_NO_LISTEN;
	info.protocols = protocols;
	info.gid = (gid_t)-1;
	info.uid = (uid_t)-1;
	info.user = h;
	info.foreign_loops = loops;
	info.options = LWS_SERVER_OPTION_LIBUV;
	if (with_tls)
		info.options |= LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT;
	/* or its tables would be as large as RLIMIT_NOFILE, which containers
	 * often set to a million and more */
	info.fd_limit_per_thread = SBX_WS_MAX_SOCKETS + 16;
	info.pt_serv_buf_size = 128 * 1024;
	/* an address without port counts as no proxy, and it keeps the
	 * environment from naming one */
	info.http_proxy_address = "";
	return lws_create_context(&info);
}

struct sbx_ws_host *sbx_ws_host_new(uv_loop_t *loop, bool with_tls)
{
	uv_handle_t *list_before[MAX_BEFORE], *list_after[MAX_BEFORE];
	struct handle_set before = {list_before, 0, MAX_BEFORE};
	struct handle_set after = {list_after, 0, MAX_BEFORE};
	struct sbx_ws_host *h = calloc(1, sizeof(*h));

	if (!h)
		return NULL;
	lws_set_log_level(LLL_ERR | LLL_WARN, on_lws_log);
	h->loop = loop;
	uv_timer_init(loop, &h->kick);
	uv_timer_init(loop, &h->patience);
	uv_idle_init(loop, &h->wait);
	h->kick.data = h->patience.data = h->wait.data = h;
	uv_walk(loop, on_walk_collect, &before);
	h->context = host_context(h, with_tls);
	uv_walk(loop, on_walk_collect, &after);
	host_note_owned(h, &before, &after);
	if (!h->context)
		sbx_log(SBX_LOG_ERROR, "ws",
			"cannot set up libwebsockets "
			"(is libwebsockets-evlib-uv installed?)");
	return h;
}

/* ---- the end ---- */

static void on_kick_closed(uv_handle_t *handle)
{
	struct sbx_ws_host *h = handle->data;

	if (h->on_closed)
		h->on_closed(h->closed_arg);
	free(h);
}

static void on_patience_closed(uv_handle_t *handle)
{
	struct sbx_ws_host *h = handle->data;

	uv_close((uv_handle_t *)&h->kick, on_kick_closed);
}

static void on_wait_closed(uv_handle_t *handle)
{
	struct sbx_ws_host *h = handle->data;

	uv_close((uv_handle_t *)&h->patience, on_patience_closed);
}

/* Runs once in each round of the loop while the context goes down. */
static void on_wait(uv_idle_t *idle)
{
	struct sbx_ws_host *h = idle->data;

	if (h->context && !h->context_destroyed) {
		h->context_destroyed = true;
		lws_context_destroy(h->context);
		return;
	}
	if (h->context && !host_owned_are_closed(h))
		return;
	/* without knowing its handles, leaking it is the safe end */
	if (h->context && h->nr_owned == OWNED_HANDLES)
		lws_context_destroy(h->context);
	h->context = NULL;
	uv_idle_stop(&h->wait);
	uv_close((uv_handle_t *)&h->wait, on_wait_closed);
}

/*
 * The sockets are gone, and so are their handles: those that were closed in
 * one round of the loop have left it before idle handlers run in the next.
 */
static void host_check_empty(struct sbx_ws_host *h)
{
	if (h->closing && !h->nr_sockets && !uv_is_active((void *)&h->wait))
		uv_idle_start(&h->wait, on_wait);
}

void sbx_ws_host_gone(struct sbx_ws_host *h, struct sbx_ws *ws)
{
	h->slots[ws->slot] = NULL;
	h->nr_sockets--;
	host_check_empty(h);
}

/*
 * libwebsockets never told of the end of a connection (it may not, after it
 * had no memory).  Its context cannot be freed then, but we can go.
 */
static void on_patience_lost(uv_timer_t *timer)
{
	struct sbx_ws_host *h = timer->data;
	size_t i;

	sbx_log(SBX_LOG_WARNING, "ws", "leaving a connection behind");
	h->nr_owned = 0;
	for (i = 0; i < SBX_WS_MAX_SOCKETS; i++)
		if (h->slots[i])
			sbx_ws_abandon(h->slots[i]);
	host_check_empty(h);
}

void sbx_ws_host_close(struct sbx_ws_host *h, void (*on_closed)(void *arg),
		       void *arg)
{
	size_t i;

	h->closing = true;
	h->on_closed = on_closed;
	h->closed_arg = arg;
	uv_timer_start(&h->patience, on_patience_lost, SBX_WS_CLOSE_MS, 0);
	for (i = 0; i < SBX_WS_MAX_SOCKETS; i++)
		if (h->slots[i])
			sbx_ws_hurry(h->slots[i]);
	host_check_empty(h);
}
