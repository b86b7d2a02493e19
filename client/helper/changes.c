/* Changes to be told: see changes.h. */
#include "client/helper/changes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/helper/attr.h"
#include "client/helper/helper.h"
#include "client/wire/msg.h"
#include "client/wire/proto.h"

struct change {
	struct change *next, *next_slot;
	uint64_t dir;
	unsigned int what;
	uint32_t cookie;
	char name[];
};

void changes_init(struct changes *c)
{
	*c = (struct changes){0};
	c->end = &c->first;
}

void changes_clear(struct changes *c)
{
	struct change *next;

	for (; c->first; c->first = next) {
		next = c->first->next;
		free(c->first);
	}
	changes_init(c);
}

static struct change **change_slot(struct changes *c, uint64_t dir,
				   const char *name)
{
	return &c->slots[map_hash_name(dir, name) % CHANGES_SLOTS];
}

void changes_overflow(struct helper *h)
{
	changes_clear(&h->changes);
	h->changes.overflow = true;
}

void changes_add(struct helper *h, uint64_t dir, const char *name,
		 unsigned int what, uint32_t cookie)
{
	struct changes *c = &h->changes;
	struct change **slot = change_slot(c, dir, name), *ch;
	size_t size = strlen(name) + 1;

	if (c->overflow)
		return;
	for (ch = *slot; ch; ch = ch->next_slot)
		if (ch->dir == dir && !strcmp(ch->name, name))
			break;
	if (ch) {
		ch->what |= what;
		if (cookie)
			ch->cookie = cookie;
		return;
	}
	ch = c->count < CHANGES_MAX ? malloc(sizeof(*ch) + size) : NULL;
	if (!ch) {
		changes_overflow(h);
		return;
	}
	*ch = (struct change){
		.dir = dir, .what = what, .cookie = cookie, .next_slot = *slot};
	memcpy(ch->name, name, size);
	*slot = ch;
	*c->end = ch;
	c->end = &ch->next;
	c->count++;
}

static struct sbx_buf *event_begin(struct helper *h, enum sbx_wire_msg type,
				   uint32_t n)
{
	struct sbx_buf *b = &h->event;

	sbx_buf_clear(b);
	sbx_put_array(b, n + 1);
	sbx_put_u64(b, type);
	return b;
}

static void send_change(struct helper *h, const struct change *c,
			const struct sbx_attr *attr)
{
	struct sbx_buf *b = event_begin(h, SBX_MSG_CHANGE, 5);

	sbx_put_u64(b, c->dir);
	sbx_put_bin(b, c->name, strlen(c->name));
	sbx_put_u64(b, c->what);
	if (attr)
		sbx_put_attr(b, attr);
	else
		sbx_put_nil(b);
	sbx_put_u64(b, c->cookie);
	peer_send(h, b);
}

static void change_tell(struct helper *h, const struct change *c)
{
	struct sbx_attr attr;
	struct dir *d;
	int r;

	d = dirs_get(h, c->dir, &r);
	if (!d)
		return; /* forgotten meanwhile */
	r = attr_of_name(h, d, c->name, 0, &attr);
	if (!r) {
		send_change(h, c, &attr);
	} else if (r == -ENOENT) {
		send_change(h, c, NULL);
	} else {
		/* what is known of it is in doubt */
		watch_tell_none(h, c->dir, r);
	}
}

void changes_flush(struct helper *h)
{
	struct changes *c = &h->changes;
	struct change *ch, *next;

	if (!c->first && !c->overflow)
		return;
	if (peer_is_full(h)) {
		/* told once there is room again */
		changes_overflow(h);
		return;
	}
	if (c->overflow)
		peer_send(h, event_begin(h, SBX_MSG_OVERFLOW, 0));
	ch = c->first;
	changes_init(c);
	for (; ch; ch = next) {
		next = ch->next;
		change_tell(h, ch);
		free(ch);
	}
}
