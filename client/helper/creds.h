/* Whom requests act as, for a helper that runs as root. */
#ifndef HELPER_CREDS_H
#define HELPER_CREDS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define CREDS_GROUPS_MAX 1024

struct helper;

struct creds {
	int refs;
	uid_t uid;
	gid_t gid;
	int n;
	gid_t groups[];
};

struct creds *creds_ref(struct creds *c); /* NULL-safe */
struct creds *creds_unref(struct creds *c);
/* Whether this process may act for others. */
bool creds_can(void);
/* Acts as these from now on; NULL: as itself. */
void creds_use(struct helper *h, struct creds *c);
/* In a child that is about to run a command: for good.  0 or -errno. */
int creds_become(const struct creds *c);

#endif
