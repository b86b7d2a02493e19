/*
 * Requests: decoding, carrying out in order, replying.  One function op_*
 * for each of enum sbx_wire_op, in the file of its subject.
 */
#ifndef HELPER_REQUEST_H
#define HELPER_REQUEST_H

#include <stdbool.h>
#include <stdint.h>

#include "client/wire/buf.h"
#include "client/wire/msg.h"

struct helper;

/*
 * A request being carried out.  The function takes its arguments from rd,
 * appends its results to out and returns 0, a negative errno, or REQ_LATER:
 * then it has kept what it needs, and reply_begin and reply_end follow.
 */
struct req {
	struct helper *h;
	struct sbx_rd rd;
	struct sbx_buf *out;
	uint32_t id;
	uint32_t op;
	bool in_batch; /* nothing may be left for later */
};

#define REQ_LATER 1

typedef int req_fn(struct req *q);

/* A message from the client; a negative errno breaks the link. */
int request_message(struct helper *h, const uint8_t *data, size_t len);

/* This request was left for what may never come; later (on false), it is
 * about to be answered. */
void request_waits(struct helper *h, uint32_t id, bool on);

/* The reply of a request left for later: begin, put the n results, end. */
struct sbx_buf *reply_begin(struct helper *h, uint32_t id, uint32_t n);
void reply_end(struct helper *h, uint32_t id);
void reply_error(struct helper *h, uint32_t id, int err);
/* A part before the reply: begin, put the n elements, send. */
struct sbx_buf *part_begin(struct helper *h, uint32_t id, uint32_t n);
void part_end(struct helper *h);

req_fn op_dir, op_forget, op_lookup, op_list, op_tree, op_content;
req_fn op_getattr, op_setattr, op_readlink, op_access, op_statfs;
req_fn op_getxattr, op_listxattr, op_setxattr, op_removexattr;
req_fn op_create, op_mkdir, op_mknod, op_symlink, op_link, op_unlink;
req_fn op_rmdir, op_rename;
req_fn op_open, op_close, op_read, op_write, op_fsync, op_fallocate;
req_fn op_seek, op_copy, op_lock, op_hash;
req_fn op_barrier, op_batch, op_creds;
req_fn op_exec, op_stdin, op_signal, op_resize, op_credit, op_credit_one;
req_fn op_hangup;
req_fn op_close_output;
req_fn op_ports, op_port_watch;
req_fn op_report;

#endif
