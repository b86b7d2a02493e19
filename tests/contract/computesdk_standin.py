#!/usr/bin/python3
"""The stand-in for ComputeSDK keeps to what is known of it.

usage: computesdk_standin.py [CASE ...]
"""
import asyncio
import base64
import json
import os

from computesdk_lib import HEAD, Standin
from standin_lib import BOUND, run


async def case_gateway():
    async with Standin() as s:
        for head, status in (
                ({}, 401), ({**HEAD, 'X-ComputeSDK-API-Key': 'no'}, 401),
                ({**HEAD, 'X-Provider': 'none'}, 403),
                ({**HEAD, 'X-Provider': 'e2b'}, 401),
                ({**HEAD, 'X-Provider': 'e2b', 'X-E2B-API-Key': 'k'}, 200)):
            got, a = await s.ask('POST', '/v1/sandboxes', {}, head)
            assert got == status and a['success'] == (status == 200), a
        b = await s.ok('POST', '/v1/sandboxes', {'metadata': {'a': 1}})
        path = '/v1/sandboxes/' + b['sandboxId']
        got = await s.ok('GET', path)
        assert got['url'] == b['url'] and got['metadata'] == {'a': 1}
        # there is no list
        assert (await s.ask('GET', '/v1/sandboxes'))[0] == 404
        await s.ok('POST', path + '/extend', {'duration': 1000})
        await s.ok('DELETE', path)
        for method in 'GET', 'DELETE':
            assert (await s.ask(method, path))[0] == 404
        b = await s.ok('POST', '/v1/sandboxes', {'timeout': 1})
        path = '/v1/sandboxes/' + b['sandboxId']
        while (await s.ask('GET', path))[0] != 404:
            await asyncio.sleep(0.02)
        asked = [j for j in await s.journal() if 'method' in j]
        assert asked[0]['method'] == 'POST' and 'headers' in asked[0]


async def case_named():
    async with Standin('creating=2', 'find-null') as s:
        find = {'namespace': 'n', 'name': 'x'}
        assert await s.ok('POST', '/v1/sandboxes/find', find) is None
        states, path = [], '/v1/sandboxes/find-or-create'
        for _ in range(4):
            b = await s.ok('POST', path, find)
            states.append(b.get('status'))
        assert states == ['creating', 'creating', None, None], states
        same = await s.ok('POST', '/v1/sandboxes/find', find)
        assert same['sandboxId'] == b['sandboxId']
        other = await s.ok('POST', path, {'name': 'x'})
        assert other['sandboxId'] != b['sandboxId']
        assert other['namespace'] == 'default'


async def case_tokens():
    async with Standin() as s:
        d = await s.daemon()
        assert (await d.ask('GET', '/health', head={}))[0] == 200
        for head in {}, {'Authorization': 'Bearer no'}:
            status, a = await d.ask('GET', '/info', head=head)
            assert status == 401 and a['error'], a
        assert (await d.ok('GET', '/info?token=' + d.token, head={}))[
            'sandbox_count'] == 1
        await s.own('expire', {})
        assert (await d.ask('GET', '/info'))[0] == 401
        d.token = (await s.ok('GET', '/v1/sandboxes/' +
                              d.made['sandboxId']))['token']
        await d.ok('GET', '/info')
    async with Standin('empty-token', 'slash') as s:
        d = await s.daemon()
        assert d.token == '' and d.made['url'].endswith('/')
        d.token = 'right-key'
        await d.ok('GET', '/info')


async def case_run():
    async with Standin() as s:
        d = await s.daemon(envs={'W': 'w'})
        r = await d.run('pwd; echo "$V$W" >&2; exit 3', cwd='/tmp',
                        env={'V': 'v'})
        assert (r['stdout'], r['stderr'], r['exit_code']) == (
            '/tmp\n', 'vw\n', 3), r
        assert (await d.run('pwd'))['stdout'] == '/workspace\n'
        assert (await d.run(r"printf 'a\377'"))['stdout'] == 'a\ufffd'
        status, a = await d.ask('POST', '/run/command',
                                {'command': ': ' + 'x' * 131072})
        assert status == 500 and 'argument list too long' in a['error']
        assert (await d.ask('POST', '/run/command', {}))[0] == 400
        r = await d.run('echo a; until [ -e go ]; do sleep .02; done; echo b',
                        background=True)
        assert 'exit_code' not in r and r['status'] == 'running', r
        path = '/terminals/%s/commands/%s' % (r['terminal_id'], r['cmd_id'])
        w = await d.ok('GET', path + '/wait?timeout=1')
        assert w['status'] == 'running' and w['stdout'] == 'a\n', w
        await d.put('go', '')
        w = await d.ok('GET', path + '/wait')
        assert (w['status'], w['exit_code'], w['stdout']) == (
            'completed', 0, 'a\nb\n'), w
        for code, language, output in (('print(1)', 'python', '1\n'),
                                       ('echo $0', 'bash', 'bash\n'),
                                       ('exit 3', 'sh', '')):
            r = await d.ok('POST', '/run/code', {'code': code,
                                                 'language': language})
            assert r['output'] == output, r
        assert r['exit_code'] == 3


async def case_edge():
    """It gives up; what it asked for goes on."""
    async with Standin('cut=0.3') as s:
        d = await s.daemon()
        body = {'command': 'until [ -e go ]; do sleep .02; done; touch done'}
        status, a = await d.ask('POST', '/run/command', body)
        assert status == 524 and '<html>' in a, a
        await d.put('go', '')
        await d.run('until [ -e done ]; do sleep .02; done; rm go done; '
                    '(sleep 1; touch go) >/dev/null 2>&1 &')
        status, a = await d.ask('POST', '/run/command', body, head={
            'Authorization': 'Bearer ' + d.token, 'X-Request-Timeout': '20'})
        assert status == 200, a


async def case_files():
    async with Standin() as s:
        d = await s.daemon()
        f = (await d.put('d/é <&>\x7f', 'x\0ÿ'))['file']
        assert f['size'] == 4 and not f['is_dir'] and f['modified_at'], f
        url = '/files/d/%C3%A9%20%3C%26%3E%7F'
        _, raw = await d.raw('GET', url + '?content=true')
        assert b'\\u003c\\u0026\\u003e' in raw
        assert json.loads(raw)['data']['content'] == 'x\0ÿ'
        assert (await d.ask('HEAD', url))[0] == 200
        assert (await d.ask('HEAD', '/files/none'))[0] == 404
        listed = await d.ok('GET', '/files?path=d')
        assert [f['name'] for f in listed['files']] == ['é <&>\x7f'], listed
        # one slash means relative, two absolute
        assert (await d.ask('GET', '/files/etc/passwd'))[0] == 404
        assert (await d.get('/etc/passwd')).startswith('root:')
        await d.run(r"printf 'a\377\200b' > bad; ln -s none l; mkdir e")
        assert await d.get('bad') == 'a\ufffd\ufffdb'
        assert (await d.ask('GET', '/files/l'))[0] == 404
        status, a = await d.ask('GET', '/files/e?content=true')
        assert status == 400 and 'cannot read directory' in a['error'], a
        status, a = await d.ask('PUT', '/files/bad', {'content': ''})
        assert status == 400 and "'required' tag" in a['error'], a
        await d.ok('DELETE', '/files/d')  # with all that is in it
        assert (await d.ask('DELETE', '/files/d'))[0] == 404
        status, a = await d.ask('POST', '/files/batch', {'files': [
            {'path': 'z', 'operation': 'write', 'content': '1'},
            {'path': 'a', 'operation': 'delete'},
            {'path': 'z', 'operation': 'write', 'content': '2'}]})
        got = [(r['path'], r['success']) for r in a['data']['results']]
        assert status == 207 and got == [('a', False), ('z', True)], a
        assert await d.get('z') == '2'
        await d.run('chmod 700 z')
        await d.put('z', '3')
        assert (await d.run('stat -c %a z'))['stdout'] == '700\n'


async def case_pty():
    for protocol in ('g2', 'g3'):
        async with Standin(protocol) as s:
            d = await s.daemon()
            w = await d.socket()
            t = await d.pty(shell='/bin/sh')
            await w.subscribe('terminal:' + t)
            assert (await w.until('terminal:created'))['data']['id'] == t
            await w.say('terminal:resize', terminal_id=t, cols=91, rows=17)
            await w.say('terminal:input', terminal_id=t,
                        input='stty size; tty; echo "é"\n')
            out = await w.text('\né\r\n')
            assert '17 91' in out and '/dev/pts/' in out, out
            await w.say('terminal:input', terminal_id=t, input='exit\n')
            m = await w.until('terminal:error')
            assert 'input/output error' in m['data']['error'], m
            # which is there all the same
            assert (await d.ok('GET', '/terminals/' + t))['id'] == t
            assert (await d.ask('DELETE', '/terminals/' + t))[0] == 204
            assert (await w.until('terminal:destroyed'))['data']['id'] == t
            assert (await d.ask('DELETE', '/terminals/' + t))[0] == 404
            status, a = await d.ask('POST', '/terminals', {
                'pty': True, 'shell': '/none'})
            assert status == 500 and 'no such file' in a['error'], a


async def case_pty_bytes():
    """A program of our own, without a shell, base64 lines both ways."""
    echo = ('#!/usr/bin/python3\nimport os, sys, time, tty\n'
            'tty.setraw(0)\n'
            'while not os.path.exists("go"): time.sleep(.02)\n'
            'print("~ready", flush=True)\n'
            'for l in sys.stdin: print(l, end="", flush=True)\n')
    async with Standin() as s:
        d = await s.daemon()
        await d.put('echo.py', echo)
        await d.run('chmod 700 echo.py')
        w = await d.socket()
        for encoding in 'raw', 'base64':
            t = await d.pty(shell='/workspace/echo.py', encoding=encoding)
            await w.subscribe('terminal:' + t)
            # what it said before would be lost
            await d.put('go', '')
            data = base64.b64encode(os.urandom(3000)).decode()
            sent, got = ['~' + data] * 30, ''
            while got.count('\n') <= len(sent):
                m = (await w.until('terminal:output'))['data']
                assert m['encoding'] == encoding
                piece = m['output']
                if encoding == 'base64':
                    piece = base64.b64decode(piece).decode()
                assert len(piece) <= 4096
                if not got:
                    assert piece == '~ready\n', piece
                    for line in sent:
                        await w.say('terminal:input', terminal_id=t,
                                    input=line + '\n')
                got += piece
            assert got.split('\n') == ['~ready', *sent, ''], got
            await d.run('rm go')
            assert (await d.ask('DELETE', '/terminals/' + t))[0] == 204


async def case_socket():
    async with Standin() as s:
        d = await s.daemon()
        status, _ = await d.raw('GET', '/ws?token=no', head={
            'Upgrade': 'websocket', 'Connection': 'Upgrade'})
        assert status == 401
        w = await d.socket()
        await w.ws.send_str('x' * (512 * 1024 + 1))
        assert (await asyncio.wait_for(w.ws.receive(), BOUND)).data == 1009
        w = await d.socket()
        await s.tell('cut')
        try:
            await w.hear()
            raise AssertionError('not cut')
        except ConnectionError:
            pass
        assert w.ws.close_code == 1006


async def case_streamed():
    async with Standin() as s:
        d = await s.daemon()
        w = await d.socket()
        r = await d.run('echo out; echo err >&2; exit 5', stream=True)
        assert r['status'] == 'pending' and 'exit_code' not in r
        await w.subscribe(r['channel'])
        await w.say('command:start', cmd_id=r['cmd_id'])
        got = {}
        while 'command:exit' not in got:
            m = await w.hear()
            assert m['data']['cmd_id'] == r['cmd_id']
            got[m['type']] = m['data'].get('output', m['data'].get(
                'exit_code'))
        assert got == {'command:stdout': 'out\n', 'command:stderr': 'err\n',
                       'command:exit': 5}, got


async def case_g1():
    async with Standin('g1') as s:
        d = await s.daemon()
        d.token = None
        assert await d.ok('GET', '/health') == {'status': 'ok'}
        for method, path in (('POST', '/run/command'), ('GET', '/info'),
                             ('GET', '/terminals'), ('GET', '/files/d/f'),
                             ('GET', '/files/d%2Ff'), ('HEAD', '/files/f')):
            status, raw = await d.raw(method, path)
            assert status == 404 and raw in (b'404 page not found', b'')
        status, raw = await d.raw('POST', '/terminals')
        t = json.loads(raw)['data']['id']
        assert status == 400
        r = await d.ok('POST', '/terminals/%s/execute' % t, {
            'command': 'pwd; cd /home/project; mkdir d; ln -s d l; '
            'chmod 2750 d; echo e >&2'})
        # where the daemon was started, which is not where its files are
        assert r['output'] == '/\ne\n' and 'stdout' not in r, r
        await d.put('/f', 'x')
        files = (await d.ok('GET', '/files'))['files']
        assert [(f['Name'], f['Mode'], f['IsDir']) for f in files] == [
            ('d', 'dgrwxr-x---', True), ('f', '-rw-r--r--', False),
            ('l', 'Lrwxrwxrwx', False)], files
        assert (await d.ask('GET', '/files/none?content=true'))[0] == 400
        assert (await d.ask('DELETE', '/files/none'))[0] == 204
        status, a = await d.ask('POST', '/files', {'path': '../x'})
        assert status == 400 and 'outside' in a['error'], a
        # a silent program's terminal takes no input, and blocks the socket
        w = await d.socket()
        assert (await w.hear())['type'] == 'connected'
        t = await d.pty(shell='/usr/bin/cat')
        await w.subscribe('terminal:' + t)
        await w.say('terminal:input', terminal_id=t, input='x\n')
        await w.say('stir', 'terminal:' + t)
        other = await d.socket()
        await other.subscribe('terminal:' + t)
        await other.say('terminal:output', 'terminal:' + t)  # forged
        m = await other.until('terminal:output')
        assert m['data'] == {}, m
        try:
            await asyncio.wait_for(w.until('stir'), 0.3)
            raise AssertionError('the socket is not stuck')
        except asyncio.TimeoutError:
            pass
        # a binary frame ends it
        await other.ws.send_bytes(b'\1')
        try:
            await other.until('nothing')
            raise AssertionError('it lives')
        except ConnectionError:
            assert other.ws.close_code == 1006


asyncio.run(run(globals()))
