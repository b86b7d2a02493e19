/*
 * The last lines of something: see lines.h.
 */
#include "fuse/lines.h"

#include <stdlib.h>
#include <string.h>

static void lines_drop(struct sfs_lines *l)
{
	char **at = &l->line[l->first++ % SFS_LINES_MAX];

	if (*at)
		l->bytes -= strlen(*at);
	free(*at);
	*at = NULL;
}

void sfs_lines_add(struct sfs_lines *l, char *text)
{
	size_t len = text ? strlen(text) : 0;

	while (l->first < l->next && (l->next - l->first >= SFS_LINES_MAX ||
				      l->bytes + len > SFS_LINES_BYTES))
		lines_drop(l);
	l->line[l->next++ % SFS_LINES_MAX] = text;
	l->bytes += len;
}

void sfs_lines_clear(struct sfs_lines *l)
{
	while (l->first < l->next)
		lines_drop(l);
}

uint64_t sfs_lines_lost(const struct sfs_lines *l, struct sfs_lines_pos *p)
{
	uint64_t lost = 0;

	if (p->number < l->first) {
		lost = l->first - p->number;
		p->number = l->first;
		p->off = 0;
	}
	while (p->number < l->next && !l->line[p->number % SFS_LINES_MAX]) {
		p->number++;
		lost++;
	}
	return lost;
}

size_t sfs_lines_read(const struct sfs_lines *l, struct sfs_lines_pos *p,
		      char *dst, size_t size)
{
	size_t done = 0;

	while (done < size && p->number < l->next) {
		const char *text = l->line[p->number % SFS_LINES_MAX];
		size_t len = text ? strlen(text) - p->off : 0;

		if (len > size - done)
			len = size - done;
		if (len)
			memcpy(dst + done, text + p->off, len);
		done += len;
		p->off += len;
		if (text && text[p->off])
			break;
		p->number++;
		p->off = 0;
	}
	return done;
}
