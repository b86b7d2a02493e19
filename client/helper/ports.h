/* Listening TCP ports of this network namespace. */
#ifndef HELPER_PORTS_H
#define HELPER_PORTS_H

struct helper;

void ports_init(struct helper *h);
void ports_release(struct helper *h);

#endif
