"""Env files of the daemon of ComputeSDK's stand-in."""
import os

from aiohttp import web

from computesdk_wire import Answer, Refusal, field, query, strings


def path_of(call):
    return os.path.join(call.space.directory,
                        query(call.request, 'file') or '.env')


def name_of(call):
    return query(call.request, 'file') or '.env'


def parse(path):
    out = {}
    with open(path, errors='replace') as f:
        for line in f:
            key, found, value = line.strip().partition('=')
            key = key.removeprefix('export ').strip()
            if not found or not key or key.startswith('#'):
                continue
            value = value.strip()
            if len(value) > 1 and value[0] == value[-1] and value[0] in '\'"':
                quote, value = value[0], value[1:-1]
                if quote == '"':
                    value = value.replace('\\n', '\n').replace('\\"', '"') \
                        .replace('\\\\', '\\')
            out[key] = value
    return out


def put(path, variables):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, 'w') as f:
        for key, value in sorted(variables.items()):
            if not value or any(c in value for c in ' #"\'\\\n$'):
                value = '"%s"' % value.replace('\\', '\\\\').replace(
                    '"', '\\"').replace('\n', '\\n')
            f.write('%s=%s\n' % (key, value))


def answer(call, **data):
    return Answer({'file': name_of(call), **data}, status='success')


async def get(call):
    if not os.path.isfile(path_of(call)):
        raise Refusal(404, 'env file not found')
    return answer(call, variables=parse(path_of(call)))


async def head(call):
    return web.Response(
        status=200 if os.path.isfile(path_of(call)) else 404)


async def merge(call):
    path, new = path_of(call), strings(await call.body(), 'variables')
    old = parse(path) if os.path.isfile(path) else {}
    put(path, {**old, **new})
    return answer(call, keys=sorted(new))


async def remove(call):
    """What a proxy made of the body may be nothing."""
    path = path_of(call)
    keys = [] if call.daemon.has('delete-loses-body') else \
        field(await call.body(), 'keys', list) or []
    if not os.path.isfile(path):
        raise Refusal(404, 'env file not found')
    variables = parse(path)
    removed = [k for k in keys if variables.pop(k, None) is not None]
    put(path, variables)
    return answer(call, keys=removed)
