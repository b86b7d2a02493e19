/* Whom opening and changes act as, for a helper that runs as root. */
#ifndef HELPER_CREDS_H
#define HELPER_CREDS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define CREDS_GROUPS_MAX 1024

struct helper;

struct creds {
	uid_t uid;
	gid_t gid;
	int n;
	gid_t groups[];
};

/* Whether this process may act for others. */
bool creds_can(void);
/*
 * The system calls up to creds_end are those of whom CREDS named: only the
 * very ones that make the change, since the way there may be closed to them.
 * 0, or why nobody can be acted for.  creds_end keeps errno.
 */
int creds_begin(const struct helper *h);
void creds_end(const struct helper *h);

#endif
