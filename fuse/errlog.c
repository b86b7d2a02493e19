/*
 * The last failures: see errlog.h.
 */
#include "fuse/errlog.h"

#include <stdio.h>
#include <string.h>

#include "client/log.h"
#include "fuse/text.h"

void sfs_errlog_note(struct sfs_errlog *log, const char *operation,
		     const char *sandbox, const struct sbx_error *e)
{
	struct sfs_errlog_entry *to = &log->entry[log->nr++ % SFS_ERRLOG_MAX];

	if (!sandbox)
		sandbox = "-";
	to->at_ms = sfs_now_ms();
	to->err = -e->err;
	snprintf(to->operation, sizeof(to->operation), "%s", operation);
	snprintf(to->sandbox, sizeof(to->sandbox), "%s", sandbox);
	snprintf(to->text, sizeof(to->text), "%s",
		 e->text[0] ? e->text : strerror(to->err));
	sbx_log(SBX_LOG_WARNING, "control", "%s %s: %s", operation, sandbox,
		to->text);
}

void sfs_errlog_print(const struct sfs_errlog *log, struct sbx_buf *to)
{
	unsigned int first =
		log->nr > SFS_ERRLOG_MAX ? log->nr - SFS_ERRLOG_MAX : 0;
	char when[SFS_TIME_SIZE];

	for (unsigned int i = first; i < log->nr; i++) {
		const struct sfs_errlog_entry *e =
			&log->entry[i % SFS_ERRLOG_MAX];
		const char *name = strerrorname_np(e->err);

		sfs_text_printf(to, "%s %s %s: %s (%s)\n",
				sfs_text_time(e->at_ms, when), e->operation,
				e->sandbox, e->text, name ? name : "?");
	}
}
