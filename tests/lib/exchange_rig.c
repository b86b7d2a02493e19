#include "tests/lib/exchange_rig.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/wire/msg.h"
#include "client/wire/proto.h"
#include "tests/lib/run_service.h"
#include "tests/lib/unit.h"

#define HASTY_MS 2000 /* where one is to pass */

static void on_late(uv_timer_t *t)
{
	*(bool *)t->data = true;
}

void rig_run_until(struct exchange_rig *f, const bool *flag)
{
	f->late = false;
	uv_update_time(&f->loop);
	f->clock.data = &f->late;
	uv_timer_start(&f->clock, on_late, PATIENCE_MS, 0);
	while (!*flag && !f->late)
		uv_run(&f->loop, UV_RUN_ONCE);
	uv_timer_stop(&f->clock);
	assert_true(*flag);
}

void rig_rest(struct exchange_rig *f, unsigned int ms)
{
	f->rested = false;
	f->nap.data = &f->rested;
	uv_update_time(&f->loop);
	uv_timer_start(&f->nap, on_late, ms, 0);
	rig_run_until(f, &f->rested);
}

static void on_doubt(void *arg, bool new_epoch)
{
	struct exchange_rig *f = arg;

	f->doubts++;
	f->epochs += new_epoch;
}

static void on_change(void *arg, uint64_t dir, const char *name, size_t len,
		      unsigned int what, const struct sbx_attr *attr,
		      uint32_t cookie)
{
	struct exchange_rig *f = arg;

	f->changes++;
}

static bool on_holds(void *arg)
{
	const struct exchange_rig *f = arg;

	return f->holds;
}

static const struct sbx_remote_handler handler = {
	.on_change = on_change,
	.on_doubt = on_doubt,
	.holds = on_holds,
};

static struct exchange_rig *fixture_new(size_t input, size_t output, bool parks,
					unsigned int timeout_ms)
{
	struct exchange_rig *f = calloc(1, sizeof(*f));
	char path[80];

	uv_loop_init(&f->loop);
	uv_timer_init(&f->loop, &f->clock);
	uv_timer_init(&f->loop, &f->nap);
	strcpy(f->folder, "/tmp/sbx-exchange.XXXXXX");
	assert_non_null(mkdtemp(f->folder));
	snprintf(path, sizeof(path), "%s.tmp", f->folder);
	assert_int_equal(mkdir(path, 0700), 0);
	f->svc = run_service_new(&f->loop, f->folder, input, output, parks);
	f->r = sbx_remote_new(&f->loop, f->svc, "box", timeout_ms);
	sbx_remote_set_files(f->r, &handler, f);
	return f;
}

int rig_setup(void **state)
{
	*state = fixture_new(96000, 4 << 20, false, RIG_TIMEOUT_MS);
	return 0;
}

int rig_setup_hasty(void **state)
{
	*state = fixture_new(96000, 4 << 20, false, HASTY_MS);
	return 0;
}

int rig_setup_parking(void **state)
{
	*state = fixture_new(200000, 65536, true, RIG_TIMEOUT_MS);
	return 0;
}

void rig_on_closed(void *arg)
{
	struct exchange_rig *f = arg;

	f->closed = true;
}

int rig_teardown(void **state)
{
	struct exchange_rig *f = *state;
	char cmd[256];
	int i;
	pid_t pid =
		sbx_remote_info(f->r) ? (pid_t)sbx_remote_info(f->r)->pid : 0;

	sbx_remote_close(f->r, rig_on_closed, f);
	rig_run_until(f, &f->closed);
	/* the helper was told */
	for (i = 0; pid && !kill(pid, 0) && i < 6000; i++)
		usleep(10000);
	assert_true(!pid || kill(pid, 0) < 0);
	uv_close((uv_handle_t *)&f->clock, NULL);
	uv_close((uv_handle_t *)&f->nap, NULL);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&f->loop), 0);
	run_service_free(f->svc);
	snprintf(cmd, sizeof(cmd), "rm -rf %s %s.tmp %s.home", f->folder,
		 f->folder, f->folder);
	assert_int_equal(system(cmd), 0);
	free(f);
	return 0;
}

/* ---- requests ---- */

void rig_on_attr(void *arg, int err, struct sbx_rd *rd)
{
	struct answer *a = arg;

	a->err = err;
	if (!err)
		sbx_get_attr(rd, &a->attr);
	a->done = true;
}

void rig_ask_getattr(struct exchange_rig *f, const char *name, struct answer *a)
{
	struct sbx_buf *b = sbx_remote_begin(f->r, SBX_OP_GETATTR, 3);

	*a = (struct answer){0};
	sbx_put_at(b, SBX_DIR_WORKSPACE, name, strlen(name), 0);
	sbx_remote_submit(f->r, rig_on_attr, NULL, a);
}

uint32_t rig_ask_mkdir(struct exchange_rig *f, const char *name,
		       struct answer *a)
{
	struct sbx_buf *b = sbx_remote_begin(f->r, SBX_OP_MKDIR, 3);

	*a = (struct answer){0};
	sbx_put_u64(b, SBX_DIR_WORKSPACE);
	sbx_put_bin(b, name, strlen(name));
	sbx_put_u64(b, 0750);
	return sbx_remote_submit(f->r, rig_on_attr, NULL, a);
}

int rig_do_getattr(struct exchange_rig *f, const char *name)
{
	struct answer a;

	rig_ask_getattr(f, name, &a);
	rig_run_until(f, &a.done);
	return a.err;
}

int rig_do_mkdir(struct exchange_rig *f, const char *name)
{
	struct answer a;

	rig_ask_mkdir(f, name, &a);
	rig_run_until(f, &a.done);
	return a.err;
}

void rig_make_file(struct exchange_rig *f, const char *name, size_t size)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", f->folder, name);
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	close(fd);
}

bool rig_is_there(struct exchange_rig *f, const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", f->folder, name);
	return access(path, F_OK) == 0;
}

void rig_use(struct exchange_rig *f)
{
	assert_int_equal(rig_do_getattr(f, ""), 0);
}
