"""The files API of the daemon of ComputeSDK's stand-in."""
import os
import posixpath
import shutil
import stat

from aiohttp import web

from computesdk_wire import (Answer, Refusal, field, go_text, name_text,
                             query, stamp, unquote, words)


def go_mode(mode):
    """Like that of ls, and yet not"""
    device = stat.S_ISCHR(mode) or stat.S_ISBLK(mode)
    letters = ((stat.S_ISDIR(mode), 'd'), (stat.S_ISLNK(mode), 'L'),
               (device, 'D'), (stat.S_ISFIFO(mode), 'p'),
               (stat.S_ISSOCK(mode), 'S'), (mode & stat.S_ISUID, 'u'),
               (mode & stat.S_ISGID, 'g'), (stat.S_ISCHR(mode), 'c'),
               (mode & stat.S_ISVTX, 't'))
    text = ''.join(c for there, c in letters if there)
    bits = ''.join(c if mode >> 8 - i & 1 else '-'
                   for i, c in enumerate('rwxrwxrwx'))
    return (text or '-') + bits


def resolve(call, path):
    """Relative to the sandbox's folder; as G1 has it, never outside it."""
    top = call.space.directory
    if call.daemon.gen == 1:
        path = posixpath.normpath(path.removeprefix('/'))
        # of names that only begin with two dots, too
        if path.startswith('..'):
            raise Refusal(400, 'path outside base directory: ' + path)
        path = path.lstrip('/')
    elif call.daemon.has('absolute-as-relative'):
        path = path.lstrip('/')
    full = posixpath.normpath(posixpath.join(top, path))
    return '/' + full.lstrip('/')


def info(call, full, st):
    name, modified = name_text(posixpath.basename(full)), stamp(
        st.st_mtime_ns / 1e9, call.daemon.traits)
    if call.daemon.gen != 1:
        return {'name': name or '/', 'path': name_text(full),
                'size': st.st_size, 'is_dir': stat.S_ISDIR(st.st_mode),
                'modified_at': modified}
    path = '/' + posixpath.relpath(full, call.space.directory)
    return {'ID': name_text(path), 'Name': name, 'Path': name_text(path),
            'IsDir': stat.S_ISDIR(st.st_mode), 'Size': st.st_size,
            'Mode': go_mode(st.st_mode), 'ModTime': modified,
            'MimeType': '' if stat.S_ISDIR(st.st_mode) else 'text/plain'}


def list_folder(call, full):
    out = []
    try:
        names = sorted(os.listdir(full))
    except OSError as e:
        raise Refusal(400, words(e))
    for name in names:
        path = posixpath.join(full, name)
        try:
            out.append(info(call, path, os.lstat(path)))
        except FileNotFoundError:
            continue
    return out


async def files_list(call):
    path = query(call.request, 'path') or '/'
    full = resolve(call, path)
    return Answer({'files': await call.aside(list_folder, call, full),
                   'path': name_text(path)})


def read_whole(full):
    with open(full, 'rb') as f:
        return f.read()


async def file_get(call, path):
    full = resolve(call, unquote(path))
    wants_content = query(call.request, 'content') == 'true'
    lenient = call.daemon.gen == 1 or call.daemon.has('all-400')
    try:
        st = os.stat(full)
    except OSError as e:
        missing = isinstance(e, FileNotFoundError) and not (
            wants_content and lenient)
        raise Refusal(404 if missing else 400, words(e, 'stat'))
    data = {'file': info(call, full, st)}
    if wants_content:
        if stat.S_ISDIR(st.st_mode):
            raise Refusal(400, 'cannot read directory: ' + full)
        raw = await call.aside(read_whole, full)
        data['content'] = raw.decode('utf-8', 'replace') if \
            call.daemon.has('few-signs') else go_text(raw)
        if not data['content'] and call.daemon.has('no-empty-content'):
            del data['content']
    return Answer(data)


async def file_head(call, path):
    return web.Response(
        status=200 if os.path.exists(resolve(call, unquote(path))) else 404)


def store(full, text):
    os.makedirs(os.path.dirname(full), 0o755, exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    with os.fdopen(os.open(full, flags, 0o644), 'wb') as f:
        f.write(text.encode())


async def write(call, path, text):
    full = resolve(call, path)
    await call.aside(store, full, text)
    return info(call, full, os.stat(full))


async def files_write(call):
    body = await call.body()
    path, text = field(body, 'path', str, True), field(body, 'content', str)
    return Answer({'file': await write(call, path, text or '')}, 201)


async def file_put(call, path):
    path = unquote(path)
    text = field(await call.body(), 'content', str, True)
    there = os.path.exists(resolve(call, path))
    if not there or call.daemon.has('put-404'):
        raise Refusal(400 if not there else 404, 'open %s: no such file or directory' % path)
    return Answer({'file': await write(call, path, text)})


def remove(full):
    if os.path.isdir(full) and not os.path.islink(full):
        shutil.rmtree(full)
    else:
        os.unlink(full)


async def delete(call, path):
    full = resolve(call, path)
    there = os.path.lexists(full)
    if not there and call.daemon.gen != 1 and \
            not call.daemon.has('delete-nothing'):
        raise Refusal(400 if call.daemon.has('all-400') else 404,
                      'remove %s: no such file or directory' % full)
    if there:
        await call.aside(remove, full)


async def file_delete(call, path):
    await delete(call, unquote(path))
    return web.Response(status=204)


def batch_items(body):
    """The last one of each path, in the order of their paths"""
    last = {}
    for item in field(body, 'files', list) or []:
        if not isinstance(item, dict):
            raise Refusal(400, 'json: cannot unmarshal into []FileOperation')
        last[field(item, 'path', str, True)] = item
    return sorted(last.items())


async def files_batch(call):
    results = []
    async with call.daemon.batch_lock:
        for path, item in batch_items(await call.body()):
            r = {'path': path, 'success': True}
            try:
                if item.get('operation') == 'write':
                    r['file'] = await write(call, path, field(
                        item, 'content', str) or '')
                elif item.get('operation') == 'delete':
                    await delete(call, path)
                else:
                    raise Refusal(400, 'invalid operation')
            except (Refusal, OSError) as e:
                r.update(success=False, error=words(e) if isinstance(
                    e, OSError) else str(e))
            results.append(r)
    good = all(r['success'] for r in results)
    return Answer({'results': results}, 200 if good else 207)
