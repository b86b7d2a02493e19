"""Overlays of the daemon of ComputeSDK's stand-in: folders made of others."""
import asyncio
import fnmatch
import os
import shutil
import time

from aiohttp import web

from computesdk_wire import Answer, Refusal, field, stamp

IMMUTABLE = ('node_modules', '.venv', 'vendor')


class Overlay:
    def __init__(self, daemon, space, body):
        self.daemon, self.space = daemon, space
        self.source = field(body, 'source', str, True)
        self.target = field(body, 'target', str, True)
        self.ignore = field(body, 'ignore', list) or []
        self.strategy = field(body, 'strategy', str)
        if self.strategy not in (None, 'copy', 'smart'):
            self.strategy = 'copy'
        if not os.path.isabs(self.source) or os.path.isabs(self.target):
            raise Refusal(400, 'source must be absolute, target relative')
        self.id, self.created = daemon.ident('overlay'), time.time()
        self.status, self.error = 'pending', None
        self.files = self.dirs = 0
        self.skipped = []
        self.ended = asyncio.Event()
        daemon.overlays[self.id] = self
        self.task = asyncio.ensure_future(self.run())

    def brief(self):
        return {'id': self.id, 'source': self.source, 'target': self.target,
                'copy_status': self.shown_status()}

    def shown_status(self):
        if self.daemon.has('strange-status') and self.status == 'pending':
            return 'queued'
        return self.status

    def shown(self):
        old = self.daemon.has('old-stats')
        verb = 'symlinked' if old else 'copied'
        return {**self.brief(), 'strategy': self.strategy,
                'created_at': stamp(self.created, self.daemon.traits),
                'stats': {verb + '_files': self.files,
                          verb + '_dirs': self.dirs,
                          'skipped': self.skipped},
                'copy_error': self.error}

    async def run(self):
        await asyncio.sleep(self.daemon.number('overlay-wait', 0))
        self.status = 'in_progress'
        await asyncio.sleep(self.daemon.number('overlay-wait', 0))
        try:
            await asyncio.get_running_loop().run_in_executor(None, self.copy)
            self.status = 'complete'
        except OSError as e:
            self.status, self.error = 'failed', '%s: %s' % (
                e.filename, os.strerror(e.errno).lower())
        self.ended.set()

    def is_skipped(self, path):
        relative = os.path.relpath(path, self.source)
        if any(isinstance(p, str) and (
                fnmatch.fnmatchcase(relative, p) or
                fnmatch.fnmatchcase(os.path.basename(path), p))
                for p in self.ignore):
            self.skipped.append(relative)
            return True
        return False

    def copy(self):
        top = os.path.join(self.space.directory, self.target)
        os.listdir(self.source)
        for folder, dirs, files in os.walk(self.source):
            there = os.path.normpath(os.path.join(
                top, os.path.relpath(folder, self.source)))
            os.makedirs(there, exist_ok=True)
            for name in list(dirs):
                path = os.path.join(folder, name)
                if self.is_skipped(path):
                    dirs.remove(name)
                elif self.strategy == 'smart' and name in IMMUTABLE:
                    dirs.remove(name)
                    os.symlink(path, os.path.join(there, name))
                else:
                    self.dirs += 1
            for name in files:
                path = os.path.join(folder, name)
                if not self.is_skipped(path):
                    shutil.copy2(path, os.path.join(there, name),
                                 follow_symlinks=False)
                    self.files += 1


def find(call, ident):
    if ident not in call.daemon.overlays:
        raise Refusal(404, 'overlay not found')
    return call.daemon.overlays[ident]


async def create(call):
    overlay = Overlay(call.daemon, call.space, await call.body())
    return Answer(overlay.shown(), 201, flat=True)


async def list_all(call):
    return Answer({'overlays': [o.shown() for o in
                                call.daemon.overlays.values()]}, flat=True)


async def one(call, ident):
    return Answer(find(call, ident).shown(), flat=True)


async def destroy(call, ident):
    overlay = find(call, ident)
    overlay.task.cancel()
    del call.daemon.overlays[ident]
    return web.Response(status=204)
