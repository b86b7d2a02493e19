"""A machine of ComputeSDK's stand-in: a box with the daemon in it."""
import asyncio
import base64
import json
import os
import shutil
import time
import uuid

from box import Box
from computesdk_wire import Refusal

ANSWER_S = 60
CHILDREN = '/sandboxes'


def workspace(traits):
    return '/home/project' if 'g1' in traits else '/workspace'


class Machine:
    """Its sandboxes share processes, ports and scratch folders."""

    def __init__(self, server, folder, subdomain, options):
        self.server, self.folder, self.subdomain = server, folder, subdomain
        self.directory = options.get('directory') or workspace(server.traits)
        self.token = 'at_' + uuid.uuid4().hex
        self.replies, self.number = {}, 0
        self.sandboxes, self.ports = set(), {}
        self.sockets, self.left_at = 0, None
        setup = json.dumps({'overlays': options.get('overlays') or [],
                            'servers': options.get('servers') or []})
        env = {**(options.get('envs') or {}),
               'COMPUTESDK_ACCESS_TOKEN': self.token,
               'COMPUTESDK_SETUP_B64':
               base64.b64encode(setup.encode()).decode(),
               'STANDIN_TRAITS': ' '.join(server.traits),
               'STANDIN_URL': server.url_form(),
               'STANDIN_PORT_URL': server.port_form()}
        if server.has('empty-token') or server.has('no-token'):
            env['STANDIN_KEY'] = server.key
        os.makedirs(folder, exist_ok=True)
        self.box = Box(folder, workspace(server.traits),
                       'computesdk_daemon.py', env,
                       [self.directory, subdomain], self.heard,
                       {'children': CHILDREN})

    async def start(self):
        await self.box.start()
        self.ports[self.subdomain] = self.box.port

    def child_folder(self, ident):
        """That of one without a directory of its own"""
        return os.path.join(self.folder, 'children', ident)

    async def child(self, ident, options):
        """A sandbox more on it; its folder is where others have theirs."""
        shown = await self.tell('child', body={**options, 'subdomain': ident,
                                               'name': None})
        if not options.get('directory'):
            folder = os.path.join(os.path.dirname(self.folder), ident)
            os.makedirs(folder)
            os.symlink(self.child_folder(ident),
                       os.path.join(folder, 'workspace'))
        return shown

    async def unchild(self, ident):
        await self.tell('unchild', subdomain=ident)
        shutil.rmtree(os.path.join(os.path.dirname(self.folder), ident),
                      ignore_errors=True)

    async def end(self):
        await self.box.kill()
        top = os.path.dirname(self.folder)
        for child in os.listdir(os.path.join(self.folder, 'children')):
            shutil.rmtree(os.path.join(top, child), ignore_errors=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def is_left(self, seconds):
        """Whether its last WebSocket closed so long ago"""
        return self.left_at and not self.sockets and \
            time.time() - self.left_at > seconds

    def heard(self, line):
        if 'space' in line:
            self.ports[line['space']] = line['ready']
            return
        if line.get('ws') in ('open', 'closed'):
            self.sockets += 1 if line['ws'] == 'open' else -1
            self.left_at = time.time()
        if 'reply' in line:
            future = self.replies.pop(line['reply'], None)
            if future and not future.done():
                future.set_result(line)
        else:
            self.server.journal.append({'daemon': self.subdomain, **line})

    async def tell(self, what, **more):
        """The daemon's answer, after all that it has noted before it

        Or a Refusal, with its words.
        """
        self.number += 1
        future = asyncio.get_running_loop().create_future()
        self.replies[self.number] = future
        self.box.say(json.dumps({'do': what, 'number': self.number, **more}))
        line = await asyncio.wait_for(future, ANSWER_S)
        if 'refused' in line:
            raise Refusal(400, line['refused'])
        return line

    async def expire(self):
        """The token ends; the gateway knows the next one."""
        self.token = 'at_' + uuid.uuid4().hex
        await self.tell('token', token=self.token)
