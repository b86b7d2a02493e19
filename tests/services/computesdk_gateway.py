"""The gateway of ComputeSDK's stand-in; see computesdk.py."""
import asyncio
import json
import os
import re
import shutil
import time
import uuid

from aiohttp import web

import computesdk_fault as faulty
from computesdk_machine import Machine
from computesdk_providers import check_provider
from computesdk_wire import Refusal, from_json, stamp

EXTEND_MS = 900000


class Sandbox:
    """One that somebody asked for: a machine, or a part of one"""

    def __init__(self, ident, machine, provider, options, shown):
        self.id, self.machine, self.provider = ident, machine, provider
        self.name = self.namespace = None
        self.metadata, self.url = options.get('metadata'), shown['url']
        self.parts = {k: shown.get(k) for k in ('overlays', 'servers')}
        self.polls = 0
        self.is_child = not shown['is_main']
        timeout = options.get('timeout')
        self.expires = time.time() + timeout / 1000 if timeout else None


class Server:
    def __init__(self, traits, folder):
        self.traits, self.folder = set(traits), folder
        self.key = os.environ.get('STANDIN_KEY', 'right-key')
        self.boxes, self.snapshots = {}, {}
        self.journal, self.counts = [], {}
        self.faults = faulty.Faults()
        self.creating, self.licensed = {}, None
        self.port = 0
        # of who makes or ends parts of machines
        self.changing = asyncio.Lock()

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

    def edge(self):
        return '.sandbox.localhost:%d' % self.port

    def url_form(self):
        return ('http://{sub}' + self.edge() if self.has('hosts') else
                'http://127.0.0.1:{port}') + '/' * self.has('slash')

    def port_form(self):
        if not self.has('hosts'):
            return 'http://127.0.0.1:{port}'
        form = 'http://{sub}-{port}' + self.edge()
        return form.replace('.sandbox.', '.preview.') \
            if self.has('preview') else form

    def port_of(self, subdomain):
        """That of a daemon for one of its sandboxes, or None"""
        for m in self.machines():
            if subdomain in m.ports:
                return m.ports[subdomain]
        return None

    def machines(self):
        return {b.machine for b in self.boxes.values()}

    def alive(self):
        return [b for b in self.boxes.values()
                if not b.expires or b.expires > time.time()]

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
        if created:
            out.update(b.parts)
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

    async def machine(self, ident, body):
        """A new one, with its daemon"""
        folder = os.path.join(self.folder, ident)
        machine = Machine(self, folder, ident, body)
        if body.get('snapshotId'):
            await copy(self.snapshot(body['snapshotId']),
                       os.path.join(folder, 'workspace'))
        await machine.start()
        seconds = float(self.value('unwell', 0))
        if seconds:
            await machine.tell('unwell', seconds=seconds)
        return machine

    async def make(self, request, body):
        self.check_options(body)
        ident = new_id()
        machine = await self.machine(ident, body)
        return self.keep(request, ident, machine, body,
                         await machine.tell('show'))

    def keep(self, request, ident, machine, body, shown):
        provider = request.headers.get('X-Provider', 'computesdk')
        b = Sandbox(ident, machine, provider, body, shown)
        machine.sandboxes.add(ident)
        self.boxes[ident] = b
        return b

    async def make_named(self, request, key, body):
        """A part of the machine of its namespace"""
        self.check_options(body)
        ident = new_id()
        machine = next((b.machine for b in self.boxes.values()
                        if b.namespace == key[0]), None)
        if self.has('alone'):
            machine = await self.machine(ident, body)
            shown = await machine.tell('show')
        else:
            if not machine:
                machine = await self.machine('m' + ident, {})
            if body.get('snapshotId'):
                await copy(self.snapshot(body['snapshotId']),
                           machine.child_folder(ident))
            shown = await machine.child(ident, body)
        b = self.keep(request, ident, machine, body, shown)
        b.namespace, b.name = key
        return b

    async def create(self, request):
        body = await body_of(request)
        b = await self.make(request, body)
        if body.get('name'):
            b.name = body['name']
            b.namespace = body.get('namespace') or 'default'
        if self.has('lose-create'):
            request.transport.abort()
        return self.shown(b, True)

    def named(self, body):
        if not isinstance(body.get('name'), str) or not body['name']:
            raise Refusal(400, 'name is required')
        key = (body.get('namespace') or 'default', body['name'])
        return key, next((b for b in self.alive()
                          if (b.namespace, b.name) == key), None)

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
        if not b and key in self.creating:
            # two at once get the same one
            await self.creating[key].wait()
            key, b = self.named(body)
        if not b:
            self.creating[key] = asyncio.Event()
            try:
                async with self.changing:
                    b = await self.make_named(request, key, body)
            finally:
                self.creating.pop(key).set()
            b.polls = int(self.value('creating', 0))
        data = self.shown(b, True)
        if b.polls:
            b.polls -= 1
            data['status'] = 'creating'
            data.pop('token', None)
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
        """Its machine goes with the last one on it."""
        if not self.boxes.pop(b.id, None):
            return
        async with self.changing:
            b.machine.sandboxes.discard(b.id)
            if not b.machine.sandboxes:
                await b.machine.end()
            elif b.is_child:
                await b.machine.unchild(b.id)

    async def delete(self, request, ident):
        await self.remove(self.get(ident))
        if self.has('empty-delete'):
            return web.Response(status=204)
        return {}

    async def license(self, request):
        """The key exchange of late 2025: a sandbox for the account"""
        body = await body_of(request)
        if body.get('key') != self.key:
            raise Refusal(401, 'Invalid license key')
        b = self.boxes.get(self.licensed)
        if not b:
            b = await self.make(request, {})
            self.licensed = b.id
        preview = self.url_form().replace('.sandbox.', '.preview.').format(
            port=b.machine.box.port, sub=b.id)
        return web.json_response({
            'access_token': b.machine.token, 'sandbox_url': b.url,
            'preview_url': preview})

    # ---- snapshots ----

    def snapshot(self, ident):
        """Its folder"""
        if ident not in self.snapshots:
            raise Refusal(404, 'Snapshot not found')
        return self.snapshots[ident]['folder']

    async def snapshot_make(self, request):
        body = await body_of(request)
        b, ident = self.get(body.get('sandboxId')), 'snap-' + uuid.uuid4().hex
        folder = os.path.join(self.folder, ident)
        await copy(b.machine.child_folder(b.id) if b.is_child else
                   os.path.join(b.machine.folder, 'workspace'), folder)
        shown = {'id': ident, 'provider': b.provider,
                 'createdAt': stamp(time.time()),
                 'metadata': body.get('metadata')}
        self.snapshots[ident] = {'folder': folder, 'shown': {
            k: v for k, v in shown.items() if v is not None}}
        return self.snapshots[ident]['shown']

    async def snapshot_list(self, request):
        return [s['shown'] for s in self.snapshots.values()]

    async def snapshot_delete(self, request, ident):
        shutil.rmtree(self.snapshot(ident), ignore_errors=True)
        del self.snapshots[ident]
        return {}


async def copy(source, target):
    """Whatever kinds of files there are"""
    os.makedirs(target, exist_ok=True)
    proc = await asyncio.create_subprocess_exec('cp', '-a', source + '/.',
                                                target)
    await proc.wait()


def new_id():
    return 'sb-' + uuid.uuid4().hex[:12]


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
    if (request.method, request.path) == ('POST',
                                          '/__api/license/authorize'):
        return await server.license(request)
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
