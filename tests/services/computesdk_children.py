"""The sandboxes of one daemon of ComputeSDK's stand-in: the main one, and
children, on the same machine.  Each has a port of its own."""
import os
import shutil
import time
import uuid

from aiohttp import web

from computesdk_overlays import Overlay
from computesdk_servers import create as create_server
from computesdk_wire import (Answer, Refusal, field, query, stamp, strings)

TOP = '/sandboxes'


class Space:
    """Where relative paths begin"""

    def __init__(self, subdomain, directory, is_main):
        self.subdomain, self.directory = subdomain, directory
        self.is_main, self.created = is_main, time.time()
        self.port = self.site = None
        self.env = {}


async def serve(daemon, space):
    os.makedirs(space.directory, exist_ok=True)
    site = web.TCPSite(daemon.runner, '127.0.0.1', 0)
    before = set(map(tuple, daemon.runner.addresses))
    await site.start()
    new = set(map(tuple, daemon.runner.addresses)) - before
    space.site, space.port = site, new.pop()[1]
    daemon.spaces[space.port] = space
    daemon.tell(space=space.subdomain, ready=space.port)


async def set_up(daemon, space, body):
    """Overlays and servers that it shall have from the start"""
    for o in field(body, 'overlays', list) or []:
        Overlay(daemon, space, o)
    for s in field(body, 'servers', list) or []:
        if s.get('autostart', True):
            await create_server(daemon, space, s)


async def set_up_main(daemon, space, body):
    try:
        await set_up(daemon, space, body)
    except (Refusal, OSError, TypeError, ValueError, AttributeError) as e:
        daemon.tell(setup_failed=str(e))


async def make(daemon, body):
    subdomain = body.get('subdomain') or 'child-' + uuid.uuid4().hex[:8]
    space = Space(subdomain, field(body, 'directory', str) or
                  os.path.join(TOP, subdomain), False)
    space.env = strings(body, 'envs')
    await serve(daemon, space)
    try:
        await set_up(daemon, space, body)
    except Exception:
        await remove(daemon, space, True)
        raise
    daemon.hub.publish('', 'sandbox.created', {
        'subdomain': subdomain, 'url': daemon.url_of(space)})
    return space


async def remove(daemon, space, with_files):
    del daemon.spaces[space.port]
    space.site._server.close()  # stop() ends those of all others, too
    if with_files:
        shutil.rmtree(space.directory, ignore_errors=True)
    daemon.hub.publish('', 'sandbox.deleted',
                       {'subdomain': space.subdomain})


def shown(daemon, space):
    overlays = [o.brief() for o in daemon.overlays.values()
                if o.space is space]
    servers = [s.brief() for s in daemon.servers.values()
               if s.space is space]
    return {'subdomain': space.subdomain, 'directory': space.directory,
            'is_main': space.is_main, 'created_at': stamp(
                space.created, daemon.traits), 'url': daemon.url_of(space),
            'overlays': overlays or None, 'servers': servers or None}


def find(call, subdomain):
    for space in call.daemon.spaces.values():
        if space.subdomain == subdomain:
            return space
    raise Refusal(404, 'sandbox not found')


async def create(call):
    space = await make(call.daemon, await call.body())
    return Answer(shown(call.daemon, space), 201, flat=True)


async def list_all(call):
    return Answer({'sandboxes': [shown(call.daemon, s) for s in
                                 call.daemon.spaces.values()]}, flat=True)


async def one(call, subdomain):
    return Answer(shown(call.daemon, find(call, subdomain)), flat=True)


async def destroy(call, subdomain):
    space = find(call, subdomain)
    if space.is_main:
        raise Refusal(400, 'cannot delete the main sandbox')
    await remove(call.daemon, space,
                 query(call.request, 'delete_files') == 'true')
    return web.Response(status=204)
