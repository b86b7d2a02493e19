#!/usr/bin/python3
"""The opensandbox service against its stand-in, well-behaved and not.

usage: opensandbox_service.py DRIVE [CASE ...]     see service_lib.py
"""
import json
import os
import re
import socket
import subprocess
import tempfile
import time

from service_lib import (E2BIG, EACCES, EAGAIN, EBUSY, ECANCELED, EEXIST, EINVAL, EIO,
                         ENOENT, EOPNOTSUPP, EPROTO, ETIMEDOUT, CONNECTION, RESUME,
                         LATER, bad, good, main, made, wait_until,
                         wait_until_none_sleeps)
import service_lib

HERE = os.path.dirname(os.path.abspath(__file__))


class Standin(service_lib.FolderStandin):
    program = os.path.join(HERE, '../services/opensandbox.py')

    def ask_api(self, path, body=None):
        """What another client asks, and gets."""
        more = ['-d', body] if body is not None else []
        return subprocess.run(
            ['curl', '-sf', '-H', 'OPEN-SANDBOX-API-KEY: right-key', *more,
             'http://127.0.0.1:%d%s' % (self.port, path)],
            check=True, capture_output=True, text=True).stdout


class Drive(service_lib.Drive):
    def __init__(self, source, key='right-key', env=None, log=None):
        more = {'OPEN_SANDBOX_API_KEY': key} if key else {}
        super().__init__(source, {**more, **(env or {})}, log)


def source(s):
    return 'opensandbox+http://127.0.0.1:%d' % s.port


def case_life():
    with Standin() as s, Drive(source(s)) as d:
        assert good(d.ask('list'))['list'] == []
        box = made(d, json.dumps({
            'name': 'demo', 'image': 'python:3.12', 'timeout': 600,
            'resources': {'cpu': '500m'}, 'metadata': {'a': 1},
            'env': {'X': 'y'}}))
        assert box['name'] == 'demo' and box['state'] == 'running', box
        assert box['image'] == 'python:3.12', box
        assert 590e3 < box['expires_ms'] - box['created_ms'] <= 600e3, box
        assert [b['id'] for b in good(d.ask('list'))['list']] == [box['id']]
        good(d.ask('get', box['id']))
        good(d.ask('destroy', box['id']))
        good(d.ask('destroy', box['id']))
        bad(d.ask('get', box['id']), ENOENT)
        assert good(d.ask('list'))['list'] == []


def case_what_is_sent_to_create():
    with Standin() as s, Drive(source(s)) as d:
        made(d, '{"timeout":"never","networkPolicy":{"egress":[]},'
             '"resourceRequests":{"cpu":"100m"}}')
        body = [json.loads(j['body']) for j in s.journal()
                if j['method'] == 'POST' and j['path'] == '/v1/sandboxes'][0]
        assert 'timeout' not in body and 'name' not in body, body
        assert body['image'] == {'uri': 'python:3.11'}, body
        assert body['entrypoint'] == ['tail', '-f', '/dev/null'], body
        assert body['resourceLimits'] == {'cpu': '1', 'memory': '2Gi'}, body
        assert body['resourceRequests'] == {'cpu': '100m'}, body
        assert len(body['metadata']['sbxfs-create']) == 32, body


def case_any_name_fits_into_labels():
    with Standin() as s, Drive(source(s)) as d:
        for name in ('my box', 'ümlaut', '-x', 'x' * 64, 'y' * 255, 'a.b_c-d',
                     '\u4e2d' * 85):
            box = made(d, json.dumps({'name': name}))
            assert box['name'] == name, box
            good(d.ask('destroy', box['id']))


def case_options_are_checked():
    wrong = [
        ('{"nmae":"x"}', 'nmae'), ('[]', 'JSON'), ('{', 'JSON'),
        ('{"image":"a","snapshotId":"b"}', 'snapshot'),
        ('{"image":7}', 'image'), ('{"snapshot":"../x"}', 'snapshot'),
        ('{"timeout":59}', 'seconds'), ('{"timeout":"soon"}', 'seconds'),
        ('{"env":{"a b":"x"}}', 'a b'), ('{"env":{"a":{}}}', 'text'),
        ('{"name":"a/b"}', 'name'), ('{"metadata":{"k":"a b"}}', 'labels'),
        ('{"metadata":{"opensandbox.io/x":"1"}}', 'labels'),
        ('{"entrypoint":[]}', 'list'), ('{"volumes":{}}', 'list'),
        ('{"env":{"EXECD_ACCESS_TOKEN":"a\\nb"}}', 'ASCII'),
        ('{"secureAccess":1}', 'true'), ('{"platform":"linux"}', 'object'),
    ]
    with Standin() as s, Drive(source(s)) as d:
        for options, word in wrong:
            bad(d.ask('create', options), EINVAL, word)
        assert not s.counts().get('POST create'), s.counts()
        # the service's own refusals, of two shapes
        bad(d.ask('create', '{"secureAccess":true}'), EINVAL, 'secureAccess')
        bad(d.ask('create', '{"timeout":30000000}'), EINVAL, 'maximum')
    with Standin('no-policy') as s, Drive(source(s)) as d:
        bad(d.ask('create', '{"networkPolicy":{"egress":[]}}'), EINVAL,
            'egress image')


def case_bad_ids_are_not_asked_for():
    with Standin() as s, Drive(source(s)) as d:
        for name in ('.git', '..', 'a/b', '%2e', '-x', 'x' * 200):
            bad(d.ask('get', name), ENOENT)
            bad(d.ask('exec', name, 'true'), ENOENT)
        assert s.journal() == []


def case_exec():
    for level in ('1.0.10', '1.0.18', '1.0.19'):
        with Standin(level) as s, Drive(source(s)) as d:
            box = made(d, '{"env":{"GREETING":"hi there"}}')['id']
            r = good(d.ask('exec', box, 'echo out; echo err >&2; exit 7'))
            assert (r['out'], r['stderr'], r['exit']) == (
                'out\n', 'err\n', 7), r
            r = good(d.ask('exec', box, 'echo "$GREETING"; pwd'))
            assert r['out'] == 'hi there\n/workspace\n', r
            r = good(d.ask('quiet', box, 'echo out; echo err >&2'))
            assert (r['out'], r['stderr']) == ('out\n', ''), r
            assert good(d.ask('exec', box, 'kill -9 $$'))['exit'] == 137
            assert good(d.ask('exec', box, 'exit 255'))['exit'] == 255
            bad(d.ask('exec', 'no-such', 'true'), ENOENT)
            left = [j for j in s.journal() if j.get('execd')]
            made_n = sum(j.get('path') == '/pty' for j in left)
            assert made_n == 5, left
            # each session is told its end
            wait_until(lambda: left.extend(s.journal()) or sum(
                j.get('method') == 'DELETE' for j in left) == made_n)


def case_a_long_line_is_refused_here():
    with Standin() as s, Drive(source(s)) as d:
        box = made(d)['id']
        bad(d.ask('exec', box, ' ' * 65000 + '; true' * 8000), E2BIG, '96 KiB')
        good(d.ask('big', box))


def case_no_output_is_lost_at_the_end():
    with Standin() as s, Drive(source(s)) as d:
        box = made(d)['id']
        for _ in range(20):
            r = good(d.ask('pour', box, 300000))
            assert r['got'] == 300000 and r['right'] and r['exit'] == 0, r


def case_stream_both_ways():
    with Standin() as s, Drive(source(s)) as d:
        box = made(d)['id']
        r = good(d.ask('echo', box, 8 << 20))
        assert r['got'] == 8 << 20 and r['exit'] == 0, r
        r = good(d.ask('pour', box, 8 << 20))
        assert r['got'] == 8 << 20 and r['right'], r


def case_close_of_a_running_command_ends_it():
    with Standin() as s, Drive(source(s)) as d:
        box = made(d)['id']
        bad(d.ask('kill', box), ECANCELED)
        wait_until_none_sleeps(d, box)


def cut_in_the_middle(level, verb, again=''):
    """A command whose connection is cut while it is idle, then goes on."""
    with Standin(level) as s, Drive(source(s)) as d:
        box = made(d)['id']
        d.tell(verb, box, 'echo one; until [ -e /tmp/go ]; do sleep 0.05; '
               'done; echo two; exit 5')
        seen = []
        wait_until(lambda: seen.extend(s.journal()) or any(
            j.get('ws') == 'stdin' for j in seen))
        # the line is confirmed by a ping soon after
        time.sleep(0.5)
        s.fault('execd cut')
        if again:
            s.fault(again)
        wait_until(lambda: seen.extend(s.journal()) or sum(
            j.get('ws') == 'open' for j in seen) == 2)
        open('%s/%s/tmp/go' % (s.folder, box), 'w').close()
        r = good(d.answer())
        assert r['out'] == 'one\ntwo\n' and r['exit'] == 5, r
        opens = [j['query'] for j in seen if j.get('ws') == 'open']
        assert opens[1]['since'] == '4', opens
        assert ('takeover' in opens[1]) == (level == '1.0.19'), opens


def case_a_stream_survives_its_connection():
    cut_in_the_middle('1.0.19', 'quiet')
    cut_in_the_middle('1.0.18', 'quiet')
    cut_in_the_middle('1.0.19', 'exec')


def taken_over(s, box, session):
    """A socket of somebody else's who has the session now."""
    at = json.loads(s.ask_api('/v1/sandboxes/%s/endpoints/44772' % box))[
        'endpoint']
    host, _, port = at.partition('/')[0].partition(':')
    other = socket.create_connection((host, int(port)), 10)
    other.sendall(('GET /pty/%s/ws?pty=0&since=0&takeover=1 HTTP/1.1\r\n'
                   'Host: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n'
                   'Sec-WebSocket-Version: 13\r\n'
                   'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n'
                   % session).encode())
    assert b' 101 ' in other.recv(4096)
    return other


def case_a_session_that_was_taken_over_is_not_taken_back():
    with Standin('1.0.19') as s, Drive(source(s)) as d:
        box = made(d)['id']
        d.tell('quiet', box, 'echo one; sleep 1000')
        seen = []
        wait_until(lambda: seen.extend(s.journal()) or any(
            j.get('ws') == 'stdin' for j in seen))
        time.sleep(0.5)  # confirmed: it could be taken up again
        session = [j['id'] for j in seen if j.get('ws') == 'open'][0]
        other = taken_over(s, box, session)
        r = bad(d.answer(), EIO, 'taken over')
        assert r['retry'] == CONNECTION, r
        seen += s.journal()
        other.close()
        assert sum(j.get('ws') == 'open' for j in seen) == 2, seen


def case_a_session_that_is_believed_busy_is_asked_again():
    cut_in_the_middle('1.0.18', 'quiet', 'execd busy 3')


def case_a_replay_that_begins_too_late_ends_the_stream():
    with Standin('1.0.19') as s, Drive(source(s)) as d:
        box = made(d)['id']
        d.tell('quiet', box, 'echo one; until [ -e /tmp/go ]; do sleep 0.05; '
               'done; head -c 3000000 /dev/zero; sleep 1000')
        seen = []
        wait_until(lambda: seen.extend(s.journal()) or any(
            j.get('ws') == 'stdin' for j in seen))
        time.sleep(0.5)
        s.fault('execd deaf 4')  # refuses WebSockets for a while
        s.fault('execd cut')
        open('%s/%s/tmp/go' % (s.folder, box), 'w').close()
        r = bad(d.answer(), ETIMEDOUT, 'gone')
        assert r['retry'] == CONNECTION, r


def case_refused_credentials():
    with Standin() as s, Drive(source(s), key='wrong-secret-key') as d:
        r = bad(d.ask('list'), EACCES, 'OPEN_SANDBOX_API_KEY')
        assert 'wrong-secret' not in r['text']
        bad(d.ask('create', '{}'), EACCES)
        assert not s.counts().get('POST create')
    with Standin() as s, Drive(source(s), key=None) as d:
        bad(d.ask('list'), EACCES)


def case_a_server_without_a_key():
    os.environ['STANDIN_KEY'] = ''
    try:
        with Standin() as s, Drive(source(s), key=None) as d:
            good(d.ask('exec', made(d)['id'], 'true'))
    finally:
        del os.environ['STANDIN_KEY']


def case_token_of_execd():
    with Standin() as s:
        env = '{"env":{"EXECD_ACCESS_TOKEN":"tok-secret"}}'
        with Drive(source(s)) as d:
            box = made(d, env)['id']
            good(d.ask('exec', box, 'true'))
        # another one does not know it
        with Drive(source(s)) as d:
            bad(d.ask('exec', box, 'true'), EACCES, 'EXECD_ACCESS_TOKEN')
        with Drive(source(s), env={'EXECD_ACCESS_TOKEN': 'tok-secret'}) as d:
            good(d.ask('exec', box, 'true'))
        with Drive(source(s), env={'EXECD_ACCESS_TOKEN': 'wrong'}) as d:
            bad(d.ask('exec', box, 'true'), EACCES)


def case_secrets_stay_secret():
    """Not in the log, even at its loudest, and not in /proc."""
    with Standin() as s, tempfile.TemporaryFile('w+') as log:
        env = {'DEBUG': '1', 'EXECD_ACCESS_TOKEN': 'tok-secret'}
        with Drive(source(s), env=env, log=log) as d:
            box = made(d, '{"env":{"EXECD_ACCESS_TOKEN":"tok-secret"}}')['id']
            good(d.ask('exec', box, 'true'))
            with open('/proc/%d/environ' % d.proc.pid) as f:
                text = f.read()
                assert 'right-key' not in text and 'tok-' not in text
        log.seek(0)
        text = log.read()
        assert 'http' in text, text
        assert 'right-key' not in text and 'tok-secret' not in text, text


def case_ways_to_execd():
    for trait in ('endpoint-path', 'endpoint-header', 'endpoint-dead'):
        with Standin(trait) as s, Drive(source(s)) as d:
            box = made(d)['id']
            r = good(d.ask('exec', box, 'echo hi; exit 3'))
            assert (r['out'], r['exit']) == ('hi\n', 3), r
            r = good(d.ask('echo', box, 1 << 20))
            assert r['got'] == 1 << 20, r


def case_endpoints_from_a_stranger():
    for trait in ('bad-endpoint', 'bad-headers'):
        with Standin(trait) as s, Drive(source(s)) as d:
            bad(d.ask('create', '{}'), EPROTO, 'endpoint')
            assert good(d.ask('list'))['list'] == []


def case_pause_and_resume():
    for traits in (('1.0.19',), ('kubernetes',), ('kubernetes', 'pool'),
                   ('pool', 'forget-pause')):
        with Standin(*traits) as s, Drive(source(s)) as d:
            box = made(d)['id']
            good(d.ask('exec', box, 'echo kept > /tmp/file'))
            if 'forget-pause' in traits:  # it is waited for all the same
                d.tell('timeout', 1000)
                bad(d.ask('pause', box), ETIMEDOUT, 'Paused')
                continue
            r = good(d.ask('pause', box))
            assert r['list'][0]['state'] == 'paused', r
            good(d.ask('pause', box))  # it is already
            start = time.time()
            r = bad(d.ask('exec', box, 'true'), EAGAIN, 'Paused')
            assert time.time() - start < 20 and r['retry'] == RESUME, r
            r = good(d.ask('resume', box))
            assert r['list'][0]['state'] == 'running', r
            good(d.ask('resume', box))
            r = good(d.ask('exec', box, 'cat /tmp/file'))
            assert r['out'] == 'kept\n', r
            bad(d.ask('pause', 'no-such'), ENOENT)
            good(d.ask('destroy', box))


def case_a_pause_that_does_not_happen():
    with Standin('forget-pause') as s, Drive(source(s)) as d:
        box = made(d)['id']
        d.tell('timeout', 1500)
        bad(d.ask('pause', box), ETIMEDOUT, 'Paused')


def case_keepalive():
    with Standin() as s, Drive(source(s)) as d:
        box = made(d, '{"timeout":600}')
        kept = good(d.ask('keepalive', box['id'], 7200))['list'][0]
        left = kept['expires_ms'] / 1000 - time.time()
        assert 7190 < left <= 7200, kept
        # never shorter
        again = good(d.ask('keepalive', box['id'], 60))['list'][0]
        assert again['expires_ms'] == kept['expires_ms'], again
        good(d.ask('keepalive', box['id']))
        ever = made(d, '{"timeout":"never"}')
        kept = good(d.ask('keepalive', ever['id'], 600))['list'][0]
        assert kept['expires_ms'] == 0, kept


def case_a_clock_that_differs():
    with Standin('skew') as s, Drive(source(s)) as d:
        box = made(d, '{"timeout":60}')['id']
        kept = good(d.ask('keepalive', box, 600))['list'][0]
        left = kept['expires_ms'] / 1000 - (time.time() + 90)
        assert 595 < left <= 603, left


def case_pages():
    with Standin('pages') as s, Drive(source(s)) as d:
        ids = {made(d)['id'] for _ in range(5)}
        shown = [b['id'] for b in good(d.ask('list'))['list']]
        assert sorted(shown) == sorted(ids), (shown, ids)


def case_slow_start():
    with Standin('slow-start') as s, Drive(source(s)) as d:
        good(d.ask('exec', made(d)['id'], 'true'))


def case_start_in_vain_leaves_nothing():
    for trait, err in (('never-runs', ETIMEDOUT), ('starts-failing', EIO)):
        with Standin(trait) as s, Drive(source(s)) as d:
            d.tell('timeout', 5000)
            bad(d.ask('create', '{}'), err)
            wait_until(lambda: s.counts().get('DELETE delete') == 1)


def case_lost_answer_creates_once():
    for trait in ('lose-create', 'create-loses-list'):
        with Standin(trait) as s, Drive(source(s)) as d:
            box = made(d, '{"name":"one"}')
            assert box['name'] == 'one'
            assert len(good(d.ask('list'))['list']) == 1
            assert s.counts()['POST create'] == 1


def case_flaky():
    with Standin('flaky') as s, Drive(source(s)) as d:
        for _ in range(4):
            good(d.ask('list'))
    with Standin('busy') as s, Drive(source(s)) as d:
        good(d.ask('list'))
    with Standin() as s, Drive(source(s)) as d:
        box = made(d)['id']
        s.fault('execd abort 2')
        good(d.ask('exec', box, 'true'))
        s.fault('execd unwell 2')
        good(d.ask('exec', box, 'true'))


def case_rate_limit():
    with Standin('limit') as s, Drive(source(s)) as d:
        d.tell('timeout', 60000)
        good(d.ask('list'))
        good(d.ask('list'))
    with Standin('limit') as s, Drive(source(s)) as d:
        good(d.ask('list'))
        d.tell('timeout', 1000)
        assert bad(d.ask('list'), EAGAIN, '429')['retry'] == LATER


def case_metadata():
    with Standin() as s, Drive(source(s)) as d:
        box = made(d, '{"name":"demo","metadata":{"team":"red"}}')['id']

        def names():
            return [n for n in good(d.ask('own list', box, 'metadata'))['names']
                    if not n.startswith('sbxfs-')]

        def all():
            return json.loads(good(d.ask('own read', box, 'metadata.json'))
                              ['data'])
        assert sorted(names()) == ['name', 'team']
        assert good(d.ask('own read', box, 'metadata/team'))['data'] == 'red\n'
        good(d.ask('own write', box, 'metadata/team', 'blue'))
        good(d.ask('own make', box, 'metadata/empty'))
        assert all()['team'] == 'blue' and all()['empty'] == '', all()
        good(d.ask('own remove', box, 'metadata/empty'))
        bad(d.ask('own read', box, 'metadata/empty'), ENOENT, 'empty')
        good(d.ask('own write', box, 'metadata.json',
                   '{"team":null,"a.b/c":"d"}'))
        assert 'team' not in all() and all()['a.b/c'] == 'd', all()
        assert names() == ['name']  # what has a slash cannot be a file's
        for path, text in (('metadata/x', 'two words'), ('metadata/-x', 'a'),
                           ('metadata/x', 'y' * 64), ('metadata.json', '[]'),
                           ('metadata.json', '{"a":1}'),
                           ('metadata.json', '{"a b":"c"}'),
                           ('metadata.json', '{"opensandbox.io/a":"c"}')):
            bad(d.ask('own write', box, path, text), EINVAL, 'metadata')
        assert s.counts()['PATCH metadata'] == 4, s.counts()
        good(d.ask('destroy', box))
        bad(d.ask('own read', box, 'metadata/name'), ENOENT)


def case_endpoints():
    for trait, text in (('endpoint-path', '/proxy/8080\n'),
                        ('endpoint-header', '\nOpenSandbox-Ingress-To: ')):
        with Standin(trait) as s, Drive(source(s)) as d:
            box = made(d)['id']
            r = good(d.ask('own read', box, 'endpoints/8080'))['data']
            assert r.startswith('http://127.0.0.1:') and text in r, r
    with Standin('endpoint-dead') as s, Drive(source(s)) as d:
        box = made(d)['id']
        good(d.ask('exec', box, 'true'))  # this finds out which way goes
        r = good(d.ask('own read', box, 'endpoints/8080'))['data']
        assert r == 'http://127.0.0.1:%d/sandboxes/%s/proxy/8080\n' % (
            s.port, box), r
        assert good(d.ask('own list', box, 'endpoints'))['names'] == []
        for name in ('0', '65536', '08', 'x', '1x'):
            bad(d.ask('own read', box, 'endpoints/' + name), ENOENT)
    with Standin('endpoint-signed', 'endpoint-dead', 'skew') as s, \
            Drive(source(s)) as d:
        box = made(d)['id']
        good(d.ask('exec', box, 'true'))
        r = good(d.ask('own write', box, 'endpoints/8080', '600'))['data']
        at = re.fullmatch(
            'http://%s-8080.gateway.example/([0-9]+)\n' % box, r)
        # by the server's clock
        assert abs(int(at[1]) - time.time() - 690) < 60, r
        for text in ('0', '-1', '1.5', 'x', '', '9' * 20):
            bad(d.ask('own write', box, 'endpoints/8080', text), EINVAL,
                'seconds')
        bad(d.ask('own write', box, 'endpoints/0', '600'), ENOENT)
    with Standin() as s, Drive(source(s)) as d:
        box = made(d)['id']
        bad(d.ask('own write', box, 'endpoints/8080', '600'), EINVAL, 'signed')
    for trait in ('bad-endpoint', 'bad-headers'):
        with Standin() as s, Drive(source(s)) as d:
            box = made(d)['id']
            s.fault(trait)
            bad(d.ask('own read', box, 'endpoints/8080'), EPROTO, 'address')


def case_metrics():
    with Standin() as s, Drive(source(s)) as d:
        box = made(d)['id']
        r = json.loads(good(d.ask('own read', box, 'metrics/now.json'))['data'])
        assert r['cpu_count'] and r['mem_total_mib'] > 0, r
        r = bad(d.ask('own stream', box, 'metrics/stream', 2), ECANCELED)
        lines = [json.loads(l) for l in r['out'].splitlines()]
        assert len(lines) == 2 and lines[0]['timestamp'] < \
            lines[1]['timestamp'], r
        # it is where it was not before
        s.fault('execd unwell')
        good(d.ask('own read', box, 'metrics/now.json'))
        d.tell('own stream', box, 'metrics/stream', 1000)
        seen = []
        wait_until(lambda: seen.extend(s.journal()) or any(
            j['path'] == '/metrics/watch' for j in seen))
        s.fault('execd cut')
        assert bad(d.answer(), ETIMEDOUT)['retry'] == CONNECTION
        bad(d.ask('own stream', 'no-such', 'metrics/stream', 1), ENOENT)


def policy(d, box):
    r = good(d.ask('own read', box, 'network/policy.json'))['data']
    return [(p['action'], p['target'])
            for p in json.loads(r)['policy']['egress']]


def case_network_policy():
    with Standin() as s, Drive(source(s)) as d:
        box = made(d, '{"networkPolicy":{"egress":[{"action":"allow",'
                   '"target":"pypi.org"}]}}')['id']
        assert good(d.ask('own list', box, 'network'))['names'] == [
            'policy.json']
        file = 'network/policy.json'
        good(d.ask('own write', box, file, 'allow *.github.com'))
        assert policy(d, box) == [('allow', '*.github.com'),
                                  ('allow', 'pypi.org')], policy(d, box)
        good(d.ask('own write', box, file, 'remove pypi.org'))
        good(d.ask('own write', box, file,
                   '[{"action":"deny","target":"a.b"}]'))
        assert policy(d, box) == [('deny', 'a.b'), ('allow', '*.github.com')]
        s.journal()
        for text in ('', 'allow', 'allow a b', 'permit a', '[]', '{}', '[1]',
                     'allow a\\"b', '[{"action":"allow"}]'):
            bad(d.ask('own write', box, file, text), EINVAL, 'policy')
        assert not s.journal()
        bad(d.ask('own read', box, 'network/other'), ENOENT)


def case_no_network_policy():
    with Standin() as s, Drive(source(s)) as d:
        box = made(d)['id']
        assert good(d.ask('own list', box, 'network'))['names'] == []
        bad(d.ask('own read', box, 'network/policy.json'), ETIMEDOUT)


def case_search():
    for level in ('1.0.18', '1.0.19'):
        with Standin(level) as s, Drive(source(s)) as d:
            box = made(d)['id']
            good(d.ask('exec', box, 'mkdir d; touch a.py d/b.py "d/c d.txt"'))
            for pattern, found in (('*.py', ['a.py', 'd/b.py']),
                                   ('c d*', ['d/c d.txt']), ('none', [])):
                r = good(d.ask('own read', box, 'search/' + pattern.replace(
                    ' ', '?')))['data']
                assert sorted(r.splitlines()) == found, (pattern, r)


def case_contexts():
    with Standin('jupyter') as s, Drive(source(s)) as d:
        box = made(d)['id']

        def listed():
            return good(d.ask('own list', box, 'contexts'))['names']

        def write(path, text):
            return d.ask('own write', box, 'contexts/' + path, text)

        def ran(path, text):
            return good(write(path + '/exec', text))['data']
        assert listed() == []
        one = good(write('new', 'python'))['data'].strip()
        two = good(write('new', '{"language":"python","cwd":"/workspace/d"}'))[
            'data'].strip()
        assert sorted(listed()) == sorted([one, two])
        # what it is told stays, and only there
        assert ran(one, 'x = 6') == ''
        assert ran(one, 'import os; print(x, end=""); x * 7') == '642\n'
        assert ran(one, 'os.getcwd()') == "'/workspace'\n"
        assert ran(two, 'import os; os.getcwd()') == "'/workspace/d'\n"
        r = ran(two, 'x')
        assert r.startswith('Traceback') and 'NameError' in r, r
        # what comes after the end counts
        assert ran(one, 'import sys; print("e", file=sys.stderr); 1') == \
            '1\ne\n'
        assert len(ran(one, 'print("x" * 3000000)')) == 3000001
        assert json.loads(good(d.ask('own read', box, 'contexts/%s/info.json'
                                     % one))['data'])['language'] == 'python'
        for path in ('new', one + '/exec'):  # nothing comes of reading
            assert good(d.ask('own read', box, 'contexts/' + path)).get(
                'data', '') == ''
        good(d.ask('own remove', box, 'contexts/' + one))
        bad(d.ask('own remove', box, 'contexts/' + one), ENOENT)
        bad(write(one + '/exec', '1'), ENOENT)
        bad(d.ask('own read', box, 'contexts/%s/info.json' % one), ENOENT)
        assert listed() == [two]
        s.journal()
        for text in ('', 'python 3', 'bash', 'sql', '[]', '{}', '{"language":1}',
                     '{"language":"python","cwd":"x"}',
                     '{"language":"python","x":1}', 'a"b'):
            bad(write('new', text), EINVAL, 'language')
        bad(write(two + '/ctl', 'stop'), EINVAL, 'interrupt')
        bad(write('a.b/ctl', 'interrupt'), ENOENT)
        assert not s.journal()


def case_a_context_that_is_busy():
    with Standin('jupyter') as s, Drive(source(s)) as d, \
            Drive(source(s)) as other:
        box = made(d)['id']
        one = 'contexts/' + good(d.ask('own write', box, 'contexts/new',
                                       'python'))['data'].strip()
        d.tell('own write', box, one + '/exec', 'import time; time.sleep(600)')
        wait_until(lambda: any('sleep' in j.get('body', '')
                               for j in s.journal()))
        wait_until(lambda: other.ask('own write', box, one + '/exec',
                                     '1')['err'] == EBUSY)
        good(other.ask('own write', box, one + '/ctl', 'interrupt'))
        r = good(d.answer())['data']
        assert 'KeyboardInterrupt' in r, r
        assert good(other.ask('own write', box, one + '/exec', '1'))[
            'data'] == '1\n'


def case_no_contexts():
    """Whoever asks for one there would wait for hours."""
    for late in (False, True):
        with Standin() as s, Drive(source(s)) as d:
            box = made(d)['id']
            if late:
                s.fault('execd late-errors')
            assert good(d.ask('own list', box, 'contexts'))['names'] == []
            bad(d.ask('own write', box, 'contexts/new', 'python'), EOPNOTSUPP,
                'interpreter')
            assert not any(j.get('path') == '/code/context'
                           for j in s.journal())


def case_snapshots():
    with Standin() as s, Drive(source(s)) as d:
        box, other = made(d)['id'], made(d)['id']

        def names(of=box):
            return good(d.ask('snapshots', of))['names']
        good(d.ask('exec', box, 'echo kept > kept; mkfifo pipe'))
        assert names() == []
        good(d.ask('snapshot', box, 'first one'))
        bad(d.ask('snapshot', box, 'first one'), EEXIST, 'already')
        good(d.ask('snapshot', box, 'second'))
        assert names() == ['first one', 'second'] and names(other) == []
        info = json.loads(s.ask_api('/v1/snapshots?sandboxId=' + box))
        ids = {i['name']: i['id'] for i in info['items']}
        back = made(d, json.dumps({'snapshot': ids['first one']}))['id']
        assert good(d.ask('exec', back, 'cat kept'))['out'] == 'kept\n'
        good(d.ask('unsnapshot', box, 'first one'))
        bad(d.ask('unsnapshot', box, 'first one'), ENOENT)
        assert names() == ['second']
        # names that others gave: none, the same again, no file's
        for body in ('{}', '{"name":"second"}', '{"name":"a/b"}'):
            s.ask_api('/v1/sandboxes/%s/snapshots' % box, body)
        assert len(names()) == 4 and 'a/b' not in names(), names()
        assert names().count('second') == 1
        # none can be removed before it is made
        wait_until(lambda: 'Creating' not in s.ask_api(
            '/v1/snapshots?sandboxId=' + box))
        good(d.ask('unsnapshot', box, names()[1]))
        assert len(names()) == 3 and names()[0] == 'second', names()
        good(d.ask('pause', box))
        bad(d.ask('snapshot', box, 'x'), EAGAIN)
    with Standin('no-snapshots') as s, Drive(source(s)) as d:
        bad(d.ask('snapshot', made(d)['id'], 'x'), EOPNOTSUPP)


def case_snapshots_of_what_is_gone():
    """All of them are beside the sandboxes, by their ids."""
    with Standin() as s, Drive(source(s)) as d:
        def listed():
            return good(d.ask('own list', '-', 'snapshots'))['names']
        assert listed() == []
        box = made(d)['id']
        good(d.ask('exec', box, 'echo kept > kept'))
        good(d.ask('snapshot', box, 'one'))
        good(d.ask('destroy', box))
        sid, = listed()
        path = 'snapshots/%s' % sid
        info = json.loads(good(d.ask('own read', '-', path + '/info.json'))
                          ['data'])
        assert (info['id'], info['name']) == (sid, 'one'), info
        back = made(d, json.dumps({'snapshot': sid}))['id']
        assert good(d.ask('exec', back, 'cat kept'))['out'] == 'kept\n'
        bad(d.ask('own read', '-', 'snapshots/a.b/info.json'), ENOENT)
        bad(d.ask('own read', '-', 'snapshots/none/info.json'), ENOENT)
        s.fault('mixed-up')
        bad(d.ask('own read', '-', path + '/info.json'), EPROTO)
        s.fault('-mixed-up')
        good(d.ask('own remove', '-', path))
        assert listed() == []


def case_answers_about_others():
    with Standin() as s, Drive(source(s)) as d:
        box, other = made(d)['id'], made(d)['id']
        good(d.ask('snapshot', box, 'mine'))
        s.fault('mixed-up')
        bad(d.ask('get', box), EPROTO)
        bad(d.ask('create', '{}'), EPROTO)
        assert good(d.ask('snapshots', other))['names'] == []
        bad(d.ask('unsnapshot', other, 'mine'), ENOENT)
        bad(d.ask('snapshot', other, 'x'), EPROTO)
        s.fault('-mixed-up')
        assert good(d.ask('snapshots', box))['names'] == ['mine']
        # the one that was made is gone again
        assert sorted(b['id'] for b in good(d.ask('list'))['list']) == sorted(
            [box, other])


def case_own_files_of_what_is_paused():
    with Standin() as s, Drive(source(s)) as d:
        box = made(d, '{"networkPolicy":{"egress":[]}}')['id']
        good(d.ask('own read', box, 'metrics/now.json'))
        s.ask_api('/v1/sandboxes/%s/pause' % box, '')  # somebody else does
        for path in ('metrics/now.json', 'search/x'):
            start = time.time()
            bad(d.ask('own read', box, path), EAGAIN, 'Paused')
            assert time.time() < start + 15
        good(d.ask('own write', box, 'metadata/a', 'b'))
        good(d.ask('own read', box, 'endpoints/8080'))
        bad(d.ask('own stream', box, 'metrics/stream', 1), EAGAIN, 'Paused')
        good(d.ask('resume', box))
        good(d.ask('own read', box, 'metrics/now.json'))


def case_old_execd():
    with Standin('1.0.9') as s, Drive(source(s)) as d:
        bad(d.ask('exec', made(d)['id'], 'true'), EOPNOTSUPP, '1.0.10')


def case_no_bash():
    with Standin('no-bash') as s, Drive(source(s)) as d:
        bad(d.ask('exec', made(d)['id'], 'true'), EOPNOTSUPP, 'bash')


def case_workspace_that_cannot_be_made():
    with Standin('no-workspace') as s, Drive(source(s)) as d:
        r = good(d.ask('exec', made(d)['id'], 'pwd'))
        assert r['out'] == '/\n', r


def case_not_an_opensandbox_server():
    for trait in ('html', 'huge', 'redirect', 'garbage', 'huge-header',
                  'deep'):
        with Standin(trait) as s, Drive(source(s)) as d:
            bad(d.ask('list'), EPROTO, 'check')
            bad(d.ask('create', '{}'), EPROTO)


def case_half_an_answer():
    with Standin('half') as s, Drive(source(s)) as d:
        bad(d.ask('list'), ETIMEDOUT, 'middle')


def case_silent():
    with Standin('silent') as s, Drive(source(s)) as d:
        d.tell('timeout', 700)
        bad(d.ask('list'), ETIMEDOUT, 'in time')
        bad(d.ask('create', '{}'), ETIMEDOUT)
        bad(d.ask('quick'), ECANCELED)


def case_refused():
    with Drive('opensandbox+http://127.0.0.1:1') as d:
        r = bad(d.ask('list'), ETIMEDOUT, 'cannot connect', 'port')
        assert r['retry'] == CONNECTION


def case_ids_from_a_stranger():
    with Standin('bad-sandbox') as s, Drive(source(s)) as d:
        bad(d.ask('create', '{}'), EPROTO)
        assert good(d.ask('list'))['list'] == []


main(globals())
