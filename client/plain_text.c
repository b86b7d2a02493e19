/*
 * Words of commands, and what tools print.  No input or output; what is read
 * here comes from a stranger.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "client/plain_int.h"

#define MAX_ERRNO 133
#define MAX_LINE  400 /* a line of attributes */

/* ---- words ---- */

static bool is_safe(uint8_t c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       (c >= '0' && c <= '9') || (c && strchr("._/+:,@-", c));
}

/* "=" in front, so that it is never empty. */
void plain_put_word(struct sbx_buf *b, const void *data, size_t len)
{
	const uint8_t *p = data;
	char esc[8];
	size_t i;

	sbx_buf_add(b, " =", 2);
	for (i = 0; i < len; i++) {
		if (is_safe(p[i])) {
			sbx_buf_add(b, p + i, 1);
			continue;
		}
		snprintf(esc, sizeof(esc), "\\0%03o", p[i]);
		sbx_buf_add(b, esc, 5);
	}
}

void plain_put_text(struct sbx_buf *b, const char *word)
{
	sbx_buf_add(b, " ", 1);
	sbx_buf_add(b, word, strlen(word));
}

void plain_put_number(struct sbx_buf *b, uint64_t v)
{
	char text[24];

	snprintf(text, sizeof(text), "%llu", (unsigned long long)v);
	plain_put_text(b, text);
}

#define NUMBER_WIDTH 10

void plain_line_begin(struct sbx_buf *b)
{
	static const char room[NUMBER_WIDTH + 1] = "          ";

	sbx_buf_clear(b);
	sbx_buf_add(b, room, NUMBER_WIDTH);
}

void plain_line_number(struct sbx_buf *b, uint32_t number)
{
	char text[NUMBER_WIDTH + 1];

	snprintf(text, sizeof(text), "%*u", NUMBER_WIDTH, number);
	if (sbx_buf_len(b) >= NUMBER_WIDTH)
		memcpy(sbx_buf_at(b), text, NUMBER_WIDTH);
}

int plain_put_place(struct sbx_buf *b, const char *op,
		    const struct plain_at *at)
{
	char path[PLAIN_PATH];
	const char *name = at->name;
	const struct plain_dir *in = at->dir;
	int r;

	/* a directory by its name in the one above, which needs no right to
	 * search it */
	if (!*name && at->dir->parent) {
		name = at->dir->name;
		in = at->dir->parent;
	}
	r = plain_dir_path(in, path);
	if (r < 0)
		return r;
	plain_put_text(b, op);
	plain_put_word(b, path, strlen(path));
	plain_put_word(b, *name ? name : ".", *name ? strlen(name) : 1);
	return 0;
}

/* ---- errors ---- */

static bool is_text(const char *text, size_t len, const char *known)
{
	return known && strlen(known) == len && !memcmp(text, known, len);
}

int plain_errno(const char *text)
{
	static const struct {
		const char *text;
		int err;
	} others[] = {
		{"hard link not allowed for directory", EPERM},
		{"No such process", ESRCH},
	};
	/* behind it dd tells how much it has copied nevertheless */
	size_t len = strcspn(text, ";"), i;
	int e;

	/* the texts of the C locale, which the tools are told to use */
	for (e = 1; e <= MAX_ERRNO; e++)
		if (is_text(text, len, strerrordesc_np(e)))
			return -e;
	for (i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		if (is_text(text, len, others[i].text))
			return -others[i].err;
	return -EIO;
}

/* ---- numbers ---- */

static int take_number(const char **at, const char *end, int base,
		       uint64_t *ret)
{
	const char *p = *at;
	uint64_t v = 0;
	int digit;

	while (p < end) {
		digit = *p >= '0' && *p <= '9'	 ? *p - '0'
			: *p >= 'a' && *p <= 'f' ? *p - 'a' + 10
						 : base;
		if (digit >= base)
			break;
		if (v > (UINT64_MAX - (uint64_t)digit) / (uint64_t)base)
			return -EPROTO;
		v = v * (uint64_t)base + (uint64_t)digit;
		p++;
	}
	if (p == *at)
		return -EPROTO;
	*at = p;
	*ret = v;
	return 0;
}

static int skip_blank(const char **at, const char *end)
{
	if (*at >= end || **at != ' ')
		return -EPROTO;
	(*at)++;
	return 0;
}

static int take_u64(const char **at, const char *end, int base, uint64_t *ret)
{
	int r = take_number(at, end, base, ret);

	return r < 0 ? r : skip_blank(at, end);
}

static int take_u32(const char **at, const char *end, int base, uint32_t *ret)
{
	uint64_t v = 0;
	int r = take_u64(at, end, base, &v);

	*ret = (uint32_t)v;
	return r < 0 || v > UINT32_MAX ? -EPROTO : 0;
}

/* "-1.500000000": one and a half seconds before 1970; nine digits or more */
static int take_time(const char **at, const char *end, int64_t *ret_s,
		     uint32_t *ret_ns)
{
	bool negative = *at < end && **at == '-';
	const char *frac;
	uint64_t s, ns;
	int i;

	*at += negative;
	if (take_number(at, end, 10, &s) < 0 || s > INT64_MAX / 2 ||
	    *at >= end || **at != '.')
		return -EPROTO;
	frac = ++*at;
	if (take_number(at, end, 10, &ns) < 0 || *at - frac < 9)
		return -EPROTO;
	for (i = 9; i < *at - frac; i++)
		ns /= 10;
	if (ns > 999999999)
		return -EPROTO;
	*ret_s = negative ? -(int64_t)s - (ns != 0) : (int64_t)s;
	*ret_ns = (uint32_t)(negative && ns ? 1000000000 - ns : ns);
	return 0;
}

static int take_times(const char **at, const char *end, struct sbx_attr *a)
{
	int r = take_time(at, end, &a->atime_s, &a->atime_ns);

	r = r < 0 ? r : skip_blank(at, end);
	r = r < 0 ? r : take_time(at, end, &a->mtime_s, &a->mtime_ns);
	r = r < 0 ? r : skip_blank(at, end);
	return r < 0 ? r : take_time(at, end, &a->ctime_s, &a->ctime_ns);
}

/* ---- attributes ---- */

static int attr_parse(const char *at, const char *end, struct sbx_attr *a)
{
	uint64_t size, major, minor, blksize;

	memset(a, 0, sizeof(*a));
	if (take_u32(&at, end, 16, &a->mode) < 0 ||
	    take_u32(&at, end, 10, &a->nlink) < 0 ||
	    take_u32(&at, end, 10, &a->uid) < 0 ||
	    take_u32(&at, end, 10, &a->gid) < 0 ||
	    take_u64(&at, end, 10, &size) < 0 ||
	    take_u64(&at, end, 10, &a->blocks) < 0 ||
	    take_u64(&at, end, 10, &a->ino) < 0 ||
	    take_u64(&at, end, 10, &a->dev) < 0 ||
	    take_u64(&at, end, 16, &major) < 0 ||
	    take_u64(&at, end, 16, &minor) < 0 || take_times(&at, end, a) < 0)
		return -EPROTO;
	if (skip_blank(&at, end) < 0 ||
	    take_number(&at, end, 10, &blksize) < 0 || at != end ||
	    size > INT64_MAX || major > UINT32_MAX || minor > UINT32_MAX)
		return -EPROTO;
	a->size = size;
	a->rdev = makedev((unsigned int)major, (unsigned int)minor);
	a->blksize = (uint32_t)blksize;
	return 0;
}

int plain_take_attr(struct sbx_buf *out, struct sbx_attr *ret)
{
	const char *p = (const char *)sbx_buf_at(out);
	size_t len = sbx_buf_len(out), at;

	if (len < 3 || p[len - 1] != '\n')
		return -EPROTO;
	for (at = len - 2; at > 0 && p[at] != '\n'; at--)
		if (len - at > MAX_LINE)
			return -EPROTO;
	if (p[at] != '\n' || p[at + 1] != '=' ||
	    attr_parse(p + at + 2, p + len - 1, ret) < 0)
		return -EPROTO;
	sbx_buf_truncate(out, at);
	return 0;
}

static uint32_t type_of(char c)
{
	switch (c) {
	case 'f':
		return S_IFREG;
	case 'd':
		return S_IFDIR;
	case 'l':
		return S_IFLNK;
	case 'p':
		return S_IFIFO;
	case 's':
		return S_IFSOCK;
	default:
		return 0; /* a device: its number is not in the listing */
	}
}

static int entry_parse(const char *at, const char *end, struct plain_entry *e)
{
	struct sbx_attr *a = &e->attr;
	uint32_t type, perms;
	const char *dash = memchr(at, '-', (size_t)(end - at));

	memset(a, 0, sizeof(*a));
	if (end - at < 2)
		return -EPROTO;
	type = type_of(*at++);
	/* how find writes times before 1970 depends on its version */
	e->has_attr = type && !dash;
	if (!e->has_attr)
		return 0;
	if (skip_blank(&at, end) < 0 || take_u32(&at, end, 8, &perms) < 0 ||
	    take_u32(&at, end, 10, &a->nlink) < 0 ||
	    take_u32(&at, end, 10, &a->uid) < 0 ||
	    take_u32(&at, end, 10, &a->gid) < 0 ||
	    take_u64(&at, end, 10, &a->size) < 0 ||
	    take_u64(&at, end, 10, &a->blocks) < 0 ||
	    take_u64(&at, end, 10, &a->ino) < 0 ||
	    take_u64(&at, end, 10, &a->dev) < 0 ||
	    take_times(&at, end, a) < 0 || at != end || perms > 07777 ||
	    a->size > INT64_MAX)
		return -EPROTO;
	a->mode = type | perms;
	a->blksize = 4096;
	return 0;
}

int plain_take_entry(const uint8_t *data, size_t len, struct plain_entry *ret,
		     size_t *ret_used)
{
	const uint8_t *name = data + 1, *stat, *end = NULL;

	if (!len)
		return 0;
	if (data[0] != 'r')
		return -EPROTO;
	stat = memchr(name, 0, len - 1);
	if (stat)
		end = memchr(stat + 1, 0, (size_t)(data + len - stat - 1));
	if (!end)
		return len > 1024 ? -EPROTO : 0;
	ret->name = (const char *)name;
	ret->len = (size_t)(stat - name);
	if (!ret->len || ret->len > 255 || memchr(name, '/', ret->len) ||
	    !strcmp(ret->name, ".") || !strcmp(ret->name, ".."))
		return -EPROTO;
	*ret_used = (size_t)(end + 1 - data);
	return entry_parse((const char *)stat + 1, (const char *)end, ret) < 0
		       ? -EPROTO
		       : 1;
}

/* ---- others ---- */

/* "32000 bytes (32 kB, 31 KiB) copied, ...", behind other lines */
int plain_take_count(const char *text, uint64_t *ret)
{
	const char *at = text, *p;

	for (; at; at = strchr(at, ';')) {
		at += *at == ';';
		p = at;
		if (take_number(&p, p + strlen(p), 10, ret) == 0 &&
		    !strncmp(p, " byte", 5))
			return 0;
	}
	return -EPROTO;
}

int plain_take_numbers(const struct sbx_buf *out, uint64_t *ret, size_t n)
{
	const char *at = (const char *)sbx_buf_at(out);
	const char *end = at + sbx_buf_len(out);
	size_t i;

	for (i = 0; i < n; i++)
		if ((i && skip_blank(&at, end) < 0) ||
		    take_number(&at, end, 10, &ret[i]) < 0)
			return -EPROTO;
	return 0;
}
