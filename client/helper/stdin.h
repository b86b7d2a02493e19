/* What a job reads: bytes that wait for its pipe, and who asked. */
#ifndef HELPER_STDIN_H
#define HELPER_STDIN_H

struct job;

void stdin_init(struct job *j);
/* Takes fd on success; -1: the command has none. */
int stdin_open(struct job *j, int fd);
/* Answers everybody who waits with err. */
void stdin_close(struct job *j, int err);

#endif
