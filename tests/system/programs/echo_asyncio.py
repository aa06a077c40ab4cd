"""asyncio (epoll, non-blocking): 50 clients of the kernel at once, then 50 connections to its server."""
import asyncio
import sys

import peer

stack, host = sys.argv[1], sys.argv[2]


async def serve(reader, writer):
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()
    writer.close()
    await writer.wait_closed()


async def connect(port, i):
    reader, writer = await asyncio.open_connection(host, port)
    data = peer.payload(100_000, i)
    writer.write(data)
    writer.write_eof()
    got = await reader.read(-1)
    assert got == data, f"connection {i}: {len(got)} of {len(data)} bytes"
    writer.close()
    await writer.wait_closed()


async def main():
    server = await asyncio.start_server(serve, stack, 0, backlog=128)
    async with server:
        client = peer.start_client(stack, server.sockets[0].getsockname()[1], 50, 100_000)
        await asyncio.get_running_loop().run_in_executor(None, peer.finish, client)
    with peer.server(host) as port:
        await asyncio.gather(*(connect(port, i) for i in range(50)))


asyncio.run(main())
