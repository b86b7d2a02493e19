#!/usr/bin/python3
"""The stand-in for ComputeSDK misbehaves as it is told.

usage: computesdk_standin_traps.py [CASE ...]
"""
import asyncio
import base64
import json
import time

import aiohttp

from computesdk_lib import HEAD, Closed, Daemon, Socket, Standin
from standin_lib import run

# as the protocol's description has them
SUBSCRIBE = '0100077369676e616c7300097375627363726962650000000' + '20000'
RESIZE = ('030000000f7465726d696e616c3a726573697a650000003c0003000b7465726d69'
          '6e616c5f6964010000000274310004636f6c7302000000084054000000000000'
          '0004726f777302000000084038000000000000')
INPUT = ('030000000e7465726d696e616c3a696e707574000000250002000b7465726d696e61'
         '6c5f6964010000000274310005696e70757401000000036c730a')
START = ('030000000d636f6d6d616e643a73746172740000001100010006636d645f69640100'
         '00000' + '26339')


def pairs(**data):
    out = len(data).to_bytes(2, 'big')
    for k, v in data.items():
        k, v = k.encode(), v.encode()
        out += len(k).to_bytes(2, 'big') + k + b'\1' + len(v).to_bytes(
            4, 'big') + v
    return out


def binary(kind, channel='', data=b'\0\0', number=3):
    out = bytes([number])
    for text in channel, kind:
        out += len(text).to_bytes(2, 'big') + text.encode()
    return out + len(data).to_bytes(4, 'big') + data


async def case_binary():
    async with Standin() as s:
        d = await s.daemon()
        w = await d.socket('binary')
        await d.ok('POST', '/signals/start', {})
        for text in SUBSCRIBE, RESIZE, INPUT, START, '03', '0300':
            await w.ws.send_bytes(bytes.fromhex(text))
        await d.ok('POST', '/signals/error', {'message': 'm'})
        assert (await w.hear()) == binary('signal', 'signals', pairs(
            signal='error', message='m'))
        got = {j['ws']: j for j in await s.journal() if 'ws' in j}
        assert got['resize']['cols'] == 80 and got['resize']['rows'] == 24
        assert got['stdin']['bytes'] == 3 and got['stdin']['id'] == 't1'
        assert got['start']['id'] == 'c9'
        t = await d.pty(shell='/usr/bin/cat')
        created = await w.hear()
        assert created.startswith(b'\3\0\0\0\x10terminal:created'), created
        await w.ws.send_bytes(binary('subscribe', 'terminal:' + t, number=1))
        await w.ws.send_bytes(binary('terminal:input', '', pairs(
            terminal_id=t, input='é\n')))
        assert 'é\r\n'.encode() in await w.hear()
        # to one that speaks the other protocol it is the same
        other = await d.socket('json')
        await other.subscribe('signals')
        await d.ok('POST', '/signals/error', {'message': 'n'})
        assert (await other.until('signal'))['data']['message'] == 'n'


async def case_frames():
    async with Standin('mixed', 'json-in-binary', 'greets') as s:
        d = await s.daemon()
        w = await d.socket()
        assert b'{"client_id":' in await w.hear()
        await s.tell('publish', channel='', type='a', data={'b': None})
        assert await w.hear() == {'type': 'a', 'data': {'b': None}}
        await s.tell('publish', channel='', type='a', data={'b': None})
        assert await w.hear() == binary('a', '', b'{"b":null}')
        await s.tell('say', text='{"type')
        m = await w.ws.receive()
        assert m.type == aiohttp.WSMsgType.TEXT and m.data == '{"type'
        await s.tell('say', hex='00ff')
        assert await w.hear() == b'\0\xff'
        await s.own('traits', ['forced-text', 'forged'])
        w = await d.socket('binary')
        await w.subscribe('terminal:x')
        assert (await w.hear())['data'] == {'output': '~AAAA\n~'}
        await w.until('nothing')
        await s.tell('close', code=1012)
        try:
            await w.hear()
            raise AssertionError('it is not closed')
        except Closed as e:
            assert e.code == 1012, e


async def case_nonsense():
    """What no client should say does no harm."""
    async with Standin() as s:
        d = await s.daemon()
        w = await d.socket()
        for text in ('', '{', '[]', '7', '"x"', '{"type":7}', '[' * 100000,
                     '{"type":"subscribe","channel":[1]}',
                     '{"type":"terminal:input","data":{"terminal_id":[],'
                     '"input":7}}',
                     '{"type":"terminal:resize","data":{"cols":"x"}}',
                     '{"type":"command:start","data":{"cmd_id":{}}}'):
            await w.ws.send_str(text)
        await s.tell('publish', channel='', type='alive', data={})
        await w.until('alive')
        for method, path, body in (
                ('POST', '/files', {'path': 'a\0b', 'content': 'x'}),
                ('POST', '/files', {'path': 7}), ('POST', '/files', [1]),
                ('POST', '/run/command', {'command': 'a\0b'}),
                ('POST', '/servers', {'slug': 's', 'start': ':',
                                      'depends_on': [[]]}),
                ('POST', '/sandboxes', {'servers': [7]}),
                ('POST', '/files/batch', {'files': [7]})):
            status, a = await d.ask(method, path, body)
            assert status == 400 and a['error'], (path, body, a)
        assert (await d.raw('POST', '/files', data=b'{"path":'))[0] == 400
        assert len((await d.ok('GET', '/sandboxes'))['sandboxes']) == 1


async def case_slow_reader():
    """Whoever does not read is dropped; the terminal lives on."""
    async with Standin('queue=8') as s:
        d = await s.daemon()
        w = await d.socket()
        t = await d.pty(shell='/bin/sh')
        await w.subscribe('terminal:' + t)
        w.ws._response.connection.transport.pause_reading()
        await w.say('terminal:input', terminal_id=t,
                    input='head -c 40000000 /dev/zero | tr "\\0" x; '
                    'echo > done\n')
        while (await d.ask('GET', '/files/done'))[0] != 200:
            await asyncio.sleep(0.05)
        assert [j for j in await s.journal() if j.get('ws') == 'too-slow']


async def case_coupled():
    tick = ('#!/usr/bin/python3\nimport os, select, sys, time, tty\n'
            'tty.setraw(0)\n'
            'while True:\n'
            ' if select.select([0], [], [], .02)[0]:\n'
            '  os.write(1, b"got " + os.read(0, 100))\n'
            ' os.write(1, b"\\n")\n')
    async with Standin('coupled') as s:
        d = await s.daemon()
        await d.put('tick', tick)
        await d.run('chmod 700 tick')
        w = await d.socket()
        t = await d.pty(shell='/workspace/tick')
        await w.subscribe('terminal:' + t)
        await w.until('terminal:output')
        await w.say('terminal:input', terminal_id=t, input='ping')
        assert 'got ping' in await w.text('ping')
        # to delete a silent one makes all calls of terminals hang
        silent = await d.pty(shell='/usr/bin/cat')
        calls = [asyncio.ensure_future(d.ask(m, '/terminals/' + silent))
                 for m in ('DELETE', 'GET')]
        done, _ = await asyncio.wait(calls, timeout=0.5)
        assert not done, done
        assert (await d.ask('GET', '/health'))[0] == 200
        for c in calls:
            c.cancel()


async def case_terminals():
    async with Standin('shells-only', 'stopped-terminals', 'double-wrapped',
                       'base64-input', 'bare-messages') as s:
        d = await s.daemon()
        assert (await d.ask('POST', '/terminals', {
            'pty': True, 'shell': '/usr/bin/cat'}))[0] == 400
        w = await d.socket()
        t = await d.pty(shell='/bin/sh', encoding='base64')
        await w.subscribe('terminal:' + t)
        await w.say('terminal:input', terminal_id=t, input=base64.b64encode(
            b'echo $((7 * 6))\n').decode())
        out = b''
        while b'42' not in out:
            m = (await w.until('terminal:output'))['data']
            assert set(m) == {'output'}, m
            out += base64.b64decode(m['output'])
        listed = (await d.ok('GET', '/terminals'))['terminals']
        assert listed[0]['data']['status'] == 'stopped', listed
        await s.own('traits', ['shell-ignored', 'no-encoding'])
        made = await d.ok('POST', '/terminals', {
            'pty': True, 'shell': '/none', 'encoding': 'base64'})
        assert 'encoding' not in made
        await s.tell('restart')
        assert (await d.ok('GET', '/terminals'))['terminals'] == []
        made = await d.ok('POST', '/terminals', {})
        assert made['pty'] is False and 'channel' not in made
        r = await d.ok('POST', '/terminals/%s/execute' % made['id'],
                       {'command': 'echo x', 'background': True})
        path = '/terminals/%s/commands' % made['id']
        r = await d.ok('GET', '%s/%s/wait' % (path, r['cmd_id']))
        assert r['stdout'] == 'x\n' and r['status'] == 'completed', r
        r = await d.ok('GET', path)
        assert r['count'] == 1 and 'stdout' not in r['commands'][0], r


async def case_g2():
    async with Standin('g2', 'access-token-name') as s:
        d = await s.daemon()
        assert (await d.ask('POST', '/run/command', {'command': ':'}))[
            0] == 404
        r = await d.ok('POST', '/execute', {'command': 'echo a; echo b >&2'})
        assert r['stdout'] == 'a\n' and sorted(r['output']) == sorted(
            'a\nb\n'), r
        assert (await d.ok('POST', '/terminals', {'pty': False}))['pty']
        try:
            await d.socket()
            raise AssertionError('the other name is known, too')
        except aiohttp.WSServerHandshakeError as e:
            assert e.status == 401
        await d.socket(access_token=d.token)
        t = await d.ok('POST', '/auth/session_tokens', {'expires_in': 9})
        assert (await d.ask('GET', '/auth/session_tokens', head={
            'Authorization': 'Bearer ' + t['token']}))[0] == 401
        assert (await d.ask('POST', '/auth/token', {}))[0] == 200
        assert (await d.ask('POST', '/auth/token', {}))[0] == 409


async def case_shapes():
    async with Standin('floats', 'all-flat', 'strange-members', 'offsets',
                       'delete-200') as s:
        d = await s.daemon()
        _, raw = await d.raw('POST', '/files', {'path': 'f', 'content': 'x'})
        a = json.loads(raw)
        assert b'"size":1.0' in raw and 'x_new' in a and 'data' not in a, a
        assert a['file']['modified_at'].endswith('-03:30'), a
        assert (await d.ask('DELETE', '/files/f')) == (
            200, {'message': 'deleted'})
        await s.own('traits', ['all-wrapped', 'all-400', 'message-errors',
                               'delete-nothing', 'absolute-as-relative',
                               'no-empty-content'])
        status, a = await d.ask('GET', '/health')
        assert a['data']['status'] == 'ok'
        status, a = await d.ask('GET', '/files/none?content=true')
        assert status == 400 and 'no such file' in a['message'], a
        assert (await d.ask('DELETE', '/files/none'))[0] == 204
        await d.put('/a/f', '')
        assert 'content' not in await d.ok('GET', '/files/a/f?content=true')
        await s.own('traits', ['merged-slashes', 'plain-errors'])
        status, a = await d.ask('GET', '/files//etc/passwd')
        assert status == 404 and a.startswith('stat /workspace/etc'), a


async def case_commands():
    async with Standin('env-replaces', 'no-stream', 'wait-408') as s:
        d = await s.daemon()
        r = await d.run('echo "$HOME"', env={'A': 'b'})
        assert r['stdout'] == '\n', r
        r = await d.run('echo x', stream=True)
        assert r['exit_code'] == 0 and 'channel' not in r, r
        r = await d.run('sleep 60', background=True)
        path = '/terminals/' + r['terminal_id']
        status, a = await d.ask('GET', '%s/commands/%s/wait?timeout=1' % (
            path, r['cmd_id']))
        assert status == 408, a
        # nothing was killed; deleting the terminal does
        assert 'sleep 60' in (await d.run('ps axo args'))['stdout']
        await d.ok('DELETE', path)
        while '\nsleep 60' in (await d.run('ps axo args'))['stdout']:
            await asyncio.sleep(0.05)


async def case_faults():
    async with Standin() as s:
        d = await s.daemon()
        for where, ask in (('daemon', d.ask), ('gateway', s.ask)):
            path = '/v1/snapshots' if where == 'gateway' else '/info'

            async def told(kind, **more):
                f = {'kind': kind, 'what': 'GET ' + path, **more}
                await (s.own('fault', f) if where == 'gateway' else
                       s.tell('fault', fault=f))
            for kind in ('lost-before', 'lost-after', 'half'):
                await told(kind)
                try:
                    await ask('GET', path)
                    raise AssertionError('it did not break: ' + kind)
                except aiohttp.ClientError:
                    pass
            await told('trickle')
            assert (await ask('GET', path))[0] == 200
            await told('slow', seconds=0.3)
            start = time.monotonic()
            assert (await ask('GET', path))[0] == 200
            assert time.monotonic() - start >= 0.3
            for kind, status in (('html', 200), ('error-html', 502), (
                    'empty', 200), ('list', 200), ('garbage', 200),
                    ('deep', 200), ('429', 429), ('503', 503)):
                await told(kind, n=1)
                url = (d.url if where == 'daemon' else s.url) + path
                async with s.http.get(url, headers={
                        **HEAD, 'Authorization': 'Bearer ' + d.token}) as r:
                    raw = await r.read()
                    assert r.status == status, (kind, r.status)
                    assert (r.headers.get('Retry-After') == '1') == (
                        status == 429)
                    if kind == 'list':
                        assert raw == b'[]'
            await told('huge')
            async with s.http.get(url, headers={
                    **HEAD, 'Authorization': 'Bearer ' + d.token}) as r:
                assert len(await r.content.readexactly(1 << 21)) == 1 << 21
            assert (await ask('GET', path))[0] == 200
    async with Standin('unwell=0.5', 'body-max=1000', 'bodyless-fails',
                       'cut=0.2') as s:
        d = await s.daemon()
        assert (await d.ask('GET', '/health'))[0] == 502
        while (await d.ask('GET', '/health'))[0] != 200:
            await asyncio.sleep(0.05)
        assert (await d.ask('POST', '/files', {
            'path': 'f', 'content': 'x' * 1000}))[0] == 413
        assert (await d.raw('POST', '/signals/start'))[0] == 500


async def case_gateway():
    async with Standin('no-extend', 'empty-delete', 'extra-status',
                       'prefix=/v1/sandbox', 'left=0.1') as s:
        b = await s.ok('POST', '/v1/sandbox', {})
        assert b['status'] == 'warm'
        path = '/v1/sandbox/' + b['sandboxId']
        assert (await s.ask('POST', path + '/extend', {}))[0] == 404
        assert (await s.ask('DELETE', path)) == (204, None)
        d = await s.daemon(_path='/v1/sandbox')
        path = '/v1/sandbox/' + d.made['sandboxId']
        w = await d.socket()
        await w.ws.close()
        while (await s.ask('GET', path))[0] != 404:
            await asyncio.sleep(0.02)
    async with Standin('lose-create', 'extend-501', 'find-false') as s:
        try:
            await s.ok('POST', '/v1/sandboxes', {})
            raise AssertionError('the answer came')
        except aiohttp.ClientError:
            pass
        assert (await s.ask('GET', '/_standin/counts'))[1] == {
            'POST create': 1}
        status, a = await s.ask('POST', '/v1/sandboxes/find', {'name': 'x'})
        assert status == 200 and a['success'] is False
        assert (await s.ask('POST', '/v1/sandboxes/x/extend', {}))[0] == 501


async def case_pongs():
    async with Standin('ping=0.05', 'pong=0.3') as s:
        d = await s.daemon()
        w = await d.socket()
        alive = asyncio.ensure_future(w.until('alive'))
        deaf = await s.http.ws_connect(d.url + '/ws?token=' + d.token,
                                       autoping=False)
        m = await deaf.receive()
        while m.type == aiohttp.WSMsgType.PING:
            m = await deaf.receive()
        assert deaf.close_code == 1006
        await s.tell('publish', channel='', type='alive', data={})
        await alive


async def case_without():
    async with Standin('without=/run', 'without=HEAD', 'put-404') as s:
        d = await s.daemon()
        await d.put('f', 'x')
        assert await d.ask('POST', '/run/command', {'command': ':'}) == (
            404, '404 page not found')
        assert (await d.ask('HEAD', '/files/f'))[0] == 404
        assert (await d.ask('GET', '/files/f'))[0] == 200
        assert (await d.ask('PUT', '/files/f', {'content': 'y'}))[0] == 404
        await s.own('traits', ['cut=0.2', 'cut-drops', 'no-pty'])
        try:
            await d.run('sleep 9')
            raise AssertionError('it did not break')
        except aiohttp.ClientError:
            pass
        assert (await d.ask('POST', '/terminals', {'pty': True}))[0] == 500


async def case_words():
    """Other names and forms of the same"""
    async with Standin('python-events', 'double-events', 'nested-signals',
                       'old-stats', 'stop-forgets', 'health-string',
                       'server-command', 'magic-path') as s:
        d = await s.daemon()
        w = await d.socket()
        made = await d.ok('POST', '/watchers', {'path': '/workspace'})
        await w.subscribe(made['channel'])
        await w.subscribe('signals')
        await d.ok('POST', '/signals/start', {})
        await d.ok('POST', '/signals/error', {'message': 'm'})
        m = (await w.until('signal'))['data']
        assert m['data'] == {'message': 'm'} and m['timestamp'], m
        await d.put('f', '')
        for _ in range(2):
            m = (await w.until('file:changed'))['data']
            assert m['event'] == 'create' and m['path'] == '/workspace/f', m
        o = await d.ok('POST', '/filesystem/overlays', {
            'source': '/tmp', 'target': 't'})
        assert 'symlinked_files' in o['stats'], o
        v = (await d.ok('POST', '/servers', {
            'slug': 's', 'command': 'sleep 60', 'health_check': {}}))[
                'server']
        assert v['command'] == 'sleep 60' and v['health_status'] == \
            'checking', v
        await d.ok('POST', '/servers/s/stop', {})
        assert (await d.ok('GET', '/servers'))['servers'] == []
        m = await d.ok('POST', '/auth/magic-links', {})
        async with s.http.get(m['magic_url'], allow_redirects=False) as r:
            assert r.status == 302 and '/auth/magic/' in m['magic_url']


async def case_defaults():
    """Of sockets, and of who is reached by a header"""
    async with Standin('binary-default', 'bytes-output', 'hybrid',
                       'no-token') as s:
        made = await s.ok('POST', '/v1/sandboxes', {
            'servers': [{'slug': 'w', 'start': 'python3 -m http.server '
                         '--bind 127.0.0.1 $PORT'}],
            'overlays': [{'source': '/etc/apt', 'target': 'o'}]})
        assert 'token' not in made and made['servers'][0]['slug'] == 'w'
        assert made['overlays'][0]['copy_status'], made
        d = Daemon(s, {**made, 'token': 'right-key'})
        port = None
        while not port:
            r = await d.ok('GET', '/ready')
            port = r['servers'][0]['status'] == 'ready' and \
                r['servers'][0]['port']
        _, text = await d.ask('GET', '/', head={
            'X-Forward-To-Port': str(port)})
        assert 'Directory listing' in text
        w = Socket(await s.http.ws_connect(d.url + '/ws?token=right-key'))
        t = await d.pty(shell='/usr/bin/cat')
        await w.subscribe('terminal:' + t)
        await w.say('terminal:input', terminal_id=t, input='x\n')
        m = b''
        while b'terminal:output' not in m:
            m = await w.hear()
        # number 4: bytes; cat's own may have come together with the echo
        assert b'\0\6output\4\0\0\0' in m and b'x\r\n' in m, m


async def case_hosts_g1():
    """The proxy of old: whatever is asked, it is the daemon's socket."""
    async with Standin('hosts', 'g1') as s:
        b = await s.ok('POST', '/v1/sandboxes', {})
        host = b['url'].partition('//')[2].replace('.', '-80.', 1)
        ws = await s.http.ws_connect(s.url + '/my/socket?x=1',
                                     headers={'Host': host})
        assert json.loads((await ws.receive()).data)['type'] == 'connected'
        await ws.close()


asyncio.run(run(globals()))
