#!/usr/bin/python3
"""A stand-in for OpenSandbox: the lifecycle server, and an execd for each
sandbox (opensandbox_execd.py).  Misbehaves on request.

usage: opensandbox.py [--dir DIR] [--port PORT] [--stay] [TRAIT ...]

Prints "ready PORT".  Ends with its stdin, or with --stay on a signal.  The
key is that of STANDIN_KEY ("right-key"); "" is none.  Sandboxes are folders
in DIR (a temporary one).  GET /_standin/journal gives what was asked since
the last time, GET /_standin/counts how often, POST /_standin/fault takes a
line: TRAIT, or "-TRAIT", or "execd WORD [NUMBER]" for every execd.

TRAITs:
  1.0.10 ... 1.0.19  which execd; 1.0.19 is the default
  jupyter            code contexts work
  kubernetes         pausing ends all processes; deleting takes a while
  pool               "Allocated" is the word for "Running"
  endpoint-path      execd is behind a path, as with Docker's bridge
  endpoint-header    execd is behind a gateway that goes by a header
  endpoint-dead      execd is to be reached by the server's proxy only
  endpoint-signed    a gateway that signs addresses for a time
  no-policy          no egress image: a networkPolicy is refused
  no-snapshots       501
  no-bash            no PTY can be started
  no-workspace       the working directory of a PTY cannot be made
  slow-start         "Pending" for half a second, then execd is unwell
  never-runs         "Pending" for ever
  starts-failing     "Failed" at once
  lose-create        the connection breaks after creating, before the answer
  create-loses-list  the same, and the list does not show it for a while
  flaky              every second GET breaks the connection
  flaky-execd        every second request of execd breaks
  limit              429 for the second and the third request
  busy               503 for the first two requests
  skew               the server's clock is 90 s ahead
  forget-pause       202, and nothing happens
  mixed-up           sandboxes and snapshots are asked for, and others told
  hold-get           the next answer about one sandbox comes when the trait
                     "held", which it becomes, is taken away
  hold-snapshots     so does the next list of them
  html half huge huge-header silent garbage redirect deep
                     what a server can say that is no OpenSandbox
  bad-sandbox        ids like ../../etc
  bad-endpoint       an endpoint that is no address
  bad-headers        an endpoint whose headers have line breaks
  pages              pages of two sandboxes at most, shifting
"""
import asyncio
import datetime
import email.utils
import json
import os
import re
import shutil
import tempfile
import time
import urllib.parse
import uuid

from aiohttp import web

import proxy as proxying
from box import Box
from standin import RAW, arguments, serve_raw, until_told

EXECD = 44772
EGRESS = 18080
LABEL = r'[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?'


class Refusal(Exception):
    def __init__(self, status, code, message):
        super().__init__(message)
        self.status, self.body = status, {'code': code, 'message': message}


class Invalid(Exception):
    """422, in the framework's words"""


def stamp(seconds):
    t = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
    return t.strftime('%Y-%m-%dT%H:%M:%S.%fZ')


def time_of(text):
    try:
        t = datetime.datetime.fromisoformat(text.replace('Z', '+00:00'))
    except (ValueError, AttributeError):
        raise Invalid('expiresAt')
    return (t if t.tzinfo else
            t.replace(tzinfo=datetime.timezone.utc)).timestamp()


async def body_of(request):
    try:
        body = json.loads(await request.read() or b'{}')
    except ValueError:
        raise Invalid('body')
    if not isinstance(body, dict):
        raise Invalid('body')
    return body


def check_metadata(metadata):
    for k, v in metadata.items():
        prefix, _, name = k.rpartition('/')
        if prefix.startswith('opensandbox.io') or \
                not re.fullmatch(LABEL, name) or \
                not isinstance(v, str) or (v and not re.fullmatch(LABEL, v)):
            raise Refusal(400, 'SANDBOX::INVALID_METADATA_LABEL',
                          "Metadata label '%s' is invalid" % k)


async def copy(folder, to):
    """With pipes and sockets, and whatever comes and goes meanwhile."""
    p = await asyncio.create_subprocess_exec(
        'cp', '-a', '--', folder, to, stderr=asyncio.subprocess.DEVNULL)
    await p.wait()


class Server:
    def __init__(self, traits, folder):
        self.traits, self.folder = set(traits), folder
        self.key = os.environ.get('STANDIN_KEY', 'right-key')
        self.boxes, self.snapshots, self.policies = {}, {}, {}
        self.journal, self.counts = [], {}
        self.requests = self.creates = self.port = 0

    def has(self, trait):
        return trait in self.traits

    def now(self):
        return time.time() + (90 if self.has('skew') else 0)

    def count(self, what):
        self.counts[what] = self.counts.get(what, 0) + 1
        return self.counts[what]

    # sandboxes

    def get(self, ident):
        b = self.boxes.get(ident)
        if not b or (b['_expires'] and b['_expires'] < self.now()):
            kind = 'KUBERNETES' if self.has('kubernetes') else 'DOCKER'
            raise Refusal(404, kind + '::SANDBOX_NOT_FOUND',
                          'Sandbox %s not found.' % ident)
        return b

    def state(self, b):
        if self.has('never-runs'):
            return 'Pending'
        if self.has('slow-start') and time.time() < b['_born'] + 0.5:
            return 'Pending'
        if self.has('starts-failing'):
            return 'Failed'
        if self.has('pool') and b['_state'] == 'Running':
            return 'Allocated'
        return b['_state']

    def shown(self, b, created=False):
        out = {k: v for k, v in b.items() if k[0] != '_' and v is not None}
        out['status'] = {'state': self.state(b), 'reason': 'STAND_IN',
                         'lastTransitionAt': stamp(b['_changed'])}
        out['createdAt'] = stamp(b['_born'])
        if b['_expires']:
            out['expiresAt'] = stamp(b['_expires'])
        if created:
            out.pop('image', None)
        if self.has('bad-sandbox'):
            out['id'] = '../../etc'
        return out

    def level(self):
        for t in self.traits:
            if re.fullmatch(r'1\.0\.\d+', t):
                return t.rpartition('.')[2]
        return '19'

    def check_create(self, body):
        if bool(body.get('image')) == bool(body.get('snapshotId')):
            raise Refusal(400, 'SANDBOX::INVALID_PARAMETER',
                          'exactly one of image and snapshotId')
        if not isinstance(body.get('resourceLimits'), dict):
            raise Invalid('resourceLimits')
        if body.get('image') and not body.get('entrypoint'):
            raise Invalid('entrypoint')
        timeout = body.get('timeout')
        if timeout is not None and (not isinstance(timeout, int)
                                    or timeout < 60):
            raise Invalid('timeout')
        if (timeout or 0) > 86400 * 30:
            raise Refusal(400, 'SANDBOX::INVALID_PARAMETER',
                          'timeout exceeds the maximum')
        check_metadata(body.get('metadata') or {})
        if body.get('networkPolicy') and self.has('no-policy'):
            raise Refusal(400, 'SANDBOX::INVALID_PARAMETER',
                          'networkPolicy needs an egress image')
        if body.get('secureAccess') and not self.has('kubernetes'):
            raise Refusal(400, 'SANDBOX::INVALID_PARAMETER', 'secureAccess')

    async def create(self, request):
        body = await body_of(request)
        self.check_create(body)
        snapshot = None
        if body.get('snapshotId'):
            snapshot = self.snapshot(body['snapshotId'])
        now, ident = self.now(), str(uuid.uuid4())
        folder = os.path.join(self.folder, ident)
        if snapshot:
            await copy(snapshot['_folder'], folder)
        else:
            os.makedirs(folder)
        args = ['--level', self.level()]
        if self.has('jupyter'):
            args.append('--jupyter')
        box = Box(folder, '/workspace', 'opensandbox_execd.py',
                  body.get('env') or {}, args,
                  lambda m: self.journal.append({'execd': True, **m}))
        b = {'id': ident, 'image': body.get('image') and
             {'uri': body['image']['uri']}, 'snapshotId':
             body.get('snapshotId'), 'metadata': body.get('metadata') or {},
             'entrypoint': body.get('entrypoint')
             or ['tail', '-f', '/dev/null'], '_born': now, '_changed': now,
             '_expires': now + body['timeout'] if body.get('timeout') else 0,
             '_state': 'Running', '_hidden': 0, '_body': body,
             '_box': box}
        await box.start()
        if self.has('slow-start'):
            b['_box'].say('unwell 2')
        for trait in ('no-bash', 'no-workspace'):
            if self.has(trait):
                b['_box'].say(trait)
        if body.get('networkPolicy'):
            p = dict(body['networkPolicy'])
            p.setdefault('defaultAction', 'deny')
            self.policies[ident] = p
        self.boxes[ident] = b
        self.creates += 1
        if self.has('lose-create') or self.has('create-loses-list'):
            if self.has('create-loses-list'):
                b['_hidden'] = time.time() + 0.7
            request.transport.abort()
        return 202, self.shown(b, created=True)

    async def list(self, request):
        q = request.query
        try:
            page, size = int(q.get('page', 1)), int(q.get('pageSize', 20))
        except ValueError:
            raise Invalid('page')
        if page < 1 or not 1 <= size <= 200:
            raise Invalid('pageSize')
        if self.has('pages'):
            size = min(size, 2)
        states = [s.lower() for s in q.getall('state', [])]
        wanted = urllib.parse.parse_qsl(q.get('metadata', ''),
                                        strict_parsing=bool(q.get('metadata')))
        chosen = [b for b in self.boxes.values()
                  if (not b['_expires'] or b['_expires'] > self.now())
                  and b['_hidden'] < time.time()
                  and (not states or self.state(b).lower() in states)
                  and all(b['metadata'].get(k) == v for k, v in wanted)]
        chosen.sort(key=lambda b: -b['_born'])
        start = (page - 1) * size
        if self.has('pages') and page > 1:
            start -= 1  # one came in meanwhile
        return 200, {
            'items': [self.shown(b) for b in chosen[start:start + size]],
            'pagination': {'page': page, 'pageSize': size,
                           'totalItems': len(chosen),
                           'totalPages': -(-len(chosen) // size),
                           'hasNextPage': start + size < len(chosen)}}

    async def one(self, request, ident):
        out = self.shown(self.get(ident))
        if self.has('mixed-up'):
            out['id'] = 'other-1'
        return 200, out

    async def delete(self, request, ident):
        b = self.get(ident)
        if self.has('kubernetes'):
            b['_state'] = 'Stopping'
            asyncio.ensure_future(self.remove(b, 0.3))
        else:
            await self.remove(b, 0)
        return 204, None

    async def remove(self, b, after):
        await asyncio.sleep(after)
        if self.boxes.pop(b['id'], None):
            await b['_box'].kill()
            shutil.rmtree(b['_box'].folder, ignore_errors=True)

    async def pause(self, request, ident):
        b = self.get(ident)
        if b['_state'] != 'Running':
            raise Refusal(409, 'DOCKER::SANDBOX_NOT_RUNNING', 'not running')
        if self.has('forget-pause'):
            return 202, None
        b['_changed'] = self.now()
        if self.has('kubernetes'):
            b['_state'] = 'Pausing'
            asyncio.ensure_future(self.settle(b, b['_box'].kill, 'Paused'))
        else:
            b['_box'].freeze(True)
            b['_state'] = 'Paused'
        return 202, None

    async def resume(self, request, ident):
        b = self.get(ident)
        if b['_state'] != 'Paused':
            raise Refusal(409, 'DOCKER::SANDBOX_NOT_PAUSED', 'not paused')
        b['_changed'] = self.now()
        if self.has('kubernetes'):
            b['_state'] = 'Resuming'
            asyncio.ensure_future(self.settle(b, b['_box'].start, 'Running'))
        else:
            b['_box'].freeze(False)
            b['_state'] = 'Running'
        return 202, None

    async def settle(self, b, act, state):
        await asyncio.sleep(0.3)
        await act()
        b['_state'] = state

    async def renew(self, request, ident):
        b = self.get(ident)
        until = time_of((await body_of(request)).get('expiresAt'))
        if until <= self.now():
            raise Refusal(400, 'SANDBOX::INVALID_EXPIRATION', 'in the past')
        if not b['_expires']:
            raise Refusal(409, 'DOCKER::INVALID_EXPIRATION',
                          'does not have a TTL to renew')
        b['_expires'] = until
        return 200, {'expiresAt': stamp(until)}

    async def metadata(self, request, ident):
        b, patch = self.get(ident), await body_of(request)
        merged = {**b['metadata'], **patch}
        merged = {k: v for k, v in merged.items() if v is not None}
        check_metadata(merged)
        b['metadata'] = merged
        return 200, self.shown(b)

    # endpoints

    async def endpoint(self, request, ident, port):
        b, port = self.get(ident), int(port)
        if self.has('kubernetes') and not b['_box'].proc:
            raise Refusal(404, 'KUBERNETES::POD_IP_NOT_AVAILABLE', 'no pod')
        me, far = '127.0.0.1:%d' % self.port, b['_box'].port
        if port == EGRESS and ident in self.policies:
            return 200, {'endpoint': '%s/_egress/%s' % (me, ident),
                         'headers': {'OPENSANDBOX-EGRESS-AUTH': 'egress-key'}}
        by_server = request.query.get('use_server_proxy') == 'true'
        if 'expires' in request.query:
            until = request.query['expires']
            if by_server or not self.has('endpoint-signed') or (
                    int(until) <= self.now()):
                raise Refusal(400, 'GENERAL::INVALID_PARAMETER',
                              'no signed route')
            return 200, {'endpoint': '%s-%d.gateway.example/%s'
                         % (ident, port, until)}
        if by_server:
            return 200, {'endpoint': '%s/sandboxes/%s/proxy/%d'
                         % (me, ident, port)}
        if self.has('bad-endpoint'):
            return 200, {'endpoint': 'evil.invalid/..\r\nX: y'}
        if self.has('bad-headers'):
            return 200, {'endpoint': '127.0.0.1:%d' % far,
                         'headers': {'X': 'a\r\nHost: evil', 'Y': 7}}
        if self.has('endpoint-dead'):
            return 200, {'endpoint': '127.0.0.1:1'}
        if self.has('endpoint-path'):
            return 200, {'endpoint': '127.0.0.1:%d/proxy/%d' % (far, port)}
        if self.has('endpoint-header'):
            return 200, {'endpoint': me, 'headers':
                         {'OpenSandbox-Ingress-To': '%s-%d' % (ident, port)}}
        return 200, {'endpoint': '127.0.0.1:%d' % (far if port == EXECD
                                                   else port)}

    def address(self, ident, port):
        b = self.boxes.get(ident)
        if not b or not b['_box'].proc:
            return 'http://127.0.0.1:1'
        return 'http://127.0.0.1:%d' % (b['_box'].port if port == EXECD
                                        else port)

    async def egress(self, request, ident):
        if request.headers.get('OPENSANDBOX-EGRESS-AUTH') != 'egress-key':
            return 401, {'error': 'unauthorized'}
        p = self.policies[ident]
        if request.method == 'PATCH':
            p['egress'] = await request.json() + p.get('egress', [])
        elif request.method == 'DELETE':
            gone = await request.json()
            p['egress'] = [r for r in p.get('egress', [])
                           if r['target'] not in gone]
        return 200, {'status': 'ok', 'mode': 'enforcing', 'enforcementMode':
                     'dns', 'policy': p}

    # snapshots

    def snapshot(self, ident):
        s = self.snapshots.get(ident)
        if not s:
            raise Refusal(404, 'SNAPSHOT::NOT_FOUND', 'Snapshot not found')
        return s

    def snapshot_shown(self, s):
        out = {k: v for k, v in s.items() if k[0] != '_' and v}
        ready = time.time() > s['_ready']
        out['status'] = {'state': 'Ready' if ready else 'Creating'}
        return out

    async def snapshot_make(self, request, ident):
        b = self.get(ident)
        if self.has('no-snapshots'):
            raise Refusal(501, 'SNAPSHOT::NOT_SUPPORTED', 'not supported')
        if b['_state'] != 'Running':
            raise Refusal(409, 'SNAPSHOT::INVALID_SOURCE_STATE', 'not running')
        sid = str(uuid.uuid4())
        s = {'id': sid, 'sandboxId': ident, 'name':
             (await body_of(request)).get('name'), 'createdAt':
             stamp(self.now()), '_ready': time.time() + 0.3,
             '_folder': os.path.join(self.folder, 'snapshot-' + sid)}
        await copy(b['_box'].folder, s['_folder'])
        self.snapshots[sid] = s
        return 202, self.snapshot_shown(s)

    async def snapshot_list(self, request):
        chosen = [s for s in self.snapshots.values()
                  if request.query.get('sandboxId', s['sandboxId'])
                  == s['sandboxId'] or self.has('mixed-up')]
        return 200, {'items': [self.snapshot_shown(s) for s in chosen],
                     'pagination': {'page': 1, 'pageSize': 200, 'totalItems':
                                    len(chosen), 'totalPages': 1,
                                    'hasNextPage': False}}

    async def snapshot_one(self, request, sid):
        out = self.snapshot_shown(self.snapshot(sid))
        if self.has('mixed-up'):
            out['id'] = 'other-1'
        return 200, out

    async def snapshot_delete(self, request, sid):
        s = self.snapshot(sid)
        if self.snapshot_shown(s)['status']['state'] == 'Creating':
            raise Refusal(409, 'SNAPSHOT::INVALID_STATE', 'creating')
        del self.snapshots[sid]
        shutil.rmtree(s['_folder'], ignore_errors=True)
        return 204, None

    async def health(self, request):
        return 200, {'status': 'healthy'}

    async def diagnostics(self, request, ident, what):
        b = self.get(ident)
        if 'scope' in request.query:
            return 501, {'code': 'GENERAL::NOT_IMPLEMENTED', 'message': what}
        return 200, '%s of %s\n' % (what, b['id'])


ROUTES = (
    ('GET', '/health', Server.health),
    ('POST', '/sandboxes', Server.create),
    ('GET', '/sandboxes', Server.list),
    ('GET', '/sandboxes/([^/]+)', Server.one),
    ('DELETE', '/sandboxes/([^/]+)', Server.delete),
    ('POST', '/sandboxes/([^/]+)/pause', Server.pause),
    ('POST', '/sandboxes/([^/]+)/resume', Server.resume),
    ('POST', '/sandboxes/([^/]+)/renew-expiration', Server.renew),
    ('PATCH', '/sandboxes/([^/]+)/metadata', Server.metadata),
    ('GET', '/sandboxes/([^/]+)/endpoints/(\\d+)', Server.endpoint),
    ('GET', '/sandboxes/([^/]+)/diagnostics/(\\w+)', Server.diagnostics),
    ('POST', '/sandboxes/([^/]+)/snapshots', Server.snapshot_make),
    ('GET', '/snapshots', Server.snapshot_list),
    ('GET', '/snapshots/([^/]+)', Server.snapshot_one),
    ('DELETE', '/snapshots/([^/]+)', Server.snapshot_delete),
)


def answer(status, body, headers):
    if isinstance(body, str):
        return web.Response(status=status, text=body, headers=headers)
    if body is None:
        # "Content-Length: 0", without which an SDK stumbles
        return web.Response(status=status, body=b'', headers=headers)
    return web.Response(status=status, body=json.dumps(body).encode(),
                        content_type='application/json', headers=headers)


async def strange(server, request):
    """What a server can answer that is no OpenSandbox; or None."""
    if server.has('html'):
        return web.Response(text='<html>Welcome to nginx!</html>',
                            content_type='text/html')
    if server.has('redirect'):
        return web.Response(status=302, headers={
            'Location': 'http://127.0.0.1:1/steal'})
    if server.has('deep'):
        return web.Response(text='[' * 1000000, content_type='text/json')
    if server.has('huge'):
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(100):
            await response.write(b'[' + b' ' * (1 << 20))
        return response
    return None


async def api(server, request, path):
    for method, pattern, found in ROUTES:
        m = re.fullmatch(pattern, path)
        if not m or method != request.method:
            continue
        key = request.headers.get('OPEN-SANDBOX-API-KEY')
        if server.key and path != '/health' and key != server.key:
            return 401, {'code': 'INVALID_API_KEY' if key else
                         'MISSING_API_KEY', 'message': 'Authentication '
                         'credentials are missing or invalid'}
        server.count('%s %s' % (method, found.__name__))
        try:
            return await found(server, request, *m.groups())
        except Refusal as e:
            return e.status, e.body
        except (Invalid, ValueError) as e:
            return 422, {'detail': [{'loc': ['body', str(e)], 'msg':
                                     'Input should be valid',
                                     'type': 'value_error'}]}
    return 404, {'detail': 'Not Found'}


async def own(server, request):
    if request.path == '/_standin/journal':
        out, server.journal[:] = list(server.journal), []
        return 200, out
    if request.path == '/_standin/counts':
        return 200, server.counts
    line = (await request.text()).strip()
    if line.startswith('execd '):
        for b in server.boxes.values():
            if b['_box'].proc:
                b['_box'].say(line[6:])
    elif line.startswith('-'):
        server.traits.discard(line[1:])
    else:
        server.traits.add(line)
    return 200, {}


def passing_fault(server, request):
    """429, 503 or a broken connection, as the traits say; or None."""
    n = server.requests
    if server.has('limit') and n in (2, 3):
        return web.Response(status=429, text='Too Many Requests')
    if server.has('busy') and n <= 2:
        return web.Response(status=503, text='Service Unavailable')
    if server.has('flaky') and request.method == 'GET' and \
            server.count('flaky') % 2:
        request.transport.abort()
    return None


async def handle(request):
    server, path = request.app['server'], request.path
    ident = request.headers.get('X-Request-ID') or uuid.uuid4().hex
    headers = {'X-Request-ID': ident,
               'Date': email.utils.formatdate(server.now(), usegmt=True)}
    if path.startswith('/_standin/'):
        return answer(*await own(server, request), headers)
    gateway = request.headers.get('OpenSandbox-Ingress-To', '')
    m = re.fullmatch(r'(.+)-(\d+)', gateway)
    if m:
        return await proxying.forward(request, server.address(
            m[1], int(m[2])) + request.raw_path)
    m = re.match(r'(?:/v1)?/sandboxes/([^/]+)/proxy/(\d+)', path)
    if m:
        if request.method in ('HEAD', 'OPTIONS'):
            return web.Response(status=405)
        # parsed and encoded again: bytes that are no text get lost
        rest = str(request.rel_url)[m.end():] or '/'
        return await proxying.forward(
            request, server.address(m[1], int(m[2])) + rest,
            {'authorization', 'cookie', 'open-sandbox-api-key'}, strange=True)
    m = re.match(r'/_egress/([^/]+)/policy', path)
    if m:
        return answer(*await server.egress(request, m[1]), headers)
    server.requests += 1
    server.journal.append({
        'method': request.method, 'path': path, 'query': request.query_string,
        'body': (await request.read()).decode(errors='replace')[:65536]})
    response = await strange(server, request)
    if response is None:
        response = passing_fault(server, request)
    if response is not None:
        return response
    if path.startswith('/v1/metrics/events'):
        return answer(200, {}, headers)
    said = await api(server, request,
                     path[3:] if path.startswith('/v1/') else path)
    held = server.has('hold-get') and r'sandboxes/[^/]+' or \
        server.has('hold-snapshots') and 'snapshots'
    if held and request.method == 'GET' and \
            re.fullmatch('(?:/v1)?/' + held, path):
        server.traits -= {'hold-get', 'hold-snapshots'}
        server.traits.add('held')
        server.count('held')
        while server.has('held'):
            await asyncio.sleep(0.01)
    return answer(*said, headers)


async def serve(args, server):
    """The port it listens on, and what takes it down again."""
    raw = RAW & server.traits
    if raw:
        return await serve_raw(raw.pop(), args.port), None
    app = web.Application(client_max_size=1 << 40)
    app['server'] = server
    app.cleanup_ctx.append(proxying.client)
    app.router.add_route('*', '/{any:.*}', handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, '127.0.0.1', args.port).start()
    return runner.addresses[0][1], runner


async def reap(server):
    """The sandbox disappears at its time, without notice."""
    while True:
        await asyncio.sleep(0.2)
        for b in list(server.boxes.values()):
            if b['_expires'] and b['_expires'] < server.now():
                await server.remove(b, 0)


async def main():
    args = arguments()
    folder = args.dir or tempfile.mkdtemp(prefix='opensandbox.')
    server = Server(args.traits, folder)
    server.port, runner = await serve(args, server)
    asyncio.ensure_future(reap(server))
    print('ready %d' % server.port, flush=True)
    await until_told(args.stay)
    await asyncio.gather(*(b['_box'].kill() for b in server.boxes.values()))
    if not args.dir:
        shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)  # whatever connections are still open


asyncio.run(main())
