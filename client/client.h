/*
 * What fuse/ uses of a service: its sandboxes as a cached, named set, and
 * the calls that change it.  Loop thread only.
 *
 * A box is one sandbox as known here.  Its data are brought up to date in
 * place whenever the service says something newer; whoever holds a reference
 * may read it at any time.  A box that is gone stays as it was last seen.
 */
#ifndef SBX_CLIENT_H
#define SBX_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "client/conf.h"
#include "client/error.h"
#include "client/service.h"

#define SBX_CLIENT_FRESH_MS 2000 /* what is older is asked for again */

struct sbx_client;

struct sbx_box {
	struct sbx_sandbox sb;
	char *folder;	     /* its name in the mount's top directory */
	bool gone;	     /* destroyed or expired */
	bool listed;	     /* the service's listing shows it */
	bool looked;	     /* the newest answer was about it alone */
	void *user;	     /* fuse/'s */
	enum sbx_state told; /* on_changed was called for it */
	uint64_t seen_ms;    /* loop time of the newest answer */
	unsigned int refs;
};
struct sbx_box *sbx_box_ref(struct sbx_box *box);
void sbx_box_unref(struct sbx_box *box); /* NULL is fine */

struct sbx_client_listener {
	/* The box is gone.  Called once, while it is still referenced. */
	void (*on_gone)(void *arg, struct sbx_box *box);
	/* Its state (box->sb.state) is another one.  May be NULL. */
	void (*on_changed)(void *arg, struct sbx_box *box);
};

/*
 * Opens the service that conf names; conf is borrowed until close is done.
 * -EINVAL with a sentence if there is no such service.
 */
int sbx_client_open(uv_loop_t *loop, const struct sbx_conf *conf,
		    struct sbx_client **ret, struct sbx_error *reterr);
/* The same on a service that is already open; takes it over.  NULL: no
 * memory. */
struct sbx_client *sbx_client_new(uv_loop_t *loop, struct sbx_service *svc,
				  const struct sbx_conf *conf);
void sbx_client_set_listener(struct sbx_client *c,
			     const struct sbx_client_listener *l, void *arg);
/*
 * Answers everything under way with -ECANCELED, drops the boxes (on_gone is
 * not called), closes the service, frees, then calls on_closed.
 */
void sbx_client_close(struct sbx_client *c, void (*on_closed)(void *arg),
		      void *arg);
struct sbx_service *sbx_client_service(struct sbx_client *c);
bool sbx_client_can(const struct sbx_client *c, enum sbx_call_kind kind);

/*
 * Answers of the calls below come exactly once, possibly before the call
 * returns.  error->err is 0 on success; box is then the sandbox in question
 * (borrowed: take a reference to keep it), NULL after failure, after
 * sbx_client_list and after sbx_client_destroy.
 */
typedef void sbx_box_fn(void *arg, struct sbx_box *box,
			const struct sbx_error *error);

/* Makes the listing at most SBX_CLIENT_FRESH_MS old.  Concurrent callers
 * share one request. */
void sbx_client_list(struct sbx_client *c, sbx_box_fn *fn, void *arg);
/* The boxes that the listing shows, one after the other: *pos starts at 0;
 * NULL at the end. */
struct sbx_box *sbx_client_next(struct sbx_client *c, size_t *pos);
/* By folder name or id, from what is known, however old; or NULL. */
struct sbx_box *sbx_client_known(struct sbx_client *c, const char *name);
/* By folder name or id; asks the service.  -ENOENT if it has none. */
void sbx_client_find(struct sbx_client *c, const char *name, sbx_box_fn *fn,
		     void *arg);
/* -ESTALE from here on: that sandbox is gone.  Asks for this box again if what
 * is known is not fresh.  timeout_ms 0: the usual one. */
void sbx_client_refresh(struct sbx_client *c, struct sbx_box *box,
			bool even_if_fresh, unsigned int timeout_ms,
			sbx_box_fn *fn, void *arg);
/*
 * options: JSON object, NULL for defaults (see struct sbx_call); answered when
 * the sandbox is running.  name: the one in the options; -EEXIST if there is
 * one of that name, or one is being made.  NULL: none.
 */
void sbx_client_create(struct sbx_client *c, const char *name,
		       const char *options, sbx_box_fn *fn, void *arg);
void sbx_client_destroy(struct sbx_client *c, struct sbx_box *box,
			sbx_box_fn *fn, void *arg);
/* One of SBX_CALL_PAUSE ... SBX_CALL_WIPE. */
void sbx_client_drive(struct sbx_client *c, struct sbx_box *box,
		      enum sbx_call_kind kind, sbx_box_fn *fn, void *arg);
/* The call's results may be taken out of it by fn, once; it lives until fn
 * returns. */
typedef void sbx_call_fn(void *arg, struct sbx_call *call);
void sbx_client_snapshots(struct sbx_client *c, struct sbx_box *box,
			  sbx_call_fn *fn, void *arg);
/* SBX_CALL_SNAPSHOT: makes one of that name, SBX_CALL_UNSNAPSHOT: deletes it,
 * SBX_CALL_RESTORE: goes back to it; box is given to fn as with the others. */
void sbx_client_snapshot(struct sbx_client *c, struct sbx_box *box,
			 enum sbx_call_kind kind, const char *name,
			 sbx_box_fn *fn, void *arg);
/* SBX_CALL_OWN_READ ... SBX_CALL_OWN_REMOVE, of that sandbox; box NULL: beside
 * the sandboxes.  input may be NULL. */
void sbx_client_own(struct sbx_client *c, struct sbx_box *box,
		    enum sbx_call_kind kind, const char *path,
		    const void *input, size_t len, sbx_call_fn *fn, void *arg);
/* seconds 0: as long as the service likes */
void sbx_client_keepalive(struct sbx_client *c, struct sbx_box *box,
			  unsigned int seconds, sbx_box_fn *fn, void *arg);
/* Somebody else learnt that the box is gone (its connection did). */
void sbx_client_gone(struct sbx_client *c, struct sbx_box *box);

#endif
