"""A small xgen service for the contract tests: the wire as it is described,
commands run as plain local processes.  Misbehaves on request.

usage: xgen_standin.py [TRAIT ...]   prints "ready PORT"; ends with its stdin

TRAITs:
  v1-only            v2 routes do not exist
  no-apikey          the key must be exchanged for a token
  short-token        tokens live for 3 s: they must be renewed
  slow-start         a sandbox is "starting" for 0.5 s, then not ready yet
  busy               the first two commands are refused
  never-runs         a sandbox is "starting" for ever
  lose-create        the connection breaks after creating, before the answer
  flaky              every second GET breaks the connection
  flaky-404          every second GET of a sandbox says 404
  replicas           two, which do not know of each other: the first
                     connection leads to one, all others to the other
  behind             its clock is three hours behind
  ahead              ... or ahead
  deaf-file          FsRead is never answered, and goodbye is late
  limit              429 for the first two requests after the first
  camel              the other spelling of keys
  event-first        an event comes before SandboxReady
  no-ready           SandboxReady never comes
  dead-sidecar       101, then close 1011
  html               every answer is a web page
  half               answers end in the middle
  huge               the list is 100 MB
  huge-header        header lines without end
  silent             connections are accepted and nothing is said
  garbage            bytes that are no HTTP
  redirect           every answer points to another host
  bad-sandbox        sandboxes with ids like ../../etc
  deep               JSON nested a million levels
  tls                https, with the certificate and key in STANDIN_CERT
"""
import asyncio
import json
import os
import random
import ssl
import struct
import sys
import time
from email.utils import formatdate

import msgpack
from aiohttp import web, WSMsgType

KEY = os.environ.get('STANDIN_KEY', 'right-key')
traits = set(sys.argv[1:])
sandboxes, tokens = {}, {}
connections = {}
shift = 3 * 3600 * (('ahead' in traits) - ('behind' in traits))
counts = {'get': 0, 'all': 0, 'create': 0, 'token': 0, 'delete': 0,
          'bearer': 0, 'apikey': 0, 'term': 0, 'start': 0, 'keep': 0}


def allowed(request):
    word, _, secret = request.headers.get('Authorization', '').partition(' ')
    if word == 'ApiKey' and 'no-apikey' not in traits:
        counts['apikey'] += 1
        return secret == KEY
    if word == 'Bearer':
        counts['bearer'] += 1
        return tokens.get(secret, 0) > time.time()
    return False


def error(request, status, code, message):
    if '/v1/' in request.path:
        return web.json_response({'error': message, 'code': code},
                                 status=status)
    return web.json_response({'code': code, 'message': message,
                              'retryable': False}, status=status)


def shown(request, box):
    out = {k: v for k, v in box.items() if not k.startswith('_')}
    if 'bad-sandbox' in traits:
        out['id'] = '../../etc'
    if 'slow-start' in traits and time.time() < box['_born'] + 0.5:
        out['status'] = 'starting'
    if 'never-runs' in traits:
        out['status'] = 'starting'
    if '/v1/' in request.path:
        out['expires_at'] = '2099-01-01T02:00:00.123456789+02:00'
        out['created_at'] = '2026-04-22T10:00:00Z'
    else:
        out['expires_at_ms'] = int((box['_expires'] + shift) * 1000)
        out['created_at_ms'] = int((box['_born'] + shift) * 1000)
    return out


def replica(request):
    if 'replicas' not in traits:
        return 0
    return min(connections.setdefault(request.transport, len(connections)), 1)


@web.middleware
async def gate(request, handler):
    response = await gated(request, handler)
    if shift and not response.prepared:
        response.headers['Date'] = formatdate(time.time() + shift, usegmt=True)
    return response


async def gated(request, handler):
    replica(request)
    counts['all'] += 1
    if request.path == '/counts':
        return web.json_response(counts)
    if 'v1-only' in traits and '/v2/' in request.path:
        return web.Response(status=404, text='404 page not found\n')
    if 'html' in traits:
        return web.Response(text='<html>Welcome to nginx!</html>',
                            content_type='text/html')
    if 'redirect' in traits:
        return web.Response(status=302, headers={
            'Location': 'http://127.0.0.1:1/steal'})
    if 'huge' in traits:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(100):
            await response.write(b'[' + b' ' * (1 << 20))
        return response
    if 'deep' in traits:
        return web.Response(text='[' * 1000000, content_type='text/json')
    if request.path.endswith('/auth/token'):
        return await handler(request)
    if 'limit' in traits and counts['all'] in (2, 3):
        return web.Response(status=429, text='rate limit exceeded\n')
    if not allowed(request):
        return web.Response(status=401, text='{"error":"invalid API key"}\n')
    if 'flaky' in traits and request.method == 'GET':
        counts['get'] += 1
        if counts['get'] % 2 and not request.path.endswith('/ws'):
            request.transport.abort()
    return await handler(request)


async def token(request):
    counts['token'] += 1
    body = await request.json()
    if body.get('api_key') != KEY:
        return error(request, 401, 'UNAUTHORIZED', 'invalid API key')
    text = 'tok.%d' % random.getrandbits(60)
    life = 3 if 'short-token' in traits else 900
    tokens[text] = time.time() + life
    if '/v1/' in request.path:
        return web.json_response({'token': text, 'expires_at': 'soon'})
    return web.json_response({'token': text, 'expires_at_ms':
                              int((time.time() + life) * 1000)})


async def create(request):
    counts['create'] += 1
    body = await request.json()
    if not isinstance(body.get('env', {}), dict):
        return error(request, 400, 'INVALID_REQUEST', 'bad env')
    box = {'id': '%08x-%03x' % (random.getrandbits(32),
                                random.getrandbits(12)),
           'status': 'running', 'template': body.get('template', 'base'),
           'ws_url': 'http://wrong.invalid/', 'metadata':
           body.get('metadata', {}), '_born': time.time(),
           '_expires': time.time() + body.get(
               'timeout_ms', body.get('timeout_seconds', 3600) * 1000) / 1000,
           'from_warm_pool': False, '_body': body}
    if body.get('ports'):
        box['preview_urls'] = {str(p): 'http://sbx-%s-%d.localhost' % (
            box['id'], p) for p in body['ports']}
    box['_replica'] = replica(request)
    sandboxes[box['id']] = box
    if 'lose-create' in traits and counts['create'] == 1:
        request.transport.abort()
    return web.json_response(shown(request, box), status=201)


async def listing(request):
    boxes = [shown(request, b) for b in sandboxes.values()
             if b['_replica'] == replica(request)]
    random.shuffle(boxes)
    return web.json_response(boxes)


def find(request):
    counts['get'] += 1
    if 'flaky-404' in traits and counts['get'] % 2:
        return None
    box = sandboxes.get(request.match_info['id'])
    return box if box and box['_replica'] == replica(request) else None


def missing(request):
    return error(request, 404, 'SANDBOX_NOT_FOUND', 'sandbox not found')


async def get(request):
    box = find(request)
    return web.json_response(shown(request, box)) if box else missing(request)


async def delete(request):
    counts['delete'] += 1
    sandboxes.pop(request.match_info['id'], None)
    return web.Response(status=204)


async def keepalive(request):
    box = find(request)
    if not box:
        return missing(request)
    counts['keep'] += 1
    box['_expires'] = time.time() + 3600
    return web.Response(status=204)


class Connection:
    def __init__(self, ws):
        self.ws = ws
        self.processes = {}

    async def say(self, kind, channel, ident, payload=b''):
        await self.ws.send_bytes(struct.pack('>BII', kind, channel, ident) +
                                 payload)

    async def pump(self, kind, channel, stream):
        while True:
            data = await stream.read(4096)
            if not data:
                return
            await self.say(kind, channel, 0, data)

    async def run(self, channel, ident, p):
        if p.get('tty'):
            await self.say(3, channel, ident, msgpack.packb({
                'message': 'start pty: operation not permitted',
                'code': 'exec_failed'}))
            return
        counts['start'] += 1
        if 'busy' in traits and counts['start'] <= 2:
            await self.say(3, channel, ident, msgpack.packb(
                {'code': 'exec_failed', 'message': 'fork/exec /usr/bin/nsenter'
                 ': resource temporarily unavailable'}))
            return
        env = dict(PATH='/usr/bin:/bin', HOME='/tmp', **p.get('env', {}))
        try:
            proc = await asyncio.create_subprocess_exec(
                p['command'], *p.get('args', []), env=env, cwd='/tmp',
                stdin=-1, stdout=-1, stderr=-1, start_new_session=True)
        except OSError as e:
            await self.say(3, channel, ident, msgpack.packb(
                {'code': 'exec_failed', 'message':
                 'exec: "%s": no such file or directory' % p['command']}))
            return
        number = 2 ** 31 + random.getrandbits(20)
        self.processes[number] = proc
        ack = b'\x82\xaaprocess_id\xce' + struct.pack('>I', number) + \
            b'\xa7channel\xce' + struct.pack('>I', channel)
        await self.say(4, channel, ident, ack)
        await asyncio.gather(self.pump(0x22, channel, proc.stdout),
                             self.pump(0x23, channel, proc.stderr))
        code = await proc.wait()
        key = 'exitCode' if 'camel' in traits else 'exit_code'
        await self.say(0x24, channel, 0,
                       msgpack.packb({key: -1 if code < 0 else code}))

    async def stdin(self, payload):
        proc = self.processes.get(struct.unpack('>I', payload[:4])[0])
        if proc:
            proc.stdin.write(payload[4:])
            try:
                await proc.stdin.drain()
            except ConnectionError:
                pass

    def signal(self, payload):
        p = msgpack.unpackb(payload)
        proc = self.processes.get(p.get('process_id'))
        counts['term'] += 1
        if proc and proc.returncode is None:
            proc.terminate()


async def socket(request):
    box = sandboxes.get(request.match_info['id'])
    if not box:
        return web.Response(status=404, text='sandbox not found')
    if 'slow-start' in traits and time.time() < box['_born'] + 1:
        return web.Response(status=503, text='sandbox not ready')
    ws = web.WebSocketResponse(max_msg_size=32769, compress=False,
                              autoclose='deaf-file' not in traits)
    await ws.prepare(request)
    if 'dead-sidecar' in traits:
        await ws.close(code=1011, message=b'failed to connect to sandbox')
        return ws
    c = Connection(ws)
    if 'event-first' in traits:
        await c.say(0x40, 0, 0, msgpack.packb({'port': 3000}))
        await ws.send_bytes(b'short')
    if 'no-ready' not in traits:
        await c.say(0x50, 0, 0)
    async for m in ws:
        if m.type != WSMsgType.BINARY or len(m.data) < 9:
            continue
        kind, channel, ident = struct.unpack('>BII', m.data[:9])
        if kind == 0x20:
            asyncio.ensure_future(c.run(channel, ident,
                                        msgpack.unpackb(m.data[9:])))
        elif kind == 0x21:
            await c.stdin(m.data[9:])
        elif kind == 0x25:
            c.signal(m.data[9:])
        elif kind == 0x32:
            await c.say(0x32, channel, ident, msgpack.packb([]))
    if 'deaf-file' in traits:
        await asyncio.sleep(0.5)
        await ws.close()
    return ws


async def raw(reader, writer):
    """What is not even HTTP."""
    try:
        if 'silent' in traits:
            await asyncio.sleep(3600)
        await reader.readuntil(b'\r\n\r\n')
        if 'half' in traits:
            writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n'
                         b'\r\n[{"id": "abc')
        elif 'huge-header' in traits:
            writer.write(b'HTTP/1.1 200 OK\r\n')
            while True:
                writer.write(b'X-%d: %s\r\n' % (random.getrandbits(60),
                                                b'x' * 1000))
                await writer.drain()
        else:
            writer.write(b'SSH-2.0-OpenSSH_9.2p1 Debian\r\n')
        await writer.drain()
        writer.close()
    except (ConnectionError, asyncio.IncompleteReadError):
        pass


async def main():
    if traits & {'silent', 'half', 'garbage', 'huge-header'}:
        server = await asyncio.start_server(raw, '127.0.0.1', 0)
        port = server.sockets[0].getsockname()[1]
    else:
        app = web.Application(middlewares=[gate])
        for v in ('v1', 'v2'):
            base = '/api/%s/sandboxes' % v
            app.router.add_post('/api/%s/auth/token' % v, token)
            app.router.add_post(base, create)
            app.router.add_get(base, listing)
            app.router.add_get(base + '/{id}', get)
            app.router.add_delete(base + '/{id}', delete)
            app.router.add_post(base + '/{id}/keepalive', keepalive)
            app.router.add_get(base + '/{id}/ws', socket)
        app.router.add_get('/counts', lambda r: None)
        runner = web.AppRunner(app)
        await runner.setup()
        tls = None
        if 'tls' in traits:
            tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            tls.load_cert_chain(os.environ['STANDIN_CERT'])
        site = web.TCPSite(runner, '127.0.0.1', 0, ssl_context=tls)
        await site.start()
        port = site._server.sockets[0].getsockname()[1]
    print('ready %d' % port, flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    os._exit(0)


asyncio.run(main())
