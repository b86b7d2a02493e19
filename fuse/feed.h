/*
 * What happens in and to one sandbox, as JSON lines, while somebody reads its
 * "events".  With nobody reading nothing is watched, asked or kept.
 * Loop thread.
 */
#ifndef SFS_FEED_H
#define SFS_FEED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/remote.h"
#include "fuse/lines.h"

struct sfs_feed;
struct sfs_job;
struct sfs_sandbox;

/* Somebody who reads.  on_news: there is something, or an end. */
struct sfs_feed_reader {
	struct sfs_feed_reader *next, **at;
	struct sfs_feed *feed;
	struct sfs_lines_pos pos;
	char *note; /* what was lost, until all of it has been read */
	size_t note_off;
	void (*on_news)(void *arg);
	void (*on_ready)(void *arg); /* once, when everything is watched */
	void *arg;
};

/*
 * From now on.  on_ready is called, possibly at once, when everything is
 * watched, or when it is known that this cannot be.
 */
int sfs_feed_attach(struct sfs_sandbox *sb, struct sfs_feed_reader *rd);
void sfs_feed_detach(struct sfs_feed_reader *rd);
bool sfs_feed_is_ready(const struct sfs_feed_reader *rd);
/* Up to size bytes; 0: the end, if sfs_feed_is_ready. */
size_t sfs_feed_read(struct sfs_feed_reader *rd, char *dst, size_t size);

/* What is told; does nothing if nobody reads. */
void sfs_feed_link(struct sfs_sandbox *sb, enum sbx_link_state state);
void sfs_feed_state(struct sfs_sandbox *sb);
/* It may be reached again. */
void sfs_feed_look_again(struct sfs_sandbox *sb);
void sfs_feed_gone(struct sfs_sandbox *sb);
void sfs_feed_job(struct sfs_sandbox *sb, const struct sfs_job *j);
void sfs_feed_port(struct sfs_sandbox *sb, uint16_t port, bool open);
/* all open ones as of now, in any order */
void sfs_feed_ports(struct sfs_sandbox *sb, const uint16_t *open, size_t nr);
void sfs_feed_report(struct sfs_sandbox *sb, unsigned int what, bool is_dir,
		     const char *path, size_t len, const char *to,
		     size_t to_len);

#endif
