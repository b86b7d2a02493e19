/*
 * The command line: see opts.h.  libfuse's option parser splits "-o a,b=c"
 * and finds the row; each row has a function that takes the value.
 */
#include "fuse/opts.h"

#include <errno.h>
#include <fuse_opt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/service.h"
#include "fuse/limits.h"

#define MAX_ROWS    64
#define TIMEOUT_MAX 86400

struct parse {
	struct sfs_opts *opts;
	struct sbx_error *error;
	int nr_words; /* arguments that are no options */
};

struct row {
	const char *match; /* as for fuse_opt; a value follows "=" */
	const char *value; /* what to call it in --help; NULL: has none */
	const char *help;  /* NULL: accepted, not shown */
	int (*take)(struct parse *p, const struct row *row, const char *value);
};

/* ---- what rows do ---- */

static int opts_string(struct parse *p, char **to, const char *value)
{
	char *copy = strdup(value);

	if (!copy)
		return sbx_error_set(p->error, -ENOMEM, "out of memory");
	free(*to);
	*to = copy;
	return 0;
}

static int opts_number(struct parse *p, const struct row *row,
		       const char *value, int base, unsigned long min,
		       unsigned long max, unsigned long *ret)
{
	char *end;

	errno = 0;
	*ret = strtoul(value, &end, base);
	if (!errno && end != value && !*end && value[0] != '-' && *ret >= min &&
	    *ret <= max)
		return 0;
	return sbx_error_set(p->error, -EINVAL,
			     base == 8 ? "option %s needs an octal number "
					 "from %lo to %lo"
				       : "option %s needs a number from %lu to "
					 "%lu",
			     row->match, min, max);
}

/* handed to the kernel as it is */
static int take_kernel(struct parse *p, const struct row *row, const char *v)
{
	char option[512];

	snprintf(option, sizeof(option), "%s%s", row->match, v ? v : "");
	if (fuse_opt_add_opt_escaped(&p->opts->kernel, option) < 0)
		return sbx_error_set(p->error, -ENOMEM, "out of memory");
	return 0;
}

static int take_nothing(struct parse *p, const struct row *row, const char *v)
{
	return 0;
}

static int take_foreground(struct parse *p, const struct row *row,
			   const char *v)
{
	p->opts->foreground = true;
	return 0;
}

static int take_debug(struct parse *p, const struct row *row, const char *v)
{
	p->opts->foreground = true;
	p->opts->log_level = SBX_LOG_DEBUG;
	return 0;
}

static int take_help(struct parse *p, const struct row *row, const char *v)
{
	p->opts->help = true;
	return 0;
}

static int take_version(struct parse *p, const struct row *row, const char *v)
{
	p->opts->version = true;
	return 0;
}

static int take_ro(struct parse *p, const struct row *row, const char *v)
{
	p->opts->read_only = true;
	return take_kernel(p, row, v);
}

static int take_rw(struct parse *p, const struct row *row, const char *v)
{
	if (p->opts->read_only)
		return sbx_error_set(p->error, -EINVAL,
				     "options ro and rw contradict each "
				     "other");
	return 0;
}

static int take_suid(struct parse *p, const struct row *row, const char *v)
{
	p->opts->suid = true;
	return 0;
}

static int take_dev(struct parse *p, const struct row *row, const char *v)
{
	p->opts->dev = true;
	return 0;
}

static int take_uid(struct parse *p, const struct row *row, const char *v)
{
	unsigned long n;
	int r = opts_number(p, row, v, 10, 0, (uid_t)-2, &n);

	if (r == 0)
		p->opts->uid = (uid_t)n;
	return r;
}

static int take_gid(struct parse *p, const struct row *row, const char *v)
{
	unsigned long n;
	int r = opts_number(p, row, v, 10, 0, (gid_t)-2, &n);

	if (r == 0)
		p->opts->gid = (gid_t)n;
	return r;
}

static int take_umask(struct parse *p, const struct row *row, const char *v)
{
	unsigned long n;
	int r = opts_number(p, row, v, 8, 0, 0777, &n);

	if (r == 0)
		p->opts->umask = (mode_t)n;
	return r;
}

static int take_fsname(struct parse *p, const struct row *row, const char *v)
{
	return opts_string(p, &p->opts->fsname, v);
}

static int take_subtype(struct parse *p, const struct row *row, const char *v)
{
	return opts_string(p, &p->opts->subtype, v);
}

static int take_timeout(struct parse *p, const struct row *row, const char *v)
{
	unsigned long n;
	int r = opts_number(p, row, v, 10, 1, TIMEOUT_MAX, &n);

	if (r == 0)
		p->opts->timeout_ms = (unsigned int)n * 1000;
	return r;
}

static int take_keyfile(struct parse *p, const struct row *row, const char *v)
{
	return opts_string(p, &p->opts->keyfile, v);
}

/* never repeats the value: this text may end in a log */
static int take_secret(struct parse *p, const struct row *row, const char *v)
{
	return sbx_error_set(p->error, -EINVAL,
			     "a key on the command line can be seen by "
			     "everyone: put it into a file for keyfile=FILE "
			     "or into the environment as SBXFS_API_KEY");
}

static int take_helper(struct parse *p, const struct row *row, const char *v)
{
	p->opts->plain = !strcmp(v, "off");
	p->opts->helper = !strcmp(v, "on");
	if (p->opts->plain || p->opts->helper)
		return 0;
	return sbx_error_set(p->error, -EINVAL,
			     "option helper= is either on or off");
}

static int take_protect(struct parse *p, const struct row *row, const char *v)
{
	p->opts->protect = true;
	return 0;
}

static int take_cache(struct parse *p, const struct row *row, const char *v)
{
	static const char units[] = "KMGT";
	const char *unit;
	char *end;

	errno = 0;
	p->opts->cache = strtoul(v, &end, 10);
	unit = *end ? strchr(units, *end) : NULL;
	if (!errno && end != v && v[0] != '-' && (!*end || (unit && !end[1])) &&
	    p->opts->cache <= SFS_CACHE_MAX) {
		if (unit)
			p->opts->cache <<= 10 * (unit - units + 1);
		if (p->opts->cache >= SFS_CACHE_MIN &&
		    p->opts->cache <= SFS_CACHE_MAX)
			return 0;
	}
	return sbx_error_set(p->error, -EINVAL,
			     "option cache= needs a size from 1M to 1T, such "
			     "as 256M");
}

static int take_locks(struct parse *p, const struct row *row, const char *v)
{
	p->opts->local_locks = !strcmp(v, "local");
	if (p->opts->local_locks || !strcmp(v, "shared"))
		return 0;
	return sbx_error_set(p->error, -EINVAL,
			     "option locks= is either shared or local");
}

static int take_follow(struct parse *p, const struct row *row, const char *v)
{
	p->opts->follow_inside = !strcmp(v, "inside");
	if (p->opts->follow_inside || !strcmp(v, "off"))
		return 0;
	return sbx_error_set(p->error, -EINVAL,
			     "option follow= is either inside or off");
}

static int take_keepalive(struct parse *p, const struct row *row, const char *v)
{
	p->opts->keepalive = true;
	return 0;
}

static int take_nonempty(struct parse *p, const struct row *row, const char *v)
{
	p->opts->nonempty = true;
	return 0;
}

static int take_agent(struct parse *p, const struct row *row, const char *v)
{
	return opts_string(p, &p->opts->agent, v);
}

/* words separated by white space; given again, they add up */
static int take_agent_args(struct parse *p, const struct row *row,
			   const char *v)
{
	size_t n = 0;

	while (p->opts->agent_args && p->opts->agent_args[n])
		n++;
	for (v += strspn(v, " \t"); *v; v += strspn(v, " \t")) {
		size_t len = strcspn(v, " \t");
		char **args =
			realloc(p->opts->agent_args, (n + 2) * sizeof(*args));

		if (!args)
			return sbx_error_set(p->error, -ENOMEM,
					     "out of memory");
		p->opts->agent_args = args;
		args[n] = strndup(v, len);
		args[n + 1] = NULL;
		if (!args[n++])
			return sbx_error_set(p->error, -ENOMEM,
					     "out of memory");
		v += len;
	}
	return 0;
}

static int take_log(struct parse *p, const struct row *row, const char *v)
{
	static const char *const names[] = {
		[SBX_LOG_ERROR] = "error",
		[SBX_LOG_WARNING] = "warning",
		[SBX_LOG_INFO] = "info",
		[SBX_LOG_DEBUG] = "debug",
	};

	for (int i = SBX_LOG_ERROR; i <= SBX_LOG_DEBUG; i++) {
		if (strcmp(v, names[i]))
			continue;
		p->opts->log_level = (enum sbx_log_level)i;
		return 0;
	}
	return sbx_error_set(p->error, -EINVAL,
			     "option loglevel= is one of error, warning, info "
			     "and debug");
}

/* ---- the table ---- */

static const struct row rows[] = {
	{"-h", NULL, "print this help; also --help", take_help},
	{"--help", NULL, NULL, take_help},
	{"-V", NULL, "print the version; also --version", take_version},
	{"--version", NULL, NULL, take_version},
	{"-f", NULL, "stay in the foreground, log to standard error",
	 take_foreground},
	{"-d", NULL, "as -f, with debug messages; also --debug", take_debug},
	{"--debug", NULL, NULL, take_debug},
	{"debug", NULL, NULL, take_debug},
	{"-s", NULL, "accepted for compatibility: one thread is the rule",
	 take_nothing},
	{"ro", NULL, "read-only", take_ro},
	{"rw", NULL, NULL, take_rw},
	{"timeout=", "SECONDS",
	 "longest wait for an answer or a lost connection (30)", take_timeout},
	{"keyfile=", "FILE", "file with the service's key", take_keyfile},
	{"protect", NULL, "rmdir does not destroy sandboxes", take_protect},
	{"cache=", "SIZE", "memory for names and attributes (256M)",
	 take_cache},
	{"locks=", "shared|local",
	 "local: locks do not reach the sandbox (shared)", take_locks},
	{"follow=", "inside|off",
	 "inside: absolute symbolic links lead into root/ (off)", take_follow},
	{"keepalive", NULL, "keep alive what is in use", take_keepalive},
	{"helper=", "on|off", "off: plain mode, no helper is used (on)",
	 take_helper},
	{"agent=", "PROGRAM", "local: the agent to start", take_agent},
	{"agent_args=", "ARGS", "local: more arguments for it",
	 take_agent_args},
	{"loglevel=", "LEVEL", "error, warning, info (default) or debug",
	 take_log},
	{"allow_other", NULL, "other users may use the mount", take_kernel},
	{"allow_root", NULL, "root may use the mount", take_kernel},
	{"auto_unmount", NULL, "unmount even after a crash", take_kernel},
	{"default_permissions", NULL, "always on: the kernel checks modes",
	 take_nothing},
	{"uid=", "N", "show files of the sandbox's user as this user's (you)",
	 take_uid},
	{"gid=", "N", "the same for the group", take_gid},
	{"umask=", "OCTAL", "take these bits from all modes", take_umask},
	{"fsname=", "NAME", "name in the mount table (SOURCE)", take_fsname},
	{"subtype=", "NAME", "type in the mount table (sbxfs)", take_subtype},
	{"nonempty", NULL, "mount over a folder that is not empty",
	 take_nonempty},
	{"allow_suid", NULL, "honour set-user-id bits (root only)", take_suid},
	{"allow_dev", NULL, "honour device files (root only)", take_dev},
	/* mount(8) hands in suid and dev for root although nobody asked */
	{"suid", NULL, NULL, take_nothing},
	{"nosuid", NULL, NULL, take_nothing},
	{"dev", NULL, NULL, take_nothing},
	{"nodev", NULL, NULL, take_nothing},
	{"noexec", NULL, "no programs run from the mount", take_kernel},
	{"exec", NULL, NULL, take_nothing},
	{"noatime", NULL, NULL, take_kernel},
	{"nodiratime", NULL, NULL, take_nothing},
	{"relatime", NULL, NULL, take_nothing},
	{"sync", NULL, NULL, take_kernel},
	{"dirsync", NULL, NULL, take_kernel},
	{"async", NULL, NULL, take_nothing},
	/* words of fstab(5) that are meant for mount(8) */
	{"defaults", NULL, NULL, take_nothing},
	{"auto", NULL, NULL, take_nothing},
	{"noauto", NULL, NULL, take_nothing},
	{"user", NULL, NULL, take_nothing},
	{"users", NULL, NULL, take_nothing},
	{"nouser", NULL, NULL, take_nothing},
	{"nofail", NULL, NULL, take_nothing},
	{"_netdev", NULL, NULL, take_nothing},
	{"user=", NULL, NULL, take_nothing},
	/* refused with a reason */
	{"key=", NULL, NULL, take_secret},
	{"apikey=", NULL, NULL, take_secret},
	{"api_key=", NULL, NULL, take_secret},
	{"token=", NULL, NULL, take_secret},
	{"password=", NULL, NULL, take_secret},
};
#define NR_ROWS (sizeof(rows) / sizeof(rows[0]))
_Static_assert(NR_ROWS < MAX_ROWS, "the table of templates is too small");

static size_t row_format(const struct row *row, char *dst, size_t size)
{
	int n = snprintf(dst, size, "%s%s%s", row->match[0] == '-' ? "" : "-o ",
			 row->match, row->value ? row->value : "");

	return n < 0 ? 0 : (size_t)n;
}

const char *sfs_opts_nth(size_t n)
{
	static char text[64];

	for (size_t i = 0; i < NR_ROWS; i++) {
		if (!rows[i].help || n-- > 0)
			continue;
		row_format(&rows[i], text, sizeof(text));
		return text;
	}
	return NULL;
}

static void help_services(FILE *f)
{
	const struct sbx_service_type *t;
	bool told = false;

	for (size_t i = 0; (t = sbx_service_nth(i)); i++) {
		if (!strcmp(t->name, "local"))
			continue;
		fprintf(f, "  %s+http://HOST:PORT%s\n", t->name,
			told ? "" : "       a service (+https likewise)");
		told = true;
	}
}

void sfs_opts_help(FILE *f)
{
	char left[64];

	fputs("usage: sbxfs [options] SOURCE MOUNTPOINT\n"
	      "\n"
	      "Mounts the code sandboxes of a service as folders.  SOURCE is\n"
	      "\n"
	      "  local, local:DIR            sandboxes on this machine, kept "
	      "below DIR\n",
	      f);
	help_services(f);
	fputs("  NAME                        a profile of "
	      "~/.config/sbxfs/config,\n"
	      "                              of one service or several\n"
	      "\n"
	      "and any of them with /ID at the end (local:DIR//ID) for one "
	      "sandbox only.\n"
	      "Keys come from the environment or a file: see sbxfs(1).\n"
	      "\n"
	      "Options:\n",
	      f);
	for (size_t i = 0; i < NR_ROWS; i++) {
		if (!rows[i].help)
			continue;
		row_format(&rows[i], left, sizeof(left));
		fprintf(f, "  %-26s  %s\n", left, rows[i].help);
	}
	fputs("\nUnmount with: fusermount3 -u MOUNTPOINT\n", f);
}

/* ---- parsing ---- */

static int take_word(struct parse *p, const char *word)
{
	switch (p->nr_words++) {
	case 0:
		return opts_string(p, &p->opts->source, word);
	case 1:
		return opts_string(p, &p->opts->mountpoint, word);
	default:
		return sbx_error_set(p->error, -EINVAL,
				     "one argument too many: \"%.80s\" (try "
				     "sbxfs --help)",
				     word);
	}
}

/* words for others that mount(8) may hand on */
static bool is_for_others(const char *option)
{
	return !strncmp(option, "x-", 2) || !strncmp(option, "X-", 2) ||
	       !strncmp(option, "comment=", 8);
}

static int on_option(void *data, const char *arg, int key,
		     struct fuse_args *outargs)
{
	struct parse *p = data;
	const char *eq;
	int r;

	if (key == FUSE_OPT_KEY_NONOPT) {
		r = take_word(p, arg);
	} else if (key == FUSE_OPT_KEY_OPT) {
		/* only the name: there may be a secret behind it */
		r = is_for_others(arg)
			    ? 0
			    : sbx_error_set(p->error, -EINVAL,
					    "there is no option \"%.*s\" (try "
					    "sbxfs --help)",
					    (int)strcspn(arg, "="), arg);
	} else {
		eq = strchr(arg, '=');
		r = rows[key].take(p, &rows[key], eq ? eq + 1 : NULL);
	}
	return r < 0 ? -1 : 0;
}

static int opts_check(const struct sfs_opts *opts, struct sbx_error *reterr)
{
	if (opts->help || opts->version)
		return 0;
	if (!opts->source)
		return sbx_error_set(reterr, -EINVAL,
				     "SOURCE and MOUNTPOINT are missing (try "
				     "sbxfs --help)");
	if (!opts->mountpoint)
		return sbx_error_set(reterr, -EINVAL,
				     "MOUNTPOINT is missing (try sbxfs "
				     "--help)");
	return 0;
}

int sfs_opts_parse(struct sfs_opts *opts, int argc, char *argv[],
		   struct sbx_error *reterr)
{
	struct fuse_args args = FUSE_ARGS_INIT(argc, argv);
	struct fuse_opt templates[MAX_ROWS] = {0};
	struct parse p = {.opts = opts, .error = reterr};
	int r;

	*opts = (struct sfs_opts){
		.uid = getuid(),
		.gid = getgid(),
		.umask = (mode_t)-1,
		.cache = SFS_CACHE_DEFAULT,
		.log_level = SBX_LOG_INFO,
	};
	for (size_t i = 0; i < NR_ROWS; i++)
		templates[i] =
			(struct fuse_opt)FUSE_OPT_KEY(rows[i].match, (int)i);
	*reterr = (struct sbx_error){0};
	r = fuse_opt_parse(&args, &p, templates, on_option);
	fuse_opt_free_args(&args);
	if (r < 0 && !reterr->err) /* it has said so itself */
		return sbx_error_set(reterr, -EINVAL,
				     "the command line cannot be understood "
				     "(try sbxfs --help)");
	return r < 0 ? reterr->err : opts_check(opts, reterr);
}

void sfs_opts_release(struct sfs_opts *opts)
{
	for (size_t i = 0; opts->agent_args && opts->agent_args[i]; i++)
		free(opts->agent_args[i]);
	free(opts->agent_args);
	free(opts->source);
	free(opts->mountpoint);
	free(opts->fsname);
	free(opts->subtype);
	free(opts->keyfile);
	free(opts->agent);
	free(opts->kernel);
	*opts = (struct sfs_opts){0};
}
