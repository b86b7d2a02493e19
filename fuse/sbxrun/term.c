/*
 * The terminal that we were started on.
 */
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "fuse/sbxrun/sbxrun.h"

static struct termios before;
static bool is_raw;

bool term_is_ours(void)
{
	return tcgetpgrp(STDIN_FILENO) == getpgrp();
}

void term_size(unsigned int *ret_cols, unsigned int *ret_rows)
{
	struct winsize size = {0};

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0)
		ioctl(STDIN_FILENO, TIOCGWINSZ, &size);
	*ret_cols = size.ws_col;
	*ret_rows = size.ws_row;
}

void term_raw(void)
{
	struct termios raw;

	if (!isatty(STDIN_FILENO) || tcgetattr(STDIN_FILENO, &before) < 0)
		return;
	raw = before;
	cfmakeraw(&raw);
	is_raw = tcsetattr(STDIN_FILENO, TCSADRAIN, &raw) == 0;
}

void term_restore(void)
{
	if (is_raw)
		tcsetattr(STDIN_FILENO, TCSADRAIN, &before);
	is_raw = false;
}
