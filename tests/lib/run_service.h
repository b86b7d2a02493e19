/*
 * A service for unit tests that runs commands to their end, here, in a
 * folder, one at a time or two, and loses answers when told to.
 */
#ifndef TEST_RUN_SERVICE_H
#define TEST_RUN_SERVICE_H

#include "client/service.h"

enum run_fault {
	RUN_WELL,
	RUN_LOST_BEFORE, /* never run; the outcome is unknown */
	RUN_LOST_AFTER,	 /* run, and the answer lost */
	RUN_REFUSED,	 /* certainly not run */
	RUN_CUT,	 /* the second half of its output is missing */
	RUN_NOT_STARTED, /* as the helper says that it could not be */
	RUN_NOISE,	 /* something else is printed around it */
	RUN_LATE,	 /* run at once, and answered RUN_LATE_MS later */
	RUN_SILENT,	 /* never run, and no answer before it is canceled */
	RUN_MORE,	 /* the helper's answer says that there is more */
};

#define RUN_LATE_MS 300

/* folder: the workspace; input: bytes of a run's input */
struct sbx_service *run_service_new(uv_loop_t *loop, const char *folder,
				    size_t input, size_t output, bool parks);
void run_service_free(struct sbx_service *svc);
/* What happens to the next n runs. */
void run_service_fault(struct sbx_service *svc, enum run_fault fault,
		       unsigned int n);
/* Of silence, before the helper is called so that it stays. */
void run_service_stay(struct sbx_service *svc, unsigned int ms);
/* No more of what a run prints is told; 0: all of it. */
void run_service_cap(struct sbx_service *svc, size_t bytes);
#define RUN_SOON_MS 20

/* Runs so far; those of the user among them; most at once; those that were not
 * parked and were begun RUN_SOON_MS after the answer of the one before, or
 * later, by the loop's time. */
unsigned int run_service_runs(const struct sbx_service *svc);
unsigned int run_service_commands(const struct sbx_service *svc);
unsigned int run_service_most(const struct sbx_service *svc);
unsigned int run_service_late(const struct sbx_service *svc);
/* The last command of the user. */
const char *run_service_last(const struct sbx_service *svc);

#endif
