/*
 * Words for the shells of a sandbox, and what they answer: finding a place
 * for the helper, bringing it there as text, and starting what carries a
 * command on a terminal.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/sh.h"
#include "client/svc_computesdk_wire.h"
#include "client/wire/base64.h"
#include "client/wire/lines.h"

#define MAX_COMMAND (120u << 10) /* one word of a program: below 128 KiB */
#define MAX_DIR	    1024

/* The folders of upload.c, in its order: it looks for the same program. */
static const char folders[] =
	"d1=${XDG_CACHE_HOME:-${HOME:-/nonexistent}/.cache}/sbxfs\n"
	"d2=${TMPDIR:-/tmp}/sbxfs-$(id -u) d3=/var/tmp/sbxfs-$(id -u)\n";

static const char look_script[] =
	"for d in \"$d1\" \"$d2\" \"$d3\"; do\n"
	"  has \"$d\" && { echo \"$k have $d/helper-$s\"; exit 0; }\n"
	"done\n"
	"lacks && exit 0\n"
	"for d in \"$d1\" \"$d2\" \"$d3\"; do\n"
	"  fits \"$d\" && { echo \"$k need $m $g $d\"; exit 0; }\n"
	"done\n"
	"echo \"$k room\"\n";

/*
 * What a helper does with --carry, by the tools of the sandbox, where there
 * is no helper.  It has no window for output.  Its parts print at the same
 * time, so each line must be one write: the second dd gathers what a shell's
 * printf cuts.  $1: bytes of output in one.
 */
#define TERMINAL_BYTES 30000
#define PIPE_BYTES     2900 /* a pipe keeps 4096 together */
static const char carry_script[] =
	"stty raw -echo 2>/dev/null\n"
	"for i in base64 dd tr; do command -v $i >/dev/null || "
	"{ printf '\\n~h2:\\n~x127:\\n~O0:\\n~E0:\\n'; exit; }; done\n"
	"printf '\\n~h2:\\n'\n"
	"a= q= w=$1\n"
	"while IFS= read -r l; do\n"
	"  l=${l%\"$(printf '\\r')\"}\n"
	"  case $l in \"<r0:\"*) a=$a${l#*:};; \"<g1:\"*) q=y; break;; "
	"\"<g0:\"*) break;; esac\n"
	"done\n"
	"printf '~g0:\\n'\n"
	"c=$(printf %s \"$a\" | base64 -d)\n"
	"exec 3>&1\n"
	"size() { z=$((${#1} / 4 * 3)); "
	"case $1 in *==) z=$((z - 2));; *=) z=$((z - 1));; esac; }\n"
	"tell() { n=0\n"
	"  while b=$(dd bs=$w count=1 2>/dev/null | base64 | tr -d '\\n'); "
	"[ -n \"$b\" ]; do\n"
	"    printf '~%s%s:%s\\n' $1 $n \"$b\" | "
	"dd ibs=4096 obs=65536 2>/dev/null >&3\n"
	"    size \"$b\"; n=$((n + z))\n"
	"  done\n"
	"  printf '~%s%s:\\n' $2 $n >&3; }\n"
	"hear() { n=0\n"
	"  while IFS= read -r l; do case $l in\n"
	"    \"<i$n:\"*) b=${l#*:}; b=${b%%[!A-Za-z0-9+/=]*}; "
	"printf %s \"$b\" | base64 -d || exit\n"
	"      size \"$b\"; n=$((n + z)); printf '~k%s:\\n' $n >&3;;\n"
	"    \"<.$n:\"*) printf '~.0:\\n' >&3;;\n"
	"    \"<i\"* | \"<.\"*) printf '~!0:\\n' >&3; exit;;\n"
	"  esac; done; }\n"
	"run() { sh -c \"$c\" 3>&- 4>&-; printf '~x%s:\\n' $? >&3; }\n"
	"if [ -n \"$q\" ]; then hear | { run 2>/dev/null | tell o O; }\n"
	"else hear | { { run 2>&4 | tell o O 4>&-; } 4>&1 | tell e E; }; fi\n";

/* ---- writing ---- */

int sbx_csdk_put_command(struct sbx_buf *b, const char *const *argv)
{
	sbx_sh_put(b, "exec");
	sbx_sh_put_argv(b, argv);
	if (b->err == -EMSGSIZE || sbx_buf_len(b) > MAX_COMMAND)
		return -E2BIG;
	return b->err;
}

static void put_carry(struct sbx_buf *b, const struct sbx_csdk_there *t,
		      unsigned int bytes)
{
	if (t->helper) {
		sbx_sh_quote(b, t->helper);
		sbx_sh_put(b, " --carry");
		return;
	}
	sbx_sh_put(b, "sh -c ");
	sbx_sh_quote(b, carry_script);
	sbx_sh_printf(b, " sh %u", bytes);
}

void sbx_csdk_put_launch(struct sbx_buf *b, const struct sbx_csdk_there *t)
{
	sbx_sh_put(b, " cd ");
	sbx_sh_quote(b, t->dir);
	sbx_sh_put(b, "; exec ");
	put_carry(b, t, TERMINAL_BYTES);
	sbx_sh_put(b, "\n");
}

char *sbx_csdk_path_of(const struct sbx_csdk_there *t, const char *what,
		       const char *mark)
{
	const char *slash = t->helper ? strrchr(t->helper, '/') : NULL;
	char *path = NULL;
	int r;

	if (slash)
		r = asprintf(&path, "%.*s/%s-%s", (int)(slash - t->helper),
			     t->helper, what, mark);
	else
		r = asprintf(&path, "/tmp/sbxfs-%s-%s", what, mark);
	return r < 0 ? NULL : path;
}

/* It holds the pipe open for writing, too: so there is no end of input, and
 * none who opens it waits. */
void sbx_csdk_put_pipe_launch(struct sbx_buf *b, const struct sbx_csdk_there *t,
			      const char *pipe)
{
	/* no variable of the shell's: commands inherit those that there are */
	sbx_sh_put(b, "set -- ");
	sbx_sh_quote(b, pipe);
	sbx_sh_put(b, "\nmkfifo -m 600 \"$1\" || exit 126\n"
		      "trap 'rm -f \"$1\"; exit 126' HUP INT TERM\ncd ");
	sbx_sh_quote(b, t->dir);
	sbx_sh_put(b, "\n");
	put_carry(b, t, PIPE_BYTES);
	sbx_sh_put(b, " 0<>\"$1\"\nrm -f \"$1\"\n");
	sbx_buf_add(b, "", 1);
}

void sbx_csdk_put_pipe_lines(struct sbx_buf *b, const char *pipe,
			     const void *lines, size_t len)
{
	sbx_sh_put(b, "set -- ");
	sbx_sh_quote(b, pipe);
	/* they have no quote in them */
	sbx_sh_put(b, "\n[ -p \"$1\" ] && printf %s '");
	sbx_buf_add(b, lines, len);
	sbx_sh_put(b, "' 1<>\"$1\"\n");
	sbx_buf_add(b, "", 1);
}

void sbx_csdk_put_pipe_remove(struct sbx_buf *b, const char *pipe)
{
	sbx_sh_put(b, "rm -f ");
	sbx_sh_quote(b, pipe);
	sbx_buf_add(b, "", 1);
}

void sbx_csdk_put_tick_program(struct sbx_buf *b,
			       const struct sbx_csdk_there *t, const char *path)
{
	struct sbx_buf text;

	sbx_buf_init(&text, 8192);
	sbx_sh_put(&text, "#!/bin/sh\nrm -f \"$0\"\ncd ");
	sbx_sh_quote(&text, t->dir);
	sbx_sh_put(&text, "\nexec ");
	sbx_sh_quote(&text, t->helper);
	sbx_sh_put(&text, " --carry --tick\n");
	sbx_buf_add(&text, "", 1);
	sbx_sh_put(b, "set -- ");
	sbx_sh_quote(b, path);
	sbx_sh_put(b, "\nprintf %s ");
	if (!text.err)
		sbx_sh_quote(b, (char *)sbx_buf_at(&text));
	else
		b->err = text.err;
	sbx_sh_put(b, " >\"$1\" && chmod 700 \"$1\"\n");
	sbx_buf_add(b, "", 1);
	sbx_buf_release(&text);
}

void sbx_csdk_put_look(struct sbx_buf *b, const char *mark, const char *dir)
{
	if (dir)
		sbx_sh_printf(b, "cd %s 2>/dev/null\n", dir);
	sbx_sh_printf(b, "k=%s\necho \"$k at $(pwd)\"\n", mark);
	sbx_sh_put(b, folders);
	sbx_plant_put_seek(b);
	sbx_sh_put(b, look_script);
	sbx_buf_add(b, "", 1);
}

void sbx_csdk_put_piece(struct sbx_buf *b, const char *mark,
			const struct sbx_csdk_upload *u)
{
	const struct sbx_plant *p = &u->plant;
	size_t n = p->size - p->sent;
	uint8_t *room;

	if (n > (u->piece ? u->piece : SBX_CSDK_PIECE))
		n = u->piece ? u->piece : SBX_CSDK_PIECE;
	sbx_sh_printf(b, "k=%s x=%s d=", mark, mark);
	sbx_sh_quote(b, u->folder);
	/* a word of a builtin: it need not fit into a pipe */
	sbx_sh_put(b, "\ninput() { printf %s \"$i\"; }\ni=");
	room = sbx_buf_room(b, SBX_BASE64_LEN(n));
	if (!room)
		return;
	sbx_base64_put((char *)room, p->data + p->sent, n);
	sbx_buf_added(b, SBX_BASE64_LEN(n));
	sbx_sh_put(b, "\n");
	sbx_plant_put_piece(b, p);
	sbx_buf_add(b, "", 1);
}

/* ---- reading ---- */

void sbx_csdk_there_release(struct sbx_csdk_there *t)
{
	free(t->dir);
	free(t->helper);
	free(t->why);
	memset(t, 0, sizeof(*t));
}

/* An absolute path that can be typed at a terminal. */
static bool path_is_valid(const char *path)
{
	size_t i;

	for (i = 0; path[i]; i++)
		if ((unsigned char)path[i] < 0x20 || path[i] == 0x7f ||
		    i >= MAX_DIR)
			return false;
	return path[0] == '/';
}

/* There will be no helper. */
static void set_why(struct sbx_csdk_there *t, struct sbx_csdk_upload *u,
		    const char *text)
{
	u->plant.blob = NULL;
	free(t->why);
	t->why = strdup(text);
}

static void read_need(const char *words, struct sbx_csdk_upload *u)
{
	char machine[33], tool[9];
	int at = 0;

	u->plant.blob = NULL;
	if (sscanf(words, "%32s %8s %n", machine, tool, &at) != 2 || !at ||
	    !path_is_valid(words + at) ||
	    strlen(words + at) >= sizeof(u->folder) ||
	    !sbx_plant_choose(&u->plant, machine, tool))
		return;
	u->plant.rounds++;
	strcpy(u->folder, words + at);
}

static void read_got(const char *number, struct sbx_csdk_upload *u)
{
	if (u->plant.blob && !sbx_plant_got(&u->plant, number))
		u->plant.rounds = SBX_PLANT_ROUNDS + 1;
}

/* One line of ours. */
static void read_line(const char *line, struct sbx_csdk_there *t,
		      struct sbx_csdk_upload *u)
{
	struct sbx_error e;

	if (!strncmp(line, "at ", 3) && path_is_valid(line + 3)) {
		free(t->dir);
		t->dir = strdup(line + 3);
	} else if (!strncmp(line, "have ", 5) && path_is_valid(line + 5)) {
		free(t->helper);
		t->helper = strdup(line + 5);
	} else if (!strncmp(line, "need ", 5)) {
		read_need(line + 5, u);
	} else if (!strncmp(line, "got ", 4)) {
		read_got(line + 4, u);
	} else if (!strncmp(line, "bad ", 4) && sbx_plant_again(&u->plant)) {
		return;
	} else if (sbx_plant_why(line, &e)) {
		set_why(t, u, e.text);
	}
	if (u->plant.blob && u->plant.rounds > SBX_PLANT_ROUNDS)
		set_why(t, u, "the sandbox did not store the helper");
}

enum sbx_csdk_said sbx_csdk_read_look(const char *out, const char *mark,
				      struct sbx_csdk_there *there,
				      struct sbx_csdk_upload *upload)
{
	size_t len = strlen(mark), n;
	char line[MAX_DIR + 80];
	const char *p = out;

	while (p && (p = strstr(p, mark))) {
		p += len;
		n = strcspn(p, "\r\n");
		if (p[0] == ' ' && n > 1 && n < sizeof(line) &&
		    (p - len == out || p[-(long)len - 1] == '\n')) {
			memcpy(line, p + 1, n - 1);
			line[n - 1] = '\0';
			read_line(line, there, upload);
		}
	}
	if (there->dir && (there->helper || there->why))
		return SBX_CSDK_SAID_READY;
	return there->dir && upload->plant.blob ? SBX_CSDK_SAID_NEED
						: SBX_CSDK_SAID_NOTHING;
}
