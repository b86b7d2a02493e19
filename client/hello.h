/*
 * What client and helper say first on each pair of streams (wire/proto.h),
 * and the control frame that ends a batch.  Any thread.
 */
#ifndef SBX_HELLO_H
#define SBX_HELLO_H

#include "client/remote.h"

#define SBX_SESSION_SIZE 33

struct sbx_hello {
	struct sbx_remote_info info;
	uint32_t version, received;
	uint64_t instance;
	char session[SBX_SESSION_SIZE];
	/* of a batch's end */
	uint32_t owed;
	bool more;
};

/* A new session's name; -EIO. */
int sbx_session_make(char dst[SBX_SESSION_SIZE]);
/* Ours; window: see proto.h.  b->err tells whether it could be written. */
void sbx_hello_put(struct sbx_buf *b, const char *session, uint64_t instance,
		   uint32_t received, size_t window);
/* {quit: true} */
void sbx_hello_put_quit(struct sbx_buf *b);
/* The helper's, or what ends its batch (instance 0). */
int sbx_hello_parse(struct sbx_hello *h, const uint8_t *data, size_t len);
/* It is of this version of the protocol, and of this session. */
bool sbx_hello_fits(const struct sbx_hello *h, const char *session);

#endif
