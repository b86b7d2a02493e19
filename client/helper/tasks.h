/*
 * Long requests, carried out in steps between other ones.  They pause while
 * enough waits to be sent.
 */
#ifndef HELPER_TASKS_H
#define HELPER_TASKS_H

#include <stdbool.h>
#include <stdint.h>

#define TASKS_MAX 4096

struct helper;
struct req;

#define TASK_AGAIN 1

struct task {
	struct task *next;
	uint32_t id;
	/* TASK_AGAIN; 0: the reply was sent; or a negative errno, to be sent */
	int (*step)(struct helper *h, struct task *t);
	void (*free)(struct helper *h, struct task *t);
};

/* A request's first step is made at once, if there is room for its answer.
 * Takes t.  Returns what an op_ function does. */
int task_start(struct req *q, struct task *t);
/* One step of each; whether there is more to do now. */
bool tasks_run(struct helper *h);
void tasks_release(struct helper *h);

#endif
