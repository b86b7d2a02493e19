/*
 * .sbxfs/: the mount itself.
 */
#include "fuse/ctl_file.h"
#include "fuse/text.h"

static void version_load(struct ctl_file *f)
{
	sfs_text_printf(&f->text, "sbxfs %s\n", SBX_VERSION);
	ctl_file_loaded(f, NULL);
}

static void put(struct sbx_buf *to, const char *key, const char *value)
{
	if (value)
		sfs_text_printf(to, "%s: %s\n", key, value);
}

/* Whether there are secrets, never what they are. */
static const char *credentials(const struct sbx_conf *conf)
{
	return conf->key ? "key" : conf->token ? "token" : "none";
}

static void config_load(struct ctl_file *f)
{
	const struct sfs_mount *m = f->node->m;
	struct sbx_buf *to = &f->text;

	put(to, "source", m->opts->source);
	put(to, "mountpoint", m->path);
	put(to, "service", m->conf.service);
	put(to, "url", m->conf.url);
	put(to, "dir", m->conf.dir);
	put(to, "only", m->conf.only);
	put(to, "credentials", credentials(&m->conf));
	put(to, "agent", m->conf.agent);
	sfs_text_printf(to, "timeout_s: %u\n", m->fs.timeout_ms / 1000);
	put(to, "helper", m->conf.helper ? "on" : "off");
	put(to, "read_only", m->fs.read_only ? "yes" : "no");
	put(to, "locks", m->fs.local_locks ? "local" : "shared");
	put(to, "protect", m->opts->protect ? "yes" : "no");
	sfs_text_printf(to, "uid: %u\n", (unsigned int)m->fs.uid);
	sfs_text_printf(to, "gid: %u\n", (unsigned int)m->fs.gid);
	if (m->fs.umask != (mode_t)-1)
		sfs_text_printf(to, "umask: %04o\n", (unsigned int)m->fs.umask);
	put(to, "kernel_options", m->opts->kernel);
	ctl_file_loaded(f, NULL);
}

static void errors_load(struct ctl_file *f)
{
	sfs_errlog_print(&f->node->m->errors, &f->text);
	ctl_file_loaded(f, NULL);
}

static const struct ctl_file_type version_file = {.load = version_load};
static const struct ctl_file_type config_file = {.load = config_load};
static const struct ctl_file_type errors_file = {.load = errors_load};

static const struct ctl_type version = {
	.name = "version",
	.mode = S_IFREG | 0400,
	.ops = &ctl_file_ops,
	.file = &version_file,
};
static const struct ctl_type config = {
	.name = "config",
	.mode = S_IFREG | 0400,
	.ops = &ctl_file_ops,
	.file = &config_file,
};
static const struct ctl_type errors = {
	.name = "errors",
	.mode = S_IFREG | 0400,
	.ops = &ctl_file_ops,
	.file = &errors_file,
};

static const struct ctl_type *const mount_children[] = {
	&version,
	&config,
	&errors,
	NULL,
};

const struct ctl_type ctl_mount = {
	.name = ".sbxfs",
	.mode = S_IFDIR | 0755,
	.ops = &ctl_dir_ops,
	.children = mount_children,
};
