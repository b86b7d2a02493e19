"""Managed servers of the daemon of ComputeSDK's stand-in."""
import asyncio
import os
import re
import signal
import socket
import time

from aiohttp import ClientError, ClientSession, ClientTimeout

from computesdk_env import parse
from computesdk_overlays import Overlay
from computesdk_wire import (Answer, Refusal, field, go_text, query, stamp,
                             strings)

NS = 1000000           # nanoseconds of a millisecond
POLICIES = ('never', 'on-failure', 'always')
LOG_MAX = 1 << 20


def is_free(port):
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(('127.0.0.1', port))
        except OSError:
            return False
    return True


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


class Server:
    """What was asked for, the process, and what becomes of it"""

    def __init__(self, daemon, space, body):
        self.daemon, self.space, self.body = daemon, space, body
        self.slug = field(body, 'slug', str, True)
        if not re.fullmatch('[A-Za-z0-9._-]+', self.slug):
            raise Refusal(400, 'invalid slug')
        self.start_line = field(body, 'start', str) or field(
            body, 'command', str)
        if not self.start_line:
            field(body, 'start', str, True)
        self.install = field(body, 'install', str)
        self.path = os.path.join(space.directory,
                                 field(body, 'path', str) or '')
        self.env_file = field(body, 'env_file', str)
        self.environment = strings(body, 'environment')
        self.wanted_port = field(body, 'port', int)
        self.strict = field(body, 'strict_port', bool)
        self.policy = field(body, 'restart_policy', str) or 'never'
        if self.policy not in POLICIES:
            raise Refusal(400, 'invalid restart_policy')
        self.max_restarts = field(body, 'max_restarts', int) or 0
        self.delay_ms = field(body, 'restart_delay_ms', int) or 1000
        self.stop_ms = field(body, 'stop_timeout_ms', int) or 10000
        self.check = field(body, 'health_check', dict)
        self.depends = field(body, 'depends_on', list) or []
        self.overlays = field(body, 'overlays', list) or []
        if field(body, 'overlay', dict):
            self.overlays = [*self.overlays, body['overlay']]
        self.status, self.port, self.proc = 'starting', None, None
        self.restarts, self.exit_code, self.healthy = 0, None, None
        self.health, self.failures = None, 0
        self.created = self.updated = time.time()
        self.logs = {n: bytearray() for n in ('stdout', 'stderr', 'combined')}
        self.tasks, self.is_stopping = [], False

    def turn(self, status):
        self.status, self.updated = status, time.time()

    def url(self):
        return self.daemon.port_url(self.space, self.port)

    def brief(self):
        return {'slug': self.slug, 'port': self.port, 'url': self.port and
                self.url(), 'status': self.status, 'healthy': self.healthy,
                'health_check': self.health}

    def shown(self):
        traits = self.daemon.traits
        health = self.health
        if 'health-string' in traits and self.check is not None:
            health = {None: 'checking', True: 'healthy',
                      False: 'unhealthy'}[self.healthy]
        name = 'command' if 'server-command' in traits else 'start'
        return {
            **self.brief(), name: self.start_line, 'install': self.install,
            'path': self.path, 'original_path': self.body.get('path'),
            'env_file': self.env_file, 'environment': self.environment
            or None, 'autostart': self.body.get('autostart', True),
            'strict_port': self.strict, 'depends_on': self.depends or None,
            'pid': self.proc and self.proc.pid, 'health_check': self.check,
            'restart_policy': self.policy, 'max_restarts': self.max_restarts,
            'restart_delay': self.delay_ms * NS,
            'stop_timeout': self.stop_ms * NS,
            'restart_count': self.restarts, 'exit_code': self.exit_code,
            'health_status': health, 'created_at': stamp(
                self.created, traits), 'updated_at': stamp(
                    self.updated, traits)}

    # ---- its life ----

    async def prepare(self):
        """Overlays, then install, for which the caller waits."""
        made = [Overlay(self.daemon, self.space, o) for o in self.overlays]
        made += [self.daemon.overlays[i] for i in self.depends
                 if i in self.daemon.overlays]
        for overlay in made:
            await overlay.ended.wait()
        os.makedirs(self.path, exist_ok=True)
        if not self.install:
            return True
        self.turn('installing')
        proc = await self.spawn(self.install)
        if await self.follow(proc):
            self.turn('failed')
            self.exit_code = proc.returncode
            return False
        return True

    async def spawn(self, line):
        env = {**os.environ, **self.space.env}
        if self.env_file:
            path = os.path.join(self.space.directory, self.env_file)
            env.update(parse(path) if os.path.isfile(path) else {})
        env.update(self.environment)
        if self.port:
            env['PORT'] = str(self.port)
        return await asyncio.create_subprocess_exec(
            'sh', '-c', line, cwd=self.path, env=env,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            start_new_session=True)

    async def keep(self, name, pipe):
        while True:
            data = await pipe.read(65536)
            if not data:
                return
            for log in self.logs[name], self.logs['combined']:
                log += data
                del log[:-LOG_MAX]

    async def follow(self, proc):
        reading = asyncio.gather(self.keep('stdout', proc.stdout),
                                 self.keep('stderr', proc.stderr))
        code = await proc.wait()
        await asyncio.wait([reading], timeout=1)
        return code

    def choose_port(self):
        port = self.wanted_port
        if port and not is_free(port):
            if self.strict:
                self.turn('failed')
                raise Refusal(400, 'port %d is in use' % port)
            port = None
        self.port = port or free_port()

    async def start(self):
        self.is_stopping = False
        self.choose_port()
        if not await self.prepare():
            return
        await self.run()

    async def run(self):
        self.turn('starting')
        self.proc = await self.spawn(self.start_line)
        self.tasks = [asyncio.ensure_future(self.watch(self.proc)),
                      asyncio.ensure_future(self.until_listening())]
        if self.check is not None:
            self.tasks.append(asyncio.ensure_future(self.check_health()))

    async def until_listening(self):
        self.turn('running')
        while True:
            try:
                _, w = await asyncio.open_connection('127.0.0.1', self.port)
                w.close()
                break
            except OSError:
                await asyncio.sleep(0.05)
        self.turn('ready')
        signals, url = self.daemon.signals, self.url()
        signals.emit('port', port=self.port, type='open', url=url)
        signals.emit('server-ready', port=self.port, url=url)

    async def watch(self, proc):
        code = await self.follow(proc)
        self.exit_code = code if code >= 0 else -1
        if self.is_stopping:
            return
        self.end_tasks()
        again = self.policy == 'always' or self.policy == 'on-failure' and \
            code
        if not again or 0 < self.max_restarts <= self.restarts:
            self.turn('failed' if code else 'stopped')
            return
        self.turn('restarting')
        await asyncio.sleep(self.delay_ms / 1000)
        self.restarts += 1
        await self.run()

    def end_tasks(self):
        """Of a process that ends; its port is closed."""
        if self.status == 'ready':
            self.daemon.signals.emit('port', port=self.port, type='close',
                                     url=self.url())
        for t in self.tasks:
            if t is not asyncio.current_task():
                t.cancel()

    async def check_health(self):
        def ms(name, default):
            return (field(self.check, name, int) or default) / 1000
        await asyncio.sleep(ms('delay_ms', 5000))
        path = field(self.check, 'path', str) or '/'
        async with ClientSession(timeout=ClientTimeout(
                total=ms('timeout_ms', 1500))) as http:
            while True:
                try:
                    async with http.get('http://127.0.0.1:%d%s' % (
                            self.port, path)) as r:
                        status = r.status
                except (ClientError, asyncio.TimeoutError):
                    status = 0
                self.healthy = 200 <= status < 400
                self.failures = 0 if self.healthy else self.failures + 1
                self.health = {'last_check': stamp(
                    time.time(), self.daemon.traits), 'last_status': status,
                    'consecutive_failures': self.failures}
                await asyncio.sleep(ms('interval_ms', 2000))

    def kill(self, number):
        try:
            os.killpg(self.proc.pid, number)
        except ProcessLookupError:
            pass

    async def stop(self):
        """SIGTERM, time, SIGKILL"""
        self.is_stopping = True
        self.end_tasks()
        if self.proc and self.proc.returncode is None:
            self.kill(signal.SIGTERM)
            try:
                await asyncio.wait_for(self.proc.wait(), self.stop_ms / 1000)
            except asyncio.TimeoutError:
                self.kill(signal.SIGKILL)
                await self.proc.wait()
        self.turn('stopped')


def find(call, slug):
    if slug not in call.daemon.servers:
        raise Refusal(404, 'server not found')
    return call.daemon.servers[slug]


def answer(data):
    return Answer(data, status='success')


async def create(daemon, space, body):
    server = Server(daemon, space, body)
    old = daemon.servers.get(server.slug)
    if old and old.status not in ('stopped', 'failed'):
        raise Refusal(400, 'server %s already exists' % server.slug)
    daemon.servers[server.slug] = server
    await server.start()
    return server


async def start(call):
    server = await create(call.daemon, call.space, await call.body())
    return answer({'server': server.shown()})


async def list_all(call):
    return answer({'servers': [s.shown()
                               for s in call.daemon.servers.values()]})


async def one(call, slug):
    return answer({'server': find(call, slug).shown()})


async def stop(call, slug):
    await find(call, slug).stop()
    if call.daemon.has('stop-forgets'):
        call.daemon.servers.pop(slug, None)
    return answer({'slug': slug})


async def restart(call, slug):
    server = find(call, slug)
    await server.stop()
    await server.start()
    return answer({'server': server.shown()})


async def destroy(call, slug):
    await find(call, slug).stop()
    call.daemon.servers.pop(slug, None)
    return answer({'slug': slug})


async def logs(call, slug):
    server, stream = find(call, slug), query(call.request, 'stream')
    stream = stream or 'combined'
    if stream not in server.logs:
        raise Refusal(400, 'invalid stream')
    return answer({'slug': slug, 'stream': stream,
                   'logs': go_text(bytes(server.logs[stream]))})


async def set_status(call, slug):
    server = find(call, slug)
    server.turn(field(await call.body(), 'status', str, True))
    return answer({'slug': slug, 'status': server.status})
