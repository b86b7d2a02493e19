/*
 * A command whose streams are carried as lines of text on a terminal
 * (client/wire/lines.h).
 */
#ifndef HELPER_CARRY_H
#define HELPER_CARRY_H

#include <stdbool.h>

/*
 * Takes a command from standard input, runs it to its end, and returns the
 * exit status of this process.  ticks: the terminal passes on what is typed
 * only when something is printed, so something always is, and more often while
 * there is something to hear.
 */
int carry_run(bool ticks);

#endif
