/*
 * The inside of a client, shared by client.c, client_ask.c and making.c.
 * Nobody else includes this.
 */
#ifndef SBX_CLIENT_INT_H
#define SBX_CLIENT_INT_H

#include "client/boxes.h"

#define CLIENT_MISSES	16
#define CLIENT_MAX_GONE 1000

struct sbx_making;

/* what was asked for and was not there: not asked again for a while */
struct client_miss {
	char name[128];
	uint64_t at_ms;
};

/* went while the listing was under way, which may yet show it */
struct client_gone {
	struct client_gone *next;
	char id[];
};

struct sbx_client {
	uv_loop_t *loop;
	const struct sbx_conf *conf;
	struct sbx_service *svc;
	const struct sbx_client_listener *listener;
	void *listener_arg;

	struct sbx_boxes boxes;
	struct client_waiter *waiters; /* for the listing under way */
	bool listing, listed;
	uint64_t list_sent_ms, listed_ms;
	struct client_gone *gone;
	unsigned int nr_gone; /* beyond CLIENT_MAX_GONE they are not known */

	struct sbx_making *makings; /* making.c: those under way */

	struct client_miss misses[CLIENT_MISSES];
	unsigned int next_miss;

	bool closing;
	void (*on_closed)(void *arg);
	void *closed_arg;
};

/* ---- client.c ---- */

/* Answers; fn may be NULL. */
void client_answer(sbx_box_fn *fn, void *arg, struct sbx_box *box,
		   const struct sbx_error *error);
void client_fail(sbx_box_fn *fn, void *arg, int err, const char *text);
bool client_is_fresh(const struct sbx_client *c, uint64_t at_ms);
/* Its state may be another one: the listener hears of it. */
void client_tell(struct sbx_client *c, struct sbx_box *box);
void client_note_miss(struct sbx_client *c, const char *name);

/* ---- client_ask.c ---- */

/* Asks for the sandbox of that name or id, which may not be known. */
void client_get(struct sbx_client *c, const char *id, struct sbx_box *box,
		sbx_box_fn *fn, void *arg);
/* Makes one, whatever its name is. */
void client_make(struct sbx_client *c, const char *options, sbx_box_fn *fn,
		 void *arg);

#endif
