#!/usr/bin/python3
"""The stand-in for Vtrix keeps to what is known of the gateway.

usage: vtrix_standin.py [CASE ...]
"""
import asyncio
import base64
import datetime
import json
import os
import sys
from unittest import mock

import aiohttp

import standin_lib
from standin_lib import BOUND, SERVICES, run

sys.path.insert(0, SERVICES)
from vtrix_executor import Command

HEAD = {"Authorization": "Bearer right-token", "X-Project-ID": "proj"}


class Standin(standin_lib.Standin):
    program, head = "vtrix.py", HEAD

    def __init__(self, *traits):
        super().__init__(*traits)
        self.top = "/api/v1/" + ("sandboxes" if {"g1b", "g2"} & set(traits)
                                 else "sandbox")

    async def ok(self, method, path, body=None):
        status, a = await self.ask(method, self.top + path, body)
        assert (status, a["code"]) == (200, 0), a
        return a["data"]

    async def test(self, path, body):
        await self.ask("POST", "/_test/" + path, body)

    async def create(self, **more):
        path = "" if "g1b" in self.traits else "/create"
        data = await self.ok("POST", path, {"user_id": "u", **more})
        return data["sandbox"]["id"]

    async def reach(self, box, status):
        async def poll():
            while (await self.ok("GET", "/" + box))["status"] != status:
                await asyncio.sleep(0.02)
        await asyncio.wait_for(poll(), BOUND)

    async def connect(self, box):
        return Rpc(await self.http.ws_connect(
            "%s%s/%s/connect" % (self.url, self.top, box), headers=HEAD))


class Rpc:
    def __init__(self, ws):
        self.ws, self.number = ws, 0

    async def send(self, method, **params):
        self.number += 1
        await self.ws.send_str(json.dumps({
            "jsonrpc": "2.0", "id": self.number, "method": method,
            "params": params}))
        return self.number

    async def call(self, method, **params):
        """(result or None, error or None, notifications)"""
        number, notes = await self.send(method, **params), []
        while True:
            m = await asyncio.wait_for(self.ws.receive(), BOUND)
            if m.type != aiohttp.WSMsgType.TEXT:
                raise ConnectionError("closed")
            m = json.loads(m.data)
            assert m["jsonrpc"] == "2.0"
            if m.get("id") == number:
                return m.get("result"), m.get("error"), notes
            if m["params"]["id"] == number:
                notes.append((m["method"], m["params"]))


def when(text):
    return datetime.datetime.fromisoformat(
        text.replace("Z", "+00:00")).timestamp()


def chunks(notes, name="exec.stdout"):
    return [p["data"] for method, p in notes if method == name]


async def case_life():
    for dialect in ("g1a", "g1b"):
        async with Standin(dialect, "slow-delete", "slow-create",
                           "pages=2") as s:
            boxes = [await s.create(labels={"name": str(i)}) for i in range(3)]
            for b in boxes:
                await s.reach(b, "active")
            ask = ("GET", "?offset=%d") if dialect == "g1b" \
                else ("POST", "/list")
            found, offset, more = [], 0, True
            while more:
                page = await s.ok(
                    ask[0], ask[1] % offset if dialect == "g1b" else ask[1],
                    None if dialect == "g1b" else {"offset": offset})
                found += [i["id"] for i in page["items"]]
                offset += len(page["items"])
                more = page["pagination"]["has_more"]
            assert found == boxes, found
            b = boxes[0]
            await s.ok("POST", "/%s/stop" % b, {})
            await s.reach(b, "stopped")
            status, a = await s.ask("POST", "%s/%s/stop" % (s.top, b), {})
            assert status == 409 and a["code"] != 0, a
            await s.ok("POST", "/%s/start" % b, {})
            await s.reach(b, "active")
            await s.ok("DELETE", "/" + b)
            # it is there for a while; the second time is an error
            assert (await s.ok("GET", "/" + b))["status"] == "destroying"
            status, a = await s.ask("DELETE", "%s/%s" % (s.top, b))
            assert a["code"] != 0, a

            async def gone():
                while (await s.ask("GET", "%s/%s" % (s.top, b)))[0] != 404:
                    await asyncio.sleep(0.02)
            await asyncio.wait_for(gone(), BOUND)


async def case_list_creates():
    """Q1: a list's body, sent to the second dialect, makes a sandbox."""
    async with Standin("g1b") as s:
        await s.ok("POST", "", {"limit": 10})
        assert len((await s.ok("GET", ""))["items"]) == 1


async def case_extend():
    for traits, body, moved in (
            (("g1a",), {"hours": 2}, 7200), (("g1a",), {"hours": 0}, 43200),
            (("g1a", "seconds"), {"seconds": 90}, 90),
            (("g1b",), {"seconds": 90}, 90), (("g1b",), {"hours": 2}, None),
            (("g1b",), {"seconds": 0}, None),
            (("g1b",), {"seconds": 86401}, None)):
        async with Standin(*traits) as s:
            b = await s.create()
            before = when((await s.ok("GET", "/" + b))["expire_at"])
            status, a = await s.ask("POST", "%s/%s/extend" % (s.top, b), body)
            after = when((await s.ok("GET", "/" + b))["expire_at"])
            assert round(after - before) == (moved or 0), (traits, body)
            assert (a["code"] == 0) == (moved is not None), a


async def case_refusals():
    async with Standin() as s:
        path = s.top + "/none"
        for head in ({}, {"Authorization": "Bearer wrong"}):
            assert (await s.ask("GET", path, head=head))[0] == 401
        assert (await s.ask("GET", path, head={
            **HEAD, "X-Project-ID": "other"}))[0] == 403
        assert (await s.ask("GET", path))[0] == 404
        await s.test("traits", ["always-200"])
        status, a = await s.ask("GET", path)
        assert status == 200 and a["code"] and "not found" in a["message"]
    async with Standin("g2") as s:
        _, a = await s.ask("POST", s.top, {"user_id": "u"})
        _, a = await s.ask("GET", s.top)
        assert "sandboxID" in a[0] and "code" not in a[0]
    async with Standin("create-fails") as s:
        await s.reach(await s.create(), "failed")


async def case_exec():
    async with Standin() as s:
        r = await s.connect(await s.create())
        result, _, notes = await r.call(
            "exec", command='cat; echo "$V" >&2; pwd -P; exit 3',
            stdin_data="in\n", env={"V": "v"}, working_dir="/")
        assert result["exit_code"] == 3 and result["cmd_id"]
        assert "".join(chunks(notes)) == "in\n/\n", notes
        assert chunks(notes, "exec.stderr") == ["v\n"]
        assert notes[0][0] == "exec.start" and notes[-1][0] == "exec.done"
        _, error, _ = await r.call("exec", command="sleep 60", timeout=1)
        assert error and error["code"], error
        result, _, _ = await r.call("exec", command="sleep 60", detached=True)
        assert set(result) == {"cmd_id", "pid", "started_at"}
        await r.call("kill", cmd_id=result["cmd_id"], signal="SIGKILL")
        done, _, _ = await r.call("exec_logs", cmd_id=result["cmd_id"])
        assert done["exit_code"] != 0
        _, error, _ = await r.call("kill", cmd_id=result["cmd_id"])
        assert error
        _, error, _ = await r.call("nothing")
        assert error["code"] == -32601
        _, error, _ = await r.call("exec", command=1)
        assert error["code"] == -32602


async def case_interleaved():
    """A call that waits hinders no other on the same connection."""
    async with Standin() as s:
        b = await s.create()
        r = await s.connect(b)
        first = await r.send("exec", command="until [ -e go ]; do sleep .05; "
                             "done; echo late")
        result, _, _ = await r.call("exec", command="touch go; echo early")
        assert result["output"] == "early\n"
        while True:
            m = json.loads((await asyncio.wait_for(r.ws.receive(),
                                                   BOUND)).data)
            if m.get("id") == first:
                break
        assert m["result"]["output"] == "late\n"


async def case_chunks():
    text = "a\nbcdefghij\nk"
    for trait, want in (("lines", ["a\n", "bcdefghij\n", "k"]),
                        ("bare-lines", ["a", "bcdefghij", "k"]),
                        ("raw", None), ("newlines", None)):
        async with Standin(trait, "cap=4") as s:
            r = await s.connect(await s.create())
            result, _, notes = await r.call(
                "exec", command="printf 'a\\nbcdefghij\\nk'")
            # where the others are cut is a matter of time, too
            got = chunks(notes)
            if trait == "newlines":
                assert all(c.endswith("\n") for c in got), got
                got = [c[:-1] for c in got]
            if trait == "raw":
                assert max(map(len, got)) <= 7, got
            assert got == want or not want and "".join(got) == text, notes
            assert result["output"] == "a\nbc", result
    async with Standin() as s:
        r = await s.connect(await s.create())
        _, _, notes = await r.call("exec", command=r"printf 'a\377\000'")
        assert "".join(chunks(notes)) == "a\ufffd\0", notes


async def case_ring():
    async with Standin() as s:
        r = await s.connect(await s.create())
        result, _, _ = await r.call(
            "exec", command="yes 1234567 | head -c 2000000; echo end")
        _, _, notes = await r.call("exec_logs", cmd_id=result["cmd_id"])
        replay = "".join(chunks(notes))
        assert replay.endswith("\nend\n") and len(replay) <= 512 * 1024


async def case_files():
    async with Standin() as s:
        b = await s.create()
        _, a = await s.ask("POST", "/_test/folder", {"id": b})
        r, path = await s.connect(b), "/workspace/d/f"
        real = a["folder"] + path
        raw = bytes(range(256)) * 300
        await r.call("write_binary", path=path, mode=0o750,
                     data=base64.b64encode(raw).decode())
        assert os.stat(real).st_mode & 0o777 == 0o750
        result, _, notes = await r.call("read_stream", path=path)
        data = b"".join(base64.b64decode(c)
                        for c in chunks(notes, "read_stream.chunk"))
        assert data == raw and result["total_bytes"] == len(raw)
        result, _, _ = await r.call("read", path=path)
        assert result["type"] == "text" and "\ufffd" in result["content"]
        result, _, _ = await r.call("stat", path=path)
        assert result["is_file"] and result["modified_at"]
        await s.test("traits", ["null-times"])
        result, _, _ = await r.call("list_files", path=os.path.dirname(path))
        assert [(f["name"], f["size"], f["is_dir"], f["modified_at"])
                for f in result] == [("f", len(raw), False, None)]
        result, _, _ = await r.call("stat", path="/none/such")
        assert result["exists"] is False
        for method in ("read", "read_stream", "list_files"):
            _, error, _ = await r.call(method, path="/none/such")
            assert error["code"] == -32001, error
        await r.call("write", path=path, content="x y x")
        _, error, _ = await r.call("edit", path=path, old_text="x",
                                   new_text="z")
        assert error
        await r.call("edit", path=path, old_text="y", new_text="z")
        with open(real) as f:
            assert f.read() == "x z x"


async def case_lost():
    for kind, made in (("lost-before", False), ("lost-during", True),
                       ("lost-after", True)):
        async with Standin() as s:
            b = await s.create()
            _, a = await s.ask("POST", "/_test/folder", {"id": b})
            r = await s.connect(b)
            await s.test("fault", {"kind": kind, "what": "exec"})
            try:
                await r.call("exec", command="touch made; echo x")
                raise AssertionError("the connection did not break")
            except ConnectionError:
                pass
            assert os.path.exists(a["folder"] + "/workspace/made") == made, kind
            r = await s.connect(b)
            result, _, _ = await r.call("exec", command="echo x")
            assert result["output"] == "x\n"


async def case_recreated():
    async with Standin("stale-start") as s:
        b = await s.create()
        r = await s.connect(b)
        old, _, _ = await r.call("exec", command="sleep 60", detached=True)
        await s.test("recreate", {"id": b})
        await s.reach(b, "active")
        try:
            await r.call("stat", path="/")
            raise AssertionError("the old socket lives")
        except ConnectionError:
            pass
        for _ in range(2):
            try:
                await s.connect(b)
                raise AssertionError("no stale address")
            except aiohttp.WSServerHandshakeError as e:
                assert e.status == 502
        r = await s.connect(b)
        _, error, _ = await r.call("exec_logs", cmd_id=old["cmd_id"])
        assert error
        assert not os.path.exists("/proc/%d" % old["pid"])


async def case_ended_commands_are_let_be():
    """Their numbers are others' by then."""
    class Pod:
        def enter(self, cwd):
            return []

        def env(self):
            return {}

    killed = []
    with mock.patch("os.killpg", lambda *number: killed.append(number)):
        command = Command("c", [])
        await command.start({"command": "exit 3"}, Pod())
        await asyncio.wait_for(command.task, BOUND)
        assert command.exit_code == 3
        await command.end()
    assert not killed


async def case_commands_are_forgotten():
    async with Standin() as s:
        r = await s.connect(await s.create())
        first, _, _ = await r.call("exec", command="echo first")
        for _ in range(200):
            await r.call("exec", command="echo more")
        _, error, _ = await r.call("exec_logs", cmd_id=first["cmd_id"])
        assert error


async def case_stopped():
    """Q7: a connection to a stopped sandbox proves nothing."""
    async with Standin() as s:
        b = await s.create()
        await s.ok("POST", "/%s/stop" % b, {})
        r = await s.connect(b)
        await r.send("stat", path="/")
        try:
            await r.ws.receive(timeout=0.3)
            raise AssertionError("a stopped sandbox answered")
        except asyncio.TimeoutError:
            pass
        await s.ok("POST", "/%s/start" % b, {})
        await s.reach(b, "active")
        r = await s.connect(b)
        result, _, _ = await r.call("stat", path="/")
        assert result["is_dir"]


asyncio.run(run(globals()))
