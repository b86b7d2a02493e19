#!/usr/bin/python3
"""The xgen service against a stand-in, well-behaved and not.

usage: xgen_service.py DRIVE [CASE ...]     DRIVE: the program service_drive
"""
import json
import os
import subprocess
import tempfile
import time

from service_lib import (E2BIG, EACCES, EAGAIN, ECANCELED, EINVAL, EIO,
                         ENOENT, EPROTO, ETIMEDOUT, CONNECTION, LATER, bad,
                         good, main, made, wait_until)
import service_lib

HERE = os.path.dirname(os.path.abspath(__file__))


class Standin(service_lib.Standin):
    program = HERE + '/xgen_standin.py'

    def counts(self):
        return self.ask('/counts')


class Drive(service_lib.Drive):
    def __init__(self, source, key='right-key', env=None, log=None):
        super().__init__(source, {**({'XGEN_API_KEY': key} if key else {}),
                                  **(env or {})}, log)


def source(s):
    return 'xgen+http://127.0.0.1:%d' % s.port


def case_life():
    with Standin() as s, Drive(source(s)) as d:
        assert good(d.ask('list'))['list'] == []
        box = made(d, json.dumps({
            'name': 'demo', 'ports': [3000, 80], 'timeout': 600,
            'template': 'python', 'gui': False, 'metadata': {'a': 1},
            'resources': {'cpu': '500m'}, 'capabilities': ['sudo']}))
        assert box['name'] == 'demo' and box['state'] == 'running', box
        assert box['image'] == 'python'
        assert sorted(p['port'] for p in box['ports']) == [80, 3000]
        assert 590e3 < box['expires_ms'] - box['created_ms'] <= 600e3, box
        assert [b['id'] for b in good(d.ask('list'))['list']] == [box['id']]
        kept = good(d.ask('keepalive', box['id']))['list'][0]
        assert kept['expires_ms'] > box['expires_ms'] + 2000e3
        good(d.ask('get', box['id']))
        good(d.ask('destroy', box['id']))
        good(d.ask('destroy', box['id']))
        bad(d.ask('get', box['id']), ENOENT)
        assert good(d.ask('list'))['list'] == []


def case_bad_ids_are_not_asked_for():
    with Standin() as s, Drive(source(s)) as d:
        before = s.counts()['all']
        for name in ('.git', '..', 'a/b', 'a b', '%2e', '-x', 'x' * 200):
            bad(d.ask('get', name.replace(' ', '_')), ENOENT)
        assert s.counts()['all'] == before + 1


def case_options_are_checked():
    wrong = [
        ('{"nmae":"x"}', 'nmae'), ('[]', 'JSON'), ('{', 'JSON'),
        ('{"ports":[0]}', 'port'), ('{"ports":[1,1]}', 'twice'),
        ('{"ports":"80"}', 'port'), ('{"env":{"PATH":"x"}}', 'PATH'),
        ('{"env":{"LD_PRELOAD":"x"}}', 'LD_PRELOAD'),
        ('{"env":{"a b":"x"}}', 'a b'),
        (json.dumps({'env': {'V%d' % i: 'x' * 1000 for i in range(25)}}),
         '24 KiB'), ('{"env":{"a":{}}}', 'text'),
        ('{"timeout":-1}', 'seconds'), ('{"timeout":1,"timeout_ms":1}',
                                        'twice'),
        ('{"gui":"yes"}', 'true'), ('{"name":"a/b"}', 'name'),
        ('{"capabilities":["root"]}', 'sudo'),
        ('{"resources":{"gpu":"1"}}', 'cpu'),
        ('{"metadata":{"k":"%s"}}' % ('x' * 1025), '1024'),
        ('{"image":"a","template":"b"}', 'twice'),
    ]
    with Standin() as s, Drive(source(s)) as d:
        for options, word in wrong:
            bad(d.ask('create', options), EINVAL, word)
        assert s.counts()['create'] == 0


def case_exec():
    with Standin() as s, Drive(source(s)) as d:
        box = made(d, '{"env":{"GREETING":"hi there"}}')['id']
        r = good(d.ask('exec', box, 'echo out; echo err >&2; exit 7'))
        assert (r['out'], r['stderr'], r['exit']) == ('out\n', 'err\n', 7)
        r = good(d.ask('exec', box, 'echo "$GREETING"'))
        assert r['out'] == 'hi there\n', r
        assert good(d.ask('exec', box, 'kill -9 $$'))['exit'] == -1
        bad(d.ask('big', box), E2BIG, '32 KiB')
        bad(d.ask('exec', 'no-such', 'true'), ENOENT)


def case_stream_both_ways():
    with Standin() as s, Drive(source(s)) as d:
        box = made(d)['id']
        r = good(d.ask('echo', box, 8 << 20))
        assert r['got'] == 8 << 20 and r['exit'] == 0, r
        r = good(d.ask('pour', box, 8 << 20))
        assert r['got'] == 8 << 20 and r['right'], r


def case_close_of_a_running_command_signals_it():
    with Standin() as s, Drive(source(s)) as d:
        box = made(d)['id']
        bad(d.ask('kill', box), ECANCELED)
        good(d.ask('exec', box, 'true'))
        assert s.counts()['term'] == 1


def case_other_spelling_and_early_event():
    with Standin('camel', 'event-first') as s, Drive(source(s)) as d:
        assert good(d.ask('exec', made(d)['id'], 'exit 3'))['exit'] == 3


def case_old_server():
    with Standin('v1-only') as s, Drive(source(s)) as d:
        box = made(d, '{"timeout":600}')
        # its times are dates with a zone
        assert box['expires_ms'] == 4070908800123, box
        assert box['created_ms'] == 1776852000000, box
        good(d.ask('get', box['id']))
        assert good(d.ask('exec', box['id'], 'echo v1'))['out'] == 'v1\n'
        bad(d.ask('get', 'gone-1'), ENOENT)


def case_token_exchange():
    with Standin('no-apikey') as s, Drive(source(s)) as d:
        box = made(d)['id']
        good(d.ask('exec', box, 'true'))
        good(d.ask('list'))
        assert s.counts()['token'] == 1, s.counts()


def case_token_is_renewed_in_time():
    with Standin('no-apikey', 'short-token') as s, Drive(source(s)) as d:
        box = made(d)['id']
        time.sleep(3.1)  # beyond the end of the first token
        good(d.ask('exec', box, 'true'))
        assert s.counts()['token'] >= 2, s.counts()


def case_token_of_the_users_own():
    with Standin() as s:
        with Drive(source(s), key=None, env={'XGEN_TOKEN': 'old'}) as d:
            bad(d.ask('list'), EACCES, 'token')


def case_wrong_key():
    with Standin() as s, Drive(source(s), key='wrong-secret-key') as d:
        r = bad(d.ask('list'), EACCES, 'key')
        assert 'wrong-secret' not in r['text']
        bad(d.ask('create', '{}'), EACCES)
        assert s.counts()['create'] == 0


def case_no_key():
    with Drive('xgen+http://127.0.0.1:1', key=None) as d:
        bad(d.answer(), -126, 'XGEN_API_KEY')


def case_keys_stay_secret():
    """Not in the log, even at its loudest, and not in /proc."""
    with Standin() as s, tempfile.TemporaryFile('w+') as log:
        with Drive(source(s), env={'DEBUG': '1'}, log=log) as d:
            made(d)
            with open('/proc/%d/environ' % d.proc.pid) as f:
                assert 'right-key' not in f.read()
        with Drive(source(s), key='wrong-key', env={'DEBUG': '1'},
                   log=log) as d:
            d.ask('list')
        log.seek(0)
        text = log.read()
        assert 'http' in text and '-key' not in text, text


def case_slow_start():
    with Standin('slow-start') as s, Drive(source(s)) as d:
        box = made(d)
        assert box['state'] == 'running'
        good(d.ask('exec', box['id'], 'true'))


def case_too_busy_to_start_for_a_moment():
    """a command that was refused has not begun"""
    with Standin('busy') as s, Drive(source(s)) as d:
        box = made(d)
        r = good(d.ask('exec', box['id'], 'echo on'))
        assert 'on' in str(r), r
        assert s.counts()['start'] == 3


def case_start_in_vain_leaves_nothing():
    with Standin('never-runs') as s, Drive(source(s)) as d:
        d.proc.stdin.write('timeout 2000\n')
        bad(d.ask('create', '{}'), ETIMEDOUT, 'in time')
        # the DELETE went out before this one
        wait_until(lambda: s.counts()['delete'] == 1)


def case_lost_answer_creates_once():
    with Standin('lose-create') as s, Drive(source(s)) as d:
        box = made(d, '{"name":"one"}')
        assert box['name'] == 'one'
        assert len(good(d.ask('list'))['list']) == 1
        assert s.counts()['create'] == 1


def case_flaky_gets_are_repeated():
    with Standin('flaky') as s, Drive(source(s)) as d:
        for _ in range(4):
            good(d.ask('list'))


def case_one_404_is_no_proof():
    with Standin('flaky-404') as s, Drive(source(s)) as d:
        box = made(d)['id']
        for _ in range(3):
            good(d.ask('get', box))


def case_another_replica_may_know_it():
    """a connection that is kept leads to the same one each time"""
    with Standin('replicas') as s, Drive(source(s)) as d:
        good(d.ask('list'))
        box = made(d)['id']
        for _ in range(3):
            good(d.ask('get', box))
        bad(d.ask('get', 'gone-1'), ENOENT)


def case_keepalive_goes_by_the_clock_of_the_service():
    for trait in ('behind', 'ahead'):
        with Standin(trait) as s, Drive(source(s)) as d:
            box = made(d, '{"timeout":600}')
            kept = good(d.ask('keepalive', box['id']))['list'][0]
            assert s.counts()['keep'] == 1, trait
            assert kept['expires_ms'] > box['expires_ms'] + 2000e3
            # and is not sent where it would make life shorter
            box = made(d, '{"timeout":7200}')
            good(d.ask('keepalive', box['id']))
            assert s.counts()['keep'] == 1, trait


def case_what_comes_while_a_connection_closes():
    with Standin('deaf-file') as s, Drive(source(s)) as d:
        box = made(d)['id']
        d.proc.stdin.write('timeout 300\n')
        bad(d.ask('file', box, 'pipe'), ETIMEDOUT)
        d.proc.stdin.write('timeout 10000\n')
        assert good(d.ask('files', box, '.'))['files'] == []


def case_rate_limit():
    with Standin('limit') as s, Drive(source(s)) as d:
        d.proc.stdin.write('timeout 60000\n')
        good(d.ask('list'))
        start = time.time()
        good(d.ask('list'))
        assert time.time() - start >= 1
        assert s.counts()['apikey'] == 2


def case_rate_limit_longer_than_the_timeout():
    with Standin('limit') as s, Drive(source(s)) as d:
        good(d.ask('list'))
        d.proc.stdin.write('timeout 1000\n')
        r = bad(d.ask('list'), EAGAIN, '429')
        assert r['retry'] == LATER


def case_no_ready():
    with Standin('no-ready') as s, Drive(source(s)) as d:
        box = made(d)['id']
        r = bad(d.ask('exec', box, 'true'), ETIMEDOUT)
        assert r['retry'] == CONNECTION and not r['opened'], r


def case_dead_sidecar():
    with Standin('dead-sidecar') as s, Drive(source(s)) as d:
        r = bad(d.ask('exec', made(d)['id'], 'true'), EIO, 'broken')
        assert r['retry'] == LATER, r


def case_not_an_xgen_server():
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
        d.proc.stdin.write('timeout 700\n')
        start = time.time()
        bad(d.ask('list'), ETIMEDOUT, 'in time')
        bad(d.ask('create', '{}'), ETIMEDOUT)
        assert time.time() - start < 30


def case_silent_and_closed():
    with Standin('silent') as s, Drive(source(s)) as d:
        bad(d.ask('quick'), ECANCELED)


def case_refused():
    with Drive('xgen+http://127.0.0.1:1') as d:
        r = bad(d.ask('list'), ETIMEDOUT, 'cannot connect', 'port')
        assert r['retry'] == CONNECTION


def case_no_such_host():
    with Drive('xgen+http://no-such-host.invalid:8080') as d:
        bad(d.ask('list'), ETIMEDOUT, 'no such host')


def case_tls():
    with tempfile.TemporaryDirectory() as folder:
        cert = folder + '/cert.pem'
        subprocess.run(['openssl', 'req', '-x509', '-newkey', 'rsa:2048',
                        '-nodes', '-days', '2', '-subj', '/CN=localhost',
                        '-addext', 'subjectAltName=DNS:localhost',
                        '-keyout', cert, '-out', folder + '/c'],
                       check=True, capture_output=True)
        with open(cert, 'a') as f:
            f.write(open(folder + '/c').read())
        os.environ['STANDIN_CERT'] = cert
        with Standin('tls') as s:
            trust = {'SSL_CERT_FILE': folder + '/c'}
            name = 'xgen+https://localhost:%d' % s.port
            with Drive(name, env=trust) as d:
                box = made(d)['id']
                r = good(d.ask('echo', box, 4 << 20))
                assert r['got'] == 4 << 20, r
                r = good(d.ask('pour', box, 4 << 20))
                assert r['got'] == 4 << 20 and r['right'], r
            # not trusted; another name; no TLS where some is expected
            with Drive(name) as d:
                bad(d.ask('list'), EPROTO, 'certificate')
            with Drive('xgen+https://127.0.0.1:%d' % s.port, env=trust) as d:
                bad(d.ask('list'), EPROTO, 'TLS')
        with Standin() as s:
            with Drive('xgen+https://127.0.0.1:%d' % s.port) as d:
                bad(d.ask('list'), EPROTO, 'TLS')


def case_ids_from_a_stranger():
    with Standin('bad-sandbox') as s, Drive(source(s)) as d:
        bad(d.ask('create', '{}'), EPROTO)
        assert good(d.ask('list'))['list'] == []


main(globals())
