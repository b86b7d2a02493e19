/* Any bytes as what a carrier delivers, cut as the first byte says. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "client/wire/link.h"
#include "client/wire/proto.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static int on_bytes(void *arg, const uint8_t *data, size_t len)
{
	if (!len || len > SBX_MESSAGE_MAX)
		abort();
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct sbx_link_conf conf = {.frame_max_out = SBX_FRAME_MAX_TO_CLIENT,
				     .frame_max_in = SBX_FRAME_MAX_TO_HELPER,
				     .window_out = SBX_WINDOW_TO_CLIENT,
				     .window_in = SBX_WINDOW_TO_HELPER,
				     .on_message = on_bytes,
				     .on_control = on_bytes};
	struct sbx_link *l;
	size_t part;

	if (!len)
		return 0;
	l = sbx_link_new(&conf);
	if (!l || sbx_link_attach(l, "x", 1) < 0)
		abort();
	part = 1u + data[0];
	for (data++, len--; len; data += part, len -= part) {
		if (part > len)
			part = len;
		if (sbx_link_input(l, data, part) < 0)
			break;
	}
	sbx_link_free(l);
	return 0;
}
