/*
 * The command line: what is taken, what is refused and how, and that --help
 * and the manual page know every option of the table.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/service.h"
#include "fuse/opts.h"
#include "tests/unit/wire_test.h"

/* words separated by '|' */
static int parse(struct sfs_opts *o, const char *line, struct sbx_error *e)
{
	static char text[1024];
	char *argv[32], *save = NULL;
	int argc = 0;

	snprintf(text, sizeof(text), "sbxfs|%s", line);
	for (char *w = strtok_r(text, "|", &save); w;
	     w = strtok_r(NULL, "|", &save))
		argv[argc++] = w;
	argv[argc] = NULL;
	return sfs_opts_parse(o, argc, argv, e);
}

static void refused(const char *line, const char *word)
{
	struct sfs_opts o;
	struct sbx_error e;

	assert_int_equal(parse(&o, line, &e), -EINVAL);
	assert_non_null(strstr(e.text, word));
	assert_null(strchr(e.text, '\n'));
	sfs_opts_release(&o);
}

static void test_plain(void **state)
{
	struct sfs_opts o;
	struct sbx_error e;

	assert_int_equal(parse(&o, "local:/x|/mnt", &e), 0);
	assert_string_equal(o.source, "local:/x");
	assert_string_equal(o.mountpoint, "/mnt");
	assert_false(o.foreground);
	assert_false(o.read_only);
	assert_int_equal(o.umask, (mode_t)-1);
	assert_int_equal(o.timeout_ms, 0);
	assert_null(o.kernel);
	sfs_opts_release(&o);
}

static void test_all_values(void **state)
{
	struct sfs_opts o;
	struct sbx_error e;

	assert_int_equal(
		parse(&o,
		      "-f|-s|xgen+http://h:1|/m|-o|ro,allow_other,uid=7,gid=8,"
		      "umask=027,timeout=5,protect,nonempty|-oagent=/a,"
		      "agent_args=--x  --y=1,fsname=n,subtype=t,keyfile=/k",
		      &e),
		0);
	assert_true(o.foreground && o.read_only && o.protect && o.nonempty);
	assert_int_equal(o.uid, 7);
	assert_int_equal(o.gid, 8);
	assert_int_equal(o.umask, 027);
	assert_int_equal(o.timeout_ms, 5000);
	assert_string_equal(o.agent, "/a");
	assert_string_equal(o.agent_args[0], "--x");
	assert_string_equal(o.agent_args[1], "--y=1");
	assert_null(o.agent_args[2]);
	assert_string_equal(o.kernel, "ro,allow_other");
	assert_string_equal(o.fsname, "n");
	assert_string_equal(o.subtype, "t");
	assert_string_equal(o.keyfile, "/k");
	sfs_opts_release(&o);
}

static void test_words_of_mount(void **state)
{
	struct sfs_opts o;
	struct sbx_error e;

	assert_int_equal(
		parse(&o,
		      "local|/m|-o|rw,nosuid,nodev,noauto,user,_netdev,"
		      "x-systemd.automount,relatime,nofail,dev,suid",
		      &e),
		0);
	assert_false(o.dev || o.suid);
	assert_null(o.kernel);
	sfs_opts_release(&o);
	assert_int_equal(parse(&o, "local|/m|-o|allow_suid,allow_dev", &e), 0);
	assert_true(o.dev && o.suid);
	sfs_opts_release(&o);
}

static void test_debug_is_foreground(void **state)
{
	struct sfs_opts o;
	struct sbx_error e;

	assert_int_equal(parse(&o, "-d|local|/m", &e), 0);
	assert_true(o.foreground);
	assert_int_equal(o.log_level, SBX_LOG_DEBUG);
	sfs_opts_release(&o);
	assert_int_equal(parse(&o, "local|/m|-o|loglevel=warning", &e), 0);
	assert_int_equal(o.log_level, SBX_LOG_WARNING);
	sfs_opts_release(&o);
}

static void test_help_needs_nothing_else(void **state)
{
	struct sfs_opts o;
	struct sbx_error e;

	assert_int_equal(parse(&o, "--help", &e), 0);
	assert_true(o.help);
	sfs_opts_release(&o);
	assert_int_equal(parse(&o, "-V", &e), 0);
	assert_true(o.version);
	sfs_opts_release(&o);
}

static void test_refused(void **state)
{
	refused("local|/m|-o|nonsense", "nonsense");
	refused("local|/m|--nonsense", "--nonsense");
	refused("local|/m|-o|ro,nonsense=secret", "nonsense");
	refused("", "SOURCE");
	refused("local", "MOUNTPOINT");
	refused("local|/m|third", "third");
	refused("local|/m|-o|timeout=0", "timeout= needs a number from 1 to");
	refused("local|/m|-o|timeout=abc", "timeout= needs a number from 1 to");
	refused("local|/m|-o|timeout=-1", "timeout");
	refused("local|/m|-o|timeout=", "timeout");
	refused("local|/m|-o|uid=99999999999", "uid");
	refused("local|/m|-o|umask=8", "umask");
	refused("local|/m|-o|umask=1777", "umask");
	refused("local|/m|-o|helper=maybe", "on or off");
	refused("local|/m|-o|loglevel=loud", "loglevel");
	refused("local|/m|-o|ro,rw", "contradict");
}

static void test_secrets_are_refused_and_not_repeated(void **state)
{
	static const char *const lines[] = {
		"local|/m|-o|key=hush", "local|/m|-o|token=hush",
		"local|/m|-o|api_key=hush", "local|/m|-o|secret=hush"};

	for (size_t i = 0; i < 4; i++) {
		struct sfs_opts o;
		struct sbx_error e;

		assert_int_equal(parse(&o, lines[i], &e), -EINVAL);
		assert_null(strstr(e.text, "hush"));
		sfs_opts_release(&o);
	}
	refused("local|/m|-o|key=hush", "keyfile");
}

static void read_help(char *dst, size_t size)
{
	FILE *f = fmemopen(dst, size, "w");

	assert_non_null(f);
	sfs_opts_help(f);
	fclose(f);
}

static void test_help_shows_every_option(void **state)
{
	char help[8192];
	const char *o;

	read_help(help, sizeof(help));
	for (size_t i = 0; (o = sfs_opts_nth(i)); i++)
		if (!strstr(help, o))
			fail_msg("--help does not show %s", o);
}

/* mdoc's spelling of "-o timeout=SECONDS" and of "-f" */
static void to_mdoc(char *dst, size_t size, const char *o)
{
	size_t name = strcspn(o + 3, "=");

	if (strncmp(o, "-o ", 3))
		snprintf(dst, size, "Fl %s", o + 1);
	else if (o[3 + name])
		snprintf(dst, size, "Fl o Cm %.*s= Ns Ar %s", (int)name, o + 3,
			 o + 4 + name);
	else
		snprintf(dst, size, "Fl o Cm %s", o + 3);
}

static void test_manual_page_shows_every_option_and_service(void **state)
{
	const struct sbx_service_type *t;
	const char *path = getenv("SBXFS_MAN_PAGE");
	char page[131072], want[128];
	const char *o;
	size_t n;
	FILE *f;

	if (!path)
		skip();
	f = fopen(path, "r");
	assert_non_null(f);
	n = fread(page, 1, sizeof(page) - 1, f);
	fclose(f);
	page[n] = 0;
	for (size_t i = 0; (o = sfs_opts_nth(i)); i++) {
		to_mdoc(want, sizeof(want), o);
		if (!strstr(page, want))
			fail_msg("the manual page does not show %s", o);
	}
	for (size_t i = 0; (t = sbx_service_nth(i)); i++) {
		snprintf(want, sizeof(want), ".It Cm %s%s", t->name,
			 strcmp(t->name, "local") ? "+http" : " ,");
		if (!strstr(page, want))
			fail_msg("the manual page does not show %s", t->name);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_plain),
		cmocka_unit_test(test_all_values),
		cmocka_unit_test(test_words_of_mount),
		cmocka_unit_test(test_debug_is_foreground),
		cmocka_unit_test(test_help_needs_nothing_else),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_secrets_are_refused_and_not_repeated),
		cmocka_unit_test(test_help_shows_every_option),
		cmocka_unit_test(
			test_manual_page_shows_every_option_and_service),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
