/*
 * Words for the shells of a sandbox, and what they answer: finding a place
 * for the helper, bringing it there as text, and starting what carries a
 * command on a terminal.
 */
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/svc_computesdk_wire.h"
#include "client/wire/base64.h"
#include "client/wire/lines.h"

#define MAX_COMMAND                                                            \
	(120u << 10) /* one word of a program: less than 128 KiB               \
		      */
#define MAX_ROUNDS 3
#define MAX_DIR	   1024

/* The folders of upload.c, in its order: it looks for the same program. */
static const char folders[] =
	"d1=${XDG_CACHE_HOME:-${HOME:-/nonexistent}/.cache}/sbxfs\n"
	"d2=${TMPDIR:-/tmp}/sbxfs-$(id -u) d3=/var/tmp/sbxfs-$(id -u)\n";

static const char look_script[] =
	"echo \"$k at $(pwd)\"\n"
	"[ -n \"$s\" ] || { echo \"$k machine $m\"; exit 0; }\n"
	"for d in \"$d1\" \"$d2\" \"$d3\"; do\n"
	"  [ -O \"$d\" ] && [ ! -L \"$d\" ] && [ -x \"$d/helper-$s\" ] && "
	"{ echo \"$k have $d/helper-$s\"; exit 0; }\n"
	"done\n"
	"umask 077\n"
	"for i in base64 wc id mkdir chmod mv rm; do\n"
	"  command -v $i >/dev/null || { echo \"$k lacks $i\"; exit 0; }\n"
	"done\n"
	"for d in \"$d1\" \"$d2\" \"$d3\"; do\n"
	"  mkdir -p \"$d\" 2>/dev/null && [ ! -L \"$d\" ] && [ -O \"$d\" ] && "
	"chmod 700 \"$d\" || continue\n"
	"  t=$d/try-$k r=\n"
	"  { printf '#!/bin/sh\\n' >\"$t\" && chmod 700 \"$t\" && \"$t\" && "
	"r=y; } 2>/dev/null\n"
	"  rm -f \"$t\"\n"
	"  [ -n \"$r\" ] || continue\n"
	"  g=-\n"
	"  command -v gzip >/dev/null && g=gzip\n"
	"  echo \"$k need $m $g $d\"\n"
	"  exit 0\n"
	"done\n"
	"echo \"$k room\"\n";

/*
 * $t: what has come so far, $o of $a bytes; $i: the next of them.  May be
 * repeated.  The text is a word of a builtin: it need not fit into a pipe.
 */
static const char piece_script[] =
	"umask 077\n"
	"f=$d/helper-$s t=$d/new-$k\n"
	"[ ! -x \"$f\" ] || { rm -f \"$t\"; echo \"$k have $f\"; exit 0; }\n"
	"[ $o -gt 0 ] || : >\"$t\"\n"
	"[ \"$(wc -c <\"$t\")\" -eq $o ] && printf %s \"$i\" | "
	"base64 -d >>\"$t\"\n"
	"n=$(($(wc -c <\"$t\")))\n"
	"[ $n -eq $a ] || { echo \"$k got $n\"; exit 0; }\n"
	"$z <\"$t\" >\"$t.x\" && rm -f \"$t\"\n"
	"w=y\n"
	"[ \"$(wc -c <\"$t.x\")\" -eq $b ] || w=size\n"
	"if command -v sha256sum >/dev/null; then\n"
	"  c=$(sha256sum <\"$t.x\")\n"
	"  [ \"${c%% *}\" = \"$s\" ] || w=sum\n"
	"fi\n"
	"chmod 700 \"$t.x\" && \"$t.x\" --version >/dev/null || w=run\n"
	"[ $w = y ] && mv -f \"$t.x\" \"$f\" && "
	"{ echo \"$k have $f\"; exit 0; }\n"
	"rm -f \"$t\" \"$t.x\"\n"
	"echo \"$k bad $w\"\n";

/*
 * What a helper does with --carry, by the tools of the sandbox, where there
 * is no helper.  It has no window for output, and cannot tell the end of
 * stderr.
 */
static const char carry_script[] =
	"stty raw -echo 2>/dev/null\n"
	"for i in base64 dd tr; do command -v $i >/dev/null || "
	"{ printf '\\n~h2:\\n~x127:\\n~O0:\\n'; exit; }; done\n"
	"printf '\\n~h2:\\n'\n"
	"a= q=\n"
	"while IFS= read -r l; do\n"
	"  l=${l%\"$(printf '\\r')\"}\n"
	"  case $l in \"<r0:\"*) a=$a${l#*:};; \"<g1:\"*) q=y; break;; "
	"\"<g0:\"*) break;; esac\n"
	"done\n"
	"c=$(printf %s \"$a\" | base64 -d)\n"
	"exec 3>&1\n"
	"size() { z=$((${#1} / 4 * 3)); "
	"case $1 in *==) z=$((z - 2));; *=) z=$((z - 1));; esac; }\n"
	"tell() { n=0\n"
	"  while b=$(dd bs=30000 count=1 2>/dev/null | base64 | tr -d '\\n'); "
	"[ -n \"$b\" ]; do\n"
	"    printf '~%s%s:%s\\n' $1 $n \"$b\" >&3; size \"$b\"; "
	"n=$((n + z))\n"
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
	"if [ -n \"$q\" ]; then hear | run 2>/dev/null | tell o O\n"
	"else { hear | run 2>&4 | tell o O; } 4>&1 | tell e E; fi\n";

/* ---- writing ---- */

static void put(struct sbx_buf *b, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

static void put(struct sbx_buf *b, const char *fmt, ...)
{
	char text[512];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= sizeof(text))
		b->err = -EMSGSIZE;
	else
		sbx_buf_add(b, text, (size_t)n);
}

static void put_text(struct sbx_buf *b, const char *text)
{
	sbx_buf_add(b, text, strlen(text));
}

static void put_quoted(struct sbx_buf *b, const char *word)
{
	const char *quote;

	put_text(b, "'");
	while ((quote = strchr(word, '\''))) {
		sbx_buf_add(b, word, (size_t)(quote - word));
		put_text(b, "'\\''");
		word = quote + 1;
	}
	put_text(b, word);
	put_text(b, "'");
}

int sbx_csdk_put_command(struct sbx_buf *b, const char *const *argv)
{
	size_t i;

	put_text(b, "exec");
	for (i = 0; argv[i]; i++) {
		put_text(b, " ");
		put_quoted(b, argv[i]);
	}
	if (b->err == -EMSGSIZE || sbx_buf_len(b) > MAX_COMMAND)
		return -E2BIG;
	return b->err;
}

void sbx_csdk_put_launch(struct sbx_buf *b, const struct sbx_csdk_there *t)
{
	put_text(b, " cd ");
	put_quoted(b, t->dir);
	put_text(b, "; exec ");
	if (t->helper) {
		put_quoted(b, t->helper);
		put_text(b, " --carry\n");
		return;
	}
	put_text(b, "sh -c ");
	put_quoted(b, carry_script);
	put_text(b, "\n");
}

void sbx_csdk_put_look(struct sbx_buf *b, const char *mark)
{
	const struct sbx_helper_blob *blob;

	put(b, "k=%s m=$(uname -m) s=\ncase $m in\n", mark);
	for (blob = sbx_helper_blobs; blob->machine; blob++)
		put(b, "%s) s=%s;;\n", blob->machine, blob->sha256);
	put_text(b, "esac\n");
	put_text(b, folders);
	put_text(b, look_script);
	sbx_buf_add(b, "", 1);
}

void sbx_csdk_put_piece(struct sbx_buf *b, const char *mark,
			const struct sbx_csdk_upload *u)
{
	size_t n = u->size - u->sent;
	uint8_t *room;

	if (n > SBX_CSDK_PIECE)
		n = SBX_CSDK_PIECE;
	put(b, "k=%s s=%s o=%zu a=%zu b=%zu z='%s' d=", mark, u->blob->sha256,
	    u->sent, u->size, u->blob->size, u->gz ? "gzip -dc" : "cat");
	put_quoted(b, u->folder);
	put_text(b, " i=");
	room = sbx_buf_room(b, SBX_BASE64_LEN(n));
	if (!room)
		return;
	sbx_base64_put((char *)room, u->data + u->sent, n);
	sbx_buf_added(b, SBX_BASE64_LEN(n));
	put_text(b, "\n");
	put_text(b, piece_script);
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

static void set_why(struct sbx_csdk_there *t, const char *fmt, const char *word)
	__attribute__((format(printf, 2, 0)));

static void set_why(struct sbx_csdk_there *t, const char *fmt, const char *word)
{
	char *why = NULL;

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	if (asprintf(&why, fmt, word) < 0)
		why = NULL;
#pragma GCC diagnostic pop
	free(t->why);
	t->why = why;
}

static void read_need(const char *words, struct sbx_csdk_upload *u)
{
	const struct sbx_helper_blob *b = sbx_helper_blobs;
	char machine[33], tool[9];
	int at = 0;

	memset(u, 0, sizeof(*u));
	if (sscanf(words, "%32s %8s %n", machine, tool, &at) != 2 || !at ||
	    !path_is_valid(words + at) ||
	    strlen(words + at) >= sizeof(u->folder))
		return;
	while (b->machine && strcmp(b->machine, machine) != 0)
		b++;
	if (!b->machine)
		return;
	strcpy(u->folder, words + at);
	u->blob = b;
	u->gz = !strcmp(tool, "gzip");
	u->data = u->gz ? b->gz : b->data;
	u->size = u->gz ? b->gz_size : b->size;
}

static void read_got(const char *number, struct sbx_csdk_there *t,
		     struct sbx_csdk_upload *u)
{
	size_t got = strtoul(number, NULL, 10);

	if (!u->blob)
		return;
	if (got <= u->sent)
		u->rounds++;
	if (got > u->size || u->rounds >= MAX_ROUNDS) {
		u->blob = NULL;
		set_why(t, "the sandbox did not store the helper%s", "");
	} else {
		u->sent = got;
	}
}

/* One line of ours. */
static void read_line(const char *line, struct sbx_csdk_there *t,
		      struct sbx_csdk_upload *u)
{
	if (!strncmp(line, "at ", 3) && path_is_valid(line + 3)) {
		free(t->dir);
		t->dir = strdup(line + 3);
	} else if (!strncmp(line, "have ", 5) && path_is_valid(line + 5)) {
		free(t->helper);
		t->helper = strdup(line + 5);
	} else if (!strncmp(line, "need ", 5)) {
		read_need(line + 5, u);
	} else if (!strncmp(line, "got ", 4)) {
		read_got(line + 4, t, u);
	} else if (!strncmp(line, "machine ", 8)) {
		set_why(t,
			"the sandbox is a %.32s machine, and this sbxfs has no "
			"helper for it",
			line + 8);
	} else if (!strncmp(line, "lacks ", 6)) {
		set_why(t,
			"the sandbox lacks %.32s, which the helper needs to "
			"get there",
			line + 6);
	} else if (!strcmp(line, "room")) {
		set_why(t,
			"the sandbox has no folder from which its user may run "
			"a program (tried ~/.cache, /tmp and /var/tmp)%s",
			"");
	} else if (!strncmp(line, "bad ", 4)) {
		u->blob = NULL;
		set_why(t,
			"the sandbox did not store the helper (%.32s); is its "
			"disk full?",
			line + 4);
	}
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
	return there->dir && upload->blob ? SBX_CSDK_SAID_NEED
					  : SBX_CSDK_SAID_NOTHING;
}
