/* client/conf: SOURCE, profiles, keys and where they are refused. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/conf_parts.h"
#include "client/service.h"
#include "tests/lib/unit.h"

static char dir[] = "/tmp/test_conf.XXXXXX";
static struct sbx_conf conf;
static struct sbx_error e;

static int fresh(void **state)
{
	static const char *const names[] = {"XGEN_API_KEY", "XGEN_TOKEN",
					    "SBXFS_API_KEY"};
	size_t i;

	for (i = 0; i < 3; i++)
		unsetenv(names[i]);
	setenv("HOME", dir, 1);
	unsetenv("XDG_CONFIG_HOME");
	unsetenv("XDG_DATA_HOME");
	sbx_conf_init(&conf);
	memset(&e, 0, sizeof(e));
	return 0;
}

static int done(void **state)
{
	sbx_conf_release(&conf);
	return 0;
}

static void put_file(const char *name, const char *text, mode_t mode)
{
	char path[200];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	unlink(path);
	f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
	chmod(path, mode);
}

static const char *path_of(const char *name)
{
	static char path[200];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return path;
}

static int parse(const char *source)
{
	sbx_conf_release(&conf);
	sbx_conf_init(&conf);
	return sbx_conf_parse_source(&conf, source, &e);
}

static void source_local(void **state)
{
	assert_int_equal(parse("local"), 0);
	assert_string_equal(conf.service, "local");
	assert_string_equal(conf.dir, path_of(".local/share/sbxfs"));
	assert_null(conf.only);
	setenv("XDG_DATA_HOME", "/data", 1);
	assert_int_equal(parse("local/demo"), 0);
	assert_string_equal(conf.dir, "/data/sbxfs");
	assert_string_equal(conf.only, "demo");
	assert_int_equal(parse("local:/srv/a/b"), 0);
	assert_string_equal(conf.dir, "/srv/a/b");
	assert_null(conf.only);
	assert_int_equal(parse("local:/srv/a//demo"), 0);
	assert_string_equal(conf.dir, "/srv/a");
	assert_string_equal(conf.only, "demo");
	assert_int_equal(parse("local:"), -EINVAL);
}

static void source_local_is_made_absolute(void **state)
{
	char cwd[200], want[220];

	assert_int_equal(parse("local:here"), 0);
	assert_non_null(getcwd(cwd, sizeof(cwd)));
	snprintf(want, sizeof(want), "%s/here", cwd);
	assert_string_equal(conf.dir, want);
}

static void source_url(void **state)
{
	assert_int_equal(parse("xgen+http://host:8080"), 0);
	assert_string_equal(conf.service, "xgen");
	assert_string_equal(conf.url, "http://host:8080");
	assert_null(conf.only);
	assert_int_equal(parse("xgen+https://a.b-c.example/12ab-3"), 0);
	assert_string_equal(conf.url, "https://a.b-c.example");
	assert_string_equal(conf.only, "12ab-3");
	assert_int_equal(parse("xgen+https://h/a.b/c/12ab-3"), 0);
	assert_string_equal(conf.url, "https://h/a.b/c");
	assert_string_equal(conf.only, "12ab-3");
	assert_int_equal(parse("xgen+https://h:80/gateway/"), 0);
	assert_string_equal(conf.url, "https://h:80/gateway");
	assert_null(conf.only);
	assert_int_equal(parse("xgen+http://[::1]:80/"), 0);
	assert_string_equal(conf.url, "http://[::1]:80");
	assert_null(conf.only);
}

static void source_mistakes(void **state)
{
	static const char *const wrong[] = {
		"",
		"xgen:",
		"xgen+",
		"xgen+ftp://h",
		"xgen+http://",
		"xgen+http://h:0",
		"xgen+http://h:65536",
		"xgen+http://h:80x",
		"xgen+http://key@h",
		"xgen+http://h/a//b",
		"xgen+http://h//",
		"xgen+http://h/../b",
		"xgen+http://h/a/./",
		"xgen+http://h/a?x/b",
		"xgen+http://h/a/..",
		"xgen+http://h/..",
		"xgen+http://h?x",
		"xgen+http://h\nX: y",
		"http://h",
		"nope+http://h",
		"local+http://h",
		"a b",
	};
	size_t i;

	for (i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		memset(&e, 0, sizeof(e));
		assert_int_equal(parse(wrong[i]), -EINVAL);
		assert_true(strlen(e.text) > 10);
		assert_null(strstr(e.text, "key@"));
	}
	assert_int_equal(parse("http://h"), -EINVAL);
	assert_non_null(strstr(e.text, "xgen+http://h"));
	assert_int_equal(parse("sftp://h"), -EINVAL);
	assert_non_null(strstr(e.text, "\"sftp\" is no service"));
}

static void profile_is_read(void **state)
{
	mkdir(path_of(".config"), 0700);
	mkdir(path_of(".config/sbxfs"), 0700);
	put_file(".config/sbxfs/config",
		 "[other]\nsource = local\n"
		 "[work]\nsource = xgen+http://h:1/box\ntimeout = 7\n"
		 "helper = off\nkey = from-profile\n",
		 0600);
	assert_int_equal(parse("work"), 0);
	assert_string_equal(conf.url, "http://h:1");
	assert_string_equal(conf.only, "box");
	assert_int_equal(conf.timeout_ms, 7000);
	assert_false(conf.helper);
	assert_int_equal(sbx_conf_find_key(&conf, NULL, &e), 0);
	assert_string_equal(sbx_secret_text(conf.key), "from-profile");
	assert_int_equal(parse("work/else"), 0);
	assert_string_equal(conf.only, "else");
	assert_int_equal(parse("nobody"), -ENOENT);
	assert_non_null(strstr(e.text, "nobody"));
}

static void profile_mistakes(void **state)
{
	static const char *const wrong[] = {
		"[work]\ntimeout = 5\n",
		"[work]\nsource = local\ntimeout = soon\n",
		"[work]\nsource = local\nsauce = x\n",
		"[work]\nsource = local\nnonsense\n",
		"[work]\nsource = work\n",
		"[work]\nsource = xgen+http://h\nkey = a b\n",
	};
	size_t i;

	for (i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		put_file(".config/sbxfs/config", wrong[i], 0600);
		assert_int_equal(parse("work"), -EINVAL);
	}
}

static void profile_with_a_key_must_be_private(void **state)
{
	put_file(".config/sbxfs/config",
		 "[work]\nsource = xgen+http://h\nkey = s3cret\n", 0644);
	assert_int_equal(parse("work"), -EACCES);
	assert_non_null(strstr(e.text, "chmod 600"));
	assert_null(strstr(e.text, "s3cret"));
	/* without one it may be read by anybody */
	put_file(".config/sbxfs/config", "[work]\nsource = local\n", 0644);
	assert_int_equal(parse("work"), 0);
}

static void profile_must_be_ones_own(void **state)
{
	char elsewhere[220];

	put_file(".config/sbxfs/config", "[work]\nsource = local\n", 0646);
	assert_int_equal(parse("work"), -EACCES);
	assert_non_null(strstr(e.text, "changed by everybody"));
	/* a group may read what is no secret, and change it, as umask 2 has
	 * it where each user is a group */
	put_file(".config/sbxfs/config", "[work]\nsource = local\n", 0664);
	assert_int_equal(parse("work"), 0);
	put_file(".config/sbxfs/config",
		 "[work]\nsource = xgen+http://h\nkey = s3cret\n", 0640);
	assert_int_equal(parse("work"), -EACCES);
	/* a link counts as what it leads to */
	snprintf(elsewhere, sizeof(elsewhere), "%s/elsewhere", dir);
	unlink(path_of(".config/sbxfs/config"));
	assert_int_equal(symlink(elsewhere, path_of(".config/sbxfs/config")),
			 0);
	put_file("elsewhere", "[work]\nsource = local\nkey = s3cret\n", 0600);
	assert_int_equal(parse("work"), 0);
	put_file("elsewhere", "[work]\nsource = local\nkey = s3cret\n", 0604);
	assert_int_equal(parse("work"), -EACCES);
	if (geteuid() == 0) { /* only root can give files away */
		put_file("elsewhere", "[work]\nsource = local\n", 0600);
		assert_int_equal(chown(elsewhere, 12345, 12345), 0);
		assert_int_equal(parse("work"), -EACCES);
		assert_non_null(strstr(e.text, "another user"));
	}
	unlink(elsewhere);
	unlink(path_of(".config/sbxfs/config"));
}

/* Who adds a service adds it here and there. */
static void each_service_can_be_named(void **state)
{
	const struct sbx_conf_service *s;
	char source[64], none[sizeof(e.text)];
	size_t i;

	assert_int_equal(parse("none+http://h"), -EINVAL);
	strcpy(none, e.text);
	for (i = 0; (s = sbx_conf_service_nth(i)); i++) {
		assert_non_null(sbx_service_find(s->word));
		assert_non_null(strstr(none, s->word));
	}
	assert_null(sbx_service_nth(i));
	for (i = 0; (s = sbx_conf_service_nth(i)); i++) {
		snprintf(source, sizeof(source), "%s+http://h", s->word);
		if (strcmp(s->word, "local") != 0)
			assert_int_equal(parse(source), 0);
	}
}

static int sources(const char *source, char ***ret)
{
	memset(&e, 0, sizeof(e));
	*ret = NULL;
	return sbx_conf_parse_sources(source, ret, &e);
}

static void sources_of_several(void **state)
{
	char **names;

	put_file(".config/sbxfs/config",
		 "[all]\nsources = work, local\n  third\n"
		 "[work]\nsource = local\n[third]\nsource = local\n"
		 "[round]\nsources = all\n",
		 0600);
	assert_int_equal(sources("all", &names), 0);
	assert_string_equal(names[0], "work");
	assert_string_equal(names[1], "local");
	assert_string_equal(names[2], "third");
	assert_null(names[3]);
	sbx_conf_names_free(names);
	/* one service, whatever it says */
	assert_int_equal(sources("work", &names), 0);
	assert_null(names);
	assert_int_equal(sources("local", &names), 0);
	assert_null(names);
	assert_int_equal(sources("xgen+http://h", &names), 0);
	assert_null(names);
	assert_int_equal(sources("all/work", &names), 0);
	assert_null(names);
	assert_int_equal(parse("all/work"), -EINVAL);
	assert_non_null(strstr(e.text, "several services"));
	assert_int_equal(sources("nobody", &names), -ENOENT);
	/* a profile may be called like a service */
	assert_int_equal(sources("xgen", &names), -ENOENT);
	assert_non_null(strstr(e.text, "xgen+http://HOST:PORT"));
	put_file(".config/sbxfs/config",
		 "[xgen]\nsource = xgen+http://h\n[vtrix]\nsources = xgen\n",
		 0600);
	assert_int_equal(parse("xgen"), 0);
	assert_int_equal(sources("vtrix", &names), 0);
	assert_string_equal(names[0], "xgen");
	sbx_conf_names_free(names);
	sbx_conf_names_free(NULL);
}

static void sources_mistakes(void **state)
{
	static const char *const wrong[][2] = {
		{"sources = all", "names itself"},
		{"sources = a, b, a", "twice"},
		{"sources = a/b", "names of other profiles"},
		{"sources = ..", "names of other profiles"},
		{"sources = .sbxfs", "names of other profiles"},
		{"sources = a\nsource = local", "nothing else"},
		{"sources = a\nkey = x", "nothing else"},
		{"sources =", "no source"},
		{"sources = a b c d e f g h i j k l m n o p q r s t u v w x y "
		 "z\nsources = 1 2 3 4 5 6 7",
		 "more than 32"},
	};
	char text[400], **names;

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		snprintf(text, sizeof(text), "[all]\n%s\n", wrong[i][0]);
		put_file(".config/sbxfs/config", text, 0600);
		assert_int_equal(sources("all", &names), -EINVAL);
		assert_non_null(strstr(e.text, wrong[i][1]));
		assert_null(names);
	}
}

static void key_from_the_environment_is_taken_out_of_it(void **state)
{
	char kept[] = "XGEN_API_KEY=abc";

	assert_int_equal(parse("xgen+http://h"), 0);
	putenv(kept);
	setenv("SBXFS_API_KEY", "general", 1);
	assert_int_equal(sbx_conf_find_key(&conf, NULL, &e), 0);
	sbx_conf_wipe_environment();
	assert_string_equal(sbx_secret_text(conf.key), "abc");
	assert_null(getenv("XGEN_API_KEY"));
	assert_null(getenv("SBXFS_API_KEY"));
	assert_string_equal(kept, "XGEN_API_KEY=");
}

static void key_order(void **state)
{
	assert_int_equal(parse("xgen+http://h"), 0);
	setenv("XGEN_TOKEN", "tok", 1);
	setenv("SBXFS_API_KEY", "general", 1);
	assert_int_equal(sbx_conf_find_key(&conf, NULL, &e), 0);
	assert_null(conf.key);
	assert_string_equal(sbx_secret_text(conf.token), "tok");

	assert_int_equal(parse("xgen+http://h"), 0);
	setenv("SBXFS_API_KEY", "general", 1);
	put_file("key", "  filed\n", 0600);
	assert_int_equal(sbx_conf_find_key(&conf, path_of("key"), &e), 0);
	assert_string_equal(sbx_secret_text(conf.key), "filed");
}

static void key_of_one_of_several_is_its_own(void **state)
{
	put_file(".config/sbxfs/config",
		 "[work]\nsource = xgen+http://h\nkey = own\n"
		 "[other]\nsource = xgen+http://h\n",
		 0600);
	setenv("XGEN_API_KEY", "everywhere", 1);
	assert_int_equal(parse("work"), 0);
	conf.own_key_first = true;
	assert_int_equal(sbx_conf_find_key(&conf, NULL, &e), 0);
	assert_string_equal(sbx_secret_text(conf.key), "own");
	assert_int_equal(parse("other"), 0);
	conf.own_key_first = true;
	assert_int_equal(sbx_conf_find_key(&conf, NULL, &e), 0);
	assert_string_equal(sbx_secret_text(conf.key), "everywhere");
}

static void key_mistakes(void **state)
{
	assert_int_equal(parse("xgen+http://h"), 0);
	assert_int_equal(sbx_conf_find_key(&conf, NULL, &e), -ENOKEY);
	assert_non_null(strstr(e.text, "XGEN_API_KEY"));
	put_file("key", "x", 0640);
	assert_int_equal(sbx_conf_find_key(&conf, path_of("key"), &e), -EACCES);
	put_file("key", "a\r\nX-Header: y", 0600);
	assert_int_equal(sbx_conf_find_key(&conf, path_of("key"), &e), -EINVAL);
	put_file("key", " \n", 0600);
	assert_int_equal(sbx_conf_find_key(&conf, path_of("key"), &e), -EINVAL);
	assert_int_equal(sbx_conf_find_key(&conf, path_of("none"), &e),
			 -ENOENT);
	assert_int_equal(sbx_conf_find_key(&conf, dir, &e), -EISDIR);
	assert_non_null(strstr(e.text, "is a folder"));
	assert_int_equal(sbx_conf_find_key(&conf, "/dev/null", &e), -EINVAL);
	assert_non_null(strstr(e.text, "no regular file"));
	put_file("key", "x", 0602);
	assert_int_equal(sbx_conf_find_key(&conf, path_of("key"), &e), -EACCES);
	assert_non_null(strstr(e.text, "changed by everybody"));
	assert_int_equal(parse("local"), 0);
	assert_int_equal(sbx_conf_find_key(&conf, NULL, &e), 0);
}

static void secret_is_bounded(void **state)
{
	static char big[5000];
	struct sbx_secret *s = sbx_secret_new("abc", 3);

	assert_string_equal(sbx_secret_text(s), "abc");
	assert_null(sbx_secret_free(s));
	assert_null(sbx_secret_free(NULL));
	assert_string_equal(sbx_secret_text(NULL), "");
	assert_null(sbx_secret_new(big, sizeof(big)));
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fresh, done)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(source_local),
		TEST(source_local_is_made_absolute),
		TEST(source_url),
		TEST(source_mistakes),
		TEST(each_service_can_be_named),
		TEST(profile_is_read),
		TEST(profile_mistakes),
		TEST(profile_with_a_key_must_be_private),
		TEST(key_from_the_environment_is_taken_out_of_it),
		TEST(key_order),
		TEST(key_of_one_of_several_is_its_own),
		TEST(profile_must_be_ones_own),
		TEST(sources_of_several),
		TEST(sources_mistakes),
		TEST(key_mistakes),
		TEST(secret_is_bounded),
	};
	char command[100];
	int r;

	if (!mkdtemp(dir))
		return 1;
	r = cmocka_run_group_tests(tests, NULL, NULL);
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	return system(command) ? 1 : r;
}
