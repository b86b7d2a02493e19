/*
 * Every cap of the client below the file protocol, with its reason, on one
 * page.  The caps of the file protocol itself stand in wire/proto.h.
 */
#ifndef SBX_LIMITS_H
#define SBX_LIMITS_H

/* One HTTP answer.  A list of 10,000 sandboxes is about 5 MiB; more than
 * this is not an answer but an accident or an attack. */
#define SBX_HTTP_MAX_BODY (16u << 20)
/* All header lines of one answer; libcurl keeps them until it is freed. */
#define SBX_HTTP_MAX_HEADERS (64u << 10)
/* Connections at once to one service; further requests wait for one. */
#define SBX_HTTP_MAX_CONNECTIONS 16
/* Answers without an end that are read as they come: each has a connection,
 * beyond those above; further ones fail with EAGAIN. */
#define SBX_HTTP_MAX_FLOWS 16
/* Unused request handles kept for the next request. */
#define SBX_HTTP_MAX_IDLE 8
/* Requests under way or waiting; further ones fail with EAGAIN. */
#define SBX_HTTP_MAX_REQUESTS 1024
#define SBX_HTTP_CONNECT_MS   10000

/* One assembled WebSocket message towards us. */
#define SBX_WS_MAX_MESSAGE (16u << 20)
/* One WebSocket message from us. */
#define SBX_WS_MAX_SEND (1u << 20)
/* Sockets at once; a mount uses one or two for each sandbox in use. */
#define SBX_WS_MAX_SOCKETS 1024
#define SBX_WS_CONNECT_MS  10000
/* Load balancers drop what is idle for 60 s. */
#define SBX_WS_PING_MS 25000
#define SBX_WS_PONG_MS 15000
/* A polite close may take this long before the socket is cut. */
#define SBX_WS_CLOSE_MS 2000
/* ... and this when everything is being closed. */
#define SBX_WS_HURRY_MS 300

/* The name of a snapshot that a command left, with its NUL. */
#define SBX_SNAPSHOT_SIZE 129

/* JSON: text of one document, which has a limit of its own where it comes from,
 * and how deep it may nest. */
#define SBX_JSON_MAX_TEXT  (4 * SBX_HTTP_MAX_BODY)
#define SBX_JSON_MAX_DEPTH 32
/* Values in one document: each costs some 60 bytes once it is parsed. */
#define SBX_JSON_MAX_VALUES 500000

/* Sandboxes in one list; a folder of more is of no use to anybody. */
#define SBX_MAX_SANDBOXES 10000
#define SBX_MAX_PORTS	  1024
/* Snapshots of one sandbox that are shown: the newest. */
#define SBX_MAX_SNAPSHOTS 10000
/* What may be written to `new`. */
#define SBX_MAX_OPTIONS (64u << 10)
/* Services in one mount; what one line of a profile can name. */
#define SBX_MAX_SOURCES 32
/* One configuration or key file. */
#define SBX_MAX_CONFIG (64u << 10)
#define SBX_MAX_SECRET 4096
/* Longest wait of one call or connection that a user may set. */
#define SBX_MAX_TIMEOUT_MS (24u * 3600 * 1000)

/* Logging: bytes of one line, lines in one second. */
#define SBX_LOG_MAX_LINE 1024
#define SBX_LOG_MAX_RATE 50

#endif
