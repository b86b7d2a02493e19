#!/usr/bin/python3
"""A stand-in for Vtrix: the gateway's REST calls of generation 1, and the
executor of each sandbox (vtrix_executor.py).  Misbehaves on request.

usage: vtrix.py [--dir DIR] [--port PORT] [--stay] [TRAIT ...]

Prints "ready PORT".  Ends, with all that its commands left behind, at the end
of its stdin, or of a signal with --stay.  The token is that of STANDIN_KEY ("right-token"), the
project "proj" or none.  Sandboxes are folders in DIR (a temporary one).

TRAITs:
  g1b             paths and create of the second dialect; g1a is the default
  g2              answers as the second generation does, and runs nothing
  hours seconds   what extend takes; by default as the dialect does
  strict          and it refuses words that it does not know
  no-extend       it does nothing
  preview         sandboxes have a preview host
  preview-url     they have a preview address instead
  lines           a chunk of output is a line, with its end
  bare-lines      and without it
  raw             chunks of seven characters
  newlines        each chunk gets a line end that was not written
  lossy           a character cut by a chunk's end is damaged
  cap=N           "output" of a result has N characters at most
  cap-events=N    and so have the chunks of one command together
  slow-create     half a second until it is active
  slow-delete     get answers for half a second more, and stop takes it, too
  create-fails    the state becomes failed
  null-times      files have no times, sandboxes empty ones
  year-one        and sandboxes the first second of the year 1, which is none
  odd-ids         sandboxes have ids of many letters
  only-400        for 409, of a sandbox in another state
  stale-start     502 for the first two connections of what was started
  stale-500       and 500 for configure
  late-restart    the pod is there for a while after a restart or an update, and
                  active, before a new one is made
  always-200      HTTP says 200, whatever the code
  html            503 with a page for people
  below=P         all of it is below this path
  pages=N         at most N sandboxes in one answer
  endless         a list begins with the first one, again and again
  no-METHOD       -32601 for this method of the executor

What tests ask of it, without a token:
    GET  /_test/journal            requests and calls so far
    POST /_test/traits [T, ...]    other traits from now on
    POST /_test/fault {"kind": K, "what": W, "n": N}
        happens to the next N requests whose "METHOD /path" ends with W, or
        calls of the method W: lost-before, lost-after (it was done, the
        connection breaks), lost-during (after some output of exec), silent
        (no answer), garbage (no JSON), huge (20 MiB, or 100 of a request);
        of requests limit (429), half (of an answer), of methods binary (no
        text), no-result
    POST /_test/cut {}             every WebSocket breaks
    POST /_test/delay {"ms": N}    each call is heard so much later
    POST /_test/vanish {"id": I}   its pod is gone, its connections stay
    POST /_test/recreate {"id": I} as an update does: the pod is a new one
    POST /_test/folder {"id": I}   -> {"folder": path, "begun": how often}
"""
import argparse
import asyncio
import json
import os
import shutil
import signal
import socket
import sys
import tempfile
import uuid

from aiohttp import web

from vtrix_executor import Command, Connection, now, stamp
from pod import Pod

TOKEN = os.environ.get("STANDIN_KEY", "right-token")
DAY = 86400
G1A, G1B = "/api/v1/sandbox", "/api/v1/sandboxes"
KEPT = 100  # commands that have ended, of each sandbox


class Refusal(Exception):
    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


def variables(body):
    """What the payloads say to a pod of the environment of its commands."""
    found = {}
    for p in body.get("payloads") or []:
        if p["api"] == "/api/v1/env":
            found.update(p.get("body") or {})
    return found


class Box:
    def __init__(self, top, body, odd=False):
        self.id = "sb-" + uuid.uuid4().hex[:12] + "_.:@+~=," * odd
        self.user, self.labels = body["user_id"], body.get("labels")
        self.spec = body.get("spec")
        self.folder = os.path.join(top, self.id)
        self.pod = Pod(self.folder, variables(body))
        self.status, self.stale, self.begun = "creating", 0, 0
        self.created = now()
        self.expires = self.created + (body.get("ttl_hours") or 12) * 3600
        self.commands, self.connections = {}, set()

    def new_command(self, traits):
        """Those that ended long ago are forgotten, with what they printed."""
        ended = [c for c in self.commands.values() if c.exit_code is not None]
        for c in ended[:-KEPT]:
            del self.commands[c.cmd_id]
        command = Command("c-" + uuid.uuid4().hex[:8], list(traits))
        self.commands[command.cmd_id] = command
        return command

    def info(self, traits):
        def when(t):
            if "year-one" in traits:
                return "0001-01-01T00:00:00Z"
            return "" if "null-times" in traits else stamp(t)
        obj = {"id": self.id, "user_id": self.user, "namespace": "sandboxes",
               "image_tag": "base", "ip": "10.0.0.1", "status": self.status,
               "preview_url": "", "preview_host": "", "port": 8080,
               "created_at": when(self.created),
               "allocated_at": when(self.created),
               "expire_at": when(self.expires), "last_active_at": ""}
        if "preview" in traits:
            obj["preview_host"] = "sb.preview.example"
        if "preview-url" in traits:
            obj["preview_url"] = "https://one.preview.example/x"
        if self.labels is not None:
            obj["labels"] = self.labels
        if self.spec is not None:
            obj["spec"] = self.spec
        return obj

    async def lose_pod(self):
        for c in list(self.connections):
            await c.drop()
        for command in list(self.commands.values()):
            await command.end()
        self.commands = {}
        self.pod.end()
        # who connected meanwhile talks to nobody
        for c in list(self.connections):
            await c.drop()


class Service:
    def __init__(self, args):
        self.traits = args.traits
        self.dir = args.dir or tempfile.mkdtemp(prefix="vtrix-")
        self.temporary = not args.dir
        self.boxes, self.journal, self.faults = {}, [], []
        self.delay = 0
        self.tasks = set()

    # ---- what the executor asks ----

    def note(self, entry):
        self.journal.append(entry)

    def missing(self):
        return [t[3:] for t in self.traits if t.startswith("no-")]

    def fault(self, kind, what):
        for f in self.faults:
            if f["n"] > 0 and f["kind"] == kind and what.endswith(f["what"]):
                f["n"] -= 1
                return True
        return False

    # ---- answers ----

    def later(self, seconds, step):
        async def wait():
            await asyncio.sleep(seconds)
            await step()
        task = asyncio.create_task(wait())
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def envelope(self, status, code, message, data):
        if "always-200" in self.traits:
            status = 200
        return web.json_response(
            {"code": code, "message": message, "data": data,
             "request_id": uuid.uuid4().hex}, status=status)

    @web.middleware
    async def middleware(self, request, handler):
        if request.path.startswith("/_test/") or request.path == "/health":
            return await handler(request)
        what = "%s %s" % (request.method, request.path)
        self.note({"request": what, "body": (await request.text()) or None,
                   "type": request.headers.get("Content-Type"),
                   "project": request.headers.get("X-Project-ID")})
        if self.is_other_dialect(request.path):
            return web.Response(status=404, text="404: Not Found")
        if "html" in self.traits:
            return web.Response(status=503, content_type="text/html",
                                text="<html><h1>503 Unavailable</h1></html>")
        if self.fault("lost-before", what):
            request.transport.abort()
            return web.Response()
        odd = await self.odd(request, what)
        if odd is not None:  # an empty one is false
            return odd
        try:
            answer = await self.checked(request, handler)
        except Refusal as e:
            if "only-400" in self.traits and e.status == 409:
                e.status = 400
            answer = self.envelope(e.status, e.status, str(e), None)
        if self.fault("lost-after", what):
            request.transport.abort()
        return answer

    def below(self):
        return "".join(t[6:] for t in self.traits if t.startswith("below="))

    def is_other_dialect(self, path):
        is_second = bool({"g1b", "g2"} & set(self.traits))
        path = path.removeprefix(self.below())
        return path.startswith(G1A) and path.startswith(G1B) != is_second

    async def odd(self, request, what):
        """An answer that is none."""
        if self.fault("limit", what):
            return self.envelope(429, 429, "too many requests", None)
        if self.fault("garbage", what):
            return web.Response(text='{"code":0,"data":')
        if self.fault("silent", what):
            await asyncio.sleep(3600)
        if self.fault("half", what):
            answer = web.StreamResponse(headers={"Content-Length": "1000"})
            await answer.prepare(request)
            await answer.write(b'{"code":0,"data":{')
            request.transport.close()
            return answer
        if self.fault("huge", what):
            answer = web.StreamResponse()
            await answer.prepare(request)
            try:
                for _ in range(100):
                    await answer.write(b" " * (1 << 20))
            except ConnectionError:
                pass  # it had enough
            return answer
        return None

    async def checked(self, request, handler):
        if request.headers.get("Authorization") != "Bearer " + TOKEN:
            raise Refusal(401, "invalid token")
        if request.headers.get("X-Project-ID", "proj") != "proj":
            raise Refusal(403, "no such project")
        result = await handler(request)
        if isinstance(result, web.StreamResponse):
            return result
        return self.envelope(200, 0, "success", result)

    async def body(self, request):
        try:
            body = json.loads(await request.text() or "{}")
        except ValueError:
            raise Refusal(400, "body is not JSON")
        if not isinstance(body, dict):
            raise Refusal(400, "body is not an object")
        return body

    def box(self, request, *states):
        box = self.boxes.get(request.match_info["id"])
        if not box:
            raise Refusal(404, "sandbox not found")
        if states and box.status not in states:
            raise Refusal(409, "sandbox is %s" % box.status)
        return box

    # ---- calls ----

    async def create(self, request):
        body = await self.body(request)
        # the second dialect makes one of a list's body, too
        body.setdefault("user_id", "" if "g1b" in self.traits else None)
        if not isinstance(body["user_id"], str):
            raise Refusal(400, "user_id is required")
        box = Box(self.dir, body, "odd-ids" in self.traits)
        self.boxes[box.id] = box

        async def ready():
            box.status = "failed" if "create-fails" in self.traits \
                else "active"
        if "slow-create" in self.traits:
            self.later(0.5, ready)
        else:
            await ready()
        return {"sandbox": box.info(self.traits)}

    async def list(self, request):
        q = dict(request.query) if request.method == "GET" \
            else await self.body(request)
        found = [b for b in self.boxes.values()
                 if q.get("status") in (None, "", b.status)
                 and q.get("user_id") in (None, "", b.user)]
        if "g2" in self.traits:
            return web.json_response(
                [{"sandboxID": b.id, "state": "running"} for b in found])
        if "endless" in self.traits:
            return {"items": [b.info(self.traits) for b in found[:1]] * 1000,
                    "pagination": {"has_more": True}}
        offset, limit = int(q.get("offset", 0)), int(q.get("limit") or 50)
        for t in self.traits:
            if t.startswith("pages="):
                limit = min(limit, int(t[6:]))
        return {"items": [b.info(self.traits)
                          for b in found[offset:offset + limit]],
                "pagination": {"total": len(found), "limit": limit,
                               "offset": offset,
                               "has_more": offset + limit < len(found)}}

    async def get(self, request):
        box = self.box(request)
        if "g2" in self.traits:
            return web.json_response({
                "sandboxID": box.id, "state": "running",
                "envdUrl": "http://127.0.0.1:1"})
        return box.info(self.traits)

    async def delete(self, request):
        box = self.box(request, "active", "stopped", "creating", "failed")
        box.status = "destroying"
        await box.lose_pod()

        async def gone():
            self.boxes.pop(box.id, None)
            shutil.rmtree(box.folder, ignore_errors=True)
        if "slow-delete" in self.traits:
            self.later(0.5, gone)
        else:
            await gone()

    async def stop(self, request):
        box = self.box(request, "active")

        async def stopped():
            await box.lose_pod()
            box.status = "stopped"
        if "slow-delete" in self.traits:
            self.later(0.5, stopped)
        else:
            await stopped()

    async def begin_anew(self, box):
        async def begin():
            await box.lose_pod()
            await self.begin(box)
        if "late-restart" in self.traits:
            self.later(0.5, begin)
        else:
            await begin()

    async def begin(self, box):
        box.status = "creating"
        box.begun += 1
        box.stale = 2 if "stale-start" in self.traits else 0

        async def active():
            box.status = "active"
        self.later(0.1, active)

    async def start(self, request):
        await self.begin(self.box(request, "stopped"))

    async def restart(self, request):
        await self.begin_anew(self.box(request, "active"))

    async def extend(self, request):
        box, body = self.box(request), await self.body(request)
        hours = "hours" in self.traits or (
            "seconds" not in self.traits and "g1b" not in self.traits)
        if "strict" in self.traits and \
                set(body) - {"hours" if hours else "seconds"}:
            raise Refusal(400, "unknown field")
        n = body.get("hours", 0) if hours else body.get("seconds")
        if type(n) is not int or n < 0 or (not hours and not 0 < n <= DAY):
            raise Refusal(400, "invalid duration")
        if "no-extend" not in self.traits:
            box.expires += (n or 12) * 3600 if hours else n

    async def update(self, request):
        box, body = self.box(request, "active"), await self.body(request)
        if not body:
            raise Refusal(400, "nothing to update")
        box.spec = dict(box.spec or {}, **body.get("spec", {}))
        if "g1b" not in self.traits:
            box.pod.variables.update(variables(body))
        await self.begin_anew(box)

    async def configure(self, request):
        box = self.box(request, "active")
        if box.stale:
            box.stale -= 1
            raise Refusal(500 if "stale-500" in self.traits else 502,
                          "pod is not reachable")
        box.pod.told.update(variables(await self.body(request)))

    async def connect(self, request):
        box = self.box(request)
        if "g2" in self.traits:
            raise Refusal(404, "no such route")
        if box.stale and box.status == "active":
            box.stale -= 1
            raise Refusal(502, "pod is not reachable")
        # of a stopped one, too: it proves nothing
        return await Connection(box, self).serve(request)

    # ---- for tests ----

    async def test_journal(self, _request):
        return web.json_response(self.journal)

    async def test_traits(self, request):
        self.traits = await request.json()
        return web.json_response({})

    async def test_fault(self, request):
        self.faults.append({"n": 1, **await request.json()})
        return web.json_response({})

    async def test_cut(self, _request):
        for box in self.boxes.values():
            for c in list(box.connections):
                await c.drop()
        return web.json_response({})

    async def test_delay(self, request):
        self.delay = (await request.json())["ms"] / 1000
        return web.json_response({})

    async def test_vanish(self, request):
        self.boxes[(await request.json())["id"]].status = "creating"
        return web.json_response({})

    async def test_recreate(self, request):
        box = self.boxes[(await request.json())["id"]]
        await box.lose_pod()
        await self.begin(box)
        return web.json_response({})

    async def test_folder(self, request):
        box = self.boxes[(await request.json())["id"]]
        return web.json_response({"folder": box.folder, "begun": box.begun})

    async def health(self, _request):
        return web.json_response({"status": "ok"})

    def app(self):
        app = web.Application(middlewares=[self.middleware],
                              client_max_size=1 << 24)
        r = app.router
        first, second = self.below() + G1A, self.below() + G1B
        r.add_get(second, self.list)
        r.add_post(second, self.create)
        r.add_post(first + "/create", self.create)
        r.add_post(first + "/list", self.list)
        for top in first, second:  # of which only one is there at a time
            r.add_get(top + "/{id}/connect", self.connect)
            r.add_get(top + "/{id}", self.get)
            r.add_delete(top + "/{id}", self.delete)
            r.add_patch(top + "/{id}", self.update)
            for name in ("stop", "start", "restart", "extend", "configure"):
                r.add_post("%s/{id}/%s" % (top, name), getattr(self, name))
        r.add_get("/health", self.health)
        r.add_get("/_test/journal", self.test_journal)
        for name in ("traits", "fault", "cut", "delay", "vanish", "recreate",
                     "folder"):
            r.add_post("/_test/" + name, getattr(self, "test_" + name))
        return app

    async def end(self):
        for task in list(self.tasks):
            task.cancel()
        for box in list(self.boxes.values()):
            await box.lose_pod()
        if self.temporary:
            shutil.rmtree(self.dir, ignore_errors=True)


async def serve(args):
    service = Service(args)
    runner = web.AppRunner(service.app(), access_log=None)
    await runner.setup()
    listening = socket.create_server(("127.0.0.1", args.port))
    await web.SockSite(runner, listening).start()
    print("ready", listening.getsockname()[1], flush=True)
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    if not args.stay:
        loop.add_reader(sys.stdin, lambda: os.read(0, 4096) or ended.set())
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    await ended.wait()
    if not args.stay:
        loop.remove_reader(sys.stdin)
    await service.end()
    await asyncio.wait_for(runner.cleanup(), 5)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--dir")
    p.add_argument("--port", type=int, default=0)
    p.add_argument("--stay", action="store_true")
    p.add_argument("traits", nargs="*", metavar="TRAIT")
    asyncio.run(serve(p.parse_args()))


if __name__ == "__main__":
    main()
