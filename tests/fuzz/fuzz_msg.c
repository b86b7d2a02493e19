/* Any bytes as a message: checked, parsed, and every getter tried on it. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "client/wire/msg.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void read_all(struct sbx_rd r, int depth)
{
	struct sbx_attr a;
	struct sbx_rd try, in;
	size_t n;

	while (r.left && !r.err) {
		try = r;
		sbx_get_u32(&try);
		try = r;
		sbx_get_i64(&try);
		try = r;
		sbx_get_bool(&try);
		try = r;
		if (sbx_get_name(&try, &n) && (n < 1 || n > 255))
			abort();
		try = r;
		sbx_get_attr(&try, &a);
		try = r;
		in = sbx_get_array(&try);
		if (in.left && depth < SBX_MSG_DEPTH)
			read_all(in, depth + 1);
		try = r;
		in = sbx_get_map(&try);
		if (in.left && depth < SBX_MSG_DEPTH)
			read_all(in, depth + 1);
		sbx_get_skip(&r);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct sbx_msg m;
	size_t size;

	if (sbx_msg_check(data, len, &size) < 0)
		return 0;
	if (size > len)
		abort();
	/* what the check passed, msgpack-c must be able to read */
	if (sbx_msg_parse(&m, data, size) < 0)
		abort();
	read_all(sbx_rd_whole(&m), 0);
	sbx_msg_release(&m);
	return 0;
}
