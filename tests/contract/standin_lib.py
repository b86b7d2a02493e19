"""For tests of a stand-in, from outside."""
import asyncio
import json
import os
import subprocess
import sys

import aiohttp

SERVICES = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..',
                        'services')
BOUND = 30


class Standin:
    program = head = None

    def __init__(self, *traits):
        self.traits = traits

    async def __aenter__(self):
        self.proc = subprocess.Popen(
            ['/usr/bin/python3', os.path.join(SERVICES, self.program),
             *self.traits],
            text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.url = 'http://127.0.0.1:' + self.proc.stdout.readline().split()[1]
        self.http = aiohttp.ClientSession()
        return self

    async def __aexit__(self, *_):
        await self.http.close()
        self.proc.stdin.close()
        assert self.proc.wait(BOUND) == 0
        self.proc.stdout.close()

    async def ask(self, method, path, body=None, head=None):
        """(status, JSON)"""
        async with self.http.request(
                method, self.url + path, json=body,
                headers=self.head if head is None else head) as r:
            return r.status, json.loads(await r.text() or 'null')


async def run(names):
    """The cases of a module, or those of the command line"""
    cases = {k[5:]: v for k, v in names.items() if k.startswith('case_')}
    for name in sys.argv[1:] or cases:
        await asyncio.wait_for(cases[name](), 120)
        print('ok', name, flush=True)
