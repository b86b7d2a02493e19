/* See options.h. */
#include "tests/agent/options.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

static void usage(FILE *out)
{
	fputs("Usage: SBXFS_AGENT_KEY=KEY sbxfs-agent --dir DIR [options]\n"
	      "Serves sandboxes, kept as folders below DIR, by the protocol "
	      "of xgen-sandbox.\n\n"
	      "  --dir DIR            where the sandboxes are\n"
	      "  --listen ADDR:PORT   default 127.0.0.1:0, a free port\n"
	      "  --ready-fd N         write `ready PORT' there when listening\n"
	      "  --exit-with-fd N     end when the other end of it is closed\n"
	      "  --root               the user in the sandboxes is root\n"
	      "  --tools DIR          programs in the sandboxes, instead of "
	      "the "
	      "host's\n"
	      "  --trait NAME=VALUE   on, off or a number; may be repeated\n"
	      "  --fault WHAT         as the control socket's `fault'\n"
	      "  --control PATH       control socket for tests\n"
	      "  --help, --version\n\n"
	      "Traits, their defaults and what they mean:\n",
	      out);
	agent_traits_print(out);
	fputs("\nControl socket: fault delay MS | drop-after BYTES | cut | "
	      "blackhole on|off |\nrefuse on|off | http STATUS N | garbage N "
	      "| html N | huge N | half N |\nnot-ready N | no-reply N | expire "
	      "ID | dead-sidecar ID | kill-runtime ID;\n"
	      "trait NAME=VALUE; journal; runtime-pids ID\n",
	      out);
}

static int option_fd(const char *text)
{
	char *end;
	long n = strtol(text, &end, 10);

	if (end == text || *end || n < 0 || n > INT_MAX ||
	    fcntl((int)n, F_SETFD, FD_CLOEXEC) < 0)
		return -EBADF;
	return (int)n;
}

static int option_fault(struct agent *agent, const char *text)
{
	char line[256], *answer = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&answer, &len);
	bool ok;

	if (!out)
		return -ENOMEM;
	snprintf(line, sizeof(line), "fault %s", text);
	agent_fault_command(agent, line, out);
	fclose(out);
	ok = !strcmp(answer, "ok\n");
	free(answer);
	return ok ? 0 : -EINVAL;
}

enum {
	DIRECTORY = 1,
	LISTEN,
	READY,
	EXIT,
	ROOT,
	TOOLS,
	TRAIT,
	FAULT,
	CONTROL,
	HELP,
	VERSION
};

static const struct option option_table[] = {
	{"dir", required_argument, NULL, DIRECTORY},
	{"listen", required_argument, NULL, LISTEN},
	{"ready-fd", required_argument, NULL, READY},
	{"exit-with-fd", required_argument, NULL, EXIT},
	{"root", no_argument, NULL, ROOT},
	{"tools", required_argument, NULL, TOOLS},
	{"trait", required_argument, NULL, TRAIT},
	{"fault", required_argument, NULL, FAULT},
	{"control", required_argument, NULL, CONTROL},
	{"help", no_argument, NULL, HELP},
	{"version", no_argument, NULL, VERSION},
	{0}};

/* < 0: its value makes no sense. */
static int option_take(struct agent *agent, struct agent_options *o, int c)
{
	switch (c) {
	case DIRECTORY:
		o->dir = optarg;
		return 0;
	case LISTEN:
		o->listen = optarg;
		return 0;
	case READY:
		return o->ready_fd = option_fd(optarg);
	case EXIT:
		return o->exit_fd = option_fd(optarg);
	case ROOT:
		agent->root = true;
		return 0;
	case TOOLS:
		agent->tools = optarg;
		return 0;
	case TRAIT:
		return agent_traits_set(&agent->traits, optarg);
	case FAULT:
		return option_fault(agent, optarg);
	case CONTROL:
		o->control = optarg;
		return 0;
	case HELP:
		usage(stdout);
		exit(0);
	default:
		puts("sbxfs-agent " SBX_VERSION);
		exit(0);
	}
}

int agent_options_read(struct agent *agent, struct agent_options *o, int argc,
		       char **argv)
{
	int c;

	while ((c = getopt_long(argc, argv, "", option_table, NULL)) != -1) {
		if (c == '?')
			return -EINVAL; /* getopt has told */
		if (option_take(agent, o, c) < 0) {
			AGENT_LOG("%s: not understood; see --help", optarg);
			return -EINVAL;
		}
	}
	if (!o->dir || optind < argc) {
		AGENT_LOG("needs --dir DIR and nothing but options; "
			  "see --help");
		return -EINVAL;
	}
	return 0;
}
