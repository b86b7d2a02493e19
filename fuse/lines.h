/*
 * The last lines of something, for readers that follow it.  What is too old
 * is dropped, and a reader that was behind learns how many lines it missed.
 * Not locked: one thread, or the owner's lock.
 */
#ifndef SFS_LINES_H
#define SFS_LINES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SFS_LINES_MAX	4096
#define SFS_LINES_BYTES (512 * 1024)

struct sfs_lines {
	char *line[SFS_LINES_MAX]; /* number n at n % SFS_LINES_MAX */
	uint64_t first, next;	   /* numbers kept: first ... next - 1 */
	size_t bytes;
};

struct sfs_lines_pos {
	uint64_t number;
	size_t off; /* bytes of it that were read */
};

/* Takes the text, which ends with a line feed; NULL (no memory) is counted
 * as a lost line. */
void sfs_lines_add(struct sfs_lines *l, char *text);
void sfs_lines_clear(struct sfs_lines *l);
/* How many lines before the next one were dropped; moves on behind them. */
uint64_t sfs_lines_lost(const struct sfs_lines *l, struct sfs_lines_pos *p);
static inline bool sfs_lines_have(const struct sfs_lines *l,
				  const struct sfs_lines_pos *p)
{
	return p->number < l->next;
}
/* Copies up to size bytes and moves on. */
size_t sfs_lines_read(const struct sfs_lines *l, struct sfs_lines_pos *p,
		      char *dst, size_t size);

#endif
