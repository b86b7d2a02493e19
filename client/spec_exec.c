/*
 * Text written into "exec": see spec.h.
 */
#include <ctype.h>
#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/spec.h"
#include "client/wire/proto.h"

/*
 * The kernel takes no single argument above 128 KiB.  A longer script goes to
 * the shell's input, which it reads to the end before it starts, so that the
 * commands in it find their input empty as always.
 */
#define ARGUMENT_MAX (120 * 1024)
#define MAX_ARGS     65536
#define MAX_ENV	     1024

#define SPEC_NO_MEMORY "out of memory"
#define SPEC_ZERO_BYTE "exec: a command cannot hold a zero byte"

void sbx_exec_spec_release(struct sbx_exec_spec *spec)
{
	for (size_t i = 0; spec->argv && spec->argv[i]; i++)
		free(spec->argv[i]);
	for (size_t i = 0; spec->env && spec->env[i]; i++)
		free(spec->env[i]);
	free(spec->argv);
	free(spec->env);
	free(spec->cwd);
	free(spec->user);
	free(spec->input);
	free(spec->text);
	*spec = (struct sbx_exec_spec){0};
}

static int spec_set_shell(struct sbx_exec_spec *spec, const char *script,
			  size_t len, struct sbx_error *reterr)
{
	bool is_long = len > ARGUMENT_MAX;

	if (is_long && (spec->flags & SBX_EXEC_STDIN))
		return sbx_error_set(reterr, -E2BIG,
				     "a command of more than %d KiB cannot "
				     "have input, too: put it into a file",
				     ARGUMENT_MAX / 1024);
	spec->argv = calloc(4, sizeof(*spec->argv));
	spec->text = strndup(script, len);
	if (!spec->argv || !spec->text)
		return sbx_error_set(reterr, -ENOMEM, SPEC_NO_MEMORY);
	spec->argv[0] = strdup("/bin/sh");
	spec->argv[1] = strdup("-c");
	spec->argv[2] =
		is_long ? strdup("eval \"$(cat)\"") : strndup(script, len);
	if (is_long) {
		spec->input = strndup(script, len);
		spec->input_len = len;
		spec->flags |= SBX_EXEC_STDIN;
	}
	if (!spec->argv[0] || !spec->argv[1] || !spec->argv[2] ||
	    (is_long && !spec->input))
		return sbx_error_set(reterr, -ENOMEM, SPEC_NO_MEMORY);
	return 0;
}

static int spec_bad(struct sbx_error *reterr, const char *key, const char *want)
{
	return sbx_error_set(reterr, -EINVAL, "exec: \"%s\" must be %s", key,
			     want);
}

static int spec_check_count(const char *key, size_t n, size_t max,
			    struct sbx_error *reterr)
{
	return n <= max
		       ? 0
		       : sbx_error_set(reterr, -E2BIG,
				       "exec: \"%s\" has more than %zu members",
				       key, max);
}

/* a string value as C string; jansson refuses NUL in strings by itself */
static int spec_string(char **ret, const char *key, json_t *v,
		       struct sbx_error *reterr)
{
	if (!json_is_string(v))
		return spec_bad(reterr, key, "a string");
	*ret = strdup(json_string_value(v));
	return *ret ? 0 : sbx_error_set(reterr, -ENOMEM, SPEC_NO_MEMORY);
}

static int spec_argv(struct sbx_exec_spec *spec, json_t *v,
		     struct sbx_error *reterr)
{
	size_t i, n = json_array_size(v);
	size_t total = 0;
	char *end;

	if (!json_is_array(v) || n == 0)
		return spec_bad(reterr, "argv", "a list of strings");
	if (spec_check_count("argv", n, MAX_ARGS, reterr) < 0)
		return reterr->err;
	spec->argv = calloc(n + 1, sizeof(*spec->argv));
	if (!spec->argv)
		return sbx_error_set(reterr, -ENOMEM, SPEC_NO_MEMORY);
	for (i = 0; i < n; i++) {
		json_t *arg = json_array_get(v, i);
		int r = spec_string(&spec->argv[i], "argv", arg, reterr);

		if (r < 0)
			return r;
		if (strlen(spec->argv[i]) > ARGUMENT_MAX)
			return sbx_error_set(reterr, -E2BIG,
					     "exec: an argument is longer "
					     "than %d KiB",
					     ARGUMENT_MAX / 1024);
		total += strlen(spec->argv[i]) + 1;
	}
	spec->text = calloc(1, total + 1);
	if (!spec->text)
		return sbx_error_set(reterr, -ENOMEM, SPEC_NO_MEMORY);
	for (i = 0, end = spec->text; i < n; i++) {
		if (i)
			*end++ = ' ';
		end = stpcpy(end, spec->argv[i]);
	}
	return 0;
}

static int spec_env(struct sbx_exec_spec *spec, json_t *v,
		    struct sbx_error *reterr)
{
	size_t i = 0;
	const char *key;
	json_t *value;

	if (!json_is_object(v))
		return spec_bad(reterr, "env", "an object of strings");
	if (spec_check_count("env", json_object_size(v), MAX_ENV, reterr) < 0)
		return reterr->err;
	spec->env = calloc(json_object_size(v) + 1, sizeof(*spec->env));
	if (!spec->env)
		return sbx_error_set(reterr, -ENOMEM, SPEC_NO_MEMORY);
	json_object_foreach(v, key, value)
	{
		const char *s = json_string_value(value);
		size_t size;

		if (!s || !*key || strchr(key, '='))
			return spec_bad(reterr, "env", "an object of strings");
		size = strlen(key) + strlen(s) + 2;
		if (size > ARGUMENT_MAX)
			return sbx_error_set(reterr, -E2BIG,
					     "exec: a variable is longer than "
					     "%d KiB",
					     ARGUMENT_MAX / 1024);
		spec->env[i] = malloc(size);
		if (!spec->env[i])
			return sbx_error_set(reterr, -ENOMEM, SPEC_NO_MEMORY);
		stpcpy(stpcpy(stpcpy(spec->env[i++], key), "="), s);
	}
	return 0;
}

static int spec_input(struct sbx_exec_spec *spec, json_t *v,
		      struct sbx_error *reterr)
{
	int r = 0;

	if (json_is_false(v))
		return 0;
	spec->flags |= SBX_EXEC_STDIN;
	if (json_is_true(v))
		return 0; /* it is to come */
	if (!json_is_string(v))
		return spec_bad(reterr, "stdin", "text, true or false");
	r = spec_string(&spec->input, "stdin", v, reterr);
	if (r == 0)
		spec->input_len = strlen(spec->input);
	return r;
}

static int spec_size(unsigned int *ret, const char *key, json_t *v,
		     struct sbx_error *reterr)
{
	json_int_t n = json_integer_value(v);

	if (!json_is_integer(v) || n < 1 || n > UINT16_MAX)
		return spec_bad(reterr, key, "a number from 1 to 65535");
	*ret = (unsigned int)n;
	return 0;
}

static int spec_timeout(struct sbx_exec_spec *spec, json_t *v,
			struct sbx_error *reterr)
{
	json_int_t ms = json_integer_value(v);

	if (!json_is_integer(v) || ms < 0 || ms > INT32_MAX)
		return spec_bad(reterr, "timeout_ms",
				"a number of milliseconds");
	spec->timeout_ms = (unsigned int)ms;
	return 0;
}

static int spec_user(struct sbx_exec_spec *spec, json_t *v,
		     struct sbx_error *reterr)
{
	char uid[24];

	if (!json_is_integer(v))
		return spec_string(&spec->user, "user", v, reterr);
	snprintf(uid, sizeof(uid), "%lld", (long long)json_integer_value(v));
	spec->user = strdup(uid);
	return spec->user ? 0 : sbx_error_set(reterr, -ENOMEM, SPEC_NO_MEMORY);
}

static int spec_flag(struct sbx_exec_spec *spec, unsigned int flag,
		     const char *key, json_t *v, struct sbx_error *reterr)
{
	if (!json_is_boolean(v))
		return spec_bad(reterr, key, "true or false");
	if (json_is_true(v))
		spec->flags |= flag;
	return 0;
}

static int spec_take(struct sbx_exec_spec *spec, const char *key, json_t *v,
		     struct sbx_error *reterr)
{
	if (!strcmp(key, "command"))
		return 0; /* last, when it is known whether there is input */
	if (!strcmp(key, "argv"))
		return spec_argv(spec, v, reterr);
	if (!strcmp(key, "cwd"))
		return spec_string(&spec->cwd, key, v, reterr);
	if (!strcmp(key, "env"))
		return spec_env(spec, v, reterr);
	if (!strcmp(key, "stdin"))
		return spec_input(spec, v, reterr);
	if (!strcmp(key, "timeout_ms"))
		return spec_timeout(spec, v, reterr);
	if (!strcmp(key, "user"))
		return spec_user(spec, v, reterr);
	if (!strcmp(key, "cols"))
		return spec_size(&spec->cols, key, v, reterr);
	if (!strcmp(key, "rows"))
		return spec_size(&spec->rows, key, v, reterr);
	if (!strcmp(key, "tty"))
		return spec_flag(spec, SBX_EXEC_TTY, key, v, reterr);
	if (!strcmp(key, "merge"))
		return spec_flag(spec, SBX_EXEC_MERGE, key, v, reterr);
	return sbx_error_set(reterr, -EINVAL, "exec: there is no option \"%s\"",
			     key);
}

static int spec_from_json(struct sbx_exec_spec *spec, json_t *root,
			  struct sbx_error *reterr)
{
	json_t *command = json_object_get(root, "command");
	json_t *argv = json_object_get(root, "argv");
	const char *key;
	json_t *v;

	json_object_foreach(root, key, v)
	{
		int r = spec_take(spec, key, v, reterr);

		if (r < 0)
			return r;
	}
	if (!command == !argv)
		return sbx_error_set(reterr, -EINVAL,
				     "exec: give either \"command\" or "
				     "\"argv\"");
	if (argv)
		return 0;
	if (!json_is_string(command))
		return spec_bad(reterr, "command", "a string");
	return spec_set_shell(spec, json_string_value(command),
			      json_string_length(command), reterr);
}

/*
 * A brace may also begin a shell's group command, which has white space
 * behind it.  So what follows the brace at once must be JSON; else it is
 * JSON if it can be read as such.
 */
static bool spec_must_be_json(const char *text, size_t len)
{
	return len >= 2 && text[0] == '{' && !isspace((unsigned char)text[1]);
}

static int spec_try_json(struct sbx_exec_spec *spec, const char *text,
			 size_t len, bool *ret_is_json,
			 struct sbx_error *reterr)
{
	json_error_t e;
	json_t *root;
	int r;

	*ret_is_json = false;
	if (!len || text[0] != '{')
		return 0;
	root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &e);
	if (!root && !spec_must_be_json(text, len))
		return 0;
	*ret_is_json = spec->is_object = true;
	if (!root)
		return sbx_error_set(reterr, -EINVAL,
				     "exec: not a JSON object: %s (line %d)",
				     e.text, e.line);
	r = spec_from_json(spec, root, reterr);
	json_decref(root);
	return r;
}

static int spec_parse(struct sbx_exec_spec *spec, const char *text, size_t len,
		      struct sbx_error *reterr)
{
	size_t blank = 0;
	bool is_json;
	int r;

	if (len > SBX_SPEC_EXEC_MAX)
		return sbx_error_set(reterr, -E2BIG,
				     "exec: a command may have 1 MiB at most");
	while (blank < len && isspace((unsigned char)text[blank]))
		blank++;
	if (blank == len)
		return sbx_error_set(reterr, -EINVAL,
				     "exec: there is no command in what was "
				     "written");
	if (memchr(text, 0, len))
		return sbx_error_set(reterr, -EINVAL, SPEC_ZERO_BYTE);
	r = spec_try_json(spec, text + blank, len - blank, &is_json, reterr);
	if (r < 0 || is_json)
		return r;
	return spec_set_shell(spec, text, len, reterr);
}

int sbx_exec_spec_parse(struct sbx_exec_spec *ret, const char *text, size_t len,
			struct sbx_error *reterr)
{
	struct sbx_exec_spec spec = {0};
	int r = spec_parse(&spec, text, len, reterr);

	if (r < 0)
		sbx_exec_spec_release(&spec);
	*ret = spec;
	return r;
}

/* ---- while it is being written ---- */

bool sbx_object_scan_byte(struct sbx_object_scan *scan, char c)
{
	if (scan->escaped) {
		scan->escaped = false;
	} else if (scan->in_string) {
		scan->escaped = c == '\\';
		scan->in_string = c != '"';
	} else if (c == '"') {
		scan->in_string = true;
	} else if (c == '{' || c == '[') {
		scan->depth++;
	} else if ((c == '}' || c == ']') && scan->depth) {
		return --scan->depth == 0;
	}
	return false;
}

static int scan_check(struct sbx_exec_scan *scan, const char *text, size_t len,
		      struct sbx_error *reterr)
{
	struct sbx_exec_spec spec;
	int r = sbx_exec_spec_parse(&spec, text, len, reterr);

	scan->complete = r == 0 && spec.is_object;
	scan->tty = scan->complete && spec.flags & SBX_EXEC_TTY;
	snprintf(scan->user, sizeof(scan->user), "%s",
		 spec.user ? spec.user : "");
	sbx_exec_spec_release(&spec);
	return r;
}

/* True: it was the brace's turn, and c cannot follow it. */
static bool scan_begin(struct sbx_exec_scan *scan, char c)
{
	bool is_space = isspace((unsigned char)c);

	if (scan->opened) {
		scan->opened = false;
		return !is_space && c != '"' && c != '}';
	}
	if (!scan->began && !is_space) {
		scan->began = true;
		scan->is_json = scan->opened = c == '{';
	}
	return false;
}

int sbx_exec_scan(struct sbx_exec_scan *scan, const char *text, size_t len,
		  struct sbx_error *reterr)
{
	bool check = false;

	if (memchr(text + scan->at, 0, len - scan->at))
		return sbx_error_set(reterr, -EINVAL, SPEC_ZERO_BYTE);
	for (; scan->at < len; scan->at++) {
		char c = text[scan->at];

		if (scan_begin(scan, c))
			return sbx_error_set(reterr, -EINVAL,
					     "exec: not a JSON object: a name "
					     "in quotes is wanted after {");
		if (!scan->is_json || isspace((unsigned char)c))
			continue;
		/* complete, or something behind what was */
		check = sbx_object_scan_byte(&scan->object, c) ||
			!scan->object.depth;
	}
	return check ? scan_check(scan, text, len, reterr) : 0;
}
