#!/usr/bin/python3
"""A stand-in for the time-travel service (generation 1), traps included.

usage: timetravel.py [--dir DIR] [--port N] [--agent] [--btrfs] [--boot MS]
                     [--slow MS] [--stay] [--records] [--s3]

Each VM is a folder and a pod, which commands enter, as with docker exec: they run
for real, with the folder's workspace as /workspace.
A snapshot is a copy of the workspace; with --records, of a run, a record only,
which takes as little time as with Btrfs and cannot be restored.
With --agent it is as with the runtimes that have one, not with docker; with --btrfs
a docker whose container goes on seeing what a restore or wipe has replaced.  A VM
needs the time of --boot to start.  Prints "ready PORT".  Ends, with all that its
commands left behind, at the end of its stdin, unless it is to stay.  The key is in
STANDIN_KEY, or a usual one.

What tests ask of it, without a key:
    GET  /_test/journal           requests so far, as JSON
    POST /_test/fault {"kind": K, "n": N, "path": P, "says": S}
        happens to the next N requests whose path ends with P and body has S:
        lost-before, lost-after   the connection breaks, before or after it
        unique                    500 of two snapshots in one millisecond
        html-500, garbage, half   after it was done
        refuse                    500 without having done it
        create-error              the VM is made with status error
    POST /_test/cut               the runs under way lose their connections
    POST /_test/delay {"ms": N}   each request is heard so much later
    POST /_test/blackhole {"on": B}   none is heard, nor answered, meanwhile
    POST /_test/restart           the service forgets its VMs' sandboxes
    POST /_test/folder {"vm": V}  -> {"workspace": path}
"""
import argparse
import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time

from aiohttp import web

from timetravel_vm import VM, now_text

KEY = os.environ.get("STANDIN_KEY", "ws_" + "0123456789abcdef" * 3)
BODY_MAX = 102400
TIMER_MAX = 2147483


def page(status, words):
    return web.Response(status=status, content_type="text/html", text=(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<title>Error</title>\n"
        "</head>\n<body>\n<pre>%s<br> &nbsp; at Layer.handle</pre>\n"
        "</body>\n</html>\n" % words))


def error(status, words):
    return web.json_response({"error": words}, status=status)


class Service:
    def __init__(self, args):
        self.args = args
        self.dir = args.dir or tempfile.mkdtemp(prefix="timetravel-standin.")
        self.vms, self.snapshots = {}, []
        self.number = self.snapshot_number = 0
        self.journal, self.faults, self.running = [], [], set()
        self.bucket = {}  # key: folder
        self.tasks = set()
        self.delay_s = args.slow / 1000
        self.heard = asyncio.Event()
        self.heard.set()

    # ---- snapshots ----

    def snapshot(self, vm, command, name=None):
        """Blocks the whole service, as the real one does."""
        name = name or "cmd_%d" % (time.time() * 1000)
        for s in self.snapshots:
            if s["vm_id"] == vm.number and s["snapshot_name"] == name:
                raise RuntimeError("UNIQUE constraint failed: "
                                   "snapshots.vm_id, snapshots.snapshot_name")
        if command is None or not self.args.records:
            vm.copy(name)
        self.snapshot_number += 1
        self.snapshots.append({
            "id": self.snapshot_number, "vm_id": vm.number,
            "snapshot_name": name, "command": command, "s3_key": None,
            "created_at": now_text()})
        return name

    def restore(self, vm, name):
        vm.restore(name)
        at = [s["created_at"] for s in self.snapshots
              if s["vm_id"] == vm.number and s["snapshot_name"] == name]
        if at:
            self.snapshots = [s for s in self.snapshots if
                              s["vm_id"] != vm.number or
                              s["created_at"] <= at[0]]

    # ---- commands ----

    @staticmethod
    def timeout_of(body):
        if "timeout" not in body:
            return 30.0
        try:
            t = float(body["timeout"])
        except (TypeError, ValueError):
            return 0.0
        return t if 0 < t <= TIMER_MAX else 0.0

    async def collect(self, stream, into, kind):
        while True:
            piece = await stream.read(65536)
            if not piece:
                return
            # each piece by itself: what is cut becomes two of these
            into.append(piece if kind is bytes
                        else piece.decode("utf-8", "replace"))

    async def execute_by_agent(self, vm, command, timeout):
        """A request at a time, for which its own client waits for 300 s;
        output is strict text."""
        timeout = float(int(timeout))
        async with vm.lock:
            code, out, err = await self.execute(vm, command,
                                                min(timeout, 300), bytes)
        if code == 124 and err.endswith(b"\nExecution timed out"):
            if timeout >= 300:
                raise RuntimeError("fetch failed")
            return 124, "", "Execution timed out"
        try:
            out, err = out.decode(), err.decode()
        except UnicodeDecodeError as e:
            return 1, "", str(e)
        return code, *(t.replace("\r\n", "\n").replace("\r", "\n")
                       for t in (out, err))

    async def execute(self, vm, command, timeout, kind=str):
        out, err = [], []
        proc = await asyncio.create_subprocess_exec(
            *vm.argv(command), env=vm.env(),
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE, start_new_session=True)
        tasks = [asyncio.ensure_future(self.collect(proc.stdout, out, kind)),
                 asyncio.ensure_future(self.collect(proc.stderr, err, kind)),
                 asyncio.ensure_future(proc.wait())]
        done, pending = await asyncio.wait(tasks, timeout=timeout or 0.001)
        for t in pending:  # the command goes on
            t.cancel()
        out, err = kind().join(out), kind().join(err)
        if pending:
            late = "\nExecution timed out"
            return 124, out, err + (late if kind is str else late.encode())
        code = proc.returncode
        if code < 0 and kind is str:
            code = 128 - code
        return code, out, err

    # ---- requests ----

    async def fault_for(self, request):
        for f in self.faults:
            if request.path.endswith(f["path"]) and f["n"] > 0 and (
                    f["says"] in await request.text()):
                f["n"] -= 1
                return f["kind"]
        return None

    @web.middleware
    async def middleware(self, request, handler):
        if request.path.startswith("/_test/"):
            return await handler(request)
        await self.heard.wait()
        entry = {"method": request.method, "path": request.path,
                 "at": time.time(),
                 "port": request.transport.get_extra_info("peername")[1]}
        self.journal.append(entry)
        fault = await self.fault_for(request)
        if fault == "lost-before":
            request.transport.abort()
            return web.Response()
        if fault == "refuse":
            return error(500, "connect ECONNREFUSED")
        await asyncio.sleep(self.delay_s)
        request["fault"] = fault
        request["entry"] = entry
        # who breaks the connection does not end what was asked
        task = asyncio.ensure_future(self.answer(request, handler))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        answer = await asyncio.shield(task)
        await self.heard.wait()
        entry["status"] = answer.status
        if fault == "lost-after":
            request.transport.abort()
        elif fault == "html-500":
            return page(500, "TypeError: Cannot read properties of undefined")
        elif fault == "garbage":
            return web.Response(body=os.urandom(300),
                                content_type="application/json")
        elif fault == "half":
            text = answer.text[:len(answer.text) // 2]
            return web.Response(text=text, content_type="application/json")
        elif fault == "unique":
            return error(500, "UNIQUE constraint failed: snapshots.vm_id, "
                              "snapshots.snapshot_name")
        return answer

    async def answer(self, request, handler):
        if request.path != "/health" and request.path != "/api-keys":
            key = request.headers.get("x-api-key")
            if not key:
                return error(401, "API key required")
            if key != KEY:
                return error(403, "Invalid API key")
        raw = await request.read()
        if len(raw) > BODY_MAX:
            return page(413, "PayloadTooLargeError: request entity too large")
        request["body"] = None
        if raw and "json" in request.headers.get("Content-Type", ""):
            try:
                request["body"] = json.loads(raw)
            except ValueError:
                return page(400, "SyntaxError: Unexpected token")
            if not isinstance(request["body"], (dict, list)):
                return page(400, "SyntaxError: Unexpected token")
        self.running.add(request.transport)
        try:
            return await handler(request)
        except web.HTTPNotFound:
            return page(404, "Cannot %s %s" % (request.method, request.path))
        except web.HTTPMethodNotAllowed:
            return page(404, "Cannot %s %s" % (request.method, request.path))
        finally:
            self.running.discard(request.transport)

    def vm(self, request, status=500):
        name = request.match_info["name"]
        vm = self.vms.get(name)
        if not vm:
            return None, error(status, "VM \"%s\" not found" % name)
        return vm, None

    def usable(self, request):
        vm, bad = self.vm(request)
        if vm and not vm.alive:
            return None, error(500, "VM \"%s\" sandbox not found" % vm.name)
        return vm, bad

    async def health(self, request):
        return web.json_response({"status": "ok", "timestamp": time.strftime(
            "%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())})

    async def me(self, request):
        return web.json_response({"api_key_id": 1, "api_key_name": "test",
                                  "created_at": now_text()})

    async def list(self, request):
        vms = sorted(self.vms.values(), key=lambda v: -v.number)
        return web.json_response({"vms": [v.record() for v in vms]})

    async def create(self, request):
        body = request["body"]
        if body is None:
            return page(500, "TypeError: Cannot destructure property 'name'")
        name = body.get("name")
        if not name:
            return error(400, "name is required")
        if name in self.vms:
            return error(500, "VM \"%s\" already exists" % name)
        self.number += 1
        vm = VM(self.dir, self.number, name, self.args)
        self.vms[name] = vm
        if request["fault"] == "create-error":
            vm.status, vm.alive = "error", False
            return error(500, "Command failed: docker run -d")
        await asyncio.sleep(self.args.boot / 1000)
        vm.status = "running"
        self.snapshot(vm, None, "initial")
        return web.json_response(vm.record(), status=201)

    async def get(self, request):
        vm, bad = self.vm(request, 404)
        if bad is not None:
            return bad
        # an agent that runs a command does not answer
        busy = vm.lock and vm.lock.locked()
        return web.json_response(dict(vm.record(), agentHealthy=vm.alive and
                                      not busy))

    async def delete(self, request):
        vm, bad = self.vm(request)
        if bad is not None:
            return bad
        del self.vms[vm.name]
        self.snapshots = [s for s in self.snapshots if
                          s["vm_id"] != vm.number]
        vm.end()
        return web.json_response({"message": "VM \"%s\" deleted" % vm.name})

    async def run(self, request):
        vm, bad = self.vm(request)
        if request["body"] is None:
            return page(500, "TypeError: Cannot destructure property")
        if bad is not None:
            return bad
        vm, bad = self.usable(request)
        command = request["body"].get("command")
        request["entry"]["command"] = str(command)[:300]
        if not command:
            return error(400, "command is required")
        if bad is not None:
            return bad
        if not isinstance(command, str):
            return error(500, "Wrong API use : tried to bind a value of an "
                              "unknown type")
        timeout = self.timeout_of(request["body"])
        run = self.execute_by_agent if vm.lock else self.execute
        try:
            code, out, err = await run(vm, command, timeout)
            name = self.snapshot(vm, command)
        except RuntimeError as e:
            return error(500, str(e))
        return web.json_response({"stdout": out, "stderr": err,
                                  "exitCode": code, "snapshot": name})

    async def wipe(self, request):
        vm, bad = self.usable(request)
        if bad is not None:
            return bad
        try:
            async with vm.lock or contextlib.AsyncExitStack():
                vm.empty()
        except OSError as e:
            return error(500, str(e))
        return web.json_response({"message": "VM \"%s\" wiped" % vm.name})

    async def list_snapshots(self, request):
        vm, bad = self.vm(request)
        if bad is not None:
            return bad
        return web.json_response({"snapshots": [
            s for s in self.snapshots if s["vm_id"] == vm.number]})

    async def all_snapshots(self, request):
        return web.json_response({"snapshots": self.snapshots[::-1]})

    async def do_restore(self, request):
        vm, bad = self.usable(request)
        if bad is not None:
            return bad
        try:
            async with vm.lock or contextlib.AsyncExitStack():
                self.restore(vm, request.match_info["snap"])
        except (RuntimeError, OSError) as e:
            return error(500, str(e))
        return web.json_response({"message": "Restored"})

    async def export(self, request):
        vm, bad = self.usable(request)
        body = request["body"]
        if body is None:
            return page(500, "TypeError: Cannot read properties of undefined")
        if bad is not None:
            return bad
        if not self.args.s3:
            return error(500, "S3 not configured")
        name = body.get("snapshot")
        source = vm.path("snapshots", name) if name else vm.workspace
        if not os.path.isdir(source):
            return error(500, "Snapshot \"%s\" not found" % name)
        self.number += 1
        key = body.get("key") or "%s/%d.tar.gz" % (vm.name, self.number)
        packed = os.path.join(self.dir, "bucket.%d" % self.number)
        shutil.copytree(source, packed, symlinks=True)
        self.bucket[key] = packed
        return web.json_response({"bucket": "b", "key": key, "size": 0,
                                  "url": "s3://b/" + key})

    async def do_import(self, request):
        vm, bad = self.usable(request)
        body = request["body"]
        if body is None:
            return page(500, "TypeError: Cannot read properties of undefined")
        if bad is not None:
            return bad
        if not body.get("name") or not body.get("key"):
            return error(400, "name and key are required")
        if not self.args.s3:
            return error(500, "S3 not configured")
        if body["key"] not in self.bucket:
            return error(500, "NoSuchKey: The specified key does not exist.")
        shutil.copytree(self.bucket[body["key"]],
                        vm.path("snapshots", body["name"]), symlinks=True)
        self.snapshot_number += 1
        self.snapshots.append({
            "id": self.snapshot_number, "vm_id": vm.number,
            "snapshot_name": body["name"], "s3_key": body["key"],
            "command": "[imported from s3://%s]" % body["key"],
            "created_at": now_text()})
        return web.json_response({"message": "Imported"})

    # ---- for tests ----

    async def test_journal(self, request):
        return web.json_response(self.journal)

    async def test_fault(self, request):
        f = await request.json()
        f.setdefault("n", 1)
        f.setdefault("path", "/run")
        f.setdefault("says", "")
        self.faults = [g for g in self.faults if g["n"] > 0] + [f]
        return web.json_response({})

    async def test_cut(self, request):
        for transport in self.running:
            transport.abort()
        return web.json_response({})

    async def test_delay(self, request):
        self.delay_s = (await request.json())["ms"] / 1000
        return web.json_response({})

    async def test_blackhole(self, request):
        if (await request.json())["on"]:
            self.heard.clear()
        else:
            self.heard.set()
        return web.json_response({})

    async def test_restart(self, request):
        for vm in self.vms.values():
            vm.alive = False
        return web.json_response({})

    async def test_folder(self, request):
        name = (await request.json())["vm"]
        return web.json_response(
            {"workspace": self.vms[name].workspace})

    def app(self):
        app = web.Application(middlewares=[self.middleware],
                              client_max_size=1 << 24)
        r = app.router
        r.add_get("/health", self.health)
        r.add_get("/me", self.me)
        r.add_get("/vms", self.list)
        r.add_post("/vms", self.create)
        r.add_get("/vms/{name}", self.get)
        r.add_delete("/vms/{name}", self.delete)
        r.add_post("/vms/{name}/run", self.run)
        r.add_post("/vms/{name}/wipe", self.wipe)
        r.add_get("/vms/{name}/snapshots", self.list_snapshots)
        r.add_get("/snapshots", self.all_snapshots)
        r.add_post("/vms/{name}/snapshots/{snap}/restore", self.do_restore)
        r.add_post("/vms/{name}/export", self.export)
        r.add_post("/vms/{name}/import", self.do_import)
        r.add_get("/_test/journal", self.test_journal)
        r.add_post("/_test/fault", self.test_fault)
        r.add_post("/_test/cut", self.test_cut)
        r.add_post("/_test/delay", self.test_delay)
        r.add_post("/_test/blackhole", self.test_blackhole)
        r.add_post("/_test/restart", self.test_restart)
        r.add_post("/_test/folder", self.test_folder)
        return app

    async def end(self):
        for vm in self.vms.values():
            vm.end()
        if self.tasks:  # whose commands have ended
            await asyncio.wait(self.tasks, timeout=5)
        if not self.args.dir:
            shutil.rmtree(self.dir, ignore_errors=True)


async def serve(args):
    service = Service(args)
    runner = web.AppRunner(service.app(), keepalive_timeout=5,
                           access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", args.port)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]
    print("ready", port, flush=True)
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    if not args.stay:
        loop.add_reader(sys.stdin, lambda: os.read(0, 4096) or ended.set())
    for sig in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sig, ended.set)
    await ended.wait()
    if not args.stay:
        loop.remove_reader(sys.stdin)
    await asyncio.wait([asyncio.ensure_future(runner.cleanup())], timeout=5)
    await service.end()


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--dir")
    p.add_argument("--port", type=int, default=0)
    p.add_argument("--agent", action="store_true")
    p.add_argument("--btrfs", action="store_true")
    p.add_argument("--boot", type=int, default=0)
    p.add_argument("--slow", type=int, default=0)
    p.add_argument("--stay", action="store_true")
    p.add_argument("--records", action="store_true")
    p.add_argument("--s3", action="store_true")
    asyncio.run(serve(p.parse_args()))


if __name__ == "__main__":
    main()
