#!/usr/bin/python3
"""A stand-in for ComputeSDK: the gateway, and the daemon in each machine
(computesdk_daemon.py).  Misbehaves on request.

usage: computesdk.py [--dir DIR] [--port PORT] [--stay] [TRAIT ...]

Prints "ready PORT".  Ends with its stdin, or with --stay on a signal.  The
account's key is that of STANDIN_KEY ("right-key").  Sandboxes are folders in
DIR (a temporary one), their files in "workspace" below.

Always so, as far as a generation has it: content of files and output is text,
in which a byte that is none becomes U+FFFD; DELETE takes all that is below;
a batch goes by the alphabet, and 207 is no failure; what runs in the
background has no exit code; a command's end at its time kills nothing; a
socket replays nothing, ends with 1009 at 512 KiB, and is cut off if 256
messages wait; a terminal's end is an error; a program that is the shell gets
no arguments; paths in URLs are absolute with two slashes only; sandboxes of
one namespace share all but their folder; there is no list of sandboxes.

TRAITs of the gateway:
  prefix=P         /v1/sandbox or /sandbox, as it was once
  empty-token      creating gives "" as token: the key is the daemon's, too
  no-token         and no such member
  creating=N       find-or-create says N times that somebody else creates it
  find-null        what is not there is 200 with data null
  find-false       200 with success false;  404 is the default
  no-extend        404, as if there were no such sandbox
  extend-501       501
  alone            named sandboxes do not share a machine
  lose-create      the connection breaks after creating, before the answer
  unwell=S         a new daemon is out of reach for S seconds: 502
  slash            URLs of daemons end with /
  hosts            they have names, SUBDOMAIN.sandbox.localhost, of the edge,
                   which is this program; ports are SUBDOMAIN-PORT there
  preview          and those of ports are SUBDOMAIN-PORT.preview.localhost
  empty-delete     204 without a body
  extra-status     a status that nobody knows
  silent garbage half huge-header    it speaks no HTTP
  left=S           a machine ends S seconds after its last WebSocket
TRAITs of the daemon:
  g1 g2 g3         its generation; g3 is the default
  without=W        no such route: what begins with the path or method W
  cut=S            the edge waits S seconds, 30, or what X-Request-Timeout says
  cut-drops        and breaks the connection then
  merged-slashes   a proxy makes // in paths /
  body-max=N       413 for more bytes
  bodyless-fails   500, at the edge's end, for a POST without body
  delete-loses-body    of DELETE, to /env
  hybrid           X-Forward-To-Port leads to a port
  access-token-name    the query parameter is access_token
  plain-errors message-errors    other bodies of errors
  offsets floats strange-members all-flat all-wrapped null-lists
                   other ways to write the same JSON; an empty list is null
  delete-200       with JSON, not 204
 files
  absolute-as-relative  absolute paths are below the sandbox's directory
  all-400          a failed call is 400, whatever the reason (of g1, mostly)
  delete-nothing   204 for what was not there (of g1, always)
  put-404          PUT finds nothing, ever
  no-empty-content an empty file has no content member
  few-signs        several bytes that are no text become one U+FFFD
 commands
  env-replaces     env is all the environment
  no-stream        stream is ignored
  wait-408 wait-504 wait-500   what waiting ends with at its time's end;
                   200 with status running is the default
 terminals
  no-pty           500 for a PTY
  shells-only      400 for a shell that is none
  shell-ignored    it is bash, whatever was asked for
  stopped-terminals  status stopped, from birth on
  double-wrapped   those of the list are wrapped once more
  no-encoding      encoding is ignored, and not told
  base64-input     of terminals that encode their output, input is so, too
  bytes-output     output in binary messages is bytes
  coupled          no input until there is output (of g1, always)
 WebSockets
  binary-default   of one that does not say which protocol
  mixed            binary and text on one
  forced-binary forced-text    whatever was asked for
  json-in-binary   the data of binary messages is JSON
  bare-messages    output comes without what may be missing
  forged           who subscribes hears a peer's nonsense first
  greets           "connected" comes first (of g1, always)
  mute             nothing is sent
  queue=N          messages that a slow reader may owe, 256
  ping=S           seconds between pings, 54
  pong=S           seconds until a client without pong is dropped, 60
 the rest
  old-watchers     do not see new directories; patterns match anywhere (of
                   g1, always)
  kernel-paths     relative ones are below where the daemon was started (of
                   g1, always)
  python-events    create, modify, delete, rename
  double-events    each comes twice
  lose-events=N    each Nth is lost
  strict-signals   500 for starting twice, or stopping; the first one after
                   stop and start is an empty 500 (of g1, always)
  nested-signals   as g1 has them
  overlay-wait=S   of each step
  strange-status   of an overlay that is pending
  old-stats        symlinked_ for copied_
  stop-forgets     a stopped server is not listed
  health-string    health_status is a word
  server-command   and start is command
  flat-tokens camel-tokens    other shapes of session tokens
  magic-path       the other form of magic links

What tests ask of it, without a key:
    GET  /_standin/journal       what was asked since the last time
    GET  /_standin/counts        how often, by call of the gateway
    POST /_standin/traits ["T", ...]  other traits from now on
    POST /_standin/fault {...}   a fault (computesdk_fault.py), at the gateway;
                                 or a word for all daemons
    POST /_standin/daemon {"do": WORD, ...}   to all daemons, or that of "id":
        fault {"fault": {...}}   cut   close {"code"}   restart
        delay {"ms"}: of what is said on WebSockets
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

from aiohttp import web

import computesdk_fault as faulty
import proxy
from computesdk_gateway import Server, answer, api
from computesdk_wire import Refusal
from standin import RAW, arguments, serve_raw, until_told

HOST = r'([\w-]+)\.(?:sandbox|preview)\.localhost(:\d+)?'


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


async def to_host(server, label, request):
    """The edge, for names of sandboxes and of ports in them"""
    daemon, path = server.port_of(label), request.raw_path
    port = daemon
    if not daemon:
        subdomain, _, port = label.rpartition('-')
        daemon = server.port_of(subdomain)
        if not daemon or not port.isdigit():
            return web.Response(status=404, text='no such sandbox')
    if server.has('g1') and 'Upgrade' in request.headers:
        # no WebSocket to a port, and whatever it was asked is lost
        port, path = daemon, '/ws'
    return await proxy.forward(request, 'http://127.0.0.1:%s%s' % (
        port, path))


async def handle(request):
    server = request.app['server']
    m = re.fullmatch(HOST, request.headers.get('Host', ''))
    if m:
        return await to_host(server, m[1], request)
    if request.path.startswith('/_standin/'):
        try:
            return answer(await OWN[request.path[10:]](server, request))
        except Refusal as e:
            return answer(str(e), e.status)
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
    app.cleanup_ctx.append(proxy.client)
    app.router.add_route('*', '/{any:.*}', handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, '127.0.0.1', args.port).start()
    return runner.addresses[0][1]


async def reap(server):
    """The sandbox disappears at its time, without notice."""
    while True:
        await asyncio.sleep(0.2)
        left = float(server.value('left', 0))
        for b in list(server.boxes.values()):
            if b.expires and b.expires < time.time() or \
                    left and b.machine.is_left(left):
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
