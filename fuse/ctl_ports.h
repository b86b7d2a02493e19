/*
 * Who waits for a port of a sandbox to be listened on, and what the sandbox
 * tells of its ports.  Between sandbox.c and ctl_ports.c.  Loop thread.
 */
#ifndef SFS_CTL_PORTS_H
#define SFS_CTL_PORTS_H

#include <stdbool.h>
#include <stdint.h>

struct sfs_sandbox;

/* The connection is there (again): a new helper must be told to watch. */
void sfs_ports_on_up(struct sfs_sandbox *sb);
void sfs_ports_on_port(struct sfs_sandbox *sb, uint16_t port, bool open);
/* Ends all waiting with an error. */
void sfs_ports_fail(struct sfs_sandbox *sb, int err);

/* While somebody reads events: tells sfs_feed_ports once, and then
 * sfs_feed_port; the other ends that unless readers wait for ports. */
void sfs_ports_watch(struct sfs_sandbox *sb);
void sfs_ports_unwatch(struct sfs_sandbox *sb);

#endif
