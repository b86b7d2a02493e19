/*
 * What a command of the user's is as text of shell: see exchange_jobs.c.  No
 * input or output.
 */
#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "client/exchange_int.h"
#include "client/sh.h"
#include "client/wire/base64.h"

#define KILL_AFTER 2 /* seconds after TERM, of what has a timeout */

int exchange_exec_parse(struct exchange_exec *e, struct sbx_rd *rd)
{
	*e = (struct exchange_exec){.argv = sbx_get_array(rd)};
	e->cwd = sbx_get_bin(rd, &e->cwd_len);
	e->env = sbx_get_map(rd);
	e->flags = sbx_get_u32(rd);
	sbx_get_u32(rd); /* columns */
	sbx_get_u32(rd); /* rows */
	e->credit = sbx_get_u32(rd);
	e->timeout_ms = rd->left ? sbx_get_u32(rd) : 0;
	if (rd->err || e->argv.err || e->env.err || !e->argv.left)
		return -EINVAL;
	return e->flags & SBX_EXEC_TTY ? -EOPNOTSUPP : 0;
}

static bool is_word(const uint8_t *data, size_t len, const char *word)
{
	return data && len == strlen(word) && !memcmp(data, word, len);
}

/* "sh -c TEXT" and nothing else is TEXT, as the user wrote it. */
static bool put_plain_text(struct sbx_buf *b, struct sbx_rd argv)
{
	const uint8_t *data;
	size_t len;

	if (argv.left != 3)
		return false;
	data = sbx_get_bin(&argv, &len);
	if (!is_word(data, len, "sh") && !is_word(data, len, "/bin/sh"))
		return false;
	data = sbx_get_bin(&argv, &len);
	if (!is_word(data, len, "-c"))
		return false;
	data = sbx_get_bin(&argv, &len);
	if (argv.err || !len || memchr(data, 0, len))
		return false;
	while (len && data[len - 1] == '\n')
		len--;
	sbx_buf_add(b, data, len);
	return true;
}

static bool is_bare(const uint8_t *data, size_t len)
{
	size_t i = 0;

	while (i < len &&
	       (isalnum(data[i]) || (data[i] && strchr("-_./:=@%+,", data[i]))))
		i++;
	return len && i == len;
}

/* With a space in front, and in quotes if it needs them: people read it. */
static void put_word(struct sbx_buf *b, const uint8_t *data, size_t len)
{
	sbx_sh_put(b, " ");
	if (is_bare(data, len))
		sbx_buf_add(b, data, len);
	else
		sbx_sh_quote_bytes(b, data, len);
}

static void put_env(struct sbx_buf *b, struct sbx_rd env)
{
	const uint8_t *data;
	uint8_t one[4096];
	size_t len, n;

	while (env.left >= 2 && !env.err && !b->err) {
		data = sbx_get_bin(&env, &n);
		if (!n || n >= sizeof(one) || memchr(data, '=', n)) {
			b->err = -EINVAL;
			return;
		}
		memcpy(one, data, n);
		one[n++] = '=';
		data = sbx_get_bin(&env, &len);
		if (len > sizeof(one) - n) {
			b->err = -E2BIG;
			return;
		}
		if (len)
			memcpy(one + n, data, len);
		put_word(b, one, n + len);
	}
}

/* env(1) says why it cannot run a program.  One that it would take for a
 * variable is run by one more shell. */
static void put_env_program(struct sbx_buf *b, const struct exchange_exec *e)
{
	struct sbx_rd argv = e->argv;
	const uint8_t *program;
	size_t len;

	sbx_sh_put(b, " env --");
	put_env(b, e->env);
	program = sbx_get_bin(&argv, &len);
	if (len && memchr(program, '=', len))
		sbx_sh_put(b, " sh -c 'exec \"$@\"' sh");
}

static void put_words(struct sbx_buf *b, const struct exchange_exec *e)
{
	const char *merged = e->flags & SBX_EXEC_MERGE ? " 2>&1" : "";
	struct sbx_rd argv = e->argv;
	const uint8_t *data;
	size_t len;

	if (e->cwd_len) {
		sbx_sh_put(b, "cd --");
		put_word(b, e->cwd, e->cwd_len);
		sbx_sh_printf(b, "%s || exit 127; ", merged);
	}
	sbx_sh_put(b, "exec");
	if (e->timeout_ms)
		sbx_sh_printf(b, " timeout -k %d %u.%03u", KILL_AFTER,
			      e->timeout_ms / 1000, e->timeout_ms % 1000);
	put_env_program(b, e);
	while (argv.left && !argv.err) {
		data = sbx_get_bin(&argv, &len);
		put_word(b, data, len);
	}
	sbx_sh_put(b, merged);
}

static int command_err(const struct sbx_buf *b)
{
	return b->err == -EMSGSIZE ? -E2BIG : b->err;
}

int exchange_command_put(struct sbx_buf *b, const struct exchange_exec *e)
{
	bool plain = !e->cwd_len && !e->env.left && !e->timeout_ms &&
		     !(e->flags & SBX_EXEC_MERGE);

	if (!plain || !put_plain_text(b, e->argv))
		put_words(b, e);
	sbx_buf_add(b, "", 1);
	return command_err(b);
}

/* The input goes before the text, so that the record still ends with it. */
int exchange_command_feed(struct sbx_buf *b, const struct sbx_buf *input)
{
	size_t len = sbx_buf_len(input);
	struct sbx_buf with;
	uint8_t *room;
	int r;

	/* part of it would be another input */
	if (input->err || !len)
		return command_err(input);
	sbx_buf_init(&with, b->max);
	sbx_sh_put(&with, "printf %s '");
	room = sbx_buf_room(&with, SBX_BASE64_LEN(len));
	if (room) {
		sbx_base64_put((char *)room, sbx_buf_at(input), len);
		sbx_buf_added(&with, SBX_BASE64_LEN(len));
	}
	sbx_sh_put(&with, "' | base64 -d | {\n");
	sbx_buf_add(&with, sbx_buf_at(b), sbx_buf_len(b) - 1);
	sbx_buf_add(&with, "\n}", 3);
	r = command_err(&with);
	if (r < 0) {
		sbx_buf_release(&with);
		return r;
	}
	sbx_buf_release(b);
	*b = with;
	return 0;
}
