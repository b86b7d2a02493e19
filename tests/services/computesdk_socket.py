"""The WebSocket of the daemon of ComputeSDK's stand-in, and its channels."""
import asyncio
import struct
import time

from aiohttp import WSMsgType, web

import computesdk_run as running
from computesdk_wire import (fail, from_json, go_text, query, to_json)

MESSAGE_MAX = 512 * 1024
QUEUE = 256        # a slower reader is dropped
PING_S, PONG_S, WRITE_S = 54, 60, 10
WANTED = {'terminal_id': str, 'cmd_id': str, 'input': (str, bytes),
          'cols': (int, float), 'rows': (int, float)}
KINDS = {'subscribe': 1, 'unsubscribe': 2, 'error': 4, 'connected': 5}


# ---- binary frames ----

def with_length(form, data):
    return struct.pack('>' + form, len(data)) + data


def encode_value(value):
    if isinstance(value, bool):
        return b'\3' + with_length('I', bytes([value]))
    if isinstance(value, (int, float)):
        return b'\2' + with_length('I', struct.pack('>d', value))
    if isinstance(value, bytes):
        return b'\4' + with_length('I', value)
    return b'\1' + with_length('I', value.encode())


def encode_data(data, as_json):
    """Pairs where they fit, which are flat and have no null; else JSON"""
    if data is None:
        return b''
    if as_json or not isinstance(data, dict) or not all(
            isinstance(v, (str, int, float, bytes)) for v in data.values()):
        return to_json(as_text(data)).encode()
    return struct.pack('>H', len(data)) + b''.join(
        with_length('H', k.encode()) + encode_value(v)
        for k, v in data.items())


def encode(kind, channel, data, as_json=False):
    return bytes([KINDS.get(kind, 3)]) + with_length(
        'H', channel.encode()) + with_length('H', kind.encode()) + \
        with_length('I', encode_data(data, as_json))


class Cut(Exception):
    """A binary message that is none"""


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, n):
        if n > len(self.data) - self.at:
            raise Cut
        self.at += n
        return self.data[self.at - n:self.at]

    def number(self, form):
        return struct.unpack('>' + form, self.take(struct.calcsize(form)))[0]

    def piece(self, form):
        return self.take(self.number(form))


def decode_pairs(raw):
    r, out = Reader(raw), {}
    for _ in range(r.number('H')):
        key, kind, value = r.piece('H'), r.number('B'), r.piece('I')
        if kind == 1:
            # not looked at by the codec
            value = value.decode('utf-8', 'surrogateescape')
        elif kind == 2 and len(value) == 8:
            value = struct.unpack('>d', value)[0]
        elif kind == 3 and len(value) == 1:
            value = value != b'\0'
        elif kind != 4:
            raise Cut
        out[go_text(key)] = value
    if r.at != len(raw):
        raise Cut
    return out


def decode(raw):
    """(type, channel, data)"""
    r = Reader(raw)
    r.number('B')
    channel, kind, data = r.piece('H'), r.piece('H'), r.piece('I')
    if r.at != len(raw):
        raise Cut
    try:
        data = decode_pairs(data) if data else {}
    except Cut:
        data = from_json(data)
    return go_text(kind), go_text(channel), data


def as_text(data):
    if isinstance(data, dict):
        return {k: go_text(v) if isinstance(v, bytes) else v
                for k, v in data.items()}
    return data


# ---- clients ----

class Client:
    def __init__(self, daemon, ws, binary):
        self.daemon, self.ws, self.binary = daemon, ws, binary
        self.channels, self.queue = set(), []
        self.more, self.sent = asyncio.Event(), 0
        self.ponged, self.closing = time.monotonic(), None

    def drop(self):
        """As when the network fails: no close frame."""
        if self.ws._req is not None and self.ws._req.transport:
            self.ws._req.transport.abort()

    def frame(self, kind, channel, data):
        daemon, binary = self.daemon, self.binary
        if daemon.gen == 1 or daemon.has('forced-text'):
            binary = False
        elif daemon.has('forced-binary'):
            binary = True
        elif daemon.has('mixed'):
            self.sent += 1
            binary = bool(self.sent % 2)
        if binary:
            return encode(kind, channel, data, daemon.has('json-in-binary'))
        message = {'type': kind}
        if channel or daemon.gen == 1:
            message['channel'] = channel
        message['data'] = as_text(data)
        return to_json(message) + ('\n' if daemon.gen == 1 else '')

    def send(self, kind, channel, data):
        self.push(self.frame(kind, channel, data))

    def push(self, frame):
        if len(self.queue) >= self.daemon.number('queue', QUEUE):
            self.daemon.tell(ws='too-slow')
            self.drop()
            return
        self.queue.append((time.monotonic() + self.daemon.delay, frame))
        self.more.set()

    async def write(self):
        while True:
            await self.more.wait()
            self.more.clear()
            while self.queue and not self.daemon.has('mute'):
                due, frame = self.queue.pop(0)
                if due > time.monotonic():
                    await asyncio.sleep(due - time.monotonic())
                send = self.ws.send_bytes if isinstance(frame, bytes) \
                    else self.ws.send_str
                try:
                    await asyncio.wait_for(send(frame), WRITE_S)
                except (asyncio.TimeoutError, ConnectionError, RuntimeError):
                    self.drop()
                    return

    async def ping(self):
        while True:
            await asyncio.sleep(self.daemon.number('ping', PING_S))
            if time.monotonic() - self.ponged > self.daemon.number(
                    'pong', PONG_S):
                self.drop()
                return
            await self.ws.ping()


class Hub:
    def __init__(self):
        self.clients = set()

    def publish(self, channel, kind, data):
        """To who subscribed; all for the empty channel; None is kept."""
        for c in list(self.clients):
            if not channel or channel in c.channels:
                c.send(kind, channel, data)

    def push(self, frame):
        """Any text or bytes, to all"""
        for c in list(self.clients):
            c.push(frame)

    def cut(self):
        for c in list(self.clients):
            c.drop()


# ---- what clients say ----

def channel_of(daemon, kind, channel, data):
    if daemon.gen != 1:
        return channel
    if kind == 'subscribe' and isinstance(data, dict):
        data = data.get('channel')
    return data if isinstance(data, str) else ''


def forge(client, channel):
    """What a peer can say in the name of others"""
    for kind, data in (('terminal:output', {'output': '~AAAA\n~'}),
                       ('terminal:output', {'output': 7}),
                       ('terminal:output', {'output': 'x', 'command': 'y',
                                            'exit_code': 0}),
                       ('terminal:output', None),
                       ('terminal:error', {'error': 'x', 'terminal_id': 'y'}),
                       ('command:exit', {'cmd_id': 'y', 'exit_code': 1}),
                       ('nothing', {})):
        client.send(kind, channel, data)


async def handle(client, kind, channel, data):
    daemon = client.daemon
    if kind in ('subscribe', 'unsubscribe'):
        channel = channel_of(daemon, kind, channel, data)
        daemon.tell(ws=kind, channel=channel)
        if channel and kind == 'subscribe':
            client.channels.add(channel)
            if daemon.has('forged'):
                forge(client, channel)
        else:
            client.channels.discard(channel)
        return
    if not isinstance(data, dict):
        data = {}
    # of the wrong type is as good as missing
    data = {k: v for k, v in data.items()
            if isinstance(v, WANTED.get(k, object))}
    terminal = daemon.terminals.get(data.get('terminal_id'))
    if kind == 'terminal:input':
        text = data.get('input', '')
        daemon.tell(ws='stdin', id=data.get('terminal_id'), bytes=len(text))
        if terminal and terminal.pty:
            await terminal.write(text)
    elif kind == 'terminal:resize':
        cols, rows = data.get('cols'), data.get('rows')
        daemon.tell(ws='resize', id=data.get('terminal_id'), cols=cols,
                    rows=rows)
        if terminal and terminal.pty and cols and rows:
            terminal.resize(int(cols) & 0xffff, int(rows) & 0xffff)
    elif kind == 'command:start':
        daemon.tell(ws='start', id=data.get('cmd_id'))
        asyncio.ensure_future(running.begin(daemon, data.get('cmd_id')))
    else:
        daemon.tell(ws='unknown', type=kind)
        if daemon.gen == 1 and channel:
            # anybody may say anything
            daemon.hub.publish(channel, kind, data)


async def listen(client):
    while True:
        m = await client.ws.receive()
        if m.type == WSMsgType.PING:
            await client.ws.pong(m.data)
        elif m.type == WSMsgType.PONG:
            client.ponged = time.monotonic()
        elif m.type == WSMsgType.TEXT:
            try:
                message = from_json(m.data.encode('utf-8', 'surrogateescape'))
                kind, channel = message['type'], message.get('channel') or ''
            except (ValueError, LookupError, TypeError, AttributeError,
                    RecursionError):
                continue
            if isinstance(kind, str) and isinstance(channel, str):
                await handle(client, kind, channel, message.get('data'))
        elif m.type == WSMsgType.BINARY and client.daemon.gen > 1:
            try:
                await handle(client, *decode(m.data))
            except (Cut, ValueError):
                continue
        elif m.type == WSMsgType.BINARY:
            client.drop()
            return
        else:
            return


def wants_binary(daemon, request):
    asked = query(request, 'protocol')
    if asked in ('json', 'binary'):
        return asked == 'binary'
    return daemon.has('binary-default')


async def socket(call):
    """GET /ws"""
    daemon, request = call.daemon, call.request
    if request.headers.get('Upgrade', '').lower() != 'websocket':
        return fail(400, 'websocket upgrade expected')
    ws = web.WebSocketResponse(autoping=False, compress=False,
                               max_msg_size=MESSAGE_MAX)
    await ws.prepare(request)
    client = Client(daemon, ws, wants_binary(daemon, request))
    daemon.hub.clients.add(client)
    daemon.tell(ws='open', query=dict(request.query))
    tasks = [asyncio.ensure_future(client.write()),
             asyncio.ensure_future(client.ping())]
    if daemon.gen == 1 or daemon.has('greets'):
        client.send('connected', '', {
            'client_id': daemon.ident('client'),
            'message': 'Connected to the sandbox'})
    try:
        await listen(client)
        if client.closing:
            await client.closing
    finally:
        daemon.hub.clients.discard(client)
        for t in tasks:
            t.cancel()
        daemon.tell(ws='closed', code=ws.close_code)
    return ws
