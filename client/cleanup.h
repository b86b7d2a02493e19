/*
 * Cleanup by scope, for what lives in one function only.  Any thread.
 */
#ifndef SBX_CLEANUP_H
#define SBX_CLEANUP_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static inline void sbx_cleanup_free(void *p)
{
	free(*(void **)p);
}

static inline void sbx_cleanup_close(const int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static inline void sbx_cleanup_fclose(FILE **f)
{
	if (*f)
		fclose(*f);
}

#define SBX_FREE   __attribute__((cleanup(sbx_cleanup_free)))
#define SBX_CLOSE  __attribute__((cleanup(sbx_cleanup_close)))
#define SBX_FCLOSE __attribute__((cleanup(sbx_cleanup_fclose)))

/* Frees a text that may hold a secret, and leaves nothing of it; NULL is fine.
 */
static inline void sbx_wipe(char *text)
{
	if (text)
		explicit_bzero(text, strlen(text));
	free(text);
}

/* The same for bytes; p may be NULL. */
static inline void sbx_wipe_bytes(void *p, size_t len)
{
	if (p)
		explicit_bzero(p, len);
	free(p);
}

/* Hands a value out of its variable, which then holds nothing. */
#define SBX_TAKE(p)                                                            \
	({                                                                     \
		__typeof__(p) t_ = p;                                          \
		(p) = NULL;                                                    \
		t_;                                                            \
	})

#endif
