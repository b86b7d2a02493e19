/* See msg.h.  No input or output. */
#include "tests/agent/msg.h"

#include <stdlib.h>
#include <string.h>

static uint32_t read_be32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 |
	       (uint32_t)p[2] << 8 | p[3];
}

static void write_be32(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 24);
	p[1] = (uint8_t)(v >> 16);
	p[2] = (uint8_t)(v >> 8);
	p[3] = (uint8_t)v;
}

bool agent_envelope_read(struct agent_envelope *e, const uint8_t *data,
			 size_t len)
{
	if (len < AGENT_ENVELOPE)
		return false;
	e->type = data[0];
	e->channel = read_be32(data + 1);
	e->id = read_be32(data + 5);
	e->payload = data + AGENT_ENVELOPE;
	e->len = len - AGENT_ENVELOPE;
	return true;
}

void agent_envelope_write(uint8_t *to, uint8_t type, uint32_t channel,
			  uint32_t id)
{
	to[0] = type;
	write_be32(to + 1, channel);
	write_be32(to + 5, id);
}

static uint32_t read_be(const uint8_t *p, size_t n)
{
	uint32_t v = 0;

	while (n--)
		v = v << 8 | *p++;
	return v;
}

/* Of one object at p: its length without children, and how many it has. */
static size_t object_shape(const uint8_t *p, size_t len, uint64_t *children)
{
	/* sizes of 0xc0 to 0xdf; -1, -2, -4: of a length that follows */
	static const int8_t sizes[32] = {
		0, 0, 0, 0, -1, -2, -4, -1, -2, -4, 4,	8,  1,	2,  4,	8,
		1, 2, 4, 8, 2,	3,  5,	9,  17, -1, -2, -4, -2, -4, -2, -4};
	uint8_t tag = *p;
	size_t n;

	*children = 0;
	if (tag < 0x80 || tag >= 0xe0)
		return 1;
	if (tag < 0xa0) {
		*children = (uint64_t)(tag & 15) * (tag < 0x90 ? 2 : 1);
		return 1;
	}
	if (tag < 0xc0)
		return 1 + (size_t)(tag & 31);
	if (sizes[tag - 0xc0] >= 0)
		return 1 + (size_t)sizes[tag - 0xc0];
	n = (size_t)-sizes[tag - 0xc0];
	if (len < 1 + n)
		return len + 1;
	if (tag < 0xdc)
		return 1 + n + read_be(p + 1, n) + (tag >= 0xc7 && tag <= 0xc9);
	*children = (uint64_t)read_be(p + 1, n) * (tag < 0xde ? 1 : 2);
	return 1 + n;
}

/*
 * The library allocates what an array or map claims to hold before it looks
 * at what is there; so no object may claim more than the message has room for.
 */
static bool payload_is_whole(const uint8_t *p, size_t len)
{
	uint64_t left = 1, children;

	while (left && len) {
		size_t n = object_shape(p, len, &children);

		if (n > len || children > len - n)
			return false;
		left += children - 1;
		p += n;
		len -= n;
	}
	return !left;
}

void agent_map_open(struct agent_map *m, const uint8_t *data, size_t len)
{
	size_t off = 0;

	msgpack_unpacked_init(&m->unpacked);
	m->error = NULL;
	if (!len)
		m->error = "EOF";
	else if (!payload_is_whole(data, len) ||
		 msgpack_unpack_next(&m->unpacked, (const char *)data, len,
				     &off) != MSGPACK_UNPACK_SUCCESS)
		m->error = "unexpected EOF";
	else if (m->unpacked.data.type != MSGPACK_OBJECT_MAP &&
		 m->unpacked.data.type != MSGPACK_OBJECT_NIL)
		m->error = "msgpack: invalid code decoding map length";
}

void agent_map_close(struct agent_map *m)
{
	msgpack_unpacked_destroy(&m->unpacked);
}

bool agent_object_string(const msgpack_object *o, struct agent_bytes *ret)
{
	if (o->type == MSGPACK_OBJECT_STR) {
		ret->p = o->via.str.ptr;
		ret->len = o->via.str.size;
		return true;
	}
	if (o->type == MSGPACK_OBJECT_BIN) {
		ret->p = o->via.bin.ptr;
		ret->len = o->via.bin.size;
		return true;
	}
	return false;
}

/* The last one of that name; NULL if absent or nil. */
static const msgpack_object *map_find(const struct agent_map *m,
				      const char *key)
{
	const msgpack_object *found = NULL;
	const msgpack_object_map *map = &m->unpacked.data.via.map;
	struct agent_bytes name;

	if (m->error || m->unpacked.data.type != MSGPACK_OBJECT_MAP)
		return NULL;
	for (uint32_t i = 0; i < map->size; i++) {
		if (agent_object_string(&map->ptr[i].key, &name) &&
		    name.len == strlen(key) && !memcmp(name.p, key, name.len))
			found = &map->ptr[i].val;
	}
	return found && found->type != MSGPACK_OBJECT_NIL ? found : NULL;
}

void agent_map_string(struct agent_map *m, const char *key,
		      struct agent_bytes *ret)
{
	const msgpack_object *o = map_find(m, key);

	if (o && !agent_object_string(o, ret))
		m->error = "msgpack: invalid code decoding string/bytes length";
}

void agent_map_bool(struct agent_map *m, const char *key, bool *ret)
{
	const msgpack_object *o = map_find(m, key);

	if (!o)
		return;
	if (o->type == MSGPACK_OBJECT_BOOLEAN)
		*ret = o->via.boolean;
	else
		m->error = "msgpack: invalid code decoding bool";
}

void agent_map_uint(struct agent_map *m, const char *key, uint64_t *ret)
{
	const msgpack_object *o = map_find(m, key);

	if (!o)
		return;
	if (o->type == MSGPACK_OBJECT_POSITIVE_INTEGER ||
	    o->type == MSGPACK_OBJECT_NEGATIVE_INTEGER)
		*ret = o->via.u64;
	else
		m->error = "msgpack: invalid code decoding uint64";
}

const msgpack_object_array *agent_map_array(struct agent_map *m,
					    const char *key)
{
	const msgpack_object *o = map_find(m, key);

	if (!o)
		return NULL;
	if (o->type == MSGPACK_OBJECT_ARRAY)
		return &o->via.array;
	m->error = "msgpack: invalid code decoding array length";
	return NULL;
}

const msgpack_object_map *agent_map_map(struct agent_map *m, const char *key)
{
	const msgpack_object *o = map_find(m, key);

	if (!o)
		return NULL;
	if (o->type == MSGPACK_OBJECT_MAP)
		return &o->via.map;
	m->error = "msgpack: invalid code decoding map length";
	return NULL;
}

char *agent_bytes_dup(const struct agent_bytes *b)
{
	char *text;

	if (b->len && memchr(b->p, 0, b->len))
		return NULL;
	text = malloc(b->len + 1);
	if (!text)
		return NULL;
	if (b->len)
		memcpy(text, b->p, b->len);
	text[b->len] = 0;
	return text;
}

static void pack_string(msgpack_packer *pk, const char *text)
{
	msgpack_pack_str(pk, strlen(text));
	msgpack_pack_str_body(pk, text, strlen(text));
}

void agent_pack_error(msgpack_sbuffer *out, const char *code,
		      const char *message, bool swapped)
{
	msgpack_packer pk;

	msgpack_packer_init(&pk, out, msgpack_sbuffer_write);
	msgpack_pack_map(&pk, 2);
	if (!swapped) {
		pack_string(&pk, "code");
		pack_string(&pk, code);
	}
	pack_string(&pk, "message");
	pack_string(&pk, message);
	if (swapped) {
		pack_string(&pk, "code");
		pack_string(&pk, code);
	}
}

void agent_pack_started(msgpack_sbuffer *out, uint32_t process_id,
			uint32_t channel, bool swapped)
{
	msgpack_packer pk;

	msgpack_packer_init(&pk, out, msgpack_sbuffer_write);
	msgpack_pack_map(&pk, 2);
	if (!swapped) {
		pack_string(&pk, "process_id");
		msgpack_pack_fix_uint32(&pk, process_id);
	}
	pack_string(&pk, "channel");
	msgpack_pack_fix_uint32(&pk, channel);
	if (swapped) {
		pack_string(&pk, "process_id");
		msgpack_pack_fix_uint32(&pk, process_id);
	}
}

void agent_pack_int(msgpack_sbuffer *out, const char *key, int value)
{
	msgpack_packer pk;

	msgpack_packer_init(&pk, out, msgpack_sbuffer_write);
	msgpack_pack_map(&pk, 1);
	pack_string(&pk, key);
	msgpack_pack_int(&pk, value);
}

void agent_pack_port(msgpack_sbuffer *out, uint16_t port)
{
	msgpack_packer pk;

	msgpack_packer_init(&pk, out, msgpack_sbuffer_write);
	msgpack_pack_map(&pk, 1);
	pack_string(&pk, "port");
	msgpack_pack_fix_uint16(&pk, port);
}

void agent_pack_event(msgpack_sbuffer *out, const char *path, size_t len,
		      const char *type)
{
	msgpack_packer pk;

	msgpack_packer_init(&pk, out, msgpack_sbuffer_write);
	msgpack_pack_map(&pk, 2);
	pack_string(&pk, "path");
	msgpack_pack_str(&pk, len);
	msgpack_pack_str_body(&pk, path, len);
	pack_string(&pk, "type");
	pack_string(&pk, type);
}
