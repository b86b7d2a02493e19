"""A freshly started agent, and clients of it, for the agent_*.py tests.

SBXFS_BUILD names the build folder that holds sbxfs-agent.  Every test starts
its own agent in its own folder on a free port.
"""
import asyncio
import json
import logging
import os
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import unittest

import aiohttp
import msgpack

# aiohttp's refused upgrades leave their answers to the garbage collector
logging.getLogger("asyncio").setLevel(logging.CRITICAL)

KEY = "key-of-the-tests"
BUILD = os.environ.get("SBXFS_BUILD", ".")
AGENT = os.path.join(BUILD, "sbxfs-agent")
WAIT = 60

PING, PONG, ERROR, ACK = 0x01, 0x02, 0x03, 0x04
EXEC_START, STDIN, STDOUT, STDERR, EXIT, SIGNAL = range(0x20, 0x26)
FS_READ, FS_WRITE, FS_LIST, FS_REMOVE, FS_WATCH, FS_EVENT = range(0x30, 0x36)
PORT_OPEN, PORT_CLOSE, READY = 0x40, 0x41, 0x50


def envelope(kind, channel=0, ident=0, payload=b""):
    return struct.pack(">BII", kind, channel, ident) + payload


class Message:
    def __init__(self, data):
        self.kind, self.channel, self.id = struct.unpack(">BII", data[:9])
        self.raw = data[9:]

    @property
    def map(self):
        return msgpack.unpackb(self.raw)

    def __repr__(self):
        return f"<{self.kind:#x} {self.channel} {self.id} {self.raw[:80]!r}>"


class Agent:
    """The process, and its control socket."""

    def __init__(self, *args, directory=None, prefix=(), key=KEY, env=None):
        self.own_dir = directory is None
        self.dir = directory or tempfile.mkdtemp(prefix="sbxfs-agent-test-")
        self.control = tempfile.mktemp(prefix="sbxfs-agent-ctl-")
        environ = dict(os.environ, **(env or {}))
        environ.pop("SBXFS_AGENT_KEY", None)
        if key is not None:
            environ["SBXFS_AGENT_KEY"] = key
        ready_r, ready_w = os.pipe()
        exit_r, self.lifeline = os.pipe()
        self.process = subprocess.Popen(
            [*prefix, AGENT, "--dir", self.dir, "--control", self.control,
             "--ready-fd", str(ready_w), "--exit-with-fd", str(exit_r), *args],
            pass_fds=[ready_w, exit_r], env=environ, text=True,
            stderr=subprocess.PIPE)
        os.close(ready_w)
        os.close(exit_r)
        line = b""
        while not line.endswith(b"\n"):
            more = os.read(ready_r, 100)
            if not more:
                break
            line += more
        os.close(ready_r)
        self.port = int(line.split()[1]) if line else None
        self.url = f"http://127.0.0.1:{self.port}"

    def command(self, line):
        """Sends one line to the control socket; the answer's lines."""
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(WAIT)
            s.connect(self.control)
            s.sendall(line.encode() + b"\n")
            answer = b""
            while not answer.endswith(b"\nok\n") and answer != b"ok\n":
                more = s.recv(65536)
                answer += more
                if not more or (answer.count(b"\n") == 1 and
                                line.startswith(("fault", "trait"))):
                    break
        return answer.decode().splitlines()

    def fault(self, what):
        assert self.command("fault " + what) == ["ok"], what

    def journal(self):
        lines = self.command("journal")
        assert lines[-1] == "ok"
        return lines[:-1]

    def stop(self, sig=signal.SIGTERM):
        os.close(self.lifeline)
        if self.process.poll() is None:
            self.process.send_signal(sig)
        self.process.wait(WAIT)
        stderr = self.process.stderr.read()
        self.process.stderr.close()
        if os.path.exists(self.control):
            os.unlink(self.control)  # it was killed
        if self.own_dir:
            shutil.rmtree(self.dir, ignore_errors=True)
        for word in ("ERROR: AddressSanitizer", "runtime error:",
                     "LeakSanitizer"):
            assert word not in stderr, stderr
        return stderr


class Socket:
    """One WebSocket to a sandbox; received messages are kept in order."""

    def __init__(self, ws):
        self.ws = ws
        self.kept = []
        self.next_id = 0
        self.next_channel = 70000

    async def send(self, kind, payload=b"", channel=0, ident=0):
        await self.ws.send_bytes(envelope(kind, channel, ident, payload))

    async def receive(self, timeout=WAIT):
        """The next message; None when the connection has ended."""
        m = await asyncio.wait_for(self.ws.receive(), timeout)
        if m.type != aiohttp.WSMsgType.BINARY:
            return None
        return Message(m.data)

    async def wait(self, wanted, timeout=WAIT):
        """The first message that wanted(m) likes; others are kept."""
        for i, m in enumerate(self.kept):
            if wanted(m):
                return self.kept.pop(i)

        async def search():
            while True:
                m = await self.receive()
                if m is None:
                    raise EOFError(self.ws.close_code)
                if wanted(m):
                    return m
                self.kept.append(m)
        return await asyncio.wait_for(search(), timeout)

    async def call(self, kind, fields, timeout=WAIT):
        """One request, and its reply."""
        self.next_id += 1
        ident = self.next_id
        payload = fields if isinstance(fields, bytes) else msgpack.packb(fields)
        await self.send(kind, payload, ident=ident)
        return await self.wait(lambda m: m.id == ident, timeout)

    async def start(self, command, *args, channel=None, **more):
        """ExecStart; (channel, process id)."""
        self.next_id += 1
        self.next_channel += 1
        ident = self.next_id
        channel = self.next_channel if channel is None else channel
        await self.send(EXEC_START, msgpack.packb(
            {"command": command, "args": list(args), "tty": False, **more}),
            channel, ident)
        m = await self.wait(lambda m: m.id == ident)
        assert m.kind == ACK, m.map
        return m.map["channel"], m.map["process_id"]

    async def stdin(self, pid, data):
        await self.send(STDIN, struct.pack(">I", pid) + data)

    async def finish(self, channel, timeout=WAIT):
        """Collects until the exit: (code, stdout, stderr)."""
        out = {STDOUT: bytearray(), STDERR: bytearray()}
        while True:
            m = await self.wait(lambda m: m.channel == channel and m.id == 0,
                                timeout)
            if m.kind == EXIT:
                return (m.map["exit_code"], bytes(out[STDOUT]),
                        bytes(out[STDERR]))
            out[m.kind] += m.raw

    async def run(self, command, *args, stdin=None, **more):
        channel, pid = await self.start(command, *args, **more)
        if stdin is not None:
            await self.stdin(pid, stdin)
        return await self.finish(channel)

    async def sh(self, line, **more):
        return await self.run("sh", "-c", line, **more)

    async def close(self):
        await self.ws.close()


class AgentCase(unittest.IsolatedAsyncioTestCase):
    """Starts an agent with `traits`; what a test opens is closed after it."""
    traits = ()
    arguments = ()

    async def asyncSetUp(self):
        # unittest's debug mode makes streams three times slower
        asyncio.get_running_loop().set_debug(False)
        self.agent = Agent(*self.arguments, *self.trait_arguments(self.traits))
        if self.agent.port is None:
            raise AssertionError(self.agent.stop())
        self.session = self.new_session()

    @staticmethod
    def trait_arguments(traits):
        return [a for t in traits for a in ("--trait", t)]

    def new_session(self, **headers):
        headers.setdefault("Authorization", f"ApiKey {KEY}")
        return aiohttp.ClientSession(
            headers=headers, timeout=aiohttp.ClientTimeout(WAIT))

    async def asyncTearDown(self):
        await self.session.close()
        self.agent.stop()

    async def rest(self, method, path, body=None, session=None, **more):
        """(status, JSON or text, headers)"""
        if body is not None:
            more["data"] = json.dumps(body)
        async with (session or self.session).request(
                method, self.agent.url + path, **more) as answer:
            text = await answer.text()
            try:
                return answer.status, json.loads(text), answer.headers
            except ValueError:
                return answer.status, text, answer.headers

    async def create(self, body=None, wait=True, version="v2"):
        status, sandbox, _ = await self.rest(
            "POST", f"/api/{version}/sandboxes", body or {})
        assert status == 201, (status, sandbox)
        if wait:
            await self.until_running(sandbox["id"])
        return sandbox

    async def until_running(self, ident):
        async def poll():
            while True:
                status, sandbox, _ = await self.rest(
                    "GET", f"/api/v2/sandboxes/{ident}")
                if status == 200 and sandbox["status"] == "running":
                    return
                await asyncio.sleep(0.02)
        await asyncio.wait_for(poll(), WAIT)

    async def connect(self, ident, session=None, version="v2", query="",
                      **more):
        """An upgrade; 503 just after `running` is the service's habit."""
        async def attempt():
            while True:
                try:
                    return await (session or self.session).ws_connect(
                        f"{self.agent.url}/api/{version}/sandboxes/{ident}/ws"
                        + query,
                        max_msg_size=0, **more)
                except aiohttp.WSServerHandshakeError as e:
                    if e.status != 503:
                        raise
                    await asyncio.sleep(0.02)
        s = Socket(await asyncio.wait_for(attempt(), WAIT))
        return s

    async def open(self, body=None):
        """A sandbox and a connection to it that is ready."""
        sandbox = await self.create(body)
        s = await self.connect(sandbox["id"])
        await s.wait(lambda m: m.kind == READY)
        return sandbox["id"], s


def process_is_there(pid):
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


async def until(condition, timeout=WAIT):
    """Waits for a condition that nothing announces."""
    async def poll():
        while not condition():
            await asyncio.sleep(0.02)
    await asyncio.wait_for(poll(), timeout)
