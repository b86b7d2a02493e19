/* HASH: a sum of a file's content, made in steps. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/helper/at.h"
#include "client/helper/handles.h"
#include "client/helper/helper.h"
#include "client/helper/tasks.h"

#define PIECE	  (256 * 1024) /* whole words */
#define FNV_BASIS 0xcbf29ce484222325u
#define FNV_PRIME 0x100000001b3u

struct hashing {
	struct task task;
	int fd;
	uint64_t offset, left, done, sum;
};

static void hashing_free(struct helper *h, struct task *t)
{
	struct hashing *hs = (struct hashing *)t;

	close(hs->fd);
	free(hs);
}

/* Little-endian words of 8 bytes; the last is filled up with zeros. */
static uint64_t hash_words(uint64_t sum, const uint8_t *p, size_t len)
{
	size_t i, k;

	for (i = 0; i < len; i += 8) {
		uint64_t word = 0;

		for (k = 0; k < 8 && i + k < len; k++)
			word |= (uint64_t)p[i + k] << 8 * k;
		sum = (sum ^ word) * FNV_PRIME;
	}
	return sum;
}

static ssize_t fill(int fd, uint8_t *dst, size_t len, uint64_t offset)
{
	size_t done = 0;
	ssize_t n;

	while (done < len) {
		n = pread(fd, dst + done, len - done, (off_t)(offset + done));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (!n)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

static int hashing_step(struct helper *h, struct task *t)
{
	static uint8_t piece[PIECE];
	struct hashing *hs = (struct hashing *)t;
	size_t want = hs->left < PIECE ? (size_t)hs->left : PIECE;
	ssize_t n = fill(hs->fd, piece, want, hs->offset);
	struct sbx_buf *b;

	if (n < 0)
		return (int)n;
	hs->sum = hash_words(hs->sum, piece, (size_t)n);
	hs->offset += (uint64_t)n;
	hs->done += (uint64_t)n;
	hs->left -= (uint64_t)n;
	if ((size_t)n == want && hs->left)
		return TASK_AGAIN;
	b = reply_begin(h, t->id, 2);
	sbx_put_u64(b, hs->sum);
	sbx_put_u64(b, hs->done);
	reply_end(h, t->id);
	return 0;
}

static int open_object(struct helper *h, const struct at *at)
{
	const int flags = O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
	struct object o;
	int fd, r;

	r = object_open(h, at, &o);
	if (r < 0)
		return r;
	if (!S_ISREG(o.st.st_mode)) {
		object_close(&o);
		return S_ISDIR(o.st.st_mode) ? -EISDIR : -EINVAL;
	}
	fd = at->handle ? fcntl(o.fd, F_DUPFD_CLOEXEC, 3) : open(o.path, flags);
	r = fd < 0 ? -errno : fd;
	object_close(&o);
	return r;
}

int op_hash(struct req *q)
{
	uint64_t offset, length;
	struct hashing *hs;
	struct at at;
	int fd, r;

	r = at_get(q, &at);
	if (r < 0)
		return r;
	offset = sbx_get_u64(&q->rd);
	length = sbx_get_u64(&q->rd);
	if (q->rd.err || offset > INT64_MAX)
		return -EINVAL;
	fd = open_object(q->h, &at);
	if (fd < 0)
		return fd;
	hs = calloc(1, sizeof(*hs));
	if (!hs) {
		close(fd);
		return -ENOMEM;
	}
	hs->task.step = hashing_step;
	hs->task.free = hashing_free;
	hs->fd = fd;
	hs->offset = offset;
	hs->left = length ? length : UINT64_MAX;
	hs->sum = FNV_BASIS;
	return task_start(q, &hs->task);
}
