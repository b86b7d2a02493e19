/*
 * Sandboxes that are being made under a name.  For client.c and making.c
 * alone.  Loop thread.
 */
#ifndef SBX_MAKING_H
#define SBX_MAKING_H

#include "client/client.h"

struct sbx_making;

/* Those under way. */
struct sbx_making **sbx_client_makings(struct sbx_client *c);
/* Makes one, whatever its name is. */
void sbx_client_make(struct sbx_client *c, const char *options, sbx_box_fn *fn,
		     void *arg);

#endif
