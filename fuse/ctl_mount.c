/*
 * .sbxfs/: the mount itself.
 */
#include <inttypes.h>
#include <stddef.h>

#include "fuse/ctl_file.h"
#include "fuse/ctl_log.h"
#include "fuse/sandbox.h"
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
	sfs_text_printf(to, "cache: %zu\n", m->fs.cache_max);
	put(to, "helper", m->conf.helper ? "on" : "off");
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
	ctl_file_loaded(f, NULL);
}

static void errors_load(struct ctl_file *f)
{
	sfs_errlog_print(&f->node->m->errors, &f->text);
	ctl_file_loaded(f, NULL);
}

/* ---- stats: Prometheus' text format ---- */

static void put_family(struct sbx_buf *to, const char *name, const char *type,
		       const char *help)
{
	sfs_text_printf(to, "# HELP sbxfs_%s %s\n# TYPE sbxfs_%s %s\n", name,
			help, name, type);
}

static void put_requests(struct sbx_buf *to, const struct sfs_mount *m)
{
	const struct sbx_remote_stats *s;
	const struct sfs_sandbox *sb;
	const char *name;
	unsigned int op;

	put_family(to, "requests_total", "counter",
		   "Requests sent to the sandbox, by kind.");
	for (sb = m->sandboxes; sb; sb = sb->next) {
		s = sb->remote ? sbx_remote_stats(sb->remote) : NULL;
		for (op = 0; s && op < SBX_STATS_OPS; op++) {
			name = sbx_wire_op_name(op);
			if (name && s->requests[op])
				sfs_text_printf(
					to,
					"sbxfs_requests_total{sandbox="
					"\"%s\",op=\"%s\"} %" PRIu64 "\n",
					sb->box->folder, name, s->requests[op]);
		}
	}
}

static void put_counter(struct sbx_buf *to, const struct sfs_mount *m,
			const char *name, size_t at, const char *help)
{
	const struct sfs_sandbox *sb;
	const char *s;

	put_family(to, name, "counter", help);
	for (sb = m->sandboxes; sb; sb = sb->next) {
		if (!sb->remote)
			continue;
		s = (const char *)sbx_remote_stats(sb->remote);
		sfs_text_printf(to, "sbxfs_%s{sandbox=\"%s\"} %" PRIu64 "\n",
				name, sb->box->folder,
				*(const uint64_t *)(const void *)(s + at));
	}
}

static void put_unsent(struct sbx_buf *to, const struct sfs_mount *m)
{
	const struct sfs_sandbox *sb;

	put_family(to, "unsent_bytes", "gauge",
		   "Changes not yet acknowledged by the sandbox.");
	for (sb = m->sandboxes; sb; sb = sb->next)
		if (sb->remote)
			sfs_text_printf(
				to, "sbxfs_unsent_bytes{sandbox=\"%s\"} %zu\n",
				sb->box->folder, sbx_remote_unsent(sb->remote));
}

#define COUNTER(field) offsetof(struct sbx_remote_stats, field)

static void stats_load(struct ctl_file *f)
{
	const struct sfs_mount *m = f->node->m;
	struct sbx_buf *to = &f->text;

	put_requests(to, m);
	put_counter(to, m, "round_trips_total", COUNTER(round_trips),
		    "Answers that were waited for, one after the other.");
	put_counter(to, m, "answers_total", COUNTER(answers),
		    "Answers of the sandbox.");
	put_counter(to, m, "events_total", COUNTER(events),
		    "What the sandbox told unasked: changes, output.");
	put_counter(to, m, "sent_bytes_total", COUNTER(bytes_sent),
		    "Bytes of requests.");
	put_counter(to, m, "received_bytes_total", COUNTER(bytes_received),
		    "Bytes of answers and events.");
	put_counter(to, m, "reconnects_total", COUNTER(reconnects),
		    "Connections that were made anew.");
	put_unsent(to, m);
	put_family(to, "cached_bytes", "gauge",
		   "Names and attributes that are remembered.");
	sfs_text_printf(to, "sbxfs_cached_bytes %zu\n", m->fs.cache_bytes);
	ctl_file_loaded(f, NULL);
}

static const struct ctl_file_type version_file = {.load = version_load};
static const struct ctl_file_type config_file = {.load = config_load};
static const struct ctl_file_type errors_file = {.load = errors_load};
static const struct ctl_file_type stats_file = {.load = stats_load};

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
static const struct ctl_type stats = {
	.name = "stats",
	.mode = S_IFREG | 0400,
	.ops = &ctl_file_ops,
	.file = &stats_file,
};

static const struct ctl_type *const mount_children[] = {
	&version, &config, &errors, &ctl_log, &stats, NULL,
};

const struct ctl_type ctl_mount = {
	.name = ".sbxfs",
	.mode = S_IFDIR | 0755,
	.ops = &ctl_dir_ops,
	.children = mount_children,
};
