/*
 * The helper: started by sbxfs inside a sandbox, in the directory that is to
 * be the workspace.
 *
 *	sbxfs-helper SESSION [--remove-self]
 *	sbxfs-helper SESSION --batch WAIT_MS PARK_MS MAX_BYTES MARK
 *
 * speaks client/wire/proto.h on its standard input and output.
 *
 *	sbxfs-helper --carry [--tick]
 *
 * runs any command, with its streams as lines of text (client/wire/lines.h).
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/helper/batch_call.h"
#include "client/helper/carry.h"
#include "client/helper/session.h"
#include "client/helper/socket.h"

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

/* At most nine digits. */
static int get_number(const char *s, uint32_t *ret)
{
	size_t len = strlen(s);

	if (!len || len > 9 || strspn(s, "0123456789") != len)
		return 0;
	*ret = (uint32_t)strtoul(s, NULL, 10);
	return 1;
}

static int run_batch(char **argv)
{
	struct handover how = {.batch = 1};

	if (!is_session(argv[1]) || !get_number(argv[3], &how.wait_ms) ||
	    !get_number(argv[4], &how.park_ms) ||
	    !get_number(argv[5], &how.max_bytes) || how.max_bytes < BATCH_LEAST)
		return 2;
	return batch_call(argv[1], &how, argv[6]);
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
	if (argc == 2 && !strcmp(argv[1], "--carry"))
		return carry_run(false);
	if (argc == 3 && !strcmp(argv[1], "--carry") &&
	    !strcmp(argv[2], "--tick"))
		return carry_run(true);
	if (argc == 7 && !strcmp(argv[2], "--batch"))
		return run_batch(argv);
	if (argc < 2 || argc > 3 || (argc == 3 && !remove) ||
	    !is_session(argv[1])) {
		fputs("usage: sbxfs-helper SESSION [--remove-self]\n"
		      "Started by sbxfs; of no use by hand.\n",
		      stderr);
		return 2;
	}
	return session_run(argv[1], remove);
}
