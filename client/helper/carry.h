/*
 * A command whose streams are carried as lines of text on a terminal
 * (client/wire/lines.h).
 */
#ifndef HELPER_CARRY_H
#define HELPER_CARRY_H

/* Takes a command from standard input, runs it to its end, and returns the
 * exit status of this process. */
int carry_run(void);

#endif
