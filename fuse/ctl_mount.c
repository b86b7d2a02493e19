/*
 * .sbxfs/: the mount itself.
 */
#include "fuse/ctl_file.h"
#include "fuse/ctl_log.h"
#include "fuse/ctl_stats.h"
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

static void put_place(struct sbx_buf *to, const struct sfs_place *p)
{
	const struct sbx_conf *conf = &p->conf;

	if (p->name)
		sfs_text_printf(to, "[%s]\n", p->name);
	put(to, "service", conf->service);
	put(to, "url", conf->url);
	put(to, "dir", conf->dir);
	put(to, "only", conf->only);
	put(to, "credentials", credentials(conf));
	put(to, "agent", conf->agent);
	sfs_text_printf(to, "timeout_s: %u\n", conf->timeout_ms / 1000);
	put(to, "helper", conf->helper ? "on" : "off");
}

static void config_load(struct ctl_file *f)
{
	const struct sfs_mount *m = f->node->m;
	const struct sfs_place *p;
	struct sbx_buf *to = &f->text;

	put(to, "source", m->opts->source);
	put(to, "mountpoint", m->path);
	sfs_text_printf(to, "cache: %zu\n", m->fs.cache_max);
	put(to, "read_only", m->fs.read_only ? "yes" : "no");
	put(to, "locks", m->fs.local_locks ? "local" : "shared");
	put(to, "follow", m->fs.follow_inside ? "inside" : "off");
	put(to, "protect", m->opts->protect ? "yes" : "no");
	put(to, "keepalive", m->opts->keepalive ? "yes" : "no");
	sfs_text_printf(to, "uid: %u\n", (unsigned int)m->fs.uid);
	sfs_text_printf(to, "gid: %u\n", (unsigned int)m->fs.gid);
	if (m->fs.umask != (mode_t)-1)
		sfs_text_printf(to, "umask: %04o\n", (unsigned int)m->fs.umask);
	put(to, "kernel_options", m->opts->kernel);
	for (p = m->places; p; p = p->next)
		put_place(to, p);
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

static bool mount_present(const struct ctl_node *dir)
{
	return &dir->n == dir->m->fs.root;
}

static const struct ctl_type *const mount_children[] = {
	&version, &config, &errors, &ctl_log, &ctl_stats, NULL,
};

const struct ctl_type ctl_mount = {
	.name = ".sbxfs",
	.mode = S_IFDIR | 0755,
	.ops = &ctl_dir_ops,
	.present = mount_present,
	.of_mount = true,
	.children = mount_children,
};
