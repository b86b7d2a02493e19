/*
 * Terminals of a sandbox: see terminals.h.
 */
#include "fuse/terminals.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/wire/proto.h"
#include "fuse/jobs.h"
#include "fuse/sandbox.h"

/* apart from those of commands, as inode numbers go */
#define FIRST_NUMBER 0x80000000u

/*
 * The user's login shell.  Containers often have no SHELL in the environment,
 * and none worth the name in the list of users.
 */
static const char login_shell[] =
	"u=$(getent passwd \"$(id -u)\" 2>/dev/null); "
	"for s in \"${u##*:}\" \"$SHELL\" /bin/bash; do "
	"case $s in */nologin|*/false|*/sync) continue;; esac; "
	"[ -x \"$s\" ] && SHELL=$s && export SHELL && exec \"$s\" -l; done; "
	"exec /bin/sh -l";

static int shell_spec(struct sbx_exec_spec *spec, struct sbx_error *reterr)
{
	char *text = NULL;
	int r = sbx_exec_spec_parse(spec, login_shell, sizeof(login_shell) - 1,
				    reterr);

	if (r < 0)
		return r;
	text = strdup("login shell");
	if (!text) {
		sbx_exec_spec_release(spec);
		return sbx_error_set(reterr, -ENOMEM, "out of memory");
	}
	free(spec->text);
	spec->text = text;
	return 0;
}

/* Programs on it must know what it can do; what was asked for wins. */
static int spec_add_term(struct sbx_exec_spec *spec, struct sbx_error *reterr)
{
	static const char term[] = "TERM=xterm-256color";
	char **env;
	size_t n = 0;

	for (; spec->env && spec->env[n]; n++)
		if (!strncmp(spec->env[n], term, 5))
			return 0;
	env = realloc(spec->env, (n + 2) * sizeof(*env));
	if (env) {
		spec->env = env;
		env[n] = strdup(term);
		env[n + 1] = NULL;
	}
	if (!env || !env[n])
		return sbx_error_set(reterr, -ENOMEM, "out of memory");
	return 0;
}

struct sfs_job *sfs_terminals_find(struct sfs_sandbox *sb, const char *name)
{
	struct sfs_job *j = sb->terminals.newest;

	while (j && strcmp(j->name, name))
		j = j->next;
	return j;
}

/* One that has ended makes room, the oldest first. */
static int terminals_make_room(struct sfs_sandbox *sb)
{
	struct sfs_job *j, *ended = NULL;

	if (sb->terminals.nr < SFS_MAX_TERMINALS)
		return 0;
	for (j = sb->terminals.newest; j; j = j->next)
		if (j->state == SBX_JOB_ENDED)
			ended = j;
	if (!ended)
		return -EDQUOT;
	sfs_terminals_remove(sb, ended);
	return 0;
}

static struct sfs_job *terminals_start(struct sfs_sandbox *sb, const char *name,
				       struct sbx_exec_spec *spec,
				       struct sbx_error *reterr)
{
	struct sfs_terminals *t = &sb->terminals;
	struct sfs_job *j;
	char number[16];

	for (uint32_t n = 1; !name; n++) {
		snprintf(number, sizeof(number), "%u", n);
		if (!sfs_terminals_find(sb, number))
			name = number;
	}
	spec->flags |= SBX_EXEC_TTY | SBX_EXEC_STDIN;
	if (spec_add_term(spec, reterr) < 0)
		return NULL;
	j = sfs_job_new(sb, spec, name, reterr);
	if (!j)
		return NULL;
	j->number = FIRST_NUMBER | ++t->last_number;
	j->next = t->newest;
	t->newest = j;
	t->nr++;
	return j;
}

struct sfs_job *sfs_terminals_start(struct sfs_sandbox *sb, const char *name,
				    struct sbx_exec_spec *spec,
				    struct sbx_error *reterr)
{
	struct sbx_exec_spec shell;
	struct sfs_job *j;

	if (terminals_make_room(sb) < 0) {
		sbx_error_set(reterr, -EDQUOT,
			      "terminals: there are %d already: end one, or "
			      "rmdir it, first",
			      SFS_MAX_TERMINALS);
		return NULL;
	}
	if (spec)
		return terminals_start(sb, name, spec, reterr);
	if (shell_spec(&shell, reterr) < 0)
		return NULL;
	j = terminals_start(sb, name, &shell, reterr);
	sbx_exec_spec_release(&shell);
	return j;
}

void sfs_terminals_remove(struct sfs_sandbox *sb, struct sfs_job *j)
{
	if (j->job && j->state != SBX_JOB_ENDED)
		sbx_job_hangup(j->job);
	if (!sfs_job_unlink(&sb->terminals.newest, j))
		return;
	sb->terminals.nr--;
	sfs_job_leave(j);
}

void sfs_terminals_clear(struct sfs_sandbox *sb)
{
	sfs_jobs_forget(&sb->terminals.newest);
	sb->terminals.nr = 0;
}
