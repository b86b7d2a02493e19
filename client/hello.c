/* Hellos: see hello.h. */
#include "client/hello.h"

#include <string.h>

#include "client/random.h"

int sbx_session_make(char dst[SBX_SESSION_SIZE])
{
	return sbx_random_hex(dst, (SBX_SESSION_SIZE - 1) / 2);
}

void sbx_hello_put(struct sbx_buf *b, const char *session, uint64_t instance,
		   uint32_t received, size_t window)
{
	sbx_put_map(b, 5);
	sbx_put_str(b, "v");
	sbx_put_u64(b, SBX_WIRE_VERSION);
	sbx_put_str(b, "session");
	sbx_put_str(b, session);
	sbx_put_str(b, "instance");
	sbx_put_u64(b, instance);
	sbx_put_str(b, "received");
	sbx_put_u64(b, received);
	sbx_put_str(b, "window");
	sbx_put_u64(b, window);
}

void sbx_hello_put_quit(struct sbx_buf *b)
{
	sbx_put_map(b, 1);
	sbx_put_str(b, "quit");
	sbx_put_bool(b, true);
}

static void copy_text(char *dst, size_t size, struct sbx_rd *rd)
{
	size_t len;
	const uint8_t *p = sbx_get_bin(rd, &len);

	if (len >= size || (p && memchr(p, 0, len))) {
		rd->err = -EPROTO;
		return;
	}
	if (p)
		memcpy(dst, p, len);
	dst[p ? len : 0] = '\0';
}

static void hello_groups(struct sbx_remote_info *info, struct sbx_rd *rd)
{
	struct sbx_rd a = sbx_get_array(rd);

	while (a.left && info->nr_groups < SBX_HELLO_GROUPS)
		info->groups[info->nr_groups++] = sbx_get_u32(&a);
	info->more_groups = a.left;
	if (a.err)
		rd->err = a.err;
}

static void hello_member(struct sbx_hello *h, const char *key,
			 struct sbx_rd *rd)
{
	struct sbx_remote_info *info = &h->info;

	if (!strcmp(key, "v"))
		h->version = sbx_get_u32(rd);
	else if (!strcmp(key, "session"))
		copy_text(h->session, sizeof(h->session), rd);
	else if (!strcmp(key, "instance"))
		h->instance = sbx_get_u64(rd);
	else if (!strcmp(key, "received"))
		h->received = sbx_get_u32(rd);
	else if (!strcmp(key, "version"))
		copy_text(info->version, sizeof(info->version), rd);
	else if (!strcmp(key, "machine"))
		copy_text(info->machine, sizeof(info->machine), rd);
	else if (!strcmp(key, "cwd"))
		copy_text(info->cwd, sizeof(info->cwd), rd);
	else if (!strcmp(key, "home"))
		copy_text(info->home, sizeof(info->home), rd);
	else if (!strcmp(key, "pid"))
		info->pid = sbx_get_u32(rd);
	else if (!strcmp(key, "uid"))
		info->uid = sbx_get_u32(rd);
	else if (!strcmp(key, "gid"))
		info->gid = sbx_get_u32(rd);
	else if (!strcmp(key, "features"))
		info->features = sbx_get_u32(rd);
	else if (!strcmp(key, "groups"))
		hello_groups(info, rd);
	else if (!strcmp(key, "owed"))
		h->owed = sbx_get_u32(rd);
	else if (!strcmp(key, "more"))
		h->more = sbx_get_bool(rd);
	else
		sbx_get_skip(rd);
}

int sbx_hello_parse(struct sbx_hello *h, const uint8_t *data, size_t len)
{
	struct sbx_msg m;
	struct sbx_rd top = {0}, map;
	char key[16];
	int r;

	memset(h, 0, sizeof(*h));
	r = sbx_msg_parse(&m, data, len);
	if (r < 0)
		return -EPROTO;
	top.at = &m.root;
	top.left = 1;
	map = sbx_get_map(&top);
	while (map.left >= 2 && !map.err) {
		copy_text(key, sizeof(key), &map);
		if (!map.err)
			hello_member(h, key, &map);
	}
	r = top.err ? top.err : map.err;
	sbx_msg_release(&m);
	return r;
}

bool sbx_hello_fits(const struct sbx_hello *h, const char *session)
{
	return h->version == SBX_WIRE_VERSION && h->instance &&
	       !strcmp(h->session, session);
}
