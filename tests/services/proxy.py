"""HTTP and WebSocket passed on to another address, for the stand-ins."""
import asyncio

from aiohttp import (ClientConnectionError, ClientSession, ClientTimeout,
                     WSMsgType, WSServerHandshakeError, web)

DROPPED = {'host', 'connection', 'keep-alive', 'transfer-encoding', 'upgrade',
           'te', 'trailer', 'proxy-authorization', 'content-length',
           'sec-websocket-key', 'sec-websocket-version',
           'sec-websocket-extensions'}


async def client(app):
    """For app.cleanup_ctx: app['client'] makes the requests."""
    app['client'] = ClientSession(
        auto_decompress=False, timeout=ClientTimeout(total=None))
    yield
    await app['client'].close()


def headers_of(request, more):
    return {k: v for k, v in request.headers.items()
            if k.lower() not in DROPPED | more}


async def pump(from_ws, to_ws):
    while True:
        m = await from_ws.receive()
        if m.type == WSMsgType.BINARY:
            await to_ws.send_bytes(m.data)
        elif m.type == WSMsgType.TEXT:
            await to_ws.send_str(m.data)
        else:
            return


async def forward_socket(request, url, headers, strange):
    """strange: a refused handshake becomes an upgrade and a close code."""
    refused, far = None, None
    try:
        far = await request.app['client'].ws_connect(
            url, headers=headers, max_msg_size=0, autoclose=False)
    except WSServerHandshakeError as e:
        refused = e.status
    except ClientConnectionError:
        refused = 502
    if refused and not strange:
        return web.Response(status=refused, text='refused')
    near = web.WebSocketResponse(max_msg_size=0, compress=False,
                                 autoclose=False)
    await near.prepare(request)
    if refused:
        await near.close(code=1011 if refused == 502 else 1008)
        return near
    ends = [asyncio.ensure_future(pump(near, far)),
            asyncio.ensure_future(pump(far, near))]
    try:
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for e in ends:
            e.cancel()
    await near.close(code=far.close_code or 1000)
    await far.close()
    return near


async def forward(request, url, dropped=frozenset(), strange=False):
    headers = headers_of(request, dropped)
    if request.headers.get('Upgrade', '').lower() == 'websocket':
        return await forward_socket(request, url, headers, strange)
    try:
        async with request.app['client'].request(
                request.method, url, headers=headers,
                data=request.content if request.body_exists else None,
                allow_redirects=False) as far:
            out = web.StreamResponse(status=far.status)
            for k, v in far.headers.items():
                if k.lower() not in DROPPED - {'content-length'}:
                    out.headers[k] = v
            await out.prepare(request)
            async for piece in far.content.iter_any():
                await out.write(piece)
            await out.write_eof()
            return out
    except ClientConnectionError:
        return web.Response(status=502, text='Bad Gateway')
