/*
 * The helper programs that sbxfs carries, one for each machine type: bytes of
 * executable files, to be uploaded into sandboxes.
 */
#ifndef SBX_HELPER_BLOB_H
#define SBX_HELPER_BLOB_H

#include <stddef.h>

struct sbx_helper_blob {
	const char *machine; /* as uname -m prints it; NULL ends the table */
	const unsigned char *data;
	size_t size;
	const unsigned char *gz; /* the same, compressed by gzip */
	size_t gz_size;
	const char *sha256; /* hexadecimal */
};

extern const struct sbx_helper_blob sbx_helper_blobs[];

#endif
