/*
 * For unit tests of exchange: a remote, the real helper, and a local shell that
 * runs what they want run, and goes wrong when told to (run_service.h).
 */
#ifndef TEST_EXCHANGE_RIG_H
#define TEST_EXCHANGE_RIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "client/remote.h"

#define PATIENCE_MS    60000
#define RIG_TIMEOUT_MS 30000 /* for a request, as of a mount */

struct exchange_rig {
	uv_loop_t loop;
	uv_timer_t clock, nap;
	bool late, closed, rested;
	char folder[64];
	struct sbx_service *svc;
	struct sbx_remote *r;
	bool holds; /* something that would be lost with the helper */
	unsigned int doubts, epochs, changes;
};

/* *state: one of these.  hasty: requests have 2 s; parking: the service lets a
 * run wait for news. */
int rig_setup(void **state);
int rig_setup_hasty(void **state);
int rig_setup_parking(void **state);
/* The helper is told to end, and does. */
int rig_teardown(void **state);

/* For sbx_remote_close; arg: the rig, which is closed then. */
void rig_on_closed(void *arg);

/* Fails after PATIENCE_MS. */
void rig_run_until(struct exchange_rig *f, const bool *flag);
void rig_rest(struct exchange_rig *f, unsigned int ms);

struct answer {
	bool done;
	int err;
	struct sbx_attr attr;
	size_t len;
};

/* An answer with attributes; arg: a struct answer. */
void rig_on_attr(void *arg, int err, struct sbx_rd *rd);
/* Of a name in the workspace; "" is itself.  The answer comes later. */
void rig_ask_getattr(struct exchange_rig *f, const char *name,
		     struct answer *a);
/* The id of the request. */
uint32_t rig_ask_mkdir(struct exchange_rig *f, const char *name,
		       struct answer *a);
/* ... and waits for the answer: its errno. */
int rig_do_getattr(struct exchange_rig *f, const char *name);
int rig_do_mkdir(struct exchange_rig *f, const char *name);
/* Behind everybody's back. */
void rig_make_file(struct exchange_rig *f, const char *name, size_t size);
bool rig_is_there(struct exchange_rig *f, const char *name);
/* Waits for a first answer: the helper is there. */
void rig_use(struct exchange_rig *f);

#endif
