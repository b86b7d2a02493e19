/*
 * sbxrun's command line.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/kcmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "fuse/sbxrun/sbxrun.h"

static const char usage[] =
	"usage: sbxrun [options] [--] COMMAND [ARGUMENT ...]\n"
	"Runs a command in the sandbox whose folder this is, with these "
	"streams.\n"
	"\n"
	"  -d DIR          as if called in that folder, or of that sandbox\n"
	"  -e NAME=VALUE   sets a variable for the command\n"
	"  -e NAME         passes on a variable of this name\n"
	"  -n              gives the command no input\n"
	"  -t              on a terminal of its own, even if this is none\n"
	"  -T              without a terminal, even if this is one\n"
	"  -u USER         runs as that user\n"
	"  -h, --help      prints this\n"
	"  -V, --version   prints the version\n";

_Noreturn void run_fail(const char *fmt, ...)
{
	va_list ap;

	term_restore();
	fputs("sbxrun: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	putc('\n', stderr);
	/* other threads may be at their streams: no cleaning up */
	fflush(stderr);
	_exit(EXIT_OURS);
}

static void add_env(struct run_options *o, const char *arg)
{
	const char *eq = strchr(arg, '='), *value = getenv(arg);
	char *pair = NULL;

	if (!*arg || eq == arg)
		run_fail("-e: a name is wanted");
	if (!eq && !value)
		return; /* nothing to pass on */
	if (asprintf(&pair, "%s%s%s", arg, eq ? "" : "=", eq ? "" : value) < 0)
		run_fail("out of memory");
	o->env[o->nr_env++] = pair;
}

/* The numbers of closed streams must not become those of control files.  What
 * is put there cannot be used either. */
static void streams_fill(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0 &&
		    open("/dev/null", fd ? O_RDONLY : O_WRONLY) != fd)
			_exit(EXIT_OURS); /* there is nobody to tell */
}

static bool is_null(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISCHR(st.st_mode) &&
	       st.st_rdev == makedev(1, 3);
}

/* Not only of one name: they share a position. */
static bool is_one_file(int a, int b)
{
	pid_t self = getpid();

	return syscall(SYS_kcmp, self, self, KCMP_FILE, a, b) == 0;
}

static int parse(struct run_options *o, int argc, char **argv)
{
	static const struct option longs[] = {
		{"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'V'},
		{NULL, 0, NULL, 0},
	};
	int c, tty = -1;

	while ((c = getopt_long(argc, argv, "+d:e:ntTu:hV", longs, NULL)) != -1)
		switch (c) {
		case 'd':
			o->dir = optarg;
			break;
		case 'e':
			add_env(o, optarg);
			break;
		case 'n':
			o->no_input = true;
			break;
		case 't':
		case 'T':
			tty = c == 't';
			break;
		case 'u':
			o->user = optarg;
			break;
		case 'h':
			fputs(usage, stdout);
			exit(0);
		case 'V':
			puts("sbxrun " SBX_VERSION);
			exit(0);
		default:
			return -1;
		}
	o->argv = argv + optind;
	if (tty < 0)
		o->at_terminal = !o->no_input && isatty(STDIN_FILENO) &&
				 isatty(STDOUT_FILENO) && term_is_ours();
	o->tty = o->at_terminal || tty > 0;
	if (is_null(STDIN_FILENO))
		o->no_input = true;
	return *o->argv ? 0 : -1;
}

static int run(struct run_options *o, const char *box, const char *cwd)
{
	o->merge = !o->tty && is_one_file(STDOUT_FILENO, STDERR_FILENO);
	return job_run(o, box, spec_text(o, cwd));
}

int main(int argc, char **argv)
{
	static struct run_options o;
	char *box, *cwd;
	int status;

	streams_fill();
	o.env = calloc((size_t)argc + 1, sizeof(*o.env));
	if (!o.env)
		run_fail("out of memory");
	if (parse(&o, argc, argv) < 0) {
		fputs(usage, stderr);
		return EXIT_OURS;
	}
	if (o.tty)
		add_env(&o, "TERM");
	place_find(o.dir, &box, &cwd);
	if (o.at_terminal && !place_has_terminals(box)) {
		o.tty = o.at_terminal = false;
		o.no_input = true; /* it would be waited for to its end */
	}
	status = run(&o, box, cwd);
	if (status < 0) {
		o.tty = o.at_terminal = false;
		status = run(&o, box, cwd);
	}
	term_restore();
	/* a thread may still wait for input that nobody wants */
	_exit(status);
}
