"""For tests of a service: its stand-in, and the program service_drive.

usage of a test: TEST.py DRIVE [CASE ...]     DRIVE: the program service_drive
"""
import json
import os
import signal
import subprocess
import sys
import tempfile
import time

DRIVE = sys.argv[1]
EACCES, EAGAIN, EINVAL, ENOENT, EPROTO, ETIMEDOUT, E2BIG, EIO, ECANCELED = (
    -13, -11, -22, -2, -71, -110, -7, -5, -125)
EOPNOTSUPP, EEXIST, EBUSY = -95, -17, -16
LATER, CONNECTION, RESUME = 1, 2, 4

# nohup(1), and a shell for what runs in its background, ignore these, and so
# would what runs in the sandboxes, which has to end with its terminal
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)


class Standin:
    program = None

    def __init__(self, *traits):
        self.proc = subprocess.Popen(
            ['/usr/bin/python3', self.program, *traits],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True)
        self.port = int(self.proc.stdout.readline().split()[1])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.proc.stdin.close()
        self.proc.wait(60)

    def ask(self, path, body=None):
        more = ['-d', body] if body is not None else []
        out = subprocess.run(['curl', '-s', *more, 'http://127.0.0.1:%d%s'
                              % (self.port, path)], capture_output=True)
        return json.loads(out.stdout)


class FolderStandin(Standin):
    """One that keeps its sandboxes in a folder and is asked of itself below
    /_standin."""

    def __init__(self, *traits):
        self.temporary = tempfile.TemporaryDirectory()
        self.folder = self.temporary.name
        super().__init__('--dir', self.folder, *traits)

    def __exit__(self, *what):
        super().__exit__(*what)
        self.temporary.cleanup()

    def counts(self):
        return self.ask('/_standin/counts')

    def journal(self):
        return self.ask('/_standin/journal')

    def fault(self, text):
        self.ask('/_standin/fault', text)


class Drive:
    def __init__(self, source, env, log=None):
        base = {k: v for k, v in os.environ.items()
                if not k.endswith(('_API_KEY', '_TOKEN'))}
        base.update(env)
        self.proc = subprocess.Popen(
            [DRIVE, source], env=base, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=log, text=True, bufsize=1)

    def tell(self, *words):
        self.proc.stdin.write(' '.join(map(str, words)) + '\n')
        self.proc.stdin.flush()

    def ask(self, *words):
        self.tell(*words)
        return self.answer()

    def answer(self):
        line = self.proc.stdout.readline()
        assert line, 'no answer, exit status %s' % self.proc.wait(60)
        return json.loads(line)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.proc.stdin.close()
        status = self.proc.wait(60)
        if not kind:
            assert status == 0, 'exit status %d' % status


def good(r):
    assert r['err'] == 0, r
    return r


def bad(r, err, *words):
    assert r['err'] == err, r
    assert r['text'] and '\n' not in r['text'], r
    for word in words:
        assert word in r['text'], (word, r)
    return r


def made(d, options='{}'):
    return good(d.ask('create', options))['list'][0]


def wait_until(what, seconds=60):
    end = time.time() + seconds
    while not what():
        assert time.time() < end, 'waited in vain'
        time.sleep(0.02)


def wait_until_none_sleeps(d, box):
    """What waited there by sleep(1) has been ended."""
    left = []

    def none_sleeps():
        left[:] = [good(d.ask('exec', box, 'ps -C sleep -o pid,ppid,pgid,sid,'
                              'stat,ignored,etimes,args --no-headers; true'))[
                                  'out']]
        return not left[0]
    try:
        wait_until(none_sleeps)
    except AssertionError:
        raise AssertionError('still there: %s' % left)


def main(names):
    cases = {k[5:]: v for k, v in names.items() if k.startswith('case_')}
    failed = 0
    for name in sys.argv[2:] or cases:
        start = time.time()
        try:
            cases[name]()
            print('ok   %-45s %.1f s' % (name, time.time() - start),
                  flush=True)
        except Exception as e:
            failed += 1
            print('FAIL %s: %s: %s' % (name, type(e).__name__, e), flush=True)
    sys.exit(1 if failed else 0)
