/* See args.h.  Used by the pod to build bubblewrap's command line. */
#include "tests/agent/args.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void args_take(struct agent_args *a, char *text)
{
	if (a->nr + 2 > a->room) {
		size_t room = a->room ? a->room * 2 : 64;
		char **v = realloc(a->v, room * sizeof(*v));

		if (v) {
			a->v = v;
			a->room = room;
		}
	}
	if (!text || a->nr + 2 > a->room) {
		a->failed = true;
		free(text);
		return;
	}
	a->v[a->nr++] = text;
	a->v[a->nr] = NULL;
}

void agent_args_add(struct agent_args *a, const char *text)
{
	args_take(a, strdup(text));
}

void agent_args_addf(struct agent_args *a, const char *format, ...)
{
	char *text = NULL;
	va_list ap;

	va_start(ap, format);
	if (vasprintf(&text, format, ap) < 0)
		text = NULL;
	va_end(ap);
	args_take(a, text);
}

void agent_args_add_all(struct agent_args *a, ...)
{
	const char *text;
	va_list ap;

	va_start(ap, a);
	while ((text = va_arg(ap, const char *)))
		agent_args_add(a, text);
	va_end(ap);
}

void agent_args_release(struct agent_args *a)
{
	for (size_t i = 0; i < a->nr; i++)
		free(a->v[i]);
	free(a->v);
	*a = (struct agent_args){0};
}
