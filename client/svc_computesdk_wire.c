#include "client/svc_computesdk_wire.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "client/cleanup.h"
#include "client/json.h"
#include "client/wire/base64.h"

#define MAX_TEXT (1u << 20)

/* ---- what a message says, whatever form it has ---- */

struct slice {
	const char *p; /* NULL: not there */
	size_t len;
};
struct words {
	struct slice type, channel, terminal, cmd, output, encoding;
	bool has_command;
	json_t *event; /* all of it */
};

static bool slice_is(const struct slice *s, const char *word)
{
	return s->p && s->len == strlen(word) && !memcmp(s->p, word, s->len);
}

static void words_take(struct words *w, const struct slice *key,
		       const struct slice *value)
{
	if (slice_is(key, "output"))
		w->output = *value;
	else if (slice_is(key, "encoding"))
		w->encoding = *value;
	else if (slice_is(key, "terminal_id") || slice_is(key, "id"))
		w->terminal = *value;
	else if (slice_is(key, "cmd_id"))
		w->cmd = *value;
	else if (slice_is(key, "command"))
		w->has_command = true;
}

static struct slice json_slice(const json_t *v)
{
	return (struct slice){json_string_value(v), json_string_length(v)};
}

static void words_from_json(struct words *w, const json_t *data)
{
	const char *key;
	json_t *v;

	json_object_foreach((json_t *)(uintptr_t)data, key, v)
	{
		struct slice k = {key, strlen(key)}, s = json_slice(v);

		words_take(w, &k, &s);
	}
	json_object_update(w->event, (json_t *)(uintptr_t)data);
}

static bool is_output(const struct words *w)
{
	return slice_is(&w->type, "terminal:output") ||
	       slice_is(&w->type, "command:stdout");
}

static enum sbx_csdk_kind kind_of(const struct words *w)
{
	/* what a command printed beside the terminal comes there, too */
	if (is_output(w))
		return w->has_command ? SBX_CSDK_OTHER : SBX_CSDK_OUTPUT;
	if (slice_is(&w->type, "terminal:error"))
		return SBX_CSDK_ERROR;
	if (slice_is(&w->type, "terminal:destroyed") ||
	    slice_is(&w->type, "command:exit"))
		return SBX_CSDK_DESTROYED;
	return SBX_CSDK_OTHER;
}

static void slice_text(char to[160], const struct slice *s)
{
	snprintf(to, 160, "%.*s", (int)(s->len < 160 ? s->len : 0),
		 s->len ? s->p : "");
}

static void message_channel(struct sbx_csdk_message *m, const struct words *w)
{
	slice_text(m->terminal, &w->terminal);
	slice_text(m->command, &w->cmd);
	slice_text(m->channel, &w->channel);
	if (w->channel.len)
		return;
	if (w->terminal.len && w->terminal.len < sizeof(m->channel) - 9)
		snprintf(m->channel, sizeof(m->channel), "terminal:%.*s",
			 (int)w->terminal.len, w->terminal.p);
}

static int message_from_words(struct sbx_csdk_message *m, const struct words *w)
{
	uint8_t *room;
	long n;

	m->kind = kind_of(w);
	m->of_command = w->type.len > 8 && !memcmp(w->type.p, "command:", 8);
	message_channel(m, w);
	if (m->kind == SBX_CSDK_OTHER && w->type.p) {
		/* some have a type of their own */
		if (!json_object_get(w->event, "type"))
			json_object_set_new(
				w->event, "type",
				json_stringn(w->type.p, w->type.len));
		m->event = json_incref(w->event);
	}
	if (m->kind != SBX_CSDK_OUTPUT || !w->output.len)
		return 0;
	m->is_plain = !w->encoding.len;
	if (!slice_is(&w->encoding, "base64"))
		return sbx_buf_add(&m->text, w->output.p, w->output.len);
	room = sbx_buf_room(&m->text, w->output.len);
	if (!room)
		return m->text.err;
	n = sbx_base64_get(room, w->output.p, w->output.len);
	if (n > 0)
		sbx_buf_added(&m->text, (size_t)n);
	return n < 0 ? -EPROTO : 0;
}

/* Output is all but always what comes, and needs no more than its text. */
static void words_begin(struct words *w)
{
	if (!is_output(w))
		w->event = json_object();
}

static int words_end(struct words *w, struct sbx_csdk_message *m)
{
	int r = message_from_words(m, w);

	json_decref(w->event);
	return r;
}

static int read_json(struct sbx_csdk_message *m, const void *data, size_t len)
{
	SBX_JSON json_t *obj = sbx_json_parse_nul(data, len);
	struct words w = {0};

	if (!json_is_object(obj))
		return -EPROTO;
	w.type = json_slice(json_object_get(obj, "type"));
	w.channel = json_slice(json_object_get(obj, "channel"));
	words_begin(&w);
	words_from_json(&w, json_object_get(obj, "data"));
	return words_end(&w, m);
}

/* ---- the binary form ---- */

struct cursor {
	const uint8_t *p;
	size_t left;
	bool bad;
};

static uint32_t get_number(struct cursor *c, size_t bytes)
{
	uint32_t v = 0;

	if (c->left < bytes) {
		c->bad = true;
		return 0;
	}
	c->left -= bytes;
	while (bytes--)
		v = v << 8 | *c->p++;
	return v;
}

static struct slice get_slice(struct cursor *c, size_t bytes_of_length)
{
	uint32_t n = get_number(c, bytes_of_length);
	struct slice s = {(const char *)c->p, n};

	if (c->bad || n > c->left) {
		c->bad = true;
		return (struct slice){0};
	}
	c->p += n;
	c->left -= n;
	return s;
}

/* NULL for what JSON cannot hold. */
static json_t *pair_value(uint32_t type, const struct slice *s)
{
	uint64_t bits = 0;
	double number;
	size_t i;

	if (type == 3 && s->len == 1)
		return json_boolean(*s->p);
	if (type == 2 && s->len == sizeof(bits)) {
		for (i = 0; i < sizeof(bits); i++)
			bits = bits << 8 | (uint8_t)s->p[i];
		memcpy(&number, &bits, sizeof(number));
		if (number >= -9e15 && number <= 9e15 &&
		    number == (double)(int64_t)number)
			return json_integer((int64_t)number);
		return json_real(number);
	}
	return type == 1 || type == 4 ? json_stringn(s->p, s->len) : NULL;
}

/* Pairs of keys and values that fill the data exactly; else it is not they. */
static bool words_from_pairs(struct words *w, const struct slice *data)
{
	struct cursor c = {(const uint8_t *)data->p, data->len, false};
	uint32_t i, n = get_number(&c, 2), type;
	struct slice key, value;

	for (i = 0; i < n && !c.bad; i++) {
		key = get_slice(&c, 2);
		type = get_number(&c, 1);
		value = get_slice(&c, 4);
		if (type < 1 || type > 4)
			c.bad = true;
		else if (!c.bad && (type == 1 || type == 4))
			words_take(w, &key, &value);
		if (!c.bad && w->event)
			json_object_setn_new(w->event, key.p, key.len,
					     pair_value(type, &value));
	}
	return !c.bad && !c.left;
}

static int read_binary(struct sbx_csdk_message *m, const void *data, size_t len)
{
	struct cursor c = {data, len, false};
	uint32_t kind = get_number(&c, 1);
	SBX_JSON json_t *obj = NULL;
	struct words w = {0};
	struct slice body;

	w.channel = get_slice(&c, 2);
	w.type = get_slice(&c, 2);
	body = get_slice(&c, 4);
	if (c.bad || c.left || kind < 1 || kind > 5)
		return -EPROTO;
	words_begin(&w);
	if (body.len && !words_from_pairs(&w, &body)) {
		w = (struct words){
			.channel = w.channel, .type = w.type, .event = w.event};
		json_object_clear(w.event);
		if (body.p[0] == '{')
			obj = sbx_json_parse_nul(body.p, body.len);
		words_from_json(&w, obj);
	}
	return words_end(&w, m);
}

int sbx_csdk_read(struct sbx_csdk_message *ret, const void *data, size_t len)
{
	memset(ret, 0, sizeof(*ret));
	sbx_buf_init(&ret->text, MAX_TEXT);
	/* the first byte of the binary form is 5 at most */
	if (len && *(const uint8_t *)data <= 5)
		return read_binary(ret, data, len);
	return read_json(ret, data, len);
}

void sbx_csdk_message_release(struct sbx_csdk_message *m)
{
	sbx_buf_release(&m->text);
	json_decref(m->event);
}

/* ---- from us ---- */

static void put(struct sbx_buf *b, const char *text)
{
	sbx_buf_add(b, text, strlen(text));
}

void sbx_csdk_put_subscribe(struct sbx_buf *b, const char *channel)
{
	put(b, "{\"type\":\"subscribe\",\"channel\":\"");
	put(b, channel);
	put(b, "\",\"data\":\"");
	put(b, channel);
	put(b, "\"}");
	sbx_buf_add(b, "", 1);
}

/* As it stands between the quotes of JSON. */
static void put_escaped(struct sbx_buf *b, const char *p, size_t len)
{
	char code[8];
	size_t i, from = 0;

	for (i = 0; i < len; i++) {
		unsigned char c = (unsigned char)p[i];

		if (c >= 0x20 && c != '"' && c != '\\')
			continue;
		sbx_buf_add(b, p + from, i - from);
		from = i + 1;
		snprintf(code, sizeof(code), "\\u%04x", c);
		put(b, c == '\n' ? "\\n" : code);
	}
	sbx_buf_add(b, p + from, len - from);
}

void sbx_csdk_put_input(struct sbx_buf *b, const char *terminal,
			const void *text, size_t len)
{
	put(b, "{\"type\":\"terminal:input\",\"data\":{\"terminal_id\":\"");
	put(b, terminal);
	put(b, "\",\"input\":\"");
	put_escaped(b, text, len);
	put(b, "\"}}");
	sbx_buf_add(b, "", 1);
}

void sbx_csdk_put_resize(struct sbx_buf *b, const char *terminal,
			 unsigned int cols, unsigned int rows)
{
	char size[48];

	put(b, "{\"type\":\"terminal:resize\",\"data\":{\"terminal_id\":\"");
	put(b, terminal);
	snprintf(size, sizeof(size), "\",\"cols\":%u,\"rows\":%u}}", cols,
		 rows);
	put(b, size);
	sbx_buf_add(b, "", 1);
}

void sbx_csdk_put_start(struct sbx_buf *b, const char *command)
{
	put(b, "{\"type\":\"command:start\",\"data\":{\"cmd_id\":\"");
	put(b, command);
	put(b, "\"}}");
	sbx_buf_add(b, "", 1);
}
