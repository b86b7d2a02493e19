/*
 * ComputeSDK's messages: what the gateway and the daemon in a sandbox say,
 * to struct and back.  No input or output.
 */
#ifndef SBX_SVC_COMPUTESDK_JSON_H
#define SBX_SVC_COMPUTESDK_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/error.h"
#include "client/parse.h"
#include "client/service.h"
#include "client/wire/buf.h"

/* Letters, digits, '.', '_' and '-', the first two of them first. */
bool sbx_csdk_id_is_valid(const char *id);
/* A thing of a daemon's: ':' may be in it, too. */
bool sbx_csdk_thing_is_valid(const char *id);

/* What an answer is about: its member "data" if it is wrapped, or itself. */
const json_t *sbx_csdk_data(const json_t *obj);

/* A member by its name, whatever its capitals and '_'; NULL: none. */
const json_t *sbx_csdk_member(const json_t *obj, const char *want);

/* ---- the gateway ---- */

#define SBX_CSDK_PRODUCT "a ComputeSDK gateway"

/* Where a sandbox is, and what is said there. */
struct sbx_csdk_place {
	char *url;		  /* without a slash at the end */
	struct sbx_secret *token; /* NULL: none was given */
};
void sbx_csdk_place_release(struct sbx_csdk_place *p);
/*
 * One sandbox as the gateway at url tells it; id: that it was asked for by,
 * or NULL.  -EPROTO also for an address that is none, or is not encrypted
 * although the gateway's is; -ENOMEM.  Nothing is set then.
 */
int sbx_csdk_sandbox_from_json(struct sbx_sandbox *ret,
			       struct sbx_csdk_place *ret_place,
			       const json_t *data, const char *id,
			       const char *url);
/* It is still being made by somebody else. */
bool sbx_csdk_is_creating(const json_t *data);
/* What a port's URL is, before and after its number; -ENOENT if the address
 * of the sandbox tells none. */
int sbx_csdk_port_url(const char *url, char *ret[2]);

/* How names begin that are given where the user gives none. */
#define SBX_CSDK_MADE_UP "sbxfs-"
struct sbx_csdk_create {
	char *body;
	char *namespace, *name;
	bool is_named;	/* by the user */
	bool may_exist; /* the user gave a namespace: what is there is meant */
};
/* options: see struct sbx_call.  marker makes a name where none is given.
 * -EINVAL with a sentence. */
int sbx_csdk_create_parse(struct sbx_csdk_create *ret, const char *options,
			  const char *marker, struct sbx_error *reterr);
/* The same, of options that may not be all yet; nothing is made. */
int sbx_csdk_options_check(const char *options, struct sbx_error *reterr);
void sbx_csdk_create_release(struct sbx_csdk_create *c);
/* {"namespace":..,"name":..}; NULL without memory */
char *sbx_csdk_find_body(const char *namespace, const char *name);

/* What a status of the gateway's that is not 2xx means. */
int sbx_csdk_gateway_error(struct sbx_error *e, int status, const char *body,
			   size_t len, const char *what);

/* ---- the daemon ---- */

/* The same for a daemon's.  What it has no route for is -EOPNOTSUPP. */
int sbx_csdk_daemon_error(struct sbx_error *e, int status, const char *body,
			  size_t len, const char *what);

/* A status by which it says no for itself: neither who is between, nor that it
 * is busy, nor that others may. */
bool sbx_csdk_is_refusal(int status);

/* {"command":text}; NULL: no memory, or no UTF-8 */
char *sbx_csdk_command_body(const char *text);
/* The same of one whose output is to come as it is printed. */
char *sbx_csdk_stream_body(const char *text);
/* The stdout of a command that has ended, borrowed; NULL: none, or it has
 * not. */
const char *sbx_csdk_command_output(const json_t *obj);

/* Files, in the spelling of any generation; -EPROTO.  More than max of them
 * is -E2BIG. */
int sbx_csdk_files_from_json(struct sbx_file **ret, size_t *ret_nr,
			     const json_t *obj, size_t max);
/*
 * The content of a file, if it came unharmed: what is no UTF-8 has been
 * replaced on its way, which its size tells, or the sign that stands for it:
 * -EILSEQ.  The caller frees.
 */
int sbx_csdk_file_from_json(uint8_t **ret, size_t *ret_len, const json_t *obj,
			    size_t max);
/* A path below the workspace as part of a URL, after "/files/". */
char *sbx_csdk_encode_path(const char *path);
/* Text as a value in a query. */
char *sbx_csdk_encode_query(const char *text);

#endif
