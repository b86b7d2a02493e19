/*
 * The checking layer: a service of the same shape around each service, which
 * asserts what service.h promises, before and after every call, and traces
 * it.  What it asserts can only be wrong by a mistake of ours.
 */
#ifndef SBX_SERVICE_CHECK_H
#define SBX_SERVICE_CHECK_H

#include "client/service.h"

/* Opens inner_type with the layer around it; type is what the result shall
 * say that it is.  For service.c, which gives these functions out. */
int sbx_check_open(const struct sbx_service_type *type,
		   const struct sbx_service_type *inner_type, uv_loop_t *loop,
		   const struct sbx_conf *conf, struct sbx_service **ret,
		   struct sbx_error *reterr);
void sbx_check_close(struct sbx_service *svc, void (*on_closed)(void *arg),
		     void *arg);
void sbx_check_submit(struct sbx_service *svc, struct sbx_call *call);
struct sbx_stream *sbx_check_stream_open(struct sbx_service *svc,
					 const char *id,
					 const char *const *argv,
					 const struct sbx_stream_handler *h,
					 void *arg);
bool sbx_check_own_has(struct sbx_service *svc, const char *id,
		       const struct sbx_own *row, const char *path);
struct sbx_stream *sbx_check_own_open(struct sbx_service *svc, const char *id,
				      const char *path, const char *input,
				      size_t len,
				      const struct sbx_stream_handler *h,
				      void *arg);
/* pause and close are for streams of both kinds */
int sbx_check_stream_send(struct sbx_stream *s, const void *data, size_t len);
void sbx_check_stream_pause(struct sbx_stream *s, bool paused);
void sbx_check_stream_close(struct sbx_stream *s);
void sbx_check_run(struct sbx_service *svc, const char *id,
		   struct sbx_run *run);
void sbx_check_run_cancel(struct sbx_service *svc, struct sbx_run *run);

#endif
