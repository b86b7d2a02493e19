#!/usr/bin/python3
"""The daemon in each machine of ComputeSDK's stand-in; see computesdk.py.

usage: computesdk_daemon.py DIRECTORY SUBDOMAIN

Its sandboxes each have a port of their own.  Traits, tokens and the key are
in the environment.  Lines of JSON on stdout: first {"space": SUBDOMAIN,
"ready": PORT}, then what it was asked; on stdin what it is told, {"do": WORD,
...}; ends with that.  Shares no code with the client.
"""
import asyncio
import base64
import functools
import json
import os
import sys
import time

from aiohttp import web

import computesdk_children as children
import computesdk_fault as faulty
import computesdk_socket as sockets
import computesdk_terminals as terminals
import proxy
from computesdk_routes import route
from computesdk_signals import Signals
from computesdk_tokens import Tokens
from computesdk_wire import (Answer, Refusal, answer, fail, from_json,
                             name_text, query, words)

EDGE_S, EDGE_MAX_S = 30, 300


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
        self.port_form = env.pop('STANDIN_PORT_URL',
                                 'http://127.0.0.1:{port}')
        self.spaces, self.hub, self.delay = {}, sockets.Hub(), 0
        self.tokens, self.signals = Tokens(self), Signals(self)
        self.watchers, self.overlays, self.servers = {}, {}, {}
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

    def port_url(self, space, port):
        return self.port_form.format(port=port, sub=space.subdomain)

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
        return 'session_token' if self.tokens.of_text(token) else None

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
        self.token = daemon.token_of(request)
        self.kind = daemon.token_kind(self.token)

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


# ---- what lies before it ----

def refused(daemon, status, text):
    """Not always the daemon's own words"""
    if daemon.has('plain-errors'):
        return web.Response(status=status, text=text)
    if daemon.has('message-errors'):
        return answer({'message': name_text(text)}, status)
    return fail(status, text)


async def answered(call):
    daemon = call.daemon
    try:
        found = await route(call)
    except Refusal as e:
        return refused(daemon, e.status, str(e))
    except OSError as e:
        return refused(daemon, 400, words(e))
    except (TypeError, ValueError, AttributeError):
        # a type that nobody expects, or a zero byte in a name
        return refused(daemon, 400, 'invalid argument')
    if isinstance(found, Answer):
        return found.response(daemon.traits)
    if found.status == 204 and daemon.has('delete-200'):
        return answer({'message': 'deleted'})
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
    space = daemon.spaces.get(port)
    if not space:  # the connection is older than its end
        return web.Response(status=404, text='no such sandbox')
    raw = await note(daemon, request)
    what = '%s %s' % (request.method, request.raw_path)
    if time.time() < daemon.unwell_until:
        return web.Response(status=502, text='Bad Gateway')
    inner = request.headers.get('X-Forward-To-Port', '')
    if inner.isdigit() and daemon.has('hybrid'):
        return await proxy.forward(request, 'http://127.0.0.1:%s%s' % (
            inner, request.raw_path), {'x-forward-to-port'})
    if len(raw) > daemon.number('body-max', 1 << 40):
        return web.Response(status=413, text='Payload Too Large')
    if request.method == 'POST' and not raw and daemon.has('bodyless-fails'):
        await asyncio.sleep(daemon.number('cut', EDGE_S))
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
    if daemon.gen == 1:
        daemon.traits.add('coupled')


async def do_fault(daemon, m):
    daemon.faults.add(m['fault'])


async def do_cut(daemon, _):
    daemon.hub.cut()


async def do_delay(daemon, m):
    """Of each message to a client"""
    daemon.delay = m['ms'] / 1000


async def do_close(daemon, m):
    for c in list(daemon.hub.clients):
        c.closing = asyncio.ensure_future(
            c.ws.close(code=m.get('code', 1001)))


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


async def do_child(daemon, m):
    """A sandbox more on this machine, for the gateway"""
    space = await children.make(daemon, m['body'])
    return children.shown(daemon, space)


async def do_unchild(daemon, m):
    for space in list(daemon.spaces.values()):
        if space.subdomain == m['subdomain'] and not space.is_main:
            await children.remove(daemon, space, True)


async def do_show(daemon, m):
    """What the gateway tells of the main sandbox"""
    return children.shown(daemon, daemon.main())


async def listen_to_words(daemon):
    reader = asyncio.StreamReader(limit=1 << 22)
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while True:
        line = await reader.readline()
        if not line:
            os._exit(0)
        m = json.loads(line)
        try:
            reply = await globals()['do_' + m['do']](daemon, m)
        except (Refusal, OSError, LookupError, TypeError, ValueError,
                AttributeError) as e:
            reply = {'refused': '%s: %s' % (m['do'], e)}
        daemon.tell(reply=m['number'], **(reply or {}))


async def main():
    directory, subdomain = sys.argv[1:]
    daemon = Daemon()
    app = web.Application(client_max_size=1 << 40)
    app['daemon'] = daemon
    app.cleanup_ctx.append(proxy.client)
    app.router.add_route('*', '/{any:.*}', handle)
    daemon.runner = web.AppRunner(app, access_log=None)
    await daemon.runner.setup()
    space = children.Space(subdomain, directory, True)
    setup = json.loads(base64.b64decode(
        os.environ.get('COMPUTESDK_SETUP_B64', '')) or '{}')
    await children.serve(daemon, space)
    asyncio.ensure_future(children.set_up_main(daemon, space, setup))
    await listen_to_words(daemon)


if __name__ == '__main__':
    asyncio.run(main())
