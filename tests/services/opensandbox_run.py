"""What execd's stand-in runs: commands, code, bash sessions, PTYs.

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
TAIL_S = 1.0   # /command stays open this long after its end
POLL_S = 0.1
STALL_S = 10   # a write to a client that takes longer ends the output


def now_ms():
    return int(time.time() * 1000)


def shell():
    return 'bash' if os.path.exists('/bin/bash') else 'sh'


def signal_name(code):
    words = {9: 'killed', 15: 'terminated', 2: 'interrupt', 1: 'hangup'}
    return 'signal: ' + words.get(-code, 'signal %d' % -code)


# ---- the stream of events, which is called event-stream and is none ----

class Events:
    def __init__(self, request):
        self.request = request
        self.response = web.StreamResponse(
            headers={'Content-Type': 'text/event-stream'})

    async def start(self):
        await self.response.prepare(self.request)

    async def send(self, kind, **fields):
        event = {'type': kind, **fields, 'timestamp': now_ms()}
        text = self.request.app['json'](event) + '\n\n'
        try:
            await self.response.write(text.encode())
        except ConnectionError:
            pass  # a disconnect stops nothing

    async def ping_on(self):
        while True:
            await self.send('ping', text='pong')
            await asyncio.sleep(3)


class Lines:
    """Bytes to lines as execd makes them: LF and CR both end one."""

    def __init__(self):
        self.rest = b''

    def take(self, data, last=False):
        data = self.rest + data
        out, start, i = [], 0, 0
        while i < len(data):
            if data[i] in b'\r\n':
                if data[i] == 13 and i + 1 == len(data) and not last:
                    break  # may be the first half of CRLF
                out.append(data[start:i])
                if data[i] == 13 and data[i + 1:i + 2] == b'\n':
                    i += 1
                start = i + 1
            i += 1
        self.rest = data[start:]
        if last and self.rest:
            out.append(self.rest)
            self.rest = b''
        return [l.decode(errors='replace') or '\n' for l in out]


class Command:
    def __init__(self, text):
        self.id = uuid.uuid4().hex
        self.text = text
        self.started = time.time()
        self.finished = self.exit_code = self.error = None
        self.background = False
        self.files = []
        self.proc = None

    def open_files(self, names):
        folder = os.environ.get('TMPDIR', '/tmp')
        os.makedirs(folder, exist_ok=True)
        self.files = [os.path.join(folder, '%s.%s' % (self.id, n))
                      for n in names]
        return [open(f, 'wb') for f in self.files]

    async def start(self, cwd=None, env=None, uid=None, gid=None):
        outs = self.open_files(['output'] if self.background
                               else ['stdout', 'stderr'])

        def identity():
            if uid is not None:
                os.setgid(gid if gid is not None else uid)
                os.setuid(uid)
        self.proc = await asyncio.create_subprocess_exec(
            shell(), '-c', self.text, cwd=cwd,
            env={**os.environ, **(env or {})}, stdin=asyncio.subprocess.DEVNULL,
            stdout=outs[0], stderr=outs[-1], start_new_session=True,
            preexec_fn=identity if uid is not None else None)
        for f in outs:
            f.close()

    async def wait(self, timeout_ms):
        try:
            code = await asyncio.wait_for(self.proc.wait(),
                                          timeout_ms / 1000 or None)
        except asyncio.TimeoutError:
            self.kill(signal.SIGKILL)
            code = await self.proc.wait()
        self.finished = time.time()
        self.exit_code = code if code >= 0 else -1
        self.error = signal_name(code) if code < 0 else None
        return code

    def kill(self, number):
        try:
            os.killpg(self.proc.pid, number)
        except ProcessLookupError:
            pass

    async def interrupt(self):
        self.kill(signal.SIGTERM)
        try:
            await asyncio.wait_for(self.proc.wait(), 3)
        except asyncio.TimeoutError:
            self.kill(signal.SIGKILL)
            await self.proc.wait()


def number(body, key):
    value = body.get(key)
    return value if isinstance(value, int) else 0


async def run_foreground(events, command, timeout_ms, ident=None):
    await events.start()
    await events.send('init', text=ident or command.id)
    pings = asyncio.ensure_future(events.ping_on())
    done = asyncio.ensure_future(command.wait(timeout_ms))
    tails = [(open(f, 'rb'), Lines(), k)
             for f, k in zip(command.files, ('stdout', 'stderr'))]
    began = time.time()
    while True:
        last = done.done()
        for f, lines, kind in tails:
            for text in lines.take(f.read(), last):
                await events.send(kind, text=text)
        if last:
            break
        await asyncio.wait([done], timeout=POLL_S)
    for f, _, _ in tails:
        f.close()
    pings.cancel()
    code = done.result()
    if code:
        await events.send('error', error={
            'ename': 'CommandExecError',
            'evalue': str(code if code > 0 else -1),
            'traceback': [command.error or 'exit status %d' % code]})
    else:
        took = int((time.time() - began) * 1000)
        await events.send('execution_complete',
                          **({'execution_time': took} if took else {}))


async def finish(events):
    try:
        await events.response.write_eof()
    except ConnectionError:
        pass
    return events.response


async def command(request):
    """POST /command"""
    app, body = request.app, await request.app['body'](request)
    text, cwd = body.get('command'), body.get('cwd')
    if not text:
        return app['fail'](400, 'INVALID_REQUEST_BODY', 'command is required')
    if body.get('gid') is not None and body.get('uid') is None:
        return app['fail'](400, 'INVALID_REQUEST_BODY', 'gid needs uid')
    if cwd and not os.path.isdir(cwd):
        return app['fail'](400, 'INVALID_REQUEST_BODY',
                           'working directory does not exist: ' + cwd)
    c = Command(text)
    c.background = bool(body.get('background'))
    app['commands'][c.id] = c
    await c.start(cwd or None, body.get('envs'), body.get('uid'),
                  body.get('gid'))
    events = Events(request)
    if c.background:
        asyncio.ensure_future(c.wait(number(body, 'timeout')))
        await events.start()
        await events.send('init', text=c.id)
        await events.send('ping', text='pong')
        await events.send('execution_complete')
    else:
        await run_foreground(events, c, number(body, 'timeout'))
    await asyncio.sleep(TAIL_S)
    return await finish(events)


async def command_status(request, ident):
    c = request.app['commands'].get(ident)
    if not c:
        return request.app['fail'](404, 'INVALID_REQUEST_BODY',
                                   'command not found')
    stamp = request.app['stamp']
    out = {'id': c.id, 'content': c.text, 'running': c.finished is None,
           'started_at': stamp(c.started)}
    if c.finished:
        out.update(exit_code=c.exit_code, finished_at=stamp(c.finished))
    if c.error:
        out['error'] = c.error
    return request.app['answer'](out)


async def command_logs(request, ident):
    c = request.app['commands'].get(ident)
    if not c or not c.background:
        return request.app['fail'](400, 'INVALID_REQUEST_BODY',
                                   'not a background command')
    cursor = int(request.query.get('cursor') or 0)
    with open(c.files[0], 'rb') as f:
        f.seek(cursor)
        data = f.read()
    return web.Response(body=data, content_type='text/plain', headers={
        'EXECD-COMMANDS-TAIL-CURSOR': str(cursor + len(data))})


async def command_interrupt(request):
    ident = request.query.get('id')
    app = request.app
    if not ident:
        return app['fail'](400, 'MISSING_QUERY', 'id is required')
    if ident in app['sessions']:
        del app['sessions'][ident]
        return web.Response()
    c = app['commands'].get(ident)
    if not c or c.finished:
        return app['fail'](500, 'RUNTIME_ERROR', 'no such running command')
    await c.interrupt()
    return web.Response()


async def code(request):
    """POST /code: shell text, or a language where there is a Jupyter"""
    app, body = request.app, await request.app['body'](request)
    context = body.get('context') or {}
    if context.get('language') or context.get('id'):
        return await code_in_context(request, body, context)
    c = Command(body.get('code', ''))
    app['commands'][c.id] = c
    await c.start()
    events = Events(request)
    await run_foreground(events, c, 0)
    return await finish(events)


# ---- code contexts ----

async def code_in_context(request, body, context):
    app = request.app
    known = app['contexts'].get(context.get('id'))
    if not app['jupyter']:
        return app['fail'](500, 'RUNTIME_ERROR', 'no Jupyter server')
    if context.get('id') and not known:
        return app['fail'](404, 'CONTEXT_NOT_FOUND', 'context not found')
    if (known or context)['language'] != 'python':
        return app['fail'](500, 'RUNTIME_ERROR', 'no such kernel')
    history = known['_code'] if known else []
    c = Command('')
    script = ''.join(history) + 'print("\\0")\n' + body.get('code', '') + '\n'
    proc = await asyncio.create_subprocess_exec(
        'python3', '-c', script, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE, stdin=asyncio.subprocess.DEVNULL)
    out, err = await proc.communicate()
    events = Events(request)
    await events.start()
    await events.send('init', text=known['id'] if known else c.id)
    if proc.returncode:
        await events.send('error', error={
            'ename': 'Exception', 'evalue': err.decode().strip()[-80:],
            'traceback': err.decode().splitlines()})
    else:
        history.append(body.get('code', '') + '\n')
        await events.send('execution_complete', execution_time=1)
    # in code runs output may come after the terminal event
    for line in out.rpartition(b'\0\n')[2].decode().splitlines():
        await events.send('stdout', text=line)
    return await finish(events)


async def context_create(request):
    app = request.app
    if not app['jupyter']:
        await asyncio.sleep(3600)  # as the real one: no answer for hours
    body = await app['body'](request)
    c = {'id': str(uuid.uuid4()), 'language': body.get('language', 'python'),
         '_code': []}
    if body.get('cwd'):
        c['cwd'] = body['cwd']
    app['contexts'][c['id']] = c
    return app['answer'](context_shown(c))


def context_shown(c):
    return {k: v for k, v in c.items() if k[0] != '_'}


async def contexts(request):
    app, language = request.app, request.query.get('language')
    chosen = [c for c in app['contexts'].values()
              if not language or c['language'] == language]
    if request.method == 'GET':
        return app['answer']([context_shown(c) for c in chosen])
    for c in chosen:
        del app['contexts'][c['id']]
    return web.Response()


async def context_one(request, ident):
    app = request.app
    if ident not in app['contexts']:
        return app['fail'](404, 'CONTEXT_NOT_FOUND', 'context not found')
    if request.method == 'GET':
        return app['answer'](context_shown(app['contexts'][ident]))
    del app['contexts'][ident]
    return web.Response()


# ---- bash sessions: a fresh bash for each run, with what was exported ----

class Session:
    def __init__(self, cwd):
        self.id, self.cwd, self.env = str(uuid.uuid4()), cwd, {}


async def session_create(request):
    app, body = request.app, await request.app['body'](request)
    cwd = body.get('cwd') or os.getcwd()
    os.makedirs(cwd, exist_ok=True)
    s = Session(cwd)
    app['sessions'][s.id] = s
    return app['answer']({'session_id': s.id})


async def session_run(request, ident):
    app, body = request.app, await request.app['body'](request)
    s = app['sessions'].get(ident)
    if not s:
        return app['fail'](500, 'RUNTIME_ERROR', 'session not found')
    mark = '__ENV_DUMP__' + uuid.uuid4().hex
    c = Command('exec 2>&1\n%s\n__s=$?\nprintf "\\n%s\\n"; pwd; env -0\n'
                'exit $__s' % (body.get('command', ''), mark))
    await c.start(body.get('cwd') or s.cwd, s.env)
    code = await c.wait(number(body, 'timeout'))
    with open(c.files[0], 'rb') as f:
        out, found, rest = f.read().partition(('\n%s\n' % mark).encode())
    events = Events(request)
    await events.start()
    await events.send('init', text=s.id)
    for line in out.decode(errors='replace').splitlines():
        if line:  # empty ones are dropped
            await events.send('stdout', text=line)
    if found:
        cwd, _, env = rest.partition(b'\n')
        s.cwd = os.fsdecode(cwd)
        s.env = dict(os.fsdecode(e).split('=', 1)
                     for e in env.split(b'\0') if b'=' in e)
    if code < 0:
        # in the stream, and without a type
        await events.response.write(json.dumps({
            'code': 'RUNTIME_ERROR', 'message': 'timeout after %d ms'
            % number(body, 'timeout')}).encode() + b'\n\n')
    elif code:
        await events.send('error', error={
            'ename': 'CommandExecError', 'evalue': str(code),
            'traceback': ['exit status %d' % code]})
    else:
        await events.send('execution_complete', execution_time=1)
    return await finish(events)


async def session_delete(request, ident):
    if not request.app['sessions'].pop(ident, None):
        return request.app['fail'](404, 'CONTEXT_NOT_FOUND', 'no session')
    return web.Response()


# ---- PTY: a terminal, or pipes, over a WebSocket ----

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
    await p.say(old, type='error', error='taken over', code='TAKEN_OVER')
    await old.close(code=4001, message=b'TAKEN_OVER')
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
    while True:
        m = await ws.receive()
        heard[0] = time.time()
        if m.type == WSMsgType.PING:
            await ws.pong(m.data)
        elif m.type == WSMsgType.BINARY:
            app['journal'](ws='stdin', id=p.id, bytes=len(m.data) - 1)
            await p.take_bytes(m.data)
        elif m.type == WSMsgType.TEXT:
            await p.take_text(ws, m.data)
        elif m.type != WSMsgType.PONG:
            return
