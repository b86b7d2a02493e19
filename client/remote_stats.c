/*
 * Counting what is said, and how often somebody had to wait for an answer.
 */
#include "client/remote_int.h"

static const char *const op_names[SBX_STATS_OPS] = {
	[SBX_OP_DIR] = "dir",
	[SBX_OP_FORGET] = "forget",
	[SBX_OP_LOOKUP] = "lookup",
	[SBX_OP_LIST] = "list",
	[SBX_OP_TREE] = "tree",
	[SBX_OP_CONTENT] = "content",
	[SBX_OP_GETATTR] = "getattr",
	[SBX_OP_SETATTR] = "setattr",
	[SBX_OP_READLINK] = "readlink",
	[SBX_OP_ACCESS] = "access",
	[SBX_OP_STATFS] = "statfs",
	[SBX_OP_GETXATTR] = "getxattr",
	[SBX_OP_LISTXATTR] = "listxattr",
	[SBX_OP_SETXATTR] = "setxattr",
	[SBX_OP_REMOVEXATTR] = "removexattr",
	[SBX_OP_CREATE] = "create",
	[SBX_OP_MKDIR] = "mkdir",
	[SBX_OP_MKNOD] = "mknod",
	[SBX_OP_SYMLINK] = "symlink",
	[SBX_OP_LINK] = "link",
	[SBX_OP_UNLINK] = "unlink",
	[SBX_OP_RMDIR] = "rmdir",
	[SBX_OP_RENAME] = "rename",
	[SBX_OP_OPEN] = "open",
	[SBX_OP_CLOSE] = "close",
	[SBX_OP_READ] = "read",
	[SBX_OP_WRITE] = "write",
	[SBX_OP_FSYNC] = "fsync",
	[SBX_OP_FALLOCATE] = "fallocate",
	[SBX_OP_SEEK] = "seek",
	[SBX_OP_COPY] = "copy",
	[SBX_OP_LOCK] = "lock",
	[SBX_OP_HASH] = "hash",
	[SBX_OP_BARRIER] = "barrier",
	[SBX_OP_BATCH] = "batch",
	[SBX_OP_CREDS] = "creds",
	[SBX_OP_EXEC] = "exec",
	[SBX_OP_STDIN] = "stdin",
	[SBX_OP_SIGNAL] = "signal",
	[SBX_OP_RESIZE] = "resize",
	[SBX_OP_CREDIT] = "credit",
	[SBX_OP_CREDIT_ONE] = "credit_one",
	[SBX_OP_CLOSE_OUTPUT] = "close_output",
	[SBX_OP_HANGUP] = "hangup",
	[SBX_OP_PORTS] = "ports",
	[SBX_OP_PORT_WATCH] = "port_watch",
	[SBX_OP_REPORT] = "report",
};

const char *sbx_wire_op_name(unsigned int op)
{
	return op < SBX_STATS_OPS ? op_names[op] : NULL;
}

const struct sbx_remote_stats *sbx_remote_stats(const struct sbx_remote *r)
{
	return &r->stats;
}

void sbx_remote_count_sent(struct sbx_remote *r)
{
	if (r->begun_op < SBX_STATS_OPS)
		r->stats.requests[r->begun_op]++;
	r->stats.bytes_sent += sbx_buf_len(&r->scratch);
}

void sbx_remote_count_answer(struct sbx_remote *r, const struct pending *p)
{
	r->answered = p->sent_at + 1;
	if (!p->ahead)
		sbx_remote_waited(r, r->answered);
}

const uint32_t sbx_latency_us[SBX_LATENCY_BUCKETS] = {
	500, 2000, 10000, 50000, 200000, 1000000, 5000000, 30000000,
};

void sbx_remote_set_latencies(struct sbx_remote *r, struct sbx_latencies *l)
{
	r->latencies = l;
}

void sbx_remote_count_latency(struct sbx_remote *r, const struct pending *p)
{
	uint64_t us = (uv_hrtime() - p->submitted_ns) / 1000;
	struct sbx_latency *l;

	if (!r->latencies || p->op >= SBX_STATS_OPS)
		return;
	l = &r->latencies->of[p->op];
	l->count++;
	l->sum_us += us;
	for (int i = 0; i < SBX_LATENCY_BUCKETS; i++)
		if (us <= sbx_latency_us[i]) {
			l->bucket[i]++;
			break;
		}
}

void sbx_remote_ahead(struct sbx_remote *r, uint32_t number)
{
	struct pending *p = sbx_remote_pending_find(r, number);

	if (p)
		p->ahead = true;
}

uint64_t sbx_remote_answered(const struct sbx_remote *r)
{
	return r->answered;
}

void sbx_remote_waited(struct sbx_remote *r, uint64_t answered)
{
	if (r->stats.round_trips < answered)
		r->stats.round_trips = answered;
}
