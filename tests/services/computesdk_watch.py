"""Watchers of the daemon of ComputeSDK's stand-in, on the kernel's inotify.

G1's, and with the trait old-watchers all, do not see what is in directories
that are made later, take patterns for parts of a path, and lose what is too
much; all do the last.
"""
import asyncio
import base64
import ctypes
import fnmatch
import os
import struct
import time

from aiohttp import web

from computesdk_wire import (Answer, Refusal, field, go_text, name_text,
                             words)

LIBC = ctypes.CDLL(None, use_errno=True)
MODIFY, ATTRIB, MOVED_FROM, MOVED_TO = 2, 4, 0x40, 0x80
CREATE, DELETE, IS_DIR = 0x100, 0x200, 0x40000000
MASK = MODIFY | ATTRIB | MOVED_FROM | MOVED_TO | CREATE | DELETE
PENDING = 100
CONTENT_S = 0.01

# for a file, and for a directory
EVENTS = {
    'g1': {CREATE: ('created',) * 2, MODIFY: ('modified',) * 2,
           DELETE: ('deleted',) * 2, MOVED_FROM: ('renamed',) * 2},
    'python': {CREATE: ('create',) * 2, MODIFY: ('modify',) * 2,
               DELETE: ('delete',) * 2, MOVED_FROM: ('rename',) * 2},
    'g3': {CREATE: ('add', 'addDir'), MODIFY: ('change',) * 2,
           DELETE: ('unlink', 'unlinkDir'),
           MOVED_FROM: ('unlink', 'unlinkDir')}}


class Watcher:
    def __init__(self, daemon, ident, path, body):
        self.daemon, self.id, self.path = daemon, ident, path
        self.content = bool(field(body, 'includeContent', bool))
        self.ignored = field(body, 'ignored', list) or []
        self.encoding = field(body, 'encoding', str) or 'raw'
        self.old = daemon.gen == 1 or daemon.has('old-watchers')
        self.fd, self.folders, self.seen = -1, {}, 0
        self.queue = asyncio.Queue(PENDING)
        self.sender = None

    @property
    def channel(self):
        return 'watcher:' + self.id

    def shown(self, **more):
        data = {'id': self.id, 'path': name_text(self.path),
                'includeContent': self.content, 'ignored': self.ignored,
                'status': 'active', 'channel': self.channel, **more}
        if self.daemon.gen > 1:
            data['encoding'] = self.encoding
        return data

    # ---- what the kernel is asked ----

    def start(self):
        os.stat(self.path)
        self.fd = LIBC.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self.fd < 0:
            raise Refusal(500, 'inotify_init1')
        self.add_tree(self.path)
        asyncio.get_running_loop().add_reader(self.fd, self.read)
        self.sender = asyncio.ensure_future(self.send())

    def add(self, path):
        number = LIBC.inotify_add_watch(self.fd, os.fsencode(path), MASK)
        if number >= 0:
            self.folders[number] = path

    def add_tree(self, path):
        self.add(path)
        for folder, names, _ in os.walk(path):
            for name in names:
                full = os.path.join(folder, name)
                if not os.path.islink(full):
                    self.add(full)

    def close(self):
        asyncio.get_running_loop().remove_reader(self.fd)
        os.close(self.fd)
        self.sender.cancel()

    def read(self):
        try:
            data = os.read(self.fd, 65536)
        except BlockingIOError:
            return
        at = 0
        while at < len(data):
            number, mask, _, size = struct.unpack_from('iIII', data, at)
            name = data[at + 16:at + 16 + size].rstrip(b'\0')
            at += 16 + size
            if number in self.folders and name:
                self.on_event(os.path.join(self.folders[number],
                                           os.fsdecode(name)), mask)

    # ---- what becomes of it ----

    def is_ignored(self, path):
        for pattern in self.ignored:
            if not isinstance(pattern, str):
                continue
            if fnmatch.fnmatchcase(os.path.basename(path), pattern):
                return True
            if self.old:
                if pattern.strip('*/') in path:
                    return True
            elif fnmatch.fnmatchcase(os.path.relpath(path, self.path),
                                     pattern.replace('**', '*')):
                return True
        return False

    def on_event(self, path, mask):
        is_dir = bool(mask & IS_DIR)
        if is_dir and mask & (CREATE | MOVED_TO) and not self.old:
            self.add_tree(path)
        kind = CREATE if mask & MOVED_TO else mask & (
            CREATE | MODIFY | DELETE | MOVED_FROM)
        daemon = self.daemon
        names = EVENTS['python' if daemon.has('python-events') else
                       'g1' if daemon.gen == 1 else 'g3']
        if not kind or self.is_ignored(path):
            return
        self.seen += 1
        if self.seen % daemon.number('lose-events', 1 << 40) == 0:
            return
        for _ in range(2 if daemon.has('double-events') else 1):
            try:
                self.queue.put_nowait((names[kind][is_dir], path, is_dir))
            except asyncio.QueueFull:
                pass  # nobody is told

    def content_of(self, path):
        try:
            with open(path, 'rb') as f:
                raw = f.read()
        except OSError:
            return ''
        if self.encoding == 'base64':
            return base64.b64encode(raw).decode()
        return go_text(raw)

    async def send(self):
        while True:
            event, path, is_dir = await self.queue.get()
            data = {'event': event, 'path': name_text(path),
                    'watcher_id': self.id, 'timestamp': int(time.time())}
            if self.content:
                await asyncio.sleep(CONTENT_S)
                if not is_dir and os.path.isfile(path):
                    data.update(content=self.content_of(path),
                                encoding=self.encoding)
            self.daemon.hub.publish(self.channel, 'file:changed', data)


async def create(call):
    """POST /watchers; G1 hands the path to the kernel as it is."""
    daemon, body = call.daemon, await call.body()
    path = field(body, 'path', str, True)
    if daemon.gen > 1 and not daemon.has('kernel-paths'):
        path = os.path.join(call.space.directory, path)
    w = Watcher(daemon, daemon.ident('watcher'), path, body)
    try:
        w.start()
    except OSError as e:
        raise Refusal(500 if daemon.gen == 1 else 400, words(e, 'lstat'))
    daemon.watchers[w.id] = w
    daemon.hub.publish('', 'watcher:created', {'id': w.id, 'path':
                                               name_text(path)})
    return Answer(w.shown(ws_url='/ws'), 201)


def find(call, ident):
    if ident not in call.daemon.watchers:
        raise Refusal(404, 'watcher not found')
    return call.daemon.watchers[ident]


async def list_all(call):
    return Answer({'watchers': [w.shown()
                                for w in call.daemon.watchers.values()]})


async def one(call, ident):
    return Answer(find(call, ident).shown())


async def destroy(call, ident):
    w = find(call, ident)
    del call.daemon.watchers[ident]
    w.close()
    call.daemon.hub.publish(w.channel, 'watcher:destroyed', {'id': ident})
    return web.Response(status=204)
