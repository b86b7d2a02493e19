/*
 * What listens in the sandbox, from its /proc/net/tcp.  A change is looked
 * for once a second while somebody waits for one.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/plain_int.h"

#define MAX_OUTPUT (4 << 20)
#define MAX_PORTS  4096
#define LISTENING  0x0a
#define PORT_BYTES 8192 /* a bit for each */

struct port {
	uint16_t port;
	char address[INET6_ADDRSTRLEN];
};

/* Words of 32 bits in the byte order of the machine that wrote them, and it
 * is always a little-endian one. */
static bool address_text(const char *hex, size_t digits, char *dst)
{
	uint8_t raw[16];
	unsigned int byte;
	size_t i;

	for (i = 0; i < digits / 2; i++) {
		if (sscanf(hex + 2 * i, "%2x", &byte) != 1)
			return false;
		raw[(i & ~(size_t)3) + 3 - (i & 3)] = (uint8_t)byte;
	}
	return inet_ntop(digits == 8 ? AF_INET : AF_INET6, raw, dst,
			 INET6_ADDRSTRLEN) != NULL;
}

/* "   0: 0100007F:1F90 00000000:0000 0A ...", not NUL-ended */
static bool line_parse(const char *line, size_t len, struct port *ret)
{
	char text[160], address[40];
	unsigned int port, state;
	size_t digits;

	if (len >= sizeof(text))
		len = sizeof(text) - 1;
	memcpy(text, line, len);
	text[len] = '\0';
	if (sscanf(text, " %*u: %39[0-9A-F]:%x %*[0-9A-F]:%*x %x", address,
		   &port, &state) != 3)
		return false;
	digits = strlen(address);
	if ((digits != 8 && digits != 32) || state != LISTENING || !port ||
	    port > 65535)
		return false;
	ret->port = (uint16_t)port;
	return address_text(address, digits, ret->address);
}

static size_t ports_parse(const struct sbx_buf *out, struct port *list)
{
	const char *at = (const char *)sbx_buf_at(out);
	const char *end = at + sbx_buf_len(out), *nl;
	size_t nr = 0;

	for (; at < end && nr < MAX_PORTS; at = nl + 1) {
		nl = memchr(at, '\n', (size_t)(end - at));
		if (!nl)
			break;
		nr += line_parse(at, (size_t)(nl - at), &list[nr]);
	}
	return nr;
}

static void tell_port(struct sbx_plain *p, unsigned int port, bool open)
{
	struct sbx_buf *b = plain_message_begin(p, SBX_MSG_PORT, 2);

	sbx_put_u64(b, port);
	sbx_put_bool(b, open);
	plain_message(p);
}

static void tell_changes(struct sbx_plain *p, const struct port *list,
			 size_t nr)
{
	uint8_t *was = p->ports, *now = calloc(1, PORT_BYTES);
	unsigned int port;
	size_t i;

	if (!now || !p->port_watch) {
		free(now);
		return;
	}
	for (i = 0; i < nr; i++)
		now[list[i].port / 8] |= (uint8_t)(1u << list[i].port % 8);
	p->ports = now;
	for (port = 1; port < 65536; port++) {
		bool before = was && was[port / 8] >> port % 8 & 1;
		bool open = now[port / 8] >> port % 8 & 1;

		if (open != before)
			tell_port(p, port, open);
	}
	free(was);
}

int plain_ports_begin(struct sbx_plain *p, struct plain_op *op)
{
	op->max_out = MAX_OUTPUT;
	plain_put_text(&p->line, "ports =/ =.");
	return 0;
}

int plain_ports_end(struct sbx_plain *p, struct plain_op *op, int err,
		    struct sbx_buf *out, const char *text)
{
	struct port *list = calloc(MAX_PORTS, sizeof(*list));
	struct sbx_buf *b;
	size_t nr, i;

	(void)text;
	if (!err && !list)
		err = -ENOMEM;
	nr = err ? 0 : ports_parse(out, list);
	if (!err && op->internal) {
		tell_changes(p, list, nr);
	} else if (!err) {
		b = plain_answer_begin(p, op, 1);
		sbx_put_array(b, (uint32_t)nr);
		for (i = 0; i < nr; i++) {
			sbx_put_array(b, 3);
			sbx_put_u64(b, list[i].port);
			sbx_put_str(b, list[i].address);
			sbx_put_u64(b, 0); /* whose it is is not told */
		}
		plain_answer(p, op);
	}
	free(list);
	return err;
}

static const struct plain_type watch_type = {
	.op = SBX_OP_PORTS,
	.kind = PLAIN_ASK,
	.ms = PLAIN_OP_MS,
	.begin = plain_ports_begin,
	.end = plain_ports_end,
};

void plain_ports_check(struct sbx_plain *p)
{
	if (!p->port_watch || p->port_op || !p->up)
		return;
	p->port_op = plain_op_own(p, &watch_type);
}

int plain_port_watch(struct sbx_plain *p, struct plain_op *op)
{
	struct sbx_rd rd = op->args;

	p->port_watch = sbx_get_bool(&rd);
	if (rd.err)
		return -EINVAL;
	free(p->ports);
	p->ports = NULL;
	plain_answer_begin(p, op, 0);
	plain_answer(p, op);
	plain_ports_check(p);
	return 1;
}
