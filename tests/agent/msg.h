/*
 * Messages of the WebSocket: the envelope, and maps in MessagePack.  Own
 * code of the agent: sbxfs has another, so that a mistake in one of them
 * does not agree with itself.
 */
#ifndef AGENT_MSG_H
#define AGENT_MSG_H

#include <msgpack.h>
#include <stdbool.h>
#include <stdint.h>

enum agent_type {
	MSG_PING = 0x01,
	MSG_PONG = 0x02,
	MSG_ERROR = 0x03,
	MSG_ACK = 0x04,
	MSG_EXEC_START = 0x20,
	MSG_EXEC_STDIN = 0x21,
	MSG_EXEC_STDOUT = 0x22,
	MSG_EXEC_STDERR = 0x23,
	MSG_EXEC_EXIT = 0x24,
	MSG_EXEC_SIGNAL = 0x25,
	MSG_EXEC_RESIZE = 0x26,
	MSG_FS_READ = 0x30,
	MSG_FS_WRITE = 0x31,
	MSG_FS_LIST = 0x32,
	MSG_FS_REMOVE = 0x33,
	MSG_FS_WATCH = 0x34,
	MSG_FS_EVENT = 0x35,
	MSG_PORT_OPEN = 0x40,
	MSG_PORT_CLOSE = 0x41,
	MSG_READY = 0x50,
};

#define AGENT_ENVELOPE 9

struct agent_envelope {
	uint8_t type;
	uint32_t channel, id;
	const uint8_t *payload;
	size_t len;
};

/* false: too short to be a message. */
bool agent_envelope_read(struct agent_envelope *e, const uint8_t *data,
			 size_t len);
void agent_envelope_write(uint8_t *to, uint8_t type, uint32_t channel,
			  uint32_t id);

/* A map that was received.  Getters leave *ret alone if the key is absent. */
struct agent_map {
	msgpack_unpacked unpacked;
	const char *error; /* the first thing that was wrong, or NULL */
};

struct agent_bytes {
	const char *p; /* into the message; not NUL-ended */
	size_t len;
};

void agent_map_open(struct agent_map *m, const uint8_t *data, size_t len);
void agent_map_close(struct agent_map *m);
void agent_map_string(struct agent_map *m, const char *key,
		      struct agent_bytes *ret);
void agent_map_bool(struct agent_map *m, const char *key, bool *ret);
void agent_map_uint(struct agent_map *m, const char *key, uint64_t *ret);
/* Borrowed; NULL if absent or nil. */
const msgpack_object_array *agent_map_array(struct agent_map *m,
					    const char *key);
const msgpack_object_map *agent_map_map(struct agent_map *m, const char *key);
/* str or bin; false: something else. */
bool agent_object_string(const msgpack_object *o, struct agent_bytes *ret);
/* A copy with a NUL; NULL if there is one inside, or no memory. */
char *agent_bytes_dup(const struct agent_bytes *b);

/* Payloads; swapped: the two keys in the other order. */
void agent_pack_error(msgpack_sbuffer *out, const char *code,
		      const char *message, bool swapped);
void agent_pack_started(msgpack_sbuffer *out, uint32_t process_id,
			uint32_t channel, bool swapped);
void agent_pack_int(msgpack_sbuffer *out, const char *key, int value);
void agent_pack_port(msgpack_sbuffer *out, uint16_t port);
void agent_pack_event(msgpack_sbuffer *out, const char *path, size_t len,
		      const char *type);

#endif
