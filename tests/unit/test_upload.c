/* The script that takes the helper, in a real shell. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "client/upload.h"
#include "tests/lib/unit.h"

#define PIECE 4096
#define SHORT "#!/bin/sh\nshift\nexec /usr/bin/timeout 1 \"$@\"\n"
/* as busybox's, which a process of its own survives for up to a second */
#define WATCHED "#!/bin/sh\nsleep 9 &\nshift\nexec \"$@\"\n"

/* A home of its own, with this as timeout(1). */
static void make_home(char *home, const char *timeout)
{
	char path[256];
	int fd;

	strcpy(home, "/tmp/sbxfs-upload.XXXXXX");
	assert_non_null(mkdtemp(home));
	snprintf(path, sizeof(path), "%s/timeout", home);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0700);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, timeout, strlen(timeout)), strlen(timeout));
	close(fd);
}

static void remove_home(const char *home)
{
	char command[256];

	snprintf(command, sizeof(command), "rm -rf %s", home);
	assert_int_equal(system(command), 0);
}

static pid_t shell_start(const struct sbx_upload *u, const char *home,
			 int *ret_in, int *ret_out)
{
	char where[256], path[256];
	char *env[] = {where, path, NULL};
	int in[2], out[2];
	pid_t pid;

	snprintf(where, sizeof(where), "HOME=%s", home);
	snprintf(path, sizeof(path), "PATH=%s:/usr/bin:/bin", home);
	assert_int_equal(pipe2(in, O_CLOEXEC), 0);
	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		setpgid(0, 0);
		dup2(in[0], 0);
		dup2(out[1], 1);
		execvpe("sh", (char *const *)(uintptr_t)sbx_upload_argv(u),
			env);
		_exit(126);
	}
	assert_true(pid > 0);
	close(in[0]);
	close(out[1]);
	*ret_in = in[1];
	*ret_out = out[0];
	return pid;
}

static int wait_for_end(pid_t pid)
{
	int status;

	for (int i = 0; i < 1000; i++) {
		if (waitpid(pid, &status, WNOHANG) == pid)
			return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
		nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return -ETIMEDOUT;
}

static unsigned int files_in_cache(const char *home)
{
	char path[256];
	unsigned int n = 0;
	struct dirent *d;
	DIR *dir;

	snprintf(path, sizeof(path), "%s/.cache/sbxfs", home);
	dir = opendir(path);
	assert_non_null(dir);
	while ((d = readdir(dir)))
		n += d->d_name[0] != '.';
	closedir(dir);
	return n;
}

/* Takes part in the script until it asks for a piece, and sends that; false:
 * it starts the helper. */
static bool send_piece(struct sbx_upload *u, int in, int out)
{
	struct sbx_error e;
	const void *piece;
	char data[64];
	size_t used, len;
	ssize_t n;
	int r;

	do {
		n = read(out, data, sizeof(data));
		assert_true(n > 0);
		r = sbx_upload_input(u, data, (size_t)n, &used, &e);
		assert_true(r >= 0);
		piece = r ? NULL : sbx_upload_piece(u, &len);
	} while (!r && !piece);
	if (piece)
		assert_int_equal(write(in, piece, len), len);
	return piece;
}

/* A service may keep the input of a lost command open for ever. */
static void what_is_heard_of_no_more_ends(void **state)
{
	struct sbx_upload *u =
		sbx_upload_new("0123456789abcdef0123456789abcdef", PIECE);
	char home[64];
	int in, out;
	pid_t pid;

	make_home(home, SHORT);
	pid = shell_start(u, home, &in, &out);
	assert_true(send_piece(u, in, out));
	/* and no more */
	assert_int_equal(wait_for_end(pid), 91);
	assert_int_equal(files_in_cache(home), 0);
	close(in);
	close(out);
	sbx_upload_free(u);
	remove_home(home);
}

/* A program that somebody may still write to cannot be run. */
static void who_holds_what_came_hinders_nobody(void **state)
{
	struct sbx_upload *u =
		sbx_upload_new("0123456789abcdef0123456789abcdef", 64 << 20);
	char home[64];
	int in, out;
	pid_t pid;

	make_home(home, WATCHED);
	pid = shell_start(u, home, &in, &out);
	assert_true(send_piece(u, in, out));
	assert_false(send_piece(u, in, out));
	assert_int_equal(files_in_cache(home), 1);
	kill(-pid, SIGKILL); /* with those who held it */
	waitpid(pid, NULL, 0);
	close(in);
	close(out);
	sbx_upload_free(u);
	remove_home(home);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_heard_of_no_more_ends),
		cmocka_unit_test(who_holds_what_came_hinders_nobody),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
