#!/usr/bin/python3
"""The daemon in each machine of ComputeSDK's stand-in; see computesdk.py.

usage: computesdk_daemon.py DIRECTORY SUBDOMAIN

Its sandboxes each have a port of their own.  Traits, tokens and the key are
in the environment.  Lines of JSON on stdout: first {"ready": PORT}, then what
it was asked; on stdin what it is told, {"do": WORD, ...}; ends with that.
Shares no code with the client.
"""
import asyncio
import functools
import json
import os
import re
import sys
import time

from aiohttp import web

import computesdk_fault as faulty
import computesdk_files as files
import computesdk_run as running
import computesdk_socket as sockets
import computesdk_terminals as terminals
from computesdk_wire import (Answer, Refusal, fail, from_json,
                             not_routed, query, stamp, words)

EDGE_S, EDGE_MAX_S = 30, 300


class Space:
    """A sandbox: the main one of the machine, or a child"""

    def __init__(self, subdomain, directory, is_main):
        self.subdomain, self.directory = subdomain, directory
        self.is_main, self.created = is_main, time.time()
        self.port = self.site = None


class Daemon:
    def __init__(self):
        env = os.environ
        self.traits = set(env.pop('STANDIN_TRAITS', '').split())
        self.token = env.get('COMPUTESDK_ACCESS_TOKEN')
        self.key = env.pop('STANDIN_KEY', None)
        self.url = env.pop('STANDIN_URL', 'http://127.0.0.1:{port}')
        self.gen = next((g for g in (1, 2) if self.has('g%d' % g)), 3)
        if self.gen == 1:
            self.traits.add('coupled')
        self.spaces, self.hub = {}, sockets.Hub()
        self.terminals, self.pending = {}, {}
        self.terminals_lock = asyncio.Lock()
        self.batch_lock = asyncio.Lock()
        self.faults = faulty.Faults()
        self.count, self.unwell_until = 0, 0
        self.runner = None

    def has(self, trait):
        return trait in self.traits

    def number(self, name, default):
        """Of a trait NAME=N"""
        for t in self.traits:
            if t.startswith(name + '='):
                return float(t.partition('=')[2])
        return default

    def ident(self, what):
        self.count += 1
        return '%s-%d%03d' % (what, time.time_ns(), self.count % 1000)

    def tell(self, **what):
        try:
            sys.stdout.write(json.dumps(what) + '\n')
            sys.stdout.flush()
        except OSError:
            pass

    def main(self):
        return next(s for s in self.spaces.values() if s.is_main)

    def url_of(self, space):
        return self.url.format(port=space.port, sub=space.subdomain)

    # ---- terminals ----

    def new_terminal(self, space, pty, encoding=None):
        t = terminals.Terminal(self, space, self.ident('terminal'), pty,
                               encoding)
        self.terminals[t.id] = t
        return t

    def terminal(self, ident):
        if ident not in self.terminals:
            raise Refusal(404, 'terminal not found')
        return self.terminals[ident]

    # ---- who asks ----

    def token_kind(self, token):
        """access_token, session_token or None"""
        if self.gen == 1 or token and token in (self.token, self.key):
            return 'access_token'
        return None

    def token_of(self, request):
        name = 'access_token' if self.has('access-token-name') else 'token'
        given = query(request, name)
        head = request.headers.get('Authorization', '')
        if head.startswith('Bearer '):
            given = head[7:]
        return given or request.cookies.get('session')


class Call:
    """One request, and the sandbox that it is for"""

    def __init__(self, daemon, space, request):
        self.daemon, self.space, self.request = daemon, space, request
        self.kind = daemon.token_kind(daemon.token_of(request))

    async def body(self):
        raw = await self.request.read()
        if not raw.strip():
            return {}
        try:
            value = from_json(raw)
        except (ValueError, RecursionError) as e:
            raise Refusal(400, 'invalid character: %s' % e)
        if not isinstance(value, dict):
            raise Refusal(400, 'json: cannot unmarshal into Go value')
        return value

    async def aside(self, work, *args):
        """What may block, in a thread"""
        return await asyncio.get_running_loop().run_in_executor(
            None, functools.partial(work, *args))


# ---- calls about the daemon itself ----

async def health(call):
    daemon = call.daemon
    data = {'status': 'ok'}
    if daemon.gen > 1:
        data['timestamp'] = stamp(time.time(), daemon.traits)
    return Answer(data, flat=True)


async def info(call):
    daemon = call.daemon
    return Answer({'auth_enabled': daemon.token is not None,
                   'main_subdomain': daemon.main().subdomain,
                   'sandbox_count': len(daemon.spaces),
                   'sandbox_url': daemon.url_of(call.space),
                   'version': '1.0.0' if daemon.gen == 2 else '2.0.0'})


async def ready(call):
    return Answer({'ready': True, 'servers': [], 'overlays': []}, flat=True)


async def front(call):
    return web.Response(content_type='text/html',
                        text='<html><h1>Sandbox</h1></html>')


# generations, method, path, what does it; * needs no token
ONE, DEEP = '([^/]+)', '(.+)'
ROUTES = (
    ('123*', 'GET', '/health', health),
    ('23*', 'GET', '/', front),
    ('23', 'GET', '/info', info),
    ('3*', 'GET', '/ready', ready),
    ('123', 'GET', '/ws', sockets.socket),
    ('123', 'GET', '/files', files.files_list),
    ('123', 'POST', '/files', files.files_write),
    ('3', 'POST', '/files/batch', files.files_batch),
    ('1', 'GET', '/files/' + ONE, files.file_get),
    ('1', 'PUT', '/files/' + ONE, files.file_put),
    ('1', 'DELETE', '/files/' + ONE, files.file_delete),
    ('23', 'GET', '/files/' + DEEP, files.file_get),
    ('3', 'HEAD', '/files/' + DEEP, files.file_head),
    ('23', 'PUT', '/files/' + DEEP, files.file_put),
    ('23', 'DELETE', '/files/' + DEEP, files.file_delete),
    ('3', 'POST', '/run/command', running.run_command),
    ('3', 'POST', '/run/code', running.run_code),
    ('23', 'POST', '/execute', running.execute),
    ('123', 'POST', '/terminals', terminals.create),
    ('23', 'GET', '/terminals', terminals.list_all),
    ('123', 'GET', '/terminals/' + ONE, terminals.one),
    ('123', 'DELETE', '/terminals/' + ONE, terminals.destroy),
    ('123', 'POST', '/terminals/' + ONE + '/execute', terminals.execute),
    ('3', 'GET', '/terminals/' + ONE + '/commands', running.commands_list),
    ('3', 'GET', '/terminals/' + ONE + '/commands/' + ONE,
     running.command_get),
    ('3', 'GET', '/terminals/' + ONE + '/commands/' + ONE + '/wait',
     running.command_wait),
)


async def route(call):
    daemon, request = call.daemon, call.request
    path = request.raw_path.partition('?')[0]
    if daemon.has('merged-slashes'):
        path = re.sub('/+', '/', path)
    if daemon.gen == 1:
        # decoded first, so that %2F is a slash, too
        path = request.rel_url.path
    for gens, method, pattern, found in ROUTES:
        if str(daemon.gen) not in gens or method != request.method:
            continue
        m = re.fullmatch(pattern, path)
        if not m:
            continue
        if not call.kind and not gens.endswith('*'):
            raise Refusal(401, 'Unauthorized: missing or invalid token')
        return await found(call, *m.groups())
    return not_routed()


# ---- what lies before it ----

async def answered(call):
    try:
        found = await route(call)
    except Refusal as e:
        return fail(e.status, str(e))
    except OSError as e:
        return fail(400, words(e))
    if isinstance(found, Answer):
        return found.response(call.daemon.traits)
    return found


async def within_time(call):
    """The edge waits 30 s, or what X-Request-Timeout says; the daemon goes
    on with it all the same."""
    daemon, request = call.daemon, call.request
    limit = daemon.number('cut', EDGE_S)
    asked = request.headers.get('X-Request-Timeout', '')
    if asked.isdigit():
        limit = min(int(asked), EDGE_MAX_S)
    task = asyncio.ensure_future(answered(call))
    await asyncio.wait([task], timeout=limit)
    if task.done():
        return task.result()
    if daemon.has('cut-drops'):
        request.transport.abort()
    return web.Response(status=524, content_type='text/html',
                        text='<html><h1>524: a timeout occurred</h1></html>')


async def note(daemon, request):
    raw = await request.read()
    head = {k.lower(): v for k, v in request.headers.items()}
    daemon.tell(method=request.method, path=request.raw_path.partition('?')[0],
                query=request.query_string, body=raw.decode(
                    errors='replace')[:65536], size=len(raw),
                timeout=head.get('x-request-timeout'),
                type=head.get('content-type'),
                authorized='authorization' in head)
    return raw


async def handle(request):
    daemon = request.app['daemon']
    port = request.transport.get_extra_info('sockname')[1]
    space = daemon.spaces[port]
    raw = await note(daemon, request)
    what = '%s %s' % (request.method, request.raw_path)
    if time.time() < daemon.unwell_until:
        return web.Response(status=502, text='Bad Gateway')
    if len(raw) > daemon.number('body-max', 1 << 40):
        return web.Response(status=413, text='Payload Too Large')
    if request.method == 'POST' and not raw and daemon.has('bodyless-fails'):
        return web.Response(status=500, text='Internal Server Error')
    fault = daemon.faults.take(what)
    if fault:
        response = await faulty.before(fault, request)
        if response is not None:
            return response
    call = Call(daemon, space, request)
    if request.path == '/ws':
        response = await answered(call)
    else:
        response = await within_time(call)
    return await faulty.after(fault, request, response) if fault else response


# ---- what it is told ----

async def do_traits(daemon, m):
    daemon.traits = set(m['traits'])


async def do_fault(daemon, m):
    daemon.faults.add(m['fault'])


async def do_cut(daemon, _):
    daemon.hub.cut()


async def do_close(daemon, m):
    for c in list(daemon.hub.clients):
        await c.ws.close(code=m.get('code', 1001))


async def do_say(daemon, m):
    """To every client: text, or bytes in hex."""
    daemon.hub.push(bytes.fromhex(m['hex']) if 'hex' in m else m['text'])


async def do_publish(daemon, m):
    daemon.hub.publish(m['channel'], m['type'], m['data'])


async def do_unwell(daemon, m):
    daemon.unwell_until = time.time() + m['seconds']


async def do_token(daemon, m):
    """Another one; the old one has expired."""
    daemon.token = m['token']


async def do_restart(daemon, _):
    """All that was in memory is gone."""
    for t in list(daemon.terminals.values()):
        await t.end()
    daemon.terminals.clear()
    daemon.pending.clear()
    daemon.hub.cut()


async def do_sync(daemon, _):
    """The answer comes after all that was told before."""


async def serve_space(daemon, space):
    site = web.TCPSite(daemon.runner, '127.0.0.1', 0)
    before = set(map(tuple, daemon.runner.addresses))
    await site.start()
    new = set(map(tuple, daemon.runner.addresses)) - before
    space.site, space.port = site, new.pop()[1]
    daemon.spaces[space.port] = space


async def listen_to_words(daemon):
    reader = asyncio.StreamReader(limit=1 << 22)
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while True:
        line = await reader.readline()
        if not line:
            os._exit(0)
        m = json.loads(line)
        reply = await globals()['do_' + m['do']](daemon, m)
        daemon.tell(reply=m['number'], **(reply or {}))


async def main():
    directory, subdomain = sys.argv[1:]
    daemon = Daemon()
    os.makedirs(directory, exist_ok=True)
    app = web.Application(client_max_size=1 << 40)
    app['daemon'] = daemon
    app.router.add_route('*', '/{any:.*}', handle)
    daemon.runner = web.AppRunner(app, access_log=None)
    await daemon.runner.setup()
    space = Space(subdomain, directory, True)
    await serve_space(daemon, space)
    daemon.tell(ready=space.port)
    await listen_to_words(daemon)


if __name__ == '__main__':
    asyncio.run(main())
