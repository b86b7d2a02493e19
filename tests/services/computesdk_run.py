"""Commands of the daemon of ComputeSDK's stand-in, and who keeps them.

A command belongs to a terminal of the exec kind, which /run/command makes on
its own for what runs in the background.
"""
import asyncio
import os
import signal
import time

from computesdk_wire import (Answer, Refusal, field, go_text, query, stamp,
                             strings)

LANGUAGES = {'python': 'python3', 'python3': 'python3', 'node': 'node',
             'javascript': 'node', 'js': 'node', 'bash': 'bash', 'sh': 'sh',
             'ruby': 'ruby'}
FLAGS = {'python3': '-c', 'node': '-e', 'ruby': '-e'}


class Command:
    def __init__(self, ident, text, shell, cwd, env):
        self.id, self.text, self.shell = ident, text, shell or 'sh'
        self.cwd, self.env = cwd, env
        self.status, self.exit_code = 'pending', None
        self.started = self.finished = self.proc = None
        self.out = {'stdout': bytearray(), 'stderr': bytearray()}
        self.both = bytearray()
        self.ended = asyncio.Event()

    async def start(self, tell=None):
        """tell(name, text) is called with each piece of output."""
        pipe = asyncio.subprocess.PIPE
        try:
            self.proc = await asyncio.create_subprocess_exec(
                self.shell, '-c', self.text, cwd=self.cwd, env=self.env,
                stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe,
                start_new_session=True)
        except OSError as e:
            self.status = 'failed'
            raise Refusal(500, 'fork/exec %s: %s' % (
                self.shell, os.strerror(e.errno).lower()))
        self.status, self.started = 'running', time.time()
        asyncio.ensure_future(self.watch(tell))

    async def follow(self, name, pipe, tell):
        while True:
            data = await pipe.read(4096)
            if not data:
                return
            self.out[name] += data
            self.both += data
            if tell:
                await tell(name, go_text(data))

    async def watch(self, tell):
        # who stays in the background with the pipes is waited for, too
        await asyncio.gather(
            self.follow('stdout', self.proc.stdout, tell),
            self.follow('stderr', self.proc.stderr, tell))
        code = await self.proc.wait()
        self.exit_code = code if code >= 0 else -1
        self.finished = time.time()
        self.status = 'failed' if self.exit_code else 'completed'
        self.ended.set()

    def text_of(self, name):
        return go_text(bytes(self.out[name]))

    def kill(self):
        if self.proc and self.proc.returncode is None:
            try:
                os.killpg(self.proc.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def took_ms(self):
        return self.finished and int((self.finished - self.started) * 1000)

    def shown(self, traits, output=True):
        data = {'cmd_id': self.id, 'command': self.text,
                'status': self.status, 'exit_code': self.exit_code,
                'duration_ms': self.took_ms(),
                'started_at': self.started and stamp(self.started, traits),
                'finished_at': self.finished and stamp(self.finished, traits)}
        if output:
            data.update(stdout=self.text_of('stdout'),
                        stderr=self.text_of('stderr'))
        return data


def new_command(call, text, shell=None, cwd=None, env=None):
    # the first generation's are run where the daemon itself was started
    top = call.space.directory if call.daemon.gen > 1 else os.getcwd()
    folder = os.path.join(top, cwd) if cwd else top
    base = {} if call.daemon.has('env-replaces') and env else os.environ
    command = Command(call.daemon.ident('cmd'), text, shell, folder,
                      {**base, **call.space.env, 'PWD': folder,
                       **(env or {})})
    return command


def answer_of(command, **more):
    """What a command came to, in the words of /run/command"""
    return Answer({'command': command.text, 'stdout': command.text_of(
        'stdout'), 'stderr': command.text_of('stderr'),
        'exit_code': command.exit_code, 'duration_ms': command.took_ms(),
        **more})


async def run_command(call):
    """POST /run/command"""
    body = await call.body()
    command = new_command(
        call, field(body, 'command', str, True), field(body, 'shell', str),
        field(body, 'cwd', str), strings(body, 'env'))
    if not os.path.isdir(command.cwd):
        raise Refusal(400, 'chdir %s: no such file or directory'
                      % command.cwd)
    stream = field(body, 'stream', bool) and not call.daemon.has('no-stream')
    if stream or field(body, 'background', bool):
        return await apart(call, command, stream)
    await command.start()
    await command.ended.wait()
    return answer_of(command)


async def apart(call, command, stream):
    """In the background, or as soon as command:start says so"""
    terminal = call.daemon.new_terminal(call.space, pty=False)
    terminal.commands[command.id] = command
    more = {'terminal_id': terminal.id, 'cmd_id': command.id}
    if stream:
        more.update(channel='command:%s' % command.id, pty=False)
        call.daemon.pending[command.id] = (command, more)
    else:
        await command.start()
    return Answer({'command': command.text, 'stdout': '', 'stderr': '',
                   'status': command.status, **more})


async def begin(daemon, ident):
    """command:start of a streamed command; of no other, of none twice"""
    command, ids = daemon.pending.pop(ident, (None, None))
    if not command:
        return

    def publish(kind, **data):
        return daemon.hub.publish(ids['channel'], 'command:' + kind, {
            'terminal_id': ids['terminal_id'], 'cmd_id': ident, **data})

    async def tell(name, text):
        publish(name, output=text)
        await asyncio.sleep(0)
    try:
        await command.start(tell)
        await command.ended.wait()
    except Refusal as e:
        command.exit_code = -1
        publish('stderr', output=str(e))
    publish('exit', exit_code=command.exit_code)


async def execute(call):
    """POST /execute, with both outputs as one besides"""
    body = await call.body()
    command = new_command(call, field(body, 'command', str, True),
                          field(body, 'shell', str))
    if field(body, 'background', bool):
        return await apart(call, command, False)
    await command.start()
    await command.ended.wait()
    return answer_of(command, output=go_text(bytes(command.both)))


def language_of(code):
    if 'require(' in code or 'console.log' in code or 'const ' in code:
        return 'node'
    if 'puts ' in code:
        return 'ruby'
    if 'import ' in code or 'print(' in code or 'def ' in code:
        return 'python'
    return 'bash'


async def run_code(call):
    """POST /run/code"""
    body = await call.body()
    code = field(body, 'code', str, True)
    language = field(body, 'language', str) or language_of(code)
    if language not in LANGUAGES:
        raise Refusal(400, 'unsupported language: %s' % language)
    program = LANGUAGES[language]
    command = new_command(call, 'exec "$@" 2>&1')
    command.text = 'exec %s %s "$STANDIN_CODE" 2>&1' % (
        program, FLAGS.get(program, '-c'))
    command.env['STANDIN_CODE'] = code
    await command.start()
    await command.ended.wait()
    return Answer({'output': command.text_of('stdout'),
                   'exit_code': command.exit_code, 'language': language})


# ---- what a terminal keeps of them ----

def command_of(call, ident, cmd_id):
    terminal = call.daemon.terminal(ident)
    if terminal.pty or cmd_id not in terminal.commands:
        raise Refusal(404, 'command not found')
    return terminal.commands[cmd_id]


async def commands_list(call, ident):
    terminal = call.daemon.terminal(ident)
    if terminal.pty:
        raise Refusal(400, 'terminal is not in exec mode')
    shown = [c.shown(call.daemon.traits, False)
             for c in terminal.commands.values()]
    return Answer({'commands': shown, 'count': len(shown)})


async def command_get(call, ident, cmd_id):
    return Answer(command_of(call, ident, cmd_id).shown(call.daemon.traits))


async def command_wait(call, ident, cmd_id):
    """What comes at its time's end is not known: by trait."""
    command = command_of(call, ident, cmd_id)
    text = query(call.request, 'timeout') or '0'
    if not text.isdigit():
        raise Refusal(400, 'invalid timeout')
    try:
        await asyncio.wait_for(command.ended.wait(), int(text) or None)
    except asyncio.TimeoutError:
        for status in (408, 504, 500):
            if call.daemon.has('wait-%d' % status):
                raise Refusal(status, 'timeout waiting for command')
    return Answer(command.shown(call.daemon.traits))
