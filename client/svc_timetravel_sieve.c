/*
 * The list of snapshots as it comes.  It holds the command of each, of our own
 * traffic, too, which is up to 100 KiB: a VM into which some files were written
 * has a list of any length.  So it is never held as a whole: one record is, and
 * those that are shown.
 */
#include <errno.h>
#include <string.h>

#include "client/json.h"
#include "client/svc_timetravel.h"

#define FRAME_MAX  4096	       /* all that is not a record */
#define RECORD_MAX (1u << 20)  /* a command has 100 KiB */
#define KEPT_MAX   (16u << 20) /* of all; the oldest are left out */

void sbx_timetravel_sieve_init(struct timetravel_sieve *s, const char *name)
{
	*s = (struct timetravel_sieve){.name = name, .kept = json_array()};
	sbx_buf_init(&s->frame, FRAME_MAX);
	sbx_buf_init(&s->record, RECORD_MAX);
	s->err = s->kept ? 0 : -ENOMEM;
}

void sbx_timetravel_sieve_release(struct timetravel_sieve *s)
{
	sbx_buf_release(&s->frame);
	sbx_buf_release(&s->record);
	json_decref(s->kept);
	s->kept = NULL;
}

static size_t record_size(const json_t *record)
{
	/* beside its command it has some numbers */
	return 300 + json_string_length(json_object_get(record, "command"));
}

/* Leaves out the oldest, when there are "times" as many as are shown. */
static void sieve_trim(struct timetravel_sieve *s, size_t times)
{
	size_t n = json_array_size(s->kept), first = 0;
	json_t *kept;

	if (n <= times * SBX_MAX_SNAPSHOTS && s->bytes <= times * KEPT_MAX)
		return;
	while (n - first > SBX_MAX_SNAPSHOTS || s->bytes > KEPT_MAX)
		s->bytes -= record_size(json_array_get(s->kept, first++));
	kept = json_array();
	for (; kept && first < n; first++)
		if (json_array_append(kept, json_array_get(s->kept, first)) < 0)
			s->err = -ENOMEM;
	if (!kept) {
		s->err = -ENOMEM;
		return;
	}
	json_decref(s->kept);
	s->kept = kept;
}

static void sieve_take(struct timetravel_sieve *s)
{
	json_t *record = NULL;
	const char *name;

	if (!s->record.err)
		record = sbx_json_parse(sbx_buf_at(&s->record),
					sbx_buf_len(&s->record));
	if (s->record.err == -ENOMEM)
		s->err = -ENOMEM;
	sbx_buf_clear(&s->record);
	name = sbx_timetravel_shown_name(record);
	if (!name || (s->name && strcmp(name, s->name) != 0)) {
		json_decref(record);
		return;
	}
	s->bytes += record_size(record);
	if (json_array_append_new(s->kept, record) < 0)
		s->err = -ENOMEM;
	sieve_trim(s, 2);
}

/* Depth 1 is the answer, 2 is its list, 3 is a record: what else is in the
 * list is none. */
static void sieve_byte(struct timetravel_sieve *s, char c)
{
	bool opens = !s->in_string && (c == '{' || c == '[');
	bool closes = !s->in_string && (c == '}' || c == ']');

	if (s->depth > 2 || (opens && s->depth == 2))
		sbx_buf_add(&s->record, &c, 1);
	else if (s->depth < 2 || closes)
		sbx_buf_add(&s->frame, &c, 1);
	if (s->escaped)
		s->escaped = false;
	else if (s->in_string && c == '\\')
		s->escaped = true;
	else if (c == '"')
		s->in_string = !s->in_string;
	s->depth += opens ? 1 : 0;
	s->depth -= closes && s->depth ? 1 : 0;
	if (closes && s->depth == 2)
		sieve_take(s);
}

void sbx_timetravel_sieve_put(struct timetravel_sieve *s, const char *data,
			      size_t len)
{
	const char *end = data + len, *p;

	while (data < end && !s->err) {
		p = data;
		while (s->depth > 2 && s->in_string && !s->escaped && p < end &&
		       *p != '"' && *p != '\\')
			p++;
		if (p > data)
			sbx_buf_add(&s->record, data, (size_t)(p - data));
		else
			sieve_byte(s, *p++);
		data = p;
	}
}

const json_t *sbx_timetravel_sieve_end(struct timetravel_sieve *s, int *ret_err)
{
	json_t *frame;
	bool is_list;

	sieve_trim(s, 1);
	frame = sbx_json_parse(s->frame.err ? NULL : sbx_buf_at(&s->frame),
			       sbx_buf_len(&s->frame));
	is_list = sbx_json_array(frame, "snapshots");
	json_decref(frame);
	*ret_err = s->err ? s->err : is_list ? 0 : -EPROTO;
	return *ret_err ? NULL : s->kept;
}
