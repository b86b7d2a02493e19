/*
 * The private socket of a session, in a folder that only its user can enter,
 * and the handing over of descriptors.
 */
#ifndef HELPER_SOCKET_H
#define HELPER_SOCKET_H

#include <stdbool.h>
#include <stdint.h>

/* How the streams that are handed over are to be used (proto.h, BATCH). */
struct handover {
	uint32_t batch; /* 0: until they end, and the rest is 0 */
	uint32_t wait_ms, park_ms, max_bytes;
};

/*
 * A connection to the session's daemon.  If there is none, *ret_listening is
 * the socket it shall listen on, to which the connection is already made;
 * else it is left alone.  Negative if no socket can be had.
 */
int socket_join(const char *session, int *ret_listening);
/* Its name, and the folder if nothing else is in it. */
void socket_remove(int listening);
/* False: its name is certainly gone, so that nobody finds it. */
bool socket_is_there(int listening);
/* Has its removal told there.  Negative errno. */
int socket_watch(int listening, int inotify);
/* The process at the other end is of the same user. */
bool socket_peer_is_us(int sock);
int socket_send_streams(int sock, int in, int out, const struct handover *how);
int socket_take_streams(int sock, int *ret_in, int *ret_out,
			struct handover *ret_how);

#endif
