/*
 * Any bytes as what a time-travel server may send: its VMs, its snapshots, what
 * came of a run, what a run of ours printed, an error; and as what a user may
 * write for a new VM, as a command, or to export and import.  The first byte
 * says which.
 */
#include "client/exchange_int.h"
#include "client/parse.h"
#include "client/svc_timetravel.h"
#include "tests/fuzz/fuzz.h"

static void as_vm(const json_t *v)
{
	struct sbx_sandbox s;

	if (sbx_timetravel_vm_from_json(&s, v, "http://h") < 0)
		return;
	if (!sbx_is_file_name(s.id) || strpbrk(s.id, "?#% ") ||
	    (s.name && !sbx_is_file_name(s.name)))
		abort();
	sbx_sandbox_release(&s);
}

static void as_vms(const uint8_t *data, size_t len)
{
	SBX_JSON json_t *v = sbx_json_parse(data, len);
	const json_t *list = sbx_json_array(v, "vms");
	size_t i;

	as_vm(v);
	for (i = 0; i < json_array_size(list); i++)
		as_vm(json_array_get(list, i));
}

static void as_snapshots(const uint8_t *data, size_t len)
{
	struct timetravel_sieve sieve;
	const json_t *list;
	struct sbx_call *call = sbx_call_new(SBX_CALL_SNAPSHOTS, "vm");
	size_t i;
	int err;

	sbx_timetravel_sieve_init(&sieve, NULL);
	sbx_timetravel_sieve_put(&sieve, (const char *)data, len / 2);
	sbx_timetravel_sieve_put(&sieve, (const char *)data + len / 2,
				 len - len / 2);
	list = sbx_timetravel_sieve_end(&sieve, &err);
	if (list && sbx_timetravel_snapshots(call, list) < 0)
		abort();
	for (i = 0; i < call->nr_snapshots; i++)
		if (!sbx_is_file_name(call->snapshots[i].name) ||
		    !sbx_timetravel_find_snapshot(list,
						  call->snapshots[i].name))
			abort();
	sbx_call_free(call);
	sbx_timetravel_sieve_release(&sieve);
}

static void as_run(const uint8_t *data, size_t len)
{
	struct sbx_run run = {0};

	if (sbx_timetravel_run_from_json(&run, (const char *)data, len) < 0)
		return;
	if (run.exit_code < 0 || run.exit_code > 255 || run.out[run.out_len] ||
	    run.err[run.err_len])
		abort();
	sbx_run_release(&run);
}

static void as_printed(const uint8_t *data, size_t len)
{
	char *text = strndup((const char *)data, len);
	struct exchange_upload u = {0};
	struct sbx_error e = {0};
	uint8_t *batch = NULL;
	size_t size = 0;

	if (exchange_parse(text, "MARK", &u, &batch, &size, &e) ==
		    EXCHANGE_SAID_BATCH &&
	    size > len)
		abort();
	free(batch);
	free(text);
}

static void as_options(const uint8_t *data, size_t len)
{
	char *text = strndup((const char *)data, len);
	struct sbx_error e = {0};

	fuzz_check_error(sbx_svc_timetravel.options_check(text, &e), &e);
	free(text);
}

static void as_command(const uint8_t *data, size_t len)
{
	struct sbx_run run = {.command = strndup((const char *)data, len)};
	int err = 0;
	char *body = sbx_timetravel_run_body(&run, 30, &err);
	SBX_JSON json_t *v = body ? sbx_json_parse(body, strlen(body)) : NULL;

	if (body ? !v || strlen(body) > TIMETRAVEL_BODY : err >= 0)
		abort();
	free(body);
	free((char *)(uintptr_t)run.command);
}

static void as_packing(const uint8_t *data, size_t len)
{
	char *text = strndup((const char *)data, len);
	struct sbx_error e;
	json_t *body;
	int i;

	for (i = 0; i < 2; i++) {
		e = (struct sbx_error){0};
		body = sbx_timetravel_pack_body(text, strlen(text), i, &e);
		fuzz_check_error(body ? 0 : -1, &e);
		json_decref(body);
	}
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const struct fuzz_kind kinds[] = {
		{'v', as_vms},	   {'s', as_snapshots},
		{'r', as_run},	   {'p', as_printed},
		{'o', as_options}, {'c', as_command},
		{'e', as_packing}, {0},
	};

	return fuzz_by_first(kinds, sbx_timetravel_error, data, len);
}
