"""The calls of the daemon of ComputeSDK's stand-in, by generation."""
import re
import time

from aiohttp import web

import computesdk_children as children
import computesdk_env as env
import computesdk_files as files
import computesdk_overlays as overlays
import computesdk_run as running
import computesdk_servers as servers
import computesdk_signals as signals
import computesdk_socket as sockets
import computesdk_terminals as terminals
import computesdk_tokens as tokens
import computesdk_watch as watching
from computesdk_wire import Answer, Refusal, not_routed, stamp


# ---- calls about the daemon itself ----

async def health(call):
    daemon = call.daemon
    data = {'status': 'ok'}
    if daemon.gen > 1:
        data['timestamp'] = stamp(time.time(), daemon.traits)
    return Answer(data, flat=True)


async def info(call):
    daemon = call.daemon
    return Answer({'auth_enabled': daemon.token is not None,
                   'main_subdomain': daemon.main().subdomain,
                   'sandbox_count': len(daemon.spaces),
                   'sandbox_url': daemon.url_of(call.space),
                   'version': '1.0.0' if daemon.gen == 2 else '2.0.0'})


async def ready(call):
    daemon = call.daemon
    started = [s.brief() for s in daemon.servers.values()]
    made = [o.brief() for o in daemon.overlays.values()]
    return Answer({
        'ready': all(s['port'] and s['status'] != 'failed' for s in started),
        'servers': started or None, 'overlays': made or None}, flat=True)


async def front(call):
    return web.Response(content_type='text/html',
                        text='<html><h1>Sandbox</h1></html>')


# generations, method, path, what does it; * needs no token, ! the access one
ROUTES = (
    ('123*', 'GET', '/health', health),
    ('23*', 'GET', '/', front),
    ('23', 'GET', '/info', info),
    ('3*', 'GET', '/ready', ready),
    ('123', 'GET', '/ws', sockets.socket),

    ('123', 'GET', '/files', files.files_list),
    ('123', 'POST', '/files', files.files_write),
    ('3', 'POST', '/files/batch', files.files_batch),
    ('1', 'GET', '/files/:', files.file_get),
    ('1', 'PUT', '/files/:', files.file_put),
    ('1', 'DELETE', '/files/:', files.file_delete),
    ('23', 'GET', '/files/*', files.file_get),
    ('3', 'HEAD', '/files/*', files.file_head),
    ('23', 'PUT', '/files/*', files.file_put),
    ('23', 'DELETE', '/files/*', files.file_delete),

    ('3', 'POST', '/filesystem/overlays', overlays.create),
    ('3', 'GET', '/filesystem/overlays', overlays.list_all),
    ('3', 'GET', '/filesystem/overlays/:', overlays.one),
    ('3', 'DELETE', '/filesystem/overlays/:', overlays.destroy),

    ('3', 'POST', '/run/command', running.run_command),
    ('3', 'POST', '/run/code', running.run_code),
    ('23', 'POST', '/execute', running.execute),

    ('123', 'POST', '/terminals', terminals.create),
    ('23', 'GET', '/terminals', terminals.list_all),
    ('123', 'GET', '/terminals/:', terminals.one),
    ('123', 'DELETE', '/terminals/:', terminals.destroy),
    ('123', 'POST', '/terminals/:/execute', terminals.execute),
    ('3', 'GET', '/terminals/:/commands', running.commands_list),
    ('3', 'GET', '/terminals/:/commands/:', running.command_get),
    ('3', 'GET', '/terminals/:/commands/:/wait', running.command_wait),

    ('3', 'POST', '/servers', servers.start),
    ('3', 'GET', '/servers', servers.list_all),
    ('3', 'GET', '/servers/:', servers.one),
    ('3', 'DELETE', '/servers/:', servers.destroy),
    ('3', 'POST', '/servers/:/stop', servers.stop),
    ('3', 'POST', '/servers/:/restart', servers.restart),
    ('3', 'GET', '/servers/:/logs', servers.logs),
    ('3', 'PATCH', '/servers/:/status', servers.set_status),

    ('3', 'GET', '/env', env.get),
    ('3', 'HEAD', '/env', env.head),
    ('3', 'POST', '/env', env.merge),
    ('3', 'DELETE', '/env', env.remove),

    ('123', 'POST', '/watchers', watching.create),
    ('123', 'GET', '/watchers', watching.list_all),
    ('123', 'GET', '/watchers/:', watching.one),
    ('123', 'DELETE', '/watchers/:', watching.destroy),

    ('123', 'POST', '/signals/start', signals.start),
    ('123', 'POST', '/signals/stop', signals.stop),
    ('123', 'GET', '/signals/status', signals.status),
    ('123', 'POST', '/signals/port', signals.port),
    ('123', 'POST', '/signals/port/:/:', signals.port_by_path),
    ('123', 'POST', '/signals/error', signals.error),
    ('123', 'POST', '/signals/server-ready', signals.server_ready),

    ('23!', 'POST', '/auth/session_tokens', tokens.create),
    ('23!', 'GET', '/auth/session_tokens', tokens.list_all),
    ('23!', 'GET', '/auth/session_tokens/:', tokens.one),
    ('23!', 'DELETE', '/auth/session_tokens/:', tokens.revoke),
    ('23!', 'POST', '/auth/magic-links', tokens.link_create),
    ('23*', 'GET', '/auth/magic', tokens.link_open),
    ('23*', 'GET', '/auth/magic/:', tokens.link_open),
    ('23*', 'GET', '/auth/status', tokens.status),
    ('23*', 'GET', '/auth/info', tokens.info),
    ('2*', 'POST', '/auth/token', tokens.jwt),

    ('23', 'POST', '/sandboxes', children.create),
    ('23', 'GET', '/sandboxes', children.list_all),
    ('23', 'GET', '/sandboxes/:', children.one),
    ('23', 'DELETE', '/sandboxes/:', children.destroy),
)
PATTERNS = [(gens, method, re.compile(re.escape(path).replace(
    ':', '([^/]+)').replace(r'\*', '(.+)')), found)
    for gens, method, path, found in ROUTES]


def may(call, gens):
    """Whether the token is enough, or the refusal."""
    if gens.endswith('*'):
        return
    if not call.kind:
        raise Refusal(401, 'Unauthorized: missing or invalid token')
    if gens.endswith('!') and call.kind != 'access_token':
        raise Refusal(401 if call.daemon.gen == 2 else 403,
                      'Forbidden: access token required')


def is_without(daemon, method, path):
    """Of traits without=PATH and without=METHOD"""
    return any(t.startswith('without=') and
               (method + path).startswith((t[8:], method + t[8:]))
               for t in daemon.traits)


async def route(call):
    daemon, request = call.daemon, call.request
    path = request.raw_path.partition('?')[0]
    if is_without(daemon, request.method, path):
        return not_routed()
    if daemon.has('merged-slashes'):
        path = re.sub('/+', '/', path)
    if daemon.gen == 1:
        # decoded first, so that %2F is a slash, too
        path = request.rel_url.path
    for gens, method, pattern, found in PATTERNS:
        if str(daemon.gen) not in gens or method != request.method:
            continue
        m = pattern.fullmatch(path)
        if m:
            may(call, gens)
            return await found(call, *m.groups())
    return not_routed()
