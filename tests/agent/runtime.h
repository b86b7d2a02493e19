/*
 * What the agent and the runtime of a sandbox say to each other: one struct
 * rt_head and its payload per packet of a SOCK_SEQPACKET pair.  The same
 * binary is on both ends, so host byte order and sizes will do.
 */
#ifndef AGENT_RUNTIME_H
#define AGENT_RUNTIME_H

#include <stdint.h>

enum rt_type {
	/* to the runtime */
	RT_EXEC = 1, /* a: arguments, b: variables, payload: directory,
			arguments, variables, each with its NUL; with three
			descriptors for stdin, stdout and stderr */
	RT_KILL,     /* a: signal for the process group of this id */
	RT_PORTS,    /* asks for RT_LISTENING */
	/* from the runtime */
	RT_READY,     /* once, when it can take requests */
	RT_STARTED,   /* a: process id as the sandbox sees it */
	RT_FAILED,    /* a: errno of fork or of the request */
	RT_EXITED,    /* a: wait status */
	RT_LISTENING, /* a: count, payload: uint16_t each */
};

struct rt_head {
	uint32_t type, id;
	int32_t a, b;
};

/* Fits the default send buffer of an unprivileged user's socket. */
#define RT_PACKET_MAX (160 * 1024)
#define RT_PORTS_MAX  1024
#define RT_RUNS_MAX   4096

/* main() of the process inside; argv: "--runtime", FD, UID, GID. */
int agent_runtime_main(int argc, char **argv);

/* The child of a fork: becomes the command, never returns. */
_Noreturn void agent_launch(const char *cwd, char **argv, char **envp);

/* Ports that processes of this pid namespace listen on, at most max. */
int agent_listening(uint16_t *ports, int max);

#endif
