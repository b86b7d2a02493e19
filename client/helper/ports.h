/* Listening TCP ports of this network namespace. */
#ifndef HELPER_PORTS_H
#define HELPER_PORTS_H

struct helper;

void ports_init(struct helper *h);
void ports_release(struct helper *h);
/* Something starts or prints: who watches them looks more often for a
 * while. */
void ports_hurry(struct helper *h);
/* Who watches them is told now what has changed, if it can take it. */
void ports_sync(struct helper *h);

#endif
