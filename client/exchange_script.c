/*
 * What is run in the sandbox by an exchange, and what that prints.  Every
 * line of ours begins with a mark of that run, so that whatever else is
 * printed does no harm.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/exchange_int.h"
#include "client/wire/base64.h"

#define MAX_WORD 200

/*
 * The folders that may hold the helper, outside the workspace, which may be
 * versioned.  Each is made private and must be ours; it is used if a program
 * may run from it (/tmp may be noexec).
 */
static const char folders[] =
	"d1=${TMPDIR:-/tmp}/sbxfs-$(id -u) d2=/var/tmp/sbxfs-$(id -u)\n"
	"d3=${XDG_CACHE_HOME:-${HOME:-/nonexistent}/.cache}/sbxfs\n";

static const char call_script[] =
	"[ -n \"$s\" ] || { echo \"$k machine $m\"; exit 0; }\n"
	"for d in \"$d1\" \"$d2\" \"$d3\"; do\n"
	"  [ -O \"$d\" ] && [ ! -L \"$d\" ] && [ -x \"$d/helper-$s\" ] && "
	"exec \"$d/helper-$s\" \"$1\" --batch \"$2\" \"$3\" \"$4\" \"$k\"\n"
	"done\n"
	"umask 077\n"
	"for i in base64 wc id mkdir chmod mv rm; do\n"
	"  command -v $i >/dev/null || { echo \"$k lacks $i\"; exit 0; }\n"
	"done\n"
	"n=0\n"
	"for d in \"$d1\" \"$d2\" \"$d3\"; do\n"
	"  n=$((n + 1))\n"
	"  case $d/ in \"$PWD\"/*) continue;; esac\n"
	"  mkdir -p \"$d\" 2>/dev/null && [ ! -L \"$d\" ] && [ -O \"$d\" ] && "
	"chmod 700 \"$d\" || continue\n"
	"  t=$d/try-$1 r=\n"
	"  { printf '#!/bin/sh\\n' >\"$t\" && chmod 700 \"$t\" && \"$t\" && "
	"r=y; "
	"} 2>/dev/null\n"
	"  rm -f \"$t\"\n"
	"  [ -n \"$r\" ] || continue\n"
	"  g=-\n"
	"  command -v gzip >/dev/null && g=gzip\n"
	"  echo \"$k need $m $n $g\"\n"
	"  exit 0\n"
	"done\n"
	"echo \"$k room\"\n";

/* $t: what has come so far, at most its size; may be repeated. */
static const char piece_script[] =
	"umask 077\n"
	"f=$d/helper-$s t=$d/new-$1\n"
	"[ ! -x \"$f\" ] || { echo \"$k done\"; exit 0; }\n"
	"[ $o -gt 0 ] || : >\"$t\"\n"
	"[ \"$(wc -c <\"$t\")\" -eq $o ] && base64 -d >>\"$t\"\n"
	"n=$(($(wc -c <\"$t\")))\n"
	"[ $n -eq $a ] || { echo \"$k have $n\"; exit 0; }\n"
	"$z <\"$t\" >\"$t.x\" && rm -f \"$t\"\n"
	"w=y\n"
	"[ \"$(wc -c <\"$t.x\")\" -eq $b ] || w=size\n"
	"if command -v sha256sum >/dev/null; then\n"
	"  c=$(sha256sum <\"$t.x\")\n"
	"  [ \"${c%% *}\" = \"$s\" ] || w=sum\n"
	"fi\n"
	"chmod 700 \"$t.x\" && \"$t.x\" --version >/dev/null || w=run\n"
	"[ $w = y ] && mv -f \"$t.x\" \"$f\" && { echo \"$k done\"; exit 0; }\n"
	"rm -f \"$t.x\"\n"
	"echo \"$k bad $w\"\n";

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

/* $1 to $4, $k: what both scripts use. */
static void put_words(struct sbx_buf *b, const struct exchange_call *c)
{
	put(b, "set -- %s %u %u %zu\nk=%s\n", c->session, c->wait_ms,
	    c->park_ms, c->max_bytes, c->mark);
	put_text(b, folders);
}

void exchange_put_call(struct sbx_buf *b, const struct exchange_call *c)
{
	const struct sbx_helper_blob *blob;

	put_words(b, c);
	put_text(b, "m=$(uname -m) s=\ncase $m in\n");
	for (blob = sbx_helper_blobs; blob->machine; blob++)
		put(b, "%s) s=%s;;\n", blob->machine, blob->sha256);
	put_text(b, "esac\n");
	if (c->old_pid)
		put(b,
		    "case $(readlink /proc/%u/exe) in */helper-*) kill "
		    "%u;; esac 2>/dev/null\n",
		    c->old_pid, c->old_pid);
	put_text(b, call_script);
	sbx_buf_add(b, "", 1);
}

static void put_base64(struct sbx_buf *b, const void *data, size_t len)
{
	uint8_t *room = sbx_buf_room(b, SBX_BASE64_LEN(len) + 2);

	if (!room)
		return;
	sbx_base64_put((char *)room, data, len);
	memcpy(room + SBX_BASE64_LEN(len), "\n", 2);
	sbx_buf_added(b, SBX_BASE64_LEN(len) + 2);
}

void exchange_put_piece(struct sbx_buf *b, struct sbx_buf *input,
			struct exchange_upload *u,
			const struct exchange_call *c, size_t piece)
{
	size_t n = u->size - u->sent < piece ? u->size - u->sent : piece;

	put_words(b, c);
	put(b, "d=$d%u s=%s o=%zu a=%zu b=%zu z='%s'\n", u->folder,
	    u->blob->sha256, u->sent, u->size, u->blob->size,
	    u->gz ? "gzip -dc" : "cat");
	put_text(b, piece_script);
	sbx_buf_add(b, "", 1);
	put_base64(input, u->data + u->sent, n);
}

/* ---- what they print ---- */

static int no_helper(struct sbx_error *e, const char *before, const char *word,
		     const char *after)
{
	return sbx_error_set(e, -EOPNOTSUPP, "the sandbox %s%s%s", before, word,
			     after);
}

static int no_machine(struct sbx_error *e, const char *machine)
{
	return no_helper(e, "is a ", machine,
			 " machine, and this sbxfs has no helper for it");
}

static enum exchange_said said_need(const char *words,
				    struct exchange_upload *u,
				    struct sbx_error *reterr)
{
	char machine[33], tool[9];
	unsigned int folder;
	const struct sbx_helper_blob *b = sbx_helper_blobs;

	if (sscanf(words, "%32s %u %8s", machine, &folder, tool) != 3 ||
	    folder < 1 || folder > 3)
		return EXCHANGE_SAID_NOTHING;
	while (b->machine && strcmp(b->machine, machine) != 0)
		b++;
	if (!b->machine) {
		no_machine(reterr, machine);
		return EXCHANGE_SAID_IMPOSSIBLE;
	}
	u->blob = b;
	u->folder = folder;
	u->gz = !strcmp(tool, "gzip");
	u->data = u->gz ? b->gz : b->data;
	u->size = u->gz ? b->gz_size : b->size;
	u->sent = 0;
	u->rounds++;
	return EXCHANGE_SAID_NEED;
}

static enum exchange_said said_word(const char *words,
				    struct exchange_upload *u,
				    struct sbx_error *reterr)
{
	char word[33];
	size_t have;

	if (!strncmp(words, "need ", 5))
		return said_need(words + 5, u, reterr);
	if (!strcmp(words, "done"))
		return EXCHANGE_SAID_DONE;
	if (sscanf(words, "have %zu", &have) == 1 && u->blob) {
		if (have > u->size)
			return EXCHANGE_SAID_NOTHING;
		if (have <= u->sent)
			u->rounds++; /* it did not grow */
		u->sent = have;
		return EXCHANGE_SAID_HAVE;
	}
	if (sscanf(words, "machine %32s", word) == 1)
		no_machine(reterr, word);
	else if (sscanf(words, "lacks %32s", word) == 1)
		no_helper(reterr, "lacks ", word,
			  ", which the helper needs to get there");
	else if (!strcmp(words, "room"))
		no_helper(reterr,
			  "has no folder outside its workspace from which its "
			  "user may run a program (tried /tmp, /var/tmp and "
			  "~/.cache)",
			  "", "");
	else if (sscanf(words, "bad %32s", word) == 1)
		no_helper(reterr, "did not store the helper (", word,
			  "); is its disk full?");
	else
		return EXCHANGE_SAID_NOTHING;
	return EXCHANGE_SAID_IMPOSSIBLE;
}

/* The line that begins with the mark, after *at; its rest. */
static bool next_line(const char **at, const char *mark, char word[MAX_WORD])
{
	size_t len = strlen(mark), n;
	const char *p = *at;

	while ((p = strstr(p, mark))) {
		if (p == *at || p[-1] == '\n') {
			p += len;
			n = strcspn(p, "\r\n");
			if (n < MAX_WORD) {
				memcpy(word, p, n);
				word[n] = '\0';
				*at = p;
				return true;
			}
		}
		p += len;
	}
	return false;
}

/* Between the line of the mark alone and the one with the length. */
static uint8_t *take_batch(const char *begin, const char *mark, size_t *ret_len)
{
	const char *end = begin;
	char word[MAX_WORD], *stop;
	uint8_t *data;
	long n;

	if (!next_line(&end, mark, word) || word[0] != ' ')
		return NULL;
	*ret_len = strtoul(word + 1, &stop, 10);
	end -= strlen(mark);
	data = *stop ? NULL : malloc((size_t)(end - begin) + 1);
	n = data ? sbx_base64_get(data, begin, (size_t)(end - begin)) : -1;
	if (n >= 0 && (size_t)n == *ret_len)
		return data;
	free(data);
	return NULL;
}

enum exchange_said exchange_parse(const char *out, const char *mark,
				  struct exchange_upload *u, uint8_t **ret_data,
				  size_t *ret_len, struct sbx_error *reterr)
{
	const char *at = out;
	char word[MAX_WORD];

	if (!out || !next_line(&at, mark, word))
		return EXCHANGE_SAID_NOTHING;
	if (word[0] == ' ')
		return said_word(word + 1, u, reterr);
	if (word[0])
		return EXCHANGE_SAID_NOTHING;
	*ret_data = take_batch(at, mark, ret_len);
	return *ret_data ? EXCHANGE_SAID_BATCH : EXCHANGE_SAID_PART;
}
