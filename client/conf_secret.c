/*
 * Secrets: each in pages of its own, locked in memory, left out of core
 * files, wiped when freed.  Any thread, one secret at a time.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "client/conf.h"
#include "client/limits.h"

struct secret_pages {
	size_t size; /* of the mapping */
	pid_t pid;   /* who locked it: locks do not survive a fork */
	char text[];
};

struct sbx_secret {
	struct secret_pages *pages;
};

static void secret_lock(struct secret_pages *p)
{
	p->pid = getpid();
	/* both only make it better; without the right to lock (RLIMIT_MEMLOCK)
	 * the secret is still usable */
	(void)mlock(p, p->size);
	(void)madvise(p, p->size, MADV_DONTDUMP);
}

struct sbx_secret *sbx_secret_new(const char *text, size_t len)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), size;
	struct sbx_secret *s;
	void *map;

	if (len > SBX_MAX_SECRET)
		return NULL;
	s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	size = sizeof(struct secret_pages) + len + 1;
	size = (size + page - 1) / page * page;
	map = mmap(NULL, size, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (map == MAP_FAILED) {
		free(s);
		return NULL;
	}
	s->pages = map;
	s->pages->size = size;
	secret_lock(s->pages);
	memcpy(s->pages->text, text, len);
	s->pages->text[len] = '\0';
	return s;
}

const char *sbx_secret_text(const struct sbx_secret *s)
{
	if (!s)
		return "";
	if (s->pages->pid != getpid())
		secret_lock(s->pages);
	return s->pages->text;
}

struct sbx_secret *sbx_secret_free(struct sbx_secret *s)
{
	size_t size;

	if (!s)
		return NULL;
	size = s->pages->size;
	explicit_bzero(s->pages, size);
	munmap(s->pages, size);
	free(s);
	return NULL;
}
