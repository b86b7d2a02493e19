"""PTYs of execd's stand-in: a terminal, or pipes, over a WebSocket.

Part of opensandbox_execd.py; see there.
"""
import asyncio
import errno
import fcntl
import json
import os
import pty
import signal
import struct
import termios
import time
import uuid

from aiohttp import WSMsgType, web

REPLAY = 1 << 20
PIECE = 32768
STALL_S = 10   # a write to a client that takes longer ends the output


class Pty:
    def __init__(self, cwd, command, broken):
        self.id, self.cwd, self.command = str(uuid.uuid4()), cwd, command
        self.broken = broken
        self.proc = self.ws = self.master = None
        self.tasks = []
        self.kept, self.total = bytearray(), 0
        self.order = asyncio.Lock()  # of what is sent to the client
        self.stalled = False

    def running(self):
        return bool(self.proc and self.proc.returncode is None)

    async def start(self, terminal):
        if self.broken:
            raise FileNotFoundError(errno.ENOENT, 'bash')
        args = ['bash', '--norc', '--noprofile']
        if self.command:
            args += ['-c', self.command]
        pipes = [asyncio.subprocess.PIPE] * 3
        slave = None
        if terminal:
            self.master, slave = pty.openpty()
            self.resize(80, 24)
            pipes = [slave] * 3
        self.proc = await asyncio.create_subprocess_exec(
            *args, cwd=self.cwd, stdin=pipes[0], stdout=pipes[1],
            stderr=pipes[2], start_new_session=True,
            preexec_fn=(lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
            if terminal else None)
        if terminal:
            os.close(slave)
            reader = asyncio.StreamReader()
            await asyncio.get_event_loop().connect_read_pipe(
                lambda: asyncio.StreamReaderProtocol(reader),
                os.fdopen(os.dup(self.master), 'rb', 0))
            pumps = [(reader, 1)]
        else:
            pumps = [(self.proc.stdout, 1), (self.proc.stderr, 2)]
        self.tasks = [asyncio.ensure_future(self.pump(r, n))
                      for r, n in pumps]
        asyncio.ensure_future(self.reap(self.proc, self.tasks))

    def resize(self, cols, rows):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ,
                    struct.pack('HHHH', rows, cols, 0, 0))

    async def pump(self, reader, kind):
        while True:
            try:
                data = await reader.read(PIECE)
            except OSError:
                data = b''  # EIO: the last one closed the terminal
            if not data:
                return
            async with self.order:
                self.kept += data
                self.total += len(data)
                if len(self.kept) > REPLAY:
                    del self.kept[:len(self.kept) - REPLAY]
                if self.ws is not None and not self.stalled:
                    await self.send(bytes([kind]) + data)

    async def send(self, data):
        try:
            await asyncio.wait_for(self.ws.send_bytes(data), STALL_S)
        except asyncio.TimeoutError:
            self.stalled = True  # the socket stays, but is silent now
        except (ConnectionError, RuntimeError):
            pass

    async def say(self, ws, **what):
        try:
            await ws.send_str(json.dumps(what) + '\n')
        except (ConnectionError, RuntimeError):
            pass

    async def reap(self, proc, tasks):
        code = await proc.wait()
        # exit may overtake the last output: it is not waited for
        await asyncio.sleep(0)
        ws = self.ws
        if ws is not None:
            await self.say(ws, type='exit',
                           exit_code=code if code >= 0 else -1)
            await ws.close(code=1000, message=b'process exited')
        await asyncio.wait(tasks, timeout=1)
        for t in tasks:
            t.cancel()

    def kill(self, number):
        if self.running():
            try:
                os.killpg(self.proc.pid, number)
            except ProcessLookupError:
                pass

    async def attach(self, ws, since, terminal):
        """What was missed, then "connected", then what comes."""
        async with self.order:
            self.ws, self.stalled = ws, False
            if not self.running():
                try:
                    await self.start(terminal)
                except OSError as e:
                    await self.say(ws, type='error', error=str(e),
                                   code='START_FAILED')
                    await ws.close()
                    return False
            oldest = self.total - len(self.kept)
            start = max(since, oldest)
            if start < self.total:
                await self.send(b'\3' + struct.pack('>Q', start) +
                                bytes(self.kept[start - oldest:]))
            await self.say(ws, type='connected', session_id=self.id,
                           mode='pty' if terminal else 'pipe')
        return True

    async def take_bytes(self, data):
        if data[:1] != b'\0':
            return  # other prefixes are ignored
        if self.master is not None:
            os.write(self.master, data[1:])
            return
        try:
            self.proc.stdin.write(data[1:])
            await self.proc.stdin.drain()
        except (ConnectionError, RuntimeError) as e:
            await self.say(self.ws, type='error', error=str(e),
                           code='STDIN_WRITE_FAILED')

    async def take_text(self, ws, text):
        try:
            m = json.loads(text)
            kind = m['type']
        except (ValueError, KeyError, TypeError):
            kind = None
        if kind == 'ping':
            await self.say(ws, type='pong')
        elif kind == 'stdin':
            await self.take_bytes(b'\0' + m['data'].encode())
        elif kind == 'resize' and self.master is not None:
            self.resize(m['cols'], m['rows'])
        elif kind == 'signal':
            self.kill(getattr(signal, m['signal']))
        elif kind != 'resize':
            await self.say(ws, type='error', error='unknown frame',
                           code='INVALID_FRAME')


async def pty_create(request):
    app, body = request.app, await request.app['body'](request)
    cwd = body.get('cwd')
    try:
        if cwd and app['faults'].get('no-workspace'):
            raise PermissionError(errno.EACCES, 'no')
        if cwd:
            os.makedirs(cwd, exist_ok=True)
    except OSError as e:
        text = app['json']({'code': 'RUNTIME_ERROR',
                            'message': app['words'](e, cwd)})
        return web.Response(status=500, text=text + text,
                            content_type='application/json')
    p = Pty(cwd, body.get('command') if app['level'] >= 19 else None,
            app['faults'].get('no-bash'))
    app['ptys'][p.id] = p
    return app['answer']({'session_id': p.id}, 201)


async def pty_one(request, ident):
    app = request.app
    p = app['ptys'].get(ident)
    if not p:
        return app['fail'](404, 'CONTEXT_NOT_FOUND', 'no such session')
    if request.method == 'GET':
        return app['answer']({'session_id': p.id, 'running': p.running(),
                              'output_offset': p.total})
    del app['ptys'][ident]
    p.kill(signal.SIGKILL)
    if p.ws is not None:
        await p.ws.close()
    return web.Response()


def is_busy(app):
    left = app['faults'].get('busy', 0)
    app['faults']['busy'] = max(left - 1, 0)
    return left > 0


async def pty_take_over(p):
    old = p.ws
    # its reader, who is woken by close(), would send a code of its own
    await old._writer.close(4001, b'TAKEN_OVER')
    await old.close()
    end = time.time() + 5
    while p.ws is old and time.time() < end:
        await asyncio.sleep(0.01)


async def keep_alive(ws, heard):
    """Pings; and whoever is silent for a minute is dropped."""
    while True:
        await asyncio.sleep(30)
        if time.time() - heard[0] > 60:
            await ws.close()
            return
        await ws.ping()


async def pty_socket(request, ident):
    app, q = request.app, request.query
    p = app['ptys'].get(ident)
    if not p:
        return app['fail'](404, 'CONTEXT_NOT_FOUND', 'no such session')
    if app['faults'].get('deaf', 0) > 0:
        app['faults']['deaf'] -= 1
        return web.Response(status=503, text='Service Unavailable')
    take_over = q.get('takeover') == '1' and app['level'] >= 19
    if (p.ws is not None or is_busy(app)) and not take_over:
        return app['fail'](409, 'ALREADY_CONNECTED', 'already connected')
    if p.ws is not None:
        await pty_take_over(p)
    ws = web.WebSocketResponse(autoping=False, max_msg_size=0, compress=False)
    await ws.prepare(request)
    app['sockets'].add(ws)
    app['journal'](ws='open', id=ident, query=dict(q))
    heard = [time.time()]
    pings = asyncio.ensure_future(keep_alive(ws, heard))
    try:
        if await p.attach(ws, int(q.get('since') or 0), q.get('pty') != '0'):
            await pty_listen(app, p, ws, heard)
    finally:
        pings.cancel()
        app['sockets'].discard(ws)
        if p.ws is ws:
            p.ws = None
    return ws


async def pty_listen(app, p, ws, heard):
    """With the fault "delay" all of it is heard so many ms later, there and
    back; what is under way when the connection goes is lost then."""
    under_way = asyncio.Queue(64)

    async def take():
        while True:
            due, m = await under_way.get()
            if due > time.monotonic():
                await asyncio.sleep(due - time.monotonic())
            await pty_take(app, p, ws, m)
    taker, queued = asyncio.ensure_future(take()), False
    try:
        while not taker.done():
            m = await ws.receive()
            heard[0] = time.time()
            if m.type not in (WSMsgType.PING, WSMsgType.PONG,
                              WSMsgType.BINARY, WSMsgType.TEXT):
                return
            delay = 2 * app['faults'].get('delay', 0) / 1000
            queued = queued or delay  # what comes then does not overtake
            if queued:
                await under_way.put((time.monotonic() + delay, m))
            else:
                await pty_take(app, p, ws, m)
    finally:
        taker.cancel()


async def pty_take(app, p, ws, m):
    if m.type == WSMsgType.PING:
        await ws.pong(m.data)
    elif m.type == WSMsgType.BINARY:
        app['journal'](ws='stdin', id=p.id, bytes=len(m.data) - 1)
        await p.take_bytes(m.data)
    elif m.type == WSMsgType.TEXT:
        await p.take_text(ws, m.data)
