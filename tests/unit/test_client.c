/*
 * The set of sandboxes as fuse/ sees it, over a service that is told what to
 * answer: one request for many who ask, two seconds of trust, names, what
 * vanishes.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "client/client.h"
#include "tests/unit/wire_test.h"

#define MAX_BOXES 8
#define MAX_CALLS 16

/* A service that answers from a table when it is told to. */
struct fake {
	struct sbx_service svc;
	struct {
		const char *id, *name;
		int64_t created_ms;
		bool hidden; /* from the listing */
	} box[MAX_BOXES];
	const char *instead; /* what GET answers about; NULL: what is asked */
	unsigned int many;   /* more of them in the listing, all "same" */
	struct sbx_call *waiting[MAX_CALLS];
	size_t nr_waiting;
	unsigned int count[SBX_CALL_KINDS], patience_ms[SBX_CALL_KINDS];
	int fail;
};

static void fake_submit(struct sbx_service *svc, struct sbx_call *call)
{
	struct fake *f = (struct fake *)svc;

	assert_true(f->nr_waiting < MAX_CALLS);
	f->waiting[f->nr_waiting++] = call;
	f->count[call->kind]++;
	f->patience_ms[call->kind] = call->timeout_ms;
}

static void fake_add(const struct fake *f, size_t i, struct sbx_call *call)
{
	struct sbx_sandbox *sb = &call->list[call->nr++];

	*sb = (struct sbx_sandbox){
		.id = strdup(f->box[i].id),
		.name = f->box[i].name ? strdup(f->box[i].name) : NULL,
		.state = SBX_STATE_RUNNING,
		.created_ms = f->box[i].created_ms,
		.info = strdup("{}"),
	};
}

static void fake_one(struct fake *f, struct sbx_call *call, const char *id)
{
	for (size_t i = 0; i < MAX_BOXES; i++)
		if (f->box[i].id && !strcmp(f->box[i].id, id))
			fake_add(f, i, call);
	if (!call->nr)
		sbx_error_set(&call->error, -ENOENT, "no such sandbox");
}

static void fake_add_many(const struct fake *f, struct sbx_call *call)
{
	char id[20];

	for (unsigned int i = 0; i < f->many; i++) {
		/* in no order */
		snprintf(id, sizeof(id), "m-%05u", i * 7919 % f->many);
		call->list[call->nr++] = (struct sbx_sandbox){
			.id = strdup(id),
			.name = strdup("same"),
			.state = SBX_STATE_RUNNING,
			.created_ms = 1000 + i,
			.info = strdup("{}"),
		};
	}
}

static void fake_do(struct fake *f, struct sbx_call *call)
{
	call->list = calloc(MAX_BOXES + f->many, sizeof(*call->list));
	if (f->fail) {
		sbx_error_set(&call->error, f->fail, "told to fail");
		return;
	}
	switch (call->kind) {
	case SBX_CALL_LIST:
		for (size_t i = 0; i < MAX_BOXES; i++)
			if (f->box[i].id && !f->box[i].hidden)
				fake_add(f, i, call);
		fake_add_many(f, call);
		break;
	case SBX_CALL_CREATE:
		fake_one(f, call, "created");
		break;
	case SBX_CALL_DESTROY:
		break;
	case SBX_CALL_GET:
		fake_one(f, call, f->instead ? f->instead : call->id);
		break;
	case SBX_CALL_KEEPALIVE:
	case SBX_CALL_PAUSE:
	case SBX_CALL_RESUME:
	case SBX_CALL_STOP:
	case SBX_CALL_START:
	case SBX_CALL_RESTART:
	case SBX_CALL_SNAPSHOTS:
	case SBX_CALL_SNAPSHOT:
	case SBX_CALL_RESTORE:
	case SBX_CALL_WIPE:
	case SBX_CALL_FILES:
	case SBX_CALL_FILE:
	case SBX_CALL_UNSNAPSHOT:
	case SBX_CALL_OWN_READ:
	case SBX_CALL_OWN_WRITE:
	case SBX_CALL_OWN_LIST:
	case SBX_CALL_OWN_MAKE:
	case SBX_CALL_OWN_REMOVE:
	case SBX_CALL_KINDS:
		fake_one(f, call, call->id);
		break;
	}
}

static void fake_answer(struct fake *f)
{
	while (f->nr_waiting) {
		struct sbx_call *call = f->waiting[--f->nr_waiting];

		fake_do(f, call);
		call->done(call);
	}
}

static void fake_close(struct sbx_service *svc, void (*on_closed)(void *arg),
		       void *arg)
{
	struct fake *f = (struct fake *)svc;

	while (f->nr_waiting) {
		struct sbx_call *call = f->waiting[--f->nr_waiting];

		sbx_error_set(&call->error, -ECANCELED, "closing");
		call->done(call);
	}
	on_closed(arg);
}

static const struct sbx_service_type fake_type = {
	.name = "fake",
	.calls = (1u << SBX_CALL_KINDS) - 1,
	.create_ms = 200000,
	.life_ms = 300000,
	.submit = fake_submit,
	.close = fake_close,
};

/* ---- one test's surroundings ---- */

static struct fake fake;
static struct sbx_conf conf;
static uv_loop_t loop;
static struct sbx_client *client;
static unsigned int answers, gone, closed;
static struct sbx_error last;
static struct sbx_box *last_box;

static void on_answer(void *arg, struct sbx_box *box,
		      const struct sbx_error *error)
{
	answers++;
	last = *error;
	last_box = box;
}

static void on_gone(void *arg, struct sbx_box *box)
{
	assert_true(box->gone);
	gone++;
}

static void on_closed(void *arg)
{
	closed++;
}

static int set_up(void **state)
{
	static const struct sbx_client_listener listener = {on_gone};

	memset(&fake, 0, sizeof(fake));
	fake.svc.type = &fake_type;
	fake.box[0].id = "aa-1";
	fake.box[0].name = "one";
	fake.box[0].created_ms = 1;
	fake.box[1].id = "bb-2";
	conf.timeout_ms = 1000;
	uv_loop_init(&loop);
	client = sbx_client_new(&loop, &fake.svc, &conf);
	sbx_client_set_listener(client, &listener, NULL);
	answers = gone = closed = 0;
	return 0;
}

static int tear_down(void **state)
{
	sbx_client_close(client, on_closed, NULL);
	assert_int_equal(closed, 1);
	return uv_loop_close(&loop);
}

static void on_timer(uv_timer_t *t)
{
	uv_close((uv_handle_t *)t, NULL);
}

/* lets the listing grow old */
static void wait_ms(unsigned int ms)
{
	uv_timer_t t;

	uv_timer_init(&loop, &t);
	uv_timer_start(&t, on_timer, ms, 0);
	uv_run(&loop, UV_RUN_DEFAULT);
}

static void list(void)
{
	sbx_client_list(client, on_answer, NULL);
	fake_answer(&fake);
	assert_int_equal(last.err, 0);
}

static struct sbx_box *find(const char *name)
{
	last_box = NULL;
	sbx_client_find(client, name, on_answer, NULL);
	fake_answer(&fake); /* the listing */
	fake_answer(&fake); /* and perhaps the one */
	return last_box;
}

static size_t nr_listed(void)
{
	size_t pos = 0, n = 0;

	while (sbx_client_next(client, &pos))
		n++;
	return n;
}

/* ---- tests ---- */

static void test_many_share_one_request(void **state)
{
	for (int i = 0; i < 5; i++)
		sbx_client_list(client, on_answer, NULL);
	assert_int_equal(answers, 0);
	assert_int_equal(fake.count[SBX_CALL_LIST], 1);
	fake_answer(&fake);
	assert_int_equal(answers, 5);
	assert_int_equal(nr_listed(), 2);
	sbx_client_list(client, on_answer, NULL); /* fresh */
	assert_int_equal(answers, 6);
	assert_int_equal(fake.count[SBX_CALL_LIST], 1);
}

static void test_old_listing_is_asked_again(void **state)
{
	list();
	wait_ms(SBX_CLIENT_FRESH_MS + 10);
	list();
	assert_int_equal(fake.count[SBX_CALL_LIST], 2);
}

static void test_failed_listing_fails_all_and_is_not_kept(void **state)
{
	fake.fail = -EACCES;
	sbx_client_list(client, on_answer, NULL);
	sbx_client_list(client, on_answer, NULL);
	fake_answer(&fake);
	assert_int_equal(answers, 2);
	assert_int_equal(last.err, -EACCES);
	fake.fail = 0;
	list();
	assert_int_equal(nr_listed(), 2);
}

static void test_names_and_ids_find(void **state)
{
	assert_string_equal(find("one")->sb.id, "aa-1");
	assert_string_equal(find("aa-1")->folder, "one");
	assert_string_equal(find("bb-2")->folder, "bb-2");
	assert_int_equal(fake.count[SBX_CALL_LIST], 1);
	assert_int_equal(fake.count[SBX_CALL_GET], 0);
}

static void test_folder_names(void **state)
{
	fake.box[2].id = "cc-3"; /* younger, same name */
	fake.box[2].name = "one";
	fake.box[2].created_ms = 2;
	fake.box[3].id = "dd-4"; /* another one's id as name */
	fake.box[3].name = "bb-2";
	fake.box[4].id = "ee-5";
	fake.box[4].name = "new";
	fake.box[5].id = "ff-6";
	fake.box[5].name = "a/b";
	fake.box[6].id = "gg-7"; /* its own id as name */
	fake.box[6].name = "gg-7";
	list();
	assert_string_equal(find("one")->sb.id, "aa-1");
	assert_string_equal(find("cc-3")->folder, "cc-3");
	assert_string_equal(find("bb-2")->sb.id, "bb-2");
	assert_string_equal(find("dd-4")->folder, "dd-4");
	assert_string_equal(find("ee-5")->folder, "ee-5");
	assert_string_equal(find("ff-6")->folder, "ff-6");
	assert_string_equal(find("gg-7")->folder, "gg-7");
	assert_null(find("new"));
}

static void test_hidden_is_found_by_id(void **state)
{
	fake.box[2].id = "cc-3";
	fake.box[2].hidden = true;
	assert_string_equal(find("cc-3")->sb.id, "cc-3");
	assert_int_equal(nr_listed(), 2);
}

static void test_miss_is_remembered_shortly(void **state)
{
	assert_null(find("zz-9"));
	assert_int_equal(last.err, -ENOENT);
	assert_null(find("zz-9"));
	assert_int_equal(fake.count[SBX_CALL_GET], 1);
	assert_null(find(".git"));
	assert_int_equal(fake.count[SBX_CALL_GET], 1);
	wait_ms(SBX_CLIENT_FRESH_MS + 10);
	assert_null(find("zz-9")); /* and so it is the second time */
	assert_null(find("zz-9"));
	assert_int_equal(fake.count[SBX_CALL_GET], 2);
}

static void test_unlisted_and_unused_goes(void **state)
{
	list();
	fake.box[1].id = NULL;
	wait_ms(SBX_CLIENT_FRESH_MS + 10);
	list();
	assert_int_equal(nr_listed(), 1);
	assert_int_equal(gone, 1);
}

static void test_unlisted_but_used_is_asked_for(void **state)
{
	struct sbx_box *box;

	list();
	box = sbx_box_ref(find("bb-2"));
	fake.box[1].hidden = true;
	wait_ms(SBX_CLIENT_FRESH_MS + 10);
	list();
	fake_answer(&fake);
	assert_false(box->gone);
	assert_int_equal(nr_listed(), 1);
	fake.box[1].id = NULL;
	wait_ms(SBX_CLIENT_FRESH_MS + 10);
	list();
	fake_answer(&fake);
	assert_true(box->gone);
	assert_int_equal(gone, 1);
	assert_null(find("bb-2"));
	sbx_box_unref(box);
}

static void test_an_answer_about_another(void **state)
{
	struct sbx_box *one = find("one");

	fake.box[2].id = "cc-3";
	fake.box[2].name = "theirs";
	fake.box[2].hidden = true;
	fake.instead = "cc-3";
	/* what the service found by its name */
	assert_string_equal(find("theirs")->sb.id, "cc-3");
	sbx_client_find(client, "nobodys", on_answer, NULL);
	fake_answer(&fake);
	assert_int_equal(last.err, -EPROTO);
	/* of which the id is known that is the one */
	fake.box[2].name = "aa-1";
	sbx_client_refresh(client, one, true, 0, on_answer, NULL);
	fake_answer(&fake);
	assert_int_equal(last.err, -EPROTO);
}

/* Seconds, not minutes, of this thread, in which nothing else is done. */
static void test_as_many_as_there_may_be_come_and_go(void **state)
{
	clock_t begin = clock();
	char name[20];
	unsigned int i;

	fake.many = 16000;
	list();
	assert_int_equal(nr_listed(), 16002);
	assert_string_equal(find("same")->sb.id, "m-00000");
	assert_string_equal(find("one")->sb.id, "aa-1");
	for (i = 0; i < fake.many; i++) {
		snprintf(name, sizeof(name), "m-%05u", i);
		assert_string_equal(sbx_client_known(client, name)->sb.id,
				    name);
	}
	assert_null(sbx_client_known(client, "m-16000"));
	fake.many = 0;
	wait_ms(SBX_CLIENT_FRESH_MS + 10);
	list();
	assert_int_equal(gone, 16000);
	assert_int_equal(nr_listed(), 2);
	assert_null(sbx_client_known(client, "same"));
	assert_string_equal(find("one")->sb.id, "aa-1");
	assert_true(clock() - begin < 20 * CLOCKS_PER_SEC);
}

static void test_create_and_destroy(void **state)
{
	struct sbx_box *box;

	list();
	fake.box[2].id = "created";
	fake.box[2].name = "fresh";
	sbx_client_create(client, "fresh", "{\"name\":\"fresh\"}", on_answer,
			  NULL);
	fake_answer(&fake); /* is there one? */
	fake_answer(&fake);
	assert_int_equal(last.err, 0);
	assert_string_equal(last_box->folder, "fresh");
	assert_int_equal(nr_listed(), 3);
	box = sbx_box_ref(last_box);
	sbx_client_destroy(client, box, on_answer, NULL);
	fake_answer(&fake);
	assert_int_equal(last.err, 0);
	assert_null(last_box);
	assert_true(box->gone);
	assert_int_equal(nr_listed(), 2);
	sbx_box_unref(box);
}

/* What the service says is waited for. */
static void test_patience_is_of_the_service(void **state)
{
	struct sbx_box *box = find("one");

	fake.box[2].id = "created";
	sbx_client_create(client, "new", "{}", on_answer, NULL);
	fake_answer(&fake);
	assert_int_equal(fake.patience_ms[SBX_CALL_CREATE], 200000);
	sbx_client_drive(client, box, SBX_CALL_START, on_answer, NULL);
	fake_answer(&fake);
	assert_int_equal(fake.patience_ms[SBX_CALL_START], 300000);
}

/* What was asked for before it was destroyed is answered after that. */
static void test_late_answers_bring_nothing_back(void **state)
{
	struct sbx_box *box;

	list();
	box = sbx_box_ref(find("one"));
	wait_ms(2100);
	sbx_client_list(client, on_answer, NULL);
	sbx_client_refresh(client, box, true, 0, on_answer, NULL);
	sbx_client_destroy(client, box, on_answer, NULL);
	answers = 0;
	fake_answer(&fake); /* the last first */
	assert_int_equal(answers, 3);
	assert_int_equal(last.err, 0);
	assert_true(box->gone);
	assert_null(sbx_client_known(client, "one"));
	assert_int_equal(nr_listed(), 1);
	wait_ms(2100);
	list(); /* it is there all the same */
	assert_int_equal(nr_listed(), 2);
	sbx_box_unref(box);
}

static void test_answer_about_another_is_refused(void **state)
{
	struct sbx_call *call;

	sbx_client_refresh(client, find("one"), true, 0, on_answer, NULL);
	call = fake.waiting[0];
	fake.nr_waiting = 0;
	call->list = calloc(MAX_BOXES, sizeof(*call->list));
	fake_add(&fake, 1, call);
	call->done(call);
	assert_int_equal(last.err, -EPROTO);
}

static void test_close_answers_what_waits(void **state)
{
	list();
	sbx_client_create(client, NULL, NULL, on_answer, NULL);
	answers = 0;
	sbx_client_close(client, on_closed, NULL);
	assert_int_equal(answers, 1);
	assert_int_equal(last.err, -ECANCELED);
	assert_int_equal(closed, 1);
	/* for tear_down */
	closed = 0;
	client = sbx_client_new(&loop, &fake.svc, &conf);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_many_share_one_request),
		TEST(test_old_listing_is_asked_again),
		TEST(test_failed_listing_fails_all_and_is_not_kept),
		TEST(test_names_and_ids_find),
		TEST(test_folder_names),
		TEST(test_hidden_is_found_by_id),
		TEST(test_miss_is_remembered_shortly),
		TEST(test_unlisted_and_unused_goes),
		TEST(test_unlisted_but_used_is_asked_for),
		TEST(test_an_answer_about_another),
		TEST(test_as_many_as_there_may_be_come_and_go),
		TEST(test_create_and_destroy),
		TEST(test_patience_is_of_the_service),
		TEST(test_late_answers_bring_nothing_back),
		TEST(test_answer_about_another_is_refused),
		TEST(test_close_answers_what_waits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
