/*
 * The table of traits.  Called while options are parsed and by the control
 * socket; the loop thread only.
 */
#include "tests/agent/traits.h"

#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

struct trait {
	const char *name;
	size_t offset;
	int initial, min, max;
	const char *meaning;
};

#define SWITCH(name, member, initial, meaning)                                 \
	{                                                                      \
		name, offsetof(struct agent_traits, member), initial, 0, 1,    \
			meaning                                                \
	}
#define NUMBER(name, member, initial, min, max, meaning)                       \
	{                                                                      \
		name, offsetof(struct agent_traits, member), initial, min,     \
			max, meaning                                           \
	}

/* Ten years: a folder on one's own disk must not vanish after an hour. */
#define LIFE_S 315360000

static const struct trait trait_table[] = {
	NUMBER("address-delay-ms", address_delay_ms, 10, 0, 60000,
	       "upgrades answer 503 so long after `running`"),
	SWITCH("agent-keys", agent_keys, 0,
	       "lists say is_dir and mod_time, not isDir and modTime"),
	SWITCH("deliver-signals", deliver_signals, 0,
	       "ExecSignal reaches the command; off: closes its stdin only"),
	SWITCH("duplicate-ports", duplicate_ports, 1,
	       "each connection of a sandbox repeats PortOpen and PortClose"),
	NUMBER("early-event", early_event, 200, 0, 1000,
	       "so many of 1000 connections hear of a port before Ready"),
	SWITCH("exit-camel", exit_camel, 0,
	       "ExecExit says exitCode, not exit_code"),
	NUMBER("exec-timeout-ms", exec_timeout_ms, 30000, 1, INT_MAX,
	       "REST exec waits so long if not told otherwise"),
	NUMBER("expiry-check-ms", expiry_check_ms, 10000, 10, 600000,
	       "how often expired sandboxes are looked for"),
	NUMBER("life-s", life_s, LIFE_S, 1, LIFE_S,
	       "default life and what keepalive sets; really 3600"),
	SWITCH("map-order", map_order, 1, "keys of maps in random order"),
	NUMBER("max-life-s", max_life_s, LIFE_S, 1, LIFE_S,
	       "longest life that is granted; really 86400"),
	NUMBER("memory-limit-mib", memory_limit_mib, 0, 0, 65536,
	       "more unread stdin kills the sandbox; 0: never; really 64"),
	NUMBER("message-limit", message_limit, 32768, 64, 1 << 24,
	       "longest WebSocket message in either direction"),
	NUMBER("no-reply", no_reply, 0, 0, 1000,
	       "so many of 1000 requests are never answered"),
	SWITCH("owner", owner, 1,
	       "Pong and events go to the connection accepted last only"),
	NUMBER("piece", piece, 4096, 1, 65000,
	       "longest ExecStdout and ExecStderr payload"),
	SWITCH("pod-owners", pod_owners, 0,
	       "Fs calls act as root without rights (agent run by root)"),
	NUMBER("ports-ms", ports_ms, 2000, 10, 600000,
	       "how often listening ports are looked for"),
	NUMBER("rate-limit", rate_limit, 120, 0, INT_MAX,
	       "requests per window and connection; 0: no limit"),
	NUMBER("rate-window-s", rate_window_s, 60, 1, 86400,
	       "the window of rate-limit"),
	SWITCH("remember", remember, 1,
	       "sandboxes of an earlier run are found again"),
	SWITCH("reorder", reorder, 1,
	       "requests that come together are handled in random order"),
	SWITCH("runtime-restart", runtime_restart, 1,
	       "a runtime that died is started anew by the next exec"),
	NUMBER("start-delay-ms", start_delay_ms, 50, 0, 600000,
	       "a new sandbox is `starting` for up to so long"),
	NUMBER("stdin-reorder", stdin_reorder, 5, 0, 1000,
	       "so many of 1000 stdin messages change places with the next"),
	NUMBER("stop-delay-ms", stop_delay_ms, 100, 0, 60000,
	       "time between DELETE and the end of the processes"),
	NUMBER("token-life-s", token_life_s, 900, 1, 86400, "life of a token"),
	SWITCH("v2", v2, 1, "the /api/v2 routes exist"),
	SWITCH("warm-pool", warm_pool, 0,
	       "sandboxes are running at once and their pods survive DELETE"),
	NUMBER("watch-ms", watch_ms, 1000, 10, 600000,
	       "how often watched paths are compared"),
};

static int *trait_value(struct agent_traits *t, const struct trait *trait)
{
	return (int *)((char *)t + trait->offset);
}

void agent_traits_init(struct agent_traits *t)
{
	for (size_t i = 0; i < sizeof(trait_table) / sizeof(*trait_table); i++)
		*trait_value(t, &trait_table[i]) = trait_table[i].initial;
}

static int trait_parse(const char *text, int *ret)
{
	char *end;
	long n;

	if (!strcmp(text, "on") || !strcmp(text, "off")) {
		*ret = text[1] == 'n';
		return 0;
	}
	errno = 0;
	n = strtol(text, &end, 10);
	if (errno || end == text || *end || n < INT_MIN || n > INT_MAX)
		return -EINVAL;
	*ret = (int)n;
	return 0;
}

int agent_traits_set(struct agent_traits *t, const char *text)
{
	const char *eq = strchr(text, '=');
	int n;

	if (!eq || trait_parse(eq + 1, &n) < 0)
		return -EINVAL;
	for (size_t i = 0; i < sizeof(trait_table) / sizeof(*trait_table);
	     i++) {
		const struct trait *trait = &trait_table[i];

		if (strlen(trait->name) != (size_t)(eq - text) ||
		    strncmp(trait->name, text, (size_t)(eq - text)))
			continue;
		if (n < trait->min || n > trait->max)
			return -EINVAL;
		*trait_value(t, trait) = n;
		return 0;
	}
	return -EINVAL;
}

void agent_traits_print(FILE *out)
{
	for (size_t i = 0; i < sizeof(trait_table) / sizeof(*trait_table);
	     i++) {
		const struct trait *trait = &trait_table[i];
		char value[16];

		if (trait->max == 1)
			snprintf(value, sizeof(value), "%s",
				 trait->initial ? "on" : "off");
		else
			snprintf(value, sizeof(value), "%d", trait->initial);
		fprintf(out, "  %-17s %-10s %s\n", trait->name, value,
			trait->meaning);
	}
}
