/*
 * A server in the test's own loop, to play the stranger: it answers each
 * connection by a function of the test's.
 */
#ifndef TEST_TCP_PEER_H
#define TEST_TCP_PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

struct tcp_peer;
struct tcp_conn {
	uv_tcp_t tcp;
	struct tcp_peer *peer;
	struct tcp_conn *next;
	char in[131072]; /* what came so far; the test may drop from it */
	size_t in_len;
	bool upgraded; /* for the test's use */
	bool closed;
};
typedef void tcp_peer_fn(struct tcp_conn *c);

struct tcp_peer {
	uv_tcp_t tcp;
	uv_loop_t *loop;
	tcp_peer_fn *on_input;
	struct tcp_conn *conns;
	unsigned int nr_conns; /* made so far */
	int port;
	bool deaf; /* does not read */
};

void tcp_peer_start(struct tcp_peer *p, uv_loop_t *loop, tcp_peer_fn *fn);
void tcp_peer_say(struct tcp_conn *c, const void *data, size_t len);
void tcp_peer_hang_up(struct tcp_conn *c);
void tcp_peer_stop(struct tcp_peer *p); /* and then run the loop */

#endif
