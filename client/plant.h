/*
 * Bringing the helper into a sandbox by commands that each run to their end:
 * what their shell is told, and what their lines mean.  The text is one
 * command's; who uses it puts in front what it says each variable is.  No
 * input or output.
 *
 *	k	the mark that begins every line of ours
 *	d1 d2 d3	folders that may hold the helper
 */
#ifndef SBX_PLANT_H
#define SBX_PLANT_H

#include <stdbool.h>
#include <stddef.h>

#include "client/error.h"
#include "client/helper/blob.h"
#include "client/wire/buf.h"

#define SBX_PLANT_ROUNDS 3 /* of bringing it, at most */

/* The helper on its way. */
struct sbx_plant {
	const struct sbx_helper_blob *blob; /* NULL: nothing to bring */
	const unsigned char *data;
	size_t size, sent; /* of data */
	bool gz;
	unsigned int rounds; /* that brought nothing */
};
/* The helper of a machine; NULL: there is none for it. */
const struct sbx_helper_blob *sbx_plant_blob(const char *machine);
/* What to bring a machine that can, or cannot, unpack ("gzip"); false: there
 * is no helper for it. */
bool sbx_plant_choose(struct sbx_plant *p, const char *machine,
		      const char *tool);

/*
 * Sets m, the machine, and s, the hash of its helper; goes no further where
 * there is none.  Then there are "has DIR": the helper is in there, "lacks":
 * says so if a tool is missing, and "fits DIR": a program may run from there,
 * and g says how it can be packed.
 */
void sbx_plant_put_seek(struct sbx_buf *b);
/*
 * The end of the text that takes the next piece, which "input" prints, as
 * base64: d is the folder, x a name that is the same for all pieces.  May be
 * repeated.  Says "got BYTES", "have PATH" or why it cannot be.
 */
void sbx_plant_put_piece(struct sbx_buf *b, const struct sbx_plant *p);

/* "got BYTES": takes that down; false: again more than was ever sent. */
bool sbx_plant_got(struct sbx_plant *p, const char *number);
/* What arrived is not what was sent, as when two runs brought one piece, since
 * the first was lost and went on: begins anew.  false: too often. */
bool sbx_plant_again(struct sbx_plant *p);
/* -EOPNOTSUPP: there is no helper for it. */
int sbx_plant_no_machine(const char *machine, struct sbx_error *reterr);
/* Words that say why it cannot be: -EOPNOTSUPP with the sentence; 0: they are
 * others. */
int sbx_plant_why(const char *words, struct sbx_error *reterr);

#endif
