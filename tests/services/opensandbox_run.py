"""What execd's stand-in runs: commands, code, bash sessions.

Part of opensandbox_execd.py; see there.
"""
import asyncio
import json
import os
import signal
import time
import uuid

from aiohttp import web

TAIL_S = 1.0   # /command stays open this long after its end
POLL_S = 0.1


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
    if body.get('context'):
        return await code_in_context(request, body, body['context'])
    return await shell_code(request, body)


async def shell_code(request, body):
    app = request.app
    c = Command(body.get('code', ''))
    app['commands'][c.id] = c
    await c.start()
    events = Events(request)
    await run_foreground(events, c, 0)
    return await finish(events)


# ---- code contexts ----

KERNEL = os.path.join(os.path.dirname(os.path.abspath(__file__)),
                      'opensandbox_kernel.py')
NO_JUPYTER = ('error running codes language runtime server not configured, '
              'please check your image runtime')


async def code_in_context(request, body, context):
    """Without a language it would be taken for a shell's."""
    app = request.app
    c = app['contexts'].get(context.get('id'))
    if not context.get('language'):
        return await shell_code(request, body)
    if not app['jupyter'] and 'late-errors' not in app['faults']:
        return app['fail'](500, 'RUNTIME_ERROR', NO_JUPYTER)
    events = Events(request)
    await events.start()  # from here on errors come in the stream
    if not c:
        await in_stream(events, 'error running codes context not found'
                        if app['jupyter'] else NO_JUPYTER)
    else:
        await events.send('init', text=c['id'])
        await events.send('ping', text='pong')
        if c['_busy']:
            await in_stream(events, 'error running codes session is busy')
        else:
            await run_in(c, events, body.get('code', ''))
    return await finish(events)


async def in_stream(events, message):
    await events.response.write(json.dumps({
        'code': 'RUNTIME_ERROR', 'message': message}).encode())


async def run_in(c, events, code):
    """As the kernel tells it; what it prints may come after the end."""
    c['_busy'], late = True, []
    try:
        c['_kernel'].stdin.write(json.dumps({'code': code}).encode() + b'\n')
        while True:
            line = await c['_kernel'].stdout.readline()
            event = json.loads(line or b'{"done":true}')
            if 'done' in event:
                break
            kind = event.pop('type')
            if kind == 'stderr':
                late.append(event)
            else:
                await events.send(kind, **event)
        for event in late:
            await events.send('stderr', **event)
    finally:
        c['_busy'] = False


async def code_interrupt(request):
    c = request.app['contexts'].get(request.query.get('id'))
    if not c:
        return request.app['fail'](500, 'RUNTIME_ERROR',
                                   'error interruptting code context')
    c['_kernel'].send_signal(signal.SIGINT)
    return web.Response()


async def context_create(request):
    app = request.app
    body = await app['body'](request)
    if not app['jupyter'] or body.get('language') != 'python':
        await asyncio.sleep(3600)  # as the real one: no answer for hours
    c = {'id': uuid.uuid4().hex, 'language': body['language'], '_busy': False}
    if body.get('cwd'):
        os.makedirs(body['cwd'], exist_ok=True)
    c['_kernel'] = await asyncio.create_subprocess_exec(
        KERNEL, stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE, cwd=body.get('cwd'), limit=1 << 24)
    await c['_kernel'].stdout.readline()
    app['contexts'][c['id']] = c
    return app['answer']({**context_shown(c), 'cwd': body.get('cwd')})


def context_shown(c):
    return {k: v for k, v in c.items() if k[0] != '_'}


async def contexts(request):
    app, language = request.app, request.query.get('language')
    chosen = [c for c in app['contexts'].values()
              if not language or c['language'] == language]
    if request.method == 'GET':
        # some twice, as the real one does with a language's default
        return app['answer']([context_shown(c) for c in chosen + chosen[:1]])
    for c in chosen:
        app['contexts'].pop(c['id'])['_kernel'].kill()
    return web.Response()


async def context_one(request, ident):
    app = request.app
    if ident not in app['contexts']:
        return app['fail'](404, 'CONTEXT_NOT_FOUND', 'context not found')
    if request.method == 'GET':
        return app['answer'](context_shown(app['contexts'][ident]))
    app['contexts'].pop(ident)['_kernel'].kill()
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
