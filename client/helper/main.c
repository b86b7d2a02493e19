/*
 * The helper: started by sbxfs inside a sandbox, in the directory that is to
 * be the workspace.
 *
 *	sbxfs-helper SESSION [--remove-self]
 *
 * speaks client/wire/proto.h on its standard input and output.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "client/helper/session.h"

static int is_session(const char *s)
{
	return strlen(s) == 32 && strspn(s, "0123456789abcdef") == 32;
}

/* A missing standard stream must not become one of our descriptors. */
static int have_streams(void)
{
	int fd;

	for (fd = 0; fd <= 2; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd)
			return 0;
	return 1;
}

int main(int argc, char **argv)
{
	int remove = argc == 3 && !strcmp(argv[2], "--remove-self");

	if (argc == 2 && !strcmp(argv[1], "--version")) {
		puts("sbxfs-helper " SBX_VERSION);
		return 0;
	}
	if (!have_streams())
		return 1;
	if (argc < 2 || argc > 3 || (argc == 3 && !remove) ||
	    !is_session(argv[1])) {
		fputs("usage: sbxfs-helper SESSION [--remove-self]\n"
		      "Started by sbxfs; of no use by hand.\n",
		      stderr);
		return 2;
	}
	return session_run(argv[1], remove);
}
