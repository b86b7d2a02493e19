#!/usr/bin/python3
"""A service's own SDK against its stand-in: a client that is none of ours
finds in it what it knows of the real one.

usage: sdk.py SERVICE

Needs node and, where its require() finds them (NODE_PATH), the SDK's
packages; is skipped without.
"""
import os
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
# packages; what the stand-in is asked to be; what SERVICE_sdk.cjs says
SDKS = {
    'opensandbox': (['@alibaba-group/opensandbox'], [],
                    'created ran files managed resumed killed'),
    # it reads one of the shapes of tokens
    'computesdk': (['computesdk', 'ws'], ['flat-tokens', 'camel-tokens'],
                   'created ran files terminal events services destroyed'),
}


def skip(why):
    print('skipped: ' + why)
    sys.exit(77)


def main(service):
    packages, traits, steps = SDKS[service]
    if not shutil.which('node'):
        skip('node is not installed')
    for package in packages:
        if subprocess.run(['node', '-e', 'require("%s")' % package],
                          capture_output=True, timeout=60).returncode:
            skip('node finds no ' + package)
    with tempfile.TemporaryDirectory() as folder:
        standin = subprocess.Popen(
            ['/usr/bin/python3',
             os.path.join(HERE, '../services', service + '.py'),
             '--dir', folder, *traits], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True)
        try:
            word, port = standin.stdout.readline().split()
            assert word == 'ready', word
            run = subprocess.run(
                ['node', os.path.join(HERE, service + '_sdk.cjs'),
                 '127.0.0.1:' + port], stdout=subprocess.PIPE, text=True,
                timeout=120)
        finally:
            standin.stdin.close()
            standin.wait(60)
            standin.stdout.close()
    print(run.stdout, end='')
    sys.exit(run.returncode or run.stdout.split() != steps.split())


main(sys.argv[1])
