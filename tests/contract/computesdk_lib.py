"""For the test of ComputeSDK's stand-in: it, a daemon, a socket."""
import asyncio
import json
import urllib.parse

import aiohttp

import standin_lib
from standin_lib import BOUND

HEAD = {'X-ComputeSDK-API-Key': 'right-key', 'X-Provider': 'computesdk',
        'Content-Type': 'application/json'}


class Standin(standin_lib.Standin):
    program, head = 'computesdk.py', HEAD

    async def ok(self, method, path, body=None):
        status, a = await self.ask(method, path, body)
        assert status == 200 and a['success'], (status, a)
        return a['data']

    async def own(self, path, body):
        return (await self.ask('POST', '/_standin/' + path, body))[1]

    async def tell(self, word, **more):
        """All daemons"""
        return await self.own('daemon', {'do': word, **more})

    async def journal(self):
        return (await self.ask('GET', '/_standin/journal'))[1]

    async def daemon(self, _path='/v1/sandboxes', **options):
        return Daemon(self, await self.ok('POST', _path, options))


class Daemon:
    def __init__(self, standin, made):
        self.http, self.made = standin.http, made
        self.url, self.token = made['url'].rstrip('/'), made.get('token')
        self.gen = 3

    async def raw(self, method, path, body=None, head=None, data=None):
        """(status, bytes)"""
        if head is None:
            head = {'Authorization': 'Bearer %s' % self.token}
        url = aiohttp.client.URL(self.url + path, encoded=True)
        async with self.http.request(method, url, json=body, data=data,
                                     headers=head) as r:
            return r.status, await r.read()

    async def ask(self, method, path, body=None, **more):
        """(status, JSON, or text where it is none)"""
        status, raw = await self.raw(method, path, body, **more)
        try:
            return status, json.loads(raw) if raw else None
        except ValueError:
            return status, raw.decode()

    async def ok(self, method, path, body=None, **more):
        """The data, wrapped or not"""
        status, a = await self.ask(method, path, body, **more)
        assert 200 <= status < 300, (status, a)
        return a['data'] if isinstance(a, dict) and 'data' in a else a

    async def run(self, command, **more):
        return await self.ok('POST', '/run/command',
                             {'command': command, **more})

    async def put(self, path, text):
        return await self.ok('POST', '/files', {'path': path,
                                                'content': text})

    async def get(self, path):
        return (await self.ok('GET', '/files/%s?content=true' % path))[
            'content']

    async def pty(self, **more):
        return (await self.ok('POST', '/terminals', {'pty': True, **more}))[
            'id']

    async def socket(self, protocol='json', **more):
        query = {'token': self.token, 'protocol': protocol, **more}
        return Socket(await self.http.ws_connect(
            self.url + '/ws?' + urllib.parse.urlencode(query),
            max_msg_size=0))


class Closed(ConnectionError):
    """With the code that came, or 1006"""

    def __init__(self, code):
        super().__init__('closed: %s' % code)
        self.code = code


class Socket:
    def __init__(self, ws):
        self.ws = ws

    async def say(self, kind, channel=None, **data):
        m = {'type': kind}
        if channel:
            m.update(channel=channel, data=channel)
        else:
            m['data'] = data
        await self.ws.send_str(json.dumps(m))

    async def subscribe(self, channel):
        await self.say('subscribe', channel)

    async def hear(self):
        m = await asyncio.wait_for(self.ws.receive(), BOUND)
        if m.type == aiohttp.WSMsgType.TEXT:
            return json.loads(m.data)
        if m.type == aiohttp.WSMsgType.BINARY:
            return m.data
        raise Closed(m.data if m.type == aiohttp.WSMsgType.CLOSE
                     else self.ws.close_code)

    async def until(self, kind):
        """The next message of that type"""
        while True:
            m = await self.hear()
            if m['type'] == kind:
                return m

    async def text(self, wanted):
        """A PTY's output until that is in it"""
        out = ''
        while wanted not in out:
            out += (await self.until('terminal:output'))['data']['output']
        return out
