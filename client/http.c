#include "client/http.h"

#include <assert.h>
#include <curl/curl.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/http_error.h"
#include "client/limits.h"
#include "client/log.h"

#define DEFAULT_TIMEOUT_MS 60000

/* A socket of libcurl's, watched for it. */
struct http_socket {
	uv_poll_t poll;
	struct sbx_http *http;
	curl_socket_t fd;
};

struct sbx_http {
	uv_loop_t *loop;
	CURLM *multi;
	uv_timer_t timer;
	struct sbx_http_call *calls; /* all that are under way */
	size_t nr_calls, nr_flows;
	size_t nr_apart; /* with room beside that of all others */
	CURL *idle[SBX_HTTP_MAX_IDLE];
	size_t nr_idle;
	size_t nr_handles; /* uv handles not yet closed */
	bool closing;
	bool broken; /* a socket is not watched: requests would hang */
	void (*on_closed)(void *arg);
	void *closed_arg;
};

struct sbx_http_call {
	struct sbx_http *http;
	struct sbx_http_call *next, **link;
	CURL *easy;
	struct curl_slist *headers;
	sbx_http_done_fn *done;
	void (*on_piece)(void *arg, const char *data, size_t len);
	void *arg;
	bool paused, apart;
	char *body;
	size_t len, cap, max_body, header_bytes;
	int64_t date_ms;
	int err; /* our own reason for breaking off, or 0 */
	char reason[CURL_ERROR_SIZE];
	char host[80]; /* for error texts */
};

/* ---- handles of the loop ---- */

static void http_handle_closed(struct sbx_http *h)
{
	if (--h->nr_handles || !h->closing)
		return;
	if (h->on_closed)
		h->on_closed(h->closed_arg);
	free(h);
}

static void on_socket_closed(uv_handle_t *handle)
{
	struct http_socket *s = handle->data;
	struct sbx_http *h = s->http;

	free(s);
	http_handle_closed(h);
}

static void on_timer_closed(uv_handle_t *handle)
{
	http_handle_closed(handle->data);
}

static void http_act(struct sbx_http *h, curl_socket_t fd, int flags);

static void on_socket_ready(uv_poll_t *poll, int status, int events)
{
	struct http_socket *s = poll->data;
	struct sbx_http *h = s->http;
	int flags = 0;

	if (status < 0)
		flags = CURL_CSELECT_ERR;
	if (events & UV_READABLE)
		flags |= CURL_CSELECT_IN;
	if (events & UV_WRITABLE)
		flags |= CURL_CSELECT_OUT;
	http_act(h, s->fd, flags);
}

static void on_timer(uv_timer_t *timer)
{
	http_act(timer->data, CURL_SOCKET_TIMEOUT, 0);
}

static int on_multi_timer(CURLM *multi, long timeout_ms, void *arg)
{
	struct sbx_http *h = arg;

	if (h->closing)
		return 0;
	if (timeout_ms < 0)
		uv_timer_stop(&h->timer);
	else
		uv_timer_start(&h->timer, on_timer, (uint64_t)timeout_ms, 0);
	return 0;
}

static struct http_socket *http_socket_new(struct sbx_http *h, curl_socket_t fd)
{
	struct http_socket *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	if (uv_poll_init_socket(h->loop, &s->poll, fd) < 0) {
		free(s);
		return NULL;
	}
	s->poll.data = s;
	s->http = h;
	s->fd = fd;
	h->nr_handles++;
	curl_multi_assign(h->multi, fd, s);
	return s;
}

/* libcurl must not hear of our troubles: an error would end it for good. */
static void http_break(struct sbx_http *h)
{
	h->broken = true;
	if (!h->closing)
		uv_timer_start(&h->timer, on_timer, 0, 0);
}

static int on_multi_socket(CURL *easy, curl_socket_t fd, int what, void *arg,
			   void *socket_arg)
{
	struct http_socket *s = socket_arg;
	struct sbx_http *h = arg;
	int events = 0;

	if (what == CURL_POLL_REMOVE) {
		if (s) {
			curl_multi_assign(h->multi, fd, NULL);
			uv_close((uv_handle_t *)&s->poll, on_socket_closed);
		}
		return 0;
	}
	if (!s)
		s = http_socket_new(h, fd);
	if (what & CURL_POLL_IN)
		events |= UV_READABLE;
	if (what & CURL_POLL_OUT)
		events |= UV_WRITABLE;
	if (!s || uv_poll_start(&s->poll, events, on_socket_ready) < 0)
		http_break(h);
	return 0;
}

/* What has no end, or takes long, has connections beside those that are
 * shared. */
static void http_set_room(struct sbx_http *h)
{
	long n = SBX_HTTP_MAX_CONNECTIONS + (long)h->nr_apart;

	curl_multi_setopt(h->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, n);
	/* all of them: fewer, and each one in excess is closed after use */
	curl_multi_setopt(h->multi, CURLMOPT_MAXCONNECTS, n);
}

/* Whether it has one of those; n: 1 when it comes, -1 when it goes. */
static void call_count(const struct sbx_http_call *c, int n)
{
	c->http->nr_flows += (size_t)(c->on_piece ? n : 0);
	c->http->nr_apart += (size_t)(c->apart ? n : 0);
	if (c->apart)
		http_set_room(c->http);
}

/* ---- one request ---- */

static size_t on_header(char *data, size_t size, size_t nr, void *arg)
{
	struct sbx_http_call *c = arg;
	char date[64];

	c->header_bytes += size * nr;
	if (size * nr > 5 && size * nr < sizeof(date) &&
	    !strncasecmp(data, "Date:", 5)) {
		memcpy(date, data + 5, size * nr - 5);
		date[size * nr - 5] = '\0';
		date[strcspn(date, "\r\n")] = '\0';
		c->date_ms = (int64_t)curl_getdate(date, NULL) * 1000;
	}
	if (c->header_bytes <= SBX_HTTP_MAX_HEADERS)
		return size * nr;
	c->err = -EMSGSIZE;
	return 0;
}

static int call_grow(struct sbx_http_call *c, size_t need)
{
	size_t cap = c->cap ? c->cap : 4096;
	char *p;

	while (cap < need)
		cap *= 2;
	if (cap == c->cap)
		return 0;
	p = realloc(c->body, cap);
	if (!p)
		return -ENOMEM;
	c->body = p;
	c->cap = cap;
	return 0;
}

static bool call_gives_pieces(const struct sbx_http_call *c)
{
	long status = 0;

	if (!c->on_piece)
		return false;
	curl_easy_getinfo(c->easy, CURLINFO_RESPONSE_CODE, &status);
	return status >= 200 && status <= 299;
}

static size_t on_body(char *data, size_t size, size_t nr, void *arg)
{
	struct sbx_http_call *c = arg;
	size_t len = size * nr;

	if (call_gives_pieces(c)) {
		if (c->paused)
			return CURL_WRITEFUNC_PAUSE; /* it is kept */
		c->on_piece(c->arg, data, len);
		return len;
	}
	if (c->len + len > c->max_body) {
		c->err = -EMSGSIZE;
		return 0;
	}
	if (call_grow(c, c->len + len + 1) < 0) {
		c->err = -ENOMEM;
		return 0;
	}
	memcpy(c->body + c->len, data, len);
	c->len += len;
	c->body[c->len] = '\0';
	return len;
}

static void slist_wipe(struct curl_slist *list)
{
	struct curl_slist *l;

	for (l = list; l; l = l->next)
		explicit_bzero(l->data, strlen(l->data));
	curl_slist_free_all(list);
}

/* Takes the call off its list and its handle out of libcurl; the body is
 * still there. */
static void call_detach(struct sbx_http_call *c)
{
	struct sbx_http *h = c->http;

	*c->link = c->next;
	if (c->next)
		c->next->link = c->link;
	h->nr_calls--;
	curl_multi_remove_handle(h->multi, c->easy);
	call_count(c, -1);
	/* reset, so that no pointer into the call stays behind */
	curl_easy_reset(c->easy);
	if (!h->closing && h->nr_idle < SBX_HTTP_MAX_IDLE)
		h->idle[h->nr_idle++] = c->easy;
	else
		curl_easy_cleanup(c->easy);
	c->easy = NULL;
	slist_wipe(c->headers);
	c->headers = NULL;
}

static void call_free(struct sbx_http_call *c)
{
	if (c->body)
		explicit_bzero(c->body, c->len); /* it may hold a token */
	free(c->body);
	free(c);
}

/* It was us who broke it off. */
static void call_own_error(const struct sbx_http_call *c, struct sbx_error *e)
{
	if (c->err == -EMSGSIZE) {
		sbx_error_set(e, -EPROTO,
			      "%s sent more than %zu bytes as one answer; "
			      "check that this is the right address",
			      c->host, c->max_body);
		return;
	}
	sbx_error_set(e, c->err, "out of memory");
	e->retry = SBX_RETRY_LATER;
}

static void call_finish(struct sbx_http_call *c, CURLcode code)
{
	struct sbx_http_response resp = {.content_type = ""};
	curl_off_t after = 0;
	char type[128] = "";
	const char *text = NULL;
	long status = 0;

	curl_easy_getinfo(c->easy, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_getinfo(c->easy, CURLINFO_RETRY_AFTER, &after);
	curl_easy_getinfo(c->easy, CURLINFO_CONTENT_TYPE, &text);
	snprintf(type, sizeof(type), "%s", text ? text : "");
	resp.content_type = type;
	resp.retry_after_s = after < 0	    ? 0
			     : after > 3600 ? 3600
					    : (unsigned int)after;
	resp.body = c->body ? c->body : "";
	resp.len = c->len;
	resp.date_ms = c->date_ms > 0 ? c->date_ms : 0;
	resp.status = (int)status;
	if (code != CURLE_OK)
		sbx_http_explain(&resp.error, code, c->host, c->reason);
	if (code != CURLE_OK && c->err)
		call_own_error(c, &resp.error);
	sbx_log(SBX_LOG_DEBUG, "http", "%s: status %ld, %zu bytes%s%s", c->host,
		status, c->len, code ? ", " : "", code ? resp.error.text : "");
	call_detach(c);
	c->done(c->arg, &resp);
	call_free(c);
}

static void http_collect(struct sbx_http *h)
{
	struct sbx_http_call *c;
	CURLMsg *msg;
	int left;

	/*
	 * done may submit and cancel, but not free h: closing waits for the
	 * timer's handle, which the loop is not at yet.
	 */
	while (!h->closing && (msg = curl_multi_info_read(h->multi, &left))) {
		if (msg->msg != CURLMSG_DONE)
			continue;
		c = NULL;
		curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, &c);
		assert(c && c->easy == msg->easy_handle);
		call_finish(c, msg->data.result);
	}
}

/* Ends all requests that there are now. */
static void http_fail_all(struct sbx_http *h, int err, const char *text)
{
	struct sbx_http_response resp = {.content_type = "", .body = ""};
	struct sbx_http_call *c, *all = h->calls;

	sbx_error_set(&resp.error, err, "%s", text);
	if (err != -ECANCELED)
		resp.error.retry = SBX_RETRY_LATER;
	/* done may start new ones and cancel others of these */
	h->calls = NULL;
	if (all)
		all->link = &all;
	while ((c = all)) {
		call_detach(c);
		c->done(c->arg, &resp);
		call_free(c);
	}
}

static void http_act(struct sbx_http *h, curl_socket_t fd, int flags)
{
	int running;

	if (curl_multi_socket_action(h->multi, fd, flags, &running) != CURLM_OK)
		h->broken = true;
	http_collect(h);
	if (!h->broken || h->closing)
		return;
	h->broken = false;
	http_fail_all(h, -ENOMEM, "out of memory");
}

static int slist_add(struct curl_slist **list, const char *line)
{
	struct curl_slist *l = curl_slist_append(*list, line);

	if (!l)
		return -ENOMEM;
	*list = l;
	return 0;
}

static int call_headers(struct sbx_http_call *c,
			const struct sbx_http_request *req)
{
	char line[SBX_MAX_SECRET + 64];
	size_t i;
	int r;

	r = slist_add(&c->headers, "Accept: application/json");
	/* no body is ever so large that asking first would pay */
	if (r == 0)
		r = slist_add(&c->headers, "Expect:");
	if (r == 0 && req->body)
		r = slist_add(&c->headers, "Content-Type: application/json");
	if (r == 0 && req->auth_scheme) {
		snprintf(line, sizeof(line), "Authorization: %s %s",
			 req->auth_scheme, sbx_secret_text(req->auth));
		r = slist_add(&c->headers, line);
	} else if (r == 0 && req->auth_name && req->auth) {
		snprintf(line, sizeof(line), "%s: %s", req->auth_name,
			 sbx_secret_text(req->auth));
		r = slist_add(&c->headers, line);
	}
	explicit_bzero(line, sizeof(line));
	for (i = 0; r == 0 && req->headers && req->headers[i]; i++)
		r = slist_add(&c->headers, req->headers[i]);
	return r;
}

/* What OpenSSL itself, and with it the other transport, goes by. */
static void call_trust(CURL *e)
{
	const char *file = getenv("SSL_CERT_FILE");
	const char *dir = getenv("SSL_CERT_DIR");

	if (file && *file)
		curl_easy_setopt(e, CURLOPT_CAINFO, file);
	if (dir && *dir)
		curl_easy_setopt(e, CURLOPT_CAPATH, dir);
}

static int call_options(struct sbx_http_call *c,
			const struct sbx_http_request *req)
{
	long timeout = req->timeout_ms ? req->timeout_ms : DEFAULT_TIMEOUT_MS;
	CURL *e = c->easy;
	int bad = 0;

	bad |= curl_easy_setopt(e, CURLOPT_URL, req->url) != CURLE_OK;
	bad |= curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, req->method);
	curl_easy_setopt(e, CURLOPT_HTTPHEADER, c->headers);
	if (req->body) {
		curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE,
				 (curl_off_t)strlen(req->body));
		bad |= curl_easy_setopt(e, CURLOPT_COPYPOSTFIELDS, req->body);
	} else if (!strcmp(req->method, "POST")) {
		curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE, 0L);
		curl_easy_setopt(e, CURLOPT_POSTFIELDS, "");
	}
	curl_easy_setopt(e, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(e, CURLOPT_PROXY, "");
	curl_easy_setopt(e, CURLOPT_NOPROXY, "*");
	call_trust(e);
	curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
	/* or removing a request would wait for its name to be looked up */
	curl_easy_setopt(e, CURLOPT_QUICK_EXIT, 1L);
	curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS,
			 timeout < SBX_HTTP_CONNECT_MS ? timeout
						       : SBX_HTTP_CONNECT_MS);
	curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, req->on_piece ? 0L : timeout);
	curl_easy_setopt(e, CURLOPT_TCP_KEEPALIVE, c->apart ? 1L : 0L);
	curl_easy_setopt(e, CURLOPT_TCP_NODELAY, 1L);
	curl_easy_setopt(e, CURLOPT_FRESH_CONNECT, req->once ? 1L : 0L);
	curl_easy_setopt(e, CURLOPT_USERAGENT, "sbxfs/" SBX_VERSION);
	curl_easy_setopt(e, CURLOPT_ERRORBUFFER, c->reason);
	curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(e, CURLOPT_HEADERDATA, c);
	curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(e, CURLOPT_WRITEDATA, c);
	curl_easy_setopt(e, CURLOPT_PRIVATE, c);
	return bad ? -ENOMEM : 0;
}

/* scheme://HOST:PORT of a URL, without what follows */
static void call_set_host(struct sbx_http_call *c, const char *url)
{
	const char *host = strstr(url, "://");
	size_t len;

	host = host ? host + 3 : url;
	len = strcspn(host, "/?#");
	if (len >= sizeof(c->host))
		len = sizeof(c->host) - 1;
	memcpy(c->host, host, len);
	c->host[len] = '\0';
}

struct sbx_http_call *sbx_http_submit(struct sbx_http *h,
				      const struct sbx_http_request *req,
				      sbx_http_done_fn *done, void *arg)
{
	struct sbx_http_call *c;

	if (h->closing || h->nr_calls >= SBX_HTTP_MAX_REQUESTS ||
	    (req->on_piece && h->nr_flows >= SBX_HTTP_MAX_FLOWS))
		return NULL;
	c = calloc(1, sizeof(*c));
	if (!c)
		return NULL;
	c->http = h;
	c->done = done;
	c->on_piece = req->on_piece;
	c->arg = arg;
	c->max_body = req->max_body ? req->max_body : SBX_HTTP_MAX_BODY;
	call_set_host(c, req->url);
	c->apart = req->on_piece || req->lasts;
	call_count(c, 1);
	c->easy = h->nr_idle ? h->idle[--h->nr_idle] : curl_easy_init();
	if (!c->easy || call_headers(c, req) < 0 || call_options(c, req) < 0 ||
	    curl_multi_add_handle(h->multi, c->easy) != CURLM_OK) {
		curl_easy_cleanup(c->easy);
		slist_wipe(c->headers);
		call_count(c, -1);
		call_free(c);
		return NULL;
	}
	c->next = h->calls;
	c->link = &h->calls;
	if (c->next)
		c->next->link = &c->next;
	h->calls = c;
	h->nr_calls++;
	return c;
}

void sbx_http_pause(struct sbx_http_call *c, bool paused)
{
	if (c->paused == paused)
		return;
	c->paused = paused;
	if (!paused)
		curl_easy_pause(c->easy, CURLPAUSE_CONT);
}

void sbx_http_cancel(struct sbx_http_call *c)
{
	call_detach(c);
	call_free(c);
}

/* ---- the pool ---- */

struct sbx_http *sbx_http_new(uv_loop_t *loop)
{
	struct sbx_http *h;

	/* writing to what the peer has closed is an error, not our end; with
	 * CURLOPT_NOSIGNAL libcurl leaves this to us */
	signal(SIGPIPE, SIG_IGN);
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		return NULL;
	h = calloc(1, sizeof(*h));
	if (!h)
		return NULL;
	h->loop = loop;
	h->multi = curl_multi_init();
	if (!h->multi) {
		free(h);
		return NULL;
	}
	uv_timer_init(loop, &h->timer);
	h->timer.data = h;
	h->nr_handles = 1;
	curl_multi_setopt(h->multi, CURLMOPT_SOCKETFUNCTION, on_multi_socket);
	curl_multi_setopt(h->multi, CURLMOPT_SOCKETDATA, h);
	curl_multi_setopt(h->multi, CURLMOPT_TIMERFUNCTION, on_multi_timer);
	curl_multi_setopt(h->multi, CURLMOPT_TIMERDATA, h);
	http_set_room(h);
	return h;
}

void sbx_http_close(struct sbx_http *h, void (*on_closed)(void *arg), void *arg)
{
	h->closing = true;
	h->on_closed = on_closed;
	h->closed_arg = arg;
	http_fail_all(h, -ECANCELED, "the connection was closed");
	while (h->nr_idle)
		curl_easy_cleanup(h->idle[--h->nr_idle]);
	curl_multi_cleanup(h->multi);
	uv_timer_stop(&h->timer);
	uv_close((uv_handle_t *)&h->timer, on_timer_closed);
}
