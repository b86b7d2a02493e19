"""The WebSocket: sections 2.1 to 2.5, 2.9 and 2.11, Q1, Q3, Q4."""
import asyncio
import os
import struct
import unittest

import aiohttp
import msgpack

from agent_lib import (ACK, ERROR, FS_EVENT, FS_LIST, FS_READ, FS_WATCH,
                       FS_WRITE, KEY, PING, PONG, PORT_CLOSE, PORT_OPEN, READY,
                       STDIN, WAIT, AgentCase, envelope)


class Upgrade(AgentCase):
    async def refused(self, path, session=None):
        with self.assertRaises(aiohttp.WSServerHandshakeError) as e:
            await (session or self.session).ws_connect(self.agent.url + path)
        return e.exception.status

    async def test_refusals(self):
        sandbox = await self.create()
        path = f"/api/v2/sandboxes/{sandbox['id']}/ws"
        self.assertEqual(await self.refused("/api/v2/sandboxes/nobody/ws"),
                         404)
        self.assertEqual(await self.refused("/other"), 404)
        async with self.new_session(Authorization="ApiKey no") as s:
            self.assertEqual(await self.refused(path, s), 401)
        status, _, _ = await self.rest("GET", path)
        self.assertEqual(status, 426)

    async def test_bodies_of_refusals_are_text(self):
        reader, writer = await asyncio.open_connection("127.0.0.1",
                                                       self.agent.port)
        writer.write(
            b"GET /api/v2/sandboxes/nobody/ws HTTP/1.1\r\nHost: x\r\n"
            b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nAuthorization: ApiKey "
            + KEY.encode() + b"\r\n"
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n")
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), WAIT)
        self.assertIn(b" 404 ", head.split(b"\r\n")[0])
        self.assertIn(b"Content-Type: text/plain", head)
        self.assertEqual(await reader.readexactly(18), b"sandbox not found\n")
        writer.close()

    async def test_token_in_query_and_v1(self):
        sandbox = await self.create()
        _, answer, _ = await self.rest("POST", "/api/v2/auth/token",
                                       {"api_key": KEY})
        async with self.new_session(Authorization="") as session:
            session.headers.popall("Authorization")
            for version in ("v1", "v2"):
                s = await self.connect(sandbox["id"], session, version,
                                       "?token=" + answer["token"])
                m = await s.ws.receive()
                self.assertEqual(m.data, envelope(READY))
                await s.close()

    async def test_extensions_are_not_taken(self):
        sandbox = await self.create()
        s = await self.connect(sandbox["id"], compress=15)
        self.assertEqual(s.ws.compress, 0)
        m = await s.receive()
        self.assertEqual(m.kind, READY)

    async def test_normal_close(self):
        _, s = await self.open()
        await s.ws.close()
        self.assertEqual(s.ws.close_code, 1000)

    async def test_pings_of_the_transport_are_answered(self):
        sandbox = await self.create()
        s = await self.connect(sandbox["id"], autoping=False)
        await s.ws.ping(b"abc")
        while True:
            m = await asyncio.wait_for(s.ws.receive(), WAIT)
            if m.type == aiohttp.WSMsgType.PONG:
                break
        self.assertEqual(m.data, b"abc")


class Messages(AgentCase):
    async def test_32768_passes(self):
        _, s = await self.open()
        await s.ws.send_bytes(envelope(PING, 0, 7, b"x" * (32768 - 9)))
        m = await s.receive()
        self.assertEqual((m.kind, m.channel, m.id, m.raw), (PONG, 0, 7, b""))

    async def test_32769_is_closed_with_1009(self):
        _, s = await self.open()
        await s.ws.send_bytes(envelope(PING, 0, 7, b"x" * (32769 - 9)))
        m = await asyncio.wait_for(s.ws.receive(), WAIT)
        self.assertEqual((m.type, m.data, m.extra),
                         (aiohttp.WSMsgType.CLOSE, 1009,
                          "read limited at 32769 bytes"))

    async def test_fragments_are_counted_together(self):
        _, s = await self.open()
        writer = s.ws._writer

        def fragment(opcode, fin, data):
            head = bytes([(0x80 if fin else 0) | opcode, 0xfe])
            writer.transport.write(head + struct.pack(">H", len(data)) +
                                   bytes(4) + data)
        message = envelope(PING, 0, 9, b"x" * 20000)
        fragment(2, False, message[:9000])
        fragment(0, False, message[9000:18000])
        fragment(0, True, message[18000:])
        m = await s.receive()
        self.assertEqual((m.kind, m.id), (PONG, 9))
        fragment(2, False, b"x" * 16385)
        fragment(0, True, b"x" * 16384)
        m = await asyncio.wait_for(s.ws.receive(), WAIT)
        self.assertEqual((m.type, m.data), (aiohttp.WSMsgType.CLOSE, 1009))

    async def test_too_big_a_reply_is_a_bare_end(self):
        ident, s = await self.open()
        await s.sh("head -c 32759 /dev/zero >fits; "
                   "head -c 32760 /dev/zero >large")
        m = await s.call(FS_READ, {"path": "fits"})
        self.assertEqual((m.kind, len(m.raw)), (FS_READ, 32759))
        await s.send(FS_READ, msgpack.packb({"path": "large"}), ident=99)
        self.assertIsNone(await s.receive())
        self.assertEqual(s.ws.close_code, 1006)
        s = await self.connect(ident)
        await s.sh("mkdir many; cd many; seq 700 | xargs -n 50 touch")
        await s.send(FS_LIST, msgpack.packb({"path": "many"}), ident=99)
        self.assertIsNone(await s.receive())
        self.assertEqual(s.ws.close_code, 1006)

    async def test_short_and_text_messages(self):
        _, s = await self.open()
        await s.ws.send_bytes(b"")
        await s.ws.send_bytes(b"\x01" * 8)
        await s.ws.send_str(envelope(PING, 0, 5).decode())
        m = await s.receive()
        self.assertEqual((m.kind, m.id), (PONG, 5))

    async def test_unknown_types(self):
        _, s = await self.open()
        for kind in (0x00, 0x10, 0x12, 0x50, 0x99, 0xff):
            await s.send(kind, b"", 3, 7)
            m = await s.receive()
            self.assertEqual((m.kind, m.channel, m.id), (ERROR, 3, 7))
            self.assertEqual(m.map["code"], "unknown_message")

    async def test_map_keys_come_in_any_order(self):
        _, s = await self.open()
        orders = set()
        for _ in range(100):
            m = await s.call(FS_READ, {"path": "nothing"})
            orders.add(tuple(m.map))
        self.assertEqual(orders, {("code", "message"), ("message", "code")})

    async def test_replies_are_in_no_order(self):
        _, s = await self.open()
        for attempt in range(20):
            for ident in range(1, 51):
                await s.send(PING, b"", 0, ident)
            got = [(await s.receive()).id for _ in range(50)]
            self.assertEqual(sorted(got), list(range(1, 51)))
            if got != sorted(got):
                return
        self.fail("always in order")

    async def test_garbage_of_all_kinds_is_survived(self):
        ident, s = await self.open()
        import random
        r = random.Random(1)
        for i in range(2000):
            kind = r.choice([PING, 0x20, STDIN, 0x25, 0x26, FS_READ, FS_WRITE,
                             FS_LIST, 0x33, FS_WATCH, 0x77])
            data = msgpack.packb({"path": "p", "command": "true",
                                  "args": ["a"], "content": b"c"})
            data = bytearray(data[:r.randrange(len(data) + 1)])
            for _ in range(r.randrange(4)):
                if data:
                    data[r.randrange(len(data))] = r.randrange(256)
            await s.send(kind, bytes(data), r.randrange(3), i)
        t = await self.connect(ident)
        self.assertEqual((await t.run("echo", "x"))[1], b"x\n")


class NoReply(AgentCase):
    traits = ("no-reply=1000",)

    async def test_requests_can_be_lost(self):
        _, s = await self.open()
        with self.assertRaises(asyncio.TimeoutError):
            await s.call(FS_LIST, {"path": ""}, 0.3)


class Owner(AgentCase):
    traits = ("watch-ms=50", "ports-ms=50")

    async def test_pong_goes_to_the_newest(self):
        ident, old = await self.open()
        new = await self.connect(ident)
        await new.wait(lambda m: m.kind == READY)
        await old.send(PING, b"", 0, 77)
        m = await new.wait(lambda m: m.kind == PONG)
        self.assertEqual(m.id, 77)
        await old.send(0x99, b"", 0, 78)
        m = await new.wait(lambda m: m.kind == ERROR)
        self.assertEqual(m.id, 78)
        # it does not come back when the newest closes
        await new.close()
        self.assertEqual((await old.call(FS_LIST, {"path": ""})).kind, FS_LIST)
        with self.assertRaises(asyncio.TimeoutError):
            await old.call(PING, b"", 0.3)
        self.assertEqual((await old.call(FS_WATCH, {"path": ""})).kind, ACK)
        await old.sh("touch x")
        with self.assertRaises(asyncio.TimeoutError):
            await old.wait(lambda m: m.kind == FS_EVENT, 0.3)

    async def test_rest_exec_takes_it(self):
        ident, s = await self.open()
        status, _, _ = await self.rest(
            "POST", f"/api/v2/sandboxes/{ident}/exec", {"command": "true"})
        self.assertEqual(status, 200)
        with self.assertRaises(asyncio.TimeoutError):
            await s.call(PING, b"", 0.3)
        t = await self.connect(ident)
        self.assertEqual((await t.call(PING, b"")).kind, PONG)

    LISTEN = ("import socket,sys,time; s=socket.socket(); "
              "s.bind(('127.0.0.1',0)); s.listen(); "
              "print(s.getsockname()[1],flush=True); sys.stdin.read(1)")

    async def test_ports(self):
        ident, s = await self.open()
        channel, pid = await s.start("/usr/bin/python3", "-c", self.LISTEN)
        m = await s.wait(lambda m: m.channel == channel)
        port = int(m.raw)
        m = await s.wait(lambda m: m.kind == PORT_OPEN)
        self.assertEqual((m.channel, m.id, m.raw), (
            0, 0, b"\x81\xa4port\xcd" + struct.pack(">H", port)))
        # once per connection, and once for the service's own
        m = await s.wait(lambda m: m.kind == PORT_OPEN)
        self.assertEqual(m.map, {"port": port})
        # a new connection is told of what is open
        t = await self.connect(ident)
        m = await t.wait(lambda m: m.kind == PORT_OPEN)
        self.assertEqual(m.map, {"port": port})
        await t.stdin(pid, b"x")
        m = await t.wait(lambda m: m.kind == PORT_CLOSE)
        self.assertEqual(m.map, {"port": port})

    async def test_ports_of_others_are_not_told(self):
        import socket
        ident, s = await self.open()
        _, other = await self.open()
        channel, _ = await other.start("/usr/bin/python3", "-c", self.LISTEN)
        with socket.socket() as own:
            own.bind(("127.0.0.1", 0))
            own.listen()
            await other.wait(lambda m: m.kind == PORT_OPEN)
            with self.assertRaises(asyncio.TimeoutError):
                await s.wait(lambda m: m.kind == PORT_OPEN, 0.3)

    async def test_a_port_can_be_reached_from_here(self):
        _, s = await self.open()
        channel, _ = await s.start("/usr/bin/python3", "-c", self.LISTEN)
        m = await s.wait(lambda m: m.channel == channel)
        reader, writer = await asyncio.open_connection("127.0.0.1", int(m.raw))
        writer.close()


class NoOwner(AgentCase):
    traits = ("owner=off",)

    async def test_each_gets_its_own_pong(self):
        ident, old = await self.open()
        await self.connect(ident)
        self.assertEqual((await old.call(PING, b"")).kind, PONG)


if __name__ == "__main__":
    unittest.main(warnings="ignore")
