"""Faults of ComputeSDK's stand-in: what happens to the next requests.

A fault is {"kind": K, "n": N, "what": W, "seconds": S, "late": S}: it happens
to the next N (1) requests whose "METHOD /path" contains W (""), "late" (0)
seconds later.  Ks:
  a number     this status, with text; 429 has Retry-After
  html         200 with a page for people     error-html   502 with one
  empty        200 with nothing               redirect     302 to elsewhere
  garbage      200 with bytes that are no JSON
  deep         JSON of a million brackets     huge         100 MiB of spaces
  list         200 with [] where an object is expected
  nothing      200 with an object that has nothing in it
  slow         S (1) seconds later            hang         never
  stale        what was true S (1) seconds ago
  lost-before  the connection breaks          lost-after   it was done, too
  half         it was done, half the answer comes, the connection breaks
  trickle      it was done, the answer comes byte by byte
"""
import asyncio
import os

from aiohttp import web

PAGE = '<!DOCTYPE html><html><head><title>%s</title></head></html>'


class Faults:
    def __init__(self):
        self.waiting = []

    def add(self, fault):
        self.waiting.append({'n': 1, 'what': '', 'seconds': 1, 'late': 0,
                             **fault})

    def take(self, what):
        for f in self.waiting:
            if f['n'] > 0 and f['what'] in what:
                f['n'] -= 1
                return f
        return None


async def huge(request):
    response = web.StreamResponse(headers={'Content-Type':
                                           'application/json'})
    await response.prepare(request)
    try:
        for _ in range(100):
            await response.write(b'[' + b' ' * (1 << 20))
    except ConnectionError:
        pass  # who asked has had enough
    return response


async def before(fault, request):
    """What is answered instead of doing it, or None."""
    kind = str(fault['kind'])
    await asyncio.sleep(fault['late'])
    if kind.isdigit():
        headers = {'Retry-After': '1'} if kind == '429' else {}
        return web.Response(status=int(kind), headers=headers,
                            text='%s by request' % kind)
    if kind == 'slow':
        await asyncio.sleep(fault['seconds'])
    elif kind == 'hang':
        await asyncio.sleep(3600)
    elif kind == 'lost-before':
        request.transport.abort()
        return web.Response()
    elif kind == 'huge':
        return await huge(request)
    fixed = {
        'html': (200, 'text/html', (PAGE % 'Welcome').encode()),
        'error-html': (502, 'text/html', (PAGE % 'Bad gateway').encode()),
        'empty': (200, 'application/json', b''),
        'list': (200, 'application/json', b'[]'),
        'nothing': (200, 'application/json', b'{"success":true,"data":{}}'),
        'garbage': (200, 'application/json', b'{"data":' + os.urandom(4096)),
        'deep': (200, 'application/json', b'{"data":' + b'[' * 1000000),
        'redirect': (302, 'text/plain', b'')}
    if kind not in fixed:
        return None
    status, content_type, body = fixed[kind]
    headers = {'Location': 'http://127.0.0.1:1/steal'} if status == 302 else {}
    return web.Response(status=status, body=body, headers=headers,
                        content_type=content_type)


async def after(fault, request, response):
    """What becomes of the answer."""
    kind = fault['kind']
    if kind == 'stale':
        await asyncio.sleep(fault['seconds'])
    if kind == 'lost-after':
        request.transport.abort()
    if kind not in ('half', 'trickle') or not response.body:
        return response
    out = web.StreamResponse(status=response.status, headers={
        'Content-Type': response.headers['Content-Type'],
        'Content-Length': str(len(response.body))})
    await out.prepare(request)
    if kind == 'half':
        await out.write(response.body[:len(response.body) // 2])
        request.transport.close()
        return out
    try:
        for i in range(len(response.body)):
            await out.write(response.body[i:i + 1])
            await asyncio.sleep(0)
    except ConnectionError:
        pass
    return out
