"""Terminals of the daemon of ComputeSDK's stand-in: PTYs, and exec ones."""
import asyncio
import base64
import fcntl
import os
import pty
import signal
import struct
import termios
import time

from aiohttp import web

from computesdk_run import new_command
from computesdk_wire import Answer, Refusal, field, go_text, to_json

CHUNK, SHELL = 4096, '/bin/bash'


class Terminal:
    def __init__(self, daemon, space, ident, is_pty, encoding=None):
        self.daemon, self.space, self.id = daemon, space, ident
        self.pty, self.encoding = is_pty, encoding
        self.commands = {}
        self.proc = self.master = None
        self.closed, self.waiting = False, set()
        # G1 holds it while it waits for output
        self.lock = asyncio.Lock()
        self.writing = asyncio.Lock()  # one of several sockets

    @property
    def channel(self):
        return 'terminal:' + self.id

    def shown(self):
        status = 'active' if self.pty else 'ready'
        if self.daemon.has('stopped-terminals'):
            status = 'stopped'
        data = {'id': self.id, 'pty': self.pty, 'status': status}
        if self.pty:
            data.update(channel=self.channel, ws_url='/ws',
                        encoding=self.encoding)
        if self.daemon.gen == 1:
            del data['pty']
        return data

    # ---- the PTY ----

    async def start(self, shell):
        self.master, slave = pty.openpty()
        self.resize(80, 24)
        os.set_blocking(self.master, False)
        try:
            self.proc = await asyncio.create_subprocess_exec(
                shell, cwd=self.space.directory if self.daemon.gen > 1
                else None, stdin=slave, stdout=slave,
                stderr=slave, start_new_session=True,
                env={**os.environ, **self.space.env,
                     'TERM': 'xterm-256color'},
                preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        except OSError as e:
            os.close(self.master)
            raise Refusal(500, 'fork/exec %s: %s' % (
                shell, os.strerror(e.errno).lower()))
        finally:
            os.close(slave)
        asyncio.ensure_future(self.pump())

    def resize(self, cols, rows):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ,
                    struct.pack('HHHH', rows, cols, 0, 0))

    async def once(self, add, remove):
        """Until the master can be read, or written."""
        ready = asyncio.Event()
        self.waiting.add(ready)
        add(self.master, ready.set)
        try:
            await ready.wait()
        finally:
            self.waiting.discard(ready)
            if not self.closed:
                remove(self.master)

    async def read(self):
        loop = asyncio.get_running_loop()
        while not self.closed:
            try:
                return os.read(self.master, CHUNK)
            except BlockingIOError:
                await self.once(loop.add_reader, loop.remove_reader)
        return b''

    async def pump(self):
        """One message for each read"""
        coupled = self.daemon.has('coupled')
        try:
            while not self.closed:
                if coupled:
                    async with self.lock:
                        data = await self.read()
                else:
                    data = await self.read()
                if not data:
                    break
                self.tell(data)
                await asyncio.sleep(0)
        except OSError:
            pass  # the last one closed the terminal
        if not self.closed:
            self.daemon.hub.publish(self.channel, 'terminal:error', {
                'terminal_id': self.id,
                'error': 'read /dev/ptmx: input/output error'})
        await self.proc.wait()

    def tell(self, data):
        if self.encoding == 'base64':
            output = base64.b64encode(data).decode()
        elif self.daemon.has('bytes-output'):
            output = data
        else:
            output = go_text(data)
        message = {'output': output}
        if not self.daemon.has('bare-messages'):
            message['terminal_id'] = self.id
            if self.encoding:
                message['encoding'] = self.encoding
        self.daemon.hub.publish(self.channel, 'terminal:output', message)

    async def write(self, text):
        if self.encoding == 'base64' and self.daemon.has('base64-input'):
            try:
                data = base64.b64decode(text, validate=True)
            except ValueError:
                return
        else:
            data = text if isinstance(text, bytes) else \
                text.encode('utf-8', 'surrogateescape')
        if self.daemon.has('coupled'):
            async with self.lock:
                await self.write_all(data)
        else:
            await self.write_all(data)

    async def write_all(self, data):
        loop = asyncio.get_running_loop()
        async with self.writing:
            while data and not self.closed:
                try:
                    data = data[os.write(self.master, data):]
                except BlockingIOError:
                    await self.once(loop.add_writer, loop.remove_writer)
                except OSError:
                    if self.daemon.gen == 1:
                        self.daemon.hub.publish(
                            self.channel, 'terminal:error', {
                                'terminal_id': self.id, 'error': 'write '
                                '/dev/ptmx: input/output error'})
                    return  # whoever reads it is gone

    async def end(self):
        """The process is killed, the master closed; the rest gets SIGHUP."""
        for command in self.commands.values():
            command.kill()
        if not self.pty:
            return
        if self.daemon.has('coupled'):
            await self.lock.acquire()
        loop = asyncio.get_running_loop()
        self.closed = True
        loop.remove_reader(self.master)
        loop.remove_writer(self.master)
        os.close(self.master)
        for ready in self.waiting:
            ready.set()
        if self.proc.returncode is None:
            try:
                os.kill(self.proc.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.daemon.hub.publish(self.channel, 'terminal:destroyed',
                                {'id': self.id})


def shell_of(daemon, body):
    """The program, which is run without arguments, or not at all"""
    shell = field(body, 'shell', str) or SHELL
    if daemon.has('shell-ignored'):
        return SHELL
    if daemon.has('shells-only') and os.path.basename(shell) not in (
            'sh', 'bash', 'dash', 'zsh'):
        raise Refusal(400, 'shell not allowed: ' + shell)
    return shell


async def create(call):
    """POST /terminals"""
    daemon, bodyless = call.daemon, not await call.request.read()
    body = await call.body()
    encoding = field(body, 'encoding', str)
    if encoding not in (None, '', 'raw', 'base64'):
        raise Refusal(400, 'invalid encoding')
    if daemon.gen == 1 or daemon.has('no-encoding'):
        encoding = None
    elif not encoding:
        encoding = 'raw'
    is_pty = field(body, 'pty', bool) or daemon.gen < 3
    if is_pty and daemon.has('no-pty'):
        raise Refusal(500, 'failed to start pty')
    async with daemon.terminals_lock:
        terminal = daemon.new_terminal(call.space, is_pty, encoding)
        try:
            if is_pty:
                await terminal.start(shell_of(daemon, body))
        except Refusal:
            del daemon.terminals[terminal.id]
            raise
    if is_pty:
        daemon.hub.publish('', 'terminal:created', {
            'id': terminal.id, 'status': 'active',
            'channel': terminal.channel})
    answer = Answer(terminal.shown(), 201, message='Terminal created')
    if bodyless and daemon.gen == 1:
        # it had failed to read one, and went on
        return web.Response(status=400, content_type='text/plain',
                            text=to_json({**answer.more,
                                          'data': terminal.shown()}))
    return answer


async def list_all(call):
    shown = [t.shown() for t in call.daemon.terminals.values()]
    if call.daemon.has('double-wrapped'):
        shown = [{'message': 'ok', 'data': s} for s in shown]
    return Answer({'terminals': shown})


async def one(call, ident):
    async with call.daemon.terminals_lock:
        return Answer(call.daemon.terminal(ident).shown())


async def destroy(call, ident):
    daemon = call.daemon
    async with daemon.terminals_lock:
        terminal = daemon.terminal(ident)
        await terminal.end()
        daemon.terminals.pop(ident, None)
    return web.Response(status=204)


async def execute(call, ident):
    """Beside the PTY, not in it"""
    daemon, body = call.daemon, await call.body()
    async with daemon.terminals_lock:
        if daemon.gen == 1 and ident not in daemon.terminals:
            raise Refusal(500, 'terminal not found: ' + ident)
        terminal = daemon.terminal(ident)
    command = new_command(call, field(body, 'command', str, True))
    background = field(body, 'background' if daemon.gen == 3 else 'async',
                       bool)
    if not terminal.pty:
        terminal.commands[command.id] = command
    await command.start()
    if background and daemon.gen > 1:
        return Answer({'command': command.text, 'stdout': '', 'stderr': '',
                       'status': 'running', 'terminal_id': ident,
                       'cmd_id': command.id})
    await command.ended.wait()
    data = {'terminal_id': ident, 'command': command.text,
            'exit_code': command.exit_code, 'duration_ms': command.took_ms()}
    output = go_text(bytes(command.out['stdout'] + command.out['stderr']))
    if daemon.gen < 3:
        data['output'] = output
        daemon.hub.publish(terminal.channel, 'terminal:output', {
            **data, 'timestamp': int(time.time())})
    if daemon.gen > 1:
        data.update(stdout=command.text_of('stdout'),
                    stderr=command.text_of('stderr'), cmd_id=command.id,
                    status=command.status)
    return Answer(data)
