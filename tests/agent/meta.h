/* What is kept of a sandbox in its folder, and how REST shows it. */
#ifndef AGENT_META_H
#define AGENT_META_H

#include "tests/agent/sandbox.h"

int agent_meta_save(const struct agent_sandbox *s);
/* Moves a folder out of the way and removes it in the background. */
void agent_meta_discard(struct agent *agent, const char *id);
/* Removes what an earlier run did not get to. */
void agent_meta_empty_trash(struct agent *agent);

#endif
