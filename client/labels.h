/*
 * Names of the user's choice among the labels of a sandbox.  A label holds
 * few characters, so only some names fit one as they are; the others are kept
 * in hex, in pieces SBX_LABEL_NAME_HEX "0", "1" ...  No input or output.
 */
#ifndef SBX_LABELS_H
#define SBX_LABELS_H

#include <jansson.h>
#include <stdbool.h>

#include "client/options.h"

#define SBX_LABEL_NAME	   "name"
#define SBX_LABEL_NAME_HEX "sbxfs-name-"
/* What makes a sandbox that was just asked for recognisable in a list. */
#define SBX_LABEL_MARKER "sbxfs-create"

/* What a label can hold: at most 63 of [A-Za-z0-9._-], letters or digits at
 * both ends. */
bool sbx_label_is_valid(const char *text);
/* A label's name: the same, perhaps after a prefix and '/'. */
bool sbx_label_key_is_valid(const char *key);
/* Why this cannot be a label, or NULL: `wrong` of sbx_maker_add_texts. */
const char *sbx_label_wrong(const char *key, const char *text);
/* Of a maker whose body has the labels as that member: the name that the user
 * gave, and the marker of create.h. */
int sbx_labels_take_name(struct sbx_maker *m, const char *key,
			 const json_t *value, const char *member);
int sbx_labels_put_marker(struct sbx_maker *m, const char *member,
			  const char *marker);
/* Puts the name into the object of labels; -ENOMEM. */
int sbx_labels_put_name(json_t *labels, const char *name);
/* The name among them, put together in buf if need be; NULL: none that could
 * be a file's. */
const char *sbx_labels_name(const json_t *labels, char buf[256]);

#endif
