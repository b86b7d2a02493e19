#!/usr/bin/python3
"""Service "local": the agent started, used, killed, and gone in the end.

usage: xgen_local.py DRIVE AGENT [CASE ...]
"""
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time

DRIVE, AGENT = sys.argv[1:3]
ETIMEDOUT, EIO, ENOENT, ENOTDIR = -110, -5, -2, -20
SLEEP = 'sleep 600.%d' % os.getpid()  # nobody else's


class Drive:
    def __init__(self, folder, agent=AGENT):
        env = dict(os.environ, SBXFS_AGENT=agent)
        self.folder = folder
        self.proc = subprocess.Popen(
            [DRIVE, 'local:' + folder], env=env, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True, bufsize=1)

    def tell(self, *words):
        self.proc.stdin.write(' '.join(map(str, words)) + '\n')
        self.proc.stdin.flush()

    def answer(self):
        line = self.proc.stdout.readline()
        assert line, 'no answer, exit status %s' % self.proc.wait(60)
        return json.loads(line)

    def ask(self, *words):
        self.tell(*words)
        return self.answer()

    def agents(self):
        """Process ids of the children, as /proc has them."""
        path = '/proc/%d/task/%d/children' % (self.proc.pid, self.proc.pid)
        with open(path) as f:
            return [int(p) for p in f.read().split()]

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        agents = [] if self.proc.poll() is not None else self.agents()
        self.proc.stdin.close()
        status = self.proc.wait(60)
        if not kind:
            assert status == 0, 'exit status %d' % status
            for pid in agents:
                assert not os.path.exists('/proc/%d' % pid), 'agent is left'


def good(r):
    assert r['err'] == 0, r
    return r


def wait_until(what, seconds=60):
    end = time.time() + seconds
    while not what():
        assert time.time() < end, 'waited in vain'
        time.sleep(0.02)


def stand_in(folder, script):
    path = folder + '/agent'
    with open(path, 'w') as f:
        f.write('#!/bin/sh\n' + script)
    os.chmod(path, stat.S_IRWXU)
    return path


def case_life_and_streams(folder):
    with Drive(folder + '/a/b') as d:
        assert good(d.ask('list'))['list'] == []
        box = good(d.ask('create', '{"name":"demo"}'))['list'][0]
        assert box['name'] == 'demo', box
        r = good(d.ask('exec', box['id'], 'echo out; echo err >&2; exit 7'))
        assert (r['out'], r['stderr'], r['exit']) == ('out\n', 'err\n', 7), r
        r = good(d.ask('echo', box['id'], 16 << 20))
        assert r['got'] == 16 << 20, r
        r = good(d.ask('pour', box['id'], 16 << 20))
        assert r['got'] == 16 << 20 and r['right'], r
        good(d.ask('keepalive', box['id']))
        good(d.ask('destroy', box['id']))
        assert d.ask('get', box['id'])['err'] == ENOENT
    assert stat.S_IMODE(os.stat(folder + '/a/b').st_mode) == 0o700


def case_sandboxes_outlive_the_agent(folder):
    with Drive(folder) as d:
        box = good(d.ask('create', '{"name":"kept"}'))['list'][0]['id']
    with Drive(folder) as d:
        boxes = good(d.ask('list'))['list']
        assert [b['id'] for b in boxes] == [box], boxes


def case_killed_agent_comes_back(folder):
    with Drive(folder) as d:
        good(d.ask('list'))
        before = d.agents()
        assert len(before) == 1
        os.kill(before[0], signal.SIGKILL)
        # made on a dead connection: it waits, and finds the new one
        good(d.ask('list'))
        after = d.agents()
        assert len(after) == 1 and after != before, (before, after)
        os.kill(after[0], signal.SIGKILL)
        good(d.ask('create', '{"name":"once"}'))
        assert len(good(d.ask('list'))['list']) == 1


def case_killed_in_the_middle_of_a_stream(folder):
    with Drive(folder) as d:
        box = good(d.ask('create', '{}'))['list'][0]['id']
        d.tell('exec', box, 'echo begun; exec %s' % SLEEP)
        wait_until(sleeping)
        os.kill(d.agents()[0], signal.SIGKILL)
        r = d.answer()
        assert r['err'] == ETIMEDOUT and r['retry'] == 2, r
        good(d.ask('list'))


def sleeping():
    return subprocess.run(['pgrep', '-fx', SLEEP],
                          capture_output=True).returncode == 0


def case_agent_that_cannot_start(folder):
    path = stand_in(folder, 'echo "no bubblewrap here" >&2; exit 3\n')
    with Drive(folder + '/x', path) as d:
        r = d.ask('list')
        assert r['err'] == EIO and 'no bubblewrap here' in r['text'], r


def case_agent_that_says_nothing(folder):
    path = stand_in(folder, 'exec sleep 100\n')
    with Drive(folder + '/x', path) as d:
        d.tell('timeout', 300)
        r = d.ask('list')
        assert r['err'] == ETIMEDOUT and 'not ready' in r['text'], r


def case_agent_that_talks_nonsense(folder):
    path = stand_in(folder, 'head -c 100000 /dev/zero >&3\n'
                            'head -c 100000 /dev/urandom >&2\n'
                            'echo "ready 99999" >&3; exec sleep 100\n')
    with Drive(folder + '/x', path) as d:
        d.tell('timeout', 500)
        assert d.ask('list')['err'] == ETIMEDOUT


def case_agent_that_does_not_want_to_end(folder):
    path = stand_in(folder, 'trap "" TERM\necho "ready 1" >&3\n'
                            'while :; do sleep 0.1; done\n')
    start = time.time()
    with Drive(folder + '/x', path) as d:
        d.tell('timeout', 500)
        assert d.ask('list')['err'] == ETIMEDOUT
    assert time.time() - start < 30


def case_no_agent(folder):
    with Drive(folder + '/x', '/nonexistent/agent') as d:
        r = d.answer()
        assert r['err'] == ENOENT and '/nonexistent/agent' in r['text'], r


def case_folder_that_cannot_be(folder):
    open(folder + '/file', 'w').close()
    with Drive(folder + '/file/x') as d:
        r = d.answer()
        assert r['err'] == ENOTDIR and '/file/x' in r['text'], r


def case_agent_ends_when_we_are_killed(folder):
    d = Drive(folder)
    good(d.ask('list'))
    pid = d.agents()[0]
    d.proc.kill()
    d.proc.wait()
    wait_until(lambda: not os.path.exists('/proc/%d' % pid) or
               open('/proc/%d/stat' % pid).read().split()[2] == 'Z')


def main():
    cases = {k[5:]: v for k, v in globals().items() if k.startswith('case_')}
    failed = 0
    for name in sys.argv[3:] or cases:
        start = time.time()
        folder = tempfile.mkdtemp(prefix='xgen-local-')
        try:
            cases[name](folder)
            print('ok   %-40s %.1f s' % (name, time.time() - start),
                  flush=True)
        except Exception as e:
            failed += 1
            print('FAIL %s: %s: %s' % (name, type(e).__name__, e), flush=True)
        shutil.rmtree(folder, ignore_errors=True)
    return 1 if failed else 0


sys.exit(main())
