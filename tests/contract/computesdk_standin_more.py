#!/usr/bin/python3
"""The stand-in for ComputeSDK, on: what is beside files and commands.

usage: computesdk_standin_more.py [CASE ...]
"""
import asyncio
import os

from computesdk_lib import Standin
from standin_lib import run


async def settled(d, path, done):
    """What a call answers once done(data) is true"""
    while True:
        data = await d.ok('GET', path)
        if done(data):
            return data
        await asyncio.sleep(0.05)


async def case_watchers():
    async with Standin() as s:
        d = await s.daemon()
        w = await d.socket()
        made = await d.ok('POST', '/watchers', {
            'path': '.', 'includeContent': True, 'ignored': ['*.log'],
            'encoding': 'base64'})
        assert made['path'] == '/workspace/.' and made['ws_url'], made
        await w.subscribe(made['channel'])
        await d.run('true > x.log; echo -n hi > a.login; mkdir d; '
                    'until [ -d d ]; do :; done; sleep .2; echo > d/f; '
                    'rm a.login; rmdir x 2>/dev/null; mv d e')
        got = []
        while not got or got[-1][0] != 'addDir' or 'e' not in got[-1][1]:
            m = (await w.until('file:changed'))['data']
            got.append((m['event'], os.path.basename(m['path'])))
            if got[-1] == ('change', 'a.login'):
                assert m['content'] == 'aGk=' and m['encoding'] == 'base64'
        names = {n for _, n in got}
        assert 'x.log' not in names and ('add', 'f') in got, got
        for e in ('add', 'a.login'), ('addDir', 'd'), ('unlink', 'a.login'), \
                ('unlinkDir', 'd'), ('addDir', 'e'):
            assert e in got, (e, got)
        assert len((await d.ok('GET', '/watchers'))['watchers']) == 1
        path = '/watchers/' + made['id']
        assert (await d.ok('GET', path))['includeContent']
        assert (await d.ask('DELETE', path))[0] == 204
        assert (await w.until('watcher:destroyed'))['data']['id'] == \
            made['id']
        assert (await d.ask('DELETE', path))[0] == 404
        assert (await d.ask('POST', '/watchers', {'path': 'no'}))[0] == 400


async def case_old_watchers():
    async with Standin('g1', 'lose-events=3') as s:
        d = await s.daemon()
        top = '/home/project'
        assert (await d.ask('POST', '/watchers', {'path': 'no'}))[0] == 500
        w = await d.socket()
        made = await d.ok('POST', '/watchers', {
            'path': top, 'ignored': ['*.log']})
        await w.subscribe(made['channel'])
        t = await d.pty(shell='/usr/bin/cat')
        await d.ok('POST', '/terminals/%s/execute' % t, {
            'command': 'cd ' + top + '; mkdir d; true > d/x; '
            'true > a.login.txt; '
            'chmod 700 d; true > h; true > he; mv d k; true > i'})
        got = []
        while len(got) < 4:
            m = (await w.until('file:changed'))['data']
            got.append((m['event'], m['path'][len(top) + 1:]))
        # nothing from d; a.login.txt is hidden; each third is lost
        assert got == [('created', 'd'), ('created', 'h'), ('renamed', 'd'),
                       ('created', 'k')], got


async def case_signals():
    for traits in ('g3',), ('g1',):
        async with Standin(*traits) as s:
            d = await s.daemon()
            w = await d.socket()
            await w.subscribe('signals')
            port = {'port': 80, 'type': 'open', 'url': 'http://x'}
            status, a = await d.ask('POST', '/signals/port', port)
            assert status == 500 and 'not active' in a['error']
            assert (await d.ok('POST', '/signals/start', {}))['channel']
            again = (await d.ask('POST', '/signals/start', {}))[0]
            assert again == (500 if traits == ('g1',) else 200)
            await d.ok('POST', '/signals/port', port)
            m = (await w.until('signal'))['data']
            flat = {'signal': 'port', **port}
            assert m == flat if traits == ('g3',) else m['data'] == port, m
            await d.ok('POST', '/signals/port/90/close', {})
            m = (await w.until('signal'))['data']
            assert m.get('data', m)['url'] == 'http://localhost:90'
            await d.ok('POST', '/signals/error', {'message': 'e'})
            await d.ok('POST', '/signals/server-ready', {'port': 1,
                                                         'url': 'u'})
            assert (await d.ask('POST', '/signals/port', {'port': 1}))[0] \
                == 400
            await d.ok('POST', '/signals/stop', {})
            await d.ok('POST', '/signals/start', {})
            status, a = await d.ask('POST', '/signals/port', port)
            assert (status, a) == (500, None) if traits == ('g1',) \
                else status == 200


async def case_env():
    async with Standin() as s:
        d = await s.daemon()
        path = '/env?file=c/.env+x'
        assert (await d.ask('HEAD', path))[0] == 404
        assert (await d.ask('GET', path))[0] == 404
        values = {'A': 'a b', 'B': '', 'C': '"x"\n\\'}
        r = await d.ok('POST', path, {'variables': values})
        assert r == {'file': 'c/.env x', 'keys': ['A', 'B', 'C']}, r
        await d.ok('POST', path, {'variables': {'A': 'n'}})
        assert (await d.ok('GET', path))['variables'] == {**values, 'A': 'n'}
        assert (await d.ask('HEAD', path))[0] == 200
        r = await d.ok('DELETE', path, {'keys': ['A', 'Z']})
        assert r['keys'] == ['A']
        await s.own('traits', ['delete-loses-body'])
        r = await d.ok('DELETE', path, {'keys': ['B']})
        assert r['keys'] == []
        assert 'B' in (await d.ok('GET', path))['variables']


async def case_servers():
    line = ('echo out; echo err >&2; exec python3 -c "import http.server as '
            'h, os; h.test(h.SimpleHTTPRequestHandler, '
            'port=int(os.environ[\'PORT\']), bind=\'127.0.0.1\')"')
    async with Standin() as s:
        d = await s.daemon()
        await d.ok('POST', '/signals/start', {})
        w = await d.socket()
        await w.subscribe('signals')
        status, a = await d.ask('POST', '/servers', {
            'slug': 'w', 'start': line, 'install': 'echo set up > made',
            'restart_delay_ms': 5, 'health_check': {
                'delay_ms': 10, 'interval_ms': 50, 'path': '/made'}})
        assert status == 200 and a['status'] == 'success', a
        v = a['data']['server']
        assert v['restart_delay'] == 5000000, v
        m = await w.until('signal')
        assert m['data'] == {'signal': 'port', 'port': v['port'],
                             'type': 'open', 'url': v['url']}, m
        v = (await settled(d, '/servers/w', lambda r: r['server'].get(
            'healthy')))['server']
        assert v['status'] == 'ready' and v['health_status'][
            'last_status'] == 200, v
        assert (await d.get('made')) == 'set up\n'
        r = await d.ok('GET', '/ready')
        assert r['ready'] and r['servers'][0]['slug'] == 'w', r
        for stream, text in ('stdout', 'out\n'), ('stderr', 'err\n'):
            r = await d.ok('GET', '/servers/w/logs?stream=' + stream)
            assert text in r['logs'], r
        pid = v['pid']
        v = (await d.ok('POST', '/servers/w/restart', {}))['server']
        assert v['pid'] != pid
        while m['data'].get('type') != 'close':
            m = await w.until('signal')
        await d.ok('POST', '/servers/w/stop', {})
        v = (await d.ok('GET', '/servers/w'))['server']
        assert v['status'] == 'stopped'
        await d.ok('DELETE', '/servers/w')
        assert (await d.ok('GET', '/servers'))['servers'] == []
        assert (await d.ask('GET', '/servers/w'))[0] == 404
        await d.ok('POST', '/servers', {
            'slug': 'x', 'start': 'echo x >> starts; exit 2',
            'restart_policy': 'on-failure', 'max_restarts': 2,
            'restart_delay_ms': 1})
        v = (await settled(d, '/servers/x', lambda r: r['server'][
            'status'] == 'failed'))['server']
        assert (v['restart_count'], v['exit_code']) == (2, 2), v
        assert await d.get('starts') == 'x\n' * 3


async def case_overlays():
    async with Standin('overlay-wait=0.1', 'strange-status') as s:
        d = await s.daemon()
        await d.run('mkdir -p /tmp/t/a/node_modules/m; echo f > /tmp/t/a/f; '
                    'echo l > /tmp/t/x.log')
        o = await d.ok('POST', '/filesystem/overlays', {
            'source': '/tmp/t', 'target': 'to', 'ignore': ['*.log'],
            'strategy': 'smart'})
        assert o['copy_status'] == 'queued' and 'data' not in o, o
        path = '/filesystem/overlays/' + o['id']
        o = await settled(d, path, lambda r: r['copy_status'] == 'complete')
        assert o['stats']['copied_files'] == 1 and o['stats']['skipped'] == [
            'x.log'], o
        r = await d.run('cat to/a/f; readlink to/a/node_modules')
        assert r['stdout'] == 'f\n/tmp/t/a/node_modules\n', r
        o = await d.ok('POST', '/filesystem/overlays', {
            'source': '/none', 'target': 't'})
        o = await settled(d, '/filesystem/overlays/' + o['id'],
                          lambda r: r['copy_status'] == 'failed')
        assert 'no such file' in o['copy_error']
        r = await d.ok('GET', '/filesystem/overlays')
        assert len(r['overlays']) == 2
        await d.ok('DELETE', path)
        assert (await d.ask('GET', path))[0] == 404


async def case_session_tokens():
    for traits in (), ('flat-tokens', 'camel-tokens'):
        async with Standin(*traits) as s:
            d = await s.daemon()
            status, a = await d.ask('POST', '/auth/session_tokens', {
                'description': 'x', 'expiresIn': 100})
            assert status == 201 and ('data' in a) == (not traits), a
            t = a.get('data', a)
            assert ('expiresAt' if traits else 'expires_at') in t, t
            session = {'Authorization': 'Bearer ' + t['token']}
            await d.ok('GET', '/info', head=session)
            assert (await d.ask('GET', '/auth/session_tokens',
                                head=session))[0] == 403
            r = await d.ok('GET', '/auth/status', head=session)
            assert r['token_type'] == 'session_token' and r['expires_at']
            r = await d.ok('GET', '/auth/session_tokens')
            assert r['tokens'][0]['last_used_at'], r
            path = '/auth/session_tokens/' + t['id']
            assert 'token' not in await d.ok('GET', path)
            await d.ok('DELETE', path)
            assert (await d.ask('GET', '/info', head=session))[0] == 401
            status, a = await d.ask('POST', '/auth/session_tokens',
                                    {'expiresIn': 1})
            brief = {'Authorization': 'Bearer ' + a.get('data', a)['token']}
            while (await d.ask('GET', '/info', head=brief))[0] != 401:
                await asyncio.sleep(0.05)


async def case_magic():
    async with Standin() as s:
        d = await s.daemon()
        m = await d.ok('POST', '/auth/magic-links', {'redirectUrl': '/r'})
        assert m['redirect_url'] == '/r' and m['expires_at'], m
        async with s.http.get(m['magic_url'], allow_redirects=False) as r:
            assert r.status == 302 and r.headers['Location'] == '/r'
            cookie = r.cookies['session']
            assert cookie['httponly']
        await d.ok('GET', '/info', head={'Cookie': 'session=' +
                                         cookie.value})
        async with s.http.get(m['magic_url']) as r:
            assert r.status == 401


async def case_children():
    async with Standin() as s:
        d = await s.daemon()
        w = await d.socket()
        c = await d.ok('POST', '/sandboxes', {'directory': '/tmp/c'})
        assert c['directory'] == '/tmp/c' and not c['is_main'], c
        assert (await w.until('sandbox.created'))['data']['subdomain'] == \
            c['subdomain']
        main, d.url = d.url, c['url']
        assert (await d.run('pwd; echo > f'))['stdout'] == '/tmp/c\n'
        d.url = main
        r = (await d.ok('GET', '/sandboxes'))['sandboxes']
        assert [x['is_main'] for x in r] == [True, False], r
        assert (await d.ask('DELETE', '/sandboxes/' + r[0]['subdomain']))[
            0] == 400
        path = '/sandboxes/' + c['subdomain']
        await d.ok('DELETE', path + '?delete_files=true')
        assert (await d.ask('GET', path))[0] == 404
        assert (await d.run('ls /tmp'))['stdout'] == ''


async def case_shared():
    """Named sandboxes of a namespace are parts of one machine."""
    async with Standin() as s:
        a, b, c = [await s.ok('POST', '/v1/sandboxes/find-or-create', {
            'namespace': n, 'name': name, 'envs': {'E': name}})
            for n, name in (('n', 'a'), ('n', 'b'), ('m', 'a'))]
        ends = []
        for made in a, b, c:
            d = await s.daemon()
            d.url, d.token = made['url'], made['token']
            ends.append(d)
        await ends[0].run('echo > f; echo $E > /tmp/e')
        assert (await ends[1].run('ls; cat /tmp/e'))['stdout'] == 'a\n'
        assert (await ends[2].run('ls /tmp'))['stdout'] == ''
        assert a['token'] == b['token'] != c['token']
        await s.ok('DELETE', '/v1/sandboxes/' + a['sandboxId'])
        assert (await ends[1].run('ls /sandboxes'))['stdout'].split() == [
            b['sandboxId']]
        status, _ = await s.ask('POST', '/v1/sandboxes/find-or-create', {
            'namespace': 'n', 'name': 'c', 'servers': [{}]})
        assert status == 400
        # two at once get the same one
        again = await asyncio.gather(*(
            s.ok('POST', '/v1/sandboxes/find-or-create', {
                'namespace': n, 'name': 'a'}) for n in 'nnoo'))
        ids = [m['sandboxId'] for m in again]
        assert ids[0] == ids[1] != ids[2] == ids[3], ids
        assert a['sandboxId'] not in ids


async def case_hosts():
    async with Standin('hosts', 'cut=1') as s:
        made = await s.ok('POST', '/v1/sandboxes', {
            'servers': [{'slug': 'w', 'start': 'python3 -m http.server '
                         '--bind 127.0.0.1 $PORT'}]})
        host = made['url'].partition('//')[2]
        assert host.startswith(made['sandboxId'] + '.sandbox.localhost:')

        async def ask(host, path):
            async with s.http.get(s.url + path, headers={
                    'Host': host, 'Authorization': 'Bearer ' +
                    made['token']}) as r:
                return r.status, await r.text()
        while '"status":"ready"' not in (await ask(host, '/ready'))[1]:
            await asyncio.sleep(0.05)
        url = (await s.http.get(s.url + '/ready', headers={'Host': host}))
        port = (await url.json())['servers'][0]['url'].partition('//')[2]
        label, rest = host.split('.', 1)
        assert port.startswith(label + '-') and port.endswith(rest), port
        status, text = await ask(port, '/')
        assert status == 200 and 'Directory listing' in text
        assert (await ask('none.' + rest, '/'))[0] == 404


async def case_license():
    async with Standin() as s:
        status, a = await s.ask('POST', '/__api/license/authorize', {
            'key': 'right-key', 'increment_usage': 1}, {})
        assert status == 200 and set(a) == {'access_token', 'sandbox_url',
                                            'preview_url'}, a
        assert (await s.ask('POST', '/__api/license/authorize',
                            {'key': 'no'}))[0] == 401


async def case_snapshots():
    async with Standin() as s:
        d = await s.daemon()
        await d.put('f', 'old')
        made = await s.ok('POST', '/v1/snapshots', {
            'sandboxId': d.made['sandboxId'], 'name': 'n'})
        assert [x['id'] for x in await s.ok('GET', '/v1/snapshots')] == [
            made['id']]
        await d.put('f', 'new')
        other = await s.daemon(snapshotId=made['id'])
        assert await other.get('f') == 'old'
        # of a part of a machine, and for one
        parts = []
        for name in 'a', 'b':
            d.made = await s.ok('POST', '/v1/sandboxes/find-or-create', {
                'name': name, 'snapshotId': made['id']})
            d.url, d.token = d.made['url'], d.made['token']
            assert (await d.run('cat f; mkfifo p; echo b > f'))[
                'stdout'] == 'old', parts
            parts.append(await s.ok('POST', '/v1/snapshots', {
                'sandboxId': d.made['sandboxId']}))
        other = await s.daemon(snapshotId=parts[1]['id'])
        assert await other.get('f') == 'b\n'
        for part in parts:
            await s.ok('DELETE', '/v1/snapshots/' + part['id'])
        await s.ok('DELETE', '/v1/snapshots/' + made['id'])
        assert await s.ok('GET', '/v1/snapshots') == []


asyncio.run(run(globals()))
