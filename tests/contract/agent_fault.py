"""Faults on command, and the journal."""
import asyncio
import json
import time
import unittest

import aiohttp

from agent_lib import FS_LIST, PING, PONG, READY, STDOUT, AgentCase


class Commands(AgentCase):
    def refused(self, line):
        answer = self.agent.command(line)
        self.assertNotIn("ok", answer, line)

    async def test_mistakes_are_told(self):
        for line in ("fault x", "fault delay", "fault delay x",
                     "fault blackhole maybe", "fault http 99 1",
                     "fault http 500", "fault drop-after x",
                     "fault expire nobody", "fault nothing 5",
                     "trait nothing=on", "trait piece=0", "trait piece"):
            self.refused(line)
        self.assertEqual(self.agent.command("trait piece=100"), ["ok"])

    async def test_journal_counts_and_clears(self):
        ident, s = await self.open()
        await s.call(PING, b"")
        await s.call(FS_LIST, {"path": ""})
        lines = self.agent.journal()
        self.assertIn("route 1 POST /api/v2/sandboxes", lines)
        # perhaps more than one, if the first was too early
        self.assertTrue([line for line in lines if line.endswith(
            " GET /api/v2/sandboxes/{id}/ws")])
        self.assertIn("type 0x01 1 9", lines)
        self.assertIn("type 0x32 1 16", lines)
        self.assertIn("sockets 1", lines)
        self.assertIn("ws 0x01 9", lines)
        self.assertFalse([line for line in self.agent.journal()
                          if line.startswith(("route", "type", "ws", "rest"))])

    async def test_runtime_pids(self):
        ident, _ = await self.open()
        pid, ok = self.agent.command(f"runtime-pids {ident}")
        self.assertGreater(int(pid), 0)

    async def test_traits_and_faults_by_option(self):
        from agent_lib import Agent
        agent = Agent("--fault", "http 418 1")
        try:
            async with self.session.get(
                    agent.url + "/api/v2/sandboxes") as answer:
                self.assertEqual(answer.status, 418)
        finally:
            agent.stop()


class Rest(AgentCase):
    path = "/api/v2/sandboxes"

    async def fine(self):
        status, answer, _ = await self.rest("GET", self.path)
        self.assertEqual((status, answer), (200, []))

    async def test_status(self):
        self.agent.fault("http 502 2")
        for _ in range(2):
            status, text, _ = await self.rest("GET", self.path)
            self.assertEqual((status, text), (502, "fault\n"))
        await self.fine()

    async def test_garbage_and_html(self):
        self.agent.fault("garbage 1")
        async with self.session.get(self.agent.url + self.path) as answer:
            with self.assertRaises(ValueError):
                json.loads(await answer.read())
        self.agent.fault("html 1")
        _, text, headers = await self.rest("GET", self.path)
        self.assertIn("<html>", text)
        self.assertEqual(headers["Content-Type"], "text/html")
        await self.fine()

    async def test_half(self):
        self.agent.fault("half 1")
        with self.assertRaises(aiohttp.ClientPayloadError):
            await self.rest("GET", self.path)
        await self.fine()

    async def test_huge(self):
        self.agent.fault("huge 1")
        total = 0
        async with self.session.get(self.agent.url + self.path) as answer:
            async for piece in answer.content.iter_chunked(1 << 20):
                total += len(piece)
        self.assertEqual(total, 100 << 20)
        await self.fine()

    async def test_refuse(self):
        self.agent.fault("refuse on")
        async with self.new_session() as s:
            with self.assertRaises(aiohttp.ClientConnectorError):
                await self.rest("GET", self.path, session=s)
        self.agent.fault("refuse off")
        await self.fine()

    async def test_blackhole(self):
        await self.fine()
        self.agent.fault("blackhole on")
        async with self.new_session() as s:
            tasks = [asyncio.create_task(self.rest("GET", self.path)),
                     asyncio.create_task(self.rest("GET", self.path,
                                                   session=s))]
            done, _ = await asyncio.wait(tasks, timeout=0.4)
            self.assertFalse(done)
            self.agent.fault("blackhole off")
            for task in tasks:
                self.assertEqual((await task)[0], 200)

    async def test_delay(self):
        self.agent.fault("delay 100")
        began = time.monotonic()
        await self.fine()
        self.assertGreaterEqual(time.monotonic() - began, 0.2)


class Sockets(AgentCase):
    traits = ("reorder=off",)

    async def test_delay_keeps_order_and_throughput(self):
        _, s = await self.open()
        self.agent.fault("delay 100")
        began = time.monotonic()
        await s.call(PING, b"")
        one = time.monotonic() - began
        self.assertGreaterEqual(one, 0.2)
        for i in range(100, 200):
            await s.send(PING, b"", 0, i)
        got = [(await s.receive()).id for _ in range(100)]
        self.assertEqual(got, list(range(100, 200)))
        # together, not one after the other
        self.assertLess(time.monotonic() - began, 50 * one)
        # 16 MiB in flight at once, not 1 MiB per round trip
        code, out, _ = await s.run("head", "-c", str(16 << 20), "/dev/zero")
        self.assertEqual((code, len(out)), (0, 16 << 20))
        code, out, _ = await s.run("seq", "100000")
        self.assertEqual(out, b"".join(b"%d\n" % i
                                       for i in range(1, 100001)))

    async def test_what_is_due_later_follows_a_full_turn(self):
        # just a turn's worth is due at once, and the exit only later
        self.agent.command("trait piece=4000")
        _, s = await self.open()
        channel, _ = await s.start(
            "sh", "-c", "sleep 0.2; head -c 524000 /dev/zero; sleep 0.6")
        self.agent.fault("delay 400")
        self.agent.fault("blackhole on")
        await asyncio.sleep(1)
        self.agent.fault("blackhole off")
        code, out, _ = await s.finish(channel)
        self.assertEqual((code, len(out)), (0, 524000))

    async def test_cut(self):
        _, s = await self.open()
        self.agent.fault("cut")
        self.assertIsNone(await s.receive())
        self.assertEqual(s.ws.close_code, 1006)

    async def test_drop_after(self):
        ident, s = await self.open()
        self.agent.fault("drop-after 100000")
        await s.start("cat", "/dev/zero")
        with self.assertRaises(EOFError):
            await s.wait(lambda m: m.kind not in (STDOUT,))
        s = await self.connect(ident)
        await s.wait(lambda m: m.kind == READY)
        self.assertEqual((await s.run("true"))[0], 0)

    async def test_blackhole(self):
        _, s = await self.open()
        self.agent.fault("blackhole on")
        with self.assertRaises(asyncio.TimeoutError):
            await s.call(PING, b"", 0.3)
        self.agent.fault("blackhole off")
        m = await s.wait(lambda m: m.kind == PONG)
        self.assertEqual(m.id, 1)

    async def test_not_ready(self):
        ident, s = await self.open()
        self.agent.fault("not-ready 2")
        for _ in range(2):
            with self.assertRaises(aiohttp.WSServerHandshakeError) as e:
                await self.session.ws_connect(
                    f"{self.agent.url}/api/v2/sandboxes/{ident}/ws")
            self.assertEqual(e.exception.status, 503)
        await self.connect(ident)

    async def test_no_reply(self):
        _, s = await self.open()
        self.agent.fault("no-reply 1")
        with self.assertRaises(asyncio.TimeoutError):
            await s.call(PING, b"", 0.3)
        self.assertEqual((await s.call(PING, b"")).kind, PONG)

    async def test_expire(self):
        ident, s = await self.open()
        self.agent.fault(f"expire {ident}")
        self.assertIsNone(await s.receive())
        status, _, _ = await self.rest("GET", f"/api/v2/sandboxes/{ident}")
        self.assertEqual(status, 404)


if __name__ == "__main__":
    unittest.main(warnings="ignore")
