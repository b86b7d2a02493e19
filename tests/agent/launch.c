/*
 * How a command becomes a process: what nsenter and the shell do in the real
 * pod, with their texts and exit codes, but without starting either.  Runs
 * in the child of a fork of the runtime.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/agent/runtime.h"

static _Noreturn void launch_fail(int code, const char *before,
				  const char *name, const char *after)
{
	char text[1024];
	int n = snprintf(text, sizeof(text), "%s%.900s%s\n", before, name,
			 after);

	if (n > 0 && write(2, text, (size_t)n) < 0)
		_exit(code);
	_exit(code);
}

/* nsenter starts the shell by the command's own PATH. */
static void launch_check_shell(void)
{
	const char *path = getenv("PATH");
	char file[PATH_MAX];

	if (!path || !*path)
		path = "/bin:/usr/bin"; /* what execvp uses without one */
	while (*path) {
		size_t n = strcspn(path, ":");

		if (snprintf(file, sizeof(file), "%.*s/sh", (int)n,
			     n ? path : ".") < (int)sizeof(file) &&
		    access(file, X_OK) == 0)
			return;
		path += n;
		path += *path == ':';
	}
	launch_fail(127, "nsenter: failed to execute ", "sh",
		    ": No such file or directory");
}

/* The shell's cd: a relative path is taken from the root. */
static void launch_chdir(const char *cwd)
{
	char pwd[PATH_MAX];

	if (chdir("/") < 0 || chdir(cwd) < 0)
		launch_fail(2, "sh: 1: cd: can't cd to ", cwd, "");
	if (getcwd(pwd, sizeof(pwd)))
		setenv("PWD", pwd, 1);
	setenv("OLDPWD", "/", 1);
}

_Noreturn void agent_launch(const char *cwd, char **argv, char **envp)
{
	environ = envp;
	launch_check_shell();
	launch_chdir(cwd);
	execvp(argv[0], argv);
	if (errno == ENOENT || errno == ENOTDIR)
		launch_fail(127, "sh: 1: exec: ", argv[0], ": not found");
	if (errno == EACCES)
		launch_fail(126, "sh: 1: exec: ", argv[0],
			    ": Permission denied");
	launch_fail(126, "sh: 1: exec: ", argv[0], ": cannot be executed");
}
