#include "client/upload.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/helper/blob.h"
#include "client/plant.h"

#define MAX_MACHINES 4
#define MAX_LINE     64
#define EXIT_NO_ROOM 90 /* no folder takes an executable file of ours */
#define EXIT_UPLOAD  91
#define EXIT_MACHINE 92

/*
 * $1: session, $2: piece size, then MACHINE:SIZE:HASH for each helper we
 * have.  The folder is made private and must be ours; a file gets its final
 * name only when complete and able to run there (/tmp may be noexec).  Some
 * services keep a command and its stdin when its connection is lost: no
 * piece is waited for longer than it could take.  busybox's timeout(1) is
 * survived by a process that holds what it wrote to, which cannot be run then:
 * so a copy is.
 */
static const char script[] =
	"u=$(umask)\n"
	"umask 077\n"
	"s=$1 p=$2 m=$(uname -m) w=\n"
	"shift 2\n"
	"for i; do case $i in \"$m\":*) w=${i#*:};; esac; done\n"
	"[ -n \"$w\" ] || { echo \"machine $m\"; exit 92; }\n"
	"size=${w%%:*} sum=${w#*:}\n"
	"for d in \"${XDG_CACHE_HOME:-${HOME:-/nonexistent}/.cache}/sbxfs\" "
	"\"${TMPDIR:-/tmp}/sbxfs-$(id -u)\" \"/var/tmp/sbxfs-$(id -u)\"; do\n"
	"  mkdir -p \"$d\" 2>/dev/null && [ ! -L \"$d\" ] && [ -O \"$d\" ] && "
	"chmod 700 \"$d\" || continue\n"
	"  f=$d/helper-$sum\n"
	"  if [ ! -x \"$f\" ]; then\n"
	"    t=$f.$$\n"
	"    { : >\"$t\"; } 2>/dev/null || continue\n"
	"    wait=\n"
	"    timeout 1 true 2>/dev/null && wait='timeout 75'\n"
	"    echo \"need $m\"\n"
	"    while [ \"$size\" -gt 0 ]; do\n"
	"      n=$p; [ \"$size\" -ge \"$n\" ] || n=$size\n"
	"      $wait head -c \"$n\" >>\"$t\" || { rm -f \"$t\"; exit 91; }\n"
	"      size=$((size - n)); printf K\n"
	"    done\n"
	"    size=${w%%:*}\n"
	"    cat \"$t\" >\"$t.x\" && chmod 700 \"$t.x\" && "
	"\"$t.x\" --version >/dev/null 2>&1 && mv \"$t.x\" \"$f\"\n"
	"    rm -f \"$t\" \"$t.x\"\n"
	"    [ -x \"$f\" ] || continue\n"
	"  fi\n"
	"  echo start\n"
	"  umask \"$u\"\n" /* commands inherit it */
	"  exec \"$f\" \"$s\"\n"
	"done\n"
	"exit 90\n";

struct sbx_upload {
	size_t piece;
	const struct sbx_helper_blob *blob; /* being sent, or NULL */
	size_t sent;
	bool may_send; /* the last piece was acknowledged */
	char line[MAX_LINE];
	size_t len;
	char session[40], piece_text[24];
	char words[MAX_MACHINES][128];
	const char *argv[8 + MAX_MACHINES];
};

struct sbx_upload *sbx_upload_new(const char *session, size_t piece)
{
	struct sbx_upload *u = calloc(1, sizeof(*u));
	size_t n = 0, i;

	if (!u)
		return NULL;
	u->piece = piece;
	snprintf(u->session, sizeof(u->session), "%s", session);
	snprintf(u->piece_text, sizeof(u->piece_text), "%zu", piece);
	u->argv[n++] = "sh";
	u->argv[n++] = "-c";
	u->argv[n++] = script;
	u->argv[n++] = "sbxfs";
	u->argv[n++] = u->session;
	u->argv[n++] = u->piece_text;
	for (i = 0; sbx_helper_blobs[i].machine && i < MAX_MACHINES; i++) {
		const struct sbx_helper_blob *b = &sbx_helper_blobs[i];

		snprintf(u->words[i], sizeof(u->words[i]), "%s:%zu:%s",
			 b->machine, b->size, b->sha256);
		u->argv[n++] = u->words[i];
	}
	return u;
}

struct sbx_upload *sbx_upload_free(struct sbx_upload *u)
{
	free(u);
	return NULL;
}

const char *const *sbx_upload_argv(const struct sbx_upload *u)
{
	return u->argv;
}

static int upload_line(struct sbx_upload *u, struct sbx_error *reterr)
{
	if (!strcmp(u->line, "start"))
		return 1;
	if (!strncmp(u->line, "need ", 5)) {
		u->blob = sbx_plant_blob(u->line + 5);
		u->sent = 0;
		u->may_send = true;
		if (u->blob)
			return 0;
	}
	if (!strncmp(u->line, "machine ", 8))
		return sbx_error_set(reterr, -EOPNOTSUPP,
				     "the sandbox is a %.32s machine, and "
				     "this sbxfs has no helper for it",
				     u->line + 8);
	return sbx_error_set(reterr, -EPROTO,
			     "the sandbox's shell answered \"%.40s\" when "
			     "asked to take the helper",
			     u->line);
}

static bool upload_is_sending(const struct sbx_upload *u)
{
	return u->blob && (u->sent < u->blob->size || !u->may_send);
}

/* One byte of the script's output. */
static int upload_byte(struct sbx_upload *u, char c, struct sbx_error *reterr)
{
	if (upload_is_sending(u)) {
		if (c != 'K' || u->may_send)
			return sbx_error_set(reterr, -EPROTO,
					     "taking the helper failed in "
					     "the sandbox's shell");
		u->may_send = true;
		return 0;
	}
	if (c != '\n') {
		if (u->len + 1 >= sizeof(u->line))
			return sbx_error_set(reterr, -EPROTO,
					     "the sandbox's shell talks of "
					     "other things when asked to "
					     "take the helper");
		u->line[u->len++] = c;
		return 0;
	}
	u->line[u->len] = '\0';
	u->len = 0;
	return upload_line(u, reterr);
}

int sbx_upload_input(struct sbx_upload *u, const void *data, size_t len,
		     size_t *ret_used, struct sbx_error *reterr)
{
	const char *p = data;
	size_t i;

	for (i = 0; i < len; i++) {
		int r = upload_byte(u, p[i], reterr);

		if (r) {
			*ret_used = i + 1;
			return r;
		}
	}
	*ret_used = len;
	return 0;
}

const void *sbx_upload_piece(struct sbx_upload *u, size_t *ret_len)
{
	const unsigned char *p;
	size_t n;

	if (!u->blob || !u->may_send || u->sent >= u->blob->size)
		return NULL;
	n = u->blob->size - u->sent;
	if (n > u->piece)
		n = u->piece;
	p = u->blob->data + u->sent;
	u->sent += n;
	u->may_send = false;
	*ret_len = n;
	return p;
}

int sbx_upload_exit(int exit_code, struct sbx_error *reterr)
{
	switch (exit_code) {
	case EXIT_NO_ROOM:
		return sbx_error_set(reterr, -EOPNOTSUPP,
				     "the sandbox has no folder from which "
				     "its user may run a program (tried "
				     "~/.cache, /tmp and /var/tmp)");
	case EXIT_UPLOAD:
		return sbx_error_set(reterr, -EOPNOTSUPP,
				     "storing the helper in the sandbox "
				     "failed; is its disk full?");
	case EXIT_MACHINE:
		return sbx_error_set(reterr, -EOPNOTSUPP,
				     "this sbxfs has no helper for the "
				     "sandbox's type of machine");
	case 126:
	case 127:
		return sbx_error_set(reterr, -EOPNOTSUPP,
				     "the sandbox lacks a usable sh, head, "
				     "mkdir, chmod or mv, which the helper "
				     "needs to get started");
	default:
		return sbx_error_set(reterr, -EIO,
				     "the helper ended with status %d as "
				     "soon as it was started in the sandbox",
				     exit_code);
	}
}
