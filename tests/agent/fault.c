/* See fault.h.  Loop thread only. */
#include "tests/agent/fault.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/agent/conn.h"
#include "tests/agent/pod.h"

bool agent_fault_count(struct agent *agent, uint64_t bytes)
{
	struct agent_fault *f = &agent->fault;

	if (!f->drop_after)
		return false;
	f->bytes += bytes;
	if (f->bytes < f->drop_after)
		return false;
	f->drop_after = f->bytes = 0;
	return true;
}

static void fault_cut(struct agent *agent)
{
	struct agent_conn *conn;

	LIST_FOREACH(conn, &agent->conns, link)
	{
		if (conn->is_socket)
			agent_conn_reset(conn);
	}
}

static const char *fault_switch(struct agent *agent, bool *value,
				const char *text)
{
	if (strcmp(text, "on") && strcmp(text, "off"))
		return "on or off?";
	*value = text[1] == 'n';
	agent_listen_update(agent);
	return NULL;
}

static const char *fault_number(uint32_t *value, const char *text)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (end == text || *end || n > UINT32_MAX)
		return "how many?";
	*value = (uint32_t)n;
	return NULL;
}

static const char *fault_http(struct agent_fault *f, const char *text)
{
	unsigned int status, n;

	if (sscanf(text, "%u %u", &status, &n) != 2 || status < 200 ||
	    status > 599)
		return "fault http STATUS N";
	f->http_status = status;
	f->http_left = n;
	return NULL;
}

static const char *fault_drop(struct agent_fault *f, const char *text)
{
	char *end;
	unsigned long long n = strtoull(text, &end, 10);

	if (end == text || *end)
		return "after how many bytes?";
	f->drop_after = n;
	f->bytes = 0;
	return NULL;
}

static const char *fault_on_sandbox(struct agent *agent, const char *what,
				    const char *id)
{
	struct agent_sandbox *s = agent_sandbox_find(agent, id);

	if (!s)
		return "no such sandbox";
	if (!strcmp(what, "expire"))
		agent_sandbox_expire(s);
	else if (!strcmp(what, "dead-sidecar"))
		agent_sandbox_kill_sidecar(s);
	else if (s->pod)
		agent_pod_kill(s->pod);
	return NULL;
}

static const char *fault_set(struct agent *agent, const char *what,
			     const char *value)
{
	struct agent_fault *f = &agent->fault;

	if (!strcmp(what, "delay"))
		return fault_number(&f->delay_ms, value);
	if (!strcmp(what, "drop-after"))
		return fault_drop(f, value);
	if (!strcmp(what, "blackhole"))
		return fault_switch(agent, &f->blackhole, value);
	if (!strcmp(what, "refuse"))
		return fault_switch(agent, &f->refuse, value);
	if (!strcmp(what, "http"))
		return fault_http(f, value);
	if (!strcmp(what, "garbage"))
		return fault_number(&f->garbage, value);
	if (!strcmp(what, "html"))
		return fault_number(&f->html, value);
	if (!strcmp(what, "huge"))
		return fault_number(&f->huge, value);
	if (!strcmp(what, "half"))
		return fault_number(&f->half, value);
	if (!strcmp(what, "not-ready"))
		return fault_number(&f->not_ready, value);
	if (!strcmp(what, "no-reply"))
		return fault_number(&f->no_reply, value);
	if (!strcmp(what, "expire") || !strcmp(what, "dead-sidecar") ||
	    !strcmp(what, "kill-runtime"))
		return fault_on_sandbox(agent, what, value);
	return "no such fault";
}

static const char *fault_line(struct agent *agent, char *line)
{
	char *what = line, *value;

	value = strchr(what, ' ');
	if (value)
		*value++ = 0;
	if (!strcmp(what, "cut") && !value) {
		fault_cut(agent);
		return NULL;
	}
	return value ? fault_set(agent, what, value) : "fault WHAT VALUE";
}

static const char *command_pids(struct agent *agent, const char *id, FILE *out)
{
	struct agent_sandbox *s = agent_sandbox_find(agent, id);

	if (!s)
		return "no such sandbox";
	if (s->pod)
		fprintf(out, "%d\n", agent_pod_pid(s->pod));
	return NULL;
}

void agent_fault_command(struct agent *agent, char *line, FILE *out)
{
	const char *wrong = NULL;

	if (!strncmp(line, "fault ", 6)) {
		wrong = fault_line(agent, line + 6);
	} else if (!strncmp(line, "trait ", 6)) {
		if (agent_traits_set(&agent->traits, line + 6) < 0)
			wrong = "no such trait or value";
	} else if (!strcmp(line, "journal")) {
		agent_journal_print(&agent->journal, out);
		agent_journal_clear(&agent->journal);
	} else if (!strncmp(line, "runtime-pids ", 13)) {
		wrong = command_pids(agent, line + 13, out);
	} else {
		wrong = "fault, trait, journal or runtime-pids?";
	}
	fprintf(out, "%s\n", wrong ? wrong : "ok");
}
