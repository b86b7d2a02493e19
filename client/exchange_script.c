/*
 * What is run in the sandbox by an exchange, and what that prints.  Every
 * line of ours begins with a mark of that run, so that whatever else is
 * printed does no harm.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/exchange_int.h"
#include "client/sh.h"
#include "client/wire/base64.h"

#define MAX_WORD 200

/*
 * The folders that may hold the helper, outside the workspace, which may be
 * versioned.  Each is made private and must be ours; it is used if a program
 * may run from it (/tmp may be noexec).  Who has a UID is bash, and need not
 * start a program for it before each exchange.
 */
static const char folders[] =
	"u=${UID:-$(id -u)}\n"
	"d1=${TMPDIR:-/tmp}/sbxfs-$u d2=/var/tmp/sbxfs-$u\n"
	"d3=${XDG_CACHE_HOME:-${HOME:-/nonexistent}/.cache}/sbxfs\n";

static const char call_script[] =
	"for d in \"$d1\" \"$d2\" \"$d3\"; do\n"
	"  has \"$d\" && "
	"exec \"$d/helper-$s\" \"$1\" --batch \"$2\" \"$3\" \"$4\" \"$k\"\n"
	"done\n"
	"lacks && exit 0\n"
	"n=0\n"
	"for d in \"$d1\" \"$d2\" \"$d3\"; do\n"
	"  n=$((n + 1))\n"
	"  case $d/ in \"$PWD\"/*) continue;; esac\n"
	"  fits \"$d\" && { echo \"$k need $m $n $g\"; exit 0; }\n"
	"done\n"
	"echo \"$k room\"\n";

/* $1 to $4, $k: what both scripts use. */
static void put_words(struct sbx_buf *b, const struct exchange_call *c)
{
	sbx_sh_printf(b, "set -- %s %u %u %zu\nk=%s\n", c->session, c->wait_ms,
		      c->park_ms, c->max_bytes, c->mark);
	sbx_sh_put(b, folders);
}

void exchange_put_call(struct sbx_buf *b, const struct exchange_call *c)
{
	put_words(b, c);
	if (c->old_pid)
		sbx_sh_printf(b,
			      "case $(readlink /proc/%u/exe) in */helper-*) "
			      "kill %u;; esac 2>/dev/null\n",
			      c->old_pid, c->old_pid);
	sbx_plant_put_seek(b);
	sbx_sh_put(b, call_script);
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
	const struct sbx_plant *p = &u->plant;
	size_t n = p->size - p->sent < piece ? p->size - p->sent : piece;

	put_words(b, c);
	sbx_sh_printf(b, "input() { cat; }\nd=$d%u x=$1\n", u->folder);
	sbx_plant_put_piece(b, p);
	sbx_buf_add(b, "", 1);
	put_base64(input, p->data + p->sent, n);
}

/* ---- what they print ---- */

static enum exchange_said said_need(const char *words,
				    struct exchange_upload *u,
				    struct sbx_error *reterr)
{
	char machine[33], tool[9];
	unsigned int folder;

	if (sscanf(words, "%32s %u %8s", machine, &folder, tool) != 3 ||
	    folder < 1 || folder > 3)
		return EXCHANGE_SAID_NOTHING;
	if (!sbx_plant_choose(&u->plant, machine, tool)) {
		sbx_plant_no_machine(machine, reterr);
		return EXCHANGE_SAID_IMPOSSIBLE;
	}
	u->folder = folder;
	u->plant.rounds++;
	return EXCHANGE_SAID_NEED;
}

static enum exchange_said said_word(const char *words,
				    struct exchange_upload *u,
				    struct sbx_error *reterr)
{
	if (!strncmp(words, "need ", 5))
		return said_need(words + 5, u, reterr);
	if (!strncmp(words, "have ", 5)) /* of what was brought only */
		return u->plant.blob ? EXCHANGE_SAID_DONE
				     : EXCHANGE_SAID_NOTHING;
	if (!strncmp(words, "got ", 4))
		return u->plant.blob && sbx_plant_got(&u->plant, words + 4)
			       ? EXCHANGE_SAID_GOT
			       : EXCHANGE_SAID_NOTHING;
	if (!strncmp(words, "bad ", 4) && sbx_plant_again(&u->plant))
		return EXCHANGE_SAID_GOT;
	return sbx_plant_why(words, reterr) ? EXCHANGE_SAID_IMPOSSIBLE
					    : EXCHANGE_SAID_NOTHING;
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
