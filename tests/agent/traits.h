/*
 * Traits: what of the real service's behaviour the agent imitates, each with
 * a switch.  One table gives names, defaults, limits and --help.
 */
#ifndef AGENT_TRAITS_H
#define AGENT_TRAITS_H

#include <stdio.h>

struct agent_traits {
	int address_delay_ms;
	int agent_keys;
	int deliver_signals;
	int duplicate_ports;
	int early_event;
	int exit_camel;
	int expiry_check_ms;
	int exec_timeout_ms;
	int life_s;
	int map_order;
	int max_life_s;
	int memory_limit_mib;
	int message_limit;
	int no_reply;
	int owner;
	int piece;
	int pod_owners;
	int ports_ms;
	int rate_limit;
	int rate_window_s;
	int remember;
	int reorder;
	int runtime_restart;
	int start_delay_ms;
	int stdin_reorder;
	int stop_delay_ms;
	int token_life_s;
	int v2;
	int warm_pool;
	int watch_ms;
};

void agent_traits_init(struct agent_traits *t);
/* One "name=value"; -EINVAL if there is no such trait or value. */
int agent_traits_set(struct agent_traits *t, const char *text);
/* The table, one line each with default and meaning. */
void agent_traits_print(FILE *out);

#endif
