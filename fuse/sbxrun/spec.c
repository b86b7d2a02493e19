/*
 * The command as the JSON object that jobs/new wants.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuse/sbxrun/sbxrun.h"

/* The bytes of the UTF-8 character at s; 0: it is none. */
static size_t utf8_length(const unsigned char *s)
{
	size_t n = s[0] < 0x80	 ? 1
		   : s[0] < 0xc2 ? 0
		   : s[0] < 0xe0 ? 2
		   : s[0] < 0xf0 ? 3
		   : s[0] < 0xf5 ? 4
				 : 0;

	for (size_t i = 1; i < n; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
	    (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
		return 0; /* too long, a surrogate, beyond the last */
	return n;
}

static void put_string(FILE *to, const char *text, size_t len)
{
	const unsigned char *s = (const unsigned char *)text;
	const unsigned char *end = s + len;

	putc('"', to);
	while (s < end) {
		size_t n = utf8_length(s);

		if (!n || n > (size_t)(end - s))
			run_fail("\"%s\" is not UTF-8", text);
		if (*s < 0x20 || *s == 0x7f)
			fprintf(to, "\\u%04x", *s);
		else if (*s == '"' || *s == '\\')
			fprintf(to, "\\%c", *s);
		else
			fwrite(s, 1, n, to);
		s += n;
	}
	putc('"', to);
}

static void put_env(FILE *to, const struct run_options *o)
{
	const char *comma = "";

	fputs(", \"env\": {", to);
	for (size_t i = 0; i < o->nr_env; i++) {
		const char *pair = o->env[i], *eq = strchr(pair, '=');
		bool again = false;

		/* the last one of a name counts */
		for (size_t j = i + 1; j < o->nr_env; j++)
			if (!strncmp(o->env[j], pair, (size_t)(eq + 1 - pair)))
				again = true;
		if (again)
			continue;
		fputs(comma, to);
		put_string(to, pair, (size_t)(eq - pair));
		fputs(": ", to);
		put_string(to, eq + 1, strlen(eq + 1));
		comma = ", ";
	}
	putc('}', to);
}

static void put_tty(FILE *to)
{
	unsigned int cols, rows;

	term_size(&cols, &rows);
	fputs(", \"tty\": true", to);
	if (cols && rows)
		fprintf(to, ", \"cols\": %u, \"rows\": %u", cols, rows);
}

char *spec_text(const struct run_options *o, const char *cwd)
{
	char *text = NULL;
	size_t len;
	FILE *to = open_memstream(&text, &len);

	if (!to)
		run_fail("out of memory");
	fputs("{\"argv\": [", to);
	for (char **arg = o->argv; *arg; arg++) {
		if (arg != o->argv)
			fputs(", ", to);
		put_string(to, *arg, strlen(*arg));
	}
	putc(']', to);
	if (*cwd) {
		fputs(", \"cwd\": ", to);
		put_string(to, cwd, strlen(cwd));
	}
	if (o->user) {
		fputs(", \"user\": ", to);
		put_string(to, o->user, strlen(o->user));
	}
	if (o->nr_env)
		put_env(to, o);
	if (o->tty)
		put_tty(to);
	else if (!o->no_input)
		fputs(", \"stdin\": true", to);
	if (o->merge)
		fputs(", \"merge\": true", to);
	fputs("}\n", to);
	if (fclose(to) != 0)
		run_fail("out of memory");
	return text;
}
