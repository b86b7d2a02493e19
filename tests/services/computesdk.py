#!/usr/bin/python3
"""A stand-in for ComputeSDK: the gateway, and the daemon in each machine
(computesdk_daemon.py).  Misbehaves on request.

usage: computesdk.py [--dir DIR] [--port PORT] [--stay] [TRAIT ...]

Prints "ready PORT".  Ends with its stdin, or with --stay on a signal.  The
account's key is that of STANDIN_KEY ("right-key").  Sandboxes are folders in
DIR (a temporary one), their files in "workspace" below.

TRAITs of the gateway:
  prefix=P         /v1/sandbox or /sandbox, as it was once
  empty-token      creating gives "" as token: the key is the daemon's, too
  no-token         and no such member
  creating=N       find-or-create says N times that somebody else creates it
  find-null        what is not there is 200 with data null
  find-false       200 with success false;  404 is the default
  no-extend        404, as if there were no such sandbox
  extend-501       501
  lose-create      the connection breaks after creating, before the answer
  unwell=S         a new daemon is out of reach for S seconds: 502
  slash            URLs of daemons end with /
  extra-status     a status that nobody knows
TRAITs of the daemon:
  g1 g2 g3         its generation; g3 is the default
  merged-slashes   a proxy makes // in paths /
  absolute-as-relative  absolute paths are below the sandbox's directory
  all-400          a failed file call is 400, whatever the reason
  delete-nothing   204 for what was not there
  no-empty-content an empty file has no content member
  env-replaces     env of a command is all its environment
  no-stream        stream is ignored
  wait-408 wait-504 wait-500   what waiting ends with at its time's end;
                   200 with status running is the default
  no-pty           500 for a PTY
  stopped-terminals  status stopped, from birth on
  double-wrapped   terminals of the list are wrapped once more
  no-encoding      encoding is ignored, and not told
  no-encoding-member   messages do not tell it
  base64-input     of terminals that encode their output, input is so, too
  bytes-output     output in binary messages is bytes
  coupled          PTYs: no input until there is output (of g1, always)
  access-token-name    the query parameter is access_token
  binary-default   of a socket that does not say which protocol
  mixed            binary and text on one socket
  forced-binary forced-text    whatever was asked for
  json-in-binary   the data of binary messages is JSON
  greets           "connected" comes first (of g1, always)
  mute             nothing is sent on sockets
  queue=N          messages that a slow reader may owe, 256
  ping=S           seconds between pings, 54
  cut=S            the edge waits S seconds, 30
  cut-drops        and breaks the connection then
  body-max=N       413 for more bytes
  bodyless-fails   500 for a POST without body
  offsets floats strange-members all-flat all-wrapped
                   other ways to write the same JSON

What tests ask of it, without a key:
    GET  /_standin/journal       what was asked since the last time
    GET  /_standin/counts        how often, by call of the gateway
    POST /_standin/traits ["T", ...]  other traits from now on
    POST /_standin/fault {...}   a fault (computesdk_fault.py), at the gateway
    POST /_standin/daemon {"do": WORD, ...}   to all daemons, or that of "id":
        fault {"fault": {...}}   cut   close {"code"}   restart
        say {"text" or "hex"}, publish {"channel", "type", "data"}
        unwell {"seconds"}       traits {"traits"}
    POST /_standin/expire        tokens of daemons end, new ones are made
"""
import asyncio
import json
import os
import re
import shutil
import tempfile
import time
import uuid

from aiohttp import web

import computesdk_fault as faulty
from computesdk_machine import Machine
from computesdk_providers import check_provider
from computesdk_wire import Refusal, from_json, stamp
from standin import RAW, arguments, serve_raw, until_told

EXTEND_MS = 900000


class Sandbox:
    def __init__(self, ident, machine, provider, options):
        self.id, self.machine, self.provider = ident, machine, provider
        self.name, self.namespace = options.get('name'), None
        self.metadata, self.options = options.get('metadata'), options
        self.url = self.child = None
        timeout = options.get('timeout')
        self.expires = time.time() + timeout / 1000 if timeout else None
        self.created = time.time()


class Server:
    def __init__(self, traits, folder):
        self.traits, self.folder = set(traits), folder
        self.key = os.environ.get('STANDIN_KEY', 'right-key')
        self.boxes, self.snapshots = {}, {}
        self.journal, self.counts = [], {}
        self.faults = faulty.Faults()
        self.creating = {}
        self.port = 0

    def has(self, trait):
        return trait in self.traits

    def value(self, name, default):
        """Of a trait NAME=VALUE"""
        for t in self.traits:
            if t.startswith(name + '='):
                return t.partition('=')[2]
        return default

    def count(self, what):
        self.counts[what] = self.counts.get(what, 0) + 1

    def url_form(self):
        return 'http://127.0.0.1:{port}' + '/' * self.has('slash')

    def machines(self):
        return {b.machine for b in self.boxes.values()}

    # ---- sandboxes ----

    def get(self, ident):
        b = self.boxes.get(ident)
        if not b or b.expires and b.expires < time.time():
            raise Refusal(404, 'Sandbox not found')
        return b

    def shown(self, b, created=False):
        out = {'sandboxId': b.id, 'url': b.url, 'token': b.machine.token,
               'provider': b.provider, 'metadata': b.metadata,
               'name': b.name, 'namespace': b.namespace}
        if self.has('empty-token'):
            out['token'] = ''
        if self.has('no-token'):
            out['token'] = None
        if self.has('extra-status'):
            out['status'] = 'warm'
        if not created:
            del out['sandboxId']
        return {k: v for k, v in out.items() if v is not None}

    def check_options(self, body):
        for name, kind in (('timeout', (int, float)), ('templateId', str),
                           ('metadata', dict), ('envs', dict), ('name', str),
                           ('namespace', str), ('directory', str),
                           ('overlays', list), ('servers', list),
                           ('image', str), ('snapshotId', str)):
            if body.get(name) is not None and \
                    not isinstance(body[name], kind):
                raise Refusal(400, '%s: wrong type' % name)
        for v in (body.get('envs') or {}).values():
            if not isinstance(v, str):
                raise Refusal(400, 'envs: wrong type')

    async def make(self, request, body):
        self.check_options(body)
        ident = 'sb-' + uuid.uuid4().hex[:12]
        folder = os.path.join(self.folder, ident)
        if body.get('snapshotId'):
            snapshot = self.snapshots.get(body['snapshotId'])
            if not snapshot:
                raise Refusal(404, 'Snapshot not found')
            shutil.copytree(snapshot['folder'], folder, symlinks=True)
        machine = Machine(self, folder, ident, body)
        await machine.box.start()
        b = Sandbox(ident, machine, request.headers['X-Provider'], body)
        b.url = self.url_form().format(port=machine.box.port)
        seconds = float(self.value('unwell', 0))
        if seconds:
            await machine.tell('unwell', seconds=seconds)
        machine.sandboxes.add(ident)
        self.boxes[ident] = b
        return b

    async def create(self, request):
        b = await self.make(request, await body_of(request))
        if self.has('lose-create'):
            request.transport.abort()
        return self.shown(b, True)

    def named(self, body):
        if not isinstance(body.get('name'), str) or not body['name']:
            raise Refusal(400, 'name is required')
        key = (body.get('namespace') or 'default', body['name'])
        for b in list(self.boxes.values()):
            if (b.namespace, b.name) == key and not (
                    b.expires and b.expires < time.time()):
                return key, b
        return key, None

    async def find(self, request):
        _, b = self.named(await body_of(request))
        if b:
            return self.shown(b, True)
        if self.has('find-null'):
            return None
        if self.has('find-false'):
            return web.json_response({'success': False,
                                      'error': 'not found'})
        raise Refusal(404, 'Sandbox not found')

    async def find_or_create(self, request):
        body = await body_of(request)
        key, b = self.named(body)
        if not b:
            b = await self.make(request, body)
            b.namespace, b.name = key
            self.creating[key] = int(self.value('creating', 0))
        data = self.shown(b, True)
        if self.creating.get(key):
            self.creating[key] -= 1
            data['status'] = 'creating'
            del data['url']
        return data

    async def one(self, request, ident):
        return self.shown(self.get(ident))

    async def extend(self, request, ident):
        if self.has('extend-501'):
            raise Refusal(501, 'not implemented')
        if self.has('no-extend'):
            raise Refusal(404, 'not found')
        b, body = self.get(ident), await body_of(request)
        duration = body.get('duration', EXTEND_MS)
        if not isinstance(duration, (int, float)) or duration <= 0:
            raise Refusal(400, 'invalid duration')
        if b.expires:
            b.expires += duration / 1000
        return {}

    async def remove(self, b):
        del self.boxes[b.id]
        b.machine.sandboxes.discard(b.id)
        if not b.machine.sandboxes:
            await b.machine.box.kill()
            shutil.rmtree(b.machine.folder, ignore_errors=True)

    async def delete(self, request, ident):
        await self.remove(self.get(ident))
        if self.has('empty-delete'):
            return web.Response(status=204)
        return {}

    # ---- snapshots ----

    async def snapshot_make(self, request):
        body = await body_of(request)
        b, ident = self.get(body.get('sandboxId')), 'snap-' + uuid.uuid4().hex
        folder = os.path.join(self.folder, ident)
        shutil.copytree(b.machine.folder, folder, symlinks=True)
        shown = {'id': ident, 'provider': b.provider,
                 'createdAt': stamp(time.time()),
                 'metadata': body.get('metadata')}
        self.snapshots[ident] = {'folder': folder, 'shown': {
            k: v for k, v in shown.items() if v is not None}}
        return self.snapshots[ident]['shown']

    async def snapshot_list(self, request):
        return [s['shown'] for s in self.snapshots.values()]

    async def snapshot_delete(self, request, ident):
        if ident not in self.snapshots:
            raise Refusal(404, 'Snapshot not found')
        shutil.rmtree(self.snapshots.pop(ident)['folder'],
                      ignore_errors=True)
        return {}


SANDBOXES = (
    ('POST', '', Server.create),
    ('POST', '/find-or-create', Server.find_or_create),
    ('POST', '/find', Server.find),
    ('GET', '/([^/]+)', Server.one),
    ('DELETE', '/([^/]+)', Server.delete),
    ('POST', '/([^/]+)/extend', Server.extend),
)
SNAPSHOTS = (
    ('POST', '', Server.snapshot_make),
    ('GET', '', Server.snapshot_list),
    ('DELETE', '/([^/]+)', Server.snapshot_delete),
)


async def body_of(request):
    try:
        body = from_json(await request.read() or b'{}')
    except (ValueError, RecursionError):
        raise Refusal(400, 'body is no JSON')
    if not isinstance(body, dict):
        raise Refusal(400, 'body is no object')
    return body


def answer(data, status=200):
    return web.Response(
        status=status, body=json.dumps(data).encode(),
        content_type='application/json',
        headers={'x-request-id': uuid.uuid4().hex})


async def api(server, request):
    prefix = server.value('prefix', '/v1/sandboxes')
    for top, routes in ((prefix, SANDBOXES), ('/v1/snapshots', SNAPSHOTS)):
        for method, pattern, found in routes:
            m = re.fullmatch(re.escape(top) + pattern, request.path)
            if not m or method != request.method:
                continue
            if request.headers.get('X-ComputeSDK-API-Key') != server.key:
                raise Refusal(401, 'Invalid API key')
            check_provider(request.headers)
            server.count('%s %s' % (method, found.__name__))
            return await found(server, request, *m.groups())
    raise Refusal(404, 'Not Found')


# ---- what tests ask ----

async def own_journal(server, request):
    await asyncio.gather(*(m.tell('sync') for m in server.machines()))
    out, server.journal[:] = list(server.journal), []
    return out


async def own_counts(server, request):
    return server.counts


async def own_traits(server, request):
    server.traits = set(await request.json())
    for m in server.machines():
        await m.tell('traits', traits=sorted(server.traits))
    return {}


async def own_fault(server, request):
    text = await request.text()
    if text.startswith('{'):
        server.faults.add(json.loads(text))
    else:  # a word for all daemons
        for m in server.machines():
            await m.tell(text.split()[-1])
    return {}


async def own_daemon(server, request):
    order = await request.json()
    word, ident = order.pop('do'), order.pop('id', None)
    return [await m.tell(word, **order) for m in server.machines()
            if ident is None or ident in m.sandboxes]


async def own_expire(server, request):
    for m in server.machines():
        await m.expire()
    return {}


OWN = {'journal': own_journal, 'counts': own_counts, 'traits': own_traits,
       'fault': own_fault, 'daemon': own_daemon, 'expire': own_expire}


async def handle(request):
    server = request.app['server']
    if request.path.startswith('/_standin/'):
        return answer(await OWN[request.path[10:]](server, request))
    raw = await request.read()
    server.journal.append({
        'method': request.method, 'path': request.path,
        'query': request.query_string, 'body': raw.decode(errors='replace'),
        'headers': {k.lower(): v for k, v in request.headers.items()
                    if k.lower().startswith(('x-', 'content-type'))}})
    fault = server.faults.take('%s %s' % (request.method, request.path))
    response = await faulty.before(fault, request) if fault else None
    if response is not None:
        return response
    try:
        data = await api(server, request)
        response = data if isinstance(data, web.StreamResponse) else \
            answer({'success': True, 'data': data})
    except Refusal as e:
        response = answer({'success': False, 'error': str(e)}, e.status)
    return await faulty.after(fault, request, response) if fault else response


async def serve(args, server):
    raw = RAW & server.traits
    if raw:
        return await serve_raw(raw.pop(), args.port)
    app = web.Application(client_max_size=1 << 40)
    app['server'] = server
    app.router.add_route('*', '/{any:.*}', handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, '127.0.0.1', args.port).start()
    return runner.addresses[0][1]


async def reap(server):
    """The sandbox disappears at its time, without notice."""
    while True:
        await asyncio.sleep(0.2)
        for b in list(server.boxes.values()):
            if b.expires and b.expires < time.time():
                await server.remove(b)


async def main():
    args = arguments()
    folder = args.dir or tempfile.mkdtemp(prefix='computesdk.')
    server = Server(args.traits, folder)
    server.port = await serve(args, server)
    asyncio.ensure_future(reap(server))
    print('ready %d' % server.port, flush=True)
    await until_told(args.stay)
    await asyncio.gather(*(m.box.kill() for m in server.machines()))
    if not args.dir:
        shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)  # whatever connections are still open


asyncio.run(main())
