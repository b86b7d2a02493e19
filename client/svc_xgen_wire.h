/*
 * xgen's WebSocket messages: bytes to struct and back.  No input or output.
 *
 * An envelope is type (1 byte), channel (4, big endian), id (4, big endian)
 * and payload, msgpack or raw by type.  The sizes and numbers are the
 * service's; a message above SBX_XGEN_MAX_MESSAGE costs the connection.
 */
#ifndef SBX_SVC_XGEN_WIRE_H
#define SBX_SVC_XGEN_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/error.h"
#include "client/service.h"
#include "client/wire/buf.h"

#define SBX_XGEN_HEADER	     9
#define SBX_XGEN_MAX_MESSAGE 32768
/* of data in one stdin message: header and process id come before it */
#define SBX_XGEN_MAX_STDIN (SBX_XGEN_MAX_MESSAGE - SBX_XGEN_HEADER - 4)
#define SBX_XGEN_MAX_PATH  4096
/* of a list; more is no folder that the service could have sent */
#define SBX_XGEN_MAX_LIST (1 << 20)
/* smaller channel numbers are given out by the service itself */
#define SBX_XGEN_OWN_CHANNEL 65536

enum sbx_xgen_type {
	SBX_XGEN_PING = 0x01,
	SBX_XGEN_PONG = 0x02,
	SBX_XGEN_ERROR = 0x03,
	SBX_XGEN_ACK = 0x04,
	SBX_XGEN_EXEC_START = 0x20,
	SBX_XGEN_EXEC_STDIN = 0x21,
	SBX_XGEN_EXEC_STDOUT = 0x22,
	SBX_XGEN_EXEC_STDERR = 0x23,
	SBX_XGEN_EXEC_EXIT = 0x24,
	SBX_XGEN_EXEC_SIGNAL = 0x25,
	SBX_XGEN_FS_READ = 0x30,
	SBX_XGEN_FS_LIST = 0x32,
	SBX_XGEN_READY = 0x50,
};

struct sbx_xgen_msg {
	unsigned int type; /* others than the above occur: ignore them */
	uint32_t channel, id;
	const uint8_t *payload; /* points into the message */
	size_t len;
};

/* -EBADMSG below nine bytes. */
int sbx_xgen_read(struct sbx_xgen_msg *m, const void *data, size_t len);
/* The payload of an Ack to ExecStart. */
int sbx_xgen_read_ack(const struct sbx_xgen_msg *m, uint32_t *ret_process);
/* Of ExecExit: 0..255, or -1 for "by a signal". */
int sbx_xgen_read_exit(const struct sbx_xgen_msg *m, int *ret_exit_code);
/* Of Error: fills e with an errno taken from the end of its text, and whether
 * the same may work later. */
int sbx_xgen_read_error(const struct sbx_xgen_msg *m, struct sbx_error *e);

/* The payload of an answer to FsList; the caller frees *ret. */
int sbx_xgen_read_list(const struct sbx_xgen_msg *m, struct sbx_file **ret,
		       size_t *ret_nr);

/* A whole FsRead or FsList message. */
int sbx_xgen_put_path(struct sbx_buf *b, enum sbx_xgen_type type, uint32_t id,
		      const char *path);
/*
 * A whole ExecStart message.  env: "NAME=value", NULL-ended, or NULL.
 * -E2BIG if the service would refuse its size.
 */
int sbx_xgen_put_start(struct sbx_buf *b, uint32_t channel, uint32_t id,
		       const char *const *argv, const char *const *env);
/* What comes before the data in an ExecStdin message. */
#define SBX_XGEN_STDIN_HEAD (SBX_XGEN_HEADER + 4)
void sbx_xgen_stdin_head(uint8_t head[SBX_XGEN_STDIN_HEAD], uint32_t channel,
			 uint32_t process);
int sbx_xgen_put_signal(struct sbx_buf *b, uint32_t channel, uint32_t process,
			const char *name);

#endif
