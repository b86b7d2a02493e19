/*
 * Vtrix's REST bodies (generation 1, both dialects): JSON to struct and back.
 * No input or output.
 */
#ifndef SBX_SVC_VTRIX_JSON_H
#define SBX_SVC_VTRIX_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "client/error.h"
#include "client/service.h"

#define SBX_VTRIX_PRODUCT "a Vtrix gateway"

/*
 * What is inside {"code":0,"data":...}: borrowed, NULL for no data.  Answers
 * in the shapes of the second generation have no envelope and are their own
 * data.  -EPROTO: it is neither; -EREMOTEIO: "code" says that it failed
 * (sbx_vtrix_error).
 */
int sbx_vtrix_open(const json_t *answer, json_t **ret_data);

/* An answer of the gateway itself, and of nothing before it. */
bool sbx_vtrix_is_envelope(const char *body, size_t len);
/* What a failure means, whatever status it came with.  url: who said so. */
int sbx_vtrix_error(struct sbx_error *e, int status, const char *body,
		    size_t len, const char *url);

/* Nothing is told of its letters: those that mean nothing in paths, nor when
 * they are decoded twice. */
bool sbx_vtrix_id_is_valid(const char *id);
/* One sandbox, of either generation; url says where it was asked for.
 * -EPROTO, -ENOMEM; ret is untouched then. */
int sbx_vtrix_sandbox_from_json(struct sbx_sandbox *ret, const json_t *obj,
				const char *url);
/* The service's own word for its state; "" if there is none. */
const char *sbx_vtrix_state_word(const json_t *obj);

/* Makes an empty list of what is null in an answer to a list.  -ENOMEM. */
int sbx_vtrix_fill_list(json_t *answer);
/* The list in an answer's data, which has one of four shapes; NULL: none. */
const json_t *sbx_vtrix_list(const json_t *data, bool *ret_more);

/* Where a new sandbox is in the data of an answer to create. */
const json_t *sbx_vtrix_created(const json_t *data);

/*
 * The body of create, which the caller frees; NULL with a sentence.  options:
 * see struct sbx_call.  marker makes it recognisable in a list.
 */
char *sbx_vtrix_create_body(const char *options, const char *marker,
			    struct sbx_error *reterr);
/* The same, of options that may not be all yet; nothing is made. */
int sbx_vtrix_options_check(const char *options, struct sbx_error *reterr);

enum sbx_vtrix_change {
	SBX_VTRIX_UPDATE,      /* its spec and image */
	SBX_VTRIX_UPDATE_MORE, /* and what is said to each of its pods: G1a */
	SBX_VTRIX_CONFIGURE,   /* what is said to its pod; no text is nothing */
};
/* The body of a change to one that is there, from a JSON object.  The caller
 * frees it; NULL with a sentence. */
char *sbx_vtrix_change_body(const char *text, enum sbx_vtrix_change what,
			    struct sbx_error *reterr);

/* Seconds of life more, as one of the ways in which services want it. */
enum sbx_vtrix_unit {
	SBX_VTRIX_BOTH, /* each takes the word that it knows */
	SBX_VTRIX_SECONDS,
	SBX_VTRIX_HOURS,
	SBX_VTRIX_UNITS
};
#define SBX_VTRIX_MAX_SECONDS 86400
#define SBX_VTRIX_EXTEND_BODY 64
/* seconds: at most the above */
void sbx_vtrix_extend_body(char text[SBX_VTRIX_EXTEND_BODY],
			   enum sbx_vtrix_unit unit, unsigned int seconds);

#endif
