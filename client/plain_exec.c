/*
 * Starting a command of the user: the script around it, and its words.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/plain_int.h"

#define MAX_ARGS 4096

/*
 * $1: where, $2: i (has input), m (merged), $3: how many variables follow.
 * Tells S (it gets a session of its own), D and the pipe's folder, P and
 * the process id; or E and why not.
 */
static const char job_script[] =
	"c=$1 f=$2 n=$3\n"
	"shift 3\n"
	"no() { printf 'E%s\\n' \"${1##*: }\"; exit 0; }\n"
	"cd \"$c\" 2>/dev/null || {\n"
	"  e=$(LC_ALL=C stat -c %i \"$c/.\" 2>&1 >/dev/null) ||\n"
	"    no \"$e\"\n"
	"  no 'Permission denied'\n"
	"}\n"
	"i=0\n"
	"for a; do\n"
	"  i=$((i + 1))\n"
	"  [ $i -le $((n + 4)) ] || break\n"
	"done\n"
	"case $a in\n"
	"*/*)\n"
	"  [ -e \"$a\" ] || no 'No such file or directory'\n"
	"  [ -f \"$a\" ] && [ -x \"$a\" ] || no 'Permission denied' ;;\n"
	"*) command -v \"$a\" >/dev/null 2>&1 || "
	"no 'No such file or directory' ;;\n"
	"esac\n"
	"s=\n"
	"setsid -w true </dev/null >/dev/null 2>&1 && { s='setsid -w'; echo S; "
	"}\n"
	"exec 4>&2 2>/dev/null\n"
	"case $f in\n"
	"*i*)\n"
	"  d=$(umask 077; mktemp -d) && mkfifo -m 600 \"$d/in\" ||\n"
	"    no 'Read-only file system'\n"
	"  printf 'D%s\\n' \"$d\"\n"
	"  exec <\"$d/in\" ;;\n"
	"*) exec </dev/null ;;\n"
	"esac\n"
	/* in a subshell: the one that waits may say how it was killed */
	"(\n"
	"  case $f in *m*) exec 2>&1 ;; *) exec 2>&4 ;; esac\n"
	"  exec 4>&- $s env -- \"$@\"\n"
	")\n"
	"exit $?\n";

static const char inner_script[] = "echo P$$; exec \"$@\"";

/* The strings of one EXEC, copied into one buffer, each ended by NUL. */
struct words {
	struct sbx_buf text;
	size_t at[MAX_ARGS];
	size_t nr;
};

static void word_begin(struct words *w)
{
	if (w->nr + 1 >= MAX_ARGS)
		w->text.err = -E2BIG;
	else
		w->at[w->nr++] = sbx_buf_len(&w->text);
}

static void word_add(struct words *w, const void *data, size_t len)
{
	if (len && memchr(data, 0, len))
		w->text.err = -EINVAL;
	else if (len)
		sbx_buf_add(&w->text, data, len);
}

static void word_end(struct words *w)
{
	sbx_buf_add(&w->text, "", 1);
}

static void word_put(struct words *w, const char *text)
{
	word_begin(w);
	word_add(w, text, strlen(text));
	word_end(w);
}

static void words_env(struct words *w, struct sbx_rd *map)
{
	const uint8_t *text;
	size_t len;

	while (map->left >= 2 && !map->err) {
		word_begin(w);
		text = sbx_get_bin(map, &len);
		if (!len || memchr(text, '=', len))
			w->text.err = -EINVAL;
		word_add(w, text, len);
		word_add(w, "=", 1);
		text = sbx_get_bin(map, &len);
		word_add(w, text, len);
		word_end(w);
	}
}

static void words_cwd(struct words *w, const struct sbx_plain *p,
		      const uint8_t *cwd, size_t len)
{
	word_begin(w);
	if (!len || cwd[0] != '/')
		word_add(w, p->info.cwd, strlen(p->info.cwd));
	if (len && cwd[0] != '/')
		word_add(w, "/", 1);
	word_add(w, cwd, len);
	word_end(w);
}

static int words_fill(struct words *w, const struct sbx_plain *p,
		      struct sbx_rd *rd, uint32_t *ret_flags)
{
	struct sbx_rd argv = sbx_get_array(rd), env;
	const uint8_t *text;
	char number[16];
	size_t len, cwd_len;
	const uint8_t *cwd = sbx_get_bin(rd, &cwd_len);

	env = sbx_get_map(rd);
	*ret_flags = sbx_get_u32(rd);
	if (!argv.left)
		return -EINVAL;
	word_put(w, "sh");
	word_put(w, "-c");
	word_put(w, job_script);
	word_put(w, "sbxfs-job");
	words_cwd(w, p, cwd, cwd_len);
	word_put(w, *ret_flags & SBX_EXEC_STDIN
			    ? *ret_flags & SBX_EXEC_MERGE ? "im" : "i"
		    : *ret_flags & SBX_EXEC_MERGE ? "m"
						  : "-");
	snprintf(number, sizeof(number), "%u", env.left / 2);
	word_put(w, number);
	words_env(w, &env);
	word_put(w, "sh");
	word_put(w, "-c");
	word_put(w, inner_script);
	word_put(w, "sh");
	while (argv.left && !argv.err) {
		text = sbx_get_bin(&argv, &len);
		word_begin(w);
		word_add(w, text, len);
		word_end(w);
	}
	return rd->err || argv.err || env.err ? -EINVAL : w->text.err;
}

static int job_start(struct sbx_plain *p, struct plain_job *j,
		     struct sbx_rd *rd)
{
	struct words *w = calloc(1, sizeof(*w));
	const char **argv = calloc(MAX_ARGS, sizeof(*argv));
	size_t i;
	int r = -ENOMEM;

	if (w)
		sbx_buf_init(&w->text, SBX_MESSAGE_MAX);
	if (w && argv)
		r = words_fill(w, p, rd, &j->flags);
	if (!r && j->flags & SBX_EXEC_TTY)
		r = -EOPNOTSUPP;
	if (!r) {
		for (i = 0; i < w->nr; i++)
			argv[i] = (char *)sbx_buf_at(&w->text) + w->at[i];
		j->stream = p->svc->type->stream_open(p->svc, p->id, argv,
						      &plain_job_handler, j);
		r = j->stream ? 0 : -ENOMEM;
	}
	if (w)
		sbx_buf_release(&w->text);
	free(argv);
	free(w);
	return r;
}

int plain_exec_begin(struct sbx_plain *p, struct plain_op *op)
{
	struct sbx_rd rd = op->args;
	uint32_t number = sbx_get_u32(&rd);
	struct plain_job *j;
	unsigned int nr = 0;
	int r;

	for (j = p->jobs; j; j = j->next)
		nr++;
	if (!number || plain_job_find(p, number))
		return -EINVAL;
	j = nr < SBX_JOBS_MAX ? calloc(1, sizeof(*j)) : NULL;
	if (!j)
		return -EAGAIN;
	j->p = p;
	j->number = number;
	j->id = op->id;
	j->began = uv_now(p->loop);
	j->input_end = &j->input;
	sbx_buf_init(&j->held[0], PLAIN_JOB_HELD);
	sbx_buf_init(&j->held[1], PLAIN_JOB_HELD);
	r = job_start(p, j, &rd);
	if (r < 0) {
		free(j);
		return r;
	}
	sbx_get_u32(&rd); /* columns */
	sbx_get_u32(&rd); /* rows */
	j->credit[0] = j->credit[1] = sbx_get_u32(&rd);
	j->next = p->jobs;
	p->jobs = j;
	return 1;
}
