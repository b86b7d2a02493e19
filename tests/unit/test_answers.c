/*
 * The remote's side of answers, with a channel that is none: what a helper
 * says is put in by hand.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/channel.h"
#include "client/remote_int.h"
#include "tests/lib/unit.h"

/* ---- a channel that is always up ---- */

static const struct sbx_channel_handler *handler;
static void *handler_arg;
static struct sbx_remote_info info;

struct sbx_channel *sbx_channel_new(uv_loop_t *loop, struct sbx_service *svc,
				    const char *id,
				    const struct sbx_channel_handler *h,
				    void *arg)
{
	handler = h;
	handler_arg = arg;
	return (struct sbx_channel *)&info;
}

void sbx_channel_set_plain(struct sbx_channel *c, const char *why)
{
}

void sbx_channel_start(struct sbx_channel *c)
{
}

void sbx_channel_close(struct sbx_channel *c, void (*on_closed)(void *arg),
		       void *arg)
{
	on_closed(arg);
}

int sbx_channel_send(struct sbx_channel *c, uint32_t id, const void *data,
		     size_t len)
{
	return 0;
}

void sbx_channel_defer(struct sbx_channel *c, unsigned int ms)
{
}

void sbx_channel_relax(struct sbx_channel *c, uint32_t id)
{
}

void sbx_channel_hasten(struct sbx_channel *c)
{
}

bool sbx_channel_withdraw(struct sbx_channel *c, uint32_t id)
{
	return false;
}

void sbx_channel_expect(struct sbx_channel *c, bool expecting)
{
}

bool sbx_channel_is_trying(const struct sbx_channel *c)
{
	return false;
}

const struct sbx_remote_info *sbx_channel_info(const struct sbx_channel *c)
{
	return &info;
}

void sbx_channel_renew(struct sbx_channel *c)
{
}

void sbx_channel_look_again(struct sbx_channel *c)
{
}

uint64_t sbx_channel_heard_ms(const struct sbx_channel *c)
{
	return UINT64_MAX;
}

uint64_t sbx_channel_answered_ms(const struct sbx_channel *c)
{
	return 0;
}

uint64_t sbx_channel_asked_ms(const struct sbx_channel *c)
{
	return 0;
}

bool sbx_channel_is_occupied(const struct sbx_channel *c)
{
	return false;
}

size_t sbx_channel_unsent(const struct sbx_channel *c)
{
	return 0;
}

/* the confirming of a sandbox's end is not needed here */
struct sbx_call *sbx_call_new(enum sbx_call_kind kind, const char *id)
{
	return NULL;
}

struct sbx_call *sbx_call_free(struct sbx_call *call)
{
	return NULL;
}

/* ---- tests ---- */

struct asked {
	struct sbx_remote *r;
	uint32_t number;
	unsigned int parts;
	bool done;
	int err;
};

static void on_done(void *arg, int err, struct sbx_rd *rd)
{
	struct asked *a = arg;

	a->done = true;
	a->err = err;
}

static void on_part(void *arg, struct sbx_rd *rd)
{
	struct asked *a = arg;

	a->parts++;
}

static void say_part(uv_timer_t *t)
{
	struct asked *a = t->data;
	struct sbx_buf b;

	sbx_buf_init(&b, 64);
	sbx_put_array(&b, 3);
	sbx_put_u64(&b, SBX_MSG_PART);
	sbx_put_u64(&b, a->number);
	sbx_put_array(&b, 0);
	assert_int_equal(
		sbx_remote_message(a->r, sbx_buf_at(&b), sbx_buf_len(&b)), 0);
	sbx_buf_release(&b);
}

static void on_late(uv_timer_t *t)
{
	uv_stop(t->loop);
}

static void test_parts_without_end_time_out(void **state)
{
	uv_timer_t parts, late;
	struct asked a = {0};
	uv_loop_t loop;

	uv_loop_init(&loop);
	a.r = sbx_remote_new(&loop, NULL, "box", 20);
	handler->on_up(handler_arg, true);
	sbx_put_u64(sbx_remote_begin(a.r, SBX_OP_LIST, 1), 1);
	a.number = sbx_remote_submit(a.r, on_done, on_part, &a);
	uv_timer_init(&loop, &parts);
	uv_timer_init(&loop, &late);
	parts.data = &a;
	uv_timer_start(&parts, say_part, 0, 5);
	uv_timer_start(&late, on_late, 60000, 0);
	while (!a.done && uv_is_active((uv_handle_t *)&late))
		uv_run(&loop, UV_RUN_ONCE);
	assert_true(a.done);
	assert_int_equal(a.err, -ETIMEDOUT);
	assert_true(a.parts > 0);
	uv_close((uv_handle_t *)&parts, NULL);
	uv_close((uv_handle_t *)&late, NULL);
	sbx_remote_close(a.r, NULL, NULL);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&loop), 0);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parts_without_end_time_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
