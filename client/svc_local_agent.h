/*
 * The bundled agent as a child process: started, watched, started again when
 * it dies, ended.  Used by svc_local.c only.  Loop thread.
 *
 * The agent writes "ready PORT" to one pipe when it can be connected to, and
 * ends when the other end of a second pipe is closed: so it cannot outlive
 * us, whatever happens.
 */
#ifndef SBX_SVC_LOCAL_AGENT_H
#define SBX_SVC_LOCAL_AGENT_H

#include <uv.h>

#include "client/conf.h"
#include "client/error.h"

struct sbx_agent;

struct sbx_agent_handler {
	void (*on_ready)(void *arg, unsigned int port);
	/* it ended, or does not come up; it is being started again */
	void (*on_lost)(void *arg, const struct sbx_error *error);
};

/*
 * conf and key are borrowed until on_stopped.  The program is looked for and
 * started before this returns; the rest comes through the handler, later.
 */
int sbx_agent_start(uv_loop_t *loop, const struct sbx_conf *conf,
		    const struct sbx_secret *key,
		    const struct sbx_agent_handler *handler, void *arg,
		    struct sbx_agent **ret, struct sbx_error *reterr);
/* Ends it (politely for two seconds) and frees; then on_stopped. */
void sbx_agent_stop(struct sbx_agent *agent, void (*on_stopped)(void *arg),
		    void *arg);

#endif
