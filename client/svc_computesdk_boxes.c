/*
 * The sandboxes that are known.  The gateway lists none, so their ids are
 * kept in a file of the user's, one for each gateway, from mount to mount:
 * lines "+ID" and "-ID", only ever added to, so that several mounts can share
 * it.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/cleanup.h"
#include "client/json.h"
#include "client/limits.h"
#include "client/log.h"
#include "client/svc_computesdk.h"

#define MAX_FILE (2u << 20)
/* Beyond this it is written anew when it is read. */
#define LONG_FILE (64u << 10)

/* ---- the file ---- */

/* "$XDG_STATE_HOME/sbxfs/computesdk-HOST", its folders made; or NULL */
static char *file_path(const char *url)
{
	const char *base = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
	const char *host = strstr(url, "://");
	char *path = NULL, *p;
	int n;

	host = host ? host + 3 : url;
	if (base && base[0] == '/')
		n = asprintf(&path, "%s/sbxfs/computesdk-%s", base, host);
	else if (home && home[0] == '/')
		n = asprintf(&path, "%s/.local/state/sbxfs/computesdk-%s", home,
			     host);
	else
		return NULL;
	if (n < 0)
		return NULL;
	for (p = strchr(path + 1, '/'); p; p = strchr(p + 1, '/')) {
		*p = '\0';
		mkdir(path, 0700);
		*p = '/';
	}
	return path;
}

static void file_add(const struct csdk *x, char sign, const char *id)
{
	SBX_FREE char *line = NULL;
	SBX_CLOSE int fd = -1;
	int n;

	if (!x->file)
		return;
	n = asprintf(&line, "%c%s\n", sign, id);
	fd = open(x->file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (n < 0 || fd < 0 || write(fd, line, (size_t)n) != n)
		sbx_log(SBX_LOG_WARNING, "computesdk",
			"%s: %s; sandboxes will be forgotten with this mount",
			x->file, strerror(errno));
}

static void file_line(struct csdk *x, const char *line)
{
	struct csdk_box *b;

	if (!sbx_csdk_id_is_valid(line + 1))
		return;
	if (line[0] == '+') {
		b = csdk_box_of(x, line + 1);
		if (b)
			b->listed = true;
	} else if (line[0] == '-') {
		b = csdk_box_find(x, line + 1);
		if (b)
			b->listed = false;
	}
}

/* Anew, without what is gone. */
static void file_shorten(const struct csdk *x)
{
	SBX_FREE char *temporary = NULL;
	const struct csdk_box *b;
	SBX_FCLOSE FILE *f = NULL;
	int fd;

	if (asprintf(&temporary, "%s.XXXXXX", x->file) < 0) {
		temporary = NULL;
		return;
	}
	fd = mkostemp(temporary, O_CLOEXEC);
	f = fd < 0 ? NULL : fdopen(fd, "w");
	for (b = x->boxes; f && b; b = b->next)
		if (b->listed)
			fprintf(f, "+%s\n", b->id);
	if (f && fflush(f) == 0 && rename(temporary, x->file) == 0)
		return;
	if (fd >= 0)
		unlink(temporary);
	if (fd >= 0 && !f)
		close(fd);
}

void csdk_boxes_load(struct csdk *x)
{
	SBX_FCLOSE FILE *f = NULL;
	char line[160];
	long read = 0;

	x->file = file_path(x->rest.url);
	f = x->file ? fopen(x->file, "re") : NULL;
	while (f && read < (long)MAX_FILE && fgets(line, sizeof(line), f)) {
		read += (long)strlen(line);
		line[strcspn(line, "\n")] = '\0';
		file_line(x, line);
	}
	if (read > (long)LONG_FILE)
		file_shorten(x);
}

/* ---- the set ---- */

struct csdk_box *csdk_box_find(struct csdk *x, const char *id)
{
	struct csdk_box *b;

	for (b = x->boxes; b; b = b->next)
		if (!b->gone && !strcmp(b->id, id))
			return b;
	return NULL;
}

struct csdk_box *csdk_box_of(struct csdk *x, const char *id)
{
	struct csdk_box *b = csdk_box_find(x, id);

	if (b)
		return b;
	if (x->nr_boxes >= SBX_MAX_SANDBOXES)
		return NULL;
	b = calloc(1, sizeof(*b));
	if (b)
		b->id = strdup(id);
	if (!b || !b->id) {
		free(b);
		return NULL;
	}
	b->x = x;
	b->next = x->boxes;
	x->boxes = b;
	x->nr_boxes++;
	return b;
}

static void box_free(struct csdk_box *b)
{
	csdk_reach_stop(b);
	sbx_csdk_place_release(&b->place);
	sbx_csdk_there_release(&b->there);
	sbx_sandbox_release(&b->told);
	free(b->left);
	free(b->id);
	free(b);
}

static void box_remove(struct csdk_box *b)
{
	struct csdk_box **at = &b->x->boxes;

	while (*at != b)
		at = &(*at)->next;
	*at = b->next;
	b->x->nr_boxes--;
	box_free(b);
}

struct csdk_box *csdk_box_hold(struct csdk_box *b)
{
	b->users++;
	return b;
}

void csdk_box_let_go(struct csdk_box *b)
{
	b->users--;
	if (b->gone && !b->users && !b->waiting)
		box_remove(b);
}

void csdk_box_drop(struct csdk_box *b)
{
	if (!b)
		return;
	if (b->listed && !csdk_is_direct(b->x))
		file_add(b->x, '-', b->id);
	b->listed = b->ready = false;
	/* streams of it end by themselves, and hold on to it */
	b->gone = true;
	csdk_box_hold(b);
	csdk_box_let_go(b);
}

static int box_keep(struct csdk_box *b, struct sbx_csdk_place *place,
		    struct sbx_sandbox *told)
{
	bool moved = b->place.url && strcmp(b->place.url, place->url) != 0;

	/* a name is told when it is made, and may not be later */
	if (!told->name && b->told.name)
		told->name = SBX_TAKE(b->told.name);
	sbx_csdk_place_release(&b->place);
	b->place = *place;
	sbx_sandbox_release(&b->told);
	b->told = *told;
	b->told_ms = uv_now(b->x->rest.loop);
	if (moved)
		csdk_reach_forget(b);
	if (!b->listed && !csdk_is_direct(b->x))
		file_add(b->x, '+', b->id);
	b->listed = true;
	return 0;
}

int csdk_box_take(struct csdk *x, const json_t *data, const char *id,
		  struct sbx_sandbox *ret)
{
	struct sbx_csdk_place place;
	struct sbx_sandbox told;
	struct csdk_box *b;
	int r;

	r = sbx_csdk_sandbox_from_json(&told, &place, data, id, x->rest.url);
	if (r < 0)
		return r;
	b = csdk_box_of(x, told.id);
	if (!b) {
		sbx_csdk_place_release(&place);
		sbx_sandbox_release(&told);
		return -ENOMEM;
	}
	box_keep(b, &place, &told);
	return sbx_sandbox_copy(ret, &b->told);
}

void csdk_boxes_stop(struct sbx_rest *rest)
{
	struct csdk_box *b;

	for (b = ((struct csdk *)rest)->boxes; b; b = b->next)
		csdk_reach_stop(b);
}

void csdk_boxes_release(struct csdk *x)
{
	struct csdk_box *b;

	while ((b = x->boxes)) {
		x->boxes = b->next;
		box_free(b);
	}
	free(x->file);
}
