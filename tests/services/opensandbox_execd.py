#!/usr/bin/python3
"""A stand-in for OpenSandbox's execd: one in each sandbox.

usage: opensandbox_execd.py [--level N] [--jupyter]

Started by opensandbox.py inside the sandbox, where it listens on a port of
its own on 127.0.0.1.  --level 19 is execd 1.0.19.  Lines of JSON on stdout:
first {"ready": PORT}, then what it was asked.  Faults come as words on stdin;
it ends with that.  It is as awkward as the real one: paths in which $ is
expanded, modes that are octal numbers written in decimal, success for what
was not done, and so on.  Shares no code with the client.
"""
import argparse
import asyncio
import datetime
import fnmatch
import grp
import json
import os
import pwd
import re
import shutil
import stat
import sys
import time
import urllib.parse

from aiohttp import web

import proxy as proxying
import opensandbox_pty as ptys
import opensandbox_run as running


class Refusal(Exception):
    def __init__(self, status, code, message):
        super().__init__(message)
        self.response = fail(status, code, message)


# ---- answers ----

def to_json(value):
    """As Go writes it: HTML made harmless, bytes that are no text lost."""
    text = json.dumps(value, ensure_ascii=False, separators=(',', ':'))
    text = re.sub('[\ud800-\udfff]', '\ufffd', text)
    for c in '<>&':
        text = text.replace(c, '\\u%04x' % ord(c))
    return text


def answer(value, status=200):
    return web.Response(status=status, body=to_json(value).encode(),
                        content_type='application/json')


def fail(status, code, message):
    return answer({'code': code, 'message': message}, status)


def words(e, path):
    return 'error %s: %s' % (path, os.strerror(e.errno).lower())


async def body_of(request):
    """The first JSON value, whatever the content type; {} for nothing."""
    text = (await request.read()).decode(errors='replace').lstrip()
    if not text:
        return {}
    try:
        value, _ = json.JSONDecoder().raw_decode(text)
    except ValueError as e:
        raise Refusal(400, 'INVALID_REQUEST_BODY', str(e))
    return value


def stamp(seconds):
    t = datetime.datetime.fromtimestamp(int(seconds), datetime.timezone.utc)
    return '%s.%09dZ' % (t.strftime('%Y-%m-%dT%H:%M:%S'),
                         int((seconds % 1) * 1e9))


def queries(request, name):
    """Values of a query parameter, as bytes made names."""
    out = []
    for pair in request.raw_path.partition('?')[2].split('&'):
        key, _, value = pair.partition('=')
        if key == name:
            out.append(os.fsdecode(urllib.parse.unquote_to_bytes(
                value.replace('+', ' '))))
    return out


# ---- paths and modes ----

def expand(path):
    """~ and $NAME, the way of os.Expand: $1, $$ and such become nothing."""
    if path == '~' or path.startswith('~/'):
        path = os.environ.get('HOME', '/') + path[1:]

    def value(m):
        name = m[1] or m[2]
        if name is None:
            return ''
        if not name[0].isalpha() and name[0] != '_':
            return ''
        if name not in os.environ:
            raise Refusal(500, 'RUNTIME_ERROR', 'undefined environment '
                          'variables: ' + name)
        return os.environ[name]
    return re.sub(r'\$(?:(\w+)|\{(\w*)\}|[*#$@!?-]|\{)', value, path)


def resolve(app, path):
    if app['level'] >= 12:
        path = expand(path)
    return os.path.normpath(os.path.join(os.getcwd(), path))


def mode_of(value):
    """644 is 0644; 0 is none; 789 is no mode; only nine bits count."""
    if value is None or value == 0:
        return None
    if not isinstance(value, int):
        raise Refusal(400, 'INVALID_REQUEST_BODY', 'mode must be a number')
    try:
        return int(str(value), 8) & 0o777
    except ValueError:
        raise Refusal(500, 'RUNTIME_ERROR', 'invalid mode %d' % value)


def permit(path, p):
    mode = mode_of(p.get('mode'))
    if mode is not None:
        os.chmod(path, mode)
    for key, find, put in (
            ('owner', lambda n: pwd.getpwnam(n).pw_uid,
             lambda n: os.chown(path, n, -1)),
            ('group', lambda n: grp.getgrnam(n).gr_gid,
             lambda n: os.chown(path, -1, n))):
        if p.get(key):
            try:
                number = find(p[key])
            except KeyError:
                raise Refusal(500, 'RUNTIME_ERROR', 'unknown %s %s' % (
                    'user' if key == 'owner' else key, p[key]))
            put(number)


def name_of(find, number, strict):
    try:
        return find(number)[0]
    except KeyError:
        if strict:
            raise Refusal(500, 'RUNTIME_ERROR', 'unknown userid %d' % number)
        return str(number)


def info(app, path, strict=False):
    st = (os.lstat if app['level'] >= 19 else os.stat)(path)
    out = {'path': path, 'size': st.st_size,
           'modified_at': stamp(st.st_mtime_ns / 1e9),
           'created_at': stamp(st.st_ctime_ns / 1e9),
           'owner': name_of(pwd.getpwuid, st.st_uid, strict),
           'group': name_of(grp.getgrgid, st.st_gid, strict),
           'mode': int('%o' % (st.st_mode & 0o777))}
    if app['level'] >= 19:
        out['type'] = ('directory' if stat.S_ISDIR(st.st_mode) else
                       'symlink' if stat.S_ISLNK(st.st_mode) else
                       'file' if stat.S_ISREG(st.st_mode) else 'other')
    return out


# ---- files ----

async def files_info(request):
    app, out = request.app, {}
    for path in queries(request, 'path'):
        try:
            out[path] = info(app, resolve(app, path))
        except FileNotFoundError as e:
            if app['level'] >= 19:
                return fail(404, 'FILE_NOT_FOUND', words(e, path))
            raise
    return answer(out)


async def directories_list(request):
    app = request.app
    if app['level'] < 19:
        return not_routed()
    top = resolve(app, (queries(request, 'path') or ['.'])[0])
    depth = int(request.query.get('depth') or 1)
    if not os.path.lexists(top):
        return fail(404, 'FILE_NOT_FOUND', 'no such file or directory')
    if os.path.islink(top):
        return fail(400, 'INVALID_FILE', 'path is a symbolic link')
    if not os.path.isdir(top) or depth < 0:
        return fail(400, 'INVALID_FILE', 'not a directory')
    out = []

    def walk(folder, left):
        for name in sorted(os.listdir(folder)) if left else ():
            path = os.path.join(folder, name)
            out.append(info(app, path))
            if out[-1]['type'] == 'directory':
                walk(path, left - 1)
    walk(top, depth)
    return answer(out)


async def files_search(request):
    app, out = request.app, []
    top = resolve(app, (queries(request, 'path') or ['.'])[0])
    glob = request.query.get('pattern') or '*'
    if not os.path.exists(top):
        return fail(404, 'FILE_NOT_FOUND', 'no such file or directory')

    def unreadable(e):
        raise e
    for folder, _, files in os.walk(top, onerror=unreadable):
        for name in sorted(files):
            if fnmatch.fnmatchcase(name, glob.replace('**', '*')):
                out.append(info(app, os.path.join(folder, name),
                                app['level'] < 19))
    return answer(out)


async def files_download(request):
    app = request.app
    path = resolve(app, (queries(request, 'path') or [''])[0])
    size = os.stat(path).st_size
    wanted = request.headers.get('Range')
    headers = {'Content-Type': 'application/octet-stream',
               'Accept-Ranges': 'bytes', 'Content-Disposition': 'attachment'}
    if os.path.isdir(path):
        # a size is announced, then the connection closes
        r = web.StreamResponse(headers={**headers, 'Content-Length': '4096'})
        await r.prepare(request)
        request.transport.close()
        return r
    if not wanted:
        with open(path, 'rb') as f:
            return web.Response(body=f.read(), headers=headers)
    m = re.match(r'bytes=(\d*)-(\d*)', wanted)
    start = int(m[1]) if m[1] else max(size - int(m[2]), 0)
    end = min(int(m[2]) if m[1] and m[2] else size - 1, size - 1)
    if start >= size:
        return web.Response(status=416, headers={
            'Content-Range': 'bytes */%d' % size})
    with open(path, 'rb') as f:
        f.seek(start)
        return web.Response(status=206, body=f.read(end - start + 1), headers={
            **headers, 'Content-Range': 'bytes %d-%d/%d' % (start, end, size)})


def store(path, data, meta):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    with os.fdopen(os.open(path, flags, 0o777), 'wb') as f:
        f.write(data)
        f.flush()
        if stat.S_ISREG(os.fstat(f.fileno()).st_mode):
            os.fsync(f.fileno())
    permit(path, meta)


async def files_upload(request):
    app, metas, datas = request.app, [], []
    async for part in await request.multipart():
        # without a filename it is not seen at all
        if part.filename and part.name == 'metadata':
            metas.append(json.loads(await part.text()))
        elif part.filename and part.name == 'file':
            datas.append(bytes(await part.read()))
    if not metas:
        return fail(400, 'INVALID_FILE_METADATA', 'metadata file is missing')
    if len(metas) != len(datas):
        return fail(400, 'INVALID_FILE', 'metadata and file counts differ')
    for meta, data in zip(metas, datas):
        path = resolve(app, meta['path'])
        await asyncio.get_event_loop().run_in_executor(
            None, store, path, data, meta)
    return web.Response()


async def files_delete(request):
    for path in queries(request, 'path'):
        path = resolve(request.app, path)
        if not os.path.exists(path):
            continue  # also of a dangling link, which stays
        if os.path.isdir(path):
            return fail(500, 'RUNTIME_ERROR', 'path is a directory: ' + path)
        os.unlink(path)
    return web.Response()


async def directories_delete(request):
    for path in queries(request, 'path'):
        path = resolve(request.app, path)
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        elif os.path.lexists(path):
            os.unlink(path)
    return web.Response()


async def directories_make(request):
    for path, p in (await body_of(request)).items():
        path = resolve(request.app, path)
        made = not os.path.isdir(path)
        try:
            os.makedirs(path, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            return fail(500, 'RUNTIME_ERROR', 'mkdir %s: not a directory'
                        % path)
        if made:
            permit(path, p or {})
    return web.Response()


async def files_mv(request):
    for pair in await body_of(request):
        src, dest = (resolve(request.app, pair[k]) for k in ('src', 'dest'))
        if not os.path.exists(src):
            return fail(404, 'FILE_NOT_FOUND', 'file not found: ' + src)
        if os.path.exists(dest):
            return fail(500, 'RUNTIME_ERROR',
                        'destination path already exists: ' + dest)
        os.makedirs(os.path.dirname(dest), 0o755, exist_ok=True)
        os.rename(src, dest)
    return web.Response()


async def files_permissions(request):
    for path, p in (await body_of(request)).items():
        permit(resolve(request.app, path), p or {})
    return web.Response()


async def files_replace(request):
    counts = {}
    for path, r in (await body_of(request)).items():
        full = resolve(request.app, path)
        if not r.get('old'):
            return fail(400, 'INVALID_REQUEST_BODY', 'old is empty')
        with open(full, 'r+', errors='surrogateescape') as f:
            text = f.read()
            counts[path] = {'replacedCount': text.count(r['old'])}
            f.seek(0)
            f.truncate()
            f.write(text.replace(r['old'], r.get('new', '')))
    if request.query.get('verbose') == 'true' and request.app['level'] >= 19:
        return answer(counts)
    return web.Response()


# ---- metrics ----

def busy_times():
    with open('/proc/stat') as f:
        n = [int(w) for w in f.readline().split()[1:]]
    return sum(n), sum(n) - n[3] - n[4]


async def sample(pause):
    before = busy_times()
    await asyncio.sleep(pause)
    after = busy_times()
    total = max(after[0] - before[0], 1)
    with open('/proc/meminfo') as f:
        mem = {l.split(':')[0]: int(l.split()[1]) for l in f}
    return {'cpu_count': os.cpu_count(),
            'cpu_used_pct': round(100 * (after[1] - before[1]) / total, 2),
            'mem_total_mib': round(mem['MemTotal'] / 1024, 2),
            'mem_used_mib': round((mem['MemTotal'] - mem['MemAvailable'])
                                  / 1024, 2),
            'timestamp': running.now_ms()}


async def metrics(request):
    return answer(await sample(1))


async def metrics_watch(request):
    r = web.StreamResponse(headers={'Content-Type': 'text/event-stream'})
    await r.prepare(request)
    request.app['sockets'].add(r)
    try:
        while True:
            await r.write(to_json(await sample(2)).encode() + b'\n')
    except ConnectionError:
        return r
    finally:
        request.app['sockets'].discard(r)
        request.app['journal'](watch='end')


# ---- routes ----

async def ping(request):
    return web.Response()


def not_routed():
    return web.Response(status=404, text='404 page not found')


ROUTES = {
    'GET /ping': ping,
    'GET /files/info': files_info, 'DELETE /files': files_delete,
    'GET /files/search': files_search, 'GET /files/download': files_download,
    'POST /files/upload': files_upload, 'POST /files/mv': files_mv,
    'POST /files/permissions': files_permissions,
    'POST /files/replace': files_replace,
    'POST /directories': directories_make,
    'DELETE /directories': directories_delete,
    'GET /directories/list': directories_list,
    'POST /command': running.command,
    'DELETE /command': running.command_interrupt,
    'POST /code': running.code, 'DELETE /code': running.code_interrupt,
    'POST /code/context': running.context_create,
    'GET /code/contexts': running.contexts,
    'DELETE /code/contexts': running.contexts,
    'POST /session': running.session_create,
    'GET /metrics': metrics, 'GET /metrics/watch': metrics_watch,
}
PATTERNS = (
    ('GET', '/command/status/([^/]+)', running.command_status),
    ('GET', '/command/([^/]+)/logs', running.command_logs),
    ('POST', '/session/([^/]+)/run', running.session_run),
    ('DELETE', '/session/([^/]+)', running.session_delete),
    ('GET', '/code/contexts/([^/]+)', running.context_one),
    ('DELETE', '/code/contexts/([^/]+)', running.context_one),
    ('GET', '/pty/([^/]+)/ws', ptys.pty_socket),
    ('GET', '/pty/([^/]+)', ptys.pty_one),
    ('DELETE', '/pty/([^/]+)', ptys.pty_one),
)


async def route(request):
    path, level = request.path, request.app['level']
    if path.startswith('/proxy/'):
        m = re.match(r'/proxy/(\d+)(/.*)?$', path)
        if not m:
            return fail(400, 'INVALID_REQUEST_BODY', 'no port')
        rest = request.raw_path.partition('/proxy/' + m[1])[2]
        return await proxying.forward(
            request, 'http://127.0.0.1:%d%s' % (
                request.app['own']['port'] if m[1] == '44772' else int(m[1]),
                rest or '/'))
    if len(path) > 1 and path.endswith('/'):
        return web.Response(status=301, headers={'Location': path[:-1]})
    if path == '/pty':
        if request.method != 'POST' or level < 10:
            return not_routed()
        return await ptys.pty_create(request)
    found = ROUTES.get('%s %s' % (request.method, path))
    if found:
        return await found(request)
    for method, pattern, found in PATTERNS:
        m = re.fullmatch(pattern, path)
        if m and method == request.method:
            return await found(request, m[1])
    return not_routed()


@web.middleware
async def gate(request, handler):
    app, faults = request.app, request.app['faults']
    note = {'method': request.method, 'path': request.path,
            'query': request.query_string}
    if request.method in ('POST', 'PATCH') and \
            request.content_type != 'multipart/form-data' and \
            not request.path.startswith('/proxy/'):
        note['body'] = (await request.read()).decode(errors='replace')[:4096]
    app['journal'](**note)
    token = os.environ.get('EXECD_ACCESS_TOKEN')
    if token and request.headers.get('X-EXECD-ACCESS-TOKEN') != token:
        return answer({'error': 'Unauthorized: invalid or missing header '
                                'X-EXECD-ACCESS-TOKEN'}, 401)
    if faults.get('unwell', 0) > 0:
        faults['unwell'] -= 1
        return web.Response(status=502, text='Bad Gateway')
    if faults.get('abort', 0) > 0:
        faults['abort'] -= 1
        request.transport.abort()
    try:
        return await route(request)
    except Refusal as e:
        return e.response
    except OSError as e:
        return fail(500, 'RUNTIME_ERROR', words(e, e.filename))


# ---- the process ----

def on_word(app, line):
    """A fault to come, as one line: WORD [NUMBER]"""
    word, _, count = line.strip().partition(' ')
    if word == 'cut':  # all WebSockets and streams, without a word
        for ws in list(app['sockets']):
            ws._req.transport.abort()
    elif word:
        app['faults'][word] = int(count or 1)


async def listen_to_words(app):
    reader = asyncio.StreamReader()
    await asyncio.get_event_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while True:
        line = await reader.readline()
        if not line:
            os._exit(0)
        on_word(app, line.decode())


def tell(**what):
    try:
        sys.stdout.write(json.dumps(what) + '\n')
        sys.stdout.flush()
    except OSError:
        pass


async def main():
    p = argparse.ArgumentParser()
    p.add_argument('--level', type=int, default=19)
    p.add_argument('--jupyter', action='store_true')
    args = p.parse_args()
    app = web.Application(middlewares=[gate], client_max_size=1 << 40)
    app.update(level=args.level, jupyter=args.jupyter, commands={},
               sessions={}, contexts={}, ptys={}, sockets=set(), faults={}, own={},
               json=to_json, answer=answer, fail=fail, body=body_of,
               stamp=stamp, words=words, journal=tell)
    app.cleanup_ctx.append(proxying.client)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, '127.0.0.1', 0)
    await site.start()
    app['own']['port'] = runner.addresses[0][1]
    tell(ready=app['own']['port'])
    await listen_to_words(app)


if __name__ == '__main__':
    time.tzset()
    asyncio.run(main())
