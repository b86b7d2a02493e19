"""A TCP proxy that adds half a round trip to every byte, each way, without
limiting the rate: what a far-away server feels like."""
import asyncio
import collections
import sys

LIMIT = 64 << 20  # bytes on their way at most


async def pump(reader, writer, delay):
    loop = asyncio.get_running_loop()
    queue, more = collections.deque(), asyncio.Event()
    space = asyncio.Event()
    space.set()
    size = 0

    async def deliver():
        nonlocal size
        while True:
            while not queue:
                more.clear()
                await more.wait()
            due, data = queue.popleft()
            wait = due - loop.time()
            if wait > 0:
                await asyncio.sleep(wait)
            if data is None:
                writer.close()
                return
            writer.write(data)
            await writer.drain()
            size -= len(data)
            space.set()
    task = loop.create_task(deliver())
    try:
        while True:
            data = await reader.read(1 << 18)
            if not data:
                break
            while size > LIMIT:
                space.clear()
                await space.wait()
            size += len(data)
            queue.append((loop.time() + delay, data))
            more.set()
    except OSError:
        pass
    queue.append((loop.time() + delay, None))
    more.set()
    try:
        await task
    except OSError:
        pass


async def serve(target, delay, ready):
    async def on_client(reader, writer):
        try:
            r, w = await asyncio.open_connection("127.0.0.1", target)
        except OSError:
            writer.close()
            return
        await asyncio.gather(pump(reader, w, delay), pump(r, writer, delay))
    server = await asyncio.start_server(on_client, "127.0.0.1", 0,
                                        limit=1 << 20)
    ready(server.sockets[0].getsockname()[1])
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    # delayproxy.py TARGET_PORT RTT_MS: prints its own port
    asyncio.run(serve(int(sys.argv[1]), float(sys.argv[2]) / 2000,
                      lambda port: print(port, flush=True)))
