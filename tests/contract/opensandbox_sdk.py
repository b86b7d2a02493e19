#!/usr/bin/python3
"""OpenSandbox's own SDK against its stand-in: a client that is none of ours
finds in it what it knows of the real one.

Needs node and, where its require() finds it (NODE_PATH), the package
@alibaba-group/opensandbox; is skipped without.
"""
import os
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
PACKAGE = '@alibaba-group/opensandbox'
STEPS = ['created', 'ran', 'files', 'managed', 'resumed', 'killed']


def skip(why):
    print('skipped: ' + why)
    sys.exit(77)


def main():
    if not shutil.which('node'):
        skip('node is not installed')
    if subprocess.run(['node', '-e', 'require("%s")' % PACKAGE],
                      capture_output=True, timeout=60).returncode:
        skip('node finds no ' + PACKAGE)
    with tempfile.TemporaryDirectory() as folder:
        standin = subprocess.Popen(
            ['/usr/bin/python3', os.path.join(HERE, '../services',
                                              'opensandbox.py'),
             '--dir', folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True)
        try:
            word, port = standin.stdout.readline().split()
            assert word == 'ready', word
            run = subprocess.run(
                ['node', os.path.join(HERE, 'opensandbox_sdk.cjs'),
                 '127.0.0.1:' + port], stdout=subprocess.PIPE, text=True,
                timeout=120)
        finally:
            standin.stdin.close()
            standin.wait(60)
            standin.stdout.close()
    print(run.stdout, end='')
    sys.exit(run.returncode or run.stdout.split() != STEPS)


main()
