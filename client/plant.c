#include "client/plant.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/sh.h"

static const char seek_script[] =
	"[ -n \"$s\" ] || { echo \"$k machine $m\"; exit 0; }\n"
	"has() { [ -O \"$1\" ] && [ ! -L \"$1\" ] && "
	"[ -x \"$1/helper-$s\" ]; }\n"
	"lacks() {\n"
	"  umask 077\n" /* not before: commands inherit it */
	"  for i in base64 wc id mkdir chmod mv rm; do\n"
	"    command -v $i >/dev/null || { echo \"$k lacks $i\"; return; }\n"
	"  done\n"
	"  false\n"
	"}\n"
	"fits() {\n"
	"  mkdir -p \"$1\" 2>/dev/null && [ ! -L \"$1\" ] && [ -O \"$1\" ] && "
	"chmod 700 \"$1\" || return\n"
	"  t=$1/try-$k r=\n"
	"  { printf '#!/bin/sh\\n' >\"$t\" && chmod 700 \"$t\" && \"$t\" && "
	"r=y; } 2>/dev/null\n"
	"  rm -f \"$t\"\n"
	"  g=-\n"
	"  command -v gzip >/dev/null && g=gzip\n"
	"  [ -n \"$r\" ]\n"
	"}\n";

/* $t: what has come so far, $o of $a bytes. */
static const char piece_script[] =
	"umask 077\n"
	"f=$d/helper-$s t=$d/new-$x\n"
	"[ ! -x \"$f\" ] || { rm -f \"$t\"; echo \"$k have $f\"; exit 0; }\n"
	"[ $o -gt 0 ] || : >\"$t\"\n"
	"[ \"$(wc -c <\"$t\")\" -eq $o ] && input | base64 -d >>\"$t\"\n"
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
	/* the same, sent before by a run that was lost and went on */
	"[ ! -x \"$f\" ] || { echo \"$k have $f\"; exit 0; }\n"
	"echo \"$k bad $w\"\n";

/* ---- writing ---- */

void sbx_plant_put_seek(struct sbx_buf *b)
{
	const struct sbx_helper_blob *blob;

	/* bash knows the machine without starting a program */
	sbx_sh_put(b, "m=${HOSTTYPE-} s=\npick() {\ncase $m in\n");
	for (blob = sbx_helper_blobs; blob->machine; blob++)
		sbx_sh_printf(b, "%s) s=%s;;\n", blob->machine, blob->sha256);
	sbx_sh_put(b, "esac\n}\npick\n"
		      "[ -n \"$s\" ] || { m=$(uname -m); pick; }\n");
	sbx_sh_put(b, seek_script);
}

void sbx_plant_put_piece(struct sbx_buf *b, const struct sbx_plant *p)
{
	sbx_sh_printf(b, "s=%s o=%zu a=%zu b=%zu z='%s'\n", p->blob->sha256,
		      p->sent, p->size, p->blob->size,
		      p->gz ? "gzip -dc" : "cat");
	sbx_sh_put(b, piece_script);
}

/* ---- reading ---- */

const struct sbx_helper_blob *sbx_plant_blob(const char *machine)
{
	const struct sbx_helper_blob *b = sbx_helper_blobs;

	while (b->machine && strcmp(b->machine, machine) != 0)
		b++;
	return b->machine ? b : NULL;
}

bool sbx_plant_choose(struct sbx_plant *p, const char *machine,
		      const char *tool)
{
	const struct sbx_helper_blob *b = sbx_plant_blob(machine);

	if (!b)
		return false;
	p->blob = b;
	p->gz = !strcmp(tool, "gzip");
	p->data = p->gz ? b->gz : b->data;
	p->size = p->gz ? b->gz_size : b->size;
	p->sent = 0;
	return true;
}

bool sbx_plant_again(struct sbx_plant *p)
{
	if (!p->blob || p->rounds >= SBX_PLANT_ROUNDS)
		return false;
	p->rounds++;
	p->sent = 0;
	return true;
}

bool sbx_plant_got(struct sbx_plant *p, const char *number)
{
	size_t got = strtoul(number, NULL, 10);

	if (got > p->size)
		return sbx_plant_again(p);
	if (got <= p->sent)
		p->rounds++; /* it did not grow */
	p->sent = got;
	return true;
}

static int why(struct sbx_error *e, const char *before, const char *word,
	       const char *after)
{
	return sbx_error_set(e, -EOPNOTSUPP, "the sandbox %s%.32s%s", before,
			     word, after);
}

int sbx_plant_no_machine(const char *machine, struct sbx_error *reterr)
{
	return why(reterr, "is a ", machine,
		   " machine, and this sbxfs has no helper for it");
}

int sbx_plant_why(const char *words, struct sbx_error *reterr)
{
	char word[33];

	if (sscanf(words, "machine %32s", word) == 1)
		return sbx_plant_no_machine(word, reterr);
	if (sscanf(words, "lacks %32s", word) == 1)
		return why(reterr, "lacks ", word,
			   ", which the helper needs to get there");
	if (sscanf(words, "bad %32s", word) == 1)
		return why(reterr, "did not store the helper (", word,
			   "); is its disk full?");
	if (!strcmp(words, "room"))
		return why(reterr, "", "",
			   "has no folder from which its user may run a "
			   "program (tried ~/.cache, /tmp and /var/tmp)");
	return 0;
}
