/*
 * .sbxfs/stats: counters in the text format of Prometheus.
 */
#include "fuse/ctl_stats.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>

#include "fuse/ctl_file.h"
#include "fuse/sandbox.h"
#include "fuse/text.h"

#define LABEL_SIZE (2 * SFS_LABEL_SIZE) /* if each byte is escaped */

/* The value of the label "sandbox", which is a name of somebody else's. */
static const char *sandbox_label(const struct sfs_sandbox *sb,
				 char label[LABEL_SIZE])
{
	char plain[SFS_LABEL_SIZE], *to = label;
	const char *s = sfs_place_label(sb->place, sb->box, plain);

	for (; *s; s++) {
		if (*s == '\\' || *s == '"' || *s == '\n')
			*to++ = '\\';
		*to++ = *s == '\n' ? 'n' : *s;
	}
	*to = '\0';
	return label;
}

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
	char label[LABEL_SIZE];
	const char *name;
	unsigned int op;

	put_family(to, "requests_total", "counter",
		   "Requests sent to the sandbox, by kind.");
	for (sb = m->sandboxes; sb; sb = sb->next) {
		s = sb->remote ? sbx_remote_stats(sb->remote) : NULL;
		for (op = 0; s && op < SBX_STATS_OPS; op++) {
			name = sbx_wire_op_name(op);
			if (name && s->requests[op])
				sfs_text_printf(to,
						"sbxfs_requests_total{sandbox="
						"\"%s\",op=\"%s\"} %" PRIu64
						"\n",
						sandbox_label(sb, label), name,
						s->requests[op]);
		}
	}
}

static void put_counter(struct sbx_buf *to, const struct sfs_mount *m,
			const char *name, size_t at, const char *help)
{
	const struct sfs_sandbox *sb;
	char label[LABEL_SIZE];
	const char *s;

	put_family(to, name, "counter", help);
	for (sb = m->sandboxes; sb; sb = sb->next) {
		if (!sb->remote)
			continue;
		s = (const char *)sbx_remote_stats(sb->remote);
		sfs_text_printf(to, "sbxfs_%s{sandbox=\"%s\"} %" PRIu64 "\n",
				name, sandbox_label(sb, label),
				*(const uint64_t *)(const void *)(s + at));
	}
}

static void put_unsent(struct sbx_buf *to, const struct sfs_mount *m)
{
	const struct sfs_sandbox *sb;
	char label[LABEL_SIZE];

	put_family(to, "unsent_bytes", "gauge",
		   "Changes not yet acknowledged by the sandbox.");
	for (sb = m->sandboxes; sb; sb = sb->next)
		if (sb->remote)
			sfs_text_printf(
				to, "sbxfs_unsent_bytes{sandbox=\"%s\"} %zu\n",
				sandbox_label(sb, label),
				sbx_remote_unsent(sb->remote));
}

/* ---- of the whole mount: what was there stays in it ---- */

static void put_operations(struct sbx_buf *to, const struct sfs_count *c)
{
#define NAME(op) #op,
	static const char *const names[SFS_NR_COUNTED] = {SFS_COUNTED(NAME)};
#undef NAME
	put_family(to, "operations_total", "counter",
		   "Requests of the kernel, by kind.");
	for (size_t op = 0; op < SFS_NR_COUNTED; op++)
		if (c->requests[op])
			sfs_text_printf(to,
					"sbxfs_operations_total{op=\"%s\"} "
					"%" PRIu64 "\n",
					names[op], c->requests[op]);
}

static void put_cache(struct sbx_buf *to, const char *name,
		      const uint64_t numbers[SFS_NR_CACHED], const char *help)
{
	static const char *const names[SFS_NR_CACHED] = {
		[SFS_CACHED_ENTRIES] = "entries",
		[SFS_CACHED_ATTRIBUTES] = "attributes",
		[SFS_CACHED_LISTINGS] = "listings",
		[SFS_CACHED_CONTENT] = "content",
	};

	put_family(to, name, "counter", help);
	for (size_t i = 0; i < SFS_NR_CACHED; i++)
		if (names[i])
			sfs_text_printf(to,
					"sbxfs_%s{cache=\"%s\"} %" PRIu64 "\n",
					name, names[i], numbers[i]);
}

static void put_latency(struct sbx_buf *to, const char *labels,
			const struct sbx_latency *l)
{
	static const char name[] = "sbxfs_request_seconds";
	uint64_t upto = 0;

	for (size_t i = 0; i < SBX_LATENCY_BUCKETS; i++) {
		upto += l->bucket[i];
		sfs_text_printf(to, "%s_bucket{%s,le=\"%g\"} %" PRIu64 "\n",
				name, labels, sbx_latency_us[i] / 1e6, upto);
	}
	sfs_text_printf(
		to,
		"%s_bucket{%s,le=\"+Inf\"} %" PRIu64 "\n"
		"%s_sum{%s} %" PRIu64 ".%06u\n"
		"%s_count{%s} %" PRIu64 "\n",
		name, labels, l->count, name, labels, l->sum_us / 1000000,
		(unsigned int)(l->sum_us % 1000000), name, labels, l->count);
}

static void put_latencies(struct sbx_buf *to, const struct sfs_mount *m)
{
	const struct sfs_place *p;
	char labels[200];
	const char *op;

	put_family(to, "request_seconds", "histogram",
		   "From a request to the end of its answer, by kind.");
	for (p = m->places; p; p = p->next)
		for (unsigned int i = 0; i < SBX_STATS_OPS; i++) {
			op = sbx_wire_op_name(i);
			if (!op || !p->latencies.of[i].count)
				continue;
			/* names of places need no escapes */
			snprintf(labels, sizeof(labels), "%s%s%sop=\"%s\"",
				 p->name ? "service=\"" : "",
				 p->name ? p->name : "", p->name ? "\"," : "",
				 op);
			put_latency(to, labels, &p->latencies.of[i]);
		}
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
	put_latencies(to, m);
	put_operations(to, &m->fs.count);
	put_cache(to, "cache_hits_total", m->fs.count.hits,
		  "What the kernel asked for and was known here.");
	put_cache(to, "cache_misses_total", m->fs.count.misses,
		  "What the kernel asked for and had to be waited for.");
	put_family(to, "cached_bytes", "gauge",
		   "Names and attributes that are remembered.");
	sfs_text_printf(to, "sbxfs_cached_bytes %zu\n", m->fs.cache_bytes);
	ctl_file_loaded(f, NULL);
}

static const struct ctl_file_type stats_file = {.load = stats_load};

const struct ctl_type ctl_stats = {
	.name = "stats",
	.mode = S_IFREG | 0400,
	.ops = &ctl_file_ops,
	.file = &stats_file,
};
