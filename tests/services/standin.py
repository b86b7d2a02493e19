"""What the programs that stand for a service have in common."""
import argparse
import asyncio
import os
import signal
import sys

RAW = {'silent', 'garbage', 'half', 'huge-header'}


def arguments():
    p = argparse.ArgumentParser()
    p.add_argument('--dir')
    p.add_argument('--port', type=int, default=0)
    p.add_argument('--stay', action='store_true')
    p.add_argument('traits', nargs='*')
    return p.parse_args()


async def speak_no_http(reader, writer, trait):
    """For the traits that a web framework would not let us have."""
    await reader.read(1)
    if trait == 'silent':
        await asyncio.sleep(3600)
    elif trait == 'garbage':
        writer.write(os.urandom(4096))
    elif trait == 'half':
        writer.write(b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n'
                     b'Content-Length: 1000\r\n\r\n{"items":[')
    elif trait == 'huge-header':
        writer.write(b'HTTP/1.1 200 OK\r\n')
        try:
            while True:
                writer.write(b'X-More: ' + b'x' * 1000 + b'\r\n')
                await writer.drain()
        except ConnectionError:
            return
    try:
        await writer.drain()
        writer.close()
    except ConnectionError:
        pass


async def serve_raw(trait, port):
    """Listens without a web framework; the port it got."""
    s = await asyncio.start_server(
        lambda r, w: speak_no_http(r, w, trait), '127.0.0.1', port)
    return s.sockets[0].getsockname()[1]


async def until_told(stay):
    loop, end = asyncio.get_event_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end.set)
    if not stay:
        reader = asyncio.StreamReader()
        await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        asyncio.ensure_future(reader.read()).add_done_callback(
            lambda _: end.set())
    await end.wait()
