"""What the stand-in for Vtrix has in each sandbox: JSON-RPC on a WebSocket.

Commands run for real, in the sandbox's pod (pod.py).  Each call is a task of its
own, so that messages of different calls interleave.
"""
import asyncio
import base64
import codecs
import datetime
import json
import os
import signal
from asyncio.subprocess import PIPE

from aiohttp import WSMsgType, web

RING = 512 * 1024
READ_MAX = 200 * 1024
NO_FILE, NO_METHOD, BAD_PARAMS, FAILED = -32001, -32601, -32602, -32000
SIGNALS = ("SIGTERM", "SIGKILL", "SIGINT", "SIGHUP")


class Fault(Exception):
    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


def stamp(seconds):
    t = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
    return t.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def now():
    return datetime.datetime.now().timestamp()


class Command:
    """One command: its events since the start, as far as the ring goes."""

    def __init__(self, cmd_id, traits):
        self.cmd_id, self.traits = cmd_id, traits
        self.told = {"stdout": 0, "stderr": 0}
        self.started = stamp(now())
        self.events, self.size, self.first = [], 0, 0
        self.output = ""
        self.exit_code, self.timed_out = None, False
        self.proc = self.task = None
        self.changed = asyncio.Condition()

    async def start(self, params, pod):
        self.proc = await asyncio.create_subprocess_exec(
            *pod.enter(params.get("working_dir")), "/bin/bash", "-c",
            params["command"], env={**pod.env(), **(params.get("env") or {})},
            stdin=PIPE, stdout=PIPE, stderr=PIPE, start_new_session=True)
        self.task = asyncio.create_task(self.watch(
            params.get("stdin_data", "").encode(), params.get("timeout")))

    async def watch(self, stdin, timeout):
        pipes = [asyncio.create_task(self.feed(stdin)),
                 asyncio.create_task(self.follow("stdout", self.proc.stdout)),
                 asyncio.create_task(self.follow("stderr", self.proc.stderr))]
        try:
            await asyncio.wait_for(self.proc.wait(), timeout or None)
        except asyncio.TimeoutError:
            self.timed_out = True
            self.kill(signal.SIGKILL)
            await self.proc.wait()
        # who stays in the background with its stdout is not waited for
        await asyncio.wait(pipes, timeout=0.5)
        for p in pipes:
            p.cancel()
        code = self.proc.returncode
        async with self.changed:
            self.exit_code = code if code >= 0 else 128 - code
            self.changed.notify_all()

    async def feed(self, data):
        try:
            self.proc.stdin.write(data)
            await self.proc.stdin.drain()
        except ConnectionError:
            pass
        self.proc.stdin.close()

    async def follow(self, name, pipe):
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        rest = ""
        while True:
            data = await pipe.read(65536)
            if "lossy" in self.traits:
                text = data.decode("utf-8", "replace")
            else:
                text = decoder.decode(data, not data)
            rest = await self.tell(name, rest + text, not data)
            if not data:
                return

    async def tell(self, name, text, is_last):
        """As one of the ways in which examples show it; returns the rest."""
        if "lines" in self.traits or "bare-lines" in self.traits:
            *lines, rest = text.split("\n")
            end = "\n" if "lines" in self.traits else ""
            chunks = [(line + end, line + "\n") for line in lines]
            if is_last and rest:
                chunks.append((rest, rest))
                rest = ""
        else:
            step = 7 if "raw" in self.traits else 65536
            chunks = [(text[i:i + step],) * 2
                      for i in range(0, len(text), step)]
            if "newlines" in self.traits:
                chunks = [(c + "\n", t) for c, t in chunks]
            rest = ""
        async with self.changed:
            for chunk, raw in chunks:
                self.output += raw
                chunk = self.cut(name, chunk)
                self.events.append((name, chunk))
                self.size += len(chunk)
            while self.size > RING and len(self.events) > 1:
                self.size -= len(self.events.pop(0)[1])
                self.first += 1
            self.changed.notify_all()
        return rest

    def cut(self, name, chunk):
        """What is left of it under a limit of the events."""
        for t in self.traits:
            if t.startswith("cap-events="):
                chunk = chunk[:max(0, int(t[11:]) - self.told[name])]
        self.told[name] += len(chunk)
        return chunk

    async def replay(self, emit):
        """All events to emit(name, data), until the command has ended."""
        at = 0
        while True:
            async with self.changed:
                await self.changed.wait_for(
                    lambda: self.first + len(self.events) > at or
                    self.exit_code is not None)
                at = max(at, self.first)
                events = self.events[at - self.first:]
                at += len(events)
                ended = self.exit_code is not None
            for name, data in events:
                await emit(name, data)
            if ended and not events:
                return

    def result(self):
        output = self.output
        for t in self.traits:
            if t.startswith("cap="):
                output = output[:int(t[4:])]
        return {"cmd_id": self.cmd_id, "output": output,
                "exit_code": self.exit_code, "started_at": self.started}

    def kill(self, number):
        """While it is there: afterwards its number is soon another's, of some
        other test or of what that has started."""
        try:
            if self.proc.returncode is not None:
                raise ProcessLookupError
            os.killpg(self.proc.pid, number)
        except ProcessLookupError:
            raise Fault(FAILED, "no such process")

    async def end(self):
        if not self.task:
            return  # it has not begun
        try:
            self.kill(signal.SIGKILL)
        except Fault:
            pass
        await self.task


class Connection:
    def __init__(self, box, service):
        self.box, self.service = box, service
        self.ws = web.WebSocketResponse(max_msg_size=1 << 20)
        self.calls = set()

    async def serve(self, request):
        self.request = request
        await self.ws.prepare(request)
        self.box.connections.add(self)
        try:
            async for msg in self.ws:
                # a text is all it understands
                if msg.type != WSMsgType.TEXT:
                    break
                task = asyncio.create_task(self.call(msg.data))
                self.calls.add(task)
                task.add_done_callback(self.calls.discard)
        finally:
            self.box.connections.discard(self)
            for task in list(self.calls):
                task.cancel()
        return self.ws

    async def drop(self):
        """As when the network fails: no close frame."""
        if self.request.transport:
            self.request.transport.abort()

    async def send(self, obj):
        if not self.ws.closed:
            await self.ws.send_str(json.dumps({"jsonrpc": "2.0", **obj}))

    async def call(self, text):
        number = None
        try:
            try:
                m = json.loads(text)
                number, method = m["id"], m["method"]
                params = m.get("params", {})
            except (ValueError, KeyError, TypeError):
                raise Fault(-32700, "parse error")
            if self.service.delay:
                await asyncio.sleep(self.service.delay)
            self.service.note({"rpc": method, "sandbox": self.box.id,
                               "params": params})
            await self.answer(number, method, params)
        except Fault as e:
            await self.send({"id": number, "error": {"code": e.code,
                                                     "message": str(e)}})
        except (ConnectionError, RuntimeError):
            pass  # who asked is gone

    async def answer(self, number, method, params):
        f = getattr(self, "do_" + method, None)
        if not f or method in self.service.missing():
            raise Fault(NO_METHOD, "method not found: %s" % method)
        if self.box.status != "active":
            return  # the gateway took it, and nobody is there
        if self.service.fault("lost-before", method):
            return await self.drop()
        if self.service.fault("silent", method):
            return None
        try:
            result = await f(number, params)
        except ConnectionError:
            raise  # who asked is gone
        except FileNotFoundError as e:
            raise Fault(NO_FILE, "file not found: %s" % e.filename)
        except OSError as e:
            raise Fault(FAILED, "%s (os error %d)" % (e.strerror, e.errno))
        except (KeyError, TypeError, ValueError) as e:
            raise Fault(BAD_PARAMS, "invalid params: %s" % e)
        if self.service.fault("lost-after", method):
            return await self.drop()
        if self.service.fault("garbage", method):
            return await self.ws.send_str('{"jsonrpc":"2.0","id":')
        if self.service.fault("binary", method):
            return await self.ws.send_bytes(b"{}")
        if self.service.fault("no-result", method):
            result = {}
        if self.service.fault("huge", method):
            result["output"] = "x" * (20 << 20)
        await self.send({"id": number, "result": result})

    async def notify(self, number, method, **params):
        await self.send({"method": method, "params": {"id": number, **params}})

    # ---- commands ----

    async def do_exec(self, number, params):
        if not isinstance(params["command"], str) or \
                not isinstance(params.get("stdin_data", ""), str):
            raise Fault(BAD_PARAMS, "invalid type")
        command = self.box.new_command(self.service.traits)
        await command.start(params, self.box.pod)
        if params.get("detached"):
            return {"cmd_id": command.cmd_id, "pid": command.proc.pid,
                    "started_at": command.started}
        await self.notify(number, "exec.start")
        return await self.follow(number, command)

    async def follow(self, number, command):
        async def emit(name, data):
            await self.notify(number, "exec." + name, data=data)
            if self.service.fault("lost-during", "exec"):
                await self.drop()

        await command.replay(emit)
        if command.timed_out:
            raise Fault(FAILED, "command timed out")
        r = command.result()
        await self.notify(number, "exec.done", exit_code=r["exit_code"],
                          output=r["output"])
        return r

    async def do_exec_logs(self, number, params):
        return await self.follow(number, self.command(params))

    async def do_kill(self, _number, params):
        command, name = self.command(params), params.get("signal", "SIGTERM")
        if name not in SIGNALS:
            raise Fault(BAD_PARAMS, "unknown signal")
        if command.exit_code is not None:
            raise Fault(FAILED, "no such process")
        command.kill(getattr(signal, name))
        return {}

    def command(self, params):
        try:
            return self.box.commands[params["cmd_id"]]
        except KeyError:
            raise Fault(FAILED, "no such command")

    # ---- files ----

    async def do_read(self, _number, params):
        with open(self.host(params), "rb") as f:
            data = f.read()
        return {"type": "text", "truncated": len(data) > READ_MAX,
                "content": data[:READ_MAX].decode("utf-8", "replace")}

    async def do_read_stream(self, number, params):
        size, total = params.get("chunk_size") or 65536, 0
        with open(self.host(params), "rb") as f:
            while data := f.read(size):
                total += len(data)
                await self.notify(number, "read_stream.chunk",
                                  data=base64.b64encode(data).decode())
        return {"type": "text", "total_bytes": total}

    def host(self, params):
        return self.box.pod.host(params["path"])

    def put(self, path, data):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as f:
            f.write(data)
        return len(data)

    async def do_write(self, _number, params):
        return {"bytes_written": self.put(self.host(params),
                                          params["content"].encode())}

    async def do_write_binary(self, _number, params):
        path = self.host(params)
        self.put(path, base64.b64decode(params["data"], validate=True))
        if "mode" in params:
            os.chmod(path, params["mode"] & 0o7777)
        return {}

    async def do_edit(self, _number, params):
        with open(self.host(params), encoding="utf-8") as f:
            text = f.read()
        if text.count(params["old_text"]) != 1:
            raise Fault(FAILED, "old_text must occur exactly once")
        self.put(self.host(params), text.replace(
            params["old_text"], params["new_text"]).encode())
        return {"message": "edited"}

    def modified(self, st):
        return None if "null-times" in self.service.traits \
            else stamp(st.st_mtime)

    async def do_stat(self, _number, params):
        path = self.host(params)
        if not os.path.exists(path):
            return {"exists": False, "size": 0, "is_dir": False,
                    "is_file": False, "modified_at": None}
        st = os.stat(path)
        return {"exists": True, "size": st.st_size,
                "is_dir": os.path.isdir(path), "is_file": os.path.isfile(path),
                "modified_at": self.modified(st)}

    async def do_list_files(self, _number, params):
        found, top = [], self.host(params)
        with os.scandir(top) as entries:
            for e in entries:
                st = e.stat(follow_symlinks=os.path.exists(e.path))
                found.append({
                    "name": e.name.encode("utf-8", "surrogateescape")
                    .decode("utf-8", "replace"),
                    "path": os.path.join(params["path"], e.name)
                    .encode("utf-8", "surrogateescape")
                    .decode("utf-8", "replace"),
                    "size": st.st_size, "is_dir": e.is_dir(),
                    "modified_at": self.modified(st)})
        return found
