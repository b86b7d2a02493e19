/*
 * A service for unit tests: its one "sandbox" is a folder, its streams are
 * local processes with pipes.  Units may be shuffled, streams cut.
 */
#ifndef TEST_PIPE_SERVICE_H
#define TEST_PIPE_SERVICE_H

#include "client/service.h"

/* folder: the workspace; also HOME and TMPDIR of what is run */
struct sbx_service *pipe_service_new(uv_loop_t *loop, const char *folder);
void pipe_service_free(struct sbx_service *svc);
/* Breaks the present stream as a lost connection does: the process is not
 * told and lives on with its pipes closed. */
void pipe_service_cut(struct sbx_service *svc);
/* The next n streams fail to open with this error. */
void pipe_service_fail(struct sbx_service *svc, int n, int err,
		       enum sbx_retry retry);
/* Flips a bit in the next bytes that come. */
void pipe_service_garble(struct sbx_service *svc);
/* Hold pairs of units and send them in the wrong order. */
void pipe_service_shuffle(struct sbx_service *svc, bool on);
/* Each unit is refused once, and asked for a moment later. */
void pipe_service_refuse(struct sbx_service *svc, bool on);
unsigned int pipe_service_opened(const struct sbx_service *svc);

#endif
