/*
 * What carries the messages of a channel: a byte stream (streamed.h), runs
 * (exchange.h), or no helper at all (plain.h).  Loop thread only.
 */
#ifndef SBX_CARRIER_H
#define SBX_CARRIER_H

#include "client/channel.h"

/* The beginning of each kind's own struct. */
struct sbx_carrier {
	const struct sbx_carrier_type *type;
};

/*
 * Each does what the function of channel.h does that has its name, which says
 * more.  Those that may be NULL do nothing then, and give what is noted.
 */
struct sbx_carrier_type {
	void (*start)(struct sbx_carrier *c);
	void (*renew)(struct sbx_carrier *c);	   /* may be NULL */
	void (*look_again)(struct sbx_carrier *c); /* may be NULL */
	void (*close)(struct sbx_carrier *c, void (*on_closed)(void *arg),
		      void *arg);
	/* -EMSGSIZE, -EAGAIN, -ENOMEM */
	int (*send)(struct sbx_carrier *c, uint32_t id, const void *data,
		    size_t len);
	void (*defer)(struct sbx_carrier *c, unsigned int ms); /* may be NULL */
	void (*hasten)(struct sbx_carrier *c);		       /* may be NULL */
	void (*relax)(struct sbx_carrier *c, uint32_t id);     /* may be NULL */
	bool (*withdraw)(struct sbx_carrier *c, uint32_t id);  /* false */
	void (*expect)(struct sbx_carrier *c, bool expecting); /* may be NULL */

	bool (*is_up)(const struct sbx_carrier *c);
	bool (*is_trying)(const struct sbx_carrier *c);
	/* NULL before the first hello */
	const struct sbx_remote_info *(*info)(const struct sbx_carrier *c);
	size_t (*unsent)(const struct sbx_carrier *c);
	uint64_t (*heard_ms)(const struct sbx_carrier *c);    /* UINT64_MAX */
	uint64_t (*answered_ms)(const struct sbx_carrier *c); /* 0 */
	uint64_t (*asked_ms)(const struct sbx_carrier *c);    /* 0 */
	bool (*is_occupied)(const struct sbx_carrier *c);     /* false */
};

#endif
